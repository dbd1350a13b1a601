"""When the readings of a die take place: the time of its patterns, one after the other."""

import numpy as np

from labctl.core.operations import Sense
from labctl.core.units import FloatArray, IntArray, Second

NANO = 1e9
"""Units of time in a second: times are whole numbers, so that they add up without rounding."""


class PatternTime:
    """The time that all patterns of a die have taken so far. Operations add none, so that no cut of a batch shows.

    Args:
        settle: s, from the end of a pulse, or of the overhead of a pattern, to the aperture.
    """

    def __init__(self, settle: Second) -> None:
        self._settle, self._now = round(settle * NANO), 0

    def apertures(self, before: FloatArray, sense: Sense | None) -> IntArray:
        """Let n patterns pass and return the (n,) ns at which their apertures begin.

        Args:
            before: (n,) s, up to the read.
            sense: the read of each; None if there is none.
        """
        aperture = 0 if sense is None else round(sense.aperture * NANO)
        each = np.rint(before * NANO).astype(np.int64) + (0 if sense is None else self._settle + aperture)
        ends = self._now + np.cumsum(each)
        if len(ends):
            self._now = int(ends[-1])
        return np.asarray(ends - aperture)
