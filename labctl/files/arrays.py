"""Plain arrays from npz files of any source: never pickled objects, and every fault in words.

Directory and headers are judged before anything is unpacked: what an array would take has to be what its member has,
and together no more than `MAX_UNPACKED`. Numbers become the one type in which they are computed with here, and only
then it is asked whether they are what they should be: 65504.5 is finite as a long double, and half a class is no class.
"""

import io
import math
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from labctl.core.errors import BenchError
from labctl.core.inputs import InputFiles
from labctl.core.known_files import what_is
from labctl.core.texts import odd_character
from labctl.core.units import FloatArray, IntArray
from labctl.files.door import current

MAX_UNPACKED = 1 << 30
"""Bytes of all arrays that are wanted of a file."""
MAX_MEMBERS = 1000
LARGEST = 1e30
"""Magnitude beyond which a number of a network or a sample is a slip, and beyond which sums of squares overflow."""
_KINDS = "biufcSU"
_ARRAY = ".npy"
_ENCRYPTED = 1
_VERSIONS = ((1, 0), (2, 0), (3, 0))
_DIMENSIONS = 8
_PIECE = 1 << 20
"""Bytes that are unpacked at once."""
_TEXT = 16 << 20
"""Bytes of an array of texts."""

Array = npt.NDArray[Any]


def read_npz(
    path: Path,
    wanted: Callable[[str], bool],
    files: InputFiles | None = None,
    require: Callable[[Collection[str]], None] = lambda keys: None,
) -> dict[str, Array]:
    """Return the arrays of an npz file whose keys are `wanted`; the others are not read.

    Args:
        files: where the file is read from; the door that is open now if left out.
        require: refuses keys of which one is missing, or one too many, before any array is unpacked.

    Raises:
        BenchError: there is no such file, it is not a whole npz file of plain arrays, or it unpacks to too much.
    """
    try:
        content = (files or current()).read(str(path))
    except FileNotFoundError:
        raise BenchError(f"{path}: no such file; expected an npz file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BenchError(f"{path} cannot be read: {reason}; expected an npz file") from error
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
        members = archive.infolist()
    except Exception as error:  # of whatever type: damaged bytes are all that can be wrong here
        kind = what_is(content)
        found = kind if kind and not content.startswith(b"PK") else _as_text(content) or "not a whole npz file"
        raise BenchError(f"{path} is {found}; expected arrays written by numpy.savez") from error
    if members and not any(member.filename.endswith(_ARRAY) for member in members):
        raise BenchError(f"{path} is {what_is(content)} without arrays; expected arrays written by numpy.savez")
    with archive:
        chosen = _chosen(path, members, wanted)
        require(chosen.keys())
        return {key: _array(path, archive, member, key) for key, member in chosen.items()}


def _as_text(content: bytes) -> str:
    """Return what a text is, with its beginning; "" if it is none.

    >>> _as_text(b"a,b;c" + b"\\n1,2;3"), _as_text(b"PK"), _as_text(bytes([0, 255]))
    ("a text that begins with 'a,b;c'", '', '')
    """
    try:
        first = content[:4096].decode("utf-8-sig", "strict" if len(content) <= 4096 else "ignore").strip()
    except UnicodeDecodeError:
        return ""
    line = first.splitlines()[0][:40] if first else ""
    return "" if not line or content.startswith(b"PK") or odd_character(first) else f"a text that begins with '{line}'"


def numbers(path: Path | None, key: str, array: Array, expected: str) -> FloatArray:
    """Return an array as float64; BenchError if it is no array of real, finite numbers of a usual size.

    Args:
        expected: what it is, for the message.
    """
    with np.errstate(all="ignore"):
        values: FloatArray = array.astype(np.float64) if array.dtype.kind in "fiu" else np.array([np.nan])
    if not (np.abs(values) <= LARGEST).all():  # NaN is not
        worst = values[~(np.abs(values) <= LARGEST)][0]
        contents = (
            array.dtype
            if array.dtype.kind not in "fiu"
            else f"{array.dtype} with {'NaN' if np.isnan(worst) else f'{worst:g}'}"
        )
        raise BenchError(f"{path or 'arrays'}: {key} is {contents}; expected {expected}, finite and up to {LARGEST:g}")
    return values


def whole_numbers(path: Path | None, key: str, array: Array, most: int, expected: str) -> IntArray:
    """Return an array as int64; BenchError if it is no array of whole numbers from 0 to `most`.

    Args:
        expected: what it is, for the message.
    """
    if array.dtype.kind not in "iu":
        raise BenchError(f"{path or 'arrays'}: {key} is {array.dtype}; expected {expected}, whole numbers")
    if array.size and not 0 <= int(array.min()) <= int(array.max()) <= most:
        held = int(array.min()) if int(array.min()) < 0 else int(array.max())
        raise BenchError(f"{path or 'arrays'}: {key} holds {held}; expected {expected}, whole numbers from 0 to {most}")
    return array.astype(np.int64)


def text(path: Path, key: str, array: Array, longest: int = 1_000_000) -> str:
    """Return the one text in an array; BenchError if it is none, or one that no file can hold."""
    if array.dtype.kind != "U" or array.shape != () or array.dtype.itemsize > 4 * longest:
        raise BenchError(f"{path}: {key} is {array.dtype} {array.shape}; expected one text")
    return str(array)


def _chosen(path: Path, members: list[zipfile.ZipInfo], wanted: Callable[[str], bool]) -> dict[str, zipfile.ZipInfo]:
    """Return the members that hold wanted arrays, by key; BenchError if the directory of the archive is odd."""
    if len(members) > MAX_MEMBERS:
        raise BenchError(f"{path} has {len(members):,} members; expected {MAX_MEMBERS:,} at most, an array each")
    names = Counter(member.filename for member in members)
    if twice := next((name for name, number in names.items() if number > 1), None):
        raise BenchError(f"{path} has '{twice[:60]}' twice; expected each array once")
    named = {m.filename.removesuffix(_ARRAY): m for m in members if m.filename.endswith(_ARRAY)}
    chosen = {key: member for key, member in named.items() if wanted(key)}
    if locked := next((key for key, member in chosen.items() if member.flag_bits & _ENCRYPTED), None):
        raise BenchError(f"{path}: {locked} has a password; expected arrays written by numpy.savez")
    unpacked = sum(member.file_size for member in chosen.values())
    if unpacked > MAX_UNPACKED:
        raise BenchError(f"{path} has {unpacked:,} bytes of arrays; expected {MAX_UNPACKED:,} at most")
    return chosen


def _array(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, key: str) -> Array:
    """Return the array in a member; BenchError if its header is not that of a plain array of the member's size."""
    whole = f"{path} is not a whole npz file of plain arrays: {key}"
    try:
        with archive.open(member) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers that Python 2 wrote
            version = np.lib.format.read_magic(file)
            if version not in _VERSIONS:
                raise ValueError(f"version {version} of the format")
            read_header = (
                np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            )
            shape, fortran, kind = read_header(file)
            start = file.tell()
    except Exception as error:  # of whatever type: damaged bytes are all that can be wrong here
        raise BenchError(f"{whole} has no header that can be read ({_short(error)})") from error
    if kind.hasobject:
        raise BenchError(f"{whole} holds Python objects, which are never loaded; expected numbers or texts")
    if kind.kind not in _KINDS or kind.subdtype is not None or not kind.itemsize:
        raise BenchError(f"{whole} is {str(kind)[:60]}; expected numbers or texts")
    if any(type(n) is not int or not 0 <= n <= MAX_UNPACKED for n in shape) or len(shape) > _DIMENSIONS:
        raise BenchError(f"{whole} has the shape {str(shape)[:60]}; expected up to {_DIMENSIONS} sizes from 0")
    size = math.prod(shape) * kind.itemsize
    if start + size != member.file_size:
        raise BenchError(
            f"{whole} says that it is {kind} {shape}, {size:,} bytes, and {member.file_size - start:,} are there"
        )
    array = np.empty(shape, kind, order="F" if fortran else "C")
    held = array.reshape(-1, order="F" if fortran else "C").view(np.uint8)
    at = 0
    try:
        with archive.open(member) as file:
            file.read(start)
            while piece := file.read(_PIECE):  # the last one, which is empty, has the sum of all bytes checked
                held[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
                at += len(piece)
    except Exception as error:  # as above
        raise BenchError(f"{whole} cannot be unpacked ({_short(error)})") from error
    if at != size:
        raise BenchError(f"{whole} ends after {start + at:,} bytes; expected {member.file_size:,}")
    if kind.kind == "U":
        _require_text(whole, array)
    return array


def _require_text(whole: str, array: Array) -> None:
    """Refuse too much text, characters that numpy cannot read as text, and those that no file or terminal holds."""
    if array.nbytes > _TEXT:
        raise BenchError(f"{whole} has {array.nbytes:,} bytes of text; expected {_TEXT:,} at most")
    codes = np.ascontiguousarray(array).reshape(-1).view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
    if codes.size and codes.max() > 0x10FFFF:
        raise BenchError(f"{whole} has a character beyond U+10FFFF; expected texts")
    if odd := odd_character("".join(array.reshape(-1).tolist()).replace("\r\n", "\n")):
        raise BenchError(f"{whole} has the character U+{ord(odd):04X}; expected printable texts")


def _short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:120]}" if lines else type(error).__name__
