"""A prober with a chuck of known heights: what is the same for all of them, over a few commands of each.

A prober has no undo: it moves only after a permit has verified that the outputs are off, only at a separation that was
commanded here and verified (`chuck`), never beyond an overtravel ceiling. A step is verified by a second query of the
die and by the distance that the chuck has moved.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field

from instruments.chuck import ChuckLevels
from instruments.stepping import ChuckPlace, misled
from labctl.core.errors import ContactError, InstrumentError
from labctl.core.model import Model
from labctl.core.prober import Heights, Position, Subsite
from labctl.core.switch_matrix import Permit
from labctl.core.units import Metre

MICRON = 1e-6


class NeedlesDown(InstrumentError):
    """The chuck is not verified separated; nothing may move."""


class EndOfRoute(InstrumentError):
    """There is no die to step to."""


class ChuckOptions(Model):
    """Options of a chuck in the bench file. All but the ceiling are engineering defaults."""

    overtravel_ceiling: Metre = Field(ge=0, le=1e-3, description="needles never go further beyond contact than this")
    clearance: Metre = Field(default=50e-6, gt=0, description="least distance from contact that counts as separated")
    tolerance: Metre = Field(default=2e-6, gt=0, description="how far from its height the chuck may stop")
    compensation: Metre = Field(
        default=100e-6, ge=0, description="[?] most that the station's contact compensation shifts the chuck; 0: none"
    )


@dataclass(frozen=True)
class Arrival:
    """What a station answers to a step: column, row and subsite, and whether its route ends here."""

    echo: tuple[int, ...]
    end_of_route: bool = False


class ChuckProber(ABC):
    """A station whose chuck goes to contact and separation, by its own map of the wafer.

    Args:
        name: in the bench file.
        options: ceilings and tolerances.
        permit: raises unless the outputs are verified off; called before every motion.
    """

    station: ClassVar[str]
    """What it is called."""
    no_contact_height: ClassVar[str]
    """What to do where the height of contact is not set, in operator words."""
    stepping: ClassVar[str]
    """The mode of stepping that is set: a step does not end in contact."""

    def __init__(self, name: str, options: ChuckOptions, permit: Permit) -> None:
        self.name, self.permit, self._options = name, permit, options
        self._up: Metre | None = None
        """Height at which separation was last verified; None after any other command."""
        self._down: Metre | None = None
        """Height at which contact was last commanded and reached; None after any other command."""
        self._place: ChuckPlace | None = None
        """Start of a step: the last place that was verified."""
        self._mode_set = False

    # -- what a station gives

    @abstractmethod
    def _site(self) -> tuple[bool, bool]:
        """Return whether contact has a height and overtravel is on; InstrumentError without vacuum."""

    @abstractmethod
    def _read_heights(self) -> Heights:
        """Return the heights as the station tells them, m."""

    @abstractmethod
    def _z(self) -> Metre:
        """Return the height of the chuck."""

    @abstractmethod
    def _xy(self) -> tuple[Metre, Metre]:
        """Return the position of the chuck by its own axes."""

    @abstractmethod
    def _pitch(self) -> tuple[Metre, Metre]:
        """Return the distances of dies on the map."""

    @abstractmethod
    def _go_to_contact(self) -> None:
        """Send the move."""

    @abstractmethod
    def _go_to_separation(self) -> None:
        """Send the move."""

    @abstractmethod
    def _set_stepping(self) -> None:
        """Have steps end separated."""

    def _require_stepping(self) -> None:  # noqa: B027 - a station that does not tell is asked nothing
        """Raise InstrumentError if the station says, before a step, that it would not end separated on the right die:
        by its mode of stepping, or since its wafer is not aligned."""

    @abstractmethod
    def _go_to_die(self, col: int, row: int, site: int) -> Arrival:
        """Send the step."""

    @abstractmethod
    def _current_die(self) -> tuple[int, int] | None:
        """Return column and row of the die that the station is at, None if it names none."""

    @abstractmethod
    def _subsite(self) -> str:
        """Return the number of the subsite that the station is at, or what it says instead."""

    @abstractmethod
    def _offset(self, number: int) -> tuple[Metre, Metre] | None:
        """Return the place of a subsite in the station's table, right and up of the die's home; None if untold."""

    # -- x and y

    def step(self, col: int, row: int, subsite: Subsite | None = None) -> Position:
        """Be at die (col, row), separated: separate first, verify it, step, and read the place of the chuck.

        Args:
            col: column of the die on the map.
            row: its row.
            subsite: one of the subsites of the station's own table, at the same place there.

        Raises:
            EndOfRoute: the map has no such die on its route.
            InstrumentError: the station refused, stands elsewhere, or has another place for the subsite.
            NeedlesDown: the needles are not verified up, before the step or after it.
        """
        if subsite is not None:
            self._require_subsite(subsite)
        self._require_gap(self._levels())
        self.separate()
        self.permit()
        if not self._mode_set:
            self._set_stepping()
            self._mode_set = True
        self._place = start = self._place or self._current_place()
        self._require_stepping()
        site = 0 if subsite is None else subsite.number
        height, self._up = self._up, None
        arrival = self._go_to_die(col, row, site)
        self._require_up(height)
        if arrival.echo[:3] != (col, row, site):
            raise InstrumentError(
                f"{self.name}: stepped to die ({col}, {row}), subsite {site}, but stands at {arrival.echo[:3]}; "
                "look at the station"
            )
        self._place = self._arrived(start, (col, row), subsite)
        return Position(col, row, arrival.end_of_route)

    def _current_place(self) -> ChuckPlace | None:
        """Return the place of the chuck that the station reports, None if it names no die."""
        die, text = self._current_die(), self._subsite()
        if die is None:
            return None
        offset = self._offset(int(text)) if text.isdigit() and int(text) else None
        spot = None if offset is None else Subsite(text, int(text), *offset)
        return ChuckPlace(die, spot, self._xy())

    def _arrived(self, start: ChuckPlace | None, die: tuple[int, int], subsite: Subsite | None) -> ChuckPlace:
        """Return the place after a step, by a second query of the station and its axes.

        Raises:
            InstrumentError: it is another.
        """
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
        pitch = self._pitch()
        doubt = "" if start is None else misled(start, place, pitch)
        if doubt:
            raise InstrumentError(f"{self.name} {doubt}; look at the station")
        return place

    def _require_subsite(self, subsite: Subsite) -> None:
        """Raise InstrumentError unless the station's table, where it tells it, has `subsite` at the same place."""
        offset = self._offset(subsite.number)
        if offset is None:
            return
        x, y = offset
        if max(abs(x - subsite.x), abs(y - subsite.y)) > self._options.tolerance:
            raise InstrumentError(
                f"{self.name}: subsite {subsite.number} of {self.station}'s project lies at "
                f"({x * 1e6:.6g}, {y * 1e6:.6g}) um, and {subsite.name} is at "
                f"({subsite.x * 1e6:.6g}, {subsite.y * 1e6:.6g}) um"
            )

    # -- z

    def heights(self) -> Heights:
        """Return the heights of the wafer site; InstrumentError if contact is not set or overtravel is too far."""
        has_contact, overtravel_on = self._site()
        if not has_contact:
            raise InstrumentError(f"{self.name}: {self.no_contact_height}")
        heights = self._read_heights()
        ceiling = self._options.overtravel_ceiling
        if overtravel_on and heights.overtravel > ceiling * (1 + 1e-9):
            raise InstrumentError(
                f"{self.name}: overtravel is set to {heights.overtravel * 1e6:.4g} um, "
                f"the bench file allows {ceiling * 1e6:.4g} um"
            )
        return heights

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
        self._go_to_contact()
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
        self._go_to_separation()
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

    def _require_up(self, height: Metre | None) -> None:
        """Verify separation after a step; if the chuck has gone up by itself, separate and raise."""
        z = self._z()
        if self._near(z, height) or self._levels().clear(z):
            self._up = z
            return
        self.separate()
        raise InstrumentError(
            f"{self.name} went up to {z * 1e6:.1f} um by itself after a step, although its stepping contact mode was "
            f"set to {self.stepping}; the needles may have touched a die and are up again. Look at the station"
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
