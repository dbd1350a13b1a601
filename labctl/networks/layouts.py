"""The ways in which programs store a network of signs, and which of them gives the accuracy that its maker knows.

A layer here makes ``tanh(x w / scale + bias)``, w of +1, 0, -1 in (inputs, outputs). Another program has it transposed,
or with the other sign, adds the bias before it divides, or has it as a row of the weights; every one of these reads
without an error and gives another network. Only the accuracy tells, so it is asked for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from labctl.core.errors import BenchError
from labctl.core.units import FloatArray, IntArray
from labctl.networks.foreign import RawLayer
from labctl.networks.solutions import Solutions
from protocols.chip_readout import Activation


class Orientation(StrEnum):
    """Which axis of the weights are the inputs."""

    IN_OUT = "in-out"
    OUT_IN = "out-in"


class Signs(StrEnum):
    """What a stored number says of a weight: its sign, the opposite one, or 1 for +1 and 0 for -1."""

    PLUS = "plus"
    MINUS = "minus"
    ZERO_ONE = "zero-one"


class Pairs(StrEnum):
    """Where the two cells of a weight are: side by side, or all of the one kind before all of the other."""

    INTERLEAVED = "interleaved"
    BLOCKS = "blocks"


class Bias(StrEnum):
    """Where the bias acts: behind the scale, before it, as the last or first row of the weights; or there is none."""

    AFTER_SCALE = "bias-after-scale"
    BEFORE_SCALE = "bias-before-scale"
    LAST_ROW = "bias-last-row"
    FIRST_ROW = "bias-first-row"
    NONE = "no-bias"


class BiasSign(StrEnum):
    """Whether the bias is added, or is a threshold that is subtracted."""

    ADDED = "bias-added"
    SUBTRACTED = "bias-subtracted"


class Scaling(StrEnum):
    """By what a sum is divided: as the user says, 1, the number of inputs, or its root."""

    GIVEN = "scale-as-given"
    ONE = "scale-1"
    ROOT = "scale-root-inputs"
    INPUTS = "scale-inputs"


class Layout(NamedTuple):
    """One way in which a file is to be understood."""

    orientation: Orientation
    signs: Signs = Signs.PLUS
    pairs: Pairs = Pairs.INTERLEAVED
    bias: Bias = Bias.AFTER_SCALE
    bias_sign: BiasSign = BiasSign.ADDED
    scaling: Scaling = Scaling.GIVEN

    def words(self, *, cells: bool) -> str:
        """Return its words as `--layout` takes them; those that are usual are left out, the orientation never is."""
        usual = Layout(self.orientation)
        pairs = zip(self, usual, strict=True)
        unusual = [str(mine) for mine, other in pairs if mine != other and (cells or not isinstance(mine, Pairs))]
        return ",".join([str(self.orientation), *unusual])


@dataclass(frozen=True, eq=False)
class Network:
    """A network as it is programmed.

    Args:
        signs: per layer (in, out) of -1, 0, 1.
        bias: per layer (out,), behind the scale.
        scale: (K,).
    """

    signs: tuple[FloatArray, ...]
    bias: tuple[FloatArray, ...]
    scale: FloatArray
    activation: Activation
    votes: int

    @property
    def key(self) -> bytes:
        """What makes it another network than others."""
        return b"".join(np.ascontiguousarray(a).tobytes() for a in (*self.signs, *self.bias, self.scale))

    def accuracy(self, x: FloatArray, y: IntArray) -> float:
        """Return the fraction of the samples x (n, in) that are classified as y (n,)."""
        a = x
        for k, (signs, bias) in enumerate(zip(self.signs, self.bias, strict=True)):
            u = a @ signs / self.scale[k] + bias
            a = np.tanh(u)
            if k < len(self.signs) - 1:
                a = self.activation.drive(a)
        last = np.tanh(u.reshape(len(u), self.votes, -1).mean(axis=1))
        return float((last.argmax(axis=1) == y).mean())

    def solutions(self) -> Solutions:
        """Return it as the cells that hold it: a pair P, AP for +1, AP, P for -1, AP, AP for 0."""
        devices = []
        for signs in self.signs:
            cells = np.zeros((1, signs.shape[0], 2 * signs.shape[1]), np.uint8)
            cells[0, :, 0::2], cells[0, :, 1::2] = signs > 0, signs < 0
            devices.append(cells)
        bias = tuple(b[None, :] for b in self.bias)
        return Solutions(np.zeros(1, np.int64), tuple(devices), bias, votes=self.votes)


class Candidate(NamedTuple):
    """A layout, the network that it makes, and its accuracy."""

    layout: Layout
    network: Network
    accuracy: float


def understood(
    layers: Sequence[RawLayer],
    layout: Layout,
    features: int,
    classes: int,
    scale: FloatArray,
    activation: Activation,
) -> Network | str:
    """Return the network that a layout makes of layers, or why it makes none."""
    inputs, signs, biases, scales = features, [], [], []
    for k, layer in enumerate(layers):
        read = _layer(layer, layout, inputs)
        if isinstance(read, str):
            return f"{layer.name}: {read}"
        weight, bias, factor = read
        divisor = {
            Scaling.GIVEN: float(scale[k]),
            Scaling.ONE: 1.0,
            Scaling.ROOT: float(np.sqrt(inputs)),
            Scaling.INPUTS: float(inputs),
        }[layout.scaling]
        before = layout.bias in (Bias.BEFORE_SCALE, Bias.LAST_ROW, Bias.FIRST_ROW)
        bias = bias / divisor if before else bias
        signs.append(weight + 0.0)  # no negative zeros, which are other bytes
        biases.append((-bias if layout.bias_sign is BiasSign.SUBTRACTED else bias) + 0.0)
        scales.append(divisor / factor)
        inputs = weight.shape[1]
    if inputs % classes:
        return f"{inputs} outputs; expected {classes}, one for each class, or a multiple of it"
    return Network(tuple(signs), tuple(biases), np.array(scales), activation, inputs // classes)


def _layer(layer: RawLayer, layout: Layout, inputs: int) -> tuple[FloatArray, FloatArray, float] | str:
    """Return weights (in, out) of -1, 0, 1, bias (out,), and the magnitude of the weights; or why there are none."""
    weight = layer.weight if layout.orientation is Orientation.IN_OUT else layer.weight.T
    row = layout.bias in (Bias.LAST_ROW, Bias.FIRST_ROW)
    if weight.shape[0] != inputs + row:
        return f"{weight.shape[0]} inputs; expected {inputs + row}"
    if layer.cells:
        if weight.shape[1] % 2:
            return f"{weight.shape[1]} cells a row; expected two for each output"
        half = weight.shape[1] // 2
        blocks = layout.pairs is Pairs.BLOCKS
        weight = weight[:, :half] - weight[:, half:] if blocks else weight[:, 0::2] - weight[:, 1::2]
    if layout.signs is Signs.ZERO_ONE:
        if layer.cells or not set(np.unique(weight)) <= {0.0, 1.0}:
            return "other values than 0 and 1"
        weight = 2 * weight - 1
    weight = -weight if layout.signs is Signs.MINUS else weight
    own = weight[-1 if layout.bias is Bias.LAST_ROW else 0] if row else None
    weight = weight[:-1] if layout.bias is Bias.LAST_ROW else weight[1:] if row else weight
    sizes = np.unique(np.abs(weight[weight != 0]))
    factor = float(sizes[0]) if len(sizes) == 1 else 1.0
    if own is not None:
        if layer.bias is not None:
            return "a bias of its own beside that in the weights"
        bias = np.asarray(own, np.float64)
    elif layout.bias is Bias.NONE or layer.bias is None:
        if layout.bias is not Bias.NONE and layer.bias is None:
            return "no bias; expected one"
        bias = np.zeros(weight.shape[1])
    else:
        bias = np.asarray(layer.bias, np.float64)
    if bias.shape != (weight.shape[1],):
        return f"{bias.size} biases; expected {weight.shape[1]}"
    return np.sign(weight), bias, factor


def candidates(
    layers: Sequence[RawLayer],
    x: FloatArray,
    y: IntArray,
    classes: int,
    scale: FloatArray,
    activation: Activation,
) -> Iterator[Candidate]:
    """Yield every layout that fits the shapes, with its accuracy on the samples x (n, in) of the classes y (n,)."""
    cells = any(layer.cells for layer in layers)
    seen: set[bytes] = set()
    for parts in product(Orientation, Signs, Pairs if cells else [Pairs.INTERLEAVED], Bias, BiasSign, Scaling):
        layout = Layout(*parts)
        network = understood(layers, layout, x.shape[1], classes, scale, activation)
        if isinstance(network, str):
            continue
        if network.key not in seen:  # two layouts that make one network are one
            seen.add(network.key)
            yield Candidate(layout, network, network.accuracy(x, y))


def usual(layers: Sequence[RawLayer], features: int) -> Layout:
    """Return the layout that is taken unless another one is asked for, by names and shapes."""
    first = layers[0]
    fits = [first.weight.shape[0] == features, first.weight.shape[1] == features]
    torch = first.name.endswith("weight") and not first.cells
    transposed = torch if all(fits) or not any(fits) else fits[1]
    has_bias = any(layer.bias is not None for layer in layers)
    return Layout(
        Orientation.OUT_IN if transposed else Orientation.IN_OUT, bias=Bias.AFTER_SCALE if has_bias else Bias.NONE
    )


def asked_for(words: Sequence[str], layout: Layout) -> Layout:
    """Return `layout` with the words of `--layout` in it.

    Raises:
        BenchError: a word is none, or two say the same of the file differently.
    """
    kinds = {
        str(member): (name, member)
        for name, kind in zip(Layout._fields, (Orientation, Signs, Pairs, Bias, BiasSign, Scaling), strict=True)
        for member in kind
    }
    for word in words:
        if word not in kinds:
            raise BenchError(f"--layout {word}: expected some of {', '.join(kinds)}")
    chosen: dict[str, Any] = {}
    for word in words:
        name, member = kinds[word]
        if chosen.setdefault(name, member) != member:
            raise BenchError(f"--layout {','.join(words)}: {chosen[name]} and {word} exclude each other; expected one")
    return layout._replace(**chosen)
