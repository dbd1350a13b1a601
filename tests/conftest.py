"""A night on a wafer with everything in it: good and bad dies, a second try, no contact, a kill."""

# ruff: noqa: E402  (the number of threads must be set before numpy is imported)
import os
import sys

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # as the command line does
# what is trained here is small: to compile it well takes ten times as long as to carry it out
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")
# some hundred processes are started, and each would compile the whole suite
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

import gc
import json
import uuid
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from xdist.scheduler import LoadScopeScheduling

from labctl.core.die_state import State
from labctl.core.events import (
    Alarm,
    Approached,
    DieEnded,
    DiesInDoubt,
    Level,
    Requested,
    RequestKind,
    Resumed,
    RunEnded,
    StageBegun,
    StageEnded,
    StageStarted,
    VisitBegun,
    VisitJudged,
    WatchdogActed,
    WorkerFate,
)
from labctl.core.exit_codes import Status
from labctl.core.record import Record
from labctl.storage.bench_locks import VARIABLE
from labctl.storage.hdf5_writer import seal
from labctl.storage.journal import Journal
from labctl.storage.manifest import FORMAT
from labctl.storage.run_log import Runlog
from labctl.storage.tables import columns_of
from protocols.accuracies import accuracy_record
from protocols.die_information import AccuracyTerms, DieInformation, Way
from protocols.records import Attempt, Inference, KernelSurvey, Write
from tests.declared import DECLARED

START = 1_790_000_000.0
DIES = {"A": (3, 1), "B": (4, 1), "C": (5, 1), "D": (3, 2), "E": (4, 2), "F": (5, 2), "X": (6, 2)}
"""Names and places: four columns, two rows, not from 0; the campaign leaves X out."""
G_P, G_AP = 400e-6, 200e-6

SHARING = ("test_bench_wine.py", "test_examples.py", "test_executors.py", "test_overnight.py")
"""Files whose tests look at runs that one of their fixtures makes; one process gets all tests of such a file."""


PARTS = {"train": slice(10), "test": slice(10, None)}


@dataclass
class Clock:
    """A clock that is set by hand; as a monotonic one, it started when START was."""

    now: float = START

    def utc(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now - START


def full(kind: type[Record], **given: Any) -> Any:
    """Return a record with all fields: those given, zeros for the others, in arrays of lengths 2, 3, ... by axis."""
    kinds, axes = get_type_hints(kind), columns_of(kind).axes
    shapes = {f.name: tuple(range(2, 2 + len(axes.get(f.name, "?")))) for f in fields(kind)}
    rest = {f.name: 0 if kinds[f.name] in (int, float) else np.zeros(shapes[f.name]) for f in fields(kind)}
    rest |= {n: 0.0 for n in rest if "float" in str(kinds[n]) and not isinstance(rest[n], np.ndarray)}
    return kind(**{**rest, **given})


def write_die(folder: Path, clock: Clock, shorts: int, *, done: bool = True, bias: float = 0.0) -> None:
    """Write the journal of a die of 2 kernels of 4 x 5 cells, some of them shorts, and one network of two classes."""
    with Journal.create(
        folder, {"die": folder.name.partition("~")[0]}, utc=clock.utc, monotonic=clock.monotonic
    ) as journal:
        identities = {"smu": "Example Instruments, Model 1, 42"}
        contact = {"1-2": 4.0, "3-4": 8.0}
        journal.event(
            Approached(
                notes={
                    "identities": identities,
                    "calibrations": {"smu": "K-7"},
                    "touches": 2,
                    "contact_resistance": contact,
                }
            )
        )
        journal.event(StageStarted(settings={}), stage="survey")
        clock.now += 60
        for kernel in range(2):
            defect = np.zeros((4, 5), np.uint8)
            if kernel == 0:
                defect.ravel()[:shorts] = 1
            g_p = np.where(defect == 1, 1e-2, G_P * (1 + bias))
            g_ap = np.where(defect == 1, 1e-2, G_AP * (1 + bias))
            survey = KernelSurvey(
                kernel=kernel, g_initial=g_ap, g_p=g_p, g_ap=g_ap, tmr=g_p / g_ap - 1, defect=defect,
                good=int((defect == 0).sum()), v_max=0.6, width=1e-3,
            )  # fmt: skip
            journal.record("survey", survey)
        cells = np.arange(12)
        columns = {
            "kernel": cells % 2, "row": cells % 4, "col": cells % 5, "attempt": cells * 0 + 1, "target": cells % 2 == 0,
            "trial": cells >= 0,
            "voltage": np.where(cells % 3 == 0, 0.44, 0.42), "width": cells * 0 + 1e-3, "conductance": cells * 0 + G_P,
            "verified": cells > 2, "solution": cells * 0 - 1, "round": cells * 0,
            "flag": np.zeros(12, np.uint8), "pulse_flag": np.zeros(12, np.uint8),
        }  # fmt: skip
        journal.record("survey", Attempt(**columns))
        journal.event(StageEnded(outcome=Status.SUCCESS), stage="survey")
        journal.event(StageStarted(settings={}), stage="network")
        clock.now += 60
        written = {"solution": 7, "cells": 40, "correct": 39, "fidelity": 0.975, "pulses_per_cell": 1.5}
        interval, blind = np.array([0.87, 0.99]), {"fidelity_blind": float("nan"), "wer_to_p": float("nan")}
        journal.record("network", full(Write, **written, **blind, fidelity_interval=interval))
        if done:
            accuracy = {"accuracy_tuned_test": 0.9, "accuracy_tuned_train": 0.95, "float_tuned_test": 0.96}
            confusion = {f.name: np.zeros((2, 2)) for f in fields(Inference) if f.name.startswith("confusion")}
            journal.record("network", full(Inference, solution=7, **accuracy, **confusion))
            terms = AccuracyTerms(Way.TUNED, False, DieInformation.POPULATION, False, 100, 0)
            label = np.arange(20) % 2
            right = accuracy_record(7, terms, np.where(np.arange(20) < 18, label, 1 - label), label, PARTS, 0.96)
            journal.record("network", right)
            journal.event(StageEnded(outcome=Status.SUCCESS), stage="network")
            journal.event(DieEnded(bin="good", outcome=Status.SUCCESS, state=State.DONE))
            journal.finish()


def write_night(folder: Path, *, until: str = "end") -> Path:
    """Write a run.

    Args:
        until: "start": nothing has begun; "kill": die D is under way; "end": it was resumed and ended.
    """
    clock = Clock()
    folder.mkdir()
    said = {
        "name": "night", "title": "six dies <small & good>", "body": "bench 'one', its twin over bytes", "seed": 5,
        "argv": ["labctl", "run", "night.yaml", "--out", str(folder), "--set", "accept.fidelity=97 %"], "host": "here",
        "versions": {"python": "3"}, "git_commit": "abc", "set": {"accept.fidelity": "97 %"}, "cwd": "/lab",
        "files": {"00-night.yaml": {"path": "night.yaml", "sha256": "0" * 64}}, **DECLARED,
    }  # fmt: skip
    (folder / "lock").touch()  # nobody holds it
    dies = [{"name": n, "at": at, "excluded": "by the campaign" if n == "X" else ""} for n, at in DIES.items()]
    (folder / "files").mkdir()
    (folder / "files" / "00-night.yaml").write_text("name: night\n")
    said = {**said, "format": FORMAT, "dies": dies}
    (folder / "run.json").write_text(json.dumps(said))
    estimate = {"seconds": 900.0, "bytes": 3e6, "dies": {n: {"seconds": 150.0, "bytes": 5e5} for n in DIES if n != "X"}}
    meta = {**said, "estimate": estimate}
    log = Runlog(Journal.create(folder, meta, utc=clock.utc, monotonic=clock.monotonic))
    log.set_state("X", State.SKIPPED, 1, "excluded by the campaign")
    if until == "start":
        log._journal.close()
        return folder

    def die(name: str, attempt: int = 1, *, shorts: int = 1, bias: float = 0.0, **ended: Any) -> None:
        log.set_state(name, State.MOVING, attempt)
        clock.now += 5
        log.set_state(name, State.CONTACT_CHECK, attempt)
        log.set_state(name, State.RUNNING, attempt)
        log.write(StageBegun(die=name, stage="network", try_no=attempt))
        tried = replace(log.state.dies[name]).folder
        write_die(folder / "dies" / tried, clock, shorts, bias=bias)
        log.set_state(name, State.SEALING, attempt)
        digest = seal(folder, tried)
        log.set_state(name, State.DONE, attempt, seconds=125.0, sha256=digest, **ended)

    good = {"bin": "good", "hard": 1, "rule": "within all limits"}
    die("A", figures={"fidelity": 0.975, "accuracy": 0.95}, **good)
    log.set_state("B", State.RUNNING, 1)
    clock.now += 10
    broken = "ZeroDivisionError('division by zero')\nTraceback: a long one"
    log.set_state("B", State.ERROR, 1, broken, seconds=10.0, bin="error", hard=7)
    log.set_state("B", State.PENDING, 2, "tried again")
    die("B", 2, shorts=6, bin="low-fidelity", hard=2, rule="fidelity < 99 %: it is 0.975")
    log.set_state("C", State.MOVING, 1)
    clock.now += 30
    log.set_state("C", State.CONTACT_FAIL, 1, "no contact: pads 1-2 <open>", seconds=30.0, bin="contact", hard=5)
    log.write(VisitBegun(die="A@1", at=DIES["A"]))
    die("A@1", bias=0.05, **good)
    drifted = "the golden die has drifted since the first visit: r_p -5.00 %"
    log.write(VisitJudged(die="A@1", values={"r_p": 2380.0}, drift={"r_p": -0.05}, ok=False, text=drifted))
    log.write(DiesInDoubt(dies=("B",), text="measured since the golden die was last as at first"))
    log.set_state("D", State.MOVING, 1)
    log.set_state("D", State.RUNNING, 1)
    log.write(StageBegun(die="D", stage="survey"))
    write_die(folder / "dies" / "D", clock, 0, done=False)
    log.write(Alarm(text="row 3 met compliance", die="D", level=Level.WARNING))
    if until == "kill":
        log._journal.close()
        return folder
    log._journal.close()
    clock.now += 3600
    log = Runlog(Journal.open(folder, readonly=False, utc=clock.utc, monotonic=clock.monotonic))
    log.write(Resumed(argv=("labctl", "resume", str(folder)), pid=1, reason="power", only=(), accepted=()))
    log.write(WatchdogActed(what=WorkerFate.DIED, die="D", text="signal 9", seconds=0.2))
    log.set_state("D", State.INTERRUPTED, 1, "the run was broken off")
    log.write(Requested(what=RequestKind.SKIP, die="E", by="ana@bench", reason="scratched"))
    log.set_state("E", State.SKIPPED, 1, "skipped by ana@bench: scratched")
    clock.now += 20
    log.write(RunEnded(outcome=Status.ABORT, exit_code=4, reason="stopped by the operator", seconds=20.0, bytes=1000))
    log.finish()
    return folder


class OneByOne(LoadScopeScheduling):
    """Spreads tests one by one over the processes, but for those of the files that share runs."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if file.endswith(SHARING) else nodeid


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files without a slow test where only those are wanted: reading one costs less than its imports."""
    if config.option.markexpr != "slow" or not collection_path.name.startswith("test_"):
        return None
    return "mark.slow" not in collection_path.read_text(encoding="utf-8") or None


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneByOne | None:
    """Spread tests one by one for `--dist loadgroup`: under pytest 9.2 pytest-xdist 3.8 finds no groups."""
    return OneByOne(config, log) if config.getvalue("dist") == "loadgroup" else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep what is collected from the garbage collector, whose work was a sixth of all."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def locks_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep locks and latches of instruments, those of processes that tests start included, out of the machine's own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("instruments")
        patch.setenv(VARIABLE, str(folder / "of-fixtures"))
        yield folder


@pytest.fixture(autouse=True)
def locks_of_a_test(locks_of_the_tests: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every test locks of its own: sockets are given out again, and a bench that was switched off stays so."""
    monkeypatch.setenv(VARIABLE, str(locks_of_the_tests / uuid.uuid4().hex))


@pytest.fixture(scope="session")
def night(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that gives a run at "start", "kill" or "end"; each is made once, and is not to be changed."""
    made: dict[str, Path] = {}

    def get(until: str) -> Path:
        if until not in made:
            made[until] = write_night(tmp_path_factory.mktemp("night") / until, until=until)
        return made[until]

    return get
