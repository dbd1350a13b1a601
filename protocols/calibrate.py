"""Adjust what a programmed network computes by what is known beside its labels: calibration, digital subtraction.

Both are computed beside the array. Calibration gives each neuron a gain and an offset, as the bias is given in
software, by which its inputs for unlabelled samples come closest to those of the same network in software (least
squares). Digital subtraction computes what surveyed bad cells do wrong and takes it away: a bound for what any method
can reach, and not analog inference.
"""

from collections.abc import Callable, Sequence

import numpy as np

from labctl.core.units import FloatArray
from protocols.records import Calibration
from protocols.remap import LayerMap
from protocols.weights import Solution, activate, poll

Adjust = Callable[[int, FloatArray, FloatArray], FloatArray]
"""(layer, its inputs (n, n_in), its normalised currents (n, n_out)) -> what neurons get, of the last layer polled."""


def linear_fit(measured: FloatArray, expected: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return gain and offset (m,) of each column, gain x measured + offset being closest to `expected` (n, m).

    A column that never changes keeps the gain 1.

    >>> x = np.array([[0.0], [1.0], [2.0]])
    >>> linear_fit(x, 2 * x + 1)
    (array([2.]), array([1.]))
    """
    mean, wanted = measured.mean(axis=0), expected.mean(axis=0)
    spread = ((measured - mean) ** 2).mean(axis=0)
    common = ((measured - mean) * (expected - wanted)).mean(axis=0)
    gain = np.where(spread > 0, common / np.where(spread > 0, spread, 1.0), 1.0)
    return gain, wanted - gain * mean


class Calibrated:
    """Gain and offset of every neuron, found on the first n samples of what goes through it; call it as an `Adjust`.

    Args:
        solution: as it is programmed.
        x: (n, n_in), the unlabelled samples.
        scale: (K,), network scale that the currents are divided by.
        drive: the hidden neurons, of their tanh.
    """

    def __init__(
        self, solution: Solution, x: FloatArray, scale: FloatArray, drive: Callable[[FloatArray], FloatArray]
    ) -> None:
        self._solution, self._expected = solution, []
        self.gain: list[FloatArray] = []
        self.offset: list[FloatArray] = []
        for weight, bias, s in zip(solution.weights, solution.biases, scale, strict=True):
            z = x @ weight / s
            self._expected.append(z)
            x = drive(activate(z, 1.0, bias))

    def __call__(self, k: int, a: FloatArray, z: FloatArray) -> FloatArray:
        """Return the calibrated currents of layer k, whose gain and offset come from the first samples."""
        expected = self._expected[k]
        gain, offset = linear_fit(z[: len(expected)], expected)
        self.gain.append(gain)
        self.offset.append(offset)
        calibrated: FloatArray = gain * z + offset
        return calibrated

    def record(self) -> Calibration:
        """Return the record of it."""
        sizes = [len(gain) for gain in self.gain]
        return Calibration(
            solution=np.full(sum(sizes), self._solution.index),
            layer=np.repeat(np.arange(len(sizes)), sizes),
            neuron=np.concatenate([np.arange(size) for size in sizes]),
            gain=np.concatenate(self.gain),
            offset=np.concatenate(self.offset),
        )


def subtraction(solution: Solution, maps: Sequence[LayerMap], scale: FloatArray) -> Adjust:
    """Return what adds the wanted weights of pairs with a bad cell and takes away the surveyed ones."""
    missing = [
        np.where(map_.bad, layer.weight - map_.weight(layer.devices), 0.0)
        for layer, map_ in zip(solution.layers, maps, strict=True)
    ]
    missing[-1] = poll(missing[-1], solution.votes)

    def adjust(k: int, a: FloatArray, z: FloatArray) -> FloatArray:
        adjusted: FloatArray = z + a @ missing[k] / scale[k]
        return adjusted

    return adjust
