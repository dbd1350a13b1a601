"""From biases of a die to the events of a Daffodil board: codes, connected lines, rest in between, and their time.

The board's columns are driven and have gates: they are our rows. Its rows are read: they are our columns. They are
exchanged here, once. A pulse is an event in which both are driven, a read one in which the amplifiers hold the columns.

**What cells see on the way.** Lines are connected together, and where they were left they stay: while an event begins,
one end of a cell may be at its new level and the other still at its last one. Where that could be more than the two
patterns by themselves, which the limits have judged, an event of rest comes between: gates closed, every line at the
reference.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt

from instruments.board_plan import ROUNDING, reached, whole_ticks
from instruments.daffodil_volts import Analogue
from labctl.boards.daffodil import patterns as wire
from labctl.boards.daffodil import registers as reg
from labctl.core.bias import Bias
from labctl.core.cell_voltage import extremes, one_if_all_alike
from labctl.core.errors import BenchError
from labctl.core.last_known import last_known
from labctl.core.units import BoolArray, FloatArray, IntArray, Second, Volt

DTYPE = np.dtype(
    [
        ("kernel", "u1"),
        ("mode", "u1"),
        ("clocks", "<u4"),
        ("column_on", "<u4"),
        ("row_on", "<u4"),
        ("read", "<u4"),
        ("column", "<u2", reg.LINES),
        ("row", "<u2", reg.LINES),
        ("gate", "<u2", reg.LINES),
    ]
)
"""One pattern as it travels, `labctl.boards.daffodil.patterns.RECORD`."""
_CODES = np.dtype(
    {
        "names": ["codes"],
        "formats": [("<u2", 3 * reg.LINES)],
        "offsets": [DTYPE.itemsize - 6 * reg.LINES],
        "itemsize": DTYPE.itemsize,
    }
)
"""The same, with the codes of columns, rows and gates in one field."""
Records = npt.NDArray[np.void]
"""Patterns, (n,) of `DTYPE`."""
_SLACK: Volt = 1e-9
_MOST_CLOCKS = (1 << 32) - 1
"""That the counter of an event holds."""


@dataclass(frozen=True, eq=False)
class Events:
    """Events, one per pattern.

    Args:
        records: (n,) of `DTYPE`.
        own: (n, 2) V, the highest V_row - V_col and V_col - V_row of each pattern by itself.
        span: (n, 4) V, lowest and highest level of rows, then of columns, that are connected, 0 V among them.
        whole: every line is connected in every pattern.
        levels: returns `held`, which is asked for where a line is not connected.
    """

    records: Records
    own: FloatArray
    span: FloatArray
    whole: bool
    levels: Callable[[], FloatArray]

    def __len__(self) -> int:
        return len(self.records)

    @cached_property
    def held(self) -> FloatArray:
        """Levels (n, rows + columns) V that lines have from then on; NaN where they are not connected."""
        return self.levels()

    @cached_property
    def packed(self) -> str:
        """All of them as they travel in one message."""
        return wire.pack(self.records.tobytes())

    @classmethod
    def woven(cls, first: Self, second: Self) -> Self:
        """Return the events of two batches by turns, such as pulses and their reads."""

        def both(a: FloatArray, b: FloatArray) -> FloatArray:
            return np.stack([a, b], axis=1).reshape(-1, *a.shape[1:])

        return cls(
            np.stack([first.records, second.records], axis=1).reshape(-1),
            both(first.own, second.own),
            both(first.span, second.span),
            first.whole and second.whole,
            lambda: both(first.held, second.held),
        )

    def part(self, place: slice) -> Self:
        """Return the events of some patterns that follow each other."""
        records, own, span = self.records[place], self.own[place], self.span[place]
        return type(self)(records, own, span, self.whole, lambda: self.held[place])

    def rested(self) -> Self:
        """Return the events with rest wherever a transition could show a cell more than the patterns around it."""
        if not len(self):
            return self
        rest = self._exceeds(self.span)
        # open lines only add to what a cell may see; mostly it is known without them that they add nothing
        if not self.whole and (self._exceeds(self._span_at_most) != rest).any():
            rest = self._exceeds(self._span_with_open_lines)
        rest[1:] |= self.records["kernel"][1:] != self.records["kernel"][:-1]
        records = self.records.copy()
        records["mode"] |= np.where(rest, wire.REST, 0).astype(np.uint8)
        return replace(self, records=records)

    def _exceeds(self, span: FloatArray) -> BoolArray:
        """Return (n,) whether a cell could see more on the way to each pattern than in it and the one before.

        Args:
            span: (n, 4) V, of the levels at which each pattern leaves rows and columns.
        """
        left = np.concatenate([np.zeros((1, 4)), span[:-1]])
        low, high = np.minimum(left, span), np.maximum(left, span)
        reached = np.stack([high[:, 1] - low[:, 2], high[:, 3] - low[:, 0]], axis=1)
        judged = np.maximum(self.own, np.concatenate([np.zeros((1, 2)), self.own[:-1]]))
        return np.asarray((reached > judged + _SLACK).any(1))

    @property
    def _span_at_most(self) -> FloatArray:
        """`span`, (n, 4) V, within which lines are that are not connected as well: those of all patterns up to each."""
        low, high = np.minimum.accumulate(self.span, axis=0), np.maximum.accumulate(self.span, axis=0)
        return np.asarray(np.where(np.array([True, False, True, False]), low, high))

    @property
    def _span_with_open_lines(self) -> FloatArray:
        """Like `span`, (n, 4) V, with the levels at which lines were left that are not connected; 0 V at first."""
        connected: BoolArray = ~np.isnan(self.held)
        n_rows, used = self.held.shape[1] // 2, np.asarray(connected.any(0))
        level = last_known(self.held[:, used], connected[:, used], np.zeros(int(used.sum())))
        rows, cols = np.split(level, [int(used[:n_rows].sum())], axis=1)
        lowest_highest = [f(1, initial=0.0) for lines in (rows, cols) for f in (lines.min, lines.max)]
        return np.stack(lowest_highest, axis=1)


@dataclass(frozen=True)
class Pace:
    """Times of a board; see the options of the driver."""

    clock: Second
    settle: Second
    rest: Second
    conversion: Second
    dac_write: Second

    def clocks(self, seconds: Second) -> int:
        """Return the whole clocks of a width, never longer than it: limits that hold for it hold for what is applied.

        Raises:
            BenchError: less than a clock, more than the counter holds, or whole clocks miss it by more than a 20th.
        """
        return whole_ticks(seconds, self.clock, 1, _MOST_CLOCKS, "clocks")

    def read_time(self, aperture: Second, conversions: IntArray) -> FloatArray:
        """Return how long the events of reads last, s: settling, then the aperture or twice the conversions."""
        return np.asarray(self.settle + np.maximum(aperture, 2.0 * self.conversion * conversions))

    def seconds(self, records: Records) -> FloatArray:
        """Return the predicted time of each event, (n,) s, with what is written and converted for it."""
        if not len(records):
            return np.zeros(0)
        codes = records.view(_CODES)["codes"]
        kept = codes == wire.KEEP
        changed = ~kept
        changed[1:] &= (codes[1:] != codes[:-1]) & ~kept[:-1]
        rest = (records["mode"] & wire.REST) > 0
        each = records["clocks"] * self.clock + _number(changed) * self.dac_write
        return np.asarray(each + rest * (self.rest + 2 * reg.LINES * self.dac_write))


class Lines:
    """The lines in use of a board and what its converters make of biases.

    Args:
        bad_rows: ours, which are never connected; their gates stay closed. bad_cols: likewise.
    """

    def __init__(
        self,
        analogue: Analogue,
        n_rows: int,
        n_cols: int,
        bad_rows: frozenset[int] = frozenset(),
        bad_cols: frozenset[int] = frozenset(),
    ) -> None:
        self.analogue, self.n_rows, self.n_cols = analogue, n_rows, n_cols
        self.row_good: BoolArray = ~np.isin(np.arange(n_rows), sorted(bad_rows))
        self.col_good: BoolArray = ~np.isin(np.arange(n_cols), sorted(bad_cols))
        self.columns, self.rows = int(_masks(self.row_good[None])[0]), int(_masks(self.col_good[None])[0])
        """Masks of the board's columns and rows that may be connected."""

    def connected(self, bias: Bias) -> BoolArray:
        """Return the (n, n_rows + n_cols) lines that are connected: good, and not floating."""
        good = np.broadcast_to(np.concatenate([self.row_good, self.col_good]), (len(bias), self.n_rows + self.n_cols))
        return good if bias.floating is None else good & ~bias.floating

    def reached(self, bias: Bias) -> BoolArray:
        """Return (n,) whether a row that is away from 0 V is connected, or none is away from it."""
        return reached(bias, self.row_good)

    def applied(self, bias: Bias) -> Bias:
        """Return a bias as the converters really apply it; BenchError if they cannot."""
        a = self.analogue
        on = self.connected(bias)
        row = np.where(on[:, : self.n_rows], a.line_volts(self._codes(bias.row, on[:, : self.n_rows])), 0.0)
        col = np.where(on[:, self.n_rows :], a.line_volts(self._codes(bias.col, on[:, self.n_rows :])), 0.0)
        gate = np.where(self.row_good, a.gate_volts(self._gates(bias)).clip(min=0.0), 0.0)
        gate = np.broadcast_to(gate, (len(bias), self.n_rows))
        return Bias(row, col, gate, ~on, kernel=bias.kernel, compliance=bias.compliance, pulsed=bias.pulsed)

    def _codes(self, volts: FloatArray, on: BoolArray) -> IntArray:
        """Return codes of lines, of the reference where they are not connected; of one pattern if all are alike."""
        on = one_if_all_alike(on)
        return self.analogue.line_code(one_if_all_alike(volts) if on.all() else np.where(on, volts, 0.0))

    def _gates(self, bias: Bias) -> IntArray:
        """Return codes of gates, closed where rows are bad; of one pattern if all are alike."""
        assert bias.gate is not None
        gate = one_if_all_alike(bias.gate)
        return self.analogue.gate_code(gate if self.row_good.all() else np.where(self.row_good, gate, 0.0))

    def writes(self, bias: Bias, clocks: int) -> Events:
        """Return pulses, one event each."""
        on = self.connected(bias)
        records = self._records(bias, on, wire.WRITE)
        records["clocks"] = clocks
        records["row"][:, : self.n_cols] = self._codes(bias.col, on[:, self.n_rows :])
        return self._events(records, bias, on)

    def reads(self, bias: Bias, cols: IntArray, aperture: Second, pace: Pace) -> Events:
        """Return reads of columns (n, m), one event each; BenchError if a column that is held is not at 0 V."""
        on = self.connected(bias)
        on_cols = one_if_all_alike(on[:, self.n_rows :])
        volts = one_if_all_alike(bias.col).ravel() if on_cols.all() else bias.col[on[:, self.n_rows :]]
        if volts.size and np.abs(volts).max() > 0.0:
            wrong = float(volts[np.abs(volts).argmax()])
            raise BenchError(
                f"a column at {wrong:.6g} V while columns are read; the board's amplifiers hold them at 0 V, "
                "the sense reference"
            )
        wanted = np.zeros((len(bias), self.n_cols), np.bool_)
        np.put_along_axis(wanted, cols, True, axis=1)
        wanted &= on_cols
        records = self._records(bias, on, wire.READ)
        records["read"] = _masks(wanted)
        seconds = pace.read_time(aperture, wanted.sum(1))
        clocks = np.ceil(seconds / pace.clock - ROUNDING)
        if clocks.size and clocks.max() > _MOST_CLOCKS:
            raise BenchError(
                f"a read of {seconds.max():g} s; the board's events last {pace.clock * 2.0**32:.4g} s at most"
            )
        records["clocks"] = clocks.astype(np.uint32)
        return self._events(records, bias, on)

    def _records(self, bias: Bias, on: BoolArray, mode: int) -> Records:
        records = np.zeros(len(bias), DTYPE)
        records["kernel"], records["mode"] = bias.kernel, mode
        records["column_on"], records["row_on"] = _masks(on[:, : self.n_rows]), _masks(on[:, self.n_rows :])
        for name in ("column", "row", "gate"):
            records[name] = wire.KEEP
        records["column"][:, : self.n_rows] = self._codes(bias.row, on[:, : self.n_rows])
        records["gate"][:, : self.n_rows] = self._gates(bias)
        return records

    def _events(self, records: Records, bias: Bias, on: BoolArray) -> Events:
        peaks = extremes(bias)
        own = np.stack([peaks.positive, peaks.negative], axis=1)
        if not (self.row_good.all() and self.col_good.all()):
            peaks = extremes(replace(bias, floating=~on))
        span = np.stack([*peaks.rows, *peaks.cols], axis=1)
        return Events(records, own, span, bool(one_if_all_alike(on).all()), lambda: self._held(bias, on))

    def _held(self, bias: Bias, on: BoolArray) -> FloatArray:
        held = np.full((len(bias), 2 * max(self.n_rows, self.n_cols)), np.nan)
        most = max(self.n_rows, self.n_cols)
        held[:, : self.n_rows] = np.where(on[:, : self.n_rows], bias.row, np.nan)
        held[:, most : most + self.n_cols] = np.where(on[:, self.n_rows :], bias.col, np.nan)
        return held


def _masks(lines: BoolArray) -> IntArray:
    """Return masks of lines (n, k), bit i for line i; (n,), or (1,) if all patterns are alike.

    >>> _masks(np.array([[True, False, True]])).tolist()
    [5]
    """
    return np.asarray((one_if_all_alike(lines) @ 2.0 ** np.arange(lines.shape[1])).astype(np.int64))


def _number(changed: BoolArray) -> FloatArray:
    """Return how many of k are changed, (n,), of (n, k)."""
    return np.asarray(changed @ np.ones(changed.shape[1]))
