"""Faults below messages: what happens to the bytes by which a protocol carries them, to test the links of drivers."""

import socket
import struct
import threading
from enum import StrEnum

from sim_backend.emulators.link import ConnectionDropped


class WireFault(StrEnum):
    """A kind of fault of a protocol."""

    SILENT = "gateway silent"
    """From one answer on, a gateway says nothing on this connection."""
    OTHER_ADDRESS = "answer of another address"
    """A gateway has been turned to another instrument, as by a second program."""
    TURNED = "another address behind the proof"
    """A gateway is turned to another instrument just before it carries a message or a response."""
    HALF = "half a message"
    """Half the bytes of an answer come, and no more."""
    RESET = "connection reset"
    """The other side ends the connection in the place of an answer."""


class WireFaults:
    """The fault that is to happen to the answers of one instrument or gateway, once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due: WireFault | None = None
        self._after = 0
        self.happened: list[WireFault] = []

    def expect(self, fault: WireFault, after: int = 0) -> None:
        """Let a fault happen to an answer to which it can, after so many of them have passed."""
        with self._lock:
            self._due, self._after = fault, after

    def strikes(self, *kinds: WireFault) -> WireFault | None:
        """Return the fault that happens to the answer which is about to be given; None for nothing."""
        with self._lock:
            if self._due is None or self._due not in kinds:
                return None
            if self._after:
                self._after -= 1
                return None
            fault, self._due = self._due, None
            self.happened.append(fault)
            return fault

    def answer(self, connection: socket.socket, data: bytes) -> bytes:
        """Return what comes of an answer of one message; ConnectionDropped if the connection ends in its place."""
        match self.strikes(WireFault.HALF, WireFault.RESET):
            case WireFault.HALF:
                return data[: len(data) // 2]
            case WireFault.RESET:
                reset(connection)
        return data


def reset(connection: socket.socket) -> None:
    """End a connection as a host that has forgotten it does; raises ConnectionDropped."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise ConnectionDropped("connection reset")
