"""What every protocol promises (`labctl.core.procedure.Procedure`)."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any, overload

import numpy as np

from labctl import files
from labctl.core.die import Die, DieWrapper, unknown_operation
from labctl.core.errors import LimitError
from labctl.core.operations import Attempts, Operation, Pulse, Reading, Sense, WritePlan
from labctl.core.procedure import Procedure
from labctl.core.record import History, Record, units_of
from labctl.core.site import Site
from labctl.execution.declared_in_plan import doubts_of
from labctl.execution.nominal_die import NominalDie
from labctl.station.simulated import simulated
from labctl.testing.contract import Check, carry_out, require
from sim_backend.description import DieDescription

MOST = 100_000
"""Records after which a protocol counts as one that does not end."""


@dataclass(frozen=True)
class ProtocolUnderTest:
    """A protocol under test.

    Args:
        procedure: with settings that are quickly carried out.
        make: returns a new die, the same every time.
        history: records that the stages before it have left.
    """

    procedure: Procedure
    make: Callable[[], Die]
    history: tuple[Record, ...] = ()

    def records(self, die: Die) -> list[Record]:
        """Return all records of a run on `die`."""
        records = list(islice(self.procedure.run(die, History(self.history)), MOST))
        require(len(records) < MOST, f"it has yielded {MOST:,} records and does not end")
        return records


class Watched(DieWrapper[Die]):
    """A die that keeps what is done to it, and refuses an operation if it is told to.

    Args:
        refused: number of the operation that is refused as beyond a limit, from 0.
    """

    def __init__(self, die: Die, refused: int = -1) -> None:
        super().__init__(die)
        self.operations: list[Operation] = []
        self._refused = refused

    @overload
    def perform(self, operation: Sense | Pulse) -> Reading: ...
    @overload
    def perform(self, operation: WritePlan) -> Attempts: ...
    def perform(self, operation: Operation) -> Reading | Attempts:
        """Do `operation` and keep it."""
        if not isinstance(operation, Operation):
            raise unknown_operation(self, operation)
        if len(self.operations) == self._refused:
            raise LimitError("cell voltage", 2.0, 1.0, "V")
        self.operations.append(operation)
        return self._die.perform(operation)


def settings_are_data(subject: ProtocolUnderTest) -> None:
    """Its settings are plain data in SI units, from which the same procedure is made again."""
    data = subject.procedure.settings_data()
    inputs = {name: getattr(subject.procedure, name) for name in subject.procedure.inputs()}
    again = type(subject.procedure).model_validate({**data, **inputs})
    require(again.settings_data() == data, f"settings are {data}, and {again.settings_data()} when read again")


def it_yields_records_of_named_tables(subject: ProtocolUnderTest) -> None:
    """It yields records, each of a table with a name, whose arrays have one shape in every row."""
    shapes: dict[tuple[str, str], tuple[int, ...]] = {}
    records = subject.records(subject.make())
    require(records, "it yields no record")
    for record in records:
        require(isinstance(record, Record), f"it yields {type(record).__name__}, which is no Record")
        require(isinstance(getattr(record, "table", None), str), f"{type(record).__name__} names no table")
        units_of(type(record))
        for field in fields(record):
            value = getattr(record, field.name)
            shape = np.shape(value)[1:] if record.columnar else np.shape(value)
            known = shapes.setdefault((record.table, field.name), shape)
            require(known == shape, f"{record.table}.{field.name} has shapes {known} and {shape}")


def equal_dies_give_equal_runs(subject: ProtocolUnderTest) -> None:
    """On two equal dies it does the same operations and yields the same records: that is how a run goes on."""
    first, second = Watched(subject.make()), Watched(subject.make())
    one, other = subject.records(first), subject.records(second)
    require(len(first.operations) == len(second.operations), "the numbers of operations differ")
    for n, (a, b) in enumerate(zip(first.operations, second.operations, strict=True)):
        require(type(a) is type(b) and _alike(a, b), f"operation {n} differs")
    require(len(one) == len(other), "the numbers of records differ")
    for n, (left, right) in enumerate(zip(one, other, strict=True)):
        require(type(left) is type(right) and _alike(left, right), f"record {n} differs")


def a_refused_operation_ends_it(subject: ProtocolUnderTest) -> None:
    """An operation beyond a limit ends it: the error is passed on, whenever it comes."""
    watched = Watched(subject.make())
    subject.records(watched)
    for refused in sorted({0, len(watched.operations) // 2, len(watched.operations) - 1}):
        die = Watched(subject.make(), refused)
        try:
            subject.records(die)
        except LimitError:
            require(len(die.operations) == refused, "it went on after an operation was refused")
            continue
        require(False, f"operation {refused} was refused as beyond a limit, and it went on")


def it_can_be_rehearsed(subject: ProtocolUnderTest) -> None:
    """Its rehearsal runs on a die of nominal cells, and says how often it makes the whole."""
    piece, times = subject.procedure.rehearsal()
    require(isinstance(piece, Procedure) and times >= 1, f"the rehearsal is {piece!r}, {times} times")
    die = subject.make()
    nominal = NominalDie(die.geometry, die.nominal, timing=die.check)
    records = list(islice(piece.run(nominal, History(subject.history)), MOST))
    require(0 < len(records) < MOST, f"the rehearsal yields {len(records)} records")


def it_keeps_nothing(subject: ProtocolUnderTest) -> None:
    """A run leaves nothing in the procedure, so that one object serves every die."""
    before = subject.procedure.settings_data()
    subject.records(subject.make())
    require(subject.procedure.settings_data() == before, "its settings have changed")
    stray = sorted(set(vars(subject.procedure)) - set(type(subject.procedure).model_fields))
    require(not stray, f"it keeps {', '.join(stray)}")


def figures_are_made_of_its_tables(subject: ProtocolUnderTest) -> None:
    """The names of its figures are its own, once each, and figures and pictures are of tables that it yields."""
    keys = [figure.key for figure in subject.procedure.figures]
    require(len(set(keys)) == len(keys), f"figures are {keys}")
    missing = doubts_of(subject.procedure, History([*subject.history, *subject.records(subject.make())]))
    require(not missing, "; ".join(missing))


def _alike(one: Any, other: Any) -> bool:
    """Return whether two dataclasses hold equal values, arrays by their content."""
    if one is None or other is None:
        return one is other
    return all(_equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))


def _equal(one: Any, other: Any) -> bool:
    if hasattr(one, "__dataclass_fields__"):
        return type(one) is type(other) and _alike(one, other)
    if isinstance(one, np.ndarray | float):
        return bool(np.array_equal(np.asarray(one), np.asarray(other), equal_nan=np.asarray(one).dtype.kind == "f"))
    return bool(one == other)


def _dies_of(path: Path) -> Callable[[], Die]:
    """Return what makes the simulated die of a die file, the same every time. Raises BenchError."""
    site = Site("die", files.read(path, DieDescription).value, seed=1)
    return lambda: simulated(site)


PROTOCOL_CHECKS: tuple[Check[ProtocolUnderTest], ...] = (
    settings_are_data,
    it_yields_records_of_named_tables,
    equal_dies_give_equal_runs,
    a_refused_operation_ends_it,
    it_can_be_rehearsed,
    it_keeps_nothing,
    figures_are_made_of_its_tables,
)


def check_protocol(
    procedure: Procedure, make: Callable[[], Die] | str | PathLike[str], *, history: tuple[Record, ...] = ()
) -> None:
    """Carry out the contract of a protocol; ContractError names every check that it breaks.

    Args:
        procedure, history: as of `ProtocolUnderTest`.
        make: also as of it, or the path of a die file, of which simulated dies are made.

    Raises:
        BenchError: the die file is none.
    """
    subject = ProtocolUnderTest(procedure, make if callable(make) else _dies_of(Path(make)), history)
    carry_out(f"the protocol {procedure.name}", PROTOCOL_CHECKS, lambda: subject)
