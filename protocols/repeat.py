"""Reads that are taken a second time where the first is in doubt."""

from collections.abc import Callable

import numpy as np

from labctl.core.die import Die
from labctl.core.operations import Reading, Sense
from labctl.core.units import BoolArray


def sense_again(die: Die, sense: Sense, doubtful: Callable[[Reading], BoolArray]) -> Reading:
    """Return the reading of n patterns of m columns; patterns with a doubtful one are read once more, and that counts.

    A pattern is repeated as a whole, since its columns are read in one go.

    Args:
        doubtful: of the first reading, (n, m) which of its values are in doubt.

    Raises:
        LimitError: the limits of the die refuse the read; nothing is energised.
        InstrumentError: an instrument fails in the first read or in the second; neither is returned.
    """
    first = die.sense(sense)
    again = np.flatnonzero(doubtful(first).any(axis=1))
    if not len(again):
        return first
    second, current, flag = die.sense(sense.take(again)), first.current.copy(), first.flag.copy()
    current[again], flag[again] = second.current, second.flag
    return Reading(current, flag, first.pulse_flag)
