"""The die of a journal that has all of it: nothing is done to it any more."""

from labctl.core.bias import Geometry, Nominal
from labctl.core.operations import Attempts, Operation, Pulse, Reading, Sense, WritePlan
from labctl.core.units import Second
from labctl.core.write_loop import program_by_host
from labctl.execution.replay import Mismatch


class JournalDie:
    """A die of which a journal tells everything; whoever asks for more is refused."""

    def __init__(self, geometry: Geometry, nominal: Nominal) -> None:
        self.geometry, self.nominal = geometry, nominal

    def check(self, operation: Operation) -> Second:
        """Let a plan pass, whose pulses are remembered; refuse all else."""
        if isinstance(operation, WritePlan):
            return 0.0
        raise Mismatch("the journal has ended well, and the procedure asks for more operations now")

    def sense(self, sense: Sense) -> Reading:
        """Refuse."""
        raise Mismatch("the journal has ended well, and the procedure asks for more reads now")

    def pulse(self, pulse: Pulse) -> Reading:
        """Refuse."""
        raise Mismatch("the journal has ended well, and the procedure asks for more pulses now")

    def program(self, plan: WritePlan) -> Attempts:
        """Carry out `plan` by what is remembered of its pulses."""
        return program_by_host(self, plan)

    def idle(self) -> None:
        """Do nothing: there are no lines."""
