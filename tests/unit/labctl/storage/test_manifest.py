"""``run.json`` is read in one place: another format, and damage, are named."""

import json
from pathlib import Path

import pytest

from labctl.core.errors import StorageError
from labctl.storage.manifest import FORMAT, run_meta
from labctl.storage.results import open_run


def run(folder: Path, text: str) -> Path:
    (folder / "dies").mkdir()
    (folder / "run.json").write_text(text, encoding="utf-8")
    return folder


def test_a_run_of_this_format_is_read(tmp_path: Path) -> None:
    assert run_meta(tmp_path) == {}
    meta = {"format": FORMAT, "name": "night"}
    assert run_meta(run(tmp_path, json.dumps(meta))) == meta


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", r"run\.json is damaged: .*entry/provenance/run"),
        ("[]", r"run\.json is damaged: expected a mapping"),
        ("{}", rf"is of the format None of run folders, and this labctl reads {FORMAT}"),
        (
            '{"format": 99, "versions": {"mtj-labctl": "9.1"}}',
            r"format 99 .* that made it, 9\.1$",
        ),
    ],
)
def test_another_one_is_refused_by_name(tmp_path: Path, text: str, says: str) -> None:
    folder = run(tmp_path, text)
    with pytest.raises(StorageError, match=says):
        run_meta(folder)
    with pytest.raises(StorageError, match=says):
        open_run(folder)


def test_a_run_of_which_only_the_dies_are_left_is_none_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "dies").mkdir()
    (tmp_path / "dies" / "A.h5").write_bytes(b"")
    with pytest.raises(StorageError, match=r"run\.json is gone, and the run's journal too; every sealed die"):
        open_run(tmp_path)
