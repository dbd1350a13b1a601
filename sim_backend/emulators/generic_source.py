"""A generic source-measure unit: what every source does, within stated capabilities.

Compliance comes from the world, on the true load line of the die. Levels and limits beyond the setup of a channel are
refused, and ranges and apertures beyond the capabilities.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from random import Random
from typing import Any

import numpy as np

from labctl.core.operations import Flag
from labctl.core.source import ChannelSetup, OffState
from labctl.core.units import Ampere, Second, Volt
from sim_backend.emulators.context import EmulatorContext
from sim_backend.emulators.generic import GenericInstrument, Refused
from sim_backend.emulators.leftovers import Leave
from sim_backend.emulators.meter_gain import MeterGain
from sim_backend.emulators.nets import Drive
from sim_backend.rng import KeyedBits, first_of

SMALL_STEP: Second = 1e-3
"""Time of one small step of a ramp."""
NOISE, RESOLUTION = 2e-6, 1e-6
"""[?] rms noise of one reading and digits of the converter, as fractions of the range."""
OVERRANGE = 1.02
"""A reading above this part of the range is none."""


@dataclass
class _Channel:
    """Present state of one channel."""

    setup: ChannelSetup | None = None
    output: bool = False
    level: Volt = 0.0
    limit: Ampere = 1e-6
    range_i: Ampere = 0.0
    aperture: Second = 0.0
    before: list[Any] = field(default_factory=list)


_Draw = Callable[[Random, Any], Any]
"""From chance and the options of a source to a legal value."""
_DRAWS: dict[str, _Draw] = {
    "output": lambda rng, options: True,
    "level": lambda rng, options: rng.uniform(-1, 1) * options.ranges_v[-1],
    "limit": lambda rng, options: rng.random() * options.ranges_i[-1],
    "range_i": lambda rng, options: rng.choice(options.ranges_i),
    "aperture": lambda rng, options: rng.uniform(options.shortest_aperture, options.longest_aperture),
}
_MEMORIES = ("setup", "before")
"""What a channel keeps of messages, and is no state of its output; whatever else it has can be left, and has a draw."""


class GenericSource(GenericInstrument):
    """A source with the capabilities of its options.

    Args:
        options: model, channels, ranges_v, ranges_i, shortest_aperture, longest_aperture, stands, stands_for.
        context: the world, and the noise.
    """

    def __init__(self, name: str, options: Any, context: EmulatorContext) -> None:
        super().__init__(name, "source", context.world, stands_for=options.stands_for, model=options.model)
        self._options, self._context, self._readings = options, context, 0
        self._noise = KeyedBits(context.seed)
        self.channels = {
            channel: _Channel(range_i=options.ranges_i[-1], aperture=options.shortest_aperture)
            for channel in options.channels
        }
        places = {channel: sum(self._wire(channel).encode()) for channel in self.channels}
        self._gains = {c: MeterGain(context.seed, place, context.gain) for c, place in places.items()}
        for channel in self.channels:
            self.world.attach(self._wire(channel))
            self._apply(channel)

    def outputs(self) -> dict[str, float]:
        """Return the levels of the outputs that are on, V."""
        return {name: channel.level for name, channel in self.channels.items() if channel.output}

    def trip(self) -> None:
        """Switch every output off by itself."""
        for name, channel in self.channels.items():
            channel.output = False
            self._apply(name)

    def power_off(self) -> None:
        """Drive nothing any more."""
        for channel in self.channels:
            self.world.drive(self._wire(channel), None)

    def seek(self, operation: int) -> None:
        """Set the noise to the number of an operation."""
        self._readings = first_of(operation)

    def leftovers(self) -> dict[str, Leave]:
        """Return how each part of the state of a channel is left."""

        def channel_at(name: str, part: str, draw: _Draw) -> Leave:
            def leave(rng: Random) -> str:
                setattr(self.channels[name], part, draw(rng, self._options))
                self._apply(name)
                return str(getattr(self.channels[name], part))

            return leave

        draws = {part.name: _DRAWS[part.name] for part in fields(_Channel) if part.name not in _MEMORIES}
        left = {f"{n}.{part}": channel_at(n, part, draw) for n in self.channels for part, draw in draws.items()}
        return {**super().leftovers(), **left}

    def verbs(self) -> Mapping[str, Callable[..., Any]]:
        """Return the verbs of a source."""
        return {
            "state": self._state,
            "prepare": self._prepare,
            "output": self._output,
            "run": self._run,
            "off": self._off,
            "abort": self._abort,
            "aborted": lambda: {"now": self._state(), "before": {n: c.before for n, c in self.channels.items()}},
        }

    def _state(self) -> dict[str, list[Any]]:
        return {name: [c.output, c.level, c.limit] for name, c in self.channels.items()}

    def _prepare(self, setups: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        known = {name: ChannelSetup(**values) for name, values in setups.items()}
        for name, setup in known.items():
            channel = self._channel(name)
            if channel.output:
                raise Refused(f"{name} is on; it is set up while it is off")
            self._hold(setup.range_v, self._options.ranges_v, "V")
            for amps in (setup.limit, setup.range_i, setup.off_limit, setup.cold_limit):
                self._hold(amps, self._options.ranges_i, "A")
            if setup.cold_limit > setup.limit:
                raise Refused(f"{name}: the cold limit is above the limit")
        for name, setup in known.items():
            channel = self._channel(name)
            channel.setup, channel.aperture = setup, self._options.shortest_aperture
            self._cool(name)
        return setups

    def _output(self, channels: list[str]) -> None:
        for name in channels:
            channel = self._channel(name)
            if channel.setup is None:
                raise Refused(f"{name} was not set up")
            if not channel.output:
                channel.output = True
                self._apply(name)
                self.world.advance(self.world.timing.output_relay)

    def _run(self, steps: list[dict[str, Any]]) -> dict[str, Any]:
        """Execute steps; return their samples, and the state of every channel at their end.

        If levels do not stand, it begins and ends at 0 V behind the cold limit, also after a refusal.
        """
        try:
            self._end()
            samples = [sample for step in steps if (sample := self._step(dict(step))) is not None]
            return {"samples": samples, "state": self._state()}
        finally:
            self._end()

    def _end(self) -> None:
        if not self._options.stands:
            for name, channel in self.channels.items():
                if channel.setup is not None:
                    self._cool(name)

    def _step(self, step: dict[str, Any]) -> list[Any] | None:
        """Execute one step; return its sample, if it has one: current, voltage, flag."""
        kind = step.pop("step")
        if kind == "Hold":
            self.world.advance(step["seconds"])
            return None
        channel = self._channel(step["channel"])
        setup = channel.setup
        if setup is None:
            raise Refused(f"{step['channel']} was not set up")
        match kind:
            case "Level" | "Ramp":
                self._go(step["channel"], step["volts"], step.get("rate"))
            case "Limit":
                if not 0 < step["limit"] <= setup.limit * (1 + 1e-9):
                    raise Refused(f"a limit of {step['limit']} A is beyond the setup")
                self._hold(step["range_i"], self._options.ranges_i, "A")
                channel.limit = step["limit"]
                channel.range_i = self._hold(step["range_i"], self._options.ranges_i, "A")
                self._apply(step["channel"])
            case "Aperture":
                shortest, longest = self._options.shortest_aperture, self._options.longest_aperture
                if not shortest * (1 - 1e-9) <= step["seconds"] <= longest * (1 + 1e-9):
                    raise Refused(f"it integrates {shortest} to {longest} s, not {step['seconds']}")
                channel.aperture = step["seconds"]
            case "Watch":
                limited = channel.output and self.world.observe(self._wire(step["channel"])).limited
                return [None, None, int(Flag.COMPLIANCE if limited else Flag(0))]
            case "Measure":
                return self._measure(step["channel"], channel, step["voltage"])
            case _:
                raise Refused(f"the step is {kind!r}")
        return None

    def _go(self, name: str, volts: Volt, rate: float | None) -> None:
        """Go to a level, in one edge or at `rate` V/s."""
        channel = self._channel(name)
        setup = channel.setup
        if setup is None or abs(volts) > setup.range_v * (1 + 1e-9):
            raise Refused(f"{volts} V is beyond the setup of {name}")
        if rate is not None:
            if not rate > 0:
                raise Refused(f"a rate of {rate} V/s")
            while abs(volts - channel.level) > rate * SMALL_STEP:
                channel.level += float(np.copysign(rate * SMALL_STEP, volts - channel.level))
                self._apply(name)
                self.world.advance(SMALL_STEP)
        channel.level = volts
        self._apply(name)
        if channel.output:
            self.world.advance(self.world.timing.source_settle)

    def _measure(self, name: str, channel: _Channel, voltage: bool) -> list[Any]:
        self.world.advance(self.world.timing.measure_overhead)
        point = self.world.observe(self._wire(name), channel.aperture)
        self._readings += 1
        current = self._digitise(name, point.amps + self._context.offset, channel.range_i, 1)
        volts = self._digitise(name, point.volts, channel.setup.range_v, 0) if voltage and channel.setup else None
        flag = Flag.COMPLIANCE if point.limited else Flag(0)
        if abs(current) > OVERRANGE * channel.range_i:
            return [None, volts, int(flag | Flag.OVERRANGE)]
        return [current, volts, int(flag)]

    def _digitise(self, name: str, value: float, full: float, quantity: int) -> float:
        """Return a reading with the noise and the resolution of its range."""
        if self._context.ideal:
            return float(value)
        value *= self._gains[name](quantity, full)
        value += NOISE * full * self._noise.normal(self._readings, quantity, sum(self._wire(name).encode()))
        return float(round(value / (RESOLUTION * full)) * RESOLUTION * full)

    def _off(self, rate: float | None) -> None:
        for name, channel in self.channels.items():
            if channel.output and rate is not None and channel.setup is not None:
                self._go(name, 0.0, rate)
            self._switch_off(name)

    def ends_busy(self, line: bytes) -> bool:
        """Return whether a message is the emergency's."""
        return b'"do": "abort"' in line

    def _abort(self) -> None:
        for name, channel in self.channels.items():
            channel.before = [channel.output, channel.level, channel.limit]
            self._switch_off(name)

    def _switch_off(self, name: str) -> None:
        channel = self.channels[name]
        channel.level, channel.output = 0.0, False
        self._apply(name)
        self.world.advance(self.world.timing.output_relay)

    def _cool(self, name: str) -> None:
        """Set a channel to 0 V behind its cold limit."""
        channel = self._channel(name)
        assert channel.setup is not None
        channel.level, channel.limit = 0.0, channel.setup.cold_limit
        channel.range_i = self._hold(channel.setup.cold_limit, self._options.ranges_i, "A")
        self._apply(name)

    def _apply(self, name: str) -> None:
        """Apply the output at the terminals to the world."""
        channel = self.channels[name]
        drive: Drive | None = Drive(channel.level, channel.limit)
        if not channel.output:
            setup = channel.setup or ChannelSetup(0.0, 0.0, 0.0)
            drive = None if setup.off_state == OffState.HIGH_Z else Drive(0.0, setup.off_limit)
        self.world.drive(self._wire(name), drive)

    def _channel(self, name: str) -> _Channel:
        if name not in self.channels:
            raise Refused(f"there is no channel '{name}'")
        return self.channels[name]

    def _hold(self, value: float, ranges: tuple[float, ...], unit: str) -> float:
        """Return the smallest range that holds `value`."""
        full = next((full for full in ranges if abs(value) <= full * (1 + 1e-9)), None)
        if full is None:
            raise Refused(f"{value:.6g} {unit} is beyond the ranges of a {self.model}")
        return full

    def _wire(self, channel: str) -> str:
        return f"{self.name}.{channel}"


def emulate(name: str, options: Any, context: EmulatorContext) -> GenericSource:
    """Return the generic source of an entry of the bench file."""
    return GenericSource(name, options, context)
