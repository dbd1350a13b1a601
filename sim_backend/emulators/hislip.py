"""HiSLIP 1.0 server side, enough for VISA: two channels, synchronised mode, device clear, status byte, trigger.

Source of the facts: IVI-6.1 (HiSLIP), message types and exchanges; checked against pyvisa-py's client.
"""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from sim_backend.emulators.link import ConnectionDropped, Instrument, Session

HEADER = struct.Struct("!2sBBIQ")
INITIALIZE, INITIALIZE_RESPONSE, FATAL, ERROR, LOCK, LOCK_RESPONSE, DATA, DATA_END = range(8)
CLEAR_COMPLETE, CLEAR_ACKNOWLEDGE, REMOTE, REMOTE_RESPONSE, TRIGGER = range(8, 13)
MAX_SIZE, MAX_SIZE_RESPONSE, ASYNC_INITIALIZE, ASYNC_INITIALIZE_RESPONSE, ASYNC_CLEAR = range(15, 20)
STATUS, STATUS_RESPONSE, ASYNC_CLEAR_ACKNOWLEDGE, LOCK_INFO, LOCK_INFO_RESPONSE = range(21, 26)
_MAV = 16
_LARGEST = 1 << 20
_VENDOR = int.from_bytes(b"KI", "big")


@dataclass
class _Link:
    """State that the two channels of a session share."""

    session: Session
    unread: bool = False
    clearing: bool = False


class HislipServer:
    """Serves one instrument to any number of HiSLIP sessions."""

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self._links: dict[int, _Link] = {}
        self._lock = threading.Lock()
        self._next = 1

    def serve(self, connection: socket.socket, stopping: Callable[[], bool]) -> None:
        """Serve one accepted connection until it ends; its first message selects the channel."""
        try:
            kind, _, parameter, _ = _receive(connection, stopping)
            if kind == INITIALIZE:
                with self._lock:
                    number, self._next = self._next, self._next + 1
                    link = self._links[number] = _Link(self.instrument.session())
                _send(connection, INITIALIZE_RESPONSE, 0, (0x0100 << 16) | number)
                try:
                    self._synchronous(connection, link, stopping)
                finally:
                    self._links.pop(number, None)
                    if link.clearing:
                        link.session.clear()
                    link.session.close()
            elif kind == ASYNC_INITIALIZE and parameter in self._links:
                _send(connection, ASYNC_INITIALIZE_RESPONSE, 0, _VENDOR)
                self._asynchronous(connection, self._links[parameter], stopping)
            else:
                _send(connection, FATAL, 3, 0, b"invalid initialization sequence")
        except (ConnectionError, TimeoutError, OSError):
            return

    def _synchronous(self, connection: socket.socket, link: _Link, stopping: Callable[[], bool]) -> None:
        while True:
            kind, control, parameter, payload = _receive(connection, stopping)
            replies: Iterable[bytes] = ()
            if kind == CLEAR_COMPLETE:
                link.session.clear()
                link.clearing = link.unread = False
                _send(connection, CLEAR_ACKNOWLEDGE, 0, 0)
                continue
            if link.clearing:
                continue
            if kind in (DATA, DATA_END):
                if link.unread and not control & 1:
                    with self.instrument.world.lock:
                        self.instrument.interrupted()
                link.unread = False
                replies = link.session.replies(payload)
                if kind == DATA_END:
                    replies = chain(replies, _finished(link.session))
            elif kind == TRIGGER:
                replies = link.session.replies(b"*TRG\n")
            else:
                _send(connection, ERROR, 1, 0, b"unrecognized message type")
            for reply in replies:
                for message in [] if link.clearing else _messages(reply):
                    link.unread = True
                    _send(connection, DATA_END, 0, parameter, message, stopping)

    def _asynchronous(self, connection: socket.socket, link: _Link, stopping: Callable[[], bool]) -> None:
        while True:
            kind, control, parameter, _ = _receive(connection, stopping)
            if kind == MAX_SIZE:
                _send(connection, MAX_SIZE_RESPONSE, 0, 0, struct.pack("!Q", _LARGEST))
            elif kind == ASYNC_CLEAR:
                link.clearing = True
                self.instrument.interrupt()
                _send(connection, ASYNC_CLEAR_ACKNOWLEDGE, 0, 0)
            elif kind == STATUS:
                if control & 1:
                    link.unread = False
                with self.instrument.world.lock:
                    byte = self.instrument.status_byte
                _send(connection, STATUS_RESPONSE, byte | (_MAV if link.unread else 0), 0)
            elif kind == LOCK:
                _send(connection, LOCK_RESPONSE, 1, 0)
            elif kind == LOCK_INFO:
                _send(connection, LOCK_INFO_RESPONSE, 0, 0)
            elif kind == REMOTE:
                _send(connection, REMOTE_RESPONSE, 0, 0)
            else:
                _send(connection, ERROR, 1, parameter, b"unrecognized message type")


def _finished(session: Session) -> Iterator[bytes]:
    """Yield the reply of a message that END ends, executed when it is its turn."""
    yield session.finish()


def _messages(reply: bytes) -> list[bytes]:
    """Return the response messages of a reply; a binary block is one message."""
    if reply.startswith(b"#0"):
        return [reply]
    return reply.splitlines(keepends=True)


def _receive(connection: socket.socket, stopping: Callable[[], bool]) -> tuple[int, int, int, bytes]:
    head = _exactly(connection, HEADER.size, stopping)
    prologue, kind, control, parameter, size = HEADER.unpack(head)
    if prologue != b"HS" or size > 16 * _LARGEST:
        _send(connection, FATAL, 1, 0, b"poorly formed message header")
        raise ConnectionDropped("poorly formed header")
    return kind, control, parameter, _exactly(connection, size, stopping)


def _exactly(connection: socket.socket, size: int, stopping: Callable[[], bool]) -> bytes:
    data = bytearray()
    while len(data) < size:
        try:
            piece = connection.recv(min(size - len(data), 1 << 16))
        except TimeoutError:
            if stopping():
                raise
            continue
        if not piece:
            raise ConnectionDropped("peer gone")
        data += piece
    return bytes(data)


def send_all(
    connection: socket.socket, data: bytes, stopping: Callable[[], bool] = lambda: False, patience: float = 30.0
) -> None:
    """Send all data to a peer that may read slowly; TimeoutError if it reads nothing for `patience` s, or to stop."""
    view, deadline = memoryview(data), time.monotonic() + patience
    while view:
        try:
            view = view[connection.send(view) :]
            deadline = time.monotonic() + patience
        except TimeoutError:
            if stopping() or time.monotonic() > deadline:
                raise


def _send(
    connection: socket.socket,
    kind: int,
    control: int,
    parameter: int,
    payload: bytes = b"",
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    send_all(connection, HEADER.pack(b"HS", kind, control, parameter, len(payload)) + payload, stopping)
