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


def _driven(bias: Bias, fill: float) -> tuple[FloatArray, FloatArray]:
    """Return row and column voltages with `fill` in place of floating lines."""
    if bias.floating is None:
        return bias.row, bias.col
    n_rows = bias.row.shape[1]
    return np.where(bias.floating[:, :n_rows], fill, bias.row), np.where(bias.floating[:, n_rows:], fill, bias.col)


def extremes(bias: Bias) -> Extremes:
    """Return the highest voltages that any cell of each pattern can see, transients and floating lines included."""
    row, col = _driven(bias, 0.0)
    row_hi, row_lo = row.max(1).clip(min=0), row.min(1).clip(max=0)
    col_hi, col_lo = col.max(1).clip(min=0), col.min(1).clip(max=0)
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
        match operation:
            case Sense(bias=bias):
                self._judge_bias(bias)
            case Pulse(bias=bias, width=width, verify=verify):
                self._judge_bias(bias)
                self._judge_width(width)
                if verify is not None:
                    self._judge_bias(verify.bias)
                return self._count(bias)
            case WritePlan(write=write, verify=verify, width=width, ladder=ladder):
                self._judge_bias(write.scaled(ladder.max()))
                self._judge_bias(verify.bias)
                self._judge_width(width)
        return None

    def check(self, operation: Operation) -> Second:
        """Return the predicted time; LimitError or BenchError if it may not or cannot be done."""
        self.judge(operation)
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

    def program(self, plan: WritePlan) -> Attempts:
        """Judge the whole plan by its cap, then carry it out pulse by pulse."""
        self.check(plan)
        return program_by_host(self, plan)

    def idle(self) -> None:
        """Make every line safe."""
        self._die.idle()

    def _judge_bias(self, bias: Bias) -> None:
        if not len(bias):
            return
        found = extremes(bias)
        towards_p, towards_ap = found.positive.max(), found.negative.max()
        if self.geometry.polarity < 0:
            towards_p, towards_ap = towards_ap, towards_p
        _refuse("cell voltage towards P", towards_p, self.limits.v_towards_p, "V")
        _refuse("cell voltage towards AP", towards_ap, self.limits.v_towards_ap, "V")
        _refuse("compliance", bias.compliance, self.limits.compliance, "A")
        if bias.gate is not None:
            _refuse("gate voltage", float(np.abs(bias.gate).max()), self.limits.v_gate, "V")

    def _judge_width(self, width: Second) -> None:
        _refuse("pulse width", width, self.limits.width, "s")

    def _count(self, bias: Bias) -> IntArray:
        bias.fits(self.geometry)
        added = np.zeros(self.geometry.shape, np.int64)
        hit = stressed(bias, self.limits.v_count)
        for kernel in np.unique(bias.kernel):
            added[kernel] = hit[bias.kernel == kernel].sum(0)
        worst = int((self.counts + added)[added > 0].max(initial=0))
        if worst > self.limits.pulses_per_cell:
            raise LimitError("pulses on one cell", worst, self.limits.pulses_per_cell, "pulses")
        return added


def _refuse(quantity: str, value: float, limit: float, unit: str) -> None:
    """Raise LimitError if `value` exceeds `limit` by more than rounding; NaN never passes."""
    if not value <= limit * (1 + 1e-12):
        raise LimitError(quantity, float(value), limit, unit)
