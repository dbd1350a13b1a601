"""A source-measure unit of stated capabilities, which stands in for one that has no emulator. There is no real one.

Verified against: transcripts, and the emulated generic source of this project.

Where a driver names no emulator, the twin of its bench has this source in its place, with the capabilities that the
driver declares. A bench file may also name it itself, to plan and rehearse a bench before its driver is written.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from pydantic import Field, model_validator

from instruments.json_lines import JsonLines
from instruments.transport import CHECK
from labctl.core.driver import Driver, DriverKind
from labctl.core.errors import InstrumentError
from labctl.core.model import Model
from labctl.core.operations import Flag
from labctl.core.source import (
    ChannelSetup,
    ChannelState,
    Hold,
    Measure,
    Ramp,
    Sample,
    SourceCapabilities,
    Step,
    Watch,
    levels_after,
    refuse_undriven,
)
from labctl.core.transport import Transport, Wait
from labctl.core.units import Ampere, Second, Volt

STATEMENT: Second = 1e-3
"""Longest time of one step beside the times that it names, on the clock of the emulated source."""


class GenericSourceOptions(Model):
    """Capabilities of a generic source in the bench file."""

    model: str = Field(default="generic", min_length=1, description="as it names itself")
    channels: tuple[str, ...] = Field(min_length=1, description="names of its channels")
    ranges_v: tuple[Volt, ...] = Field(min_length=1, description="source ranges, ascending")
    ranges_i: tuple[Ampere, ...] = Field(min_length=1, description="measure ranges, ascending")
    shortest_pulse: Second = Field(gt=0, description="shortest pulse that it makes")
    longest_pulse: Second = Field(default=3600.0, gt=0, description="longest pulse that it makes")
    shortest_aperture: Second = Field(gt=0, description="shortest integration time")
    longest_aperture: Second = Field(gt=0, description="longest integration time")
    stands: bool = Field(default=True, description="levels stand after a sequence of steps; false: each ends at 0 V")
    stands_for: str = Field(default="", description="the driver in whose place it is")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for name, ranges in (("ranges_v", self.ranges_v), ("ranges_i", self.ranges_i)):
            if any(full <= 0 for full in ranges) or list(ranges) != sorted(set(ranges)):
                raise ValueError(f"{name} are {ranges}; expected ascending, above 0")
        if len(set(self.channels)) != len(self.channels):
            raise ValueError(f"channels are {', '.join(self.channels)}; expected different names")
        if self.shortest_aperture > self.longest_aperture:
            raise ValueError("shortest_aperture is above longest_aperture")
        if self.shortest_pulse > self.longest_pulse:
            raise ValueError("shortest_pulse is above longest_pulse")
        return self

    def capabilities(self) -> SourceCapabilities:
        """Return them as a source declares them."""
        apertures = (self.shortest_aperture, self.longest_aperture)
        return SourceCapabilities(
            self.model,
            self.channels,
            self.ranges_v,
            self.ranges_i,
            self.shortest_pulse,
            apertures,
            self.stands,
            longest_pulse=self.longest_pulse,
        )

    @classmethod
    def of(cls, capabilities: SourceCapabilities, stands_for: str) -> Self:
        """Return the options of a source with `capabilities`; its steps come in one message."""
        shortest, longest = capabilities.apertures
        given = {k: v for k, v in asdict(capabilities).items() if k not in ("apertures", "step_messages", "script")}
        return cls(**given, shortest_aperture=shortest, longest_aperture=longest, stands_for=stands_for)


Reported = tuple[bool, Volt, Ampere]
"""State of a channel in a reply: output, level, limit."""
Taken = tuple[Ampere | None, Volt | None, int]
"""A sample in a reply: current and voltage, null where not measured, and flags."""


@dataclass(frozen=True)
class Carried:
    """What came of a sequence of steps: its samples, and the state of each channel at its end."""

    samples: list[Taken]
    state: dict[str, Reported]


@dataclass(frozen=True)
class Ended:
    """States of the channels before everything was ended, and now."""

    before: dict[str, Reported]
    now: dict[str, Reported]


class GenericSource:
    """A source over lines of JSON.

    Args:
        transport: the wire.
        name: in the bench file.
        options: its capabilities.
    """

    def __init__(self, transport: Transport, name: str, options: GenericSourceOptions) -> None:
        self.name, self.capabilities = name, options.capabilities()
        self._lines = JsonLines(transport, name)
        self._setups: dict[str, ChannelSetup] = {}
        self._levels: dict[str, Volt] = {}
        """Levels that stand, V, of channels that are not at 0 V."""

    def connect(self) -> str:
        """Read identity and state; change nothing."""
        identity = self._lines.identity("source")
        self.state()
        return identity

    def state(self) -> dict[str, ChannelState]:
        """Return the present state of every channel."""
        return _states(self._lines.ask("state", dict[str, Reported]))

    def prepare(self, setups: Mapping[str, ChannelSetup]) -> None:
        """Set channels up at 0 V behind the cold limit, outputs off; compare with what is read back."""
        wanted = {channel: asdict(setup) for channel, setup in setups.items()}
        taken = self._lines.ask("prepare", dict[str, Any], setups=wanted)
        if taken != wanted:
            raise InstrumentError(f"{self.name} took {taken} for {wanted}; {CHECK}")
        self._setups |= setups
        self._levels = {}

    def output(self, channels: Iterable[str]) -> None:
        """Switch outputs on at 0 V behind the cold limit; state verified before and after."""
        wanted = list(channels)
        for channel in wanted:
            if channel not in self._setups:
                raise InstrumentError(f"{self.name}.{channel} has not been set up; its output stays off")
        before = self.state()
        for channel in wanted:
            state = self._of(channel, before)
            if state.level != 0 or state.limit > self._setups[channel].cold_limit:
                raise InstrumentError(f"{self.name}.{channel} is not at 0 V behind its cold limit: {state}; {CHECK}")
        self._lines.ask("output", object, channels=wanted)
        off = [channel for channel, state in self.state().items() if channel in wanted and not state.output]
        if off:
            raise InstrumentError(
                f"{self.name}: {', '.join(off)} did not switch on; look at its interlock and output-enable line"
            )

    def run(self, steps: Sequence[Step]) -> list[Sample]:
        """Run `steps` in order, in one round trip; return a sample per `Watch` and `Measure`.

        Raises:
            NotDriven: an output was off at the end of the steps, or at another level than was set.
            InstrumentError: a step is beyond the setup of its channel, or the capabilities.
        """
        if not steps:
            return []
        sent = [{"step": type(step).__name__, **asdict(step)} for step in steps]
        reply = self._lines.ask("run", Carried, steps=sent, wait=Wait.MEASURE, extra=self._longest(steps))
        samples = reply.samples
        levels, states = levels_after(steps, self._levels), _states(reply.state)
        for channel, volts in levels.items():
            state = self._of(channel, states)
            refuse_undriven(f"{self.name}.{channel}", state.output, state.level, volts)
        if self.capabilities.stands:
            self._levels |= levels
        readings = [step for step in steps if isinstance(step, Watch | Measure)]
        if len(samples) != len(readings):
            raise InstrumentError(f"{self.name}: {len(readings)} readings expected, {len(samples)} came; {CHECK}")
        return [_sample(step.channel, values) for step, values in zip(readings, samples, strict=True)]

    def emergency_off(self) -> dict[str, ChannelState]:
        """Set 0 V and off by the first bytes of a fresh connection; then verify it.

        Returns:
            State of each channel before.
        """
        reply = self._lines.cut_in("abort", "aborted", Ended)
        self._verify(_states(reply.now))
        return _states(reply.before)

    def off(self, rate: float | None = None) -> None:
        """Go to 0 V (ramped at `rate` V/s if given), switch off, read back."""
        longest = 2 * self.capabilities.ranges_v[-1] / rate if rate else 0.0
        self._levels = {}
        self._lines.ask("off", object, rate=rate, wait=Wait.MEASURE, extra=longest)
        self.verify_off()

    def verify_off(self) -> None:
        """Read back that every output is off at 0 V; InstrumentError if one is not."""
        self._verify(self.state())

    def close(self) -> None:
        """End the conversation."""
        self._lines.close()

    def _verify(self, states: Mapping[str, ChannelState]) -> None:
        for channel in self.capabilities.channels:
            state = states.get(channel)
            if state is None or state.output or state.level != 0:
                raise InstrumentError(f"{self.name}.{channel} is NOT verified off: {state}; go there and switch it off")

    def _of(self, channel: str, states: Mapping[str, ChannelState]) -> ChannelState:
        """Return the state of a channel; InstrumentError if the reply has none of it."""
        if channel not in states:
            raise InstrumentError(f"{self.name} tells nothing of its channel {channel}; {CHECK}")
        return states[channel]

    def _longest(self, steps: Sequence[Step]) -> Second:
        """Return a time that `steps` do not exceed, s."""
        spans = [2 * self.capabilities.ranges_v[-1] / step.rate for step in steps if isinstance(step, Ramp)]
        spans += [step.seconds for step in steps if isinstance(step, Hold)]
        spans += [self.capabilities.apertures[1] for step in steps if isinstance(step, Measure)]
        return sum(spans) + len(steps) * STATEMENT


def _states(reported: Mapping[str, Reported]) -> dict[str, ChannelState]:
    """Return the states in a reply."""
    return {channel: ChannelState(*values) for channel, values in reported.items()}


def _sample(channel: str, taken: Taken) -> Sample:
    """Return a sample of a reply."""
    current, voltage, flag = taken
    amps, volts = (math.nan if value is None else value for value in (current, voltage))
    return Sample(channel, amps, volts, Flag(flag))


def _make(name: str, options: GenericSourceOptions, transport: Transport) -> GenericSource:
    """Return a generic source, which is emulated only."""
    return GenericSource(transport, name, options)


DRIVER = Driver(
    DriverKind.SOURCE,
    _make,
    GenericSourceOptions,
    capabilities=GenericSourceOptions.capabilities,
    emulator="generic_source",
)
