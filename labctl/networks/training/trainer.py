"""Train networks epoch by epoch: a state that can be saved and restored, and the best epoch of each seed.

The epoch that is kept is the one in which a network, rounded and on its cells, classifies the judging samples
best (ties: the lower cross-entropy). They are the first training samples, or the last ones that are kept out of
training (`validation`); test samples choose nothing. The same seed
gives the same network on the same machine; another processor may round differently and end in another,
equally good one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from labctl.core.errors import BenchError
from labctl.core.units import FloatArray, IntArray
from labctl.networks.training.engine import build, libraries
from labctl.networks.training.maps import CellArray
from labctl.networks.training.recipe import Recipe
from protocols.weights import activate, poll


@dataclass(frozen=True, eq=False)
class Trained:
    """s networks of K layers.

    Args:
        weights: per layer (s, n_in, n_out) of +1, 0, -1.
        bias: per layer (s, n_out).
        scale: (s, K), the network scale that each layer was trained with.
        accuracy: (s,), on the judging samples and on the cells trained for.
        votes: outputs of the last layer per class.
    """

    weights: tuple[FloatArray, ...]
    bias: tuple[FloatArray, ...]
    scale: FloatArray
    accuracy: FloatArray
    votes: int = 1

    def take(self, at: IntArray) -> "Trained":
        """Return the networks at the positions `at`, in that order."""
        weights, bias = (tuple(a[at] for a in arrays) for arrays in (self.weights, self.bias))
        return Trained(weights, bias, self.scale[at], self.accuracy[at], self.votes)

    @property
    def devices(self) -> tuple[npt.NDArray[np.uint8], ...]:
        """Per layer (s, n_in, 2 n_out) cells, 1 is P; a zero is (AP, AP): no pulse on a surveyed die, least current."""
        return tuple(np.stack([w > 0, w < 0], axis=-1).reshape(*w.shape[:2], -1).astype(np.uint8) for w in self.weights)

    def accuracy_on(
        self, x: FloatArray, y: IntArray, cells: Sequence[CellArray] | None = None, *, sign: bool = False
    ) -> FloatArray:
        """Return the (s,) shares of x (n, n_in) classified as y (n,), in software or on a map of cells.

        Args:
            cells: per layer (n_in, 2 n_out, 2), or (s, n_in, 2 n_out, 2) for a map per network; nominal if left out.
            sign: hidden neurons give their sign.
        """
        accuracy = np.empty(len(self.scale))
        for s in range(len(accuracy)):
            a = x
            for k, (devices, bias) in enumerate(zip(self.devices, self.bias, strict=True)):
                on = devices[s].astype(np.float64)
                if cells is not None:
                    map_ = cells[k] if cells[k].ndim == 3 else cells[k][s]
                    on = np.where(devices[s] > 0, map_[..., 0], map_[..., 1])
                u = a @ (on[:, 0::2] - on[:, 1::2]) / self.scale[s, k] + bias[s]
                a = u if k == len(self.bias) - 1 else np.where(u >= 0, 1.0, -1.0) if sign else activate(u, 1.0, 0 * u)
            accuracy[s] = (poll(a, self.votes).argmax(axis=-1) == y).mean()
        return accuracy


class Trainer:
    """Trains one network per seed on the samples x (n, n_in) within -1 to 1 of classes y (n,).

    Args:
        cells: maps to train for, per layer (seeds, n_in, 2 n_out, 2), one for each seed (hardware-aware).
        population: (m, 2) cells that fresh maps are drawn from (statistics-aware). With neither, all cells are
            nominal (baseline).

    Raises:
        BenchError: what is given does not fit the recipe, or JAX is not installed.
    """

    def __init__(
        self,
        recipe: Recipe,
        x: FloatArray,
        y: IntArray,
        seeds: IntArray,
        *,
        cells: Sequence[CellArray] | None = None,
        population: CellArray | None = None,
    ) -> None:
        if x.ndim != 2 or x.shape[1] != recipe.sizes[0] or y.shape != (len(x),):
            raise BenchError(
                f"samples are {x.shape} and classes {y.shape}; expected (samples, {recipe.sizes[0]}) and (samples,)"
            )
        if y.min() < 0 or y.max() >= recipe.classes:
            raise BenchError(f"there are classes {y.min()} to {y.max()}; the network has {recipe.classes}")
        if cells is not None and population is not None:
            raise BenchError("networks are trained for given maps or for a population of cells, not for both")
        if cells is not None:
            expected = [(len(seeds), *shape, 2) for shape in recipe.shapes]
            if [c.shape for c in cells] != expected:
                raise BenchError(f"the maps have the shapes {[c.shape for c in cells]}; expected {expected}")
        if recipe.validation >= len(x):
            raise BenchError(f"{recipe.validation} validation samples of {len(x)}; expected fewer, so that some train")
        if recipe.validation:
            x, y, judged = (
                x[: -recipe.validation],
                y[: -recipe.validation],
                (x[-recipe.validation :], y[-recipe.validation :]),
            )
        else:
            judged = x[: recipe.judged_on], y[: recipe.judged_on]
        self.recipe, self.epoch = recipe, 0
        self._jax, _ = libraries()
        source = "fixed" if cells is not None else "drawn" if population is not None else "ideal"
        self._engine = build(recipe, len(x), source)
        number = self._jax.numpy.asarray
        self._x, self._y = number(x, dtype=np.float32), number(y, dtype=np.int32)
        self._judging = number(judged[0], dtype=np.float32), number(judged[1], dtype=np.int32)
        self._seeds = number(seeds, dtype=np.uint32)
        self._cells = self._judged = None
        if cells is not None:
            self._cells = self._judged = [number(c, dtype=np.float32) for c in cells]
        elif population is not None:
            self._cells = number(population, dtype=np.float32)
            rng = np.random.default_rng(0)
            drawn = [rng.integers(0, len(population), (recipe.judged_maps, *shape)) for shape in recipe.shapes]
            self._judged = [number(population[index], dtype=np.float32) for index in drawn]
        self._state = self._engine.start(self._seeds)
        self._score: FloatArray = np.full((len(seeds), 2), -np.inf)
        self._best = self._networks()

    def _networks(self) -> list[FloatArray]:
        """Return weights, biases and scales of all layers as they are now, each with its axis of seeds."""
        values = self._state["values"]
        arrays = [*self._engine.rounded(self._state), *values["bias"], *map(self._jax.numpy.exp, values["log_scale"])]
        return [np.array(a, np.float64) for a in arrays]

    def step(self) -> FloatArray:
        """Train one epoch; return the (seeds,) accuracies on the judging samples after it."""
        number = self._jax.numpy.uint32(self.epoch)
        self._state = self._engine.epoch(self._state, self._seeds, number, self._x, self._y, self._cells)
        self.epoch += 1
        score = np.array(self._engine.judge(self._state, *self._judging, self._judged), np.float64)
        better = (score[:, 0] > self._score[:, 0]) | (
            (score[:, 0] == self._score[:, 0]) & (score[:, 1] > self._score[:, 1])
        )
        if better.any():
            for kept, now in zip(self._best, self._networks(), strict=True):
                kept[better] = now[better]
            self._score[better] = score[better]
        accuracy: FloatArray = score[:, 0]
        return accuracy

    def state(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return all that is needed to go on from here, as arrays by name."""
        leaves = self._jax.tree_util.tree_leaves(self._state)
        return {
            "epoch": np.array(self.epoch),
            "score": self._score,
            **{f"best_{k:03}": a for k, a in enumerate(self._best)},
            **{f"state_{k:03}": np.asarray(a) for k, a in enumerate(leaves)},
        }

    def restore(self, state: dict[str, npt.NDArray[np.generic]]) -> None:
        """Go on from a `state` of the same recipe, samples, seeds and cells; BenchError if its arrays do not fit."""
        mine = self.state()
        for name, array in mine.items():
            if name not in state or state[name].shape != array.shape:
                shape_there = "none" if name not in state else str(state[name].shape)
                raise BenchError(
                    f"the checkpoint is of another training: '{name}' is {shape_there}, expected {array.shape}"
                )
        tree = self._jax.tree_util
        leaves, shape = tree.tree_flatten(self._state)
        given = [self._jax.numpy.asarray(state[f"state_{k:03}"]) for k in range(len(leaves))]
        self._state = tree.tree_unflatten(shape, given)
        self.epoch = int(state["epoch"])
        self._score = np.array(state["score"], np.float64)
        self._best = [np.array(state[f"best_{k:03}"], np.float64) for k in range(len(self._best))]

    def result(self) -> Trained:
        """Return the best networks so far; those of the start if no epoch has been trained."""
        depth = len(self.recipe.shapes)
        weights, bias, scale = (tuple(self._best[k * depth : (k + 1) * depth]) for k in range(3))
        return Trained(weights, bias, np.stack(scale, axis=1), self._score[:, 0], self.recipe.votes)
