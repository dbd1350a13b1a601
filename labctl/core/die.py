"""A die is a function from line voltages to column currents, with memory.

It has one verb, `perform`; `sense`, `pulse` and `program` are spelled on it. Bodies (`DieBody`) and wrappers
(`DieWrapper`: limits, recorder, rehearsal) refuse an operation that they do not know, so that a new type of operation
cannot pass the limits or the journal by inheritance.
"""

from abc import ABC, abstractmethod
from typing import Generic, Protocol, TypeVar, overload, runtime_checkable

from labctl.core.bias import Geometry, Nominal
from labctl.core.errors import BenchError
from labctl.core.operations import Attempts, Operation, Pulse, Reading, Sense, WritePlan
from labctl.core.units import IntArray, Second
from labctl.core.write_loop import program_by_host


@runtime_checkable
class Die(Protocol):
    """What protocols see of a die, real or simulated, bare or behind the limits."""

    @property
    def geometry(self) -> Geometry:
        """Shape of the die."""
        ...

    @property
    def nominal(self) -> Nominal:
        """Nominal conductances of each kernel, for what has not been surveyed."""
        ...

    def check(self, operation: Operation) -> Second:
        """Return the predicted time of `operation`, in s; BenchError if it cannot be realised. No I/O."""
        ...

    @overload
    def perform(self, operation: Sense | Pulse) -> Reading: ...
    @overload
    def perform(self, operation: WritePlan) -> Attempts: ...
    def perform(self, operation: Operation) -> Reading | Attempts:
        """Do `operation`; BenchError, before anything is energised, if its type is unknown."""
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


@runtime_checkable
class PlanScripts(Protocol):
    """How a body has write plans carried out inside an instrument: as scripts, which are lost as a whole."""

    def expected(self, plan: WritePlan, given: IntArray | None = None) -> Second:
        """Return the predicted time of `plan` if every cell verifies at its first pulse, or gets `given` (N,), s."""
        ...

    def require_fit(self, plan: WritePlan) -> None:
        """Raise BenchError if the instrument cannot hold the script of `plan`, or all its attempts."""
        ...

    def expect(self, plan: WritePlan) -> None:
        """Take note that `plan` comes next: until it is begun, `rescued` is without an attempt of it."""
        ...

    @property
    def rescued(self) -> Attempts | None:
        """What is known of the last plan, without an attempt if it ended before a script; None: nothing is known.

        An attempt that it had begun is among them, flagged UNKNOWN.
        """
        ...


def unknown_operation(die: object, operation: object) -> BenchError:
    """Return the error of a die that is given an operation of a type that it does not know."""
    odd = type(operation).__name__
    known = "expected one such as Sense or Pulse"
    return BenchError(f"{type(die).__name__} does not know the operation {odd}, {known}; nothing was done")


class DieBase(ABC):
    """The verbs of a die, spelled on `perform`."""

    @property
    def scripts(self) -> PlanScripts | None:
        """How write plans are carried out inside an instrument, as one operation each; None: by the host loop."""
        return None

    @property
    def chunk(self) -> Second | None:
        """Bench time of the reads and pulses between two safe points, s; None: that of any die."""
        return None

    @abstractmethod
    def check(self, operation: Operation) -> Second:
        """Return the predicted time of `operation`, in s; BenchError if it cannot be realised. No I/O."""

    @overload
    def perform(self, operation: Sense | Pulse) -> Reading: ...
    @overload
    def perform(self, operation: WritePlan) -> Attempts: ...
    @abstractmethod
    def perform(self, operation: Operation) -> Reading | Attempts:
        """Do `operation`; BenchError, before anything is energised, if its type is unknown."""

    def sense(self, sense: Sense) -> Reading:
        """Read the column currents of n patterns."""
        return self.perform(sense)

    def pulse(self, pulse: Pulse) -> Reading:
        """Apply n pulses, each followed by its verify read; without `verify` the reading has no columns."""
        return self.perform(pulse)

    def program(self, plan: WritePlan) -> Attempts:
        """Write and verify the cells of `plan`."""
        return self.perform(plan)

    def _program(self, plan: WritePlan) -> Attempts:
        """Check the whole plan once, then carry it out by the host loop over this die."""
        self.check(plan)
        return program_by_host(self, plan)


class DieBody(DieBase):
    """A die that reads and pulses by itself; one that also programs by itself overrides `_program`."""

    @overload
    def perform(self, operation: Sense | Pulse) -> Reading: ...
    @overload
    def perform(self, operation: WritePlan) -> Attempts: ...
    def perform(self, operation: Operation) -> Reading | Attempts:
        """Do `operation`; BenchError, before anything is energised, if its type is unknown."""
        match operation:
            case Sense():
                return self._sense(operation)
            case Pulse():
                return self._pulse(operation)
            case WritePlan():
                return self._program(operation)
        raise unknown_operation(self, operation)

    @abstractmethod
    def _sense(self, sense: Sense) -> Reading:
        """Read the column currents of n patterns."""

    @abstractmethod
    def _pulse(self, pulse: Pulse) -> Reading:
        """Apply n pulses, each followed by its verify read."""


D = TypeVar("D", bound=Die)


class DieWrapper(DieBase, Generic[D]):
    """A die around another: geometry, nominal, check and idle are those of `die`, what is performed is not."""

    def __init__(self, die: D) -> None:
        self._die = die

    @property
    def geometry(self) -> Geometry:
        """Shape of the die."""
        return self._die.geometry

    @property
    def nominal(self) -> Nominal:
        """Nominal conductances."""
        return self._die.nominal

    @property
    def scripts(self) -> PlanScripts | None:
        """How write plans are carried out inside an instrument; None: by the host loop."""
        scripts: PlanScripts | None = getattr(self._die, "scripts", None)
        return scripts

    @property
    def chunk(self) -> Second | None:
        """Bench time of the reads and pulses between two safe points, s; None: that of any die."""
        chunk: Second | None = getattr(self._die, "chunk", None)
        return chunk

    def check(self, operation: Operation) -> Second:
        """Return the predicted time of `operation`, in s; refuse what may not or cannot be done."""
        return self._die.check(operation)

    def idle(self) -> None:
        """Make every line safe."""
        self._die.idle()
