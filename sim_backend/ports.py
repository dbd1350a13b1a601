"""The port matrices of one array, exact while single cells change.

A pulse is a matrix product with the line voltages, and a cell that switches is a rank-one change of the
matrices, so that a write-verify run does not solve the network again for every pulse. Subtractions
accumulate rounding; so the matrices are rebuilt after a number of changes, or at once when a change is so
large (a breakdown to a short) that digits would cancel.

Signs: voltages are those of the ideal sources behind the terminal resistances; currents are positive **into**
the array on rows and on columns alike, so that the current out of a column is minus its entry.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy

from sim_backend._elimination import BoolArray, FloatArray
from sim_backend._terminals import IntArray, current
from sim_backend.crossbar import ResistorNetwork

_CHANGES = 256  # rank-one changes between two rebuilds
_PENDING = 16  # of which k may lag
_GENTLE = 4.0  # factor by which a change may scale a cell's part before digits cancel
_SETTLED = 1e-12  # relative excess of a current or voltage that is rounding


class Ports:
    """The matrices of one array with every line driven: current, cell voltages, and response of cells to cells.

    With source voltages e (rows, then columns) and a current dI that each cell carries beyond ``conductance
    * v`` (its bias dependence), the cells are at ``v = q e - k dI`` and the lines carry ``y e + q^T dI``.
    Cells are numbered row by row.

    Args:
        conductance: (n_rows, n_cols) S, finite and >= 0; 0 is an open cell.
        r_row: ohm, segment left of each cell: scalar or (n_rows, n_cols).
        r_col: ohm, segment below each cell: scalar or (n_rows, n_cols).
        r_source: ohm, scalar or (n_rows,).
        r_sense: ohm, scalar or (n_cols,).

    Raises:
        ValueError: a shape or a value is not as above.

    >>> ports = Ports([[1e-3, 2e-3]], r_row=0.0, r_col=0.0)
    >>> (ports.y @ [1.0, 0.0, 0.0]).round(6).tolist()
    [0.003, -0.001, -0.002]
    >>> ports.change(1, 0.0)
    >>> (ports.y @ [1.0, 0.0, 0.0]).round(6).tolist()
    [0.001, -0.001, 0.0]
    """

    def __init__(
        self,
        conductance: npt.ArrayLike,
        *,
        r_row: npt.ArrayLike,
        r_col: npt.ArrayLike,
        r_source: npt.ArrayLike = 0.0,
        r_sense: npt.ArrayLike = 0.0,
    ) -> None:
        self._conductance = np.array(conductance, dtype=np.float64, order="C")
        self._pending = self._changes = 0
        self._past: FloatArray
        self._weight: FloatArray
        wires = {"r_row": r_row, "r_col": r_col, "r_source": r_source, "r_sense": r_sense}
        self._wires = {name: np.array(value, dtype=np.float64) for name, value in wires.items()}
        self.rebuild()

    @property
    def conductance(self) -> FloatArray:
        """The cells' conductances, (n_rows, n_cols) S; a copy."""
        return self._conductance.copy()

    @property
    def y(self) -> FloatArray:
        """Port admittance, (lines, lines) S: current into each line per volt of each; changes in place."""
        return self._y

    @property
    def q(self) -> FloatArray:
        """Cell voltages per volt of each line, (cells, lines); 0 where undefined; changes in place."""
        return self._q

    @property
    def k(self) -> FloatArray:
        """Voltage each cell loses per ampere injected beside each cell, (cells, cells) ohm; changes in place."""
        if self._pending:
            past = self._past[:, : self._pending]
            weighted = past * self._weight[: self._pending]
            scipy.linalg.blas.dgemm(-1.0, weighted, past, beta=1.0, c=self._k, trans_b=1, overwrite_c=1)
        self._pending = 0
        return self._k

    def change(self, cell: int, conductance: float) -> None:
        """Set another conductance of a cell, counted row by row, in S.

        Raises:
            ValueError: the conductance is not finite or below 0.
            IndexError: there is no such cell.
        """
        if not 0.0 <= conductance < np.inf:
            raise ValueError(f"conductance is {conductance:g} S, expected a finite value >= 0")
        if not 0 <= cell < self._conductance.size:
            raise IndexError(f"no cell {cell}, the array has {self._conductance.size} cells")
        flat = self._conductance.reshape(-1)
        more = conductance - float(flat[cell])
        if more == 0.0:
            return
        flat[cell] = conductance
        response = self._k[:, cell]
        if self._pending:
            past = self._past[:, : self._pending]
            response = response - past @ (self._weight[: self._pending] * past[cell])
        scale = 1.0 + more * float(response[cell])
        across = self._q[cell].copy()
        weight = more / scale if scale >= 1.0 / _GENTLE else 0.0
        part = weight * across * across  # of the lines' own admittances
        gentle = 1.0 / _GENTLE <= scale <= _GENTLE and np.abs(part).max() <= 0.5 * (self._own + part).max()
        self._changes += 1
        if self._changes > _CHANGES or not gentle or self._undefined[cell]:
            self.rebuild()
            return
        if self._pending == _PENDING:
            response = response.copy()
            _ = self.k
        scipy.linalg.blas.dger(weight, across, across, a=self._y, overwrite_a=1)
        scipy.linalg.blas.dger(-weight, response, across, a=self._q, overwrite_a=1)
        self._past[:, self._pending] = response
        self._weight[self._pending] = weight
        self._pending += 1

    def rebuild(self) -> None:
        """Rebuild all matrices from the conductances."""
        network = ResistorNetwork(self._conductance, **self._wires)
        cells, lines = self._conductance.size, sum(self._conductance.shape)
        across = network.cell_voltage(np.eye(lines)).reshape(lines, cells)
        between = network.terminals
        self._y: FloatArray = np.asfortranarray(np.diag(between.sum(axis=1)) - between)
        self._own = self._y.ravel(order="K")[:: lines + 1]  # a view of the diagonal
        self._undefined: BoolArray = np.isnan(across[0])  # cells that dangle from a broken line
        self._q: FloatArray = np.nan_to_num(across).T  # column-major, for rank-one changes in place
        self._k: FloatArray = np.asfortranarray(network.cell_response())
        self._past = np.empty((cells, _PENDING), order="F")
        self._weight = np.empty(_PENDING)
        self._pending = self._changes = 0


def line_voltages(
    y: FloatArray, voltage: npt.ArrayLike, floating: npt.ArrayLike, compliance: npt.ArrayLike
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Return voltages and currents of the lines of a linear array, some floating, the others limited in current.

    A driven line holds its voltage as long as its current is within its compliance; otherwise it carries
    exactly the compliance, and its source stays short of its set point. That state is the minimum of a convex
    function (half the dissipated power plus each limit times the distance of its line from its set point), and
    descent reaches it, one line after another, the largest excess first. Where several lines
    could take the limit (two equal limits in series), the first of them does.

    Args:
        y: (lines, lines) S, port admittance as in `Ports.y`.
        voltage: (n, lines) V set points; ignored where floating.
        floating: (n, lines), lines that carry no current.
        compliance: A, scalar or (lines,), > 0; may be infinite.

    Returns:
        Source voltage (n, lines) V, current into the array (n, lines) A, and the limited lines, (n, lines). A
        floating line that nothing drives is at 0 V.

    Raises:
        ValueError: a shape is wrong, or a compliance is not positive.
        ArithmeticError: the limits did not settle.
    """
    lines = len(y)
    source, floats = np.asarray(voltage, dtype=np.float64), np.asarray(floating, dtype=np.bool_)
    if source.ndim != 2 or source.shape[1] != lines or floats.shape != source.shape:
        raise ValueError(f"voltage {source.shape} and floating {floats.shape}, expected both (n, {lines})")
    limit = np.broadcast_to(np.asarray(compliance, dtype=np.float64), (lines,))
    if not (limit > 0.0).all():
        raise ValueError(f"compliance contains {limit[~(limit > 0.0)][0]:g} A, expected values > 0")
    between = -y
    np.fill_diagonal(between, 0.0)
    island = scipy.sparse.csgraph.connected_components(between != 0.0, directed=False)[1].astype(np.intp)
    wanted = np.where(floats, 0.0, source)
    sign = np.zeros_like(wanted)  # of the current of a limited line
    settled, flow = _settle(between, island, wanted, floats, sign)
    todo = np.arange(len(wanted))
    for _ in range(16 * lines):
        excess = np.where(floats[todo] | (sign[todo] != 0.0), 0.0, np.abs(flow[todo]) / limit)
        todo = todo[excess.max(axis=1, initial=0.0) > 1.0 + _SETTLED]
        if not len(todo):
            return settled, flow, sign != 0.0
        for at in todo:
            _limit(sign[at], settled[at], flow[at], wanted[at], floats[at], limit, island)
        moving = todo
        while len(moving):  # towards the limits' solution, as long as every limited line stays short of its set point
            free = floats[moving] | (sign[moving] != 0.0)
            target, current_there = _settle(between, island, wanted[moving], free, sign[moving] * limit)
            way = target - settled[moving]
            crossing = (target - wanted[moving]) * sign[moving] > 0.0
            room = np.divide(wanted[moving] - settled[moving], way, out=np.ones_like(way), where=crossing)
            line = room.argmin(axis=1)
            share = np.clip(room[np.arange(len(moving)), line], 0.0, 1.0)[:, None]
            settled[moving] = np.where(share < 1.0, settled[moving] + share * way, target)
            flow[moving] = current_there
            back = crossing[np.arange(len(moving)), line]
            moving, line = moving[back], line[back]
            sign[moving, line] = 0.0
            settled[moving, line] = wanted[moving, line]
    raise ArithmeticError(f"the current limits of {len(todo)} of {len(wanted)} patterns did not settle")


def _limit(
    sign: FloatArray,
    settled: FloatArray,
    flow: FloatArray,
    wanted: FloatArray,
    floating: BoolArray,
    limit: FloatArray,
    island: IntArray,
) -> None:
    """Put the line with the largest excess of one pattern into its limit, changing `sign`, `settled`; all (lines,)."""
    line = int(np.where(floating | (sign != 0.0), 0.0, np.abs(flow) / limit).argmax())
    sign[line] = np.sign(flow[line])
    here = island == island[line]
    if (floating | (sign != 0.0))[here].all():  # no source holds a voltage: all move until a line reaches its set point
        distance = np.where(here & (sign == -sign[line]), np.abs(settled - wanted), np.inf)
        first = int(distance.argmin())
        settled[here] -= settled[first] - wanted[first]
        sign[first] = 0.0


def _settle(
    between: FloatArray, island: IntArray, held: FloatArray, free: BoolArray, forced: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return voltages and currents, (n, lines), with the lines `free` at the currents `forced`."""
    settled, flow = np.empty_like(held), np.empty_like(held)
    total = between.sum(axis=1)
    masks, which = np.unique(free, axis=0, return_inverse=True)
    for number, mask in enumerate(masks):
        rows = np.flatnonzero(which.ravel() == number)
        tied = np.isin(island, island[~mask])
        f, d = np.flatnonzero(mask & tied), np.flatnonzero(~mask)
        v = np.zeros((len(rows), len(mask)))
        base = held[np.ix_(rows, d[:1])] if len(d) else 0.0
        v[:, d] = held[np.ix_(rows, d)] - base
        if len(f):
            matrix = np.diag(total[f]) - between[np.ix_(f, f)]
            drive = forced[np.ix_(rows, f)] + v[:, d] @ between[np.ix_(d, f)]
            v[:, f] = np.linalg.solve(matrix, drive.T).T
        through = current(between, v)
        through[:, mask] = forced[np.ix_(rows, np.flatnonzero(mask))]
        v[:, tied] += base
        v[:, d] = held[np.ix_(rows, d)]
        settled[rows], flow[rows] = v, through
    return settled, flow
