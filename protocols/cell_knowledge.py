"""Knowledge of every cell of a die from the records: cut, pulses, shorts, directions in which it does not switch.

Protocols decide on this and never on the truth of a simulation. The arrays have the shape of the die, so that
a query for any set of cells is one indexing.
"""

import numpy as np

from labctl.core.cell_state import CellState, CellStateArray, cell_states
from labctl.core.defects import Defect
from labctl.core.die import Die
from labctl.core.errors import BenchError
from labctl.core.operations import Flag, FlagArray
from labctl.core.record import History, Record
from labctl.core.units import BoolArray, FloatArray, IntArray, Siemens, Volt
from protocols.records import SURVEY, TRIAL, Attempt, InferenceMap, KernelSurvey
from protocols.settings import ReadSettings, WriteSettings
from protocols.statistics import refuted

_PAIR = (Defect.GOOD, Defect.LOW_TMR)
_IMMOVABLE = (Defect.OPEN, Defect.STUCK_P, Defect.STUCK_AP)
_UNSURVEYED = 255
_NEVER_READ = 255
"""Instead of a `CellState`."""
_AT_LEAST = 2
"""Whole ladders that a cell fails before it is given up, however many rungs they have."""
_BY_SURVEY = 1 << 30
"""Instead of the number of failed ladders and pulses of a cell that a survey found open or stuck."""

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


def most_of_shorts(g_p: FloatArray, g_ap: FloatArray, short: BoolArray) -> Siemens:
    """Return what the short that conducts most does, of conductances of cells and which are shorts, all of one shape.

    That of the cell that conducts most if no short was read, 0 if no cell was.
    """
    both = np.stack([g_p, g_ap])
    read = np.isfinite(both)
    found = both[read & short]
    return float((found if len(found) else both[read]).max(initial=0.0))


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
        v_read: voltage across a cell that is read, at which the offset of the meters counts as a conductance.
    """

    def __init__(self, die: Die, history: History, short_above: float, v_read: Volt) -> None:
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
        # since the cell last switched that way: the ladders in a row that failed, and the pulses of these
        self._failed_v, self._failed_width = np.zeros((2, *shape)), np.zeros((2, *shape))
        self._failed_ladders, self._failed_pulses = (np.zeros((2, *shape), np.int64) for _ in range(2))
        self._state = np.full(shape, _NEVER_READ, np.uint8)
        self._v_read = v_read
        # what the meters read at 0 V, by kernel, A: where it was not measured, G_AP alone decides what is open
        self._offset, self._noise = np.zeros(shape[0]), np.full(shape[0], np.inf)
        self._maps: dict[tuple[Volt, tuple[tuple[Volt, float], ...]], FloatArray] = {}
        self._mapped: dict[tuple[Volt, tuple[tuple[Volt, float], ...]], set[int]] = {}
        untouched = np.zeros(shape[0], np.bool_)
        for record in history.all(Record):
            if isinstance(record, KernelSurvey):
                self._survey(record)
                untouched[record.kernel] = True
            elif isinstance(record, InferenceMap):
                blank = np.full((2, *shape), np.nan)
                read = record.v_read, record.gates
                self._maps.setdefault(read, blank)[:, record.kernel] = record.g_ap, record.g_p
                self._mapped.setdefault(read, set()).add(record.kernel)
            elif isinstance(record, Attempt):
                self.add(record)
                untouched[record.kernel] = False
        self.cut = _everywhere(nominal.cut(kernels), shape)
        # a short, open, stuck or unreadable cell has no pair of states to cut between: docs/decisions/006
        pair = np.isin(self.defect, _PAIR) & (self.g_p > self.g_ap) & (self.g_ap > 0)
        self.cut[pair] = np.sqrt(self.g_p[pair] * self.g_ap[pair])
        self._typical = np.array(
            [
                np.median(self.g_ap[kernel][good]) if (good := self.good[kernel]).any() else nominal.g_ap(int(kernel))
                for kernel in kernels
            ]
        )
        # a survey leaves its kernels as it last read them
        everywhere = tuple(np.indices(shape))
        left = self.states_of(everywhere, self.g_ap, self.defect == Defect.UNREADABLE)
        self._state[untouched] = left[untouched]

    def _survey(self, survey: KernelSurvey) -> None:
        k = survey.kernel
        self.g_p[k], self.g_ap[k], self.defect[k] = survey.g_p, survey.g_ap, survey.defect
        if np.isfinite(survey.noise):
            self._offset[k], self._noise[k] = survey.offset, survey.noise
        self.short[k] |= survey.defect == Defect.SHORT
        moves, immovable = np.isin(survey.defect, _PAIR), np.isin(survey.defect, _IMMOVABLE)
        self.switches[:, k] = moves | (self.switches[:, k] & ~immovable)
        for failed, at in (
            (self._failed_v, survey.v_max),
            (self._failed_width, survey.width),
            (self._failed_ladders, _BY_SURVEY),
            (self._failed_pulses, _BY_SURVEY),
        ):
            failed[:, k] = np.select([moves, immovable], [0, at], failed[:, k])

    def add(self, attempt: Attempt) -> None:
        """Count the pulses of `attempt`, of one write plan; store its shorts, and which cells switched or did not.

        A ladder that failed adds to those before it up to the same voltage with the same width; one that went higher or
        was longer takes their place, and one that asked for less changes nothing. Trials are no ladders: each that
        verifies has switched its cell, and one that does not is no failure.
        """
        cells = (attempt.kernel, attempt.row, attempt.col)
        np.add.at(self.pulses, cells, 1)
        np.logical_or.at(self.short, cells, shorts(attempt.conductance, attempt.flag, self.ceiling[attempt.kernel]))
        flat = np.ravel_multi_index(cells, self.pulses.shape)
        trials = bool((attempt.round == TRIAL).any())
        last = np.arange(len(flat)) if trials else last_of(flat)
        # a read that is flagged proves neither, nor does a pulse on a cell that was right before it
        last = last[(attempt.flag[last] == 0) & (attempt.trial[last] | ~attempt.verified[last])]
        verified = attempt.verified[last]
        at = (attempt.target[last].astype(np.int64), *(c[last] for c in cells))
        # which cells switch is the survey's own verdict: it may verify one by a cut that is not the cell's
        self.switches[at] |= verified & (attempt.solution[last] != SURVEY)
        if not trials:
            # a pulse of which nobody knows whether it was given convicts no cell
            made = np.bincount(flat[(attempt.pulse_flag & Flag.UNKNOWN) == 0], minlength=self.pulses.size)
            self._fail(at, attempt.voltage[last], attempt.width[last], made[flat[last]])
        for failed in (self._failed_v, self._failed_width, self._failed_ladders, self._failed_pulses):
            failed[tuple(index[verified] for index in at)] = 0

    def _fail(self, at: tuple[IntArray, ...], v_max: FloatArray, width: FloatArray, pulses: IntArray) -> None:
        """Add one failed ladder of each of n cells, [direction, kernel, row, col], up to `v_max` (n,) V."""
        before_v, before_width = self._failed_v[at], self._failed_width[at]
        same = (v_max == before_v) & (width == before_width)
        less = (v_max <= before_v) & (width <= before_width) & ~same
        for failed, now in (
            (self._failed_v, v_max),
            (self._failed_width, width),
            (self._failed_ladders, np.where(same, self._failed_ladders[at], 0) + 1),
            (self._failed_pulses, np.where(same, self._failed_pulses[at], 0) + pulses),
        ):
            failed[at] = np.where(less, failed[at], now)

    def hopeless(self, cells: Index, target: BoolArray, settings: WriteSettings) -> BoolArray:
        """Return which cells are given up: known not to reach `target` with the ladder of `settings`.

        They were surveyed open or stuck, or failed in that direction, with no smaller cap and width, two whole ladders
        or more since they last switched, and so many pulses that each pulse switches them with `settings.p_switch` is
        refuted.
        """
        at = (target.astype(np.int64), *cells)
        asked = (self._failed_v[at] >= settings.ladder.max()) & (self._failed_width[at] >= settings.width)
        hopeless: BoolArray = (
            asked & (self._failed_ladders[at] >= _AT_LEAST) & refuted(self._failed_pulses[at], settings.p_switch)
        )
        return hopeless

    def in_other_state(self, cells: Index, target: BoolArray) -> BoolArray:
        """Return which of n cells were last read in the state that is not `target` (n,): a pulse can switch them."""
        other: BoolArray = self._state[cells] == np.where(target, CellState.AP, CellState.P)
        return other

    def has_read(self, cells: Index) -> BoolArray:
        """Return which cells a survey or `update_from_read` has read, readable or not."""
        read: BoolArray = self._state[cells] != _NEVER_READ
        return read

    def update_from_read(self, cells: Index, conductance: FloatArray, flag: FlagArray) -> BoolArray:
        """Update shorts and states from a read of n cells; return (n,), which changed state since their last read.

        Args:
            conductance: (n,) S; `flag` likewise. Cells that cannot be read keep the state they had.
        """
        self.short[cells] |= shorts(conductance, flag, self.ceiling[cells[0]])
        before, now = self._state[cells], self.states_of(cells, conductance, flag)
        kept = (now == CellState.UNREADABLE) & (before != _NEVER_READ)
        self._state[cells] = np.where(kept, before, now)
        known = (before != _NEVER_READ) & (before != CellState.UNREADABLE)
        changed: BoolArray = known & ~kept & (now != before)
        return changed

    @property
    def good(self) -> BoolArray:
        """Cells that a survey classified as good."""
        good: BoolArray = self.defect == Defect.GOOD
        return good

    def states_of(self, cells: Index, conductance: FloatArray, flag: FlagArray) -> CellStateArray:
        """Return the `CellState` of n cells by a read: conductance (n,) S and `flag` (n,).

        Open is judged by the median G_AP of the good cells of the kernel that were surveyed, nominal if there are none,
        and by the offset of the meters where a survey has measured it.
        """
        kernel = cells[0]
        g_ap, offset, sigma = (x[kernel] for x in (self._typical, self._offset, self._noise))
        v_read = self._v_read
        return cell_states(conductance, flag, self.cut[cells], g_ap, offset=offset / v_read, sigma=sigma / v_read)

    def surveyed(self, cells: Index) -> BoolArray:
        """Return which of n cells a survey has classified."""
        surveyed: BoolArray = self.defect[cells] != _UNSURVEYED
        return surveyed

    def mapped(self, cells: Index, read: ReadSettings) -> FloatArray:
        """Return the (n, 2) conductances in S of n surveyed cells, written AP and written P.

        A short without a reading conducts as much as the short of the die that conducts most, or the cell if none was
        read; another cell without a reading nothing. What was read at two gates may be negative.

        Args:
            read: how they will be read. If the survey mapped the cells for it, the conductances are those of the map.
        """
        g_ap, g_p = self._maps.get((read.v_read, read.gates), (self.g_ap, self.g_p))
        both = np.stack([g_ap[cells], g_p[cells]], axis=-1)
        short = self.defect == Defect.SHORT
        blank = np.where(short[cells], most_of_shorts(g_p, g_ap, short), 0.0)[:, None]
        mapped: FloatArray = np.where(np.isfinite(both), both, blank)
        return mapped

    def refuse_unmapped(self, cells: Index, read: ReadSettings) -> None:
        """Raise BenchError if cells will be read at several gates and a survey has not mapped their kernels so."""
        missing = set(np.unique(cells[0]).tolist()) - self._mapped.get((read.v_read, read.gates), set())
        if missing and len(read.gates) > 1:
            raise BenchError(
                f"no survey has read kernel {min(missing)} as inference will, at a second gate voltage; expected the "
                "same under 'inference' of a survey before"
            )

    def states(self, cells: Index, read: ReadSettings) -> tuple[float, float]:
        """Return mean (G_P, G_AP) in S of the surveyed good `cells`; of the nominal ones if there are none.

        Args:
            read: how they will be read. If the survey mapped the cells for it, the means are those of the map.
        """
        g_ap, g_p = self._maps.get((read.v_read, read.gates), (self.g_ap, self.g_p))
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
