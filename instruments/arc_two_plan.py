"""What an ArC TWO board can do, known without a connection: its refusals, its times, and the messages it is sent.

Every pattern begins and ends with all lines at 0 V, so no cell sees more on the way than its own levels, and 0 V among
them, which is what limits judge.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from instruments.arc_two_options import AFTER, CLUSTER, PREPARE, STEP, UPDATE, Options, nanoseconds, steps
from instruments.board_plan import BoardPlan, reached
from labctl.core.bias import Bias, Nominal
from labctl.core.cell_voltage import refuse_cell_voltages
from labctl.core.die import unknown_operation
from labctl.core.errors import BenchError
from labctl.core.operations import Operation, Pulse, Sense, WritePlan
from labctl.core.units import BoolArray, IntArray, Second

COMMANDS = 2000
"""Most instructions of one message: of 2048 the library would wait for the board by itself, which nothing bounds."""
PER_READ, PER_CONVERSION, PER_PULSE = 52, 4, 75
"""Most instructions that the library makes of the calls of a read, of each of its conversions, and of a pulse."""
BATCH: Second = 1.0
"""Longest predicted time of one message, unless one pattern takes longer."""


class Plan(BoardPlan):
    """What the board can do, without a connection.

    Args:
        nominal: conductances of the die that is on it.
        polarity: of the die.
    """

    def __init__(self, options: Options, nominal: Nominal, polarity: int) -> None:
        self._options = options
        self._good: BoolArray = np.stack([kernel.good for kernel in options.kernels])
        """(kernels, lines) which may be driven and read."""
        super().__init__(options.geometry, nominal, polarity)

    def without_bad(self, bias: Bias) -> Bias:
        """Return a bias with bad lines floating.

        A pattern whose pulsed line is one of them has no pulse, and all its other lines at 0 V.
        """
        bias.fits(self.geometry)
        good = self._good[bias.kernel]
        if good.all():
            return bias
        n_rows = bias.row.shape[1]
        void = (bias.pulsed >= 0) & ~good[np.arange(len(bias)), bias.pulsed]
        row, col = (np.where(void[:, None], 0.0, volts) for volts in (bias.row, bias.col))
        floating = ~good if bias.floating is None else ~good | bias.floating
        row, col = np.where(good[:, :n_rows], row, 0.0), np.where(good[:, n_rows:], col, 0.0)
        return replace(bias, row=row, col=col, floating=floating, pulsed=np.where(void, -1, bias.pulsed))

    def reached(self, bias: Bias) -> BoolArray:
        """Return (n,) whether a row that is away from 0 V may be connected, or none is away from it."""
        return reached(bias, self._good[bias.kernel][:, : bias.row.shape[1]])

    def applied(self, bias: Bias) -> Bias:
        """Return a bias as the converters apply it, towards 0 V in steps; bad lines float.

        Raises:
            BenchError: a line is out of the reach of the converters.
        """
        bias = self.without_bad(bias)
        on = connected(bias)
        n_rows = bias.row.shape[1]
        row, col = (
            STEP * steps(np.where(driven, volts, 0.0))
            for driven, volts in ((on[:, :n_rows], bias.row), (on[:, n_rows:], bias.col))
        )
        return replace(bias, row=row, col=col)

    def check(self, operation: Operation) -> Second:
        """Return the predicted time, s; BenchError for what converters, drivers or the library cannot do.

        Of a write plan the longest: every budget used up, a message per rung.
        """
        match operation:
            case WritePlan():
                each = self._pulse_time(operation.write.scaled(operation.ladder.max()), operation.width)
                each += self._read_time(operation.verify)
                pulses = np.clip(operation.budget, 0, len(operation.ladder))
                n, most = int(pulses.sum()), self.patterns(True, operation.verify)
                return max(len(operation.ladder), math.ceil(n / most)) * self._options.message + n * each
            case Sense():
                return self._seconds(operation.bias.kernel, self.patterns(False, operation), self._read_time(operation))
            case Pulse(bias=bias, width=width, verify=verify):
                each = self._pulse_time(bias, width)
                if verify is not None:
                    each += self._read_time(verify)
                    if not np.array_equal(bias.kernel, verify.bias.kernel):
                        raise BenchError("a pulse and its verify read are on different kernels; they share one message")
                return self._seconds(bias.kernel, self.patterns(True, verify), each)
        raise unknown_operation(self, operation)

    def patterns(self, pulsed: bool, read: Sense | None) -> int:
        """Return how many patterns go in one message, each a pulse or none, and a read or none."""
        commands = PER_PULSE if pulsed else 0
        if read is not None:
            commands += PER_READ + PER_CONVERSION * self._options.conversions(read.aperture)
        return COMMANDS // commands

    def _seconds(self, kernel: IntArray, most: int, each: Second) -> Second:
        """Return the time of patterns of `each` s on the kernels (n,)."""
        return self._options.message * len(list(messages(kernel, most, each))) + len(kernel) * each

    def _read_time(self, sense: Sense) -> Second:
        """Judge reads; return the time of each, s."""
        self._judge(sense.bias)
        bias = self.without_bad(sense.bias)
        driven = connected(bias)[:, self._geometry.n_rows :] & wanted(sense)
        volts = bias.col[driven]
        if volts.size and np.abs(volts).max() > 0.0:
            wrong = float(volts[np.abs(volts).argmax()])
            raise BenchError(f"a column is read at {wrong:.6g} V; the board reads currents of columns at 0 V")
        options = self._options
        conversions = options.conversions(sense.aperture)
        most = (COMMANDS - PER_PULSE - PER_READ) // PER_CONVERSION
        if conversions > most:
            raise BenchError(
                f"an aperture of {sense.aperture:g} s is {conversions} conversions of {options.conversion:g} s; a "
                f"message to the board has room for {most}"
            )
        return options.read_time(sense.aperture) + conversions * options.fetch

    def _pulse_time(self, bias: Bias, width: Second) -> Second:
        """Judge pulses of one width; return the time of each, s."""
        self._judge(bias)
        bias = self.without_bad(bias)
        nanos = nanoseconds(width)
        each = np.arange(len(bias))
        alone = bias.pulsed >= 0
        if (alone & ~connected(bias)[each, bias.pulsed]).any():
            raise BenchError("the line that makes the width of a pulse floats; expected it driven")
        together = np.flatnonzero(~alone)
        levels = levels_of(bias.take(together))
        for k, own in enumerate(self._options.kernels):
            rise = levels[bias.kernel[together] == k]
            for cluster in np.unique(own.lines // CLUSTER):
                here = rise[:, own.lines // CLUSTER == cluster]
                mixed = (here > 0).any(1) & (here < 0).any(1)
                if mixed.any():
                    raise BenchError(
                        f"a pulse raises one channel of {CLUSTER * cluster} to {CLUSTER * cluster + CLUSTER - 1} and "
                        "lowers another; the board pulses such eight channels in one direction"
                    )
        return PREPARE + 3 * UPDATE + nanos * 1e-9 + AFTER

    def _judge(self, bias: Bias) -> None:
        """Refuse a bias of another shape, out of reach, or beyond the limits as it is applied."""
        applied = self.applied(bias)
        limits = self._limits
        if limits is not None:
            polarity = self.geometry.polarity
            refuse_cell_voltages(applied, polarity, limits.v_towards_p, limits.v_towards_ap, " as the board applies it")


def connected(bias: Bias) -> BoolArray:
    """Return the (n, n_rows + n_cols) lines that are driven."""
    if bias.floating is None:
        return np.ones((len(bias), bias.row.shape[1] + bias.col.shape[1]), np.bool_)
    return ~bias.floating


def levels_of(bias: Bias) -> IntArray:
    """Return the steps (n, n_rows + n_cols) of all lines, rows first; 0 where they float."""
    return steps(np.where(connected(bias), np.concatenate([bias.row, bias.col], axis=1), 0.0))


def wanted(sense: Sense) -> BoolArray:
    """Return the (n, n_cols) columns that are read."""
    mask = np.zeros(sense.bias.col.shape, np.bool_)
    np.put_along_axis(mask, sense.cols, True, axis=1)
    return mask


def messages(kernel: IntArray, most: int, each: Second) -> Iterator[slice]:
    """Yield the parts of n patterns that go in one message each: of one kernel, few enough, about `BATCH` s.

    >>> list(messages(np.array([0, 0, 0, 1]), 2, 1e-3))
    [slice(0, 2, None), slice(2, 3, None), slice(3, 4, None)]
    """
    most = min(most, max(1, math.floor(BATCH / each)))
    edges = [0, *(np.flatnonzero(np.diff(kernel)) + 1).tolist(), len(kernel)]
    for first, end in itertools.pairwise(edges):
        for start in range(first, end, most):
            yield slice(start, min(start + most, end))
