"""Operations on a die and their results, as values: reads, pulses, write plans, readings, attempts.

All arrays are batches over n patterns.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntFlag
from typing import Annotated, Self

import numpy as np
import numpy.typing as npt

from labctl.core.bias import Bias
from labctl.core.errors import BenchError
from labctl.core.units import BoolArray, FloatArray, IntArray, Second, Volt


class Flag(IntFlag):
    """What is wrong with one reading; 0 is a good one."""

    COMPLIANCE = 1
    OVERRANGE = 2
    INVALID = 4
    UNKNOWN = 8


FlagArray = Annotated[npt.NDArray[np.uint8], Flag]
"""Bits of `Flag`."""


def has_no_value(value: FloatArray, flag: FlagArray) -> BoolArray:
    """Return which readings of any shape have no value, whatever number stands there."""
    lost: BoolArray = ((flag & (Flag.INVALID | Flag.UNKNOWN)) != 0) | ~np.isfinite(value)
    return lost


def _require_time(name: str, value: object) -> None:
    """Raise BenchError unless `value` is a positive number of seconds."""
    if not isinstance(value, int | float | np.number):
        raise BenchError(f"the {name} is {value!r}; expected a number of seconds, such as 1e-3")
    if not (np.isfinite(value) and value > 0):
        raise BenchError(f"the {name} must be a positive time, not {value} s")


@dataclass(frozen=True, eq=False)
class Sense:
    """Read column currents under a bias.

    Args:
        cols: columns wanted, (m,) for all patterns or (n, m).
        aperture: integration time of each reading, s.
    """

    bias: Bias
    cols: IntArray
    aperture: Second = 1e-3

    def __post_init__(self) -> None:
        cols = np.asarray(self.cols)
        n = len(self.bias)
        if cols.dtype.kind not in "iu" or cols.ndim not in (1, 2) or (cols.ndim == 2 and cols.shape[0] != n):
            raise BenchError(f"sense.cols is {cols.dtype} {cols.shape}; expected whole numbers, (m,) or (n, m)")
        if cols.size and not (int(cols.min()) >= 0 and int(cols.max()) < self.bias.col.shape[1]):
            raise BenchError(
                f"column {int(cols.max())} wanted; the kernel has {self.bias.col.shape[1]} (numbered from 0)"
            )
        _require_time("aperture", self.aperture)
        object.__setattr__(self, "cols", np.broadcast_to(cols.astype(np.int64), (n, cols.shape[-1])))

    def __len__(self) -> int:
        return len(self.bias)

    def take(self, index: slice | IntArray) -> Self:
        """Return the patterns at `index`, in that order."""
        return replace(self, bias=self.bias.take(index), cols=self.cols[index])


@dataclass(frozen=True, eq=False)
class Glance(Sense):
    """A read that nobody writes down: of a simulated die, which gives the same reading to the bit whenever it is asked.

    A die that is not a function of its operations refuses it (`labctl.execution.recorded_die`).
    """


@dataclass(frozen=True, eq=False)
class Pulse:
    """One pulse per pattern, each followed by its verify read on the same route.

    Args:
        width: time the pulsed line is up, s.
        verify: n patterns, or None for no read.
    """

    bias: Bias
    width: Second
    verify: Sense | None = None

    def __post_init__(self) -> None:
        _require_time("pulse width", self.width)
        if self.verify is not None and len(self.verify) != len(self.bias):
            raise BenchError(f"{len(self.bias)} pulses and {len(self.verify)} verify reads")

    def __len__(self) -> int:
        return len(self.bias)

    def take(self, index: slice | IntArray) -> Self:
        """Return the patterns at `index`, in that order."""
        return replace(
            self, bias=self.bias.take(index), verify=None if self.verify is None else self.verify.take(index)
        )


@dataclass(frozen=True, eq=False)
class Reading:
    """The result of a read, n patterns of m columns.

    Args:
        current: (n, m) A, positive out of the column.
        flag: (n, m), bits of `Flag`.
        pulse_flag: (n,), the same for the force side during the pulse; zeros if there was none.
    """

    current: FloatArray
    flag: FlagArray
    pulse_flag: FlagArray

    def __len__(self) -> int:
        return int(self.current.shape[0])

    @property
    def valid(self) -> BoolArray:
        """(n, m), which readings have a value, if only the end of a range."""
        return ~has_no_value(self.current, self.flag)

    @classmethod
    def join(cls, parts: Iterable["Reading"]) -> "Reading":
        """Return the readings of consecutive pieces of one batch as one."""
        pieces = list(parts)
        return cls(*(np.concatenate([getattr(p, name) for p in pieces]) for name in ("current", "flag", "pulse_flag")))

    @classmethod
    def unknown(cls, n: int, m: int) -> "Reading":
        """Return n lost patterns: NaN, flagged UNKNOWN."""
        return cls(
            np.full((n, m), np.nan),
            np.full((n, m), Flag.UNKNOWN, np.uint8),
            np.full(n, Flag.UNKNOWN, np.uint8),
        )


@dataclass(frozen=True, eq=False)
class WritePlan:
    """Write-verify of N cells as data, so that limits judge it once, a script can run it and resume can replay it.

    Args:
        write: N patterns at 1 V across the selected cell, in the direction that the cell needs.
        verify: N reads of one column each; current / `v_read` is the conductance of the cell.
        target: (N,), True is P.
        cut: (N,) S, above it a cell reads P.
        v_read: cell voltage of the verify reads, V.
        ladder: (k,) V, magnitudes in the order they are tried.
        budget: (N,) pulses that each cell may still get.
        width: pulse width, s.
    """

    write: Bias
    verify: Sense
    target: BoolArray
    cut: FloatArray
    v_read: Volt
    ladder: FloatArray
    budget: IntArray
    width: Second

    def __post_init__(self) -> None:
        n = len(self.write)
        if not (len(self.verify) == len(self.target) == len(self.cut) == len(self.budget) == n):
            raise BenchError("a write plan has one write, verify, target, cut and budget per cell")
        if self.verify.cols.shape[1] != 1:
            raise BenchError("a write plan verifies one column per cell")
        ladder = np.asarray(self.ladder, dtype=np.float64)
        if ladder.ndim != 1 or not len(ladder) or not np.isfinite(ladder).all() or (ladder <= 0).any():
            raise BenchError("the ladder is a list of positive voltages")
        object.__setattr__(self, "ladder", ladder)

    def __len__(self) -> int:
        return len(self.write)

    def take(self, index: slice | IntArray) -> Self:
        """Return the plan of the cells at `index`, in that order."""
        return replace(
            self,
            write=self.write.take(index),
            verify=self.verify.take(index),
            target=self.target[index],
            cut=self.cut[index],
            budget=self.budget[index],
        )

    @property
    def most(self) -> IntArray:
        """(N,) pulses that each cell gets at most: its budget, or every rung."""
        most: IntArray = np.clip(self.budget, 0, len(self.ladder))
        return most

    def pulses(self, cell: IntArray, attempt: IntArray) -> Bias:
        """Return the bias of attempts (a,), counted from 1, on cells (a,)."""
        return self.write.take(cell).scaled(self.ladder[attempt - 1])


@dataclass(frozen=True, eq=False)
class Attempts:
    """Every attempt of a write plan, a attempts in the order they were made, and how each of N cells ended.

    Args:
        cell: (a,), index into the plan.
        attempt: (a,), 1 for the first pulse of that cell, and for the first after a script that was lost.
        voltage: (a,) V, magnitude at the selected cell.
        current: (a,) A, the verify read.
        flag: (a,), `Flag` of the verify read.
        pulse_flag: (a,), `Flag` of the force side during the pulse: COMPLIANCE is a line in compliance, whichever of
            its cells draws the current, and convicts no cell.
        verified: (N,), the last read of the cell is unflagged and equals its target.
        short: (N,), the cell's own read went into compliance; it got no further pulse.
    """

    cell: IntArray
    attempt: IntArray
    voltage: FloatArray
    current: FloatArray
    flag: FlagArray
    pulse_flag: FlagArray
    verified: BoolArray
    short: BoolArray

    @property
    def lost(self) -> BoolArray:
        """(N,), cells with an attempt of which nobody knows whether it was made; it counts as made."""
        lost = np.zeros(len(self.verified), np.bool_)
        lost[self.cell[(self.pulse_flag & Flag.UNKNOWN) != 0]] = True
        return lost

    @property
    def given(self) -> IntArray:
        """(N,), attempts on each cell."""
        given: IntArray = np.bincount(self.cell, minlength=len(self.verified))
        return given

    def unfinished(self, plan: WritePlan) -> BoolArray:
        """Return (N,), the cells that `plan` has more attempts for, had nothing broken off.

        They are wrong or were not come to, no read of them is flagged, and their budget is not used up. A ladder whose
        last attempt was lost, and whose state a read told afterwards (`judged`), has not failed; one that a body went
        on with after it had read such a loss again has.
        """
        flagged = np.zeros(len(plan), np.bool_)
        flagged[self.cell[(self.flag & ~np.uint8(Flag.UNKNOWN)) != 0]] = True
        broken_off = np.zeros(len(plan), np.bool_)
        # in the order they were made, so that the last attempt of a cell decides
        broken_off[self.cell] = (self.flag & self.pulse_flag & Flag.UNKNOWN) != 0
        climbed = ~broken_off & (self.given >= plan.most)
        unfinished: BoolArray = ~self.verified & ~flagged & ~climbed & (self.given < plan.budget)
        return unfinished

    def followed_by(self, cells: IntArray, more: "Attempts") -> "Attempts":
        """Return the same with `more` attempts behind them, on the `cells` (k,) of which these are."""
        names = ("attempt", "voltage", "current", "flag", "pulse_flag")
        columns = {name: np.concatenate([getattr(self, name), getattr(more, name)]) for name in names}
        verified, short = self.verified.copy(), self.short.copy()
        verified[cells], short[cells] = more.verified, more.short
        cell = np.concatenate([self.cell, cells[more.cell]])
        return Attempts(cell=cell, verified=verified, short=short, **columns)

    @classmethod
    def join(cls, parts: Iterable["Attempts"]) -> "Attempts":
        """Return the attempts of consecutive pieces of one plan as one."""
        pieces = list(parts)
        first = np.cumsum([0, *(len(p.verified) for p in pieces)])
        cell = [p.cell + begin for p, begin in zip(pieces, first.tolist(), strict=False)]
        rest = ("attempt", "voltage", "current", "flag", "pulse_flag", "verified", "short")
        return cls(np.concatenate(cell), *(np.concatenate([getattr(p, name) for p in pieces]) for name in rest))

    @classmethod
    def at_most(cls, plan: WritePlan) -> "Attempts":
        """Return the attempts of a plan of which nothing is known: all that its budgets allow, each of them lost."""
        n, most = len(plan), plan.most
        cell = np.repeat(np.arange(n), most)
        attempt = np.arange(len(cell)) - np.repeat(np.cumsum(most) - most, most) + 1
        unknown = np.full(len(cell), Flag.UNKNOWN, np.uint8)
        nothing = np.zeros(n, np.bool_)
        current = np.full(len(cell), np.nan)
        return cls(cell, attempt, plan.ladder[attempt - 1], current, unknown, unknown, nothing, nothing.copy())

    @classmethod
    def none_of(cls, plan: WritePlan) -> "Attempts":
        """Return the attempts of a plan that was not begun."""
        none, nothing = np.zeros(0, np.int64), np.zeros(len(plan), np.bool_)
        flag = np.zeros(0, np.uint8)
        return cls(none, none, np.zeros(0), np.zeros(0), flag, flag, nothing, nothing.copy())

    def judged(self, plan: WritePlan, cells: IntArray, reading: Reading) -> "Attempts":
        """Return the same with the `cells` (k,) that are lost judged by a read of each, taken afterwards.

        The read stands at the last attempt of its cell, which stays flagged UNKNOWN: which pulse it verifies nobody
        knows, so that none counts as one that failed or switched.
        """
        last = np.zeros(len(self.verified), np.int64)
        last[self.cell] = np.arange(len(self.cell))
        current, flag = self.current.copy(), self.flag.copy()
        verified, short = self.verified.copy(), self.short.copy()
        read, flags = reading.current[:, 0], reading.flag[:, 0]
        current[last[cells]] = read
        flag[last[cells]] |= flags
        with np.errstate(invalid="ignore"):
            state = read / plan.v_read > plan.cut[cells]
        verified[cells] = (state == plan.target[cells]) & (flags == 0)
        short[cells] = (flags & Flag.COMPLIANCE) != 0
        return replace(self, current=current, flag=flag, verified=verified, short=short)


Operation = Sense | Pulse | WritePlan
