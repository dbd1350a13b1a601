"""Replies of a 2600B: the state of a channel, and a sample.

In an emergency the state is asked for by an expression that can fail on no model and depends on no number format.
"""

import math
from dataclasses import replace
from datetime import UTC, date, datetime

from instruments.transport import LISTEN
from instruments.tsp import OVERFLOW, parse_numbers
from labctl.core.errors import InstrumentError
from labctl.core.operations import Flag
from labctl.core.source import ChannelState, Measure, Sample, Watch, refuse_undriven
from labctl.core.units import Ampere, Second, Volt

STATE = ("output", "func", "levelv", "leveli", "limiti", "limitv")
"""Attributes of a source that tell its state."""

OFF_STATES = (0.0, 2.0)
"""Values of `source.output` of an output that is off: off, and off with the relay open."""

_LATEST = 4102444800.0
"""The year 2100, s since 1970 UTC."""

I_LIMIT = 2
"""Bit 1 of the measurement condition register of a channel: the current limit is reached."""


def as_text(*values: str, source: str) -> str:
    """Return a Lua expression for the text of values of `s`, the table `source`, and "none" if it is nil or false.

    It does not depend on the number format set in the instrument, and cannot fail on an absent channel.
    """
    text = '..":"..'.join(f"tostring({value})" for value in values)
    return f'(function(s) if s then return {text} end return "none" end)({source})'


def state_of(text: str, where: str) -> ChannelState | None:
    """Return the state from the values of `STATE`, joined by colons; None for a channel that is absent.

    Args:
        where: instrument and channel.

    >>> state_of("1:1:0.1:0:0.01:40", "smu1.smua"), state_of("none", "smu1.smub")
    (ChannelState(output=True, level=0.1, limit=0.01, current=None, limit_v=nan), None)
    """
    if text == "none":
        return None
    return state_in(*numbers_in(text.replace(":", ","), len(STATE), where, "state"))


def numbers_in(text: str, count: int, where: str, what: str) -> list[float]:
    """Return the `count` numbers of a reply; InstrumentError if they are others, or no numbers.

    Args:
        where: instrument and channel.
        what: what they tell.
    """
    try:
        numbers = parse_numbers(text)
    except InstrumentError as error:
        raise InstrumentError(f"{where}: its {what} is '{text}'; expected numbers. {LISTEN}") from error
    if len(numbers) != count:
        raise InstrumentError(f"{where}: its {what} is '{text}'; expected numbers, {count} of them. {LISTEN}")
    return numbers


def state_in(output: float, func: float, level: Volt, current: Ampere, limit: Ampere, limit_v: Volt) -> ChannelState:
    """Return the state of a channel; what it does not force is left out of it."""
    if func == 1:
        return ChannelState(output not in OFF_STATES, level, limit)
    return ChannelState(output not in OFF_STATES, level, limit, current, limit_v)


def day_of(seconds: Second) -> date | None:
    """Return the day of a time in s since 1970 UTC, None of what is not set or no time of a calibration.

    >>> day_of(1767225600.0), day_of(0.0), day_of(9.9e37)
    (datetime.date(2026, 1, 1), None, None)
    """
    return datetime.fromtimestamp(seconds, UTC).date() if 0 < seconds < _LATEST else None


def sample_in(step: Watch | Measure, line: str, where: str) -> Sample:
    """Return the sample in the printed `line` of an instrument and channel, `where`."""
    values = numbers_in(line, 1 if isinstance(step, Watch) else 2 + step.voltage, where, "reading")
    if isinstance(step, Watch):
        return Sample(step.channel, math.nan, math.nan, Flag.COMPLIANCE if values[0] else Flag(0))
    sample = Sample(step.channel, values[0], values[1] if step.voltage else math.nan, Flag(0))
    flag = Flag.COMPLIANCE if int(values[-1]) & I_LIMIT else Flag(0)
    if abs(sample.current) > OVERFLOW or math.isnan(sample.current):
        return replace(sample, current=math.nan, flag=flag | Flag.OVERRANGE)
    return replace(sample, flag=flag)


def driven(channel: str, line: str, wanted: Volt) -> str:
    """Return the printed `line` without output and level at its end; NotDriven if they are not on at `wanted` V."""
    fields = line.rsplit("\t", 2)
    if len(fields) != 3:
        raise InstrumentError(f"{channel}: '{line}' does not tell of the output and its level. {LISTEN}")
    output, level = numbers_in(f"{fields[1]},{fields[2]}", 2, channel, "output and level")
    refuse_undriven(channel, output == 1, level, wanted)
    return fields[0]
