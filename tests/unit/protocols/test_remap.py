"""A network that is placed by a survey computes the same, on better cells."""

from itertools import pairwise, permutations, product
from typing import Any

import numpy as np
import pytest

from labctl.core.bias import Geometry, Kind, Nominal
from labctl.core.errors import BenchError
from labctl.core.record import History
from labctl.execution.nominal_die import NominalDie
from protocols.chip_inference import ChipInference, software
from protocols.chip_readout import Activation, ChipReadout
from protocols.network import Network
from protocols.records import Accuracy, Remap
from protocols.remap import LayerMap, remap
from protocols.samples import Dataset
from protocols.stage_inputs import Networks, Remapping
from protocols.survey import Survey
from protocols.weights import Layer, Placement, Solution

SCALE = np.array([1.7, 1.2])


def solution(widths: tuple[int, ...], seed: int, votes: int = 1) -> Solution:
    rng = np.random.default_rng(seed)
    layers = []
    for n, m in pairwise(widths):
        weight = rng.integers(-1, 2, (n, m))
        devices = np.stack([weight > 0, weight < 0], axis=-1).reshape(n, -1)
        layers.append(Layer(devices, rng.normal(0, 0.3, m)))
    return Solution(4, tuple(layers), votes)


def maps(widths: tuple[int, ...], seed: int, share: float = 0.15) -> list[LayerMap]:
    """Cells with some spread, of which some are shorts and some stuck."""
    rng = np.random.default_rng(seed)
    result = []
    for n, m in pairwise(widths):
        cells = np.array([0.8, 1.8]) + rng.normal(0, 0.05, (n, m, 2, 2))
        bad = rng.random((n, m, 2)) < share
        cells[bad] = rng.choice([0.8, 1.8, 5.0], bad.sum())[:, None]
        result.append(LayerMap(cells, bad.any(axis=-1)))
    return result


@pytest.mark.parametrize("widths", [(5, 6, 4), (5, 4, 7, 6), (5, 4)])
@pytest.mark.parametrize("activation", list(Activation))
def test_function_is_unchanged(widths: tuple[int, ...], activation: Activation) -> None:
    one, x = solution(widths, 1, votes=2), np.random.default_rng(2).uniform(-1, 1, (50, 5))
    scale = np.linspace(1.2, 1.7, len(widths) - 1)
    placed = remap(one, scale, maps(widths, 3), x)
    assert [len(order) for order in placed.order] == list(widths[1:-1])
    a, b = x, x
    for k in range(len(widths) - 1):
        before, after = (
            z @ layers[k].weight / scale[k] + layers[k].bias
            for z, layers in ((a, one.layers), (b, placed.solution.layers))
        )
        if k < len(placed.order):
            before = before[:, placed.order[k]] * np.where(placed.flipped[k], -1.0, 1.0)
        np.testing.assert_allclose(after, before, atol=1e-12)
        a, b = (activation.drive(np.tanh(u)) for u in (a @ one.layers[k].weight / scale[k] + one.layers[k].bias, after))
    np.testing.assert_array_equal(software(placed.solution, x, scale, activation), software(one, x, scale, activation))
    assert placed.after < placed.before


def test_no_other_order_or_sign_is_expected_to_be_better() -> None:
    """Every placement of four neurons, tried."""
    widths = (5, 4, 3)
    x, grid = np.random.default_rng(5).uniform(-1, 1, (40, 5)), maps(widths, 6, 0.3)
    one = solution(widths, 7)
    first, last = one.layers
    errors = []
    for order, signs in product(permutations(range(4)), product((1.0, -1.0), repeat=4)):
        sign = np.array(signs)
        bias = first.bias[list(order)] * sign
        hidden = np.tanh(x @ (first.weight[:, order] * sign) / SCALE[0] + bias)
        count = ((1 - hidden**2) ** 2).mean(axis=0) * ((last.weight[list(order)] / SCALE[1]) ** 2).sum(axis=1)
        weight, total = first.weight[:, order] * sign, 0.0
        for place in range(4):
            # what is left of the error of the neuron's input when its best gain and offset are taken away
            wanted, error = x @ weight[:, place], x @ grid[0].errors(weight)[:, place]
            left = error - np.polyval(np.polyfit(wanted, error, 1), wanted)
            total += count[place] * float((left**2).mean()) / SCALE[0] ** 2
        outgoing = grid[1].errors(last.weight[list(order)] * sign[:, None])
        total += float((hidden.var(axis=0) @ outgoing**2).sum()) / SCALE[1] ** 2
        errors.append(total)
    # errors of rows of the last layer are taken to be independent by the assignment
    placed = remap(one, SCALE, grid, x)
    chosen = (tuple(placed.order[0].tolist()), tuple(np.where(placed.flipped[0], -1.0, 1.0).tolist()))
    index = list(product(permutations(range(4)), product((1.0, -1.0), repeat=4))).index(chosen)
    assert errors[index] == pytest.approx(min(errors))


def test_zero_takes_the_better_of_its_two_ways() -> None:
    cells = np.array([0.8, 1.8]) * np.ones((2, 3, 2, 2))
    cells[0, 1, 0] = 1.8  # stuck P: two cells P are a zero, two cells AP are not
    map_ = LayerMap(cells, np.zeros((2, 3), np.bool_))
    assert map_.zero_as_p.tolist() == [[False, True, False], [False] * 3]
    np.testing.assert_allclose(map_.zero, 0.0)
    np.testing.assert_allclose(map_.errors(np.full((2, 3), -1.0))[0], [0, 1, 0], atol=1e-12)


def data(n_in: int, classes: int) -> Dataset:
    rng = np.random.default_rng(8)
    x = rng.uniform(-1, 1, (37, n_in))
    y = rng.integers(0, classes, 37)
    return Dataset(x[:26], y[:26], x[26:], y[26:])


def chip(**fields: Any) -> ChipInference:
    networks = Networks((solution((7, 4, 3), 9), Solution(6, solution((7, 4, 3), 10).layers)))
    readout = ChipReadout(tune_on=20, samples_kept=4, scales=3)
    return ChipInference(solutions=networks, data=data(7, 3), readout=readout, **fields)


def passive(**fields: Any) -> Network:
    placement = (Placement(kernel=0), Placement(kernel=1))
    return Network(solutions=Networks((solution((4, 3, 3), 11),)), data=data(4, 3), placement=placement, **fields)


def surveyed(geometry: Geometry) -> tuple[NominalDie, History]:
    die, history = NominalDie(geometry, Nominal.alike(4e-4, 2e-4, geometry.kernels), timing=len), History()
    for record in Survey().run(die, history):
        history.add(record)
    return die, history


@pytest.mark.parametrize(
    ("stage", "geometry"), [(chip, Geometry(16, 3, 5, Kind.ONE_T_ONE_R)), (passive, Geometry(2, 5, 7))]
)
def test_stage_infers_as_software_does(stage: Any, geometry: Geometry) -> None:
    """On a good die; every accuracy has its terms, and a repetition gives the same records."""
    one = stage(remap=Remapping.SURVEY, calibrate=9, subtract=True)
    runs = [list(one.run(*surveyed(geometry))) for _ in range(2)]
    for first, second in zip(*runs, strict=True):
        assert type(first) is type(second)
        for name, value in vars(first).items():
            np.testing.assert_array_equal(value, getattr(second, name))
    for network in one.solutions:
        rows = [r for r in runs[0] if isinstance(r, Accuracy) and r.solution == network.index]
        assert [(r.way, int(r.information), r.labelled, r.unlabelled, r.analog) for r in rows] == [
            ("untuned", 4, 0, 0, True),
            ("tuned", 4, 20 if isinstance(one, ChipInference) else 26, 0, True),
            ("calibrated", 4, 0, 9, True),
            ("subtracted", 4, 0, 0, False),
        ]
        scale = one.solutions.trained_scale[0] if isinstance(one, ChipInference) else np.ones(2)
        expected = software(network, one.data.x_test, scale)
        for row in rows:
            assert row.drop_test == pytest.approx(0.0)
            if row.way != "tuned":
                np.testing.assert_array_equal(row.prediction_test, expected)
        placed = [r for r in runs[0] if isinstance(r, Remap) and (r.solution == network.index).any()]
        assert [sorted(p.neuron.tolist()) for p in placed] == [placed[0].place.tolist()]


@pytest.mark.parametrize("fields", [{"remap": Remapping.SURVEY}, {"subtract": True}])
def test_die_that_was_not_surveyed_is_refused(fields: dict[str, Any]) -> None:
    die = NominalDie(Geometry(2, 5, 7), Nominal.alike(4e-4, 2e-4, 2), timing=len)
    with pytest.raises(BenchError, match="kernel 0 was not surveyed; expected a survey stage"):
        list(passive(**fields).run(die, History()))
