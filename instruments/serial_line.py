"""The transport over a serial line. Verified against pyvisa-py 0.8.1 on pseudo-terminals, not on a real line.

A serial line has no connection: what an instrument still has to say comes after the port was opened anew. So the line
is listened to until it is quiet, and the probe is asked again while more comes than its one reply. A line that was half
sent when its program ended is still there as well: making safe ends it first.
"""

import time
from typing import Any

from instruments.carrier import SerialLine
from instruments.transport import TRIES
from instruments.visa import VisaTransport, serial_settings
from labctl.core.errors import BenchError
from labctl.core.units import Second

QUIET: Second = 0.1
"""[?] A line on which nothing has come for so long is quiet."""


class SerialTransport(VisaTransport):
    """A transport over a serial line.

    Args:
        line: its settings.
        clear: what is sent as a device clear; empty if the instrument knows none on a serial line.

    Other arguments as in `VisaTransport`.
    """

    def __init__(self, resource: str, line: SerialLine, *, clear: bytes = b"", **others: Any) -> None:
        super().__init__(resource, **others)
        self._line_settings, self._clear = line, clear

    @property
    def seconds_per_byte(self) -> Second:
        """Time that a byte is on the line, s."""
        return self._line_settings.seconds_per_byte

    def _open(self) -> None:
        try:
            super()._open()
        except BenchError as error:
            if "pyserial" not in str(error).lower():
                raise
            raise BenchError(f"{error}; python -m pip install 'mtj-labctl[serial]' brings it") from error

    def _settings(self) -> dict[str, Any]:
        return {**serial_settings(self._line_settings), "read_termination": self._line_settings.end[-1]}

    def _reopen(self) -> None:
        super()._reopen()
        end = time.monotonic() + TRIES * QUIET
        while self._more() and time.monotonic() < end:
            self._discard()

    def _more(self) -> bool:
        """Return whether something comes before the line is quiet."""
        time.sleep(QUIET)
        return self._unread()

    def _says_more(self) -> bool:
        return self._more() or bool(self._pending)

    def _break_in(self) -> None:
        """Open the port, clear the instrument if it can be cleared, and end the line that somebody may have begun."""
        self._open()
        self._put_bytes(self._clear + b"\n", time.monotonic() + self.deadlines.setting)

    def _send(self, data: bytes, deadline: float) -> None:
        super()._send(data.replace(b"\n", self._line_settings.end.encode()), deadline)

    def _read_some(self) -> bytes:
        """Return what has come, or the next byte: the rest of a line is not lost where it comes late."""
        data: bytes = self._resource.read_bytes(max(1, self._waiting_bytes()))
        return data.replace(b"\r", b"\n") if self._line_settings.terminator == "cr" else data

    def _transit(self, size: int) -> Second:
        return size * self.seconds_per_byte
