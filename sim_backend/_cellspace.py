"""Solve a crossbar for one vector in the space of its cells, with an error bound that is checked.

One input vector does not pay for a factorization. The cell voltages are half of the nodal unknowns; with
``s = sqrt(G)``, wires as a cell-by-cell resistance Z and the cells' voltages e without wires, ``(1 + s Z s)
y = s e`` gives the cell currents ``s y``. The matrix is symmetric with eigenvalues >= 1, opens and zero
wires are ordinary, and conjugate gradients need few iterations, because wires are usually a perturbation.

The same lower bound of the spectrum gives a rigorous bound of the error of every line current from the
remaining residual (``bound``); a solution that is not proved exact is refused, and the caller eliminates
instead.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_LARGEST_KERNEL = 160  # cells per line up to which a dense product beats two cumulative sums
_EPS = float(np.finfo(np.float64).eps)


class Wires:
    """Voltage that cell currents drop on the wires: applies Z, (m, n) A to (m, n) V.

    Args:
        r_row: (m, n) ohm, segment left of each cell, source resistance added to the first; finite.
        r_col: (m, n) ohm, segment below each cell, sense resistance added to the last; finite.
    """

    def __init__(self, r_row: FloatArray, r_col: FloatArray) -> None:
        m, n = r_row.shape
        self._r_row, self._r_col = r_row, r_col
        to_source = np.add.accumulate(r_row, axis=1)
        to_sense = np.add.accumulate(r_col[::-1], axis=0)[::-1]
        self.own: FloatArray = to_source + to_sense
        self.least = 0.25 * (float(r_row.min()) + float(r_col.min()))  # a lower bound of Z's eigenvalues
        self._along: FloatArray | None = None
        self._down: FloatArray | None = None
        if max(m, n) <= _LARGEST_KERNEL:
            if (r_row == r_row[0]).all():
                self._along = np.minimum.outer(to_source[0], to_source[0])
            if (r_col == r_col[:, :1]).all():
                self._down = np.minimum.outer(to_sense[:, 0], to_sense[:, 0])

    def drop(self, current: FloatArray) -> FloatArray:
        """Return the voltage between each cell and its ideal terminals, (m, n) V."""
        add = np.add.accumulate
        if self._along is not None:
            rows = current @ self._along
        else:
            rows = add(self._r_row * add(current[:, ::-1], axis=1)[:, ::-1], axis=1)
        if self._down is not None:
            cols = self._down @ current
        else:
            cols = add((self._r_col * add(current, axis=0))[::-1], axis=0)[::-1]
        rows += cols
        return rows


class CellSolution(NamedTuple):
    """The (m, n) A through the cells and a bound of every line current's error, in A."""

    current: FloatArray
    bound: float


def solve_cells(
    conductance: FloatArray, wires: Wires, drive: FloatArray, *, iterations: int, tolerance: float
) -> CellSolution | None:
    """Return the cell currents, or None if they are not proved exact.

    Args:
        conductance: (m, n) S.
        wires: of the array.
        drive: (m, n) V, row voltage minus column voltage.
        iterations: conjugate gradient steps allowed.
        tolerance: of every row and column current, relative to the largest of them.

    Source of the method: M. R. Hestenes and E. Stiefel, J. Res. Natl. Bur. Stand. 49, 409 (1952), with
    diagonal scaling.
    """
    scale = 1.0 / (1.0 + conductance * wires.own)  # Jacobi, and the identity's part of the scaled matrix
    t = np.sqrt(conductance * scale)
    b = t * drive
    size = float(np.vdot(b, b))
    if not size < np.inf:
        return None
    x = np.zeros_like(b)
    if size == 0.0:
        return CellSolution(x, 0.0) if not b.any() else None
    # sums over a line of G / (1 + G z) and of residual^2 / (1 + G z) bound the error (Cauchy-Schwarz in
    # A^-1 <= 1 / (1 + G z))
    soft = 1.0 / (1.0 + conductance * wires.least)
    part = conductance * soft
    reach = max(float(part.sum(axis=0).max()), float(part.sum(axis=1).max()))
    weight = soft / scale
    hardest = reach * float(weight.max())
    r, done, goal, estimated = b.copy(), 0, (0.25 * _EPS) ** 2 * size, False
    for _ in range(2):
        p, rr = r.copy(), float(np.vdot(r, r))
        while rr > goal and done < iterations:
            q = wires.drop(t * p)
            q *= t
            q += scale * p
            step = rr / float(np.vdot(p, q))
            x += step * p
            r -= step * q
            before, rr = rr, float(np.vdot(r, r))
            p *= rr / before
            p += r
            done += 1
            if not estimated and rr < 1e-10 * size:  # the currents are now accurate enough to set the goal
                estimated, goal = True, max(goal, (0.25 * tolerance * _largest(t * x)) ** 2 / hardest)
        current = t * x
        r = b - t * wires.drop(current) - scale * x
        bound = float(np.sqrt(reach * np.vdot(r, weight * r)))
        if bound <= tolerance * _largest(current):
            return CellSolution(current, bound)
    return None


def _largest(current: FloatArray) -> float:
    """Return the largest row or column current of the cell currents (m, n) A."""
    return float(max(np.abs(current.sum(axis=0)).max(), np.abs(current.sum(axis=1)).max()))
