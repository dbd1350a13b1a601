"""Bytes from a socket, for the tests that speak a protocol themselves."""

import socket


def exactly(wire: socket.socket, size: int) -> bytes:
    """Return the next `size` bytes; the test fails if the other end hangs up."""
    data = b""
    while len(data) < size:
        piece = wire.recv(size - len(data))
        assert piece, "hung up"
        data += piece
    return data
