"""Wafer maps that other machines wrote: CSV and SEMI G85 XML, as places that the prober counts.

A map that is read mirrored, turned or off by one sends the needles to the wrong die, so nothing is guessed that the
file does not define: what files leave open is set in the wafer file (`MapReading`), and `instruments.fiducial` proves
the result on the wafer. CSV is read by `labctl.wafer_maps.csv_map`, SEMI G85 by `labctl.wafer_maps.semi_g85`.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import Field

from labctl.core.errors import BenchError
from labctl.core.model import Model
from labctl.core.names import DieIndex

Corner = Literal["upper left", "upper right", "lower left", "lower right"]
Spot = tuple[int, int]

_PLACE = re.compile(r"x(-?[0-9]{1,6})y(-?[0-9]{1,6})")


class MapReading(Model):
    """Settings that a map file leaves open, for this wafer on this chuck."""

    origin: Corner = Field(
        default="upper left", description="CSV: the corner from which x and y grow; upper left keeps them as they are"
    )
    notch: Literal[0, 90, 180, 270] | None = Field(
        default=None,
        description="G85: the notch on the chuck, degrees clockwise from the bottom; the map is turned to it",
    )
    reference: tuple[DieIndex, DieIndex] | None = Field(
        default=None, description="G85: (column, row) of the map's reference device as the prober counts"
    )
    first: Literal[0, 1] = Field(default=1, description="G85: what X and Y of the reference device count from")


@dataclass(frozen=True)
class Place:
    """A die on a map.

    Args:
        x: column as the prober counts, y: row, downwards.
        name: of the die on its wafer.
        bin: its bin in the file, "" for none.
        excluded: why it is left out, "" if it is not.
    """

    x: int
    y: int
    name: str
    bin: str = ""
    excluded: str = ""


@dataclass(frozen=True)
class WaferMap:
    """A map that was read.

    Args:
        places: row by row from the top.
        wafer: identity of the wafer, lot: of its lot, as in the file; "" if it names none.
        notch: degrees clockwise from the bottom, as the places are; None if unknown.
        quality: of each bin, "pass" or "fail" in lower case, where the file has it.
    """

    places: tuple[Place, ...]
    wafer: str = ""
    lot: str = ""
    notch: int | None = None
    quality: Mapping[str, str] = field(default_factory=dict)

    @property
    def excluded(self) -> Mapping[str, str]:
        """Why dies are left out, by name."""
        return {p.name: p.excluded for p in self.places if p.excluded}

    def without(
        self, exclude: Iterable[str] = (), include_bins: Sequence[str] | None = None, exclude_bins: Sequence[str] = ()
    ) -> "WaferMap":
        """Return the map with dies left out: by place or name, and by bin or its quality ("pass", "fail").

        Raises:
            BenchError: a die or a bin that the map does not have is named.
        """
        named = {self._find(name).name: "excluded by the campaign" for name in exclude}
        wanted = None if include_bins is None else self._bins(include_bins)
        unwanted = self._bins(exclude_bins)

        def why(place: Place) -> str:
            if place.bin in unwanted:
                return f"bin {place.bin} of the map is excluded"
            if wanted is not None and place.bin not in wanted:
                return f"bin {place.bin or '(none)'} of the map is not included"
            return ""

        return replace(
            self,
            places=tuple(replace(p, excluded=p.excluded or named.get(p.name) or why(p)) for p in self.places),
        )

    def _find(self, name: str) -> Place:
        at = _PLACE.fullmatch(name)
        for place in self.places:
            if place.name == name or (at and (place.x, place.y) == (int(at[1]), int(at[2]))):
                return place
        raise BenchError(
            f"there is no die '{name}' to exclude; the map has {self.places[0].name} to {self.places[-1].name}"
        )

    def _bins(self, names: Iterable[str]) -> set[str]:
        selected: set[str] = set()
        there = {p.bin for p in self.places if p.bin} | set(self.quality)
        for text in names:
            bins = {b for b in there if _same(b, text) or self.quality.get(b) == text.lower()}
            if not bins:
                raise BenchError(f"the map has no bin '{text}'; it has {', '.join(sorted(there)) or 'no bins'}")
            selected |= bins
        return selected


def _same(a: str, b: str) -> bool:
    """Return whether two codes are one; leading zeros are a matter of how a file writes numbers."""
    return (a.lstrip("0") or "0").lower() == (b.lstrip("0") or "0").lower()


def named(x: int, y: int) -> str:
    """Return the name of a die without a name of its own.

    >>> named(3, 0)
    'x3y0'
    """
    return f"x{x}y{y}"


def whole_number(text: str, axis: str, where: str) -> int:
    """Return the number in `text`; BenchError if it is none."""
    if not re.fullmatch(r"[+-]?[0-9]{1,6}", text):
        raise BenchError(f"{where}: found '{text}' for {axis}, expected a whole number")
    return int(text)


def from_corner(places: list[Place], corner: Corner) -> list[Place]:
    """Return places that count from `corner` as places that count from the upper left one, over the same numbers."""
    across, down = _span(p.x for p in places), _span(p.y for p in places)
    return [
        replace(p, x=across - p.x if "right" in corner else p.x, y=down - p.y if "lower" in corner else p.y)
        for p in places
    ]


def _span(values: Iterable[int]) -> int:
    numbers = list(values)
    return min(numbers) + max(numbers) if numbers else 0


def whole(places: list[Place], where: str) -> WaferMap:
    """Return the map of `places`, named and in order; BenchError if it has none, or two of a place or name."""
    if not places:
        raise BenchError(f"{where}: the map has no die")
    ordered = sorted((replace(p, name=p.name or named(p.x, p.y)) for p in places), key=lambda p: (p.y, p.x))
    kinds: tuple[tuple[str, Callable[[Place], object]], ...] = (
        ("place", lambda p: named(p.x, p.y)),
        ("name", lambda p: p.name.lower()),
    )
    for what, key in kinds:
        seen: set[object] = set()
        for place in ordered:
            if key(place) in seen:
                raise BenchError(f"{where}: two dies have the {what} {key(place)}; expected one")
            seen.add(key(place))
    return WaferMap(tuple(ordered))
