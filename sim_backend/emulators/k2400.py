"""Keithley Series 2400 SourceMeter over SCPI: its commands over source-measure unit and trigger model.

Names, defaults, errors: 2400 Series user's manual (2400S-900-01 Rev. K): signal oriented commands chapter 17, command
reference chapter 18, status chapter 15, errors appendix B. Not emulated, and refused with -113: limit tests and digital
output (:CALCulate2:LIMit, :SOURce2), math expressions, source memory, sweeps by start and stop, contact check.
One module, because it is one table of commands.
"""

import math
from functools import partial
from random import Random
from typing import Any

from labctl.core.units import Ampere, Ratio
from sim_backend.emulators.k2400_models import FULL, model_named
from sim_backend.emulators.k2400_smu import Reading, Smu
from sim_backend.emulators.k2400_trigger import ARM, MOST, TRIGGER, TriggerModel
from sim_backend.emulators.leftovers import Leave
from sim_backend.emulators.registers import Register
from sim_backend.emulators.scpi.errors import ScpiError
from sim_backend.emulators.scpi.parameters import Boolean, Choice, Number, Text, short, shown
from sim_backend.emulators.scpi_smu import CHANNEL, FUNCTIONS, ScpiSmu, emulated, function_named
from sim_backend.emulators.world import World

MOST_LEVELS = 100
"""Levels in one list command."""
ELEMENTS = ("VOLTage", "CURRent", "RESistance", "TIME", "STATus")
"""Data elements in the order in which they are sent, whatever order they were asked for in."""
_ON = Boolean()
_WHOLE = partial(Number, whole=True)


class K2400(ScpiSmu):
    """A Series 2400 SourceMeter.

    Args:
        model: `2400` to `2440`.
        wired: terminals that the cables are on, `FRONt` or `REAR`.
        ideal: no noise, no programming steps, no resolution.
        offset: zero-bias error of the ammeter, A.
        gain: error of the gain of each quantity and range, standard deviation of its logarithm.
    """

    maker = "KEITHLEY INSTRUMENTS INC."

    def __init__(
        self, name: str, model: str, world: World, *, wired: str = "FRONt", ideal: bool = True, seed: int = 0,
        offset: Ampere = 0.0, gain: Ratio = 0.0,
    ) -> None:  # fmt: skip
        self.spec = model_named(model)
        wire = f"{name}.{CHANNEL}"
        smu = Smu(world, wire, self.spec, wired=wired, ideal=ideal, seed=seed, offset=offset, gain=gain)
        self.triggers = TriggerModel(smu)
        self.elements = list(ELEMENTS)
        revision = "C34 Sep 21 2016 15:30:00/A02  /L/M"
        super().__init__(name, model, world, smu, serial="1400001", revision=revision, queue=32)

    def reset(self) -> None:
        """Switch off and go back to the defaults, as `*RST` does."""
        self.smu.reset()
        self.triggers.reset()
        self.elements = list(ELEMENTS)
        self._kept.clear()

    def interrupt(self) -> None:
        """End the operation that runs."""
        self.triggers.ended = True

    def device_clear(self) -> None:
        """Go to the idle state; level and output stay as they are."""
        self.triggers.ended = False

    def build_registers(self) -> dict[str, Register]:
        """Return the registers; that of the measurement has compliance, output enable and buffer."""

        def bits() -> int:
            taken, points = self.triggers.taken, len(self.triggers.stored)
            over = bool(taken) and bool(taken[-1].status & 1)
            full = points >= self.triggers.points
            on = {6: bool(taken), 7: over, 8: points >= 2, 9: full, 11: self.smu.enabled, 14: self._limited()}
            return sum(1 << bit for bit, present in on.items() if present)

        return {**super().build_registers(), "MEASurement": Register(bits), "OPERation": Register(lambda: 1 << 10)}

    # -- commands

    def build(self) -> None:
        """Add the commands."""
        self._output()
        self._source()
        self._sense()
        self._trigger()
        self._data()
        self._system()

    def _output(self) -> None:
        smu = self.smu
        self.setting(":OUTPut[1][:STATe]", _ON, lambda: smu.output, smu.switch)
        self._field(":OUTPut[1]:ENABle[:STATe]", _ON, "enable")
        self.tree.add(":OUTPut[1]:ENABle:TRIPped", query=lambda: str(int(smu.enabled)))
        self._field(":OUTPut[1]:SMODe", Choice(("HIMPedance", "NORMal", "ZERO", "GUARd")), "off_mode")
        self._field(":ROUTe:TERMinals", Choice(("FRONt", "REAR")), "terminals")
        self.tree.add(":SOURce[1]:CLEar[:IMMediate]", run=lambda: smu.switch(False))
        self._field(":SOURce[1]:CLEar:AUTO", _ON, "clear_auto")
        self._field(":SOURce[1]:CLEar:AUTO:MODE", Choice(("ALWays", "TCOunt")), "clear_mode")

    def _source(self) -> None:
        smu, m, path = self.smu, self.spec, ":SOURce[1]"
        volts = Number(-m.v_max, m.v_max, default=0.0, unit="V")
        amps = Number(-m.i_max, m.i_max, default=0.0, unit="A")
        level = "[:LEVel][:IMMediate][:AMPLitude]"
        functions, modes = Choice(("VOLTage", "CURRent")), Choice(("FIXed", "LIST", "SWEep"))
        self.setting(f"{path}:FUNCtion[:MODE]", functions, lambda: smu.set.func, smu.function)
        for node in ("VOLTage", "CURRent"):
            self.setting(f"{path}:{node}:MODE", modes, lambda: smu.set.mode, smu.mode)
        self.setting(f"{path}:VOLTage{level}", volts, lambda: smu.set.level_v, smu.level_v)
        self.setting(f"{path}:CURRent{level}", amps, lambda: smu.set.level_i, smu.level_i)
        self.setting(f"{path}:VOLTage:RANGe", volts, lambda: FULL * smu.set.range_v, smu.source_range_v)
        self.setting(f"{path}:CURRent:RANGe", amps, lambda: FULL * smu.set.range_i, smu.source_range_i)
        self._field(f"{path}:VOLTage:RANGe:AUTO", _ON, "auto_v")
        self._field(f"{path}:CURRent:RANGe:AUTO", _ON, "auto_i")
        limit = Number(-m.v_max, m.v_max, default=m.v_max, unit="V")
        self.setting(f"{path}:VOLTage:PROTection[:LEVel]", limit, self._protection, smu.protect)
        delay = Number(0.0, 9999.999, default=0.0, unit="S")
        self.setting(f"{path}:DELay", delay, lambda: smu.set.delay, smu.delay)
        self._field(f"{path}:DELay:AUTO", _ON, "delay_auto")
        self.tree.add(f"{path}:LIST:VOLTage", volts, rest=True, run=self._list, query=self._listed)
        self.tree.add(f"{path}:LIST:VOLTage:APPend", volts, rest=True, run=self._append)
        self.tree.add(f"{path}:LIST:VOLTage:POINts", query=lambda: str(len(self.triggers.levels)))
        self._field(f"{path}:SWEep:RANGing", Choice(("BEST", "AUTO", "FIXed")), "list_range")
        self._field(f"{path}:SWEep:CABort", Choice(("NEVer", "EARLy", "LATE")), "abort")

    def _sense(self) -> None:
        smu, m, path, add = self.smu, self.spec, "[:SENSe[1]]", self.tree.add
        amps = Number(-m.i_max, m.i_max, default=1.05e-4, unit="A")
        volts = Number(-m.v_max, m.v_max, default=21.0, unit="V")
        for node, limit, limited, ranged, measured in (
            ("CURRent", amps, smu.limit_i, smu.measure_range_i, "i"),
            ("VOLTage", volts, smu.limit_v, smu.measure_range_v, "v"),
        ):
            of = f"{path}:{node}[:DC]"
            self.setting(f"{of}:PROTection[:LEVel]", limit, partial(self._of_smu, f"limit_{measured}"), limited)
            self._field(f"{of}:PROTection:RSYNchronize", _ON, "synchronised")
            add(f"{of}:PROTection:TRIPped", query=partial(self._tripped, measured == "i"))
            self._field(f"{of}:NPLCycles", Number(0.01, 10.0, default=1.0), "nplc")
            self.setting(f"{of}:RANGe[:UPPer]", limit, partial(self._full, f"measure_{measured}"), ranged)
            self._field(f"{of}:RANGe:AUTO", _ON, f"measure_auto_{measured}")
        self._field(f"{path}:RESistance:NPLCycles", Number(0.01, 10.0, default=1.0), "nplc")
        self._keep(f"{path}:RESistance:MODE", Choice(("MANual", "AUTO")), "MANual")
        self._keep(f"{path}:RESistance:RANGe[:UPPer]", Number(0.0, 2.1e8, default=2.1e5, unit="OHM"), 2.1e5)
        self._keep(f"{path}:RESistance:RANGe:AUTO", _ON, True)
        self._field(f"{path}:AVERage[:STATe]", _ON, "average")
        self._field(f"{path}:AVERage:COUNt", _WHOLE(1, 100, default=10), "average_count")
        self._field(f"{path}:AVERage:TCONtrol", Choice(("REPeat", "MOVing")), "average_type")
        self._field(f"{path}:FUNCtion:CONCurrent", _ON, "concurrent")
        add(f"{path}:FUNCtion[:ON]", Text(), rest=True, run=self._measure, query=self._measured)
        add(f"{path}:FUNCtion[:ON]:ALL", run=lambda: self._measure(*FUNCTIONS))
        add(f"{path}:FUNCtion:OFF", Text(), rest=True, run=self._leave_out)
        add(f"{path}:FUNCtion:OFF:ALL", run=lambda: self._leave_out(*FUNCTIONS))

    def _trigger(self) -> None:
        add, triggers = self.tree.add, self.triggers
        add(":ABORt", run=lambda: None)
        add(":INITiate[:IMMediate]", run=triggers.initiate)
        add(":READ", query=lambda: self._answer_with(triggers.initiate()))
        add(":FETCh", query=lambda: self._answer_with(triggers.taken))
        add(":MEASure", query=self._one_shot)
        add(":CONFigure", query=self._measured)
        for function in FUNCTIONS:
            node = function.replace(":DC", "[:DC]")
            add(f":MEASure:{node}", query=partial(self._one_shot, function))
            add(f":CONFigure:{node}", run=partial(triggers.configure, function))
        arm, trigger = ":ARM[:SEQuence[1]][:LAYer[1]]", ":TRIGger[:SEQuence[1]]"
        events = ("IMMediate", "TLINk", "TIMer", "MANual", "BUS", "NSTest", "PSTest", "BSTest")
        endless = {"INFinity": math.inf}
        for path, layer, counts, sources, outputs in (
            (arm, ARM, _WHOLE(1, math.inf, default=1, words=endless), events, ("TENTer", "TEXit", "NONE")),
            (trigger, TRIGGER, _WHOLE(1, MOST, default=1), events[:2], ("SOURce", "DELay", "SENSe", "NONE")),
        ):
            self.setting(f"{path}:COUNt", counts, partial(self._count, layer), partial(triggers.count, layer))
            self.setting(
                f"{path}:SOURce", Choice(sources), partial(self._event, layer), partial(self._set_event, layer)
            )
            self._keep(f"{path}:DIRection", Choice(("SOURce", "ACCeptor")), "ACCeptor")
            self._keep(f"{path}:OUTPut", Choice(outputs), "NONE")
            self._keep(f"{path}:ILINe", _WHOLE(1, 4), 1)
            self._keep(f"{path}:OLINe", _WHOLE(1, 4), 2)
        self._keep(f"{arm}:TIMer", Number(1e-3, 99999.99, default=0.1, unit="S"), 0.1)
        self._field(f"{trigger}:DELay", Number(0.0, 999.9999, default=0.0, unit="S"), "delay", lambda: triggers)
        add(":TRIGger:CLEar", run=lambda: None)

    def _data(self) -> None:
        add, triggers = self.tree.add, self.triggers
        add(":FORMat:ELEMents[:SENSe[1]]", Choice(ELEMENTS), rest=True, run=self._choose, query=self._chosen)
        self._keep(":FORMat[:DATA]", Choice(("ASCii",)), "ASCii")
        self._keep(":FORMat:BORDer", Choice(("NORMal", "SWAPped")), "NORMal")
        add(":TRACe:DATA", query=lambda: self._answer_with(triggers.stored))
        add(":TRACe:CLEar", run=triggers.stored.clear)
        self.setting(":TRACe:POINts", _WHOLE(1, MOST, default=100), lambda: triggers.points, triggers.size)
        add(":TRACe:POINts:ACTual", query=lambda: str(len(triggers.stored)))
        self._keep(":TRACe:FEED", Choice(("SENSe", "SENSe1")), "SENSe")
        controls = Choice(("NEXT", "NEVer"))
        self.setting(":TRACe:FEED:CONTrol", controls, lambda: triggers.control, triggers.store)
        self._keep(":TRACe:TSTamp:FORMat", Choice(("ABSolute", "DELTa")), "ABSolute")
        kinds = Choice(("MEAN", "SDEViation", "MAXimum", "MINimum", "PKPK"))
        self._field(":CALCulate3:FORMat", kinds, "statistic", lambda: triggers)
        add(":CALCulate3:DATA", query=lambda: ",".join(map(shown, triggers.statistics())))
        self._keep(":CALCulate1:STATe", _ON, False)
        self._keep(":CALCulate2:NULL:STATe", _ON, False)
        self._keep(":CALCulate2:NULL:OFFSet", Number(-9.999999e20, 9.999999e20, default=0.0), 0.0)

    def _system(self) -> None:
        add, smu = self.tree.add, self.smu
        self._field(":SYSTem:RSENse", _ON, "remote")
        self.setting(":SYSTem:AZERo[:STATe]", Boolean(("ONCE",)), lambda: smu.set.zero, self._zero)
        self._keep(":SYSTem:AZERo:CACHing[:STATe]", _ON, True)
        self._keep(":SYSTem:GUARd", Choice(("OHMS", "CABLe")), "CABLe")
        self._keep(":SYSTem:RCMode", Choice(("SINGle", "MULTiple")), "SINGle")
        self._keep(":SYSTem:BEEPer:STATe", _ON, True)
        add(":SYSTem:BEEPer[:IMMediate]", Number(65, 2e6), Number(0, 7.9), optional=2, run=lambda *_: None)
        self.setting(":SYSTem:LFRequency", _WHOLE(50, 60), lambda: smu.frequency, self._mains)
        self.setting(":SYSTem:LFRequency:AUTO", _ON, lambda: smu.detects, self._detect)
        add(":SYSTem:PRESet", run=self.reset)
        add(":SYSTem:TIME", query=lambda: f"{self.world.now:.3f}")
        add(":SYSTem:CLEar", run=self.errors.clear)
        add(":SYSTem:LOCal", run=lambda: smu.mode("FIXed"))
        add(":SYSTem:REMote", run=lambda: None)
        self._keep(":SYSTem:RWLock", _ON, False)
        add(":STATus:QUEue[:NEXT]", query=self.errors.next)
        add(":STATus:QUEue:CLEar", run=self.errors.clear)
        self._keep(":DISPlay:ENABle", _ON, True)
        self._keep(":DISPlay:DIGits", _WHOLE(4, 7, default=6), 6)
        for window, most in ((1, 20), (2, 32)):
            self._keep(f":DISPlay:WINDow{window}:TEXT[:DATA]", Text(most), "")
            self._keep(f":DISPlay:WINDow{window}:TEXT:STATe", _ON, False)

    # -- settings that are more than a value

    def _of_smu(self, name: str) -> Any:
        return getattr(self.smu.set, name)

    def _full(self, name: str) -> float:
        """Return a range as it is answered, with what lies above it."""
        return FULL * float(self._of_smu(name))

    def _protection(self) -> float:
        return min(self.smu.set.protection, self.spec.v_max)

    def _list(self, *levels: float) -> None:
        if len(levels) > MOST_LEVELS:
            raise ScpiError(-223)
        self.triggers.levels = list(levels)

    def _append(self, *levels: float) -> None:
        if len(levels) > MOST_LEVELS or len(self.triggers.levels) + len(levels) > MOST:
            raise ScpiError(-223)
        self.triggers.levels += levels

    def _listed(self) -> str:
        return ",".join(map(shown, self.triggers.levels))

    def _measure(self, *names: str) -> None:
        """Switch measure functions on; without concurrency the last one is the only one."""
        wanted, s = [function_named(name) for name in names], self.smu.set
        s.functions = [f for f in FUNCTIONS if f in (*s.functions, *wanted)] if s.concurrent else wanted[-1:]

    def _leave_out(self, *names: str) -> None:
        others = [function_named(name) for name in names]
        self.smu.set.functions = [function for function in self.smu.set.functions if function not in others]

    def _measured(self) -> str:
        return ",".join(f'"{short(name)}"' for name in self.smu.set.functions) or '""'

    def _zero(self, state: Any) -> None:
        if state != "ONCE":
            self.smu.set.zero = state

    def _mains(self, frequency: float) -> None:
        self.smu.frequency, self.smu.detects = 50.0 if frequency < 55 else 60.0, False

    def _detect(self, on: bool) -> None:
        self.smu.detects = on
        if on:
            self.smu.frequency = self.world.timing.line_frequency

    def _count(self, layer: str) -> float:
        return self.triggers.counts[layer]

    def _event(self, layer: str) -> str:
        return self.triggers.sources[layer]

    def _set_event(self, layer: str, source: str) -> None:
        self.triggers.sources[layer] = source

    def _choose(self, *names: str) -> None:
        self.elements = [name for name in ELEMENTS if name in names]

    def _chosen(self) -> str:
        return ",".join(map(short, self.elements))

    # -- readings

    def _one_shot(self, function: str | None = None) -> str:
        if function is None:
            self.triggers.on()
        else:
            self.triggers.configure(function)
        return self._answer_with(self.triggers.initiate())

    def _answer_with(self, readings: list[Reading]) -> str:
        """Return readings as a response; -230 if there are none."""
        if not readings:
            raise ScpiError(-230)
        return ",".join(self._shown(reading) for reading in readings)

    def _shown(self, reading: Reading) -> str:
        values = (reading.volts, reading.amps, reading.ohms, reading.time, float(reading.status))
        return ",".join(shown(value) for name, value in zip(ELEMENTS, values, strict=True) if name in self.elements)

    def leftovers(self) -> dict[str, Leave]:
        """Return how its state is left, with what is no single setting."""

        def elements(rng: Random) -> str:
            self._choose(*rng.sample(ELEMENTS, rng.randint(1, 4)))
            return self._chosen()

        def functions(rng: Random) -> str:
            self.smu.set.functions = [function for function in FUNCTIONS if rng.random() < 0.5]
            return self._measured()

        def levels(rng: Random) -> str:
            self.triggers.levels = [rng.uniform(-1, 1) for _ in range(rng.randint(1, 9))]
            return self._listed()

        return {**super().leftovers(), ":FORM:ELEM": elements, ":SENS:FUNC": functions, ":SOUR:LIST:VOLT": levels}


emulate = partial(emulated, K2400)
"""Makes the emulated Series 2400 of an entry of the bench file."""
