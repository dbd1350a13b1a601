"""Zones of a wafer: centre, middle and edge, defined here only.

The wafer is a circle that its map just fits into, column by column and row by row: dies need not be square. Two circles
part its dies into three rings that hold a third of them each, and with it a third of their area, so that yields can be
compared. Dies at one distance from the centre are in one zone, and the thirds as exact as distances allow: a map of 12
dies at two distances has 4 in the centre, none in the middle and 8 at the edge.
"""

import math
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache

LEAST = 4
"""Columns, and rows, of the smallest map that has zones; on a smaller one every die is at the edge."""


class Zone(StrEnum):
    """One of three rings, each of a third of the dies of the wafer as nearly as can be, from its centre."""

    CENTRE = "centre"
    MIDDLE = "middle"
    EDGE = "edge"


def zone_of(at: tuple[int, int], places: Collection[tuple[int, int]]) -> Zone | None:
    """Return the zone of a place by the distance of its centre from that of the map, None of a map that is too small.

    Distances are in radii of the wafer, in each direction half of the map. Dies at one distance are in the zone in
    which the middle one of them is, when all dies of the wafer are counted from the centre.

    Args:
        at: (column, row).
        places: of all dies of the wafer, those that are not measured included.

    >>> six = [(x, y) for x in range(6) for y in range(4)]
    >>> [str(zone_of((x, 1), six)) for x in range(6)]
    ['middle', 'centre', 'centre', 'centre', 'centre', 'middle']
    """
    rings = _rings(tuple(places))
    if rings is None:
        return None
    distance = rings.distance(at)
    return Zone.CENTRE if distance < rings.middle else Zone.MIDDLE if distance < rings.edge else Zone.EDGE


@dataclass(frozen=True)
class _Rings:
    """The distances at which middle and edge begin, and what they are distances from.

    Args:
        middle, edge: as `distance` gives them.
        twice: (column, row) of the centre of the map, times 2.
        size: columns and rows.
    """

    middle: float
    edge: float
    twice: tuple[int, int]
    size: tuple[int, int]

    def distance(self, at: tuple[int, int]) -> int:
        """Return the square of a distance: a whole number, so that equal ones are equal."""
        (x, y), (wide, high) = self.twice, self.size
        return ((2 * at[0] - x) * high) ** 2 + ((2 * at[1] - y) * wide) ** 2


@lru_cache(maxsize=16)
def _rings(places: tuple[tuple[int, int], ...]) -> _Rings | None:
    """Return the rings of a map, None of one that is too small."""
    if not places:
        return None
    columns, rows = [x for x, _ in places], [y for _, y in places]
    size = (max(columns) - min(columns) + 1, max(rows) - min(rows) + 1)
    if min(size) < LEAST:
        return None
    rings = _Rings(math.inf, math.inf, (max(columns) + min(columns), max(rows) + min(rows)), size)
    before, middle, edge = 0, math.inf, math.inf
    for distance, number in sorted(Counter(map(rings.distance, places)).items()):
        half = 3 * (2 * before + number)  # of 6 for every die
        middle = min(middle, distance) if half >= 2 * len(places) else middle
        edge = min(edge, distance) if half >= 4 * len(places) else edge
        before += number
    return replace(rings, middle=middle, edge=edge)


def by_zone(zones: Collection[Zone | None]) -> dict[Zone, int]:
    """Return the number of dies in each zone, in order; empty if no die has one.

    >>> by_zone([Zone.EDGE, Zone.CENTRE, Zone.EDGE])
    {<Zone.CENTRE: 'centre'>: 1, <Zone.MIDDLE: 'middle'>: 0, <Zone.EDGE: 'edge'>: 2}
    """
    known = [zone for zone in zones if zone is not None]
    return {zone: known.count(zone) for zone in Zone} if known else {}
