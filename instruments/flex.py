"""FLEX, the commands of Keysight's B1500A and E5270B: letters, a channel, numbers; and the status letters of data.

A command that the instrument refuses has no reply; its error is asked for behind each one. Sources: PyMeasure's and
QCoDeS's drivers, and public code that quotes replies to `*LRN?`.
"""

import math
import re
from dataclasses import dataclass

from instruments.transport import CHECK, brief, unexpected
from labctl.core.errors import InstrumentError
from labctl.core.transport import Transport, Wait
from labctl.core.units import Second

EXTENDED, CODES = "ERRX?", "ERR?"
"""Questions for errors: one with its text, of a B1500A; the last four numbers, of an E5270B."""
MOST_ERRORS = 16
BEYOND = 1e99
"""Numbers that stand for none are larger than this."""
STATUS = {
    "N": "",
    "T": "",
    "C": "",
    "V": "",
    "X": "a channel oscillates, or the source did not settle",
    "F": "a unit is saturated",
    "G": "nothing was found",
    "S": "a search was stopped",
}
"""Letters that data begin with; those with a text make a reading useless. T: another channel is at its limit."""
_ERROR = re.compile(r'\s*([+-]?\d+)\s*,\s*"(.*)"\s*$')
_FOUR = re.compile(r"\s*[+-]?\d+(\s*,\s*[+-]?\d+){3}\s*$")
_DATUM = re.compile(r"\s*([A-Z])([A-Z])([VI])([+-]?\d[\d.]*(?:E[+-]?\d+)?)\s*$")
_COMMAND = re.compile(r"([A-Z]+)([-+\d.,E ]*)")


class Refused(InstrumentError):
    """The instrument is there and tells an error."""


@dataclass(frozen=True)
class Datum:
    """One value of a reading.

    Args:
        status: its letter.
        channel: its number.
        kind: V or I.
        value: NaN beyond the range.
    """

    status: str
    channel: int
    kind: str
    value: float


def datum_in(text: str) -> Datum | None:
    """Return the datum of a reply in format 1; None if it is none.

    >>> datum_in("CBI+1.00000E-03")
    Datum(status='C', channel=2, kind='I', value=0.001)
    """
    match = _DATUM.match(text)
    if match is None or match[1] not in STATUS:
        return None
    value = float(match[4])
    beyond = match[1] == "V" or abs(value) > BEYOND
    return Datum(match[1], ord(match[2]) - ord("A") + 1, match[3], math.nan if beyond else value)


def commands_in(text: str) -> list[tuple[str, tuple[float, ...]]]:
    """Return the commands that a reply to `*LRN?` consists of, each with its numbers.

    >>> commands_in("DV1,200,+00.5000E+00,+100.000E-06,0,16;CL2")
    [('DV', (1.0, 200.0, 0.5, 0.0001, 0.0, 16.0)), ('CL', (2.0,))]
    """
    commands = []
    for part in text.strip().split(";"):
        match = _COMMAND.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"'{part}' is no command")
        commands.append((match[1], tuple(float(number) for number in match[2].split(",") if number.strip())))
    return commands


class Flex:
    """Commands and queries in this dialect.

    Args:
        transport: to the instrument.
        name: of the instrument in the bench file.
        error: the question for errors that it knows.
    """

    def __init__(self, transport: Transport, name: str, error: str) -> None:
        self.transport, self.name, self.error = transport, name, error

    def set(self, *commands: str, extra: Second = 0.0) -> None:
        """Send commands as one message, and ask for errors; Refused if there is one."""
        text = ";".join(commands)
        self._raise(text, self.transport.query(f"{text}\n{self.error}", wait=Wait.SETTING, extra=extra))

    def ask(self, text: str, *, wait: Wait = Wait.QUERY, extra: Second = 0.0) -> str:
        """Send a query and return its one reply; Refused if there is an error in its place."""
        replies = self._replies(text, wait=wait, extra=extra)
        if len(replies) != 1:
            raise unexpected(self.name, text, " ".join(replies), "one reply")
        return replies[0]

    def _replies(self, text: str, *, wait: Wait, extra: Second = 0.0) -> list[str]:
        *replies, last = self.transport.converse(f"{text}\n{self.error}", self.is_error, wait=wait, extra=extra)
        self._raise(text, last)
        return [reply.strip() for reply in replies]

    def learn(self, kind: int) -> list[tuple[str, tuple[float, ...]]]:
        """Return the commands that answer `*LRN?`; InstrumentError if it is none."""
        text = f"*LRN? {kind}"
        reply = self.ask(text)
        try:
            return commands_in(reply)
        except ValueError as error:
            raise unexpected(self.name, text, reply, "commands with numbers") from error

    def datum(self, command: str, channel: int, kind: str, *, extra: Second = 0.0) -> Datum:
        """Take a reading of a channel; InstrumentError if another channel or quantity answers, or it is useless."""
        return self.data(command, channel, kind, extra=extra)[0]

    def data(self, command: str, channel: int, kinds: str, *, extra: Second = 0.0) -> list[Datum]:
        """Take readings of a channel by one message, each of the quantity V or I, in the order of `kinds`.

        Raises:
            InstrumentError: another channel, quantity or number of readings answers, or one is useless.
        """
        replies = ",".join(self._replies(command, wait=Wait.MEASURE, extra=extra)).split(",")
        data = [datum for reply in replies if (datum := datum_in(reply)) is not None and datum.channel == channel]
        if len(replies) != len(kinds) or [datum.kind for datum in data] != list(kinds):
            wanted = " and ".join(f"a status letter, channel {channel} and {kind} with a number" for kind in kinds)
            raise unexpected(self.name, command, " ".join(replies), wanted)
        for datum in data:
            if STATUS[datum.status]:
                raise InstrumentError(
                    f"{self.name}: {command} has status {datum.status}: {STATUS[datum.status]}; {CHECK}"
                )
        return data

    def errors(self) -> tuple[str, ...]:
        """Read the errors empty and return what they were."""
        entries: list[str] = []
        for _ in range(MOST_ERRORS):
            entry = self._errors_in(self.transport.query(self.error))
            if not entry:
                return tuple(entries)
            entries.append(entry)
        return (*entries, "and more")

    def is_error(self, line: str) -> bool:
        """Return whether a line answers the question for errors."""
        return bool((_ERROR if self.error == EXTENDED else _FOUR).match(line))

    def _errors_in(self, reply: str) -> str:
        """Return the errors of a reply; "" if there is none."""
        if not self.is_error(reply):
            raise unexpected(self.name, self.error, reply.strip(), "the number of an error")
        if self.error == EXTENDED:
            code, _, text = reply.strip().partition(",")
            return "" if int(code) == 0 else f"{int(code)} {text}"
        return ", ".join(code.strip() for code in reply.split(",") if int(code))

    def _raise(self, text: str, reply: str) -> None:
        entry = self._errors_in(reply)
        if entry:
            others = self.errors()
            reasons = "; ".join([f"error {entry}", *others])
            raise Refused(f"{self.name} refused '{brief(text)}': {reasons}; {CHECK}")
