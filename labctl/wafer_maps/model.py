"""Wafer maps that other machines wrote, as places that the prober counts.

A map that is read mirrored, turned or off by one sends the needles to the wrong die, so nothing is guessed that the
file does not define: what files leave open is set in the wafer file (`MapReading`), and `instruments.fiducial` proves
the result on the wafer. `labctl.wafer_maps.read` tells the formats apart, and a module each reads them.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from pydantic import Field

from labctl.core.errors import BenchError
from labctl.core.model import DieIndex, Model
from labctl.core.names import FARTHEST, alike

Corner = Literal["upper left", "upper right", "lower left", "lower right"]
Spot = tuple[int, int]

MAX_BYTES = 16 << 20
"""A larger file is no wafer map: it would describe more places than `MAX_PLACES` many times over."""
MAX_PLACES = 250_000
"""Most places of a map, with and without a die: columns times rows. Probers have as many."""

_PLACE = re.compile(r"x(-?[0-9]{1,6})y(-?[0-9]{1,6})")


class ReadingError(BenchError):
    """A key of `map_reading` does not apply to the map file at hand, or is missing.

    Args:
        key: its name.
    """

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return (type(self), (self.key, str(self)))


class MapReading(Model):
    """Settings that a map file leaves open, for this wafer on this chuck. None of them is set by default."""

    origin: Corner | None = Field(
        default=None,
        description="CSV, and XML that says none: the corner from which x and y grow; upper left keeps them",
    )
    notch: Literal[0, 90, 180, 270] | None = Field(
        default=None,
        description="G85 and E142: the notch on the chuck, degrees clockwise from the bottom; the map is turned to it",
    )
    reference: tuple[DieIndex, DieIndex] | None = Field(
        default=None, description="G85 and E142: (column, row) of the map's reference device as the prober counts"
    )
    reference_device: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="which of several reference devices that is, counted from 1 as they stand in the file"
    )
    first: Literal[0, 1] | None = Field(
        default=None, description="what X and Y of the reference device count from; G85: 1 if left out"
    )
    wafer: str | None = Field(
        default=None, min_length=1, max_length=64, description="the wafer that the map names, if it is not 'name'"
    )
    lot: str | None = Field(
        default=None, min_length=1, max_length=64, description="the lot that the map names, if it is not 'lot'"
    )

    def only(self, keys: Iterable[str], what: str) -> None:
        """Refuse a key that is set and is none of `keys`, the keys that apply to `what`."""
        keys = (*keys, "wafer", "lot")
        for key in type(self).model_fields:
            if getattr(self, key) is not None and key not in keys:
                said = ", ".join(k for k in type(self).model_fields if k in keys)
                raise ReadingError(key, f"found '{key}', which does not apply to {what}; expected one of {said}")


@dataclass(frozen=True, slots=True)
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
        reference: place of the reference device, None if it is unknown.
        kind: the format in words.
    """

    places: tuple[Place, ...]
    wafer: str = ""
    lot: str = ""
    notch: int | None = None
    quality: Mapping[str, str] = field(default_factory=dict)
    reference: Spot | None = None
    kind: str = ""

    @property
    def corner(self) -> Spot:
        """Column and row of the upper left corner."""
        return min(p.x for p in self.places), min(p.y for p in self.places)

    @property
    def extent(self) -> Spot:
        """Number of columns and of rows."""
        return _extent(self.places)

    def to_json(self) -> dict[str, Any]:
        """Return what a run stores of its map: notch, reference device, format, and (x, y) of every die."""
        return {
            "notch": self.notch,
            "reference": None if self.reference is None else list(self.reference),
            "kind": self.kind,
            "places": [[p.x, p.y] for p in self.places],
        }

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
            places=tuple(
                replace(p, excluded=reason) if (reason := p.excluded or named.get(p.name) or why(p)) else p
                for p in self.places
            ),
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
        raise BenchError(f"{where}: found '{text[:40]}' for {axis}, expected a whole number of at most 6 digits")
    return int(text)


def refuse_beyond(columns: int, rows: int, where: str) -> None:
    """Refuse more places than a map can have."""
    if columns * rows > MAX_PLACES:
        raise BenchError(
            f"{where}: found a map of {columns:,} x {rows:,} places, expected at most {MAX_PLACES:,} in all"
        )


def _extent(places: Sequence[Place]) -> Spot:
    across, down = [p.x for p in places], [p.y for p in places]
    return max(across) - min(across) + 1, max(down) - min(down) + 1


def from_corner(places: list[Place], corner: Corner | None) -> list[Place]:
    """Return places that count from `corner` as places that count from the upper left one, over the same numbers."""
    if corner in (None, "upper left"):
        return places
    across, down = _span(p.x for p in places), _span(p.y for p in places)
    return [
        moved(p, across - p.x if "right" in corner else p.x, down - p.y if "lower" in corner else p.y) for p in places
    ]


def moved(place: Place, x: int, y: int) -> Place:
    """Return a place with other coordinates: `dataclasses.replace` takes three times as long."""
    return Place(x, y, place.name, place.bin, place.excluded)


def _span(values: Iterable[int]) -> int:
    numbers = list(values)
    return min(numbers) + max(numbers) if numbers else 0


def whole(places: list[Place], where: str) -> WaferMap:
    """Return the map of `places`, named and in order.

    Raises:
        BenchError: it has no die, two of a place or name, or spans more than `MAX_PLACES`.
    """
    if not places:
        raise BenchError(f"{where}: the map has no die, expected at least one")
    refuse_beyond(*_extent(places), where)
    if far := next((p for p in places if max(abs(p.x), abs(p.y)) > FARTHEST), None):
        raise BenchError(
            f"{where}: a die lies at {named(far.x, far.y)} as the prober counts, expected {-FARTHEST:,} to {FARTHEST:,}"
        )
    ordered = [p if p.name else Place(p.x, p.y, named(p.x, p.y), p.bin, p.excluded) for p in places]
    ordered.sort(key=_by_row)
    spots: set[Spot] = set()
    for place in ordered:
        spot = (place.x, place.y)
        if spot in spots:
            raise BenchError(f"{where}: two dies have the place {named(*spot)}; expected one")
        spots.add(spot)
    if twice := alike(place.name for place in ordered):
        raise BenchError(f"{where}: of the dies {twice}; expected a name of its own for each")
    return WaferMap(tuple(ordered))


def _by_row(place: Place) -> Spot:
    return place.y, place.x
