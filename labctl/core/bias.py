"""Voltages on the lines of a die, as batches of n patterns.

Patterns act in order: pattern k sees what pattern k-1 did, and a batch may be cut anywhere without changing a result.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Self, overload

import numpy as np
import numpy.typing as npt

from labctl.core.errors import BenchError
from labctl.core.units import Ampere, BoolArray, FloatArray, IntArray, Ratio, Siemens


class Kind(StrEnum):
    """Passive crossbar, or one transistor per cell."""

    PASSIVE = "passive"
    ONE_T_ONE_R = "1T1R"


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


class Nominal:
    """Nominal conductances at the read voltage of the cells of each kernel, for cells that are not surveyed yet.

    Kernels may differ in size, so there is no conductance without its kernel: every method takes the kernel of a cell,
    a number, or the kernels of n cells, (n,), and returns likewise.

    Args:
        g_p: of each kernel of the die, (kernels,) S.
        g_ap: likewise.

    >>> nominal = Nominal([4e-4, 9e-4], [1e-4, 4e-4])
    >>> round(1e4 * nominal.cut(1), 9)
    6.0
    >>> nominal.tmr(np.array([0, 0, 1])).tolist()
    [3.0, 3.0, 1.25]
    """

    def __init__(self, g_p: Sequence[Siemens], g_ap: Sequence[Siemens]) -> None:
        states = np.array([g_p, g_ap], np.float64)
        if states.ndim != 2 or not states.shape[1] or not (np.isfinite(states) & (states > 0)).all():
            raise BenchError(f"nominal conductances are positive, one pair per kernel, not {g_p} and {g_ap} S")
        states.flags.writeable = False
        self._g_p, self._g_ap = states
        self._cut, self._tmr = np.sqrt(self._g_p * self._g_ap), self._g_p / self._g_ap - 1

    @classmethod
    def alike(cls, g_p: Siemens, g_ap: Siemens, kernels: int) -> Self:
        """Return the conductances of a die whose `kernels` kernels do not differ."""
        return cls([g_p] * kernels, [g_ap] * kernels)

    @property
    def kernels(self) -> int:
        """Kernels that the conductances are of."""
        return len(self._g_p)

    def fits(self, geometry: Geometry) -> None:
        """Raise BenchError unless there is one pair of conductances per kernel of `geometry`."""
        if self.kernels != geometry.kernels:
            raise BenchError(f"nominal conductances of {self.kernels} kernels for a die of {geometry.kernels}")

    @overload
    def g_p(self, kernel: int) -> Siemens: ...
    @overload
    def g_p(self, kernel: IntArray) -> FloatArray: ...
    def g_p(self, kernel: int | IntArray) -> Siemens | FloatArray:
        """Return G_P, in S."""
        return _of(self._g_p, kernel)

    @overload
    def g_ap(self, kernel: int) -> Siemens: ...
    @overload
    def g_ap(self, kernel: IntArray) -> FloatArray: ...
    def g_ap(self, kernel: int | IntArray) -> Siemens | FloatArray:
        """Return G_AP, in S."""
        return _of(self._g_ap, kernel)

    @overload
    def cut(self, kernel: int) -> Siemens: ...
    @overload
    def cut(self, kernel: IntArray) -> FloatArray: ...
    def cut(self, kernel: int | IntArray) -> Siemens | FloatArray:
        """Return the geometric mean of G_P and G_AP, in S: above it a cell reads P."""
        return _of(self._cut, kernel)

    @overload
    def tmr(self, kernel: int) -> Ratio: ...
    @overload
    def tmr(self, kernel: IntArray) -> FloatArray: ...
    def tmr(self, kernel: int | IntArray) -> Ratio | FloatArray:
        """Return the TMR, the resistance in series with a junction included."""
        return _of(self._tmr, kernel)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Nominal):
            return NotImplemented
        return np.array_equal(self._g_p, other._g_p) and np.array_equal(self._g_ap, other._g_ap)

    def __hash__(self) -> int:
        return hash((self._g_p.tobytes(), self._g_ap.tobytes()))

    def __repr__(self) -> str:
        return f"Nominal({self._g_p.tolist()}, {self._g_ap.tolist()})"


def _of(values: FloatArray, kernel: int | IntArray) -> float | FloatArray:
    """Return the value of `kernel`, or of each of (n,) kernels."""
    if isinstance(kernel, np.ndarray):
        return np.asarray(values[kernel])
    return float(values[kernel])


def _matrix(name: str, value: npt.ArrayLike) -> FloatArray:
    array = np.asarray(value, dtype=np.float64)
    if array.ndim != 2:
        raise BenchError(f"{name} has shape {array.shape}; expected (patterns, lines)")
    if not np.isfinite(array).all():
        raise BenchError(f"{name} holds NaN or infinity; a line left open is marked in the mask 'floating'")
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
