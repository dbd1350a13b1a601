"""Channels of a 707B or 708B as a user may set them: delays, channels that are forbidden to close, labels, patterns.

Dialect: Series 700B reference manual (707B-901-01), the commands chapter. All of it is lost with a reset. A delay is
waited for behind the settling of a channel that closes, not of one that opens. A forbidden channel refuses the whole
command; a pattern that it is part of is deleted. A label or a pattern names channels wherever a channel list does.
"""

import math
import re
from collections.abc import Callable, Iterable
from functools import partial
from random import Random
from typing import Any

from labctl.core.units import Second
from sim_backend.emulators.leftovers import Leave
from sim_backend.emulators.tsp.vm import Lua, Refusal, number

PARAMETER_ERROR = 1115
_NAME = re.compile(r"[A-Za-z]\w*")


class ChannelSettings:
    """Delays, forbidden channels, labels and patterns of the channels of one instrument.

    Args:
        lua: of the instrument.
        resolve: the channels that a channel list names, in its order.
        closed: the channels that are closed now.
        every: all channels of the cards that are installed.
    """

    def __init__(
        self,
        lua: Lua,
        resolve: Callable[[Any], list[str]],
        closed: Callable[[], Iterable[str]],
        every: Callable[[], list[str]],
    ) -> None:
        self._lua, self._resolve, self._closed, self._every = lua, resolve, closed, every
        self.delays: dict[str, Second] = {}
        self.forbidden: set[str] = set()
        self.labels: dict[str, str] = {}
        """Label of a channel."""
        self.row_labels: dict[str, str] = {}
        """Label of a row, `1A`."""
        self.column_labels: dict[str, str] = {}
        """Label of a column, `105`."""
        self.patterns: dict[str, list[str]] = {}

    def reset(self, channels: Iterable[str]) -> None:
        """Go back to the defaults for some channels; patterns that have one of them are deleted."""
        gone = set(channels)
        self.forbidden -= gone
        for channel in gone:
            self.delays.pop(channel, None)
            self.labels.pop(channel, None)
            self.row_labels.pop(channel[:2], None)
            self.column_labels.pop(channel[0] + channel[2:], None)
        self._delete_with(gone)

    def delay(self, channels: Iterable[str]) -> Second:
        """Return the time that channels which have closed are waited for, all of them together."""
        return sum(self.delays.get(channel, 0.0) for channel in channels)

    def require_permitted(self, channels: Iterable[str]) -> None:
        """Raise Refusal if one of `channels` is forbidden to close."""
        if barred := sorted(self.forbidden.intersection(channels)):
            raise Refusal(PARAMETER_ERROR, f"Parameter error: channel {barred[0]} is forbidden to close")

    def named(self, name: str) -> list[str] | None:
        """Return the channels behind a label or pattern; None if there is none of that name.

        [?] A label that is spelled like a channel comes before the channel.
        """
        if name in self.patterns:
            return self.patterns[name]
        by_label = [channel for channel, label in self.labels.items() if label == name]
        row, plus, column = name.partition("+")
        if plus:
            by_label += [
                channel
                for channel in self._every()
                if (self.row_labels.get(channel[:2]), self.column_labels.get(channel[0] + channel[2:])) == (row, column)
            ]
        return by_label or None

    def objects(self) -> dict[str | int, Any]:
        """Return the functions of `channel` that set and read these."""
        return {
            "setdelay": self._set_delay,
            "getdelay": lambda names: ",".join(f"{self.delays.get(c, 0.0):.9e}" for c in self._resolve(names)),
            "setforbidden": self._set_forbidden,
            "clearforbidden": lambda names: self.forbidden.difference_update(self._resolve(names)),
            "getforbidden": lambda names: (",".join(c for c in self._resolve(names) if c in self.forbidden) or None,),
            "setlabel": lambda name, label: self._label(self.labels, self._one(name), label),
            "getlabel": lambda names: ",".join(self.labels.get(c, c) for c in self._resolve(names)),
            "setlabelrow": lambda name, label: self._label(self.row_labels, self._one(name)[:2], label),
            "setlabelcolumn": lambda name, label: self._label(self.column_labels, _column(self._one(name)), label),
            "getimage": lambda names: (";".join(self._resolve(names)) or None,),
            "pattern": self._lua.node(
                "channel_pattern",
                objects={
                    "setimage": lambda names, name: self._set_pattern(name, self._resolve(names) if names else []),
                    "snapshot": lambda name: self._set_pattern(name, sorted(self._closed())),
                    "getimage": lambda names: ";".join(",".join(self._pattern(n.strip())) for n in names.split(",")),
                    "delete": lambda name: self.patterns.pop(self._known(name)) and None,
                    "catalog": self._catalog,
                },
            ),
        }

    def _one(self, name: Any) -> str:
        channels = self._resolve(name)
        if len(channels) != 1 or name in self.patterns:
            raise Refusal(PARAMETER_ERROR, "Parameter error: one channel expected")
        return channels[0]

    def _set_delay(self, names: Any, seconds: Any) -> None:
        wanted, channels = number(seconds), self._resolve(names)
        if not 0 <= wanted < math.inf:
            raise Refusal(1101, "Parameter too big") if wanted > 0 else Refusal(1102, "Parameter too small")
        if self.patterns.keys() & {part.strip() for part in re.split("[,;]", str(names))}:
            raise Refusal(PARAMETER_ERROR, "Parameter error: a pattern has no delay")
        self.delays |= dict.fromkeys(channels, wanted)

    def _set_forbidden(self, names: Any) -> None:
        channels = self._resolve(names)
        self.forbidden.update(channels)
        self._delete_with(channels)

    def _label(self, labels: dict[str, str], place: str, label: Any) -> None:
        text = label if isinstance(label, str) else ""
        if not text or text[0] == " ":
            labels.pop(place, None)
            return
        taken = {*self.labels.values(), *self.row_labels.values(), *self.column_labels.values(), *self.patterns}
        if " " in text or text in taken - {labels.get(place)}:
            raise Refusal(PARAMETER_ERROR, "Parameter error: label cannot be used")
        labels[place] = text

    def _set_pattern(self, name: Any, channels: list[str]) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise Refusal(PARAMETER_ERROR, "Parameter error: invalid pattern name")
        if name in {*self.labels.values(), *self.row_labels.values(), *self.column_labels.values()}:
            raise Refusal(PARAMETER_ERROR, "Parameter error: the name is a label")
        self.require_permitted(channels)
        self.patterns[name] = list(channels)

    def _pattern(self, name: str) -> list[str]:
        return self.patterns[self._known(name)]

    def _known(self, name: Any) -> str:
        if name not in self.patterns:
            raise Refusal(PARAMETER_ERROR, "Parameter error: pattern does not exist")
        return str(name)

    def _delete_with(self, channels: Iterable[str]) -> None:
        gone = set(channels)
        self.patterns = {name: image for name, image in self.patterns.items() if not gone.intersection(image)}

    def _catalog(self, *_: Any) -> Any:
        """Return an iterator over the names of all patterns, as `for name in channel.pattern.catalog() do` has it."""
        names = iter(sorted(self.patterns))
        return self._lua.function(lambda *_: next(names, None))

    def leftovers(self) -> dict[str, Leave]:
        """Return how each of the functions that set something is left to have been used, by its name."""

        def some(rng: Random, most: int = 12) -> list[str]:
            every = self._every()
            return rng.sample(every, min(len(every), rng.randint(1, most)))

        def delays(rng: Random) -> str:
            names = "allslots" if rng.random() < 0.5 else ",".join(some(rng))
            seconds = float(f"{10 ** rng.uniform(-5, 0.7):.4g}")
            self._set_delay(names, seconds)
            return f"{names} {seconds:g} s"

        def forbidden(rng: Random) -> str:
            self._set_forbidden("allslots" if rng.random() < 0.3 else ",".join(some(rng, 40)))
            return f"{len(self.forbidden)} channels"

        def label(rng: Random) -> str:
            channel, other = some(rng)[0], some(rng)[0]
            self.labels.pop(channel, None)
            self._label(self.labels, channel, other if rng.random() < 0.5 and other != channel else f"L{channel}")
            return f"{channel} {self.labels[channel]}"

        def in_list(labels: dict[str, str], place: Callable[[str], str]) -> Leave:
            def leave(rng: Random) -> str:
                where = place(some(rng)[0])
                self._label(labels, where, f"{'R' if labels is self.row_labels else 'C'}{where}")
                return f"{where} {labels[where]}"

            return leave

        def pattern(rng: Random) -> str:
            name = f"p{rng.randint(1, 9)}"
            self._set_pattern(name, [c for c in some(rng) if c not in self.forbidden])
            return f"{name} {','.join(self.patterns[name])}"

        leaves: dict[str, Leave] = {
            "channel.setdelay": delays,
            "channel.setforbidden": forbidden,
            "channel.setlabel": label,
            "channel.setlabelrow": in_list(self.row_labels, lambda channel: channel[:2]),
            "channel.setlabelcolumn": in_list(self.column_labels, _column),
            "channel.pattern.setimage": pattern,
            "channel.pattern.snapshot": pattern,
        }
        return {name: partial(self._left, leave) for name, leave in leaves.items()}

    def _left(self, leave: Leave, rng: Random) -> str | None:
        """Return what `leave` has left; None where no card is."""
        return leave(rng) if self._every() else None


def _column(channel: str) -> str:
    """Return the column of a channel with its slot, `105` of `1A05`."""
    return channel[0] + channel[2:]
