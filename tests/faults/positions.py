"""Where a fault can happen in a campaign: the instrument, the shape of the message, and the phase of the campaign.

Two messages have one shape if they differ in numbers, channels, relays and repetitions only. A fault of a kind at one
message stands for those at all messages of its position; a second one is drawn, in case it does not. Messages that make
a bench safe, and open it again, are sent only when something has happened before: they are found in the trails of
campaigns that were interrupted once.
"""

import random
import re
from collections import Counter
from dataclasses import dataclass

_NAMES = (
    (re.compile(rb"\b\d?[A-H]\d\d\b"), b"1A01"),
    (re.compile(rb"\bsmu[ab]\b"), b"smuX"),
    (re.compile(rb"(?<![A-Za-z_])[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"), b"#"),
    (re.compile(rb"(?<![A-Za-z_])[+-]?#"), b"#"),
)
_REPEATED = re.compile(rb"(.{4,120}?)\1+", re.S)


FIRST = ("killed after", "reply lost", "^C after")
"""Kinds of first faults, which have a bench made safe: by the next process, after an error, and for the operator."""


@dataclass(frozen=True, order=True)
class Planned:
    """An injection that is planned.

    Args:
        at: number of the message to which it happens, from 1.
        only: to that message or not at all.
        first: kind of the fault that happens before, "" for none, and `first_at` the number of its message.
        of: the instrument whose messages alone `at` counts, since those of several may be sent in parallel; "" for all.
        bench: a name in `BENCHES`.
    """

    kind: str
    at: int
    only: bool = False
    first: str = ""
    first_at: int = 0
    of: str = ""
    bench: str = "matrix"


def shape_of(message):
    """Return what a message has in common with those of its shape.

    >>> shape_of(b"smua.source.levelv=0.25"), shape_of(b"smub.source.levelv=-1e-3")
    (b'smuX.source.levelv=#', b'smuX.source.levelv=#')
    >>> shape_of(b'channel.close("1A01,1B02,2H12")') == shape_of(b'channel.close("2C03,1A01")')
    True
    """
    for names, name in _NAMES:
        message = names.sub(name, message)
    while (shorter := _REPEATED.sub(rb"\1", message)) != message:
        message = shorter
    return re.sub(rb"#A#(,#A#)*", b"#A#", message)


def positions_of(trail):
    """Return the numbers of the messages, from 1, of each position of a trail of (instrument, message, phase)."""
    positions = {}
    for number, (instrument, message, phase) in enumerate(trail, 1):
        positions.setdefault((instrument, shape_of(message), phase), []).append(number)
    return positions


def middle_of(trail, phase):
    """Return the number of the message in the middle of a phase, of the instrument that is talked to most in it."""
    numbers = {}
    for number, (instrument, _, when) in enumerate(trail, 1):
        if when == phase:
            numbers.setdefault(instrument, []).append(number)
    most = max(numbers.values(), key=len)
    return most[len(most) // 2]


def positions_after(trail, undisturbed, at):
    """Return the numbers of the messages of each position that only an interrupted campaign has.

    Args:
        trail: of the campaign that was interrupted at its message `at`.
        undisturbed: trail of one that was not.

    Returns:
        Numbers, from 1, among the messages of the position's instrument.
    """
    usual, numbers, positions = positions_of(undisturbed), Counter(), {}
    for number, (instrument, message, phase) in enumerate(trail, 1):
        numbers[instrument] += 1
        position = instrument, shape_of(message), phase
        if number > at and position not in usual:
            positions.setdefault(position, []).append(numbers[instrument])
    return positions


def planned_everywhere(kinds, positions, seed, first="", first_at=0, bench="matrix"):
    """Return every kind at every position: its first message, and one of its others.

    The order is drawn, so that a part of the list is a sample of it.

    Args:
        first: kind of the fault that happens before, at the message `first_at`; `positions` are those after it.
    """
    planned = set()
    for kind in kinds:
        for (instrument, shape, phase), (begin, *others) in positions.items():
            of = instrument if first else ""
            planned.add(Planned(kind, begin, True, first, first_at, of, bench))
            if others:
                dice = random.Random(f"{seed} {kind} {instrument} {shape!r} {phase}")
                planned.add(Planned(kind, dice.choice(others), True, first, first_at, of, bench))
    ordered = sorted(planned)
    random.Random(seed).shuffle(ordered)
    return ordered
