"""Read-out: both modes give the same currents, and tuning finds what a brute search finds."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from labctl.core.bias import Geometry, Kind, Nominal
from labctl.core.operations import Flag
from labctl.execution.nominal_die import NominalDie
from protocols.readout import InferenceSettings, LayerReadout, best_scales, tune
from protocols.statistics import cross_entropy
from protocols.weights import Placement, activate, classify

NOMINAL = Nominal.alike(4e-4, 2e-4, 2)
SETTINGS = InferenceSettings()


def readout(shape: tuple[int, int] = (3, 4)) -> LayerReadout:
    return LayerReadout(Placement(kernel=1, row=1, col=2), shape, SETTINGS, NOMINAL.g_p(1), NOMINAL.g_ap(1))


@pytest.mark.parametrize("kind", list(Kind))
def test_both_modes_give_the_ideal_currents(kind: Kind) -> None:
    die = NominalDie(Geometry(2, 5, 7, kind), NOMINAL, timing=len)
    rng = np.random.default_rng(1)
    die.state[:] = rng.random(die.state.shape) < 0.5
    layer, a = readout(), rng.uniform(-1, 1, (9, 3))
    cells = die.state[1, 1:4, 2:6].astype(np.float64)
    ideal = layer.ideal(cells, a)
    parallel, flagged = layer.currents(die, a)
    response, also = layer.response(die)
    np.testing.assert_allclose(parallel, ideal, atol=1e-18)
    np.testing.assert_allclose(SETTINGS.v_read * a @ response, ideal, atol=1e-18)
    np.testing.assert_allclose(layer.normalise(ideal), a @ (cells[:, 0::2] - cells[:, 1::2]), atol=1e-13)
    assert flagged == also == 0


def test_superposition_cancels_an_offset(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die(Geometry(2, 5, 7))
    sense = die.sense

    def with_offset(operation: Any) -> Any:
        reading = sense(operation)
        reading.current[:] += 3e-6
        return reading

    die.sense = with_offset
    response, _ = readout().response(die)
    np.testing.assert_allclose(response, np.full((3, 4), 2e-4), rtol=1e-9)


def test_flagged_readings_are_repeated_then_counted(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die(Geometry(2, 5, 7))
    die.bad[(1, 2)] = [Flag.INVALID]
    response, flagged = readout().response(die)
    assert flagged == 0
    np.testing.assert_allclose(response, np.full((3, 4), 2e-4), rtol=1e-9)
    die.bad[(1, 2)] = [Flag.INVALID] * 4
    response, flagged = readout().response(die)
    assert flagged == 8  # four columns at both signs
    assert np.isfinite(response).all()
    assert not response[1].any()


def test_grid_is_logarithmic_and_has_the_untuned_scale() -> None:
    grid = SETTINGS.grid
    assert len(grid) == 31
    assert 1.0 in grid
    np.testing.assert_allclose(np.diff(np.log(grid)), np.log(4) / 30)
    odd = InferenceSettings(scale_min=0.6, scale_max=1.7, scales=4).grid
    assert 1.0 in odd
    assert len(odd) == 5
    assert (np.diff(odd) > 0).all()
    with pytest.raises(ValidationError, match="scale_max"):
        InferenceSettings(scale_min=2.0, scale_max=0.5)


def brute(z: np.ndarray, grid: np.ndarray, bias: np.ndarray, label: np.ndarray) -> tuple[int, int]:
    def rank(pair: tuple[int, int]) -> tuple[int, float]:
        i, j = pair
        right = int((classify(z[i], grid[j], bias) == label).sum())
        return -right, float(cross_entropy(activate(z[i], grid[j], bias), label))

    return min(((i, j) for i in range(len(z)) for j in range(len(grid))), key=rank)


def test_best_scales_is_the_brute_search() -> None:
    rng = np.random.default_rng(8)
    for _ in range(20):
        z, bias = rng.normal(size=(4, 11, 3)), rng.normal(size=3)
        label = rng.integers(0, 3, 11)
        grid = np.array([0.5, 0.8, 1.0, 1.3, 2.0])
        assert best_scales(z, grid, bias, label, np.ones(4)) == brute(z, grid, bias, label)


def test_where_no_sample_is_wrong_the_scales_nearest_to_one_win() -> None:
    rng = np.random.default_rng(8)
    label = rng.integers(0, 3, 11)
    z = rng.uniform(1, 2, (5, 1, 1)) * (np.eye(3)[label] * 3 + rng.uniform(0, 1, (11, 3)))
    grid = np.array([0.5, 0.8, 1.1, 1.3, 2.0])
    assert best_scales(z, grid, np.zeros(3), label, grid) == (2, 2)
    assert brute(z, grid, np.zeros(3), label)[1] == 4  # tanh is full there, and cross-entropy likes it


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_tuning_is_never_worse_than_untuned(depth: int) -> None:
    rng = np.random.default_rng(depth)
    widths = [*[5, 4, 6][:depth], 3]
    weights = [rng.integers(-1, 2, s).astype(float) for s in pairwise(widths)]
    biases = [rng.normal(size=w.shape[1]) for w in weights]
    x, label = rng.uniform(0, 1, (40, 5)), rng.integers(0, 3, 40)
    calls: list[int] = []

    def measure(k: int, a: np.ndarray) -> np.ndarray:
        calls.append(k)
        return a @ weights[k]

    grid = SETTINGS.grid
    scales = tune(measure, biases, x @ weights[0], grid, label)

    def right(s: np.ndarray) -> int:
        z = x @ weights[0]
        for k in range(1, depth):
            z = activate(z, s[k - 1], biases[k - 1]) @ weights[k]
        return int((classify(z, s[-1], biases[-1]) == label).sum())

    assert scales.shape == (depth,)
    assert np.isin(scales, grid).all()
    assert right(scales) >= right(np.ones(depth))
    assert 0 not in calls
    if depth == 2:
        candidates = activate((x @ weights[0])[None], grid[:, None, None], biases[0]) @ weights[1]
        i, j = brute(candidates, grid, biases[1], label)
        assert scales.tolist() == [grid[i], grid[j]]


@pytest.mark.parametrize("fields", [{"scales": 10**9}, {"scale_max": 1e300}, {"scale_min": 1e-300}])
def test_absurd_grids_are_refused_at_once(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="or equal to"):
        InferenceSettings(**fields)
