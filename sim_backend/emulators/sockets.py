"""Bytes of a socket that is waited on in short steps, so that a server that closes ends its threads."""

import socket
import time
from collections.abc import Callable

from sim_backend.emulators.link import ConnectionDropped

Stopping = Callable[[], bool]
"""Whether the server closes."""


def exactly(connection: socket.socket, size: int, stopping: Stopping) -> bytes:
    """Return the next `size` bytes; ConnectionDropped if the peer ends before, TimeoutError to stop."""
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
    connection: socket.socket, data: bytes, stopping: Stopping = lambda: False, patience: float = 30.0
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
