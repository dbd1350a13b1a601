"""Make the simulated die of a description: that which is registered for its kind under `labctl.bodies`."""

from typing import TYPE_CHECKING

from labctl.core.plugins import BODIES, find
from sim_backend.description import DieDescription

if TYPE_CHECKING:
    from sim_backend.chip import ChipDie
    from sim_backend.die import SimDie


def make_die(description: DieDescription, *, seed: int, name: str) -> "SimDie | ChipDie":
    """Return the simulated die `name` of the world `seed`: passive arrays, or an integrated chip.

    The same three arguments give the same die to the bit.

    Raises:
        BenchError: nothing, or more than one thing, is registered for its kind.
    """
    body = find(BODIES, f"simulated_{description.geometry.kind.lower()}").load()
    die: SimDie | ChipDie = body(description, seed=seed, name=name)
    return die
