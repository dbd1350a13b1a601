"""Drivers that other people wrote, installed as theirs would be, on the command line: made safe like ours."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

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
        self.guard = lambda: None

    def connect(self):
        return self.inner.connect()

    def closed(self):
        if self.fails == "closed":
            raise ZeroDivisionError("no cards in this switch")
        return self.inner.closed()

    def route(self, closed):
        self.inner.guard = self.guard
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
def stranger(tmp_path, monkeypatch):
    """Install a distribution with a driver where Python looks first."""
    site = tmp_path / "site"
    info = site / "lab_switch-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "lab_switch.py").write_text(MODULE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-switch\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[labctl.instruments]\nlab_switch = lab_switch:DRIVER\n")
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=":")


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
    wire = VisaTransport(resource)
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
