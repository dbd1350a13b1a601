"""Replay a die's journal, so that an interrupted procedure goes on where it was, with the same decisions.

The run loop starts a procedure from its beginning. Its operations are answered from the journal as long as that has
results, its records are compared with those of the journal, and the first operation without a result is where the die
is touched again. To read the cells once more and start the ladders anew would be no substitute: pulse counts, budgets
and give-ups would differ.

An operation with an intent and no result may have been done or not. A pulse counts as done, its cells are read, and
that read is what its verify says; the force side stays UNKNOWN. A read is taken again. Either is an operation of its
own in the journal, whose intent says which one it answers.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from labctl.core.body import SeekAhead, nothing
from labctl.core.errors import BenchError
from labctl.core.events import ContactProved, DieEvent, StageEnded, StageStarted, parse
from labctl.core.exit_codes import ExitCode, Status
from labctl.core.limits import Limited
from labctl.core.operations import Attempts, Flag, Pulse, Reading, Sense, WritePlan
from labctl.core.rebuild import Rebuild
from labctl.core.record import Record
from labctl.storage.arrays import Stored, digest_of, encode
from labctl.storage.journal import Journal
from labctl.storage.journal_reader import Row

PROGRAM = "program"
"""Kind of a write plan that was carried out as one operation."""

Read = Callable[[int, Sense], Reading]
"""Takes a read that answers the operation of that journal number, and journals it."""


class Mismatch(BenchError):
    """The procedure differs from the journal: files or code are not those of the run."""

    exit_code = ExitCode.OTHER_BIN


@dataclass(frozen=True)
class RecordedOperation:
    """One operation of the journal.

    Args:
        number: counted from 0 over all operations of procedures on this die.
        result: None if it was lost.
        answer: (intent, result) of the later read that stands for a lost result, None if there is none.
        patterns: number of its patterns.
    """

    number: int
    intent: Row
    result: Row | None
    answer: tuple[Row, Row] | None
    patterns: int

    @property
    def taken(self) -> int | None:
        """Number of the row with its reading; None if that was lost."""
        row = self.result or (None if self.answer is None else self.answer[1])
        return None if row is None else row.seq


class Replay:
    """The part of a journal that has not been replayed; empty for a new die.

    Args:
        seek: see `ReadyDie`; operations have even numbers, the reads that answer one the next odd one.
    """

    def __init__(
        self,
        journal: Journal,
        rebuild: Rebuild = Rebuild.NOTHING,
        seek: Callable[[int], None] = lambda number: None,
    ) -> None:
        self.journal, self.rebuild, self.seek = journal, rebuild, seek
        self.seek_ahead: SeekAhead | None = None
        """See `ReadyDie`."""
        self.number = 0
        self._answers: dict[int, tuple[Row, Row]] = {}
        self._rows: Iterator[tuple[Row, Row | None]] = iter(())
        self._records: Iterator[Row] = iter(())
        self._started: deque[str] = deque()
        self._ended: deque[Row] = deque()
        self._next: tuple[Row, Row | None] | None = None
        self._record: Row | None = None
        self.proved = 0
        """Number of the last row that proves contact, 0 if none does."""

    @classmethod
    def of(
        cls,
        journal: Journal,
        rebuild: Rebuild = Rebuild.NOTHING,
        seek: Callable[[int], None] = lambda number: None,
    ) -> "Replay":
        """Return the replay of the whole `journal`; one operation and one record at a time are in memory."""
        replay = cls(journal, rebuild, seek)
        replay._answers = dict(_answers(journal))
        replay._rows = (pair for pair in journal.intents() if _answered(journal, pair[0]) is None)
        replay._records = journal.rows("record")
        for row in journal.rows("event"):
            match parse(DieEvent, row.kind, journal.body(row, load=False)):
                case StageStarted():
                    replay._started.append(row.stage)
                case StageEnded(outcome=Status.SUCCESS):
                    replay._ended.append(row)
                case ContactProved():
                    replay.proved = row.seq
        replay._next, replay._record = next(replay._rows, None), next(replay._records, None)
        return replay

    @property
    def stages(self) -> int:
        """Number of stages that ended in success and have not been replayed."""
        return len(self._ended)

    @property
    def pending(self) -> int | None:
        """Journal number of the last operation if its result was lost, else None."""
        last = None
        for intent, result in self.journal.intents():
            last = intent.seq if result is None else None
        return last

    # stages and records

    def started(self, stage: str) -> bool:
        """Return whether the journal has the start of the next stage; Mismatch if it was another."""
        if not self._started:
            return False
        recorded = self._started.popleft()
        if recorded != stage:
            raise Mismatch(f"the journal tells of a stage '{recorded}' where the campaign has '{stage}' now")
        return True

    def ended(self, stage: str, event: StageEnded) -> bool:
        """Return whether the journal has the good end of the next stage; Mismatch if it ended otherwise.

        Args:
            event: compared for a die that is the same to the bit. For other dies the counts include the
                pulses of runs in between.
        """
        if not self._ended:
            return False
        row = self._ended.popleft()
        if row.stage != stage or (self.rebuild is Rebuild.BITS and not self._equals(row, event.body)):
            raise Mismatch(f"the journal tells of another end of stage '{row.stage}' (row {row.seq}) than it has now")
        return True

    def knows(self, stage: str, record: Record) -> bool:
        """Return whether the next record of the journal is this one, False if there is none; Mismatch if it differs."""
        row = self._record
        if row is None:
            return False
        same = (row.stage, row.kind) == (stage, record.table)
        if not (same and self._equals(row, Journal.body_of(record))):
            raise Mismatch(
                f"the journal tells of another record: row {row.seq}, '{row.kind}' of stage '{row.stage}', is not "
                f"the '{record.table}' of stage '{stage}' that was found now"
            )
        self._record = next(self._records, None)
        return True

    # operations

    @property
    def has_plan(self) -> bool:
        """Whether the next operation of the journal is a write plan that was carried out as one."""
        return self._next is not None and self._next[0].kind == PROGRAM

    def next(self) -> RecordedOperation | None:
        """Return the next operation of the journal, None when it has no more; Mismatch if records or ends are left."""
        if self._next is None:
            if self._record is not None or self._ended:
                row = self._record or self._ended[0]
                raise Mismatch(f"the journal goes on with row {row.seq} where another operation is asked for now")
            return None
        (intent, result), self._next = self._next, next(self._rows, None)
        body = self.journal.body(intent, load=False)
        patterns = body["write" if intent.kind == PROGRAM else "bias"]["row"].shape[0]
        recorded = RecordedOperation(self.number, intent, result, self._answers.get(intent.seq), patterns)
        self.number += 1
        return recorded

    def begin(self) -> Callable[[], None]:
        """Number an operation that the journal does not have; return what waits until the world has its number."""
        number, self.number = 2 * self.number, self.number + 1
        if self.seek_ahead is not None:
            return self.seek_ahead(number)
        self.seek(number)
        return nothing

    def again(
        self, recorded: RecordedOperation, stage: str, kind: str, piece: Sense | Pulse, die: Limited, read: Read
    ) -> Reading:
        """Return the reading of `piece` from the journal; a lost one is replaced as `rebuild` allows.

        Raises:
            Mismatch: the journal has another operation here, or a rebuilt die reads otherwise.
        """
        intent = recorded.intent
        same = (intent.stage, intent.kind) == (stage, kind)
        if not (same and self._equals(intent, piece)):
            raise Mismatch(
                f"the journal tells of another operation: row {intent.seq} is a {intent.kind} of "
                f"{recorded.patterns} patterns in stage '{intent.stage}'; asked for is a {kind} of {len(piece)} "
                f"in stage '{stage}', or one with other voltages"
            )
        if recorded.result is None:
            return self._lost(recorded, piece, die, read)
        if self.rebuild is Rebuild.NOTHING:
            die.recall(piece)
            return self._reading(recorded.result)
        self.seek(2 * recorded.number)
        reading = die.perform(piece)
        if self.rebuild is Rebuild.STATES:
            return self._reading(recorded.result)
        if not self._equals(recorded.result, reading):
            raise Mismatch(
                f"the simulated die says something else than the journal (row {recorded.result.seq}): its file, its "
                "seed or the simulation is not that of the run"
            )
        return reading

    def again_plan(self, recorded: RecordedOperation, stage: str, plan: WritePlan, die: Limited) -> Attempts:
        """Return the attempts of a write plan from the journal; those that were lost count as made, and are UNKNOWN.

        Raises:
            Mismatch: the journal has another operation here.
        """
        intent = recorded.intent
        if not ((intent.stage, intent.kind) == (stage, PROGRAM) and self._equals(intent, plan)):
            raise Mismatch(
                f"the journal tells of another operation: row {intent.seq} is a {intent.kind} of "
                f"{recorded.patterns} patterns in stage '{intent.stage}'; asked for is a write plan of {len(plan)} "
                f"cells in stage '{stage}', or one with other voltages"
            )
        result = recorded.result
        attempts = Attempts.at_most(plan) if result is None else Attempts(**self.journal.body(result))
        if self.rebuild is Rebuild.NOTHING:
            die.recall_plan(plan, attempts)
            return attempts
        before = die.counts.copy()
        self.seek(2 * recorded.number)
        made = die.perform(plan)
        if self.rebuild is Rebuild.BITS and not attempts.lost.any():
            if result is not None and not self._equals(result, made):
                raise Mismatch(
                    f"the simulated die says something else than the journal (row {result.seq}): its file, its seed or "
                    "the simulation is not that of the run"
                )
            return made
        die.counts = before
        die.recall_plan(plan, attempts)
        return attempts

    def _lost(self, recorded: RecordedOperation, piece: Sense | Pulse, die: Limited, read: Read) -> Reading:
        """Return a reading in place of the lost one of `piece`."""
        seq, verify = recorded.intent.seq, piece.verify if isinstance(piece, Pulse) else piece
        if self.rebuild is Rebuild.BITS:
            reading = die.perform(piece)
            self.journal.result(seq, reading)
            return reading
        if isinstance(piece, Pulse):
            if self.rebuild is Rebuild.NOTHING:
                die.recall(piece)
            else:
                self.seek(2 * recorded.number)
                die.pulse(piece)
        if verify is None:
            return Reading.unknown(len(piece), 0)
        self.seek(2 * recorded.number + isinstance(piece, Pulse))
        if recorded.answer is None:
            reading = read(seq, verify)
        else:
            if self.rebuild is Rebuild.STATES:
                die.sense(verify)
            reading = self._reading(recorded.answer[1])
        if isinstance(piece, Sense):
            return reading
        return Reading(reading.current, reading.flag, np.full(len(piece), Flag.UNKNOWN, np.uint8))

    def _equals(self, row: Row, body: object) -> bool:
        """Return whether `body` equals that of a row to the bit, however that was stored."""
        return row.body == Journal.text(body) or _canonical(self.journal.body(row)) == _canonical(body)

    def _reading(self, row: Row) -> Reading:
        return Reading(**self.journal.body(row))


def _canonical(body: object) -> str:
    """Return `body` as text of its values alone, whatever the layout or storage of its arrays."""
    return encode(body, lambda array, path: {"$array": array.digest if isinstance(array, Stored) else digest_of(array)})


def answer_to(seq: int, sense: Sense) -> dict[str, Any]:
    """Return the intent of a read that answers the operation `seq` of the journal."""
    return {"answers": seq, **{f.name: getattr(sense, f.name) for f in fields(sense)}}


def _answered(journal: Journal, intent: Row) -> int | None:
    """Return the number of the operation that an intent answers, None for any other intent."""
    if not intent.body.startswith('{"answers":'):
        return None
    seq: int = journal.body(intent, load=False)["answers"]
    return seq


def _answers(journal: Journal) -> Iterator[tuple[int, tuple[Row, Row]]]:
    for intent, result in journal.intents():
        seq = _answered(journal, intent)
        if seq is not None and result is not None:
            yield seq, (intent, result)
