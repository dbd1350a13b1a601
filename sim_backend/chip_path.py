"""A cell of a chip written by itself: a series path from its row to its column.

With one gate open, its row and one column driven and all other columns floating, nothing else of the array remains.
Element by element, so that no path's result depends on the other paths of its batch. Voltages count from the columns'
sense reference.
"""

from typing import NamedTuple

import numpy as np

from labctl.core.units import Ampere, BoolArray, FloatArray
from sim_backend import mtj
from sim_backend.chip_cell import StackLaw, Stacks

_STEPS = 24
"""Newton steps of a junction that carries a given current; 5 are usual."""


class Path(NamedTuple):
    """Static condition of n series paths; signs are those of the voltages applied.

    Args:
        junction: (n,) V across the junctions.
        current: (n,) A.
        limited: (n,), the current is at its limit.
    """

    junction: FloatArray
    current: FloatArray
    limited: BoolArray


def series_path(
    law: StackLaw,
    row: FloatArray,
    col: FloatArray,
    stacks: Stacks,
    beside: FloatArray,
    below: FloatArray,
    limit: Ampere,
) -> Path:
    """Return the condition of cells between a row and a column, at most `limit` A flowing.

    Args:
        row: (n,) V at its source. col: (n,) V at its end.
        stacks: (n,) each.
        beside: (n,) ohm between row and cell. below: (n,) ohm between cell and column.
        limit: A, compliance, > 0.
    """
    v = law.solve(row, col, stacks, below, beside)
    current = mtj.conductance(stacks.g_p, stacks.tmr, v, law.v_half) * v
    limited = np.abs(current) > limit
    over = np.flatnonzero(limited)
    if len(over):  # a junction that carries exactly its limit: a path without resistance, driven by a current
        most, highest = np.full(len(over), limit), np.abs(v[over])
        sign = np.sign(v[over])
        v[over] = sign * _voltage_at(most, stacks.g_p[over], stacks.tmr[over], highest, law.v_half)
        current[over] = sign * limit
    return Path(v, current, limited)


def _voltage_at(
    current: FloatArray, g_p: FloatArray, tmr: FloatArray, highest: FloatArray, v_half: float
) -> FloatArray:
    """Return v with g(v) v = current, which is below the current at `highest`; all (n,)."""
    low, high = np.zeros_like(current), highest.copy()
    v = np.minimum(current * (1.0 + tmr) / g_p, highest)
    for _ in range(_STEPS):
        through, slope = _current(v, g_p, tmr, v_half)
        excess = through - current
        high = np.where(excess > 0.0, v, high)
        low = np.where(excess < 0.0, v, low)
        v = v - excess / slope
        v = np.where((v < low) | (v > high), 0.5 * (low + high), v)
    return v


def _current(v: FloatArray, g_p: FloatArray, tmr: FloatArray, v_half: float) -> tuple[FloatArray, FloatArray]:
    """Return the current of junctions at v, and its slope."""
    over = np.square(v * (1.0 / v_half))
    w = 1.0 + over
    g = g_p * (w / (w + tmr))
    return g * v, g + 2.0 * g_p * over * tmr / np.square(w + tmr)
