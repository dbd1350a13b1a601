"""Simulated dies without instruments."""

from collections.abc import Sequence

from labctl.core.body import ReadyDie, Say, _quiet
from labctl.core.errors import BenchError
from labctl.core.planned_fault import PlannedFault
from labctl.core.rebuild import Rebuild
from labctl.core.site import Site
from labctl.core.units import Second
from sim_backend.chip import ChipDie
from sim_backend.description import DieDescription
from sim_backend.die import SimDie
from sim_backend.faults.dies import FaultyDie, Tell
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
    """Gives simulated dies, without instruments.

    Args:
        faults: of the next die, which have not happened yet.
        tell: called with a fault that happens.
    """

    rebuild = Rebuild.BITS
    patience: Second = 60.0

    def __init__(self, faults: Sequence[PlannedFault] = (), tell: Tell = lambda fault, detail: None) -> None:
        self._faults, self._tell = faults, tell

    def approach(self, subject: Site, say: Say = _quiet) -> ReadyDie:
        """Make the die; the error of a fault that happens on the way to it."""
        die = simulated(subject)
        if not self._faults:
            return ReadyDie(die, truth=die.truth)
        faulty = FaultyDie(die, self._faults, self._tell)
        faulty.approach()
        return ReadyDie(faulty, truth=die.truth, seek=lambda number: faulty.reach(number // 2))

    def leave(self) -> None:
        """Do nothing: nothing is energised."""
