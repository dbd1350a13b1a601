"""A resistor network seen from its terminals: currents, floating terminals and connected parts.

Everything here works on conductances between terminals, never on a nodal matrix, for the reason given
in `sim_backend._elimination`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy

from sim_backend._elimination import BoolArray, FloatArray, eliminated

IntArray = npt.NDArray[np.intp]

BATCH = 1 << 22  # numbers held at once
_CANCELLATION = 0.005  # largest current over largest (conductance x voltage), below which differences are formed first


class Floating(NamedTuple):
    """Terminals of which some float: weights of the driven ones on these, and conductances between the driven."""

    driven: IntArray
    open: IntArray
    weights: FloatArray  # (open, driven), rows sum to 1
    conductance: FloatArray  # (driven, driven) S


def current(conductance: FloatArray, voltage: FloatArray) -> FloatArray:
    """Return the currents into terminals joined by conductances (l, l) S at voltages (k, l) V, (k, l) A.

    Multiplies first and subtracts last, which is fast; takes differences first where that could lose digits.
    """
    total = conductance.sum(axis=1)
    currents: FloatArray = voltage * total - voltage @ conductance
    if not currents.size:
        return currents
    size = np.abs(voltage).max(axis=1) * total.max()
    poor = np.flatnonzero(np.abs(currents).max(axis=1) < _CANCELLATION * size)
    step = max(1, BATCH // conductance.size)
    for start in range(0, len(poor), step):
        v = voltage[poor[start : start + step]]
        currents[poor[start : start + step]] = np.einsum("ab,kab->ka", conductance, v[:, :, None] - v[:, None, :])
    return currents


def floated(conductance: FloatArray, mask: BoolArray) -> Floating:
    """Return terminals joined by conductances (l, l) S reduced by floating the lines of a mask (l,)."""
    driven, opened = np.flatnonzero(~mask), np.flatnonzero(mask)
    between = conductance[np.ix_(driven, driven)]
    if not len(opened):
        return Floating(driven, opened, np.zeros((0, len(driven))), between)
    to_driven = conductance[np.ix_(opened, driven)]
    inverse = eliminated(conductance[np.ix_(opened, opened)], to_driven.sum(axis=1))
    weights = inverse @ to_driven
    between = between + to_driven.T @ weights
    np.fill_diagonal(between, 0.0)
    return Floating(driven, opened, weights, between)


class Islands:
    """Connected parts of a crossbar, and so the cells with a defined voltage.

    Args:
        conductance: (m, n) S of the cells.
        r_row: (m, n) ohm, segments towards the sources, terminals included; infinite is broken.
        r_col: (m, n) ohm, segments towards the sense nodes, terminals included.
    """

    def __init__(self, conductance: FloatArray, r_row: FloatArray, r_col: FloatArray) -> None:
        m, n = conductance.shape
        row = np.arange(m * n).reshape(m, n)
        col, source, sense = row + m * n, 2 * m * n + np.arange(m), 2 * m * n + m + np.arange(n)
        links = [
            (row, col, conductance > 0.0),
            (np.column_stack([source, row[:, :-1]]), row, np.isfinite(r_row)),
            (np.vstack([col[1:], sense]), col, np.isfinite(r_col)),
        ]
        a, b = (np.concatenate([link[side][link[2]] for link in links]) for side in (0, 1))
        nodes = 2 * m * n + m + n
        count, label = scipy.sparse.csgraph.connected_components(
            scipy.sparse.coo_array((np.ones(len(a)), (a, b)), shape=(nodes, nodes)), directed=False
        )
        self._count, self._row, self._col, self._terminal = count, label[row], label[col], label[2 * m * n :]

    def undefined(self, floating: BoolArray) -> BoolArray:
        """Return which cells (k, m, n) touch a node without a path to a driven line; floating (k, m + n)."""
        held = np.zeros((len(floating), self._count), dtype=bool)
        vector, line = np.nonzero(~floating)
        held[vector, self._terminal[line]] = True
        return np.asarray(~(held[:, self._row] & held[:, self._col]))
