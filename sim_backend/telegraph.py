"""Telegraph noise: what a reading sees of a cell that switches back and forth within it.

A cell of low thermal stability leaves its state and returns many times in one aperture, each time after a dwell that is
exponentially distributed, with the rates of the switching law at its voltage. A reading is the mean of its conductance
over the aperture. A few transitions are drawn one by one. Of many, the share of time in a state is normal, with the
mean p = k_out / (k_out + k_back) and the variance of the mean of a telegraph signal over T,

    2 p (1 - p) / (k T) (1 - (1 - exp(-k T)) / (k T)),    k = k_out + k_back,

which follows from its autocovariance p (1 - p) exp(-k |t|) (Machlup, J. Appl. Phys. 25, 341 (1954)). The spectrum of
that is a Lorentzian with its corner at k / 2 pi."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy

from labctl.core.units import BoolArray, FloatArray, IntArray, Ratio
from sim_backend import mtj

_MANY = 400.0
"""Transitions in a reading beyond which they are not drawn one by one."""
_AT_ONCE = 64

Draw = Callable[[int, int], FloatArray]
"""(cell, count) -> that many uniforms of this cell's own sequence."""


class Seen(NamedTuple):
    """Cells that leave their state within a reading.

    Args:
        cells: (k,) their numbers.
        share: (k,) part of the aperture that each is in its other state.
        switched: (k,) whether it ends there.
    """

    cells: IntArray
    share: FloatArray
    switched: BoolArray


def follow(out: FloatArray, back: FloatArray, opens: Ratio, uniform: FloatArray, draw: Draw) -> Seen:
    """Return what a reading sees of cells that leave their state during it.

    Args:
        out: (cells,) rate of leaving the present state times the duration of the reading, settling included.
        back: (cells,) the same of the other state.
        opens: when the aperture begins; it ends with the reading, at 1.
        uniform: (cells,) random numbers; a cell leaves at least once if that is below its probability.
        draw: gives more of them.
    """
    index = np.flatnonzero(uniform < -np.expm1(-out))
    begins = -np.log1p(-uniform[index]) / out[index]  # the first departure, by inverse transform
    ways = [
        _occupancy(float(t), float(out[i]), float(back[i]), opens, int(i), draw)
        for i, t in zip(index, begins, strict=True)
    ]
    share, switched = np.array(ways, np.float64).reshape(-1, 2).T
    return Seen(index, share, switched > 0.5)


def _occupancy(first: float, out: float, back: float, opens: Ratio, cell: int, draw: Draw) -> tuple[float, bool]:
    """Return the share of the aperture in the other state, and whether the cell ends there."""
    both = out + back
    if both > _MANY:
        p, span = out / both, both * (1.0 - opens)
        variance = 2.0 * p * (1.0 - p) / span * (1.0 + np.expm1(-span) / span)
        u = draw(cell, 2)
        share = p + np.sqrt(variance) * float(scipy.special.ndtri(u[0]))
        return float(np.clip(share, 0.0, 1.0)), bool(u[1] < p)
    time, away, inside, used = first, True, 0.0, 0
    waits = -np.log(draw(cell, _AT_ONCE))
    while time < 1.0:
        if used == len(waits):
            waits = -np.log(draw(cell, 2 * len(waits)))  # the sequence begins with those that were used
        rate = back if away else out
        after = time + waits[used] / rate if rate > 0.0 else np.inf
        if away:
            inside += max(min(after, 1.0) - max(time, opens), 0.0)
        time, away, used = after, not away, used + 1
    # the last transition lies beyond the end
    return inside / (1.0 - opens), not away


def mean_tmr(
    g_p: FloatArray, ap: BoolArray, tmr0: FloatArray, share: FloatArray, voltage: FloatArray, v_half: float
) -> FloatArray:
    """Return the TMR at low bias of cells that conduct like those that spend `share` of the time in their other state.

    Args:
        g_p: S. ap: whether the state is AP. tmr0: of the cells in AP. voltage: V across them. v_half: V.
    """
    in_ap = np.where(ap, 1.0 - share, share)
    mean = in_ap * mtj.conductance(g_p, tmr0, voltage, v_half) + (1.0 - in_ap) * g_p
    return np.asarray((g_p / mean - 1.0) * (1.0 + np.square(voltage / v_half)))
