"""The one door: what is read through it is kept, each file is read once, and copies stand for the files of then."""

import os
import sys
from pathlib import Path

import pytest

from labctl.files import DISK, Door, current, digest, here, through


def test_what_is_read_is_kept_as_it_was_read_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"\xef\xbb\xbfone\r\n")
    monkeypatch.chdir(tmp_path)
    door = Door()
    assert door.read("a.bin") == door.read(file) == b"\xef\xbb\xbfone\r\n"
    file.write_bytes(b"two")
    assert door.read(file) == b"\xef\xbb\xbfone\r\n"
    assert door.kept == {file: b"\xef\xbb\xbfone\r\n"}
    assert DISK.read("a.bin") == b"two"
    assert not DISK.kept


def test_a_door_to_copies_knows_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "00-a.bin").write_bytes(b"kept")
    (tmp_path / "now.bin").write_bytes(b"new")
    then = tmp_path / "gone" / "a.bin"
    door = Door(tmp_path, {then: tmp_path / "00-a.bin"})
    assert door.read(then) == door.read("gone/a.bin") == b"kept"
    assert door.exists(then)
    assert door.exists("gone")
    assert door.is_folder("gone")
    assert not door.is_folder(then)
    assert not door.exists("now.bin")
    with pytest.raises(FileNotFoundError, match="not read when the run was started"):
        door.read("now.bin")


def test_contents_of_distributions_are_recorded_by_digest() -> None:
    door = Door()
    assert door.shipped("suite/data.csv", b"1,2\n") == b"1,2\n"
    assert (dict(door.digests), dict(door.kept)) == ({"suite/data.csv": digest(b"1,2\n")}, {})


def test_the_door_that_is_open_is_the_current_one(tmp_path: Path) -> None:
    assert current() is DISK
    with through(Door(tmp_path)) as door:
        assert current() is door
        assert here() == tmp_path
    assert here() == Path.cwd()


def test_what_is_no_regular_file_or_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"12345")
    with pytest.raises(OSError, match="5 bytes, more than 4"):
        Door().read(tmp_path / "large", limit=4)
    with pytest.raises(IsADirectoryError, match="a folder"):
        Door().read(tmp_path)
    if sys.platform != "win32":
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(OSError, match="no regular file"):
            Door().read(tmp_path / "pipe")
