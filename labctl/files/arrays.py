"""Plain arrays from npz files of any source: never pickled objects, and every fault in words."""

import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from labctl.core.errors import BenchError
from labctl.files.paths import actual


def read_npz(path: Path, wanted: Callable[[str], bool]) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of an npz file whose keys are `wanted`; the others are not read.

    Raises:
        BenchError: there is no such file, or it is not a whole npz file of plain arrays.
    """
    try:
        with actual(path).open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise BenchError(f"{path} is not a whole npz file; expected arrays written by numpy.savez")
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                return {key: arrays[key] for key in arrays.files if wanted(key)}
    except FileNotFoundError:
        raise BenchError(f"{path}: no such file; expected an npz file") from None
    except OSError as error:
        raise BenchError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise BenchError(f"{path} is not a whole npz file of plain arrays: {error}") from error
