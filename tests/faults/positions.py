"""Where a fault can happen in a campaign: the instrument, the shape of the message, and the phase of the campaign.

Two messages have one shape if they differ in numbers, channels, relays and repetitions only. A fault of a kind at one
message stands for those at all messages of its position; a second one is drawn, in case it does not.
"""

import random
import re

_NAMES = (
    (re.compile(rb"\b\d?[A-H]\d\d\b"), b"1A01"),
    (re.compile(rb"\bsmu[ab]\b"), b"smuX"),
    (re.compile(rb"(?<![A-Za-z_])[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"), b"#"),
    (re.compile(rb"(?<![A-Za-z_])[+-]?#"), b"#"),
)
_REPEATED = re.compile(rb"(.{4,120}?)\1+", re.S)


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


def planned_everywhere(kinds, positions, seed):
    """Return every kind at every position as (kind, message): its first message, and one of its others.

    The order is drawn, so that a part of the list is a sample of it.
    """
    planned = set()
    for kind in kinds:
        for (instrument, shape, phase), (first, *others) in positions.items():
            planned.add((kind, first))
            if others:
                dice = random.Random(f"{seed} {kind} {instrument} {shape!r} {phase}")
                planned.add((kind, dice.choice(others)))
    ordered = sorted(planned)
    random.Random(seed).shuffle(ordered)
    return ordered
