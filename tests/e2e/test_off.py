"""Whoever types `labctl off` wins over whatever holds the bench: beside a run, over sockets, as two people would."""

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from labctl.core.die_state import State
from labctl.core.events import GuardActed, MadeSafe, Requested, RequestKind, WatchdogActed
from labctl.storage.run_log import read_state
from tests.waiting import PATIENCE

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "off_wins.py"


@pytest.fixture(scope="module")
def wins():
    """The benchmark as a module."""
    spec = importlib.util.spec_from_file_location("off_wins", BENCHMARK)
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def begun(wins, bench, *command):
    """Start a command and return it once it has an output on."""
    running = subprocess.Popen(
        [sys.executable, "-m", "labctl", *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wins.wait_until(lambda: bool(bench.on()) or running.poll() is not None)
    assert running.poll() is None, running.communicate()
    return running


def stays_off(bench):
    """Return whether no output goes on and no relay closes within the next second."""
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        if bench.on() or bench.closed():
            return False
        time.sleep(0.02)
    return True


@pytest.mark.slow
def test_off_ends_the_run_beside_it_and_nothing_goes_on_before_it_is_released(wins, labctl, tmp_path):
    folder = tmp_path / "run"
    with wins.served(tmp_path) as bench:
        held = ("--bench", bench.path)
        run = begun(wins, bench, "run", wins.campaign(tmp_path), *held, "--out", folder)
        done = labctl("off", bench.path, "--reason", "hands on the needles", "--json")
        assert not bench.on()
        off = json.loads(done.stdout)
        assert (off["safe"], off["exit"], off["latch"]["reason"]) == (True, 0, "hands on the needles")
        assert [holder["pid"] for holder in off["held"]] == [run.pid]
        assert f"(pid {run.pid})" in done.stderr
        assert "smu1, smu2: outputs verified off" in done.stderr
        _, words = run.communicate(timeout=PATIENCE)
        assert run.returncode == 4
        assert "switched off by" in words
        assert "hands on the needles" in words
        state = read_state(folder)
        assert state.exit_code == 4
        assert f"(pid {off['latch']['pid']})" in state.reason
        assert state.unfinished
        assert {die.state for die in state.subjects} <= {State.DONE, State.INTERRUPTED, State.PENDING}
        assert [row.event.what for row in state.events if isinstance(row.event, Requested)] == [RequestKind.OFF]
        assert not [row for row in state.events if isinstance(row.event, WatchdogActed | GuardActed)]
        assert stays_off(bench)

        # nobody starts anything, and everybody is told
        for command in (
            ("run", tmp_path / "campaign.yaml", *held, "--out", tmp_path / "second"),
            ("resume", folder),
            ("read", *held, "--die", tmp_path / "die.yaml", "--cell", "0,1,2", "--out", tmp_path / "second"),
        ):
            refused = labctl(*command, expect=2).stderr
            assert "hands on the needles" in refused
            assert f"labctl off --release {bench.path}" in refused
        assert not (tmp_path / "second").exists()
        checked = labctl("check", bench.path, "--json", expect=3)
        assert "LOOK: switched off by" in checked.stderr
        assert json.loads(checked.stdout)["latch"] == off["latch"]
        watched = json.loads(labctl("watch", folder, "--json").stdout)
        assert "hands on the needles" in watched["latch"]
        assert watched["alarms"][-1][1] == "alarm"
        assert "hands on the needles" in labctl("watch", folder, "--once").stdout
        labctl("check", bench.path, "--sim", "bytes")
        assert stays_off(bench)

        # released; somebody has left an output on meanwhile
        released = labctl("off", "--release", bench.path, "--json")
        assert json.loads(released.stdout)["released"] == [off["latch"]]
        assert "it was not switched off" in labctl("off", "--release", bench.path).stderr
        with wins.Wire(bench.ports["smu2"]) as wire:
            wire.ask("smub.source.levelv=0.1 smub.source.output=1 print(1)")
        for command, code in (  # the run has its folder by then
            (("run", tmp_path / "campaign.yaml", *held, "--out", tmp_path / "third"), 3),
            (("read", *held, "--die", tmp_path / "die.yaml", "--cell", "0,1,2", "--out", tmp_path / "second"), 2),
        ):
            refused = labctl(*command, expect=code).stderr
            assert "smu2.smub is on at 0.1 V" in refused
            assert "labctl off BENCH" in refused
        assert bench.on() == ["smu2.smub"], "refusing changes nothing"
        assert not (tmp_path / "second").exists()

        # the run that was begun there makes it safe first, says what it met, and goes on to its end
        labctl("resume", folder)
        state = read_state(folder)
        (safed,) = [row.event for row in state.events if isinstance(row.event, MadeSafe)]
        assert safed.met == {"smu2.smub": "on at 0.1 V"}
        assert "smu2.smub on at 0.1 V" in safed.text
        assert [die.state for die in state.subjects] == [State.DONE] * 2
        assert not bench.on()
        labctl("off", "--release", bench.path)
    assert "0 hot switches, 0 moves in contact" in " ".join(bench.ledger.split())


def test_off_ends_a_command_by_hand_with_4(wins, labctl, tmp_path):
    with wins.served(tmp_path, "--needles", "down", "--clock", "real") as bench:
        die = ("--die", tmp_path / "die.yaml", "--aperture", "400 ms")
        mapping = begun(wins, bench, "map", "--bench", bench.path, *die, "--out", tmp_path / "map")
        second = labctl("map", "--bench", bench.path, *die, "--out", tmp_path / "second", expect=2)
        assert f"(pid {mapping.pid})" in second.stderr
        done = labctl("off", bench.path, "--json")
        assert [holder["pid"] for holder in json.loads(done.stdout)["held"]] == [mapping.pid]
        words, _ = mapping.communicate(timeout=PATIENCE)
        assert mapping.returncode == 4, words
        assert "switched off by" in words
        assert stays_off(bench)
    assert "0 hot switches" in " ".join(bench.ledger.split())


def test_a_bench_that_is_off_by_address_is_off_by_name(wins, labctl, tmp_path):
    with wins.served(tmp_path) as bench:
        by_name = tmp_path / "by-name.yaml"
        by_name.write_text(bench.path.read_text().replace("127.0.0.1", "LocalHost"))
        assert "127.0.0.1" not in by_name.read_text()
        wins.campaign(tmp_path)
        labctl("off", bench.path, "--reason", "hands on the needles")
        die = ("--die", tmp_path / "die.yaml")
        read = ("read", "--bench", by_name, *die, "--cell", "0,1,2", "--out", tmp_path / "read")
        assert "hands on the needles" in labctl(*read, expect=2).stderr
        labctl("off", "--release", by_name)
        assert "it was not switched off" in labctl("off", "--release", bench.path).stderr
