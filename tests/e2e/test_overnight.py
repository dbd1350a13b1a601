"""A batch that is stopped, steered, killed and taken up again comes to the same end as one that is left alone."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from labctl import open_run
from labctl.batch.requests import Request, ask
from labctl.batch.scheduler import REQUESTS
from labctl.core.die_state import State
from labctl.core.errors import StorageError
from labctl.core.events import Requested, RequestKind, Resumed, WatchdogActed, WorkerFate
from labctl.networks import solutions
from labctl.storage.run_log import read_state
from tests.e2e.conftest import EXAMPLES
from tests.waiting import PATIENCE, until

DIES = ("A", "B", "C")


def requests_of(folder: Path) -> list[Requested]:
    return [row.event for row in read_state(folder).events if isinstance(row.event, Requested)]


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """A campaign over 3 small passive dies of 3 solutions each, which takes some seconds."""
    folder = tmp_path_factory.mktemp("batch")
    shipped = solutions.load(EXAMPLES / "wine-solutions.npz")
    solutions.save(folder / "three.npz", shipped.take(np.arange(3)))
    text = (EXAMPLES / "wine-passive.yaml").read_text()
    before, _, after = text.partition("dies:\n")
    file = json.dumps(str(EXAMPLES / "dies/passive-15x15.yaml"))
    dies = "dies:\n" + "".join(f"  - {{name: {name}, file: {file}}}\n" for name in DIES)
    path = folder / "batch.yaml"
    path.write_text((before + dies + "\n" + after.partition("\n\n")[2]).replace("wine-solutions.npz", "three.npz"))
    return path


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory, batch, labctl):
    """The folder of a run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    labctl("run", batch, "--out", folder, "--workers", "1")
    return folder


def start(batch, folder, *more):
    return subprocess.Popen(
        [sys.executable, "-m", "labctl", "run", str(batch), "--out", str(folder), *more],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def workers_of(process):
    """Return the process numbers of the workers of a run."""
    children = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(process.pid)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [int(line.split()[0]) for line in children if "spawn_main" in line]


def wait_for(folder, what, process):
    """Return the state of a run as soon as `what` is true of it."""

    def state():
        with contextlib.suppress(StorageError):  # it is just being made
            now = read_state(folder)
            return now if what(now) else None

    return until(state, process)


@contextlib.contextmanager
def halted(process):
    """Keep the die under way from ending before the process looks for the request that is made meanwhile."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
        time.sleep(REQUESTS)  # it looks again when so much time has gone by
    finally:
        process.send_signal(signal.SIGCONT)


def in_stage(state, name, die="A"):
    last = state.dies[die].last
    return last is not None and last.stage == name


def assert_same_end(folder, other):
    """Two runs came to the same bins, figures and tables."""
    a, b = read_state(folder), read_state(other)
    for name in DIES:
        assert a.dies[name].state is b.dies[name].state is State.DONE
        assert (a.dies[name].bin, dict(a.dies[name].last.figures)) == (
            b.dies[name].bin,
            dict(b.dies[name].last.figures),
        )
    first, second = open_run(folder), open_run(other)
    assert first.tables == second.tables
    for table in first.tables:
        one, two = first.table(table), second.table(table)
        for column in one:
            if column not in ("utc", "seq"):
                np.testing.assert_array_equal(one[column], two[column], err_msg=f"{table}.{column}")


def requests(folder):
    """Return the requests that nobody has taken."""
    return [path.name for path in (folder / "requests").glob("*") if path.suffix not in (".taken", ".late")]


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system stops no process for a while")
def test_a_run_that_is_stopped_from_another_terminal_goes_on_with_resume(batch, left_alone, labctl, tmp_path):
    folder = tmp_path / "run"
    process = start(batch, folder, "--workers", "1")
    wait_for(folder, lambda state: in_stage(state, "survey"), process)
    with halted(process):
        assert "is asked to stop" in labctl("stop", folder, "--reason", "coffee").stderr
    _, words = process.communicate(timeout=PATIENCE)
    assert process.returncode == 4, words
    assert f"labctl resume {folder}" in " ".join(words.split())
    state = read_state(folder)
    assert (state.outcome, state.exit_code) == ("abort", 4)
    (request,) = (row.event for row in state.events if isinstance(row.event, Requested))
    assert (request.what, request.reason) == (RequestKind.STOP, "coffee")
    assert state.dies["A"].state is State.INTERRUPTED
    assert state.dies["B"].state is State.PENDING
    assert (folder / "dies" / "A.h5").is_file()
    # nobody works on it now
    words = " ".join(labctl("stop", folder, expect=2).stderr.split())
    assert f"nobody works on {folder}, so there is nothing to stop: it ended with abort and exit code 4" in words
    assert "no die is skipped: it ended with abort" in " ".join(labctl("skip", folder, "B", expect=2).stderr.split())
    assert requests(folder) == []
    # what an earlier version left there does not stop the next session
    late = folder / "requests" / "00000000000000000001-stop-abcdef.json"
    late.write_text(json.dumps({"what": "stop", "die": "", "by": "somebody", "reason": ""}))
    labctl("resume", folder, "--reason", "after coffee", "--workers", "1")
    again = read_state(folder)
    assert (again.outcome, again.exit_code, again.resumes) == ("success", 0, 1)
    assert len(again.dies["A"].tries) == 1
    assert_same_end(folder, left_alone)
    # killed between the last die and the end, it is brought to its end
    with contextlib.closing(sqlite3.connect(folder / "journal.db", isolation_level=None)) as journal:
        journal.execute("DELETE FROM log WHERE seq >= (SELECT max(seq) FROM log WHERE kind = 'ended')")
    (folder / "run.h5").unlink()
    (folder / "report.html").unlink()
    assert read_state(folder).exit_code is None
    labctl("resume", folder)
    assert (folder / "run.h5").is_file()
    assert (folder / "report.html").is_file()
    once_more = read_state(folder)
    assert (once_more.outcome, once_more.exit_code, once_more.dies) == ("success", 0, again.dies)
    assert "nothing is left to do" in labctl("resume", folder, expect=2).stderr
    # killed when it had ended and before its report was written: no die is touched again
    (folder / "report.json").unlink()
    labctl("resume", folder)
    assert json.loads((folder / "report.json").read_text())["exit_code"] == 0
    assert read_state(folder) == once_more
    assert "it ended with success and exit code 0" in " ".join(labctl("stop", folder, expect=2).stderr.split())
    assert [request.what for request in requests_of(folder)] == [RequestKind.STOP]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_run_that_is_killed_as_a_whole_cannot_be_asked_and_goes_on_with_resume(batch, left_alone, labctl, tmp_path):
    folder = tmp_path / "run"
    process = start(batch, folder, "--workers", "2")
    wait_for(folder, lambda state: in_stage(state, "network"), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert read_state(folder).dies["A"].state is State.RUNNING
    words = " ".join(labctl("stop", folder, expect=2).stderr.split())
    assert f"it was broken off; labctl resume {folder} goes on with it" in words
    assert requests(folder) == []
    labctl("resume", folder, "--workers", "2")
    assert_same_end(folder, left_alone)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_worker_that_is_killed_costs_its_die_an_interruption(batch, left_alone, tmp_path):
    folder = tmp_path / "run"
    process = start(batch, folder, "--workers", "2")
    wait_for(folder, lambda state: in_stage(state, "network"), process)
    os.kill(workers_of(process)[0], signal.SIGKILL)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    state = read_state(folder)
    died = [row.event for row in state.events if isinstance(row.event, WatchdogActed)]
    assert {event.what for event in died} == {WorkerFate.DIED}
    assert 1 <= len(died) <= 2
    assert_same_end(folder, left_alone)


@pytest.mark.slow
def test_a_second_start_on_a_run_that_goes_on_is_refused_and_names_who_runs_it(batch, labctl, tmp_path):
    folder = tmp_path / "run"
    process = start(batch, folder, "--workers", "1")
    wait_for(folder, lambda state: in_stage(state, "survey"), process)
    said = labctl("resume", folder, expect=2).stderr
    assert "is in use by" in said
    assert f"pid {process.pid}" in said
    os.killpg(process.pid, signal.SIGTERM)
    process.communicate(timeout=PATIENCE)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system stops no process for a while")
def test_a_die_is_skipped_whether_it_waits_or_is_under_way(batch, labctl, tmp_path):
    folder = tmp_path / "run"
    process = start(batch, folder, "--workers", "1")
    wait_for(folder, lambda state: in_stage(state, "survey"), process)
    with halted(process):
        ask(folder, Request(RequestKind.SKIP, "A", "somebody", "a scratch"))
    labctl("skip", folder, "C")
    assert "no die D" in labctl("skip", folder, "D", expect=2).stderr
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    dies = read_state(folder).dies
    assert [dies[name].state for name in DIES] == [State.SKIPPED, State.DONE, State.SKIPPED]
    assert "a scratch" in dies["A"].reason
    assert "final" in labctl("skip", folder, "B", expect=2).stderr


@pytest.mark.slow
def test_what_has_changed_is_refused_unless_accepted_and_the_run_goes_on_as_it_was(batch, left_alone, labctl, tmp_path):
    folder, moved = tmp_path / "run", tmp_path / "moved.yaml"
    moved.write_text(batch.read_text().replace("three.npz", str(batch.parent / "three.npz")))
    process = start(moved, folder, "--workers", "1")
    wait_for(folder, lambda state: in_stage(state, "survey"), process)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    moved.write_text(moved.read_text().replace("v_max: 600 mV", "v_max: 650 mV"))
    said = labctl("resume", folder, expect=2).stderr
    assert "moved.yaml has changed" in said
    assert "--accept-changes" in said
    labctl("resume", folder, "--accept-changes", "--only", "A", "--workers", "1", expect=4)
    state = read_state(folder)
    (resumed,) = (row.event for row in state.events if isinstance(row.event, Resumed))
    assert (resumed.only, len(resumed.accepted)) == (("A",), 1)
    assert [state.dies[n].state for n in DIES] == [State.DONE, State.PENDING, State.PENDING]
    moved.unlink()
    labctl("resume", folder, "--accept-changes", "--workers", "1", cwd=tmp_path)
    assert_same_end(folder, left_alone)


@pytest.mark.slow
def test_a_run_that_is_asked_to_stop_twice_while_it_runs_stops_once(batch, labctl, tmp_path):
    folder = tmp_path / "run"
    process = start(batch, folder, "--workers", "1")
    wait_for(folder, lambda state: in_stage(state, "network"), process)
    ask(folder, Request(RequestKind.STOP, by="one"))
    ask(folder, Request(RequestKind.STOP, by="two"))
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 4, said
    assert {request.by for request in requests_of(folder)} >= {"one"}


def test_a_folder_without_a_run_cannot_be_asked_for_anything(labctl, tmp_path):
    assert "there is no run here" in labctl("stop", tmp_path, expect=2).stderr
    assert "there is no run here" in labctl("resume", tmp_path, expect=2).stderr
