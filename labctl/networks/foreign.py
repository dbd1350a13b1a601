"""Read the layers of a network that was trained elsewhere: npz and safetensors, never a pickle.

A file names its arrays as its program does: ``fc1.weight`` and ``fc1.bias`` of PyTorch, ``W1`` and ``b1``, or the
arrays of `numpy.savez` without names, in order. What they mean is `labctl.networks.layouts`.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from labctl.core.errors import BenchError
from labctl.core.units import FloatArray
from labctl.files.arrays import numbers, read_npz
from labctl.files.door import DISK
from labctl.files.safetensors import is_safetensors, read_safetensors

_NAMED = re.compile(r"(?P<layer>.*?)[._/]?(?P<kind>weights?|kernel|bias(?:es)?|devices)(?::0)?", re.IGNORECASE)
_SHORT = re.compile(r"(?P<kind>[WwBb])_?(?P<layer>\d+)")
_POSITION = re.compile(r"arr_\d+")
_BESIDE = frozenset({"index", "votes", "scale", "training", "die", "x_train", "y_train", "x_test", "y_test"})
"""Arrays that may stand beside the layers and are no layer."""
_NO_PICKLE = (
    "a pickle, which is a program and never loaded here. Save plain numbers instead, in PyTorch: "
    "numpy.savez('network.npz', **{name: value.numpy() for name, value in model.state_dict().items()}), or "
    "safetensors.torch.save_file(model.state_dict(), 'network.safetensors')"
)


@dataclass(frozen=True, eq=False)
class RawLayer:
    """A layer as its file has it.

    Args:
        weight: (a, b), which of both are the inputs is a matter of layout.
        bias: (out,), None if there is none.
        cells: `weight` are cells, two for each weight, and no weights.
    """

    name: str
    weight: FloatArray
    bias: FloatArray | None
    cells: bool = False


def read_layers(path: Path) -> list[RawLayer]:
    """Return the layers of a network in a file, in order.

    Raises:
        BenchError: it cannot be read, is a pickle, or has something that is no layer of weights and bias.
    """
    arrays = {name: array for name, array in _arrays(path).items() if name not in _BESIDE}
    if all(_POSITION.fullmatch(name) for name in arrays):
        return _checked(path, _by_position(path, arrays))
    layers: dict[str, dict[str, tuple[str, npt.NDArray[Any]]]] = {}
    for name, array in arrays.items():
        match = _SHORT.fullmatch(name) or _NAMED.fullmatch(name)
        if match is None:
            raise BenchError(
                f"{path} has '{name[:60]}', {array.dtype} {array.shape}; expected weights and biases of layers, such "
                "as fc1.weight and fc1.bias: the array makes weighted sums, and what else a network has (batch norm, "
                "convolutions, embeddings) is folded into them before"
            )
        kind = {"k": "w", "d": "d"}.get(match["kind"][0].lower(), match["kind"][0].lower())
        layers.setdefault(match["layer"], {})[kind] = name, array
    names = list(layers)
    if all(re.search(r"\d", name) for name in names):
        names.sort(key=lambda name: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)])
    raw = []
    for name in names:
        of = layers[name]
        if "w" not in of and "d" not in of:
            raise BenchError(f"{path} has {of['b'][0]} and no weights of that layer; expected both")
        key = "d" if "d" in of else "w"
        raw.append((of[key][0], of[key][1], of.get("b"), key == "d"))
    return _checked(path, raw)


def _arrays(path: Path) -> Mapping[str, npt.NDArray[Any]]:
    try:
        content = DISK.read(str(path))
    except OSError as error:
        raise BenchError(
            f"{path} cannot be read: {error.strerror or error}; expected weights, npz or safetensors"
        ) from error
    if content.startswith(b"\x80") or (content.startswith(b"PK") and b"data.pkl" in content[:4096]):
        raise BenchError(f"{path} is {_NO_PICKLE}")
    if is_safetensors(content):
        return read_safetensors(path, content)

    def some(keys: Collection[str]) -> None:
        if not keys:
            raise BenchError(f"{path} has no arrays; expected weights and biases of layers")

    return read_npz(path, lambda key: True, DISK, some)


_Raw = tuple[str, npt.NDArray[Any], tuple[str, npt.NDArray[Any]] | None, bool]


def _by_position(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> list[_Raw]:
    """Return layers of arrays without names: each matrix begins one, and a vector behind it is its bias."""
    raw: list[_Raw] = []
    for name, array in arrays.items():
        if array.ndim == 2:
            raw.append((name, array, None, False))
        elif array.ndim == 1 and raw and raw[-1][2] is None:
            raw[-1] = (raw[-1][0], raw[-1][1], (name, array), False)
        else:
            raise BenchError(
                f"{path}: {name} is {array.dtype} {array.shape}; expected matrices, each with its bias behind"
            )
    return raw


def _checked(path: Path, raw: list[_Raw]) -> list[RawLayer]:
    if not raw:
        raise BenchError(f"{path} has no layer; expected weights and biases, such as fc1.weight and fc1.bias")
    layers = []
    for name, weight, bias, cells in raw:
        if weight.ndim == 3 and len(weight) == 1:
            weight, bias = weight[0], None if bias is None else (bias[0], bias[1].reshape(-1))
        if weight.ndim != 2 or not weight.size:
            more = ", one network: take it out of the file" if weight.ndim == 3 else ""
            raise BenchError(f"{path}: {name} is {weight.dtype} {weight.shape}; expected a matrix{more}")
        values = numbers(path, name, weight.astype(np.uint8) if weight.dtype == bool else weight, "weights")
        vector = None if bias is None else numbers(path, bias[0], bias[1], "biases (out,)")
        if vector is not None and vector.ndim != 1:
            raise BenchError(f"{path}: {bias[0] if bias else ''} has the shape {vector.shape}; expected (out,)")
        layers.append(RawLayer(name, values, vector, cells))
    return layers
