"""A run that is killed leaves a journal that opens, holds all that was acknowledged, and can be shown."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

import labctl as package
from tests.waiting import PATIENCE, until

EXAMPLES = Path(__file__).parents[2] / "examples"
pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")


def start(folder, *more):
    return subprocess.Popen(
        [sys.executable, "-m", "labctl", "run", str(EXAMPLES / "wine-passive.yaml"), "--out", str(folder), *more],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def committed(journal):
    """Return the number of the last row that is on the disk."""
    db = sqlite3.connect(f"{journal.resolve().as_uri()}?mode=ro", uri=True, timeout=5)
    try:
        return db.execute("SELECT ifnull(max(seq), 0) FROM log").fetchone()[0]
    finally:
        db.close()


def wait_for(journal, rows, process):
    """Return the number of the last row of a journal as soon as it has that many."""

    def so_many():
        with contextlib.suppress(sqlite3.OperationalError):  # it is just being made
            last = committed(journal) if journal.is_file() else 0
            return last if last >= rows else 0
        return 0

    return until(so_many, process)


def group_lives(group):
    """Return whether any process of a run is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("rows", [pytest.param(40, marks=pytest.mark.slow), 160])
def test_nothing_that_was_acknowledged_is_lost_by_kill_9(tmp_path, labctl, rows):
    folder = tmp_path / "run"
    process = start(folder, "--workers", "1")
    acknowledged = wait_for(folder / "dies" / "D55" / "journal.db", rows, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert committed(folder / "dies" / "D55" / "journal.db") >= acknowledged
    die = package.open_run(folder).die("D55")
    operations = list(die.operations())
    assert operations
    assert all(o.result is not None for o in operations[:-1])
    shown = labctl("show", folder)
    assert "unfinished" in shown.stdout


@pytest.mark.slow
def test_workers_of_a_killed_parent_end_at_their_next_safe_point(tmp_path):
    folder = tmp_path / "run"
    process = start(folder, "--workers", "2")
    journal = folder / "dies" / "D55" / "journal.db"
    wait_for(journal, 40, process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()

    def reasons():
        events = package.open_run(folder).die("D55").events()
        return [e.body["reason"] for e in events if e.kind == "stage_ended" and e.body["outcome"] == "abort"]

    assert until(reasons)[-1] == "the parent process is gone"
    until(lambda: not group_lives(process.pid))  # no worker outlives its parent
    assert (folder / "dies" / "D55.h5").is_file()


@pytest.mark.parametrize(
    ("workers", "signals"),
    [
        ("1", ["SIGINT"]),
        pytest.param("1", ["SIGINT", "SIGINT", "SIGINT"], marks=pytest.mark.slow),
        pytest.param("2", ["SIGINT", "SIGINT"], marks=pytest.mark.slow),
        pytest.param("1", ["SIGTERM"], marks=pytest.mark.slow),
        pytest.param("2", ["SIGHUP"], marks=pytest.mark.slow),
    ],
)
def test_whoever_asks_it_ends_at_the_next_safe_point_with_sealed_data_and_exit_code_4(tmp_path, workers, signals):
    folder = tmp_path / "run"
    process = start(folder, "--workers", workers)
    wait_for(folder / "dies" / "D55" / "journal.db", 40, process)
    for name in signals:
        os.killpg(process.pid, getattr(signal, name))
        time.sleep(0.03)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 4, said
    assert "by the operator" in said
    assert (folder / "dies" / "D55.h5").is_file()
    assert package.open_run(folder).die("D55").sealed
