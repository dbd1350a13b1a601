"""Common part of all transports: lines, deadlines, one owner at a time, and resynchronisation after an interruption.

A late reply is worse than none: it answers the next query. So every interruption of an exchange (a timeout, an
exception, ^C) marks the connection stale, and the next call resynchronises before a byte is sent. Nothing is ever sent
twice.
"""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from pydantic import Field

from labctl.core import meanwhile
from labctl.core.errors import InstrumentError, LinkTimeoutError
from labctl.core.model import Model
from labctl.core.transport import Wait
from labctl.core.units import Second

Log = Callable[[str, bytes], None]
"""Receives every byte: ">" with bytes sent, "<" with bytes received, "!" with an event."""

LONGEST_LINE = 1 << 20
REPLY = 1000
"""Bytes of a reply that the time of a query has room for, beside its deadline."""
TRIES = 5
"""How often a link is resynchronised while more comes than the one reply to the probe."""

LOOK = "check that it is on, connected and free"
"""Advice where an instrument does not answer."""

CHECK = "'labctl check' shows its state"
"""Advice where an instrument refuses something, or is not as it was set."""


LISTEN = "Look whether another program talks to it, and at its cable"
"""Advice where an instrument answers something else than what it was asked for."""


MAINS = (50.0, 60.0)
"""Mains frequencies, Hz, of which instruments tell one: apertures are cycles of it."""


def unexpected(name: str, command: str, reply: str, expected: str) -> InstrumentError:
    """Return the error of a command that was answered by something else than what was expected.

    Args:
        name: of the instrument in the bench file.

    >>> print(unexpected("smu1", "print(1)", "nil", "numbers"))
    smu1: 'print(1)' was answered by 'nil'; expected numbers. Look whether another program talks to it, and at its cable
    """
    return InstrumentError(f"{name}: '{brief(command)}' was answered by '{reply}'; expected {expected}. {LISTEN}")


class Deadlines(Model):
    """How long a reply may take, per class of command, beside the time that the command itself needs.

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


@runtime_checkable
class Urgent(Protocol):
    """A transport that can connect afresh without asking anything first."""

    def ask_nothing_first(self) -> None:
        """From now on connect afresh without sending the probe."""
        ...


class LineTransport(ABC):
    """Messages in lines, or in bytes, over a connection that sends and receives bytes.

    Args:
        name: address of the instrument, in operator words.
        called: name of the instrument in the bench file, "" if that is its address.
        probe: a harmless query that proves the instrument answers, sent after opening and after resynchronising.
        deadlines: per class of command.
        terminator: ends every message that is sent; replies end with a line feed.
        log: receives every byte.
        sleep: lets a time pass, s; None is the computer's clock.
    """

    def __init__(
        self,
        name: str,
        *,
        called: str = "",
        probe: str | None = "*IDN?",
        deadlines: Deadlines | None = None,
        terminator: str = "\n",
        log: Log | None = None,
        sleep: Callable[[Second], None] | None = None,
    ) -> None:
        self.let_pass = sleep or time.sleep
        """Lets a time pass, s."""
        self._name, self._probe, self._terminator, self._log = name, probe, terminator, log
        self._called = f"{called} ({name})" if called else name
        """The instrument, in the words of messages."""
        self.deadlines = deadlines or Deadlines()
        self._lock = threading.RLock()
        self._pending = b""
        self._stale = False
        self._urgent = False

    @property
    def name(self) -> str:
        """Address of the instrument, in operator words."""
        return self._name

    @abstractmethod
    def _send(self, data: bytes, deadline: float) -> None:
        """Send all of `data`; `deadline` is on the monotonic clock."""

    @abstractmethod
    def _receive(self, deadline: float) -> bytes:
        """Return at least one byte; LinkTimeoutError at `deadline`, InstrumentError at once if the peer is gone."""

    @abstractmethod
    def _reopen(self) -> None:
        """Drop the present exchange and connect afresh, with nothing old left to read."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""

    def _unread(self) -> bool:
        """Return whether unsolicited bytes have arrived."""
        return False

    def write(self, text: str) -> None:
        """Send lines of text as one message."""
        with self._lock:
            self._ready()
            self._put(text, time.monotonic() + self.deadlines.setting + self._transit(len(text)))

    def query(self, text: str, *, wait: Wait = Wait.QUERY, extra: Second = 0.0) -> str:
        """Return the one line that answers `text`; LinkTimeoutError if none comes in time."""
        return self.converse(text, lambda line: True, wait=wait, extra=extra)[0]

    def converse(
        self, text: str, last: Callable[[str], bool], *, wait: Wait = Wait.QUERY, extra: Second = 0.0
    ) -> list[str]:
        """Return the lines that answer `text`, up to and with the first for which `last` is true."""
        with self._lock:
            self._ready()
            return self._exchange(text, last, self.deadlines.of(wait) + extra, busy=extra > 0.0)

    def send(self, data: bytes) -> None:
        """Send bytes that nothing answers."""
        with self._lock:
            self._ready()
            self._put_bytes(data, time.monotonic() + self.deadlines.setting + self._transit(len(data)))

    def exchange(
        self, data: bytes, whole: Callable[[bytes], bool], *, wait: Wait = Wait.QUERY, extra: Second = 0.0
    ) -> bytes:
        """Return the bytes that answer `data`, up to those for which `whole` is true; LinkTimeoutError if none are."""
        with self._lock:
            self._ready()
            return self._exchange_bytes(data, whole, self.deadlines.of(wait) + extra, busy=extra > 0.0)

    def break_in(self, data: bytes, ask: bytes, whole: Callable[[bytes], bool]) -> bytes:
        """Interrupt any exchange, as `cut_in` does, with bytes: `data` first, and only then `ask`.

        Args:
            whole: whether the bytes so far are the reply to `ask`; others of the instrument may precede it.

        Raises:
            InstrumentError: it cannot be reached, or does not answer.
        """
        meanwhile.forget()
        with self._lock:
            self._log_bytes("!", b"cut in")
            self._stale = True
            self._pending = b""
            self._break_in()
            return self._exchange_bytes(data + ask, whole, self.deadlines.query)

    def resync(self) -> None:
        """Drop the present exchange, connect afresh and send the probe.

        Where a fresh connection may bring an old reply, that is repeated until one reply answers the probe and no more.

        Raises:
            InstrumentError: the instrument does not answer it, or says more than it is asked for on such a link.
        """
        meanwhile.forget()
        with self._lock:
            for _ in range(TRIES):
                self._log_bytes("!", b"resynchronise")
                self._stale = True
                self._pending = b""
                self._reopen()
                self._stale = False
                if self._probe is not None and not self._urgent:
                    self._exchange(self._probe, lambda line: True, self.deadlines.query)
                if self._urgent or not self._says_more():
                    return
            self._stale = True
            raise InstrumentError(f"{self._called} says more than it is asked for; {LISTEN}")

    def cut_in(self, text: str, ask: str, last: Callable[[str], bool]) -> list[str]:
        """Interrupt any exchange: send `text` as the first bytes of a fresh connection, and only then `ask`.

        For making safe: no probe precedes it, and an instrument that accepts bytes has them even if it does not answer.
        If the transport has a device clear, that goes first.

        Args:
            text: lines that abort a running script; harmless when they are sent twice.
            ask: one line.
            last: whether a line is the reply; pending lines of the instrument may precede it.

        Returns:
            The lines received, up to and with the first for which `last` is true.

        Raises:
            InstrumentError: it cannot be reached, or does not answer.
        """
        meanwhile.forget()
        with self._lock:
            self._log_bytes("!", b"cut in")
            self._stale = True
            self._pending = b""
            self._break_in()
            return self._exchange(f"{text}\n{ask}", last, self.deadlines.query, room=0)

    def ask_nothing_first(self) -> None:
        """From now on connect afresh without sending the probe: a query may hang where a command would not."""
        self._urgent = True

    def _break_in(self) -> None:
        """Connect afresh by the method that an instrument is least able to refuse."""
        self._reopen()

    def _ready(self) -> None:
        if self._stale or self._pending or self._unread():
            self.resync()

    def _says_more(self) -> bool:
        """Return whether more has come than the reply to the probe, on a link where that may be an old reply."""
        return False

    def _transit(self, size: int) -> Second:
        """Return how long so many bytes are on the way, s."""
        return 0.0

    def _exchange(
        self, text: str, last: Callable[[str], bool], seconds: Second, room: int = REPLY, busy: bool = False
    ) -> list[str]:
        """Return the lines that answer `text` within `seconds`, beside what it and `room` bytes are on the way.

        Args:
            busy: the instrument works for a time of which it was said how long, and the host has time meanwhile.
        """
        seconds += self._transit(len(text) + room)
        deadline = time.monotonic() + seconds
        self._put(text, deadline)
        lines: list[str] = []
        self._stale = True
        deadline += _prepared() if busy else 0.0
        while not lines or not last(lines[-1]):
            try:
                lines.append(self._line(deadline))
            except LinkTimeoutError as error:
                partial = f" after {len(lines)} lines" if lines else ""
                raise LinkTimeoutError(
                    f"{self._called} did not answer '{brief(text)}' within {seconds:.3g} s{partial}; "
                    f"the link is resynchronised before anything else is sent; {LOOK}"
                ) from error
            except InstrumentError as error:
                raise InstrumentError(f"{error}; the answer to '{brief(text)}' was awaited") from error
        self._stale = False
        return lines

    def _exchange_bytes(
        self, data: bytes, whole: Callable[[bytes], bool], seconds: Second, busy: bool = False
    ) -> bytes:
        deadline = time.monotonic() + seconds
        self._put_bytes(data, deadline)
        self._stale, reply = True, b""
        deadline += _prepared() if busy else 0.0
        while not whole(reply):
            if len(reply) > LONGEST_LINE:
                raise InstrumentError(f"{self._called} sent {len(reply)} bytes that are no whole reply; {CHECK}")
            try:
                more = self._receive(deadline)
            except LinkTimeoutError as error:
                raise LinkTimeoutError(
                    f"{self._called} did not answer {len(data)} bytes within {seconds:.3g} s, after {len(reply)} "
                    f"bytes; the link is resynchronised before anything else is sent; {LOOK}"
                ) from error
            self._log_bytes("<", more)
            reply += more
        self._stale = False
        return reply

    def _put(self, text: str, deadline: float) -> None:
        try:
            self._put_bytes((text + self._terminator).encode("ascii"), deadline)
        except InstrumentError as error:
            raise type(error)(f"{error}; '{brief(text)}' was being sent") from error

    def _put_bytes(self, data: bytes, deadline: float) -> None:
        self._log_bytes(">", data)
        self._stale = True
        self._send(data, deadline)
        self._stale = False

    def _line(self, deadline: float) -> str:
        while b"\n" not in self._pending:
            if len(self._pending) > LONGEST_LINE:
                raise InstrumentError(f"{self._called} sent {len(self._pending)} bytes without a line feed; {CHECK}")
            data = self._receive(deadline)
            self._log_bytes("<", data)
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        return line.decode("ascii", errors="replace").rstrip("\r")

    def _log_bytes(self, direction: str, data: bytes) -> None:
        if self._log is not None:
            self._log(direction, data)


def _prepared() -> Second:
    """Do what waits for an instrument to be busy, and return how long it took, s: the host took that, no instrument."""
    start = time.monotonic()
    meanwhile.do_it()
    return time.monotonic() - start


class Handler(Protocol):
    """An emulated instrument in this process: takes the bytes of messages, returns the bytes of replies."""

    def handle(self, data: bytes) -> bytes:
        """Return the immediate reply, b"" for none."""
        ...


class BytesTransport(LineTransport):
    """The transport to an instrument in this process; carries the same bytes as a socket.

    Args:
        handler: the instrument; resynchronising calls its `reconnect()`, or `clear()`, as a new connection would.
        name: in operator words.
        wait: lets the time pass that a reply may take which does not come, s; None: it takes none.

    Other arguments as in `LineTransport`.
    """

    def __init__(
        self,
        handler: Handler,
        name: str = "instrument in this process",
        *,
        called: str = "",
        probe: str | None = "*IDN?",
        deadlines: Deadlines | None = None,
        terminator: str = "\n",
        log: Log | None = None,
        wait: Callable[[Second], None] | None = None,
        sleep: Callable[[Second], None] | None = None,
    ) -> None:
        super().__init__(
            name, called=called, probe=probe, deadlines=deadlines, terminator=terminator, log=log, sleep=sleep
        )
        self._handler, self._replies, self._wait = handler, b"", wait

    def _send(self, data: bytes, deadline: float) -> None:
        try:
            self._replies += self._handler.handle(data)
        except ConnectionError as error:
            raise InstrumentError(f"{self._called} is gone: {error}; {LOOK}") from error

    def _receive(self, deadline: float) -> bytes:
        data, self._replies = self._replies, b""
        if not data:
            if self._wait is not None:
                # what is left of the deadline, without the microseconds that the computer took
                self._wait(round(max(0.0, deadline - time.monotonic()), 1))
            raise LinkTimeoutError(f"{self._called} has no reply")
        return data

    def _unread(self) -> bool:
        return bool(self._replies)

    def _reopen(self) -> None:
        again = getattr(self._handler, "reconnect", None) or getattr(self._handler, "clear", None)
        if again is not None:
            try:
                again()
            except ConnectionError as error:
                raise InstrumentError(f"{self._called} is gone: {error}; connecting anew failed; {LOOK}") from error
        self._replies = b""

    def close(self) -> None:
        """Close the connection; unread bytes are dropped."""
        self._replies = b""


def brief(text: str, most: int = 60) -> str:
    """Return the first line of `text`, shortened.

    >>> brief("print(1)")
    'print(1)'
    """
    first, _, rest = text.partition("\n")
    return first[:most] + ("..." if rest or len(first) > most else "")
