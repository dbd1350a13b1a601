"""Simulated dies by themselves: array maths, no instruments."""

from labctl.core.body import Approached, Say, _quiet
from labctl.core.rebuild import Rebuild
from labctl.core.site import Subject
from labctl.core.units import Second


class Simulated:
    """The simulated die by itself: array maths, no instruments."""

    rebuild = Rebuild.BITS
    patience: Second = 60.0

    def approach(self, subject: Subject, say: Say = _quiet) -> Approached:
        """Make the die."""
        die = subject.simulated()
        return Approached(die, truth=die.truth)

    def leave(self) -> None:
        """Do nothing; there is nothing to leave."""
