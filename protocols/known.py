"""What the records say about every cell of a die: its cut, the pulses it has had, whether it is a short.

Protocols decide on this and never on the truth of a simulation. The arrays have the shape of the die, so that
a question about any set of cells is one indexing.
"""

import numpy as np

from labctl.core.die import Die, Flag, FlagArray
from labctl.core.procedure import History
from labctl.core.units import BoolArray, FloatArray, IntArray, Siemens
from protocols.records import Attempt, Defect, KernelSurvey

_PAIR = (Defect.GOOD, Defect.LOW_TMR)
_UNSURVEYED = 255


def shorts(conductance: FloatArray, flag: FlagArray, ceiling: Siemens) -> BoolArray:
    """Return which reads are those of a short: above `ceiling` S, or in compliance without any value.

    Compliance alone does not convict a cell: a short elsewhere on its row or column puts every pulse of that
    line into compliance. A read that is invalid or unknown says nothing.
    """
    with np.errstate(invalid="ignore"):
        above = (conductance > ceiling) | (((flag & Flag.COMPLIANCE) != 0) & ~np.isfinite(conductance))
    found: BoolArray = above & ((flag & (Flag.INVALID | Flag.UNKNOWN)) == 0)
    return found


class Known:
    """What is known about the cells of a die; all arrays (kernels, n_rows, n_cols).

    Args:
        history: records of earlier procedures on this die.
        short_above: a cell above this multiple of the nominal G_P is a short.
    """

    def __init__(self, die: Die, history: History, short_above: float) -> None:
        shape, nominal = die.geometry.shape, die.nominal
        self.nominal, self.ceiling = nominal, short_above * nominal.g_p
        self.g_p, self.g_ap = np.full(shape, nominal.g_p), np.full(shape, nominal.g_ap)
        self.defect = np.full(shape, _UNSURVEYED, np.uint8)
        self.pulses = np.zeros(shape, np.int64)
        self.short = np.zeros(shape, np.bool_)
        for survey in history.all(KernelSurvey):
            k = survey.kernel
            self.g_p[k], self.g_ap[k], self.defect[k] = survey.g_p, survey.g_ap, survey.defect
            self.short[k] |= survey.defect == Defect.SHORT
        for attempt in history.all(Attempt):
            self.add(attempt)
        self.cut = np.full(shape, nominal.cut)
        # no pair of states was found of a short, open, stuck or unreadable cell: nothing to cut between
        pair = np.isin(self.defect, _PAIR) & (self.g_p > self.g_ap) & (self.g_ap > 0)
        self.cut[pair] = np.sqrt(self.g_p[pair] * self.g_ap[pair])

    def add(self, attempt: Attempt) -> None:
        """Count the pulses of `attempt` and remember the shorts it found."""
        cells = (attempt.kernel, attempt.row, attempt.col)
        np.add.at(self.pulses, cells, 1)
        np.logical_or.at(self.short, cells, shorts(attempt.conductance, attempt.flag, self.ceiling))

    @property
    def good(self) -> BoolArray:
        """Cells that a survey found good."""
        found: BoolArray = self.defect == Defect.GOOD
        return found

    def states(self, cells: tuple[IntArray, IntArray, IntArray]) -> tuple[float, float]:
        """Return mean (G_P, G_AP) in S of the surveyed good `cells`; the nominal ones if there are none."""
        good = self.good[cells]
        if not good.any():
            return self.nominal.g_p, self.nominal.g_ap
        return float(self.g_p[cells][good].mean()), float(self.g_ap[cells][good].mean())
