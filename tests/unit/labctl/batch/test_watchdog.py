"""Whatever becomes of the process that owns a bench, the bench ends safe and the run's journal says what happened.

The bench is the twin over TCP, served by the process that watches, so that it outlives the one that dies. Two dies of
2 kernels of 4 x 3 cells stand under a prober; each is touched, mapped and pulsed.
"""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from types import SimpleNamespace

import pytest

from instruments.bench import Bench
from labctl import open_run
from labctl.batch import requests
from labctl.batch.bench_process import BenchOrder, _Owner
from labctl.batch.decisions import Rules
from labctl.batch.scheduler import Scheduler
from labctl.batch.watchdog import BenchExecutor
from labctl.config.rules import Batch
from labctl.core.die_state import State
from labctl.core.errors import BenchError, InstrumentError, LeftUnverified
from labctl.core.events import Alarm, WatchdogActed
from labctl.core.exit_codes import Status
from labctl.core.outcome import Outcome
from labctl.core.planned_fault import PlannedFault
from labctl.core.site import Site
from labctl.execution.die_job import DieResult, Job
from labctl.station.bench_setup import Station
from labctl.station.hand_session import bench_limits
from labctl.storage.manifest import FORMAT
from labctl.storage.run_log import Runlog, read_state
from protocols.by_hand import MapCells, PulseCell
from sim_backend.description import DieDescription
from sim_backend.emulators.link import Fault
from tests.e2e.test_bench_safety import BENCH, DIE
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
STAGES = (
    *(MapCells(kernel=k) for k in (1, 0)),
    PulseCell(kernel=0, row=2, col=1, to_p=True, voltage=0.45),
    PulseCell(kernel=1, row=3, col=0, to_p=False, voltage=0.45),
)


ANSWERING = {
    "patience": f"{PATIENCE} s",
    "deadlines": dict.fromkeys(("setting", "query", "measure", "relay", "motion"), f"{PATIENCE} s"),
}
"""How long instruments that answer are waited for, however busy the machine is."""
DEAF = {"patience": "1 s"}
"""How long those of which one never answers."""


class Night:
    """A run of two dies on the twin; `at` is called with (night, die, what, detail) for every message of the worker.

    Args:
        log: of a run that goes on.
    """

    def __init__(self, folder, at=lambda *message: None, *, sim="tcp", batch=None, waits=ANSWERING, log=None):
        instruments = {name: {**entry, **waits} for name, entry in BENCH["instruments"].items()}
        bench = Bench.model_validate({**BENCH, "instruments": instruments}, context={"file": True})
        description = DieDescription.model_validate(DIE, context={"file": True})
        subjects = tuple(Site(f"D{k}", description, 5 + k, (k, 0)) for k in range(2))
        (folder / "dies").mkdir(parents=True, exist_ok=True)
        dies = [{"name": s.name, "at": list(s.at)} for s in subjects]
        meta = {"format": FORMAT, "name": "night", "files": {}, "dies": dies}
        (folder / "run.json").write_text(json.dumps(meta))
        self.folder, self.at, self.going = folder, at, requests.session(folder)
        self.hanging, self.ahead = -1, 0.0
        self.executor = BenchExecutor(
            Station(bench, subjects, sim=sim), STAGES, self.going, lambda text: True, monotonic=self.monotonic
        )
        self.log = log or Runlog.create(folder, meta)
        self.executor.say = self.log.write
        jobs = {s.name: Job(folder, s, bench_limits(bench)) for s in subjects}
        self.died = 0.0
        self.executor.open()
        self.engine = Scheduler(
            self.log, jobs, Rules(batch or Batch()), self.going, self.executor.reporting_to, self.heard, State.MOVING
        )

    def heard(self, *message):
        self.at(self, *message)

    def run(self):
        try:
            return self.engine.run()
        finally:
            self.end()

    def end(self):
        self.executor.close_twin()
        requests.close(self.going)
        self.log.finish()

    def monotonic(self):
        """A clock on which a quarter of an hour goes by at each look, while the worker is the one that hangs."""
        process = self.executor._process
        if process is not None and process.pid == self.hanging:
            self.ahead += 900.0
        return time.monotonic() + self.ahead

    def hang(self):
        self.hanging = self.executor._process.pid
        self.kill(signal.SIGSTOP)

    def kill(self, number=None):
        os.kill(self.executor._process.pid, signal.SIGKILL if number is None else number)

    def watched(self):
        return [row.event.what for row in self.log.state.events if isinstance(row.event, WatchdogActed)]

    @property
    def states(self):
        return [d.state for d in self.log.state.subjects]

    def assert_safe(self):
        """Every output is off, every relay open, nothing is energised from now on, nothing was ever done to a die that
        should not be."""
        world = self.executor.twin.world
        now = world.now
        world.advance(10.0)
        ledger = world.ledger
        assert ledger.energised_time(since=now) == 0.0
        assert not world.closed
        assert (ledger.moves_in_contact, ledger.fights) == (0, 0), ledger.events
        assert ledger.peak_cell_voltage <= 0.5 * (1 + 1e-9)
        for name in ("smu1", "smu2"):
            for part in self.executor.twin.instruments[name].smus.values():
                assert (part.set.output, part.set.levelv) == (0, 0.0)


def once(what, act, die="D0", nth=1):
    """Return an `at` that does `act` once, at the nth message of a kind from a die."""
    seen = []

    def at(night, who, kind, detail):
        if (who, kind) == (die, what):
            seen.append(detail)
            if len(seen) == nth:
                act(night)

    return at


def learned(night):
    """Return conductance, S, and state of every cell that was mapped, and whether those switched that were pulsed."""
    run = open_run(night.folder)
    columns = (("kernel_map", "conductance"), ("kernel_map", "state"), ("cell_pulse", "verified"))
    return {name: [run.table(table, name)[column].tolist() for table, column in columns] for name in run.dies}


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """What the two dies come to if nothing happens."""
    night = Night(tmp_path_factory.mktemp("calm") / "run")
    assert night.run().code == 0
    assert night.states == [State.DONE] * 2
    assert night.watched() == []
    night.assert_safe()
    return learned(night)


def test_a_worker_that_is_killed_leaves_a_safe_bench_and_its_die_goes_on(tmp_path, calm):
    night = Night(tmp_path / "run", once("patterns", Night.kill, nth=2))
    assert night.run().code == 0
    night.assert_safe()
    assert night.states == [State.DONE] * 2
    assert night.watched() == ["died", "safe"]
    assert learned(night) == calm


def test_a_worker_that_hangs_is_ended_when_its_lease_has_run_out(tmp_path):
    night = Night(tmp_path / "run", once("patterns", Night.hang, nth=2))
    assert night.run().code == 0
    assert night.watched() == ["hung", "safe"]
    assert night.states == [State.DONE] * 2
    night.assert_safe()


@pytest.mark.slow
def test_a_worker_that_dies_while_a_viewer_holds_the_run_s_journal_leaves_a_safe_bench_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("labctl.storage.journal.LOOK", 10)
    viewer = sqlite3.connect(tmp_path / "viewed", isolation_level=None)
    said, looks = [], []

    def hold(night):
        nonlocal viewer
        viewer.close()
        viewer = sqlite3.connect(night.folder / "journal.db", isolation_level=None)
        viewer.execute("BEGIN IMMEDIATE")
        night.kill()
        night.log.write(Alarm(text="this row waits"))

    def look():
        night.engine.keep_watch()
        looks.append(night.executor._dead)
        if looks[-1] is not None and viewer.in_transaction:
            night.assert_safe()
            viewer.execute("ROLLBACK")
        return False

    night = Night(tmp_path / "run", once("patterns", hold, nth=2))
    night.log.while_held(said.append, look)
    assert night.run().code == 0
    viewer.close()
    assert any(looks)
    assert night.watched() == ["died", "safe"]
    assert night.states == [State.DONE] * 2
    night.assert_safe()


def test_a_second_interrupt_ends_the_die_at_once(tmp_path):
    def twice(night):
        night.engine.stop()
        night.engine.hurry()

    night = Night(tmp_path / "run", once("patterns", twice, nth=2))
    assert night.run().code == 4
    assert night.states == [State.INTERRUPTED, State.PENDING]
    night.assert_safe()


@pytest.mark.slow
def test_an_instrument_that_goes_away_is_connected_anew_and_the_die_goes_on(tmp_path, calm):
    def unplug(night):
        job, instrument = night.executor._job, night.executor.twin.instruments["smu1"]
        instrument.fault = lambda line: Fault.DEAF if night.executor._job is job else Fault.NONE

    night = Night(tmp_path / "run", once("patterns", unplug), waits=DEAF)
    assert night.run().code == 0
    night.assert_safe()
    assert night.states == [State.DONE] * 2
    alarms = [row.event.text for row in night.log.state.events if isinstance(row.event, Alarm)]
    assert any("connecting anew" in text for text in alarms)
    assert learned(night) == calm


def test_a_source_that_never_answers_again_is_said_to_be_live_with_exit_code_6(tmp_path):
    def deaf(night):
        night.executor.twin.instruments["smu1"].fault = lambda line: Fault.DEAF
        night.kill()

    night = Night(tmp_path / "run", once("patterns", deaf, nth=2), waits=DEAF)
    try:
        code = night.run().code
    except LeftUnverified as error:
        code = error.exit_code
    assert code == 6
    assert night.watched() == ["died", "unsafe"]
    assert not night.executor.twin.world.closed, "the last resort opens the relays"
    assert night.log.state.dies["D0"].state is State.INTERRUPTED


def test_other_instruments_than_those_of_the_run_are_refused(tmp_path):
    night = Night(tmp_path / "run")
    night.executor.close()
    night.executor._expected = {**night.executor.identities, "smu1": "Keithley, Model 2602B, 7, 1.0"}
    with pytest.raises(BenchError, match="smu1 says it is"):
        night.executor.open()
    night.end()
    night.assert_safe()


@pytest.mark.slow
def test_the_twin_over_bytes_ends_with_its_worker_and_the_die_goes_on(tmp_path):
    night = Night(tmp_path / "run", once("patterns", Night.kill, nth=2), sim="bytes")
    assert night.run().code == 0
    assert night.watched() == ["died", "safe"]
    assert night.states == [State.DONE] * 2


def test_a_worker_whose_parent_is_gone_leaves_the_bench_safe(tmp_path):
    night = Night(tmp_path / "run")
    job = night.engine._jobs["D0"]
    night.executor.begin(job)
    assert night.executor.wait(0.3) == []
    night.executor._line.close()  # what the worker sees of a parent that is gone
    process = night.executor._process
    until(lambda: not process.is_alive())
    process.close()
    night.executor._process = None
    night.end()
    night.assert_safe()


def test_faults_injected_into_the_twin_are_told_whichever_process_has_it(tmp_path):
    faults = tuple(PlannedFault(k, "reply lost", "D0", name) for k, name in enumerate(("smu1", "smu2"), 1))
    told, sent = [], []
    description = DieDescription.model_validate(DIE, context={"file": True})
    subjects = tuple(Site(f"D{k}", description, 5 + k, (k, 0)) for k in range(2))
    bench = Bench.model_validate(BENCH, context={"file": True})
    going = requests.session(tmp_path)
    for sim, fault in zip(("tcp", "bytes"), faults, strict=True):
        station = Station(bench, subjects, sim=sim, injected=True)
        executor = BenchExecutor(station, STAGES, going, lambda text: True)
        executor.reporting_to(lambda die, what, detail: told.append((die, what, detail[0].number)))
        owner = _Owner(SimpleNamespace(send=sent.append), BenchOrder(station, STAGES, going, None, "labctl run"))
        twin = executor.twin if sim == "tcp" else owner._twin()
        twin.faults.expect([fault])
        link = twin.connect(fault.instrument, bench.instruments[fault.instrument])
        with pytest.raises(InstrumentError):
            link.query("print(1)")
        link.close()
        executor.wait(0.0)
        owner.say("left")
        executor.close_twin()
    assert told == [("D0", "fault", 1)]
    assert [message[:3] for message in sent] == [("left",), ("notify", "D0", "fault"), ("left",)]


def test_a_die_is_said_to_be_sealed_before_its_sealing_begins(tmp_path):
    bench = Bench.model_validate(BENCH, context={"file": True})
    executor, order = BenchExecutor(Station(bench, (), sim="bytes"), STAGES, None, lambda text: True), []
    executor.reporting_to(lambda die, what, detail: order.append((die, what)))
    executor._results = SimpleNamespace(seal=lambda job, result: order.append((job.die, "sealed")))
    executor._job = SimpleNamespace(die="D0")
    executor._receive(("result", DieResult("D0", "good", Outcome(Status.SUCCESS), [], unsealed=True)))
    assert order == [("D0", "state"), ("D0", "measured"), ("D0", "sealed")]


@pytest.mark.parametrize("when", ["send", "poll", "recv"])
def test_a_call_that_was_interrupted_leaves_no_answer_to_the_next_one_and_nothing_waits(when):
    answers, asked = deque(), []

    class Line:
        """A parent that answers a call by its arguments; the first time that it is used as `when` says, ^C comes."""

        came = False

        def interrupted(self, what):
            if what == when and not self.came:
                self.came = True
                owner.hurry(0, None)

        def send(self, message):
            asked.append(message)
            answers.append(message[2])
            self.interrupted("send")

        def poll(self, timeout):
            self.interrupted("poll")
            return bool(answers)

        def recv(self):
            answer = answers.popleft()
            self.interrupted("recv")
            return answer

    owner = _Owner(Line(), None)
    with owner._stop.may_interrupt(), pytest.raises(KeyboardInterrupt):
        owner.call("truth", 1)
    assert owner.call("truth", 2) == (2,)
    assert (len(asked), owner._owed, len(answers)) == (2, 0, 0)


BROKEN_OFF = """
import os, pathlib, signal, sys, types

def stopped():
    child = start()
    os.kill(child.process.pid, signal.SIGSTOP)
    sealers.append(child.process.pid)
    return child

def kill_all(night):
    for pid in (night.executor._process.pid, *sealers, os.getpid()):
        os.kill(pid, signal.SIGKILL)

if __name__ == "__main__":
    folder, root = map(pathlib.Path, sys.argv[1:])
    sys.modules["tests"] = types.ModuleType("tests")  # these, and none that some distribution has installed
    sys.modules["tests"].__path__ = [str(root / "tests")]
    from labctl.storage import sealing
    from tests.unit.labctl.batch.test_watchdog import Night, once

    start, sealers = sealing._Child.start, []
    sealing._Child.start = stopped
    Night(folder, once("patterns", kill_all, "D1", nth=2)).run()
"""


@pytest.mark.slow
def test_killed_while_one_die_is_sealed_and_the_next_measured_the_first_is_only_sealed_and_both_are_as_ever(
    tmp_path, calm
):
    folder, script = tmp_path / "run", tmp_path / "broken_off.py"
    script.write_text(BROKEN_OFF)
    root = Path(__file__).parents[4]
    ended = subprocess.run([sys.executable, script, folder, root], cwd=root)
    assert ended.returncode == -signal.SIGKILL
    assert [die.state for die in read_state(folder).subjects] == [State.SEALING, State.RUNNING]
    assert list((folder / "dies").glob("*.h5")) == []
    journal, heard = (folder / "dies" / "D0" / "journal.db").read_bytes(), []
    night = Night(folder, lambda night, *message: heard.append(message), log=Runlog.open(folder))
    assert night.run().code == 0
    night.assert_safe()
    assert night.states == [State.DONE] * 2
    assert [len(die.tries) for die in night.log.state.subjects] == [1, 1]
    assert (folder / "dies" / "D0" / "journal.db").read_bytes() == journal
    # an approach is what an instrument hears of a die first
    assert [die for die, what, detail in heard if (what, detail) == ("stage", "approach")] == ["D1"]
    assert learned(night) == calm
