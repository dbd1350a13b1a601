"""Common part of TSP instruments: messages, scripts, common commands, the error queue and their Lua.

Dialect: Series 2600B and 707B/708B reference manuals. A message is a chunk of Lua; `loadscript`/`loadandrunscript`
collect the lines up to `endscript`; common commands (`*IDN?`) are separate messages, in any case. One
module of 320 lines: every part writes to the same output and error queues.
"""

from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

from sim_backend.emulators.leftovers import ERRORS, IDENTITIES, Leave, at_attribute
from sim_backend.emulators.link import Instrument
from sim_backend.emulators.registers import Register
from sim_backend.emulators.scpi.errors import ScpiError
from sim_backend.emulators.scpi.message import units
from sim_backend.emulators.scpi.parameters import Number
from sim_backend.emulators.tsp.bits import OPERATORS, bit_library
from sim_backend.emulators.tsp.formats import Format
from sim_backend.emulators.tsp.link import LinkPort
from sim_backend.emulators.tsp.no_drive import drive_objects
from sim_backend.emulators.tsp.status import register_node
from sim_backend.emulators.tsp.translate import TspSyntaxError
from sim_backend.emulators.tsp.vm import Fatal, Lua, LuaError, Refusal, number
from sim_backend.emulators.world import World

QUEUE = 32
MOST = 1 << 20
"""Longest script that is loaded, characters."""
MOST_OUT = 16 << 20
"""Longest reply of one message, characters."""
_BYTE = Number(0, 255, whole=True)
_OPC, _QYE, _DDE, _EXE, _CME = 1, 4, 8, 16, 32
_EAV, _MSB, _SSB, _ESB, _MSS, _OSB = 4, 1, 2, 32, 64, 128


class TspInstrument(Instrument):
    """A TSP instrument; subclasses add their objects in `build`.

    Args:
        serial: serial number of `*IDN?`.
        revision: firmware of `*IDN?`.
    """

    maker = "Keithley Instruments Inc."

    def __init__(
        self, name: str, model: str, world: World, *, serial: str = "4000001", revision: str = "3.2.2",
        instructions: int = 20_000_000, seconds: float = 20.0, command: float = 120.0,
    ) -> None:  # fmt: skip
        super().__init__(name, model, world)
        self.serial, self.revision = serial, revision
        self.errors: deque[tuple[int, str, int]] = deque()
        self.format = Format()
        self.prompts, self.showerrors = 0, 0
        self.identity = IDENTITIES[0]
        """Form of the reply to `*IDN?`."""
        self.link = LinkPort(name, world, self.error)
        self._out: list[str] = []
        self._out_size = 0
        self._script: tuple[str, bool, list[str]] | None = None
        self._script_size = 0
        self._timer = 0.0
        self.lua = Lua(
            self._on_refusal,
            OPERATORS,
            instructions=instructions,
            seconds=seconds,
            command=command,
            pause=self._let_others_in,
        )
        self.standard = Register(lambda: 0)
        self.registers = self.build_registers()
        self.request_enable = 0
        self._build()
        self.build()

    @abstractmethod
    def build(self) -> None:
        """Add the objects of the model to `self.lua`."""

    @abstractmethod
    def reset(self) -> None:
        """Go back to the defaults, as `reset()` and `*RST` do."""

    def build_registers(self) -> dict[str, Register]:
        """Return the status registers of the model by name."""
        return {name: Register(lambda: 0) for name in ("measurement", "operation", "questionable", "system")}

    # -- messages

    def execute(self, message: str) -> str:
        """Execute one message: a line of a script being loaded, a common command or a chunk."""
        self._out, self._out_size = [], 0
        line = message.strip(" \t\r\0")
        word = line.split(None, 1)[0].lower() if line else ""
        if self.link.master is not None and word not in ("abort", ""):
            self.world.note("subordinate commanded", f"{self.name}, of which {self.link.master} is master: {line[:40]}")
        if self._script is not None and word != "abort":
            self._collect(message, word)
        elif word in ("loadscript", "loadandrunscript"):
            self._script, self._script_size = (line[len(word) :].strip(), word == "loadandrunscript", []), 0
        elif word == "endscript":
            self.error(-285, "TSP Syntax error at line 1: unexpected symbol near `endscript'")
        elif word == "abort":
            self.device_clear()
        elif word.startswith("*"):
            self._common(line)
        elif line:
            self._chunk(line)
        if self.showerrors:
            while self.errors:
                code, text, severity = self.errors.popleft()
                self._out.append(f"{code}\t{text}\t{severity}\t1\n")
        if self.prompts and self._script is None:
            self._out.append("TSP?\n" if self.errors else "TSP>\n")
        return "".join(self._out)

    def ends_busy(self, line: bytes) -> bool:
        """Return whether a message is `abort`, the only one that a running script accepts."""
        return line.strip().lower() == b"abort"

    def device_clear(self) -> None:
        """Drop the script being loaded and the output; levels and outputs stay as they are."""
        self._script = None
        self._out = []
        self.lua.abort = False
        self.link.dissolve()
        self.link.master = None  # [?] of a subordinate too, whose master may be dead

    def hang_up(self) -> None:
        """Drop a partly loaded script, or the messages of the next connection would be taken for its rest."""
        self._script = None

    def interrupt(self) -> None:
        """End the running script, and those that come before the device clear, at their next instruction count."""
        self.lua.abort = True

    def _collect(self, message: str, word: str) -> None:
        assert self._script is not None
        name, run, lines = self._script
        if word != "endscript":
            self._script_size += len(message)
            if self._script_size <= MOST:
                lines.append(message.rstrip("\r"))
            return
        self._script = None
        if self._script_size > MOST:
            self.error(-285, "TSP Syntax error at line 1: the script is too long")
            return
        source = "\n".join(lines)
        chunk = self._compile(source)
        if chunk is not None:
            self._keep(name, source, chunk)
            if run:
                self._run(chunk)

    def _keep(self, name: str, source: str, chunk: Any) -> Any:
        """Store a script under its name, or as the anonymous one; return its table."""
        lua = self.lua
        content = {
            "name": name, "source": source, "run": chunk,
            "save": lua.function(lambda *_: None), "list": lua.function(lambda *_: self.write_out(source + "\n")),
        }  # fmt: skip
        script = lua.script(content, chunk)
        if name:
            lua.globals[name] = script
            self._users[name] = script
        else:
            self._scripts["anonymous"], self._scripts["run"] = script, chunk
        return script

    def _new_script(self, source: Any, name: Any = "") -> Any:
        chunk = self._compile(str(source))
        return None if chunk is None else self._keep(str(name), str(source), chunk)

    def _delete_script(self, name: Any) -> None:
        if self._users[str(name)] is None:
            raise Refusal(-292, "Referenced name does not exist")
        self._users[str(name)] = None

    def _compile(self, source: str) -> Any:
        return self._compiled(self.lua.compile, source)

    def _compiled(self, compiler: Callable[[str], Any], source: str) -> Any:
        """Return what `compiler` makes of a chunk, None behind an entry in the error queue if it does not parse."""
        try:
            return compiler(source)
        except TspSyntaxError as error:
            self.error(-285, f"TSP Syntax error {error}")
            return None

    def _chunk(self, source: str) -> None:
        chunk = self._compiled(self.lua.message, source)
        if chunk is not None:
            self._run(chunk)

    def _run(self, chunk: Any) -> None:
        self.world.go_on = self._go_on
        try:
            self.lua.run(chunk)
        except LuaError as error:
            self.error(-286, f"TSP Runtime error {error}")
        finally:
            self.world.go_on = None

    def _let_others_in(self) -> None:
        """Let messages to other instruments in between two instructions of a script, as on a bench."""
        self.world.go_on = None
        self.world.lock.let_others_in()
        self.world.go_on = self._go_on

    def _go_on(self) -> None:
        """Let others in, and end a command whose script was aborted, or which has taken too much time."""
        if self.world.lock.awaited:
            self._let_others_in()
        if reason := self.lua.ends_command:
            raise Fatal(reason)

    def _common(self, line: str) -> None:
        command, value = _common_command(line)
        queries: dict[str, Callable[[], str]] = {
            "*idn?": lambda: self.identity.format(
                maker=self.maker, model=self.model, serial=self.serial, revision=self.revision
            ),
            "*opc?": lambda: "1",
            "*tst?": lambda: "0",
            "*esr?": lambda: str(self.standard.event()),
            "*ese?": lambda: str(self.standard.enable),
            "*sre?": lambda: str(self.request_enable),
            "*stb?": lambda: str(self.status_byte),
        }
        actions: dict[str, Callable[[], None]] = {
            "*rst": self.reset,
            "*cls": self.clear_status,
            "*opc": lambda: self.standard.latch(_OPC),
            "*wai": lambda: None,
            "*trg": self._triggered,
        }
        if command in queries:
            self._out.append(queries[command]() + "\n")
        elif command in actions:
            actions[command]()
        elif command == "*ese" and value is not None:
            self.standard.enable = value
        elif command == "*sre" and value is not None:
            self.request_enable = value
        else:
            self.error(-285, f"TSP Syntax error at line 1: unexpected symbol near `{line[:20]}'")

    def _triggered(self) -> None:
        """Process a `*TRG` as a command that can be aborted and is bounded."""
        self.lua.begin_command()
        self.world.go_on = self._go_on
        try:
            self.trigger()
        except Fatal as error:
            self.error(-286, f"TSP Runtime error at line 1: {error}")
        finally:
            self.world.go_on = None

    def trigger(self) -> None:
        """Process a `*TRG`; nothing waits for it here."""

    def clear_status(self) -> None:
        """Empty the error queue and the event registers."""
        self.errors.clear()
        self.standard.clear()
        for register in self.registers.values():
            register.clear()

    @property
    def status_byte(self) -> int:
        """IEEE 488.2 status byte without MAV."""
        names = {"measurement": _MSB, "system": _SSB, "questionable": 8, "operation": _OSB}
        byte = sum(bit for name, bit in names.items() if name in self.registers and self.registers[name].summary)
        byte |= (_EAV if self.errors else 0) | (_ESB if self.standard.summary else 0)
        return byte | (_MSS if byte & self.request_enable else 0)

    # -- errors

    def error(self, code: int, text: str, severity: int = 20) -> None:
        """Add an entry to the error queue and record it."""
        self.refuse(f"{code} {text}")
        self.standard.latch(_CME if -200 < code <= -100 or code == -285 else _EXE if code != -350 else _DDE)
        if len(self.errors) >= QUEUE:
            self.errors[-1] = (-350, "Queue overflow", 30)
        else:
            self.errors.append((code, text, severity))

    def _on_refusal(self, refusal: Refusal) -> None:
        self.error(refusal.code, refusal.message, refusal.severity)

    def _next_error(self, *_: Any) -> tuple[Any, ...]:
        code, text, severity = self.errors.popleft() if self.errors else (0, "Queue Is Empty", 0)
        return code, text, severity, 1

    # -- objects

    def write_out(self, text: str) -> None:
        """Append text to the output queue; Fatal if a script writes more than it takes."""
        self._out_size += len(text)
        if self._out_size > MOST_OUT:
            raise Fatal("output queue is full")
        self._out.append(text)

    def delay(self, seconds: Any) -> None:
        """Let time pass."""
        wait = number(seconds)
        if not 0 <= wait <= 100_000:
            raise Refusal(1101 if wait > 0 else 1102, "Parameter too big" if wait > 0 else "Parameter too small")
        self.world.advance(wait)

    def leftovers(self) -> dict[str, Leave]:
        """Return how attributes, error queue, identity and a script being loaded are left."""

        def identity(rng: Random) -> str:
            self.identity = rng.choice(IDENTITIES[1:])
            return self.identity

        def queue(rng: Random) -> str:
            for _ in range(rng.randint(1, QUEUE + 8)):
                self.error(*rng.choice(ERRORS))
            return f"{len(self.errors)} entries"

        def loading(rng: Random) -> str:
            self._script = ("", rng.random() < 0.5, ["smua.source.levelv=1"] * rng.randint(0, 2))
            return f"{len(self._script[2])} lines"

        attributes = {name: at_attribute(*pair, Refusal) for name, pair in self.lua.attributes().items()}
        others: dict[str, Leave] = {"*IDN?": identity, "errorqueue": queue, "loadscript": loading}
        return {**super().leftovers(), **attributes, **others}

    def values_of(self, table: Any, first: int, last: int) -> list[float]:
        """Return entries `first` to `last` (from 1) of an argument of `printbuffer`."""
        return self.lua.numbers(table)[first - 1 : last]

    def _printbuffer(self, first: Any, last: Any, *tables: Any) -> None:
        start, end = int(number(first)), int(number(last))
        if not tables:
            raise Refusal(1400, "Expected at least 3 parameters")
        columns = [self.values_of(table, start, end) for table in tables]
        if start < 1 or end < start or any(len(c) != end - start + 1 for c in columns):
            raise Refusal(4900, f"Reading buffer index {end if start >= 1 else start} is invalid")
        self.write_out(self.format.block([v for entry in zip(*columns, strict=True) for v in entry]))

    def _build(self) -> None:
        lua, names = self.lua, self.lua.globals
        self._users = lua.table({})
        self._scripts = lua.table(
            {"user": lua.table({"scripts": self._users}), "new": lua.function(self._new_script),
             "delete": lua.function(self._delete_script)}
        )  # fmt: skip
        names["print"] = lua.function(lambda *v: self.write_out("\t".join(self.format.text(lua, x) for x in v) + "\n"))
        names["printnumber"] = lua.function(lambda *v: self.write_out(self.format.block([number(x) for x in v])))
        names["printbuffer"] = lua.function(self._printbuffer)
        names["delay"] = lua.function(self.delay)
        names["beeper"] = lua.table({"beep": lua.function(lambda *_: None), "enable": 0})
        names["os"] = lua.table({"time": lua.function(self._time)})
        names["waitcomplete"] = lua.function(lambda *_: None)
        names["opc"] = lua.function(lambda *_: self.standard.latch(_OPC))
        names["reset"] = lua.function(lambda *_: self.reset())
        names["format"] = self.format.node(lua)
        names["bit"] = lua.table({k: lua.function(f) for k, f in bit_library().items()})
        names["script"] = self._scripts
        for name, table in (self.link.objects(lua) | drive_objects(lua)).items():
            names[name] = table
        names["errorqueue"] = lua.node(
            "errorqueue",
            get={"count": lambda: len(self.errors)},
            objects={"next": self._next_error, "clear": lambda *_: self.errors.clear()},
        )
        names["timer"] = lua.table(
            {"reset": lua.function(self._timer_reset),
             "measure": lua.table({"t": lua.function(lambda *_: self.world.now - self._timer)})}
        )  # fmt: skip
        names["localnode"] = lua.node(
            "localnode",
            get={
                "model": lambda: self.model,
                "serialno": lambda: self.serial,
                "revision": lambda: self.revision,
                "description": lambda: f"Keithley Instruments {self.model} - {self.serial}",
                "linefreq": lambda: self.world.timing.line_frequency,
                "prompts": lambda: self.prompts,
                "showerrors": lambda: self.showerrors,
                "status": lambda: names["status"],
            },
            set={
                "prompts": lambda v: setattr(self, "prompts", int(number(v) != 0)),
                "showerrors": lambda v: setattr(self, "showerrors", int(number(v) != 0)),
            },
            objects={"reset": lambda *_: self.reset(), "ENABLE": 1, "DISABLE": 0},
        )
        names["status"] = lua.node(
            "status",
            get={"condition": lambda: self.status_byte, "request_enable": lambda: self.request_enable},
            set={"request_enable": lambda v: setattr(self, "request_enable", int(number(v)) & 0xFF)},
            objects={
                "reset": self._status_reset,
                "standard": register_node(self.standard, lua),
                "MSB": _MSB, "SSB": _SSB, "EAV": _EAV, "ESB": _ESB, "MSS": _MSS, "OSB": _OSB,
                **{name: register_node(register, lua) for name, register in self.registers.items()},
            },
        )  # fmt: skip

    def remote(self, lua: Lua) -> dict[str | int, Any]:
        """Return its objects for the interpreter `lua` of another node of its TSP-Link; models add theirs."""
        return {"model": self.model, "serialno": self.serial, "revision": self.revision}

    def _time(self, *_: Any) -> int:
        """Return `os.time()`: s since the instrument was switched on, as of one whose date was never set."""
        return int(self.world.now)

    def _timer_reset(self, *_: Any) -> None:
        self._timer = self.world.now

    def _status_reset(self, *_: Any) -> None:
        self.request_enable = 0
        self.standard.reset()
        for register in self.registers.values():
            register.reset()


def _common_command(line: str) -> tuple[str, int | None]:
    """Return a common command in small letters, with its question mark, and its number; ("", None) if it is none."""
    try:
        (unit,) = units(line)
        value = int(_BYTE.value(unit.data[0])) if unit.data else None
    except (ScpiError, ValueError):
        return "", None
    return unit.words[0].lower() + "?" * unit.query, value
