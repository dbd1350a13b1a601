"""The run loop: the only place that iterates a procedure, and the only `finally`.

Records are durable before the procedure is asked for more.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from labctl.core.die_state import State
from labctl.core.errors import StorageError
from labctl.core.events import StageEnded, StageStarted
from labctl.core.exit_codes import ExitCode, Status
from labctl.core.limits import Limited
from labctl.core.outcome import Outcome, ending, unsafe
from labctl.core.plugins import PROTOCOLS, strangers_errors
from labctl.core.procedure import Procedure
from labctl.core.record import History
from labctl.core.units import Second
from labctl.execution.contact_watch import ContactWatch
from labctl.execution.recorded_die import RecordedDie
from labctl.execution.replay import Mismatch, Replay
from labctl.execution.stop import Stop
from labctl.storage.journal import Journal


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
    contact: ContactWatch | None = None,
) -> Outcome:
    """Run one procedure on one die and journal all of it; prove its contact; always leave the die idle.

    Args:
        truth: returns what a simulated die really holds; logged when the stage ends and never used.
        replay: the part of `journal` that is not replayed yet; None for a new die.
        contact: watches whether the needles touch; None where nothing touches.
    """
    contact = contact or ContactWatch(die)
    contact.begin()
    stage, replay, stop = procedure.name, replay or Replay(journal), stop or Stop()
    outcome = Outcome(Status.FAIL, "the stage was interrupted", ExitCode.BUG, state=State.INTERRUPTED)
    try:
        if not replay.started(stage):
            journal.event(StageStarted(settings=procedure.settings_data()), stage=stage)
        recorded = RecordedDie(die, replay, stage, stop, tick, lease, contact)
        with stop.may_interrupt(), strangers_errors(PROTOCOLS, stage):
            for record in procedure.run(recorded, history):
                if not replay.knows(stage, record):
                    journal.record(stage, record)
                    journal.commit()
                history.add(record)
        if not replay.stages:  # else the stage has ended before, and contact was proved then
            with stop.may_interrupt():
                proof = contact.end()
            if proof is not None:
                journal.event(proof, stage=stage)
        outcome = Outcome(Status.SUCCESS)
    except (KeyboardInterrupt, Exception) as error:
        outcome = stop.ending(error)
    finally:
        outcome = _close(die, replay, stage, outcome, truth)
    return outcome


def _close(
    die: Limited, replay: Replay, stage: str, outcome: Outcome, truth: Callable[[], dict[str, Any]] | None
) -> Outcome:
    """Make the die safe first, then journal the end of the stage; return the graver of the outcomes before and here."""
    try:
        die.idle()
    except Exception as error:
        outcome = unsafe(error, outcome)
    ended = StageEnded(
        pulses_per_cell=die.counts,
        truth=None if truth is None else {name: np.asarray(value) for name, value in truth().items()},
        outcome=outcome.status,
        reason=outcome.reason,
        trace=outcome.trace,
    )
    try:
        if outcome.status is not Status.SUCCESS or not replay.ended(stage, ended):
            replay.journal.event(ended, stage=stage)
            replay.journal.commit()
    except (StorageError, Mismatch) as error:
        if outcome.status is Status.SUCCESS:
            return ending(error)
        return replace(outcome, reason=f"{outcome.reason}; and {error}")
    return outcome
