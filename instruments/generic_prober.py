"""A prober that stands in for one that has no emulator. There is no real one.

Verified against: transcripts, and the emulated generic prober of this project.
"""

from dataclasses import dataclass

from pydantic import Field

from instruments.json_lines import JsonLines
from labctl.core.driver import Driver, DriverKind
from labctl.core.errors import InstrumentError
from labctl.core.model import Model
from labctl.core.prober import Position, Subsite
from labctl.core.switch_matrix import Permit, refuse
from labctl.core.transport import Transport, Wait


class GenericProberOptions(Model):
    """Options of a generic prober in the bench file."""

    stands_for: str = Field(default="", description="the driver in whose place it is")


@dataclass(frozen=True)
class Stand:
    """Where it stands: column, row and subsite, whether in contact, and whether at the last die of its route."""

    place: tuple[int, int, int]
    contact: bool
    last: bool


class GenericProber:
    """A prober over lines of JSON, at the map of the bench's twin.

    Args:
        transport: the wire.
        name: in the bench file.
        permit: raises unless outputs are verified off; called before every motion.
    """

    def __init__(self, transport: Transport, name: str, permit: Permit = refuse) -> None:
        self.name, self.permit = name, permit
        self._lines = JsonLines(transport, name)
        self._up = False
        """Separation was commanded here and verified, and nothing moved since."""

    def connect(self) -> str:
        """Read identity and height, change nothing."""
        identity = self._lines.identity("prober")
        self.in_contact()
        return identity

    def step(self, col: int, row: int, subsite: Subsite | None = None) -> Position:
        """Be at a die, or at one subsite of it, separated; InstrumentError if it is not on the map."""
        self.separate()
        site = 0 if subsite is None else subsite.number
        here, wanted = self._where(), (col, row, site)
        if here.place != wanted:
            self.permit()
            here = self._lines.ask("step", Stand, place=wanted, wait=Wait.MOTION)
        if here.place != wanted or here.contact:
            raise InstrumentError(
                f"{self.name} stands at {here}; {list(wanted)}, separated, was expected; look at the station"
            )
        return Position(col, row, end_of_route=here.last)

    def contact(self) -> None:
        """Have the needles on the pads, verified."""
        self._move("contact", True)

    def separate(self) -> None:
        """Have the needles off the pads: commanded, and seen."""
        if not self._up:
            self._move("separate", False)
            self._up = True

    def in_contact(self) -> bool:
        """Return whether the needles are on the pads."""
        return self._where().contact

    def separated(self) -> bool:
        """Return whether separation was commanded here and the prober has stood so since."""
        return self._up and not self.in_contact()

    def close(self) -> None:
        """End the conversation; nothing moves."""
        self._lines.close()

    def _where(self) -> Stand:
        return self._lines.ask("where", Stand)

    def _move(self, verb: str, down: bool) -> None:
        """Move the needles unless they are there already, and verify."""
        self._up = False
        if self.in_contact() != down:
            self.permit()
            self._lines.ask(verb, object, wait=Wait.MOTION)
        if self.in_contact() != down:
            raise InstrumentError(
                f"{self.name}: the needles are {'up' if down else 'down'} after '{verb}'; look at the station"
            )


def _make(name: str, options: GenericProberOptions, transport: Transport) -> GenericProber:
    """Return a generic prober, which is emulated only."""
    return GenericProber(transport, name)


DRIVER = Driver(DriverKind.PROBER, _make, GenericProberOptions, emulator="generic_prober")
