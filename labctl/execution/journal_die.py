"""The die of a complete journal: nothing is done to it any more."""

from typing import overload

from labctl.core.bias import Geometry, Nominal
from labctl.core.die import DieBase, unknown_operation
from labctl.core.operations import Attempts, Operation, Pulse, Reading, Sense, WritePlan
from labctl.core.units import Second
from labctl.execution.replay import Mismatch


class JournalDie(DieBase):
    """A die whose journal is complete; any further operation is refused."""

    def __init__(self, geometry: Geometry, nominal: Nominal) -> None:
        nominal.fits(geometry)
        self.geometry, self.nominal = geometry, nominal

    def check(self, operation: Operation) -> Second:
        """Accept a plan, whose pulses are in the journal; refuse all else."""
        if isinstance(operation, WritePlan):
            return 0.0
        raise Mismatch("the journal has ended well, and the procedure asks for more operations now")

    @overload
    def perform(self, operation: Sense | Pulse) -> Reading: ...
    @overload
    def perform(self, operation: WritePlan) -> Attempts: ...
    def perform(self, operation: Operation) -> Reading | Attempts:
        """Refuse reads and pulses; carry out a plan pulse by pulse, from the journal."""
        match operation:
            case Sense():
                raise Mismatch("the journal has ended well, and the procedure asks for more reads now")
            case Pulse():
                raise Mismatch("the journal has ended well, and the procedure asks for more pulses now")
            case WritePlan():
                return self._program(operation)
        raise unknown_operation(self, operation)

    def idle(self) -> None:
        """Do nothing: there are no lines."""
