"""A wafer map that was read, in a few lines of text: what the suite understood, before needles go there."""

from collections import Counter
from collections.abc import Iterator

from labctl.wafermap import WaferMap

WIDE, HIGH = 60, 24
"""Most marks of a drawing, across and down."""


def describe(wafer_map: WaferMap, source: str) -> Iterator[str]:
    """Yield what a map says: extent, number of dies, bins, then a drawing: X is a die, o one left out, . none.

    A map that is larger than `WIDE` by `HIGH` is drawn with one mark for several places: X if a die is among them.

    >>> from labctl.csvmap import parse_csv
    >>> for line in describe(parse_csv("x,y,bin\\n1,0,1\\n0,1,7\\n1,1,1"), "lot.csv"):
    ...     print(line)
    map lot.csv: 3 dies, x 0 to 1, y 0 to 1; bin 1: 2, bin 7: 1
      .X
      XX
    """
    places, excluded = wafer_map.places, wafer_map.excluded
    left, right = min(p.x for p in places), max(p.x for p in places)
    top, bottom = min(p.y for p in places), max(p.y for p in places)
    bins = Counter(p.bin for p in places if p.bin)
    parts = [f"{len(places):,} dies" if len(places) > 1 else "1 die", f"x {left} to {right}", f"y {top} to {bottom}"]
    if excluded:
        parts.append(f"{len(excluded):,} left out")
    counted = ", ".join(f"bin {name}: {number:,}" for name, number in sorted(bins.items()))
    identity = [f"{what} {said}" for what, said in (("wafer", wafer_map.wafer), ("lot", wafer_map.lot)) if said]
    yield f"map {source}: " + "; ".join(filter(None, [", ".join(parts), counted or "no bins", *identity]))
    step_x, step_y = -(-(right - left + 1) // WIDE), -(-(bottom - top + 1) // HIGH)
    marks = {((p.x - left) // step_x, (p.y - top) // step_y): "o" for p in places if p.excluded}
    marks |= {((p.x - left) // step_x, (p.y - top) // step_y): "X" for p in places if not p.excluded}
    if max(step_x, step_y) > 1:
        yield f"  one mark for {step_x} x {step_y} places"
    for y in range((bottom - top) // step_y + 1):
        yield "  " + "".join(marks.get((x, y), ".") for x in range((right - left) // step_x + 1))
