"""The wire to an instrument, as drivers see it."""

from collections.abc import Callable
from enum import StrEnum
from typing import Protocol, runtime_checkable

from labctl.core.units import Second

THROUGH = " through "
"""Between the address of an instrument on a bus and that of its gateway, where both are one text."""


class Wait(StrEnum):
    """Class of a command, which decides how long its answer may take."""

    SETTING = "setting"
    QUERY = "query"
    MEASURE = "measure"
    RELAY = "relay"
    MOTION = "motion"


@runtime_checkable
class Transport(Protocol):
    """A conversation in lines of text with one instrument.

    After a timeout or any interruption the next call first resynchronises; nothing is ever sent again by itself.
    """

    @property
    def name(self) -> str:
        """Where the instrument is, in operator words."""
        ...

    def write(self, text: str) -> None:
        """Send lines of text as one message; the terminator is added."""
        ...

    def query(self, text: str, *, wait: Wait = Wait.QUERY, extra: Second = 0.0) -> str:
        """Send `text` and return the one line that answers it within the deadline of `wait` plus `extra` s."""
        ...

    def converse(
        self, text: str, last: Callable[[str], bool], *, wait: Wait = Wait.QUERY, extra: Second = 0.0
    ) -> list[str]:
        """Send `text` and return the lines that answer it, up to and with the first for which `last` is true."""
        ...

    def cut_in(self, text: str, ask: str, last: Callable[[str], bool]) -> list[str]:
        """Send `text` as the first bytes of a fresh connection, then `ask`; return the lines up to the `last` one.

        The way to make safe an instrument that does something else: no query is sent before `text`.
        """
        ...

    def let_pass(self, seconds: Second) -> None:
        """Let a time pass by the host's clock, or by that of the instruments where they are emulated."""
        ...

    def resync(self) -> None:
        """Throw away what is under way and prove that the instrument answers again."""
        ...

    def close(self) -> None:
        """End the conversation; harmless when it has ended."""
        ...


@runtime_checkable
class BinaryTransport(Protocol):
    """A conversation in bytes with one instrument; which bytes are a whole message is the driver's to say.

    After a timeout, surplus bytes or any interruption the next call first resynchronises; nothing is ever sent again by
    itself.
    """

    @property
    def name(self) -> str:
        """Where the instrument is, in operator words."""
        ...

    def send(self, data: bytes) -> None:
        """Send bytes that nothing answers."""
        ...

    def exchange(
        self, data: bytes, whole: Callable[[bytes], bool], *, wait: Wait = Wait.QUERY, extra: Second = 0.0
    ) -> bytes:
        """Send `data` and return the bytes that answer it, up to those for which `whole` is true."""
        ...

    def break_in(self, data: bytes, ask: bytes, whole: Callable[[bytes], bool]) -> bytes:
        """Send `data` as the first bytes of a fresh connection, then `ask`; return the bytes for which `whole` is true.

        The way to make safe an instrument that does something else.
        """
        ...

    def resync(self) -> None:
        """Throw away what is under way and connect afresh."""
        ...

    def close(self) -> None:
        """End the conversation; harmless when it has ended."""
        ...
