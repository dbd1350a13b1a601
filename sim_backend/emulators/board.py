"""A simulated die in the place of a board that has no emulator, at the interface of its driver."""

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

from labctl.core.bias import Geometry, Nominal
from labctl.core.die import Die
from labctl.core.operations import Attempts, Operation, Reading
from labctl.core.source import ChannelState
from labctl.core.units import Second
from sim_backend.chip import ChipDie
from sim_backend.die import SimDie


@runtime_checkable
class Exchanging(Protocol):
    """An emulated board onto which another die can be put."""

    def put(self, die: SimDie | ChipDie) -> None:
        """Have another die on the board; BenchError if it is none for it."""
        ...


class SimulatedBoard:
    """A board whose die is simulated; it does what the board's own plan allows.

    Args:
        name: in the bench file.
        planned: returns the die that the board is planned with, for nominal conductances and a polarity.
        stands_for: the driver in whose place it is.
        die: the simulated die.
    """

    def __init__(self, name: str, planned: Callable[[Nominal, int], Die], stands_for: str, die: Die) -> None:
        self.name, self._plan, self._stands_for, self._die = name, planned, stands_for, die
        self._planned = planned(die.nominal, die.geometry.polarity)

    def connect(self) -> str:
        """Return a fixed identity."""
        return f"mtj-labctl,board,stands in for {self._stands_for},1"

    def turn_to(self, nominal: Nominal, polarity: int) -> None:
        """Plan with another die."""
        self._planned = self._plan(nominal, polarity)

    def put(self, die: SimDie | ChipDie) -> None:
        """Have another die in its place."""
        self._die = die

    @property
    def geometry(self) -> Geometry:
        """Shape of the simulated die."""
        return self._die.geometry

    def check(self, operation: Operation) -> Second:
        """Return the time that the board's plan predicts, s; BenchError if the board cannot do it."""
        return self._planned.check(operation)

    def perform(self, operation: Operation) -> Reading | Attempts:
        """Do what the board's plan allows to the simulated die."""
        self.check(operation)
        return self._die.perform(operation)

    def idle(self) -> None:
        """Make the simulated die idle."""
        self._die.idle()

    def state(self) -> Mapping[str, ChannelState]:
        """Return no line: all are at rest between two operations."""
        return {}

    def off(self) -> None:
        """Make the simulated die idle."""
        self._die.idle()

    def verify_off(self) -> None:
        """Do nothing: every line is at rest between two operations."""

    def close(self) -> None:
        """Do nothing."""
