"""A junction and its access transistor in series between two lines, for any number of cells at once.

The unknown is the junction's voltage v. Its current g(v) v is that of the transistor between the nodes that v leaves to
it; their difference rises with v, so that there is one solution, which Newton's method reaches. It is taken over the
gain of the transistor, so that an ideal switch is an ordinary case. Element by element, and every element stops at its
own convergence: no result depends on what else is in a batch.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from labctl.core.units import FloatArray, Volt
from sim_backend.transistor import Side, SquareLaw

_STEPS = 3
"""Newton steps of all cells; what has not converged then goes on by itself."""
_MOST = 80
_CONVERGED = 1e-13
"""V, the step that ends an iteration."""


class Stacks(NamedTuple):
    """Junctions with their transistors; the fields broadcast.

    Args:
        g_p: S, conductance of the junction in P or of its defect; 0 is an open.
        tmr: TMR at low bias of junctions in AP, 0 for all others.
        above: V, gate less threshold, counted like the lines.
        inverse_gain: V^2/A of the transistors; never 0.
    """

    g_p: FloatArray
    tmr: FloatArray
    above: FloatArray
    inverse_gain: FloatArray


class Balance(NamedTuple):
    """Stacks at given junction voltages, not yet balanced.

    Args:
        current: A of the junction. slope: S, its derivative.
        excess: V^2, current of the junction less that of the transistor, over the gain. rise: V, its derivative to the
            junction's voltage.
        upper: V, derivative of the transistor's current over the gain to the row's potential. lower: V, minus that to
            the column's.
    """

    current: FloatArray
    slope: FloatArray
    excess: FloatArray
    rise: FloatArray
    upper: FloatArray
    lower: FloatArray


class StackLaw:
    """What all cells of a die have in common.

    Args:
        law: of the transistors.
        side: line that the junctions are joined to.
        v_half: bias at which the TMR is half, V.
    """

    def __init__(self, law: SquareLaw, side: Side, v_half: Volt) -> None:
        self.law, self.side, self.v_half = law, side, v_half
        self._per_v_half, self._at_row = 1.0 / v_half, side is Side.ROW

    def counted_from(self, base: Volt) -> "StackLaw":
        """Return the law for potentials counted from a point `base` V higher."""
        return StackLaw(replace(self.law, ground=self.law.ground + base), self.side, self.v_half) if base else self

    def balance(
        self,
        v: FloatArray,
        row: FloatArray,
        col: FloatArray,
        stacks: Stacks,
        below: FloatArray | float = 0.0,
        beside: FloatArray | None = None,
    ) -> Balance:
        """Return stacks at the junction voltages v, between lines at `row` and `col` V behind resistances in ohm.

        Args:
            below: between the cell and where the column is at `col`. beside: between it and where the row is at `row`.
        """
        g_p, tmr, above, inverse_gain = stacks
        bias = np.square(v * self._per_v_half)
        w = bias + 1.0
        lowered = w + tmr
        g = g_p * (w / lowered)
        current, slope = g * v, g + 2.0 * g_p * tmr * (bias / np.square(lowered))
        a, b = row if beside is None else row - beside * current, col + below * current
        if self._at_row:
            through, upper, lower = self.law(above, a - v, b)
            rise = upper + lower * (below * slope)
        else:
            through, upper, lower = self.law(above, a, b + v)
            rise = lower + lower * (below * slope)
        rise += inverse_gain * slope
        if beside is not None:
            rise += upper * (beside * slope)
        return Balance(current, slope, inverse_gain * current - through, rise, upper, lower)

    def start(
        self, row: FloatArray, col: FloatArray, stacks: Stacks, resistance: FloatArray | float = 0.0
    ) -> FloatArray:
        """Return junction voltages to begin with: those of linear junctions and transistors without a body effect.

        Then the balance is a quadratic equation. Resistances in series count as if they were the junction's.
        """
        g_p, tmr, above, inverse_gain = stacks
        low = g_p / (1.0 + tmr)
        share = 1.0 / (1.0 + low * resistance)
        taken = inverse_gain * (low * share)
        near, far = (above - row, above - col) if self._at_row else (above - col, above - row)
        # taken u + max(near + u, 0)^2 / 2 = max(far, 0)^2 / 2; where near + u < 0 the transistor is saturated
        square, total = np.square(np.maximum(far, 0.0)), near + taken
        u = np.sqrt(np.maximum(taken * (near + total) + square, 0.0)) - total
        u = np.where(near + u < 0.0, square / np.maximum(2.0 * taken, 1e-300), u)
        return np.asarray(u * share if self._at_row else -u * share)

    def solve(
        self,
        row: FloatArray,
        col: FloatArray,
        stacks: Stacks,
        below: FloatArray | float = 0.0,
        beside: FloatArray | float = 0.0,
    ) -> FloatArray:
        """Return the (n,) V of junctions between lines at `row` and `col`, (n,) V each; resistances as in `balance`.

        A cell behind a closed transistor has none.
        """
        low, high = np.minimum(row - col, 0.0), np.maximum(row - col, 0.0)
        v, step = self.start(row, col, stacks, below + beside), np.zeros_like(low)
        beside = np.asarray(beside)
        for _ in range(_STEPS):
            v, step, low, high = self._newton(v, low, high, self.balance(v, row, col, stacks, below, beside))
        left = np.flatnonzero(np.abs(step) > _CONVERGED)
        for _ in range(_MOST):
            if not len(left):
                break
            some = [np.broadcast_to(x, v.shape)[left] for x in (row, col, *stacks, below, beside)]
            here = self.balance(v[left], some[0], some[1], Stacks(*some[2:6]), some[6], some[7])
            v[left], step, low[left], high[left] = self._newton(v[left], low[left], high[left], here)
            left = left[np.abs(step) > _CONVERGED]
        return v

    @staticmethod
    def _newton(
        v: FloatArray, low: FloatArray, high: FloatArray, here: Balance
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Return the next voltages, their steps, and closer brackets: bisection where Newton's step leaves them."""
        high = np.where(here.excess > 0.0, np.minimum(v, high), high)
        low = np.where(here.excess < 0.0, np.maximum(v, low), low)
        step = np.divide(here.excess, here.rise, out=np.zeros_like(v), where=here.rise > 0.0)
        after = v - step
        after = np.where((after < low) | (after > high), 0.5 * (low + high), after)
        return after, after - v, low, high
