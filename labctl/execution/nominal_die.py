"""The die on which a plan is rehearsed: every cell reads as nominal, and pulses write what cells are expected to do.

`plan` runs the whole campaign on it; the time of an operation comes from a timing function. Readings are of no model of
a junction: no spread, no noise, ideal wires, linear conductances. Which pulses write is asked of what is handed in;
without that every pulse is a success.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Protocol

import numpy as np

from labctl.core.bias import Bias, Geometry, Nominal
from labctl.core.die import DieBody, PlanScripts, unknown_operation
from labctl.core.errors import BenchError
from labctl.core.operations import Flag, Operation, Pulse, Reading, Sense
from labctl.core.units import BoolArray, FloatArray, IntArray, Second

_BLOCK = 512
"""Patterns worked on at once where every pattern needs its own copy of the cells."""


class PulsedCells(Protocol):
    """The cells of a die under pulses."""

    @property
    def state(self) -> BoolArray:
        """(kernels, n_rows, n_cols), True is P."""
        ...

    def pulse(self, bias: Bias, at: tuple[IntArray, IntArray, IntArray], width: Second) -> BoolArray:
        """Pulse cells in turn; return (h,), which of them are then in the state that their pulse writes.

        Args:
            bias: n patterns.
            at: pattern, row and column of each, (h,), by patterns.
            width: s.
        """
        ...


class NominalDie(DieBody):
    """A die of nominal cells that switch at the first pulse, or when cells that are handed in do.

    A pulse acts on the cells of its pattern that see the largest voltage between two driven lines, in the
    direction of that voltage; lines left open do not write.

    Args:
        timing: predicted time of an operation, s; called by `check` after the shape of the operation was checked.
        scripts: of the die that is planned for, if write plans are carried out inside its instruments.
        cells: what is pulsed; without them all cells are AP at first.
    """

    def __init__(
        self,
        geometry: Geometry,
        nominal: Nominal,
        *,
        timing: Callable[[Operation], Second],
        scripts: PlanScripts | None = None,
        cells: PulsedCells | None = None,
    ) -> None:
        nominal.fits(geometry)
        self.geometry, self.nominal, self._cells = geometry, nominal, cells
        self.state: BoolArray = np.zeros(geometry.shape, np.bool_) if cells is None else cells.state.copy()
        """(kernels, n_rows, n_cols), True is P"""
        self._timing, self._scripts = timing, scripts

    @property
    def scripts(self) -> PlanScripts | None:
        """How write plans are carried out inside instruments; None: by the host loop."""
        return self._scripts

    def check(self, operation: Operation) -> Second:
        """Return the predicted time of `operation`, in s; BenchError if it is for another die."""
        if not isinstance(operation, Operation):
            raise unknown_operation(self, operation)
        for bias in _biases(operation):
            bias.fits(self.geometry)
        return self._timing(operation)

    def _sense(self, sense: Sense) -> Reading:
        """Return the (n, m) column currents in A of linear cells behind ideal wires."""
        bias = sense.bias
        bias.fits(self.geometry)
        opened = _one_open(bias)
        if opened is not None and bias.floating is None:
            return self._sense_rows(sense, opened, self.state[bias.kernel, opened])
        if bias.floating is None and len(sense) and (bias.kernel == bias.kernel[0]).all():
            return self._sense_vectors(sense, self.state[bias.kernel[0]])
        blocks = [self._sense_block(sense.take(b), self.state[bias.kernel[b]]) for b in _blocks(len(sense))]
        return Reading.join(blocks) if blocks else _reading(np.zeros(sense.cols.shape))

    def _pulse(self, pulse: Pulse) -> Reading:
        """Switch cells pattern by pattern; return the verify reads, with no columns if there are none."""
        pulse.bias.fits(self.geometry)
        if pulse.verify is not None:
            pulse.verify.bias.fits(self.geometry)
            if not np.array_equal(pulse.verify.bias.kernel, pulse.bias.kernel):
                raise BenchError("a pulse and its verify read are on different kernels; they share one route")
        opened = _one_open(pulse.bias)
        if opened is not None and (pulse.verify is None or _reads_row(pulse.verify.bias, opened)):
            seen = self._switch_rows(pulse.bias, opened, pulse.width)
            if pulse.verify is None:
                return _reading(np.zeros((len(pulse), 0)))
            return self._sense_rows(pulse.verify, opened, seen)
        parts = []
        for block in _blocks(len(pulse)):
            part = pulse.take(block)
            seen = self._switch(part.bias, part.width)
            if part.verify is None:
                parts.append(_reading(np.zeros((len(part), 0))))
            else:
                parts.append(self._sense_block(part.verify, seen))
        columns = 0 if pulse.verify is None else pulse.verify.cols.shape[1]
        return Reading.join(parts) if parts else _reading(np.zeros((0, columns)))

    def idle(self) -> None:
        """Do nothing: there is no line to make safe."""

    def _conductance(self, state: BoolArray, kernel: IntArray) -> FloatArray:
        """Return the conductances in S of cells in `state` (n, ...), `kernel` (n,) being those of the patterns."""
        each = kernel.reshape(-1, *[1] * (state.ndim - 1))
        return np.where(state, self.nominal.g_p(each), self.nominal.g_ap(each))

    def _switch(self, bias: Bias, width: Second) -> BoolArray:
        """Apply the pulses in order; return (n, n_rows, n_cols), the pulsed kernel after each pattern."""
        volts = (bias.row[:, :, None] - bias.col[:, None, :]) * self.geometry.polarity
        if bias.floating is not None:
            n_rows = self.geometry.n_rows
            volts[bias.floating[:, :n_rows, None] | bias.floating[:, None, n_rows:]] = 0.0
        if bias.gate is not None:
            volts[np.broadcast_to((bias.gate <= 0)[:, :, None], volts.shape)] = 0.0
        size = np.abs(volts)
        largest = size.max(axis=(1, 2), keepdims=True)
        hit = (size >= largest * (1 - 1e-9)) & (largest > 0)
        if self._cells is not None:
            pattern, row, col = np.nonzero(hit)
            hit[pattern, row, col] = self._cells.pulse(bias, (pattern, row, col), width)
        seen = np.empty(hit.shape, np.bool_)
        for kernel in np.unique(bias.kernel):
            here = np.flatnonzero(bias.kernel == kernel)
            # the last pattern up to and including this one that wrote the cell, -1 for none
            last = np.where(hit[here], np.arange(len(here))[:, None, None], -1)
            np.maximum.accumulate(last, axis=0, out=last)
            to_p = np.take_along_axis(volts[here] > 0, np.maximum(last, 0), axis=0)
            seen[here] = np.where(last >= 0, to_p, self.state[kernel])
            self.state[kernel] = seen[here[-1]]
        return seen

    def _switch_rows(self, bias: Bias, opened: IntArray, width: Second) -> BoolArray:
        """Do what `_switch` does where pattern k has no gate open but that of row `opened[k]`.

        Returns (n, n_cols), that row after each pattern.
        """
        n_rows, each = self.geometry.n_rows, np.arange(len(bias))
        volts = (bias.row[each, opened][:, None] - bias.col) * self.geometry.polarity
        if bias.floating is not None:
            volts[bias.floating[each, opened][:, None] | bias.floating[:, n_rows:]] = 0.0
        size = np.abs(volts)
        largest = size.max(axis=1, keepdims=True)
        hit = (size >= largest * (1 - 1e-9)) & (largest > 0)
        if self._cells is not None:
            pattern, col = np.nonzero(hit)
            hit[pattern, col] = self._cells.pulse(bias, (pattern, opened[pattern], col), width)
        line = bias.kernel * n_rows + opened
        order = np.argsort(line, kind="stable")
        begins = np.diff(line[order], prepend=-1) != 0
        first = np.maximum.accumulate(np.where(begins, each, 0))[:, None]
        # the last pattern on the line, up to and including this one, that wrote the cell; one of another line is none
        last = np.where(hit[order], each[:, None], -1)
        np.maximum.accumulate(last, axis=0, out=last)
        to_p = np.take_along_axis(volts[order] > 0, np.maximum(last, 0), axis=0)
        seen = np.empty(hit.shape, np.bool_)
        seen[order] = np.where(last >= first, to_p, self.state[bias.kernel, opened][order])
        ends = order[np.roll(begins, -1)]
        self.state[bias.kernel[ends], opened[ends]] = seen[ends]
        return seen

    def _sense_rows(self, sense: Sense, opened: IntArray, state: BoolArray) -> Reading:
        """Read n patterns without floating lines whose one open row is in `state`, (n, n_cols)."""
        bias, g = sense.bias, self._conductance(state, sense.bias.kernel)
        current = bias.row[np.arange(len(sense)), opened][:, None] * g - bias.col * g
        return _reading(np.take_along_axis(current, sense.cols, axis=1))

    def _sense_vectors(self, sense: Sense, state: BoolArray) -> Reading:
        """Read n patterns without floating lines on one kernel, which is in `state`, (n_rows, n_cols)."""
        bias, g = sense.bias, self._conductance(state, sense.bias.kernel[:1])
        alike = bias.gate is not None and bias.gate.strides[0] == 0
        gate = np.ones((1, len(g)), np.bool_) if bias.gate is None else (bias.gate[:1] if alike else bias.gate) > 0
        current, into = np.zeros(bias.col.shape), np.zeros((len(gate), g.shape[1]))
        # in the order of `_sense_block`, so that both give the same bits
        for i, line in enumerate(g):
            row = line * gate[:, i, None]
            current += bias.row[:, i, None] * row
            into += row
        current -= bias.col * into
        return _reading(np.take_along_axis(current, sense.cols, axis=1))

    def _sense_block(self, sense: Sense, state: BoolArray) -> Reading:
        """Read n patterns whose kernel is in `state`, (n, n_rows, n_cols)."""
        bias, g = sense.bias, self._conductance(state, sense.bias.kernel)
        if bias.gate is not None:
            g = g * (bias.gate > 0)[:, :, None]
        v_row, v_col = bias.row, bias.col
        if bias.floating is not None and bias.floating.any():
            leak = self.nominal.g_p(bias.kernel) * 1e-15
            volts = _settle(g, np.concatenate([v_row, v_col], axis=1), bias.floating, leak)
            v_row, v_col = volts[:, : g.shape[1]], volts[:, g.shape[1] :]
        # added row by row and not as a product of matrices, whose last bits depend on how many patterns there are
        current = (v_row[:, :, None] * g).sum(axis=1) - v_col * g.sum(axis=1)
        flag = np.zeros(current.shape, np.uint8)
        if bias.floating is not None:
            unread = bias.floating[:, g.shape[1] :]
            current[unread], flag[unread] = 0.0, Flag.INVALID
        reading = _reading(np.take_along_axis(current, sense.cols, axis=1))
        return replace(reading, flag=np.take_along_axis(flag, sense.cols, axis=1))


def _settle(g: FloatArray, volts: FloatArray, floating: BoolArray, leak: FloatArray) -> FloatArray:
    """Return the line voltages (n, rows + columns) V with the floating ones where their current is zero.

    Args:
        g: (n, n_rows, n_cols) S.
        leak: (n,) S from every floating line to ground, so that lines tied to nothing settle at 0 V.
    """
    n, rows, cols = g.shape
    nodal = np.zeros((n, rows + cols, rows + cols))
    nodal[:, :rows, rows:] = -g
    nodal[:, rows:, :rows] = -g.transpose(0, 2, 1)
    each = np.arange(rows + cols)
    nodal[:, each, each] = np.concatenate([g.sum(axis=2), g.sum(axis=1)], axis=1) + leak[:, None]
    nodal = np.where(floating[:, :, None], nodal, np.eye(rows + cols))
    solved: FloatArray = np.linalg.solve(nodal, np.where(floating, 0.0, volts)[:, :, None])[:, :, 0]
    return solved


def _one_open(bias: Bias) -> IntArray | None:
    """Return the (n,) open rows if every pattern has exactly one open gate, else None."""
    if bias.gate is None or not len(bias):
        return None
    pattern, row = np.divmod(np.flatnonzero(bias.gate > 0), bias.gate.shape[1])
    return row if np.array_equal(pattern, np.arange(len(bias))) else None


def _reads_row(bias: Bias, opened: IntArray) -> bool:
    """Return whether no line floats and pattern k has no gate open but that of row `opened[k]`."""
    rows = _one_open(bias)
    return bias.floating is None and rows is not None and np.array_equal(rows, opened)


def _reading(current: FloatArray) -> Reading:
    return Reading(current, np.zeros(current.shape, np.uint8), np.zeros(len(current), np.uint8))


def _blocks(n: int) -> Iterator[slice]:
    return (slice(start, start + _BLOCK) for start in range(0, n, _BLOCK))


def _biases(operation: Operation) -> Iterator[Bias]:
    if isinstance(operation, Sense):
        yield operation.bias
    elif isinstance(operation, Pulse):
        yield operation.bias
        if operation.verify is not None:
            yield operation.verify.bias
    else:
        yield operation.write
        yield operation.verify.bias
