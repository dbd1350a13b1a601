"""The run loop: the only place that iterates a procedure, and the only `finally`.

Every operation of a procedure passes through `Journalled`, which cuts it into chunks of about a second of bench time.
A chunk's intent is durable before anything is energised, and its result is durable before the next chunk begins;
between chunks is the safe point at which a run can be asked to stop. Records are durable before the procedure is asked
for more.
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
from labctl.core.errors import LabError, LimitError, StorageError
from labctl.core.procedure import History, Procedure
from labctl.core.units import Second
from labctl.journal import Journal
from labctl.limits import Limited

CHUNK: Second = 1.0
"""Bench time of one chunk: the longest wait between asking a run to stop and its safe point."""


class Status(StrEnum):
    """How a stage ended."""

    SUCCESS = "success"
    ABORT = "abort"
    FAIL = "fail"


@dataclass(frozen=True)
class Outcome:
    """How a stage ended, why, in operator words, the exit code that says so to a script, and the bin if it has one."""

    status: Status
    reason: str = ""
    exit_code: int = 0
    bin: str = ""


class Stopped(LabError):
    """The operator asked the run to stop and it has reached a safe point."""

    exit_code = 4


class Stop:
    """Whether a run is asked to end, and whether it may be interrupted at once.

    Args:
        reason: asked at every safe point; the run ends there when it returns one.
    """

    def __init__(self, reason: Callable[[], str | None] = lambda: None) -> None:
        self.reason = reason
        self.interruptible = False
        """True while a procedure runs; then, and only then, an interrupt is caught and the clean-up follows."""

    @contextmanager
    def may_interrupt(self) -> Iterator[None]:
        """Say that an interrupt is caught while the block lasts."""
        self.interruptible = True
        try:
            yield
        finally:
            self.interruptible = False


C = TypeVar("C", Sense, Pulse)


def chunks(operation: C, time: Second) -> Iterator[C]:
    """Cut `operation`, predicted to take `time` s, into pieces of at most `CHUNK` s, at least one pattern each."""
    n = len(operation)
    pieces = max(1, math.ceil(time / CHUNK))
    size = max(1, math.ceil(n / pieces))
    if n <= size:
        yield operation
        return
    for start in range(0, n, size):
        yield operation.take(slice(start, start + size))


class Journalled:
    """A die whose every operation is in the journal before it is done and again after it.

    Args:
        stop: asked at every safe point.
        tick: called at every safe point, for progress.
    """

    def __init__(
        self,
        die: Limited,
        journal: Journal,
        stage: str,
        stop: Stop | None = None,
        tick: Callable[[int], None] = lambda patterns: None,
    ) -> None:
        self._die, self._journal, self._stage, self._tick = die, journal, stage, tick
        self._stop = stop or Stop()

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
        time = self._die.check(sense)
        return Reading.join(self._act("sense", piece, self._die.sense) for piece in chunks(sense, time))

    def pulse(self, pulse: Pulse) -> Reading:
        """Pulse n patterns, chunk by chunk."""
        time = self._die.check(pulse)
        return Reading.join(self._act("pulse", piece, self._die.pulse) for piece in chunks(pulse, time))

    def program(self, plan: WritePlan) -> Attempts:
        """Judge the plan once, then carry it out in journalled pulses."""
        self._die.check(plan)
        return program_by_host(self, plan)

    def idle(self) -> None:
        """Make every line safe."""
        self._die.idle()

    def _act(self, kind: str, piece: C, act: Callable[[C], Reading]) -> Reading:
        reason = self._stop.reason()
        if reason:
            raise Stopped(reason)
        sequence = self._journal.intend(self._stage, kind, piece)
        self._journal.commit()
        reading = act(piece)
        self._journal.result(sequence, reading)
        self._tick(len(piece))
        return reading


def run(
    procedure: Procedure,
    die: Limited,
    journal: Journal,
    history: History,
    *,
    stop: Stop | None = None,
    tick: Callable[[int], None] = lambda patterns: None,
    truth: Callable[[], dict[str, Any]] | None = None,
) -> Outcome:
    """Run one procedure on one die and journal all of it; always leave the die idle.

    Args:
        truth: what a simulated die really holds, logged when the stage ends and used by nobody.
    """
    stage = procedure.name
    journal.event("stage_started", procedure.settings_said(), stage=stage)
    stop = stop or Stop()
    watched = Journalled(die, journal, stage, stop, tick)
    outcome = Outcome(Status.FAIL, "the stage was interrupted", LabError.exit_code)
    try:
        with stop.may_interrupt():
            for record in procedure.run(watched, history):
                journal.record(stage, record)
                journal.commit()
                history.add(record)
        outcome = Outcome(Status.SUCCESS)
    except (Stopped, LimitError) as error:
        outcome = Outcome(Status.ABORT, str(error), error.exit_code)
    except KeyboardInterrupt:
        outcome = Outcome(Status.ABORT, "interrupted by the operator", Stopped.exit_code)
    except LabError as error:
        outcome = Outcome(Status.FAIL, str(error), error.exit_code)
    except Exception as error:
        outcome = Outcome(Status.FAIL, f"a bug: {error!r}\n{traceback.format_exc()}", LabError.exit_code)
    finally:
        outcome = _close(die, journal, stage, outcome, truth)
    return outcome


def _close(
    die: Limited, journal: Journal, stage: str, outcome: Outcome, truth: Callable[[], dict[str, Any]] | None
) -> Outcome:
    """Make the die safe first, then write how the stage ended; return the graver of what happened before and here."""
    try:
        die.idle()
    except Exception as error:
        reason = f"outputs may be live: {error}" + (f" (after: {outcome.reason})" if outcome.reason else "")
        outcome = Outcome(Status.FAIL, reason, 6)
    body: dict[str, Any] = {"pulses_per_cell": die.counts}
    if truth is not None:
        body["truth"] = {name: np.asarray(value) for name, value in truth().items()}
    try:
        journal.event("stage_ended", {**body, "outcome": outcome.status.value, "reason": outcome.reason}, stage=stage)
        journal.commit()
    except StorageError as error:
        if outcome.status is Status.SUCCESS:
            return Outcome(Status.FAIL, str(error), error.exit_code)
        return replace(outcome, reason=f"{outcome.reason}; and {error}")
    return outcome
