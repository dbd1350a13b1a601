"""Ternary weights, their cells and places, and the network in software."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.core.bias import Geometry
from labctl.core.errors import BenchError
from protocols.weights import (
    Layer,
    Placement,
    Solution,
    activate,
    check_fit,
    classify,
    float_predictions,
    overlap,
    phases,
)

DATA = os.environ.get("LABCTL_DATA")
WINE = Path(DATA or ".") / "wine" / "wine_13-6-3_solutions_000-099.npz"


@pytest.fixture(scope="module")
def wine() -> Any:
    if not DATA or not WINE.is_file():
        pytest.skip(f"the published solutions are not here; set LABCTL_DATA to a folder with {WINE.name} in wine/")
    with np.load(WINE) as file:
        return dict(file)


def layer(n_in: int, n_out: int, seed: int = 1) -> Layer:
    rng = np.random.default_rng(seed)
    return Layer(rng.integers(0, 2, (n_in, 2 * n_out)).astype(np.uint8), rng.normal(size=n_out))


def test_a_pair_of_cells_is_one_weight() -> None:
    devices = np.array([[1, 0, 0, 1, 1, 1], [0, 0, 1, 0, 0, 1]])
    weight = Layer(devices, np.zeros(3)).weight
    assert weight.tolist() == [[1, -1, 0], [0, 1, -1]]


@pytest.mark.parametrize(
    ("devices", "bias", "message"),
    [
        (np.zeros((2, 5)), np.zeros(3), r"devices \(2, 5\) and bias \(3,\)"),
        (np.full((2, 6), 2), np.zeros(3), "0 .AP. or 1 .P., nothing else"),
        (np.zeros((2, 6)), np.array([0, np.nan, 0]), "NaN"),
    ],
)
def test_impossible_layers_are_refused(devices: np.ndarray, bias: np.ndarray, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        Layer(devices, bias)


def test_layers_that_do_not_fit_each_other_are_refused() -> None:
    with pytest.raises(BenchError, match="layer 1 has 3 outputs and layer 2 4 inputs"):
        Solution(7, (layer(5, 3), layer(4, 2)))
    with pytest.raises(BenchError, match="solution 7 has no layer"):
        Solution(7, ())


def test_cells_are_in_the_order_of_the_devices() -> None:
    one = layer(3, 2)
    cells = Placement(kernel=1, row=2, col=5).cells((3, 4))
    array = np.zeros((2, 6, 10), np.bool_)
    array[cells.at] = one.devices.ravel()
    np.testing.assert_array_equal(array[1, 2:5, 5:9], one.devices)
    assert array.sum() == one.devices.sum()


@pytest.mark.parametrize(
    ("placement", "message"),
    [
        ([Placement()], "1 places for the 2 layers"),
        ([Placement(), Placement(site=1)], "several sites"),
        ([Placement(), Placement(kernel=2)], "layer 2 is placed on kernel 2; the die has 2"),
        (
            [Placement(row=3), Placement(kernel=1)],
            "layer 1 of 13 x 12 cells does not fit at row 3, column 0 of a 15 x 16",
        ),
        ([Placement(), Placement(col=11)], "layer 2 of 6 x 6 cells does not fit at row 0, column 11"),
    ],
)
def test_layers_that_do_not_fit_the_die_are_refused(placement: list[Placement], message: str) -> None:
    with pytest.raises(BenchError, match=message):
        check_fit(placement, [(13, 12), (6, 6)], Geometry(2, 15, 16))


def test_layers_that_fit_are_accepted() -> None:
    check_fit([Placement(row=2, col=4), Placement(kernel=1, row=9, col=10)], [(13, 12), (6, 6)], Geometry(2, 15, 16))


blocks = st.tuples(*[st.integers(0, 6)] * 2, *[st.integers(1, 5)] * 2)


@given(blocks, blocks)
def test_overlap_is_sharing_a_cell(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    def cells(block: tuple[int, ...]) -> set[tuple[int, int]]:
        cells = Placement(row=block[0], col=block[1]).cells((block[2], block[3]))
        return set(zip(cells.row.tolist(), cells.col.tolist(), strict=True))

    places = [Placement(row=x[0], col=x[1]) for x in (a, b)]
    shared = bool(cells(a) & cells(b))
    assert overlap(places[0], (a[2], a[3]), places[1], (b[2], b[3])) == shared
    assert phases(places, [(a[2], a[3]), (b[2], b[3])]) == (((0,), (1,)) if shared else ((0, 1),))


def test_phases_keep_the_order_of_the_layers() -> None:
    shape = [(2, 4)] * 4
    places = [Placement(), Placement(row=2), Placement(row=1), Placement(kernel=1)]
    assert phases(places, shape) == ((0, 1), (2, 3))


def test_forward_is_the_formula() -> None:
    solution = Solution(0, (layer(5, 3), layer(3, 4, seed=2)))
    x = np.random.default_rng(5).uniform(-1, 1, (7, 5))
    first, second = solution.layers
    expected = []
    for sample in x:
        hidden = [
            np.tanh(sum(sample[i] * first.weight[i, j] for i in range(5)) / 0.8 + first.bias[j]) for j in range(3)
        ]
        out = [np.tanh(sum(hidden[i] * second.weight[i, j] for i in range(3)) / 1.5 + second.bias[j]) for j in range(4)]
        expected.append(int(np.argmax(out)))
    assert float_predictions(solution, x, (0.8, 1.5)).tolist() == expected


def test_class_is_found_where_tanh_has_run_into_one() -> None:
    z, bias = np.array([[30.0, 40.0, 35.0], [2.0, 2.0, 1.0]]), np.zeros(3)
    assert np.ptp(activate(z, 1.0, bias)[0]) == 0.0
    assert classify(z, 1.0, bias).tolist() == [1, 0]


def test_published_accuracies(wine: Any) -> None:
    solutions = [
        Solution(int(index), (Layer(d1, b1), Layer(d2, b2)))
        for index, d1, b1, d2, b2 in zip(
            *(wine[k] for k in ("index", "fc1_devices", "fc1_bias", "fc2_devices", "fc2_bias")), strict=True
        )
    ]

    def mean(part: str, scale: float) -> float:
        x, y = wine[f"x_{part}"], wine[f"y_{part}"]
        return float(np.mean([(float_predictions(s, x, (scale, scale)) == y).mean() for s in solutions]))

    # means over all 300 published solutions; these are the first 100 of them
    for scale, published in ((0.5, 0.821), (0.75, 0.948), (0.9, 0.974), (1.0, 0.970), (1.25, 0.887)):
        assert mean("train", scale) == pytest.approx(published, abs=0.012)
    assert mean("test", 1.0) == pytest.approx(0.915, abs=0.012)


def test_no_published_sample_is_a_tie(wine: Any) -> None:
    """Rounding, 1e-14, cannot turn a prediction: the closest two outputs of any sample are 1e-6 apart."""
    x = np.concatenate([wine["x_train"], wine["x_test"]])
    closest = np.inf
    for k in range(len(wine["index"])):
        first = Layer(wine["fc1_devices"][k], wine["fc1_bias"][k])
        second = Layer(wine["fc2_devices"][k], wine["fc2_bias"][k])
        z = np.sort(activate(x @ first.weight, 1.0, first.bias) @ second.weight + second.bias, axis=1)
        closest = min(closest, float((z[:, -1] - z[:, -2]).min()))
    assert closest > 1e-7
