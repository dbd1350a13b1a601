"""How the work on a die ends: status, reason, exit code, and the state that the die is left in."""

import traceback
from dataclasses import dataclass, replace

from labctl.core.die_state import State
from labctl.core.errors import (
    ContactError,
    ContactLost,
    LabError,
    LimitError,
    LinkTimeoutError,
    NotDriven,
    StorageError,
    SwitchedOff,
)
from labctl.core.exit_codes import ExitCode, Status


@dataclass(frozen=True)
class Outcome:
    """How a stage ended, why, in operator words, the exit code for a script, and the bin if it has one.

    Args:
        state: of the die afterwards; by default DONE after a success and ERROR after all else.
        error: type and message of the exception that ended it, if one did.
        trace: its traceback.
        void: what was measured may be no measurement: it was not driven, or not touched.
    """

    status: Status
    reason: str = ""
    exit_code: int = ExitCode.GOOD
    bin: str = ""
    state: State = State.PENDING
    error: tuple[str, str] | None = None
    trace: str = ""
    void: bool = False

    def __post_init__(self) -> None:
        if self.state is State.PENDING:
            object.__setattr__(self, "state", State.DONE if self.status is Status.SUCCESS else State.ERROR)


class Stopped(LabError):
    """The operator asked the run to stop and it has reached a safe point."""

    exit_code = ExitCode.OPERATOR


def ending(error: BaseException) -> Outcome:
    """Return how an exception ends the work on a die.

    What the die can go on from, once the cause is gone, leaves it INTERRUPTED: an operator, a link, a disk.
    """
    match error:
        case Stopped() | SwitchedOff():
            return Outcome(Status.ABORT, str(error), error.exit_code, state=State.INTERRUPTED)
        case KeyboardInterrupt():
            reason = "stopped by the operator"
            return Outcome(Status.ABORT, reason, Stopped.exit_code, state=State.INTERRUPTED)
    cause, trace = (type(error).__name__, str(error)), "".join(traceback.format_exception(error))
    match error:
        case LimitError():
            return Outcome(Status.ABORT, str(error), error.exit_code, "", State.LIMIT_STOP, cause, trace)
        case ContactLost() | NotDriven():
            return Outcome(Status.FAIL, str(error), ExitCode.STOPPED, "", State.ERROR, cause, trace, void=True)
        case ContactError():
            return Outcome(Status.FAIL, str(error), ExitCode.OTHER_BIN, "contact", State.CONTACT_FAIL, cause, trace)
        case StorageError() | LinkTimeoutError():
            return Outcome(Status.FAIL, str(error), error.exit_code, "", State.INTERRUPTED, cause, trace)
        case LabError():
            # the work on the die has begun, so nothing is REFUSED any more
            code = ExitCode.OTHER_BIN if error.exit_code == ExitCode.REFUSED else error.exit_code
            return Outcome(Status.FAIL, str(error), code, "", State.ERROR, cause, trace)
    return Outcome(Status.FAIL, f"a bug: {error!r}", ExitCode.BUG, "", State.ERROR, cause, trace)


def unsafe(error: Exception, before: Outcome) -> Outcome:
    """Return the outcome of outputs that were not verified off, after `before`; the die stands where that left it."""
    reason = f"outputs may be live: {error}" + (f" (after: {before.reason})" if before.reason else "")
    state = State.INTERRUPTED if before.state is State.DONE else before.state
    return replace(before, status=Status.FAIL, reason=reason, exit_code=ExitCode.NOT_OFF, state=state)
