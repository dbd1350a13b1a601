"""A stage says what it needs: a stranger's protocol with an input of its own, inputs that change before a resume."""

import json
from pathlib import Path

import numpy as np
import pytest

from labctl.storage.manifest import run_meta
from labctl.storage.results import open_run
from labctl.storage.run_log import Runlog

EXAMPLES = Path(__file__).parents[2] / "examples"
MODULE = '''
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import field_validator

from labctl.core.bias import Bias
from labctl.core.inputs import Input, InputReader
from labctl.core.operations import Sense
from labctl.core.procedure import Procedure
from labctl.core.record import Record
from labctl.core.units import Ampere, Volt


@dataclass(frozen=True)
class Waveform(Input):
    volts: tuple[float, ...]


def read_waveform(path, files):
    return Waveform(tuple(float(line) for line in files.read(path).decode().split()))


WAVEFORM = InputReader(Waveform, read_waveform, "text file with one voltage per line")


@dataclass(frozen=True, eq=False, kw_only=True)
class Step(Record):
    table: ClassVar[str] = "step"

    voltage: Volt
    current: Ampere


class Play(Procedure):
    """Read a cell at every voltage of a file."""

    name: ClassVar[str] = "play"

    waveform: Waveform

    @field_validator("waveform")
    @classmethod
    def _rises(cls, waveform):
        if list(waveform.volts) != sorted(waveform.volts):
            raise ValueError("its voltages do not rise")
        return waveform

    def run(self, die, history):
        for volt in self.waveform.volts:
            row = np.zeros((1, die.geometry.shape[1]))
            row[0, 1] = volt
            bias = Bias(row=row, col=np.zeros((1, die.geometry.shape[2])))
            reading = die.sense(Sense(bias, np.array([[2]]), 1e-3))
            yield Step(voltage=volt, current=float(reading.current[0, 0]))
'''
DIE = """name: small
geometry: {n_rows: 3, n_cols: 4}
junction: {diameter: 80 nm}
"""
CAMPAIGN = """name: waves
seed: 3
dies: [{name: A, file: die.yaml}, {name: B, file: die.yaml}]
limits: {v_towards_p: 700 mV, v_towards_ap: 700 mV, width: 10 ms, compliance: 10 mA, v_count: 350 mV,
         pulses_per_cell: 1000}
stages:
  - survey: {}
  - play: {waveform: in/up.txt}
bins:
  - {bin: seen, hard: 3, when: good > 1 %}
batch:
  stop: {low_yield: {below: 100 %, after: 1}}
"""


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """Return the folder of an installed distribution with a protocol and the reader of its input."""
    site = tmp_path_factory.mktemp("site")
    info = site / "lab_waves-1.0.dist-info"
    info.mkdir()
    (site / "lab_waves.py").write_text(MODULE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-waves\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[labctl.protocols]\nplay = lab_waves:Play\n\n[labctl.inputs]\nwaveform = lab_waves:WAVEFORM\n"
    )
    return site


@pytest.fixture
def folder(tmp_path, stranger, monkeypatch):
    """A folder with a campaign that stops after its first die, seen by commands with the distribution installed."""
    monkeypatch.setenv("PYTHONPATH", str(stranger), prepend=":")
    (tmp_path / "in").mkdir()
    (tmp_path / "die.yaml").write_text(DIE)
    (tmp_path / "in" / "up.txt").write_text("0.02\n0.05\n0.1\n")
    (tmp_path / "waves.yaml").write_text(CAMPAIGN)
    return tmp_path


@pytest.mark.slow
def test_an_input_of_a_stranger_is_kept_and_a_changed_one_is_refused_on_resume(folder, labctl_process):
    run = folder / "run"
    elsewhere = folder / "in"  # relative paths start at the campaign, not here
    labctl_process("run", folder / "waves.yaml", "--out", run, "--workers", "1", cwd=elsewhere, expect=3)
    manifest = json.loads((run / "run.json").read_text())
    (kept,) = [name for name, file in manifest["files"].items() if file["path"] == str(folder / "in" / "up.txt")]
    assert (run / "files" / kept).read_bytes() == b"0.02\n0.05\n0.1\n"
    assert manifest["stages"][1] == {
        "procedure": "play",
        "settings": {},
        "inputs": {"waveform": [manifest["files"][kept]["sha256"]]},
    }
    (folder / "in" / "up.txt").write_text("0.02\n0.03\n0.04\n")
    refused = labctl_process("resume", run, cwd=folder, expect=2)
    assert f"{folder / 'in' / 'up.txt'} has changed" in refused.stderr
    never = "batch.stop.low_yield"
    assert never not in refused.stderr
    (run / "files" / kept).write_text("1\n")
    refused = labctl_process("resume", run, "--accept-changes", cwd=folder, expect=5)
    assert f"{kept} is not the file that the run was started with" in refused.stderr
    (run / "files" / kept).write_bytes(b"0.02\n0.05\n0.1\n")
    labctl_process("resume", run, "--accept-changes", cwd=folder, expect=3)
    steps = {name: open_run(run).die(name).table("step") for name in ("A", "B")}
    for table in steps.values():
        np.testing.assert_allclose(table["voltage"], [0.02, 0.05, 0.1])
        assert np.all(np.diff(table["current"]) > 0)
    page = (run / "report.html").read_text()
    assert kept in page
    assert manifest["files"][kept]["sha256"][:12] in page


def test_what_an_input_is_refused_for_is_exit_code_2(folder, labctl_process):
    (folder / "in" / "up.txt").write_text("0.2\n0.1\n")
    refused = labctl_process("plan", folder / "waves.yaml", cwd=folder, expect=2)
    assert "waves.yaml:8: stages.1.play.waveform: found 'in/up.txt': its voltages do not rise" in refused.stderr
    (folder / "in" / "up.txt").write_text("0.2 V\n")
    refused = labctl_process("plan", folder / "waves.yaml", cwd=folder, expect=2)
    assert "stages.1.play.waveform: " in refused.stderr
    assert "could not convert string to float: 'V'" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_what_was_done_by_hand_is_no_run_to_resume(labctl, tmp_path):
    hand = tmp_path / "hand"
    bench, die = EXAMPLES / "bench-two-arrays.yaml", EXAMPLES / "dies" / "ideal-15x15.yaml"
    command = ("read", "--bench", bench, "--die", die, "--cell", "0,2,7", "--sim", "bytes", "--out", hand)
    labctl(*command, cwd=tmp_path)
    manifest = json.loads((hand / "run.json").read_text())
    assert (manifest["kind"], manifest["stages"], manifest["real"]) == ("by hand", [], False)
    assert sorted(manifest["roles"]) == ["bench", "die"]
    assert {"host", "machine", "cwd", "executable", "set", "sim"} <= manifest.keys()
    refused = labctl("resume", hand, cwd=tmp_path, expect=2)
    assert "cannot be resumed: it was made by hand, has no procedure to go on with" in refused.stderr
    assert "labctl read --bench" in refused.stderr
    for request in ("stop", hand), ("skip", hand, "ideal"):
        words = " ".join(labctl(*request, cwd=tmp_path, expect=2).stderr.split())
        assert "was made by hand and takes no requests" in words
        assert "if it was broken off, give the command again: labctl read --bench" in words
    # killed before its end, and taken up by its guard
    Runlog.create(hand, run_meta(hand)).finish()
    told = labctl("watch", hand, "--json", cwd=tmp_path)
    assert "labctl read --bench" in told.stdout
    assert "labctl resume" not in told.stdout
    assert "made by hand" in labctl("stop", hand, cwd=tmp_path, expect=2).stderr


def test_a_run_of_another_format_is_refused_by_name(labctl, tmp_path, finished):
    run = tmp_path / "old"
    (run / "dies").mkdir(parents=True)
    manifest = json.loads((finished[0] / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**manifest, "format": 1, "versions": {"mtj-labctl": "0.0.9"}}))
    for command in ("show", "resume"):
        refused = labctl(command, run, cwd=tmp_path, expect=5)
        assert "is of the format 1 of run folders, and this labctl reads 2" in refused.stderr
        assert "0.0.9" in refused.stderr
