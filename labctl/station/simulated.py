"""Simulated dies without instruments."""

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
"""Bits that number the operations of one visit of a reference die; a journal has fewer operations than that."""


def simulated(site: Site) -> SimDie | ChipDie:
    """Return the simulated die at a site; each visit of a reference die gets it as made, with its own random stream.

    Raises:
        BenchError: its file has no section `simulation`.
    """
    if not isinstance(site.description, DieDescription):
        raise BenchError(f"die {site.name}: its file '{site.description.name}' says nothing of how it is simulated")
    die = make_die(site.description, seed=site.seed, name=site.serial)
    if site.visit:
        die.seek(site.visit << VISIT)
    return die


class Simulated:
    """Gives simulated dies, without instruments."""

    rebuild = Rebuild.BITS
    patience: Second = 60.0

    def approach(self, subject: Site, say: Say = _quiet) -> ReadyDie:
        """Make the die."""
        die = simulated(subject)
        return ReadyDie(die, truth=die.truth)

    def leave(self) -> None:
        """Do nothing: nothing is energised."""
