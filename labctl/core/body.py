"""What gives dies: the interface between a job on a die and the simulation or bench that the die comes from."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from labctl.core.die import Die
from labctl.core.die_state import State
from labctl.core.rebuild import Rebuild
from labctl.core.site import Site
from labctl.core.units import Second

Truth = Callable[[], dict[str, Any]]
Say = Callable[[State], None]
"""Told where a die stands on the way to its first operation."""


def _quiet(state: State) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class ReadyDie:
    """A die that is ready.

    Args:
        noted: what was noted on the way there.
        truth: what a simulated one really holds; None for a real one.
        mark: called with the number of every operation before it is done, for a simulated world that numbers its
            luck by it; a real one has no use for it.
    """

    die: Die
    noted: dict[str, Any] = field(default_factory=dict)
    truth: Truth | None = None
    mark: Callable[[int], None] = lambda number: None


class Body(Protocol):
    """What gives dies."""

    @property
    def rebuild(self) -> Rebuild:
        """What has to be done again to a die of this body when a run is resumed."""
        ...

    @property
    def patience(self) -> Second:
        """Longest time that `approach` takes if nothing hangs, s; infinite where a person is asked."""
        ...

    def approach(self, subject: Site, say: Say = _quiet) -> ReadyDie:
        """Return the die, ready; `say` is told of moving, of contact checks and of new touches."""
        ...

    def leave(self) -> None:
        """Be done with the die: outputs verified off, needles up."""
        ...
