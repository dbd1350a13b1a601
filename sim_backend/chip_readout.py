"""Column currents of a chip, each pattern by the method that fits it.

One gate open is a ladder (`sim_backend.chip_path`), several with all columns at one potential are a matrix product, and
any other pattern is solved by itself (`sim_backend.chip_kernel`).
"""

import numpy as np

from labctl.core.bias import Geometry
from labctl.core.operations import Flag, FlagArray, Sense
from labctl.core.units import FloatArray, IntArray
from sim_backend import chip_kernel
from sim_backend.chip_board import Transistor
from sim_backend.chip_cells import ChipCells
from sim_backend.chip_path import RowPoint, row_point
from sim_backend.chip_patterns import Patterns
from sim_backend.circuit import OperatingPoint
from sim_backend.description import Simulation
from sim_backend.readout import Observed


class ChipCircuit:
    """The kernels of a chip as circuits, in the present state of the cells."""

    def __init__(self, memory: ChipCells, geometry: Geometry, simulation: Simulation, transistor: Transistor) -> None:
        self._memory, self._geometry, self._sim, self._transistor = memory, geometry, simulation, transistor
        self._readouts: dict[int, tuple[int, bytes, chip_kernel.ReadOut]] = {}

    def cell(self, kernel: IntArray, row: IntArray, col: IntArray) -> IntArray:
        """Return the numbers of cells (n,), kernel by kernel and row by row."""
        return (kernel * self._geometry.n_rows + row) * self._geometry.n_cols + col

    def row_cells(self, kernel: IntArray, row: IntArray) -> IntArray:
        """Return the cells (n, n_cols) of rows."""
        return self.cell(kernel, row, np.zeros_like(row))[:, None] + np.arange(self._geometry.n_cols)

    def observe(self, sense: Sense, at: Patterns, part: slice, first: int, seen: Observed) -> None:
        """Fill in the readings of the patterns of `part`, in the present state of the cells."""
        index = np.arange(part.start, part.stop)
        rows = index[at.gates[part] == 1]
        if len(rows):
            cells = self.row_cells(at.kernel[rows], at.gate[rows])
            self.observe_rows(sense, at, rows, self._memory.g_p[cells], self._memory.tmr[cells], seen)
        many = at.gates[part] > 1
        level = many & at.level[part]
        for group in at.alike(index[level]):
            self._observe_vectors(sense, at, group, first, seen)
        for i in index[many & ~level]:
            self._observe_any(sense, at, int(i), seen)
        closed = index[at.gates[part] == 0]
        seen.flag[closed] = self._unread(sense, at, closed)

    def observe_rows(
        self, sense: Sense, at: Patterns, index: IntArray, g: FloatArray, tmr: FloatArray, seen: Observed
    ) -> None:
        """Fill in readings with one gate open, the cells of the open rows being `g` S and `tmr`, (k, n_cols)."""
        if not len(index):
            return
        point = self.open_rows(at, index, g, tmr)
        cols = sense.cols[index]
        seen.current[index] = np.take_along_axis(point.current.T, cols, axis=1)
        seen.conductance[index] = np.take_along_axis(point.branch.T, cols, axis=1)
        seen.flag[index] = self._unread(sense, at, index)
        compliance = sense.bias.compliance
        over = (np.abs(point.row_current) > compliance) | (np.abs(point.current) > compliance).any(axis=0)
        for k in np.flatnonzero(over):
            self._observe_any(sense, at, int(index[k]), seen, (g[k], tmr[k]))

    def open_rows(self, at: Patterns, index: IntArray, g: FloatArray, tmr: FloatArray) -> RowPoint:
        """Return the condition of the open rows of patterns with one gate open; `g` and `tmr` are (k, n_cols)."""
        lines, each = self._sim.lines, np.arange(len(index))
        row, gate = at.gate[index], at.gate_voltage[index]
        return row_point(
            at.row[index][each, row],
            at.driven[index, row],
            np.ascontiguousarray(g.T),
            np.ascontiguousarray(tmr.T),
            np.ascontiguousarray(at.col[index].T),
            np.ascontiguousarray(~at.driven[index][:, self._geometry.n_rows :].T),
            self._transistor.resistance(gate),
            lines.r_sense + (self._geometry.n_rows - row) * lines.r_col,
            self._transistor.saturation(gate),
            r_first=lines.r_source + lines.r_row,
            r_row=lines.r_row,
            v_half=self._sim.switching.v_half,
        )

    def _observe_vectors(self, sense: Sense, at: Patterns, index: IntArray, first: int, seen: Observed) -> None:
        """Fill in readings of one kernel with the same gates open, all lines driven, all columns at one potential."""
        read = self._readout(int(at.kernel[index[0]]), at.gates_at(int(index[0])))
        x = at.row[index]
        base = at.col[index, :1]
        if base.any():
            x = x - base
        span = at.reach[index]
        hard = (span * read.of_line > sense.bias.compliance) | (
            span * read.largest > self._transistor.saturation(at.gate_voltage[index])
        )
        current, cols = read(x, first + index), sense.cols[index]
        if not all_columns(cols, current.shape[1]):
            current = np.take_along_axis(current, cols, axis=1)
        seen.current[index] = current
        seen.conductance[index] = read.of_column[cols]
        for i in index[hard]:
            self._observe_any(sense, at, int(i), seen)

    def _observe_any(
        self, sense: Sense, at: Patterns, i: int, seen: Observed, row: tuple[FloatArray, FloatArray] | None = None
    ) -> None:
        """Fill in reading `i`, of any kind; `row` are conductances and TMR of the one open row at that time."""
        point, branch = self.operating_point(at, i, sense.bias.compliance, row)
        cols, n_rows = sense.cols[i], self._geometry.n_rows
        seen.current[i] = np.where(at.driven[i, n_rows + cols], -point.line_current[n_rows + cols], 0.0)
        seen.conductance[i] = branch.sum(axis=0)[cols]
        flags = self._unread(sense, at, np.array([i]))[0]
        seen.flag[i] = flags | (Flag.COMPLIANCE if point.limited.any() else 0)

    def _unread(self, sense: Sense, at: Patterns, index: IntArray) -> FlagArray:
        """Return (k, m) flags: a floating column has no current to read."""
        driven = np.take_along_axis(at.driven[index], self._geometry.n_rows + sense.cols[index], axis=1)
        return np.where(driven, 0, Flag.INVALID).astype(np.uint8)

    def _readout(self, kernel: int, gate: FloatArray) -> chip_kernel.ReadOut:
        """Return the read-out of a kernel in its present state, made once per state."""
        version, key = int(self._memory.version[kernel]), gate.tobytes()
        kept = self._readouts.get(kernel)
        if kept is not None and kept[:2] == (version, key):
            return kept[2]
        g_p, tmr = self._of_kernel(kernel)
        readout = chip_kernel.ReadOut(
            g_p,
            tmr,
            self._transistor.resistance(gate),
            self._sim.lines,
            v_half=self._sim.switching.v_half,
            v_linear=self._sim.v_linear,
        )
        self._readouts[kernel] = (version, key, readout)
        return readout

    def _of_kernel(self, kernel: int) -> tuple[FloatArray, FloatArray]:
        shape = self._geometry.shape
        return self._memory.g_p.reshape(shape)[kernel], self._memory.tmr.reshape(shape)[kernel]

    def operating_point(
        self, at: Patterns, i: int, compliance: float, row: tuple[FloatArray, FloatArray] | None = None
    ) -> tuple[OperatingPoint, FloatArray]:
        """Return the full condition of pattern `i`, and the conductances of its branches."""
        g_p, tmr = self._of_kernel(int(at.kernel[i]))
        if row is not None:
            g_p, tmr = g_p.copy(), tmr.copy()
            g_p[at.gate[i]], tmr[at.gate[i]] = row
        gate = at.gates_at(i)
        source = np.concatenate([at.row[i], at.col[i]])
        return chip_kernel.operating_point(
            g_p,
            tmr,
            self._transistor.resistance(gate),
            self._transistor.saturation(gate),
            self._sim.lines,
            source,
            at.driven[i],
            compliance,
            v_half=self._sim.switching.v_half,
        )


def all_columns(cols: IntArray, n_cols: int) -> bool:
    """Return whether every pattern reads all columns in their order."""
    distinct = cols[:1] if cols.strides[0] == 0 else cols
    return cols.shape[1] == n_cols and bool((distinct == np.arange(n_cols)).all())
