"""The layer of faults between the connections of emulated instruments and the instruments themselves.

It is the same for instruments in this process and on sockets. What arrives together and ends with a line feed is one
message: that of a driver, which never sends another before it has the reply.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

from sim_backend.emulators.link import MAX_MESSAGE, Instrument, Session
from sim_backend.emulators.world import World
from sim_backend.faults.kinds import Link, dropped


class Faults(Protocol):
    """Decides what happens to the messages of a bench."""

    def send(self, link: Link, data: bytes) -> None:
        """Let a message pass, or let a fault happen to it; ConnectionDropped by a fault."""
        ...

    def refuses(self, name: str) -> bool:
        """Return whether an instrument takes no connection."""
        ...

    def reach(self, operation: int) -> None:
        """Note that an operation of the die begins, from 0."""
        ...


class FaultyInstrument(Instrument):
    """An emulated instrument behind the layer.

    Args:
        current: returns the instrument, which is another one after a power cycle.
        power_cycle: makes it anew.
        replies: the last reply of every instrument of the bench by name.
    """

    def __init__(
        self,
        faults: Faults,
        current: Callable[[], Instrument],
        power_cycle: Callable[[], None],
        replies: dict[str, bytes],
    ) -> None:
        self.faults, self.current, self.power_cycle, self.replies = faults, current, power_cycle, replies
        self.survivor = b""
        super().__init__(current().name, current().model, current().world)

    def session(self) -> Session:
        """Open a connection."""
        return FaultySession(self)

    def execute(self, message: str) -> str:
        """Execute one message without a connection, to which nothing happens."""
        return self.current().execute(message)

    def device_clear(self) -> None:
        """Abort and drop unread replies."""
        self.current().device_clear()

    def interrupt(self) -> None:
        """Abort, from another thread."""
        self.current().interrupt()

    def interrupted(self) -> bool:
        """Process a message that came before the reply to the one before it was read."""
        return self.current().interrupted()

    def unterminated(self) -> None:
        """Process that it was addressed to talk and has nothing to say."""
        self.current().unterminated()

    @property
    def status_byte(self) -> int:
        """IEEE 488.2 status byte without MAV."""
        return self.current().status_byte


class FaultySession(Session):
    """One connection to an instrument behind the layer: the `Link` that faults happen to."""

    def __init__(self, outlet: FaultyInstrument) -> None:
        super().__init__(outlet.current())
        self._outlet, self._message_so_far, self.given = outlet, b"", b""
        self.name = outlet.name
        self.late, outlet.survivor = outlet.survivor, b""

    @property
    def survivor(self) -> bytes:
        """A reply that comes once the host has connected anew."""
        return self._outlet.survivor

    @survivor.setter
    def survivor(self, reply: bytes) -> None:
        self._outlet.survivor = reply

    @property
    def world(self) -> World:
        """What all instruments act on."""
        return self._outlet.world

    @property
    def replies_of(self) -> dict[str, bytes]:
        """The last reply of every instrument by name."""
        return self._outlet.replies

    def replies(self, data: bytes) -> Iterator[bytes]:
        """Receive bytes, yield the reply to each message that they complete."""
        self._message_so_far += data
        if not self._message_so_far.endswith(b"\n") and len(self._message_so_far) <= MAX_MESSAGE:
            return
        message, self._message_so_far = self._message_so_far, b""
        self._outlet.faults.send(self, message)
        reply, self.given = self.given, b""
        if reply:
            yield reply

    def finish(self) -> bytes:
        """End the partial message, as END does on buses that have it."""
        return self.handle(b"\n") if self._message_so_far else super().finish()

    def execute(self, data: bytes) -> bytes:
        """Let the instrument execute a message, and return its reply."""
        self.instrument = self._outlet.current()
        return b"".join(super().replies(data))

    def give(self, reply: bytes) -> None:
        """Let the host receive a reply."""
        if reply:
            self._outlet.replies[self.name] = reply
        self.given += reply

    def deliver(self, data: bytes) -> bool:
        """Let a message and its reply pass; returns False: nothing happened to it."""
        reply = self.execute(data)
        late, self.late = self.late, b""
        self.give(late + reply)
        return False

    def power_cycle(self) -> None:
        """Switch the instrument off and on."""
        self._outlet.power_cycle()

    def reconnect(self) -> None:
        """End the connection and open another one; ConnectionDropped if it is refused."""
        if self._outlet.faults.refuses(self.name):
            raise dropped()
        self.close()
        self.late, self._outlet.survivor = self._outlet.survivor, b""

    def clear(self) -> None:
        """Drop the partial message and abort, as a device clear does; no output changes."""
        self._drop()
        super().clear()

    def close(self) -> None:
        """End the connection."""
        self._drop()
        super().close()

    def _drop(self) -> None:
        self.instrument = self._outlet.current()
        self._message_so_far = self.given = self.late = b""
