"""Currents and cell voltages of a passive crossbar with line resistance, exactly.

The readings of a simulated die come from here, so they must be right with a shorted cell, a broken line or a
floating line too. Two exact methods share the work. One vector on a new network is solved among the cells
(`sim_backend._cellspace`); otherwise the network is reduced to its terminals (`sim_backend._elimination`), after
which a batch of vectors is a small dense product. The first proves its own error bound; if the bound is too wide,
the second, which cannot lose digits, takes over. One module: a network and its operating point choose
the method together.

The circuit of an (n_rows, n_cols) array:

* row i: ideal source, ``r_source[i] + r_row[i, 0]``, node (i, 0), ``r_row[i, 1]``, ..., open end;
* column j: open end, node (0, j), ``r_col[0, j]``, ..., last node, ``r_col[-1, j] + r_sense[j]``, sense node
  (virtual ground or any voltage);
* cell (i, j) joins row node (i, j) to column node (i, j).

Hence ``r_row[i, j]`` is the segment left of cell (i, j) and ``r_col[i, j]`` the one below it. With scalar
segments and no terminal resistances this is the convention of badcrossbar (D. Joksas and A. Mehonic,
SoftwareX 12, 100617 (2020)).
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt
import scipy

from sim_backend._cellspace import Wires, solve_cells
from sim_backend._elimination import BoolArray, ChainSweep, FloatArray
from sim_backend._terminals import BATCH, Floating, IntArray, Islands, current, floated

_TOLERANCE = 2e-13  # of the largest current: the widest error bound that the solution among cells may have
_BROKEN = 1e150  # ohm; a segment beyond it is a broken line
_MASKS = 64  # patterns of floating lines remembered


class LinearOperatingPoint:
    """Operating point of k vectors; every quantity is computed at its first use, and kept.

    A floating line, and any line without a conducting path, carries 0 A. Where the potential of a line is
    undefined (no conducting path to a driven terminal), the voltage of its cells is NaN.
    """

    def __init__(self, network: ResistorNetwork, v_row: FloatArray, v_col: FloatArray | None, driven: bool) -> None:
        self._network, self._v_row, self._col, self._driven = network, v_row, v_col, driven
        self._col_current: FloatArray | None = None

    @cached_property
    def _v_col(self) -> FloatArray:
        """Column voltages, (k, n_cols) V."""
        return np.zeros((len(self._v_row), self._network.conductance.shape[1])) if self._col is None else self._col

    @cached_property
    def row_current(self) -> FloatArray:
        """The current from each source into its row, (k, n_rows) A."""
        if self._cell_current is not None:
            return np.asarray(self._cell_current.sum(axis=2))
        return self._into[:, : self._v_row.shape[1]]

    @property
    def col_current(self) -> FloatArray:
        """The current out of each column into its sense node, (k, n_cols) A."""
        if self._col_current is None:  # a plain property: the lock of a cached_property is too slow here
            self._col_current = self._out_of_columns()
        return self._col_current

    def _out_of_columns(self) -> FloatArray:
        network = self._network
        if self._driven and network.known and self._col is None:
            current_out: FloatArray = np.dot(self._v_row, network.transfer)
            return current_out
        if self._cell_current is not None:
            return np.asarray(self._cell_current.sum(axis=1))
        if self._driven and (self._v_col == self._v_col[:, :1]).all():
            return np.asarray((self._v_row - self._v_col[:, :1]) @ network.transfer)
        return 0.0 - self._into[:, self._v_row.shape[1] :]

    @cached_property
    def cell_voltage(self) -> FloatArray:
        """The voltage of each cell, row node minus column node, (k, n_rows, n_cols) V."""
        if self._cell_current is not None:
            return self._network.cell_drop(self._v_row, self._v_col, self._cell_current)
        return self._network.cell_voltage(self._potential, self._open)

    @cached_property
    def _open(self) -> BoolArray | None:
        """Floating lines, (k, n_rows + n_cols), or None when every line of every vector is driven."""
        if self._driven:
            return None
        return np.asarray(np.isnan(np.concatenate([self._v_row, self._v_col], axis=1)))

    @cached_property
    def _cell_current(self) -> FloatArray | None:
        """The (k, n_rows, n_cols) A through the cells, if these vectors are best solved one by one."""
        if not self._driven or not self._network.prefers_cells(len(self._v_row)):
            return None
        return self._network.cell_current(self._v_row, self._v_col)

    @cached_property
    def _potential(self) -> FloatArray:
        """Terminal voltages above that of one driven line, (k, n_rows + n_cols) V; NaN where open.

        Only differences matter, and a common voltage would cost the digits of small ones.
        """
        voltage = np.concatenate([self._v_row, self._v_col], axis=1)
        if self._open is None:
            return np.asarray(voltage - voltage[:, -1:])
        last = voltage.shape[1] - 1 - np.argmin(self._open[:, ::-1], axis=1)
        return np.asarray(voltage - voltage[np.arange(len(voltage)), last][:, None])

    @cached_property
    def _into(self) -> FloatArray:
        """Currents into all lines, (k, n_rows + n_cols) A."""
        return self._network.line_current(self._potential, self._open)


class ResistorNetwork:
    """A crossbar that keeps its reductions, so that the second call is cheap.

    Args:
        conductance: (n_rows, n_cols) S, finite and >= 0; 0 is an open cell.
        r_row: ohm, segment left of each cell: scalar or (n_rows, n_cols), >= 0; infinite is a broken line.
        r_col: ohm, segment below each cell: scalar or (n_rows, n_cols), >= 0; infinite is a broken line.
        r_source: ohm, between each ideal source and its row: scalar or (n_rows,), >= 0.
        r_sense: ohm, between each column and its sense node: scalar or (n_cols,), >= 0.

    Raises:
        ValueError: a shape or a value is not as above.
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
        g = np.array(conductance, dtype=np.float64, order="C")
        if g.ndim != 2 or 0 in g.shape:
            raise ValueError(f"conductance has shape {g.shape}, expected (n_rows, n_cols) with at least one of each")
        if not (g.min() >= 0.0 and g.max() < np.inf):
            wrong = g[~((g >= 0.0) & (g < np.inf))][0]
            raise ValueError(f"conductance contains {wrong:g} S, expected finite values >= 0 (0 is an open cell)")
        g.setflags(write=False)
        self.conductance: FloatArray = g
        self._r_row = _resistance("r_row", r_row, g.shape, "(n_rows, n_cols)")
        self._r_col = _resistance("r_col", r_col, g.shape, "(n_rows, n_cols)")
        self._r_row[:, 0] += _resistance("r_source", r_source, g.shape[:1], "(n_rows,)")
        self._r_col[-1] += _resistance("r_sense", r_sense, g.shape[1:], "(n_cols,)")
        self._whole = bool(self._r_row.max() <= _BROKEN and self._r_col.max() <= _BROKEN)
        if not self._whole:
            self._r_row[self._r_row > _BROKEN] = np.inf
            self._r_col[self._r_col > _BROKEN] = np.inf
        self.known = False  # whether anything has been eliminated yet
        self._one_by_one = 0  # vectors solved among the cells so far
        self._masks: dict[bytes, Floating] = {}

    def solve(self, v_row: npt.ArrayLike, v_col: npt.ArrayLike) -> LinearOperatingPoint:
        """Return the operating point of k vectors, which may float different lines.

        The voltages are not copied, for speed: read all quantities before changing them in place.

        Args:
            v_row: (k, n_rows) V; NaN is a floating line.
            v_col: (k, n_cols) V; NaN is a floating line.

        Raises:
            ValueError: a shape is wrong, or a voltage is infinite.
        """
        m, n = self.conductance.shape
        row, col = np.asarray(v_row, dtype=np.float64), np.asarray(v_col, dtype=np.float64)
        if row.ndim != 2 or row.shape[1] != m:
            raise ValueError(f"v_row has shape {row.shape}, expected (k, {m}): one voltage for each row")
        if col.shape != (len(row), n):
            raise ValueError(
                f"v_col has shape {col.shape}, expected ({len(row)}, {n}): k as in v_row, one for each column"
            )
        # sums of magnitudes: the fastest check of every value
        col_size = scipy.linalg.blas.dasum(col.ravel()) if col.size else 0.0
        row_size = scipy.linalg.blas.dasum(row.ravel()) if row.size else 0.0
        driven = row_size + col_size < np.inf or not (_floats("v_row", row) | _floats("v_col", col))
        return LinearOperatingPoint(self, row, None if col_size == 0.0 else col, driven)

    @cached_property
    def transfer(self) -> FloatArray:
        """The current out of each column per volt on each row, all other lines at 0 V, (n_rows, n_cols) S."""
        if self.known:
            m = len(self.conductance)
            return np.ascontiguousarray(self.terminals[:m, m:])
        self.known = True
        sweep = self._swept(columns=False, keep=False)
        return np.ascontiguousarray(sweep.row_col.T[::-1, ::-1]) if self._tall else sweep.row_col

    @cached_property
    def terminals(self) -> FloatArray:
        """The network as conductances between its terminals, rows then columns.

        (n_rows + n_cols, n_rows + n_cols) S, symmetric, >= 0, zero diagonal, every entry exact to the last
        places. The current into terminal a is the sum over b of ``terminals[a, b] * (v[a] - v[b])``.
        """
        self.known = True
        blocks = self.__dict__.get("_blocks")
        sweep: ChainSweep = blocks if blocks is not None else self._swept(columns=True, keep=False)
        between: FloatArray = np.block([[sweep.row_row, sweep.row_col], [sweep.row_col.T, sweep.col_col]])
        return np.ascontiguousarray(between[::-1, ::-1]) if self._tall else between

    def line_current(self, voltage: FloatArray, floating: BoolArray | None = None) -> FloatArray:
        """Return the currents into all lines, rows then columns, (k, n_rows + n_cols) A.

        Args:
            voltage: (k, n_rows + n_cols) V of the ideal sources; ignored where floating.
            floating: (k, n_rows + n_cols), lines that carry no current; None: all lines are driven.
        """
        if floating is None:
            return current(self.terminals, voltage)
        into = np.zeros_like(voltage)
        for chosen, lines in self._by_mask(floating):
            at = np.ix_(chosen, lines.driven)
            into[at] = current(lines.conductance, voltage[at])
        return into

    def cell_voltage(self, voltage: FloatArray, floating: BoolArray | None = None) -> FloatArray:
        """Return the cell voltages, (k, n_rows, n_cols) V, NaN where undefined; as `line_current`."""
        potential = voltage
        if floating is not None:
            potential = voltage.copy()
            for chosen, lines in self._by_mask(floating):
                potential[np.ix_(chosen, lines.open)] = voltage[np.ix_(chosen, lines.driven)] @ lines.weights.T
        across = np.empty((len(voltage), *self.conductance.shape))
        size = max(1, BATCH // self.conductance.size)
        for start in range(0, len(voltage), size):
            across[start : start + size] = self._across(potential[start : start + size])
        if floating is not None or not self._whole:
            mask = np.zeros(voltage.shape, dtype=np.bool_) if floating is None else floating
            across[self._islands.undefined(mask)] = np.nan
        return across

    def cell_response(self) -> FloatArray:
        """Return the voltage drop of cells per ampere injected beside a cell, (cells, cells) ohm, row by row.

        The current goes from the row node to the column node of its cell; all lines are driven. Symmetric.
        """
        m, n = self.conductance.shape
        unit = np.eye(m * n).reshape(m * n, m, n)
        return -self._across(np.zeros((m * n, m + n)), unit).reshape(m * n, m * n)

    def _across(self, potential: FloatArray, injected: FloatArray | None = None) -> FloatArray:
        """Return the cell voltages, (k, m, n) V, at terminals (k, m + n) V and injections (k, m, n) A."""
        m = len(self.conductance)
        source, sense = np.ascontiguousarray(potential[:, :m].T), np.ascontiguousarray(potential[:, m:].T)
        beside = None if injected is None else injected.transpose(1, 2, 0)
        if self._tall:
            beside = None if beside is None else -beside[::-1, ::-1].transpose(1, 0, 2)
            col_node, row_node = self._blocks.nodes(sense[::-1], source[::-1], beside)
            return np.asarray((row_node - col_node)[::-1, ::-1].transpose(2, 1, 0))
        row_node, col_node = self._blocks.nodes(source, sense, beside)
        return np.asarray((row_node - col_node).transpose(2, 0, 1))

    def prefers_cells(self, k: int) -> bool:
        """Return whether k more vectors, all lines driven, are cheaper among the cells."""
        if self.known or not self._whole:
            return False
        self._one_by_one += k
        return bool(self._one_by_one <= 2 + min(self.conductance.shape) // 16)

    def cell_current(self, v_row: FloatArray, v_col: FloatArray) -> FloatArray | None:
        """Return the cell currents, (k, n_rows, n_cols) A, all lines driven; None if not exact."""
        currents = np.empty((len(v_row), *self.conductance.shape))
        for cells, row, col in zip(currents, v_row, v_col, strict=True):
            drive = np.subtract.outer(row, col)
            steps = 24 + 2 * max(self.conductance.shape)
            solution = solve_cells(self.conductance, self._wires, drive, iterations=steps, tolerance=_TOLERANCE)
            if solution is None:
                return None
            cells[:] = solution.current
        return currents

    def cell_drop(self, v_row: FloatArray, v_col: FloatArray, current: FloatArray) -> FloatArray:
        """Return the cell voltages, (k, n_rows, n_cols) V, at the currents of `cell_current`."""
        voltage = v_row[:, :, None] - v_col[:, None, :]
        for part, through in zip(voltage, current, strict=True):
            part -= self._wires.drop(through)
        return np.divide(current, self.conductance, out=voltage, where=self.conductance * self._wires.own > 1.0)

    @cached_property
    def _wires(self) -> Wires:
        return Wires(self._r_row, self._r_col)

    @property
    def _tall(self) -> bool:
        """Whether to swap rows and columns: mirrored on its antidiagonal, the circuit is of the same kind."""
        return bool(self.conductance.shape[0] > self.conductance.shape[1])

    @cached_property
    def _islands(self) -> Islands:
        return Islands(self.conductance, self._r_row, self._r_col)

    @cached_property
    def _blocks(self) -> ChainSweep:
        self.known = True
        return self._swept(columns=True, keep=True)

    def _swept(self, *, columns: bool, keep: bool) -> ChainSweep:
        arrays = (self.conductance, self._r_row, self._r_col)
        if self._tall:
            g, r_row, r_col = (np.ascontiguousarray(a[::-1, ::-1].T) for a in arrays)
            return ChainSweep(g, r_col, r_row, columns=columns, keep=keep)
        return ChainSweep(*arrays, columns=columns, keep=keep)

    def _by_mask(self, floating: BoolArray) -> list[tuple[IntArray, Floating]]:
        """Return the vectors of each pattern of floating lines, and its reduced terminals."""
        masks, which = np.unique(floating, axis=0, return_inverse=True)
        which = which.ravel()
        groups = []
        for number, mask in enumerate(masks):
            key = mask.tobytes()
            lines = self._masks.get(key)
            if lines is None:
                lines = floated(self.terminals, mask)
                if len(self._masks) < _MASKS:
                    self._masks[key] = lines
            groups.append((np.flatnonzero(which == number), lines))
        return groups


def solve(
    conductance: npt.ArrayLike,
    v_row: npt.ArrayLike,
    v_col: npt.ArrayLike,
    *,
    r_row: npt.ArrayLike,
    r_col: npt.ArrayLike,
    r_source: npt.ArrayLike = 0.0,
    r_sense: npt.ArrayLike = 0.0,
) -> LinearOperatingPoint:
    """Return the operating point of a crossbar for k vectors; keep a `ResistorNetwork` for further vectors.

    Args:
        conductance: (n_rows, n_cols) S, finite and >= 0; 0 is an open cell.
        v_row: (k, n_rows) V; NaN is a floating line.
        v_col: (k, n_cols) V; NaN is a floating line.
        r_row: ohm, segment left of each cell: scalar or (n_rows, n_cols).
        r_col: ohm, segment below each cell: scalar or (n_rows, n_cols).
        r_source: ohm, scalar or (n_rows,).
        r_sense: ohm, scalar or (n_cols,).

    Raises:
        ValueError: a shape or a value is not as above.

    >>> point = solve([[1e-3, 0.0, 1e-3]], [[0.3]], [[0.0, 0.0, float("nan")]], r_row=0.0, r_col=0.0)
    >>> point.col_current.tolist()
    [[0.0003, 0.0, 0.0]]
    """
    network = ResistorNetwork(conductance, r_row=r_row, r_col=r_col, r_source=r_source, r_sense=r_sense)
    return network.solve(v_row, v_col)


def _resistance(name: str, value: npt.ArrayLike, shape: tuple[int, ...], expected: str) -> FloatArray:
    """Return resistances as a new array; ValueError if they are invalid."""
    r = np.asarray(value, dtype=np.float64)
    if r.shape not in ((), shape):
        raise ValueError(f"{name} has shape {r.shape}, expected a scalar or {expected} = {shape}")
    if not r.min() >= 0.0:
        wrong = r[~(r >= 0.0)].flat[0]
        raise ValueError(f"{name} contains {wrong:g} ohm, expected values >= 0 (infinite is a broken line)")
    full = np.empty(shape)
    full[...] = r
    return full


def _floats(name: str, voltage: FloatArray) -> bool:
    """Return whether any line floats; ValueError if a voltage is infinite."""
    if np.isinf(voltage).any():
        raise ValueError(f"{name} contains an infinite voltage, expected volts, or NaN for a floating line")
    return bool(np.isnan(voltage).any())
