"""Keysight B2200A and B2201A switch matrices over SCPI: 14 inputs, 12 outputs a module, over the relays of the world.

Names, parameters and replies: the commands that QCoDeS publishes of it (qcodes.instrument_drivers.Keysight and the
simulation beside it), and the B2200 user's guide (5-7, 5-33, 5-39 and chapter 7). A channel is one digit for the card,
two for the input and two for the output; card 0 is all modules as one, of 12 outputs each (auto configuration), and
cards 1 to 4 are single modules (normal configuration).

[?] Which configuration it has when it is switched on, numbers of errors of its own, the words that describe a module,
and what a change of the configuration or of a mode does to relays (here: none moves). Not emulated, and refused with
-113: relay tests, names of ports, stored setups, the light pen; grounding of unused inputs is kept and has no effect.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from labctl.core.errors import BenchError
from sim_backend.emulators.context import EmulatorContext
from sim_backend.emulators.leftovers import Leave
from sim_backend.emulators.link import moves_freely
from sim_backend.emulators.scpi.errors import ScpiError
from sim_backend.emulators.scpi.instrument import ScpiInstrument
from sim_backend.emulators.scpi.message import Element, Kind
from sim_backend.emulators.scpi.parameters import Boolean, Choice, Number, NumberList, Parameter, Text
from sim_backend.emulators.world import Crosspoint, World

INPUTS, OUTPUTS, SLOTS = 14, 12, 4
MODULES = {"B2200A": "B2210A", "B2201A": "B2211A"}
"""Module of each mainframe."""
AUTO, NORMAL = "ACONfig", "NCONfig"
FREE, SINGLE = "FREE", "SROUte"
BEFORE, AFTER, NONE = "BBM", "MBBR", "NSEQ"
"""Sequences of the single rule: break before make, make before break, none."""
COUPLED = (1, 3, 5, 7, 9, 11, 13)
ALL = -1
"""The parameter ALL of a card."""
Channel = tuple[int, int]
"""Input and output, both from 1; outputs are counted over all modules."""


class CardNumber(Parameter):
    """A card by its number, or `ALL`."""

    def value(self, element: Element) -> int:
        """Return the number, `ALL` for all."""
        if element.kind is Kind.CHARACTERS and element.text == "ALL":
            return ALL
        if element.kind is not Kind.NUMBER:
            raise ScpiError(-148 if element.kind is Kind.CHARACTERS else -104)
        return int(element.value)

    def text(self, value: Any) -> str:
        """Return the number."""
        return str(value)

    def some(self, rng: Random) -> int:
        """Return all."""
        return ALL


@dataclass
class Settings:
    """Settings of one card, or of all as one."""

    rule: str = FREE
    sequence: str = BEFORE
    bias: bool = False
    bias_port: float = 10
    bias_enabled: set[int] = field(default_factory=set)
    ground: bool = False
    ground_port: float = 12
    ground_enabled: set[int] = field(default_factory=set)
    unused: str = ""
    couple: bool = False
    coupled: str = ""


class B2200(ScpiInstrument):
    """A B2200A or B2201A; its settings hold for all modules, whichever card a command names.

    Args:
        modules: installed from slot 1 on.
    """

    maker = "AGILENT TECHNOLOGIES"

    def __init__(self, name: str, model: str, world: World, *, modules: int = SLOTS) -> None:
        if model not in MODULES:
            raise BenchError(f"no emulated matrix '{model}'; there are {', '.join(MODULES)}")
        if not 1 <= modules <= SLOTS:
            raise BenchError(f"{modules} modules in a {model}; expected 1 to {SLOTS}")
        self.modules, self.function = modules, AUTO
        self.shut: set[Channel] = set()
        """Channels that are closed."""
        self.sticks: Callable[[str], bool] = moves_freely
        """Whether a relay that is told to move stays where it is."""
        self.set = Settings()
        super().__init__(name, model, world, serial="0", revision="A.01.00")

    @property
    def closed(self) -> set[str]:
        """Closed channels as the auto configuration spells them."""
        return {_spelled(0, channel) for channel in self.shut}

    def reset(self) -> None:
        """Open every relay and go back to the defaults."""
        self.set = Settings()
        self._go_to(set())

    def power_off(self) -> None:
        """Let every relay open."""
        self._move(open=set(self.shut), close=set())

    # -- commands

    def build(self) -> None:
        """Add the commands."""
        add, card, channels = self.tree.add, CardNumber(), NumberList(channels=True)
        self.setting("[:ROUTe]:FUNCtion", Choice((AUTO, NORMAL)), lambda: self.function, self._configure)
        self._mode("[:ROUTe]:CONNection:RULE", Choice((FREE, SINGLE)), "rule")
        self._mode("[:ROUTe]:CONNection:SEQuence", Choice((NONE, BEFORE, AFTER)), "sequence")
        port = Number(-1, INPUTS, whole=True)
        for node, mode in (("BIAS", "bias"), ("AGND", "ground")):
            of = f"[:ROUTe]:{node}"
            self._mode(f"{of}[:STATe]", Boolean(), mode)
            self._mode(f"{of}:PORT", port, f"{mode}_port")
            for verb, enable in (("ENABle", True), ("DISable", False)):
                many, one = partial(self._enable, mode, enable), partial(self._enable_card, mode, enable)
                ask = partial(self._ask_enabled, mode, enable)
                add(f"{of}:CHANnel:{verb}[:LIST]", channels, run=many, query=ask, asked=(channels,))
                add(f"{of}:CHANnel:{verb}:CARD", card, run=one)
        self._mode("[:ROUTe]:AGND:UNUSED", Text(), "unused")
        self._mode("[:ROUTe]:COUPle[:STATe]", Boolean(), "couple")
        self._mode("[:ROUTe]:COUPle:PORT", Text(), "coupled")
        add("[:ROUTe]:COUPle:PORT:DETect", run=lambda: None)
        add("[:ROUTe]:CLOSe[:LIST]", channels, run=self._close, query=partial(self._ask_state, True), asked=(channels,))
        add("[:ROUTe]:OPEN[:LIST]", channels, run=self._open, query=partial(self._ask_state, False), asked=(channels,))
        add("[:ROUTe]:CLOSe:CARD", query=self._ask_closed, asked=(card,))
        add("[:ROUTe]:OPEN:CARD", card, run=self._open_card)
        add(":SYSTem:CDEScription", query=self._describe, asked=(card,))
        add(":SYSTem:CTYPe", query=self._type, asked=(card,))
        add(":SYSTem:CPON", card, run=self._power_on)

    def _mode(self, spelled: str, parameter: Parameter, name: str) -> None:
        """Add a setting that is asked for and set by the number of a card."""

        def write(card: int, value: Any) -> None:
            self._outputs_of(card)
            self._set(name, value)

        def ask(card: int | None = None) -> str:
            self._outputs_of(_given(card))
            text = parameter.text(getattr(self.set, name))
            return f"'{text[1:-1]}'" if isinstance(parameter, Text) else text

        def leave(rng: Random) -> str | None:
            value = ",".join(map(str, rng.sample(COUPLED[:4], 2))) if isinstance(parameter, Text) else None
            value = parameter.some(rng) if value is None else value
            try:
                self._set(name, value)
            except ScpiError:
                return None
            return str(parameter.text(value))

        self.tree.add(spelled, CardNumber(), parameter, run=write, query=ask, asked=(CardNumber(),))
        self._left[spelled] = leave

    def _set(self, name: str, value: Any) -> None:
        other = {"bias": "ground", "ground": "bias"}.get(name)
        if other and value and getattr(self.set, other):
            raise ScpiError(-221)
        if name in ("unused", "coupled"):
            ports = [part.strip() for part in value.split(",") if part.strip()]
            allowed = COUPLED if name == "coupled" else range(1, 9)
            if not all(port.isdigit() and int(port) in allowed for port in ports):
                raise ScpiError(-224)
        setattr(self.set, name, value)
        self._go_to(self._direct)

    def _configure(self, function: str) -> None:
        self.function = function

    # -- which relays

    def _outputs_of(self, card: int) -> range:
        """Return the outputs of a card; -222 if the configuration has no such one."""
        cards = (0,) if self.function == AUTO else range(1, 1 + self.modules)
        if card == ALL or (card == 0 and 0 in cards):
            return range(1, 1 + OUTPUTS * self.modules)
        if card not in cards:
            raise ScpiError(-222)
        return range(1 + OUTPUTS * (card - 1), 1 + OUTPUTS * card)

    def _channels(self, ranges: Iterable[tuple[int, int]]) -> list[Channel]:
        """Return the channels of a list; -222 if one does not exist."""
        channels = []
        for number in (n for first, last in ranges for n in range(first, last + 1)):
            card, port, output = number // 10000, number // 100 % 100, number % 100
            outputs = self._outputs_of(card)
            if not (1 <= port <= INPUTS and 1 <= output <= len(outputs)):
                raise ScpiError(-222)
            channels.append((port, outputs[output - 1]))
        return channels

    def _pairs(self, channels: Iterable[Channel]) -> list[Channel]:
        """Return channels, with the other ones of their pairs where inputs are coupled."""
        lower = {int(port) for port in self.set.coupled.split(",") if port.strip()} if self.set.couple else set()
        pairs: list[Channel] = []
        for port, output in channels:
            first = port - 1 + port % 2
            if first not in lower:
                pairs.append((port, output))
                continue
            left = output - 1 + output % 2
            pairs += [(first, left), (first + 1, left + 1)]
        return pairs

    @property
    def _kept(self) -> tuple[float, set[int]] | None:
        """The port that outputs are on by themselves, and which outputs; None if no such mode is on."""
        for mode in ("bias", "ground"):
            if getattr(self.set, mode):
                return getattr(self.set, f"{mode}_port"), getattr(self.set, f"{mode}_enabled")
        return None

    @property
    def _direct(self) -> set[Channel]:
        """Closed channels but those that a mode closes by itself."""
        kept = self._kept
        return {(port, output) for port, output in self.shut if kept is None or port != kept[0]}

    def _require_direct(self, channels: Iterable[Channel]) -> None:
        kept = self._kept
        if kept is not None and any(port == kept[0] for port, _ in channels):
            raise ScpiError(-221)

    def _close(self, ranges: tuple[tuple[int, int], ...]) -> None:
        channels = self._pairs(self._channels(ranges))
        self._require_direct(channels)
        wanted = self._direct
        for port, output in channels:
            if self.set.rule == SINGLE:
                wanted = {(p, o) for p, o in wanted if p != port and o != output}
            wanted.add((port, output))
        self._go_to(wanted)

    def _open(self, ranges: tuple[tuple[int, int], ...]) -> None:
        channels = self._pairs(self._channels(ranges))
        self._require_direct(channels)
        self._go_to(self._direct - set(channels))

    def _open_card(self, card: int) -> None:
        outputs = self._outputs_of(card)
        self._go_to({(port, output) for port, output in self._direct if output not in outputs})

    def _power_on(self, card: int) -> None:
        self._open_card(card)
        self.set = Settings()

    def _enable(self, mode: str, enable: bool, ranges: tuple[tuple[int, int], ...]) -> None:
        outputs = {output for _, output in self._channels(ranges)}
        enabled: set[int] = getattr(self.set, f"{mode}_enabled")
        setattr(self.set, f"{mode}_enabled", enabled | outputs if enable else enabled - outputs)
        self._go_to(self._direct)

    def _enable_card(self, mode: str, enable: bool, card: int) -> None:
        outputs = set(self._outputs_of(card))
        enabled: set[int] = getattr(self.set, f"{mode}_enabled")
        setattr(self.set, f"{mode}_enabled", enabled | outputs if enable else enabled - outputs)
        self._go_to(self._direct)

    def _go_to(self, wanted: set[Channel]) -> None:
        """Make `wanted` closed, and what a mode closes beside it."""
        wanted = set(wanted)
        if (kept := self._kept) is not None and kept[0] > 0:
            taken = {output for _, output in wanted}
            wanted |= {(int(kept[0]), output) for output in kept[1] - taken}
        opening, closing = self.shut - wanted, wanted - self.shut
        if self.set.rule == SINGLE and self.set.sequence == AFTER:
            self._move(open=set(), close=closing)
            self._move(open=opening, close=set())
        elif self.set.rule == SINGLE and self.set.sequence == NONE:
            self._move(open=opening, close=closing)
        else:
            self._move(open=opening, close=set())
            self._move(open=set(), close=closing)

    def _move(self, *, open: set[Channel], close: set[Channel]) -> None:
        """Open and close relays together; they take the time of one."""
        opening, closing = ({c for c in part if not self.sticks(_spelled(0, c))} for part in (open, close))
        if not opening and not closing:
            return
        self.world.switch(close=map(self._ends, sorted(closing)), open=map(self._ends, sorted(opening)))
        self.shut = self.shut - opening | closing
        self.world.advance(self.world.timing.relay)

    def _ends(self, channel: Channel) -> Crosspoint:
        """Return the conductors of a channel: input and output."""
        return f"{self.name}.in{channel[0]}", f"{self.name}.out{channel[1]}"

    # -- queries

    def _ask_state(self, closed: bool, ranges: tuple[tuple[int, int], ...] = ()) -> str:
        if not ranges:
            raise ScpiError(-109)
        return ",".join(str(int((channel in self.shut) == closed)) for channel in self._channels(ranges))

    def _ask_enabled(self, mode: str, enable: bool, ranges: tuple[tuple[int, int], ...] = ()) -> str:
        if not ranges:
            raise ScpiError(-109)
        enabled = getattr(self.set, f"{mode}_enabled")
        return ",".join(str(int((output in enabled) == enable)) for _, output in self._channels(ranges))

    def _ask_closed(self, card: int | None = None) -> str:
        number = _given(card)
        outputs = self._outputs_of(number)
        closed = [(port, outputs.index(output) + 1) for port, output in sorted(self.shut) if output in outputs]
        return f"(@{','.join(_spelled(number, channel) for channel in closed)})"

    def _describe(self, card: int | None = None) -> str:
        outputs = self._outputs_of(_given(card))
        return f'"{MODULES[self.model]} {INPUTS}x{len(outputs)} matrix"'

    def _type(self, card: int | None = None) -> str:
        self._outputs_of(_given(card))
        return f"AGILENT,{MODULES[self.model]},0,{self.revision}"

    def leftovers(self) -> dict[str, Leave]:
        """Return how its state is left, closed relays and modules that were taken out among them.

        No message of it lasts longer than its relays, so that none is left that does not end.
        """

        def every() -> list[Channel]:
            return [(i, o) for i in range(1, 1 + INPUTS) for o in range(1, 1 + OUTPUTS * self.modules)]

        def relays(rng: Random) -> str:
            self._go_to(self._direct | set(rng.sample(every(), rng.randint(1, 8))))
            return ",".join(sorted(self.closed))

        def enabled(mode: str, rng: Random) -> str:
            outputs = range(1, 1 + OUTPUTS * self.modules)
            setattr(self.set, f"{mode}_enabled", set(rng.sample(outputs, rng.randint(1, len(outputs)))))
            setattr(self.set, mode, rng.random() < 0.7 and not (self.set.bias or self.set.ground))
            self._go_to(self._direct)
            return f"{mode} {getattr(self.set, mode)}, {len(getattr(self.set, f'{mode}_enabled'))} outputs"

        def modules(rng: Random) -> str | None:
            if self.modules == 1:
                return None
            self.reset()  # modules are taken out while the mains are off
            self.modules = rng.randrange(1, self.modules)
            return f"{self.modules} modules"

        left = {part: leave for part, leave in super().leftovers().items() if part != "busy"}
        kept = {f"{mode} mode": partial(enabled, mode) for mode in ("bias", "ground")}
        return {**left, **kept, "relays": relays, "modules": modules}


def _given(card: int | None) -> int:
    """Return the card of a query; -109 without one, -224 for all."""
    if card is None:
        raise ScpiError(-109)
    if card == ALL:
        raise ScpiError(-224)
    return card


def _spelled(card: int, channel: Channel) -> str:
    """Return a channel of a card.

    >>> _spelled(0, (2, 48))
    '00248'
    """
    return f"{card}{channel[0]:02d}{channel[1]:02d}"


def emulate(name: str, options: Any, context: EmulatorContext) -> B2200:
    """Return the emulated matrix of an entry of the bench file, with as many modules as its wires need."""
    most = max((int(crosspoint[-2:]) for crosspoint in context.crosspoints), default=OUTPUTS)
    return B2200(name, options.model, context.world, modules=math.ceil(most / OUTPUTS))
