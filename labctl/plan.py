"""Rehearse a campaign before anything moves: operations, highest voltages, levels, time and disk.

Every stage runs once against a nominal die behind the real limits, and every operation is timed by the real die's
`check`, which does no I/O. What limits or the bench would refuse is therefore refused here, before a folder is made.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, is_dataclass
from typing import Any

import numpy as np

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
from labctl.core.procedure import History, Procedure
from labctl.core.units import FloatArray, Second, Volt
from labctl.limits import Limited, Limits, extremes
from labctl.nominal import NominalDie


@dataclass
class StagePlan:
    """What one stage will do to one die, predicted.

    Args:
        operations: batches asked of the die.
        reads, pulses: patterns.
        time: bench time, s.
        bytes: journal and HDF5 together, before compression.
        v_highest: highest cell voltage in either direction, transients included, V.
        levels: most different voltages that stand on the lines at once, ground included.
    """

    stage: str
    operations: int = 0
    reads: int = 0
    pulses: int = 0
    time: Second = 0.0
    bytes: int = 0
    v_highest: Volt = 0.0
    levels: int = 0

    def times(self, repeats: int) -> "StagePlan":
        """Return the plan of `repeats` such stages in a row."""
        return StagePlan(
            self.stage,
            self.operations * repeats,
            self.reads * repeats,
            self.pulses * repeats,
            self.time * repeats,
            self.bytes * repeats,
            self.v_highest,
            self.levels,
        )


@dataclass
class DiePlan:
    """The stages of one die."""

    die: str
    stages: list[StagePlan] = field(default_factory=list)

    @property
    def patterns(self) -> int:
        """Reads and pulses of all stages."""
        return sum(s.reads + s.pulses for s in self.stages)


def count_levels(bias: Bias) -> int:
    """Return the most different voltages on the driven lines of any one pattern, ground included."""
    lines = np.concatenate([bias.row, bias.col, np.zeros((len(bias), 1))], axis=1)
    if bias.floating is not None:
        lines = np.where(np.pad(bias.floating, ((0, 0), (0, 1))), 0.0, lines)
    if not len(lines):
        return 0
    ordered = np.sort(lines, axis=1)
    return int(1 + (np.diff(ordered, axis=1) > 0).sum(1).max())


class Rehearsed:
    """A nominal die behind the limits that adds up what is asked of it."""

    def __init__(self, die: Limited, plan: StagePlan) -> None:
        self._die, self._plan = die, plan

    @property
    def geometry(self) -> Geometry:
        """Shape of the die."""
        return self._die.geometry

    @property
    def nominal(self) -> Nominal:
        """Nominal conductances."""
        return self._die.nominal

    def check(self, operation: Operation) -> Second:
        """Return the predicted time."""
        return self._die.check(operation)

    def sense(self, sense: Sense) -> Reading:
        """Count a read."""
        self._note(sense, sense.bias)
        self._plan.reads += len(sense)
        return self._seen(self._die.sense(sense))

    def pulse(self, pulse: Pulse) -> Reading:
        """Count a pulse and its verify read."""
        self._note(pulse, pulse.bias)
        self._plan.pulses += len(pulse)
        return self._seen(self._die.pulse(pulse))

    def program(self, plan: WritePlan) -> Attempts:
        """Judge the cap of a write plan, then count its pulses."""
        self.check(plan)
        cap = extremes(plan.write.scaled(plan.ladder.max()))
        if len(plan):
            self._plan.v_highest = max(self._plan.v_highest, float(max(cap.positive.max(), cap.negative.max())))
        return program_by_host(self, plan)

    def idle(self) -> None:
        """Make every line safe."""
        self._die.idle()

    def _note(self, operation: Sense | Pulse, bias: Bias) -> None:
        self._plan.time += self._die.check(operation)
        self._plan.operations += 1
        self._plan.bytes += _size(operation)
        self._plan.levels = max(self._plan.levels, count_levels(bias))
        if len(bias):
            found = extremes(bias)
            self._plan.v_highest = max(self._plan.v_highest, float(max(found.positive.max(), found.negative.max())))

    def _seen(self, reading: Reading) -> Reading:
        self._plan.bytes += reading.current.nbytes + reading.flag.nbytes + reading.pulse_flag.nbytes
        return reading


def _size(value: Any) -> int:
    """Return the bytes of a nested body; broadcast arrays count once."""
    if isinstance(value, dict):
        return sum(_size(v) for v in value.values())
    if is_dataclass(value):
        return _size(vars(value))
    if isinstance(value, np.ndarray):
        stored = [n for n, stride in zip(value.shape, value.strides, strict=True) if stride]
        return int(np.prod(stored, dtype=np.int64)) * value.itemsize
    return 8


def rehearse(name: str, die: Die, limits: Limits, procedures: Sequence[Procedure]) -> DiePlan:
    """Return what `procedures` will do to `die`, which is asked for its predictions only and not touched.

    Raises:
        BenchError: an operation cannot be realised on this die.
        LimitError: an operation is beyond the limits.
    """
    timing: Callable[[Operation], float] = die.check
    nominal = Limited(NominalDie(die.geometry, die.nominal, timing=timing), limits)
    history, plan = History(), DiePlan(name)
    for procedure in procedures:
        short, repeats = procedure.rehearsal()
        stage = StagePlan(procedure.name)
        before = nominal.counts.copy()
        for record in short.run(Rehearsed(nominal, stage), history):
            history.add(record)
            stage.bytes += _size(record)
        nominal.counts += (nominal.counts - before) * (repeats - 1)
        if nominal.counts.max() > limits.pulses_per_cell:
            worst = int(nominal.counts.max())
            raise LimitError("predicted pulses on one cell", worst, limits.pulses_per_cell, "pulses")
        plan.stages.append(stage.times(repeats))
    return plan


def total(plans: Sequence[DiePlan]) -> StagePlan:
    """Return the sum over all dies and stages."""
    stages = [s for p in plans for s in p.stages]
    voltage: FloatArray = np.array([s.v_highest for s in stages] or [0.0])
    return StagePlan(
        "total",
        sum(s.operations for s in stages),
        sum(s.reads for s in stages),
        sum(s.pulses for s in stages),
        sum(s.time for s in stages),
        sum(s.bytes for s in stages),
        float(voltage.max()),
        max((s.levels for s in stages), default=0),
    )
