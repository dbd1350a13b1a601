"""Emulated instruments on sockets of 127.0.0.1, each on a raw socket and over HiSLIP, on ports chosen by the system.

Threads wait with a short timeout, so that closing the server ends all of them; no thread outlives it.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from labctl.core.units import Second
from sim_backend.emulators.hislip import HislipServer, send_all
from sim_backend.emulators.link import ConnectionDropped, Instrument

_POLL = 0.05
PATIENCE: Second = 2.0
"""Longest wait for a script that has been told to end."""
Handler = Callable[[socket.socket, Callable[[], bool]], None]


@dataclass(frozen=True)
class Served:
    """Addresses of an instrument, as VISA resources."""

    name: str
    model: str
    resource: str
    hislip: str


class Server:
    """A bench of emulated instruments on sockets; a context manager.

    Args:
        instruments: they share one world, whose lock keeps them apart.
    """

    def __init__(self, instruments: Iterable[Instrument]) -> None:
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._listeners: list[socket.socket] = []
        self._lock = threading.Lock()
        self._instruments = tuple(instruments)
        self.served = tuple(self._serve(instrument) for instrument in self._instruments)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def resource(self, name: str) -> str:
        """Return the raw-socket resource of an instrument; KeyError if there is none of that name."""
        return {served.name: served.resource for served in self.served}[name]

    def close(self) -> None:
        """Stop listening, end every connection and wait for the threads, which end their scripts.

        One that has not ended after `PATIENCE` ends with the process, which is not kept from ending.
        """
        self._stop.set()
        for instrument in self._instruments:
            instrument.interrupt()
        with self._lock:
            threads = list(self._threads)
        end = time.monotonic() + PATIENCE
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        for listener in self._listeners:
            listener.close()
        if not any(thread.is_alive() for thread in threads):
            for instrument in self._instruments:
                instrument.device_clear()

    def _serve(self, instrument: Instrument) -> Served:
        raw = self._listen(lambda connection, stopping: _serve_raw(instrument, connection, stopping))
        hislip = self._listen(HislipServer(instrument).serve)
        return Served(
            instrument.name,
            instrument.model,
            f"TCPIP::127.0.0.1::{raw}::SOCKET",
            f"TCPIP::127.0.0.1::hislip0,{hislip}::INSTR",
        )

    def _listen(self, handler: Handler) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(_POLL)
        self._listeners.append(listener)
        self._start(lambda: self._accept(listener, handler))
        return int(listener.getsockname()[1])

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        with self._lock:
            self._threads = [t for t in self._threads if t.is_alive() or t.ident is None] + [thread]
        thread.start()

    def _accept(self, listener: socket.socket, handler: Handler) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            self._start(lambda connection=connection: self._run(connection, handler))  # type: ignore[misc]

    def _run(self, connection: socket.socket, handler: Handler) -> None:
        with connection:
            connection.settimeout(_POLL)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            handler(connection, self._stop.is_set)


def _serve_raw(instrument: Instrument, connection: socket.socket, stopping: Callable[[], bool]) -> None:
    """Carry bytes between a raw socket and a session."""
    session = instrument.session()
    try:
        while not stopping():
            try:
                data = connection.recv(1 << 16)
            except TimeoutError:
                continue
            if not data:
                return
            for reply in session.replies(data):
                send_all(connection, reply, stopping)
    except (ConnectionDropped, OSError):
        return
    finally:
        session.close()


def serve(*instruments: Instrument) -> Server:
    """Serve instruments of one world on sockets; the caller closes the server."""
    return Server(instruments)
