"""What has to be done again to a die when a run is resumed."""

from enum import StrEnum


class Rebuild(StrEnum):
    """What has to be done again to a die before it can go on."""

    NOTHING = "nothing"
    """A real die has kept its cells."""
    STATES = "states"
    """The twin of a bench begins anew: operations are repeated so that cells follow; readings have new noise."""
    BITS = "bits"
    """A simulated die is a function of its operations: repeated, they give the same readings to the bit, lost ones
    included."""
