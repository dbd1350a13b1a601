"""The one door: what is read through it is kept, each file is read once, and copies stand for the files of then."""

import os
import sys
from pathlib import Path

import pytest

from labctl.core.errors import BenchError
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


@pytest.mark.parametrize(
    "text",
    [
        "# https://hooks.example.org/services/T0/B0/c4n4ry0f7h3\nname: c\n",
        "title: see https://me:c4n4ry0f7h3@192.0.2.1\n",
        "options: {password: c4n4ry0f7h3}\n",
    ],
)
def test_a_file_with_a_secret_is_not_kept(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(f"# first\n{text}")
    door = Door()
    with pytest.raises(
        BenchError, match=r"a\.yaml:2: found .*, expected none: this file is copied into every run"
    ) as refused:
        door.read(path)
    assert "c4n4ry0f7h3" not in str(refused.value)
    assert door.kept == {}
    assert DISK.read(path) == path.read_bytes()  # a bench is switched off whatever stands in its file
    assert Door(copies={path: path}).read(path) == path.read_bytes()  # and a run of before goes on


def test_a_secret_in_utf_16_is_found(tmp_path: Path) -> None:
    path = tmp_path / "m.xml"
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        path.write_bytes("<!-- a map\nhttps://hooks.example.org/c4n4ry0f7h3 --><Map/>".encode(encoding))
        with pytest.raises(BenchError, match=r"m\.xml:2: found the address of a webhook"):
            Door().read(path)


def test_a_file_without_an_end_ends_at_the_limit(tmp_path: Path) -> None:
    if not Path("/proc/self/maps").exists():
        pytest.skip("needs /proc")
    with pytest.raises(OSError, match="more than 100"):
        Door().read("/proc/self/maps", 100)
