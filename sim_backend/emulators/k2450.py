"""Keithley 2450, 2460 and 2461 SourceMeter over SCPI: their commands over the source-measure unit.

Names and defaults: reference manuals 2450-901-01 and 2461-901-01, SCPI commands in chapter 6, others in appendix B.
Not emulated, and refused with -113: sweeps, configuration lists, trigger blocks, limit tests, digital lines. Of the
command set TSP there is only what switches off and says so: the driver refuses an instrument that is set to it.
One module, because it is one table of commands.
"""

import math
from functools import partial
from random import Random
from typing import Any

from labctl.core.units import Ampere, Ratio
from sim_backend.emulators.k2450_models import MODELS
from sim_backend.emulators.k2450_smu import Extra, Smu2450, Taken
from sim_backend.emulators.leftovers import Leave
from sim_backend.emulators.scpi.errors import ScpiError
from sim_backend.emulators.scpi.parameters import Boolean, Choice, Number, Text, shown
from sim_backend.emulators.scpi_smu import CHANNEL, FUNCTIONS, ScpiSmu, emulated, function_named
from sim_backend.emulators.world import World

LANGUAGES = ("SCPI", "TSP", "SCPI2400")
ELEMENTS = ("READing", "SOURce", "RELative", "SOURSTATus")
BUFFER = "defbuffer1"
_ON = Boolean()
_WHOLE = partial(Number, whole=True)


class K2450(ScpiSmu):
    """A 2450, 2460 or 2461.

    Args:
        wired: terminals that the cables are on, `FRONt` or `REAR`.
        ideal: no noise, no programming steps, no resolution.
        offset: zero-bias error of the ammeter, A.
        gain: error of the gain of each quantity and range, standard deviation of its logarithm.
    """

    maker = "KEITHLEY INSTRUMENTS"
    smu: Smu2450

    def __init__(
        self, name: str, model: str, world: World, *, wired: str = "FRONt", ideal: bool = True, seed: int = 0,
        offset: Ampere = 0.0, gain: Ratio = 0.0,
    ) -> None:  # fmt: skip
        self.spec = MODELS[model]
        wire = f"{name}.{CHANNEL}"
        smu = Smu2450(world, wire, self.spec, wired=wired, ideal=ideal, seed=seed, offset=offset, gain=gain)
        self.language = "SCPI"
        self.taken: list[Taken] = []
        """Readings of defbuffer1."""
        self.once = False
        """The buffer takes no more than it holds."""
        self.size, self.count = 100_000.0, 1.0
        self._loop: tuple[float, float] | None = None
        super().__init__(name, model, world, smu, serial="04400001", revision="1.7.12b", queue=100)

    def reset(self) -> None:
        """Switch off and go back to the defaults, as `*RST` does; the buffer is emptied."""
        self.smu.reset()
        self.taken.clear()
        self.once, self.size, self.count, self._loop = False, 100_000.0, 1.0, None
        self._kept.clear()

    def execute(self, message: str) -> str:
        """Execute one message in the present command set."""
        if self.language != "TSP" or message.strip().startswith("*"):
            return super().execute(message)
        text = "".join(message.split()).lower()
        if text == "smu.source.output=smu.off":
            self.smu.switch(False)
        elif text == "smu.source.level=0":
            (self.smu.level_v if self.smu.volts else self.smu.level_i)(0.0)
        elif text == "print(smu.source.output,smu.source.level)":
            return f"{'smu.ON' if self.smu.output else 'smu.OFF'}\t{self.level:.5e}\n"
        elif text not in ("", "abort"):
            self.error(ScpiError(-285, "TSP Syntax error at line 1"))
        return ""

    # -- commands

    def build(self) -> None:
        """Add the commands."""
        self._output()
        self._source()
        self._sense()
        self._readings()
        self._system()

    def _extra(self) -> Extra:
        """Settings that a Series 2400 does not have."""
        return self.smu.extra

    def _output(self) -> None:
        modes = Choice(("NORMal", "ZERO", "HIMPedance", "GUARd"))
        self.setting(":OUTPut[1][:STATe]", _ON, lambda: self.smu.output, self.smu.switch)
        self._field(":OUTPut[1][:VOLTage]:SMODe", modes, "off_mode")
        self._keep(":OUTPut[1]:CURRent:SMODe", modes, "NORMal")
        self.tree.add(":OUTPut[1]:INTerlock:TRIPped", query=lambda: str(int(self.smu.extra.interlock)))
        self._field(":ROUTe:TERMinals", Choice(("FRONt", "REAR")), "terminals")

    def _source(self) -> None:
        smu, m, path = self.smu, self.spec, ":SOURce[1]"
        volts = Number(-m.v_max, m.v_max, default=0.0, unit="V")
        amps = Number(-m.i_max, m.i_max, default=0.0, unit="A")
        level = "[:LEVel][:IMMediate][:AMPLitude]"
        delay = Number(0.0, 1e4, default=0.0, unit="S")

        def of(name: str) -> Any:
            return lambda: getattr(smu.set, name)

        self.setting(f"{path}:FUNCtion[:MODE]", Choice(("VOLTage", "CURRent")), of("func"), smu.function)
        self.setting(f"{path}:VOLTage{level}", volts, of("level_v"), smu.level_v)
        self.setting(f"{path}:CURRent{level}", amps, of("level_i"), smu.level_i)
        self.setting(f"{path}:VOLTage:RANGe", volts, of("range_v"), smu.source_range_v)
        self.setting(f"{path}:CURRent:RANGe", amps, of("range_i"), smu.source_range_i)
        self._field(f"{path}:VOLTage:RANGe:AUTO", _ON, "auto_v")
        self._field(f"{path}:CURRent:RANGe:AUTO", _ON, "auto_i")
        limit_i, limit_v = Number(m.least_limit, m.i_max, unit="A"), Number(m.ranges_v[0], m.v_max, unit="V")
        self.setting(f"{path}:VOLTage:ILIMit[:LEVel]", limit_i, of("limit_i"), smu.limit_i)
        self.setting(f"{path}:CURRent:VLIMit[:LEVel]", limit_v, of("limit_v"), smu.limit_v)
        for node, current in (("VOLTage:ILIMit", True), ("CURRent:VLIMit", False)):
            self.tree.add(f"{path}:{node}[:LEVel]:TRIPped", query=partial(self._tripped, current))
        steps = {f"PROT{step:.0f}": step for step in m.protection} | {"NONE": math.inf}
        names = {step: name for name, step in steps.items()}

        def protect(name: str) -> None:
            smu.protect_at(steps[name])

        self.setting(
            f"{path}:VOLTage:PROTection[:LEVel]", Choice(tuple(steps)), lambda: names[smu.set.protection], protect
        )
        for node in ("VOLTage", "CURRent"):
            self.setting(f"{path}:{node}:DELay", delay, of("delay"), smu.delay)
            self._field(f"{path}:{node}:DELay:AUTO", _ON, "delay_auto")
            self._keep(f"{path}:{node}:HIGH:CAPacitance", _ON, False)
        self._field(f"{path}:VOLTage:READ:BACK", _ON, "readback", self._extra)
        self._keep(f"{path}:CURRent:READ:BACK", _ON, True)

    def _sense(self) -> None:
        smu, m, add = self.smu, self.spec, self.tree.add
        amps = Number(0.0, m.i_max, default=1e-4, unit="A")
        volts = Number(0.0, m.v_max, default=20.0, unit="V")
        cycles, count = Number(0.01, 10.0, default=1.0), _WHOLE(1, 100, default=10)
        filters = Choice(("REPeat", "MOVing"))
        of = "[:SENSe[1]]:CURRent[:DC]"
        self.setting(f"{of}:RANGe[:UPPer]", amps, lambda: smu.set.measure_i, smu.measure_range_i)
        self._field(f"{of}:RANGe:AUTO", _ON, "measure_auto_i")
        self._field(f"{of}:NPLCycles", cycles, "nplc")
        self._field(f"{of}:AZERo[:STATe]", _ON, "zero")
        self._field(f"{of}:AVERage[:STATe]", _ON, "average")
        self._field(f"{of}:AVERage:COUNt", count, "average_count")
        self._field(f"{of}:AVERage:TCONtrol", filters, "average_type")
        self._field(f"{of}:RSENse", _ON, "remote")
        self._field(f"{of}:UNIT", Choice(("AMP", "OHM", "WATT")), "unit", self._extra)
        self._field(f"{of}:RELative:STATe", _ON, "rel", self._extra)
        self._field(f"{of}:RELative", Number(-1.05, 1.05), "rel_level", self._extra)
        self._field(":CALCulate[1]:CURRent[:DC]:MATH:STATe", _ON, "math", self._extra)
        for node, ranges, function in (
            ("VOLTage[:DC]", volts, smu.measure_range_v), ("RESistance", Number(0.0, 2e8, unit="OHM"), None),
        ):  # fmt: skip
            other = f"[:SENSe[1]]:{node}"
            if function is not None:
                self.setting(f"{other}:RANGe[:UPPer]", ranges, lambda: smu.set.measure_v, function)
            else:
                self._keep(f"{other}:RANGe[:UPPer]", ranges, 2e5)
            self._keep(f"{other}:RANGe:AUTO", _ON, True)
            self._keep(f"{other}:NPLCycles", cycles, 1.0)
            self._keep(f"{other}:AZERo[:STATe]", _ON, True)
            self._keep(f"{other}:AVERage[:STATe]", _ON, False)
            self._keep(f"{other}:AVERage:COUNt", count, 10)
            self._keep(f"{other}:AVERage:TCONtrol", filters, "REPeat")
            self._keep(f"{other}:RSENse", _ON, False)
        add("[:SENSe[1]]:FUNCtion[:ON]", Text(), run=self._measure, query=self._measured)
        self.setting("[:SENSe[1]]:COUNt", _WHOLE(1, 300_000, default=1), lambda: self.count, self._set_count)

    def _readings(self) -> None:
        add = self.tree.add
        asked = (Text(), *(Choice(ELEMENTS),) * 14)
        add(":READ", query=self._read, asked=asked)
        add(":FETCh", query=self._last, asked=asked)
        add(":MEASure", query=self._read, asked=asked)
        for function in FUNCTIONS:
            node = function.replace(":DC", "[:DC]")
            add(f":MEASure:{node}", query=partial(self._read_function, function), asked=asked)
        add(":TRACe:DATA", query=self._data, asked=(_WHOLE(1), _WHOLE(1), *asked))
        add(":TRACe:CLEar", Text(), optional=1, run=lambda *_: self.taken.clear())
        add(":TRACe:ACTual", query=lambda *_: str(len(self.taken)), asked=(Text(),))
        add(":TRACe:POINts", _WHOLE(1, 7e6), Text(), optional=1, run=self._set_size, query=self._size, asked=(Text(),))
        modes = Choice(("CONTinuous", "ONCE"))
        add(":TRACe:FILL:MODE", modes, Text(), optional=1, run=self._fill, query=self._filled, asked=(Text(),))
        for node, index in (("AVERage", 0), ("MAXimum", 1), ("MINimum", 2), ("STDDev", 3)):
            add(f":TRACe:STATistics:{node}", query=partial(self._statistic, index), asked=(Text(),))
        add(":ABORt", run=lambda: None)
        add(":INITiate[:IMMediate]", run=self._initiate)
        add(":TRIGger:LOAD", Text(), _WHOLE(1), Number(0.0, 1e5, unit="S"), Text(), optional=3, run=self._load)
        add(":TRIGger:STATe", query=lambda: "IDLE;IDLE;0")

    def _system(self) -> None:
        add = self.tree.add
        add("*LANG", Choice(LANGUAGES), run=lambda _: None, query=lambda: self.language)
        self._keep(":FORMat[:DATA]", Choice(("ASCii",)), "ASCii")
        self._keep(":FORMat:ASCii:PRECision", _WHOLE(0, 16, default=0), 0)
        add(":SYSTem:LFRequency", query=lambda: f"{self.world.timing.line_frequency:.0f}")
        add(":SYSTem:CLEar", run=self.errors.clear)
        add(":SYSTem:BEEPer[:IMMediate]", Number(20, 8000), Number(0.001, 100), run=lambda *_: None)
        self._keep(":DISPlay:CURRent[:DC]:DIGits", _WHOLE(3, 6), 5)

    # -- settings that are more than a value

    def next_error(self) -> str:
        """Return an entry of the error queue with its type and time, as these instruments tell it."""
        entry = self.errors.next()
        code, _, text = entry.partition(",")
        kind = 0 if code == "0" else 1
        stamp = "0 0" if kind == 0 else f"2000/01/01 00:{self.world.now % 3600 / 60:02.0f}:00.000"
        return f'{code},"{text.strip(chr(34))};{kind};{stamp}"'

    def _measure(self, name: str) -> None:
        self.smu.set.functions = [function_named(name)]

    def _measured(self) -> str:
        words = {"VOLTage:DC": "VOLT:DC", "CURRent:DC": "CURR:DC", "RESistance": "RES"}
        return f'"{words[self.smu.set.functions[0]]}"'

    def _set_count(self, count: float) -> None:
        self.count = count

    def _set_size(self, points: float, buffer: str = BUFFER) -> None:
        _known(buffer)
        self.size = points
        self.taken.clear()

    def _size(self, buffer: str = BUFFER) -> str:
        _known(buffer)
        return f"{self.size:.0f}"

    def _fill(self, mode: str, buffer: str = BUFFER) -> None:
        _known(buffer)
        self.once = mode == "ONCE"

    def _filled(self, buffer: str = BUFFER) -> str:
        _known(buffer)
        return "ONCE" if self.once else "CONT"

    # -- readings

    def _take(self, times: float) -> None:
        for _ in range(int(times)):
            if self.once and len(self.taken) >= self.size:
                raise ScpiError(4915, "Attempting to store past the capacity of reading buffer")
            self.taken.append(self.smu.take())
        del self.taken[: -int(self.size)]

    def _read(self, buffer: str = BUFFER, *elements: str) -> str:
        _known(buffer)
        self._take(self.count)
        return self._last(buffer, *elements)

    def _read_function(self, function: str, buffer: str = BUFFER, *elements: str) -> str:
        self.smu.set.functions = [function]
        return self._read(buffer, *elements)

    def _last(self, buffer: str = BUFFER, *elements: str) -> str:
        _known(buffer)
        if not self.taken:
            raise ScpiError(-230)
        return _shown(self.taken[-1], elements)

    def _data(self, first: float = 1, last: float = 1, buffer: str = BUFFER, *elements: str) -> str:
        _known(buffer)
        if not 1 <= first <= last <= len(self.taken):
            raise ScpiError(-222)
        return ",".join(_shown(one, elements) for one in self.taken[int(first) - 1 : int(last)])

    def _statistic(self, index: int, buffer: str = BUFFER) -> str:
        _known(buffer)
        values = [one.value for one in self.taken if math.isfinite(one.value)]
        if not values:
            raise ScpiError(-230)
        mean = sum(values) / len(values)
        spread = math.sqrt(sum((value - mean) ** 2 for value in values) / max(1, len(values) - 1))
        return shown((mean, max(values), min(values), spread)[index])

    def _load(self, name: str, count: float = 1, delay: float = 0.0, buffer: str = BUFFER) -> None:
        _known(buffer)
        if name.upper() not in ("SIMPLELOOP", "EMPTY"):
            raise ScpiError(-224)
        self._loop = (count, delay) if name.upper() == "SIMPLELOOP" else None

    def _initiate(self) -> None:
        if self._loop is None:
            raise ScpiError(-213)
        count, delay = self._loop
        for _ in range(int(count)):
            self.world.advance(delay)
            self._take(1)

    def leftovers(self) -> dict[str, Leave]:
        """Return how its state is left, with what is no single setting."""

        def language(rng: Random) -> str:
            self.language = rng.choice(LANGUAGES[1:])
            return self.language

        def function(rng: Random) -> str:
            self._measure(rng.choice(("VOLT", "RES")))
            return self._measured()

        def full(rng: Random) -> str:
            self.once, self.size = True, float(rng.randint(1, 3))
            self.taken = [Taken(0.0, 0.0, 0, 0.0)] * int(self.size)
            return f"{self.size:.0f} readings, full"

        return {**super().leftovers(), "*LANG": language, ":SENS:FUNC": function, ":TRAC": full}


def _known(buffer: str) -> None:
    """Refuse a buffer that there is not."""
    if buffer.lower() not in (BUFFER, "defbuffer2"):
        raise ScpiError(-224)


def _shown(one: Taken, elements: tuple[str, ...]) -> str:
    """Return the elements of a reading as they were asked for; the reading alone if none were."""
    values = {
        "READing": shown(one.value), "SOURce": shown(one.source), "RELative": f"{one.time:.6f}",
        "SOURSTATus": str(one.status),
    }  # fmt: skip
    return ",".join(values[name] for name in elements or ("READing",))


emulate = partial(emulated, K2450)
"""Makes the emulated 2450, 2460 or 2461 of an entry of the bench file."""
