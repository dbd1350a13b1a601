"""The guard of a bench makes it safe when nobody of its run is left, says what it met, and leaves others in peace."""

import json
import os
import sqlite3
import threading
from contextlib import ExitStack, closing

import pytest

from instruments.bench import Bench
from labctl.core.errors import BenchError, StorageError
from labctl.core.events import GuardActed, GuardFate
from labctl.core.site import Site
from labctl.station import guard_process
from labctl.station.bench_setup import twin_of
from labctl.station.guard_process import END, ORPHANED, PATIENCE, TRIES, Orphan, guard, is_told_to_end, record
from labctl.storage import held
from labctl.storage.bench_locks import VARIABLE, bench_lock, holders, locks_folder
from labctl.storage.locks import hold
from labctl.storage.manifest import FORMAT
from labctl.storage.run_log import Runlog, read_state
from sim_backend.description import DieDescription
from sim_backend.emulators.link import Fault
from tests.e2e.test_bench_safety import BENCH, DIE

META = {"name": "night", "dies": [{"name": "D0", "at": [0, 0]}]}


@pytest.fixture
def bench(monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "locks"))
    instruments = {name: {**entry, "patience": "0 s"} for name, entry in BENCH["instruments"].items()}
    return Bench.model_validate({**BENCH, "instruments": instruments}, context={"file": True})


@pytest.fixture
def twin(bench):
    """The twin of the bench, left on at 0.1 V with two relays closed."""
    description = DieDescription.model_validate(DIE, context={"file": True})
    made = twin_of(bench, [Site("D0", description, 5)], "bytes", by_hand=True)
    made.instruments["matrix"].handle(b'channel.close("1A01,1H02")\n')
    made.instruments["smu1"].handle(b"smua.source.levelv=0.1 smua.source.output=1\n")
    return made


@pytest.fixture
def run(tmp_path):
    """The folder of a run that was killed."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"format": FORMAT, **META}))
    Runlog.create(folder, META)._journal.close()
    return folder


class Clock:
    """A clock that moves when somebody waits; `at` is done once it has come so far."""

    def __init__(self, at=lambda now: None):
        self.now, self.at = 100.0, at

    def __call__(self):
        return self.now

    def wait(self, seconds):
        self.now += seconds
        self.at(self.now)


def outputs(twin):
    return [part.set.output for smu in ("smu1", "smu2") for part in twin.instruments[smu].smus.values()]


def act(run, bench, twin, clock=None):
    clock = clock or Clock()
    return guard(run, bench, connect=twin.connect, clock=clock, wait=clock.wait)


def recorded(run):
    return [row.event for row in read_state(run).events]


def test_a_bench_that_is_left_alone_is_made_safe_and_the_journal_says_what_was_met(run, bench, twin):
    acted = act(run, bench, twin)
    assert not any(outputs(twin))
    assert not twin.world.closed
    assert acted.what is GuardFate.SAFE
    assert acted.met == {"smu1.smua": "on at 0.1 V", "matrix": "2 relays closed"}
    assert "smu1, smu2: outputs verified off" in acted.text
    assert (acted.seconds, acted.pid) == (0.0, os.getpid())
    assert recorded(run) == [acted]
    assert holders(bench) == holders(bench, part="worker") == []


def test_whoever_starts_meanwhile_is_refused_by_name(run, bench, twin):
    refused = []

    def connect(name, entry):
        for part in ("", "worker"):
            with pytest.raises(BenchError) as error, bench_lock(bench, "labctl run", part=part, patience=0.0):
                pass
            refused.append(str(error.value))
        return twin.connect(name, entry)

    guard(run, bench, connect=connect)
    assert len(refused) > 2
    assert all(f"the guard of {run} makes the bench safe" in text for text in refused)


def test_the_run_cannot_be_taken_up_before_the_record_is_written(run, bench, twin, monkeypatch):
    seen = []
    monkeypatch.setattr(guard_process, "record", lambda *arguments: seen.append(holders(bench)))
    act(run, bench, twin)
    assert [holder.what for holder in seen[0]] == [guard_process.title(run)]


def test_a_bench_that_somebody_holds_is_left_alone(run, bench, twin):
    with bench_lock(bench, "labctl run other.yaml"):
        acted = act(run, bench, twin, clock := Clock())
    assert acted.what is GuardFate.LEFT
    assert "labctl run other.yaml" in acted.text
    assert clock.now == pytest.approx(100.0 + PATIENCE, abs=0.2)
    assert any(outputs(twin))
    assert twin.world.closed
    assert recorded(run) == [acted]


@pytest.mark.parametrize("part", ["", "worker"])
def test_one_who_lets_go_soon_is_waited_for(run, bench, twin, part):
    with ExitStack() as other:
        other.enter_context(bench_lock(bench, "labctl run refused.yaml", part=part))
        clock = Clock(lambda now: other.close() if now > 103 else None)
        acted = act(run, bench, twin, clock)
    assert acted.what is GuardFate.SAFE
    assert acted.seconds == pytest.approx(3.1, abs=0.2)
    assert not any(outputs(twin))


def test_locks_that_cannot_be_used_keep_nothing_on(run, bench, twin):
    locks_folder().write_text("a file")
    acted = act(run, bench, twin, clock := Clock())
    assert acted.what is GuardFate.SAFE
    assert clock.now == 100.0
    assert not any(outputs(twin))


def test_what_is_not_verified_off_is_said_and_relays_open_all_the_same(run, bench, twin):
    twin.instruments["smu1"].fault = lambda line: Fault.DEAF
    acted = act(run, bench, twin)
    assert acted.what is GuardFate.UNSAFE
    assert "smu1" in acted.text
    assert "relays opened under possible current" in acted.text
    assert not twin.world.closed
    assert recorded(run) == [acted]


def test_a_bug_on_the_way_is_no_end(run, bench, twin, monkeypatch):
    monkeypatch.setattr(guard_process, "make_safe", lambda *arguments, **more: 1 / 0)
    acted = act(run, bench, twin)
    assert acted.what is GuardFate.UNSAFE
    assert "ZeroDivisionError" in acted.text


def test_work_by_hand_gets_a_journal_that_says_it(tmp_path, bench, twin):
    folder = tmp_path / "by-hand"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"format": FORMAT, **META}))
    acted = act(folder, bench, twin)
    assert recorded(folder) == [acted]


def test_a_run_that_was_taken_up_writes_its_journal_itself(run):
    with hold(run, "labctl resume"):
        assert record(run, GuardActed(what=GuardFate.SAFE)) is False
    assert recorded(run) == []


def test_a_record_that_cannot_be_written_is_tried_again(run, monkeypatch):
    failing, waits, commit = [True] * 3, [], guard_process._write

    def write(folder, acted):
        if failing:
            failing.pop()
            raise StorageError("held by a viewer")
        commit(folder, acted)

    monkeypatch.setattr(guard_process, "_write", write)
    assert record(run, GuardActed(what=GuardFate.SAFE), waits.append)
    assert len(waits) == 3
    assert [event.what for event in recorded(run)] == [GuardFate.SAFE]
    failing += [True] * (TRIES + 1)
    assert record(run, GuardActed(what=GuardFate.SAFE), waits.append) is False


def test_a_viewer_that_holds_the_journal_is_waited_for_and_the_record_is_there_once(run, monkeypatch):
    monkeypatch.setattr(held, "ENDING", 0.0)
    waits = []
    with closing(sqlite3.connect(run / "journal.db", isolation_level=None)) as viewer:
        viewer.execute("BEGIN IMMEDIATE")

        def wait(seconds):
            waits.append(seconds)
            if len(waits) == 2:
                viewer.execute("ROLLBACK")

        assert record(run, acted := GuardActed(what=GuardFate.SAFE, pid=7), wait)
    assert len(waits) == 2
    assert recorded(run) == [acted]
    assert record(run, acted)
    assert recorded(run) == [acted]


def test_a_worker_that_outlives_its_run_for_too_long_is_ended(bench):
    clock, killed = Clock(), []
    orphan = Orphan(bench, clock=clock, kill=killed.append)

    def after(*times):
        for seconds in times:
            clock.now += seconds
            orphan.look()
        return killed

    assert after(0.0, ORPHANED) == [], "nobody works on the bench"
    with bench_lock(bench, "labctl run", part="worker"):
        with bench_lock(bench, "labctl run"):
            assert after(0.0, ORPHANED) == [], "its run is there"
        assert after(0.0, ORPHANED - 1.0) == [], "it may be finishing an operation"
        assert orphan.ended == ""
        assert after(1.0) == [os.getpid()]
    assert f"process {os.getpid()} worked on the bench 10 min after its run was gone" in orphan.ended


def test_a_worker_of_another_computer_is_nobody_s_to_end(bench, monkeypatch):
    clock, killed = Clock(), []
    orphan = Orphan(bench, clock=clock, kill=killed.append)
    with bench_lock(bench, "labctl run", part="worker"):
        monkeypatch.setattr(guard_process.socket, "gethostname", lambda: "another computer")
        for _ in range(2):
            clock.now += ORPHANED
            orphan.look()
    assert killed == []


def test_a_worker_that_was_ended_is_in_the_record(run, bench, twin):
    acted = guard(run, bench, before="process 7 was ended", connect=twin.connect)
    assert acted.text.startswith("process 7 was ended; smu1, smu2: outputs verified off")


@pytest.mark.parametrize("in_order", [True, False])
def test_the_pipe_is_silent_until_the_last_writing_end_is_closed(in_order):
    reader, writer = os.pipe()
    other, heard = os.dup(writer), []
    listening = threading.Thread(target=lambda: heard.append(is_told_to_end(reader)))
    listening.start()
    if in_order:
        os.write(writer, END)
        listening.join()
    os.close(writer)
    assert len(heard) == in_order
    os.close(other)
    listening.join()
    assert heard == [in_order]
    os.close(reader)
