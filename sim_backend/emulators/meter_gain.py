"""The error of gain of an emulated meter: one for each quantity and range, drawn once, the same in every reading."""

import numpy as np

from labctl.core.units import Ratio
from sim_backend.rng import KeyedBits

_GAINS = 1
"""Word of the counter that sets these numbers apart from those of the noise, which have 0 there."""


class MeterGain:
    """Factors by which a channel reads.

    Args:
        seed: of the instrument's noise.
        place: number of the channel.
        spread: standard deviation of the factor's logarithm; 0 is a meter without this error.
    """

    def __init__(self, seed: int, place: int, spread: Ratio) -> None:
        self._bits, self._place, self._spread = KeyedBits(seed), place, spread
        self._factors: dict[tuple[int, float], float] = {}

    def __call__(self, quantity: int, full: float) -> Ratio:
        """Return the factor of a quantity (0: V, 1: A) on the range of `full`.

        >>> gain = MeterGain(1, 2, 1e-3)
        >>> gain(1, 1e-3) == gain(1, 1e-3) != gain(1, 1e-4)
        True
        """
        if self._spread == 0.0:
            return 1.0
        key = quantity, full
        if key not in self._factors:
            word = int(np.float64(full).view(np.uint64))
            normal = self._bits.normal(word, quantity, self._place, _GAINS)
            self._factors[key] = float(np.exp(self._spread * normal))
        return self._factors[key]
