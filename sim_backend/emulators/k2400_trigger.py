"""The trigger model of a Series 2400, and the readings that it takes: counts, lists of levels, buffer, statistics.

Source: 2400 Series user's manual (2400S-900-01 Rev. K): trigger model 11-10, commands 17-2 to 17-5, lists 18-91,
buffer 18-114, output auto-off 18-72.
"""

import math
import statistics
from collections.abc import Callable, Iterable

from labctl.core.units import Second
from sim_backend.emulators.k2400_models import FULL
from sim_backend.emulators.k2400_smu import Reading, Smu
from sim_backend.emulators.scpi.errors import ScpiError

MOST = 2500
"""Largest product of arm and trigger count, and of points in the buffer."""
ARM, TRIGGER = "ARM", "TRIGger"
BY_ITSELF = ("IMMediate", "TIMer")
"""Events that come without anybody."""


class Ended(Exception):
    """A source-measure operation was ended from outside."""


class TriggerModel:
    """The layers of one instrument.

    Args:
        smu: its source-measure unit.
    """

    def __init__(self, smu: Smu) -> None:
        self.smu = smu
        self.taken: list[Reading] = []
        """Readings of the last operation."""
        self.stored: list[Reading] = []
        """Readings of the buffer."""
        self.ended = False
        """The operation that runs is to end."""
        self.reset()

    def reset(self) -> None:
        """Go back to the settings after `*RST`."""
        self.counts = {ARM: 1.0, TRIGGER: 1.0}
        self.sources = {ARM: "IMMediate", TRIGGER: "IMMediate"}
        self.delay: Second = 0.0
        self.levels: list[float] = []
        self.points, self.control = 100.0, "NEVer"
        self.statistic = "MEAN"

    def count(self, layer: str, value: float) -> None:
        """Set the count of a layer; -221 if the product of both is too large."""
        other = self.counts[ARM if layer == TRIGGER else TRIGGER]
        if value * other > MOST and math.isfinite(value * other):
            raise ScpiError(-221)
        self.counts[layer] = value

    def configure(self, function: str) -> None:
        """Measure one function once, with automatic range and one cycle, the output on."""
        s = self.smu.set
        s.functions, s.nplc = [function], 1.0
        s.measure_auto_i = s.measure_auto_v = True
        self.counts = {ARM: 1.0, TRIGGER: 1.0}
        self.sources = {ARM: "IMMediate", TRIGGER: "IMMediate"}
        self.smu.apply()
        self.on()

    def on(self) -> None:
        """Switch the output on, where it does not go on and off by itself."""
        if not self.smu.set.clear_auto:
            self.smu.switch(True)

    def initiate(self) -> list[Reading]:
        """Carry out the operations of both layers and return their readings.

        Raises:
            ScpiError: +803 with the output off, -213 where an event is waited for that does not come by itself, -221
                in a mode that has no levels.
        """
        smu, s = self.smu, self.smu.set
        if not smu.output and not s.clear_auto:
            raise ScpiError(803, "Not permitted with OUTPUT off")
        if any(source not in BY_ITSELF for source in self.sources.values()) or math.isinf(self.counts[ARM]):
            raise ScpiError(-213)
        if s.mode == "SWEep" or (s.mode == "LIST" and not self.levels):
            raise ScpiError(-221)
        self.taken, world = [], smu.world
        world.go_on = self._go_on
        try:
            self._operate(int(self.counts[ARM] * self.counts[TRIGGER]))
        except Ended:
            self.taken = []
        finally:
            world.go_on = None
        if self.control == "NEXT":
            self.stored += self.taken[: int(self.points) - len(self.stored)]
            if len(self.stored) >= self.points:
                self.control = "NEVer"
        return self.taken

    def _operate(self, wanted: int) -> None:
        smu, s = self.smu, self.smu.set
        for number in range(wanted):
            if s.clear_auto:
                smu.switch(True)
            level = None
            if s.mode == "LIST":
                level = self.levels[number % len(self.levels)]
                self._take_range(level)
            smu.world.advance(self.delay)
            self.taken.append(smu.cycle(level))
            if s.clear_auto and (s.clear_mode == "ALWays" or number == wanted - 1):
                smu.switch(False)
            if s.abort != "NEVer" and self.taken[-1].limited:
                break

    def _take_range(self, level: float) -> None:
        """Take the source range of a level of the list: fixed, its own, or the one of the whole list."""
        s, ranges = self.smu.set, self.smu.model.ranges_v
        if s.list_range == "FIXed":
            if abs(level) > FULL * s.range_v * (1 + 1e-9):
                raise ScpiError(-222)
            return
        largest = abs(level) if s.list_range == "AUTO" else max(map(abs, self.levels))
        s.range_v = next((full for full in ranges if largest <= FULL * full), ranges[-1])

    def _go_on(self) -> None:
        """End the operation if it is to end, and let messages to other instruments in."""
        if self.ended:
            raise Ended
        world = self.smu.world
        if world.lock.awaited:
            world.go_on = None
            world.lock.let_others_in()
            world.go_on = self._go_on

    # -- buffer

    def store(self, control: str) -> None:
        """Begin to store readings, or end it."""
        self.control = control
        if control == "NEXT":
            self.stored.clear()

    def size(self, points: float) -> None:
        """Set the size of the buffer; +800 while it stores."""
        if self.control == "NEXT":
            raise ScpiError(800, "Illegal with storage active")
        self.points = points

    def statistics(self) -> tuple[float, ...]:
        """Return the statistic of volts and amps in the buffer; -230 if it is empty."""
        if not self.stored:
            raise ScpiError(-230)
        return self._of(r.volts for r in self.stored), self._of(r.amps for r in self.stored)

    def _of(self, readings: Iterable[float]) -> float:
        values = [value for value in readings if math.isfinite(value)]
        if not values:
            return math.nan
        functions: dict[str, Callable[[list[float]], float]] = {
            "MEAN": statistics.fmean,
            "SDEViation": lambda many: statistics.stdev(many) if len(many) > 1 else 0.0,
            "MAXimum": max,
            "MINimum": min,
            "PKPK": lambda many: max(many) - min(many),
        }
        return functions[self.statistic](values)
