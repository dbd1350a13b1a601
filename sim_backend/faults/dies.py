"""Faults of dies: one that is made bad, and a simulated die without instruments that fails while it is worked on."""

from collections.abc import Callable, Sequence
from typing import overload

from labctl.core.die import Die, DieWrapper, unknown_operation
from labctl.core.errors import ContactError, ContactLost, LinkTimeoutError
from labctl.core.operations import Attempts, Operation, Pulse, Reading, Sense, WritePlan
from labctl.core.planned_fault import ON_THE_WAY, PlannedFault
from sim_backend.description import DieDescription

DEAD, BAD = "dead die", "bad die"
NO_CONTACT, CONTACT_LOST, NO_ANSWER = "no contact", "contact lost", "no answer"
Tell = Callable[[PlannedFault, str], None]
"""Called with a fault that has happened, and details in words."""
MADE: dict[str, dict[str, float]] = {DEAD: {"open": 1.0}, BAD: {"short": 0.2, "open": 0.2}}
"""Kinds of dies that are made so: the fractions of their cells that are defective."""


def spoilt(description: DieDescription, kind: str) -> DieDescription:
    """Return the description of a die that is made bad, of a kind in `MADE`; an ideal die is not ideal any more."""
    simulation = description.simulation
    given = simulation.model_dump(exclude_unset=True, exclude={"ideal", "defects"})
    kept = simulation.defects.model_dump(exclude={"short", "open", "stuck_p", "stuck_ap", "low_tmr"})
    defects = {**kept, **MADE[kind]}
    whole = description.model_dump(exclude={"simulation"}, exclude_unset=True)
    return DieDescription.model_validate({**whole, "simulation": {**given, "defects": defects}})


class FaultyDie(DieWrapper[Die]):
    """A simulated die without instruments, to which the faults of a list happen.

    Args:
        faults: those that have not happened yet.
        tell: called with a fault that happens.
    """

    def __init__(self, die: Die, faults: Sequence[PlannedFault], tell: Tell) -> None:
        super().__init__(die)
        self._left = [fault for fault in faults if fault.kind not in MADE]
        self._tell, self._operation = tell, ON_THE_WAY

    def reach(self, operation: int) -> None:
        """Note that an operation begins."""
        self._operation = operation

    def approach(self) -> None:
        """Let happen what happens on the way; ContactError if the needles do not touch."""
        self._fail()

    @overload
    def perform(self, operation: Sense | Pulse) -> Reading: ...
    @overload
    def perform(self, operation: WritePlan) -> Attempts: ...
    def perform(self, operation: Operation) -> Reading | Attempts:
        """Do `operation`, unless a fault is due."""
        if not isinstance(operation, Operation):
            raise unknown_operation(self, operation)
        self._fail()
        return self._die.perform(operation)

    def _fail(self) -> None:
        """Raise the error of the fault that is due, if there is one."""
        due = next((fault for fault in self._left if fault.operation <= self._operation), None)
        if due is None:
            return
        self._left.remove(due)
        self._tell(due, "")
        injected = f"(injected fault {due.number})"
        if due.kind == NO_CONTACT:
            raise ContactError(f"no contact with die {due.die} {injected}")
        if due.kind == CONTACT_LOST:
            raise ContactLost(f"void: contact with die {due.die} was lost {injected}")

        if due.kind == NO_ANSWER:
            raise LinkTimeoutError(f"die {due.die} did not answer {injected}")
