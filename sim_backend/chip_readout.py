"""Column currents of a chip, each pattern by the method that fits it.

One gate open is a ladder (`sim_backend.chip_row`), several with all columns at one potential are a matrix product
(`sim_backend.chip_kernel`), and any other pattern is solved by itself (`sim_backend.chip_point`).
"""

import numpy as np

from labctl.core.bias import Geometry
from labctl.core.operations import Flag, FlagArray, Sense
from labctl.core.units import BoolArray, FloatArray, IntArray
from sim_backend import mtj
from sim_backend.chip_cell import StackLaw, Stacks
from sim_backend.chip_cells import ChipCells
from sim_backend.chip_kernel import RANGES, ReadOut, most_conductance
from sim_backend.chip_patterns import Patterns
from sim_backend.chip_point import Kernel
from sim_backend.chip_row import RowPoint, row_point
from sim_backend.circuit import OperatingPoint
from sim_backend.description import Simulation
from sim_backend.flicker import CellFlicker
from sim_backend.noise import bias_noise
from sim_backend.readout import Observed
from sim_backend.transistor import Transistors

_ROWS_AT_ONCE = 1024  # the working set then fits the cache
_READOUTS_KEPT = 4  # of a kernel: two gates, each in both ranges of the inputs


class ChipCircuit:
    """The kernels of a chip as circuits, in the present state of the cells."""

    def __init__(
        self,
        memory: ChipCells,
        geometry: Geometry,
        simulation: Simulation,
        transistors: Transistors,
        flicker: CellFlicker | None = None,
    ) -> None:
        self._flicker, self._kelvin = flicker, simulation.thermal.temperature
        self._memory, self._geometry, self._sim, self._transistors = memory, geometry, simulation, transistors
        self.law = StackLaw(transistors.law, transistors.junction, simulation.switching.v_half)
        self._readouts: dict[int, tuple[int, dict[tuple[bytes, float, float], ReadOut]]] = {}

    def stacks(self, cells: IntArray, g: FloatArray, tmr: FloatArray, gate: FloatArray) -> Stacks:
        """Return `cells`, being `g` S and `tmr`, with their transistors; `gate` V broadcasts to them."""
        return Stacks(g, tmr, self._transistors.above(gate, cells), self._transistors.inverse_gain(cells))

    def wires(self, row: IntArray, col: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return ohm between cells and the sources of their rows, and between cells and the ends of their columns."""
        lines = self._sim.lines
        return (
            lines.r_source + (col + 1) * lines.r_row,
            lines.r_sense + (self._geometry.n_rows - row) * lines.r_col,
        )

    def cell(self, kernel: IntArray, row: IntArray, col: IntArray) -> IntArray:
        """Return the numbers of cells (n,), kernel by kernel and row by row."""
        return (kernel * self._geometry.n_rows + row) * self._geometry.n_cols + col

    def row_cells(self, kernel: IntArray, row: IntArray) -> IntArray:
        """Return the cells (n, n_cols) of rows."""
        return self.cell(kernel, row, np.zeros_like(row))[:, None] + np.arange(self._geometry.n_cols)

    def observe(self, sense: Sense, at: Patterns, part: slice, seen: Observed) -> None:
        """Fill in the readings of the patterns of `part`, in the present state of the cells."""
        index = np.arange(part.start, part.stop)
        one = at.single_row[part]
        rows = index[one]
        if len(rows):
            cells = self.row_cells(at.kernel[rows], at.gate[rows])
            self.observe_rows(sense, at, rows, self._memory.g_p[cells], self._memory.tmr[cells], seen)
        many = (at.gates[part] > 0) & ~one
        level = many & at.level[part]
        for group in at.alike(index[level]):
            self._observe_vectors(sense, at, group, seen)
        for i in index[many & ~level]:
            self._observe_any(sense, at, int(i), seen)
        closed = index[at.gates[part] == 0]
        seen.flag[closed] = self._unread(sense, at, closed)

    def observe_rows(
        self, sense: Sense, at: Patterns, index: IntArray, g: FloatArray, tmr: FloatArray, seen: Observed
    ) -> None:
        """Fill in readings with one gate open, the cells of the open rows being `g` S and `tmr`, (k, n_cols)."""
        for start in range(0, len(index), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            some, own = index[part], (g[part], tmr[part])
            point, cols = self.open_rows(at, some, *own), sense.cols[some]
            junction = mtj.conductance(own[0].T, own[1].T, point.junction, self.law.v_half)
            share = np.divide(point.branch, junction, out=np.zeros_like(junction), where=junction > 0.0)
            noise = point.branch * (1.0 + share * bias_noise(point.junction, self._kelvin))
            current = point.current.T
            if self._flicker is not None:
                current = current * (1.0 + share.T * self._fluctuation(at, some, own[1] > 0.0, seen))
            seen.current[some] = np.take_along_axis(current, cols, axis=1)
            seen.conductance[some] = np.take_along_axis(noise.T, cols, axis=1)
            seen.flag[some] = self._unread(sense, at, some)
            compliance = sense.bias.compliance
            over = (np.abs(point.row_current) > compliance) | (np.abs(point.current) > compliance).any(axis=0)
            for k in np.flatnonzero(over):
                self._observe_any(sense, at, int(some[k]), seen, (own[0][k], own[1][k]))

    def open_rows(self, at: Patterns, index: IntArray, g: FloatArray, tmr: FloatArray) -> RowPoint:
        """Return the condition of the open rows of patterns with one gate open; `g` and `tmr` are (k, n_cols)."""
        lines, each = self._sim.lines, np.arange(len(index))
        row = at.gate[index]
        cells = np.ascontiguousarray(self.row_cells(at.kernel[index], row).T)
        return row_point(
            self.law,
            at.row[index][each, row],
            np.ascontiguousarray(at.col[index].T),
            np.ascontiguousarray(~at.driven[index][:, self._geometry.n_rows :].T),
            self.stacks(cells, np.ascontiguousarray(g.T), np.ascontiguousarray(tmr.T), at.gate_voltage[index]),
            lines.r_sense + (self._geometry.n_rows - row) * lines.r_col,
            r_first=lines.r_source + lines.r_row,
            r_row=lines.r_row,
        )

    def _observe_vectors(self, sense: Sense, at: Patterns, index: IntArray, seen: Observed) -> None:
        """Fill in readings of one kernel with the same gates open, all lines driven, all columns at one potential."""
        kernel, gate, base = int(at.kernel[index[0]]), at.gates_at(int(index[0])), float(at.col[index[0], 0])
        x, span = at.row[index] - base if base else at.row[index], at.reach[index]
        stacks = self._of_kernel(kernel, gate)
        stacks = stacks._replace(above=stacks.above - base)
        of_line = self._of_line(stacks, float(RANGES[-1]))
        hard = (span > RANGES[-1]) | (span * of_line > sense.bias.compliance)
        cols = sense.cols[index]
        for below, reach in zip((-np.inf, *RANGES), RANGES, strict=False):
            here = np.flatnonzero(~hard & (span > below) & (span <= reach))
            if not len(here):
                continue
            read = self._readout(kernel, gate, base, stacks, reach)
            if not read.holds:
                hard[here] = True
                continue
            whole = len(here) == len(index)
            at_here, chosen = (index, cols) if whole else (index[here], cols[here])
            vectors = x if whole else x[here]
            current, noise = read(vectors, seen.number[at_here])
            if self._flicker is not None:
                current += self._flicker_of_vectors(kernel, vectors, read, stacks.tmr > 0.0, at_here, seen)
            if not all_columns(chosen, current.shape[1]):
                current, noise = (np.take_along_axis(a, chosen, axis=1) for a in (current, noise))
            seen.current[at_here] = current
            seen.conductance[at_here] = noise
        for i in index[hard]:
            self._observe_any(sense, at, int(i), seen)

    def _fluctuation(self, at: Patterns, index: IntArray, in_ap: BoolArray, seen: Observed) -> FloatArray:
        """Return (k, n_cols) 1/f noise of the cells of the open rows of patterns, relative to their conductance."""
        assert self._flicker is not None
        row = at.kernel[index] * self._geometry.n_rows + at.gate[index]
        relative = np.empty(in_ap.shape)
        for unit in np.unique(row):
            here = np.flatnonzero(row == unit)
            kernel = int(unit) // self._geometry.n_rows
            relative[here] = self._flicker.of(kernel, int(unit), in_ap[here], index[here], seen)
        return relative

    def _flicker_of_vectors(
        self, kernel: int, x: FloatArray, read: ReadOut, in_ap: BoolArray, index: IntArray, seen: Observed
    ) -> FloatArray:
        """Return (k, n_cols) A that 1/f noise of the cells adds to columns, for x (k, n_rows) V above them."""
        assert self._flicker is not None
        n_rows, added = self._geometry.n_rows, np.zeros((len(x), read.branch.shape[1]))
        for row in range(n_rows):
            relative = self._flicker.of(kernel, kernel * n_rows + row, in_ap[row], index, seen)
            added += relative * (read.branch[row] * read.share[row]) * x[:, row, None]
        return added

    @staticmethod
    def _of_line(stacks: Stacks, reach: float) -> float:
        """Return S, of all cells of any line: no line carries more than this times the span of the lines."""
        most = np.asarray(most_conductance(stacks, reach))
        return float(max(most.sum(axis=1).max(), most.sum(axis=0).max()))

    def _observe_any(
        self, sense: Sense, at: Patterns, i: int, seen: Observed, row: tuple[FloatArray, FloatArray] | None = None
    ) -> None:
        """Fill in reading `i`, of any kind; `row` are conductances and TMR of the one open row at that time."""
        point, stacks = self.operating_point(at, i, sense.bias.compliance, row)
        cols, n_rows = sense.cols[i], self._geometry.n_rows
        v = np.nan_to_num(point.cell_voltage).reshape(stacks.g_p.shape)
        junction = mtj.conductance(stacks.g_p, stacks.tmr, v, self.law.v_half)
        branch = np.minimum(most_conductance(stacks, 0.0), junction)
        share = np.divide(branch, junction, out=np.zeros_like(junction), where=junction > 0.0)
        current = -point.line_current[n_rows:]
        if self._flicker is not None:
            kernel, one = int(at.kernel[i]), np.array([i])
            units = kernel * n_rows + np.arange(n_rows)
            in_ap = stacks.tmr > 0.0
            relative = [self._flicker.of(kernel, int(u), in_ap[k], one, seen)[0] for k, u in enumerate(units)]
            current = current + (np.stack(relative) * share * junction * v).sum(axis=0)
        seen.current[i] = np.where(at.driven[i, n_rows + cols], current[cols], 0.0)
        noise = branch * (1.0 + share * bias_noise(v, self._kelvin))
        seen.conductance[i] = noise.sum(axis=0)[cols]
        flags = self._unread(sense, at, np.array([i]))[0]
        seen.flag[i] = flags | (Flag.COMPLIANCE if point.limited.any() else 0)

    def _unread(self, sense: Sense, at: Patterns, index: IntArray) -> FlagArray:
        """Return (k, m) flags: a floating column has no current to read."""
        driven = np.take_along_axis(at.driven[index], self._geometry.n_rows + sense.cols[index], axis=1)
        return np.where(driven, 0, Flag.INVALID).astype(np.uint8)

    def _readout(self, kernel: int, gate: FloatArray, base: float, stacks: Stacks, reach: float) -> ReadOut:
        """Return the read-out of a kernel in its present state: one per state, gate and range, and a few are kept."""
        version, key = int(self._memory.version[kernel]), (gate.tobytes(), base, reach)
        of, kept = self._readouts.get(kernel, (version, {}))
        if of != version or (key not in kept and len(kept) >= _READOUTS_KEPT):
            kept = {}
        self._readouts[kernel] = (version, kept)
        if key not in kept:
            kept[key] = ReadOut(self.law.counted_from(base), stacks, self._sim.lines, reach, self._kelvin)
        return kept[key]

    def _of_kernel(
        self, kernel: int, gate: FloatArray, row: tuple[int, FloatArray, FloatArray] | None = None
    ) -> Stacks:
        """Return the cells of a kernel, (n_rows, n_cols), at gates (n_rows,) V; `row` has a row's own G and TMR."""
        _, n_rows, n_cols = self._geometry.shape
        cells = kernel * n_rows * n_cols + np.arange(n_rows * n_cols).reshape(n_rows, n_cols)
        g_p, tmr = self._memory.g_p[cells], self._memory.tmr[cells]
        if row is not None:
            g_p[row[0]], tmr[row[0]] = row[1:]
        return self.stacks(cells, g_p, tmr, gate[:, None])

    def operating_point(
        self, at: Patterns, i: int, compliance: float, row: tuple[FloatArray, FloatArray] | None = None
    ) -> tuple[OperatingPoint, Stacks]:
        """Return the full condition of pattern `i`, and the cells, those behind closed gates without conductance."""
        gate = at.gates_at(i)
        own = None if row is None else (int(at.gate[i]), *row)
        stacks = self._of_kernel(int(at.kernel[i]), gate, own)
        opened = gate > self._transistors.opens_above
        conducting = stacks._replace(g_p=np.where(opened[:, None], stacks.g_p, 0.0))
        source = np.concatenate([at.row[i], at.col[i]])
        point = Kernel(self.law, conducting, self._sim.lines).point(source, at.driven[i], compliance)
        return point, conducting


def all_columns(cols: IntArray, n_cols: int) -> bool:
    """Return whether every pattern reads all columns in their order."""
    distinct = cols[:1] if cols.strides[0] == 0 else cols
    return cols.shape[1] == n_cols and bool((distinct == np.arange(n_cols)).all())
