"""A night with injected faults on the command line: planned, carried out, taken up again, and never a measurement."""

import json

import pytest

from labctl.core.die_state import State
from labctl.core.events import FaultInjected
from labctl.storage.run_log import read_state
from tests.e2e.conftest import EXAMPLES
from tests.e2e.test_benchmarks import soak  # noqa: F401 - a fixture

SEED = 1986
"""Draws for three small dies: one does not answer, in the middle of its operations, and another one is dead."""
WORDS = ("--faults", "typical", "--seed", SEED)


@pytest.fixture
def campaign(soak, tmp_path):  # noqa: F811
    return soak.small(tmp_path)


def test_a_real_bench_is_refused_before_anything_is_read(labctl, campaign, tmp_path):
    out = tmp_path / "run"
    bench = EXAMPLES / "bench-two-needles.yaml"
    done = labctl("run", campaign, "--bench", bench, "--out", out, *WORDS, expect=2)
    assert "never injected into a real bench; rehearse the night on its twin" in " ".join(done.stderr.split())
    assert not out.exists()
    assert "expected typical" in labctl("plan", campaign, "--faults", "wild", expect=2).stderr


def test_a_plan_lists_what_will_happen(labctl, campaign):
    done = labctl("plan", campaign, *WORDS, "--json")
    assert "a rehearsal, and no measurement: injected faults (typical, seed 1986), 2 drawn" in done.stderr
    assert "  2. dead die: die D2, on the way to the die" in done.stderr
    faults = json.loads(done.stdout)["faults"]
    assert [(fault["kind"], fault["die"]) for fault in faults["list"]] == [("no answer", "D1"), ("dead die", "D2")]
    assert json.loads(labctl("plan", campaign, *WORDS, "--json").stdout)["faults"] == faults


@pytest.mark.slow
def test_what_is_left_of_a_rehearsed_night_goes_on_and_no_fault_happens_twice(labctl, campaign, tmp_path):
    run = tmp_path / "run"
    done = labctl("run", campaign, "--out", run, *WORDS, "--workers", "1", expect=3)
    assert read_state(run).dies["D1"].state is State.INTERRUPTED
    assert "REHEARSAL, AND NO MEASUREMENT" in done.stdout
    labctl("resume", run, expect=1)
    state = read_state(run)
    assert {die.state for die in state.dies.values()} == {State.DONE}
    assert [row.event.number for row in state.events if isinstance(row.event, FaultInjected)] == [1, 2]
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert report["faults"]["happened"] == 2
    assert "with injected faults" in report["body"]
    assert "REHEARSAL, AND NO MEASUREMENT" in (run / "report.html").read_text(encoding="utf-8")
