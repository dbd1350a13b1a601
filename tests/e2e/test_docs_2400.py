"""docs/one-2400-on-two-needles.md, carried out."""

import json
import re
import shlex

import numpy as np
import pytest

from labctl.storage.results import open_run
from tests.e2e.conftest import ROOT

TEXT = (ROOT / "docs" / "one-2400-on-two-needles.md").read_text(encoding="utf-8")
(BLOCK,) = re.findall(r"<!-- run -->\n```sh\n(.*?)```", TEXT, re.S)


@pytest.fixture(scope="module")
def session(labctl, tmp_path_factory):
    """What each command of the page said, by its first word, and the folder."""
    desk, said = tmp_path_factory.mktemp("desk"), {}
    for line in BLOCK.splitlines():
        program, *words = shlex.split(line, comments=True)
        assert program == "labctl"
        words = [str(ROOT / word) if word.startswith("examples/") else word for word in words]
        done = labctl(*words, cwd=desk)
        said.setdefault(words[0], []).append(" ".join((done.stdout + done.stderr).split()))
    return desk, said


def test_the_session_by_hand_reads_and_writes(session):
    _, said = session
    assert "KEITHLEY INSTRUMENTS INC.,MODEL 2400" in said["check"][0]
    assert "reads AP" in said["read"][0]
    assert "reads P; after 450 mV, 10 ms towards P: verified" in said["pulse"][0]
    assert "verified off at 0 V" in said["off"][0]


@pytest.mark.parametrize("name", ["cell", "cell-over-sockets"])
def test_the_survey_finds_the_junction(session, name):
    desk, _ = session
    survey = open_run(desk / "runs" / name).die("cell").table("survey")
    assert survey["good"][0] == 1
    # 10 ohm um^2 and 120 % on 80 nm, at the read voltage
    np.testing.assert_allclose(1 / survey["g_p"][0], 2387, rtol=0.01)
    np.testing.assert_allclose(survey["g_p"][0] / survey["g_ap"][0], 2.2, rtol=0.02)


def test_sockets_read_what_the_same_process_reads(session):
    desk, _ = session
    here, there = (open_run(desk / "runs" / name).die("cell").table("survey") for name in ("cell", "cell-over-sockets"))
    np.testing.assert_array_equal(here["g_p"], there["g_p"])
    np.testing.assert_array_equal(here["g_ap"], there["g_ap"])


def test_the_report_has_its_figures(session):
    desk, _ = session
    data = json.loads((desk / "runs" / "cell" / "report.json").read_text(encoding="utf-8"))
    assert data["figures"]["tmr"]["on_map"]


def test_every_file_that_the_page_names_is_there():
    for name in re.findall(r"\]\(\.\./(examples/[^)]+)\)", TEXT):
        assert (ROOT / name).exists()
