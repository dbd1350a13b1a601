"""Ternary weights on differential pairs of cells, and the network they make in software.

`w = cell[2j] - cell[2j + 1]`, +1, 0 or -1, on adjacent columns; a layer of `n_in` by `n_out` is a block of
`n_in` by `2 n_out` cells. Forward, each layer: `a = tanh((I[2j] - I[2j+1]) / (scale v_read (G_P - G_AP)) +
bias)`, the biases in software, and the class is the largest output. The largest is taken before the last
tanh: tanh is monotone, so it is the same class, also where tanh saturates at 1. Equal
outputs give the lowest class. Rounding cannot change a prediction of the published Wine solutions: their
closest outputs are 1e-6 apart, and it amounts to 1e-14.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from labctl.core.bias import Geometry
from labctl.core.errors import BenchError
from labctl.core.model import Model
from labctl.core.units import BoolArray, FloatArray, IntArray
from protocols.cells import Cells


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer of a solution.

    Args:
        devices: (n_in, 2 n_out) of 0 and 1, 1 is P.
        bias: (n_out,), added in software.

    Raises:
        BenchError: shapes that do not belong together, or other values.
    """

    devices: BoolArray
    bias: FloatArray

    def __post_init__(self) -> None:
        devices, bias = np.asarray(self.devices), np.asarray(self.bias, np.float64)
        if devices.ndim != 2 or devices.size == 0 or bias.ndim != 1 or devices.shape[1] != 2 * len(bias):
            raise BenchError(
                f"a layer has devices {devices.shape} and bias {bias.shape}; "
                "expected (inputs, 2 x outputs) and (outputs,)"
            )
        if not np.isin(devices, (0, 1)).all():
            raise BenchError("devices of a layer are 0 (AP) or 1 (P), nothing else")
        if not np.isfinite(bias).all():
            raise BenchError("the bias of a layer holds NaN or infinity")
        object.__setattr__(self, "devices", devices.astype(np.bool_))
        object.__setattr__(self, "bias", bias)

    @property
    def weight(self) -> FloatArray:
        """(n_in, n_out) of +1, 0, -1."""
        return self.devices[:, 0::2].astype(np.float64) - self.devices[:, 1::2]


@dataclass(frozen=True, eq=False)
class Solution:
    """One trained set of weights and biases.

    Args:
        index: number of the solution in its file.
        layers: K layers; the outputs of one are the inputs of the next.
        votes: outputs of the last layer per class, see `poll`.

    Raises:
        BenchError: no layer, layers that do not fit each other, or outputs that are no multiple of `votes`.
    """

    index: int
    layers: tuple[Layer, ...]
    votes: int = 1

    def __post_init__(self) -> None:
        if not self.layers:
            raise BenchError(f"solution {self.index} has no layer")
        for k, (before, after) in enumerate(zip(self.layers[:-1], self.layers[1:], strict=True), start=1):
            if len(before.bias) != len(after.devices):
                raise BenchError(
                    f"solution {self.index}: layer {k} has {len(before.bias)} outputs and "
                    f"layer {k + 1} {len(after.devices)} inputs"
                )
        if self.votes < 1 or len(self.layers[-1].bias) % self.votes:
            raise BenchError(
                f"solution {self.index}: {len(self.layers[-1].bias)} outputs are not {self.votes} for each class"
            )

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """(rows, columns) of the block of cells of every layer."""
        return tuple((layer.devices.shape[0], layer.devices.shape[1]) for layer in self.layers)

    @property
    def weights(self) -> tuple[FloatArray, ...]:
        """Per layer (n_in, n_out) of +1, 0, -1; of the last (n_in, classes), its votes polled."""
        return *(layer.weight for layer in self.layers[:-1]), poll(self.layers[-1].weight, self.votes)

    @property
    def biases(self) -> tuple[FloatArray, ...]:
        """Per layer (n_out,); of the last (classes,), its votes polled."""
        return *(layer.bias for layer in self.layers[:-1]), poll(self.layers[-1].bias, self.votes)


class Placement(Model):
    """Where the first cell of a layer lies; the layer extends to higher rows and columns."""

    site: Annotated[int, Field(ge=0, description="what one touch-down of the needles reaches, numbered from 0")] = 0
    kernel: Annotated[int, Field(ge=0, description="array of the die, numbered from 0")] = 0
    row: Annotated[int, Field(ge=0, description="row of the first input")] = 0
    col: Annotated[int, Field(ge=0, description="column of the first output")] = 0

    def cells(self, shape: tuple[int, int]) -> Cells:
        """Return the cells of a block of (rows, columns), row by row, as `Layer.devices.ravel()` has them."""
        return Cells.block(self.kernel, self.row, self.col, shape)


def check_fit(placement: Sequence[Placement], shapes: Sequence[tuple[int, int]], geometry: Geometry) -> None:
    """Raise BenchError unless every layer has a place, on the die, on one site."""
    if len(placement) != len(shapes):
        raise BenchError(f"{len(placement)} places for the {len(shapes)} layers of the network; expected one each")
    if len({p.site for p in placement}) > 1:
        raise BenchError("the layers are placed on several sites; one run reaches one touch-down of the needles")
    for k, (place, (rows, cols)) in enumerate(zip(placement, shapes, strict=True), start=1):
        if place.kernel >= geometry.kernels:
            raise BenchError(f"layer {k} is placed on kernel {place.kernel}; the die has {geometry.kernels} (from 0)")
        if place.row + rows > geometry.n_rows or place.col + cols > geometry.n_cols:
            raise BenchError(
                f"layer {k} of {rows} x {cols} cells does not fit at row {place.row}, column {place.col} "
                f"of a {geometry.n_rows} x {geometry.n_cols} kernel"
            )


def overlap(a: Placement, shape_a: tuple[int, int], b: Placement, shape_b: tuple[int, int]) -> bool:
    """Return whether two blocks of cells share a cell.

    >>> overlap(Placement(), (2, 3), Placement(row=1, col=2), (5, 4))
    True
    >>> overlap(Placement(), (2, 3), Placement(row=2), (5, 4))
    False
    """
    return (
        (a.site, a.kernel) == (b.site, b.kernel)
        and a.row < b.row + shape_b[0]
        and b.row < a.row + shape_a[0]
        and a.col < b.col + shape_b[1]
        and b.col < a.col + shape_a[1]
    )


def phases(placement: Sequence[Placement], shapes: Sequence[tuple[int, int]]) -> tuple[tuple[int, ...], ...]:
    """Return the layers in the groups in which they can be programmed together, in order.

    Layers that overlap are programmed and read one after the other.

    >>> phases([Placement(), Placement(kernel=1)], [(13, 12), (6, 6)])
    ((0, 1),)
    >>> phases([Placement(), Placement()], [(13, 12), (6, 6)])
    ((0,), (1,))
    """
    groups: list[list[int]] = [[]]
    for k in range(len(placement)):
        if any(overlap(placement[k], shapes[k], placement[j], shapes[j]) for j in groups[-1]):
            groups.append([])
        groups[-1].append(k)
    return tuple(tuple(group) for group in groups)


def poll(outputs: FloatArray, votes: int) -> FloatArray:
    """Return the means (..., classes) of outputs (..., votes x classes): output v x classes + c is a vote for class c.

    A short in the column of one output then counts as a part of it only. The mean is taken before the last tanh, so
    that weights, currents and biases may as well be polled before they are used.

    >>> poll(np.array([1.0, 5.0, 2.0, 3.0, 5.0, 4.0]), 2)
    array([2., 5., 3.])
    """
    polled: FloatArray = outputs if votes == 1 else outputs.reshape(*outputs.shape[:-1], votes, -1).mean(axis=-2)
    return polled


def activate(z: FloatArray, scale: FloatArray | float, bias: FloatArray) -> FloatArray:
    """Return tanh(z / scale + bias) of normalised differential currents z, (..., n_out)."""
    return np.tanh(z / scale + bias)


def classify(z: FloatArray, scale: FloatArray | float, bias: FloatArray) -> IntArray:
    """Return the classes (...,) of the normalised differential currents z of the last layer, (..., n_out)."""
    classes: IntArray = np.argmax(z / scale + bias, axis=-1)
    return classes


def float_predictions(solution: Solution, x: FloatArray, scales: Sequence[float] | FloatArray) -> IntArray:
    """Return the classes (n,) that the network in software gives to the inputs x (n, n_in).

    Args:
        scales: network scale of each layer.
    """
    *hidden, last = zip(solution.weights, scales, solution.biases, strict=True)
    for weight, scale, bias in hidden:
        x = activate(x @ weight, scale, bias)
    weight, scale, bias = last
    return classify(x @ weight, scale, bias)
