"""No wrapper and no body does an operation of a type that it does not know, and none passes one on."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import instruments
import labctl
import sim_backend
from instruments.bench import Bench
from instruments.daffodil_library import DaffodilLibrary, Installed
from instruments.daffodil_library import Options as Library
from instruments.daffodil_plan import Options, Plan
from instruments.open_bench import open_bench
from instruments.open_board import BareBoard, BoardDie
from labctl.core.bias import Bias, Geometry, Nominal
from labctl.core.die import DieBase
from labctl.core.errors import BenchError
from labctl.core.limits import Limited, Limits
from labctl.core.operations import Sense
from labctl.execution.disk_estimate import DiskEstimate
from labctl.execution.journal_die import JournalDie
from labctl.execution.nominal_die import NominalDie
from labctl.execution.plan import CountedDie, StagePlan
from labctl.execution.recorded_die import RecordedDie
from labctl.execution.replay import Replay
from labctl.station.notebook import simulated_die
from labctl.station.twin import Twin
from labctl.storage.journal import Journal
from labctl.storage.results import open_run
from labctl.testing.protocols import Watched
from sim_backend.chip import ChipDie
from sim_backend.description import DieDescription
from sim_backend.die import SimDie
from sim_backend.faults.dies import FaultyDie
from tests.small_array import array as small_array
from tests.small_array import on_arc_two
from tests.small_chip import chip as small_chip
from tests.small_chip import on_board

GEOMETRY, NOMINAL = Geometry(2, 4, 3), Nominal([4e-4, 9e-4], [2e-4, 4e-4])
LIMITS = Limits(v_towards_p=1.0, v_towards_ap=1.0, width=1e-2, compliance=1e-2, v_count=0.3, pulses_per_cell=99)


class Anneal:
    """Looks like a read, and is none."""

    def __init__(self) -> None:
        self.bias = Bias(np.full((2, 4), 0.1), np.zeros((2, 3)))
        self.cols, self.aperture, self.width, self.verify = np.zeros((2, 1), np.int64), 1e-3, 1e-3, None

    def __len__(self) -> int:
        return 2


class Untouched(NominalDie):
    """A body on which nothing may be done."""

    def __init__(self) -> None:
        super().__init__(GEOMETRY, NOMINAL, timing=lambda operation: 1e-3)

    def check(self, operation: Any) -> float:
        pytest.fail(f"a {type(operation).__name__} was passed on")

    def perform(self, operation: Any) -> Any:
        pytest.fail(f"a {type(operation).__name__} was passed on")


def description(kind: str) -> DieDescription:
    geometry = {"kind": kind, "kernels": 2, "n_rows": 4, "n_cols": 3}
    file = {"name": "unknown", "geometry": geometry, "junction": {"diameter": "80 nm"}}
    return DieDescription.model_validate(file, context={"file": True})


@contextmanager
def limited(folder: Path) -> Iterator[DieBase]:
    die = Limited(Untouched(), LIMITS)
    yield die
    assert not die.counts.any()


@contextmanager
def recorded(folder: Path) -> Iterator[DieBase]:
    with Journal.create(folder, {"die": "D1"}) as journal:
        before = journal.last
        yield RecordedDie(Limited(Untouched(), LIMITS), Replay(journal), "one")
        assert journal.last == before
        assert not list(journal.intents())


@contextmanager
def counted(folder: Path) -> Iterator[DieBase]:
    plan = StagePlan("one")
    yield CountedDie(Limited(Untouched(), LIMITS), plan, DiskEstimate(None))
    assert plan == StagePlan("one")


@contextmanager
def remembered(folder: Path) -> Iterator[DieBase]:
    yield JournalDie(GEOMETRY, NOMINAL)


@contextmanager
def nominal(folder: Path) -> Iterator[DieBase]:
    die = NominalDie(GEOMETRY, NOMINAL, timing=lambda operation: pytest.fail("timed"))
    yield die
    assert not die.state.any()


@contextmanager
def simulated(folder: Path) -> Iterator[DieBase]:
    die = SimDie(description("passive"), seed=3, name="die")
    yield die
    assert die._count == 0


@contextmanager
def chip(folder: Path) -> Iterator[DieBase]:
    die = ChipDie(description("1T1R"), seed=3, name="die")
    yield die
    assert die._count == 0


@contextmanager
def probed(folder: Path) -> Iterator[DieBase]:
    pads = [f"{axis}{k}{i}" for k in range(2) for axis, n in (("r", 4), ("c", 3)) for i in range(n)]
    file = {
        "name": "unknown",
        "instruments": {
            "smu": {"driver": "keithley2600b", "resource": "smu"},
            "matrix": {"driver": "keithley707b", "resource": "matrix"},
        },
        "wiring": {
            "channels": {"smu.smua": "A", "smu.smub": "B"},
            "ground": "H",
            "pads": {pad: f"{1 + j // 12}-{1 + j % 12:02d}" for j, pad in enumerate(pads)},
            "kernels": [
                {"rows": [f"r{k}{i}" for i in range(4)], "cols": [f"c{k}{i}" for i in range(3)]} for k in range(2)
            ],
        },
        "limits": {
            "v_towards_p": "1 V", "v_towards_ap": "1 V", "width": "10 ms", "compliance": "10 mA",
            "ramp_rate": "1000 V/s",
        },
        "twin": {"ideal_instruments": True},
    }  # fmt: skip
    bench = Bench.model_validate(file, context={"file": True})
    twin = Twin(bench, {(0, 0, 0): SimDie(description("passive"), seed=3, name="die")})
    die = open_bench(bench, NOMINAL, connect=twin.connect, wait=twin.wait).die
    die.idle()
    before = twin.world.ledger.messages, twin.world.ledger.relay_operations
    yield die
    assert (twin.world.ledger.messages, twin.world.ledger.relay_operations) == before
    assert twin.world.ledger.peak_cell_voltage == 0


@contextmanager
def bare_board(folder: Path) -> Iterator[DieBase]:
    yield BareBoard(Untouched(), NOMINAL)  # type: ignore[arg-type]


@contextmanager
def board(folder: Path) -> Iterator[DieBase]:
    die = BoardDie(BareBoard(Untouched(), NOMINAL), LIMITS)  # type: ignore[arg-type]
    yield die
    assert not die.counts.any()


@contextmanager
def watched(folder: Path) -> Iterator[DieBase]:
    die = Watched(Untouched())
    yield die
    assert not die.operations


@contextmanager
def daffodil(folder: Path) -> Iterator[DieBase]:
    subject = on_board(small_chip(2, 4, 3))
    before = subject.world.now
    yield subject.board
    assert subject.world.now == before  # no event, and no message


@contextmanager
def daffodil_library(folder: Path) -> Iterator[DieBase]:
    options = Library.model_validate({"class": "nobody.Board"})
    yield DaffodilLibrary("board", options, Installed())  # a class that is not there: any call would be an error


@contextmanager
def arc_two(folder: Path) -> Iterator[DieBase]:
    subject = on_arc_two(small_array())
    yield subject.board
    assert (subject.fake.sessions, subject.fake.messages) == (0, 0)


@contextmanager
def planned(folder: Path) -> Iterator[DieBase]:
    yield Plan(Options(kernels=2, n_rows=4, n_cols=3), NOMINAL, 1)


@contextmanager
def faulty(folder: Path) -> Iterator[DieBase]:
    yield FaultyDie(Untouched(), (), lambda fault, detail: None)


@contextmanager
def in_python(folder: Path) -> Iterator[DieBase]:
    (folder / "die.yaml").write_text("name: small\ngeometry: {n_rows: 4, n_cols: 3}\njunction: {diameter: 80 nm}\n")
    with simulated_die(folder / "die.yaml", folder=folder / "run") as die:
        yield die
    assert not list(open_run(folder / "run").die("die").operations())


DIES: dict[str, Callable[[Path], Any]] = {
    "ArcTwo": arc_two,
    "Daffodil": daffodil,
    "DaffodilLibrary": daffodil_library,
    "FaultyDie": faulty,
    "OpenDie": in_python,
    "Watched": watched,
    "BareBoard": bare_board,
    "BoardDie": board,
    "Limited": limited,
    "RecordedDie": recorded,
    "CountedDie": counted,
    "JournalDie": remembered,
    "NominalDie": nominal,
    "Plan": planned,
    "SimDie": simulated,
    "ChipDie": chip,
    "ProbedDie": probed,
}


@pytest.mark.parametrize("make", DIES.values(), ids=DIES.keys())
def test_an_unknown_operation_is_refused_by_name_and_nothing_is_done(make: Callable[[Path], Any], tmp_path: Path):
    with make(tmp_path) as die:
        for verb in (die.perform, die.sense, die.pulse, die.program):
            with pytest.raises(BenchError, match=f"{type(die).__name__} does not know the operation Anneal"):
                verb(Anneal())


@pytest.mark.parametrize(
    "name", ["Limited", "NominalDie", "SimDie", "ChipDie", "ProbedDie", "ArcTwo", "Daffodil", "Plan"]
)
def test_an_unknown_operation_is_not_judged_good(name: str, tmp_path: Path) -> None:
    with DIES[name](tmp_path) as die, pytest.raises(BenchError, match=f"{name} does not know the operation Anneal"):
        die.check(Anneal())


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.name.endswith("__main__"):
            yield importlib.import_module(module.name)


def test_every_die_of_the_suite_is_in_this_test() -> None:
    dies = {
        value.__name__
        for package in (labctl, instruments, sim_backend)
        for each in _modules(package)
        for value in vars(each).values()
        if isinstance(value, type) and issubclass(value, DieBase) and not inspect.isabstract(value)
        if value.__module__ == each.__name__
    }
    assert dies - {"DieWrapper"} == set(DIES)


def test_a_read_is_no_stranger(tmp_path: Path) -> None:
    with nominal(tmp_path) as die:
        assert len(die.sense(Sense(Anneal().bias, np.array([1])))) == 2
