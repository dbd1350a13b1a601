"""Write-verify of cells as one script of a source, which reads, decides and moves relays by itself.

Which cells and by which steps is said here in steps of channels; how they become a script is the driver's business.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from labctl.core.operations import Flag
from labctl.core.source import ChannelSetup, Measure, Sample, Step
from labctl.core.units import Ampere, Ratio, Second, Siemens, Volt


@dataclass(frozen=True)
class ReadSteps:
    """One read of a column: its steps, and how they make the current of the column and its flag.

    Args:
        steps: from 0 V to 0 V.
        weights: of each `Measure`: its part in the current of the column.
        flagged: of each `Measure`: its flag is that of the reading.
    """

    steps: tuple[Step, ...]
    weights: tuple[Ratio, ...]
    flagged: tuple[bool, ...]

    def __post_init__(self) -> None:
        measures = sum(isinstance(step, Measure) for step in self.steps)
        if not measures == len(self.weights) == len(self.flagged):
            raise ValueError(f"{measures} measurements, {len(self.weights)} weights and {len(self.flagged)} flags")


@dataclass(frozen=True)
class AttemptSteps:
    """The steps of an attempt on cells that differ in nothing but their route.

    Args:
        pulse: from 0 V to 0 V at the highest rung of the ladder; levels scale with the rung.
        read: the verify read.
        wider: the same on the largest range, if the first one is flagged; None if there is no larger one.
        cold: 0 V behind the low limit, and the readings that verify it.
        lead: of the read, resistance of the leads / voltage of the driven line, 1/A: a current i is taken for
            i / (1 - lead i).
    """

    pulse: tuple[Step, ...]
    read: ReadSteps
    wider: ReadSteps | None
    cold: tuple[Step, ...]
    lead: float = 0.0


@dataclass(frozen=True)
class RelayMove:
    """Relays of the linked matrix that open, and then others that close; `count` are closed afterwards."""

    opening: tuple[str, ...]
    closing: tuple[str, ...]
    count: int


@dataclass(frozen=True)
class CellTask:
    """One cell.

    Args:
        number: of the cell in its plan.
        steps: number of its `AttemptSteps`.
        moves: of relays, before its first pulse; at 0 V.
        target: True is P.
        cut: conductance above which it reads P, S.
        budget: pulses that it may get.
        rests: its channels are verified cold behind it.
    """

    number: int
    steps: int
    moves: tuple[RelayMove, ...]
    target: bool
    cut: Siemens
    budget: int
    rests: bool = True


@dataclass(frozen=True)
class CellProgram:
    """A script: cells one after the other, each up the ladder until it verifies, is flagged, or its budget is spent.

    Args:
        ladder: magnitudes of the pulses in the order in which they are tried, V.
        v_read: cell voltage of the verify reads, V.
        cold_voltage, cold_current: magnitudes below which a line counts as cold, V and A.
        tries: readings until it does, at most.
        settle: wait between these, s.
        relays: wait after relays have moved, s.
        relay: longest time of one move of relays, s.
        node: of the matrix on the instrument's own bus; None if no relay moves.
    """

    kinds: tuple[AttemptSteps, ...]
    cells: tuple[CellTask, ...]
    ladder: tuple[Volt, ...]
    v_read: Volt
    cold_voltage: Volt
    cold_current: Ampere
    tries: int
    settle: Second
    relays: Second = 0.0
    relay: Second = 0.0
    node: int | None = None

    @property
    def top(self) -> Volt:
        """Highest rung, V."""
        return max(self.ladder)

    @property
    def attempts(self) -> int:
        """Attempts if every budget is used up."""
        return sum(min(cell.budget, len(self.ladder)) for cell in self.cells)


@dataclass(frozen=True)
class RouteReads:
    """Reads on one route.

    Args:
        moves: of relays, before the first read; at 0 V.
        steps: from 0 V on.
        cold: 0 V behind the low limit, and the readings that verify it.
    """

    moves: tuple[RelayMove, ...]
    steps: tuple[Step, ...]
    cold: tuple[Step, ...]


@dataclass(frozen=True)
class ReadProgram:
    """A script that reads on routes one after the other; the other fields are those of `CellProgram`."""

    routes: tuple[RouteReads, ...]
    cold_voltage: Volt
    cold_current: Ampere
    tries: int
    settle: Second
    relays: Second
    relay: Second
    node: int


@dataclass(frozen=True)
class CellAttempt:
    """One attempt, as the instrument tells it.

    Args:
        cell: number of the cell in its plan.
        attempt: counted from 1.
        current: of the column, A, without correction for leads; NaN if it is unknown.
        flag: of the verify read; UNKNOWN of an attempt that was begun and not ended.
        pulse_flag: of the pulse.
        verified: the read is unflagged and equals the target.
    """

    cell: int
    attempt: int
    current: Ampere
    flag: Flag
    pulse_flag: Flag
    verified: bool


@runtime_checkable
class Programs(Protocol):
    """A source that carries out cell programs by itself."""

    def program(self, program: CellProgram) -> list[CellAttempt]:
        """Carry out `program`; begins and ends with every channel at 0 V behind its low limit, within a bounded time.

        Raises:
            NotDriven: an output was off, or at another level than was set; the script ended there.
            InstrumentError: anything else ended it; `rescue` tells how far it came.
        """
        ...

    def rescue(self) -> list[CellAttempt] | None:
        """Abort, 0 V, off; then return how far the last script came, None if the instrument does not tell.

        Raises:
            InstrumentError: it is not verified off.
        """
        ...

    def linked(self, node: int) -> str:
        """Return the model of a node on its bus; InstrumentError if it does not reach it."""
        ...

    def release(self) -> None:
        """Let the nodes of its bus take commands of the host again."""
        ...


@runtime_checkable
class ReadsRoutes(Protocol):
    """A source that reads on many routes by itself."""

    def read_routes(self, program: ReadProgram) -> list[Sample]:
        """Carry out `program`; return a sample per `Watch` and `Measure` of its `steps`; those of `cold` it judges.

        Begins and ends with every channel at 0 V behind its low limit, within a bounded time.

        Raises:
            NotDriven: an output was off, or at another level than was set; the script ended there.
            InstrumentError: anything else ended it.
        """
        ...


@runtime_checkable
class Joins(Protocol):
    """A source whose scripts drive channels of others on its bus as well."""

    name: str

    def join(self, setups: Mapping[str, ChannelSetup]) -> None:
        """Drive channels of other nodes, which were set up so and are on at 0 V, until it is set up anew.

        From then on every `run` and `program` ends with those at 0 V behind their low limit as well.
        """
        ...

    def run(self, steps: Sequence[Step]) -> list[Sample]:
        """Carry out steps; see `SourceMeasure`."""
        ...

    def linked(self, node: int) -> str:
        """Return the model of a node on its bus; InstrumentError if it does not reach it."""
        ...

    def release(self) -> None:
        """Let the nodes of its bus take commands of the host again."""
        ...


@runtime_checkable
class Handed(Protocol):
    """A matrix whose relays another instrument may move."""

    def hand_over(self, release: Callable[[], None]) -> None:
        """Prepare for another instrument to move the relays; `release` ends that, and is called before its next own.

        Raises:
            InstrumentError: the permit refuses, or a setting of how relays move is not taken.
        """
        ...
