"""What every wire has in common: lines, deadlines, one owner at a time, and honesty after an interruption.

A reply that comes late is worse than none: it answers the next question. So whatever interrupts a conversation (a
timeout, an exception, ^C) marks it stale, and the next call resynchronises before a byte is sent. Nothing is ever
sent twice.
"""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from pydantic import Field

from labctl.core.errors import InstrumentError, LinkTimeoutError
from labctl.core.model import Model
from labctl.core.transport import Wait
from labctl.core.units import Second

Log = Callable[[str, bytes], None]
"""Gets every byte: ">" and what was sent, "<" and what came, "!" and what happened."""

LONGEST_LINE = 1 << 20


class Deadlines(Model):
    """How long an answer may take, per class of command, beside the time that the command itself needs.

    Engineering defaults: generous against 0.2-2 ms of LAN and some ms of parsing, short against an operator's patience.
    """

    setting: Second = Field(default=2.0, gt=0)
    query: Second = Field(default=2.0, gt=0)
    measure: Second = Field(default=5.0, gt=0)
    relay: Second = Field(default=5.0, gt=0)
    motion: Second = Field(default=60.0, gt=0)

    def of(self, wait: Wait) -> Second:
        """Return the deadline of a class of command, s."""
        return float(getattr(self, wait.value))


class LineTransport(ABC):
    """A conversation in lines over something that sends and receives bytes.

    Args:
        name: where the instrument is, in operator words.
        probe: a harmless question that proves the instrument answers, asked after opening and after resynchronising.
        deadlines: per class of command.
        terminator: ends every message that is sent; replies end with a line feed.
        log: gets every byte.
    """

    def __init__(
        self,
        name: str,
        *,
        probe: str | None = "*IDN?",
        deadlines: Deadlines | None = None,
        terminator: str = "\n",
        log: Log | None = None,
    ) -> None:
        self._name, self._probe, self._terminator, self._log = name, probe, terminator, log
        self.deadlines = deadlines or Deadlines()
        self._lock = threading.RLock()
        self._pending = b""
        self._stale = False
        self._urgent = False

    @property
    def name(self) -> str:
        """Where the instrument is, in operator words."""
        return self._name

    @abstractmethod
    def _send(self, data: bytes, deadline: float) -> None:
        """Send all of `data`; `deadline` is on the monotonic clock."""

    @abstractmethod
    def _receive(self, deadline: float) -> bytes:
        """Return at least one byte; LinkTimeoutError at `deadline`, InstrumentError at once if the peer is gone."""

    @abstractmethod
    def _reopen(self) -> None:
        """Drop whatever is under way and be connected afresh, with nothing old left to read."""

    @abstractmethod
    def close(self) -> None:
        """End the conversation."""

    def _unread(self) -> bool:
        """Return whether bytes that nobody asked for have already come."""
        return False

    def write(self, text: str) -> None:
        """Send lines of text as one message."""
        with self._lock:
            self._ready()
            self._put(text, time.monotonic() + self.deadlines.setting)

    def query(self, text: str, *, wait: Wait = Wait.QUERY, extra: Second = 0.0) -> str:
        """Return the one line that answers `text`; LinkTimeoutError if none comes in time."""
        return self.converse(text, lambda line: True, wait=wait, extra=extra)[0]

    def converse(
        self, text: str, last: Callable[[str], bool], *, wait: Wait = Wait.QUERY, extra: Second = 0.0
    ) -> list[str]:
        """Return the lines that answer `text`, up to and with the first for which `last` is true."""
        with self._lock:
            self._ready()
            return self._exchange(text, last, self.deadlines.of(wait) + extra)

    def resync(self) -> None:
        """Drop what is under way, connect afresh and ask the probe; raises if the instrument does not answer it."""
        with self._lock:
            self._note("!", b"resynchronise")
            self._stale = True
            self._pending = b""
            self._reopen()
            self._stale = False
            if self._probe is not None and not self._urgent:
                self._exchange(self._probe, lambda line: True, self.deadlines.query)

    def cut_in(self, text: str, ask: str, last: Callable[[str], bool]) -> list[str]:
        """Send `text` as the first bytes of a fresh connection, whatever is under way, and only then `ask`.

        For making safe: no probe stands before it, and an instrument that takes the bytes has them even if it answers
        nothing. Where the transport has a device clear, that goes first.

        Args:
            text: lines that end whatever runs; harmless when they are sent twice.
            ask: one line.
            last: whether a line is the answer; what the instrument still had to say may come before it.

        Returns:
            The lines that came, up to and with the first for which `last` is true.

        Raises:
            InstrumentError: it cannot be reached, or does not answer.
        """
        with self._lock:
            self._note("!", b"cut in")
            self._stale = True
            self._pending = b""
            self._break_in()
            return self._exchange(f"{text}\n{ask}", last, self.deadlines.query)

    def ask_nothing_first(self) -> None:
        """From now on connect afresh without asking the probe: a question may hang where an order would not."""
        self._urgent = True

    def _break_in(self) -> None:
        """Be connected afresh by the way that an instrument can refuse least."""
        self._reopen()

    def _ready(self) -> None:
        if self._stale or self._pending or self._unread():
            self.resync()

    def _exchange(self, text: str, last: Callable[[str], bool], seconds: Second) -> list[str]:
        deadline = time.monotonic() + seconds
        self._put(text, deadline)
        lines: list[str] = []
        self._stale = True
        while not lines or not last(lines[-1]):
            try:
                lines.append(self._line(deadline))
            except LinkTimeoutError as error:
                got = f" after {len(lines)} lines" if lines else ""
                raise LinkTimeoutError(
                    f"{self._name} did not answer '{_brief(text)}' within {seconds:.3g} s{got}; "
                    "the link is resynchronised before anything else is sent"
                ) from error
        self._stale = False
        return lines

    def _put(self, text: str, deadline: float) -> None:
        data = (text + self._terminator).encode("ascii")
        self._note(">", data)
        self._stale = True
        self._send(data, deadline)
        self._stale = False

    def _line(self, deadline: float) -> str:
        while b"\n" not in self._pending:
            if len(self._pending) > LONGEST_LINE:
                raise InstrumentError(f"{self._name} sent {len(self._pending)} bytes without a line feed")
            data = self._receive(deadline)
            self._note("<", data)
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        return line.decode("ascii", errors="replace").rstrip("\r")

    def _note(self, direction: str, data: bytes) -> None:
        if self._log is not None:
            self._log(direction, data)


class Handler(Protocol):
    """An instrument in this process: takes the bytes of messages, returns the bytes of replies."""

    def handle(self, data: bytes) -> bytes:
        """Return what the instrument answers at once, b"" for nothing."""
        ...


class BytesTransport(LineTransport):
    """The wire to an instrument in this process, byte for byte what a socket would carry.

    Args:
        handler: the instrument; resynchronising calls its `reconnect()`, or `clear()`, as a new connection would.
        name: in operator words.

    Other arguments as in `LineTransport`.
    """

    def __init__(
        self,
        handler: Handler,
        name: str = "instrument in this process",
        *,
        probe: str | None = "*IDN?",
        deadlines: Deadlines | None = None,
        log: Log | None = None,
    ) -> None:
        super().__init__(name, probe=probe, deadlines=deadlines, log=log)
        self._handler, self._replies = handler, b""

    def _send(self, data: bytes, deadline: float) -> None:
        try:
            self._replies += self._handler.handle(data)
        except ConnectionError as error:
            raise InstrumentError(f"{self._name} is gone: {error}") from error

    def _receive(self, deadline: float) -> bytes:
        data, self._replies = self._replies, b""
        if not data:
            raise LinkTimeoutError(f"{self._name} has nothing to say")
        return data

    def _unread(self) -> bool:
        return bool(self._replies)

    def _reopen(self) -> None:
        again = getattr(self._handler, "reconnect", None) or getattr(self._handler, "clear", None)
        if again is not None:
            again()
        self._replies = b""

    def close(self) -> None:
        """End the conversation; what was not read is dropped."""
        self._replies = b""


def _brief(text: str, most: int = 60) -> str:
    """Return the first line of `text`, shortened.

    >>> _brief("print(1)")
    'print(1)'
    """
    first, _, rest = text.partition("\n")
    return first[:most] + ("..." if rest or len(first) > most else "")
