"""Arrays from npz files of any source: what is damaged, too large or lies about its size is refused in words."""

import io
import struct
import zipfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

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
    with pytest.raises(BenchError, match=r"a\.npz is not a whole npz file of plain arrays: y holds Python objects"):
        read_npz(path, lambda key: True)


def with_shape(shape: str, content: bytes = b"\0" * 24, kind: str = "'<f8'") -> bytes:
    text = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text + content


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (header((3, 1 << 45), b"\0" * 24), "x has the shape .3, 35184372088832.; expected up to 8 sizes from 0"),
        (header((3, 2), b"\0" * 24), r"x says that it is float64 .3, 2., 48 bytes, and 24 are there"),
        (with_shape("(-3,)"), "x has the shape .-3,.; expected up to 8 sizes"),
        (with_shape("(-1, -3)"), "x has the shape .-1, -3."),
        (with_shape("(3, 1 << 45)"), "x has no header that can be read"),
        (with_shape("(0, 9223372036854775807)", b""), "x has the shape .0, 9223372036854775807."),
        (with_shape("(" + "1, " * 40 + ")", b"\0" * 8), "expected up to 8 sizes"),
        (with_shape("(True, 3)"), "x has the shape .True, 3."),
        (with_shape("(1000000000,)", b"", "'<U0'"), "x is <U0; expected numbers or texts"),
        (with_shape("(3,)", b"\0" * 24, "[('a', '<f8')]"), "expected numbers or texts"),
        (with_shape("(3,)", b"\0" * 24, "'|O'"), "x holds Python objects, which are never loaded"),
        (with_shape("(3,)", b"\0" * 24, "'<M8[s]'"), "expected numbers or texts"),
        (with_shape("(3,)", b"\xff" * 12, "'<U1'"), r"a character beyond U\+10FFFF"),
        (with_shape("(3,)", b"\0\xd8\0\0" * 3, "'<U1'"), r"the character U\+D800; expected printable texts"),
        (with_shape("(3,)", b"\x1b\0\0\0" * 3, "'<U1'"), r"the character U\+001B; expected printable texts"),
        (with_shape("(3L,)"), ""),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", content)
    if not says:  # as Python 2 wrote it; numpy warns, and warnings are errors here
        assert read_npz(path, lambda key: True)["x"].shape == (3,)
        return
    with pytest.raises(BenchError, match=f"a.npz is not a whole npz file of plain arrays: .*{says}"):
        read_npz(path, lambda key: True)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda raw: b"PK no zip", "is not a whole npz file; expected arrays written by numpy.savez"),
        (lambda raw: b"", "is not a whole npz file"),
        (
            lambda raw: b"x,y\n1,2\n",
            "is a table with commas between its cells .CSV.; expected arrays written by numpy.savez",
        ),
        (lambda raw: raw.replace(b"x.npy", b"y.npy"), "has 'y.npy' twice; expected each array once"),
        (lambda raw: field(raw, 8, 1), "x has a password"),
        (lambda raw: field(raw, 10, 99), "x has no header that can be read .NotImplementedError"),
        (lambda raw: field(raw, 24, 1 << 30), "has 1,073,741,\\d+ bytes of arrays; expected 1,073,741,824 at most"),
        (lambda raw: field(raw, 24, 9999), "x says that it is float64 .2, 3., 48 bytes, and 9,\\d+ are there"),
        (lambda raw: raw[:90] + bytes(40) + raw[130:], "x"),
    ],
)
def test_a_directory_that_lies_is_refused(tmp_path: Path, change: Callable[[bytes], bytes], says: str) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=np.ones((2, 3)), y=np.ones(2))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(BenchError, match=f"a.npz.*{says}"):
        read_npz(path, lambda key: True)


def field(raw: bytes, at: int, value: int) -> bytes:
    """Return an archive with another value in a field of the first entry of its directory."""
    place = raw.index(b"PK\x01\x02") + at
    width = 4 if at == 24 else 2
    return raw[:place] + value.to_bytes(width, "little") + raw[place + width :]


def test_ten_thousand_members_are_not_an_array_each(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for k in range(arrays.MAX_MEMBERS + 1):
            archive.writestr(f"{k}.npy", b"")
    with pytest.raises(BenchError, match=r"a.npz has 1,001 members; expected 1,000 at most"):
        read_npz(path, lambda key: False)


@pytest.mark.parametrize(
    "array",
    [
        np.array([0.0, np.nan]),
        np.array([1.0, -np.inf]),
        np.array([1e300]),
        np.array([1 + 1j]),
        np.array([True]),
        np.array(["1"]),
        np.array([b"1"]),
    ],
)
def test_numbers_are_finite_and_of_a_usual_size(array: "np.ndarray[Any, Any]") -> None:
    with pytest.raises(BenchError, match=r"a.npz: x is .*; expected samples, finite and up to 1e\+30"):
        arrays.numbers(Path("a.npz"), "x", array, "samples")


def test_numbers_of_every_kind_become_float64_and_int64() -> None:
    for kind in ("f2", ">f4", "f8", "g", "i1", ">u8"):
        values = arrays.numbers(None, "x", np.array([0, 1, 3], kind), "samples")
        assert (values.dtype, values.tolist()) == (np.float64, [0, 1, 3])
    whole = arrays.whole_numbers(None, "y", np.array([0, 7], ">u8"), 7, "classes")
    assert (whole.dtype, whole.tolist()) == (np.int64, [0, 7])
    for odd in (np.array([-1]), np.array([8]), np.array([2**63], np.uint64), np.array([1.0]), np.array([True])):
        with pytest.raises(BenchError, match=r"arrays: y .*expected classes, whole numbers"):
            arrays.whole_numbers(None, "y", odd, 7, "classes")


def test_what_unpacks_to_too_much_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, x=np.zeros((1000, 33)))
    assert path.stat().st_size < 2000
    monkeypatch.setattr(arrays, "MAX_UNPACKED", 100_000)
    with pytest.raises(BenchError, match=r"bomb\.npz has 264,\d+ bytes of arrays; expected 100,000 at most"):
        read_npz(path, lambda key: True)


def test_keys_are_judged_before_anything_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones(3), y=np.ones(2))
    monkeypatch.setattr("labctl.files.arrays._array", lambda *words: pytest.fail("an array was unpacked"))

    def require(keys: Collection[str]) -> None:
        assert sorted(keys) == ["x"], "of those that are wanted"
        raise BenchError("no z")

    with pytest.raises(BenchError, match="no z"):
        read_npz(tmp_path / "a.npz", lambda key: key in ("x", "z"), require=require)
