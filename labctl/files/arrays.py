"""Plain arrays from npz files of any source: never pickled objects, and every fault in words."""

import io
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from labctl.core.errors import BenchError
from labctl.core.inputs import InputFiles
from labctl.files.door import MAX_BYTES, current


def read_npz(path: Path, wanted: Callable[[str], bool], files: InputFiles | None = None) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of an npz file whose keys are `wanted`; the others are not read.

    Args:
        files: where the file is read from; the door that is open now if left out.

    Raises:
        BenchError: there is no such file, or it is not a whole npz file of plain arrays.
    """
    try:
        content = (files or current()).read(str(path))
    except FileNotFoundError:
        raise BenchError(f"{path}: no such file; expected an npz file") from None
    except OSError as error:
        raise BenchError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        if not zipfile.is_zipfile(io.BytesIO(content)):
            raise BenchError(f"{path} is not a whole npz file; expected arrays written by numpy.savez")
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > MAX_BYTES:
            raise BenchError(f"{path} has {unpacked:,} bytes of arrays; expected {MAX_BYTES:,} at most")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files if wanted(key)}
    except MemoryError:
        raise BenchError(f"{path} is not a whole npz file of plain arrays: an array is larger than the file") from None
    except (ValueError, EOFError, KeyError, NotImplementedError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise BenchError(f"{path} is not a whole npz file of plain arrays: {error}") from error
