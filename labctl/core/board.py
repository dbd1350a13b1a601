"""A board: hardware that drives and senses every line of a die by itself."""

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

from labctl.core.bias import Bias, Geometry, Nominal
from labctl.core.limits import Limits
from labctl.core.operations import Attempts, Operation, Reading
from labctl.core.source import ChannelState
from labctl.core.units import Second


@runtime_checkable
class Stepped(Protocol):
    """A board, or the die that it is planned with, whose converters have steps."""

    def applied(self, bias: Bias) -> Bias:
        """Return a bias as it is really applied; BenchError if it cannot be."""
        ...


@runtime_checkable
class Bounded(Protocol):
    """A board, or the die that it is planned with, that judges the limits of its bench by itself as well."""

    def keep_within(self, limits: Limits) -> None:
        """From now on refuse what is beyond `limits`, with LimitError, as what is really applied to cells and gates."""
        ...


@runtime_checkable
class Releasing(Protocol):
    """A board whose die can be without power."""

    def release(self) -> None:
        """Have no power at the die, verified, so that it can be taken out; the next operation brings it back."""
        ...


Traffic = Callable[[Operation], tuple[int, int]]
"""Events on a board, and bytes on the link to it, of an operation that its `check` allows; predicted."""


@runtime_checkable
class Identifying(Protocol):
    """A board that reads which die is on it."""

    def die_id(self) -> str:
        """Return what the die says it is called; it is at rest behind it."""
        ...


@runtime_checkable
class Board(Protocol):
    """A whole die of hardware, which is asked for state and switched off like a source; its lines are its channels.

    It is performed on only behind the limits of the bench file and of the campaign. Public methods say what is true
    afterwards and may be called twice; connecting reads state and changes nothing.
    """

    name: str

    def connect(self) -> str:
        """Read identity and state, change nothing; return the identity."""
        ...

    def turn_to(self, nominal: Nominal, polarity: int) -> None:
        """Take another die: its nominal conductances and its polarity; nothing is driven."""
        ...

    @property
    def geometry(self) -> Geometry:
        """Shape of the die that it drives."""
        ...

    def check(self, operation: Operation) -> Second:
        """Return the predicted time of `operation`, in s; BenchError if it cannot be realised. No I/O."""
        ...

    def perform(self, operation: Operation) -> Reading | Attempts:
        """Do `operation`, and leave every line at 0 V; BenchError, before anything is driven, if it is unknown."""
        ...

    def idle(self) -> None:
        """Have every line at 0 V; may be called at any time, twice."""
        ...

    def state(self) -> Mapping[str, ChannelState]:
        """Return what every line does now; lines at rest may be left out."""
        ...

    def off(self) -> None:
        """Abort, go to 0 V, switch every line off, read back; raise if not verified off."""
        ...

    def verify_off(self) -> None:
        """Read back that every line is off at 0 V; InstrumentError if one is not."""
        ...

    def close(self) -> None:
        """End the conversation."""
        ...
