"""Drivers that other people wrote, installed as theirs would be, on the command line: made safe like ours."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

from instruments.transport import Deadlines
from instruments.visa import VisaTransport
from tests.waiting import PATIENCE

EXAMPLES = Path(__file__).parents[2] / "examples"
BENCH, DIE = EXAMPLES / "bench-two-arrays.yaml", EXAMPLES / "dies" / "ideal-15x15.yaml"
MODULE = """
from instruments.keithley707b import Keithley707B, scheme
from labctl.core.driver import Driver, DriverKind
from labctl.core.model import Model


class Options(Model):
    fails: str = ""


class Switch:
    def __init__(self, wire, name, fails=""):
        self.inner, self.name, self.fails = Keithley707B(wire, name), name, fails
        self.permit = lambda: None

    def connect(self):
        return self.inner.connect()

    def closed(self):
        if self.fails == "closed":
            raise ZeroDivisionError("no cards in this switch")
        return self.inner.closed()

    def route(self, closed):
        self.inner.permit = self.permit
        if self.fails == "route":
            raise ZeroDivisionError("no cards in this switch")
        self.inner.route(closed)

    def close(self):
        self.inner.close()


DRIVER = Driver(
    DriverKind.MATRIX,
    lambda name, options, wire: Switch(wire, name, options.fails),
    Options,
    scheme=lambda options: scheme("707B"),
)
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that installs a distribution of one module where Python looks first."""

    def install(module, text, group, entry):
        site = tmp_path / "site"
        info = site / f"{module}-1.0.dist-info"
        info.mkdir(parents=True)
        (site / f"{module}.py").write_text(text)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module.replace('_', '-')}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{module} = {module}:{entry}\n")
        monkeypatch.setenv("PYTHONPATH", str(site), prepend=":")

    return install


@pytest.fixture
def stranger(install):
    """Install a distribution with a driver of a matrix."""
    install("lab_switch", MODULE, "labctl.instruments", "DRIVER")


@pytest.fixture
def served(tmp_path):
    """Serve the twin of the example; return a function that writes its bench file, given what the matrix is."""
    process = subprocess.Popen(
        [sys.executable, "-m", "labctl", "twin", BENCH, "--die", DIE, "--needles", "down"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    file = yaml.safe_load(BENCH.read_text())
    for name in file["instruments"]:
        file["instruments"][name]["resource"] = json.loads(process.stdout.readline())["resource"]

    def write(**matrix):
        given = {**file["instruments"]["matrix"], **matrix}
        if "driver" in matrix:
            del given["model"]
        path = tmp_path / "bench.yaml"
        path.write_text(yaml.safe_dump({**file, "instruments": {**file["instruments"], "matrix": given}}))
        return path, given["resource"]

    yield write
    process.send_signal(signal.SIGINT if sys.platform != "win32" else signal.SIGTERM)
    process.communicate(timeout=PATIENCE)


def close_relays(resource):
    wire = VisaTransport(resource, deadlines=Deadlines(query=PATIENCE, setting=PATIENCE))
    assert wire.query('channel.close("1A01,2B04") print(channel.getclose("allslots"))') == "1A01;2B04"
    return wire


def test_a_strangers_matrix_is_opened_by_off_and_said_to_be_so(labctl_process, stranger, served):
    bench, resource = served(driver="lab_switch")
    wire = close_relays(resource)
    done = labctl_process("off", bench, "--json")
    assert "matrix: relays verified open" in json.loads(done.stdout)["text"]
    assert wire.query('print(channel.getclose("allslots"))') == "nil"
    wire.close()
    labctl_process("off", "--release", bench)
    assert json.loads(labctl_process("check", bench, "--json").stdout)["exit"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("fails", ["closed", "route"])
def test_whatever_a_strangers_matrix_raises_is_told_by_its_name_and_nothing_is_called_verified(
    labctl_process, stranger, served, fails, tmp_path
):
    bench, resource = served(driver="lab_switch", fails=fails, patience="1 s")
    close_relays(resource).close()
    done = labctl_process("off", bench, "--json", expect=6)
    answer = json.loads(done.stdout)
    assert answer["safe"] is False
    assert "its driver 'lab_switch', which is not part of this suite, failed" in answer["text"]
    assert "relays verified" not in answer["text"]
    labctl_process("off", "--release", bench)
    done = labctl_process("read", "--bench", bench, "--die", DIE, "--cell", "0,2,7", cwd=tmp_path, expect=6)
    text = " ".join((done.stdout + done.stderr).split())
    assert "ZeroDivisionError: no cards in this switch" in text
    assert "bug of ours" not in text
    assert "Traceback" not in text


def test_a_typing_error_in_an_option_of_a_strangers_driver_is_refused_with_its_line(labctl_process, stranger, served):
    bench, _ = served(driver="lab_switch", fials="closed")
    done = labctl_process("check", bench, expect=2)
    text = " ".join((done.stdout + done.stderr).split())
    line = next(n for n, line in enumerate(bench.read_text().splitlines(), 1) if "fials" in line)
    assert f"bench.yaml:{line}: instruments.matrix.fials: found the unknown key 'fials'; did you mean 'fails'?" in text


# -- a whole board


BOARD = (Path(__file__).parent / "strangers" / "lab_board.py").read_text(encoding="utf-8")
LIMITS = {"v_towards_p": "0.7 V", "v_towards_ap": "0.7 V", "width": "10 ms", "compliance": "10 mA"}
START = {"lines": {"row0": 0.0, "col0": 0.0}, "state": [[False] * 3] * 4}


@pytest.fixture
def board(tmp_path, install, monkeypatch):
    """Install a board and write a campaign on it; return a function that writes its bench file."""
    install("lab_board", BOARD, "labctl.bodies", "BOARD")
    monkeypatch.setenv("LABCTL_LOCKS", str(tmp_path / "locks"))
    die = {
        "name": "small",
        "geometry": {"kernels": 1, "n_rows": 4, "n_cols": 3},
        "junction": {"diameter": "80 nm"},
        "simulation": {"ideal": True},
    }
    campaign = {
        "name": "board",
        "dies": [{"name": "A", "file": "die.yaml"}],
        "limits": {**LIMITS, "v_count": "0.35 V", "pulses_per_cell": 100},
        "stages": [{"survey": {}}],
    }
    for name, content in (("die", die), ("campaign", campaign)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
    hardware = tmp_path / "hardware.json"
    hardware.write_text(json.dumps(START))

    def write(limits=LIMITS, **options):
        entry = {"driver": "lab_board", "hardware": str(hardware), "patience": "0 s", **options}
        path = tmp_path / "board.yaml"
        path.write_text(yaml.safe_dump({"name": "lab", "body": entry, "limits": {**limits, "ramp_rate": "1000 V/s"}}))
        return path

    write.hardware = lambda: json.loads(hardware.read_text())
    return write


def said(done):
    return " ".join((done.stdout + done.stderr).split())


@pytest.mark.slow
def test_a_campaign_runs_on_a_strangers_board_behind_the_limits_and_leaves_it_off(labctl_process, board, tmp_path):
    bench = board()
    assert "a board of 1 kernel of 4 x 3" in said(labctl_process("check", bench))
    planned = labctl_process("plan", "campaign.yaml", "--bench", bench, "--json", cwd=tmp_path)
    assert json.loads(planned.stdout)["total"]["pulses"] > 0
    labctl_process("run", "campaign.yaml", "--bench", bench, "--out", "out", cwd=tmp_path)
    assert set(board.hardware()["lines"].values()) == {0.0}
    shown = said(labctl_process("show", "out", cwd=tmp_path))
    assert "400" in shown  # uS of a P cell, to three digits
    with h5py.File(tmp_path / "out" / "dies" / "A.h5") as file:
        (survey,) = [table for name, table in datasets(file).items() if name.endswith("/g_p")]
        np.testing.assert_allclose(np.asarray(survey).ravel()[:12], 4e-4, rtol=0.01)
    manifest = json.loads((tmp_path / "out" / "run.json").read_text())
    assert manifest["real"] is True
    assert "board.yaml" in " ".join(manifest["files"])


def datasets(file):
    found = {}
    file.visititems(lambda name, item: found.update({f"/{name}": item[()]}) if hasattr(item, "dtype") else None)
    return found


@pytest.mark.slow
def test_on_the_twin_a_simulated_die_has_its_place_and_the_plan_says_so(labctl_process, board, tmp_path):
    bench = board()
    words = "board is a simulated die in place of driver 'lab_board'"
    assert words in said(labctl_process("plan", "campaign.yaml", "--bench", bench, "--sim", "bytes", cwd=tmp_path))
    labctl_process("run", "campaign.yaml", "--bench", bench, "--sim", "bytes", "--out", "twin", cwd=tmp_path)
    assert words in json.loads((tmp_path / "twin" / "run.json").read_text())["body"]
    assert board.hardware() == START
    refused = labctl_process("run", "campaign.yaml", "--bench", bench, "--sim", "tcp", cwd=tmp_path, expect=2)
    assert "board: no emulator that can be on a socket; use --sim bytes" in said(refused)


@pytest.mark.parametrize(
    ("limits", "options", "words", "code"),
    [
        ({**LIMITS, "v_towards_ap": "0.3 V"}, {}, "cell voltage towards AP", 2),
        (LIMITS, {"rail": "0.2 V"}, "the board's rail is 0.2 V", 2),
        (LIMITS, {"raill": "0.2 V"}, "body.raill: found the unknown key 'raill'; did you mean 'rail'?", 2),
    ],
)
def test_what_the_bench_file_or_the_board_does_not_allow_is_refused_before_anything_is_driven(
    labctl_process, board, tmp_path, limits, options, words, code
):
    done = labctl_process("run", "campaign.yaml", "--bench", board(limits, **options), cwd=tmp_path, expect=code)
    assert words in said(done)
    assert board.hardware() == START


def test_whatever_a_strangers_board_raises_is_its_own_failure_and_its_lines_are_made_safe(
    labctl_process, board, tmp_path
):
    done = labctl_process(
        "run", "campaign.yaml", "--bench", board(fails="perform"), "--out", "out", cwd=tmp_path, expect=3
    )
    text = said(done)
    assert "its driver 'lab_board', which is not part of this suite, failed in perform(): ZeroDivisionError" in text
    assert "bug of ours" not in text
    assert set(board.hardware()["lines"].values()) == {0.0}


@pytest.mark.slow
def test_off_switches_a_strangers_board_off_and_says_what_was_on(labctl_process, board, tmp_path):
    bench = board()
    (tmp_path / "hardware.json").write_text(json.dumps({**START, "lines": {"row0": 0.3, "col0": 0.0}}))
    refused = labctl_process("run", "campaign.yaml", "--bench", bench, cwd=tmp_path, expect=3)
    assert "bench 'lab' is not at rest: board.row0 is on at 0.3 V" in said(refused)
    done = labctl_process("off", bench, "--json")
    assert json.loads(done.stdout)["text"] == "board: outputs verified off at 0 V"
    assert set(board.hardware()["lines"].values()) == {0.0}
    refused = labctl_process("run", "campaign.yaml", "--bench", bench, cwd=tmp_path, expect=2)
    assert "switched off" in said(refused)
    labctl_process("off", "--release", bench)
    assert json.loads(labctl_process("off", board(fails="off"), "--json", expect=6).stdout)["safe"] is False


def test_a_campaign_of_two_dies_is_refused_on_a_board(labctl_process, board, tmp_path):
    campaign = yaml.safe_load((tmp_path / "campaign.yaml").read_text())
    campaign["dies"].append({"name": "B", "file": "die.yaml"})
    (tmp_path / "campaign.yaml").write_text(yaml.safe_dump(campaign))
    done = labctl_process("run", "campaign.yaml", "--bench", board(), cwd=tmp_path, expect=2)
    assert "2 dies, and the bench 'lab' has no prober to go from one to the next" in said(done)
    assert board.hardware() == START
