"""`labctl report` and `labctl watch` as commands."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import write_night
from tests.waiting import PATIENCE


@pytest.fixture
def run(night: Callable[[str], Path], tmp_path: Path) -> Path:
    return shutil.copytree(night("end"), tmp_path / "run")


def test_a_report_is_written_and_told(labctl: Any, run: Path) -> None:
    done = labctl("report", str(run), "--json")
    said = json.loads(done.stdout)
    assert (said["good"], said["exit_code"], said["page"]) == (1, 4, str(run / "report.html"))
    assert json.loads((run / "report.json").read_text(encoding="utf-8"))["bins"] == said["bins"]
    assert (run / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_report_names_a_die_that_cannot_be_read(labctl: Any, run: Path) -> None:
    sealed = sorted((run / "dies").glob("*.h5"))[0]
    sealed.write_bytes(sealed.read_bytes()[:-100])
    done = labctl("report", str(run), expect=5)
    assert f"report.html is without 1 die: {sealed} has no seal" in done.stderr
    assert (run / "report.html").is_file(), "all else is written"


def test_several_runs_have_one_page_and_their_folders_stay_as_they_are(labctl: Any, run: Path, tmp_path: Path) -> None:
    other, page = write_night(tmp_path / "other"), tmp_path / "both.html"
    before = sorted(path.name for path in run.iterdir())
    summary = json.loads(labctl("report", str(run), str(other), "--out", str(page), "--json").stdout)
    assert ([one["label"] for one in summary["runs"]], summary["unread"]) == (["A", "B"], [])
    assert "no die changed its bin" in summary["text"]
    assert sorted(path.name for path in run.iterdir()) == before
    copy = shutil.copytree(run, tmp_path / "copy")
    assert "are the same run" in labctl("report", str(run), str(copy), "--out", "p.html", expect=2).stderr
    assert "expected --out PAGE" in labctl("report", str(run), str(other), expect=2).stderr
    assert "there is one" in labctl("report", str(run), "--out", "page.html", expect=2).stderr
    (other / "journal.db").unlink()
    done = labctl("report", str(run), str(other), "--out", str(tmp_path / "one.html"), expect=5)
    assert "one.html is without 1 run" in done.stderr
    assert (tmp_path / "one.html").is_file()


def test_the_same_without_the_rest_of_the_suite(run: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "labctl.report", str(run)], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, str(run / "report.html")), done.stderr


def test_a_run_that_ended_is_watched_once(labctl: Any, run: Path) -> None:
    done = labctl("watch", str(run))
    assert "4 of 6 dies done" in done.stdout
    assert json.loads(labctl("watch", str(run), "--json").stdout)["total"] == 6


@pytest.mark.parametrize(
    "command",
    [
        "watch RUN",
        "report RUN",
        "show RUN",
        "show RUN --die X",
        "stop RUN",
        "skip RUN X",
        "resume RUN",
        "export RUN --csv c",
    ],
)
@pytest.mark.parametrize("there", ["nothing", "a folder", "a folder with dies in it", "a file"])
def test_no_run_is_one_mistake_with_one_code(labctl: Any, tmp_path: Path, command: str, there: str) -> None:
    place = tmp_path / "run"
    if there == "a file":
        place.write_text("name: a\n")
    elif there != "nothing":
        (place / ("dies" if "dies" in there else ".")).mkdir(parents=True)
    done = labctl(*(str(place) if word == "RUN" else word for word in command.split()), expect=2)
    assert f"labctl: refused: {place}: there is no run here; expected" in done.stderr


def test_a_die_that_a_run_does_not_have_is_a_slip_as_well(labctl: Any, run: Path) -> None:
    assert f"refused: {run} has no die 'X'; it has " in labctl("show", str(run), "--die", "X", expect=2).stderr
