"""Where a die stands in a run, and which state may follow which."""

from collections.abc import Mapping
from enum import StrEnum


class State(StrEnum):
    """Where a die stands."""

    PENDING = "pending"
    MOVING = "moving"
    CONTACT_CHECK = "contact check"
    RETOUCH = "retouch"
    RUNNING = "running"
    SEALING = "sealing"
    DONE = "done"
    SKIPPED = "skipped"
    CONTACT_FAIL = "contact fail"
    LIMIT_STOP = "limit stop"
    ERROR = "error"
    INTERRUPTED = "interrupted"


FINAL = frozenset({State.DONE, State.SKIPPED, State.CONTACT_FAIL, State.LIMIT_STOP})
"""Nothing more happens to such a die when the run is resumed; all else goes on or is tried again."""
ACTIVE = frozenset({State.MOVING, State.CONTACT_CHECK, State.RETOUCH, State.RUNNING, State.SEALING})
"""Work on such a die is under way; a run that was killed leaves them so."""
_ENDS = {State.CONTACT_FAIL, State.LIMIT_STOP, State.ERROR, State.INTERRUPTED}
EDGES: Mapping[State, frozenset[State]] = {
    State.PENDING: frozenset(
        {State.MOVING, State.CONTACT_CHECK, State.RUNNING, State.SKIPPED, State.ERROR, State.INTERRUPTED}
    ),
    State.MOVING: frozenset({State.CONTACT_CHECK, State.RUNNING, State.SEALING, *_ENDS}),
    State.CONTACT_CHECK: frozenset({State.RETOUCH, State.RUNNING, State.SEALING, *_ENDS}),
    State.RETOUCH: frozenset({State.CONTACT_CHECK, State.RUNNING, State.SEALING, *_ENDS}),
    State.RUNNING: frozenset({State.SEALING, *_ENDS}),
    State.SEALING: frozenset({State.DONE, *_ENDS}),
    State.INTERRUPTED: frozenset(
        {State.PENDING, State.MOVING, State.CONTACT_CHECK, State.RUNNING, State.SEALING, State.SKIPPED}
    ),
    State.ERROR: frozenset({State.PENDING, State.SKIPPED}),
    **dict.fromkeys(FINAL, frozenset()),
}
"""Which state may follow which. `Runlog.set_state` refuses any other: that would be a bug of the scheduler."""
