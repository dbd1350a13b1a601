"""Simulated dies by themselves: array maths, no instruments."""

from labctl.core.body import ReadyDie, Say, _quiet
from labctl.core.errors import BenchError
from labctl.core.rebuild import Rebuild
from labctl.core.site import Site
from labctl.core.units import Second
from sim_backend.chip import ChipDie
from sim_backend.description import DieDescription
from sim_backend.die import SimDie
from sim_backend.make import make_die

VISIT = 20
"""Bits that number the operations of one visit of a reference die; a journal has fewer."""


def simulated(site: Site) -> SimDie | ChipDie:
    """Return the simulated die at a site; at each visit of a reference die as it was made, with noise of its own.

    Raises:
        BenchError: its file says nothing of a simulation.
    """
    if not isinstance(site.description, DieDescription):
        raise BenchError(f"die {site.name}: its file '{site.description.name}' says nothing of how it is simulated")
    die = make_die(site.description, seed=site.seed, name=site.serial)
    if site.visit:
        die.seek(site.visit << VISIT)
    return die


class Simulated:
    """The simulated die by itself: array maths, no instruments."""

    rebuild = Rebuild.BITS
    patience: Second = 60.0

    def approach(self, subject: Site, say: Say = _quiet) -> ReadyDie:
        """Make the die."""
        die = simulated(subject)
        return ReadyDie(die, truth=die.truth)

    def leave(self) -> None:
        """Do nothing; there is nothing to leave."""
