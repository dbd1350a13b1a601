"""SCPI as drivers speak it: settings whose errors are read, queries of several values, identities.

Dialect: IEEE 488.2 and SCPI-1999. A setting and the question for its errors are two messages in one piece, since a
message with an error in it may be dropped whole.
"""

import contextlib
import math
import re
from collections.abc import Sequence

from instruments.identity import fields_of
from instruments.transport import CHECK, brief, unexpected
from labctl.core.errors import BenchError, InstrumentError, LabError
from labctl.core.transport import Transport, Wait
from labctl.core.units import Second

NEXT_ERROR = ":SYST:ERR?"
MOST_ERRORS = 64
"""Entries of an error queue that are read."""
BEYOND = 9e37
"""Numbers that stand for overflow, infinity and "not a number" are larger than this."""
_ERROR = re.compile(r'\s*([+-]?\d+)\s*,\s*"?(.*?)"?\s*$')


class Refused(InstrumentError):
    """The instrument is there and has put an error into its queue."""


def number(value: float) -> str:
    """Return a number as it is sent, with all the digits that count.

    >>> number(1e-7), number(0.3), number(0)
    ('1e-07', '0.3', '0')
    """
    return f"{value:.9g}"


def numbers_in(text: str) -> list[float]:
    """Return the comma separated numbers of a reply, NaN for what stands for none; InstrumentError for other text.

    >>> numbers_in("+1.000000E-03,+9.910000E+37")
    [0.001, nan]
    """
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InstrumentError(f"the reply '{text}' is not a list of numbers") from error
    return [math.nan if abs(value) > BEYOND else value for value in values]


def error_in(reply: str) -> tuple[int, str]:
    """Return number and text of a reply to the question for an error; InstrumentError if it is none.

    >>> error_in('-113,"Undefined header"'), error_in('0,"No error"')
    ((-113, 'Undefined header'), (0, 'No error'))
    """
    match = _ERROR.match(reply)
    if match is None:
        raise InstrumentError(f"'{reply[:60]}' answers where an error number was expected")
    return int(match[1]), match[2]


class Scpi:
    """Commands and queries in this dialect.

    Args:
        transport: to the instrument.
        name: of the instrument in the bench file, for messages.
    """

    def __init__(self, transport: Transport, name: str) -> None:
        self.transport, self.name = transport, name

    def identity(self, model: str) -> str:
        """Return the identity; BenchError unless it is of this model, in any case and in any form that makers use."""
        line = self.transport.query("*IDN?").strip()
        if fields_of(line, model).model.upper() != model.upper():
            proxy = "; that is no identity: a proxy or another program may listen there"
            stranger = "" if line.count(",") >= 2 else proxy
            words = f"{self.name}: '{line}' answers, and the bench file says {model}{stranger}"
            raise BenchError(f"{words}; check its address in the bench file")
        return line

    def ask(self, queries: Sequence[str], *, wait: Wait = Wait.QUERY, extra: Second = 0.0) -> list[str]:
        """Return the replies to some queries that go as one message.

        Raises:
            InstrumentError: there are fewer or more replies than queries.
        """
        text = ";".join(queries)
        reply = self.transport.query(text, wait=wait, extra=extra)
        replies = [part.strip() for part in reply.split(";")]
        if len(replies) != len(queries):
            raise unexpected(self.name, text, reply.strip(), f"{len(queries)} replies")
        return replies

    def numbers(self, reply: str, command: str, count: int = 1) -> list[float]:
        """Return the numbers that answer a command, NaN for what stands for none; InstrumentError for anything else."""
        try:
            values = numbers_in(reply)
        except InstrumentError as error:
            raise unexpected(self.name, command, reply, "numbers") from error
        if len(values) != count:
            raise unexpected(self.name, command, reply, f"{count} numbers")
        return values

    def number(self, reply: str, command: str) -> float:
        """Return the number that answers a command; InstrumentError if it is none."""
        return self.numbers(reply, command)[0]

    def is_on(self, reply: str, command: str = ":OUTP?") -> bool:
        """Return whether a switch is on; InstrumentError for a reply that is neither 0 nor 1."""
        if reply.strip() not in ("0", "1"):
            raise unexpected(self.name, command, reply.strip(), "0 or 1")
        return reply.strip() == "1"

    def set(self, text: str, *, extra: Second = 0.0) -> None:
        """Send settings as one message and read the error queue; Refused if it has one."""
        code, message = self._error(self.transport.query(f"{text}\n{NEXT_ERROR}", wait=Wait.SETTING, extra=extra))
        if code:
            others = self.errors()
            reasons = "; ".join([f"{code} {message}", *others])
            raise Refused(f"{self.name} refused '{brief(text)}': {reasons}; {CHECK}")

    def errors(self) -> tuple[str, ...]:
        """Read the error queue empty and return what was in it."""
        entries: list[str] = []
        for _ in range(MOST_ERRORS):
            code, message = self._error(self.transport.query(NEXT_ERROR))
            if code == 0:
                return tuple(entries)
            entries.append(f"{code} {message}")
        return (*entries, "and more")

    def _error(self, reply: str) -> tuple[int, str]:
        try:
            return error_in(reply)
        except InstrumentError as error:
            raise unexpected(self.name, NEXT_ERROR, reply.strip(), "the number of an error") from error

    def cut_in(self, lines: Sequence[str], queries: Sequence[str]) -> list[str]:
        """Send `lines` as the first bytes of a fresh connection, then `queries` as one message; return the replies.

        A reply of before, to what was under way, may precede them: it is told by its number of parts.

        Raises:
            InstrumentError: it cannot be reached, or does not answer.
        """
        reply = self.transport.cut_in(
            "\n".join(lines), ";".join(queries), lambda line: line.count(";") == len(queries) - 1
        )[-1]
        with contextlib.suppress(LabError):
            self.errors()  # of what was ended
        return [part.strip() for part in reply.split(";")]
