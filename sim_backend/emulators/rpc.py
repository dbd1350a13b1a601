"""ONC remote procedure calls over TCP, the server's side: records, headers, and a portmapper.

Sources: RFC 5531 (calls, replies, record marking), RFC 4506 (XDR), RFC 1833 (portmapper, version 2). A record is
bounded, and what cannot be read is answered as the protocol says, or ends its own connection and nothing else.
"""

import socket
import struct
from collections.abc import Callable, Mapping

from sim_backend.emulators.link import ConnectionDropped
from sim_backend.emulators.sockets import Stopping, exactly, send_all

CALL, REPLY = 0, 1
ACCEPTED, DENIED = 0, 1
SUCCESS, NO_PROGRAM, NO_VERSION, NO_PROCEDURE, GARBAGE = range(5)
RPC_VERSION = 2
MOST_AUTH = 400
"""Bytes of the body of a credential (RFC 5531, 8.2)."""
PORTMAPPER, PORTMAPPER_VERSION, GET_PORT, TCP = 100000, 2, 3, 6
_LAST = 1 << 31


class Garbage(Exception):
    """Arguments that cannot be decoded."""


class Reader:
    """XDR of a record, read from its front; `Garbage` if it is too short."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def word(self) -> int:
        """Return an unsigned integer."""
        return int.from_bytes(self._take(4), "big")

    def signed(self) -> int:
        """Return a signed integer."""
        return int.from_bytes(self._take(4), "big", signed=True)

    def opaque(self, most: int) -> bytes:
        """Return bytes of variable length, `most` at most."""
        size = self.word()
        if size > most:
            raise Garbage(f"{size} bytes where at most {most} fit")
        data = self._take(size)
        self._take(-size % 4)
        return data

    def _take(self, size: int) -> bytes:
        if self._at + size > len(self._data):
            raise Garbage("the record ends too early")
        self._at += size
        return self._data[self._at - size : self._at]


def words(*values: int) -> bytes:
    """Return integers in XDR.

    >>> words(1, -1).hex()
    '00000001ffffffff'
    """
    return b"".join(struct.pack(">I", value & 0xFFFFFFFF) for value in values)


def opaque(data: bytes) -> bytes:
    """Return bytes of variable length in XDR.

    >>> opaque(b"abcde").hex()
    '000000056162636465000000'
    """
    return words(len(data)) + data + bytes(-len(data) % 4)


Procedure = Callable[[Reader], bytes]
Programs = Mapping[tuple[int, int], Mapping[int, Procedure]]
"""Procedures by number, of a program and its version; procedure 0 of each does nothing."""


def serve_calls(
    connection: socket.socket,
    stopping: Stopping,
    programs: Programs,
    most: int,
    spoil: Callable[[bytes], bytes] = lambda reply: reply,
) -> None:
    """Answer the calls of one connection until it ends.

    Args:
        most: bytes of a record.
        spoil: what comes of a reply.

    Raises:
        ConnectionDropped: it has ended, or sends what is no call.
        TimeoutError: the server closes.
    """
    while True:
        reply = answer(_record(connection, stopping, most), programs)
        send_all(connection, spoil(words(_LAST | len(reply)) + reply), stopping)


def answer(record: bytes, programs: Programs) -> bytes:
    """Return the reply to the record of one call; ConnectionDropped if it is no call."""
    call = Reader(record)
    try:
        number, kind, version = call.word(), call.word(), call.word()
        if kind != CALL:
            raise ConnectionDropped("a reply where a call was expected")
        if version != RPC_VERSION:
            return words(number, REPLY, DENIED, 0, RPC_VERSION, RPC_VERSION)
        program, at, procedure = call.word(), call.word(), call.word()
        for _ in ("credential", "verifier"):
            call.word()
            call.opaque(MOST_AUTH)
    except Garbage as error:
        raise ConnectionDropped(str(error)) from error
    accepted = words(number, REPLY, ACCEPTED, 0, 0)
    versions = [v for p, v in programs if p == program]
    if not versions:
        return accepted + words(NO_PROGRAM)
    if at not in versions:
        return accepted + words(NO_VERSION, min(versions), max(versions))
    if procedure == 0:
        return accepted + words(SUCCESS)
    act = programs[program, at].get(procedure)
    if act is None:
        return accepted + words(NO_PROCEDURE)
    try:
        return accepted + words(SUCCESS) + act(call)
    except Garbage:
        return accepted + words(GARBAGE)


def portmapper(ports: Mapping[tuple[int, int], int]) -> Programs:
    """Return the program that tells the ports of others.

    Args:
        ports: by program and version, over TCP.
    """

    def get_port(call: Reader) -> bytes:
        program, version, protocol, _ = (call.word() for _ in range(4))
        return words(ports.get((program, version), 0) if protocol == TCP else 0)

    return {(PORTMAPPER, PORTMAPPER_VERSION): {GET_PORT: get_port}}


def _record(connection: socket.socket, stopping: Stopping, most: int) -> bytes:
    """Return the next record, of one or more fragments; ConnectionDropped if it is longer than `most` bytes."""
    record, last = b"", False
    while not last:
        mark = int.from_bytes(exactly(connection, 4, stopping), "big")
        size, last = mark & ~_LAST, bool(mark & _LAST)
        if len(record) + size > most or (size == 0 and not last):
            raise ConnectionDropped("a record that is too long")
        record += exactly(connection, size, stopping)
    return record
