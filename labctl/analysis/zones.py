"""Zones of a wafer: centre, middle and edge, defined here only.

The wafer is a circle that its map just fits into, column by column and row by row: dies need not be square. Two circles
part it into three rings of equal area, so that each holds about a third of the dies and their yields can be compared.
"""

from collections.abc import Collection
from enum import StrEnum

LEAST = 4
"""Columns, and rows, of the smallest map that has zones; on a smaller one every die is at the edge."""


class Zone(StrEnum):
    """One of three rings of equal area, from the centre of the wafer."""

    CENTRE = "centre"
    MIDDLE = "middle"
    EDGE = "edge"


def zone_of(at: tuple[int, int], places: Collection[tuple[int, int]]) -> Zone | None:
    """Return the zone of a place by the distance of its centre from that of the map, None of a map that is too small.

    The distance is in radii of the wafer, in each direction half of the map; a circle of a third of the area has
    sqrt(1/3) of the radius.

    Args:
        at: (column, row).
        places: of all dies of the wafer, those that are not measured included.

    >>> six = [(x, y) for x in range(6) for y in range(4)]
    >>> [str(zone_of((x, 1), six)) for x in range(6)]
    ['edge', 'centre', 'centre', 'centre', 'centre', 'edge']
    """
    if not places:
        return None
    columns, rows = [x for x, _ in places], [y for _, y in places]
    wide, high = max(columns) - min(columns) + 1, max(rows) - min(rows) + 1
    if min(wide, high) < LEAST:
        return None
    x = (2 * at[0] - max(columns) - min(columns)) / wide
    y = (2 * at[1] - max(rows) - min(rows)) / high
    area = x * x + y * y  # of the circle on which the die lies, in areas of the wafer
    return Zone.CENTRE if area < 1 / 3 else Zone.MIDDLE if area < 2 / 3 else Zone.EDGE


def by_zone(zones: Collection[Zone | None]) -> dict[Zone, int]:
    """Return the number of dies in each zone, in order; empty if no die has one.

    >>> by_zone([Zone.EDGE, Zone.CENTRE, Zone.EDGE])
    {<Zone.CENTRE: 'centre'>: 1, <Zone.MIDDLE: 'middle'>: 0, <Zone.EDGE: 'edge'>: 2}
    """
    known = [zone for zone in zones if zone is not None]
    return {zone: known.count(zone) for zone in Zone} if known else {}
