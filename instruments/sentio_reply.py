"""Queries of SENTIO, its replies and its error codes. Source: MPI's public Python package `sentio_prober_control`."""

from collections.abc import Container
from dataclasses import dataclass

from instruments.chuck_prober import EndOfRoute, NeedlesDown
from instruments.transport import unexpected
from labctl.core.errors import InstrumentError
from labctl.core.transport import Transport, Wait
from labctl.core.units import Second

END_OF_ROUTE = 1
"""Status bit of a reply: the route has no die after this one."""

NO_NUMBER = 9.9e37
"""From here on SCPI-99 writes what is no number (volume 1, 7.2.1): infinity, and with 9.91e37 NaN."""
ERRORS: dict[int, str] = {
    1: "internal error of SENTIO; ask its support",
    2: "SENTIO could not carry it out",
    3: "this station has no such module",
    4: "command not known",
    5: "command format not known",
    6: "a parameter is wrong",
    7: "the number of parameters is wrong",
    8: "a parameter is out of bounds",
    9: "file not found",
    10: "file format not known",
    11: "end of the route: no die is left to step to",
    12: "not allowed in the present state",
    13: "not supported by this version of SENTIO",
    14: "the subsite is not on the route",
    15: "no project is open; open the wafer's project",
    16: "end of the list",
    17: "prealignment failed",
    18: "the home position is not set; train it",
    19: "SENTIO's own time ran out",
    20: "the pattern is not trained",
    21: "the pattern was not found",
    22: "too many patterns were found",
    23: "the contact height is not set; set it by hand before measuring",
    24: "autofocus on the wafer failed",
    25: "autofocus on the tips failed",
    26: "a probe tip was not found",
    27: "the offset is over tolerance",
    30: "a command is still running",
    31: "a command was aborted",
    32: "SENTIO does not know this command's number",
    35: "the camera is not calibrated",
    36: "the camera is not installed",
    37: "alignment is worse than 10 um",
    38: "the chuck is not low enough to step; separate first",
    60: "the front door is open",
    61: "the loader door is open",
    62: "the front door does not lock",
    63: "the loader door does not lock",
    64: "the slot or station is occupied",
    65: "the slot or station is empty",
    66: "the back door is open",
    67: "the side door is open",
    68: "the vacuum has failed; the wafer is not held",
    69: "the tray door is open",
}
"""Codes 0-69 in operator words; codes not listed are not in use."""


@dataclass(frozen=True)
class Reply:
    """One answer of SENTIO.

    Args:
        error: 0 is none.
        end_of_route: status bit.
        text: values or message.
    """

    error: int
    end_of_route: bool
    text: str


def parse_reply(line: str) -> Reply:
    """Return the parts of a reply ``code,id,text``, code being error (10 bits) and status (the bits above).

    >>> parse_reply("1024,0,4,7,0")
    Reply(error=0, end_of_route=True, text='4,7,0')
    """
    fields = line.split(",", 2)
    try:
        code = int(fields[0])
        int(fields[1])
        return Reply(code & 1023, bool(code >> 10 & END_OF_ROUTE), fields[2].strip())
    except (ValueError, IndexError) as error:
        raise InstrumentError(f"'{line}' is not a reply of SENTIO; expected code,id,text") from error


class SentioLink:
    """Commands and queries of SENTIO in its native command set.

    Args:
        transport: to the station.
        name: of the station in the bench file.
    """

    def __init__(self, transport: Transport, name: str) -> None:
        self.transport, self.name = transport, name

    def ask(self, command: str, *, wait: Wait = Wait.QUERY, allowed: Container[int] = (), extra: Second = 0.0) -> Reply:
        """Send a command and return its reply; InstrumentError with the meaning of its error code, unless `allowed`.

        Args:
            extra: time that it may take beyond the deadline of `wait`, s.
        """
        line = self.transport.query(command, wait=wait, extra=extra)
        try:
            reply = parse_reply(line)
        except InstrumentError as error:
            raise unexpected(self.name, command.strip(), line, "code,id,text") from error
        if reply.error == 0 or reply.error in allowed:
            return reply
        words = ERRORS.get(reply.error, "not in the table of codes")
        kind = {11: EndOfRoute, 38: NeedlesDown}.get(reply.error, InstrumentError)
        text = f" ('{reply.text}')" if reply.text else ""
        raise kind(f"{self.name} refused '{command.strip()}': {words}, error {reply.error}{text}; look at the station")

    def numbers(self, command: str, count: int) -> list[float]:
        """Return the first `count` numbers of the reply to a query; InstrumentError unless they are finite.

        A height that is no number is beyond every other and says nothing of where the needles are.
        """
        text = self.ask(command).text
        try:
            numbers = [float(part) for part in text.split(",")]
        except ValueError as error:
            raise unexpected(self.name, command, text, "numbers") from error
        if len(numbers) < count:
            raise unexpected(self.name, command, text, f"{count} numbers")
        if not all(abs(number) < NO_NUMBER for number in numbers[:count]):
            raise unexpected(self.name, command, text, "finite numbers")
        return numbers[:count]

    def integers(self, command: str, text: str) -> list[int]:
        """Return the whole numbers in the text that answers a command."""
        try:
            return [int(part) for part in text.split(",")]
        except ValueError as error:
            raise unexpected(self.name, command, text, "whole numbers") from error
