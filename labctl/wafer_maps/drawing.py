"""Draw a wafer map that was read in a few lines of text, to be checked before needles go there."""

import string
from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from labctl.wafer_maps.model import Spot, WaferMap
from labctl.wafer_maps.picture import NOTCH

WIDE, HIGH = 60, 24
"""Most marks of a drawing, across and down."""
_LEFT_OUT, _REFERENCE, _FIDUCIAL, _DIE, _NONE = "o", "@", "+", "X", "."
_MEANING = {_LEFT_OUT: "left out", _REFERENCE: "reference device", _FIDUCIAL: "fiducial"}
_MARKS = [*string.digits, *(c for c in string.ascii_letters if c not in "oXx")]


def describe(wafer_map: WaferMap, source: str, fiducials: Collection[Spot] = ()) -> Iterator[str]:
    """Yield a summary of a map (format, extent, dies, bins, notch, identity), then a drawing with a mark per place.

    The mark of a die is its bin if that is one character, else the one that the summary gives its bin, else X; a place
    without a die is a point. A map that is larger than `WIDE` by `HIGH` is drawn with one mark for several places: X if
    a die is among them.

    Args:
        fiducials: places that are measured before the first die.

    >>> from labctl.wafer_maps.csv_map import parse_csv
    >>> for line in describe(parse_csv("x,y,bin\\n1,0,1\\n0,1,7\\n1,1,1"), "lot.csv"):
    ...     print(line)
    map lot.csv (CSV table): 3 dies, 2 x 2, x 0 to 1, y 0 to 1; bin 1: 2, bin 7: 1; the notch is not known
      .1
      71
    """
    (left, top), (columns, rows) = wafer_map.corner, wafer_map.extent
    step_x, step_y = -(-columns // WIDE), -(-rows // HIGH)
    scaled = max(step_x, step_y) > 1
    bins = Counter(p.bin for p in wafer_map.places if p.bin)
    of_bins = {} if scaled else _marks_of(bins)
    yield f"map {source} ({wafer_map.kind}): {'; '.join(_summary(wafer_map, bins, of_bins))}"
    marks = {(p.x, p.y): of_bins.get(p.bin, _DIE) for p in wafer_map.places if not p.excluded}
    if scaled:
        yield f"  one mark for {step_x} x {step_y} places"
        marks = {((x - left) // step_x * step_x + left, (y - top) // step_y * step_y + top): _DIE for x, y in marks}
    for place in wafer_map.places:
        at = (place.x - left) // step_x * step_x + left, (place.y - top) // step_y * step_y + top
        if place.excluded and at not in marks:
            marks[at] = _LEFT_OUT
    special = {_FIDUCIAL: fiducials, _REFERENCE: () if wafer_map.reference is None else (wafer_map.reference,)}
    outside = [at for at in fiducials if not (0 <= at[0] - left < columns and 0 <= at[1] - top < rows)]
    if not scaled:
        marks |= {at: mark for mark, spots in special.items() for at in spots if at not in outside}
    used = {mark: meaning for mark, meaning in _MEANING.items() if mark in marks.values()}
    if used:
        yield "  " + ", ".join(f"{mark} is {meaning}" for mark, meaning in used.items())
    if wafer_map.notch == 180:
        yield "  " + "v".center(min(columns, -(-columns // step_x)))
    drawn_rows = -(-rows // step_y)
    for k in range(drawn_rows):
        y = top + k * step_y
        line = "".join(marks.get((left + j * step_x, y), _NONE) for j in range(-(-columns // step_x)))
        middle = k == drawn_rows // 2
        before = ">" if middle and wafer_map.notch == 90 else " "
        yield f" {before}{line}{'<' if middle and wafer_map.notch == 270 else ''}"
    if wafer_map.notch == 0:
        yield "  " + "^".center(-(-columns // step_x)).rstrip()
    if outside:
        yield "  fiducials outside of the drawing: " + ", ".join(f"x{x}y{y}" for x, y in outside)


def _summary(wafer_map: WaferMap, bins: Mapping[str, int], of_bins: Mapping[str, str]) -> Iterator[str]:
    (left, top), (columns, rows) = wafer_map.corner, wafer_map.extent
    number, excluded = len(wafer_map.places), len(wafer_map.excluded)
    parts = [f"{number:,} dies" if number > 1 else "1 die", f"{columns:,} x {rows:,}"]
    parts += [f"x {left} to {left + columns - 1}", f"y {top} to {top + rows - 1}"]
    yield ", ".join(parts + ([f"{excluded:,} left out"] if excluded else []))
    shown = sorted(bins.items())
    texts = [
        f"bin {name}"
        + (f" (drawn {of_bins[name]})" if of_bins.get(name, name) != name else "")
        + (f" {wafer_map.quality[name]}" if wafer_map.quality.get(name) else "")
        + f": {count:,}"
        for name, count in shown[:20]
    ]
    yield ", ".join([*texts, *([f"{len(shown) - 20} more bins"] if len(shown) > 20 else [])]) or "no bins"
    yield "the notch is not known" if wafer_map.notch is None else f"the notch is {NOTCH[wafer_map.notch]}"
    if wafer_map.reference is not None:
        yield "the reference device is x{}y{}".format(*wafer_map.reference)
    for what, name in (("wafer", wafer_map.wafer), ("lot", wafer_map.lot)):
        if name:
            yield f"{what} {name}"


def _marks_of(bins: Collection[str]) -> dict[str, str]:
    """Return the mark of each bin; none if there are more bins than marks."""
    if all(name in _MARKS for name in bins):
        return {name: name for name in bins}
    return dict(zip(sorted(bins), _MARKS, strict=False)) if len(bins) <= len(_MARKS) else {}
