"""The run loop: the only place that iterates a procedure, and the only `finally`.

Every operation of a procedure passes through `Journalled`, which cuts it into chunks of about a second of bench time.
A chunk's intent is durable before anything is energised, and its result is durable before the next chunk begins;
between chunks is the safe point at which a run can be asked to stop. Records are durable before the procedure is asked
for more. A journal that has some of it already is gone through again first (`labctl.execution.replay`).
"""

import math
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeVar

import numpy as np

from labctl.core.die import (
    Attempts,
    Geometry,
    Nominal,
    Operation,
    Pulse,
    Reading,
    Sense,
    WritePlan,
    program_by_host,
)
from labctl.core.errors import (
    ContactError,
    InstrumentError,
    LabError,
    LimitError,
    LinkTimeoutError,
    StorageError,
    SwitchedOff,
)
from labctl.core.limits import Limited
from labctl.core.procedure import History, Procedure
from labctl.core.units import Second
from labctl.execution.replay import Mismatch, Replay, Told, answer_to
from labctl.storage.journal import Journal
from labctl.storage.run_log import State

CHUNK: Second = 1.0
"""Bench time of one chunk: the longest wait between asking a run to stop and its safe point."""
SLOWER, GRACE = 3.0, 30.0
"""A chunk hangs when it takes longer than `SLOWER` times its predicted time and `GRACE` s more."""
THINKING: Second = 600.0
"""Longest time, in s, between two chunks: a procedure works on what it read, or a journal is gone through again."""


class Status(StrEnum):
    """How a stage ended."""

    SUCCESS = "success"
    ABORT = "abort"
    FAIL = "fail"


@dataclass(frozen=True)
class Outcome:
    """How a stage ended, why, in operator words, the exit code that says so to a script, and the bin if it has one.

    Args:
        state: where it leaves the die; if nothing else is said, DONE after a success and ERROR after all else.
        error: type and message of the exception that ended it, if one did.
        trace: where that came from.
    """

    status: Status
    reason: str = ""
    exit_code: int = 0
    bin: str = ""
    state: State = State.PENDING
    error: tuple[str, str] | None = None
    trace: str = ""

    def __post_init__(self) -> None:
        if self.state is State.PENDING:
            object.__setattr__(self, "state", State.DONE if self.status is Status.SUCCESS else State.ERROR)


class Stopped(LabError):
    """The operator asked the run to stop and it has reached a safe point."""

    exit_code = 4


def ending(error: BaseException) -> Outcome:
    """Return how an exception ends the work on a die.

    What the die can go on from, once the cause is gone, leaves it INTERRUPTED: an operator, a link, a disk.
    """
    match error:
        case Stopped() | SwitchedOff():
            return Outcome(Status.ABORT, str(error), error.exit_code, state=State.INTERRUPTED)
        case KeyboardInterrupt():
            reason = "interrupted by the operator"
            return Outcome(Status.ABORT, reason, Stopped.exit_code, state=State.INTERRUPTED)
    said, trace = (type(error).__name__, str(error)), "".join(traceback.format_exception(error))
    match error:
        case LimitError():
            return Outcome(Status.ABORT, str(error), error.exit_code, "", State.LIMIT_STOP, said, trace)
        case ContactError():
            return Outcome(Status.FAIL, str(error), 1, "contact", State.CONTACT_FAIL, said, trace)
        case StorageError() | LinkTimeoutError():
            return Outcome(Status.FAIL, str(error), error.exit_code, "", State.INTERRUPTED, said, trace)
        case LabError():
            # 2 is for what was refused before the start
            code = 1 if error.exit_code == 2 else error.exit_code
            return Outcome(Status.FAIL, str(error), code, "", State.ERROR, said, trace)
    return Outcome(Status.FAIL, f"a bug: {error!r}", LabError.exit_code, "", State.ERROR, said, trace)


class Stop:
    """Whether a run is asked to end, and whether it may be interrupted at once.

    Args:
        reason: asked at every safe point; the run ends there when it returns one.
        off: returns why nothing may be energised any more, None while it may; asked at safe points and after errors.
    """

    def __init__(
        self, reason: Callable[[], str | None] = lambda: None, off: Callable[[], str | None] = lambda: None
    ) -> None:
        self._reason, self.off = reason, off
        self.interruptible = False
        """True while a procedure runs; then, and only then, an interrupt is caught and the clean-up follows."""

    def reason(self) -> str | None:
        """Return why the run has to end at this safe point, None to go on."""
        return self.off() or self._reason()

    def ending(self, error: BaseException) -> Outcome:
        """Return how an exception ends the work on a die.

        What a die meets on a bench that somebody is switching off under it is no fault of the die: relays that open,
        a link that is taken over, needles that go up.
        """
        if isinstance(error, KeyboardInterrupt | Stopped | InstrumentError | ContactError):
            off = self.off()
            if off is not None:
                return ending(SwitchedOff(off))
        return ending(error)

    @contextmanager
    def may_interrupt(self) -> Iterator[None]:
        """Say that an interrupt is caught while the block lasts."""
        self.interruptible = True
        try:
            yield
        finally:
            self.interruptible = False


C = TypeVar("C", Sense, Pulse)


def chunk_of(n: int, time: Second) -> int:
    """Return how many of n patterns, predicted to take `time` s together, make a chunk of at most `CHUNK` s.

    >>> chunk_of(7, 2.5), chunk_of(3, 60.0), chunk_of(0, 0.0)
    (3, 1, 1)
    """
    return max(1, math.ceil(n / max(1, math.ceil(time / CHUNK))))


class Journalled:
    """A die whose every operation is in the journal before it is done and again after it.

    Args:
        replay: what the journal has of it already.
        stop: asked at every safe point.
        tick: called at every safe point, for progress.
        lease: told how long it may take until it is told again, s; whoever hears nothing longer may take it for hung.
    """

    def __init__(
        self,
        die: Limited,
        replay: Replay,
        stage: str,
        stop: Stop | None = None,
        tick: Callable[[int], None] = lambda patterns: None,
        lease: Callable[[Second], None] = lambda seconds: None,
    ) -> None:
        self._die, self._replay, self._journal, self._stage = die, replay, replay.journal, stage
        self._stop, self._tick, self._lease = stop or Stop(), tick, lease

    @property
    def geometry(self) -> Geometry:
        """Shape of the die."""
        return self._die.geometry

    @property
    def nominal(self) -> Nominal:
        """Nominal conductances."""
        return self._die.nominal

    def check(self, operation: Operation) -> Second:
        """Return the predicted time; refuse what may not or cannot be done."""
        return self._die.check(operation)

    def sense(self, sense: Sense) -> Reading:
        """Read n patterns, chunk by chunk."""
        return Reading.join(self._chunks("sense", sense, self._die.sense))

    def pulse(self, pulse: Pulse) -> Reading:
        """Pulse n patterns, chunk by chunk."""
        return Reading.join(self._chunks("pulse", pulse, self._die.pulse))

    def program(self, plan: WritePlan) -> Attempts:
        """Judge the plan once, then carry it out in journalled pulses."""
        self._die.check(plan)
        return program_by_host(self, plan)

    def idle(self) -> None:
        """Make every line safe."""
        self._die.idle()

    def _chunks(self, kind: str, operation: C, act: Callable[[C], Reading]) -> Iterator[Reading]:
        """Yield what the chunks of an operation give: first those of the journal, cut as they were, then others."""
        n, start, size = len(operation), 0, 0
        time: Second | None = None
        while start < n or not size:
            told = self._replay.next()
            if told is None and time is None:
                time = self._die.check(operation)
                size = size or chunk_of(n, time)
            patterns = size if told is None else told.patterns
            size = max(size, patterns, 1)
            piece = operation if patterns >= n else operation.take(slice(start, start + patterns))
            start += max(1, len(piece))
            self._safe_point()
            if told is not None:
                yield self._again(told, kind, piece)
            else:
                assert time is not None
                yield self._act(kind, piece, act, time * len(piece) / max(1, n))
            self._tick(len(piece))

    def _again(self, told: Told, kind: str, piece: Sense | Pulse) -> Reading:
        """Answer a chunk from the journal."""
        self._lease(THINKING)
        return self._replay.again(told, self._stage, kind, piece, self._die, self._answer)

    def _safe_point(self) -> None:
        reason = self._stop.reason()
        if reason:
            raise Stopped(reason)

    def _act(self, kind: str, piece: C, act: Callable[[C], Reading], time: Second) -> Reading:
        self._replay.begin()
        return self._do(self._journal.intend(self._stage, kind, piece), lambda: act(piece), time)

    def _answer(self, seq: int, sense: Sense) -> Reading:
        """Take the read that answers operation `seq`, whose result was lost."""
        time = self._die.check(sense)
        number = self._journal.intend(self._stage, "sense", answer_to(seq, sense))
        return self._do(number, lambda: self._die.sense(sense), time)

    def _do(self, sequence: int, act: Callable[[], Reading], time: Second) -> Reading:
        self._journal.commit()
        self._lease(SLOWER * time + GRACE)
        reading = act()
        self._lease(THINKING)
        self._journal.result(sequence, reading)
        return reading


def run(
    procedure: Procedure,
    die: Limited,
    journal: Journal,
    history: History,
    *,
    stop: Stop | None = None,
    tick: Callable[[int], None] = lambda patterns: None,
    lease: Callable[[Second], None] = lambda seconds: None,
    truth: Callable[[], dict[str, Any]] | None = None,
    replay: Replay | None = None,
) -> Outcome:
    """Run one procedure on one die and journal all of it; always leave the die idle.

    Args:
        truth: what a simulated die really holds, logged when the stage ends and used by nobody.
        replay: what `journal` tells of this and later stages already; None for nothing.
    """
    stage, replay, stop = procedure.name, replay or Replay(journal), stop or Stop()
    outcome = Outcome(Status.FAIL, "the stage was interrupted", LabError.exit_code, state=State.INTERRUPTED)
    try:
        if not replay.started(stage):
            journal.event("stage_started", procedure.settings_said(), stage=stage)
        watched = Journalled(die, replay, stage, stop, tick, lease)
        with stop.may_interrupt():
            for record in procedure.run(watched, history):
                if not replay.knows(stage, record):
                    journal.record(stage, record)
                    journal.commit()
                history.add(record)
        outcome = Outcome(Status.SUCCESS)
    except (KeyboardInterrupt, Exception) as error:
        outcome = stop.ending(error)
    finally:
        outcome = _close(die, replay, stage, outcome, truth)
    return outcome


def _close(
    die: Limited, replay: Replay, stage: str, outcome: Outcome, truth: Callable[[], dict[str, Any]] | None
) -> Outcome:
    """Make the die safe first, then write how the stage ended; return the graver of what happened before and here."""
    try:
        die.idle()
    except Exception as error:
        outcome = unsafe(error, outcome)
    body: dict[str, Any] = {"pulses_per_cell": die.counts}
    if truth is not None:
        body["truth"] = {name: np.asarray(value) for name, value in truth().items()}
    body |= {"outcome": outcome.status.value, "reason": outcome.reason}
    if outcome.trace:
        body["trace"] = outcome.trace
    try:
        if outcome.status is not Status.SUCCESS or not replay.ended(stage, body):
            replay.journal.event("stage_ended", body, stage=stage)
            replay.journal.commit()
    except (StorageError, Mismatch) as error:
        if outcome.status is Status.SUCCESS:
            return ending(error)
        return replace(outcome, reason=f"{outcome.reason}; and {error}")
    return outcome


def unsafe(error: Exception, before: Outcome) -> Outcome:
    """Return the outcome of outputs that were not verified off, after `before`; the die stands where that left it."""
    reason = f"outputs may be live: {error}" + (f" (after: {before.reason})" if before.reason else "")
    state = State.INTERRUPTED if before.state is State.DONE else before.state
    return replace(before, status=Status.FAIL, reason=reason, exit_code=6, state=state)
