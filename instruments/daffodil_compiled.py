"""The events of the operation that a Daffodil board was asked for last, kept for who asks for them again.

An operation comes several times before it is carried out: every limit above the board judges it, and what lasts longer
than a batch is checked whole and then carried out in parts. Its events are made once.

**Why nothing passes unjudged.** The limits judge each part by its own voltages, as if there were no whole. The events
of a part are taken from those of the whole only if all that the part asks for, every field of it, equals what the whole
asked for at this place when its events were made: a copy, compared value by value. Anything else is made anew. Which
event a pattern becomes, and whether it can be one, depends on that pattern alone; the rest between two patterns does
not, and is decided for each part by itself.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np

from instruments.daffodil_events import Events, Pace
from labctl.core.cell_voltage import one_if_all_alike
from labctl.core.operations import Pulse, Sense
from labctl.core.units import FloatArray, Second

BATCH: Second = 2.0
"""Predicted time of one batch, and of a chunk: what a board carries out by itself is bounded by its lease."""


@dataclass(frozen=True, eq=False)
class _Whole:
    """An operation that comes in parts.

    Args:
        asked: a copy of what it asks for, by the names of `_asked`; one pattern where all are alike.
        events: of its n patterns, without rest.
        done: patterns of it that have come in parts.
    """

    kind: type
    asked: dict[str, Any]
    events: Events
    n: int
    done: int = 0

    @classmethod
    def of(cls, operation: Sense | Pulse, events: Events) -> "_Whole":
        """Return an operation whose events were made just now."""
        asked = {
            name: np.array(one_if_all_alike(value)) if isinstance(value, np.ndarray) else value
            for name, value in _asked(operation)
        }
        return cls(type(operation), asked, events, len(operation))

    def is_next(self, operation: Sense | Pulse) -> bool:
        """Return whether an operation is the part that comes next: the same in every field."""
        place = slice(self.done, self.done + len(operation))
        asked = dict(_asked(operation))
        if type(operation) is not self.kind or place.stop > self.n or asked.keys() != self.asked.keys():
            return False
        return all(_same(asked[name], value, place, self.n) for name, value in self.asked.items())

    def part(self, patterns: int) -> Events:
        """Return the events of the patterns that come next."""
        each = len(self.events) // self.n
        return self.events.part(slice(each * self.done, each * (self.done + patterns)))


class Compiled:
    """The events of the last operation, and of the last one that was longer than a batch of `longest` s."""

    def __init__(self, longest: Second = BATCH) -> None:
        self._longest = longest
        self._last: tuple[Sense | Pulse, Events, FloatArray] | None = None
        self._whole: _Whole | None = None
        self._ahead: tuple[_Whole, int, Events, FloatArray] | None = None
        """The part that comes next, if it has as many patterns as the last one: its patterns, events and times."""

    def of(
        self, operation: Sense | Pulse, make: Callable[[Sense | Pulse], Events], pace: Pace
    ) -> tuple[Events, FloatArray]:
        """Return the events of an operation, with rest between them, and their predicted times, (events,) s.

        Args:
            make: makes events, without rest.

        Raises:
            BenchError: `make` refuses the operation.
        """
        if self._last is None or self._last[0] is not operation:
            whole = self._whole
            is_part = whole is not None and whole.is_next(operation)
            ahead, self._ahead = self._ahead, None
            events = whole.part(len(operation)) if whole is not None and is_part else make(operation)
            if is_part and ahead is not None and ahead[0] is whole and ahead[1] == len(operation):
                rested, seconds = ahead[2:]
            else:
                rested = events.rested()
                seconds = pace.seconds(rested.records)
            if whole is not None and is_part:
                done = whole.done + len(operation)
                self._whole = replace(whole, done=done) if done < whole.n else None
            elif float(seconds.sum()) > self._longest:
                self._whole = _Whole.of(operation, events)
            self._last = operation, rested, seconds
        return self._last[1:]

    def look_ahead(self, pace: Pace) -> tuple[Events, FloatArray] | None:
        """Make the events, with rest, and times of the part that comes next as far as is known; None if none comes.

        They are taken only if that part comes: compared field by field, as every part is.
        """
        whole = self._whole
        if whole is None or self._last is None or not whole.done:
            return None
        patterns = min(len(self._last[0]), whole.n - whole.done)
        rested = whole.part(patterns).rested()
        self._ahead = whole, patterns, rested, pace.seconds(rested.records)
        return self._ahead[2:]


def _asked(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every field of an operation and of what is in it, by its name with those around it."""
    for part in fields(value):
        inner = getattr(value, part.name)
        if is_dataclass(inner):
            yield from _asked(inner, f"{name}{part.name}.")
        else:
            yield f"{name}{part.name}", inner


def _same(value: Any, kept: Any, place: slice, n: int) -> bool:
    """Return whether a field of a part is what was kept of the whole at this place of its n patterns."""
    if not (isinstance(value, np.ndarray) and isinstance(kept, np.ndarray)):
        return type(value) is type(kept) and bool(value == kept)
    there = kept if len(kept) < n else kept[place]
    return value.shape[1:] == there.shape[1:] and bool((value == there).all())
