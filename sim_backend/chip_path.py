"""The circuit of a 1T1R kernel with one gate open, in closed form for any number of patterns at once.

A closed gate is an open cell, so that with gate i open only row i of the array remains: a ladder, on whose rungs a
junction, its transistor and the rest of a column lead to the columns' terminals. With one column driven and the others
floating, as in a write, it is a single series path.

All of it is element by element and with a fixed number of passes, so that no pattern's result depends on the other
patterns of its batch. Transistors are resistors that saturate (see `sim_backend.chip_board`).
"""

from typing import NamedTuple

import numpy as np

from labctl.core.units import BoolArray, FloatArray
from sim_backend import mtj

_STEPS = 12
"""Newton steps of a path; 5 are usual."""
_PASSES = 4
"""Iterations over the rungs of a ladder; each gains three digits or more."""


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
    voltage: FloatArray, g_p: FloatArray, tmr: FloatArray, resistance: FloatArray, limit: FloatArray, *, v_half: float
) -> Path:
    """Return the condition of junctions behind resistors, at most `limit` A flowing.

    Args:
        voltage: (n,) V across the path.
        g_p: (n,) S, conductance of the junction in P or of its defect; 0 is an open.
        tmr: (n,), TMR at low bias of junctions in AP, 0 for all others.
        resistance: (n,) ohm in series: wires and transistor, finite.
        limit: (n,) A, saturation current or compliance, >= 0.
        v_half: bias at which the TMR is half, V.

    >>> path = series_path(*np.array([[0.5], [1e-3], [0.0], [1e3], [1.0]]), v_half=0.5)
    >>> path.junction.tolist(), path.current.tolist()
    ([0.25], [0.00025])
    """
    size = np.abs(voltage)
    v = _root(size, g_p, tmr, resistance, v_half)
    current = mtj.conductance(g_p, tmr, v, v_half) * v
    limited = current > limit
    over = np.flatnonzero(limited)
    if len(over):  # a junction that carries exactly its limit: a path without resistance, driven by a current
        v[over] = _voltage_at(limit[over], g_p[over], tmr[over], size[over], v_half)
        current[over] = limit[over]
    return Path(np.copysign(v, voltage), np.copysign(current, voltage), limited)


def _root(size: FloatArray, g_p: FloatArray, tmr: FloatArray, resistance: FloatArray, v_half: float) -> FloatArray:
    """Return v >= 0 with v + resistance g(v) v = size, by Newton kept within brackets; all (n,)."""
    low, high = np.zeros_like(size), size.copy()
    v = size / (1.0 + resistance * mtj.conductance(g_p, tmr, size, v_half))
    for _ in range(_STEPS):
        current, slope = _current(v, g_p, tmr, v_half)
        excess = v + resistance * current - size
        high = np.where(excess > 0.0, v, high)
        low = np.where(excess < 0.0, v, low)
        v = v - excess / (1.0 + resistance * slope)
        v = np.where((v < low) | (v > high), 0.5 * (low + high), v)
    return v


def _voltage_at(
    current: FloatArray, g_p: FloatArray, tmr: FloatArray, highest: FloatArray, v_half: float
) -> FloatArray:
    """Return v with g(v) v = current, which is below the current at `highest`; all (n,)."""
    low, high = np.zeros_like(current), highest.copy()
    v = np.minimum(current * (1.0 + tmr) / g_p, highest)
    for _ in range(2 * _STEPS):
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


class Ladder(NamedTuple):
    """Linear condition of n rows.

    Args:
        rung: (n_cols, n) V across the branches from row to column terminals.
        row_current: (n,) A out of the rows' sources.
    """

    rung: FloatArray
    row_current: FloatArray


def ladder(
    source: FloatArray, driven: BoolArray, branch: FloatArray, col: FloatArray, r_first: float, r_row: float
) -> Ladder:
    """Return the voltages along rows whose every rung is a conductance to a column's terminal.

    Args:
        source: (n,) V of the row; ignored where not `driven`, which then floats.
        branch: (n_cols, n) S; 0 is an open cell or a floating column.
        col: (n_cols, n) V.
        r_first: ohm, from the source to the first cell.
        r_row: ohm, between neighbours.
    """
    n_cols = len(branch)
    # Norton equivalent of everything from column j on: conductance and current; `load` is 1 + r_row conductance
    beyond, load = np.empty_like(branch), np.empty_like(branch)
    pushed = branch * col
    level = not pushed.any()  # columns at 0 V, as in every read, push nothing
    beyond[-1] = branch[-1]
    for j in range(n_cols - 2, -1, -1):
        load[j + 1] = 1.0 + r_row * beyond[j + 1]
        share = 1.0 / load[j + 1]
        beyond[j] = branch[j] + beyond[j + 1] * share
        if not level:
            pushed[j] += pushed[j + 1] * share
    current = (source * beyond[0] - pushed[0]) / (1.0 + r_first * beyond[0])
    floats = np.divide(pushed[0], beyond[0], out=np.zeros_like(source), where=beyond[0] > 0.0)
    node = np.where(driven, source - r_first * current, floats)
    rung = np.empty_like(branch)
    rung[0] = node
    for j in range(1, n_cols):
        node = node / load[j] if level else (node + r_row * pushed[j]) / load[j]
        rung[j] = node
    rung -= col
    return Ladder(rung, np.where(driven, current, 0.0))


class RowPoint(NamedTuple):
    """Static condition of n rows.

    Args:
        junction: (n_cols, n) V across the junctions.
        current: (n_cols, n) A out of the columns.
        branch: (n_cols, n) S from row to column terminal.
        row_current: (n,) A out of the rows' sources.
    """

    junction: FloatArray
    current: FloatArray
    branch: FloatArray
    row_current: FloatArray


def row_point(
    source: FloatArray,
    driven: BoolArray,
    g_p: FloatArray,
    tmr: FloatArray,
    col: FloatArray,
    floating: BoolArray,
    on: FloatArray,
    below: FloatArray,
    saturation: FloatArray,
    *,
    r_first: float,
    r_row: float,
    v_half: float,
) -> RowPoint:
    """Return the condition of rows of which one gate is open, bias dependence and saturation included.

    Args:
        source: (n,) V. driven: (n,), False is a floating row.
        g_p: (n_cols, n) S, as in `series_path`.
        tmr: (n_cols, n), as in `series_path`.
        col: (n_cols, n) V. floating: (n_cols, n), columns left open.
        on: (n,) ohm of the transistors. below: (n,) ohm from each column node to its terminal.
        saturation: (n,) A of the transistors.
        r_first: ohm, from the source to the first cell. r_row: ohm, between neighbours.
        v_half: bias at which the TMR is half, V.
    """
    closed = floating | (g_p == 0.0)
    across = np.where(closed, 0.0, source - col)
    junction = across
    series = on + below
    rungs = Ladder(across, np.zeros_like(source))
    branch = np.zeros_like(g_p)
    for _ in range(_PASSES):
        g = mtj.conductance(g_p, tmr, junction, v_half)
        branch = np.where(closed, 0.0, g / (1.0 + g * series))
        full = np.abs(across) * branch > saturation
        if full.any():
            branch = np.where(full, saturation / np.where(full, np.abs(across), 1.0), branch)
        rungs = ladder(source, driven, branch, col, r_first, r_row)
        across = rungs.rung
        junction = np.divide(across * branch, g, out=np.zeros_like(g), where=g > 0.0)
    return RowPoint(junction, across * branch, branch, rungs.row_current)
