"""Common part of SCPI instruments: messages, common commands, error queue, status registers, settings.

Source: IEEE 488.2 (message exchange, chapter 6; common commands, chapter 10; status, chapter 11) and SCPI-1999
(:SYSTem:ERRor?, :STATus). A command error ends its message; another error ends its unit only. Responses of one message
are joined by semicolons. A socket cannot tell that a controller listens to an instrument with nothing to say (-420); a
bus can.
"""

from abc import abstractmethod
from collections.abc import Callable
from random import Random
from typing import Any

from sim_backend.emulators.leftovers import ERRORS, IDENTITIES, TRIES, Leave
from sim_backend.emulators.link import Instrument
from sim_backend.emulators.registers import Register
from sim_backend.emulators.scpi.errors import ErrorQueue, ScpiError
from sim_backend.emulators.scpi.message import Unit, units
from sim_backend.emulators.scpi.parameters import Choice, Number, Parameter
from sim_backend.emulators.scpi.tree import Command, CommandTree
from sim_backend.emulators.world import World

MOST_OUT = 16 << 20
"""Longest reply of one message, characters; a longer one is a deadlock (-430)."""
OPC, PON = 1, 128
"""Bits of the standard event register: operation complete, power on."""
MSB, EAV, QSB, ESB, MSS, OSB = 1, 4, 8, 32, 64, 128
"""Bits of the status byte: measurement, error available, questionable, standard event, master, operation summary."""
_BOUNDS = Choice(("MINimum", "MAXimum", "DEFault"))
_BYTE = Number(0, 255, whole=True)


class ScpiInstrument(Instrument):
    """A SCPI instrument; subclasses add their commands in `build`.

    Args:
        serial, revision: of `*IDN?`.
        queue: entries of the error queue.
    """

    identity = "{maker},{model},{serial},{revision}"
    """Form of the reply to `*IDN?`."""
    maker = ""

    def __init__(self, name: str, model: str, world: World, *, serial: str, revision: str, queue: int = 10) -> None:
        super().__init__(name, model, world)
        self.serial, self.revision = serial, revision
        self.errors = ErrorQueue(queue)
        self.standard = Register(lambda: 0)
        self.standard.latch(PON)
        self.registers = self.build_registers()
        self.request_enable = 0
        self.tree = CommandTree()
        self._left: dict[str, Leave] = {}
        self._common()
        for path, register in self.registers.items():
            self._status(path, register)
        self.build()

    @abstractmethod
    def build(self) -> None:
        """Add the commands of the model to `self.tree`."""

    @abstractmethod
    def reset(self) -> None:
        """Go back to the defaults, as `*RST` does."""

    def build_registers(self) -> dict[str, Register]:
        """Return the registers below `:STATus`, by their node."""
        return {"OPERation": Register(lambda: 0), "QUEStionable": Register(lambda: 0)}

    def trigger(self) -> None:
        """Process a `*TRG`; -211 where nothing waits for it."""
        raise ScpiError(-211)

    # -- messages

    def execute(self, message: str) -> str:
        """Execute one message; return its responses in one line, or ""."""
        replies: list[str] = []
        place, indefinite = self.tree.root, False
        try:
            for unit in units(message.strip("\0")):
                command, free, after = self.tree.command(unit.words, self.tree.root if _from_root(unit) else place)
                if not unit.common:
                    place = after
                try:
                    if indefinite and unit.query:
                        raise ScpiError(-440)
                    if unit.query:
                        replies.append(self._answer(command, free, unit))
                        indefinite = unit.words[0] == "*IDN"
                    else:
                        self._carry_out(command, free, unit)
                except ScpiError as error:
                    if error.ends_message:
                        raise
                    self.error(error)
                if sum(map(len, replies)) > MOST_OUT:
                    replies.clear()
                    raise ScpiError(-430)
        except ScpiError as error:
            self.error(error)
        return ";".join(replies) + "\n" if replies else ""

    def _answer(self, command: Command, free: tuple[int, ...], unit: Unit) -> str:
        if command.query is None:
            raise ScpiError(-113)
        if len(unit.data) > len(command.asked):
            raise ScpiError(-108)
        values = [parameter.value(element) for parameter, element in zip(command.asked, unit.data, strict=False)]
        return command.query(*free, *values)

    def _carry_out(self, command: Command, free: tuple[int, ...], unit: Unit) -> None:
        if command.run is None:
            raise ScpiError(-113)
        parameters, data = command.parameters, unit.data
        if command.rest and len(data) > len(parameters):
            parameters += parameters[-1:] * (len(data) - len(parameters))
        if len(data) > len(parameters):
            raise ScpiError(-108)
        if len(data) < len(parameters) - command.optional:
            raise ScpiError(-109)
        command.run(*free, *(p.value(element) for p, element in zip(parameters, data, strict=False)))

    def error(self, error: ScpiError) -> None:
        """Add an error to the queue, set its event, and record it."""
        self.refuse(str(error))
        self.errors.add(error)
        self.standard.latch(error.event)

    def interrupted(self) -> bool:
        """Add -410: a message came while the response to the one before it had not been read, which is dropped."""
        self.error(ScpiError(-410))
        return True

    def unterminated(self) -> None:
        """Add -420: it was addressed to talk, and nothing had been asked."""
        self.error(ScpiError(-420))

    # -- commands

    def setting(
        self, spelled: str, parameter: Parameter, read: Callable[[], Any], write: Callable[[Any], None]
    ) -> None:
        """Add a setting: its command, its query, and how an earlier user leaves it at another value.

        Args:
            spelled: as in manuals.
            read: returns its value.
            write: sets it; ScpiError if other settings forbid it.
        """

        def ask(word: str | None = None) -> str:
            return parameter.text(read() if word is None else parameter.bound(word))

        def leave(rng: Random) -> str | None:
            before = read()
            for _ in range(TRIES):
                try:
                    write(parameter.some(rng))
                except ScpiError:
                    continue
                if read() != before:
                    return str(parameter.text(read()))
            return None

        self.tree.add(spelled, parameter, run=write, query=ask, asked=(_BOUNDS,) if _bounded(parameter) else ())
        self._left[spelled] = leave

    def _common(self) -> None:
        add = self.tree.add
        add("*IDN", query=self._identify)
        add("*RST", run=self.reset)
        add("*CLS", run=self.clear_status)
        add("*ESE", _BYTE, run=self._enable_events, query=lambda: str(self.standard.enable))
        add("*ESR", query=lambda: str(self.standard.event()))
        add("*SRE", _BYTE, run=self._enable_requests, query=lambda: str(self.request_enable))
        add("*STB", query=lambda: str(self.status_byte))
        add("*OPC", run=lambda: self.standard.latch(OPC), query=lambda: "1")
        add("*WAI", run=lambda: None)
        add("*TST", query=lambda: "0")
        add("*TRG", run=lambda: self.trigger())
        add(":SYSTem:ERRor[:NEXT]", query=self.next_error)
        add(":SYSTem:ERRor:COUNt", query=lambda: str(len(self.errors)))
        add(":SYSTem:VERSion", query=lambda: "1999.0")
        add(":STATus:PRESet", run=self._preset_status)

    def next_error(self) -> str:
        """Take the oldest entry of the error queue and return it as `:SYSTem:ERRor?` answers."""
        return self.errors.next()

    def _status(self, path: str, register: Register) -> None:
        """Add the commands of a register below `:STATus`, and of those below it."""
        add, mask = self.tree.add, Number(0, 65535, whole=True)
        add(f":STATus:{path}[:EVENt]", query=lambda: str(register.event()))
        add(f":STATus:{path}:CONDition", query=lambda: str(register.condition()))
        for node, name in (("ENABle", "enable"), ("PTRansition", "ptr"), ("NTRansition", "ntr")):

            def write(value: float, name: str = name) -> None:
                setattr(register, name, int(value) & 0x7FFF)

            def read(name: str = name) -> str:
                return str(getattr(register, name))

            add(f":STATus:{path}:{node}", mask, run=write, query=read)
        for node, child in register.children.items():
            self._status(f"{path}:{node}", child)

    def _identify(self) -> str:
        return self.identity.format(maker=self.maker, model=self.model, serial=self.serial, revision=self.revision)

    def _enable_events(self, value: float) -> None:
        self.standard.enable = int(value)

    def _enable_requests(self, value: float) -> None:
        self.request_enable = int(value) & ~MSS

    def _preset_status(self) -> None:
        for register in self.registers.values():
            register.reset()

    def clear_status(self) -> None:
        """Empty the error queue and the event registers."""
        self.errors.clear()
        self.standard.clear()
        for register in self.registers.values():
            register.clear()

    @property
    def status_byte(self) -> int:
        """IEEE 488.2 status byte without MAV."""
        summaries = {"MEASurement": MSB, "QUEStionable": QSB, "OPERation": OSB}
        byte = sum(bit for node, bit in summaries.items() if node in self.registers and self.registers[node].summary)
        byte |= (EAV if len(self.errors) else 0) | (ESB if self.standard.summary else 0)
        return byte | (MSS if byte & self.request_enable else 0)

    def leftovers(self) -> dict[str, Leave]:
        """Return how settings, error queue, status and identity are left."""

        def identity(rng: Random) -> str:
            self.identity = rng.choice(IDENTITIES[1:])
            return self.identity

        def queue(rng: Random) -> str:
            for _ in range(rng.randint(1, self.errors.size + 8)):
                code, text, _ = rng.choice(ERRORS)
                self.error(ScpiError(code, text))
            return f"{len(self.errors)} entries"

        def enabled(rng: Random) -> str:
            self.standard.enable, self.request_enable = rng.randrange(256), rng.randrange(256) & ~MSS
            return f"{self.standard.enable}, {self.request_enable}"

        return {**super().leftovers(), **self._left, "*IDN?": identity, "errors": queue, "*ESE, *SRE": enabled}


def _from_root(unit: Unit) -> bool:
    return unit.rooted or unit.common


def _bounded(parameter: Parameter) -> bool:
    """Return whether a query of a parameter may ask for its bounds."""
    return isinstance(parameter, Number)
