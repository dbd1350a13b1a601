"""A die as a campaign names it, and where it is."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from labctl.core.die_file import DieFile
from labctl.core.prober import Subsite

Spot = tuple[int, int, int]
"""(column, row, number of the subsite) on the prober's map."""


@dataclass(frozen=True)
class Site:
    """A die as a campaign names it.

    Args:
        at: its (column, row) on the prober's map.
        seed: of its simulated world; unused for a real die.
        wafer: name of its wafer, "" if it has none.
        subsite: its spot on the die at `at`, None for the only one.
        subsites: all spots of that die.
        excluded: why the campaign leaves it out, "" if it does not.
    """

    name: str
    description: DieFile
    seed: int
    at: tuple[int, int] = (0, 0)
    wafer: str = ""
    subsite: Subsite | None = None
    subsites: tuple[Subsite, ...] = ()
    excluded: str = ""

    @property
    def die(self) -> str:
        """Name of the die that it is, or of which it is a subsite."""
        return self.name if self.subsite is None else self.name.removesuffix(f"-{self.subsite.name}")

    @property
    def serial(self) -> str:
        """Name without the visit: "A@2", the second visit of a reference die, is die "A"."""
        return self.name.partition("@")[0]

    @property
    def visit(self) -> int:
        """Number of the visit of a reference die; 0 for any other die."""
        return int(self.name.partition("@")[2] or 0)

    @property
    def spot(self) -> Spot:
        """(column, row, number of the subsite) on the prober's map."""
        return (*self.at, 0 if self.subsite is None else self.subsite.number)

    def split(self, subsites: Iterable[Subsite]) -> "Iterator[Site]":
        """Yield the sites that the campaign tests here: the die, or each of its subsites."""
        all_subsites = tuple(subsites)
        if not all_subsites:
            yield self
        for spot in all_subsites:
            yield replace(self, name=f"{self.name}-{spot.name}", subsite=spot, subsites=all_subsites)

    @property
    def alike(self) -> tuple[Any, ...]:
        """What a plan depends on: dies that are equal in it take the same time and the same operations."""
        d = self.description
        return d.shape, d.nominal, d.pace
