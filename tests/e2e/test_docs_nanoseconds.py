"""docs/nanosecond-pulses.md, carried out."""

import json
import re
import shlex

import numpy as np
import pytest

from labctl.storage.results import open_run
from tests.e2e.conftest import EXAMPLES, ROOT

TEXT = (ROOT / "docs" / "nanosecond-pulses.md").read_text(encoding="utf-8")
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


def test_the_session_by_hand_writes_with_both(session):
    _, said = session
    assert "Agilent Technologies,81160A" in said["check"][0]
    for command in ("check", "plan"):
        assert "95.2% to 99.5% of the level are across 1000 to 10000 ohm" in said[command][0]
    assert "after 520 mV, 50 ns towards P: verified" in said["pulse"][0]
    assert "after 450 mV, 10 ms towards P: verified" in said["pulse"][1]
    assert "pulser: outputs verified off" in said["off"][0]


@pytest.mark.parametrize("name", ["nanoseconds", "nanoseconds-over-sockets"])
def test_the_survey_writes_the_junction_upwards_with_50_ns(session, name):
    desk, _ = session
    die = open_run(desk / "runs" / name).die("cell")
    survey, attempts = die.table("survey"), die.table("attempt")
    assert survey["good"][0] == 1
    np.testing.assert_allclose(survey["g_p"][0] / survey["g_ap"][0], 2.2, rtol=0.02)
    assert set(attempts["width"]) == {50e-9}
    assert attempts.rows > 2
    assert 0.45 < max(attempts["voltage"]) < 0.6
    assert json.loads((desk / "runs" / name / "report.json").read_text(encoding="utf-8"))["figures"]["tmr"]["on_map"]


@pytest.mark.parametrize(
    ("width", "words"),
    [("2 ns", "pulser.out1 by its tee 5e-09 to 1e-06 s"), ("100 us", "smu (2400) makes none shorter than 0.005 s")],
)
def test_what_nothing_makes_is_refused_with_file_and_line(labctl, tmp_path, width, words):
    text = (EXAMPLES / "nanoseconds-one-cell.yaml").read_text(encoding="utf-8")
    text = text.replace("survey: {width: 50 ns", f"survey: {{width: {width}").replace("width: 50 ns\n", "width: 1 ms\n")
    (tmp_path / "dies").mkdir()
    (tmp_path / "dies" / "ideal-1x1.yaml").write_text(
        (EXAMPLES / "dies" / "ideal-1x1.yaml").read_text("utf-8"), "utf-8"
    )
    (tmp_path / "other.yaml").write_text(text, encoding="utf-8")
    done = labctl("plan", tmp_path / "other.yaml", "--bench", EXAMPLES / "bench-2400-81160a.yaml", expect=2)
    said = " ".join(done.stderr.split())
    assert "other.yaml:23: stage survey of die cell: a pulse of" in said
    assert words in said


def test_every_file_that_the_page_names_is_there():
    for name in re.findall(r"\]\(\.\./(examples/[^)]+)\)", TEXT):
        assert (ROOT / name).exists()
