"""docs/in-python.md, carried out as one session; ^C and errors end a block safe; what is written is sealed."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import labctl
from labctl.cli.python_run import EndedEarly
from labctl.core.errors import BenchError, LimitError
from labctl.core.outcome import Stopped
from labctl.files import shipped
from protocols.bias import read_bias
from tests.e2e.conftest import ROOT

TEXT = (ROOT / "docs" / "in-python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"<!-- python -->\n```python\n(.*?)```", TEXT, re.S)
SMALL = "name: small\ngeometry: {n_rows: 4, n_cols: 3}\njunction: {diameter: 80 nm, ra: 12 ohm um^2, tmr: 120 %}\n"


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for kind in ("die", "bench", "campaign"):
        shipped.write_file(kind, tmp_path / f"{kind}.yaml")
    (tmp_path / "small.yaml").write_text(SMALL, encoding="utf-8")
    return tmp_path


def sense(die, volts=0.1):
    kernel, row, col = np.zeros(3, int), np.arange(3), np.arange(3)
    return labctl.Sense(read_bias(die.geometry, kernel, row, col, volts), col[:, None], 1e-3)


def test_the_blocks_of_the_page_are_one_session(desk, capsys):
    pytest.importorskip("pandas")
    pytest.importorskip("xarray")
    scope: dict[str, object] = {}
    for block in BLOCKS:
        exec(compile(block, "docs/in-python.md", "exec"), scope)
    printed = capsys.readouterr().out
    assert "440 mV: 5 of 5 cells are in P" in printed
    run = scope["run"]
    assert run.figures["tmr"].shape == (2,)
    assert run.figures.units["r_p"] == "ohm"
    assert (desk / "runs" / "first" / "report.html").is_file()
    assert "<table>" in run._repr_html_()


def test_the_same_seed_and_operations_give_the_same_readings_and_all_is_in_the_run(desk):
    currents = []
    for folder in ("a", "b"):
        with labctl.simulated_die("small.yaml", seed=5, folder=folder) as die:
            currents.append(die.sense(sense(die)).current)
    np.testing.assert_array_equal(*currents)
    (operation,) = labctl.open_run("a").die("die").operations()
    np.testing.assert_array_equal(operation.result["current"], currents[0])
    assert repr(labctl.open_run("a")) == "<run 'python' in a: 1 die>"


def test_what_is_beyond_a_limit_is_refused_and_the_session_is_sealed(desk):
    with labctl.simulated_die("small.yaml", folder="a") as die, pytest.raises(LimitError):
        die.sense(sense(die, 1.5))
    assert (desk / "a" / "dies" / "die.h5").is_file()
    with pytest.raises(BenchError, match="limits: v_towards_p: 'A' is not a unit of V"):
        labctl.simulated_die("small.yaml", limits={"v_towards_p": "7 A"}, folder="b").__enter__()
    assert not (desk / "b").exists()


@pytest.mark.skipif(os.name != "posix", reason="a signal to oneself")
def test_a_first_interrupt_ends_the_block_before_its_next_operation(desk):
    readings = []

    def sweep():
        with labctl.open_bench("bench.yaml", "die.yaml", sim="bytes", folder="a") as die:
            for _ in range(3):
                readings.append(die.sense(sense(die)))
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped):
        sweep()
    assert len(readings) == 1
    events = list(labctl.open_run("a").die("die").events())
    assert "stopped by the operator" in str(events[-1])


def test_a_run_that_is_refused_or_ends_early_is_an_error(desk):
    with pytest.raises(LimitError):
        labctl.run("campaign.yaml", "a", values={"limits.v_towards_p": "300 mV"}, progress=False)
    assert not (desk / "a").exists()
    values = {
        "bins": "[{bin: poor, hard: 4, when: tmr > 0 %}]",
        "batch.stop.low_yield": "{below: 50 %, after: 1}",
        "wafer.change": "{geometry: {n_rows: 4, n_cols: 3}}",
    }
    with pytest.raises(EndedEarly, match="labctl resume b") as ended:
        labctl.run("campaign.yaml", "b", values=values, workers=1, progress=False)
    assert (ended.value.code, ended.value.folder) == (3, Path("b"))
    assert labctl.open_run("b").figures["bin"].tolist() == ["poor"]


def test_a_session_is_made_again_by_its_call(desk, labctl_process):
    with labctl.simulated_die("small.yaml", folder="a") as die:
        die.sense(sense(die))
    done = labctl_process("resume", "a", expect=2)
    assert "in Python: labctl.simulated_die('small.yaml', seed=0)" in done.stderr


def test_what_the_block_raises_is_raised_again_and_is_no_bug_of_ours(desk, labctl_process):
    def fail():
        with labctl.simulated_die("small.yaml", folder="a"):
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        fail()
    assert (desk / "a" / "run.h5").is_file()
    assert "ended by ValueError in the block: mine" in labctl_process("show", "a").stdout


def test_a_script_without_a_guard_is_carried_out_once(desk):
    (desk / "script.py").write_text(
        "import labctl\n"
        "values = {'wafer.change': '{geometry: {n_rows: 4, n_cols: 3}}'}\n"
        "only = ['W02-x1y0', 'W02-x2y0']\n"
        "labctl.run('campaign.yaml', 'a', only=only, values=values, workers=2, progress=False)\n"
        "print('once', __file__)\n"
    )
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("once") == 1
    assert len(labctl.open_run("a").dies) == 2
