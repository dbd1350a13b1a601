"""A serial line to an emulated instrument: a pseudo-terminal of this computer, where it has them.

There is no END and no connection: messages end with the terminator, responses are sent as soon as there are any, and
^C or ^X is the device clear (Series 2400 user's manual, RS-232 interface operation). Baud rate and parity have no
meaning between the two ends of a pseudo-terminal.
"""

import os
import select
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from labctl.core.units import Second
from sim_backend.emulators.link import Instrument
from sim_backend.emulators.message_exchange import MessageExchange
from sim_backend.emulators.sockets import Stopping
from sim_backend.emulators.wire_faults import WireFault, WireFaults

CLEARS = b"\x03\x18"
"""Bytes that are a device clear."""
_POLL: Second = 0.05
_PIECE = 1 << 12
HAS_TERMINALS = sys.platform != "win32"


class Port:
    """The instrument's end of a pseudo-terminal; close it after use. OSError where there is none."""

    def __init__(self) -> None:
        if sys.platform == "win32":
            raise OSError("this system has no pseudo-terminals")
        import tty

        self._ours, self._theirs = os.openpty()
        tty.setraw(self._theirs)
        os.set_blocking(self._ours, False)
        self.path = os.ttyname(self._theirs)
        """The file that a program opens as its serial port; the server keeps it open, so that it stays as it is."""

    def read(self) -> bytes:
        """Return what has come, b"" if nothing does for a moment."""
        if not select.select([self._ours], [], [], _POLL)[0]:
            return b""
        with suppress(OSError):
            return os.read(self._ours, _PIECE)
        return b""

    def write(self, data: bytes, stopping: Stopping) -> None:
        """Send all of `data`; what nobody reads before the server closes is dropped."""
        while data and not stopping():
            if select.select([], [self._ours], [], _POLL)[1]:
                with suppress(BlockingIOError):
                    data = data[os.write(self._ours, data[:_PIECE]) :]

    def close(self) -> None:
        """Give the terminal back."""
        for end in (self._ours, self._theirs):
            with suppress(OSError):
                os.close(end)


class SerialLine:
    """One instrument behind a port.

    Args:
        terminator: ends messages in both directions.
        faults: what happens to responses.
    """

    def __init__(self, instrument: Instrument, port: Port, terminator: bytes, faults: WireFaults) -> None:
        self._port, self._terminator, self._faults = port, terminator, faults
        self._exchange = MessageExchange(instrument, interrupts=False)

    def listen(self, stopping: Stopping) -> None:
        """Take what comes, until the server closes."""
        try:
            while not stopping():
                data = self._port.read()
                while (at := min((k for k in (data.find(c) for c in CLEARS) if k >= 0), default=-1)) >= 0:
                    self._exchange.clear()
                    data = data[at + 1 :]
                if data:
                    self._exchange.put(data.replace(self._terminator, b"\n"), False)
        finally:
            self._exchange.close()

    def talk(self, stopping: Stopping) -> None:
        """Send responses, until the server closes."""
        while not stopping():
            response, _ = self._exchange.take(1 << 20, _POLL, asked=False)
            if response and self._faults.strikes(WireFault.HALF):
                response = response[: len(response) // 2]
            self._port.write(response.replace(b"\n", self._terminator), stopping)


class Stream(Protocol):
    """A conversation in bytes."""

    def feed(self, data: bytes, send: Callable[[bytes], None]) -> None:
        """Take bytes, and send what answers them."""
        ...


def carry(port: Port, stream: Stream, stopping: Stopping) -> None:
    """Carry bytes between a port and a stream, until the server closes."""
    while not stopping():
        if data := port.read():
            stream.feed(data, lambda answer: port.write(answer, stopping))
