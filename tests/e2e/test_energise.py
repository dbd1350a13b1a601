"""Checks with outputs on at a bench over sockets, as at a real one: they end off, whoever ends them."""

import importlib.util
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE, until

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
pytestmark = pytest.mark.slow
WORDS = ("--first-day", "--energise", "--yes")


@pytest.fixture(scope="module")
def wins():
    """The benchmark that serves a bench apart, as a module."""
    spec = importlib.util.spec_from_file_location("off_wins", BENCHMARKS / "off_wins.py")
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def begun(bench):
    """Start the checks and return them once they have an output on."""
    command = [sys.executable, "-m", "labctl", "check", str(bench.path), *WORDS]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until(bench.on, running)
    return running


def test_they_are_recorded_and_replayed_and_the_bench_is_off(wins, labctl_process, tmp_path):
    session = tmp_path / "session.jsonl"
    with wins.served(tmp_path, "--clock", "real") as bench:
        command = [sys.executable, "-m", "labctl", "check", str(bench.path), *WORDS, "--record", str(session), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert not bench.on()
        assert not bench.closed()
        said = json.loads(done.stdout)
    # how fast this computer answers for the instruments decides on the rows of times, and with them on 0 or 3
    assert done.returncode in (0, 3), done.stderr
    verdicts = {(one["id"], one["instrument"]): one["verdict"] for one in said["assumptions"]}
    assert verdicts["noise", "smu1.smua"] == verdicts["cold-current", "smu2.smub"] == "holds"
    assert ("output-relay", "smu2.smua") in verdicts
    labctl_process("transcript", session)
    test = tmp_path / "test_session.py"
    replayed = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(test)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert replayed.returncode == 0, replayed.stdout[-2000:]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_them_off(wins, tmp_path, number):
    with wins.served(tmp_path, "--clock", "real") as bench:
        running = begun(bench)
        running.send_signal(number)
        _, words = running.communicate(timeout=PATIENCE)
        assert not bench.on()
        assert (running.returncode, "every output is off at 0 V" in words) == (4, True), words


def test_off_beside_them_wins(wins, labctl_process, tmp_path):
    with wins.served(tmp_path, "--clock", "real") as bench:
        running = begun(bench)
        done = labctl_process("off", bench.path)
        assert f"(pid {running.pid})" in done.stderr
        _, words = running.communicate(timeout=PATIENCE)
        assert running.returncode == 4, words
        assert not bench.on()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_the_guard_makes_the_bench_safe_when_they_are_killed(wins, tmp_path):
    with wins.served(tmp_path, "--clock", "real") as bench:
        running = begun(bench)
        running.kill()
        running.communicate()
        until(lambda: not bench.on())
