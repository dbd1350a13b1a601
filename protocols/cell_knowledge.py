"""Knowledge of every cell of a die from the records: cut, pulses, shorts, directions in which it does not switch.

Protocols decide on this and never on the truth of a simulation. The arrays have the shape of the die, so that
a query for any set of cells is one indexing.
"""

import numpy as np

from labctl.core.defects import Defect
from labctl.core.die import Die
from labctl.core.open_cells import is_open
from labctl.core.operations import Flag, FlagArray
from labctl.core.record import History, Record
from labctl.core.units import BoolArray, FloatArray, IntArray, Second, Volt
from protocols.records import SURVEY, Attempt, InferenceMap, KernelSurvey
from protocols.settings import ReadSettings

_PAIR = (Defect.GOOD, Defect.LOW_TMR)
_IMMOVABLE = (Defect.OPEN, Defect.STUCK_P, Defect.STUCK_AP)
_UNSURVEYED = 255
_NEVER_READ, _UNREADABLE = -2, -1  # instead of a state, 0 or 1

Index = tuple[IntArray, IntArray, IntArray]


def shorts(conductance: FloatArray, flag: FlagArray, ceiling: FloatArray) -> BoolArray:
    """Return which of n reads are those of a short: above their `ceiling` (n,) S, or in compliance without any value.

    Compliance with a value below the ceiling does not convict a cell: a short elsewhere on its row puts every
    read of that row into compliance, and the current tells which cell it is. A read that is invalid or unknown is
    no evidence.
    """
    with np.errstate(invalid="ignore"):
        above = (conductance > ceiling) | (((flag & Flag.COMPLIANCE) != 0) & ~np.isfinite(conductance))
    short: BoolArray = above & ((flag & (Flag.INVALID | Flag.UNKNOWN)) == 0)
    return short


def last_of(index: IntArray) -> IntArray:
    """Return the last position of each distinct value of `index` (a,).

    >>> last_of(np.array([4, 7, 4, 2, 7]))
    array([3, 2, 4])
    """
    return len(index) - 1 - np.unique(index[::-1], return_index=True)[1]


def _everywhere(of_kernel: FloatArray, shape: tuple[int, int, int]) -> FloatArray:
    """Return an array of `shape` (kernels, n_rows, n_cols) with the values (kernels,) of each kernel."""
    return np.broadcast_to(of_kernel[:, None, None], shape).copy()


class CellKnowledge:
    """Knowledge of the cells of a die; all arrays (kernels, n_rows, n_cols), some `[direction]` of them by target.

    Args:
        history: records of earlier procedures on this die, in order: a survey overrules attempts before it.
        short_above: a cell above this multiple of the nominal G_P of its kernel is a short.
    """

    def __init__(self, die: Die, history: History, short_above: float) -> None:
        shape, nominal = die.geometry.shape, die.nominal
        kernels = np.arange(shape[0])
        self.nominal, self.ceiling = nominal, short_above * nominal.g_p(kernels)
        """the nominal conductances, and (kernels,) S, above which a cell is a short"""
        self.g_p, self.g_ap = _everywhere(nominal.g_p(kernels), shape), _everywhere(nominal.g_ap(kernels), shape)
        self.defect = np.full(shape, _UNSURVEYED, np.uint8)
        self.pulses = np.zeros(shape, np.int64)
        self.short = np.zeros(shape, np.bool_)
        self.switches = np.zeros((2, *shape), np.bool_)
        """has been seen to switch in that direction"""
        self._failed_v, self._failed_width = np.zeros((2, *shape)), np.zeros((2, *shape))
        self._state = np.full(shape, _NEVER_READ, np.int8)
        self._maps: dict[tuple[Volt, Volt], FloatArray] = {}
        untouched = np.zeros(shape[0], np.bool_)
        for record in history.all(Record):
            if isinstance(record, KernelSurvey):
                self._survey(record)
                untouched[record.kernel] = True
            elif isinstance(record, InferenceMap):
                blank = np.full((2, *shape), np.nan)
                self._maps.setdefault((record.v_read, record.v_gate), blank)[:, record.kernel] = record.g_ap, record.g_p
            elif isinstance(record, Attempt):
                self.add(record)
                untouched[record.kernel] = False
        self.cut = _everywhere(nominal.cut(kernels), shape)
        # a short, open, stuck or unreadable cell has no pair of states to cut between: docs/decisions/006
        pair = np.isin(self.defect, _PAIR) & (self.g_p > self.g_ap) & (self.g_ap > 0)
        self.cut[pair] = np.sqrt(self.g_p[pair] * self.g_ap[pair])
        # a survey leaves its kernels as it last read them
        seen = np.isfinite(self.g_ap) & (self.defect != Defect.UNREADABLE)
        left = np.where(seen, self.g_ap > self.cut, _UNREADABLE)
        self._state[untouched] = left[untouched]

    def _survey(self, survey: KernelSurvey) -> None:
        k = survey.kernel
        self.g_p[k], self.g_ap[k], self.defect[k] = survey.g_p, survey.g_ap, survey.defect
        self.short[k] |= survey.defect == Defect.SHORT
        moves, immovable = np.isin(survey.defect, _PAIR), np.isin(survey.defect, _IMMOVABLE)
        self.switches[:, k] = moves | (self.switches[:, k] & ~immovable)
        for failed, at in ((self._failed_v, survey.v_max), (self._failed_width, survey.width)):
            failed[:, k] = np.select([moves, immovable], [0.0, at], failed[:, k])

    def add(self, attempt: Attempt) -> None:
        """Count the pulses of `attempt`; store its shorts, and the cells that switched and that did not."""
        cells = (attempt.kernel, attempt.row, attempt.col)
        np.add.at(self.pulses, cells, 1)
        np.logical_or.at(self.short, cells, shorts(attempt.conductance, attempt.flag, self.ceiling[attempt.kernel]))
        last = last_of(np.ravel_multi_index(cells, self.pulses.shape))
        # a read that is flagged proves neither
        last = last[attempt.flag[last] == 0]
        verified = attempt.verified[last]
        at = (attempt.target[last].astype(np.int64), *(c[last] for c in cells))
        # a survey pulses cells that are right already; which of them switch is its own verdict
        self.switches[at] |= verified & (attempt.solution[last] != SURVEY)
        self._failed_v[at] = np.where(verified, 0.0, attempt.voltage[last])
        self._failed_width[at] = np.where(verified, 0.0, attempt.width[last])

    def hopeless(self, cells: Index, target: BoolArray, v_max: Volt, width: Second) -> BoolArray:
        """Return which cells are known not to reach `target` with pulses of `width` s up to `v_max` V.

        They were surveyed open or stuck, or failed a ladder in that direction, and with no smaller cap and width.
        """
        at = (target.astype(np.int64), *cells)
        hopeless: BoolArray = (self._failed_v[at] >= v_max) & (self._failed_width[at] >= width)
        return hopeless

    def has_read(self, cells: Index) -> BoolArray:
        """Return which cells a survey or `update_from_read` has read, readable or not."""
        read: BoolArray = self._state[cells] != _NEVER_READ
        return read

    def update_from_read(self, cells: Index, conductance: FloatArray, flag: FlagArray) -> BoolArray:
        """Update shorts and states from a read of n cells; return (n,), which changed state since their last read.

        Args:
            conductance: (n,) S; `flag` likewise. Flagged cells keep the state they had.
        """
        self.short[cells] |= shorts(conductance, flag, self.ceiling[cells[0]])
        before = self._state[cells]
        with np.errstate(invalid="ignore"):
            now = np.where(flag == 0, conductance > self.cut[cells], np.maximum(before, _UNREADABLE))
        self._state[cells] = now
        changed: BoolArray = (before >= 0) & (now != before)
        return changed

    @property
    def good(self) -> BoolArray:
        """Cells that a survey classified as good."""
        good: BoolArray = self.defect == Defect.GOOD
        return good

    def is_open(self, cells: Index, conductance: FloatArray) -> BoolArray:
        """Return which of n cells are open by a read, (n,) S.

        G_AP is the median of the good cells of the kernel that were surveyed, nominal if there are none.
        """
        g_ap = np.array(
            [
                np.median(self.g_ap[kernel][good]) if (good := self.good[kernel]).any() else self.nominal.g_ap(kernel)
                for kernel in range(len(self.g_ap))
            ]
        )
        return is_open(conductance, g_ap[cells[0]])

    def states(self, cells: Index, read: ReadSettings) -> tuple[float, float]:
        """Return mean (G_P, G_AP) in S of the surveyed good `cells`; of the nominal ones if there are none.

        Args:
            read: how they will be read. If the survey mapped the cells for it, the means are those of the map.
        """
        g_ap, g_p = self._maps.get((read.v_read, read.v_gate), (self.g_ap, self.g_p))
        good = self.good[cells] & np.isfinite(g_p[cells]) & np.isfinite(g_ap[cells])
        if not good.any():
            return self.nominal_states(cells)
        return float(g_p[cells][good].mean()), float(g_ap[cells][good].mean())

    def nominal_states(self, cells: Index) -> tuple[float, float]:
        """Return mean nominal (G_P, G_AP) in S of `cells`."""
        kernels, number = np.unique(cells[0], return_counts=True)
        if len(kernels) == 1:
            return self.nominal.g_p(int(kernels[0])), self.nominal.g_ap(int(kernels[0]))
        # from the first, so that equal ones have exactly their own value as mean
        g_p, g_ap = self.nominal.g_p(kernels), self.nominal.g_ap(kernels)
        share = number / number.sum()
        return float(g_p[0] + share @ (g_p - g_p[0])), float(g_ap[0] + share @ (g_ap - g_ap[0]))
