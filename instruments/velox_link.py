"""Commands of Velox and its replies, in both framings.

Over GPIB or VISA a command is a line, `MoveChuckContact 100`, and its reply code and values, `0: 1 2`. Over the message
server's socket the same words stand in a frame with a number that the reply repeats: `Cmd=7:MoveChuckContact:100`,
`Rsp=7:0:`; a connection registers itself first. [?] A reply ends with a newline: "usually", the maker's client says.
Sources: PyMeasure's driver, and the maker's public SDK (MIT).
"""

import re
from collections.abc import Container
from dataclasses import dataclass

from instruments.chuck_prober import EndOfRoute
from instruments.transport import unexpected
from labctl.core.errors import InstrumentError
from labctl.core.transport import Transport, Wait

END_OF_WAFER = 703
"""Code of a step behind the last die."""
MOST_FRAMES = 999
"""Frames are numbered from 1 to this."""
NO_NUMBER = 9.9e37
_LINE = re.compile(r"\s*(\d+):\s?(.*)", re.S)
_FRAME = re.compile(r"\s*Rsp=(\d+):(-?\d+)(?::(.*))?", re.S)
_VALUE = re.compile(r'"([^"]*)"|(\S+)')
_ANY = range(1, 1 << 20)


@dataclass(frozen=True)
class Answer:
    """A reply of Velox.

    Args:
        code: 0 is none.
        values: as texts, those in quotes without them.
    """

    code: int
    values: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Its values in one line."""
        return " ".join(self.values)


def values_in(text: str) -> tuple[str, ...]:
    """Return the values of a reply.

    >>> values_in('3 "two words" -1.5')
    ('3', 'two words', '-1.5')
    """
    return tuple(quoted or plain for quoted, plain in _VALUE.findall(text.strip()))


class VeloxLink:
    """Commands and queries of Velox.

    Args:
        transport: to the station.
        name: of the station in the bench file.
        framed: it is the message server.
    """

    def __init__(self, transport: Transport, name: str, *, framed: bool) -> None:
        self.transport, self.name, self._framed = transport, name, framed
        self._number = 0

    def ask(self, command: str, *values: float | str, wait: Wait = Wait.QUERY, allowed: Container[int] = ()) -> Answer:
        """Send a command and return its reply.

        Raises:
            EndOfRoute: there is no die behind the last one.
            InstrumentError: Velox answers with a code that is not `allowed`, or with something else than a reply.
        """
        arguments = " ".join(map(str, values))
        spelled = f"{command} {arguments}".rstrip()
        if self._framed:
            self._number = self._number % MOST_FRAMES + 1
            reply = self.transport.query(f"Cmd={self._number}:{command}:{arguments}", wait=wait)
        else:
            reply = self.transport.query(spelled, wait=wait)
        answer = self._answer(spelled, reply)
        if answer.code == 0 or answer.code in allowed:
            return answer
        kind = EndOfRoute if answer.code == END_OF_WAFER else InstrumentError
        raise kind(f"{self.name} refused '{spelled}': error {answer.code} ('{answer.text}'); look at the station")

    def _answer(self, spelled: str, reply: str) -> Answer:
        """Return a reply as a code and values; InstrumentError if it is none, or that to another frame."""
        match = (_FRAME if self._framed else _LINE).fullmatch(reply)
        if match is None:
            raise unexpected(
                self.name, spelled, reply.strip(), "Rsp=number:code:values" if self._framed else "code: values"
            )
        if not self._framed:
            return Answer(int(match[1]), values_in(match[2]))
        if int(match[1]) != self._number:
            raise unexpected(self.name, spelled, reply.strip(), f"the reply to frame {self._number}")
        return Answer(int(match[2]), values_in(match[3] or ""))

    def numbers(self, command: str, *values: float | str, count: int) -> list[float]:
        """Return the first `count` numbers of the reply to a query; InstrumentError unless they are finite.

        A height that is no number is beyond every other and says nothing of where the needles are.
        """
        answer = self.ask(command, *values)
        try:
            numbers = [float(value) for value in answer.values[:count]]
        except ValueError as error:
            raise unexpected(self.name, command, answer.text, "numbers") from error
        if len(numbers) < count or not all(abs(number) < NO_NUMBER for number in numbers):
            raise unexpected(self.name, command, answer.text, f"{count} finite numbers")
        return numbers

    def integers(self, command: str, answer: Answer, count: int) -> tuple[int, ...]:
        """Return the first `count` values of a reply as whole numbers; InstrumentError if they are none."""
        try:
            numbers = tuple(int(value) for value in answer.values[:count])
        except ValueError as error:
            raise unexpected(self.name, command, answer.text, "whole numbers") from error
        if len(numbers) < count:
            raise unexpected(self.name, command, answer.text, f"{count} whole numbers")
        return numbers

    def doubtful(self, command: str) -> Answer:
        """Send a query that the station may refuse, and return its reply all the same."""
        return self.ask(command, allowed=_ANY)
