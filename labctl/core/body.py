"""The interface between a job on a die and the simulation or bench that the die comes from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from labctl.core.die import Die
from labctl.core.die_state import State
from labctl.core.rebuild import Rebuild
from labctl.core.site import Site
from labctl.core.units import Ohm, Second

Truth = Callable[[], dict[str, Any]]
Say = Callable[[State], None]
"""Called with the state of a die on the way to its first operation."""


def _quiet(state: State) -> None:
    """Do nothing."""


SeekAhead = Callable[[int], Callable[[], None]]
"""Called with the number of an operation; returns what waits until the world has it."""


def nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True)
class ReadyDie:
    """A die that is ready.

    Args:
        notes: facts of the approach, for the journal.
        truth: returns what a simulated die really holds; None for a real one.
        seek: called with the number of every operation before it is done: a simulated world sets its random streams to
            that number; for a real die it does nothing.
        seek_ahead: likewise, but returns before that is done, and what it returns waits until it is; None for `seek`.
        prove: measures the contact structures and returns their resistances by their pads, none where none is named;
            ContactError if one does not conduct. None where nothing touches, or where contact was not there before.
        warnings: returns what the instruments have warned of since the last call.
    """

    die: Die
    notes: dict[str, Any] = field(default_factory=dict)
    truth: Truth | None = None
    seek: Callable[[int], None] = lambda number: None
    seek_ahead: SeekAhead | None = None
    prove: Callable[[], Mapping[str, Ohm]] | None = None
    warnings: Callable[[], list[str]] = list


@runtime_checkable
class Marking(Protocol):
    """A source of dies that shows their bins, where the bench file asks for it."""

    def mark(self, subject: Site, hard: int) -> None:
        """Show the hard bin of a die that was left; nothing moves.

        Raises:
            LabError: it is not shown.
        """
        ...


class Body(Protocol):
    """A source of dies: the simulation, or a bench."""

    @property
    def rebuild(self) -> Rebuild:
        """What has to be done again to a die of this body when a run is resumed."""
        ...

    @property
    def patience(self) -> Second:
        """Longest time that `approach` takes if nothing hangs, s; infinite where an operator acts."""
        ...

    def approach(self, subject: Site, say: Say = _quiet) -> ReadyDie:
        """Return the die, ready; `say` is called for moving, contact checks and new touches."""
        ...

    def leave(self) -> None:
        """Leave the die: outputs verified off, needles up."""
        ...
