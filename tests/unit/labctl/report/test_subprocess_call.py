"""A report that cannot be written costs the run nothing but the report."""

import shutil
from collections.abc import Callable
from pathlib import Path

from labctl.report.subprocess_call import report_apart


def test_it_is_written(night: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(night("end"), tmp_path / "run")
    assert report_apart(folder) == ""
    assert (folder / "report.html").is_file()
    assert (folder / "report.json").is_file()


def test_why_it_is_not_is_said(night: Callable[[str], Path], tmp_path: Path) -> None:
    assert "there is no run here" in report_apart(tmp_path)
    assert "timed out" in report_apart(night("end"), patience=0.0)
