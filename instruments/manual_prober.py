"""A probe station moved by hand. Verified in tests; its accuracy is the operator's.

The same rules as for a motorised prober: the operator moves nothing before the outputs are verified off, and confirms
every move.
"""

from collections.abc import Callable

from labctl.core.driver import Driver, DriverKind, Wire
from labctl.core.errors import ContactError
from labctl.core.model import Model
from labctl.core.prober import Position, Subsite
from labctl.core.switch_matrix import Permit, refuse

Ask = Callable[[str], bool]
"""Asks the operator; True if the answer is yes."""
TypeIn = Callable[[str], str]
"""Asks the operator for a text, which is typed or scanned; empty if there is none."""


class ManualProber:
    """Asks the operator to move and to confirm.

    Args:
        ask: asks the operator and returns whether the answer was yes.
        name: in the bench file.
        permit: raises unless the outputs are verified off; called before every request to the operator.
    """

    by_hand = True
    """Its moves take as long as the operator needs."""

    def __init__(self, ask: Ask, name: str, permit: Permit) -> None:
        self.name, self.permit, self._ask = name, permit, ask
        self._down: bool | None = None
        self._die: tuple[int, int, Subsite | None] | None = None

    def connect(self) -> str:
        """Return a fixed identity; the operator is not asked."""
        return "manual prober"

    def step(self, col: int, row: int, subsite: Subsite | None = None) -> Position:
        """Be at die (col, row), separated; ContactError if the operator does not confirm."""
        self.separate()
        if self._die != (col, row, subsite):
            self._die = None
            self.permit()
            spot = "" if subsite is None else f", subsite {subsite.name}"
            spot += "" if subsite is None else f" at ({subsite.x * 1e6:.6g}, {subsite.y * 1e6:.6g}) um"
            self._confirm(f"Move to die column {col}, row {row}{spot}, needles up. Is it under the needles?")
            self._die = (col, row, subsite)
        return Position(col, row)

    def contact(self) -> None:
        """Have the needles on the pads; ContactError if the operator does not confirm."""
        if self._down:
            return
        self.permit()
        self._down = None
        self._confirm("Lower the needles onto the pads. Are they in contact?")
        self._down = True

    def separate(self) -> None:
        """Have the needles off the pads; ContactError if the operator does not confirm."""
        if self._down is False:
            return
        self.permit()
        self._down = None
        self._confirm("Lift the needles off the pads. Are they up?")
        self._down = False

    def in_contact(self) -> bool:
        """Return whether the operator last confirmed contact; asks if it is unknown."""
        if self._down is None and self._ask("Are the needles in contact with the pads?"):
            self._down = True
        return self._down is True

    def separated(self) -> bool:
        """Return whether the operator last confirmed that the needles are up; asks if it is unknown."""
        if self._down is None and self._ask("Are the needles up, clear of the pads?"):
            self._down = False
        return self._down is False

    def close(self) -> None:
        """Do nothing; nothing moves."""

    def _confirm(self, sentence: str) -> None:
        if not self._ask(sentence):
            raise ContactError(f"{self.name}: not confirmed: {sentence}")


def _make(name: str, options: Model, ask: Ask) -> ManualProber:
    """Return the prober that an operator moves by hand."""
    return ManualProber(ask, name, refuse)


DRIVER = Driver(DriverKind.PROBER, _make, wire=Wire.OPERATOR)
