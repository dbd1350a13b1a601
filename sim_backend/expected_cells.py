"""The cells that a plan expects on a die: as many stiff and weak ones as its file says, none of them by luck.

Every property that differs from cell to cell has its quantiles evenly, shuffled over a kernel: one cell is the median
cell. Switching is as even: the hazards of a cell's pulses add up, and it switches when they reach the quantile that
it has for this time, the median cell when a pulse would have switched it in half of the cases. No cell is defective and
the hidden medians of a die are the nominal ones, since a plan knows neither.

A cell of a passive array sees its pulse less what its row and its column lose in leads and wires, which half-selected
cells load in the states that they are in. A line is one resistance there, in which its current flows whole, and what
the place of a cell on its lines makes is added once: within 1 mV of the exact circuit at 15 x 15 cells of 80 nm.
A cell of a chip is in series with its transistor, as in the simulated chip (`sim_backend.chip_path`).
"""

from itertools import pairwise

import numpy as np

from labctl.core.bias import Bias
from labctl.core.units import BoolArray, FloatArray, IntArray, Ohm, Second, Volt
from sim_backend import mtj
from sim_backend.cell_switching import CellSwitching
from sim_backend.cells import JunctionCells, fabricate
from sim_backend.chip_cell import StackLaw, Stacks
from sim_backend.chip_path import series_path
from sim_backend.chip_patterns import ranks
from sim_backend.description import Defects, DieDescription, Medians
from sim_backend.rng import Stream
from sim_backend.transistor import Transistors

_NAME = "expected"
_GOLDEN = 0.5 * (np.sqrt(5.0) - 1.0)
"""Step from a cell's quantile at one switching to that at its next."""
_CONVERGED = 1e-5
"""V, the change of a line that ends an iteration."""
_MOST = 100
_KEPT = 4096
"""Conditions of a passive array that are kept, for pulses that come again."""


class EvenStream(Stream):
    """A stream whose numbers of a pattern are the quantiles 1/2n, 3/2n ..., shuffled.

    >>> sorted(EvenStream(0, "x", stride=4).uniforms(0)[0].tolist())
    [0.125, 0.375, 0.625, 0.875]
    """

    def uniforms(self, first: int, patterns: int = 1) -> FloatArray:
        """Return the (patterns, stride) uniforms."""
        order = np.argsort(super().uniforms(first, patterns), axis=1)
        return np.asarray((np.argsort(order, axis=1) + 0.5) / self.stride)


class ExpectedCells:
    """The cells of a die under pulses, as a plan expects them.

    Args:
        description: the die file.
        leads: (kernels, lines) ohm between each line and its source, rows first; None: none beside those of the file.
    """

    def __init__(self, description: DieDescription, leads: FloatArray | None = None) -> None:
        sim = description.simulation.model_copy(update={"medians": Medians(), "defects": Defects()})
        description = description.model_copy(update={"simulation": sim})
        self._sim = sim = sim.effective
        self._shape = kernels, n_rows, n_cols = description.shape.shape
        every = range(kernels)
        made = JunctionCells.join([fabricate(description, 0, _NAME, k, draws=EvenStream) for k in every])
        self._cells, self._polarity = made, description.polarity
        self._switching = CellSwitching(made, sim, description.polarity)
        uniforms = [EvenStream(0, _NAME, k, "switching", stride=n_rows * n_cols).uniforms(0)[0] for k in every]
        self._quantile = np.concatenate(uniforms)
        self._hazard = np.zeros(len(made.g_p))
        self._leads = np.zeros((kernels, n_rows + n_cols)) if leads is None else leads
        self._kept: dict[tuple[bytes, ...], FloatArray] = {}
        self._stacks: tuple[StackLaw, Transistors] | None = None
        if sim.transistor is not None and sim.board is not None:
            transistors = Transistors(sim.transistor, len(made.g_p), sim.board.reference, seed=0, name=_NAME)
            self._stacks = StackLaw(transistors.law, transistors.junction, sim.switching.v_half), transistors

    @property
    def state(self) -> BoolArray:
        """(kernels, n_rows, n_cols), True is P."""
        return self._cells.state.reshape(self._shape)

    def pulse(self, bias: Bias, at: tuple[IntArray, IntArray, IntArray], width: Second) -> BoolArray:
        """Pulse cells in turn; return (h,), which of them are then in the state that their pulse writes.

        Args:
            bias: n patterns.
            at: pattern, row and column of each, (h,), by patterns.
            width: s.
        """
        pattern, row, col = at
        across = bias.row[pattern, row] - bias.col[pattern, col]
        to_p = across * self._polarity > 0.0
        cell = (bias.kernel[pattern] * self._shape[1] + row) * self._shape[2] + col
        wrote = np.zeros(len(pattern), np.bool_)
        if bias.gate is None:
            for begin, end in _runs(pattern):
                here = slice(begin, end)
                voltage = self._of_passive(bias, int(pattern[begin]))[row[here], col[here]]
                wrote[here] = self._act(cell[here], voltage, to_p[here], width)
            return wrote
        for same in ranks(cell):
            k, i, j = pattern[same], row[same], col[same]
            voltage = self._of_chip(bias, (k, i, j), cell[same])
            wrote[same] = self._act(cell[same], voltage, to_p[same], width)
        return wrote

    def _act(self, cell: IntArray, voltage: FloatArray, to_p: BoolArray, width: Second) -> BoolArray:
        """Apply `width` s at `voltage` to different cells; return which of them are in the state `to_p` then."""
        other = np.flatnonzero(self._cells.state[cell] != to_p)
        index = cell[other]
        p = self._switching.probability(voltage[other], width, index)
        if self._sim.ideal:
            switched = p > 0.5
        else:
            with np.errstate(divide="ignore"):
                self._hazard[index] -= np.log1p(-p)
            switched = self._hazard[index] >= -np.log1p(-self._quantile[index])
        changed = index[switched]
        if len(changed):
            self._cells.state[changed] ^= True
            self._switching.changed(changed)
            self._hazard[changed] = 0.0
            self._quantile[changed] = (self._quantile[changed] + _GOLDEN) % 1.0
        return np.asarray(self._cells.state[cell] == to_p)

    # ---------------------------------------------------------------- voltages

    def _of_passive(self, bias: Bias, pattern: int) -> FloatArray:
        """Return the (n_rows, n_cols) V of the cells of a passive array in one pattern."""
        kernel, (_, n_rows, n_cols) = int(bias.kernel[pattern]), self._shape
        of_kernel = slice(kernel * n_rows * n_cols, (kernel + 1) * n_rows * n_cols)
        state = self._cells.state[of_kernel]
        source = np.concatenate([bias.row[pattern], bias.col[pattern]])
        free = np.zeros(len(source), np.bool_) if bias.floating is None else bias.floating[pattern]
        key = (np.int64(kernel).tobytes(), source.tobytes(), free.tobytes(), state.tobytes())
        if key not in self._kept:
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            shape = (n_rows, n_cols)
            tmr = np.where(state, 0.0, self._cells.tmr0[of_kernel]).reshape(shape)
            wires = self._sim.lines.r_row, self._sim.lines.r_col
            g_p, ohm = self._cells.g_p[of_kernel].reshape(shape), self._ohm(kernel)
            self._kept[key] = cell_voltages(source, free, ohm, wires, g_p, tmr, self._sim.switching.v_half)
        return self._kept[key]

    def _ohm(self, kernel: int) -> FloatArray:
        """Return the (lines,) ohm of the lines of a kernel, leads and wires."""
        lines, (_, n_rows, n_cols) = self._sim.lines, self._shape
        rows = lines.r_source + lines.r_row * _wire(n_cols) + self._leads[kernel, :n_rows]
        cols = lines.r_sense + lines.r_col * _wire(n_rows) + self._leads[kernel, n_rows:]
        return np.concatenate([rows, cols])

    def _of_chip(self, bias: Bias, at: tuple[IntArray, IntArray, IntArray], cell: IntArray) -> FloatArray:
        """Return the (h,) V across junctions of a chip, each by itself between its row and its column."""
        assert self._stacks is not None
        assert bias.gate is not None
        (law, transistors), (pattern, row, col), lines = self._stacks, at, self._sim.lines
        g_p, tmr = self._cells.electrical(cell)
        above = transistors.above(bias.gate[pattern, row], cell)
        inverse_gain = np.broadcast_to(transistors.inverse_gain(cell), g_p.shape)
        return series_path(
            law,
            bias.row[pattern, row],
            bias.col[pattern, col],
            Stacks(g_p, tmr, np.broadcast_to(above, g_p.shape), inverse_gain),
            lines.r_source + (col + 1) * lines.r_row,
            lines.r_sense + (self._shape[1] - row) * lines.r_col,
            bias.compliance,
        ).junction


def _runs(pattern: IntArray) -> list[tuple[int, int]]:
    """Return begin and end of each run of equal numbers."""
    cuts = np.flatnonzero(np.diff(pattern, prepend=-1, append=-1)).tolist()
    return list(pairwise(cuts)) if len(pattern) else []


def _wire(n: int) -> float:
    """Return the segments of a wire of n cells that its whole current loses as much in as an average cell does.

    Where all cells take alike, the k-th of n loses the sum of (n - i + 1) / n over the first k segments.
    """
    return (n + 1) * (2 * n + 1) / (6.0 * n)


def cell_voltages(
    source: FloatArray,
    free: BoolArray,
    ohm: FloatArray,
    wires: tuple[Ohm, Ohm],
    g_p: FloatArray,
    tmr: FloatArray,
    v_half: Volt,
) -> FloatArray:
    """Return the (n_rows, n_cols) V of cells between lines.

    Args:
        source: (lines,) V, rows first; of a line that floats anything.
        free: (lines,), lines that float.
        ohm: (lines,) between each line and its source, of `wires` what an average cell loses in.
        wires: ohm of a segment of a row, and of a column.
        g_p: (n_rows, n_cols) S, conductance in P. tmr: that of cells in AP, 0 of others.
        v_half: bias at which the TMR is half, V.
    """
    n_rows = len(g_p)
    line = np.where(free, 0.0, source)
    held, pull = np.where(free, 0.0, source), np.where(free, 0.0, 1.0)  # pull (line - held) + load (line - beyond) = 0
    load = np.where(free, 1.0, ohm)
    row, col = line[:n_rows], line[n_rows:]
    for _ in range(_MOST):
        v = row[:, None] - col
        g = mtj.conductance(g_p, tmr, v, v_half)
        by_row = pull[:n_rows] + load[:n_rows] * g.sum(axis=1)
        new_row = (held[:n_rows] + load[:n_rows] * (g @ col)) / by_row
        by_col = pull[n_rows:] + load[n_rows:] * g.sum(axis=0)
        new_col = (held[n_rows:] + load[n_rows:] * (new_row @ g)) / by_col
        moved = max(float(np.abs(new_row - row).max()), float(np.abs(new_col - col).max()))
        row, col = new_row, new_col
        if moved < _CONVERGED:
            break
    v = row[:, None] - col
    current = mtj.conductance(g_p, tmr, v, v_half) * v
    # rows are driven from the left and columns at the bottom; what segments lose, less what was taken for it
    in_row = np.cumsum(current[:, ::-1], axis=1)[:, ::-1]
    in_col = np.cumsum(current, axis=0)
    v -= wires[0] * (np.cumsum(in_row, axis=1) - _wire(len(g_p[0])) * in_row[:, :1])
    v -= wires[1] * (np.cumsum(in_col[::-1], axis=0)[::-1] - _wire(n_rows) * in_col[-1:])
    return np.asarray(v)
