"""A prober: what puts needles on dies."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from labctl.core.switch_matrix import Permit
from labctl.core.units import Kelvin, Metre, Second


@dataclass(frozen=True)
class Position:
    """Where a prober is after a step.

    Args:
        col: die column on the prober's map.
        row: die row on the prober's map.
        end_of_route: the map's route has no die after this one.
    """

    col: int
    row: int
    end_of_route: bool = False


@dataclass(frozen=True)
class Subsite:
    """One of several spots of a die on which the needles can stand.

    Args:
        name: of the spot.
        number: in the prober's own table of subsites, from 0.
        x: offset from the die's reference to the right, y: upwards, m.
    """

    name: str
    number: int
    x: Metre
    y: Metre


@dataclass(frozen=True)
class Heights:
    """Chuck heights of a prober: needles touch at `contact`; `overtravel` goes beyond it, m."""

    contact: Metre
    separation: Metre
    overtravel: Metre
    hover: Metre


@runtime_checkable
class Prober(Protocol):
    """Something that puts needles on dies. It moves only at verified separation, and if `permit` does not raise."""

    name: str
    permit: Permit
    """Called before any motion; raises unless outputs are verified off and the relays are those to land with."""

    def connect(self) -> str:
        """Read identity and state, change nothing; return the identity."""
        ...

    def step(self, col: int, row: int, subsite: Subsite | None = None) -> Position:
        """Be at a die, or at one subsite of it, separated."""
        ...

    def contact(self) -> None:
        """Have the needles on the pads, verified."""
        ...

    def separate(self) -> None:
        """Have the needles off the pads, verified: commanded, and seen to have moved."""
        ...

    def in_contact(self) -> bool:
        """Return whether the needles are on the pads, as the prober reads it."""
        ...

    def separated(self) -> bool:
        """Return whether separation was commanded here and the prober has stood so since."""
        ...

    def close(self) -> None:
        """End the conversation; nothing moves."""
        ...


@runtime_checkable
class BinMap(Protocol):
    """A prober that shows the bins of dies on a map of its own."""

    @property
    def bins_on_map(self) -> bool:
        """Whether the bench file asks for it."""
        ...

    def set_bin(self, col: int, row: int, subsite: Subsite | None, number: int) -> None:
        """Have a bin on the map at a die, or at one subsite of it, read back; nothing moves."""
        ...


@runtime_checkable
class Cleaning(Protocol):
    """A prober that cleans its needles; each cleaning is a motion, which asks the permit and ends separated."""

    @property
    def cleans_bad_contact(self) -> bool:
        """Whether needles whose contact fails are to be cleaned."""
        ...

    def cleaning_due(self) -> str:
        """Return why the needles have to be cleaned before the next die, empty if they have not."""
        ...

    def clean(self) -> None:
        """Have the needles cleaned, and be separated, verified; which die is under them is unknown until a step."""
        ...


@dataclass(frozen=True)
class WaferOnChuck:
    """A wafer that a prober has on its chuck.

    Args:
        slot: of the cassette that it comes from.
        id: as the prober has read it, empty if it reads none.
        aligned: it was aligned now.
    """

    slot: int
    id: str
    aligned: bool


@runtime_checkable
class Loading(Protocol):
    """A prober that takes wafers from a cassette, where the bench file says that there is one."""

    @property
    def loading_patience(self) -> Second:
        """Longest time of having a wafer on the chuck, aligned; 0 where none is loaded."""
        ...

    def load_wafer(self, slot: int, wafer: str) -> WaferOnChuck | None:
        """Have the wafer of a slot on the chuck, aligned, the needles up; None where no cassette is: a person has to.

        Args:
            wafer: what it is called; one that says another name is refused.
        """
        ...


@runtime_checkable
class Heating(Protocol):
    """A prober that sets the temperature of its chuck, where the bench file asks for it."""

    @property
    def heating_patience(self) -> Second:
        """Longest time that it takes until the chuck has settled; 0 where nothing sets it."""
        ...

    def hold_temperature(
        self, temperature: Kelvin, wait: Callable[[Second], None], go_on: Callable[[], None]
    ) -> Kelvin:
        """Have the chuck at a temperature, separated, and settled; return what is read then.

        Args:
            wait: waits for a time, s.
            go_on: called before each wait; raises when the bench is switched off.
        """
        ...


@runtime_checkable
class Compensated(Protocol):
    """A prober that may put the chuck off the heights that it tells; `in_contact` is then what heights allow."""

    def at_contact_height(self) -> bool:
        """Return whether the chuck stands at contact, or in its overtravel, by the heights alone."""
        ...
