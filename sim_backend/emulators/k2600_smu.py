"""One source-measure channel of a 2600B: settings with their limits, the output, and readings of the die.

The true operating point comes from the world (compliance on the die's own load line); this module adds the
instrument: programming steps, fixed and automatic ranges, overflow, integration, noise, resolution.
"""

import math
from dataclasses import dataclass
from typing import Literal

from labctl.core.units import Ampere, Ratio, Second, Volt
from sim_backend.emulators.k2600_models import EmulatedModel, range_for
from sim_backend.emulators.meter_gain import MeterGain
from sim_backend.emulators.nets import ChannelPoint, Drive
from sim_backend.emulators.tsp.vm import Refusal
from sim_backend.emulators.world import World
from sim_backend.rng import KeyedBits, first_of

AMPS, VOLTS = 0, 1
OFF, ON, HIGH_Z_OFF = 0, 1, 2
NORMAL, ZERO, HIGH_Z = 0, 1, 2
OVERFLOW = 9.91e37
AUTOZERO_OFF, AUTOZERO_ONCE, AUTOZERO_AUTO = 0, 1, 2

# [?] rms noise of one reading at 1 NPLC and digits of the converter, as fractions of the range
NOISE, RESOLUTION = 2e-6, 1e-6

# [?] DELAY_AUTO waits longer on low current ranges; figures of the order of the data sheet's settling
_SLOW: dict[Ampere, Second] = {1e-10: 40e-3, 1e-9: 15e-3, 1e-8: 5e-3, 1e-7: 2e-3, 1e-6: 500e-6}

_AUTORANGE = {
    "rangev": "autorangev", "rangei": "autorangei",
    "measure_rangev": "measure_autorangev", "measure_rangei": "measure_autorangei",
}  # fmt: skip
_OF_MEASURING = frozenset({"measure_rangev", "measure_rangei", "nplc"})
"""Settings that the output does not depend on."""


@dataclass
class Settings:
    """Settings, by default as after `smuX.reset()` (2600B reference manual); the two limits depend on the model."""

    limiti: Ampere
    limitv: Volt
    rangev: Volt
    rangei: Ampere
    func: int = VOLTS
    levelv: Volt = 0.0
    leveli: Ampere = 0.0
    autorangev: int = 1
    autorangei: int = 1
    lowrangev: Volt = 0.0
    lowrangei: Ampere = 0.0
    output: int = OFF
    offmode: int = NORMAL
    offfunc: int = VOLTS
    offlimiti: Ampere = 1e-3
    offlimitv: Volt = 40.0
    outputenableaction: int = 0
    settling: int = 0
    source_delay: Second = 0.0
    highc: int = 0
    sink: int = 0
    sense: int = 0
    nplc: float = 1.0
    measure_rangev: Volt = 0.0
    measure_rangei: Ampere = 0.0
    measure_autorangev: int = 1
    measure_autorangei: int = 1
    measure_lowrangev: Volt = 0.0
    measure_lowrangei: Ampere = 0.0
    autozero: int = AUTOZERO_AUTO
    delay: Second = 0.0
    delayfactor: float = 1.0
    count: int = 1
    interval: Second = 0.0
    filter_enable: int = 0
    filter_count: int = 1
    filter_type: int = 1
    rel_v: int = 0
    rel_i: int = 0
    rel_level_v: Volt = 0.0
    rel_level_i: Ampere = 0.0
    threshold: float = 50.0


@dataclass(frozen=True)
class SmuReading:
    """One conversion: V and A as the instrument reports them, its begin, and the true operating point."""

    volts: Volt
    amps: Ampere
    time: Second
    point: ChannelPoint


def _bounds(model: EmulatedModel) -> dict[str, tuple[float, float]]:
    """Return the smallest and largest value of each setting that has them."""
    v_over, i_over = 1.01 * model.v_max, 1.01 * model.i_max
    low_i, low_v = model.lowest_limit
    return {
        "levelv": (-v_over, v_over), "leveli": (-i_over, i_over),
        "limiti": (low_i, i_over), "limitv": (low_v, v_over),
        "offlimiti": (low_i, i_over), "offlimitv": (low_v, v_over),
        "rangev": (-v_over, v_over), "rangei": (-i_over, i_over),
        "measure_rangev": (-v_over, v_over), "measure_rangei": (-i_over, i_over),
        "nplc": (0.001, 25.0),
    }  # fmt: skip


class Smu:
    """A channel.

    Args:
        wire: its name in the wiring of the world.
        ideal: no noise, no steps, no resolution.
        seed: of the noise, which is a pure function of the seed, the channel and the number of the reading.
        enabled: whether the output-enable or interlock line is asserted.
        offset: zero-bias error of the ammeter, A.
        gain: error of the gain of each quantity and range, standard deviation of its logarithm.
    """

    def __init__(
        self, world: World, wire: str, model: EmulatedModel, *, ideal: bool = True, seed: int = 0,
        offset: Ampere = 0.0, gain: Ratio = 0.0,
    ) -> None:  # fmt: skip
        self.world, self.wire, self.model = world, wire, model
        self.ideal, self.offset = ideal, offset
        self.enabled = True
        self.readings = 0
        self.overflowed = False
        self._zeroed = 0.0
        self._noise, self._place = KeyedBits(seed), sum(wire.encode())
        self._gain = MeterGain(seed, self._place, gain)
        self._bounds = _bounds(model)
        self.set = self._defaults()
        world.attach(wire)

    def seek(self, operation: int) -> None:
        """Set the noise of the readings to the position of `operation`, independent of earlier readings."""
        self.readings = first_of(operation)

    def _defaults(self) -> Settings:
        m = self.model
        return Settings(
            limiti=m.default_limit, limitv=m.default_limit_v, rangev=m.v_ranges[0][0], rangei=m.i_ranges[0],
            lowrangev=m.v_ranges[0][0], lowrangei=m.i_ranges[0], offlimitv=m.default_limit_v,
            outputenableaction=1 if m.output_enable_fixed else 0,
            measure_rangev=m.v_ranges[0][0], measure_rangei=m.i_ranges[0],
            measure_lowrangev=m.v_ranges[0][0], measure_lowrangei=m.i_measure[0],
        )  # fmt: skip

    def reset(self) -> None:
        """Output off, then the defaults."""
        self.switch(OFF)
        self.set = self._defaults()
        self.apply()

    # -- source

    def check(self, name: str, value: float) -> None:
        """Refusal if the model cannot take `value` for a level, limit or range."""
        m, s = self.model, self.set
        if name in self._bounds:
            low, high = self._bounds[name]
            if not value <= high:
                raise Refusal(1101, "Parameter too big")
            if not value >= low:
                raise Refusal(1102, "Parameter too small")
        if name == "levelv" and not s.autorangev and abs(value) > 1.01 * s.rangev:
            raise Refusal(1101 if value > 0 else 1102, "Parameter too big" if value > 0 else "Parameter too small")
        if name == "leveli" and not s.autorangei and abs(value) > 1.01 * s.rangei:
            raise Refusal(1101 if value > 0 else 1102, "Parameter too big" if value > 0 else "Parameter too small")
        if name in ("levelv", "limiti"):
            volts, amps = (value, s.limiti) if name == "levelv" else (s.levelv, value)
        elif name in ("leveli", "limitv"):
            volts, amps = (s.limitv, value) if name == "leveli" else (value, s.leveli)
        else:
            return
        relevant = (s.func == VOLTS) == (name in ("levelv", "limiti"))
        edge, most = m.safe
        if relevant and abs(volts) > 1.01 * edge and abs(amps) > 1.01 * most:
            raise Refusal(5007, "Operation would exceed safe operating area of the instrument")

    def write(self, name: str, value: float, *, swept: bool = False) -> None:
        """Set a level, limit or range after its check, and let the output follow.

        Args:
            swept: by the trigger model, which waits for no settling on a fixed range.
        """
        self.check(name, value)
        s, m = self.set, self.model
        if name in ("rangev", "measure_rangev"):
            value = range_for(value, m.v_full)
        elif name in ("rangei", "measure_rangei"):
            value = range_for(value, m.i_ranges if name == "rangei" else m.i_measure)
        if (name == "rangev" and abs(s.levelv) > 1.01 * value) or (name == "rangei" and abs(s.leveli) > 1.01 * value):
            raise Refusal(-221, "Settings conflict")
        setattr(s, name, value)
        if name in _AUTORANGE:
            setattr(s, _AUTORANGE[name], 0)
        if name == "levelv" and s.autorangev:
            s.rangev = range_for(max(abs(value), s.lowrangev), m.v_full)
        if name == "leveli" and s.autorangei:
            s.rangei = range_for(max(abs(value), s.lowrangei), m.i_ranges)
        if name not in _OF_MEASURING:
            self.apply()
        if s.output == ON and name in ("levelv", "leveli", "rangev", "rangei"):
            timing, fixed = self.world.timing, not (s.autorangev if name == "levelv" else s.autorangei)
            settle = timing.swept_source if swept and fixed else timing.source_settle
            self.world.advance(settle + max(s.source_delay, 0.0))

    def switch(self, state: int) -> None:
        """Set the output: off, on, or off with the relay open; 802 if the enable line forbids it."""
        s = self.set
        if state == ON and self._blocked:
            raise Refusal(802, "OUTPUT blocked by output enable")
        if state == s.output:
            return
        relay = HIGH_Z_OFF in (state, s.output) or s.offmode == HIGH_Z
        s.output = state
        self.apply()
        self.world.advance(self.world.timing.high_z_relay if relay else self.world.timing.output_relay)

    def enable(self, asserted: bool) -> None:
        """Move the output-enable or interlock line; a falling line switches the output off, rising does not restore."""
        self.enabled = asserted
        if self._blocked and self.set.output == ON:
            self.set.output = OFF
            self.apply()

    @property
    def _blocked(self) -> bool:
        return not self.enabled and (self.set.outputenableaction != 0 or self.model.output_enable_fixed)

    def apply(self) -> None:
        """Apply the output at the terminals to the world."""
        self.world.drive(self.wire, self._drive())

    def _drive(self) -> Drive | None:
        s = self.set
        if s.output == ON:
            if s.func == VOLTS:
                return Drive(self._step(s.levelv, self.model.v_steps[s.rangev]), s.limiti)
            return Drive(self._step(s.leveli, s.rangei * 2e-5), s.limitv, current=True)
        if s.output == HIGH_Z_OFF or s.offmode == HIGH_Z:
            return None
        if s.offmode == ZERO:
            return Drive(0.0, s.limiti)
        return Drive(0.0, s.offlimiti) if s.offfunc == VOLTS else Drive(0.0, s.offlimitv, current=True)

    def _step(self, value: float, step: float) -> float:
        return value if self.ideal else round(value / step) * step

    # -- measure

    @property
    def aperture(self) -> Second:
        """Integration time of one reading."""
        return self.set.nplc / self.world.timing.line_frequency

    @property
    def compliance(self) -> bool:
        """The source is at its limit now."""
        return self.set.output == ON and self.world.observe(self.wire).limited

    def zero(self) -> None:
        """Take the two integrations of an automatic zero where one is due."""
        if self.set.autozero == AUTOZERO_AUTO and self._zeroed != self.set.nplc:
            self.world.advance(2 * self.aperture)
            self._zeroed = self.set.nplc

    def convert(self, *, volts_too: bool = True, overhead: Second | None = None) -> SmuReading:
        """Integrate once; V and A together take one aperture, as the two converters of a 2600B do.

        Args:
            volts_too: with noise and resolution of the volts.
            overhead: time before the integration; that of a reading by a command if not given.
        """
        s, timing = self.set, self.world.timing
        passes = max(1, s.filter_count) if s.filter_enable else 1
        self.zero()
        self.world.advance((timing.measure_overhead if overhead is None else overhead) + self._auto_delay())
        began = self.world.now
        point = self.world.observe(self.wire, passes * self.aperture)
        moved = self._autorange(point)
        if moved:
            self.world.advance(timing.source_settle)
            began = self.world.now
            point = self.world.observe(self.wire, passes * self.aperture)
        self.readings += 1
        volts = point.volts
        if volts_too:
            volts = self._digitise(volts, self._full_scale(VOLTS), 0, passes) - (s.rel_level_v if s.rel_v else 0.0)
        amps = self._digitise(point.amps + self.offset, self._full_scale(AMPS), 1, passes) - (
            s.rel_level_i if s.rel_i else 0.0
        )
        return SmuReading(volts, amps, began, point)

    def _auto_delay(self) -> Second:
        s = self.set
        if s.delay >= 0:
            return s.delay
        return s.delayfactor * _SLOW.get(s.measure_rangei, 100e-6)

    def _full_scale(self, quantity: int) -> float:
        """Return the range of a measurement; what is sourced is measured on the range that it is sourced on."""
        s = self.set
        if quantity == VOLTS:
            return s.rangev if s.func == VOLTS else s.measure_rangev
        return s.rangei if s.func == AMPS else s.measure_rangei

    def _autorange(self, point: ChannelPoint) -> bool:
        s, before = self.set, (self.set.measure_rangev, self.set.measure_rangei)
        if s.measure_autorangev and s.func != VOLTS:
            s.measure_rangev = range_for(max(abs(point.volts), s.measure_lowrangev), self.model.v_full)
        if s.measure_autorangei and s.func != AMPS:
            amps = abs(point.amps + self.offset)
            s.measure_rangei = range_for(max(amps, s.measure_lowrangei), self.model.i_measure)
        return before != (s.measure_rangev, s.measure_rangei)

    def _digitise(self, value: float, full: float, quantity: int, passes: int) -> float:
        if not self.ideal:
            sigma = NOISE * full / math.sqrt(max(self.set.nplc, 1e-3) * passes)
            value = value * self._gain(quantity, full) + sigma * self._noise.normal(
                self.readings, quantity, self._place
            )
            value = round(value / (RESOLUTION * full)) * RESOLUTION * full
        self.overflowed = abs(value) > 1.02 * full
        return math.copysign(OVERFLOW, value) if self.overflowed else value

    def status(self, reading: SmuReading, quantity: Literal["v", "i"]) -> int:
        """Return the status of a stored reading: bit 1 over-temperature, 5 remote sense, 6 compliance, 0 overflow."""
        over = abs(reading.volts if quantity == "v" else reading.amps) >= OVERFLOW
        return (1 if over else 0) | (32 if self.set.sense else 0) | (64 if reading.point.limited else 0)
