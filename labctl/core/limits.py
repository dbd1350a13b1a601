"""The one gate between a procedure and a die: what is beyond a limit is refused, never clipped.

Judged are the voltages a cell can see at any moment, not only the settled ones: while lines go up and come down, one
end of a cell may already be at its level and the other still at 0 V, so 0 V counts as a level of every line. A floating
line may take any potential between the driven ones, so one floating line makes the worst driven pair count for all.
"""

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from labctl.core.die import (
    Attempts,
    Bias,
    Die,
    Geometry,
    Nominal,
    Operation,
    Pulse,
    Reading,
    Sense,
    WritePlan,
    program_by_host,
)
from labctl.core.errors import LimitError
from labctl.core.procedure import Model
from labctl.core.units import Ampere, BoolArray, FloatArray, IntArray, Second, Volt


class Limits(Model):
    """What may be done to a die. Beyond any of these an operation is refused before anything is energised.

    The bounds of the numbers are far outside of what a junction stands: a limit beyond them is no limit, but a slip.
    """

    v_towards_p: Volt = Field(gt=0, le=50, description="highest cell voltage in the direction that writes P")
    v_towards_ap: Volt = Field(
        gt=0, le=50, description="highest cell voltage in the direction that writes AP (a magnitude)"
    )
    width: Second = Field(gt=0, le=3600, description="longest pulse")
    compliance: Ampere = Field(gt=0, le=100, description="highest current limit that may be set on a line")
    v_gate: Volt = Field(default=0.0, ge=0, le=50, description="highest gate voltage of a die with access transistors")
    v_count: Volt = Field(gt=0, le=50, description="a pulse counts for a cell when the cell sees more than this")
    pulses_per_cell: int = Field(gt=0, le=10**12, description="most pulses that a cell may get, over the die's life")


@dataclass(frozen=True)
class Extremes:
    """Highest cell voltage of each pattern in either sign, in V, transients included; (n,) each."""

    positive: FloatArray
    negative: FloatArray


def _span(lines: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return lowest and highest value (n,) of each pattern's `lines` (n, k), 0 counting as one of them."""
    n, k = lines.shape
    flat = np.ascontiguousarray(_different(lines)).ravel()
    starts = np.arange(0, len(flat), k)
    low, high = np.minimum.reduceat(flat, starts).clip(max=0), np.maximum.reduceat(flat, starts).clip(min=0)
    return np.broadcast_to(low, n), np.broadcast_to(high, n)


def _different(lines: FloatArray) -> FloatArray:
    """Return `lines` (n, k), or one pattern of them if all are views of one."""
    return lines[:1] if len(lines) > 1 and lines.strides[0] == 0 else lines


def _reach(bias: Bias) -> Volt:
    """Return V that no cell of any pattern can exceed: the highest of all lines less the lowest, 0 V among them."""
    lines = [_different(volts) for volts in (bias.row, bias.col)]
    high, low = max(0.0, *(v.max() for v in lines)), min(0.0, *(v.min() for v in lines))
    return float(high - low)


def extremes(bias: Bias) -> Extremes:
    """Return the highest voltages that any cell of each pattern can see, transients and floating lines included."""
    row, col = bias.row, bias.col
    if bias.floating is not None:
        driven = ~bias.floating
        row, col = row * driven[:, : row.shape[1]], col * driven[:, row.shape[1] :]
    (row_lo, row_hi), (col_lo, col_hi) = _span(row), _span(col)
    positive, negative = row_hi - col_lo, col_hi - row_lo
    if bias.floating is not None:
        worst = np.maximum(row_hi, col_hi) - np.minimum(row_lo, col_lo)
        open_line = bias.floating.any(1)
        positive, negative = np.where(open_line, worst, positive), np.where(open_line, worst, negative)
    return Extremes(positive, negative)


def stressed(bias: Bias, v_count: Volt) -> BoolArray:
    """Return the (n, n_rows, n_cols) cells that see more than `v_count` V in each pattern.

    A cell on a floating line counts when the worst driven pair exceeds `v_count`; behind a closed gate none counts.
    """
    cell = np.abs(bias.row[:, :, None] - bias.col[:, None, :]) > v_count
    if bias.floating is not None:
        n_rows = bias.row.shape[1]
        found = extremes(bias)
        worst = np.maximum(found.positive, found.negative) > v_count
        loose = bias.floating[:, :n_rows, None] | bias.floating[:, None, n_rows:]
        cell = np.where(loose, worst[:, None, None], cell)
    if bias.gate is not None:
        cell &= (bias.gate > 0)[:, :, None]
    return np.asarray(cell)


def pulses_per_cell(bias: Bias, v_count: Volt, shape: tuple[int, int, int]) -> IntArray:
    """Return how many patterns stress each cell of a die of `shape` (kernels, n_rows, n_cols).

    The sum of `stressed` over the patterns of each kernel. With one gate open, which is how cells are written, only
    the cells of that row are looked at: a write of thousands of cells would otherwise be millions of voltages.
    """
    found = np.zeros(shape, np.int64)
    n, n_rows = bias.row.shape
    rest = np.arange(n)
    if bias.gate is not None:
        pattern, row = np.divmod(np.flatnonzero(bias.gate > 0), n_rows)
        opened = np.bincount(pattern, minlength=n)
        one = opened[pattern] == 1
        pattern, row = pattern[one], row[one]
        cell = np.abs(bias.row[pattern, row][:, None] - bias.col[pattern]) > v_count
        if bias.floating is not None:
            highest = extremes(bias)
            worst = np.maximum(highest.positive, highest.negative) > v_count
            loose = bias.floating[pattern, row][:, None] | bias.floating[pattern, n_rows:]
            cell = np.where(loose, worst[pattern][:, None], cell)
        first = (bias.kernel[pattern] * n_rows + row) * shape[2]
        number = (first[:, None] + np.arange(shape[2]))[cell]
        found += np.bincount(number, minlength=found.size).reshape(shape)
        rest = np.flatnonzero(opened > 1)
    if len(rest):
        several = bias.take(rest)
        hit = stressed(several, v_count)
        for kernel in np.unique(several.kernel):
            found[kernel] += hit[several.kernel == kernel].sum(0)
    return found


class Limited:
    """A die behind its limits.

    Args:
        counts: (kernels, n_rows, n_cols) pulses that each cell has had before, None for a new die.
    """

    def __init__(self, die: Die, limits: Limits, counts: IntArray | None = None) -> None:
        self._die, self.limits = die, limits
        self.counts = np.zeros(die.geometry.shape, np.int64) if counts is None else counts.astype(np.int64)

    @property
    def geometry(self) -> Geometry:
        """Shape of the die."""
        return self._die.geometry

    @property
    def nominal(self) -> Nominal:
        """Nominal conductances."""
        return self._die.nominal

    def judge(self, operation: Operation) -> IntArray | None:
        """Raise LimitError if `operation` is beyond them; return the (kernels, n_rows, n_cols) pulses it would add."""
        self._judge_levels(operation)
        return self._count(operation.bias) if isinstance(operation, Pulse) else None

    def check(self, operation: Operation) -> Second:
        """Return the predicted time; LimitError or BenchError if it may not or cannot be done."""
        self._judge_levels(operation)
        # no cell gets more pulses than there are patterns
        if isinstance(operation, Pulse) and self.counts.max() + len(operation) > self.limits.pulses_per_cell:
            self._count(operation.bias)
        return self._die.check(operation)

    def sense(self, sense: Sense) -> Reading:
        """Read the column currents of n patterns within the limits."""
        self.check(sense)
        return self._die.sense(sense)

    def pulse(self, pulse: Pulse) -> Reading:
        """Apply n pulses within the limits and count them for every cell that sees more than `v_count`."""
        added = self.judge(pulse)
        self._die.check(pulse)
        if added is not None:
            self.counts += added
        return self._die.pulse(pulse)

    def recall(self, operation: Sense | Pulse) -> None:
        """Judge and count what was done to this die before; nothing is done."""
        added = self.judge(operation)
        if added is not None:
            self.counts += added

    def program(self, plan: WritePlan) -> Attempts:
        """Judge the whole plan by its cap, then carry it out pulse by pulse."""
        self.check(plan)
        return program_by_host(self, plan)

    def idle(self) -> None:
        """Make every line safe."""
        self._die.idle()

    def _judge_levels(self, operation: Operation) -> None:
        match operation:
            case Sense(bias=bias):
                self._judge_bias(bias)
            case Pulse(bias=bias, width=width, verify=verify):
                self._judge_bias(bias)
                self._judge_width(width)
                if verify is not None:
                    self._judge_bias(verify.bias)
            case WritePlan(write=write, verify=verify, width=width, ladder=ladder):
                self._judge_bias(write.scaled(ladder.max()))
                self._judge_bias(verify.bias)
                self._judge_width(width)

    def _judge_bias(self, bias: Bias) -> None:
        if not len(bias):
            return
        # pattern by pattern only what all lines of all patterns together would not pass
        if not _reach(bias) <= min(self.limits.v_towards_p, self.limits.v_towards_ap):
            found = extremes(bias)
            towards_p, towards_ap = found.positive.max(), found.negative.max()
            if self.geometry.polarity < 0:
                towards_p, towards_ap = towards_ap, towards_p
            _refuse("cell voltage towards P", towards_p, self.limits.v_towards_p, "V")
            _refuse("cell voltage towards AP", towards_ap, self.limits.v_towards_ap, "V")
        _refuse("compliance", bias.compliance, self.limits.compliance, "A")
        if bias.gate is not None:
            _refuse("gate voltage", float(np.abs(_different(bias.gate)).max()), self.limits.v_gate, "V")

    def _judge_width(self, width: Second) -> None:
        _refuse("pulse width", width, self.limits.width, "s")

    def _count(self, bias: Bias) -> IntArray:
        bias.fits(self.geometry)
        added = pulses_per_cell(bias, self.limits.v_count, self.geometry.shape)
        worst = int((self.counts + added)[added > 0].max(initial=0))
        if worst > self.limits.pulses_per_cell:
            raise LimitError("pulses on one cell", worst, self.limits.pulses_per_cell, "pulses")
        return added


def _refuse(quantity: str, value: float, limit: float, unit: str) -> None:
    """Raise LimitError if `value` exceeds `limit` by more than rounding; NaN never passes."""
    if not value <= limit * (1 + 1e-12):
        raise LimitError(quantity, float(value), limit, unit)
