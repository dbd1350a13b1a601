"""Rehearse a campaign before anything moves: operations, highest voltages, levels, time and disk.

Every stage runs once against a nominal die behind the real limits, and every operation is timed by the real die's
`check`, which does no I/O. What limits or the bench would refuse is therefore refused here, before a folder is made.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from labctl.arrays import Array, Stored, compact, digest_of, encode
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
from labctl.core.errors import BenchError, LimitError
from labctl.core.procedure import History, Procedure, Record
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
        bytes: journal and sealed HDF5 file together.
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


# What a byte or a row costs on disk, found on finished runs of the example campaign.
_DIE = 500_000  # groups, attributes, provenance and truth of a die: some 300 datasets of 1.5 kB, whatever they hold
_ROW = 260  # of an operation: stamps, digests, index pages in the journal; stamps and index in HDF5
_BLOB = 130  # of an array in the journal: its digest, twice, and its shape
_PACKED_OPERATION = 0.28  # of bias arrays in HDF5, which repeat a lot
_PACKED_RECORD = 0.9  # of records in HDF5: measured digits do not compress
_PACKED_COLUMN = 32  # of every row of a columnar table: number, stage and time


class _Disk:
    """Adds up what the journal and the sealed file of a die take; arrays that repeat are stored once."""

    def __init__(self) -> None:
        self.bytes = 0.0
        self._known: set[str] = set()

    def operation(self, body: object) -> None:
        """Add what is done to a die, or what came of it."""
        text, arrays = self._journal(body)
        self.bytes += text + arrays * _PACKED_OPERATION

    def record(self, record: Record) -> None:
        """Add what was learned; HDF5 tables hold equal arrays as often as they come."""
        fields: Mapping[str, Any] = vars(record)
        sizes = [np.asarray(value).nbytes for value in fields.values()]
        self._journal(fields)
        self.bytes += sum(sizes) * _PACKED_RECORD
        if record.columnar:
            self.bytes += _PACKED_COLUMN * max(np.size(value) for value in fields.values())

    def _journal(self, body: object) -> tuple[int, int]:
        """Add a row of the journal; return the bytes of its text and of the arrays that are new."""
        new = 0

        def put(array: Array | Stored, path: tuple[str, ...]) -> dict[str, Any]:
            nonlocal new
            assert isinstance(array, np.ndarray)
            base = compact(array)
            digest = digest_of(base)
            if digest not in self._known:
                self._known.add(digest)
                self.bytes += base.nbytes + _BLOB
                new += base.nbytes
            return {"$array": digest, "shape": array.shape}

        text = len(encode(body, put))
        self.bytes += _ROW + text
        return text, new


class Rehearsed:
    """A nominal die behind the limits that adds up what is asked of it."""

    def __init__(self, die: Limited, plan: StagePlan, disk: _Disk) -> None:
        self._die, self._plan, self._disk = die, plan, disk

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
        self._disk.operation(operation)
        self._plan.levels = max(self._plan.levels, count_levels(bias))
        if len(bias):
            found = extremes(bias)
            self._plan.v_highest = max(self._plan.v_highest, float(max(found.positive.max(), found.negative.max())))

    def _seen(self, reading: Reading) -> Reading:
        self._disk.operation(reading)
        return reading


@contextmanager
def _asked_by(stage: str, die: str) -> Iterator[None]:
    """Say in what is refused which stage of which die asked for it; type and values stay."""
    try:
        yield
    except LimitError as error:
        raise LimitError(
            f"stage {stage} of die {die}: {error.quantity}", error.value, error.limit, error.unit
        ) from error
    except BenchError as error:
        raise type(error)(f"stage {stage} of die {die}: {error}") from error


def rehearse(name: str, die: Die, limits: Limits, procedures: Sequence[Procedure]) -> DiePlan:
    """Return what `procedures` will do to `die`, which is asked for its predictions only and not touched.

    Raises:
        BenchError: an operation cannot be realised on this die.
        LimitError: an operation is beyond the limits. Both say which stage of which die asked.
    """
    timing: Callable[[Operation], float] = die.check
    nominal = Limited(NominalDie(die.geometry, die.nominal, timing=timing), limits)
    history, plan = History(), DiePlan(name)
    for procedure in procedures:
        with _asked_by(procedure.name, name):
            plan.stages.append(_rehearse_stage(procedure, nominal, limits, history))
    if plan.stages:
        plan.stages[0].bytes += _DIE
    return plan


def _rehearse_stage(procedure: Procedure, nominal: Limited, limits: Limits, history: History) -> StagePlan:
    short, repeats = procedure.rehearsal()
    stage, disk = StagePlan(procedure.name), _Disk()
    before = nominal.counts.copy()
    for record in short.run(Rehearsed(nominal, stage, disk), history):
        history.add(record)
        disk.record(record)
    stage.bytes = round(disk.bytes)
    nominal.counts += (nominal.counts - before) * (repeats - 1)
    if nominal.counts.max() > limits.pulses_per_cell:
        worst = int(nominal.counts.max())
        raise LimitError("predicted pulses on one cell", worst, limits.pulses_per_cell, "pulses")
    return stage.times(repeats)


def by_stage(plans: Sequence[DiePlan]) -> list[StagePlan]:
    """Return the sum over all dies of each stage, in the order of the first die."""
    number = len(plans[0].stages) if plans else 0
    sums = [total([DiePlan(p.die, [p.stages[k]]) for p in plans]) for k in range(number)]
    return [replace(s, stage=plans[0].stages[k].stage) for k, s in enumerate(sums)]


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
