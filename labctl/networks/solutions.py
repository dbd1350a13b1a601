"""Solutions: trained weights as the cells that hold them, many networks of one shape in one npz file.

The keys are those of the published Wine solutions (usnistgov/daffodil-lib), so that theirs and ours load
alike. A weight is a differential pair of cells on adjacent columns, w = cell[2j] - cell[2j+1]; biases stay in
software.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from labctl.core.errors import BenchError, StorageError
from labctl.core.inputs import InputFiles
from labctl.core.units import FloatArray, IntArray
from labctl.files import DISK
from labctl.files.arrays import numbers, read_npz, whole_numbers

_KEY = re.compile(r"fc[0-9]{1,9}_(devices|bias)")
MOST = 2**31 - 1
"""Largest number of a solution."""

CellArray = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Solutions:
    """s networks of L layers.

    Args:
        index: (s,), the name of each solution.
        devices: per layer (s, in, 2 * out), 1 is P.
        bias: per layer (s, out), in units of the neuron's input.
        path: the file they were read from, None if there is none.
        votes: outputs of the last layer per class; their mean decides.
    """

    index: IntArray
    devices: tuple[CellArray, ...]
    bias: tuple[FloatArray, ...]
    path: Path | None = None
    votes: int = 1

    def __len__(self) -> int:
        return len(self.index)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Neurons of each layer, the inputs first: (13, 6, 3)."""
        return (int(self.devices[0].shape[1]), *(int(b.shape[1]) for b in self.bias))

    @property
    def weights(self) -> tuple[FloatArray, ...]:
        """Weights -1, 0, +1 of each layer, (s, in, out)."""
        return tuple(d[:, :, 0::2].astype(np.float64) - d[:, :, 1::2] for d in self.devices)

    def take(self, at: slice | IntArray) -> "Solutions":
        """Return the solutions at the positions `at`, in that order."""
        devices, bias = tuple(d[at] for d in self.devices), tuple(b[at] for b in self.bias)
        return Solutions(self.index[at], devices, bias, self.path, self.votes)

    def forward(self, x: FloatArray, scale: npt.ArrayLike = 1.0) -> FloatArray:
        """Return the (s, n, classes) outputs of the float networks, tanh(x w / scale + bias) layer by layer.

        Args:
            x: (n, in), the same samples for every solution.
            scale: network scale: one number, (L,) per layer, or (s, L) per solution and layer.

        Raises:
            BenchError: the samples or the scale do not fit the networks.
        """
        inputs, layers = self.sizes[0], len(self.devices)
        if x.ndim != 2 or x.shape[1] != inputs:
            raise BenchError(f"samples have the shape {x.shape}; expected (samples, {inputs})")
        try:
            scales = np.broadcast_to(np.asarray(scale, dtype=np.float64), (len(self), layers))
        except ValueError:
            shape = np.shape(scale)
            raise BenchError(
                f"scale has the shape {shape}; expected one, ({layers},) or ({len(self)}, {layers})"
            ) from None
        if not (np.isfinite(scales) & (scales > 0)).all():
            raise BenchError("the network scale is a positive number")
        a: FloatArray = np.broadcast_to(x, (len(self), *x.shape))
        for k, (w, b) in enumerate(zip(self.weights, self.bias, strict=True)):
            u = a @ w / scales[:, k, None, None] + b[:, None, :]
            if k == layers - 1:
                u = u.reshape(*u.shape[:-1], self.votes, -1).mean(axis=-2)
            a = np.tanh(u)
        return a

    def predict(self, x: FloatArray, scale: npt.ArrayLike = 1.0) -> IntArray:
        """Return the (s, n) classes, the largest output of each sample; arguments and errors as `forward`."""
        classes: IntArray = self.forward(x, scale).argmax(axis=-1)
        return classes

    def accuracy(self, x: FloatArray, y: IntArray, scale: npt.ArrayLike = 1.0) -> FloatArray:
        """Return the (s,) fractions of the samples `x` (n, in) that are classified as `y` (n,)."""
        fraction: FloatArray = (self.predict(x, scale) == y).mean(axis=1)
        return fraction


def load(path: str | Path, files: InputFiles = DISK) -> Solutions:
    """Return the solutions in an npz file: `fcK_devices`, `fcK_bias` for K = 1, 2, ..., and `index`.

    `votes` may stand beside them; without it every class has one output. Other keys are ignored: the data may stand
    beside the solutions. `files` is where the file is read from.

    Raises:
        BenchError: naming file, key, what was arrays and what was expected.
    """
    path = Path(path)
    layers = 0

    def require(there: Collection[str]) -> None:
        nonlocal layers
        layers = _layers(path, there)

    wanted = ("index", "votes")
    arrays = read_npz(path, lambda key: key in wanted or _KEY.fullmatch(key) is not None, files, require)
    votes = arrays.pop("votes", np.array(1))
    if votes.shape != ():
        raise BenchError(f"{path}: votes is {votes.dtype} {votes.shape}; expected one whole number")
    votes = whole_numbers(path, "votes", votes, MOST, "the outputs for each class")
    return _checked(
        Solutions(
            arrays["index"],
            tuple(arrays[f"fc{k}_devices"] for k in range(1, layers + 1)),
            tuple(arrays[f"fc{k}_bias"] for k in range(1, layers + 1)),
            path,
            int(votes),
        )
    )


def _layers(path: Path, keys: Collection[str]) -> int:
    """Return the number of layers of a file with these keys; BenchError if one is missing, or belongs to none."""
    layers = max((int(key[2:].split("_")[0]) for key in keys if _KEY.fullmatch(key)), default=0)
    if not layers:
        raise BenchError(f"{path} has no fc1_devices; expected fcK_devices and fcK_bias for K = 1, 2, ..., and index")
    if not 1 <= layers <= 100:
        raise BenchError(f"{path} names layer {layers}; expected layers numbered 1, 2, ..., 100 at most")
    wanted = ["index", *(f"fc{k}_{kind}" for k in range(1, layers + 1) for kind in ("devices", "bias"))]
    for key in wanted:
        if key not in keys:
            raise BenchError(f"{path} has no '{key}'; expected {', '.join(wanted)}")
    if odd := set(keys) - {*wanted, "votes"}:
        raise BenchError(f"{path} has '{min(odd)}'; expected {', '.join(wanted)}")
    return layers


def save(path: str | Path, solutions: Solutions, **beside: npt.ArrayLike) -> None:
    """Write `solutions` to an npz file, with further arrays `beside` them (such as the data).

    Raises:
        BenchError: the shapes do not fit, or a name beside is taken.
        StorageError: the file cannot be written, or is there already: nothing is written over.
    """
    path = Path(path)
    _checked(solutions)
    arrays: dict[str, npt.ArrayLike] = {"index": solutions.index}
    if solutions.votes != 1:
        arrays["votes"] = np.array(solutions.votes)
    for k, (devices, bias) in enumerate(zip(solutions.devices, solutions.bias, strict=True), 1):
        arrays |= {f"fc{k}_devices": devices, f"fc{k}_bias": bias}
    for key in beside:
        if key in arrays or _KEY.fullmatch(key):
            raise BenchError(f"'{key}' is a name of the solutions themselves; expected another name")
    try:
        with path.open("xb") as file:
            np.savez_compressed(file, **arrays, **beside)  # type: ignore[arg-type]
    except FileExistsError:
        raise StorageError(f"{path} exists already; expected a new file, nothing was written over") from None
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}") from error


def _checked(solutions: Solutions) -> Solutions:
    """Return solutions in the types that are computed with; BenchError unless shapes chain, and values are cells and
    finite biases."""
    name = solutions.path or Path("solutions")
    s = len(solutions.index) if solutions.index.ndim == 1 else 0
    if not s:
        raise BenchError(
            f"{name}: index is {solutions.index.dtype} {solutions.index.shape}; expected whole numbers (s,)"
        )
    index = whole_numbers(name, "index", solutions.index, MOST, f"{s} different numbers")
    if len(np.unique(index)) != s:
        raise BenchError(f"{name}: index names a solution twice; expected {s} different numbers")
    if len(solutions.devices) != len(solutions.bias) or not solutions.devices:
        raise BenchError(f"{name}: {len(solutions.devices)} layers of cells and {len(solutions.bias)} of biases")
    inputs: int | None = None
    cells, biases = [], []
    for k, (devices, bias) in enumerate(zip(solutions.devices, solutions.bias, strict=True), 1):
        before = "" if inputs is None else f", in = {inputs} as fc{k - 1} has outputs"
        expected = f"expected ({s}, in, 2 * out) of 0 and 1{before}"
        good = devices.ndim == 3 and devices.shape[0] == s and devices.shape[2] % 2 == 0 and devices.size > 0
        if not good or inputs not in (None, devices.shape[1]):
            raise BenchError(f"{name}: fc{k}_devices has the shape {devices.shape}; {expected}")
        if devices.dtype.kind not in "biuf":
            raise BenchError(f"{name}: fc{k}_devices is {devices.dtype}; {expected}")
        if not (odd := (devices != 0) & (devices != 1)).any():
            cells.append(devices.astype(np.uint8))
        else:
            raise BenchError(
                f"{name}: fc{k}_devices is {devices.dtype} with other values ({devices[odd][0]}); {expected}"
            )
        inputs = devices.shape[2] // 2
        if bias.shape != (s, inputs):
            raise BenchError(f"{name}: fc{k}_bias is {bias.dtype} {bias.shape}; expected numbers ({s}, {inputs})")
        biases.append(numbers(name, f"fc{k}_bias", bias, f"numbers ({s}, {inputs})"))
    if solutions.votes < 1 or biases[-1].shape[1] % solutions.votes:
        raise BenchError(
            f"{name}: {biases[-1].shape[1]} outputs are not {solutions.votes} for each class; expected a multiple of it"
        )
    return Solutions(index, tuple(cells), tuple(biases), solutions.path, solutions.votes)
