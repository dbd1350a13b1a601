"""A source-measure unit: its capabilities, its settings and steps, its samples.

Public methods say what is true afterwards and may be called twice; connecting reads state and changes nothing; what
cannot be verified is an `InstrumentError`, never a guess.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from labctl.core.errors import NotDriven
from labctl.core.operations import Flag
from labctl.core.units import Ampere, Second, Volt


@dataclass(frozen=True)
class ScriptSize:
    """What an instrument can hold of one script.

    Args:
        characters: of its text.
        attempts: attempts whose results it keeps until they are read.
        reads: it carries out reads on many routes as well (`ReadsRoutes`).
        remote: name of a channel on another node of its bus in its steps, a format of `node` and `channel`; empty if
            its scripts drive none (`Joins`).
    """

    characters: int
    attempts: int
    reads: bool = False
    remote: str = ""


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
        step_messages: messages that one step of a call takes, as a mean; 0 if a call is one script.
        longest_pulse: longest pulse width that it makes, s; limits allow an hour.
        script: what it holds of a script that writes and verifies cells by itself; None if it carries out none.
    """

    model: str
    channels: tuple[str, ...]
    ranges_v: tuple[Volt, ...]
    ranges_i: tuple[Ampere, ...]
    shortest_pulse: Second
    apertures: tuple[Second, Second]
    stands: bool = True
    step_messages: float = 0.0
    longest_pulse: Second = 3600.0
    script: ScriptSize | None = None


class OffState(StrEnum):
    """What an output does to the die while it is off. Only HIGH_Z opens the relay."""

    NORMAL = "normal"
    ZERO = "zero"
    HIGH_Z = "high_z"


@dataclass(frozen=True)
class ChannelSetup:
    """How one channel forces a voltage; fixed ranges, so that no range change glitches onto the die.

    Args:
        range_v: the largest level to be forced, V; the instrument takes the range that holds it.
        limit: current limit, A.
        range_i: largest current to be measured, A.
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
    """State of one channel, as the instrument reports it.

    Args:
        output: the output is on.
        level: programmed voltage, V.
        limit: current limit, A.
        current: programmed current, A, of a channel that forces a current; None if it forces a voltage.
        limit_v: voltage limit of such a channel, V.
    """

    output: bool
    level: Volt
    limit: Ampere
    current: Ampere | None = None
    limit_v: Volt = math.nan

    @property
    def forced(self) -> str:
        """What it forces, in operator words.

        >>> ChannelState(True, 0.0, 1.0, current=1e-6, limit_v=40.0).forced
        '1e-06 A, forcing a current'
        """
        return f"{self.level:.6g} V" if self.current is None else f"{self.current:.6g} A, forcing a current"

    @property
    def limited(self) -> str:
        """Its limit, in operator words."""
        return f"{self.limit:.6g} A" if self.current is None else f"{self.limit_v:.6g} V"


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
    """The result of one `Watch` or `Measure`; current in A out of the source into the line, NaN where not measured."""

    channel: str
    current: Ampere
    voltage: Volt
    flag: Flag


def refuse_undriven(where: str, output: bool, level: Volt, wanted: Volt, tolerance: float = 1e-3) -> None:
    """Raise NotDriven if an output that drove a line is off, or at another level than `wanted`, V.

    Args:
        where: instrument and channel.
        tolerance: as a part of `wanted`.
    """
    if not output:
        raise NotDriven(
            f"{where}: its output is off, and nobody switched it off; nothing of this script is accepted. Look at its "
            "interlock and output-enable line, its OUTPUT key, its temperature and its power"
        )
    if not math.isclose(level, wanted, rel_tol=tolerance, abs_tol=1e-6):
        raise NotDriven(
            f"{where} is at {level:.6g} V, and {wanted:.6g} V was set; nothing of this script is accepted. Look "
            "whether somebody works at its front panel"
        )


def levels_after(steps: Iterable[Step], before: Mapping[str, Volt]) -> dict[str, Volt]:
    """Return the level of every channel that `steps` name at their end, V.

    Args:
        before: levels at their beginning, V; 0 V of a channel that is left out.

    >>> levels_after([Level("a", 0.1), Watch("b"), Hold(1.0), Level("a", 0.2)], {"b": 0.3, "c": 0.4})
    {'a': 0.2, 'b': 0.3}
    """
    levels: dict[str, Volt] = {}
    for step in steps:
        if not isinstance(step, Hold):
            levels.setdefault(step.channel, before.get(step.channel, 0.0))
        if isinstance(step, Level | Ramp):
            levels[step.channel] = step.volts
    return levels


@runtime_checkable
class EmergencyOff(Protocol):
    """A source that can be made safe while it does something else. `off` is called on one without this."""

    def emergency_off(self) -> Mapping[str, ChannelState]:
        """End whatever runs, go to 0 V and off by the first bytes of a fresh connection, then verify it.

        No query comes before it: no identity, no mains frequency, no error queue. Harmless a second time.

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
        """Capabilities of this model."""
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

        What stands afterwards is what `capabilities.stands` says. The reply tells of every channel among the steps
        that its output was on at the end of them, and its level.

        Raises:
            NotDriven: an output was off, or at another level than was set; there are no samples.
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
