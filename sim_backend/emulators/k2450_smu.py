"""The source-measure unit of a 2450, 2460 or 2461, by where it differs from that of a Series 2400.

Source: 2450 reference manual (2450-901-01): limits 2-100 and 6-71, off states 2-76, status of a reading 8-29. The times
of a reading beside its integration are not in it.
"""

import math
from dataclasses import dataclass

from labctl.core.units import Ampere, Second, Volt
from sim_backend.emulators.k2400_models import range_for
from sim_backend.emulators.k2400_smu import CONFIGURE, Reading, Settings, Smu
from sim_backend.emulators.scpi.errors import ScpiError

OVERHEAD: Second = 800e-6
"""[?] Of one reading beside its integration."""
AUTO_DELAY: Second = 150e-6
"""[?] Source delay that is chosen automatically."""
EVERY = ("VOLTage:DC", "CURRent:DC", "RESistance")
"""Functions; what is not asked for is known from the source."""
LIMITED, FOUR_WIRE, ON = 32, 64, 128
"""Bits of the source status of a reading."""


@dataclass
class Extra:
    """Settings that a Series 2400 does not have, as after `*RST`."""

    readback: bool = True
    unit: str = "AMP"
    rel: bool = False
    rel_level: float = 0.0
    math: bool = False
    interlock: bool = True


@dataclass(frozen=True)
class Taken:
    """A reading and the value of its source, with its status; the reading is of the function that was measured."""

    value: float
    source: float
    status: int
    time: Second


class Smu2450(Smu):
    """The unit; keywords are those of `Smu`."""

    off_part = 0.1

    def defaults(self) -> Settings:
        """Return the settings after `*RST`."""
        self.extra = Extra()
        lowest = self.model.ranges_v[0]
        return Settings(range_v=lowest, measure_v=20.0, functions=["CURRent:DC"], limit_v=21.0)

    def limit_i(self, amps: Ampere) -> None:
        """Set the limit; below a thousandth of a fixed measure range that is taken instead, and an error told."""
        s = self.set
        least = self.model.least_limit if s.measure_auto_i else 1e-3 * s.measure_i
        self._within_power(s.range_v, amps)
        s.limit_i = max(amps, least)
        self.apply()
        if amps < least * (1 - 1e-9):
            raise ScpiError(-222)

    def measure_range_i(self, amps: Ampere) -> None:
        """Set a fixed measure range; it raises a limit that is below a thousandth of it, and tells an error."""
        s = self.set
        s.measure_i, s.measure_auto_i = range_for(amps, self.model.ranges_i), False
        raised = s.limit_i < 1e-3 * s.measure_i * (1 - 1e-9)
        s.limit_i = max(s.limit_i, 1e-3 * s.measure_i)
        self.apply()
        if raised:
            raise ScpiError(-221)

    def measure_range_v(self, volts: Volt) -> None:
        """Set a measure range for the time when voltage is not sourced."""
        self.set.measure_v, self.set.measure_auto_v = range_for(volts, self.model.ranges_v), False

    def protect_at(self, step: Volt) -> None:
        """Set the voltage protection; infinite is none."""
        self.set.protection = step
        self.apply()

    def cycle(self, level: float | None = None) -> Reading:
        """Carry out one reading, after the source delay if the source has moved."""
        s, world = self.set, self.world
        if level is not None:
            self.source(level)
        if self._moved:
            world.advance(AUTO_DELAY if s.delay_auto else s.delay)
        self._moved = False
        conversions = (3 if s.zero else 1) + self.extra.readback
        passes = int(s.average_count) if s.average and s.average_type == "REPeat" else 1
        world.advance(OVERHEAD + (conversions - 1) * self.aperture)
        point = world.observe(self.wire, passes * self.aperture)
        if self._autorange(point):
            world.advance(CONFIGURE)
            point = world.observe(self.wire, passes * self.aperture)
        self.readings += 1
        return self._reading(point, passes, EVERY)

    def take(self) -> Taken:
        """Carry out a reading and return it in its function and unit; 5074 with the output off."""
        if not self.output:
            raise ScpiError(5074, "Output must be on to make a measurement")
        reading = self.cycle()
        (function,) = self.set.functions
        volts, amps = reading.volts, reading.amps
        value = {"CURRent:DC": amps, "VOLTage:DC": volts, "RESistance": reading.ohms}[function]
        if function == "CURRent:DC" and self.extra.unit != "AMP":
            value = volts * amps if self.extra.unit == "WATT" else volts / amps if amps else math.inf
        if self.extra.rel:
            value -= self.extra.rel_level
        if self.extra.math:
            value = (value - 1.0) * 100.0  # the default: percent of 1
        measured = volts if self.volts else amps
        source = measured if self.extra.readback else self._sourced
        status = (
            (LIMITED if reading.limited else 0) | (FOUR_WIRE if self.set.remote else 0) | (ON if self.output else 0)
        )
        return Taken(value, source, status, reading.time)
