"""The engine of an emulated Daffodil board, which computes a batch of patterns at once.

Event by event a chip takes minutes to be written. What a batch does is known before it begins; here it becomes events
as arrays (`sim_backend.emulators.daffodil_events`). Where that would not be the same, on a clock that waits, on a board
that is not as it was set up, or with a read that is late, the engine does all of it event by event.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

import numpy as np
import numpy.typing as npt

from labctl.boards.daffodil import registers as reg
from labctl.boards.daffodil.engine import Engine
from labctl.boards.daffodil.patterns import KEEP, MOST, READ, RECORD, REST, WRITE, Pattern, unpack
from labctl.boards.daffodil.service import Service
from labctl.boards.daffodil.settings import Settings
from labctl.core.units import BoolArray, IntArray
from sim_backend.emulators.daffodil_board import EmulatedBoard
from sim_backend.emulators.daffodil_events import Codes, Events, carry_out, follows_its_settings

_DTYPE = np.dtype(
    [
        ("kernel", "u1"),
        ("mode", "u1"),
        ("clocks", "<u4"),
        ("column_on", "<u4"),
        ("row_on", "<u4"),
        ("read", "<u4"),
        ("codes", "<u2", 3 * reg.LINES),
    ]
)
"""`labctl.boards.daffodil.patterns.RECORD`."""
_WORDS = ("kernel", "mode", "clocks", "column_on", "row_on", "read")


class Patterns(Sequence[Pattern]):
    """Patterns that are taken apart where one of them is asked for.

    Args:
        records: (n,) as they travel.
    """

    def __init__(self, records: npt.NDArray[np.void]) -> None:
        self.records = records

    @overload
    def __getitem__(self, number: int) -> Pattern: ...
    @overload
    def __getitem__(self, number: slice) -> "Patterns": ...
    def __getitem__(self, number: int | slice) -> "Pattern | Patterns":
        """Return one of them, or a part."""
        if isinstance(number, slice):
            return Patterns(self.records[number])
        kernel, mode, clocks, column_on, row_on, read, codes = self.records[number].tolist()
        return Pattern(kernel, mode, clocks, column_on, row_on, read, codes.tolist())

    def __len__(self) -> int:
        return len(self.records)

    @cached_property
    def batch(self) -> "Batch":
        """The same as arrays."""
        return Batch.of_records(self.records)


@dataclass(frozen=True, eq=False)
class Batch:
    """Patterns as arrays over them; see `Pattern`.

    Args:
        mode: (n,), without rest.
        rest: (n,) whether rest comes before.
        codes: (n, 75), of 16 bits as they travel.
    """

    kernel: IntArray
    mode: IntArray
    rest: BoolArray
    clocks: IntArray
    column_on: IntArray
    row_on: IntArray
    read: IntArray
    codes: Codes

    @classmethod
    def of(cls, patterns: Sequence[Pattern]) -> "Batch":
        """Return patterns as arrays."""
        return patterns.batch if isinstance(patterns, Patterns) else cls.of_records(_records(patterns))

    @classmethod
    def of_records(cls, records: npt.NDArray[np.void]) -> "Batch":
        """Return patterns, (n,) as they travel, as arrays."""
        kernel, mode, clocks, column_on, row_on, read = (records[n].astype(np.int64) for n in _WORDS)
        codes = np.ascontiguousarray(records["codes"])
        return cls(kernel, mode & ~REST, (mode & REST) > 0, clocks, column_on, row_on, read, codes)

    def __len__(self) -> int:
        return len(self.kernel)

    @cached_property
    def reads(self) -> BoolArray:
        """(n,) whether each is a read."""
        return np.asarray(self.mode == READ)

    @cached_property
    def on(self) -> BoolArray:
        """(n, 50) columns and rows that are connected."""
        return np.concatenate([lines_of(self.column_on), lines_of(self.row_on)], axis=1)

    @cached_property
    def read_lines(self) -> BoolArray:
        """(n, 25) rows that are read."""
        return lines_of(self.read) & self.reads[:, None]

    def allowed(self, settings: Settings) -> BoolArray:
        """Return (n,) whether the board may have each, by what `labctl.boards.daffodil.settings.wrong` says of one."""
        lines, gates, ref = self.codes[:, : 2 * reg.LINES], self.codes[:, 2 * reg.LINES :], settings.reference
        right = (self.kernel < reg.KERNELS) & (self.reads | (self.mode == WRITE)) & (self.clocks >= 1)
        right &= (self.column_on & ~settings.columns | self.row_on & ~settings.rows) == 0
        right &= ~self.reads | (self.read & ~self.row_on == 0)
        driven = self.on.copy()
        driven[self.reads, reg.LINES :] = False
        right &= _none(driven & ((lines < settings.lowest) | (lines > reg.TOP_CODE)))
        right &= _none((gates != KEEP) & ((gates < settings.closed) | (gates > settings.top_gate)))
        right &= _none((self.codes > reg.TOP_CODE) & (self.codes != KEEP))
        levels = np.where(driven, lines, np.uint16(ref)).reshape(len(self), 2, reg.LINES)
        if int(levels.max(initial=ref)) - int(levels.min(initial=ref)) <= min(settings.up, settings.down):
            return np.asarray(right)  # no two lines of any patterns are farther apart
        low = np.minimum(levels.min(2), ref).astype(np.int64)
        high = np.maximum(levels.max(2), ref).astype(np.int64)
        floats = (self.column_on != settings.columns) | (self.row_on != settings.rows)
        up = np.where(floats, high.max(1) - low.min(1), high[:, 0] - low[:, 1])
        down = np.where(floats, high.max(1) - low.min(1), high[:, 1] - low[:, 0])
        return np.asarray(right & (up <= settings.up) & (down <= settings.down))


def _none(wrong: BoolArray) -> BoolArray:
    """Return (n,) whether none of (n, k) is wrong; at once where none of all is."""
    return np.asarray(~wrong.any(1)) if wrong.any() else np.ones(len(wrong), np.bool_)


def _records(patterns: Sequence[Pattern]) -> npt.NDArray[np.void]:
    """Return patterns as they travel, (n,)."""
    if isinstance(patterns, Patterns):
        return patterns.records
    return np.array([(*pattern[:6], pattern.codes) for pattern in patterns], _DTYPE)


class BatchEngine(Engine):
    """The engine of an emulated board.

    Args:
        board: the emulated board.
    """

    def __init__(self, board: EmulatedBoard) -> None:
        super().__init__(board)
        self._board = board
        self.at_once = True
        """Whether batches are computed at once where that is the same."""

    def seconds(self, patterns: Sequence[Pattern]) -> float:
        """Return the time of the events of patterns, in s."""
        if isinstance(patterns, Patterns):
            return int(patterns.records["clocks"].sum(dtype=np.int64)) * self.settings.clock
        return super().seconds(patterns)

    def refuse(self, patterns: Sequence[Pattern]) -> None:
        """Raise Refused, with the number of the pattern, for one that the board must not have."""
        if not Batch.of(patterns).allowed(self.settings).all():
            super().refuse(patterns)

    def run(self, patterns: Sequence[Pattern]) -> tuple[list[int], list[int]]:
        """Carry out patterns in their order, and rest behind them, as `Engine.run`."""
        self.refuse(patterns)
        batch = Batch.of(patterns)
        if self.abort or not self.at_once or not len(batch) or not self._predictable() or self._late(batch).any():
            return super().run(patterns)
        codes = self._at_once(batch, rested=True)
        self.verify_rest()
        return codes, []

    def attempts(
        self, writes: Sequence[Pattern], reads: Sequence[Pattern], cells: Sequence[int]
    ) -> Iterator[tuple[int, bool]]:
        """Carry out the writes of some cells and their reads, as `Engine.attempts`."""
        if self.abort or not self.at_once or not cells or not self._predictable():
            yield from super().attempts(writes, reads, cells)
            return
        pairs = np.stack([_records(writes)[cells], _records(reads)[cells]], axis=1).reshape(-1)
        batch = Batch.of_records(pairs)
        if self._late(batch).any():
            yield from super().attempts(writes, reads, cells)
        else:
            yield from ((code, True) for code in self._at_once(batch, rested=False))

    def _predictable(self) -> bool:
        """Return whether the board is as this engine has set it up, so that nothing else decides what a batch does."""
        if [self._board.read(reg.DATA + 4 * word) for word in range(reg.WORDS)] != self._outputs:
            return False
        places = [*self._places, reg.REFERENCE]
        return follows_its_settings(self._board, places, list(map(self._codes.get, places)), self.settings.clock)

    def _late(self, batch: Batch) -> BoolArray:
        """Return (n,) which reads may end before their last conversion."""
        conversions = batch.read_lines.sum(1)
        needed = self.settings.settle + conversions * self._board.conversion
        return np.asarray((conversions > 0) & (needed * (1 + 1e-9) > batch.clocks * self.settings.clock))

    def _at_once(self, batch: Batch, *, rested: bool) -> list[int]:
        """Carry out patterns, none of them late; return the codes that they read.

        Args:
            rested: rest comes behind them.
        """
        settings, n = self.settings, len(batch)
        rest_on = lines_of(np.array([settings.columns, settings.rows])).reshape(-1)
        # the number of the pattern of each event; a rest is an event before its pattern, or comes last
        number = np.repeat(np.arange(n), 1 + batch.rest)
        acts = np.append(number[1:] != number[:-1], True)
        if rested:
            number, acts = np.append(number, n - 1), np.append(acts, False)
        clocks = np.where(acts, batch.clocks[number], settings.rest_clocks)
        codes_of_events, on = batch.codes[number], batch.on[number]
        codes_of_events[~acts], on[~acts] = settings.at_rest, rest_on
        before = np.array([self._codes[place] for place in self._places], np.uint16)
        events = Events.of(before, codes_of_events, batch.kernel[number], on, acts & batch.reads[number], clocks)
        outputs = carry_out(self._board, events, self._places)
        self._codes.update(zip(self._places, events.code[-1].tolist(), strict=True))
        self._select(int(batch.kernel[-1]))
        self._mode(WRITE if rested else int(batch.mode[-1]))
        self._board.write(reg.PULSE_LENGTH, int(clocks[-1]))
        codes: list[int] = outputs[acts][batch.read_lines].tolist()
        return codes


class BatchService(Service):
    """The conversation with an emulated board."""

    def _patterns(self, text: str) -> Patterns:
        """Return the patterns of a text; ValueError if it has none."""
        data = unpack(text, MOST * RECORD.size)
        if len(data) % RECORD.size:
            raise ValueError(f"{len(data)} bytes are no whole patterns")
        return Patterns(np.frombuffer(data, _DTYPE))


def lines_of(mask: IntArray) -> BoolArray:
    """Return the (n, 25) lines of masks (n,)."""
    octets = mask.astype("<u4").view(np.uint8).reshape(-1, 4)
    return np.unpackbits(octets, axis=1, count=reg.LINES, bitorder="little").view(np.bool_)
