"""All processes of a run on a bench are killed at once, and its guard with them or not, over sockets."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from labctl.core.die_state import State
from labctl.core.errors import StorageError
from labctl.core.events import Alarm, GuardActed, GuardFate, Level, MadeSafe
from labctl.storage.run_log import read_state
from tests.waiting import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL"),
]
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def wins():
    """The benchmark that serves a bench apart, as a module."""
    spec = importlib.util.spec_from_file_location("off_wins", BENCHMARKS / "off_wins.py")
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def children(parent, word):
    """Return the processes that `parent` has started with `word` in their command."""
    listed = subprocess.run(["ps", "-ww", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
    rows = [line.split(maxsplit=2) for line in listed.stdout.splitlines()]
    return [int(pid) for pid, ppid, command in rows if int(ppid) == parent and word in command]


def guards(parent):
    return children(parent, "guard_process")


def lives(pid):
    """Return whether a process has not ended; one that ended and whose parent has not asked for it is listed as Z."""
    listed = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return listed.stdout.strip()[:1] not in ("", "Z")


def kill(*pids):
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def events(folder, kind):
    try:
        return [row.event for row in read_state(folder).events if isinstance(row.event, kind)]
    except StorageError:  # not begun
        return []


def alarms(folder):
    return [event.text for event in events(folder, Alarm) if event.level is Level.ALARM]


@contextmanager
def begun(wins, bench, place, more=""):
    """Start a run, with `more` in its campaign, and yield it and its worker once an output is on."""
    campaign = wins.campaign(place)
    campaign.write_text(campaign.read_text() + more)
    run = wins.labctl("run", campaign, "--bench", bench.path, "--out", place / "run")
    try:
        until(lambda: bench.on(), run)
        (worker,) = children(run.pid, "spawn_main")
        yield run, worker
    finally:
        kill(*([] if run.poll() is not None else [run.pid]))
        run.wait()


def test_a_guard_that_dies_is_an_alarm_and_one_that_is_killed_with_the_run_leaves_a_warning(wins, labctl, tmp_path):
    folder = tmp_path / "run"
    with wins.served(tmp_path, "--clock", "real") as bench:
        with begun(wins, bench, tmp_path) as (run, worker):
            (first,) = guards(run.pid)
            kill(first)
            (alarm,) = until(lambda: alarms(folder), run)
            assert alarm == f"the guard of the bench (process {first}) died with exit code -9; another one is started"
            (second,) = guards(run.pid)
            assert second != first
            until(lambda: bench.on(), run)
            kill(second, run.pid, worker)
            run.wait()
            until(lambda: not (lives(second) or lives(worker)))  # or one of them is told to deal with the bench
        on = bench.on()
        assert on, "nobody is left to switch them off"
        for words in (labctl("watch", folder, "--once").stdout, labctl("show", folder).stdout):
            assert f"OUTPUTS MAY BE ON: labctl off {bench.path}" in " ".join(words.split())
        labctl("report", folder)
        assert "OUTPUTS MAY BE ON" in (folder / "report.html").read_text(encoding="utf-8")
        resumed = labctl("resume", folder)
        assert f"OUTPUTS MAY BE ON: labctl off {bench.path}" in resumed.stderr
        assert f"the bench was met with {on[0]} on at " in resumed.stderr
        (safed,) = events(folder, MadeSafe)
        assert set(on) <= set(safed.met)
        assert events(folder, GuardActed) == []
        assert {die.state for die in read_state(folder).subjects} == {State.DONE}
        assert "OUTPUTS" not in labctl("watch", folder, "--once").stdout
        assert not bench.on()


def test_of_a_run_whose_worker_lives_the_guard_waits_for_the_worker(wins, labctl, tmp_path):
    folder, messages = tmp_path / "run", tmp_path / "messages"
    hook = tmp_path / "hook.py"
    hook.write_text(f"import sys\nopen({str(messages)!r}, 'a').write(sys.stdin.read())\n")
    notify = f"notify: {{command: {json.dumps([sys.executable, str(hook)])}, on: [alarm], timeout: 90 s}}\n"
    with wins.served(tmp_path) as bench:
        with begun(wins, bench, tmp_path, notify) as (run, worker):
            kill(run.pid)
        (acted,) = until(lambda: events(folder, GuardActed))
        assert not lives(worker)
        assert (acted.what, dict(acted.met)) == (GuardFate.SAFE, {}), "the worker left the bench safe by itself"
        assert not bench.on()
        assert "no output was seen on" in labctl("show", folder).stdout
        (message,) = until(lambda: messages.is_file() and messages.read_text().splitlines())
        assert "small: every process of the run was gone; bench made safe by its guard" in json.loads(message)["text"]
    assert "0 hot switches, 0 moves in contact" in " ".join(bench.ledger.split())


def test_signals_to_the_group_of_a_run_end_it_in_order_and_its_guard_with_it(wins, tmp_path):
    with wins.served(tmp_path) as bench:
        with begun(wins, bench, tmp_path) as (run, _):
            (guard,) = guards(run.pid)
            os.killpg(run.pid, signal.SIGTERM)
            assert run.wait() == 4
        assert not lives(guard)
        assert not bench.on()
    assert events(tmp_path / "run", GuardActed) == []
