"""Nested values as text with their arrays set aside, and files that are there after a power cut.

Column currents of one night are gigabytes and most bias arrays repeat, so a journal row names its arrays by
their digest: equal ones are stored once, a damaged one is noticed, a view that repeats one row costs one row,
and patterns that select one cell of many (`labctl.storage.deduplicate`) cost their distinct rows and an index.
"""

import errno
import hashlib
import io
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from labctl.core.errors import StorageError

Array = npt.NDArray[Any]
_KINDS = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]


@dataclass(frozen=True)
class Stored:
    """An array that has not been loaded: its digest, and its shape after broadcasting.

    With `index`, the digest of an array of numbers of rows, `digest` is that of the distinct rows.
    """

    digest: str
    shape: tuple[int, ...]
    index: str = ""


Put = Callable[[Array | Stored, tuple[str, ...]], Mapping[str, Any]]


def compact(array: Array) -> Array:
    """Return `array` with length 1 along every axis that it only repeats (zero stride)."""
    axes = zip(array.strides, array.shape, strict=True)
    return array[(..., *(slice(0, 1) if stride == 0 and n > 1 else slice(None) for stride, n in axes))]


def digest_of(array: Array) -> str:
    """Return the sha256 of dtype, shape and bytes of `array`, as hexadecimal digits."""
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(raw(array).data)
    return digest.hexdigest()


def raw(array: Array) -> npt.NDArray[np.uint8]:
    """Return the bytes of `array` in the order of its elements, not copied if it is contiguous."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def check_array(array: Array, name: str) -> None:
    """Raise TypeError unless `array` holds numbers, bools or texts that every file of a run can hold."""
    dtype = array.dtype
    if dtype.kind == "U":
        check_text("".join(array.ravel().tolist()), name)
    elif dtype.kind != "S" and dtype.str[1:] not in _KINDS and dtype.kind != "b":
        raise TypeError(f"{name} is an array of {dtype}; numbers, bools and texts can be stored")


def check_text(text: str, name: str) -> None:
    """Raise TypeError if `text` holds NUL or half a surrogate pair, which no HDF5 file can hold."""
    if "\0" in text or (not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text)):
        raise TypeError(f"{name} holds a NUL or a broken character: {text!r:.80}")


def encode(body: object, put: Put) -> str:
    """Return `body` as JSON text; `put` takes an array and its path, and returns the object that stands for it.

    A body is made of mappings with text keys, sequences, dataclasses (stored as their fields), enums (as
    their value), numpy scalars, numbers, bools, texts, None and arrays. Raises TypeError for anything else.

    >>> encode({"cols": (1, 2), "$": None}, lambda array, path: {})
    '{"cols":[1,2],"$$":null}'
    """

    def plain(value: object, path: tuple[str, ...]) -> Any:
        match value:
            case Enum():
                return plain(value.value, path)
            case None | bool() | int() | float() | str():
                return value.item() if isinstance(value, np.generic) else value
            case np.ndarray() | Stored():
                return put(value, path)
            case np.generic() if not isinstance(item := value.item(), np.generic):
                return plain(item, path)
            case Mapping():
                if odd := [k for k in value if not isinstance(k, str)]:
                    raise TypeError(f"the key {odd[0]!r} of {'.'.join(path) or 'a body'} is no text")
                return {f"${k}" if k.startswith("$") else k: plain(v, (*path, k)) for k, v in value.items()}
            case list() | tuple():
                return [plain(v, (*path, str(k))) for k, v in enumerate(value)]
            case _ if is_dataclass(value):
                return {f.name: plain(getattr(value, f.name), (*path, f.name)) for f in fields(value)}
        raise TypeError(f"{'.'.join(path) or 'a body'} is a {type(value).__name__}, which cannot be stored")

    return json.dumps(plain(body, ()), separators=(",", ":"))


def decode(text: str, get: Callable[[dict[str, Any]], object]) -> Any:
    """Return the body that `encode` turned into `text`; `get` returns the array that an object stands for."""

    def build(mapping: dict[str, Any]) -> object:
        if "$array" in mapping:
            return get(mapping)
        return {k[1:] if k.startswith("$$") else k: v for k, v in mapping.items()}

    return json.loads(text, object_hook=build)


@contextmanager
def storage(path: Path, doing: str) -> Iterator[None]:
    """Turn errors of the system or SQLite about `path` into a StorageError with advice.

    SQLite quotes a damaged description of a table in its message, which Python cannot always decode.
    """
    try:
        yield
    except (OSError, sqlite3.Error, UnicodeDecodeError) as error:
        code = getattr(error, "sqlite_errorname", "") or errno.errorcode.get(getattr(error, "errno", None) or 0, "")
        if code in ("ENOSPC", "EDQUOT", "SQLITE_FULL") or "No space left" in str(error):
            advice = "the disk is full: free some space, nothing that was committed is lost"
        elif code in ("EACCES", "EPERM", "EROFS") or code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")):
            advice = "it may not be opened or written: check the rights of the folder"
        elif isinstance(error, UnicodeDecodeError) or code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            advice = "it is damaged: leave it as it is; 'labctl verify RUN' says what the way back is"
        elif code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            advice = "another program holds it open: close that one"
        elif code == "ENOENT":
            advice = "it is not there: check the path"
        else:
            advice = "the disk or network share fails: check it, and copy the folder elsewhere before going on"
        raise StorageError(f"{path}: cannot {doing} ({error}); {advice}") from error


def sync(fd: int) -> None:
    """Return when the file `fd` is on the disk itself, not in a cache."""
    if sys.platform == "darwin":  # pragma: no cover - macOS only: fsync leaves the data in the drive's cache there
        import fcntl

        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    else:
        os.fsync(fd)


def sync_folder(folder: Path) -> None:
    """Return when the names in `folder` are on the disk; Windows needs no call for that."""
    if os.name == "posix":  # pragma: no branch - Windows has no call that does it
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def save_arrays(folder: Path, arrays: Mapping[str, Array]) -> None:
    """Write each array to `folder`/DIGEST.npy; each is there whole or not at all. Raises StorageError."""
    if not arrays:
        return
    with storage(folder, "write an array"):
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            sync_folder(folder.parent)
    for digest, array in arrays.items():
        path, part = folder / f"{digest}.npy", folder / f"{digest}.npy.part"
        with storage(path, "write an array"):
            # numpy writing to a file itself does not report why it failed
            data = io.BytesIO()
            np.save(data, array, allow_pickle=False)
            with part.open("wb") as file:
                file.write(data.getbuffer())
                file.flush()
                sync(file.fileno())
            os.replace(part, path)
    with storage(folder, "write an array"):
        sync_folder(folder)


def quarantine(run: Path, path: Path) -> Path:
    """Move `path` to ``RUN/quarantine`` under a free name, and return where it is now."""
    folder = run / "quarantine"
    with storage(path, "move a leftover to quarantine"):
        folder.mkdir(exist_ok=True)
        number, target = 0, folder / path.name
        while target.exists():
            number += 1
            target = folder / f"{path.name}.{number}"
        os.rename(path, target)
        sync_folder(folder)
    return target


def leftovers(folder: Path, kept: Collection[str]) -> list[Path]:
    """Return the files of `folder` with none of the arrays `kept`: their writer was killed before its commit."""
    if not folder.is_dir():
        return []
    with storage(folder, "look for leftovers"):
        return sorted(p for p in folder.iterdir() if p.suffix != ".npy" or p.stem not in kept)


def load_array(folder: Path, digest: str) -> Array:
    """Return the array saved as `digest`; the caller compares the digest. Raises StorageError."""
    path = folder / f"{digest}.npy"
    with storage(path, "read an array"):
        try:
            array: Array = np.load(path, allow_pickle=False)
        except (ValueError, EOFError, SyntaxError) as error:
            raise StorageError(f"{path} is cut off or damaged ({error}); only the array it held is lost") from error
    return array
