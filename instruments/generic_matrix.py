"""A switch matrix that stands in for one that has no emulator. There is no real one.

Verified against: transcripts, and the emulated generic matrix of this project.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import Field

from instruments.json_lines import JsonLines
from instruments.transport import CHECK
from labctl.core.driver import Driver, DriverKind
from labctl.core.errors import InstrumentError
from labctl.core.model import Model
from labctl.core.switch_matrix import Permit, refuse
from labctl.core.transport import Transport, Wait


class GenericMatrixOptions(Model):
    """Options of a generic matrix in the bench file."""

    stands_for: str = Field(default="", description="the driver in whose place it is")


@dataclass(frozen=True)
class Opened:
    """Relays that were closed before they were opened, and those that are now."""

    before: list[str]
    now: list[str]


class GenericMatrix:
    """A matrix over lines of JSON, with the relays of the bench's wiring.

    Args:
        transport: the wire.
        name: in the bench file.
        permit: raises unless nothing is energised.
    """

    def __init__(self, transport: Transport, name: str, permit: Permit = refuse) -> None:
        self.name, self.permit = name, permit
        self._lines = JsonLines(transport, name)

    def connect(self) -> str:
        """Read identity and the closed set, change nothing."""
        identity = self._lines.identity("matrix")
        self.closed()
        return identity

    def closed(self) -> frozenset[str]:
        """Read the closed crosspoints."""
        return frozenset(self._lines.ask("closed", list[str]))

    def route(self, closed: Iterable[str]) -> None:
        """Close exactly `closed`: break, then make, then read back; nothing moves if it is so already.

        Raises:
            InstrumentError: the permit refused, it has no such relay, or the closed set that is read back is another.
        """
        wanted = frozenset(closed)
        if self.closed() == wanted:
            return
        self.permit()
        after = frozenset(self._lines.ask("route", list[str], closed=sorted(wanted), wait=Wait.RELAY))
        if after != wanted:
            raise InstrumentError(f"{self.name}: {sorted(after)} are closed; {sorted(wanted)} were expected; {CHECK}")

    def emergency_open(self) -> frozenset[str]:
        """Open every relay by the first bytes of a fresh connection; then verify. Return those closed before."""
        reply = self._lines.cut_in("open", "opened", Opened)
        if reply.now:
            raise InstrumentError(f"{self.name}: {len(reply.now)} relays are still closed; {CHECK}")
        return frozenset(reply.before)

    def close(self) -> None:
        """End the conversation; relays stay as they are."""
        self._lines.close()


def _make(name: str, options: GenericMatrixOptions, transport: Transport) -> GenericMatrix:
    """Return a generic matrix, which is emulated only."""
    return GenericMatrix(transport, name)


def spell(row: str, column: str) -> str:
    """Return the crosspoint of a row and a column, whatever they are called.

    >>> spell("A", "1-05")
    'A/1-05'
    """
    return f"{row}/{column}"


DRIVER = Driver(DriverKind.MATRIX, _make, GenericMatrixOptions, scheme=lambda options: spell, emulator="generic_matrix")
