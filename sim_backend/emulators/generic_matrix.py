"""A generic switch matrix: the relays of a bench's wiring, break before make."""

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from sim_backend.emulators.context import EmulatorContext
from sim_backend.emulators.generic import GenericInstrument, Refused
from sim_backend.emulators.leftovers import Leave
from sim_backend.emulators.link import moves_freely


class GenericMatrix(GenericInstrument):
    """A matrix with the relays that the context names.

    Args:
        options: stands_for.
        context: the world, and row and column of each relay.
    """

    def __init__(self, name: str, options: Any, context: EmulatorContext) -> None:
        super().__init__(name, "matrix", context.world, stands_for=options.stands_for)
        self._crosspoints = context.crosspoints
        self.closed: frozenset[str] = frozenset()
        self.sticks: Callable[[str], bool] = moves_freely
        """Whether a relay that is told to move stays where it is."""
        self._before: frozenset[str] = frozenset()

    def leftovers(self) -> dict[str, Leave]:
        """Return how each verb that moves relays is left to have been carried out."""

        def relays(rng: Random) -> list[str]:
            return rng.sample(sorted(self._crosspoints), min(len(self._crosspoints), rng.randint(1, 8)))

        return {**super().leftovers(), **self.left_by_verbs(("closed", "opened"), {"closed": relays})}

    def power_off(self) -> None:
        """Let every relay open."""
        self._route([])

    def verbs(self) -> Mapping[str, Callable[..., Any]]:
        """Return the verbs of a matrix."""
        return {
            "closed": lambda: sorted(self.closed),
            "route": self._route,
            "open": self._open,
            "opened": lambda: {"now": sorted(self.closed), "before": sorted(self._before)},
        }

    def _route(self, closed: list[str]) -> list[str]:
        unknown = sorted(set(closed) - set(self._crosspoints))
        if unknown:
            raise Refused(f"there are no relays {', '.join(unknown[:8])}")
        wanted = frozenset(closed)
        for opening, closing in ((self.closed - wanted, frozenset[str]()), (frozenset[str](), wanted - self.closed)):
            opening, closing = (frozenset(r for r in part if not self.sticks(r)) for part in (opening, closing))
            if opening | closing:
                self.world.switch(
                    close=[self._crosspoints[relay] for relay in closing],
                    open=[self._crosspoints[relay] for relay in opening],
                )
                self.closed = self.closed - opening | closing
                self.world.advance(self.world.timing.relay)
        return sorted(self.closed)

    def ends_busy(self, line: bytes) -> bool:
        """Return whether a message is the emergency's."""
        return b'"do": "open"' in line

    def _open(self) -> None:
        self._before = self.closed
        self._route([])


def emulate(name: str, options: Any, context: EmulatorContext) -> GenericMatrix:
    """Return the generic matrix of an entry of the bench file."""
    return GenericMatrix(name, options, context)
