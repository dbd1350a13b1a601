"""Data sets that networks on dies are trained and tested with: two shipped, one brought by the user.

Wine and digits are small and free (UCI, CC BY 4.0) and ship with the package, so that the first run downloads
nothing. MNIST is taken from a folder of the user and must have the digests of the original: a data set that
is silently another one ruins every comparison.
"""

import csv
import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Collection
from contextlib import suppress
from importlib import resources
from pathlib import Path

import numpy as np

from labctl.core.errors import BenchError
from labctl.core.inputs import InputFiles
from labctl.core.units import FloatArray, IntArray
from labctl.files import DISK
from labctl.files.arrays import numbers, read_npz, whole_numbers
from protocols.samples import Dataset

SHIPPED = ("wine", "digits")
NAMES = (*SHIPPED, "mnist")

# The published split of the Wine data (usnistgov/daffodil-lib, BSD-3-Clause): rows of wine.csv that test.
WINE_TEST = (
    *(0, 4, 9, 12, 17, 25, 27, 32, 37, 41, 61, 67, 68, 71, 84, 88, 101, 102, 107, 109),
    *(120, 123, 128, 133, 138, 150, 154, 156, 163, 170),
)
DIGITS_TEST = 360
MOST_CLASSES = 100_000

# sha256 of the four unpacked files.
MNIST = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
_MNIST_BYTES = 47_040_016
"""Bytes of the largest of them, unpacked."""
MNIST_SOURCE = "https://ossci-datasets.s3.amazonaws.com/mnist/"


def load(name_or_path: str | Path, files: InputFiles = DISK) -> Dataset:
    """Return a data set by its name (`wine`, `digits`, `mnist`) or from a path.

    A path is a folder with the four MNIST files, or an npz file with `x_train`, `y_train`, `x_test`,
    `y_test`. By its name MNIST is searched in the folder LABCTL_DATA and its folder `mnist`.

    Args:
        files: where files are read from.

    Raises:
        BenchError: there is no such data set, or its content is wrong; with where to get it.
    """
    if name_or_path == "wine":
        return _wine(files)
    if name_or_path == "digits":
        return _digits(files)
    if name_or_path == "mnist":
        given = os.environ.get("LABCTL_DATA")
        if not given:
            raise BenchError(f"MNIST does not ship and LABCTL_DATA is not set; expected in it a folder 'mnist' {_GET}")
        folder = Path(given)
        if not folder.is_dir():
            raise BenchError(
                f"LABCTL_DATA names {given}, which is no folder; expected one, in it a folder 'mnist' {_GET}"
            )
        try:
            return _mnist(folder / "mnist" if (folder / "mnist").is_dir() else folder, DISK, files)
        except BenchError as error:
            raise BenchError(f"{error} (LABCTL_DATA names {given})") from error
    path = Path(name_or_path)
    is_folder = exists = False
    with suppress(OSError, ValueError):  # too long for a path, or a character that none can have
        is_folder, exists = files.is_folder(str(path)), files.exists(str(path))
    if is_folder:
        return _mnist(path, files)
    if exists:
        if path.suffix.lower() in _TABLES:
            raise BenchError(f"{path} is a table; expected a data set: {_OWN}")
        return _npz(path, files)
    raise BenchError(f"no data set '{name_or_path}'; expected one of {', '.join(NAMES)}, an npz file or a folder")


_TABLES = (".csv", ".tsv", ".txt", ".dat", ".xls", ".xlsx", ".ods")
"""How names of tables end."""
_OWN = (
    "x_train, (samples, features), y_train, (samples,), x_test and y_test in an npz file, as "
    "numpy.savez(path, x_train=..., ...) writes it"
)
_GET = f"with {', '.join(MNIST)} (.gz or unpacked), from {MNIST_SOURCE}"


def _shipped(name: str, files: InputFiles) -> bytes:
    return files.shipped(f"labctl/data/{name}", resources.files("labctl").joinpath("data", name).read_bytes())


def _wine(files: InputFiles) -> Dataset:
    rows = list(csv.reader(io.StringIO(_shipped("wine.csv", files).decode("ascii"))))[1:]
    table = np.array(rows, dtype=np.float64)
    y, x = table[:, 0].astype(np.int64) - 1, table[:, 1:]
    low, high = x.min(axis=0), x.max(axis=0)
    x = (x - low) / (high - low)
    test = np.isin(np.arange(len(x)), WINE_TEST)
    source = "UCI Machine Learning Repository, Wine, doi 10.24432/C5PC7J, CC BY 4.0; min-max scaled per feature"
    return Dataset(x[~test], y[~test], x[test], y[test], "wine", source)


def _digits(files: InputFiles) -> Dataset:
    with np.load(io.BytesIO(_shipped("digits.npz", files)), allow_pickle=False) as file:
        x, y = file["pixels"] / 16.0, file["digit"].astype(np.int64)
    source = (
        "UCI Machine Learning Repository, Optical Recognition of Handwritten Digits, "
        f"doi 10.24432/C50P49, CC BY 4.0; 8 x 8 pixels over 16, the last {DIGITS_TEST} are the test"
    )
    n = len(x) - DIGITS_TEST
    return Dataset(x[:n], y[:n], x[n:], y[n:], "digits", source)


def _mnist(folder: Path, files: InputFiles, record: InputFiles | None = None) -> Dataset:
    """Return MNIST, read from a folder through `files`; `record`, if given, takes only its digests."""
    train_x, train_y, test_x, test_y = (_idx(folder, name, files, record) for name in MNIST)
    source = "MNIST, Yann LeCun and Corinna Cortes, CC BY-SA 3.0; 28 x 28 pixels over 255"
    return Dataset(
        *(_pixels(train_x), train_y.astype(np.int64), _pixels(test_x), test_y.astype(np.int64)),
        *("mnist", source),
    )


def _pixels(images: IntArray) -> FloatArray:
    # single precision: 0.2 GB instead of 0.4
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)


def _idx(folder: Path, name: str, files: InputFiles, record: InputFiles | None) -> IntArray:
    """Return the array in an IDX file whose digest is right.

    An IDX file is two zero bytes, the type (8: bytes), the number of dimensions, their sizes (big-endian),
    the data.
    """
    packed, plain = folder / f"{name}.gz", folder / name
    try:
        data = files.read(str(plain)) if files.exists(str(plain)) else _unpacked(files.read(str(packed)))
    except FileNotFoundError:
        raise BenchError(f"{folder} has no {name} or {name}.gz; expected a folder {_GET}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise BenchError(
            f"{packed if files.exists(str(packed)) else plain} cannot be read: {error}; get it again {_GET}"
        ) from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != MNIST[name]:
        raise BenchError(f"{folder / name} has the sha256 {digest}, expected {MNIST[name]}; get it again {_GET}")
    if record is not None:
        record.shipped(f"mnist/{name}", data)
    shape = np.frombuffer(data, ">u4", data[3], 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape.astype(np.int64))


def _unpacked(packed: bytes) -> bytes:
    """Return the content of a gz file, cut where it is longer than all files of MNIST: its digest is then another."""
    with gzip.open(io.BytesIO(packed)) as file:
        return file.read(_MNIST_BYTES + 1)


def _npz(path: Path, files: InputFiles) -> Dataset:
    keys = ("x_train", "y_train", "x_test", "y_test")

    def require(there: Collection[str]) -> None:
        for key in keys:
            if key not in there:
                raise BenchError(f"{path} has no '{key}'; expected {', '.join(keys)}")

    arrays = read_npz(path, lambda key: key in keys, files, require)
    samples, classes = {}, {}
    for part in ("train", "test"):
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        if x.ndim != 2 or not x.size:
            raise BenchError(f"{path}: x_{part} is {x.dtype} {x.shape}; expected finite numbers (samples, features)")
        if y.shape != x.shape[:1]:
            raise BenchError(f"{path}: y_{part} is {y.dtype} {y.shape}; expected {len(x)} class numbers from 0")
        samples[part] = numbers(path, f"x_{part}", x, "numbers (samples, features)")
        classes[part] = whole_numbers(path, f"y_{part}", y, MOST_CLASSES - 1, f"{len(x)} class numbers from 0")
    train, test = samples["train"], samples["test"]
    if train.shape[1] != test.shape[1]:
        raise BenchError(
            f"{path}: x_train has {train.shape[1]} features and x_test {test.shape[1]}; expected as many in both"
        )
    return Dataset(train, classes["train"], test, classes["test"], path.name, f"{path}")
