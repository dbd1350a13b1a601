"""What every board that drives all lines of a die by itself does alike, whoever made it.

Levels are whole steps of its converters and widths whole ticks of its clock, both towards 0: limits that hold for what
is asked for hold for what is applied.
"""

import math
from dataclasses import replace

import numpy as np

from labctl.core.bias import Bias, Geometry, Nominal
from labctl.core.die import DieBody
from labctl.core.errors import BenchError, InstrumentError
from labctl.core.limits import Limits
from labctl.core.operations import Pulse, Reading, Sense
from labctl.core.units import BoolArray, FloatArray, IntArray, Second, Volt

ROUNDING = 1e-6
"""Of a step or a tick: what counts as rounding."""
_SHORTER = 0.05
"""What a pulse may lack of its width, as a part of it, for being whole ticks."""


def steps_towards_zero(volts: FloatArray, step: Volt) -> IntArray:
    """Return whole steps in volts: no two lines are further apart, and none from 0 V, than asked for.

    >>> steps_towards_zero(np.array([0.0, 1e-3, 2.5e-3, -2.5e-3]), 1e-3).tolist()
    [0, 1, 2, -2]
    """
    return np.asarray(np.trunc(volts / step + np.copysign(ROUNDING, volts)).astype(np.int64))


def whole_ticks(width: Second, tick: Second, fewest: int, most: int, ticks: str) -> int:
    """Return the whole ticks of the width of a pulse, never longer than it.

    Args:
        ticks: what ticks are called, "clocks".

    Raises:
        BenchError: fewer or more than the board makes, or whole ticks miss the width by more than a 20th.

    >>> whole_ticks(1e-3, 1e-6, 1, 10_000, "clocks")
    1000
    """
    whole = math.floor(width / tick + ROUNDING)
    if not fewest <= whole <= most:
        raise BenchError(
            f"a pulse of {width:g} s; the board makes pulses of {fewest * tick:g} s to {most * tick:.4g} s"
        )
    if whole * tick < (1 - _SHORTER) * width:
        near = f"{whole * tick:.6g} s and {(whole + 1) * tick:.6g} s"
        raise BenchError(f"a pulse of {width:g} s; the board makes pulses of whole {ticks}, nearest are {near}")
    return whole


def reached(bias: Bias, row_good: BoolArray) -> BoolArray:
    """Return (n,) which patterns have a row away from 0 V that may be connected, or none away from it.

    What is read in the others is no reading: their rows are bad.

    Args:
        row_good: (n_rows,), or (n, n_rows) for each pattern.
    """
    away = bias.row != 0.0
    return np.asarray((away & row_good).any(axis=1) | ~away.any(axis=1))


class BoardPlan(DieBody):
    """A board that is not connected: it has a die, whose shape is its own, and refuses to act.

    Args:
        shape: of its dies.
        nominal: conductances of the die that is on it.
        polarity: of that die.
    """

    _limits: Limits | None = None
    """Of the bench file."""

    def __init__(self, shape: Geometry, nominal: Nominal, polarity: int) -> None:
        self._shape = shape
        self.turn_to(nominal, polarity)

    def turn_to(self, nominal: Nominal, polarity: int) -> None:
        """Take another die: its nominal conductances and its polarity; nothing is driven."""
        self._nominal, self._geometry = nominal, replace(self._shape, polarity=polarity)

    @property
    def geometry(self) -> Geometry:
        """Shape of the die."""
        return self._geometry

    @property
    def nominal(self) -> Nominal:
        """Nominal conductances."""
        return self._nominal

    def keep_within(self, limits: Limits) -> None:
        """Judge the limits of the bench file as well."""
        self._limits = limits

    def idle(self) -> None:
        """Refuse: there is no connection."""
        raise InstrumentError("the board is not connected")

    def _sense(self, sense: Sense) -> Reading:
        raise InstrumentError("the board is not connected")

    def _pulse(self, pulse: Pulse) -> Reading:
        raise InstrumentError("the board is not connected")
