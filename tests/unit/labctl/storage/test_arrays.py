"""Files that nobody has committed are told apart from those that a journal keeps, and moved, never deleted."""

from pathlib import Path

import numpy as np
import pytest

from labctl.core.errors import StorageError
from labctl.storage.arrays import digest_of, leftovers, load_array, quarantine, save_arrays


def test_an_array_is_there_whole_under_its_digest(tmp_path: Path) -> None:
    array = np.arange(6.0).reshape(2, 3)
    digest = digest_of(array)
    save_arrays(tmp_path / "a" / "arrays", {})
    assert not (tmp_path / "a").exists()
    save_arrays(tmp_path / "a" / "arrays", {digest: array})
    assert [p.name for p in (tmp_path / "a" / "arrays").iterdir()] == [f"{digest}.npy"]
    np.testing.assert_array_equal(load_array(tmp_path / "a" / "arrays", digest), array)


def test_leftovers_are_what_no_row_keeps(tmp_path: Path) -> None:
    assert leftovers(tmp_path / "arrays", []) == []
    (tmp_path / "arrays").mkdir()
    for name in ("kept.npy", "lost.npy", "kept.npy.part"):
        (tmp_path / "arrays" / name).touch()
    assert [p.name for p in leftovers(tmp_path / "arrays", {"kept"})] == ["kept.npy.part", "lost.npy"]


def test_what_is_put_aside_gets_a_free_name_and_keeps_its_bytes(tmp_path: Path) -> None:
    for number, name in enumerate(["x.npy", "x.npy.1", "x.npy.2"]):
        (tmp_path / "x.npy").write_bytes(bytes([number]))
        assert quarantine(tmp_path, tmp_path / "x.npy") == tmp_path / "quarantine" / name
        assert not (tmp_path / "x.npy").exists()
    assert [(tmp_path / "quarantine" / name).read_bytes() for name in ("x.npy", "x.npy.2")] == [b"\0", b"\2"]
    with pytest.raises(StorageError, match="it is not there"):
        quarantine(tmp_path, tmp_path / "x.npy")


def test_what_could_not_be_done_to_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"gone\.npy: cannot read an array .*it is not there"):
        load_array(tmp_path, "gone")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write an array"):
        save_arrays(tmp_path / "file", {"x": np.zeros(2)})
    with pytest.raises(StorageError, match="cannot move a leftover to quarantine"):
        quarantine(tmp_path, tmp_path / "gone")
