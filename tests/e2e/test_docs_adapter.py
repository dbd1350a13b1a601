"""docs/bring-your-driver.md, carried out; a campaign through every adapter ends in the states of our drivers."""

import re
import shlex
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import yaml

from labctl.storage.results import open_run
from tests.e2e.conftest import ROOT

pytestmark = pytest.mark.filterwarnings("ignore")

TEXT = (ROOT / "docs" / "bring-your-driver.md").read_text(encoding="utf-8")
(BLOCK,) = re.findall(r"<!-- run -->\n```sh\n(.*?)```", TEXT, re.S)
FILES = dict(re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", TEXT, re.S))
EXAMPLES = ROOT / "examples"
PM, QC = "pymeasure.instruments.keithley.", "qcodes.instrument_drivers.Keithley."


def needs(library):
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed (extra {library})")


def states(folder):
    """Return conductances of the survey of a run, written P and AP, S."""
    survey = open_run(folder).die("cell").table("survey")
    assert survey["good"][0] == 1
    return np.array([float(np.squeeze(survey[name][0])) for name in ("g_p", "g_ap")])


@pytest.fixture(scope="module")
def session(labctl, tmp_path_factory):
    """What each command of the page said, in order, and the folder."""
    needs("pymeasure")
    desk, said = tmp_path_factory.mktemp("desk"), []
    for line in BLOCK.splitlines():
        program, *words = shlex.split(line, comments=True)
        assert program == "labctl"
        words = [str(ROOT / word) if word.startswith("examples/") else word for word in words]
        done = labctl(*words, cwd=desk)
        said.append(" ".join((done.stdout + done.stderr).split()))
    return desk, said


def test_the_page_checks_plans_and_switches_off(session):
    _, said = session
    assert "smu (pymeasure, GPIB0::24::INSTR): KEITHLEY INSTRUMENTS INC.,MODEL 2400" in said[0]
    assert "survey-one-cell-slowly: 1 die, bench 'PyMeasure's 2400 on two needles'" in said[1]
    assert "smu: outputs verified off at 0 V" in said[-1]


def test_the_object_ends_the_campaign_where_our_driver_ends_it(session):
    desk, _ = session
    theirs, ours = (states(desk / "runs" / name) for name in ("theirs", "ours"))
    np.testing.assert_allclose(theirs, ours, rtol=1e-6)
    # 10 ohm um^2 and 120 % on 80 nm, at the read voltage
    np.testing.assert_allclose(1 / theirs[0], 2387, rtol=0.01)


@pytest.mark.parametrize(
    ("driver", "path", "channel", "sim"),
    [
        ("qcodes", QC + "Keithley2400", "out", "bytes"),
        pytest.param("pymeasure", PM + "Keithley2400", "out", "tcp", marks=pytest.mark.slow),
        pytest.param("pymeasure", PM + "Keithley2450", "out", "tcp", marks=pytest.mark.slow),
        pytest.param("qcodes", QC + "Keithley2450", "out", "tcp", marks=pytest.mark.slow),
        pytest.param("pymeasure", PM + "Keithley2600", "smub", "tcp", marks=pytest.mark.slow),
        pytest.param("qcodes", QC + "Keithley2602B", "smua", "tcp", marks=pytest.mark.slow),
    ],
)
def test_every_class_with_a_map_surveys_and_writes_a_cell(labctl, tmp_path, driver, path, channel, sim):
    needs(driver)
    bench = yaml.safe_load((EXAMPLES / "bench-pymeasure-2400.yaml").read_text(encoding="utf-8"))
    bench["instruments"]["smu"] |= {"driver": driver, "class": path}
    bench["wiring"]["pads"]["top"] = f"smu.{channel}"
    (tmp_path / "bench.yaml").write_text(yaml.safe_dump(bench), encoding="utf-8")
    campaign = EXAMPLES / "survey-one-cell-slowly.yaml"
    labctl("run", campaign, "--bench", tmp_path / "bench.yaml", "--sim", sim, "--out", tmp_path / "run")
    g_p, g_ap = states(tmp_path / "run")
    np.testing.assert_allclose([1 / g_p, g_p / g_ap], [2387, 2.2], rtol=0.02)


def test_a_class_of_ones_own_with_the_statements_of_the_page(labctl, tmp_path, monkeypatch):
    needs("pymeasure")
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_smu", raising=False)
    campaign = EXAMPLES / "survey-one-cell-slowly.yaml"
    labctl("run", campaign, "--bench", tmp_path / "bench.yaml", "--sim", "bytes", "--out", tmp_path / "run")
    g_p, g_ap = states(tmp_path / "run")
    np.testing.assert_allclose([1 / g_p, g_p / g_ap], [2387, 2.2], rtol=0.02)
    broken = FILES["bench.yaml"].replace("level: volts = volts", "level: voltage = volts")
    (tmp_path / "bench.yaml").write_text(broken, encoding="utf-8")
    done = labctl("plan", campaign, "--bench", tmp_path / "bench.yaml", expect=2)
    assert re.search(
        r"bench.yaml:\d+: .*level: voltage is neither an attribute of my_smu.MySmu", done.stderr.replace("\n", " ")
    )
