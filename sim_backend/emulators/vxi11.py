"""VXI-11, the server's side: links, messages, status byte, trigger, clear, locks, and the channel that aborts.

Source of the facts: VXI-11 rev. 1.0 (VMEbus Extensions for Instrumentation, TCP/IP Instrument Protocol), procedures of
chapter B; checked against the client of pyvisa-py. Service requests and commands of the interface (`device_docmd`) are
answered as not supported.
"""

import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from sim_backend.emulators.link import Instrument
from sim_backend.emulators.message_exchange import MessageExchange
from sim_backend.emulators.rpc import Programs, Reader, opaque, serve_calls, words
from sim_backend.emulators.sockets import Stopping
from sim_backend.emulators.wire_faults import WireFaults

CORE, ASYNC, VERSION = 0x0607AF, 0x0607B0, 1
(CREATE_LINK, WRITE, READ, READ_STB, TRIGGER, CLEAR, REMOTE, LOCAL, LOCK, UNLOCK, ENABLE_SRQ) = range(10, 21)
DO_COMMAND, DESTROY_LINK, CREATE_INTERRUPT, DESTROY_INTERRUPT, ABORT = 22, 23, 25, 26, 1
NOT_ACCESSIBLE, NO_LINK, NOT_SUPPORTED, NO_RESOURCES, LOCKED, NOT_HELD, TIMED_OUT, ABORTED = 3, 4, 8, 9, 11, 12, 15, 23
WAIT_LOCK, END, TERMINATED = 1, 8, 128
"""Flags of a call: wait for a lock, END is with the last byte, stop at a byte."""
REQUESTED, CHARACTER, ENDED = 1, 2, 4
"""Reasons for which a read has ended."""
MOST = 1 << 16
"""Bytes of one write or read; longer messages go in several."""
MOST_RECORD = MOST + 1024
MOST_LINKS = 4
"""Links of one connection."""
LONGEST_NAME = 64


@dataclass
class _Lock:
    """The lock of the device, which one link at most holds."""

    holder: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)


class Vxi11Server:
    """Serves one instrument over VXI-11.

    Args:
        instrument: executes the messages.
        abort_port: port of the channel that aborts, which `serve_abort` serves; told to every link.
        faults: what happens to replies.
    """

    def __init__(self, instrument: Instrument, abort_port: Callable[[], int], faults: WireFaults) -> None:
        self.instrument, self._abort_port, self._faults = instrument, abort_port, faults
        self._links: dict[int, MessageExchange] = {}
        self._lock = _Lock()

    def serve(self, connection: socket.socket, stopping: Stopping) -> None:
        """Serve the core channel of one client; its links end with it."""
        own: set[int] = set()
        try:
            spoil = self._spoiled(connection)
            serve_calls(connection, stopping, _Calls(self, own, stopping).programs, MOST_RECORD, spoil)
        except (ConnectionError, TimeoutError, OSError):
            return
        finally:
            for link in own:
                self.end(link)

    def serve_abort(self, connection: socket.socket, stopping: Stopping) -> None:
        """Serve the channel that aborts of one client."""

        def abort(call: Reader) -> bytes:
            exchange = self._links.get(call.signed())
            if exchange is None:
                return words(NO_LINK)
            exchange.abort()
            return words(0)

        try:
            serve_calls(connection, stopping, {(ASYNC, VERSION): {ABORT: abort}}, MOST_RECORD)
        except (ConnectionError, TimeoutError, OSError):
            return

    def begin(self) -> int:
        """Return the number of a new link."""
        link = secrets.randbits(31)  # whoever knows a link can abort it
        self._links[link] = MessageExchange(self.instrument)
        return link

    def exchange(self, link: int) -> MessageExchange | None:
        """Return the conversation of a link; None if there is no such link."""
        return self._links.get(link)

    def end(self, link: int) -> None:
        """End a link and give back its lock."""
        self.unlock(link)
        exchange = self._links.pop(link, None)
        if exchange is not None:
            exchange.close()

    def close(self) -> None:
        """End all links."""
        for link in list(self._links):
            self.end(link)

    def lock(self, link: int, seconds: float, stopping: Stopping) -> bool:
        """Lock the device for a link, waiting for it at most so long; return whether it is."""
        end = time.monotonic() + seconds
        with self._lock.changed:
            while self._lock.holder not in (0, link):
                left = end - time.monotonic()
                if left <= 0 or stopping():
                    return False
                self._lock.changed.wait(min(left, 0.05))
            self._lock.holder = link
            return True

    def unlock(self, link: int) -> bool:
        """Give back the lock of a link; return whether it held one."""
        with self._lock.changed:
            held = self._lock.holder == link
            if held:
                self._lock.holder = 0
                self._lock.changed.notify_all()
            return held

    def free(self, link: int, seconds: float, stopping: Stopping) -> bool:
        """Return whether no other link locks the device, after waiting for that at most so long."""
        with self._lock.changed:
            before = self._lock.holder
        if before in (0, link):
            return True
        if not self.lock(link, seconds, stopping):
            return False
        self.unlock(link)
        return True

    def _spoiled(self, connection: socket.socket) -> Callable[[bytes], bytes]:
        return lambda reply: self._faults.answer(connection, reply)


class _Calls:
    """The procedures of one connection.

    Args:
        own: its links.
    """

    def __init__(self, server: Vxi11Server, own: set[int], stopping: Stopping) -> None:
        self._server, self._own, self._stopping = server, own, stopping
        plain = {TRIGGER: self._trigger, CLEAR: self._clear, REMOTE: self._nothing, LOCAL: self._nothing}
        self.programs: Programs = {
            (CORE, VERSION): {
                CREATE_LINK: self._create,
                WRITE: self._write,
                READ: self._read,
                READ_STB: self._status,
                **{number: self._generic(act) for number, act in plain.items()},
                LOCK: self._take_lock,
                UNLOCK: self._give_lock,
                ENABLE_SRQ: lambda call: words(NOT_SUPPORTED),
                DO_COMMAND: lambda call: words(NOT_SUPPORTED) + opaque(b""),
                DESTROY_LINK: self._destroy,
                CREATE_INTERRUPT: lambda call: words(NOT_SUPPORTED),
                DESTROY_INTERRUPT: lambda call: words(NOT_SUPPORTED),
            }
        }

    def _create(self, call: Reader) -> bytes:
        call.signed()
        lock, patience, name = call.word(), call.word(), call.opaque(LONGEST_NAME)
        if name.lower() not in (b"inst0", b""):
            return words(NOT_ACCESSIBLE, 0, 0, 0)
        if len(self._own) >= MOST_LINKS:
            return words(NO_RESOURCES, 0, 0, 0)
        link = self._server.begin()
        self._own.add(link)
        if lock and not self._server.lock(link, patience / 1000, self._stopping):
            self._end(link)
            return words(LOCKED, 0, 0, 0)
        return words(0, link, self._server._abort_port(), MOST)

    def _exchange(self, link: int) -> MessageExchange | None:
        """Return the conversation of a link of this connection; None if it has none of that number."""
        return self._server.exchange(link) if link in self._own else None

    def _write(self, call: Reader) -> bytes:
        link, _, patience, flags = call.signed(), call.word(), call.word(), call.signed()
        data = call.opaque(MOST)
        exchange = self._exchange(link)
        if exchange is None:
            return words(NO_LINK, 0)
        if not self._free(link, flags, patience):
            return words(LOCKED, 0)
        exchange.put(data, bool(flags & END))
        return words(0, len(data))

    def _read(self, call: Reader) -> bytes:
        link, size, seconds, patience = call.signed(), call.word(), call.word() / 1000, call.word()
        flags, character = call.signed(), call.signed()
        exchange = self._exchange(link)
        if exchange is None:
            return words(NO_LINK, 0) + opaque(b"")
        if not self._free(link, flags, patience):
            return words(LOCKED, 0) + opaque(b"")
        stop = character & 0xFF if flags & TERMINATED else None
        size = min(size, MOST)
        data, end = exchange.take(size, seconds, stop=stop)
        if not data:
            if exchange.dropped:
                raise ConnectionError("the instrument has ended the conversation")
            return words(ABORTED if exchange.aborted else TIMED_OUT, 0) + opaque(b"")
        reason = (REQUESTED if len(data) == size else 0) | (ENDED if end else 0)
        reason |= CHARACTER if stop is not None and data[-1] == stop else 0
        return words(0, reason) + opaque(data)

    def _status(self, call: Reader) -> bytes:
        link = call.signed()
        for _ in range(3):
            call.word()
        exchange = self._exchange(link)
        return words(NO_LINK, 0) if exchange is None else words(0, exchange.status_byte)

    def _generic(self, act: Callable[[MessageExchange], None]) -> Callable[[Reader], bytes]:
        """Return a procedure of link, flags and two times that answers with an error number."""

        def carry_out(call: Reader) -> bytes:
            link, flags, patience, _ = call.signed(), call.signed(), call.word(), call.word()
            exchange = self._exchange(link)
            if exchange is None:
                return words(NO_LINK)
            if not self._free(link, flags, patience):
                return words(LOCKED)
            act(exchange)
            return words(0)

        return carry_out

    def _trigger(self, exchange: MessageExchange) -> None:
        exchange.put(b"*TRG\n", True)

    def _clear(self, exchange: MessageExchange) -> None:
        exchange.clear()

    def _nothing(self, exchange: MessageExchange) -> None:
        """Do nothing: an emulated instrument has no front panel that could be locked."""

    def _take_lock(self, call: Reader) -> bytes:
        link, flags, patience = call.signed(), call.signed(), call.word()
        if self._exchange(link) is None:
            return words(NO_LINK)
        seconds = patience / 1000 if flags & WAIT_LOCK else 0.0
        return words(0 if self._server.lock(link, seconds, self._stopping) else LOCKED)

    def _give_lock(self, call: Reader) -> bytes:
        link = call.signed()
        if self._exchange(link) is None:
            return words(NO_LINK)
        return words(0 if self._server.unlock(link) else NOT_HELD)

    def _destroy(self, call: Reader) -> bytes:
        link = call.signed()
        if self._exchange(link) is None:
            return words(NO_LINK)
        self._end(link)
        return words(0)

    def _end(self, link: int) -> None:
        self._own.discard(link)
        self._server.end(link)

    def _free(self, link: int, flags: int, patience: int) -> bool:
        return self._server.free(link, patience / 1000 if flags & WAIT_LOCK else 0.0, self._stopping)
