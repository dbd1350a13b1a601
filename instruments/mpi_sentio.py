"""MPI SENTIO probe stations. Written from the vendor's public command reference; not verified on a real prober.

Verified against: transcripts of public facts, and the emulated SENTIO of this project.

A prober has no undo: it moves only after a guard has said that the outputs are off, only at a separation that was
read back, never beyond an overtravel ceiling, and an answer that does not come in time is an error here, whatever the
vendor's own reader thinks of waiting for ever.
"""

from dataclasses import dataclass

from pydantic import Field

from labctl.core.errors import ContactError, InstrumentError
from labctl.core.instrument import Guard, Heights, Position, Subsite, Transport, Wait
from labctl.core.procedure import Model
from labctl.core.units import Metre

MICRON = 1e-6
END_OF_ROUTE = 1
"""Status bit of a reply: the route has no die after this one."""

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


class NeedlesDown(InstrumentError):
    """The chuck is not verified separated; nothing may move."""


class EndOfRoute(InstrumentError):
    """There is no die to step to."""


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


class SentioOptions(Model):
    """What the bench file says of the chuck. Clearance and tolerance are engineering defaults."""

    overtravel_ceiling: Metre = Field(ge=0, description="needles never go further beyond contact than this")
    clearance: Metre = Field(default=50e-6, gt=0, description="least distance below contact that counts as separated")
    tolerance: Metre = Field(default=2e-6, gt=0, description="how far from its height the chuck may stop")


class MpiSentio:
    """A SENTIO station over its remote-command socket.

    Args:
        transport: the wire; its probe must be None or ``*RCS 1`` with ``status:get_version`` behind it.
        name: in the bench file.
        options: ceilings and tolerances.
        guard: raises unless the outputs are verified off; called before every motion.
    """

    def __init__(self, transport: Transport, name: str, options: SentioOptions, guard: Guard) -> None:
        self.name, self.guard, self._transport, self._options = name, guard, transport, options

    def connect(self) -> str:
        """Choose the native command set for this connection and read version, heights and site; nothing moves."""
        version = self._ask("*RCS 1\nstatus:get_version").text
        self.heights()
        return version

    def heights(self) -> Heights:
        """Return the heights of the wafer site; InstrumentError if contact is not set or overtravel is too far."""
        has_contact, overtravel_on = self._site()
        if not has_contact:
            raise InstrumentError(f"{self.name}: {ERRORS[23]}")
        found = self._numbers("get_chuck_site_heights Wafer", 4)
        heights = Heights(*(value * MICRON for value in found))
        ceiling = self._options.overtravel_ceiling
        if overtravel_on and heights.overtravel > ceiling * (1 + 1e-9):
            raise InstrumentError(
                f"{self.name}: overtravel is set to {heights.overtravel * 1e6:.4g} um, "
                f"the bench file allows {ceiling * 1e6:.4g} um"
            )
        return heights

    def version(self) -> str:
        """Return SENTIO's version text."""
        return self._ask("status:get_version").text

    def step(self, col: int, row: int, subsite: Subsite | None = None) -> Position:
        """Be at die (col, row), separated: separates first, verifies it, and steps only then.

        Args:
            col: column of the die on the map.
            row: its row.
            subsite: one of the subsites of SENTIO's project, which has to lie where this one says.

        Raises:
            EndOfRoute: the map has no such die on its route.
            InstrumentError: SENTIO refused, stands elsewhere, or knows the subsite as another.
        """
        if subsite is not None:
            self._compare(subsite)
        site = 0 if subsite is None else subsite.number
        self.separate()
        reply = self._move(f"map:step_die {col}, {row}, {site}")
        found = self._integers(reply.text)
        if found[:3] != [col, row, site]:
            raise InstrumentError(
                f"{self.name}: stepped to die ({col}, {row}), subsite {site}, but stands at {tuple(found[:3])}"
            )
        return Position(col, row, reply.end_of_route)

    def _compare(self, subsite: Subsite) -> None:
        """Raise InstrumentError unless SENTIO's table has `subsite` where it is said to be."""
        text = self._ask(f"map:subsite:get {subsite.number}, UR").text
        try:
            x, y = (float(part) * MICRON for part in text.split(",")[1:3])
        except ValueError as error:
            raise InstrumentError(f"{self.name}: '{text}' is no subsite; expected name,x,y") from error
        if max(abs(x - subsite.x), abs(y - subsite.y)) > self._options.tolerance:
            raise InstrumentError(
                f"{self.name}: subsite {subsite.number} of SENTIO's project lies at ({x * 1e6:.6g}, {y * 1e6:.6g}) um, "
                f"and {subsite.name} is at ({subsite.x * 1e6:.6g}, {subsite.y * 1e6:.6g}) um"
            )

    def contact(self) -> None:
        """Have the needles on the pads: heights judged, chuck up, position read back.

        Raises:
            ContactError: the chuck stopped elsewhere.
        """
        self.guard()
        self.heights()
        if self.in_contact():
            return
        self._move("move_chuck_contact")
        if not self.in_contact():
            raise ContactError(f"{self.name}: the chuck did not reach contact; it stands at {self._z() * 1e6:.1f} um")

    def separate(self) -> None:
        """Have the needles off the pads, verified. Nothing moves when they are."""
        if self.separated():
            return
        self.guard()
        self._move("move_chuck_separation ")
        if not self.separated():
            raise NeedlesDown(f"{self.name}: the chuck did not separate; it stands at {self._z() * 1e6:.1f} um")

    def in_contact(self) -> bool:
        """Return whether the chuck stands at contact or in its overtravel, as read back."""
        heights, z = self.heights(), self._z()
        beyond = z - heights.contact
        return -self._options.tolerance <= beyond <= self._options.overtravel_ceiling + self._options.tolerance

    def separated(self) -> bool:
        """Return whether the chuck stands below contact by at least the clearance, as read back."""
        contact = self._numbers("get_chuck_site_heights Wafer", 4)[0] * MICRON
        return contact - self._z() >= self._options.clearance * (1 - 1e-9)

    def touches(self) -> int:
        """Return how often the chuck has gone to contact since SENTIO's counter was last reset."""
        return self._integers(self._ask("setup:contact_counter:get").text)[0]

    def close(self) -> None:
        """Give the station back to its operator and end the conversation; nothing moves."""
        try:
            self._transport.write("*LOCAL")
        finally:
            self._transport.close()

    def _site(self) -> tuple[bool, bool]:
        """Return whether the wafer site has a contact height and overtravel on; InstrumentError without vacuum."""
        found = self._integers(self._ask("get_chuck_site_status Wafer").text)
        if len(found) < 4:
            raise InstrumentError(f"{self.name}: site status {found}; expected home, contact, overtravel, vacuum")
        if not found[3]:
            raise InstrumentError(f"{self.name}: {ERRORS[68]}")
        return bool(found[1]), bool(found[2])

    def _z(self) -> Metre:
        return self._numbers("get_chuck_z Z", 1)[0] * MICRON

    def _move(self, command: str) -> Reply:
        return self._ask(command, wait=Wait.MOTION)

    def _ask(self, command: str, *, wait: Wait = Wait.QUERY) -> Reply:
        """Send a command; raise what its error code means."""
        reply = parse_reply(self._transport.query(command, wait=wait))
        if reply.error == 0:
            return reply
        words = ERRORS.get(reply.error, "not in the table of codes")
        kind = {11: EndOfRoute, 38: NeedlesDown}.get(reply.error, InstrumentError)
        said = f" ('{reply.text}')" if reply.text else ""
        raise kind(f"{self.name} refused '{command.strip()}': {words}, error {reply.error}{said}")

    def _numbers(self, command: str, count: int) -> list[float]:
        text = self._ask(command).text
        try:
            found = [float(part) for part in text.split(",")]
        except ValueError as error:
            raise InstrumentError(f"{self.name}: '{text}' answers '{command}'; expected numbers") from error
        if len(found) < count:
            raise InstrumentError(f"{self.name}: '{text}' answers '{command}'; expected {count} numbers")
        return found[:count]

    def _integers(self, text: str) -> list[int]:
        try:
            return [int(part) for part in text.split(",")]
        except ValueError as error:
            raise InstrumentError(f"{self.name}: '{text}' was answered where whole numbers were expected") from error
