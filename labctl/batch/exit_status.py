"""How a run ended: the exit code of the gravest event, and the reason."""

from dataclasses import dataclass

from labctl.config.bins import passes
from labctl.core.die_state import FINAL, State
from labctl.core.exit_codes import GRAVITY, ExitCode, Status, gravest
from labctl.storage.run_log import RunState

_OF_VISITS: frozenset[int] = frozenset({ExitCode.STORAGE, ExitCode.NOT_OFF, ExitCode.BUG})
"""Codes of a visit of the reference die that count for the run; else the visit is judged by its drift."""


@dataclass(frozen=True)
class Ending:
    """Exit code of a run, and the reason for the operator; "" if all dies were done."""

    code: int
    text: str = ""

    @property
    def status(self) -> Status:
        """Success, abort or fail, by the exit code."""
        return ExitCode(self.code).status

    def graver(self, other: "Ending") -> bool:
        """Return whether this ending is graver than the other."""
        return GRAVITY.index(self.code) < GRAVITY.index(other.code)

    @classmethod
    def of(cls, state: RunState, cause: "Ending | None") -> "Ending":
        """Return how a run in `state` ended; `cause` is why it ended early, None if nothing was left to do."""
        codes: set[int] = {ExitCode.GOOD} if cause is None else {cause.code}
        for die in state.dies.values():
            last = die.last
            if die.state is State.SKIPPED:
                continue
            if die.golden:
                codes |= _OF_VISITS & {last.exit_code} if last is not None else set()
                continue
            if last is not None:
                codes.add(last.exit_code)
                if die.state in FINAL and not passes(last.hard):
                    codes.add(ExitCode.OTHER_BIN)
            if die.state not in FINAL and die.state is not State.ERROR and cause is None:
                codes.add(ExitCode.OPERATOR)
        return cls(gravest(codes), cause.text if cause else "")
