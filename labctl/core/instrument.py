"""The nouns of a bench: a wire, something that forces and measures, something that switches, something that moves.

A driver is one plain class behind one of these interfaces. Public methods say what is true afterwards and may be called
twice; connecting reads state and changes nothing; what cannot be verified is an `InstrumentError`, never a guess.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from labctl.core.die import Flag
from labctl.core.units import Ampere, Metre, Second, Volt

Guard = Callable[[], None]
"""Raises if what it guards must not happen now."""


class Wait(StrEnum):
    """Class of a command, which decides how long its answer may take."""

    SETTING = "setting"
    QUERY = "query"
    MEASURE = "measure"
    RELAY = "relay"
    MOTION = "motion"


@runtime_checkable
class Transport(Protocol):
    """A conversation in lines of text with one instrument.

    After a timeout or any interruption the next call first resynchronises; nothing is ever sent again by itself.
    """

    @property
    def name(self) -> str:
        """Where the instrument is, in operator words."""
        ...

    def write(self, text: str) -> None:
        """Send lines of text as one message; the terminator is added."""
        ...

    def query(self, text: str, *, wait: Wait = Wait.QUERY, extra: Second = 0.0) -> str:
        """Send `text` and return the one line that answers it within the deadline of `wait` plus `extra` s."""
        ...

    def converse(
        self, text: str, last: Callable[[str], bool], *, wait: Wait = Wait.QUERY, extra: Second = 0.0
    ) -> list[str]:
        """Send `text` and return the lines that answer it, up to and with the first for which `last` is true."""
        ...

    def cut_in(self, text: str, ask: str, last: Callable[[str], bool]) -> list[str]:
        """Send `text` as the first bytes of a fresh connection, then `ask`; return the lines up to the `last` one.

        The way to make safe an instrument that does something else: nothing is asked before `text` is out.
        """
        ...

    def resync(self) -> None:
        """Throw away what is under way and prove that the instrument answers again."""
        ...

    def close(self) -> None:
        """End the conversation; harmless when it has ended."""
        ...


@dataclass(frozen=True)
class SourceCapabilities:
    """What a source-measure unit can do.

    Args:
        model: as it names itself.
        channels: its channels.
        ranges_v: source ranges, V, ascending.
        ranges_i: measure ranges, A, ascending.
        shortest_pulse: shortest pulse width that it makes, s.
        apertures: shortest and longest integration time, s.
        stands: levels and limits stand after a call of `run`. False: every `run` begins and ends with all channels that
            were set up at 0 V behind their `cold_limit`, also if it fails.
    """

    model: str
    channels: tuple[str, ...]
    ranges_v: tuple[Volt, ...]
    ranges_i: tuple[Ampere, ...]
    shortest_pulse: Second
    apertures: tuple[Second, Second]
    stands: bool = True


class OffState(StrEnum):
    """What an output does to the die while it is off. Only HIGH_Z opens the relay."""

    NORMAL = "normal"
    ZERO = "zero"
    HIGH_Z = "high_z"


@dataclass(frozen=True)
class ChannelSetup:
    """How one channel forces a voltage; fixed ranges, so that no range change glitches onto the die.

    Args:
        range_v: the largest level it will be asked for, V; the instrument takes the range that holds it.
        limit: current limit, A.
        range_i: largest current it will be asked to measure, A.
        off_state: what the output is while off, between dies.
        off_limit: current limit of the off state, A.
        remote_sense: four-wire.
        cold_limit: current limit at 0 V between two calls of `run`, A; at most `limit`.
    """

    range_v: Volt
    limit: Ampere
    range_i: Ampere
    off_state: OffState = OffState.NORMAL
    off_limit: Ampere = 1e-6
    remote_sense: bool = False
    cold_limit: Ampere = 1e-6


@dataclass(frozen=True)
class ChannelState:
    """What an instrument says of one of its channels.

    Args:
        output: the output is on.
        level: programmed voltage, V.
        limit: current limit, A.
    """

    output: bool
    level: Volt
    limit: Ampere


@dataclass(frozen=True)
class Level:
    """Go to a voltage in one edge."""

    channel: str
    volts: Volt


@dataclass(frozen=True)
class Ramp:
    """Go from the present level to a voltage at no more than `rate` V/s."""

    channel: str
    volts: Volt
    rate: float


@dataclass(frozen=True)
class Hold:
    """Let a time pass, timed by the instrument."""

    seconds: Second


@dataclass(frozen=True)
class Limit:
    """Set a current limit and the measure range that goes with it; the instrument reads them back before going on."""

    channel: str
    limit: Ampere
    range_i: Ampere


@dataclass(frozen=True)
class Aperture:
    """Set the integration time of the readings that follow."""

    channel: str
    seconds: Second


@dataclass(frozen=True)
class Watch:
    """Sample whether a channel is in compliance."""

    channel: str


@dataclass(frozen=True)
class Measure:
    """Measure the current and, with `voltage`, the voltage, together with the compliance bit."""

    channel: str
    voltage: bool = False


Step = Level | Ramp | Hold | Limit | Aperture | Watch | Measure


@dataclass(frozen=True)
class Sample:
    """What one `Watch` or `Measure` found; current in A out of the source into the line, NaN where not measured."""

    channel: str
    current: Ampere
    voltage: Volt
    flag: Flag


@runtime_checkable
class EmergencyOff(Protocol):
    """A source that can be made safe while it does something else. One without this is told `off`."""

    def emergency_off(self) -> Mapping[str, ChannelState]:
        """End whatever runs, go to 0 V and off by the first bytes of a fresh connection, then verify it.

        Nothing is asked before: no identity, no mains frequency, no error queue. Harmless a second time.

        Returns:
            What each channel did before, as far as the instrument could tell.

        Raises:
            InstrumentError: it cannot be reached, or is not verified off.
        """
        ...


@runtime_checkable
class SourceMeasure(Protocol):
    """An instrument with channels that force a voltage and measure the current."""

    name: str

    @property
    def capabilities(self) -> SourceCapabilities:
        """What this model can do."""
        ...

    def connect(self) -> str:
        """Read identity and state, change nothing; return the identity."""
        ...

    def state(self) -> Mapping[str, ChannelState]:
        """Return what every channel does now."""
        ...

    def prepare(self, setups: Mapping[str, ChannelSetup]) -> None:
        """Set channels up at 0 V with outputs off and compare every setting with what the instrument reads back."""
        ...

    def output(self, channels: Iterable[str]) -> None:
        """Switch on the outputs of `channels` at 0 V; limits verified before, outputs after."""
        ...

    def run(self, steps: Sequence[Step]) -> list[Sample]:
        """Do `steps` in order in one round trip; return a sample per `Watch` and `Measure`.

        What stands afterwards is what `capabilities.stands` says.
        """
        ...

    def off(self, rate: float | None = None) -> None:
        """Abort, go to 0 V (ramped at `rate` V/s if given), switch off, read back; raise if not verified off."""
        ...

    def verify_off(self) -> None:
        """Read back that every output is off at 0 V; InstrumentError if one is not."""
        ...

    def close(self) -> None:
        """Leave the instrument in its end-of-session state and end the conversation."""
        ...


@runtime_checkable
class Matrix(Protocol):
    """Relays between rows (channels) and columns (pads); a relay is a crosspoint such as ``1A05``."""

    name: str
    guard: Guard
    """Called before any relay moves; raises unless nothing is under voltage."""

    def connect(self) -> str:
        """Read identity and state, change nothing; return the identity."""
        ...

    def closed(self) -> frozenset[str]:
        """Return the crosspoints that the instrument says are closed."""
        ...

    def route(self, closed: Iterable[str]) -> None:
        """Make exactly `closed` closed: break, then make, then read back; nothing moves if it is so already."""
        ...

    def close(self) -> None:
        """End the conversation; relays stay as they are."""
        ...


@dataclass(frozen=True)
class Position:
    """Where a prober is after a step.

    Args:
        col: die column on the prober's map.
        row: die row on the prober's map.
        end_of_route: the map's route has no die after this one.
    """

    col: int
    row: int
    end_of_route: bool = False


@dataclass(frozen=True)
class Subsite:
    """One of several spots of a die on which the needles can stand.

    Args:
        name: of the spot.
        number: in the prober's own table of subsites, from 0.
        x: offset from the die's reference to the right, y: upwards, m.
    """

    name: str
    number: int
    x: Metre
    y: Metre


@dataclass(frozen=True)
class Heights:
    """Chuck heights of a prober: needles touch at `contact`; `overtravel` goes beyond it, m."""

    contact: Metre
    separation: Metre
    overtravel: Metre
    hover: Metre


@runtime_checkable
class Prober(Protocol):
    """Something that puts needles on dies. It moves only at verified separation, and only if `guard` does not raise."""

    name: str
    guard: Guard
    """Called before any motion; raises unless outputs are verified off and the relays are those to land with."""

    def connect(self) -> str:
        """Read identity and state, change nothing; return the identity."""
        ...

    def step(self, col: int, row: int, subsite: Subsite | None = None) -> Position:
        """Be at a die, or at one subsite of it, separated."""
        ...

    def contact(self) -> None:
        """Have the needles on the pads, verified."""
        ...

    def separate(self) -> None:
        """Have the needles off the pads, verified: commanded, and seen to have moved."""
        ...

    def in_contact(self) -> bool:
        """Return whether the needles are on the pads, as the prober reads it."""
        ...

    def separated(self) -> bool:
        """Return whether separation was commanded here and the prober has stood so since."""
        ...

    def close(self) -> None:
        """End the conversation; nothing moves."""
        ...


@runtime_checkable
class Compensated(Protocol):
    """A prober that may put the chuck off the heights that it tells; `in_contact` is then what heights allow."""

    def at_contact_height(self) -> bool:
        """Return whether the chuck stands at contact, or in its overtravel, by the heights alone."""
        ...
