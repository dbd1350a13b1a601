"""A session on one die: within limits and journalled like a run, and without a procedure.

For work by hand: whoever holds the session decides what is done next. It is sealed when it ends; nothing goes on
with it.
"""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from labctl.core.body import Body, ReadyDie
from labctl.core.errors import StorageError
from labctl.core.events import Approached, DieEnded, InstrumentWarned
from labctl.core.exit_codes import Status
from labctl.core.limits import Limited
from labctl.core.outcome import Outcome, ending, unsafe
from labctl.core.record import History, Record
from labctl.execution.contact_watch import ContactWatch
from labctl.execution.die_job import Job, meta_of
from labctl.execution.recorded_die import RecordedDie
from labctl.execution.replay import Replay
from labctl.execution.stop import Stop
from labctl.storage.arrays import storage
from labctl.storage.journal import Journal
from labctl.storage.sealing import seal_in_subprocess

STAGE = "by hand"
"""Stands in the journal where an operation of a run has its stage."""


class Session:
    """A die that `body` gives, open while a ``with`` block lasts: limited, journalled, left safe, and sealed.

    What the block raises ends the session and is raised again after the die has been left.

    Args:
        job: the die, its limits, and the folder of the run.
        stop: asked at every safe point.

    Attributes:
        history: the records so far.
        outcome: how the session ended; None until then.

    Raises:
        StorageError: the journal cannot be made or written.
        LabError: the body does not give the die, or the die cannot be left safe.
    """

    def __init__(self, job: Job, body: Body, stop: Stop | None = None) -> None:
        self.job, self.history = job, History()
        self.outcome: Outcome | None = None
        self._body, self._stop = body, stop or Stop()
        self._limited: Limited | None = None

    def __enter__(self) -> Self:
        with storage(self.job.place, "make the folder of a die"):
            self.job.place.mkdir(parents=True, exist_ok=True)
        self._journal = Journal.create(self.job.place, meta_of(self.job))
        try:
            self._ready: ReadyDie = self._body.approach(self.job.subject)
            self._journal.event(Approached(notes=self._ready.notes))
            self._journal.commit()
        except BaseException as error:
            self._leave(error)
            raise
        self._limited = Limited(self._ready.die, self.job.limits)
        self._contact = ContactWatch(self._limited, self._ready.prove)
        self.die = RecordedDie(self._limited, Replay(self._journal), STAGE, self._stop, contact=self._contact)
        self._stop.interruptible = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        lost: Exception | None = None
        if error is None:
            try:
                self._prove()
            except Exception as not_proved:
                lost = error = not_proved
        self._stop.interruptible = False
        failed = self._leave(error)
        if lost is not None:
            raise lost
        if failed is not None and error is None:
            raise failed

    def _prove(self) -> None:
        """Prove contact once more and journal what proves it; ContactLost if it is gone."""
        proof = self._contact.end()
        if proof is not None:
            self._journal.event(proof, stage=STAGE)

    @property
    def notes(self) -> Mapping[str, Any]:
        """What was noted when the die was approached."""
        return self._ready.notes

    def record(self, record: Record) -> None:
        """Journal a record; it is on the disk when this returns."""
        self._journal.record(STAGE, record)
        self._journal.commit()
        self.history.add(record)

    def _leave(self, error: BaseException | None) -> Exception | None:
        """Make the die safe, end the journal, seal; return what went wrong in that."""
        outcome = Outcome(Status.SUCCESS) if error is None else self._stop.ending(error)
        failed: Exception | None = None
        for safe in (self._limited.idle if self._limited is not None else lambda: None, self._body.leave):
            try:
                safe()
            except Exception as unleft:
                failed, outcome = unleft, unsafe(unleft, outcome)
        try:
            for text in self._ready.warnings() if self._limited is not None else ():
                self._journal.event(InstrumentWarned(text=text), stage=STAGE)
            ended = DieEnded(
                bin="", outcome=outcome.status, state=outcome.state, reason=outcome.reason, trace=outcome.trace
            )
            self._journal.event(ended)
            self._journal.finish()
            self._journal.close()
            seal_in_subprocess(self.job.folder, self.job.name)
        except StorageError as unsealed:
            failed = failed or unsealed
            outcome = ending(unsealed) if outcome.status is Status.SUCCESS else outcome
        finally:
            self._journal.abandon()
        self.outcome = outcome
        return failed
