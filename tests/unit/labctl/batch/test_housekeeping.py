"""What stands around a session: refused before, held during, told of what the run's journal says, gone afterwards."""

import json
import sys
from types import SimpleNamespace

import pytest

from labctl.batch import housekeeping as module
from labctl.batch.housekeeping import Housekeeping
from labctl.batch.receivers import VARIABLE
from labctl.config.notify import Notify
from labctl.core.die_state import State
from labctl.core.errors import BenchError, StorageError
from labctl.core.events import Alarm, ClockJumped, Level, RuleBroken, RunEnded
from labctl.core.exit_codes import Status
from labctl.station.bench_guard import BenchGuard
from labctl.storage import bench_locks
from labctl.storage.locks import holder
from labctl.storage.run_log import Runlog
from tests.waiting import PATIENCE

SIZES = {"D1": 1000, "D2": 2000}
META = {"name": "W12", "dies": [{"name": name, "at": [k, 0]} for k, name in enumerate(SIZES)]}


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


@pytest.fixture
def hook(tmp_path, monkeypatch):
    """Return whom to tell, and what reads what they were told."""
    monkeypatch.setattr(module, "PATIENCE", PATIENCE)
    program = tmp_path / "hook.py"
    program.write_text(f"import sys\nopen({str(tmp_path / 'messages')!r}, 'a').write(sys.stdin.read())\n")

    def messages():
        path = tmp_path / "messages"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    return Notify(command=(sys.executable, str(program)), on=("alarm", "die", "stop", "end")), messages


def make(run, **more):
    return Housekeeping(run, "W12", "labctl run night.yaml", SIZES, **more)


def test_what_would_not_last_the_night_is_refused_and_nothing_is_made(tmp_path, monkeypatch):
    with pytest.raises(BenchError, match="synchronised"):
        make(tmp_path / "Dropbox" / "run")
    with pytest.raises(BenchError, match="EB are needed"):
        Housekeeping(tmp_path / "run", "W12", "x", {"D1": 1 << 60})
    with pytest.raises(BenchError, match="is not there"):
        make(tmp_path / "run", notify=Notify(command=("no such command",)))
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none"))
    with pytest.raises(BenchError, match="there is no such file"):
        make(tmp_path / "run", notify=Notify(tag="lab"))
    assert list(tmp_path.iterdir()) == []


def test_a_session_holds_its_folder_and_has_ballast_while_it_lasts(run):
    housekeeping = make(run)
    with housekeeping.locked(None), housekeeping.session():
        assert holder(run).what == "labctl run night.yaml"
        assert housekeeping.ballast.path.stat().st_size == housekeeping.ballast.size
        with pytest.raises(BenchError, match=r"in use by .*labctl run night\.yaml"), make(run).session():
            pass
    assert holder(run) is None
    assert not housekeeping.ballast.path.exists()


def test_a_real_bench_is_held_and_told_that_sleep_cannot_be_held_off(run, tmp_path, monkeypatch):
    monkeypatch.setattr(bench_locks, "locks_folder", lambda: tmp_path / "locks")
    monkeypatch.setenv("PATH", "")
    bench = SimpleNamespace(name="b", instruments={"smu": SimpleNamespace(resource="GPIB0::10")})
    housekeeping, log = make(run), Runlog.create(run, META)
    with housekeeping.locked(bench), housekeeping.session():
        with pytest.raises(BenchError, match="smu"), make(run).locked(bench):
            pass
        housekeeping.watch(log)
    log.finish()
    (row,) = log.state.events
    assert row.event.level is Level.NOTE
    assert "cannot be kept from going to sleep" in row.event.text


def test_an_accepted_place_is_in_the_run_s_journal(tmp_path):
    run = tmp_path / "OneDrive" / "run"
    run.mkdir(parents=True)
    housekeeping = make(run, accept_place=True)
    log = Runlog.create(run, META)
    housekeeping.watch(log)
    log.finish()
    (row,) = log.state.events
    assert "this was accepted" in row.event.text


def test_sleep_is_in_the_run_s_journal_and_told(run, hook):
    notify, messages = hook
    housekeeping, log = make(run, notify=notify), Runlog.create(run, META)
    housekeeping.watch(log)
    real = housekeeping._clocks._read
    housekeeping._clocks._read = lambda: tuple(t + ahead for t, ahead in zip(real(), (600.0, 0.0, 600.0), strict=True))
    housekeeping.check()
    housekeeping.check()
    housekeeping.close()
    log.finish()
    (row,) = log.state.events
    assert isinstance(row.event, ClockJumped)
    assert row.event.gap == pytest.approx(600.0, abs=5)
    assert [m["event"] for m in messages()] == ["alarm"]
    assert "the computer slept for 10 min" in messages()[0]["text"]


def test_a_guard_of_the_bench_that_dies_is_an_alarm_of_which_people_are_told(run, hook):
    notify, messages = hook
    housekeeping, log = make(run, notify=notify), Runlog.create(run, META)
    housekeeping.watch(log)
    dies = (sys.executable, "-c", "raise SystemExit(3)")
    with BenchGuard(run, run / "bench.yaml", lambda text: log.write(Alarm(text=text)), command=dies) as bench_guard:
        housekeeping.bench_guard = bench_guard
        bench_guard._process.wait()
        housekeeping.check()
    housekeeping.close()
    log.finish()
    (row,) = log.state.events
    assert row.event.level is Level.ALARM
    assert "died with exit code 3; another one is started" in row.event.text
    assert [message["text"] for message in messages()] == [f"W12: {row.event.text}"]


def test_people_are_told_what_the_run_s_journal_says(run, hook):
    notify, messages = hook
    housekeeping, log = make(run, notify=notify), Runlog.create(run, META)
    housekeeping.watch(log)
    log.write(Alarm(die="D1", level=Level.ALARM, text="compliance on row 3"))
    log.write(Alarm(die="", level=Level.NOTE, text="nobody minds"))
    log.set_state("D1", State.RUNNING, 1)
    log.set_state("D1", State.SEALING, 1)
    log.set_state("D1", State.DONE, 1, bin="good", hard=1, figures={"fidelity": 0.99})
    log.set_state("D2", State.RUNNING, 1)
    log.set_state("D2", State.ERROR, 1, "a bug: ZeroDivisionError()\n  Traceback ...")
    log.write(RuleBroken(rule="same_exception", text="2 dies in a row ended with the same error"))
    log.write(RunEnded(outcome=Status.ABORT, exit_code=3, reason="2 dies in a row ended with the same error"))
    housekeeping.close()
    log.finish()
    texts = [(m["event"], m["text"]) for m in messages()]
    assert texts == [
        ("alarm", "W12, D1: compliance on row 3"),
        ("die", "W12, D1: good"),
        ("die", "W12, D2: error: a bug: ZeroDivisionError()"),
        ("alarm", "W12: the run stops: 2 dies in a row ended with the same error"),
        (
            "stop",
            "W12: 1 of 2 dies are good, 1 not finished; exit code 3: 2 dies in a row ended with the same error",
        ),
    ]
    assert messages()[1]["figures"] == {"fidelity": 0.99}
    assert (messages()[-1]["exit_code"], messages()[-1]["folder"]) == (3, str(run))


def test_a_finished_run_is_told_as_its_end(run, hook):
    notify, messages = hook
    housekeeping, log = make(run, notify=notify), Runlog.create(run, META)
    housekeeping.watch(log)
    for die in SIZES:
        log.set_state(die, State.SKIPPED, 1)
    log.write(RunEnded(outcome=Status.SUCCESS, exit_code=0, reason=""))
    housekeeping.close()
    log.finish()
    assert (messages()[-1]["event"], messages()[-1]["text"]) == ("end", "W12: 0 of 2 dies are good; exit code 0")


def test_a_message_that_was_given_up_is_in_the_run_s_journal(run, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    housekeeping = make(run, notify=Notify(command=(sys.executable, "-c", "import time; time.sleep(60)"), timeout=60.0))
    log = Runlog.create(run, META)
    housekeeping.watch(log)
    log.write(Alarm(die="D1", level=Level.ALARM, text="compliance"))
    housekeeping.close()
    log.write(RunEnded(outcome=Status.SUCCESS, exit_code=0, reason=""))
    log.finish()
    assert [type(row.event) for row in log.state.events] == [Alarm, Alarm, RunEnded]
    assert "the message 'alarm' was not delivered" in log.state.events[1].event.text


def test_a_row_that_the_disk_does_not_take_is_written_when_the_ballast_is_freed(run, monkeypatch):
    housekeeping, log = make(run), Runlog.create(run, META)
    housekeeping.watch(log)
    commit = log._journal.commit

    def full():
        if housekeeping.ballast.path.exists():
            raise StorageError("the disk is full")
        commit()

    monkeypatch.setattr(log._journal, "commit", full)
    with housekeeping.session():
        log.set_state("D1", State.RUNNING, 1)
        assert housekeeping.full == "the disk is full"
        assert not housekeeping.ballast.path.exists()
        assert log.state.dies["D1"].state is State.RUNNING
        monkeypatch.setattr(log._journal, "commit", lambda: (_ for _ in ()).throw(StorageError("still full")))
        with pytest.raises(StorageError, match="still full"):
            log.set_state("D2", State.RUNNING, 1)
    assert housekeeping.full == "the disk is full"
    monkeypatch.undo()
    log.finish()


def test_dies_that_the_disk_may_not_take_are_not_begun(run, monkeypatch):
    sizes = []
    monkeypatch.setattr(module, "enough", lambda folder, size: sizes.append(size))
    housekeeping = make(run)
    housekeeping.enough(["D1", "D2"])
    housekeeping.enough(["D2", "a visit of a golden die that the plan does not name"])
    assert sizes == [3000, 2000]
    monkeypatch.undo()
    with pytest.raises(StorageError, match="before the next die"):
        Housekeeping.enough(SimpleNamespace(folder=run, _sizes={"D1": 1 << 60}), ["D1"])


def test_a_disk_works_that_keeps_a_file_and_was_not_full_before(run):
    housekeeping = make(run)
    assert housekeeping.works()
    assert list(run.iterdir()) == []
    housekeeping.relieve(StorageError("the disk is full"))
    assert not housekeeping.works()
    other = make(run)
    run.rmdir()
    assert not other.works()
