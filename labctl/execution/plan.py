"""Rehearse a campaign before anything moves: operations, highest voltages, levels, time and disk.

Every stage runs once against a nominal die behind the real limits, whose cells switch as the die file lets
expect, and every operation is timed by the real die's
`check`, which does no I/O. An operation that limits or bench would refuse is therefore refused before a folder is made.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import overload

import numpy as np

from labctl.core.bias import Bias, Kind
from labctl.core.board import Traffic
from labctl.core.cell_voltage import extremes
from labctl.core.die import Die, DieWrapper, PlanScripts, unknown_operation
from labctl.core.errors import BenchError, LimitError
from labctl.core.limits import Limited, Limits
from labctl.core.operations import Attempts, Glance, Operation, Pulse, Reading, Sense, WritePlan
from labctl.core.picture import require_fit
from labctl.core.plugins import PROTOCOLS, strangers_errors
from labctl.core.procedure import Procedure
from labctl.core.record import History, Record
from labctl.core.units import FloatArray, Second, Volt
from labctl.execution.declared_in_plan import doubts
from labctl.execution.disk_estimate import BYTES_PER_CELL, BYTES_PER_DIE, CONVERTER_STEPS, DiskEstimate
from labctl.execution.nominal_die import NominalDie, PulsedCells
from labctl.execution.recorded_die import cells_of
from protocols.records import TABLES


@dataclass
class StagePlan:
    """The prediction of one stage on one die.

    Args:
        operations: batches.
        reads, pulses: patterns.
        time: bench time, s.
        bytes: journal and sealed HDF5 file together.
        v_highest: highest cell voltage in either direction, transients included, V.
        levels: most different voltages on the lines at once, ground included.
        events: of the board that drives the die; 0 without one that knows.
        link: bytes on the link to it.
        glances: of the operations, reads that nobody writes down.
    """

    stage: str
    operations: int = 0
    reads: int = 0
    pulses: int = 0
    time: Second = 0.0
    bytes: int = 0
    v_highest: Volt = 0.0
    levels: int = 0
    events: int = 0
    link: int = 0
    glances: int = 0

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
            self.events * repeats,
            self.link * repeats,
            self.glances * repeats,
        )


@dataclass
class DiePlan:
    """The stages of one die.

    Args:
        doubts: see `labctl.execution.declared_in_plan`.
    """

    die: str
    stages: list[StagePlan] = field(default_factory=list)
    doubts: Sequence[tuple[int, str]] = ()

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


class CountedDie(DieWrapper[Limited]):
    """A nominal die behind the limits that counts its operations."""

    def __init__(
        self, die: Limited, plan: StagePlan, disk: DiskEstimate, traffic: Traffic = lambda operation: (0, 0)
    ) -> None:
        super().__init__(die)
        self._plan, self._disk, self._traffic = plan, disk, traffic

    @overload
    def perform(self, operation: Sense | Pulse) -> Reading: ...
    @overload
    def perform(self, operation: WritePlan) -> Attempts: ...
    def perform(self, operation: Operation) -> Reading | Attempts:
        """Count a read, or pulses and their verify reads; of a write plan judge the cap, then count its pulses."""
        match operation:
            case Sense():
                self._count(operation, operation.bias, operation.cols.shape[1])
                self._plan.reads += len(operation)
                return self._die.perform(operation)
            case Pulse(verify=verify):
                self._count(operation, operation.bias, 0 if verify is None else verify.cols.shape[1])
                self._plan.pulses += len(operation)
                return self._die.perform(operation)
            case WritePlan():
                self._raise_highest(operation.write.scaled(operation.ladder.max()))
                scripts = self.scripts
                return self._program(operation) if scripts is None else self._plans(operation, scripts)
        raise unknown_operation(self, operation)

    def _plans(self, plan: WritePlan, scripts: PlanScripts) -> Attempts:
        """Count a plan that is carried out inside the instrument; refuse a chunk that it cannot hold."""
        self._plan.operations += 1
        self._add_traffic(plan)
        size = cells_of(len(plan), scripts.expected(plan))
        self._disk.plan(plan, size)
        self._plan.levels = max(self._plan.levels, count_levels(plan.write))
        parts = []
        for begin in range(0, len(plan), size):
            chunk = plan.take(slice(begin, begin + size))
            scripts.require_fit(chunk)
            attempts = self._die.perform(chunk)
            self._plan.time += scripts.expected(chunk, attempts.given)
            parts.append(attempts)
        self._plan.pulses += sum(len(part.cell) for part in parts)
        return Attempts.join(parts)

    def _count(self, operation: Sense | Pulse, bias: Bias, columns: int) -> None:
        time = self._die.check(operation)
        self._plan.time += time
        self._plan.operations += 1
        self._add_traffic(operation)
        if isinstance(operation, Glance):
            self._plan.glances += 1
        else:
            self._disk.operation(operation, time, columns)
        self._plan.levels = max(self._plan.levels, count_levels(bias))
        self._raise_highest(bias)

    def _add_traffic(self, operation: Operation) -> None:
        events, link = self._traffic(operation)
        self._plan.events += events
        self._plan.link += link

    def _raise_highest(self, bias: Bias) -> None:
        if len(bias):
            self._plan.v_highest = max(self._plan.v_highest, float(extremes(bias).highest.max()))


Place = Callable[[float | None], str]
"""Where in which file a stage stands, for messages; asked with the value beyond a limit, None for other errors."""


@contextmanager
def _naming(place: Place) -> Iterator[None]:
    """Prefix a refusal with its place; type and values stay."""
    try:
        yield
    except LimitError as error:
        raise LimitError(f"{place(error.value)}: {error.quantity}", error.value, error.limit, error.unit) from error
    except BenchError as error:
        raise type(error)(f"{place(None)}: {error}") from error


def rehearse(
    name: str,
    die: Die,
    limits: Limits,
    procedures: Sequence[Procedure],
    proof: Second = 0.0,
    places: Sequence[Place] = (),
    cells: PulsedCells | None = None,
) -> DiePlan:
    """Return the plan of `procedures` on `die`, whose `check` alone is used: it is not touched.

    Args:
        proof: predicted time in which contact is proved at the end of a stage, s.
        places: of the procedures; stage and die if left out.
        cells: what the pulses act on; without them every pulse is a success.

    Raises:
        BenchError: an operation cannot be realised on this die, or a procedure of another distribution failed.
        LimitError: an operation is beyond the limits. Both messages begin with the place.
    """
    timing: Callable[[Operation], float] = die.check
    scripts: PlanScripts | None = getattr(die, "scripts", None)
    nominal = Limited(NominalDie(die.geometry, die.nominal, timing=timing, scripts=scripts, cells=cells), limits)
    traffic: Traffic = getattr(die, "traffic", None) or (lambda operation: (0, 0))
    history, plan = History(), DiePlan(name)
    places = places or [partial(_stage, f"stage {procedure.name} of die {name}") for procedure in procedures]
    for procedure, place in zip(procedures, places, strict=True):
        with _naming(place), strangers_errors(PROTOCOLS, procedure.name):
            stage = _rehearse_stage(procedure, nominal, limits, history, traffic, getattr(die, "chunk", None))
            stage.time += proof
            plan.stages.append(stage)
    plan.doubts = doubts(procedures, history)
    if plan.stages:
        plan.stages[0].bytes += BYTES_PER_DIE + BYTES_PER_CELL * math.prod(die.geometry.shape)
    return plan


def _stage(words: str, value: float | None) -> str:
    """Return the place of a stage that stands in no file, whatever is wrong with it."""
    return words


def _rehearse_stage(
    procedure: Procedure,
    nominal: Limited,
    limits: Limits,
    history: History,
    traffic: Traffic,
    chunk: Second | None,
) -> StagePlan:
    short, repeats = procedure.rehearsal()
    chip = nominal.geometry.kind is Kind.ONE_T_ONE_R
    stage, disk = StagePlan(procedure.name), DiskEstimate(CONVERTER_STEPS if chip else None, chunk)
    before = nominal.counts.copy()
    tables: set[str] = set()
    records = short.run(CountedDie(nominal, stage, disk, traffic), history)
    if not isinstance(records, Iterable):
        raise BenchError(f"run of '{procedure.name}' returns {records!r:.80}; expected records, as with 'yield'")
    for record in records:
        if not isinstance(record, Record):
            raise BenchError(f"'{procedure.name}' yields {record!r:.80}; expected a Record")
        history.add(record)
        disk.record(record)
        if record.table not in tables:
            tables.add(record.table)
            _require_drawable(procedure, record)
    if stage.glances and not procedure.glances:
        raise BenchError(
            f"'{procedure.name}' takes readings that nobody writes down and does not say so; expected its property "
            "'glances' to be True"
        )
    stage.bytes = round(disk.bytes)
    nominal.counts += (nominal.counts - before) * (repeats - 1)
    if nominal.counts.max() > limits.pulses_per_cell:
        worst = int(nominal.counts.max())
        raise LimitError("predicted pulses on one cell", worst, limits.pulses_per_cell, "pulses")
    return stage.times(repeats)


def _require_drawable(procedure: Procedure, record: Record) -> None:
    """Refuse a table of another protocol's name, and pictures that cannot be drawn from this one; BenchError."""
    ours = next((kind for kind in TABLES if kind.table == record.table), None)
    if ours is not None and ours is not type(record):
        raise BenchError(
            f"'{procedure.name}' yields records of the table '{record.table}', which is one of this suite; name it "
            "otherwise"
        )
    columns = {f.name: np.asarray(getattr(record, f.name)) for f in fields(record)}
    table = columns if record.columnar else {name: column[None] for name, column in columns.items()}
    for picture in procedure.pictures:
        if picture.table == record.table:
            try:
                require_fit(picture, table)
            except ValueError as error:
                raise BenchError(
                    f"'{procedure.name}' declares the picture '{picture.title}' of the table '{record.table}': {error}"
                ) from error


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
        sum(s.events for s in stages),
        sum(s.link for s in stages),
    )
