"""The operating point of one pattern on a kernel of a chip, whatever it is: floating lines, compliance, any gates.

The unknowns are the currents of the cells and the potentials of the lines that no source holds. Between given
potentials of its lines a cell's current is exact (`sim_backend.chip_cell`), wires are sums, and Newton's method takes
all cells together. One pattern at a time, with a matrix over all cells that conduct: exact and slow.

A line without a source rises or falls until its transistors cut it off, where nothing but a leak holds it. What
Newton's method does not reach there is followed from a large leak to the small one, as SPICE steps its gmin.
"""

from typing import NamedTuple

import numpy as np

from labctl.core.errors import LabError
from labctl.core.units import Ampere, BoolArray, FloatArray, IntArray
from sim_backend.chip_cell import StackLaw, Stacks
from sim_backend.circuit import OperatingPoint
from sim_backend.description import Lines

_CONVERGED = 1e-11
"""Of the largest voltage: the change of line potentials that ends an iteration."""
_ROUNDING = 1e-13
"""Of the largest voltage: what a junction's is known to."""
_LEAK = 1e-15
"""S from every line without a source to the sense reference, so that one that nothing else holds is at 0 V."""
_LEAKS = np.logspace(-3, -12, 10)
"""S, the leaks by way of which a point is reached that Newton's method misses at once. The last one is SPICE's: a
smaller one is lost in the rounding of the currents."""
_CUT_OFF = 1e-3
"""Of the current of such a leak: what lines are balanced to, where their potential moves more than currents tell."""
_STEPS = 40
"""Newton steps with one leak."""
_SLACK = 1e-9
"""Of a compliance: what counts as rounding."""


class Kernel:
    """The conducting cells of a kernel, with the wires that they share.

    Args:
        stacks: (n_rows, n_cols) each.
    """

    def __init__(self, law: StackLaw, stacks: Stacks, lines: Lines) -> None:
        shape = stacks.g_p.shape
        whole = Stacks(*(np.broadcast_to(x, shape) for x in stacks))
        self._law, self._shape = law, shape
        self.cells: IntArray = np.flatnonzero(whole.g_p > 0.0)
        self._stacks = Stacks(*(x.ravel()[self.cells] for x in whole))
        row, col = np.divmod(self.cells, shape[1])
        m = shape[0]
        nearer = np.minimum.outer(col, col) + 1
        lower = m - np.maximum.outer(row, row)
        # ohm that the currents of two cells share, along rows and along columns
        self._along = np.equal.outer(row, row) * (lines.r_source + lines.r_row * nearer)
        self._down = np.equal.outer(col, col) * (lines.r_sense + lines.r_col * lower)
        self._to_row, self._to_col = np.zeros((2, len(row), sum(shape)))
        each = np.arange(len(row))
        self._to_row[each, row] = self._to_col[each, m + col] = 1.0

    def point(self, source: FloatArray, driven: BoolArray, compliance: Ampere) -> OperatingPoint:
        """Return the condition with the `driven` lines (lines,) at `source` V or limited to `compliance` A.

        The line whose current is most in excess goes into compliance, until none is left; one that no longer needs its
        limit is released. A floating line that nothing drives is at 0 V.

        Raises:
            LabError: the iteration does not converge.
        """
        lines = len(source)
        limited: BoolArray = np.zeros(lines, np.bool_)
        forced: FloatArray = np.zeros(lines)
        e: FloatArray = np.where(driven, source, 0.0)
        i: FloatArray = np.zeros(len(self.cells))
        for _ in range(4 * lines):
            e, i, v = self._settle(np.where(driven & ~limited, source, e), i, ~driven | limited, forced)
            into = (self._to_row - self._to_col).T @ i
            excess = np.where(driven & ~limited, np.abs(into) / compliance - 1.0, 0.0)
            beyond = np.where(limited, (e - source) * np.sign(forced), 0.0)
            if excess.max(initial=0.0) > _SLACK:
                line = int(np.argmax(excess))
                limited[line], forced[line] = True, np.copysign(compliance, into[line])
            elif beyond.max(initial=0.0) > _SLACK:
                line = int(np.argmax(beyond))
                limited[line], forced[line] = False, 0.0
            else:
                junction = np.zeros(self._shape[0] * self._shape[1])
                junction[self.cells] = v
                return OperatingPoint(junction, e, into, limited)
        raise LabError("the current limits of the simulated chip do not settle at this bias")

    def _settle(
        self, e: FloatArray, i: FloatArray, free: BoolArray, forced: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return line potentials, cell currents and junction voltages, the lines `free` carrying `forced` A.

        A line without a source on which every transistor is cut off has the leak alone for a slope, so that one step
        may lead anywhere.
        """
        f = np.flatnonzero(free)
        at, _ = self._newton(e, i, f, forced, _LEAK)
        if at is not None:
            return at
        for leak in _LEAKS:
            at, nearest = self._newton(e, i, f, forced, float(leak), _CUT_OFF)
            e, i = nearest if at is None else at[:2]
        if at is None:
            raise LabError("the operating point of the simulated chip does not converge at this bias")
        return at

    def _newton(
        self, e: FloatArray, i: FloatArray, f: IntArray, forced: FloatArray, leak: float, cut_off: float = 0.0
    ) -> tuple[tuple[FloatArray, FloatArray, FloatArray] | None, tuple[FloatArray, FloatArray]]:
        """Return the point, None if it is not reached, and the potentials and currents of the last iteration."""
        n = len(i)
        ends = (self._to_row - self._to_col)[:, f]
        size = max(float(np.abs(e).max(initial=0.0)), 1e-3)
        here = self._residual(e, i, f, ends, forced, leak)
        for _ in range(_STEPS):
            matrix = np.zeros((n + len(f), n + len(f)))
            matrix[:n, :n] = here.by_row[:, None] * self._along + here.by_col[:, None] * self._down
            matrix[np.arange(n), np.arange(n)] += 1.0
            matrix[:n, n:] = here.by_col[:, None] * self._to_col[:, f] - here.by_row[:, None] * self._to_row[:, f]
            matrix[n:, :n] = ends.T
            matrix[np.arange(n, n + len(f)), np.arange(n, n + len(f))] = leak
            step, before = np.linalg.solve(matrix, -here.wrong), np.abs(here.wrong).sum()
            for share in 0.5 ** np.arange(12):
                e_new, i_new = e.copy(), i + share * step[:n]
                e_new[f] += share * step[n:]
                here = self._residual(e_new, i_new, f, ends, forced, leak)
                if np.abs(here.wrong).sum() < (1.0 - 0.1 * share) * before:
                    break
            drop = np.abs((self._along + self._down) @ (i_new - i)).max(initial=0.0)
            moved = max(float(np.abs(e_new - e).max(initial=0.0)), float(drop))
            e, i = e_new, i_new
            wrong = float(np.abs(here.wrong).max(initial=0.0))
            rounding = _ROUNDING * size * float(self._stacks.g_p.max(initial=0.0))
            allowed = _CONVERGED * float(np.abs(i).max(initial=0.0)) + rounding
            if (moved <= _CONVERGED * size and wrong <= allowed) or wrong <= cut_off * leak * size:
                return (e, i, here.junction), (e, i)
        return None, (e, i)

    def _residual(
        self, e: FloatArray, i: FloatArray, f: IntArray, ends: FloatArray, forced: FloatArray, leak: float
    ) -> "_Residual":
        """Return what is wrong with cell currents i (cells,) and line potentials e (lines,), of which f are free."""
        row, col = self._to_row @ e - self._along @ i, self._to_col @ e + self._down @ i
        v = self._law.solve(row, col, self._stacks)
        here = self._law.balance(v, row, col, self._stacks)
        per_rise = np.divide(here.slope, here.rise, out=np.zeros_like(v), where=here.rise > 0.0)
        wrong = np.concatenate([i - here.current, ends.T @ i + leak * e[f] - forced[f]])
        return _Residual(wrong, per_rise * here.upper, per_rise * here.lower, v)


class _Residual(NamedTuple):
    """Currents (cells + free lines,) A that are wrong; derivatives (cells,) S to row and column; (cells,) V."""

    wrong: FloatArray
    by_row: FloatArray
    by_col: FloatArray
    junction: FloatArray
