"""Check that a chuck has moved as the wafer map says, after the prober has reported a step."""

from dataclasses import dataclass

from labctl.core.prober import Subsite
from labctl.core.units import Metre


@dataclass(frozen=True)
class ChuckPlace:
    """Place of a chuck.

    Args:
        die: its (column, row) on the map.
        subsite: None for the home of the die.
        xy: position of the chuck by its own axes, m.
    """

    die: tuple[int, int]
    subsite: Subsite | None
    xy: tuple[Metre, Metre]


def misled(start: ChuckPlace, end: ChuckPlace, pitch: tuple[Metre, Metre]) -> str:
    """Return the contradiction to a step from `start` to `end` on a map of that pitch, in operator words; "" if none.

    The directions of the axes of map and chuck do not matter. Half a pitch, or half the distance between two subsites
    of one die, distinguishes a step from none and one die from its neighbour.

    >>> misled(ChuckPlace((0, 0), None, (0.0, 0.0)), ChuckPlace((2, 0), None, (-10e-3, 0.0)), (5e-3, 5e-3))
    ''
    """
    before, after = ((0.0, 0.0) if p.subsite is None else (p.subsite.x, p.subsite.y) for p in (start, end))
    for axis, name in enumerate("xy"):
        dies, inside = abs(end.die[axis] - start.die[axis]) * pitch[axis], after[axis] - before[axis]
        moved = abs(end.xy[axis] - start.xy[axis])
        expected = min(abs(dies + inside), abs(dies - inside), key=lambda way: abs(way - moved))
        slack = abs(inside) / 2 if inside and start.die == end.die else pitch[axis] / 2
        if not abs(moved - expected) < slack:
            return (
                f"says that it stepped from die {start.die} to die {end.die}, but the chuck moved by "
                f"{moved * 1e6:.6g} um in {name} where the map says {expected * 1e6:.6g} um; look at the station. "
                "If the chuck was moved by hand meanwhile, step it to a die there and start again"
            )
    return ""
