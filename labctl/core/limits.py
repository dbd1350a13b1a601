"""The limits between a procedure and a die: an operation beyond one is refused, never clipped.

Which voltages a cell can see is computed in `labctl.core.cell_voltage`.
"""

from typing import overload

import numpy as np
from pydantic import Field

from labctl.core.bias import Bias
from labctl.core.cell_voltage import one_if_all_alike, pulses_per_cell, refuse_cell_voltages
from labctl.core.die import Die, DieWrapper, unknown_operation
from labctl.core.errors import LimitError, refuse_beyond
from labctl.core.model import Model
from labctl.core.operations import Attempts, Operation, Pulse, Reading, Sense, WritePlan
from labctl.core.units import Ampere, IntArray, Second, Volt


class Limits(Model):
    """Limits of a die. An operation beyond any of them is refused before anything is energised.

    The bounds of the numbers are far outside of what a junction stands: a limit beyond them is a slip.
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


class Limited(DieWrapper[Die]):
    """A die behind its limits.

    Args:
        counts: (kernels, n_rows, n_cols) pulses that each cell has had before, None for a new die.
    """

    def __init__(self, die: Die, limits: Limits, counts: IntArray | None = None) -> None:
        super().__init__(die)
        self.limits = limits
        self.counts = np.zeros(die.geometry.shape, np.int64) if counts is None else counts.astype(np.int64)

    def check(self, operation: Operation) -> Second:
        """Return the predicted time, s; LimitError if it is beyond a limit, BenchError if it cannot be done."""
        self._judge_levels(operation)
        # no cell gets more pulses than there are patterns
        if isinstance(operation, Pulse) and self.counts.max() + len(operation) > self.limits.pulses_per_cell:
            self._count(operation.bias)
        if isinstance(operation, WritePlan) and self.scripts is not None:
            most = Attempts.at_most(operation)
            self._count(operation.pulses(most.cell, most.attempt))
        return self._die.check(operation)

    @overload
    def perform(self, operation: Sense | Pulse) -> Reading: ...
    @overload
    def perform(self, operation: WritePlan) -> Attempts: ...
    def perform(self, operation: Operation) -> Reading | Attempts:
        """Do `operation` within the limits; pulses count for every cell that sees more than `v_count`.

        A write plan is judged as a whole by its cap, then carried out pulse by pulse; one that is carried out inside an
        instrument is charged at the most that it may give before it, and as given after it.
        """
        match operation:
            case Sense():
                self.check(operation)
                return self._die.perform(operation)
            case Pulse():
                self._judge_levels(operation)
                added = self._count(operation.bias)
                self._die.check(operation)
                self.counts += added
                return self._die.perform(operation)
            case WritePlan():
                return self._program(operation)
        raise unknown_operation(self, operation)

    def _program(self, plan: WritePlan) -> Attempts:
        """Carry out a plan by the host loop, or whole inside an instrument, charged at the most before it.

        What breaks off there stays charged at the most.
        """
        if self.scripts is None:
            return super()._program(plan)
        self.check(plan)
        most = Attempts.at_most(plan)
        reserved = self._count(plan.pulses(most.cell, most.attempt))
        self.counts += reserved
        attempts = self._die.perform(plan)
        self.counts += self._pulses(plan, attempts) - reserved
        return attempts

    def _pulses(self, plan: WritePlan, attempts: Attempts) -> IntArray:
        """Return the (kernels, n_rows, n_cols) pulses of the attempts of a plan."""
        bias = plan.pulses(attempts.cell, attempts.attempt)
        return pulses_per_cell(bias, self.limits.v_count, self.geometry.shape)

    def recall_plan(self, plan: WritePlan, attempts: Attempts) -> None:
        """Judge a plan that was carried out on this die before, and count its attempts; nothing is done."""
        self._judge_levels(plan)
        self.counts += self._count(plan.pulses(attempts.cell, attempts.attempt))

    def recall(self, operation: Sense | Pulse) -> None:
        """Judge and count an operation that was done to this die before; nothing is done."""
        self._judge_levels(operation)
        if isinstance(operation, Pulse):
            self.counts += self._count(operation.bias)

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
            case _:
                raise unknown_operation(self, operation)

    def _judge_bias(self, bias: Bias) -> None:
        if not len(bias):
            return
        refuse_cell_voltages(bias, self.geometry.polarity, self.limits.v_towards_p, self.limits.v_towards_ap)
        refuse_beyond("compliance", bias.compliance, self.limits.compliance, "A")
        if bias.gate is not None:
            refuse_beyond("gate voltage", float(np.abs(one_if_all_alike(bias.gate)).max()), self.limits.v_gate, "V")

    def _judge_width(self, width: Second) -> None:
        refuse_beyond("pulse width", width, self.limits.width, "s")

    def _count(self, bias: Bias) -> IntArray:
        """Return the (kernels, n_rows, n_cols) pulses of a bias; LimitError if a cell would have had too many."""
        bias.fits(self.geometry)
        added = pulses_per_cell(bias, self.limits.v_count, self.geometry.shape)
        worst = int((self.counts + added)[added > 0].max(initial=0))
        if worst > self.limits.pulses_per_cell:
            raise LimitError("pulses on one cell", worst, self.limits.pulses_per_cell, "pulses")
        return added
