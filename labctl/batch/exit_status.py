"""How a run ends: the exit code that says the gravest thing that happened, and why."""

from dataclasses import dataclass

from labctl.core.die_state import FINAL, State
from labctl.core.exit_codes import GRAVITY, gravest
from labctl.core.outcome import Status
from labctl.storage.run_log import RunState


@dataclass(frozen=True)
class Ending:
    """Exit code of a run, and why in operator words; "" if all dies were done."""

    code: int
    text: str = ""

    @property
    def status(self) -> Status:
        """Success, abort or fail."""
        return Status.SUCCESS if self.code in (0, 1) else Status.ABORT if self.code in (3, 4) else Status.FAIL

    def graver(self, other: "Ending") -> bool:
        """Return whether this says something graver."""
        return GRAVITY.index(self.code) < GRAVITY.index(other.code)

    @classmethod
    def of(cls, state: RunState, cause: "Ending | None") -> "Ending":
        """Return how a run ended that stands so and was ended by `cause`, None if there was nothing left to do."""
        codes = {0} if cause is None else {cause.code}
        for die in state.dies.values():
            last = die.last
            if die.state is State.SKIPPED:
                continue
            if die.golden:  # what it came to is judged by its drift, but a bench left live is left live
                codes |= {last.exit_code} & {5, 6, 70} if last is not None else set()
                continue
            if last is not None:
                codes.add(last.exit_code)
                if die.state in FINAL and last.hard != 1:
                    codes.add(1)
            if die.state not in FINAL and die.state is not State.ERROR and cause is None:
                codes.add(4)
        return cls(gravest(codes), cause.text if cause else "")
