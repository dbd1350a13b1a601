"""The guard hears of the end of the last process of a run, and of nothing else; one that dies has a successor."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from instruments.bench import Bench
from labctl.core.errors import LeftUnverified
from labctl.core.events import GuardFate
from labctl.core.site import Site
from labctl.station.bench_guard import STARTS, BenchGuard
from labctl.station.bench_setup import twin_of
from labctl.storage.bench_locks import VARIABLE
from labctl.storage.run_log import Runlog, read_state
from sim_backend.description import DieDescription
from tests.e2e.test_bench_safety import BENCH, DIE
from tests.waiting import until

HEARS = "import os, sys; heard = os.read(0, 3); open(sys.argv[1] + '/heard', 'wb').write(heard or b'gone')"
"""In place of a guard: write down what the pipe says."""
RUN = """
import multiprocessing, os, signal, subprocess, sys, time
from pathlib import Path
from labctl.station.bench_guard import BenchGuard, keep_lifeline

def work(lifeline):
    keep_lifeline(lifeline)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print("worker", os.getpid(), child.pid, flush=True)
    time.sleep(600)

if __name__ == "__main__":
    folder, hears = sys.argv[1:]
    guard = BenchGuard(Path(folder), Path(folder), print, command=(sys.executable, "-c", hears))
    guard.__enter__()
    worker = multiprocessing.get_context("spawn").Process(target=work, args=(guard.lifeline,))
    worker.start()
    forked = os.fork()
    if not forked:
        time.sleep(600)
    started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], close_fds=False)
    print("run", os.getpid(), forked, started.pid, flush=True)
    time.sleep(600)
"""
"""A run and its worker; they have a forked child and others, which live on."""


def hearing(folder, say=lambda text: None, command=(sys.executable, "-c", HEARS)):
    return BenchGuard(folder, folder / "bench.yaml", say, command=command)


def heard(folder):
    path = folder / "heard"
    return path.read_bytes() if path.is_file() else b""


def let_go(guard):
    """Close the ends of the pipe, as the end of the process does; return the exit code of the guard."""
    guard._close_pipe()
    code = guard._process.wait()
    guard._tail()
    return code


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_the_guard_hears_when_run_and_worker_are_gone_whatever_else_they_started(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(RUN)
    run = subprocess.Popen([sys.executable, script, tmp_path, HEARS], stdout=subprocess.PIPE, text=True)
    pids = {}
    try:
        for _ in range(2):
            who, *numbers = run.stdout.readline().split()
            pids[who] = list(map(int, numbers))
        assert sorted(pids) == ["run", "worker"]
        os.kill(pids["run"][0], signal.SIGKILL)
        run.wait()
        assert not heard(tmp_path), "the worker lives"
        os.kill(pids["worker"][0], signal.SIGKILL)
        assert until(lambda: heard(tmp_path)) == b"gone"
    finally:
        for pid in sum(pids.values(), [run.pid]):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        run.stdout.close()
        run.wait()


@pytest.mark.parametrize("error", [None, LeftUnverified("smu1 may be live")])
def test_an_orderly_end_is_told_to_the_guard_which_ends(tmp_path, error):
    with suppress(LeftUnverified), hearing(tmp_path) as guard:
        assert guard.pid
        if error is not None:
            raise error
    assert heard(tmp_path) == b"end"
    assert guard._process.returncode == 0


def test_after_a_bug_the_guard_acts_when_the_process_has_ended(tmp_path):
    with suppress(ZeroDivisionError), hearing(tmp_path) as guard:
        raise ZeroDivisionError
    assert guard._process.poll() is None
    assert not heard(tmp_path)
    let_go(guard)
    assert heard(tmp_path) == b"gone"


def test_the_guard_itself_acts_over_sockets_and_writes_what_it_met_into_the_journal(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "locks"))
    bench = Bench.model_validate(BENCH, context={"file": True})
    twin = twin_of(
        bench, [Site("D0", DieDescription.model_validate(DIE, context={"file": True}), 5)], "tcp", by_hand=True
    )
    try:
        resources = {one.name: one.resource for one in twin.server.served}
        instruments = {name: {**entry, "resource": resources[name]} for name, entry in BENCH["instruments"].items()}
        (tmp_path / "bench.yaml").write_text(json.dumps({**BENCH, "instruments": instruments}), encoding="utf-8")
        Runlog.create(tmp_path, {"dies": [{"name": "D0", "at": [0, 0]}]})._journal.close()
        guard = BenchGuard(tmp_path, tmp_path / "bench.yaml", lambda text: None).__enter__()
        twin.instruments["smu1"].handle(b"smua.source.levelv=0.1 smua.source.output=1\n")
        assert let_go(guard) == 0
        assert twin.instruments["smu1"].smus["smua"].set.output == 0
        (acted,) = [row.event for row in read_state(tmp_path).events]
        assert (acted.what, acted.met, acted.pid) == (GuardFate.SAFE, {"smu1.smua": "on at 0.1 V"}, guard.pid)
    finally:
        twin.close()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_guard_that_is_killed_has_a_successor_on_the_same_pipe(tmp_path):
    texts = []
    with hearing(tmp_path, texts.append) as guard:
        guard.check()
        first = guard.pid
        os.kill(first, signal.SIGKILL)
        guard._process.wait()
        guard.check()
        assert guard.pid not in (0, first)
        guard.check()
    assert texts == [f"the guard of the bench (process {first}) died with exit code -9; another one is started"]
    assert heard(tmp_path) == b"end"


def test_a_guard_that_dies_again_and_again_is_not_started_for_ever(tmp_path):
    texts = []
    broken = (sys.executable, "-c", "raise SystemExit('no memory')")
    with hearing(tmp_path, texts.append, broken) as guard:
        while guard.pid:
            guard._process.wait()
            guard.check()
        guard.check()
    assert len(texts) == STARTS
    assert "(no memory); another one is started" in texts[0]
    assert "none is started any more" in texts[-1]
    assert "nothing makes the bench safe" in texts[-1]


def test_a_guard_that_cannot_be_started_is_said_and_the_run_goes_on(tmp_path):
    texts = []
    with hearing(tmp_path, texts.append, (str(tmp_path / "missing"),)) as guard:
        guard.check()
    assert len(texts) == 1
    assert "cannot be started" in texts[0]


@pytest.mark.skipif(not hasattr(os, "getsid"), reason="this system has no sessions")
def test_a_guard_is_in_no_group_or_session_of_the_run(tmp_path):
    with hearing(tmp_path) as guard:
        assert os.getsid(guard.pid) == guard.pid != os.getsid(0)
        assert os.getpgid(guard.pid) == guard.pid
