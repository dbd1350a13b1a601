"""Kinds of faults between a driver and its emulated instrument: what happens to one message, or from one message on.

A kind takes an injection, the link and the message, and returns whether it happened; one that does not apply to this
message delivers it and happens at the next to which it does.
"""

import random
import re
from collections.abc import Callable
from typing import Any, Protocol

from sim_backend.emulators.b2200 import B2200
from sim_backend.emulators.generic_matrix import GenericMatrix
from sim_backend.emulators.k707 import K707
from sim_backend.emulators.k7001 import K7001
from sim_backend.emulators.link import ConnectionDropped, Instrument, moves_freely
from sim_backend.emulators.scpi.errors import ScpiError
from sim_backend.emulators.scpi.instrument import ScpiInstrument
from sim_backend.emulators.tsp.instrument import TspInstrument
from sim_backend.emulators.world import World

NUMBER = re.compile(rb"[+-]?\d+\.\d+(?:[eE][+-]?\d+)?")
SETTING = re.compile(
    rb"\bsmu[ab]\.[a-z.]+=[\w.+-]+ ?|:\w+(?:\[?\d\]?)?(?::\w+)+ [\w.+-]+(?:,[\w.+-]+)*;?|"
    rb"\b(?:DV|FL|SSR|AAD|AIT|CM)\d[\w,.+-]*;?"
)
STEP = re.compile(rb"(?<=[ )])mtj_(?:to|limit|wait)\([^()]*\) ")
STUCK = 0.3
"""Share of the relays of one command that do not move."""
MATRICES = K707 | GenericMatrix | B2200 | K7001
"""Emulated instruments whose relays can stay where they are."""


class Link(Protocol):
    """The connection to an instrument that faults happen to."""

    name: str
    late: bytes
    """A reply that comes before the next one, b"" for none."""
    survivor: bytes
    """A reply that comes once the host has connected anew, b"" for none."""
    given: bytes
    """What the host has received for the present message, b"" for nothing."""

    @property
    def instrument(self) -> Instrument:
        """The instrument; another one after a power cycle."""
        ...

    @property
    def world(self) -> World:
        """What all instruments act on."""
        ...

    @property
    def replies_of(self) -> dict[str, bytes]:
        """The last reply of every instrument by name."""
        ...

    def execute(self, data: bytes) -> bytes:
        """Let the instrument execute a message, and return its reply."""
        ...

    def give(self, reply: bytes) -> None:
        """Let the host receive a reply."""
        ...

    def deliver(self, data: bytes) -> bool:
        """Let a message and its reply pass; returns False: nothing happened to it."""
        ...

    def power_cycle(self) -> None:
        """Switch the instrument off and on."""
        ...


class Injection:
    """One fault that is to happen: its kind, and what is left to chance in it.

    Args:
        seed: of what is left to chance.
    """

    def __init__(self, kind: str = "", seed: object = 0) -> None:
        self.kind = kind
        self.dice = random.Random(f"{kind} {seed}")
        self.happened = self.repaired = False
        self.instrument = self.detail = ""
        self.drawn: Any = None
        """What a kind that lasts has drawn, to be the same every time; None before it was."""

    @property
    def lasting(self) -> bool:
        """Whether the instrument is dead now."""
        return self.happened and not self.repaired and self.kind in LASTING

    def strike(self, link: Link, data: bytes) -> None:
        """Happen to a message, or deliver it if the kind does not apply to it; ConnectionDropped by the fault."""
        try:
            self.happened = KINDS[self.kind](self, link, data) is True or self.happened
        except ConnectionDropped:
            self.happened = True
            raise
        finally:
            if self.happened:
                self.instrument = link.name


Act = Callable[[Injection, Link, bytes], bool]
Change = Callable[[random.Random, Link, bytes], bytes | None]
KINDS: dict[str, Act] = {}
LASTING = (
    *("deaf", "gone", "mute", "babbling"),
    *("line stuck", "amplifier saturated", "converter dead", "supply off", "registers reset", "another version"),
)
"""Kinds of an instrument that is dead, or a board of which something is, from one message on, until it is repaired."""


def kind(name: str) -> Callable[[Act], Act]:
    """Register a kind under its name."""

    def add(act: Act) -> Act:
        KINDS[name] = act
        return act

    return add


def dropped() -> ConnectionDropped:
    """Return the error of a connection that the instrument has closed."""
    return ConnectionDropped("connection closed")


# the link


@kind("message lost")
@kind("deaf")
def _lost(injection: Injection, link: Link, data: bytes) -> bool:
    return True


@kind("reply lost")
@kind("mute")
def _mute(injection: Injection, link: Link, data: bytes) -> bool:
    return bool(link.execute(data)) or injection.happened


@kind("reply late, with the next one")
def _late(injection: Injection, link: Link, data: bytes) -> bool:
    link.late = link.execute(data)
    return bool(link.late)


@kind("reply late, after a new connection")
def _late_for_good(injection: Injection, link: Link, data: bytes) -> bool:
    link.survivor = link.execute(data)
    return bool(link.survivor)


@kind("connection closed before")
def _closed_before(injection: Injection, link: Link, data: bytes) -> bool:
    raise dropped()


@kind("gone")
def _gone(injection: Injection, link: Link, data: bytes) -> bool:
    raise dropped()


@kind("connection closed after")
def _closed_after(injection: Injection, link: Link, data: bytes) -> bool:
    link.execute(data)
    raise dropped()


@kind("busy")
def _busy(injection: Injection, link: Link, data: bytes) -> bool:
    if type(link.instrument).ends_busy is Instrument.ends_busy:
        return link.deliver(data)
    link.instrument.busy = True  # its message does not end: it accepts nothing but an abort
    return True


# the reply


def _reply(name: str) -> Callable[[Change], Change]:
    """Register a kind that changes a reply; it does not apply where it returns None or there is no reply."""

    def add(change: Change) -> Change:
        def act(injection: Injection, link: Link, data: bytes) -> bool:
            reply = link.execute(data)
            changed = change(injection.dice, link, reply) if reply else None
            link.give(reply if changed is None else changed)
            return changed is not None or injection.happened

        KINDS[name] = act
        return change

    return add


@_reply("reply cut, without a line feed")
def _cut(dice: random.Random, link: Link, reply: bytes) -> bytes | None:
    return reply[: dice.randrange(len(reply))]


@_reply("reply cut, with a line feed")
def _cut_line(dice: random.Random, link: Link, reply: bytes) -> bytes | None:
    return reply[: dice.randrange(max(1, len(reply) - 1))] + b"\n"


@_reply("empty reply")
def _empty(dice: random.Random, link: Link, reply: bytes) -> bytes | None:
    return b"\n"


@_reply("garbage")
@_reply("babbling")
def _garbage(dice: random.Random, link: Link, reply: bytes) -> bytes | None:
    return bytes(dice.choice([*range(32, 127), *range(128, 256)]) for _ in range(dice.randint(1, 30))) + b"\n"


@_reply("previous reply again")
def _again(dice: random.Random, link: Link, reply: bytes) -> bytes | None:
    return link.replies_of.get(link.name)


@_reply("reply of another instrument")
def _another(dice: random.Random, link: Link, reply: bytes) -> bytes | None:
    others = [text for name, text in link.replies_of.items() if name != link.name]
    return dice.choice(others) if others else None


@_reply("an extra line")
def _extra(dice: random.Random, link: Link, reply: bytes) -> bytes | None:
    return reply + b"0.00000e+00\n"


@_reply("a digit changed")
def _digit(dice: random.Random, link: Link, reply: bytes) -> bytes | None:
    numbers = list(NUMBER.finditer(reply))
    if not numbers:
        return None
    number = dice.choice(numbers)
    where = dice.choice([k for k in range(*number.span()) if reply[k : k + 1].isdigit()])
    other = dice.choice([d for d in b"0123456789" if d != reply[where]])
    return reply[:where] + bytes([other]) + reply[where + 1 :]


def _numbers(name: str, text: bytes) -> None:
    """Register two kinds: every number of a reply is `text`, and one of them is."""

    @_reply(f"every number {name}")
    def every(dice: random.Random, link: Link, reply: bytes) -> bytes | None:
        return NUMBER.sub(text, reply) if NUMBER.search(reply) else None

    @_reply(f"one number {name}")
    def one(dice: random.Random, link: Link, reply: bytes) -> bytes | None:
        spans = [number.span() for number in NUMBER.finditer(reply)]
        if not spans:
            return None
        begin, end = dice.choice(spans)
        return reply[:begin] + text + reply[end:]


_numbers("NaN", b"nan")
_numbers("infinite", b"inf")
_numbers("9.91e37", b"9.91000e+37")


# the instrument


def _queue_error(instrument: Instrument) -> bool:
    """Put an error into the queue of an instrument that has one; return whether it has."""
    if isinstance(instrument, TspInstrument):
        instrument.error(-220, "Parameter error", 20)
    elif isinstance(instrument, ScpiInstrument):
        instrument.error(ScpiError(-220))
    return isinstance(instrument, TspInstrument | ScpiInstrument)


@kind("error queued before")
def _error_before(injection: Injection, link: Link, data: bytes) -> bool:
    queued = _queue_error(link.instrument)
    link.deliver(data)
    return queued


@kind("error queued after")
def _error_after(injection: Injection, link: Link, data: bytes) -> bool:
    link.deliver(data)
    return _queue_error(link.instrument)


def _without(name: str, pattern: re.Pattern[bytes]) -> None:
    """Register a kind in which one of the statements of a message that `pattern` describes is ignored."""

    def act(injection: Injection, link: Link, data: bytes) -> bool:
        spans = [statement.span() for statement in pattern.finditer(data)]
        if spans:
            begin, end = injection.dice.choice(spans)
            injection.detail = data[begin:end].decode()
            data = data[:begin] + data[end:]
        link.deliver(data)
        return bool(spans)

    KINDS[name] = act


_without("a setting ignored", SETTING)
_without("a ramp, limit or wait ignored", STEP)


@kind("relays stuck")
def _relays_stuck(injection: Injection, link: Link, data: bytes) -> bool:
    matrix = link.instrument
    if not isinstance(matrix, MATRICES):
        return link.deliver(data)
    stuck: list[str] = []

    def sticks(relay: str) -> bool:
        if held := injection.dice.random() < STUCK:
            stuck.append(relay)
        return held

    matrix.sticks = sticks
    try:
        link.deliver(data)
    finally:
        matrix.sticks = moves_freely
    injection.detail = ", ".join(stuck)
    return bool(stuck)


@kind("power cycle, link lost")
def _power_cycle(injection: Injection, link: Link, data: bytes) -> bool:
    link.power_cycle()
    raise dropped()


@kind("power cycle, unnoticed")
def _power_cycle_unnoticed(injection: Injection, link: Link, data: bytes) -> bool:
    link.power_cycle()
    link.deliver(data)
    return True


@kind("output trips off")
def _trip(injection: Injection, link: Link, data: bytes) -> bool:
    live = bool(link.instrument.outputs())
    if live:
        link.instrument.trip()
    link.deliver(data)
    return live


@kind("needles lift")
def _lift(injection: Injection, link: Link, data: bytes) -> bool:
    world = link.world
    is_source = type(link.instrument).outputs is not Instrument.outputs
    applies = is_source and link.instrument.on_needles and world.in_contact
    if applies:
        world.touch(False)
    link.deliver(data)
    return applies
