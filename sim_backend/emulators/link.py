"""Bytes in, bytes out: the interface of every emulated instrument, for any language and any transport.

A session is one connection: it assembles messages from pieces and keeps the order of replies. Faults of the link can be
injected before an instrument, to test drivers.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum
from random import Random
from threading import RLock

from sim_backend.emulators.leftovers import Leave
from sim_backend.emulators.world import World

MAX_MESSAGE = 1 << 20


class Fault(Enum):
    """Fault of one message."""

    NONE = "nothing"
    DEAF = "the message is lost"
    MUTE = "the message is executed and its reply lost"
    LATE = "the reply comes together with the next one"
    DROP = "the message is executed and the connection closed"
    BUSY = "the message does not end: from then on every message is lost but one that aborts it"


class ConnectionDropped(ConnectionError):
    """The instrument closed the connection."""


class Session:
    """One connection to an instrument."""

    def __init__(self, instrument: "Instrument") -> None:
        self.instrument = instrument
        self._partial = b""
        self._late = b""

    def handle(self, data: bytes) -> bytes:
        """Receive bytes, return the replies of the messages that they complete; ConnectionDropped by a fault."""
        return b"".join(self.replies(data))

    def replies(self, data: bytes) -> Iterator[bytes]:
        """Receive bytes, yield the reply of each message that they complete; the next one is executed after that.

        So a host that does not read its replies stops its own messages, and one reply at most waits for it. Messages
        that come together, up to one with a reply, are not mixed with those of another connection: a line of another
        program would become a line of the script that is being loaded, and its reply that of the script's host.
        """
        *lines, self._partial = (self._partial + data).split(b"\n")
        if len(self._partial) > MAX_MESSAGE:
            self._partial = b""
            self.instrument.refuse("input buffer overrun")
        waiting = deque(lines)
        while waiting:
            reply = b""
            with self.instrument.lock:
                while waiting and not reply:
                    reply = self._message(waiting.popleft())
            if reply:
                yield reply

    def finish(self) -> bytes:
        """End the partial message, as END does on buses that have it."""
        return self.handle(b"\n") if self._partial else b""

    def clear(self) -> None:
        """Drop the partial message and abort, as a device clear does; no output changes."""
        self._partial = self._late = b""
        with self.instrument.lock:  # of another connection's script, which has been told to end
            self.instrument.busy = False
            self.instrument.device_clear()

    def reconnect(self) -> None:
        """End the connection and open another one; the instrument continues."""
        self.close()

    def close(self) -> None:
        """End the connection; a partly loaded script is dropped, everything else stays."""
        self._partial = self._late = b""
        with self.instrument.world.lock:
            self.instrument.hang_up()

    def _message(self, line: bytes) -> bytes:
        instrument = self.instrument
        with instrument.lock, instrument.world.lock:
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


def moves_freely(relay: str) -> bool:
    """Return False: no relay sticks."""
    return False


class Instrument(ABC):
    """An emulated instrument.

    Args:
        name: its name on the bench.
        model: as in its identity.
    """

    on_needles = True
    """Whether needles are between it and the die."""

    def __init__(self, name: str, model: str, world: World) -> None:
        self.name, self.model, self.world = name, model, world
        self.lock = RLock()
        """Held while a message is executed, also while its script lets messages to other instruments in."""
        self.fault: Callable[[bytes], Fault] = lambda _: Fault.NONE
        self.busy = False
        """A message runs that does not end by itself; only messages of `ends_busy` and a device clear are accepted."""
        self._own = Session(self)

    def session(self) -> Session:
        """Open a connection."""
        return Session(self)

    def handle(self, data: bytes) -> bytes:
        """Receive bytes on the in-process connection; return the replies."""
        return self._own.handle(data)

    @abstractmethod
    def execute(self, message: str) -> str:
        """Execute one message, without its terminator; return the reply with its own, or ""."""

    def ends_busy(self, line: bytes) -> bool:
        """Return whether a message aborts the running one."""
        return False

    def device_clear(self) -> None:  # noqa: B027 - most line protocols have nothing to clear
        """Abort and drop unread replies; levels and outputs stay."""

    def interrupted(self) -> bool:
        """Process a message that came before the reply to the one before it was read, on links that tell.

        Returns whether that drops the reply.
        """
        return False

    def unterminated(self) -> None:  # noqa: B027 - most line protocols know no such error
        """Process that it was addressed to talk and has nothing to say, on links that tell."""

    def hang_up(self) -> None:  # noqa: B027 - most line protocols keep nothing of a connection
        """Update the state after the end of a connection."""

    def interrupt(self) -> None:  # noqa: B027 - only instruments that run scripts can be interrupted
        """Abort, from another thread."""

    def power_off(self) -> None:  # noqa: B027 - most instruments hold nothing that only power holds
        """Let go what only power holds, such as outputs and relays: the mains are off."""

    def outputs(self) -> dict[str, float]:
        """Return the levels of the outputs that are on, V, or A of one that forces a current; none if it has none."""
        return {}

    def trip(self) -> None:  # noqa: B027 - most instruments have no outputs
        """Switch every output off by itself, as an interlock or too high a temperature does."""

    def seek(self, operation: int) -> None:  # noqa: B027 - most instruments have no noise
        """Set the random streams of its noise to the number of an operation."""

    @property
    def status_byte(self) -> int:
        """IEEE 488.2 status byte without MAV."""
        return 0

    def leftovers(self) -> dict[str, Leave]:
        """Return how each part of its state is left at a random legal value, by the name of the part."""

        def busy(rng: Random) -> str:
            self.busy = True
            return "a message that does not end"

        return {"busy": busy}

    def refuse(self, reason: str) -> None:
        """Record a refused command."""
        self.world.note("refused", f"{self.name}: {reason}")
