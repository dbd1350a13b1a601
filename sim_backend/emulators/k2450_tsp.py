"""Keithley 2450, 2460 and 2461 SourceMeter set to their command set TSP: its `smu` over the source-measure unit.

Names, enumerations and defaults: reference manuals 2450-901-01 and 2461-901-01, the chapter of TSP commands. Not
emulated: sweeps, configuration lists, the trigger model, limit tests, digital lines, buffers beside defbuffer1 and
defbuffer2. Set to SCPI it does and answers what switches it off: the driver refuses it. Silent there and chosen here:
enumerated values are the texts that they are printed as, and no number is taken for one.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from labctl.core.units import Ampere, Ratio
from sim_backend.emulators.context import EmulatorContext
from sim_backend.emulators.k2450 import LANGUAGES
from sim_backend.emulators.k2450_models import MODELS
from sim_backend.emulators.k2450_smu import Smu2450, Taken
from sim_backend.emulators.leftovers import Leave
from sim_backend.emulators.scpi.errors import ScpiError
from sim_backend.emulators.scpi_smu import CHANNEL
from sim_backend.emulators.tsp.instrument import TspInstrument
from sim_backend.emulators.tsp.vm import Refusal, number
from sim_backend.emulators.world import World

SWITCH = ("smu.OFF", "smu.ON")
FUNCTIONS = {
    "smu.FUNC_DC_VOLTAGE": "VOLTage:DC", "smu.FUNC_DC_CURRENT": "CURRent:DC", "smu.FUNC_RESISTANCE": "RESistance",
}  # fmt: skip
SOURCES = {"smu.FUNC_DC_VOLTAGE": "VOLTage", "smu.FUNC_DC_CURRENT": "CURRent"}
OFF_MODES = {
    "smu.OFFMODE_NORMAL": "NORMal", "smu.OFFMODE_ZERO": "ZERO", "smu.OFFMODE_HIGHZ": "HIMPedance",
    "smu.OFFMODE_GUARD": "GUARd",
}  # fmt: skip
TERMINALS = {"smu.TERMINALS_FRONT": "FRONt", "smu.TERMINALS_REAR": "REAR"}
SENSES = ("smu.SENSE_2WIRE", "smu.SENSE_4WIRE")
FILTERS = {"smu.FILTER_REPEAT_AVG": "REPeat", "smu.FILTER_MOVING_AVG": "MOVing"}
UNITS = {"smu.UNIT_AMP": "AMP", "smu.UNIT_OHM": "OHM", "smu.UNIT_WATT": "WATT"}
FILLS = ("buffer.FILL_CONTINUOUS", "buffer.FILL_ONCE")
ERROR, WARNING, INFO = 1, 2, 4
"""Types of events; all of them are 7."""


class K2450Tsp(TspInstrument):
    """A 2450, 2460 or 2461 that is set to TSP; arguments are those of `K2450`."""

    maker = "KEITHLEY INSTRUMENTS"

    def __init__(
        self, name: str, model: str, world: World, *, wired: str = "FRONt", ideal: bool = True, seed: int = 0,
        offset: Ampere = 0.0, gain: Ratio = 0.0, **options: Any,
    ) -> None:  # fmt: skip
        self.spec = MODELS[model]
        wire = f"{name}.{CHANNEL}"
        self.smu = Smu2450(world, wire, self.spec, wired=wired, ideal=ideal, seed=seed, offset=offset, gain=gain)
        self.language = "TSP"
        self.taken: list[Taken] = []
        """Readings of defbuffer1."""
        self.fill, self.size = FILLS[0], 100_000
        self.count, self.high_capacitance = 1, SWITCH[0]
        super().__init__(name, model, world, serial="04400001", revision="1.7.12b", **options)

    def execute(self, message: str) -> str:
        """Execute one message in the present command set."""
        text = message.strip()
        if text.upper() == "*LANG?":
            return f"{self.language}\n"
        if self.language == "TSP":
            return super().execute(message)
        words = text.upper()
        if words in (":SOUR:VOLT 0", ":SOUR:CURR 0", ":OUTP 0"):
            (self.smu.switch(False) if "OUTP" in words else self._level(0.0))
        elif words == ":OUTP?;:SOUR:VOLT?;:SOUR:CURR?":
            s = self.smu
            return f"{int(s.output)};{s.set.level_v:+.6E};{s.set.level_i:+.6E}\n"
        elif words not in ("", ":ABOR"):
            self.error(-113, "Undefined header")
            return '0,"No error"\n' if words == ":SYST:ERR?" else ""
        return ""

    def outputs(self) -> dict[str, float]:
        """Return the level of the output if it is on, V, or A of one that forces a current."""
        return {CHANNEL: self._present()} if self.smu.output else {}

    def trip(self) -> None:
        """Switch the output off by itself."""
        self.smu.switch(False)

    def power_off(self) -> None:
        """Drive nothing any more."""
        self.world.drive(self.smu.wire, None)

    def seek(self, operation: int) -> None:
        """Set the noise to the number of an operation."""
        self.smu.seek(operation)

    def reset(self) -> None:
        """Switch off and go back to the defaults; the buffer is emptied."""
        self.smu.reset()
        self.taken.clear()
        self.fill, self.size = FILLS[0], 100_000
        self.count, self.high_capacitance = 1, SWITCH[0]
        self.format.reset()

    # -- the tree

    def build(self) -> None:
        """Add `smu`, its buffers, the event log and the timer, and take away what these instruments do not have."""
        lua, names = self.lua, self.lua.globals
        for other in ("errorqueue",):
            names[other] = None
        words = [*SWITCH, *FUNCTIONS, *OFF_MODES, *TERMINALS, *SENSES, *FILTERS, *UNITS, *self._protections()]
        constants: dict[str | int, Any] = {word.removeprefix("smu."): word for word in words}
        terminals = self._named("terminals", TERMINALS)
        names["smu"] = lua.node(
            "smu",
            get={"terminals": terminals[0]},
            set={"terminals": terminals[1]},
            objects={
                **constants,
                "reset": lambda *_: self.reset(),
                "source": self._source(),
                "measure": self._measure(),
                "interlock": lua.node("interlock", get={"tripped": lambda: SWITCH[self.smu.extra.interlock]}),
            },
        )
        names["buffer"] = lua.table({word.removeprefix("buffer."): word for word in FILLS})
        names["defbuffer1"] = names["defbuffer2"] = self._buffer()
        names["eventlog"] = lua.table(
            {
                "SEV_ERROR": ERROR, "SEV_WARN": WARNING, "SEV_INFO": INFO, "SEV_ALL": ERROR | WARNING | INFO,
                "next": lua.function(self._next_event), "getcount": lua.function(lambda *_: len(self.errors)),
                "clear": lua.function(lambda *_: self.errors.clear()),
            }
        )  # fmt: skip
        names["timer"] = lua.table(
            {"cleartime": lua.function(self._timer_reset),
             "gettime": lua.function(lambda *_: self.world.now - self._timer)}
        )  # fmt: skip
        names["localnode"] = lua.node(
            "localnode",
            get={
                "model": lambda: self.model, "serialno": lambda: self.serial, "version": lambda: self.revision,
                "linefreq": lambda: self.world.timing.line_frequency,
                "prompts": lambda: self.prompts, "showevents": lambda: self.showerrors,
            },
            set={
                "prompts": lambda v: setattr(self, "prompts", int(number(v) != 0)),
                "showevents": lambda v: setattr(self, "showerrors", int(number(v)) & ERROR),
            },
            objects={"ENABLE": 1, "DISABLE": 0},
        )  # fmt: skip

    def _next_event(self, *_: Any) -> tuple[Any, ...]:
        if not self.errors:
            return 0, "No error", 0, 0, 0, 0
        code, text, _severity = self.errors.popleft()
        return code, text, ERROR, 0, int(self.world.now), 0

    def _protections(self) -> dict[str, float]:
        return {f"smu.PROTECT_{step:.0f}V": step for step in self.spec.protection} | {"smu.PROTECT_NONE": float("inf")}

    def _source(self) -> Any:
        smu, s = self.smu, self.smu
        lua, steps = self.lua, self._protections()
        get: dict[str, Callable[[], Any]] = {
            "level": self._present,
            "range": lambda: s.set.range_v if s.volts else s.set.range_i,
            "autorange": lambda: SWITCH[s.set.auto_v if s.volts else s.set.auto_i],
            "delay": lambda: s.set.delay,
            "autodelay": lambda: SWITCH[s.set.delay_auto],
            "output": lambda: SWITCH[s.output],
            "readback": lambda: SWITCH[s.extra.readback],
            "highc": lambda: self.high_capacitance,
        }
        put: dict[str, Callable[[Any], None]] = {
            "level": lambda v: self._level(number(v)),
            "range": lambda v: self._try(smu.source_range_v if s.volts else smu.source_range_i, self._amount(v)),
            "autorange": lambda v: setattr(s.set, "auto_v" if s.volts else "auto_i", self._on(v)),
            "delay": lambda v: self._try(smu.delay, self._amount(v, 1e4)),
            "autodelay": lambda v: setattr(s.set, "delay_auto", self._on(v)),
            "output": lambda v: smu.switch(self._on(v)),
            "readback": lambda v: setattr(s.extra, "readback", self._on(v)),
            "highc": lambda v: setattr(self, "high_capacitance", SWITCH[self._on(v)]),
        }
        for name, choices, act in (("func", SOURCES, smu.function), ("offmode", OFF_MODES, None)):
            get[name], put[name] = self._named("func" if act else "off_mode", choices, act)
        protection = {value: word for word, value in steps.items()}

        def limit(volts: bool) -> Any:
            field = "limit_v" if volts else "limit_i"
            most = self.spec.v_max if volts else self.spec.i_max
            write = smu.limit_v if volts else smu.limit_i

            def put_limit(value: Any) -> None:
                wanted = number(value)
                if not (0 if volts else self.spec.least_limit) <= wanted <= most:
                    raise Refusal(1101, "Parameter too big" if wanted > most else "Parameter too small")
                self._try(write, wanted)

            return lua.node(
                "limit",
                get={
                    "level": lambda: getattr(s.set, field),
                    "tripped": lambda: None if volts == s.volts else SWITCH[self._limited()],
                },
                set={"level": put_limit},
            )

        protect = lua.node(
            "protect",
            get={"level": lambda: protection[s.set.protection]},
            set={"level": lambda v: smu.protect_at(steps[self._word(v, list(steps))])},
        )
        objects: dict[str | int, Any] = {"ilimit": limit(False), "vlimit": limit(True), "protect": protect}
        return lua.node("smu_source", get=get, set=put, objects=objects)

    def _measure(self) -> Any:
        s, lua = self.smu, self.lua
        get: dict[str, Callable[[], Any]] = {
            "func": lambda: next(word for word, name in FUNCTIONS.items() if name == s.set.functions[0]),
            "sense": lambda: SENSES[s.set.remote],
            "range": lambda: s.set.measure_i,
            "autorange": lambda: SWITCH[s.set.measure_auto_i],
            "nplc": lambda: s.set.nplc,
            "count": lambda: self.count,
        }
        put: dict[str, Callable[[Any], None]] = {
            "func": lambda v: setattr(s.set, "functions", [FUNCTIONS[self._word(v, list(FUNCTIONS))]]),
            "sense": lambda v: setattr(s.set, "remote", self._word(v, SENSES) == SENSES[1]),
            "range": lambda v: self._try(s.measure_range_i, self._amount(v, self.spec.i_max)),
            "autorange": lambda v: setattr(s.set, "measure_auto_i", self._on(v)),
            "nplc": lambda v: setattr(s.set, "nplc", self._amount(v, 10.0, 0.01)),
            "count": lambda v: setattr(self, "count", int(self._amount(v, 300_000, 1))),
        }
        get["unit"], put["unit"] = self._named("unit", UNITS, holder=lambda: s.extra)
        kind = self._named("average_type", FILTERS)
        switches = {
            "autozero": ("zero", s, {}), "filter": ("average", s, {"type": kind}), "rel": ("rel", None, {}),
            "math": ("math", None, {}),
        }  # fmt: skip
        objects: dict[str | int, Any] = {"read": self._read}
        for name, (field, of_set, more) in switches.items():
            holder = (lambda: s.set) if of_set is not None else (lambda: s.extra)
            objects[name] = lua.node(
                f"measure_{name}",
                get={"enable": lambda f=field, h=holder: SWITCH[getattr(h(), f)]}
                | {key: pair[0] for key, pair in more.items()},
                set={"enable": lambda v, f=field, h=holder: setattr(h(), f, self._on(v))}
                | {key: pair[1] for key, pair in more.items()},
            )
        return lua.node("smu_measure", get=get, set=put, objects=objects)

    def _buffer(self) -> Any:
        def column(name: str) -> Any:
            def at(index: Any) -> Any:
                i = int(number(index))
                return getattr(self.taken[i - 1], name) if 1 <= i <= len(self.taken) else None

            return self.lua.node("buffer_column", index=at)

        return self.lua.node(
            "reading_buffer",
            get={"n": lambda: len(self.taken), "capacity": lambda: self.size, "fillmode": lambda: self.fill},
            set={
                "fillmode": lambda v: setattr(self, "fill", self._word(v, FILLS)),
                "capacity": lambda v: setattr(self, "size", int(self._amount(v, 7e6, 1))),
            },
            objects={
                "clear": lambda *_: self.taken.clear(),
                "readings": column("value"), "sourcevalues": column("source"), "statuses": column("status"),
            },
        )  # fmt: skip

    # -- values

    def _read(self, *_: Any) -> float:
        for _k in range(self.count):
            if self.fill == FILLS[1] and len(self.taken) >= self.size:
                raise Refusal(4915, "Attempting to store past the capacity of reading buffer")
            try:
                self.taken.append(self.smu.take())
            except ScpiError as error:
                raise Refusal(error.code, error.text) from error
        del self.taken[: -self.size]
        value = self.taken[-1].value
        return value if abs(value) < 9e37 else 9.9e37

    def _limited(self) -> bool:
        """Return whether the source is at its limit now."""
        return self.smu.output and self.world.observe(self.smu.wire).limited

    def _present(self) -> float:
        return self.smu.set.level_v if self.smu.volts else self.smu.set.level_i

    def _level(self, value: float) -> None:
        most = self.spec.v_max if self.smu.volts else self.spec.i_max
        if not abs(value) <= most:
            raise Refusal(1101, "Parameter too big")
        self._try(self.smu.level_v if self.smu.volts else self.smu.level_i, value)

    def _try(self, write: Callable[[float], None], value: float) -> None:
        """Carry out a command of the unit; what that refuses is an event here."""
        try:
            write(value)
        except ScpiError as error:
            raise Refusal(error.code, error.text) from error

    @staticmethod
    def _amount(value: Any, most: float = 1e3, least: float = 0.0) -> float:
        wanted = number(value)
        if not least <= wanted <= most:
            raise Refusal(1101, "Parameter too big" if wanted > most else "Parameter too small")
        return wanted

    @staticmethod
    def _word(value: Any, words: Sequence[str]) -> str:
        """Return an enumerated value; its number is refused."""
        if isinstance(value, str) and value in words:
            return value
        raise Refusal(1130, "Parameter error, unknown value")

    def _on(self, value: Any) -> bool:
        return self._word(value, SWITCH) == SWITCH[1]

    def _named(
        self,
        field: str,
        words: dict[str, str],
        act: Callable[[str], None] | None = None,
        holder: Callable[[], Any] | None = None,
    ) -> tuple[Callable[[], Any], Callable[[Any], None]]:
        """Return getter and setter of a setting that has a word of its own here."""
        of = holder or (lambda: self.smu.set)
        back = {value: word for word, value in words.items()}

        def put(value: Any) -> None:
            chosen = words[self._word(value, list(words))]
            if act is None:
                setattr(of(), field, chosen)
                self.smu.apply()
            else:
                act(chosen)

        return lambda: back[getattr(of(), field)], put

    def leftovers(self) -> dict[str, Leave]:
        """Return how its state is left, with the command set and a buffer that is full."""

        def language(rng: Random) -> str:
            self.language = rng.choice([language for language in LANGUAGES if language != "TSP"])
            return self.language

        def full(rng: Random) -> str:
            self.fill, self.size = FILLS[1], rng.randint(1, 3)
            self.taken = [Taken(0.0, 0.0, 0, 0.0)] * self.size
            return f"{self.size} readings, full"

        return {**super().leftovers(), "*LANG": language, "defbuffer1": full}


def emulate(name: str, options: Any, context: EmulatorContext) -> K2450Tsp:
    """Return the emulated 2450, 2460 or 2461 of an entry of the bench file; its options give model and terminals."""
    return K2450Tsp(
        name,
        options.model,
        context.world,
        wired="REAR" if options.terminals == "rear" else "FRONt",
        ideal=context.ideal,
        seed=context.seed,
        offset=context.offset,
        gain=context.gain,
    )
