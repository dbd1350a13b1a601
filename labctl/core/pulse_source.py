"""A pulse source: an instrument that makes pulses and measures nothing, its capabilities, its settings, its state.

Every voltage here is that of the open circuit: a pulse source has an impedance, what is across a junction is less than
what an open end would see, and never more. `across` has the divider.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from labctl.core.units import Ohm, Second, Volt


@dataclass(frozen=True)
class PulseCapabilities:
    """What a pulse source can do.

    Args:
        model: as it names itself.
        channels: its channels.
        volts: smallest and largest magnitude of a pulse from 0 V into an open end, V; of both signs.
        impedance: of its outputs, ohm.
        widths: shortest and longest pulse, s, from half height to half height.
        edge: its fastest edge, s, from 10 to 90 %.
        messages: messages that one pulse takes.
    """

    model: str
    channels: tuple[str, ...]
    volts: tuple[Volt, Volt]
    impedance: Ohm
    widths: tuple[Second, Second]
    edge: Second
    messages: float


@dataclass(frozen=True)
class PulseSetup:
    """How one channel is set up.

    Args:
        limit: largest magnitude of its levels, V; the instrument itself refuses what is beyond.
        longest: longest pulse that is asked of it, s.
    """

    limit: Volt
    longest: Second


@dataclass(frozen=True)
class PulseState:
    """State of one channel, as the instrument reports it.

    Args:
        output: the output is on.
        high, low: its levels into an open end, V.
        waits: it makes pulses when it is told to, and none by itself.
        limits: lowest and highest level that it takes, V; None if it takes any.
    """

    output: bool
    high: Volt
    low: Volt
    waits: bool
    limits: tuple[Volt, Volt] | None = None

    @property
    def forced(self) -> str:
        """What it makes, in operator words.

        >>> PulseState(True, 0.45, 0.0, waits=False).forced
        '0 to 0.45 V into an open end, without a trigger'
        """
        return f"{self.low:.6g} to {self.high:.6g} V into an open end{'' if self.waits else ', without a trigger'}"

    @property
    def limited(self) -> str:
        """Its limits, in operator words."""
        return "none" if self.limits is None else f"{self.limits[0]:.6g} to {self.limits[1]:.6g} V"


@dataclass(frozen=True)
class Fire:
    """Make one pulse of `volts` into an open end, from 0 V and back, on the line of a channel of a source.

    Args:
        channel: of the source whose line it is on.
        seconds: its width.
    """

    channel: str
    volts: Volt
    seconds: Second


def across(volts: Volt, resistance: Ohm, impedance: Ohm) -> Volt:
    """Return what is across a resistance, V, behind an impedance that an open end of `volts` stands behind.

    >>> across(0.5, 950.0, 50.0), across(0.5, 50.0, 50.0)
    (0.475, 0.25)
    """
    return volts * resistance / (resistance + impedance)


@runtime_checkable
class PulseSource(Protocol):
    """An instrument with channels that make pulses.

    An output is on while it makes a pulse, and off at any other time.
    """

    name: str

    @property
    def capabilities(self) -> PulseCapabilities:
        """Capabilities of this model."""
        ...

    def connect(self) -> str:
        """Read identity and state, change nothing; return the identity."""
        ...

    def state(self) -> Mapping[str, PulseState]:
        """Return what every channel does now."""
        ...

    def prepare(self, setups: Mapping[str, PulseSetup]) -> None:
        """Set channels up with outputs off and limits on; compare every setting with what the instrument reads back."""
        ...

    def fire(self, channel: str, volts: Volt, seconds: Second) -> None:
        """Make one pulse of `volts` into an open end, from 0 V and back; the output is off before and after.

        Raises:
            NotDriven: the output was off, or other levels were set, when it was to be made.
            InstrumentError: it is beyond the setup, and nothing was sent; or the output is not verified off.
            LinkTimeoutError: it does not answer, and has to be made safe.
        """
        ...

    def off(self, rate: float | None = None) -> None:
        """Switch every output off and read back; raise if not verified off. There is no level that could be ramped."""
        ...

    def verify_off(self) -> None:
        """Read back that every output is off; InstrumentError if one is not."""
        ...

    def close(self) -> None:
        """End the conversation; outputs stay off."""
        ...
