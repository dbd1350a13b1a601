"""Place a network on a die by its survey without changing its function.

Hidden neurons may stand in any order, and one whose activation is odd may stand with the opposite sign: its incoming
weights and bias negated, its outgoing weights too. A weight 0 may be two cells AP or two cells P. So every hidden
neuron is assigned to the pair of columns on which it does least harm: one linear assignment per hidden layer, of
costs that are the expected squared error of the inputs of the last neurons, from the cells of both layers, as surveyed.
What is a gain and an offset of a neuron does not count: tanh forgives it, and calibration takes it away. Errors of
different neurons are taken to be independent. No label and no gradient is used (permuted rows and flipped signs are
known from resistive memories, arXiv 2512.18459).

A cell of a map is (G written AP, G written P) in units of the mean G_P - G_AP of its layer, so that a pair with the
states a and b has the weight c[0, a] - c[1, b].
"""

from dataclasses import dataclass

import numpy as np
import scipy

from labctl.core.errors import BenchError
from labctl.core.units import BoolArray, FloatArray, IntArray
from protocols.cell_knowledge import CellKnowledge
from protocols.cells import Cells
from protocols.records import Remap
from protocols.settings import ReadSettings
from protocols.weights import Layer, Solution, activate, poll


@dataclass(frozen=True, eq=False)
class LayerMap:
    """The surveyed cells under one layer.

    Args:
        cells: (n_in, n_out, 2, 2), of each pair, cell and state written (AP, P), in units of G_P - G_AP.
        bad: (n_in, n_out), pairs of which a cell is not good.
    """

    cells: FloatArray
    bad: BoolArray

    @property
    def zero(self) -> FloatArray:
        """(n_in, n_out), what is left of a weight 0 in the better of its two ways."""
        both = self._zeros()
        better: FloatArray = np.where(self.zero_as_p, both[..., 1], both[..., 0])
        return better

    @property
    def zero_as_p(self) -> BoolArray:
        """(n_in, n_out), pairs whose two cells are better P than AP for a weight 0."""
        both = np.abs(self._zeros())
        chosen: BoolArray = both[..., 1] < both[..., 0]
        return chosen

    def _zeros(self) -> FloatArray:
        difference: FloatArray = self.cells[..., 0, :] - self.cells[..., 1, :]
        return difference

    def weight(self, devices: BoolArray) -> FloatArray:
        """Return the (n_in, n_out) weights that cells written as `devices` (n_in, 2 n_out) have."""
        pairs = devices.reshape(*self.bad.shape, 2)
        conductance = np.where(pairs, self.cells[..., 1], self.cells[..., 0])
        weight: FloatArray = conductance[..., 0] - conductance[..., 1]
        return weight

    def errors(self, weight: FloatArray) -> FloatArray:
        """Return what the pairs add to weights of -1, 0 and 1, which broadcast against (n_in, n_out)."""
        plus = self.cells[..., 0, 1] - self.cells[..., 1, 0] - 1
        minus = self.cells[..., 0, 0] - self.cells[..., 1, 1] + 1
        error: FloatArray = np.where(weight > 0, plus, np.where(weight < 0, minus, self.zero))
        return error


def layer_map(
    known: CellKnowledge, cells: Cells, shape: tuple[int, int], read: ReadSettings, unit: float, gain: FloatArray
) -> LayerMap:
    """Return the map of the cells of a layer of `shape` (rows, columns).

    Args:
        read: how inference reads them.
        unit: G_P - G_AP of the layer, S.
        gain: (cells,), factors by which cells of kernels of other sizes count.

    Raises:
        BenchError: a cell was not surveyed.
    """
    if not known.surveyed(cells.at).all():
        missing = sorted(set(cells.at[0][~known.surveyed(cells.at)].tolist()))
        raise BenchError(
            f"kernel {missing[0]} was not surveyed; expected a survey stage of the kernels of the network before, for "
            "'remap: survey' and 'subtract'"
        )
    pairs = (shape[0], shape[1] // 2, 2)
    conductance = known.mapped(cells.at, read) * (gain / unit)[:, None]
    bad = ~known.good[cells.at].reshape(pairs)
    return LayerMap(conductance.reshape(*pairs, 2), bad[..., 0] | bad[..., 1])


@dataclass(frozen=True, eq=False)
class Remapped:
    """A solution as it is placed, and where its neurons went.

    Args:
        order: per hidden layer (n,), neuron of the solution at each place; `flipped` likewise, with opposite sign.
        before: rms error of the inputs of the last neurons, beyond gains and offsets of neurons, expected of the
            solution as it was; `after`: as placed.
    """

    solution: Solution
    order: tuple[IntArray, ...]
    flipped: tuple[BoolArray, ...]
    before: float
    after: float

    def record(self) -> Remap:
        """Return the record of it."""
        sizes = [len(order) for order in self.order]
        n = sum(sizes)
        return Remap(
            solution=np.full(n, self.solution.index),
            layer=np.repeat(np.arange(len(sizes)), sizes),
            place=np.concatenate([np.arange(size) for size in (0, *sizes)]),
            neuron=np.concatenate([np.arange(0), *self.order]),
            flipped=np.concatenate([np.zeros(0, np.bool_), *self.flipped]),
            error_before=np.full(n, self.before),
            error_after=np.full(n, self.after),
        )


def remap(solution: Solution, scale: FloatArray, maps: list[LayerMap], x: FloatArray) -> Remapped:
    """Return the solution as it is placed best on the cells of `maps`, one per layer.

    Args:
        scale: (K,), network scale of each layer.
        x: (n, n_in), samples without labels, whose covariance weighs the errors.
    """
    weights = [layer.weight.copy() for layer in solution.layers]
    biases = [layer.bias.copy() for layer in solution.layers]
    order: list[IntArray] = []
    flipped: list[BoolArray] = []
    for k in range(len(weights) - 1):
        chosen, opposite = _assign(k, weights, biases, scale, maps, x, solution.votes)
        order.append(chosen)
        flipped.append(opposite)
        sign = np.where(opposite, -1.0, 1.0)
        weights[k], biases[k] = weights[k][:, chosen] * sign, biases[k][chosen] * sign
        weights[k + 1] = weights[k + 1][chosen] * sign[:, None]
    devices = [_devices(weight, map_) for weight, map_ in zip(weights, maps, strict=True)]
    layers = tuple(Layer(cells, bias) for cells, bias in zip(devices, biases, strict=True))
    placed = Solution(solution.index, layers, solution.votes)
    before, after = (expected_error(one, scale, maps, x) for one in (solution, placed))
    return Remapped(placed, tuple(order), tuple(flipped), before, after)


def _devices(weight: FloatArray, map_: LayerMap) -> BoolArray:
    """Return the (n_in, 2 n_out) cells of weights, each 0 in the better of its two ways."""
    both = (weight == 0) & map_.zero_as_p
    pairs = np.stack([(weight > 0) | both, (weight < 0) | both], axis=-1)
    return pairs.reshape(weight.shape[0], -1)


def _signals(
    weights: list[FloatArray], biases: list[FloatArray], scale: FloatArray, x: FloatArray, votes: int
) -> tuple[list[FloatArray], list[FloatArray]]:
    """Return per layer the covariance (n_in, n_in) of its inputs, and how much an error of each output counts.

    An error of the input of a neuron counts by its square, as it reaches the inputs of the last neurons: through the
    mean square of the slope of tanh, of sign neurons too, as they are trained.
    """
    covariances: list[FloatArray] = []
    slopes: list[FloatArray] = []
    for k, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        centred = x - x.mean(axis=0)
        covariances.append(centred.T @ centred / len(x))
        if k < len(weights) - 1:
            x = activate(x @ weight, scale[k], bias)
            slopes.append(((1 - x**2) ** 2).mean(axis=0))
    counts: list[FloatArray] = [np.ones(len(biases[-1])) / votes**2]
    for k in reversed(range(len(weights) - 1)):
        after = weights[k + 1] / scale[k + 1]
        if k == len(weights) - 2:
            counts.insert(0, slopes[k] * (poll(after, votes) ** 2).sum(axis=1))
        else:
            counts.insert(0, slopes[k] * (after**2 @ counts[0]))
    return covariances, counts


def _scatter(error: FloatArray, weight: FloatArray, covariance: FloatArray) -> FloatArray:
    """Return the (m,) variances of inputs of neurons by errors (n_in, m) of their weights, beyond a gain of each.

    Args:
        weight: (n_in, m) or (n_in, 1).
        covariance: (n_in, n_in), of the inputs of the layer.
    """
    moved = covariance @ error
    power = (weight * (covariance @ weight)).sum(axis=0)
    gain = (weight * moved).sum(axis=0) / np.where(power > 0, power, 1.0)
    scatter: FloatArray = (error * moved).sum(axis=0) - gain**2 * power
    return np.maximum(scatter, 0.0)


def _assign(
    k: int,
    weights: list[FloatArray],
    biases: list[FloatArray],
    scale: FloatArray,
    maps: list[LayerMap],
    x: FloatArray,
    votes: int,
) -> tuple[IntArray, BoolArray]:
    """Return, for each place of hidden layer k, which neuron stands there and whether with the opposite sign."""
    covariances, counts = _signals(weights, biases, scale, x, votes)
    neurons = weights[k].shape[1]
    cost = np.empty((2, neurons, neurons))
    variance = np.diag(covariances[k + 1])
    for s, sign in enumerate((1.0, -1.0)):
        for neuron in range(neurons):
            incoming = sign * weights[k][:, neuron, None]
            scatter = _scatter(maps[k].errors(incoming), incoming, covariances[k])  # (places,)
            outgoing = maps[k + 1].errors(sign * weights[k + 1][neuron])  # (places, n_out)
            cost[s, neuron] = counts[k][neuron] * scatter / scale[k] ** 2
            cost[s, neuron] += variance[neuron] * outgoing**2 @ counts[k + 1] / scale[k + 1] ** 2
    chosen, place = scipy.optimize.linear_sum_assignment(cost.min(axis=0))
    order = np.empty(neurons, np.int64)
    order[place] = chosen
    flipped: BoolArray = cost[1, order, np.arange(neurons)] < cost[0, order, np.arange(neurons)]
    return order, flipped


def expected_error(solution: Solution, scale: FloatArray, maps: list[LayerMap], x: FloatArray) -> float:
    """Return the rms error of the inputs of the last neurons that the cells of `maps` give, to first order.

    Gains and offsets of neurons are left out, as they are of the costs of placement. Arguments as those of `remap`; the
    maps may be of another survey than the solution was placed by.
    """
    weights, biases = [layer.weight for layer in solution.layers], [layer.bias for layer in solution.layers]
    covariances, counts = _signals(weights, biases, scale, x, solution.votes)
    total = 0.0
    for layer, map_, covariance, count, s in zip(solution.layers, maps, covariances, counts, scale, strict=True):
        error = map_.weight(layer.devices) - layer.weight
        total += float(count @ _scatter(error, layer.weight, covariance)) / s**2
    return float(np.sqrt(total * solution.votes / len(biases[-1])))
