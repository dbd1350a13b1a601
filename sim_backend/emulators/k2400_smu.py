"""The source-measure unit of a Series 2400: settings, the output, and source-delay-measure cycles on the die.

The operating point comes from the world. Source: 2400 Series user's manual (2400S-900-01 Rev. K): compliance 6-2,
18-67 and 18-62, output-off states 13-9, cycle times A-3 to A-8, output-off mode 18-72.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from labctl.core.units import Ampere, Ohm, Ratio, Second, Volt
from sim_backend.emulators.k2400_models import FULL, Model2400, range_for
from sim_backend.emulators.meter_gain import MeterGain
from sim_backend.emulators.nets import ChannelPoint, Drive
from sim_backend.emulators.scpi.errors import ScpiError
from sim_backend.emulators.world import World
from sim_backend.rng import KeyedBits, first_of

NOISE, RESOLUTION = 2e-6, 1e-6
"""[?] rms noise of one reading at 1 NPLC and digits of the converter, as fractions of the range."""
STEP = 2.5e-5
"""Programming resolution of the source, as a part of its range."""
LATENCY: Second = 225e-6
"""From a trigger to the source action, at most."""
CONFIGURE: Second = 50e-6
"""To set the source, at most."""
CONVERT: Second = 185e-6
"""Of one conversion, beside its integration."""
FIRMWARE: Second = 300e-6
"""Of one cycle that sources a voltage."""
AUTO_DELAY: Second = 1e-3
"""Source delay that is chosen automatically."""


@dataclass
class Settings:
    """Settings as after `*RST`; ranges and limits depend on the model."""

    func: str = "VOLTage"
    mode: str = "FIXed"
    level_v: Volt = 0.0
    level_i: Ampere = 0.0
    range_v: Volt = 20.0
    range_i: Ampere = 1e-4
    auto_v: bool = True
    auto_i: bool = True
    limit_i: Ampere = 1.05e-4
    limit_v: Volt = 21.0
    protection: Volt = math.inf
    delay: Second = 0.0
    delay_auto: bool = True
    clear_auto: bool = False
    clear_mode: str = "ALWays"
    list_range: str = "BEST"
    abort: str = "NEVer"
    off_mode: str = "NORMal"
    enable: bool = False
    terminals: str = "FRONt"
    remote: bool = False
    functions: list[str] = field(default_factory=lambda: ["CURRent:DC"])
    concurrent: bool = True
    measure_i: Ampere = 1e-4
    measure_auto_i: bool = True
    measure_v: Volt = 20.0
    measure_auto_v: bool = True
    synchronised: bool = False
    nplc: float = 1.0
    zero: bool = True
    average: bool = False
    average_count: float = 10
    average_type: str = "REPeat"


@dataclass(frozen=True)
class Reading:
    """One reading: V, A and ohm, NaN where neither measured nor sourced; s; the status word; whether it was limited."""

    volts: Volt
    amps: Ampere
    ohms: Ohm
    time: Second
    status: int
    limited: bool


class Smu:
    """The unit and its terminals.

    Args:
        wire: its name in the wiring of the world.
        wired: terminals that the cables are on; the other ones lead nowhere.
        ideal: no noise, no steps, no resolution.
        offset: zero-bias error of the ammeter, A.
        gain: error of the gain of each quantity and range, standard deviation of its logarithm.
    """

    off_part = 0.005
    """Limit of the off states, as a part of the range."""

    def __init__(
        self, world: World, wire: str, model: Model2400, *, wired: str = "FRONt", ideal: bool = True, seed: int = 0,
        offset: Ampere = 0.0, gain: Ratio = 0.0,
    ) -> None:  # fmt: skip
        self.world, self.wire, self.model, self.wired = world, wire, model, wired
        self.ideal, self.offset = ideal, offset
        self.output, self.enabled = False, True
        self.frequency = world.timing.line_frequency
        self.detects = True
        """Mains frequency that integrations are counted in, and whether it is detected; no reset changes it."""
        self.readings = 0
        self._sourced, self._moved = 0.0, True
        """Level at its source, and whether it has changed since the last cycle."""
        self._noise, self._place = KeyedBits(seed), sum(wire.encode())
        self._gain = MeterGain(seed, self._place, gain)
        self.set = self.defaults()
        world.attach(wire)
        self.apply()

    def defaults(self) -> Settings:
        """Return the settings after `*RST`."""
        model = self.model
        range_v = range_for(20.0, model.ranges_v) if model.name != "2440" else 10.0
        return Settings(range_v=range_v, measure_v=range_v, off_mode=model.off_mode)

    def reset(self) -> None:
        """Switch the output off and go back to the settings after `*RST`."""
        self.output = False
        self.apply()
        self.set = self.defaults()
        self._sourced = 0.0
        self.apply()

    def seek(self, operation: int) -> None:
        """Set the noise of the readings to the position of an operation."""
        self.readings = first_of(operation)

    # -- source

    @property
    def volts(self) -> bool:
        """Whether it forces a voltage."""
        return self.set.func != "CURRent"

    def source(self, level: float) -> None:
        """Put the source to a level, V or A."""
        self._moved = self._moved or level != self._sourced
        self._sourced = level
        self.apply()
        if self.output:
            self.world.advance(CONFIGURE)

    def level_v(self, volts: Volt) -> None:
        """Set the fixed level; -221 in another mode, -222 beyond a fixed range."""
        s = self.set
        if s.mode != "FIXed":
            raise ScpiError(-221)
        if not s.auto_v and abs(volts) > FULL * s.range_v * (1 + 1e-9):
            raise ScpiError(-222)
        if s.auto_v:
            full = range_for(volts, self.model.ranges_v)
            self._within_power(full, s.limit_i)
            s.range_v = full
        s.level_v = volts
        if self.volts:
            self.source(volts)

    def level_i(self, amps: Ampere) -> None:
        """Set the fixed current; as `level_v`."""
        s = self.set
        if s.mode != "FIXed":
            raise ScpiError(-221)
        if not s.auto_i and abs(amps) > FULL * s.range_i * (1 + 1e-9):
            raise ScpiError(-222)
        if s.auto_i:
            s.range_i = range_for(amps, self.model.ranges_i)
        s.level_i = amps
        if not self.volts:
            self.source(amps)

    def source_range_v(self, volts: Volt) -> None:
        """Set a fixed source range; -221 if the level is beyond it."""
        full = range_for(volts, self.model.ranges_v)
        if abs(self.set.level_v) > FULL * full * (1 + 1e-9):
            raise ScpiError(-221)
        self._within_power(full, self.set.limit_i)
        self.set.range_v, self.set.auto_v = full, False
        self.apply()

    def source_range_i(self, amps: Ampere) -> None:
        """Set a fixed source range; -221 if the level is beyond it."""
        full = range_for(amps, self.model.ranges_i)
        if abs(self.set.level_i) > FULL * full * (1 + 1e-9):
            raise ScpiError(-221)
        self.set.range_i, self.set.auto_i = full, False
        self.apply()

    def protect(self, volts: Volt) -> None:
        """Set the voltage protection to its highest step that is not above; beyond the last there is none."""
        steps = self.model.protection
        below = [step for step in steps if step <= abs(volts)]
        self.set.protection = math.inf if abs(volts) > steps[-1] else below[-1] if below else steps[0]
        self.apply()

    def delay(self, seconds: Second) -> None:
        """Set a source delay in place of the automatic one."""
        self.set.delay, self.set.delay_auto = seconds, False

    def mode(self, mode: str) -> None:
        """Set the sourcing mode; back in the fixed one, the fixed level is sourced."""
        self.set.mode = mode
        if mode == "FIXed":
            self.source(self.set.level_v if self.volts else self.set.level_i)

    def function(self, func: str) -> None:
        """Set what is sourced; the output goes off when that changes."""
        if func != self.set.func:
            self.output = False
            self.set.func = func
            self._sourced = self.set.level_v if self.volts else self.set.level_i
        self.apply()

    def switch(self, on: bool) -> None:
        """Switch the output; +802 if the output enable line forbids it."""
        if on and self.set.enable and not self.enabled:
            raise ScpiError(802, "OUTPUT blocked by output enable")
        if on == self.output:
            return
        self.output = on
        if on and self.set.mode == "FIXed":
            self._sourced = self.set.level_v if self.volts else self.set.level_i
        self.apply()
        timing = self.world.timing
        self.world.advance(timing.high_z_relay if self.set.off_mode == "HIMPedance" else timing.output_relay)

    def enable(self, asserted: bool) -> None:
        """Move the output enable line; an open one that acts switches the output off."""
        self.enabled = asserted
        if self.output and self.set.enable and not asserted:
            self.output = False
            self.apply()

    def apply(self) -> None:
        """Apply the output at the terminals to the world."""
        self.world.drive(self.wire, self._drive())

    def _drive(self) -> Drive | None:
        s = self.set
        if s.terminals != self.wired:
            return None
        if self.output and self.volts:
            level = min(max(self._sourced, -FULL * s.protection), FULL * s.protection)
            return Drive(self._step(level, s.range_v), self.limit)
        if self.output:
            return Drive(self._step(self._sourced, s.range_i), min(abs(s.limit_v), s.protection), current=True)
        if s.off_mode == "HIMPedance":
            return None
        if s.off_mode == "GUARd":
            return Drive(0.0, self.off_part * FULL * (s.range_v if self.volts else s.measure_v), current=True)
        low = self.off_part * FULL * (s.measure_i if self.volts else s.range_i)
        if s.off_mode == "NORMal":
            return Drive(0.0, low)
        return Drive(0.0, abs(s.limit_i) if self.volts else max(abs(s.level_i), low))

    def _step(self, value: float, full: float) -> float:
        return value if self.ideal else round(value / (STEP * full)) * STEP * full

    # -- limits

    @property
    def limit(self) -> Ampere:
        """Current at which a voltage source is limited: by its compliance or by a fixed measure range, the lower."""
        s = self.set
        return abs(s.limit_i) if s.measure_auto_i else min(abs(s.limit_i), FULL * s.measure_i)

    def limit_i(self, amps: Ampere) -> None:
        """Set the current compliance; +822 below a thousandth of a fixed measure range."""
        s = self.set
        least = self.model.least_limit if s.measure_auto_i else 1e-3 * s.measure_i
        if abs(amps) < least * (1 - 1e-9):
            raise ScpiError(822, "Too small for sense range")
        self._within_power(s.range_v, amps)
        s.limit_i = amps
        if s.synchronised and not s.measure_auto_i:
            s.measure_i = range_for(amps, self.model.ranges_i)
        self.apply()

    def _within_power(self, full: Volt, limit: Ampere) -> None:
        """Refuse a limit that the highest voltage range does not have: +826."""
        if full == self.model.ranges_v[-1] and abs(limit) > FULL * self.model.most_i * (1 + 1e-9):
            raise ScpiError(826, "Attempt to exceed power limit")

    def limit_v(self, volts: Volt) -> None:
        """Set the voltage compliance."""
        self.set.limit_v = volts
        self.apply()

    def measure_range_i(self, amps: Ampere) -> None:
        """Set a fixed measure range; +824 beyond that of the compliance, -221 where the current is sourced."""
        s, ranges = self.set, self.model.ranges_i
        if not self.volts:
            raise ScpiError(-221)
        full = range_for(amps, ranges)
        if full > range_for(s.limit_i, ranges):
            raise ScpiError(824, "Cannot exceed compliance range")
        if abs(s.limit_i) < 1e-3 * full * (1 - 1e-9):
            raise ScpiError(822, "Too small for sense range")
        s.measure_i, s.measure_auto_i = full, False
        self.apply()

    def measure_range_v(self, volts: Volt) -> None:
        """Set a fixed measure range; -221 where the voltage is sourced."""
        if self.volts:
            raise ScpiError(-221)
        self.set.measure_v, self.set.measure_auto_v = range_for(volts, self.model.ranges_v), False

    # -- cycles

    @property
    def aperture(self) -> Second:
        """Integration time of one conversion."""
        return self.set.nplc / self.frequency

    def cycle(self, level: float | None) -> Reading:
        """Carry out one source-delay-measure cycle; `level` is None where the source stays as it is."""
        s, world = self.set, self.world
        world.advance(LATENCY)
        if level is not None:
            self.source(level)
        if self._moved or s.clear_auto:  # the delay of a source that has not moved is left out
            world.advance(s.delay + (AUTO_DELAY if s.delay_auto else 0.0))
        self._moved = False
        world.advance(FIRMWARE)
        passes = int(s.average_count) if s.average and s.average_type == "REPeat" else 1
        converted = max(1, len([f for f in s.functions if f != "RESistance"]))
        quiet = (2 * converted * (self.aperture + CONVERT)) if s.zero else 0.0
        world.advance(quiet + (converted - 1) * passes * (self.aperture + CONVERT) + passes * CONVERT)
        point = world.observe(self.wire, passes * self.aperture)
        if self._autorange(point):
            world.advance(CONFIGURE)
            point = world.observe(self.wire, passes * self.aperture)
        self.readings += 1
        return self._reading(point, passes, s.functions)

    def _autorange(self, point: ChannelPoint) -> bool:
        s, before = self.set, (self.set.measure_i, self.set.measure_v)
        if self.volts and s.measure_auto_i:
            s.measure_i = range_for(point.amps + self.offset, self.model.ranges_i)
        if not self.volts and s.measure_auto_v:
            s.measure_v = range_for(point.volts, self.model.ranges_v)
        return before != (s.measure_i, s.measure_v)

    def _reading(self, point: ChannelPoint, passes: int, functions: Sequence[str]) -> Reading:
        s = self.set
        full_v, full_i = (s.range_v, s.measure_i) if self.volts else (s.measure_v, s.range_i)
        volts = self._digitise(point.volts, full_v, 0, passes)
        amps = self._digitise(point.amps + self.offset, full_i, 1, passes)
        measured_v, measured_i = (f"{name}:DC" in functions for name in ("VOLTage", "CURRent"))
        shown_v = volts if measured_v else self._sourced if self.volts else math.nan
        shown_i = amps if measured_i else self._sourced if not self.volts else math.nan
        over = any(math.isinf(value) for value in (shown_v, shown_i))
        by_range = self.volts and not s.measure_auto_i and FULL * s.measure_i < abs(s.limit_i)
        bits = {
            0: over, 1: s.average, 2: s.terminals == "FRONt", 3: point.limited and not by_range,
            4: self.volts and abs(self._sourced) > FULL * s.protection, 11: measured_v, 12: measured_i,
            13: "RESistance" in functions, 14: self.volts, 15: not self.volts, 16: point.limited and by_range,
            22: s.remote,
        }  # fmt: skip
        status = sum(1 << bit for bit, on in bits.items() if on)
        ohms = volts / amps if "RESistance" in functions and amps else math.nan
        return Reading(shown_v, shown_i, ohms, self.world.now, status, point.limited)

    def _digitise(self, value: float, full: float, quantity: int, passes: int) -> float:
        if not self.ideal:
            sigma = NOISE * full / math.sqrt(max(self.set.nplc, 0.01) * passes)
            value *= self._gain(quantity, full)
            value += sigma * self._noise.normal(self.readings, quantity, self._place)
            value = round(value / (RESOLUTION * full)) * RESOLUTION * full
        return math.copysign(math.inf, value) if abs(value) > (FULL + 0.005) * full else value
