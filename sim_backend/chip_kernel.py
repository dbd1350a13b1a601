"""One kernel of a chip with several gates open at once, all lines driven and all columns at one potential: inference.

Column currents are polynomials of the row voltages. Alone, a row's currents are computed exactly, transistors and wires
included (`sim_backend.chip_row`), at a few voltages. What they have beyond the linear network at 0 V is written as x^2
to x^5 and put into that network, which is solved exactly with all rows together. Rows then still act on each other
where transistors are not linear: the currents of the others lift the source of a row's transistor along a column's
wire. That is a product of two sums over the rows, since the resistance that two cells of a column share is close to a
product.

So read-out costs two small matrix products instead of one over all cells. Against the full solution of 25 x 25 kernels
with shorts, 0.5 ohm per segment and inputs of 0.1 V of both signs, the transistors 0.2 V above threshold, currents are
within 6e-4 of a pattern's largest, 1.3e-4 rms, which is less than the noise.
"""

import numpy as np

from labctl.core.units import FloatArray, IntArray, Kelvin, Siemens, Volt
from sim_backend.chip_cell import StackLaw, Stacks
from sim_backend.chip_row import row_point
from sim_backend.crossbar import ResistorNetwork
from sim_backend.description import Lines
from sim_backend.noise import bias_noise

BLOCK = 128
"""Patterns of one matrix product; a pattern's running number gives its place in it."""
_BLOCKS_AT_ONCE = 8  # the working set then fits the cache
RANGES: tuple[Volt, ...] = (0.125, 0.25)
"""Row voltages up to which a polynomial holds; a pattern takes the first that is enough."""
_AT = np.cos(np.pi * (2 * np.arange(5) + 1) / 10)[[0, 1, 3, 4]]
"""Points of the fit over the range: the Chebyshev nodes of five without 0, where the current is 0."""
_ENDS = np.array([-1.0, 1.0])
_MISFIT = 1e-3
"""Of a column's current with all rows at an end of the range: what a polynomial may miss there, else none is used."""
_LIFT: Volt = 5e-3
"""At a column node, for the curvature of a cell's current there."""


def network(branch: FloatArray, lines: Lines) -> ResistorNetwork:
    """Return the network of (n_rows, n_cols) S from row to column nodes."""
    return ResistorNetwork(branch, r_row=lines.r_row, r_col=lines.r_col, r_source=lines.r_source, r_sense=lines.r_sense)


class ReadOut:
    """Column currents for input vectors on the rows, all columns at one potential.

    Args:
        law: of junctions and transistors.
        stacks: (n_rows, n_cols) each, voltages counted from the columns' potential.
        lines: resistances of the wires.
        reach: V, row voltages up to which it shall hold, above the columns and below.
        kelvin: of the junctions.
    """

    def __init__(self, law: StackLaw, stacks: Stacks, lines: Lines, reach: Volt, kelvin: Kelvin) -> None:
        g_p, tmr, above, inverse_gain = (np.broadcast_to(x, stacks.g_p.shape) for x in stacks)
        m, n = g_p.shape
        low = g_p / (1.0 + tmr)
        zero = np.zeros_like(above)
        channel = law.law(above, zero, zero)
        branch = low * channel.upper / np.maximum(low * inverse_gain + channel.upper, 1e-300)
        net = network(branch, lines)
        self._kinked = law.law.body_effect > 0.0
        self._alone = _Alone(law, Stacks(g_p, tmr, above, inverse_gain), lines, branch, reach)
        self.share: FloatArray = np.divide(branch, low, out=np.zeros_like(low), where=low > 0.0)
        """(n_rows, n_cols), of a cell's voltage across its junction"""
        self.branch = branch
        """(n_rows, n_cols) S, small-signal conductance of each cell"""
        self._quiet, self._noisy = branch.sum(axis=0), self._bias_noise(reach, kelvin)
        self.holds = self._alone.misfit <= _MISFIT
        """whether the polynomials meet the currents of single rows at the ends of the range"""
        # (n_cols, n_rows, n_cols), by reciprocity the current out of each column per ampere in a cell
        into_column = -np.nan_to_num(net.cell_voltage(np.eye(m + n)[m:]))
        self._first, self._higher = self._matrices(net.transfer, into_column, lines)

    def _bias_noise(self, reach: Volt, kelvin: Kelvin) -> FloatArray:
        """Return (2, n_rows, n_cols) S / V^2 and S / V^4: what x^2 and x^4 on the rows add to the noise of columns.

        A junction adds G (u coth u - 1), of which the square of its share of the stack's resistance arrives. The two
        terms meet that at the end of the range and at six tenths of it. Elsewhere they meet the whole noise within
        0.5 % up to 0.125 V, and within 5 % up to 0.25 V.
        """
        at = np.array([0.6, 1.0]) * reach
        added = (self.branch * self.share) * bias_noise(at[:, None, None] * self.share, kelvin)
        return np.asarray(np.einsum("pk,kij->pij", np.linalg.inv(np.stack([at**2, at**4], axis=1)), added))

    def _matrices(self, transfer: FloatArray, into: FloatArray, lines: Lines) -> tuple[FloatArray, FloatArray]:
        """Return what x, x^2 and what x^3 to x^5 are multiplied by.

        The first gives column currents, how much columns are lifted, and what their cells lose by that; the second adds
        to the currents.
        """
        m, n = transfer.shape
        alone, own = self._alone, into[np.arange(n), :, np.arange(n)].T  # (m, n)
        lift, itself = self._lift(lines)
        size, modes = np.linalg.eigh(0.5 * (lift + lift.T))
        mode = modes[:, -1]
        # a row's lift of its own node is in its own currents already, but for what other rows take of it
        twice = size[-1] * np.square(mode) - np.diagonal(lift) + itself
        its_own, bend = twice[:, None] * alone.current, own * alone.bend
        lifted = own * alone.lifted + 2.0 * bend * its_own
        of_itself = (own * alone.lifted + bend * its_own)[:, None] * its_own
        excess = np.einsum("pij,cij->pic", alone.excess, into, optimize=True)
        excess[:3] += np.stack([of_itself[0, 0], of_itself[0, 1] + of_itself[1, 0], of_itself[1, 1]])
        self._bend: FloatArray = np.square(mode) @ bend
        first = [np.concatenate([transfer, excess[0]])]
        first.append((size[-1] * mode[:, None] * alone.current).reshape(2 * m, n))
        first.append((-mode[:, None] * lifted).reshape(2 * m, n))
        return np.ascontiguousarray(np.concatenate(first, axis=1)), np.ascontiguousarray(excess[1:].reshape(3 * m, n))

    def _lift(self, lines: Lines) -> tuple[FloatArray, FloatArray]:
        """Return ohm by which the current of each row alone lifts the nodes of a column, (n_rows, n_rows).

        The other rows take some of the current, in a column of mean conductances. Also (n_rows,) ohm: what a row's
        current lifts its own node by.
        """
        row = np.arange(len(self.branch))
        shared = lines.r_sense + lines.r_col * (len(row) - np.maximum.outer(row, row))
        load, alone = self.branch.mean(axis=1), np.diagonal(shared)
        return np.linalg.solve(np.eye(len(row)) + shared * load, shared) * (1.0 + load * alone), alone

    def __call__(self, x: FloatArray, number: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return the (n, n_cols) A out of the columns for x (n, n_rows) V above them, with these running numbers.

        And (n, n_cols) S, whose Johnson noise is the thermal and shot noise of these currents.
        """
        blocks, block = np.unique(number // BLOCK, return_inverse=True)
        place = block.reshape(-1) * BLOCK + number % BLOCK
        m, n_cols = x.shape[1], self._higher.shape[1]
        whole = len(place) == len(blocks) * BLOCK and bool((np.diff(place) == 1).all())
        current, noise = np.empty((len(blocks) * BLOCK, n_cols)), np.empty((len(blocks) * BLOCK, n_cols))
        if whole:
            padded = np.ascontiguousarray(x)
        else:
            padded = np.zeros((len(blocks) * BLOCK, m))
            padded[place] = x
        for k in range(0, len(blocks), _BLOCKS_AT_ONCE):
            part = slice(k * BLOCK, min(k + _BLOCKS_AT_ONCE, len(blocks)) * BLOCK)
            v = padded[part]
            low, high = np.empty((len(v), 2 * m)), np.empty((len(v), 3 * m))
            low[:, :m] = v
            square = np.multiply(v, v, out=low[:, m:])
            np.multiply(square, v, out=high[:, :m])
            np.multiply(square, square, out=high[:, m : 2 * m])
            if self._kinked:
                np.multiply(np.abs(v), v, out=high[:, 2 * m :])
            else:
                np.multiply(square, high[:, :m], out=high[:, 2 * m :])
            first = (low.reshape(-1, BLOCK, 2 * m) @ self._first).reshape(len(v), 3 * n_cols)
            lifted = first[:, n_cols : 2 * n_cols]
            loses = lifted * self._bend
            loses += first[:, 2 * n_cols :]
            loses *= lifted
            loses += first[:, :n_cols]
            total = (high.reshape(-1, BLOCK, 3 * m) @ self._higher).reshape(len(v), n_cols)
            total += loses
            current[part] = total
            added = low.reshape(-1, BLOCK, 2 * m)[:, :, m:] @ self._noisy[0]
            added += high.reshape(-1, BLOCK, 3 * m)[:, :, m : 2 * m] @ self._noisy[1]
            noise[part] = added.reshape(len(v), n_cols)
        noise += self._quiet
        return (current, noise) if whole else (current[place], noise[place])


class _Alone:
    """The currents of each row of a kernel with no other row driven, as polynomials of its voltage.

    Args:
        branch: (n_rows, n_cols) S of the cells at 0 V.

    Attributes:
        excess: (4, n_rows, n_cols), in A beyond the linear current at the cell's voltage, of x^2 to x^5; with a body
            effect, where source and drain change places at 0 V and the curvature jumps, of x |x| instead of x^5.
        current: (2, n_rows, n_cols), of x and x^2 in A.
        lifted: (2, n_rows, n_cols), of x and x^2 in S: what a cell loses in current per volt at its column node,
            beyond `branch`.
        bend: (n_rows, n_cols) A/V^2, what it gains by the square of that voltage at a row of 0 V.
        misfit: of a column's current with all rows at an end of the range, the largest.
    """

    def __init__(self, law: StackLaw, stacks: Stacks, lines: Lines, branch: FloatArray, reach: Volt) -> None:
        m, n = branch.shape
        at = np.concatenate([_AT, _ENDS]) * reach
        k = len(at)
        source = np.tile(at, m)
        # (n_cols, n_rows * points)
        each = Stacks(*(np.repeat(x.T, k, axis=1) for x in stacks))
        below = np.repeat(lines.r_sense + (m - np.arange(m)) * lines.r_col, k)
        grounded, closed = np.zeros((n, m * k)), np.zeros((n, m * k), np.bool_)
        wires = {"r_first": lines.r_source + lines.r_row, "r_row": lines.r_row}
        point = row_point(law, source, grounded, closed, each, below, **wires)
        foot = below * point.current
        here = law.balance(point.junction, point.node, foot, each)
        lifted = np.divide(here.slope * here.lower, here.rise, out=np.zeros_like(foot), where=here.rise > 0.0)
        linear = np.repeat(branch.T, k, axis=1)

        def by_point(of_cells: FloatArray) -> FloatArray:
            return np.moveaxis(of_cells.reshape(n, m, k), (0, 1, 2), (2, 1, 0))  # (points, n_rows, n_cols)

        beyond = by_point(point.current - linear * (point.node - foot))
        fitted = len(_AT)
        terms = at[:, None] ** np.arange(2, 6)
        if law.law.body_effect > 0.0:
            terms[:, 3] = at * np.abs(at)
        self.excess = np.einsum("pk,kij->pij", np.linalg.inv(terms[:fitted]), beyond[:fitted])
        parabola = np.linalg.pinv(at[:fitted, None] ** np.arange(1, 3))
        self.current = np.einsum("pk,kij->pij", parabola, by_point(point.current)[:fitted])
        self.lifted = np.einsum("pk,kij->pij", parabola, by_point(lifted - linear)[:fitted])
        zero, lift = np.zeros(stacks.g_p.size), np.full(stacks.g_p.size, _LIFT)
        flat = Stacks(*(x.ravel() for x in stacks))
        both = [law.balance(law.solve(zero, b, flat), zero, b, flat).current for b in (lift, -lift)]
        self.bend = (both[0] + both[1]).reshape(m, n) / (2.0 * _LIFT**2)
        missed = np.abs(np.einsum("kp,pij->kij", terms[fitted:], self.excess) - beyond[fitted:]).sum(axis=1)
        most = np.abs(by_point(point.current)[fitted:]).sum(axis=1).max(axis=1)
        self.misfit = float(np.divide(missed.max(axis=1), most, out=np.zeros_like(most), where=most > 0.0).max())


def most_conductance(stacks: Stacks, reach: Volt | FloatArray) -> Siemens | FloatArray:
    """Return an upper bound of the conductance of stacks whose lines are within `reach` V of each other, S.

    A transistor conducts at most its gain times the overdrive of the lower terminal, which is at most `reach` below the
    columns.
    """
    over = np.maximum(stacks.above + reach, 0.0)
    return np.asarray(stacks.g_p * over / np.maximum(over + stacks.g_p * stacks.inverse_gain, 1e-300))
