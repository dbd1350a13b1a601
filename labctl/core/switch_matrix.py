"""A switch matrix: relays between channels and pads."""

from collections.abc import Callable, Iterable
from typing import Protocol, runtime_checkable

from labctl.core.errors import InstrumentError

Permit = Callable[[], None]
"""Raises if what it is asked before must not happen now."""

Scheme = Callable[[str, str], str]
"""From a row and a column, as a bench file has them, to the crosspoint as the matrix addresses it; ValueError, with
what is expected, if it has no such row or column."""


def refuse() -> None:
    """Permit before another one is set: nothing moves."""
    raise InstrumentError("nothing moves before a permit has verified that nothing is energised")


@runtime_checkable
class Matrix(Protocol):
    """Relays between rows (channels) and columns (pads); a crosspoint is named as the matrix addresses it, ``1A05``."""

    name: str
    permit: Permit
    """Called before any relay moves; raises unless nothing is under voltage."""

    def connect(self) -> str:
        """Read identity and state, change nothing; return the identity."""
        ...

    def closed(self) -> frozenset[str]:
        """Return the crosspoints that the instrument says are closed."""
        ...

    def route(self, closed: Iterable[str]) -> None:
        """Make exactly `closed` closed: break, then make, then read back; nothing moves if it is so already."""
        ...

    def close(self) -> None:
        """End the conversation; relays stay as they are."""
        ...


@runtime_checkable
class Equipped(Protocol):
    """A matrix that can be asked which crosspoints it can close."""

    def unusable(self, crosspoints: Iterable[str]) -> list[str]:
        """Return what of `crosspoints` it cannot close as it is meant, in operator words; empty if it can close all."""
        ...
