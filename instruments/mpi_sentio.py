"""MPI SENTIO probe stations. Written from the vendor's public command reference; not verified on a real prober.

Verified against: transcripts of public facts, and the emulated SENTIO of this project.

A prober has no undo: it moves only after a permit has verified that the outputs are off, only at a separation that was
commanded here and verified (`chuck`), never beyond an overtravel ceiling. A missing reply is an error here, although
the vendor's own reader waits for ever. A step is verified by a second query of the die and by the distance that the
chuck has moved.

No public command reads the stepping contact mode or the compensation. The mode is therefore set before the first step,
and the compensation appears in the height of the chuck. One module of 310 lines, because a driver is one file and one
class.
"""

from pydantic import Field

from instruments.chuck import ChuckLevels
from instruments.sentio_reply import ERRORS, NeedlesDown, Reply, SentioLink
from instruments.stepping import ChuckPlace, misled
from instruments.transport import unexpected
from labctl.core.driver import Driver, DriverKind
from labctl.core.errors import ContactError, InstrumentError
from labctl.core.model import Model
from labctl.core.prober import Heights, Position, Subsite
from labctl.core.switch_matrix import Permit, refuse
from labctl.core.transport import Transport, Wait
from labctl.core.units import Metre

MICRON = 1e-6
QUESTION = "*RCS 1\nstatus:get_version"
"""Harmless query of a station; it has no ``*IDN?`` before the command set is chosen."""
STEPPING = "StepToSeparation"
"""Stepping contact mode that is set: a step does not end in contact."""

_SITE = "get_chuck_site_status Wafer"
_TOUCHES = "setup:contact_counter:get"


class SentioOptions(Model):
    """Options of the chuck in the bench file. All but the ceiling are engineering defaults."""

    overtravel_ceiling: Metre = Field(ge=0, le=1e-3, description="needles never go further beyond contact than this")
    clearance: Metre = Field(default=50e-6, gt=0, description="least distance from contact that counts as separated")
    tolerance: Metre = Field(default=2e-6, gt=0, description="how far from its height the chuck may stop")
    compensation: Metre = Field(
        default=100e-6, ge=0, description="[?] most that the station's contact compensation shifts the chuck; 0: none"
    )


class MpiSentio:
    """A SENTIO station over its remote-command socket.

    Args:
        transport: to the station; its probe is None or `QUESTION`.
        name: in the bench file.
        options: ceilings and tolerances.
        permit: raises unless the outputs are verified off; called before every motion.
    """

    def __init__(self, transport: Transport, name: str, options: SentioOptions, permit: Permit) -> None:
        self.name, self.permit, self._options = name, permit, options
        self._link = SentioLink(transport, name)
        self._up: Metre | None = None
        """Height at which separation was last verified; None after any other command."""
        self._down: Metre | None = None
        """Height at which contact was last commanded and reached; None after any other command."""
        self._place: ChuckPlace | None = None
        """Start of a step: the last place that was verified."""
        self._mode_set = False

    def connect(self) -> str:
        """Choose the native command set for this connection and read version, heights and site; nothing moves."""
        version = self._link.ask(QUESTION).text
        self.heights()
        return version

    def heights(self) -> Heights:
        """Return the heights of the wafer site; InstrumentError if contact is not set or overtravel is too far."""
        has_contact, overtravel_on = self._site()
        if not has_contact:
            raise InstrumentError(f"{self.name}: {ERRORS[23]}")
        heights = self._read_heights()
        ceiling = self._options.overtravel_ceiling
        if overtravel_on and heights.overtravel > ceiling * (1 + 1e-9):
            raise InstrumentError(
                f"{self.name}: overtravel is set to {heights.overtravel * 1e6:.4g} um, "
                f"the bench file allows {ceiling * 1e6:.4g} um"
            )
        return heights

    # -- x and y

    def step(self, col: int, row: int, subsite: Subsite | None = None) -> Position:
        """Be at die (col, row), separated: separate first, verify it, step, and read the place of the chuck.

        Args:
            col: column of the die on the map.
            row: its row.
            subsite: one of the subsites of SENTIO's project, at the same place there.

        Raises:
            EndOfRoute: the map has no such die on its route.
            InstrumentError: SENTIO refused, stands elsewhere, or has another place for the subsite.
            NeedlesDown: the needles are not verified up, before the step or after it.
        """
        if subsite is not None:
            self._require_subsite(subsite)
        self._require_gap(self._levels())
        self.separate()
        self.permit()
        if not self._mode_set:
            self._link.ask(f"set_stepping_contact_mode {STEPPING}")
            self._mode_set = True
        self._place = start = self._place or self._current_place()
        site = 0 if subsite is None else subsite.number
        height, self._up = self._up, None
        reply = self._move(step := f"map:step_die {col}, {row}, {site}")
        self._require_up(height)
        echo = self._link.integers(step, reply.text)
        if echo[:3] != [col, row, site]:
            raise InstrumentError(
                f"{self.name}: stepped to die ({col}, {row}), subsite {site}, but stands at {tuple(echo[:3])}; "
                "look at the station"
            )
        self._place = self._arrived(start, (col, row), subsite)
        return Position(col, row, reply.end_of_route)

    def _current_place(self) -> ChuckPlace | None:
        """Return the place of the chuck that SENTIO reports, None if it names no die."""
        die, text = self._current_die(), self._subsite()
        if die is None:
            return None
        spot = Subsite(text, int(text), *self._offset(int(text))) if text.isdigit() and int(text) else None
        return ChuckPlace(die, spot, self._xy())

    def _arrived(self, start: ChuckPlace | None, die: tuple[int, int], subsite: Subsite | None) -> ChuckPlace:
        """Return the place after a step, by a second query of SENTIO and its axes; InstrumentError if it is another."""
        site, named = 0 if subsite is None else subsite.number, self._current_die()
        if named != die:
            raise InstrumentError(
                f"{self.name} answered the step to die {die} and, queried again, "
                f"{'names no die' if named is None else f'stands at die {named}'}; look at the station"
            )
        text = self._subsite()
        if text != str(site) and (site or text.lstrip("-").isdigit()):
            raise InstrumentError(
                f"{self.name} answered the step to subsite {site} and, queried again, reports '{text}'; "
                "look at the station"
            )
        place = ChuckPlace(die, subsite, self._xy())
        pitch = self._link.numbers("map:get_index_size", 2)
        doubt = "" if start is None else misled(start, place, (pitch[0] * MICRON, pitch[1] * MICRON))
        if doubt:
            raise InstrumentError(f"{self.name} {doubt}; look at the station")
        return place

    def _current_die(self) -> tuple[int, int] | None:
        """Return column and row of the die that SENTIO is at, None if it names none."""
        reply = self._link.ask("map:die:get_current_index", allowed=range(1, 1024))
        try:
            _, col, row = (int(part) for part in reply.text.split(",")[:3])
        except ValueError:
            return None
        return col, row

    def _subsite(self) -> str:
        """Return the number of the subsite that SENTIO is at, or its message if it names none."""
        return self._link.ask("map:die:get_current_subsite", allowed=range(1, 1024)).text

    def _xy(self) -> tuple[Metre, Metre]:
        x, y = self._link.numbers("get_chuck_xy Wafer, Z", 2)
        return x * MICRON, y * MICRON

    def _require_subsite(self, subsite: Subsite) -> None:
        """Raise InstrumentError unless SENTIO's table has `subsite` at the same place."""
        x, y = self._offset(subsite.number)
        if max(abs(x - subsite.x), abs(y - subsite.y)) > self._options.tolerance:
            raise InstrumentError(
                f"{self.name}: subsite {subsite.number} of SENTIO's project lies at ({x * 1e6:.6g}, {y * 1e6:.6g}) um, "
                f"and {subsite.name} is at ({subsite.x * 1e6:.6g}, {subsite.y * 1e6:.6g}) um"
            )

    def _offset(self, number: int) -> tuple[Metre, Metre]:
        """Return the place of a subsite in SENTIO's table, right and up of the die's home, m."""
        text = self._link.ask(f"map:subsite:get {number}, UR").text
        try:
            x, y = (float(part) * MICRON for part in text.split(",")[1:3])
        except ValueError as error:
            raise InstrumentError(f"{self.name}: '{text}' is no subsite; expected name,x,y") from error
        return x, y

    # -- z

    def contact(self) -> None:
        """Raise the chuck to contact: heights checked, chuck up, position read back.

        With a compensated station the needles may touch at this height; the contact check decides. After an error the
        caller lifts the needles, unconditionally.

        Raises:
            ContactError: the chuck stopped at a height at which no offset within the bound makes the needles touch.
        """
        self.permit()
        self.heights()
        levels, before = self._levels(), self._z()
        self._require_gap(levels)
        if self._near(before, self._down):
            return
        self._up = self._down = None
        self._move("move_chuck_contact")
        z = self._z()
        if not levels.may_touch(z):
            raise ContactError(
                f"{self.name}: the chuck did not reach contact; it stands at {z * 1e6:.1f} um, contact is at "
                f"{levels.contact * 1e6:.1f} um, up to {levels.compensation * 1e6:.4g} um may be compensation"
            )
        self._down = z

    def separate(self) -> None:
        """Lift the needles off the pads, verified. Sends no move if one was verified and the chuck has not moved since.

        Raises:
            NeedlesDown: the chuck has not fallen by the separation gap and does not stand clear of contact.
        """
        if self.separated():
            return
        self.permit()
        levels, before = self._levels(), self._z()
        was_down, self._up = self._near(before, self._down), None
        self._move("move_chuck_separation ")
        after = self._z()
        if not levels.separated(before, after, was_down=was_down):
            raise NeedlesDown(
                f"{self.name}: the chuck did not separate; it stood at {before * 1e6:.1f} um and stands at "
                f"{after * 1e6:.1f} um, contact is at {levels.contact * 1e6:.1f} um, separation "
                f"{levels.gap * 1e6:.4g} um below, up to {levels.compensation * 1e6:.4g} um may be compensation; "
                "look at the station"
            )
        self._up, self._down = after, None

    def in_contact(self) -> bool:
        """Return whether the chuck stands at its last contact height, or may touch if none was commanded here.

        Where it was separated here, and has stood since, it is not in contact, whatever its height allows.
        """
        z = self._z()
        self.heights()
        if self._near(z, self._up):
            return False
        return self._near(z, self._down) if self._down is not None else self._levels().may_touch(z)

    def at_contact_height(self) -> bool:
        """Return whether the chuck stands at contact or in its overtravel with nothing compensated."""
        return self._levels().at_contact(self._z())

    def separated(self) -> bool:
        """Return whether separation was commanded here and verified, and the chuck has not moved since."""
        return self._up is not None and self._near(self._z(), self._up)

    def standing(self) -> tuple[str, list[str]]:
        """Return the position of the chuck by its heights, and the doubts that a person must resolve."""
        levels, z = self._levels(), self._z()
        where, doubts = levels.standing(z), [levels.small_gap] if levels.small_gap else []
        if levels.may_touch(z) and not levels.at_contact(z):
            doubts.append(
                "the chuck stands off its contact height: the station compensates the contact, or somebody has moved "
                "it. Needles count as down where the contact check conducts, as up where a separation was commanded"
            )
        elif not levels.may_touch(z) and not levels.clear(z):
            doubts.append("the chuck is neither in contact nor clear of the needles")
        return where, doubts

    def touches(self) -> int:
        """Return how often the chuck has gone to contact since SENTIO's counter was last reset."""
        return self._link.integers(_TOUCHES, self._link.ask(_TOUCHES).text)[0]

    def diagnosis(self) -> tuple[list[str], list[str]]:
        """Return where the chuck is, its heights, touches and temperature, and doubts about them."""
        h = self.heights()
        where, doubts = self.standing()
        named = (("contact", h.contact), ("overtravel", h.overtravel), ("separation", h.separation), ("hover", h.hover))
        heights = ", ".join(f"{name} {height * 1e6:.1f} um" for name, height in named)
        mode = f"stepping contact mode and compensation: they cannot be read; {STEPPING} is set before the first step"
        state = [f"chuck {where}; {heights}", f"{self.touches()} touches on its counter", mode]
        return state + self._temperature(), doubts

    def _temperature(self) -> list[str]:
        """Return the temperature of the chuck and the one it is set to; nothing if the station does not tell them."""
        known = range(1, 1024)
        replies = [self._link.ask(f"status:get_chuck_temp{what}", allowed=known) for what in ("", "_setpoint")]
        return (
            []
            if any(reply.error for reply in replies)
            else ["chuck at {} C, set to {} C".format(*(r.text for r in replies))]
        )

    def close(self) -> None:
        """Return the station to its operator and close the connection; nothing moves."""
        try:
            self._link.transport.write("*LOCAL")
        finally:
            self._link.transport.close()

    def _require_up(self, height: Metre | None) -> None:
        """Verify separation after a step; if the chuck has gone up by itself, separate and raise."""
        z = self._z()
        if self._near(z, height) or self._levels().clear(z):
            self._up = z
            return
        self.separate()
        raise InstrumentError(
            f"{self.name} went up to {z * 1e6:.1f} um by itself after a step, although its stepping contact mode was "
            f"set to {STEPPING}; the needles may have touched a die and are up again. Look at the station"
        )

    def _require_gap(self, levels: ChuckLevels) -> None:
        if levels.small_gap:
            raise InstrumentError(f"{self.name}: {levels.small_gap}")

    def _levels(self) -> ChuckLevels:
        """Return the heights to judge by. [?] Public sources call the second a gap or a height; both are accepted."""
        heights, own = self._read_heights(), self._options
        absolute = heights.separation > heights.contact / 2
        gap = heights.contact - heights.separation if absolute else heights.separation
        return ChuckLevels(heights.contact, gap, own.overtravel_ceiling, own.compensation, own.clearance, own.tolerance)

    def _near(self, z: Metre, height: Metre | None) -> bool:
        return height is not None and abs(z - height) <= self._options.tolerance

    def _read_heights(self) -> Heights:
        return Heights(*(value * MICRON for value in self._link.numbers("get_chuck_site_heights Wafer", 4)))

    def _site(self) -> tuple[bool, bool]:
        """Return whether the wafer site has a contact height and overtravel on; InstrumentError without vacuum."""
        text = self._link.ask(_SITE).text
        flags = self._link.integers(_SITE, text)
        if len(flags) < 4:
            raise unexpected(self.name, _SITE, text, "home, contact, overtravel, vacuum")
        if not flags[3]:
            raise InstrumentError(f"{self.name}: {ERRORS[68]}")
        return bool(flags[1]), bool(flags[2])

    def _z(self) -> Metre:
        return self._link.numbers("get_chuck_z Z", 1)[0] * MICRON

    def _move(self, command: str) -> Reply:
        return self._link.ask(command, wait=Wait.MOTION)


def _make(name: str, options: SentioOptions, transport: Transport) -> MpiSentio:
    """Return the driver of an MPI SENTIO prober."""
    return MpiSentio(transport, name, options, refuse)


DRIVER = Driver(DriverKind.PROBER, _make, SentioOptions, question=QUESTION, emulator="mpi_sentio")
