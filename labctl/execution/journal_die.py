"""The die of a journal that has all of it: nothing is done to it any more."""

from typing import overload

from labctl.core.bias import Geometry, Nominal
from labctl.core.die import DieBase, unknown_operation
from labctl.core.operations import Attempts, Operation, Pulse, Reading, Sense, WritePlan
from labctl.core.units import Second
from labctl.execution.replay import Mismatch


class JournalDie(DieBase):
    """A die of which a journal tells everything; whoever asks for more is refused."""

    def __init__(self, geometry: Geometry, nominal: Nominal) -> None:
        self.geometry, self.nominal = geometry, nominal

    def check(self, operation: Operation) -> Second:
        """Let a plan pass, whose pulses are remembered; refuse all else."""
        if isinstance(operation, WritePlan):
            return 0.0
        raise Mismatch("the journal has ended well, and the procedure asks for more operations now")

    @overload
    def perform(self, operation: Sense | Pulse) -> Reading: ...
    @overload
    def perform(self, operation: WritePlan) -> Attempts: ...
    def perform(self, operation: Operation) -> Reading | Attempts:
        """Refuse reads and pulses; carry out a plan by what is remembered of its pulses."""
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
