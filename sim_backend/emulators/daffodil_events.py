"""What the events of a batch do on an emulated Daffodil board, computed over all of them.

The same as `sim_backend.emulators.daffodil_board` does event by event, and with the same random numbers; the chip is
asked for as many events together as follow each other alike, as pulses with their reads, as pulses, or as reads. The
time of 1/f noise that runs on in time is the chip's own and not that of the events.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
import numpy.typing as npt

from labctl.boards.daffodil import registers as reg
from labctl.boards.daffodil.patterns import KEEP
from labctl.core.bias import Bias
from labctl.core.errors import BenchError
from labctl.core.last_known import last_known
from labctl.core.operations import Pulse, Sense
from labctl.core.units import BoolArray, FloatArray, IntArray, Second
from sim_backend.emulators.daffodil_analog import FULL, STEPS
from sim_backend.emulators.daffodil_board import MOST_CURRENT, EmulatedBoard

Place = tuple[int, int]
"""DAC and channel."""
Codes = npt.NDArray[np.uint16]
"""Codes of converters."""
_ALWAYS = sum(1 << bit for bit in (*reg.POWER, *reg.RESET_N, *reg.SYNC_N, *reg.CLEAR_N, *reg.LOAD_N))
_NEVER = 1 << reg.POWER_DOWN | 1 << reg.FULL_POWER
"""Outputs that are on, and off, while the board is used."""


@dataclass(frozen=True, eq=False)
class Events:
    """Events in their order.

    Args:
        code: (n, 75) of columns, rows and gates.
        written: (n,) number of channels whose codes are written for each.
        kernel: (n,).
        on: (n, 50) columns and rows that are connected.
        reads: (n,) whether each is a read.
        clocks: (n,).
    """

    code: Codes
    written: FloatArray
    kernel: IntArray
    on: BoolArray
    reads: BoolArray
    clocks: IntArray

    @classmethod
    def of(
        cls, before: Codes, codes: Codes, kernel: IntArray, on: BoolArray, reads: BoolArray, clocks: IntArray
    ) -> Self:
        """Return events by codes (n, 75), some of them KEEP, behind a board with the codes `before`, (75,)."""
        code = last_known(codes, codes != KEEP, before)
        written = np.empty(len(code))
        written[1:] = (code[1:] != code[:-1]).sum(1)
        written[:1] = (code[:1] != before).sum(1)
        return cls(code, written, kernel, on, reads, clocks)


def follows_its_settings(
    board: EmulatedBoard, places: Sequence[Place], codes: Sequence[int | None], clock: Second
) -> bool:
    """Return whether a sound board has these codes, loaded, its powers and this clock, and time that passes at once.

    Args:
        codes: of each of the channels; None of one that is not known.
    """
    if not board.defects.none:
        return False
    if board.world.clock.waits or board.world.go_on is not None or board.written or clock != board.clock:
        return False
    if board.data & (_ALWAYS | _NEVER) != _ALWAYS:
        return False
    return board.read_dacs(places, "raw") == codes


@dataclass(frozen=True, eq=False)
class _Applied:
    """What lines and gates of the chip have in n events."""

    level: FloatArray
    on: BoolArray
    gates: FloatArray
    opened: BoolArray
    kernel: IntArray
    n_rows: int

    def bias(self, at: IntArray) -> Bias:
        """Return the patterns of some events, (k,) of their numbers."""
        on, level, floating = self.on[at], self.level[at], None
        if not on.all():
            floating = ~on
            level[floating] = 0.0
        rows, cols = level[:, : self.n_rows], level[:, self.n_rows :]
        return Bias(rows, cols, self.gates[at], floating, kernel=self.kernel[at], compliance=MOST_CURRENT)


def carry_out(board: EmulatedBoard, events: Events, places: Sequence[Place]) -> IntArray:
    """Let events happen to a board and its chip; return the codes (n, 25) of all rows in each.

    Args:
        places: channel of each of 25 columns, 25 rows and 25 gates.
    """
    applied = _applied(board, events, places)
    before, after = _held(board, applied)
    _audit(board, events, applied, before, after)
    _let_pass(board, events)
    zero = board.out[reg.REFERENCE] + board.analog.offset
    outputs = np.tile(zero, (len(events.reads), 1))
    for write, read in _steps(events, applied):
        _perform(board, events, applied, write, read, outputs)
    codes = dict(zip(places, events.code[-1].tolist(), strict=True))
    board.leave(codes, after[-1], applied.opened[-1])
    return np.asarray(np.rint(outputs * STEPS / FULL).clip(0, STEPS - 1).astype(np.int64))


def _applied(board: EmulatedBoard, events: Events, places: Sequence[Place]) -> _Applied:
    _, n_rows, n_cols = board.chip.geometry.shape
    scale, bias = (np.array(board.read_dacs(places, name)) for name in ("calibscale", "calibbias"))
    alike = bool((scale == scale[0]).all() and (bias == bias[0]).all())  # then a code is a level on every channel
    if alike:
        volts = _levels(int(scale[0]), int(bias[0])).take(events.code)
    else:
        volts = _volts(events.code, scale, bias)
    at = {place: number for number, place in enumerate(places)}
    lines = [reg.column_dac(i) for i in range(n_rows)] + [reg.row_dac(i) for i in range(n_cols)]
    level = volts[:, _columns([at[place] for place in lines])].copy()
    level[events.reads, n_rows:] = board.out[reg.REFERENCE]
    level -= board.analog.ground + board.chip.board.reference
    gates = volts[:, _columns([at[reg.gate_dac(i, board.swapped)] for i in range(n_rows)])] - board.analog.ground
    on = np.concatenate([events.on[:, :n_rows], events.on[:, reg.LINES : reg.LINES + n_cols]], axis=1)
    board.audit.gate = max(board.audit.gate, float(gates.max()))
    ledger = board.world.ledger
    ledger.peak_gate_voltage = max(ledger.peak_gate_voltage, board.audit.gate)
    return _Applied(level, on, gates.clip(min=0.0), gates > board.chip.opens_above, events.kernel, n_rows)


def _columns(numbers: list[int]) -> slice | list[int]:
    """Return an index of columns, a slice if they follow each other.

    >>> _columns([3, 4, 5]), _columns([3, 5])
    (slice(3, 6, None), [3, 5])
    """
    follow = numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    return slice(numbers[0], numbers[-1] + 1) if follow else numbers


@lru_cache(maxsize=4)
def _levels(scale: int, bias: int) -> FloatArray:
    """Return what a channel puts out at each code, (codes,) V from the board's ground."""
    return _volts(np.arange(STEPS), np.array(scale), np.array(bias))


def _volts(code: IntArray, scale: IntArray, bias: IntArray) -> FloatArray:
    """Return what channels put out at codes, V from the board's ground."""
    return np.asarray(FULL * (code * (scale + 2) / STEPS + bias).clip(0.0, STEPS - 1.0) / STEPS)


def _held(board: EmulatedBoard, applied: _Applied) -> tuple[FloatArray, FloatArray]:
    """Return the levels (n, lines) V at which lines were left before each event, and after it."""
    after = last_known(applied.level, applied.on, board.held)
    return np.concatenate([board.held[None], after[:-1]]), after


def _audit(board: EmulatedBoard, events: Events, applied: _Applied, before: FloatArray, after: FloatArray) -> None:
    """Record what cells behind open gates see of lines anywhere between `before` and `after`, (n, lines) V."""
    board.audit.events += len(events.reads)
    board.audit.reads += int(events.reads.sum())
    any_open, n_rows = np.asarray(applied.opened.any(1)), applied.n_rows
    if not any_open.any():
        return
    ledger, awaits = board.world.ledger, board.touching and board.world.ledger.awaits_bias
    most = max(before[0].max(), after.max()) - min(before[0].min(), after.min())
    if not awaits and most <= min(board.audit.towards_p, board.audit.towards_ap):
        ledger.peak_cell_voltage = max(ledger.peak_cell_voltage, board.audit.towards_p, board.audit.towards_ap)
        return  # no cell sees more than one did before
    opened, before, after = applied.opened[any_open], before[any_open], after[any_open]
    low, high = np.minimum(before, after), np.maximum(before, after)
    up = np.where(opened, high[:, :n_rows], -np.inf).max(1) - low[:, n_rows:].min(1)
    down = high[:, n_rows:].max(1) - np.where(opened, low[:, :n_rows], np.inf).min(1)
    board.audit.towards_p = max(board.audit.towards_p, float(up.max()))
    board.audit.towards_ap = max(board.audit.towards_ap, float(down.max()))
    ledger.peak_cell_voltage = max(ledger.peak_cell_voltage, board.audit.towards_p, board.audit.towards_ap)
    if awaits:
        ledger.biased(float((high.max(1) - low.min(1)).max()))
        ledger.biased(0.0)


def _let_pass(board: EmulatedBoard, events: Events) -> None:
    """Let the time of the events pass, with that of the codes written before each.

    The chip counts as energised from the first to the last of them: millions of spans are no use to anybody.
    """
    width, now = events.clocks * board.clock, board.now()
    ends = np.cumsum(events.written * board.dac_write + width)
    if board.touching:
        board.world.ledger.energise(now + float(ends[0] - width[0]), now + float(ends[-1]))
    board.wait(float(ends[-1]))


def _steps(events: Events, applied: _Applied) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield what the chip is asked for together, in order: numbers of writes, of reads, or of both, in pairs.

    All are alike in clocks and in whether lines float or gates are open.
    """
    any_open = np.asarray(applied.opened.any(1))
    acts = np.flatnonzero(events.reads | any_open)
    if not len(acts):
        return
    write, opened = ~events.reads[acts], any_open[acts]
    first = np.append(write[:-1] & ~write[1:] & opened[1:] & (np.diff(events.kernel[acts]) == 0), False)
    second = np.insert(first[:-1], 0, False)
    whole = np.asarray(applied.on[acts].all(1))
    after = np.minimum(np.arange(len(acts)) + 1, len(acts) - 1)
    begins = np.flatnonzero(~second)
    flags = (write + 2 * first + 4 * opened + 8 * whole + 16 * (first & whole[after]))[begins]
    clocks, of_read = events.clocks[acts[begins]], (first * events.clocks[acts[after]])[begins]
    other = (flags[1:] != flags[:-1]) | (clocks[1:] != clocks[:-1]) | (of_read[1:] != of_read[:-1])
    for part in np.split(begins, np.flatnonzero(other) + 1):
        none = np.zeros(0, np.int64)
        if not write[part[0]]:
            yield none, acts[part]
        else:
            yield acts[part], acts[part + 1] if first[part[0]] else none


def _perform(
    board: EmulatedBoard, events: Events, applied: _Applied, write: IntArray, read: IntArray, outputs: FloatArray
) -> None:
    """Have the chip do one step of `_steps`, one by one where it refuses; set the outputs (n, 25) V of its reads."""
    clocks, n_cols = events.clocks * board.clock, applied.level.shape[1] - applied.n_rows
    n, opened = max(len(write), len(read)), bool(len(write) or applied.opened[read].any())
    operation: Sense | Pulse
    try:
        sense = Sense(applied.bias(read), np.arange(n_cols), float(clocks[read[0]])) if len(read) else None
        if len(write):
            operation = Pulse(applied.bias(write), float(clocks[write[0]]), sense)
        else:
            assert sense is not None
            operation = sense
        current = board.perform(operation, opened)
    except BenchError as error:
        if n == 1 and not (len(write) and len(read)):
            board.refuse(str(error))
            return
        for k in range(n):
            for alone in ((write[k : k + 1], read[:0]), (write[:0], read[k : k + 1])):
                if len(alone[0]) or len(alone[1]):
                    _perform(board, events, applied, *alone, outputs)
        return
    if len(read):
        outputs[read] = board.amplified(current, applied.on[read][:, applied.n_rows :])
