"""`labctl report` and `labctl watch` as commands."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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


def test_the_same_without_the_rest_of_the_suite(run: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "labctl.report", str(run)], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, str(run / "report.html")), done.stderr


def test_a_run_that_ended_is_watched_once(labctl: Any, run: Path) -> None:
    done = labctl("watch", str(run))
    assert "4 of 6 dies done" in done.stdout
    assert json.loads(labctl("watch", str(run), "--json").stdout)["total"] == 6


@pytest.mark.parametrize("command", ["watch", "report"])
def test_no_run_is_refused(labctl: Any, tmp_path: Path, command: str) -> None:
    done = labctl(command, str(tmp_path), expect=5)
    assert "there is no run here" in done.stderr
