"""A generic prober: the needles of the world, at the places of the bench's map."""

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from sim_backend.emulators.context import EmulatorContext
from sim_backend.emulators.generic import GenericInstrument, Refused
from sim_backend.emulators.leftovers import Leave


class GenericProber(GenericInstrument):
    """A prober that steps with the needles up and puts them down where there is a die or none.

    Args:
        options: stands_for.
        context: the world, and the places of the map in the order of the route.
    """

    def __init__(self, name: str, options: Any, context: EmulatorContext) -> None:
        super().__init__(name, "prober", context.world, stands_for=options.stands_for)
        self._station = context.station

    def leftovers(self) -> dict[str, Leave]:
        """Return how each verb that moves something is left to have been carried out."""

        def place(rng: Random) -> list[int]:
            return [*rng.choice(self._station.route), rng.randrange(self._station.sites)]

        return {**super().leftovers(), **self.left_by_verbs(("where",), {"place": place})}

    def verbs(self) -> Mapping[str, Callable[..., Any]]:
        """Return the verbs of a prober."""
        return {"where": self._where, "step": self._step, "contact": self._contact, "separate": self._separate}

    def _where(self) -> dict[str, Any]:
        col, row, site = self.world.place
        last = (col, row) == self._station.route[-1] and site == self._station.sites - 1
        return {"place": [col, row, site], "contact": self.world.in_contact, "last": last}

    def _step(self, place: list[int]) -> dict[str, Any]:
        col, row, site = place
        if self.world.in_contact:
            raise Refused("the needles are down")
        if (col, row) not in self._station.route or not 0 <= site < self._station.sites:
            raise Refused(f"{col}, {row}, site {site} is not on the map")
        self.world.advance(self.world.timing.step)
        self.world.move((col, row, site))
        return self._where()

    def _contact(self) -> None:
        self._touch(True)

    def _separate(self) -> None:
        self._touch(False)

    def _touch(self, down: bool) -> None:
        self.world.advance(self.world.timing.contact)
        self.world.touch(down)


def emulate(name: str, options: Any, context: EmulatorContext) -> GenericProber:
    """Return the generic prober of an entry of the bench file."""
    return GenericProber(name, options, context)
