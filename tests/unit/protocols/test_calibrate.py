"""What is computed beside the array gives back what the array lost."""

import numpy as np

from protocols.calibrate import Calibrated, linear_fit, subtraction
from protocols.remap import LayerMap
from protocols.weights import Layer, Solution, activate, poll

SCALE = np.array([1.5, 0.8])


def network() -> Solution:
    rng = np.random.default_rng(1)
    shapes = ((5, 4), (4, 6))
    return Solution(3, tuple(Layer(rng.random((n, 2 * m)) < 0.5, rng.normal(0, 0.2, m)) for n, m in shapes), votes=2)


def test_gain_and_offset_of_each_neuron_are_taken_back() -> None:
    solution, rng = network(), np.random.default_rng(2)
    x = rng.uniform(-1, 1, (30, 5))
    calibrated = Calibrated(solution, x[:12], SCALE, lambda a: a)
    a, gains, offsets = x, [], []
    for k, (weight, bias) in enumerate(zip(solution.weights, solution.biases, strict=True)):
        z = a @ weight / SCALE[k]
        gains.append(rng.uniform(0.5, 2, z.shape[1]))
        offsets.append(rng.normal(size=z.shape[1]))
        np.testing.assert_allclose(calibrated(k, a, gains[k] * z + offsets[k]), z, atol=1e-12)
        a = activate(z, 1.0, bias)
    record = calibrated.record()
    np.testing.assert_allclose(record.gain, 1 / np.concatenate(gains))
    np.testing.assert_allclose(record.offset, -np.concatenate(offsets) / np.concatenate(gains), atol=1e-12)
    assert record.layer.tolist() == [0] * 4 + [1] * 3
    assert record.neuron.tolist() == [0, 1, 2, 3, 0, 1, 2]


def test_column_that_never_changes_keeps_its_gain() -> None:
    gain, offset = linear_fit(np.full((4, 1), 2.0), np.arange(4.0)[:, None])
    assert gain.tolist() == [1.0]
    assert offset.tolist() == [-0.5]


def test_fit_is_the_closest_one() -> None:
    rng = np.random.default_rng(3)
    measured, expected = rng.normal(size=(50, 2)), rng.normal(size=(50, 2))
    gain, offset = linear_fit(measured, expected)
    for column in range(2):
        np.testing.assert_allclose(
            [gain[column], offset[column]], np.polyfit(measured[:, column], expected[:, column], 1)
        )


def test_bad_cells_are_subtracted_and_good_ones_are_not() -> None:
    solution, rng = network(), np.random.default_rng(4)
    maps = []
    for layer in solution.layers:
        n, m = layer.weight.shape
        cells = np.array([0.8, 1.8]) * np.ones((n, m, 2, 2))
        bad = rng.random((n, m)) < 0.3
        cells[bad, 0] = 6.0
        cells[~bad] += 0.1 * rng.normal(size=(int((~bad).sum()), 2, 2))
        maps.append(LayerMap(cells, bad))
    adjust = subtraction(solution, maps, SCALE)
    for k, (layer, map_) in enumerate(zip(solution.layers, maps, strict=True)):
        a = rng.uniform(-1, 1, (9, len(layer.devices)))
        measured, wanted = map_.weight(layer.devices), np.where(map_.bad, layer.weight, map_.weight(layer.devices))
        votes = solution.votes if k == 1 else 1
        z, expected = (poll(a @ weight / SCALE[k], votes) for weight in (measured, wanted))
        np.testing.assert_allclose(adjust(k, a, z), expected, atol=1e-12)
