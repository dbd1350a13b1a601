"""Make the simulated die of a description; the only place that knows the kinds."""

from labctl.core.bias import Kind
from sim_backend.chip import ChipDie
from sim_backend.description import DieDescription
from sim_backend.die import SimDie


def make_die(description: DieDescription, *, seed: int, name: str) -> SimDie | ChipDie:
    """Return the simulated die `name` of the world `seed`: passive arrays, or an integrated chip.

    The same three arguments give the same die to the bit.
    """
    if description.geometry.kind is Kind.ONE_T_ONE_R:
        return ChipDie(description, seed=seed, name=name)
    return SimDie(description, seed=seed, name=name)
