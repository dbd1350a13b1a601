"""A row of a chip with its gate open and all other gates closed, for any number of patterns at once.

A closed gate is an open cell, so that only one row of the array remains: a ladder, on whose rungs a junction, its
transistor and the rest of a column lead to the columns' terminals. Newton's method takes all rungs and the wire
together. Element by element, and every pattern stops at its own convergence, so that no pattern's result depends on the
others of its batch. Voltages count from the columns' sense reference.
"""

from typing import NamedTuple

import numpy as np

from labctl.core.errors import LabError
from labctl.core.units import BoolArray, FloatArray, IntArray, Ohm
from sim_backend.chip_cell import StackLaw, Stacks

_PASSES = 2
"""Newton steps of all rows; what has not converged then goes on by itself."""
_MOST = 100
_CONVERGED = 2e-5
"""V, the change of a junction's voltage that ends an iteration: the next one would be about its square in V."""
_CHANGING = ("v", "change", "node", "branch", "current", "row_current")
"""Arrays of `_Rows` that change with a step, a row of the array for each of their last axis."""


class Ladder(NamedTuple):
    """Linear condition of n rows.

    Args:
        node: (n_cols, n) V along the rows.
        row_current: (n,) A out of the rows' sources.
    """

    node: FloatArray
    row_current: FloatArray


def ladder(source: FloatArray, branch: FloatArray, pushed: FloatArray, r_first: Ohm, r_row: Ohm) -> Ladder:
    """Return the voltages along rows whose every rung takes ``branch * node - pushed`` A.

    Args:
        source: (n,) V of the rows.
        branch: (n_cols, n) S; 0 is an open cell or a floating column.
        pushed: (n_cols, n) A; overwritten.
        r_first: ohm, from the source to the first cell.
        r_row: ohm, between neighbours.
    """
    n_cols = len(branch)
    # Norton equivalent of everything from column j on: conductance and current; `load` is 1 + r_row conductance
    beyond, load = np.empty_like(branch), np.empty_like(branch)
    beyond[-1] = branch[-1]
    for j in range(n_cols - 2, -1, -1):
        load[j + 1] = 1.0 + r_row * beyond[j + 1]
        share = 1.0 / load[j + 1]
        beyond[j] = branch[j] + beyond[j + 1] * share
        pushed[j] += pushed[j + 1] * share
    current = (source * beyond[0] - pushed[0]) / (1.0 + r_first * beyond[0])
    node = np.empty_like(branch)
    node[0] = source - r_first * current
    pushed *= r_row
    for j in range(1, n_cols):
        node[j] = (node[j - 1] + pushed[j]) / load[j]
    return Ladder(node, current)


class RowPoint(NamedTuple):
    """Static condition of n rows.

    Args:
        junction: (n_cols, n) V across the junctions.
        current: (n_cols, n) A out of the columns.
        branch: (n_cols, n) S, small-signal conductance from row node to column terminal.
        node: (n_cols, n) V along the rows.
        row_current: (n,) A out of the rows' sources.
    """

    junction: FloatArray
    current: FloatArray
    branch: FloatArray
    node: FloatArray
    row_current: FloatArray


def row_point(
    law: StackLaw,
    source: FloatArray,
    col: FloatArray,
    floating: BoolArray,
    stacks: Stacks,
    below: FloatArray,
    *,
    r_first: Ohm,
    r_row: Ohm,
) -> RowPoint:
    """Return the condition of rows of which one gate is open, each row driven.

    Args:
        source: (n,) V.
        col: (n_cols, n) V. floating: (n_cols, n), columns left open.
        stacks: (n_cols, n) each, or what broadcasts to it.
        below: (n,) ohm from each column node to its terminal.
        r_first: ohm, from the source to the first cell. r_row: ohm, between neighbours.

    Raises:
        LabError: the iteration does not converge.
    """
    rows = _Rows(law, source, col, stacks, below, floating, r_first, r_row)
    for _ in range(_PASSES):
        rows.step()
    rows.finish()
    return rows.point()


class _Rows:
    """Rows between two steps of the iteration."""

    def __init__(
        self,
        law: StackLaw,
        source: FloatArray,
        col: FloatArray,
        stacks: Stacks,
        below: FloatArray,
        floating: BoolArray,
        r_first: Ohm,
        r_row: Ohm,
    ) -> None:
        self._law, self._source, self._col, self._stacks, self._below = law, source, col, stacks, below
        self._floating = floating if floating.any() else None
        self._r_first, self._r_row = r_first, r_row
        self.node: FloatArray = np.broadcast_to(source, col.shape)
        self.v = law.start(source, col, stacks, below)
        self.change = self.branch = self.current = np.zeros_like(self.v)
        self.row_current: FloatArray = np.zeros(len(source))

    @property
    def moved(self) -> FloatArray:
        """(n,) V, the largest change of a junction's voltage in the last step."""
        return np.asarray(np.abs(self.change).max(axis=0))

    def step(self) -> None:
        """Take one step of Newton's method over rungs and wires together."""
        here = self._law.balance(self.v, self.node, self._col, self._stacks, self._below)
        per_rise = np.divide(1.0, here.rise, out=np.zeros_like(self.v), where=here.rise > 0.0)
        step, response = here.excess * per_rise, here.upper * per_rise
        branch = here.slope * response
        pushed = branch * self.node
        pushed -= here.current
        pushed += here.slope * step
        if self._floating is not None:
            branch[self._floating] = pushed[self._floating] = 0.0
        constant = pushed.copy()
        rungs = ladder(self._source, branch, pushed, self._r_first, self._r_row)
        response *= rungs.node - self.node
        response -= step
        if self._floating is not None:
            response[self._floating] = -self.v[self._floating]
        self.change, self.v = response, self.v + response
        self.node, self.branch, self.row_current = rungs.node, branch, rungs.row_current
        self.current = branch * rungs.node
        self.current -= constant

    def finish(self) -> None:
        """Take further steps where the last was a large one, each row until it has converged itself.

        Raises:
            LabError: one does not converge.
        """
        left = np.flatnonzero(self.moved > _CONVERGED)
        if not len(left):
            return
        rest = self._take(left)
        for _ in range(_MOST):
            span = rest.node - rest._col
            rest.v = np.clip(rest.v, np.minimum(span, 0.0), np.maximum(span, 0.0))
            rest.step()
            done = rest.moved <= _CONVERGED
            self._put(left[done], rest._take(np.flatnonzero(done)))
            left, rest = left[~done], rest._take(np.flatnonzero(~done))
            if not len(left):
                return
        raise LabError("a row of the simulated chip does not converge at this bias")

    def _take(self, index: IntArray) -> "_Rows":
        """Return the rows at `index` as they are."""
        shape = self.v.shape
        stacks = Stacks(*(np.broadcast_to(x, shape)[:, index] for x in self._stacks))
        floating = np.zeros((shape[0], len(index)), np.bool_) if self._floating is None else self._floating[:, index]
        given = (self._source[index], self._col[:, index], stacks, self._below[index], floating)
        rows = _Rows(self._law, *given, self._r_first, self._r_row)
        for name in _CHANGING:
            setattr(rows, name, getattr(self, name)[..., index])
        return rows

    def _put(self, index: IntArray, rows: "_Rows") -> None:
        """Take over the condition of `rows` for those at `index`."""
        for name in _CHANGING:
            getattr(self, name)[..., index] = getattr(rows, name)

    def point(self) -> RowPoint:
        """Return the condition."""
        return RowPoint(self.v, self.current, self.branch, self.node, self.row_current)
