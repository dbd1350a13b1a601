"""Bytes in, bytes out: what every emulated instrument is, whatever its language and whatever the wire.

A session is one connection: it puts messages together from pieces and keeps the order of replies. Faults of the wire
can be put in front of an instrument, for those who test what a driver makes of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum

from sim_backend.emulators.world import World

MAX_MESSAGE = 1 << 20


class Fault(Enum):
    """What goes wrong with one message."""

    NONE = "nothing"
    DEAF = "the message is lost"
    MUTE = "the message is obeyed and its reply lost"
    LATE = "the reply comes together with the next one"
    DROP = "the message is obeyed and the connection closed"
    BUSY = "the message is not ended: from it on, whatever is said is lost but what ends it"


class ConnectionDropped(ConnectionError):
    """The instrument closed the connection."""


class Session:
    """One connection to an instrument."""

    def __init__(self, instrument: "Instrument") -> None:
        self.instrument = instrument
        self._partial = b""
        self._late = b""

    def handle(self, data: bytes) -> bytes:
        """Take some bytes, return the replies of the messages that they complete; ConnectionDropped by a fault."""
        *lines, self._partial = (self._partial + data).split(b"\n")
        if len(self._partial) > MAX_MESSAGE:
            self._partial = b""
            self.instrument.refuse("input buffer overrun")
        return b"".join(self._message(line) for line in lines)

    def finish(self) -> bytes:
        """End the message under way, as END does on buses that have it."""
        return self.handle(b"\n") if self._partial else b""

    def clear(self) -> None:
        """Forget what is under way, as a device clear does; no output changes."""
        self._partial = self._late = b""
        self.instrument.busy = False
        self.instrument.device_clear()

    def reconnect(self) -> None:
        """End the connection and open another one; what the instrument does goes on."""
        self.close()

    def close(self) -> None:
        """End the connection; a script half loaded is forgotten, everything else stays."""
        self._partial = self._late = b""
        with self.instrument.world.lock:
            self.instrument.hang_up()

    def _message(self, line: bytes) -> bytes:
        instrument = self.instrument
        with instrument.world.lock:
            fault = instrument.fault(line)
            if instrument.busy and instrument.ends_busy(line):
                instrument.busy = False
            if fault is Fault.BUSY:
                instrument.busy = True
            if fault is Fault.DEAF or instrument.busy:
                return b""
            instrument.world.advance(instrument.world.timing.message)
            instrument.world.count_message()
            reply = instrument.execute(line.decode("latin-1").rstrip("\r")).encode("latin-1")
        if fault is Fault.DROP:
            raise ConnectionDropped(f"{instrument.name} closed the connection")
        if fault is Fault.MUTE:
            return b""
        if fault is Fault.LATE:
            self._late += reply
            return b""
        late, self._late = self._late, b""
        return late + reply


class Instrument(ABC):
    """An emulated instrument.

    Args:
        name: its name on the bench.
        model: what it says it is.
    """

    def __init__(self, name: str, model: str, world: World) -> None:
        self.name, self.model, self.world = name, model, world
        self.fault: Callable[[bytes], Fault] = lambda _: Fault.NONE
        self.busy = False
        """Something runs that does not end by itself; only what `ends_busy` is heard, and a device clear."""
        self._own = Session(self)

    def session(self) -> Session:
        """Open a connection."""
        return Session(self)

    def handle(self, data: bytes) -> bytes:
        """Take bytes on the connection that every instrument has in process; return its replies."""
        return self._own.handle(data)

    @abstractmethod
    def execute(self, message: str) -> str:
        """Obey one message, without its terminator; return the reply with its own, or nothing."""

    def ends_busy(self, line: bytes) -> bool:
        """Return whether a message ends whatever runs."""
        return False

    def device_clear(self) -> None:  # noqa: B027 - most line protocols have nothing to clear
        """End what is running and forget unread replies; levels and outputs stay."""

    def hang_up(self) -> None:  # noqa: B027 - most line protocols keep nothing of a connection
        """Take note that a connection has ended."""

    def interrupt(self) -> None:  # noqa: B027 - only instruments that run scripts can be interrupted
        """End what is running, from another thread."""

    @property
    def status_byte(self) -> int:
        """IEEE 488.2 status byte without MAV."""
        return 0

    def refuse(self, reason: str) -> None:
        """Account a command that was refused."""
        self.world.note("refused", f"{self.name}: {reason}")
