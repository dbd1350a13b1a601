"""The nouns of a bench: a wire, something that forces and measures, something that switches, something that moves.

A driver is one plain class behind one of these interfaces. Public methods say what is true afterwards and may be called
twice; connecting reads state and changes nothing; what cannot be verified is an `InstrumentError`, never a guess.
"""

from typing import Protocol, runtime_checkable


@runtime_checkable
class Compensated(Protocol):
    """A prober that may put the chuck off the heights that it tells; `in_contact` is then what heights allow."""

    def at_contact_height(self) -> bool:
        """Return whether the chuck stands at contact, or in its overtravel, by the heights alone."""
        ...
