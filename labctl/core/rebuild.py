"""What has to be done again to a die when a run is resumed."""

from enum import StrEnum


class Rebuild(StrEnum):
    """What has to be done again to a die before it can go on."""

    NOTHING = "nothing"
    """A real die has kept its cells."""
    STATES = "states"
    """The twin of a bench begins anew: operations are done again so that cells follow; what is read is noise anew."""
    BITS = "bits"
    """A simulated die is a function of what was done to it: done again, it says the same to the bit, and says
    also what was lost."""
