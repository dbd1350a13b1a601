"""A die is a function from line voltages to column currents, with memory."""

from typing import Protocol, runtime_checkable

from labctl.core.bias import Geometry, Nominal
from labctl.core.operations import Attempts, Operation, Pulse, Reading, Sense, WritePlan
from labctl.core.units import Second


@runtime_checkable
class Die(Protocol):
    """What protocols see of a die, real or simulated, bare or behind the limits."""

    @property
    def geometry(self) -> Geometry:
        """Shape of the die."""
        ...

    @property
    def nominal(self) -> Nominal:
        """Nominal conductances, for what has not been surveyed."""
        ...

    def check(self, operation: Operation) -> Second:
        """Return the predicted time of `operation`, in s; BenchError if it cannot be realised. No I/O."""
        ...

    def sense(self, sense: Sense) -> Reading:
        """Read the column currents of n patterns."""
        ...

    def pulse(self, pulse: Pulse) -> Reading:
        """Apply n pulses, each followed by its verify read; without `verify` the reading has no columns."""
        ...

    def program(self, plan: WritePlan) -> Attempts:
        """Write and verify the cells of `plan`."""
        ...

    def idle(self) -> None:
        """Make every line safe; may be called at any time, twice."""
        ...
