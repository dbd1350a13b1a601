"""Places of a map as rows and columns of a file, turned and moved to where the prober counts them.

Rows are in the file as the map is seen, the first on top. The origin is where X and Y of reference devices, and of
places that are listed one by one, begin; the notch is turned in degrees clockwise from the bottom.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from labctl.core.errors import BenchError
from labctl.wafer_maps.model import (
    Corner,
    MapReading,
    Place,
    ReadingError,
    Spot,
    WaferMap,
    from_corner,
    moved,
    refuse_beyond,
    whole,
    whole_number,
)

_CORNERS: Mapping[str, Corner] = {"1": "upper right", "2": "upper left", "3": "lower left", "4": "lower right"}
_KEYS = ("notch", "reference", "reference_device", "first")
_INWARD = {"upper right": "downleft", "upper left": "downright", "lower left": "upright", "lower right": "upleft"}


@dataclass(frozen=True)
class Raster:
    """The places of a map, before they are turned and moved.

    Args:
        places: column and row from the upper left corner, from 0; listed places as the file counts.
        extent: columns and rows.
        about: attributes of the map: orientation, originlocation, axisdirection.
        references: X and Y of the reference devices, as the file has them.
        listed: whether places are listed one by one with X and Y.
        first: what X and Y of a reference device count from if nobody says so; None if that has to be said.
    """

    places: list[Place]
    extent: Spot
    about: Mapping[str, str]
    references: Sequence[tuple[str, str]] = ()
    listed: bool = False
    first: int | None = None

    def placed(self, reading: MapReading, kind: str, where: str) -> WaferMap:
        """Return the map with its notch at `reading.notch` and its reference device at `reading.reference`.

        Raises:
            BenchError: with `where`; `ReadingError` for a key that does not apply or is missing.
        """
        if reading.reference is None and (reading.first, reading.reference_device) != (None, None):
            key = "first" if reading.first is not None else "reference_device"
            raise ReadingError(key, f"found '{key}' without 'reference', of which it is a part; expected both or none")
        says_origin = bool(self.about.get("originlocation") or self.about.get("axisdirection"))
        if says_origin:
            reading.only(_KEYS, f"{kind} that says its origin itself")
        reading.only((*_KEYS, "origin"), kind)
        if reading.origin is not None and not (self.listed or reading.reference is not None):
            raise ReadingError("origin", "found 'origin', and nothing in this map counts from it; expected it left out")
        places, reference, corner = self.places, None, (0, 0)
        if self.listed:
            places, corner = self._from_numbers(reading, where)
        notch = _angle(self.about.get("orientation", ""), where)
        if reading.reference is not None:
            reference = self._reference(reading, corner, where)
        extent = self.extent
        quarters = 0
        if reading.notch is not None:
            if notch is None:
                raise ReadingError(
                    "notch",
                    f"{where}: the map says no Orientation, so it cannot be turned to a notch at {reading.notch}",
                )
            quarters = (reading.notch - notch) % 360 // 90
            notch = reading.notch
        if quarters and self.listed and reference is None:
            raise ReadingError(
                "notch", "found a map to be turned that lists places by numbers; expected 'reference' as well"
            )
        if quarters:
            places = [moved(p, *turned((p.x, p.y), extent, quarters)) for p in places]
            reference = reference and turned(reference, extent, quarters)
        right, down = corner
        if reading.reference is not None and reference is not None:
            right, down = reading.reference[0] - reference[0], reading.reference[1] - reference[1]
            reference = reading.reference
        if right or down:
            places = [moved(p, p.x + right, p.y + down) for p in places]
        return replace(whole(places, where), notch=notch, reference=reference, kind=kind)

    def _from_numbers(self, reading: MapReading, where: str) -> tuple[list[Place], Spot]:
        """Return listed places from the upper left corner, from 0, and the numbers of that corner."""
        origin, axes = self._origin(reading, where)
        corner = (
            cast(Corner, next(c for c, inward in _INWARD.items() if inward == axes)) if origin == "center" else origin
        )
        places = from_corner(self.places, cast(Corner, corner))
        left, top = min(p.x for p in places), min(p.y for p in places)
        return [moved(p, p.x - left, p.y - top) for p in places], (left, top)

    def _reference(self, reading: MapReading, corner: Spot, where: str) -> Spot:
        """Return (column, row) of the reference device from the upper left corner, from 0."""
        if not self.references:
            raise ReadingError(
                "reference", f"{where}: the map has no ReferenceDevice, expected the one that 'reference' is about"
            )
        which = reading.reference_device
        if which is None and len(set(self.references)) > 1:
            raise ReadingError(
                "reference",
                f"{where}: the map has {len(self.references)} reference devices; expected 'reference_device', which of "
                "them 'reference' is about, counted from 1",
            )
        if (which or 1) > len(self.references):
            raise ReadingError(
                "reference_device",
                f"found {which}, expected 1 to {len(self.references)}: so many reference devices has {where}",
            )
        texts = self.references[(which or 1) - 1]
        x, y = (whole_number(t, f"ReferenceDevice{a}", where) for t, a in zip(texts, "XY", strict=True))
        origin, axes = self._origin(reading, where)
        across, down = self.extent
        if self.listed:
            if reading.first is not None:
                raise ReadingError(
                    "first", "found 'first', and this map lists places by the numbers of its own; expected it left out"
                )
            numbers = [(p.x, p.y) for p in self.places]
            spans = [min(n[k] for n in numbers) + max(n[k] for n in numbers) for k in (0, 1)]
            at = (spans[0] - x if "left" in axes else x) - corner[0], (spans[1] - y if "up" in axes else y) - corner[1]
        elif origin == "center":
            if reading.first is not None:
                raise ReadingError(
                    "first", "found 'first', and this map counts from its centre, from 0; expected it left out"
                )
            if not (across % 2 and down % 2):
                raise BenchError(f"{where}: OriginLocation is the centre, and a map of {across} x {down} has none")
            at = (across // 2 + (x if "right" in axes else -x), down // 2 + (y if "down" in axes else -y))
        else:
            first = self.first if reading.first is None else reading.first
            if first is None:
                raise ReadingError(
                    "first",
                    f"{where}: files of this format count the reference device from 0 or from 1; expected 'first' "
                    "beside 'reference'",
                )
            x, y = x - first, y - first
            at = (x if "left" in origin else across - 1 - x, y if "upper" in origin else down - 1 - y)
        if not (0 <= at[0] < across and 0 <= at[1] < down):
            counted = "" if self.listed or origin == "center" else f"; its numbers are said to count from {first}"
            raise BenchError(
                f"{where}: the reference device is at column {at[0]}, row {at[1]} of a map of {across} x {down}, "
                "expected within it" + counted
            )
        return at

    def _origin(self, reading: MapReading, where: str) -> tuple[str, str]:
        """Return the origin ("center" or a corner in words) and the directions in which X and Y grow."""
        words = {c.replace(" ", ""): c for c in _CORNERS.values()}
        text = self.about.get("originlocation", "").lower().removeprefix("to")
        axes = self.about.get("axisdirection", "").lower()
        if axes and axes not in _INWARD.values():
            raise BenchError(f"{where}: AxisDirection is '{axes}', expected DownRight, DownLeft, UpRight or UpLeft")
        if not text and axes:
            text = next(c for c, inward in _INWARD.items() if inward == axes).replace(" ", "")
        if not text and reading.origin is not None:
            text = reading.origin.replace(" ", "")
        if not text:
            raise ReadingError(
                "origin",
                f"{where}: the map says neither OriginLocation nor AxisDirection, and writers differ in what they "
                "mean; expected 'origin', the corner from which X and Y grow",
            )
        origin = "center" if text in ("0", "center", "centre") else _CORNERS.get(text) or words.get(text)
        if origin is None:
            raise BenchError(f"{where}: OriginLocation is '{text}', expected 0 (centre) or 1 to 4 (corners)")
        axes = axes or _INWARD.get(origin, "downright")
        if origin in _INWARD and axes != _INWARD[origin]:
            raise BenchError(f"{where}: AxisDirection {axes} leads out of a map that begins at its {origin}")
        return origin, axes


def rectangle(rows: Sequence[Sequence[str]], about: Mapping[str, str], where: str) -> Spot:
    """Return columns and rows; BenchError if rows differ in length, or from what the file says."""
    columns = len(rows[0]) if rows else 0
    for what, there in (("rows", len(rows)), ("columns", columns)):
        said = about.get(what)
        if said and whole_number(said, what.capitalize(), where) != there:
            raise BenchError(f"{where}: found {there} {what} of codes, expected {said} as the file says")
    for k, row in enumerate(rows, start=1):
        if len(row) != columns:
            raise BenchError(f"{where}: row {k}: found {len(row)} codes, expected {columns} as in row 1")
    refuse_beyond(columns, len(rows), where)
    return columns, len(rows)


def _angle(text: str, where: str) -> int | None:
    """Return the place of the notch in degrees clockwise from the bottom, None if the file has none."""
    if not text:
        return None
    if text not in ("0", "90", "180", "270"):
        raise BenchError(f"{where}: Orientation is '{text[:20]}', expected 0, 90, 180 or 270")
    return int(text)


def turned(spot: Spot, extent: Spot, quarters: int) -> Spot:
    """Return a place after so many quarters of a turn clockwise; both count from the upper left corner, from 0.

    >>> [turned((0, 1), (4, 3), quarters) for quarters in (1, 2, 3)]
    [(1, 0), (3, 1), (1, 3)]
    """
    (x, y), (columns, rows) = spot, extent
    return {1: (rows - 1 - y, x), 2: (columns - 1 - x, rows - 1 - y), 3: (y, columns - 1 - x)}.get(quarters % 4, spot)
