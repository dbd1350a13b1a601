"""Arrays from npz files of any source: what is damaged, too large or lies about its size is refused in words."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from labctl.core.errors import BenchError
from labctl.files import Door, arrays
from labctl.files.arrays import read_npz


def header(shape: tuple[int, ...], content: bytes) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return stream.getvalue() + content


def test_only_what_is_wanted_is_read_and_the_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=np.arange(6.0).reshape(2, 3), y=np.array([{}], dtype=object))
    door = Door()
    found = read_npz(path, lambda key: key == "x", door)
    np.testing.assert_array_equal(found["x"], [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]])
    assert list(found) == ["x"]
    assert door.kept == {path: path.read_bytes()}
    with pytest.raises(BenchError, match=r"a\.npz is not a whole npz file of plain arrays: Object arrays"):
        read_npz(path, lambda key: True)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not a whole npz file; expected arrays written by numpy.savez"),
        (header((3, 1 << 45), b"\0" * 24), "is not a whole npz file of plain arrays: "),
        (header((3, 2), b"\0" * 24), "is not a whole npz file of plain arrays: "),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", content)
    if not content:
        path.write_bytes(b"PK no zip")
    with pytest.raises(BenchError, match=says):
        read_npz(path, lambda key: True)


def test_what_unpacks_to_too_much_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, x=np.zeros((1000, 33)))
    assert path.stat().st_size < 2000
    monkeypatch.setattr(arrays, "MAX_BYTES", 100_000)
    with pytest.raises(BenchError, match=r"bomb\.npz has 264,\d+ bytes of arrays; expected 100,000 at most"):
        read_npz(path, lambda key: True)
