"""What a Daffodil board can do, known from its options without a connection: its shape, its times, its refusals."""

from dataclasses import replace
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le
from pydantic import Field

from instruments.board_plan import BoardPlan
from instruments.daffodil_compiled import BATCH, Compiled
from instruments.daffodil_events import Events, Lines, Pace, Records
from instruments.daffodil_scripts import Scripts
from instruments.daffodil_volts import Analogue
from labctl.boards.daffodil import patterns as wire
from labctl.boards.daffodil import registers as reg
from labctl.core.bias import Bias, Geometry, Kind, Nominal
from labctl.core.cell_voltage import refuse_cell_voltages
from labctl.core.die import unknown_operation
from labctl.core.errors import BenchError
from labctl.core.limits import Limits
from labctl.core.operations import Operation, Pulse, Sense, WritePlan
from labctl.core.units import FloatArray, IntArray, Second

PATTERNS = 4000
"""Most events of one batch."""
SAMPLE = 500
"""Patterns that are packed to predict the bytes of an operation."""
TOLD = 60
"""Bytes of a cell of a write plan in its message, beside its patterns, and of its attempt in the answer."""

Line = Annotated[int, Ge(0), Le(reg.LINES - 1)]


class Options(Analogue):
    """Options of a Daffodil board in the bench file."""

    kernels: Annotated[int, Ge(1), Le(reg.KERNELS)] = Field(default=reg.KERNELS, description="kernels of its dies")
    n_rows: Annotated[int, Ge(1), Le(reg.LINES)] = Field(default=reg.LINES, description="driven lines of a kernel")
    n_cols: Annotated[int, Ge(1), Le(reg.LINES)] = Field(default=reg.LINES, description="sensed lines of a kernel")
    bad_rows: frozenset[Line] = Field(default=frozenset(), description="rows that are never connected")
    bad_cols: frozenset[Line] = Field(default=frozenset(), description="columns that are never connected")
    swapped_gates: bool = Field(default=False, description="gates 13 and 14 are on each other's channel")
    clock: Annotated[Second, Gt(0), Le(1e-3)] = Field(default=46.875e-9, description="[?] clock of events")
    settle: Annotated[Second, Ge(0), Le(1)] = Field(
        default=20e-6, description="[?] from the begin of a read to its first conversion"
    )
    rest: Annotated[Second, Gt(0), Le(0.1)] = Field(default=20e-6, description="[?] event that brings lines to rest")
    conversion: Annotated[Second, Gt(0), Le(0.1)] = Field(default=50e-6, description="[?] one conversion of a column")
    dac_write: Annotated[Second, Ge(0), Le(0.1)] = Field(default=60e-6, description="[?] one code of a DAC")
    message: Annotated[Second, Ge(0), Le(10)] = Field(default=2e-3, description="[?] round trip of one batch")
    offset_reads: Annotated[int, Ge(1), Le(1000)] = Field(
        default=16, description="reads with closed gates that give the zero of each column, once per session"
    )
    lease: Annotated[Second, Ge(1), Le(60)] = Field(
        default=10.0, description="silence after which the board makes itself safe"
    )

    @property
    def geometry(self) -> Geometry:
        """Shape of the dies, of polarity 1."""
        return Geometry(self.kernels, self.n_rows, self.n_cols, Kind.ONE_T_ONE_R)

    @property
    def message_time(self) -> Second:
        """Time of a message and of the conversions that prove its readings, s."""
        return self.message + self.n_cols * self.conversion

    @property
    def batch(self) -> Second:
        """Longest predicted time of one batch, s: half a lease at most."""
        return min(BATCH, self.lease / 2)

    @property
    def pace(self) -> Pace:
        """Times of the board."""
        return Pace(self.clock, self.settle, self.rest, self.conversion, self.dac_write)


class Plan(BoardPlan):
    """What the board can do, without a connection.

    Args:
        nominal: conductances of the die that is on it.
        polarity: of the die.
    """

    def __init__(self, options: Options, nominal: Nominal, polarity: int) -> None:
        self._options = options
        self._compiled = Compiled(options.batch)
        self._plan: tuple[WritePlan, FloatArray] | None = None
        """The last write plan, and the time of one pulse and its read on each of its cells, (N,) s."""
        self._lines = Lines(options, options.n_rows, options.n_cols, options.bad_rows, options.bad_cols)
        self._scripts = Scripts(self, options.message, options.lease)
        options.pots  # noqa: B018 - feedback that no potentiometer has is refused here
        super().__init__(options.geometry, nominal, polarity)

    def turn_to(self, nominal: Nominal, polarity: int) -> None:
        """Take another die: its nominal conductances and its polarity; nothing is driven."""
        super().turn_to(nominal, polarity)
        self._compiled, self._plan = Compiled(self._options.batch), None

    def keep_within(self, limits: Limits) -> None:
        """Judge bad lines, which float, by `limits`, and have the board refuse codes beyond them as well."""
        super().keep_within(limits)
        self._compiled, self._plan = Compiled(self._options.batch), None

    def applied(self, bias: Bias) -> Bias:
        """Return a bias as the converters apply it, towards 0 V in steps; lines that are not connected float.

        Raises:
            BenchError: a line or a gate is beyond what the board drives.
        """
        bias.fits(self.geometry)
        return self._lines.applied(bias)

    def check(self, operation: Operation) -> Second:
        """Return the predicted time, s; BenchError for what the board's lines, converters or clock cannot do.

        Of a write plan the longest: every budget used up.
        """
        match operation:
            case WritePlan():
                return self._scripts.longest(operation)
            case Sense() | Pulse():
                events, times = self._events(operation)
            case _:
                raise unknown_operation(self, operation)
        seconds = float(times.sum())
        batches = 1 + int(seconds / self._options.batch) + len(events) // PATTERNS
        return self._options.message_time * batches + seconds

    @property
    def chunk(self) -> Second:
        """Bench time of the reads and pulses between two safe points, s: a batch."""
        return self._options.batch

    @property
    def scripts(self) -> Scripts:
        """How write plans are carried out on the board itself."""
        return self._scripts

    def traffic(self, operation: Operation) -> tuple[int, int]:
        """Return events, rests among them, and bytes on the link, of an operation that `check` allows.

        Patterns are packed as they travel, the first of a long operation for all of it; codes do not pack. A write plan
        is one that the board carries out by itself, of which every cell verifies at its first pulse.
        """
        if isinstance(operation, WritePlan):
            return self._traffic_of_plan(operation)
        events, times = self._events(operation)
        records, n = events.records, len(events)
        batches = 1 + int(float(times.sum()) / self._options.batch) + n // PATTERNS
        codes = int(((records["read"][:, None] >> np.arange(reg.LINES)) & 1).sum())
        return n + _rests(records) + batches, round(_packed(records) + 8 / 3 * codes)

    def _traffic_of_plan(self, plan: WritePlan) -> tuple[int, int]:
        pulsed = plan.take(np.flatnonzero(plan.most > 0))
        records = self._top(pulsed).records
        link = len(np.unique(pulsed.ladder)) * _packed(records[::2]) + _packed(records[1::2]) + TOLD * len(pulsed)
        return len(records) + _rests(records) + sum(1 for _ in self._scripts.messages(pulsed)), round(link)

    def seconds_of_cells(self, plan: WritePlan, pulses: IntArray) -> FloatArray:
        """Return the predicted time of each cell of a plan that gets as many pulses, (N,) s; refuse what cannot be."""
        if self._plan is None or self._plan[0] is not plan:
            self._plan = plan, self._options.pace.seconds(self._top(plan).records).reshape(-1, 2).sum(1)
        return np.asarray(self._plan[1] * pulses)

    def _top(self, plan: WritePlan) -> Events:
        """Return the events of one pulse on each cell of a plan, at the highest voltage, and its read."""
        return self._pulses(plan.write.scaled(plan.ladder.max()), plan.width, plan.verify).rested()

    def _fits(self, bias: Bias) -> None:
        """Refuse a bias of another shape, and one of which a cell on a bad line could see more than the limits."""
        bias.fits(self.geometry)
        options, limits = self._options, self._limits
        if limits is not None and (options.bad_rows or options.bad_cols):
            floating = replace(bias, floating=~self._lines.connected(bias))
            polarity, where = self.geometry.polarity, " on a bad line"
            refuse_cell_voltages(floating, polarity, limits.v_towards_p, limits.v_towards_ap, where)

    def _events(self, operation: Sense | Pulse) -> tuple[Events, FloatArray]:
        """Return the events of an operation and their predicted times, (events,) s; see `Compiled`."""
        return self._compiled.of(operation, self._made, self._options.pace)

    def _made(self, operation: Sense | Pulse) -> Events:
        """Return the events of an operation, without rest; BenchError for what cannot be."""
        if isinstance(operation, Sense):
            return self._reads(operation)
        return self._pulses(operation.bias, operation.width, operation.verify)

    def _reads(self, sense: Sense) -> Events:
        self._fits(sense.bias)
        self._short(sense.aperture)
        return self._lines.reads(sense.bias, sense.cols, sense.aperture, self._options.pace)

    def _pulses(self, bias: Bias, width: Second, verify: Sense | None) -> Events:
        self._fits(bias)
        self._short(width)
        events = self._lines.writes(bias, self._options.pace.clocks(width))
        if verify is None:
            return events
        self._fits(verify.bias)
        self._short(verify.aperture)
        if not np.array_equal(bias.kernel, verify.bias.kernel):
            raise BenchError("a pulse and its verify read are on different kernels; they share one selection")
        reads = self._lines.reads(verify.bias, verify.cols, verify.aperture, self._options.pace)
        return Events.woven(events, reads)

    def _short(self, seconds: Second) -> None:
        if seconds > self._options.lease / 4:
            lease = self._options.lease
            raise BenchError(
                f"an event of {seconds:g} s; with a lease of {lease:g} s none is longer than a quarter of it"
            )


def _rests(records: Records) -> int:
    """Return how many events of rest come before patterns."""
    return int(((records["mode"] & wire.REST) > 0).sum())


def _packed(records: Records) -> float:
    """Return the bytes of patterns as they travel."""
    some = records[:SAMPLE]
    return len(wire.pack(some.tobytes())) * len(records) / max(1, len(some))
