"""HiSLIP 1.0, the server's side: two channels, message ids, device clear, status byte, trigger, in both modes.

Synchronised mode is begun with; a client gets the overlapped one by the feature that it asks for in a device clear. In
synchronised mode a message that comes before the response to the one before it was read is told as interrupted on both
channels, where the instrument drops that response. A lock is granted to whoever asks for one.

Source of the facts: IVI-6.1 (HiSLIP), message types and exchanges; checked against pyvisa-py's client, whose status
query takes the notice of an interruption on the asynchronous channel for its answer, once.
"""

import secrets
import socket
import struct
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain

from sim_backend.emulators.link import ConnectionDropped, Instrument, Session
from sim_backend.emulators.message_exchange import MAV, messages
from sim_backend.emulators.sockets import Stopping, exactly, send_all
from sim_backend.emulators.wire_faults import WireFaults

HEADER = struct.Struct("!2sBBIQ")
INITIALIZE, INITIALIZE_RESPONSE, FATAL, ERROR, LOCK, LOCK_RESPONSE, DATA, DATA_END = range(8)
CLEAR_COMPLETE, CLEAR_ACKNOWLEDGE, REMOTE, REMOTE_RESPONSE, TRIGGER, INTERRUPTED, ASYNC_INTERRUPTED = range(8, 15)
MAX_SIZE, MAX_SIZE_RESPONSE, ASYNC_INITIALIZE, ASYNC_INITIALIZE_RESPONSE, ASYNC_CLEAR = range(15, 20)
STATUS, STATUS_RESPONSE, ASYNC_CLEAR_ACKNOWLEDGE, LOCK_INFO, LOCK_INFO_RESPONSE = range(21, 26)
POOR_HEADER, BAD_INITIALIZATION, TOO_MANY = 1, 3, 4
"""Codes of fatal errors."""
UNKNOWN_TYPE, TOO_LARGE = 1, 4
"""Codes of errors."""
RMT, OVERLAP = 1, 1
"""Bits of the control code: the last response was read whole; overlapped mode."""
LARGEST = 1 << 20
"""Bytes of a message that is taken, header included."""
SMALLEST = 256
"""Least size of messages to a client, whatever it asks for."""
MOST_LINKS = 32
_VENDOR = int.from_bytes(b"KI", "big")


@dataclass
class _Link:
    """State that the two channels of a session share."""

    session: Session
    unread: bool = False
    clearing: bool = False
    overlapped: bool = False
    largest: int = LARGEST
    """Bytes of a message that the client takes, header included."""
    second: socket.socket | None = None
    """The asynchronous channel."""
    sending: threading.Lock = field(default_factory=threading.Lock)
    """Held while something is sent on the asynchronous channel."""


class HislipServer:
    """Serves one instrument to HiSLIP sessions.

    Args:
        instrument: executes the messages.
        faults: what happens to responses.
    """

    def __init__(self, instrument: Instrument, faults: WireFaults | None = None) -> None:
        self.instrument, self._faults = instrument, faults or WireFaults()
        self._links: dict[int, _Link] = {}
        self._lock = threading.Lock()

    def serve(self, connection: socket.socket, stopping: Stopping) -> None:
        """Serve one accepted connection until it ends; its first message selects the channel."""
        try:
            kind, _, parameter, payload = _receive(connection, stopping)
            if kind == INITIALIZE and payload.lower() in (b"", b"hislip0"):
                self._begin(connection, stopping)
            elif kind == ASYNC_INITIALIZE and (link := self._joined(parameter, connection)) is not None:
                _send(connection, ASYNC_INITIALIZE_RESPONSE, 0, _VENDOR)
                self._asynchronous(connection, link, stopping)
            else:
                _send(connection, FATAL, BAD_INITIALIZATION, 0, b"invalid initialization sequence")
        except (ConnectionError, TimeoutError, OSError):
            return

    def _begin(self, connection: socket.socket, stopping: Stopping) -> None:
        """Open a session and serve its synchronous channel."""
        with self._lock:
            if len(self._links) >= MOST_LINKS:
                _send(connection, FATAL, TOO_MANY, 0, b"maximum number of clients exceeded")
                return
            number = next(n for n in iter(lambda: secrets.randbits(16), -1) if n and n not in self._links)
            link = self._links[number] = _Link(self.instrument.session())
        try:
            _send(connection, INITIALIZE_RESPONSE, 0, (0x0100 << 16) | number)
            self._synchronous(connection, link, stopping)
        finally:
            with self._lock:
                del self._links[number]
            if link.clearing:
                link.session.clear()
            link.session.close()

    def _joined(self, number: int, connection: socket.socket) -> _Link | None:
        """Return the session whose asynchronous channel a connection becomes; None if none has a place for it."""
        with self._lock:
            link = self._links.get(number)
            if link is None or link.second is not None:
                return None
            link.second = connection
            return link

    def _synchronous(self, connection: socket.socket, link: _Link, stopping: Stopping) -> None:
        while True:
            kind, control, parameter, payload = _receive(connection, stopping)
            replies: Iterable[bytes] = ()
            if kind == CLEAR_COMPLETE:
                link.session.clear()
                link.clearing = link.unread = False
                link.overlapped = bool(control & OVERLAP)
                _send(connection, CLEAR_ACKNOWLEDGE, control & OVERLAP, 0)
                continue
            if link.clearing:
                continue
            if kind in (DATA, DATA_END, TRIGGER):
                if link.unread and not control & RMT and not link.overlapped:
                    self._interrupted(connection, link, parameter)
                link.unread = False
                replies = link.session.replies(payload if kind != TRIGGER else b"*TRG\n")
                if kind == DATA_END:
                    replies = chain(replies, _finished(link.session))
            else:
                _send(connection, ERROR, UNKNOWN_TYPE, 0, b"unrecognized message type")
            for reply in replies:
                for message in [] if link.clearing else messages(reply):
                    link.unread = True
                    self._respond(connection, link, parameter, message, stopping)

    def _respond(self, connection: socket.socket, link: _Link, number: int, message: bytes, stopping: Stopping) -> None:
        """Send a response in pieces that the client takes; `number` is that of the message which asked for it."""
        most = link.largest - HEADER.size
        for at in range(0, len(message), most):
            piece = message[at : at + most]
            kind = DATA_END if at + most >= len(message) else DATA
            data = HEADER.pack(b"HS", kind, 0, number, len(piece)) + piece
            send_all(connection, self._faults.answer(connection, data), stopping)

    def _interrupted(self, connection: socket.socket, link: _Link, number: int) -> None:
        """A message came before the response to the one before it was read: tell so on both channels."""
        with self.instrument.world.lock:
            drops = self.instrument.interrupted()
        if drops:
            _send(connection, INTERRUPTED, 0, number)
            if link.second is not None:
                with link.sending:
                    _send(link.second, ASYNC_INTERRUPTED, 0, number)

    def _asynchronous(self, connection: socket.socket, link: _Link, stopping: Stopping) -> None:
        while True:
            kind, control, parameter, payload = _receive(connection, stopping)
            with link.sending:
                self._answer(connection, link, kind, control, parameter, payload)

    def _answer(
        self, connection: socket.socket, link: _Link, kind: int, control: int, parameter: int, payload: bytes
    ) -> None:
        """Answer a message of the asynchronous channel."""
        match kind:
            case _ if kind == MAX_SIZE and len(payload) == 8:
                link.largest = min(max(int.from_bytes(payload, "big"), SMALLEST), LARGEST)
                _send(connection, MAX_SIZE_RESPONSE, 0, 0, struct.pack("!Q", LARGEST))
            case _ if kind == ASYNC_CLEAR:
                link.clearing = True
                self.instrument.interrupt()
                _send(connection, ASYNC_CLEAR_ACKNOWLEDGE, 0, 0)
            case _ if kind == STATUS:
                if control & RMT:
                    link.unread = False
                with self.instrument.world.lock:
                    byte = self.instrument.status_byte
                _send(connection, STATUS_RESPONSE, byte | (MAV if link.unread else 0), 0)
            case _ if kind == LOCK:
                _send(connection, LOCK_RESPONSE, 1, 0)
            case _ if kind == LOCK_INFO:
                _send(connection, LOCK_INFO_RESPONSE, 0, 0)
            case _ if kind == REMOTE:
                _send(connection, REMOTE_RESPONSE, 0, 0)
            case _:
                _send(connection, ERROR, UNKNOWN_TYPE, parameter, b"unrecognized message type")


def _finished(session: Session) -> Iterator[bytes]:
    """Yield the reply of a message that END ends, executed when it is its turn."""
    yield session.finish()


def _receive(connection: socket.socket, stopping: Stopping) -> tuple[int, int, int, bytes]:
    """Return type, control code, parameter and payload of the next message; one that is too large is passed over."""
    while True:
        prologue, kind, control, parameter, size = HEADER.unpack(exactly(connection, HEADER.size, stopping))
        if prologue != b"HS":
            _send(connection, FATAL, POOR_HEADER, 0, b"poorly formed message header")
            raise ConnectionDropped("poorly formed header")
        if size <= LARGEST:
            return kind, control, parameter, exactly(connection, size, stopping)
        while size:
            size -= len(exactly(connection, min(size, 1 << 16), stopping))
        _send(connection, ERROR, TOO_LARGE, 0, b"message too large")


def _send(connection: socket.socket, kind: int, control: int, parameter: int, payload: bytes = b"") -> None:
    send_all(connection, HEADER.pack(b"HS", kind, control, parameter, len(payload)) + payload)
