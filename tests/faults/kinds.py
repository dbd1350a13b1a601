"""Faults between a driver and its instrument: what happens to one message of a run, or from one message on.

A kind takes an injection, the link and the message, and returns whether it happened; one that does not apply to this
message delivers it and happens at the next to which it does.
"""

import random
import re
import threading
from collections.abc import Callable

from labctl.core.errors import InstrumentError
from sim_backend.emulators.k707 import K707
from sim_backend.emulators.k2600 import K2600
from sim_backend.emulators.k2600_smu import OFF, ON
from sim_backend.emulators.tsp.instrument import TspInstrument

_NUMBER = re.compile(rb"[+-]?\d+\.\d+(?:[eE][+-]?\d+)?")
_SETTING = re.compile(rb"\bsmu[ab]\.[a-z.]+=[\w.+-]+ ?")
_STEP = re.compile(rb"(?<=[ )])mtj_(?:to|limit|wait)\([^()]*\) ")
STUCK = 0.3
"""Share of the relays of one command that do not move."""
KINDS: dict[str, Callable] = {}
LASTING = ("deaf", "gone", "mute", "babbling")
"""Kinds of an instrument that is dead from one message on, until it is repaired."""


def kind(name):
    """Register a kind under its name."""

    def add(act):
        KINDS[name] = act
        return act

    return add


# the link


@kind("message lost")
@kind("deaf")
def _lost(injection, link, data):
    return True


@kind("reply lost")
@kind("mute")
def _mute(injection, link, data):
    return bool(link.execute(data)) or injection.happened


@kind("reply late, with the next one")
def _late(injection, link, data):
    link.late = link.execute(data)
    return bool(link.late)


@kind("reply late, after a new connection")
def _late_for_good(injection, link, data):
    link.survivor = link.execute(data)
    return bool(link.survivor)


@kind("connection closed before")
def _closed_before(injection, link, data):
    raise link.gone()


@kind("gone")
def _gone(injection, link, data):
    raise link.gone()


@kind("connection closed after")
def _closed_after(injection, link, data):
    link.execute(data)
    raise link.gone()


@kind("busy")
def _busy(injection, link, data):
    if not isinstance(link.instrument, TspInstrument):
        return link.deliver(data)
    link.instrument.busy = True  # its message does not end: it accepts nothing but an abort
    return True


@kind("^C before")
def _interrupt_before(injection, link, data):
    if threading.current_thread() is not threading.main_thread():
        return link.deliver(data)
    injection.happened = True
    raise KeyboardInterrupt


@kind("^C after")
def _interrupt_after(injection, link, data):
    link.deliver(data)
    if threading.current_thread() is not threading.main_thread():
        return False
    injection.happened = True
    raise KeyboardInterrupt


# the reply


def _reply(name):
    """Register a kind that changes a reply; it does not apply where it returns None or there is no reply."""

    def add(change):
        def act(injection, link, data):
            reply = link.execute(data)
            changed = change(injection.dice, link, reply) if reply else None
            link.give(reply if changed is None else changed)
            return changed is not None or injection.happened

        KINDS[name] = act
        return change

    return add


@_reply("reply cut, without a line feed")
def _cut(dice, link, reply):
    return reply[: dice.randrange(len(reply))]


@_reply("reply cut, with a line feed")
def _cut_line(dice, link, reply):
    return reply[: dice.randrange(max(1, len(reply) - 1))] + b"\n"


@_reply("empty reply")
def _empty(dice, link, reply):
    return b"\n"


@_reply("garbage")
@_reply("babbling")
def _garbage(dice, link, reply):
    return bytes(dice.choice([*range(32, 127), *range(128, 256)]) for _ in range(dice.randint(1, 30))) + b"\n"


@_reply("previous reply again")
def _again(dice, link, reply):
    return link.twin.replies.get(link.name)


@_reply("reply of another instrument")
def _another(dice, link, reply):
    others = [text for name, text in link.twin.replies.items() if name != link.name]
    return dice.choice(others) if others else None


@_reply("an extra line")
def _extra(dice, link, reply):
    return reply + b"0.00000e+00\n"


@_reply("a digit changed")
def _digit(dice, link, reply):
    numbers = list(_NUMBER.finditer(reply))
    if not numbers:
        return None
    number = dice.choice(numbers)
    where = dice.choice([k for k in range(*number.span()) if reply[k : k + 1].isdigit()])
    other = dice.choice([d for d in b"0123456789" if d != reply[where]])
    return reply[:where] + bytes([other]) + reply[where + 1 :]


def _numbers(name, text):
    """Register two kinds: every number of a reply is `text`, and one of them is."""

    @_reply(f"every number {name}")
    def every(dice, link, reply):
        return _NUMBER.sub(text, reply) if _NUMBER.search(reply) else None

    @_reply(f"one number {name}")
    def one(dice, link, reply):
        spans = [number.span() for number in _NUMBER.finditer(reply)]
        if not spans:
            return None
        begin, end = dice.choice(spans)
        return reply[:begin] + text + reply[end:]


_numbers("NaN", b"nan")
_numbers("infinite", b"inf")
_numbers("9.91e37", b"9.91000e+37")


# the instrument


@kind("error queued before")
def _error_before(injection, link, data):
    if not isinstance(link.instrument, TspInstrument):
        return link.deliver(data)
    link.instrument.error(-220, "Parameter error", 20)
    link.deliver(data)
    return True


@kind("error queued after")
def _error_after(injection, link, data):
    link.deliver(data)
    if not isinstance(link.instrument, TspInstrument):
        return False
    link.instrument.error(-220, "Parameter error", 20)
    return True


def _without(name, pattern):
    """Register a kind in which one of the statements of a message that `pattern` describes is ignored."""

    def act(injection, link, data):
        spans = [statement.span() for statement in pattern.finditer(data)]
        if spans:
            begin, end = injection.dice.choice(spans)
            injection.detail = data[begin:end].decode()
            data = data[:begin] + data[end:]
        link.deliver(data)
        return bool(spans)

    KINDS[name] = act


_without("a setting ignored", _SETTING)
_without("a ramp, limit or wait ignored", _STEP)


@kind("relays stuck")
def _relays_stuck(injection, link, data):
    matrix = link.instrument
    if not isinstance(matrix, K707):
        return link.deliver(data)
    stuck: list[str] = []
    move = type(matrix)._move

    def moved(close=None, open=None):
        wanted = [a for a in close or [] if a not in matrix.closed] + [a for a in open or [] if a in matrix.closed]
        held = [a for a in wanted if injection.dice.random() < STUCK]
        stuck.extend(held)
        move(matrix, [a for a in close or [] if a not in held], [a for a in open or [] if a not in held])

    matrix._move = moved
    try:
        link.deliver(data)
    finally:
        del matrix._move
    injection.detail = ", ".join(stuck)
    return bool(stuck)


@kind("power cycle, link lost")
def _power_cycle(injection, link, data):
    link.twin.power_cycle(link.name)
    raise link.gone()


@kind("power cycle, unnoticed")
def _power_cycle_unnoticed(injection, link, data):
    link.twin.power_cycle(link.name)
    link.deliver(data)
    return True


@kind("output trips off")
def _trip(injection, link, data):
    live = [smu for smu in getattr(link.instrument, "smus", {}).values() if smu.set.output == ON]
    for smu in live:
        smu.switch(OFF)
    link.deliver(data)
    return bool(live)


@kind("needles lift")
def _lift(injection, link, data):
    world = link.twin.world
    applies = isinstance(link.instrument, K2600) and world.in_contact
    if applies:
        world.touch(False)
    link.deliver(data)
    return applies


class DoesNotApply(BaseException):
    """A fault was to happen to one message, to which its kind does not apply."""


class Injection:
    """One fault of a run.

    Args:
        at: number of the message from which on it happens to the first one that it applies to, from 1; 0 is never.
        seed: of what is left to chance in it.
        only: whether it happens to that message or not at all; the run ends then.
    """

    def __init__(self, kind="", at=0, seed=0, only=False):
        self.kind, self.at, self.only = kind, at, only
        self.phase = ""
        self.trail = []
        """Instrument, message and phase of every message."""
        self.applies = True
        self.dice = random.Random(f"{kind} {at} {seed}")
        self.messages, self.happened, self.repaired = 0, False, False
        self.instrument = self.detail = ""

    @property
    def lasting(self):
        """Whether the instrument is dead now."""
        return self.happened and not self.repaired and self.kind in LASTING

    def send(self, link, data):
        """Let a message pass, or happen to it."""
        self.messages += 1
        self.trail.append((link.name, data, self.phase))
        if not self.applies:
            raise DoesNotApply
        due = 0 < self.at <= self.messages and not self.happened
        if not due and not (self.lasting and link.name == self.instrument):
            link.deliver(data)
            return
        try:
            self.happened = KINDS[self.kind](self, link, data) is True or self.happened
        except InstrumentError:
            self.happened = True
            raise
        finally:
            if self.happened:
                self.instrument = link.name
            else:
                self.applies = not self.only
