"""Keysight 81160A pulse generator over SCPI: its outputs, their levels and limits, triggers, and the pulses they make.

Names and bounds: the messages and bounds of PyMeasure's driver (pymeasure.instruments.keysight.keysight81160A); limits
as in the manuals of the 81100 family (:VOLTage:LIMit:STATe); triggers as in the 81160A user's guide (3.1, 3.4.1).
[?] Defaults, and which settings conflict, are as in its relatives. Not emulated, and refused with -113: waveforms that
are loaded (:DATA), modulation, sweeps, the trigger and strobe outputs.

An output has the level of its idle state and, for the time of a pulse, another one. What reaches the die is what passes
the bias tee that a channel of a source is joined to it by: changes of the level, and no level that stands. The die has
the whole pulse at the trigger, which does not wait [?]: an output that goes off before its width has passed is told.
"""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from labctl.core.units import Ohm, Second, Volt
from sim_backend.emulators.context import EmulatorContext
from sim_backend.emulators.leftovers import Leave
from sim_backend.emulators.scpi.errors import ScpiError
from sim_backend.emulators.scpi.instrument import ScpiInstrument
from sim_backend.emulators.scpi.parameters import Boolean, Choice, Number, Parameter
from sim_backend.emulators.world import World

IMPEDANCE: Ohm = 50.0
MATCHED = 2.0
"""An open end sees this times what a load of 50 ohm does."""
MOST: Volt = 5.0
"""Of a level, on 50 ohm."""
LEAST: Volt = 0.05
"""Difference of the two levels, on 50 ohm."""
SHAPES = ("SINusoid", "SQUare", "RAMP", "PULSe", "NOISe", "DC", "USER")
TRIGGERS = ("IMMediate", "INTernal2", "EXTernal", "MANual")
COUNTS = 2147483647
_ON = Boolean()


class Output:
    """One channel of the generator; voltages are those of an open end.

    Args:
        wire: its name on the bench.
    """

    def __init__(self, world: World, wire: str) -> None:
        self.world, self.wire, self.on = world, wire, False
        self.until: Second = 0.0
        """Time on the clock when the pulse of the last trigger ends."""
        self.reset()

    def reset(self) -> None:
        """Go back to the settings after `*RST`, off."""
        self.on = False
        self.load: float = IMPEDANCE
        self.high, self.low = 0.5 * MATCHED, -0.5 * MATCHED
        self.limited, self.limits = False, [-MOST * MATCHED, MOST * MATCHED]
        self.inverted, self.shape, self.unit = "NORMal", "SINusoid", "VPP"
        self.width, self.period, self.edge = 100e-9, 1e-6, 2.5e-9
        self.trigger, self.sense, self.count = "IMMediate", "EDGE", 1.0
        self.burst, self.cycles = False, 2.0

    # -- levels

    @property
    def part(self) -> float:
        """What the load that it was told sees, as a part of an open end."""
        return 1.0 if self.load == float("inf") else self.load / (self.load + IMPEDANCE)

    def level(self, end: str) -> Volt:
        """Return a level as the load that it was told sees it."""
        return float(getattr(self, end)) * self.part

    def set_levels(self, *, high: Volt | None = None, low: Volt | None = None) -> None:
        """Set one or both levels for that load; -222 beyond bounds or limits, -221 too near to each other."""
        new = [self.high if high is None else high / self.part, self.low if low is None else low / self.part]
        most = MOST * MATCHED * (1 + 1e-9)
        lowest, highest = self.limits if self.limited else (-most, most)
        if max(map(abs, new)) > most or new[0] > highest + 1e-9 or new[1] < lowest - 1e-9:
            raise ScpiError(-222)
        if new[0] - new[1] < LEAST * MATCHED * (1 - 1e-9):
            raise ScpiError(-221)
        self.high, self.low = new

    def set_centre(self, *, amplitude: Volt | None = None, offset: Volt | None = None) -> None:
        """Set the levels by their difference and their mean."""
        wide = self.level("high") - self.level("low") if amplitude is None else amplitude
        mean = (self.level("high") + self.level("low")) / 2 if offset is None else offset
        self.set_levels(high=mean + wide / 2, low=mean - wide / 2)

    def limit(self, end: int) -> Volt:
        """Return a limit for that load."""
        return self.limits[end] * self.part

    def set_limit(self, end: int, volts: Volt) -> None:
        """Set a limit for that load; -221 if a level is beyond it, or the other limit is."""
        limits = list(self.limits)
        limits[end] = volts / self.part
        if limits[0] >= limits[1] or (self.limited and self._beyond(limits)):
            raise ScpiError(-221)
        self.limits = limits

    def set_limited(self, on: bool) -> None:
        """Switch limits; -221 if a level is beyond them."""
        if on and self._beyond(self.limits):
            raise ScpiError(-221)
        self.limited = on

    def _beyond(self, limits: list[Volt]) -> bool:
        return self.high > limits[1] + 1e-9 or self.low < limits[0] - 1e-9

    # -- times

    def set_times(self, name: str, seconds: Second) -> None:
        """Set width, period or edge; -221 if the pulse does not fit into its period."""
        times = {"width": self.width, "period": self.period, "edge": self.edge, name: seconds}
        if times["width"] + 1.6 * times["edge"] > times["period"]:
            raise ScpiError(-221)
        setattr(self, name, seconds)

    # -- what it makes

    @property
    def idle(self) -> Volt:
        """Level between pulses."""
        return self.low if self.inverted == "NORMal" else self.high

    def switch(self, on: bool) -> None:
        """Switch the output; without a trigger it begins at once, and an idle level that is not 0 V is a step."""
        if self.on and not on and self.world.now < self.until:
            self.world.note("cut pulse", f"{self.wire} went off {self.until - self.world.now:.3g} s before its end")
        begins, self.on = on and not self.on, on
        if not begins:
            return
        if abs(self.idle) > 1e-9 and self.shape == "PULSe":
            self.world.note("idle level", f"{self.wire} went on at {self.idle:.6g} V")
        if self.trigger == "IMMediate":
            self.world.note("untriggered", f"{self.wire} makes {self.shape} without a trigger")
            self.make()

    def make(self) -> None:
        """Make what one trigger makes."""
        if not self.on or self.shape in ("DC", "NOISe"):
            return
        base, top = (self.low, self.high) if self.inverted == "NORMal" else (self.high, self.low)
        for _ in range(int(min(self.count, 1000))):
            if self.shape == "PULSe":
                self.world.pulse(self.wire, base, top, IMPEDANCE, self.width)
            else:
                for level in (self.high, self.low):
                    self.world.pulse(self.wire, 0.0, level, IMPEDANCE, self.period / 2)


class K81160(ScpiInstrument):
    """An 81160A.

    Args:
        outputs: one or two.
    """

    maker = "Agilent Technologies"

    def __init__(self, name: str, world: World, *, outputs: int = 2) -> None:
        self.channels = {n: Output(world, f"{name}.out{n}") for n in range(1, 1 + outputs)}
        self._kept: dict[str, Any] = {}
        super().__init__(name, "81160A", world, serial="MY50000001", revision="1.0.3.0-2.6", queue=30)

    def reset(self) -> None:
        """Switch off and go back to the defaults, as `*RST` does."""
        self._kept.clear()
        for channel in self.channels.values():
            channel.reset()

    def trigger(self) -> None:
        """Make the pulses of every channel that waits for this trigger; -211 if none does."""
        waiting = [one for one in self.channels.values() if one.trigger == "MANual" and one.sense == "EDGE"]
        if not waiting:
            raise ScpiError(-211)
        for one in waiting:
            one.make()
            if one.on:
                one.until = one.world.now + one.width

    def outputs(self) -> dict[str, float]:
        """Return the highest level of each output that is on, V into an open end."""
        return {f"out{n}": max(one.high, one.low, key=abs) for n, one in self.channels.items() if one.on}

    def trip(self) -> None:
        """Switch every output off by itself."""
        for one in self.channels.values():
            one.switch(False)

    def power_off(self) -> None:
        """Drive nothing any more."""
        self.trip()

    def ends_busy(self, line: bytes) -> bool:
        """Return whether a message aborts the running one."""
        return line.strip().upper().lstrip(b":").startswith(b"ABOR")

    # -- commands

    def build(self) -> None:
        """Add the commands."""
        for n, one in self.channels.items():
            self._output("[1]" if n == 1 else str(n), one)
        self.tree.add(":ABORt", run=lambda: None)

    def _output(self, n: str, one: Output) -> None:
        volts = partial(Number, unit="V")
        seconds = partial(Number, unit="S")
        of = f"[:SOURce]:VOLTage{n}"
        level = "[:LEVel][:IMMediate]"
        count = Number(1, COUNTS, default=1, whole=True)
        self.setting(f":OUTPut{n}[:STATe]", _ON, lambda: one.on, one.switch)
        self._field(f":OUTPut{n}:LOAD", Number(0.3, 1e6, default=IMPEDANCE, unit="OHM"), one, "load")
        self._field(f":OUTPut{n}:POLarity", Choice(("NORMal", "INVerted")), one, "inverted")
        self._field(f":FUNCtion{n}[:SHAPe]", Choice(SHAPES), one, "shape")
        self.setting(f"{of}{level}:HIGH", volts(-4.95, 10.0), lambda: one.level("high"), self._high(one))
        self.setting(f"{of}{level}:LOW", volts(-10.0, 4.95), lambda: one.level("low"), self._low(one))
        self.setting(
            f"{of}{level}[:AMPLitude]", volts(0.0, 20.0), lambda: one.level("high") - one.level("low"),
            lambda value: one.set_centre(amplitude=value),
        )  # fmt: skip
        self.setting(
            f"{of}{level}:OFFSet", volts(-10.0, 10.0), lambda: (one.level("high") + one.level("low")) / 2,
            lambda value: one.set_centre(offset=value),
        )  # fmt: skip
        self._field(f"{of}:UNIT", Choice(("VPP", "VRMS", "DBM")), one, "unit")
        for end, (node, low, high) in enumerate((("LOW", -10.0, 9.99), ("[:HIGH]", -9.99, 10.0))):
            spelled = f"{of}:LIMit{node}" if node.startswith("[") else f"{of}:LIMit:{node}"
            self.setting(spelled, volts(low, high), partial(one.limit, end), partial(one.set_limit, end))
        self.setting(f"{of}:LIMit:STATe", _ON, lambda: one.limited, one.set_limited)
        self._times(one, (f":PULSe:WIDTh{n}", f":FUNCtion{n}:PULSe:WIDTh"), seconds(1.5e-9, 1e6), "width")
        self._times(one, (f":PULSe:PERiod{n}", f":FUNCtion{n}:PULSe:PERiod"), seconds(2e-9, 1e6), "period")
        self._times(one, (f":FUNCtion{n}:PULSe:TRANsition[:LEADing]",), seconds(1e-9, 1e3), "edge")
        duty = Number(1.5e-2, 99.99)
        self.setting(
            f":PULSe:DCYCle{n}", duty, lambda: 100 * one.width / one.period,
            lambda value: one.set_times("width", value / 100 * one.period),
        )  # fmt: skip
        frequency = Number(1e-6, 500e6, unit="HZ")
        self.setting(
            f":FREQuency{n}", frequency, lambda: 1 / one.period, lambda value: one.set_times("period", 1 / value)
        )
        self._keep(f":PULSe:HOLD{n}", Choice(("WIDTh", "DCYCle")), "WIDTh")
        self._keep(f":FUNCtion{n}:SQUare:DCYCle", Number(1.515e-4, 99.9998485), 50.0)
        self._keep(f":FUNCtion{n}:RAMP:SYMMetry", Number(0, 100), 100.0)
        self._keep(f":TRACe:CHANnel{n}", _ON, False)
        self._field(f":ARM:SOURce{n}", Choice(TRIGGERS), one, "trigger")
        self._field(f":ARM:SENSe{n}", Choice(("EDGE", "LEVel")), one, "sense")
        self._field(f":TRIGger{n}:COUNt", count, one, "count")
        self._field(f":BURSt{n}:STATe", _ON, one, "burst")
        self._keep(f":BURSt{n}:MODE", Choice(("TRIGgered", "GATed")), "TRIGgered")
        self._keep(f":BURSt{n}:INTernal:PERiod", seconds(3.03e-9, 1e6), 1e-3)
        self._field(f":BURSt{n}:NCYCles", Number(2, COUNTS, default=2, whole=True), one, "cycles")

    def _high(self, one: Output) -> Callable[[float], None]:
        return lambda value: one.set_levels(high=value)

    def _low(self, one: Output) -> Callable[[float], None]:
        return lambda value: one.set_levels(low=value)

    def _times(self, one: Output, spelled: tuple[str, ...], parameter: Parameter, name: str) -> None:
        for each in spelled:
            self.setting(each, parameter, lambda: getattr(one, name), partial(one.set_times, name))

    def _field(self, spelled: str, parameter: Parameter, one: Output, name: str) -> None:
        """Add a setting that is an attribute of a channel."""

        def write(value: Any) -> None:
            setattr(one, name, value)

        self.setting(spelled, parameter, lambda: getattr(one, name), write)

    def _keep(self, spelled: str, parameter: Parameter, default: Any) -> None:
        """Add a setting that no triggered pulse depends on; it is as after `*RST` if it was not set since."""

        def write(value: Any) -> None:
            self._kept[spelled] = value

        self.setting(spelled, parameter, lambda: self._kept.get(spelled, default), write)

    def leftovers(self) -> dict[str, Leave]:
        """Return how its state is left: an output that is on has been on before anybody looked."""

        def on(one: Output, rng: Random) -> str:
            one.on = True
            return "on"

        left = super().leftovers()
        for n, one in self.channels.items():
            left[f":OUTPut{'[1]' if n == 1 else n}[:STATe]"] = partial(on, one)
        return left


def emulate(name: str, options: Any, context: EmulatorContext) -> K81160:
    """Return the emulated 81160A of an entry of the bench file."""
    return K81160(name, context.world, outputs=options.outputs)
