"""FormFactor (Cascade Microtech) probe stations by Velox, in both of its framings. Not verified on a real prober.

Written from PyMeasure's driver and the maker's public SDK. Verified against: transcripts of those facts, and the
emulated Velox of this project, which PyMeasure's driver drives as well.

What it does and proves is the same for all stations (`chuck_prober`); here are its words (`velox_link`). A chuck that
goes back to contact by itself after a step (AutoZ) is told not to before the first step. Velox tells its modes, and its
panel sets them: they are read before every step. Its table of subsites is not read: no public source says how, and a
step to one is refused.
"""

from instruments.chuck_prober import MICRON, Arrival, ChuckOptions, ChuckProber
from instruments.transport import CHECK, unexpected
from instruments.velox_link import Answer, VeloxLink
from labctl.core.driver import Driver, DriverKind
from labctl.core.errors import InstrumentError
from labctl.core.prober import Heights, Subsite
from labctl.core.switch_matrix import Permit, refuse
from labctl.core.transport import Transport, Wait
from labctl.core.units import Metre

QUESTION = "ReportKernelVersion"
"""Harmless query of a station over GPIB or VISA."""
REGISTER = "FCN=1:RegisterProberApp:labctl labctl 0"
"""What a connection to the message server begins with; the server answers it."""
FULL_SPEED = 100
"""Velocity of a move, percent."""
OVERTRAVEL, AUTO_Z, CONTACT_SET = 1, 2, 16
"""Flags of the mode of the chuck."""
IN_CONTACT = ("C", "O")
"""Letters of heights at which needles are meant to touch: contact and overtravel."""
_STATUS, _MAP = "ReadChuckStatus", "ReadMapPosition2"
# [?] Of the position on the map: column, row, x, y, subsite, subsites, die of the route from 1, dies of the route.
_COLUMN, _ROW, _SITE, _DIE, _DIES = 0, 1, 4, 6, 7


class Velox(ChuckProber):
    """A station that Velox drives.

    Args:
        transport: to the station.
        name: in the bench file.
        options: ceilings and tolerances.
        permit: raises unless the outputs are verified off; called before every motion.
        framed: the transport is to the message server.
    """

    station = "Velox"
    no_contact_height = "the contact height is not set; set it by hand before measuring"
    stepping = "AutoZ off"

    def __init__(
        self, transport: Transport, name: str, options: ChuckOptions, permit: Permit = refuse, *, framed: bool = False
    ) -> None:
        super().__init__(name, options, permit)
        self._link, self._framed = VeloxLink(transport, name, framed=framed), framed

    def connect(self) -> str:
        """Read version, heights and status; nothing moves and nothing is set.

        At the message server it registers itself once more: what makes a bench safe opens without the question.
        """
        if self._framed:
            self._link.transport.query(REGISTER)
        version = self._link.ask(QUESTION).text
        self.heights()
        return f"FormFactor,Velox,0,{version}"

    # -- x and y

    def _set_stepping(self) -> None:
        self._link.ask("SetChuckMode", 2, 0, 2, 2, 2, 2)

    def _require_stepping(self) -> None:
        if self._status()[0] & AUTO_Z:
            raise InstrumentError(f"{self.name}: AutoZ is on after it was set off; nothing steps; {CHECK}")

    def _go_to_die(self, col: int, row: int, site: int) -> Arrival:
        command = "StepNextDie"
        answer = self._link.ask(command, col, row, site, wait=Wait.MOTION)
        echo = self._link.integers(command, answer, 3)
        place = self._link.ask(_MAP)
        _, _, die, dies = self._map(place)
        return Arrival(echo, die >= dies)

    def _map(self, answer: Answer) -> tuple[tuple[int, int], int, int, int]:
        """Return the die, the subsite, the number of the die on the route, and that of its last one."""
        values = answer.values
        try:
            die = int(values[_COLUMN]), int(values[_ROW])
            return die, int(values[_SITE]), int(values[_DIE]), int(values[_DIES])
        except (ValueError, IndexError) as error:
            raise unexpected(self.name, _MAP, answer.text, "column, row, x, y, subsite, subsites, die, dies") from error

    def _current_die(self) -> tuple[int, int] | None:
        answer = self._link.doubtful(_MAP)
        return None if answer.code else self._map(answer)[0]

    def _subsite(self) -> str:
        answer = self._link.doubtful(_MAP)
        return answer.text if answer.code else str(self._map(answer)[1])

    def _xy(self) -> tuple[Metre, Metre]:
        x, y, _ = self._link.numbers("ReadChuckPosition", "Y", "Z", count=3)
        return x * MICRON, y * MICRON

    def _pitch(self) -> tuple[Metre, Metre]:
        x, y = self._link.numbers("ReadChuckIndex", "Y", count=2)
        return x * MICRON, y * MICRON

    def _require_subsite(self, subsite: Subsite) -> None:
        raise InstrumentError(
            f"{self.name}: where Velox has subsite {subsite.number} ({subsite.name}) cannot be asked; have a map whose "
            "dies are the sites"
        )

    def _offset(self, number: int) -> None:
        return None

    # -- z

    def _go_to_contact(self) -> None:
        self._link.ask("MoveChuckContact", FULL_SPEED, wait=Wait.MOTION)

    def _go_to_separation(self) -> None:
        self._link.ask("MoveChuckSeparation", FULL_SPEED, wait=Wait.MOTION)

    def _z(self) -> Metre:
        """Return the height above zero. [?] It grows towards the needles, as the contact height does."""
        return self._link.numbers("ReadChuckPosition", "Y", "Z", count=3)[2] * MICRON

    def _read_heights(self) -> Heights:
        """Return the heights; all but contact are distances from it, and so is hover, the height of alignment."""
        contact, overtravel, align, separation = self._link.numbers("ReadChuckHeights", "Y", count=4)
        if contact < 0:
            raise InstrumentError(f"{self.name}: {self.no_contact_height}")
        return Heights(contact * MICRON, separation * MICRON, overtravel * MICRON, align * MICRON)

    def _status(self) -> tuple[int, tuple[str, ...]]:
        """Return the modes of the chuck as flags, and its whole status: flags, compensation, vacuum, height."""
        answer = self._link.ask(_STATUS)
        if len(answer.values) < 7 or not answer.values[1].isdigit():
            raise unexpected(self.name, _STATUS, answer.text, "flags, compensation, vacuum, height")
        return int(answer.values[1]), answer.values

    def _site(self) -> tuple[bool, bool]:
        mode, status = self._status()
        if status[5] != "1":
            raise InstrumentError(f"{self.name}: the vacuum has failed; the wafer is not held (vacuum {status[5]})")
        return bool(mode & CONTACT_SET), bool(mode & OVERTRAVEL)

    def diagnosis(self) -> tuple[list[str], list[str]]:
        """Return where the chuck is, its heights and modes, and doubts about them."""
        h = self.heights()
        where, doubts = self.standing()
        named = (("contact", h.contact), ("overtravel", h.overtravel), ("separation", h.separation), ("align", h.hover))
        heights = ", ".join(f"{name} {height * 1e6:.1f} um" for name, height in named)
        mode, status = self._status()
        modes = f"AutoZ {'on: it is set off before the first step' if mode & AUTO_Z else 'off'}"
        height = f"Velox names its height {status[6]}, compensation {status[4]}"
        if (status[6] in IN_CONTACT) != self.at_contact_height():
            doubts.append(f"Velox names the height of the chuck {status[6]}, and it stands {where}")
        return [f"chuck {where}; {heights}", modes, height], doubts

    def close(self) -> None:
        """Close the connection; nothing moves."""
        self._link.transport.close()


def _make(name: str, options: ChuckOptions, transport: Transport) -> Velox:
    """Return the driver of a station over GPIB or VISA."""
    return Velox(transport, name, options)


def _make_framed(name: str, options: ChuckOptions, transport: Transport) -> Velox:
    """Return the driver of a station over its message server."""
    return Velox(transport, name, options, framed=True)


DRIVER = Driver(DriverKind.PROBER, _make, ChuckOptions, question=QUESTION, emulator="velox")
SERVER = Driver(DriverKind.PROBER, _make_framed, ChuckOptions, question=REGISTER, emulator="velox")
