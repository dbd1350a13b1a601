"""Go through a die's journal again, so that an interrupted procedure goes on where it was, with the same decisions.

The run loop starts a procedure from its beginning. What it asks of the die is answered from the journal as long as
that has answers, its records are compared with those that are there, and the first operation without a result is where
the die is touched again. To read the cells once more and start the ladders anew would be no substitute: pulse counts,
budgets and give-ups would differ.

An operation with an intent and no result may have been done or not. A pulse counts as done, its cells are read, and
that read is what its verify says; the force side stays UNKNOWN. A read is taken again. Either is an operation of its
own in the journal, whose intent says which one it answers.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from labctl.core.errors import BenchError
from labctl.core.exit_codes import ExitCode
from labctl.core.limits import Limited
from labctl.core.operations import Flag, Pulse, Reading, Sense
from labctl.core.rebuild import Rebuild
from labctl.core.record import Record
from labctl.storage.arrays import Stored, digest_of, encode
from labctl.storage.journal import Journal
from labctl.storage.journal_reader import Row

Read = Callable[[int, Sense], Reading]
"""Takes a read that answers the operation of that number, and journals it."""


class Mismatch(BenchError):
    """The procedure asks for something else than the journal tells: files or code are not those of the run."""

    exit_code = ExitCode.OTHER_BIN


@dataclass(frozen=True)
class RecordedOperation:
    """One operation as the journal tells it.

    Args:
        number: counted from 0 over all operations that procedures asked of this die.
        result: None if it was lost.
        answer: (intent, result) of the later read that stands for a lost result, None if there is none.
        patterns: how many it had.
    """

    number: int
    intent: Row
    result: Row | None
    answer: tuple[Row, Row] | None
    patterns: int


class Replay:
    """What a journal tells and has not been gone through again; empty for a die that has just begun.

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
        self.number = 0
        self._answers: dict[int, tuple[Row, Row]] = {}
        self._rows: Iterator[tuple[Row, Row | None]] = iter(())
        self._records: Iterator[Row] = iter(())
        self._started: deque[str] = deque()
        self._ended: deque[Row] = deque()
        self._next: tuple[Row, Row | None] | None = None
        self._record: Row | None = None

    @classmethod
    def of(
        cls,
        journal: Journal,
        rebuild: Rebuild = Rebuild.NOTHING,
        seek: Callable[[int], None] = lambda number: None,
    ) -> "Replay":
        """Return all that `journal` tells; one operation and one record at a time are in memory."""
        found = cls(journal, rebuild, seek)
        found._answers = dict(_answers(journal))
        found._rows = (pair for pair in journal.intents() if _answered(journal, pair[0]) is None)
        found._records = journal.rows("record")
        for row in journal.rows("event"):
            if row.kind == "stage_started":
                found._started.append(row.stage)
            elif row.kind == "stage_ended" and journal.body(row, load=False)["outcome"] == "success":
                found._ended.append(row)
        found._next, found._record = next(found._rows, None), next(found._records, None)
        return found

    @property
    def stages(self) -> int:
        """How many stages are told to have ended well and have not been gone through again."""
        return len(self._ended)

    @property
    def pending(self) -> int | None:
        """Number in the journal of the operation whose result was lost, if its last one was."""
        last = None
        for intent, result in self.journal.intents():
            last = intent.seq if result is None else None
        return last

    # what happened around operations

    def started(self, stage: str) -> bool:
        """Return whether the journal has the start of the next stage; Mismatch if it was another."""
        if not self._started:
            return False
        told = self._started.popleft()
        if told != stage:
            raise Mismatch(f"the journal tells of a stage '{told}' where the campaign has '{stage}' now")
        return True

    def ended(self, stage: str, body: dict[str, Any]) -> bool:
        """Return whether the journal has the good end of the next stage; Mismatch if it ended otherwise.

        Args:
            body: of the event; compared for a die that is the same to the bit. Elsewhere counts start from what other
                runs did to the die meanwhile.
        """
        if not self._ended:
            return False
        told = self._ended.popleft()
        if told.stage != stage or (self.rebuild is Rebuild.BITS and not self._holds(told, body)):
            raise Mismatch(f"the journal tells of another end of stage '{told.stage}' (row {told.seq}) than it has now")
        return True

    def knows(self, stage: str, record: Record) -> bool:
        """Return whether the next record of the journal is this one, False if there is none; Mismatch if it differs."""
        told = self._record
        if told is None:
            return False
        same = (told.stage, told.kind) == (stage, record.table)
        if not (same and self._holds(told, Journal.body_of(record))):
            raise Mismatch(
                f"the journal tells of another record: row {told.seq}, '{told.kind}' of stage '{told.stage}', is not "
                f"the '{record.table}' of stage '{stage}' that was found now"
            )
        self._record = next(self._records, None)
        return True

    # operations

    def next(self) -> RecordedOperation | None:
        """Return the next operation of the journal, None when it has no more; Mismatch if records or ends are left."""
        if self._next is None:
            if self._record is not None or self._ended:
                row = self._record or self._ended[0]
                raise Mismatch(f"the journal goes on with row {row.seq} where another operation is asked for now")
            return None
        (intent, result), self._next = self._next, next(self._rows, None)
        patterns = self.journal.body(intent, load=False)["bias"]["row"].shape[0]
        told = RecordedOperation(self.number, intent, result, self._answers.get(intent.seq), patterns)
        self.number += 1
        return told

    def begin(self) -> None:
        """Mark an operation that the journal does not have."""
        self.seek(2 * self.number)
        self.number += 1

    def again(
        self, told: RecordedOperation, stage: str, kind: str, piece: Sense | Pulse, die: Limited, read: Read
    ) -> Reading:
        """Return what `piece` gave, from the journal; a lost result is replaced as this die allows.

        Raises:
            Mismatch: the journal has another operation here, or a rebuilt die says something else.
        """
        same = (told.intent.stage, told.intent.kind) == (stage, kind)
        if not (same and self._holds(told.intent, piece)):
            raise Mismatch(
                f"the journal tells of another operation: row {told.intent.seq} is a {told.intent.kind} of "
                f"{told.patterns} patterns in stage '{told.intent.stage}'; asked for is a {kind} of {len(piece)} "
                f"in stage '{stage}', or one with other voltages"
            )
        if told.result is None:
            return self._lost(told, piece, die, read)
        if self.rebuild is Rebuild.NOTHING:
            die.recall(piece)
            return self._reading(told.result)
        self.seek(2 * told.number)
        found = die.perform(piece)
        if self.rebuild is Rebuild.STATES:
            return self._reading(told.result)
        if not self._holds(told.result, found):
            raise Mismatch(
                f"the simulated die says something else than the journal (row {told.result.seq}): its file, its seed "
                "or the simulation is not that of the run"
            )
        return found

    def _lost(self, told: RecordedOperation, piece: Sense | Pulse, die: Limited, read: Read) -> Reading:
        """Return what stands for the lost result of `piece`."""
        seq, verify = told.intent.seq, piece.verify if isinstance(piece, Pulse) else piece
        if self.rebuild is Rebuild.BITS:
            found = die.perform(piece)
            self.journal.result(seq, found)
            return found
        if isinstance(piece, Pulse):
            if self.rebuild is Rebuild.NOTHING:
                die.recall(piece)
            else:
                self.seek(2 * told.number)
                die.pulse(piece)
        if verify is None:
            return Reading.unknown(len(piece), 0)
        self.seek(2 * told.number + isinstance(piece, Pulse))
        if told.answer is None:
            found = read(seq, verify)
        else:
            if self.rebuild is Rebuild.STATES:
                die.sense(verify)
            found = self._reading(told.answer[1])
        if isinstance(piece, Sense):
            return found
        return Reading(found.current, found.flag, np.full(len(piece), Flag.UNKNOWN, np.uint8))

    def _holds(self, row: Row, body: object) -> bool:
        """Return whether `body` is to the bit what a row holds, also if that was stored in another way."""
        return row.body == Journal.text(body) or _whole(self.journal.body(row)) == _whole(body)

    def _reading(self, row: Row) -> Reading:
        return Reading(**self.journal.body(row))


def _whole(body: object) -> str:
    """Return `body` as text that depends on its values alone, and not on how its arrays are laid out or stored."""
    return encode(body, lambda array, path: {"$array": array.digest if isinstance(array, Stored) else digest_of(array)})


def answer_to(seq: int, sense: Sense) -> dict[str, Any]:
    """Return the intent of a read that answers the operation `seq` of the journal."""
    return {"answers": seq, **{f.name: getattr(sense, f.name) for f in fields(sense)}}


def _answered(journal: Journal, intent: Row) -> int | None:
    """Return which operation an intent answers, if it is one that does."""
    if not intent.body.startswith('{"answers":'):
        return None
    found: int = journal.body(intent, load=False)["answers"]
    return found


def _answers(journal: Journal) -> Iterator[tuple[int, tuple[Row, Row]]]:
    for intent, result in journal.intents():
        seq = _answered(journal, intent)
        if seq is not None and result is not None:
            yield seq, (intent, result)
