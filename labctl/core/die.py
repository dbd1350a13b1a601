"""A die is a function from line voltages to column currents, with memory.

These are the nouns that everybody shares: what is applied (`Bias`, `Pulse`, `WritePlan`), what is read (`Sense`,
`Reading`, `Attempts`) and who answers (`Die`). All arrays are batches over n patterns; patterns act in order, pattern k
sees what pattern k-1 did, and a batch may be cut anywhere without changing a result.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import IntFlag, StrEnum
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from labctl.core.errors import BenchError
from labctl.core.units import Ampere, BoolArray, FloatArray, IntArray, Second, Siemens, Volt


class Kind(StrEnum):
    """Passive crossbar, or one transistor per cell."""

    PASSIVE = "passive"
    ONE_T_ONE_R = "1T1R"


class Flag(IntFlag):
    """What is wrong with one reading; 0 is a good one."""

    COMPLIANCE = 1
    OVERRANGE = 2
    INVALID = 4
    UNKNOWN = 8


FlagArray = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Geometry:
    """Shape of a die: `kernels` crossbars of `n_rows` x `n_cols` cells.

    Args:
        polarity: +1 if V_row - V_col > 0 writes P, -1 if it writes AP.
    """

    kernels: int
    n_rows: int
    n_cols: int
    kind: Kind = Kind.PASSIVE
    polarity: int = 1

    def __post_init__(self) -> None:
        if min(self.kernels, self.n_rows, self.n_cols) < 1:
            raise BenchError(f"a die has at least one kernel, row and column, not {self}")
        if self.polarity not in (1, -1):
            raise BenchError(f"polarity is 1 or -1, not {self.polarity}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(kernels, n_rows, n_cols)."""
        return self.kernels, self.n_rows, self.n_cols


@dataclass(frozen=True)
class Nominal:
    """Nominal conductances of a cell at the read voltage, for what has not been surveyed yet."""

    g_p: Siemens
    g_ap: Siemens

    @property
    def cut(self) -> Siemens:
        """Geometric mean: above it a cell reads P."""
        return float(np.sqrt(self.g_p * self.g_ap))


def _matrix(name: str, value: npt.ArrayLike) -> FloatArray:
    array = np.asarray(value, dtype=np.float64)
    if array.ndim != 2:
        raise BenchError(f"{name} has shape {array.shape}; expected (patterns, lines)")
    if not np.isfinite(array).all():
        raise BenchError(f"{name} holds NaN or infinity; a line left open is said in the mask 'floating'")
    return array


@dataclass(frozen=True, eq=False)
class Bias:
    """Voltages on the lines of one kernel per pattern, n patterns. Always finite; broadcast views are fine.

    Args:
        row: (n, n_rows) V.
        col: (n, n_cols) V.
        gate: (n, n_rows) V on the gate lines of a 1T1R kernel; gate i opens row i.
        floating: (n, n_rows + n_cols), lines left open, rows first; their voltages are ignored.
        kernel: kernel of each pattern, one number or (n,).
        compliance: limit on the magnitude of the current of every driven line, A.
        pulsed: line (rows first, then columns) that alone makes a pulse's width, one number or (n,); the other lines
            go up before it and come down after it. -1: all lines move together.
    """

    row: FloatArray
    col: FloatArray
    gate: FloatArray | None = None
    floating: BoolArray | None = None
    kernel: IntArray = field(default_factory=lambda: np.zeros((), np.int64))
    compliance: Ampere = 5e-3
    pulsed: IntArray = field(default_factory=lambda: np.full((), -1, np.int64))

    def __post_init__(self) -> None:
        row, col = _matrix("bias.row", self.row), _matrix("bias.col", self.col)
        n = row.shape[0]
        if col.shape[0] != n:
            raise BenchError(f"bias.row has {n} patterns and bias.col {col.shape[0]}")
        object.__setattr__(self, "row", row)
        object.__setattr__(self, "col", col)
        if self.gate is not None:
            gate = _matrix("bias.gate", self.gate)
            if gate.shape != row.shape:
                raise BenchError(f"bias.gate has shape {gate.shape}, bias.row {row.shape}")
            object.__setattr__(self, "gate", gate)
        if self.floating is not None:
            floating = np.asarray(self.floating)
            if floating.dtype != np.bool_ or floating.shape != (n, row.shape[1] + col.shape[1]):
                raise BenchError(
                    f"bias.floating is {floating.dtype} {floating.shape}; expected bool (n, rows + columns)"
                )
            object.__setattr__(self, "floating", floating)
        for name in ("kernel", "pulsed"):
            value = np.asarray(getattr(self, name))
            if value.dtype.kind not in "iu" or value.shape not in ((), (n,)):
                raise BenchError(f"bias.{name} is {value.dtype} {value.shape}; expected whole numbers, one or (n,)")
            object.__setattr__(self, name, np.broadcast_to(value.astype(np.int64), (n,)))
        if not (np.isfinite(self.compliance) and self.compliance > 0):
            raise BenchError(f"compliance must be a positive current, not {self.compliance} A")

    def __len__(self) -> int:
        return int(self.row.shape[0])

    def take(self, index: slice | IntArray) -> Self:
        """Return the patterns at `index`, in that order."""
        return replace(
            self,
            row=self.row[index],
            col=self.col[index],
            gate=None if self.gate is None else self.gate[index],
            floating=None if self.floating is None else self.floating[index],
            kernel=self.kernel[index],
            pulsed=self.pulsed[index],
        )

    def scaled(self, factor: npt.ArrayLike) -> Self:
        """Return the same patterns with row and column voltages times `factor`, one number or (n,); gates stay."""
        f = np.broadcast_to(np.asarray(factor, dtype=np.float64), (len(self),))[:, None]
        return replace(self, row=self.row * f, col=self.col * f)

    def fits(self, geometry: Geometry) -> None:
        """Raise BenchError unless the lines and kernels are those of `geometry`."""
        if (self.row.shape[1], self.col.shape[1]) != (geometry.n_rows, geometry.n_cols):
            raise BenchError(
                f"bias for {self.row.shape[1]} x {self.col.shape[1]} lines; the die has "
                f"{geometry.n_rows} x {geometry.n_cols}"
            )
        if len(self) and not (int(self.kernel.min()) >= 0 and int(self.kernel.max()) < geometry.kernels):
            raise BenchError(
                f"kernel {int(self.kernel.max())} is not on this die, which has {geometry.kernels} (numbered from 0)"
            )
        if len(self) and not (int(self.pulsed.min()) >= -1 and int(self.pulsed.max()) < sum(geometry.shape[1:])):
            raise BenchError("bias.pulsed names a line that the kernel does not have")
        if (self.gate is not None) != (geometry.kind is Kind.ONE_T_ONE_R):
            raise BenchError(f"a {geometry.kind} die {'needs' if self.gate is None else 'has no'} gate voltages")


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
        if not (np.isfinite(self.aperture) and self.aperture > 0):
            raise BenchError(f"the aperture must be a positive time, not {self.aperture} s")
        object.__setattr__(self, "cols", np.broadcast_to(cols.astype(np.int64), (n, cols.shape[-1])))

    def __len__(self) -> int:
        return len(self.bias)

    def take(self, index: slice | IntArray) -> Self:
        """Return the patterns at `index`, in that order."""
        return replace(self, bias=self.bias.take(index), cols=self.cols[index])


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
        if not (np.isfinite(self.width) and self.width > 0):
            raise BenchError(f"the pulse width must be a positive time, not {self.width} s")
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
    """What came back, n patterns of m columns.

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

    @classmethod
    def join(cls, parts: Iterable["Reading"]) -> "Reading":
        """Return the readings of consecutive pieces of one batch as one."""
        found = list(parts)
        return cls(*(np.concatenate([getattr(p, name) for p in found]) for name in ("current", "flag", "pulse_flag")))

    @classmethod
    def unknown(cls, n: int, m: int) -> "Reading":
        """Return n patterns of which nothing is known: NaN, flagged UNKNOWN."""
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


@dataclass(frozen=True, eq=False)
class Attempts:
    """Every attempt of a write plan, a attempts in the order they were made, and how each of N cells ended.

    Args:
        cell: (a,), index into the plan.
        attempt: (a,), 1 for the first pulse of that cell.
        voltage: (a,) V, magnitude at the selected cell.
        current: (a,) A, the verify read.
        flag: (a,), `Flag` of the verify read.
        pulse_flag: (a,), `Flag` of the force side during the pulse: COMPLIANCE is a line in compliance, whoever on
            it draws the current, and convicts no cell.
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


Operation = Sense | Pulse | WritePlan


@runtime_checkable
class Die(Protocol):
    """What protocols see of a die, real or simulated, bare or behind the limits."""

    @property
    def geometry(self) -> Geometry:
        """Shape of the die."""
        ...

    @property
    def nominal(self) -> Nominal:
        """Nominal conductances, for what has not been surveyed."""
        ...

    def check(self, operation: Operation) -> Second:
        """Return the predicted time of `operation`, in s; BenchError if it cannot be realised. No I/O."""
        ...

    def sense(self, sense: Sense) -> Reading:
        """Read the column currents of n patterns."""
        ...

    def pulse(self, pulse: Pulse) -> Reading:
        """Apply n pulses, each followed by its verify read; without `verify` the reading has no columns."""
        ...

    def program(self, plan: WritePlan) -> Attempts:
        """Write and verify the cells of `plan`."""
        ...

    def idle(self) -> None:
        """Make every line safe; may be called at any time, twice."""
        ...


def program_by_host(die: Die, plan: WritePlan) -> Attempts:
    """Carry out `plan` with batched pulses: one round per rung, every cell that is still wrong in one batch.

    The default body of `Die.program`. A cell is judged by its own read alone: what the force side met during the
    pulse is noted and changes nothing, because a short elsewhere on a line puts every pulse of that line into
    compliance. A read that was lost (UNKNOWN) is taken again before anything else, and its pulse counts, for it may
    have happened. A cell whose read is flagged gets no further pulse: nobody knows what it would do.
    """
    n = len(plan)
    verified, short, stopped = (np.zeros(n, np.bool_) for _ in range(3))
    rows: list[tuple[Any, ...]] = []
    for k, volts in enumerate(plan.ladder):
        todo = np.flatnonzero(~verified & ~stopped & (plan.budget > k))
        if not len(todo):
            break
        reading = die.pulse(Pulse(plan.write.take(todo).scaled(volts), plan.width, plan.verify.take(todo)))
        current, flag = reading.current[:, 0], reading.flag[:, 0]
        lost = np.flatnonzero(flag & Flag.UNKNOWN)
        if len(lost):
            again = die.sense(plan.verify.take(todo[lost]))
            current, flag = current.copy(), flag.copy()
            current[lost], flag[lost] = again.current[:, 0], again.flag[:, 0]
        with np.errstate(invalid="ignore"):
            state = current / plan.v_read > plan.cut[todo]
        verified[todo] = (state == plan.target[todo]) & (flag == 0)
        short[todo] = (flag & Flag.COMPLIANCE) != 0
        stopped[todo] = flag != 0
        rows.append((todo, np.full(len(todo), k + 1), np.full(len(todo), volts), current, flag, reading.pulse_flag))
    if rows:
        cell, attempt, voltage, current, flag, force = (np.concatenate(column) for column in zip(*rows, strict=True))
    else:
        cell = attempt = np.zeros(0, np.int64)
        voltage = current = np.zeros(0)
        flag = force = np.zeros(0, np.uint8)
    return Attempts(cell, attempt, voltage, current, flag.astype(np.uint8), force.astype(np.uint8), verified, short)
