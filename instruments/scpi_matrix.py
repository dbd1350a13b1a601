"""Switch matrices over SCPI: a route is a list of channels that open, and one that close, each read back.

Relays open in a message of their own, and the others close once the closed set that is read back is what was to be
left: such an instrument has no script that would stop between the two.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar

from instruments.scpi import NEXT_ERROR, Refused, Scpi, error_in
from instruments.transport import CHECK, unexpected
from labctl.core.errors import BenchError, InstrumentError
from labctl.core.switch_matrix import Permit, refuse
from labctl.core.transport import Transport, Wait

DONE = "*OPC?"
_AT_ONCE = 40
"""Channels of one list."""


class ScpiMatrix(ABC):
    """A matrix over SCPI.

    Args:
        transport: the wire.
        name: in the bench file.
        model: as the bench file states it.
        permit: raises unless nothing is energised.
    """

    crosspoint: ClassVar[re.Pattern[str]]
    """Spelling of a channel."""
    example: ClassVar[str]
    """One channel."""
    question: ClassVar[str]
    """Asks for the list of closed channels, once the matrix is set up."""
    parts: ClassVar[str]
    """What relays are on: its modules, or its cards."""

    def __init__(self, transport: Transport, name: str, *, model: str, permit: Permit = refuse) -> None:
        self.name, self.permit, self._model = name, permit, model
        self._scpi = Scpi(transport, name)
        self._present: frozenset[str] | None = None
        self._set = False
        self.old_errors: tuple[str, ...] = ()
        """Errors that stood in the queue of the instrument when it was connected."""

    @abstractmethod
    def _read_closed(self) -> frozenset[str]:
        """Read the closed channels, however the matrix is set up."""

    @abstractmethod
    def _settle_moves(self) -> None:
        """Set which relays move and how; InstrumentError if it was not taken."""

    @abstractmethod
    def _parse(self, reply: str) -> frozenset[str]:
        """Return the channels in the answer to `question`; InstrumentError if it is no such list."""

    def connect(self) -> str:
        """Read identity and the closed set, and empty the error queue by reading it; set and move nothing.

        Raises:
            BenchError: another model answers.
        """
        identity = self._scpi.identity(self._model)
        self.old_errors = self._scpi.errors()
        self.closed()
        return identity

    def closed(self) -> frozenset[str]:
        """Read the closed crosspoints."""
        self._present = None
        self._present = self._read_closed()
        return self._present

    def route(self, closed: Iterable[str]) -> None:
        """Close exactly `closed`, starting from the set that was last read back.

        Raises:
            BenchError: a crosspoint that it does not have; nothing has moved.
            InstrumentError: the permit refused, a setting was not taken, or the closed set that is read back is
                another; the message names the difference.
        """
        wanted = frozenset(closed)
        for crosspoint in sorted(wanted):
            if not self._has(crosspoint):
                raise BenchError(
                    f"{self.name}: '{crosspoint}' is not a crosspoint of a {self._model}, such as {self.example}"
                )
        present = self.closed() if self._present is None else self._present
        if present == wanted:
            return
        self.permit()
        if not self._set:
            self._settle_moves()
            present = self.closed()
            self._set = True
        self._present = None
        if opening := sorted(present - wanted):
            present = self._move("OPEN", opening, present & wanted)
        if closing := sorted(wanted - present):
            present = self._move("CLOS", closing, wanted)
        self._present = present

    def _has(self, crosspoint: str) -> bool:
        """Return whether the model has a crosspoint."""
        return self.crosspoint.fullmatch(crosspoint) is not None

    def _move(self, verb: str, channels: Sequence[str], wanted: frozenset[str]) -> frozenset[str]:
        """Open or close channels, and return the closed set that is read back.

        Raises:
            InstrumentError: it refused, or the closed set is not `wanted`.
        """
        parts = [channels[at : at + _AT_ONCE] for at in range(0, len(channels), _AT_ONCE)]
        lines = [f":ROUT:{verb} (@{','.join(part)})" for part in parts]
        # [?] A question in the next message is answered when the relays have moved.
        ask = f"{DONE};{NEXT_ERROR};{self.question}"
        reply = self._scpi.transport.query("\n".join([*lines, ask]), wait=Wait.RELAY).strip()
        done, _, rest = reply.partition(";")
        error, _, closed = rest.rpartition(";")
        try:
            code, text = error_in(error)
        except InstrumentError as fault:
            raise unexpected(self.name, ask, reply, "1, an error and a list of channels") from fault
        if code:
            reasons = "; ".join([f"{code} {text}", *self._scpi.errors()])
            raise Refused(f"{self.name} refused a route: {reasons}; {CHECK}")
        if done != "1":
            raise unexpected(self.name, DONE, done, "1")
        after = self._parsed(closed)
        if after != wanted:
            raise InstrumentError(
                f"{self.name}: closed should be {names(wanted)}; missing {names(wanted - after)}, too many "
                f"{names(after - wanted)}. Look at its {self.parts}, and whether another program moves relays"
            )
        return after

    def _parsed(self, reply: str) -> frozenset[str]:
        """Return the crosspoints that the answer to `question` lists."""
        try:
            return self._parse(reply)
        except InstrumentError as error:
            raise unexpected(self.name, self.question, reply, f"channels such as (@{self.example})") from error

    def close(self) -> None:
        """Close the connection; relays stay as they are."""
        self._scpi.transport.close()


def names(crosspoints: Iterable[str]) -> str:
    """Return crosspoints as text, at most eight of them.

    >>> names([])
    'none'
    """
    listed = sorted(crosspoints)
    return ", ".join(listed[:8]) + (f" and {len(listed) - 8} more" if len(listed) > 8 else "") if listed else "none"
