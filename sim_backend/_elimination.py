"""Eliminate a crossbar to its line terminals without ever subtracting, so that no digits cancel.

A short of 0.01 ohm beside an open, on wires of a micro-ohm, makes nodal matrices whose condition number exceeds 1e16:
any method that forms a diagonal and subtracts from it has lost all digits of some current. Eliminating a node of a
resistor network (the star-mesh transformation) needs additions, products and quotients of positive numbers only. So
this module never stores a diagonal. It keeps conductances between nodes, and forms a node's total as their sum. Every
result is then right to a few units in the last place, entry by entry, for any contrast; a conductance of 0 and a
resistance of 0 or infinity need no special value. The principle is the GTH elimination of Markov chains (W. K.
Grassmann, M. I. Taksar and D. P. Heyman, Oper. Res. 33, 1107 (1985)); its entrywise accuracy for diagonally dominant
M-matrices is shown by A. S. Alfa, J. Xue and Q. Ye, Math. Comp. 71, 217 (2002).

The order is: each column's chain of nodes (closed form, all columns at once), then the row nodes column after column
from the far end towards the sources, a dense block of n_rows nodes at a time. One module, because
`ChainSweep` is the order in which `Chains` and the dense elimination are applied.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import scipy

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_PIVOT_KEPT = 0.2  # part of a diagonal entry that Cholesky must leave in its pivot: below it digits are lost
_NO_WIRE = 1e150  # S; a segment beyond it is no resistance at all
_SMALLEST_PRODUCT = 1e-140  # of damping factors along a column, before quotients of them might underflow


def eliminated(off: FloatArray, ground: FloatArray) -> FloatArray:
    """Return the inverse of ``diag(off.sum(axis=1) + ground) - off``, every entry exact to the last places.

    Args:
        off: (n, n) S, conductances between the eliminated nodes; symmetric, >= 0, diagonal ignored.
        ground: (n,) S, conductance from each to all remaining nodes.

    Returns:
        (n, n) ohm, >= 0. A node without a path to any remaining node is left out: the last node of
        such a group has zeros in its row and column.
    """
    n = len(ground)
    a = np.array(off, dtype=np.float64, order="F")
    g = np.array(ground, dtype=np.float64)
    pivot = np.empty(n)
    for p in range(n - 1):
        row = a[p + 1 :, p]
        pivot[p] = total = row.sum() + g[p]
        if total > 0.0:
            share = row / total
            a[p + 1 :, p + 1 :] += np.outer(share, row)
            g[p + 1 :] += share * g[p]
            a[p + 1 :, p] = share
        else:
            a[p + 1 :, p] = 0.0
    pivot[n - 1] = g[n - 1]
    # The matrix is (1 - L) diag(pivot) (1 - L)^T with L >= 0, so (1 - L)^-1 is a sum of positive terms too.
    inverse, _ = scipy.linalg.lapack.dtrtri(-a, lower=1, unitdiag=1)
    inverse = np.tril(inverse, -1)
    inverse[np.diag_indices(n)] = 1.0
    weight = np.divide(1.0, pivot, out=np.zeros(n), where=pivot > 0.0)
    return np.asarray(inverse.T @ (weight[:, None] * inverse))


def eliminated_quickly(nodal: FloatArray, ground: FloatArray, ones: FloatArray, least: float) -> FloatArray:
    """Return the same as `eliminated`, by Cholesky where that keeps all digits.

    Args:
        nodal: (n, n) S, minus the conductances between the eliminated nodes, column-major, **lower triangle valid**
            (the upper one is not read); its diagonal is overwritten.
        ground: (n,) S as in `eliminated`.
        ones: (n,) of ones.
        least: S, a lower bound of `ground`, and so of the pivots.

    Returns:
        The inverse, (n, n) ohm, lower triangle valid.
    """
    diagonal = nodal.ravel(order="K")[:: len(ones) + 1]
    diagonal[:] = 0.0
    total = scipy.linalg.blas.dsymv(-1.0, nodal, ones, beta=1.0, y=ground, lower=1)
    diagonal[:] = total
    factor, failed = scipy.linalg.lapack.dpotrf(nodal, lower=1)
    if not failed:
        kept = factor.ravel(order="K")[:: len(ones) + 1]
        if least >= _PIVOT_KEPT * total.max() or (kept * kept >= _PIVOT_KEPT * total).all():
            inverse, _ = scipy.linalg.lapack.dpotri(factor, lower=1, overwrite_c=1)
            return np.asarray(inverse)
    return eliminated(mirrored(-nodal), ground)


def mirrored(lower: FloatArray) -> FloatArray:
    """Return the symmetric matrix whose lower triangle is given, with a zero diagonal."""
    strict = np.tril(lower, -1)
    return strict + strict.T


class Chains:
    """The columns of a crossbar, each reduced to conductances between its row nodes and its sense terminal.

    Args:
        conductance: (m, n) S of the cells.
        r_col: (m, n) ohm, the segment below each cell, the sense resistance added to the last.

    Attributes:
        to_sense: (m, n) S from row node (i, j) through cell (i, j) to the sense terminal of column j.

    Going down a column, the nodes above segment i are seen from it as ``total[i]`` siemens; ``damping[i]``
    of the current that enters node i from above leaves it downwards, and ``mesh[i] = resistance[i] * damping[i]``
    scales the coupling between row nodes that remains after its elimination.
    """

    def __init__(self, conductance: FloatArray, r_col: FloatArray) -> None:
        m, n = conductance.shape
        self.conductance = conductance
        self.total = total = np.empty((m, n))
        self.damping = damping = np.empty((m, n))
        broken = r_col == np.inf
        cut = list(broken) if broken.any() else None
        if cut is not None:
            r_col = np.where(broken, 0.0, r_col)
        load = np.zeros(n)
        for i, (g, r, seen, damp) in enumerate(zip(conductance, r_col, total, damping, strict=True)):
            np.add(g, load, out=seen)
            np.multiply(r, seen, out=load)
            np.divide(1.0, np.add(load, 1.0, out=load), out=damp)
            if cut is not None:
                damp[cut[i] & (seen > 0.0)] = 0.0
            np.multiply(damp, seen, out=load)
        self.mesh = mesh = r_col * damping
        if cut is not None:
            np.divide(1.0, total, out=mesh, where=broken & (total > 0.0))
        strength = mesh.copy()
        squared = damping * damping
        for i in range(m - 2, -1, -1):
            strength[i] += squared[i] * strength[i + 1]
        reach = np.ones((m + 1, n))
        np.multiply.accumulate(damping, axis=0, out=reach[1:])
        # Row nodes k <= l of a column are joined by near[k] * far[l], as long as the products do not
        # underflow.
        self._strength: FloatArray = strength
        self._plain = reach[-1] >= _SMALLEST_PRODUCT
        self._all_plain = bool(self._plain.all())
        if not self._all_plain:
            reach[:, ~self._plain] = 1.0
        self._near: FloatArray = np.divide(conductance, reach[:-1], order="F")
        self._far: FloatArray = np.multiply(conductance * strength, reach[:-1], order="F")
        self.to_sense = self._near * reach[-1]
        if not self._all_plain:
            for j in np.flatnonzero(~self._plain).tolist():
                self.to_sense[:, j] = conductance[:, j] * self._decay(j)[:, -1]

    def _decay(self, j: int) -> FloatArray:
        """Return the (m, m + 1) products of the dampings of column j from node k down to node l, l >= k."""
        m = len(self.damping)
        decay = np.zeros((m, m + 1))
        for k in range(m):
            decay[k, k] = 1.0
            decay[: k + 1, k + 1] = decay[: k + 1, k] * self.damping[k, j]
        return decay

    def couple(self, j: int, nodal: FloatArray) -> None:
        """Subtract the conductances (m, m) S between the row nodes of column j: column-major, lower triangle."""
        if self._all_plain or self._plain[j]:
            scipy.linalg.blas.dger(-1.0, self._far[:, j], self._near[:, j], a=nodal, overwrite_a=1)
        else:
            scale = self.conductance[:, j] * self._strength[:, j]
            nodal -= (self.conductance[:, j, None] * self._decay(j)[:, :-1] * scale).T

    def nodes(self, row_node: FloatArray, sense: FloatArray, injected: FloatArray | None = None) -> FloatArray:
        """Return the voltages of the column nodes, (m, n, k) V.

        Args:
            row_node: (m, n, k) V.
            sense: (n, k) V at the sense terminals.
            injected: (m, n, k) A into the column nodes.
        """
        out = self.conductance[:, :, None] * row_node
        if injected is not None:
            out += injected
        for i in range(1, len(out)):
            out[i] += self.damping[i - 1, :, None] * out[i - 1]
        out *= self.mesh[:, :, None]
        below = sense
        for i in range(len(out) - 1, -1, -1):
            out[i] += self.damping[i, :, None] * below
            below = out[i]
        return out


@dataclass(frozen=True)
class _Step:
    """Elimination of the row nodes of one column, kept to compute their voltages."""

    gone: npt.NDArray[np.intp]
    kept: npt.NDArray[np.intp]
    inverse: FloatArray  # (gone, gone) ohm
    to_left: FloatArray  # (gone,) S
    to_kept: FloatArray  # (gone, kept) S


class ChainSweep:
    """A crossbar reduced to conductances between its line terminals.

    Args:
        conductance: (m, n) S of the cells; m is the size of the dense blocks, so m <= n is the cheaper way
            round.
        r_row: (m, n) ohm, segment left of each cell, source resistance added to the first.
        r_col: (m, n) ohm, segment below each cell, sense resistance added to the last.
        columns: whether to find the conductances between columns too (needed unless all columns are at one
            voltage).
        keep: whether to keep the blocks, for `nodes`.

    Attributes:
        row_row: (m, m) S between row terminals, zero diagonal.
        row_col: (m, n) S between row and column terminals.
        col_col: (n, n) S between column terminals, zero diagonal; None without ``columns``.
    """

    def __init__(
        self,
        conductance: FloatArray,
        r_row: FloatArray,
        r_col: FloatArray,
        *,
        columns: bool = False,
        keep: bool = False,
    ) -> None:
        m, n = conductance.shape
        self.chains = chains = Chains(conductance, r_col)
        self.steps: list[_Step | None] = []
        nodal = np.zeros((m, m), order="F")  # minus the conductances between row nodes; lower triangle valid
        cols = np.empty((m, n + 1), order="F")  # row nodes to terminals; the last column is the sum of the others
        cols[:, :n], cols[:, n] = chains.to_sense, 0.0
        cross = np.zeros((n, n)) if columns else None
        with np.errstate(divide="ignore"):
            to_left = np.ascontiguousarray((1.0 / r_row).T)
        wireless = to_left > _NO_WIRE
        no_wire, all_wired = [bool(w.all()) for w in wireless], [not w.any() for w in wireless]
        alike = [*(bool((a == b).all()) for a, b in pairwise(to_left)), False]  # as the column to the right
        least: list[float] = list(to_left.min(axis=1))
        all_rows, no_rows, ones = np.arange(m), np.arange(0), np.ones(m)
        to_terminals, arriving = cols[:, n], list(np.ascontiguousarray(chains.to_sense.T))
        both = np.empty((m, m), order="F")
        for j in range(n - 1, -1, -1):
            chains.couple(j, nodal)
            to_terminals += arriving[j]
            if no_wire[j]:
                if keep:
                    self.steps.append(None)
                continue
            done, left = cols[:, j:], to_left[j]
            if all_wired[j]:
                inverse = eliminated_quickly(nodal, to_terminals + left, ones, least[j])
                through = scipy.linalg.blas.dsymm(1.0, inverse, done, lower=1)
                if not (alike[j] and all_wired[j + 1]):
                    np.multiply.outer(left, -left, out=both)
                np.multiply(inverse, both, out=nodal)
                if cross is not None:
                    cross[j:, j:] += done[:, :-1].T @ through[:, :-1]
                np.multiply(through, left[:, None], out=done)
                if keep:
                    full = mirrored(inverse)
                    np.fill_diagonal(full, inverse.diagonal())
                    self.steps.append(_Step(all_rows, no_rows, full, left, np.zeros((m, 0))))
                continue
            gone, kept = np.flatnonzero(~wireless[j]), np.flatnonzero(wireless[j])
            rows = mirrored(-nodal)
            to_kept, left = rows[np.ix_(gone, kept)], left[gone]
            inverse = eliminated(rows[np.ix_(gone, gone)], done[gone, -1] + left + to_kept.sum(axis=1))
            through = inverse @ done[gone]
            rows[np.ix_(gone, gone)] = left[:, None] * inverse * left
            rows[np.ix_(gone, kept)] = left[:, None] * (inverse @ to_kept)
            rows[np.ix_(kept, kept)] += to_kept.T @ inverse @ to_kept
            rows[np.ix_(kept, gone)] = rows[np.ix_(gone, kept)].T
            np.negative(rows, out=nodal)
            if cross is not None:
                cross[j:, j:] += done[gone, :-1].T @ through[:, :-1]
            done[kept] += to_kept.T @ through
            done[gone] = left[:, None] * through
            if keep:
                self.steps.append(_Step(gone, kept, inverse, left, to_kept))
        self.row_row = mirrored(-nodal)
        self.row_col = np.ascontiguousarray(cols[:, :n])
        if cross is not None:
            np.fill_diagonal(cross, 0.0)
        self.col_col = cross

    def nodes(
        self, source: FloatArray, sense: FloatArray, injected: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Return the voltages of row nodes and of column nodes, each (m, n, k) V; 0 V where undefined.

        Without injection every voltage is a mean of others with positive weights, so no digits cancel.

        Args:
            source: (m, k) V at the row terminals.
            sense: (n, k) V at the column terminals.
            injected: (m, n, k) A that a source beside each cell takes from its row node into its column node.
        """
        (m, n), k = self.row_col.shape, source.shape[1]
        into_rows: FloatArray | None = None
        if injected is not None:
            alone = self.chains.nodes(np.zeros((m, n, k)), np.zeros((n, k)), injected)
            into_rows = self.chains.conductance[:, :, None] * alone - injected
        from_right = np.empty((n, m, k))
        pull: FloatArray = np.zeros((m, k))
        steps = self.steps[::-1]
        for j in range(n - 1, -1, -1):
            pull = pull + self.chains.to_sense[:, j, None] * sense[j]
            if into_rows is not None:
                pull += into_rows[:, j]
            from_right[j] = pull
            if (step := steps[j]) is not None:
                through = step.inverse @ pull[step.gone]
                pull[step.kept] += step.to_kept.T @ through
                pull[step.gone] = step.to_left[:, None] * through
        row_node = np.empty((m, n, k))
        voltage = source
        for j in range(n):
            if (step := steps[j]) is not None:
                voltage = voltage.copy()
                drive = step.to_left[:, None] * voltage[step.gone] + from_right[j][step.gone]
                voltage[step.gone] = step.inverse @ (drive + step.to_kept @ voltage[step.kept])
            row_node[:, j] = voltage
        return row_node, self.chains.nodes(row_node, sense, injected)
