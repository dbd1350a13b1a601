"""The ledger while dies are worked on: the twin of a bench taken for real, so that its dies have lives."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
import yaml
from typer.testing import CliRunner

from instruments.bench import Bench
from instruments.open_bench import open_bench
from labctl.cli.stress import register
from labctl.core.bias import Bias
from labctl.core.errors import BenchError, ContactError, StorageError
from labctl.core.exit_codes import Status
from labctl.core.limits import Limits
from labctl.core.operations import Pulse
from labctl.core.site import Site
from labctl.execution.die_job import Job, run_die
from labctl.execution.stop import Stop
from labctl.station.bench_session import OnBench
from labctl.station.bench_setup import on_bench
from labctl.station.simulated import Simulated
from labctl.station.twin import Twin
from labctl.storage.journal import Journal
from labctl.storage.stress_ledger import StressLedger
from protocols.survey import Survey
from sim_backend.description import DieDescription
from sim_backend.die import SimDie

BENCH = {
    "name": "card A",
    "instruments": {
        "smu": {"driver": "keithley2600b", "resource": "1"},
        "smu2": {"driver": "keithley2600b", "resource": "2"},
        "matrix": {"driver": "keithley707b", "resource": "3"},
        "prober": {"driver": "mpi_sentio", "resource": "4", "overtravel_ceiling": "60 um"},
    },
    "wiring": {
        "channels": {"smu.smua": "A", "smu.smub": "B", "smu2.smua": "C", "smu2.smub": "D"},
        "ground": "H",
        "pads": {"r0": "1-01", "r1": "1-02", "c0": "1-03", "c1": "1-04", "c2": "1-05"},
        "kernels": [{"rows": ["r0", "r1"], "cols": ["c0", "c1", "c2"]}],
    },
    "limits": {
        "v_towards_p": "1 V", "v_towards_ap": "1 V", "width": "10 ms", "compliance": "10 mA", "ramp_rate": "1000 V/s",
    },
    "contact": {"structures": [["r0", "c0"]], "touches_per_die": 3, "retouches": 0},
    "twin": {"ideal_instruments": True},
}  # fmt: skip
DIE = {
    "name": "small",
    "geometry": {"kind": "passive", "kernels": 1, "n_rows": 2, "n_cols": 3},
    "junction": {"diameter": "80 nm"},
}
DESCRIPTION = DieDescription.model_validate(DIE, context={"file": True})
SUBJECT = Site("W1-x0y0", DESCRIPTION, 1, wafer="W1")


def body(path):
    bench = Bench.model_validate(BENCH, context={"file": True})
    die = SimDie(DESCRIPTION, seed=1, name="W1-x0y0")
    twin = Twin(bench, {(0, 0, 0): die})
    opened = open_bench(bench, die.nominal, connect=twin.connect, wait=twin.wait)
    return OnBench(bench, opened, twin, StressLedger.open(path))


def limits(most=10**6):
    return Limits(
        v_towards_p=0.9, v_towards_ap=0.9, width=10e-3, compliance=10e-3, v_count=0.3, pulses_per_cell=most
    )  # fmt: skip


def carry_out(folder: Path, ledger: Path, most=10**6, procedures=(Survey(),)):
    job = Job(folder, SUBJECT, limits(most), (), {"real": True}, ledger=ledger)
    with body(ledger) as station:
        return run_die(job, procedures, lambda *message: None, Stop(), station)


def test_two_runs_add_up_and_the_third_is_stopped_by_the_life_of_a_cell(tmp_path):
    ledger = tmp_path / "stress.db"
    assert carry_out(tmp_path / "one", ledger).outcome.exit_code == 0
    with StressLedger.open(ledger) as ledger_now:
        once = ledger_now.life("W1", "W1-x0y0")
        assert once is not None
        assert once.counts.min() > 0
        assert 0.3 < once.positive.max() <= 0.9
        assert 0.3 < once.negative.max() <= 0.9
    assert carry_out(tmp_path / "two", ledger).outcome.exit_code == 0
    with StressLedger.open(ledger) as ledger_now:
        twice = ledger_now.life("W1", "W1-x0y0")
        assert (twice.counts > once.counts).all()
        assert [share.run for share in ledger_now.history("W1", "W1-x0y0")] == ["one", "two"]
        assert ledger_now.touches("W1", "W1-x0y0", "card A") == 2
        assert ledger_now.settle("W1", "W1-x0y0") == []
    most = int(twice.counts.max()) + 1
    stopped = carry_out(tmp_path / "three", ledger, most)
    assert stopped.outcome.exit_code == 3
    assert f"pulses on one cell: {most + 1} pulses asked for, the limit is {most} pulses" in stopped.outcome.reason
    with StressLedger.open(ledger) as ledger_now:
        assert int(ledger_now.life("W1", "W1-x0y0").counts.max()) <= most


def test_touches_of_earlier_runs_use_up_the_quota(tmp_path):
    ledger = tmp_path / "stress.db"
    for _ in range(3):
        with body(ledger) as station:
            station.approach(SUBJECT)
            station.leave()
    with body(ledger) as station:
        with pytest.raises(ContactError, match="its quota of 3 touches is used up"):
            station.approach(SUBJECT)
        assert station.twin.instruments["prober"].state.touches == 0
    with StressLedger.open(ledger) as ledger_now:
        assert ledger_now.touches("W1", "W1-x0y0", "card A") == 3


def test_visits_of_a_golden_die_are_touches_and_pulses_of_that_die(tmp_path):
    ledger = tmp_path / "stress.db"
    visit = replace(SUBJECT, name="W1-x0y0@2")
    job = Job(tmp_path / "one", visit, limits(), (), {"real": True}, ledger=ledger)
    with body(ledger) as station:
        run_die(job, (Survey(),), lambda *message: None, Stop(), station)
    with StressLedger.open(ledger) as ledger_now:
        assert ledger_now.dies() == [("W1", "W1-x0y0")]
        assert ledger_now.touches("W1", "W1-x0y0", "card A") == 1
        assert ledger_now.life("W1", "W1-x0y0").counts.min() > 0


def test_what_a_broken_off_run_did_is_brought_in_by_the_next(tmp_path, monkeypatch):
    ledger = tmp_path / "stress.db"

    def die(*_):
        raise SystemExit("killed")

    with monkeypatch.context() as patched:
        patched.setattr("labctl.execution.run_loop._close", die)
        with pytest.raises(SystemExit):
            carry_out(tmp_path / "one", ledger)
    with StressLedger.open(ledger) as ledger_now:
        assert not ledger_now.life("W1", "W1-x0y0").counts.any()
    before = carry_out(tmp_path / "two", ledger)
    assert before.outcome.exit_code == 0
    with StressLedger.open(ledger) as ledger_now:
        one, two = (share.stress for share in ledger_now.history("W1", "W1-x0y0"))
        assert one.counts.min() > 0
        np.testing.assert_array_equal(ledger_now.life("W1", "W1-x0y0").counts, one.counts + two.counts)


def test_a_run_whose_journal_is_gone_is_told(tmp_path, monkeypatch):
    ledger = tmp_path / "stress.db"
    with monkeypatch.context() as patched:
        patched.setattr("labctl.execution.run_loop._close", lambda *_: (_ for _ in ()).throw(SystemExit("killed")))
        with pytest.raises(SystemExit):
            carry_out(tmp_path / "one", ledger)
    (tmp_path / "one").rename(tmp_path / "elsewhere")
    messages = []
    job = Job(tmp_path / "two", SUBJECT, limits(), (), {"real": True}, ledger=ledger)
    with body(ledger) as station:
        run_die(job, (Survey(),), lambda *message: messages.append(message), Stop(), station)
    alarms = [detail for _, what, detail in messages if what == "alarm"]
    assert alarms == ["nobody knows what one did to this die: the journal is gone"]


def test_a_ledger_that_fails_when_all_is_done_costs_an_alarm_and_nothing_else(tmp_path, monkeypatch):
    ledger, messages = tmp_path / "stress.db", []

    def full(*_):
        raise StorageError("the disk is full")

    monkeypatch.setattr("labctl.storage.stress_ledger.account", full)
    job = Job(tmp_path / "one", SUBJECT, limits(), (), {"real": True}, ledger=ledger)
    with body(ledger) as station:
        result = run_die(job, (Survey(),), lambda *message: messages.append(message), Stop(), station)
    assert result.outcome.exit_code == 0
    assert result.sealed
    assert {d for _, what, d in messages if what == "alarm"} == {
        "the stress ledger is behind, and is brought up when this die is next worked on: the disk is full"
    }
    monkeypatch.undo()
    carry_out(tmp_path / "two", ledger)
    with StressLedger.open(ledger) as kept:
        assert [share.stress.counts.min() > 0 for share in kept.history("W1", "W1-x0y0")] == [True, True]


def test_a_simulated_die_never_comes_into_a_ledger(tmp_path):
    job = Job(tmp_path / "one", SUBJECT, limits(), (), {"real": False}, ledger=tmp_path / "stress.db")
    result = run_die(job, (Survey(),), lambda *message: None, Stop(), Simulated())
    assert result.outcome.status is Status.FAIL
    assert "is the ledger of real dies" in result.outcome.reason


# -- the command


def command(*words):
    app = typer.Typer()
    register(app)

    @app.command()
    def other():
        """A second command, so that the first keeps its name."""

    return CliRunner().invoke(app, ["stress", *map(str, words)])


@pytest.fixture
def lived(tmp_path):
    """Return a ledger with one die: pulses of one run that was broken off, and touches."""
    meta = {
        "die": "W1-x0y0", "wafer": "W1", "real": True, "limits": limits().model_dump(mode="json"),
        "description": DESCRIPTION.model_dump(mode="json"),
    }  # fmt: skip
    row = np.zeros((3, 2))
    row[:, 1] = [0.5, -0.6, 0.1]
    with Journal.create(tmp_path / "night" / "dies" / "W1-x0y0", meta) as journal:
        journal.intend("survey", "pulse", Pulse(Bias(row, np.zeros((3, 3))), 1e-3))
    with StressLedger.open(tmp_path / "stress.db") as ledger:
        ledger.touch("W1", "W1-x0y0", "card A")
        ledger.touch("W1", "W1-x0y0", "card A")
    return tmp_path / "stress.db"


def test_the_command_says_what_a_die_has_been_through(lived, tmp_path):
    assert "W1-x0y0" in command("--ledger", lived).output
    done = command("W1-x0y0", "--ledger", lived, "--account", tmp_path / "night", "--json")
    (die,) = json.loads(done.output)["dies"]
    assert (die["most"], die["at"], die["pulses"]) == (2, [0, 1, 0], 6)
    assert (die["positive"], die["negative"]) == (pytest.approx(0.5), pytest.approx(0.6))
    assert die["touches"] == {"card A": 2}
    assert [run["run"] for run in die["runs"]] == ["night"]
    shown = command("W1-x0y0", "--ledger", lived).output
    assert "night, until" in shown
    assert "2 (card A)" in shown


def test_the_command_finds_the_ledger_of_a_bench(lived, tmp_path, monkeypatch):
    (tmp_path / "bench.yaml").write_text(yaml.safe_dump(BENCH), encoding="utf-8")
    assert "W1-x0y0" in command("--bench", tmp_path / "bench.yaml").output
    monkeypatch.setenv("LABCTL_LEDGER", str(lived))
    assert "W1-x0y0" in command().output
    monkeypatch.delenv("LABCTL_LEDGER")
    assert "whose ledger?" in str(command().exception)
    assert "there is no stress ledger yet" in str(command("--ledger", tmp_path / "none.db").exception)
    assert "has nothing of a die W9" in str(command("W9", "--ledger", lived).exception)
    assert not (tmp_path / "none.db").exists()


def test_a_ledger_in_a_folder_that_is_synchronised_is_refused_before_anything_is_connected(tmp_path, monkeypatch):
    ledger = tmp_path / "Dropbox" / "stress.db"
    ledger.parent.mkdir()
    (ledger.parent / ".dropbox.cache").mkdir()
    monkeypatch.setattr("labctl.station.bench_setup.visa", lambda log: pytest.fail("something was connected"))
    bench = Bench.model_validate(BENCH, context={"file": True})
    with pytest.raises(BenchError, match=r"the stress ledger cannot be .*; name another place with LABCTL_LEDGER"):
        on_bench(bench, [SUBJECT], None, ledger=ledger)
    assert not ledger.exists()
