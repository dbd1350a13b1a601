"""A Daffodil board, which drives an integrated chip of 32 kernels of 25 x 25 cells by itself.

Verified against: the emulated board of this project, which runs the same server as a board would and which the public
library of the board's makers drives as well (tests/golden/test_judge_daffodil.py); not on a board.

The board has a server of ours on its own Linux (`labctl.boards.daffodil`); this driver speaks with it in lines of text,
a batch of events at a time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np

from instruments.daffodil_client import Client, LeaseLost
from instruments.daffodil_events import Events, Records
from instruments.daffodil_plan import PATTERNS, Options, Plan
from instruments.daffodil_program import VOID, Ended, answer_of, attempts_of, joined, lost_of, program_of, void_of
from instruments.transport import CHECK, brief, unexpected
from labctl.boards.daffodil import patterns as packed
from labctl.boards.daffodil import registers as reg
from labctl.core import meanwhile
from labctl.core.bias import Bias, Nominal
from labctl.core.driver import Driver, DriverKind
from labctl.core.errors import BenchError, InstrumentError, NotDriven
from labctl.core.operations import Attempts, Flag, FlagArray, Pulse, Reading, Sense, WritePlan
from labctl.core.source import ChannelState
from labctl.core.transport import Transport
from labctl.core.units import Ampere, BoolArray, FloatArray, IntArray, Second

STRAY = 200
"""Codes that a column without a current may be off the reference."""
_ABOUT = 1.1
"""A batch may be longer than it should be by this factor."""
NAMES = {"column": "row", "row": "col", "gate": "gate"}
"""Our lines, by the board's names of them."""

T = TypeVar("T")
COMPLIANCE: Ampere = 40e-3
"""[?] What a DAC channel of the board gives at most."""


class Daffodil(Plan):
    """A Daffodil board, over its server.

    Args:
        name: in the bench file.
        transport: the wire.
    """

    def __init__(self, name: str, options: Options, transport: Transport) -> None:
        super().__init__(options, Nominal.alike(2e-4, 1e-4, options.kernels), 1)
        self.name = name
        self._client = Client(name, transport, options.lease, self._set_up)
        self._zero: FloatArray = np.full(options.n_cols, options.reference_reads)
        self._broken = False
        """An operation broke off: what the board does is not known."""

    def connect(self) -> str:
        """Read identity and state, change nothing; BenchError if the server has another version."""
        return self._client.identity()

    def _set_up(self) -> None:
        """Set the board up, every setting read back, and measure the zero of its columns."""
        options = self._options
        codes, _ = options.pots
        up, down, top_gate = self._highest()
        settings = {
            "reference": options.reference_code,
            "closed": options.closed_code,
            "lowest": options.lowest_code,
            "up": up,
            "down": down,
            "top_gate": top_gate,
            "m": options.dac_m,
            "c": options.dac_c,
            "clock": options.clock,
            "settle": options.settle,
            "rest_clocks": max(1, round(options.rest / options.clock)),
            "columns": self._lines.columns,
            "rows": self._lines.rows,
            "pots": list(codes),
            "swapped": options.swapped_gates,
        }
        kept = self._client.ours_as_object("SET", settings, "SET")
        if kept != settings:
            wrong = sorted(key for key in settings if kept.get(key) != settings[key])
            raise InstrumentError(f"{self.name}: 'SET' was answered by other {', '.join(wrong)} than were set; {CHECK}")
        self._zero = self._measured_zero()

    def _highest(self) -> tuple[int, int, int]:
        """Return the most codes of the board's columns above its rows, below them, and of its gates."""
        options, limits = self._options, self._limits
        most = reg.TOP_CODE - options.lowest_code
        if limits is None:
            return most, most, reg.TOP_CODE
        above, below = limits.v_towards_p, limits.v_towards_ap
        if self.geometry.polarity < 0:
            above, below = below, above
        up, down = (min(int(options.line_steps(np.array(volts))), most) for volts in (above, below))
        return up, down, options.highest_gate_code(limits.v_gate)

    def _measured_zero(self) -> FloatArray:
        """Return the codes (n_cols,) of columns behind closed gates, every line at the reference."""
        options, n = self._options, self._options.offset_reads
        lines = np.zeros((n, options.n_rows))
        bias = Bias(lines, np.zeros((n, options.n_cols)), lines)
        sense = Sense(bias, np.flatnonzero(self._lines.col_good))
        events = self._lines.reads(bias, sense.cols, options.settle or options.clock, options.pace)
        codes = self._run(events, options.pace.seconds(events.records), sense.cols)[0].astype(np.float64)
        zero = np.full(options.n_cols, options.reference_reads)
        zero[self._lines.col_good] = codes.mean(axis=0)
        low, high = options.rails
        stray = (np.abs(zero - options.reference_reads) > STRAY) | (zero < low) | (zero > high)
        if stray.any():
            worst = int(np.flatnonzero(stray)[0])
            raise InstrumentError(
                f"{self.name}: column {worst} reads code {zero[worst]:.6g} behind closed gates, far from that of its "
                f"reference{', as other columns do' if stray.sum() > 1 else ''}; look at the column and at the board's "
                "supply, or list it under bad_cols"
            )
        return zero

    # -- operations

    def _sense(self, sense: Sense) -> Reading:
        """Read the column currents of n patterns."""
        return self._reading(*self._events(sense), sense, np.zeros(len(sense), np.uint8))

    def _pulse(self, pulse: Pulse) -> Reading:
        """Apply n pulses in order, each followed by its verify read; nothing is measured during a pulse."""
        (events, seconds), n = self._events(pulse), len(pulse)
        if pulse.verify is None:
            self._perform(events, seconds, np.zeros((0, 0), np.int64))
            return Reading(np.zeros((n, 0)), np.zeros((n, 0), np.uint8), np.zeros(n, np.uint8))
        return self._reading(events, seconds, pulse.verify, np.zeros(n, np.uint8))

    def _program(self, plan: WritePlan) -> Attempts:
        """Write and verify the cells of a plan on the board itself, in messages of many cells of one kernel.

        Reads with a voltage below 0 V are left to the host loop, one message per rung. Cells on bad lines are in no
        message: each has the attempt that the host would make, and its read is invalid. If it breaks off, `scripts`
        knows how far it came: from before a message is sent until it is answered, all that it might do counts as done.
        """
        made: list[dict[str, IntArray]] = []
        self._scripts.expect(plan)
        self._scripts.require_fit(plan)
        if plan.v_read <= 0.0:
            self._scripts.rescued = None
            return super()._program(plan)
        cell_reached = self._lines.reached(plan.verify.bias) & self._lines.col_good[plan.verify.cols[:, 0]]
        try:
            for message in self._scripts.messages(plan):
                if not len(cells := message[cell_reached[message]]):
                    continue
                part = plan.take(cells)
                made.append(_of(cells, lost_of(part)))
                try:
                    made[-1] = _of(cells, self._taken(lambda part=part: self._write(part)))  # type: ignore[misc]
                except Ended as ended:
                    made[-1] = _of(cells, ended.made)
                    raise
                except (BenchError, LeaseLost, NotDriven):  # refused by the server, before anything was driven
                    made.pop()
                    raise
            made.append(void_of(np.flatnonzero(~cell_reached & (plan.most > 0))))
        finally:
            self._scripts.rescued = attempts = self._attempts(plan, made)
        return attempts

    def _write(self, plan: WritePlan) -> dict[str, IntArray]:
        options = self._options
        reach = plan.verify.bias.compliance * options.pots[1][: options.n_cols] / options.adc_step
        low, high = options.rails
        good = np.maximum(low, np.ceil(self._zero - reach)), np.minimum(high, np.floor(self._zero + reach))
        seconds = float(self.seconds_of_cells(plan, plan.most).sum())
        program = program_of(plan, self._lines, options.pace, self._zero, good)
        reply = self._client.ours_as_object("WRITE", program, "ATTEMPTS", options.lease + 2 * seconds)
        return answer_of(reply, plan, program)

    def _attempts(self, plan: WritePlan, made: Sequence[Mapping[str, IntArray]]) -> Attempts:
        """Return what was made of a plan, by all messages."""
        whole = joined(made)
        col = plan.verify.cols[whole["cell"], 0]
        current, flag = self._judged(whole["code"], col, plan.verify.bias.compliance)
        flag = flag | np.where((flag == 0) & (whole["good"] == 0), int(Flag.INVALID), 0)
        void = whole["code"] == VOID
        current, flag = np.where(void, 0.0, current), np.where(void, int(Flag.INVALID), flag)
        return attempts_of(plan, whole, current, flag)

    def _reading(self, events: Events, seconds: FloatArray, sense: Sense, pulse_flag: FlagArray) -> Reading:
        cols, compliance = sense.cols, sense.bias.compliance
        codes, late = self._perform(events, seconds, cols)
        current, flag = self._judged(codes, cols, compliance)
        missing = codes < 0
        invalid = int(Flag.INVALID) * (missing | (late | ~self._lines.reached(sense.bias))[:, None])
        flags = (np.where(missing, 0, flag) | invalid).astype(np.uint8)
        return Reading(np.where(missing, 0.0, current), flags, pulse_flag)

    def _judged(self, codes: IntArray, cols: IntArray, compliance: Ampere) -> tuple[FloatArray, IntArray]:
        """Return currents, A, and flags of codes that columns of the same shape have read."""
        low, high = self._options.rails
        current = self._options.current(codes.astype(np.float64), self._zero[cols], cols)
        flag: IntArray = np.where((codes <= 0) | (codes >= reg.TOP_CODE), int(Flag.OVERRANGE), 0)
        at_rail: BoolArray = (codes < low) | (codes > high) | (np.abs(current) > compliance)
        return current, flag | np.where(at_rail, int(Flag.COMPLIANCE), 0)

    def _perform(self, events: Events, seconds: FloatArray, cols: IntArray) -> tuple[IntArray, BoolArray]:
        """Carry out events; return codes and late reads as of `_run`."""
        meanwhile.later(self._look_ahead)
        return self._taken(lambda: self._run(events, seconds, cols))

    def _look_ahead(self) -> None:
        """Make the message of the part of an operation that comes next, if it will be one."""
        ahead = self._compiled.look_ahead(self._options.pace)
        if ahead is not None and len(list(_batches(*ahead, self._options.batch))) == 1:
            ahead[0].packed  # noqa: B018 - it is kept

    def _taken(self, act: Callable[[], T]) -> T:
        """Return the result of `act`, the board taken before it if it is not this client's."""
        try:
            self._client.take()
            return act()
        except BaseException:
            self._broken = True
            raise

    def _run(self, events: Events, seconds: FloatArray, cols: IntArray) -> tuple[IntArray, BoolArray]:
        """Return codes (n, m) of the columns of n reads, -1 where a column was not read, and which are late, (n,).

        Args:
            seconds: (events,), their predicted times.
        """
        read = events.records["mode"] & ~np.uint8(packed.REST) == packed.READ
        every = np.full((int(read.sum()), reg.LINES), -1)
        late = np.zeros(len(events), np.bool_)
        number = np.cumsum(read) - 1
        parts = list(_batches(events, seconds, self._options.batch))
        for part in parts:
            records = events.records[part]
            text = events.packed if len(parts) == 1 else packed.pack(records.tobytes())
            codes, late[part] = self._batch(records, text, float(seconds[part].sum()))
            here, col = np.nonzero((records["read"][:, None] >> np.arange(reg.LINES)) & 1)
            every[number[part][here], col] = codes
        return np.take_along_axis(every, cols, axis=1), late[read]

    def _batch(self, records: Records, text: str, seconds: Second) -> tuple[IntArray, BoolArray]:
        """Return all codes that one batch reads in a predicted time, in order, and which of its patterns are late.

        Args:
            text: the patterns as they travel.
        """
        expected = int(((records["read"][:, None] >> np.arange(reg.LINES)) & 1).sum())
        answer = self._client.ours("RUN", text, "CODES", self._options.lease + 2 * seconds)
        try:
            most = 2 * (len(records) * (reg.LINES + 1) + 1)
            words = np.frombuffer(packed.unpack(answer, most), "<u2").astype(np.int64)
        except ValueError as error:
            raise unexpected(self.name, "RUN", brief(answer), f"codes ({error})") from error
        count = int(words[-1]) if len(words) else -1
        if count < 0 or len(words) != expected + count + 1:
            raise unexpected(self.name, "RUN", f"{len(words)} words", f"{expected} codes")
        codes, numbers = words[:expected], words[expected : expected + count]
        if (codes > reg.TOP_CODE).any() or (numbers >= len(records)).any():
            wrong = f"a code above {reg.TOP_CODE}, or a pattern beyond {len(records)}"
            raise unexpected(self.name, "RUN", wrong, "codes")
        late = np.zeros(len(records), np.bool_)
        late[numbers] = True
        return codes, late

    # -- rest

    def idle(self) -> None:
        """Have every line at rest: each batch ends so; after one that broke off the board is told before all else."""
        if self._broken:
            self.emergency_off()

    def state(self) -> Mapping[str, ChannelState]:
        """Return the lines that are not at rest."""
        return self._states(self._client.state()["live"])

    def _states(self, live: Mapping[str, int]) -> dict[str, ChannelState]:
        """Return states of lines by our names; a line that is not where it rests counts as on."""
        states = {}
        for name, code in live.items():
            kind = name.rstrip("0123456789")
            volts = self._options.gate_volts(code) if kind == "gate" else self._options.line_volts(code)
            states[f"{NAMES.get(kind, kind)}{name[len(kind) :]}"] = ChannelState(True, float(volts), COMPLIANCE)
        return states

    def diagnosis(self) -> tuple[list[str], list[str]]:
        """Return who has the board, and what a person must look at."""
        state = self._client.state()
        holder, silenced = state["holder"], state["silenced"]
        lines = [f"every line at rest, verified by the board: {'no' if state['live'] else 'yes'}"]
        if silenced:
            lines.append(f"made itself safe {silenced} times because its client fell silent")
        if self._options.potentiometers is None:
            lines.append("feedback resistances are nominal: currents are uncalibrated")
        return lines, [f"client '{holder}' has the board"] if holder else []

    def off(self) -> None:
        """End whatever runs; gates closed, lines disconnected and at the reference, verified by the board."""
        self._client.safe()
        self._broken = False

    def release(self) -> None:
        """Have no power at the die, verified by the board, so that it can be taken out; operations bring it back."""
        self._client.release()
        self._broken = False

    def emergency_off(self) -> Mapping[str, ChannelState]:
        """The same with the first bytes of a fresh connection, asked by anybody; return what was on."""
        met, live = self._client.break_in()
        if live:
            raise InstrumentError(f"{self.name}: {', '.join(self._states(live))} are NOT at rest; {CHECK}")
        self._broken = False
        return self._states(met)

    def verify_off(self) -> None:
        """Read back that every line is at rest; InstrumentError if one is not."""
        if live := self.state():
            raise InstrumentError(f"{self.name}: {', '.join(live)} are NOT at rest; {CHECK}")

    def close(self) -> None:
        """Give the board back and end the conversation."""
        self._client.close(give_back=not self._broken)


def _of(cells: IntArray, made: Mapping[str, IntArray]) -> dict[str, IntArray]:
    """Return attempts on some cells of a plan, numbered as those of the plan."""
    return {**made, "cell": cells[made["cell"]]}


def _batches(events: Events, seconds: FloatArray, longest: Second) -> Iterator[slice]:
    """Yield the parts of events of predicted times (n,) s that are a batch of about `longest` s each.

    A pulse and its read are in one. A chunk, which may be a pattern longer, is one batch.
    """
    together = 2 if len(set((events.records["mode"] & ~np.uint8(packed.REST)).tolist())) > 1 else 1
    sums = np.cumsum(seconds.reshape(-1, together).sum(1))
    start, n = 0, len(sums)
    while start < n:
        base = 0.0 if start == 0 else float(sums[start - 1])
        stop = int(np.searchsorted(sums, base + _ABOUT * longest, side="right"))
        stop = min(max(stop, start + 1), start + PATTERNS // together, n)
        yield slice(together * start, together * stop)
        start = stop


def _make(name: str, options: Options, transport: Transport) -> Daffodil:
    """Return the driver of a Daffodil board."""
    return Daffodil(name, options, transport)


DRIVER = Driver(
    DriverKind.BOARD,
    _make,
    Options,
    geometry=lambda options: options.geometry,
    planned=Plan,
    emulator="daffodil",
)
