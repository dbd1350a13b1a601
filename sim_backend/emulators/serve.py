"""Emulated instruments on sockets of 127.0.0.1, on ports chosen by the system, and on pseudo-terminals.

Each is on a raw socket and over HiSLIP, and where it is asked for over VXI-11, on a serial line, and on the bus of a
Prologix controller. Threads wait with a short timeout, so that closing the server ends all of them; none outlives it.
"""

import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from types import TracebackType
from typing import Self

from labctl.core.transport import THROUGH
from labctl.core.units import Second
from sim_backend.emulators.hislip import HislipServer
from sim_backend.emulators.link import ConnectionDropped, Instrument
from sim_backend.emulators.prologix import Prologix
from sim_backend.emulators.rpc import Programs, portmapper, serve_calls
from sim_backend.emulators.serial_port import Port, SerialLine, carry
from sim_backend.emulators.sockets import send_all
from sim_backend.emulators.vxi11 import ASYNC, CORE, MOST_RECORD, VERSION, Vxi11Server
from sim_backend.emulators.wire_faults import WireFaults

_POLL = 0.05
PATIENCE: Second = 2.0
"""Longest wait for a script that has been told to end."""
Handler = Callable[[socket.socket, Callable[[], bool]], None]


MOST_CLIENTS = 64
"""Connections to one port at a time; one more is closed at once."""


class Way(StrEnum):
    """How an emulated instrument is reached."""

    SOCKET = "socket"
    HISLIP = "hislip"
    VXI11 = "vxi11"
    SERIAL = "serial"
    GATEWAY = "gateway"


@dataclass(frozen=True)
class Bus:
    """A Prologix controller.

    Args:
        addresses: GPIB address of each instrument on its bus, as `++addr` spells it, by the instrument's name.
        serial: it is on a serial line, and not on a socket.
    """

    addresses: Mapping[str, str]
    serial: bool = False


@dataclass(frozen=True)
class Serving:
    """How one instrument is served, beside its raw socket and HiSLIP.

    Args:
        ways: VXI-11, a serial line.
        usual: way by which the bench reaches it.
        terminator: of messages on a serial line.
    """

    ways: Collection[Way] = ()
    usual: Way = Way.SOCKET
    terminator: bytes = b"\n"


@dataclass(frozen=True)
class Served:
    """Addresses of an instrument, as VISA resources; empty where it is not served.

    Args:
        resource: that by which the bench reaches it; one on the bus of a controller is "address through controller".
        portmapper: port of a portmapper that knows its VXI-11 port, 0 without one.
    """

    name: str
    model: str
    resource: str
    hislip: str
    socket: str = ""
    vxi11: str = ""
    portmapper: int = 0
    serial: str = ""
    gateway: str = ""


class Server:
    """A bench of emulated instruments on sockets; a context manager.

    Args:
        instruments: they share one world, whose lock keeps them apart.
        serving: how they are served, by name; by default on raw sockets and over HiSLIP.
        buses: of Prologix controllers.

    Raises:
        OSError: a pseudo-terminal is asked for, and this system has none.
    """

    def __init__(
        self,
        instruments: Iterable[Instrument],
        serving: Mapping[str, Serving] | None = None,
        buses: Iterable[Bus] = (),
    ) -> None:
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._listeners: list[socket.socket] = []
        self._ports: list[Port] = []
        self._conversations: list[Prologix | Vxi11Server] = []
        """What is ended first, so that whoever waits for a response does not."""
        self._lock = threading.Lock()
        self._instruments = tuple(instruments)
        self.faults = {instrument.name: WireFaults() for instrument in self._instruments}
        """What is to happen to the answers of each instrument; on the bus of a controller, to those of that."""
        try:
            on_bus = {name: address for bus in buses for name, address in self._control(bus).items()}
            self.served = tuple(
                self._serve(instrument, (serving or {}).get(instrument.name, Serving()), on_bus)
                for instrument in self._instruments
            )
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def resource(self, name: str) -> str:
        """Return the address by which the bench reaches an instrument; KeyError if there is none of that name."""
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
        for conversations in self._conversations:
            conversations.close()
        end = time.monotonic() + PATIENCE
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        for listener in self._listeners:
            listener.close()
        for port in self._ports:
            port.close()
        if not any(thread.is_alive() for thread in threads):
            for instrument in self._instruments:
                instrument.device_clear()

    def _serve(self, instrument: Instrument, serving: Serving, on_bus: Mapping[str, str]) -> Served:
        name, faults = instrument.name, self.faults[instrument.name]
        raw = self._listen(partial(_serve_raw, instrument, faults))
        hislip = self._listen(HislipServer(instrument, faults).serve)
        known = {
            Way.SOCKET: f"TCPIP::127.0.0.1::{raw}::SOCKET",
            Way.HISLIP: f"TCPIP::127.0.0.1::hislip0,{hislip}::INSTR",
            Way.GATEWAY: on_bus.get(name, ""),
        }
        mapper = 0
        if Way.VXI11 in serving.ways:
            abort = 0
            server = Vxi11Server(instrument, lambda: abort, faults)
            self._conversations.append(server)
            core, abort = self._listen(server.serve), self._listen(server.serve_abort)
            programs = portmapper({(CORE, VERSION): core, (ASYNC, VERSION): abort})
            mapper = self._listen(lambda connection, stopping: _serve_calls(connection, stopping, programs))
            known[Way.VXI11] = f"TCPIP::127.0.0.1,{core}::inst0::INSTR"
        if Way.SERIAL in serving.ways:
            port = self._port()
            line = SerialLine(instrument, port, serving.terminator, faults)
            self._start(lambda: line.listen(self._stop.is_set))
            self._start(lambda: line.talk(self._stop.is_set))
            known[Way.SERIAL] = f"ASRL{port.path}::INSTR"
        others = {way.value: known.get(way, "") for way in Way if way is not Way.HISLIP}
        return Served(name, instrument.model, known[serving.usual], known[Way.HISLIP], portmapper=mapper, **others)

    def _control(self, bus: Bus) -> dict[str, str]:
        """Serve a controller; return the address of each instrument on its bus."""
        by_name = {instrument.name: instrument for instrument in self._instruments}
        controller = Prologix({address: by_name[name] for name, address in bus.addresses.items()})
        self._conversations.append(controller)
        self.faults |= dict.fromkeys(bus.addresses, controller.faults)
        if bus.serial:
            port = self._port()
            self._start(lambda: carry(port, controller.session(), self._stop.is_set))
            own = f"ASRL{port.path}::INSTR"
        else:
            own = f"TCPIP::127.0.0.1::{self._listen(controller.serve)}::SOCKET"
        return {n: f"GPIB::{a.replace(' ', '::')}::INSTR{THROUGH}{own}" for n, a in bus.addresses.items()}

    def _port(self) -> Port:
        port = Port()
        self._ports.append(port)
        return port

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
        places = threading.Semaphore(MOST_CLIENTS)
        while not self._stop.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            if not places.acquire(blocking=False):
                connection.close()
                continue
            self._start(partial(self._run, connection, handler, places))

    def _run(self, connection: socket.socket, handler: Handler, places: threading.Semaphore) -> None:
        try:
            with connection:
                connection.settimeout(_POLL)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                handler(connection, self._stop.is_set)
        finally:
            places.release()


def _serve_calls(connection: socket.socket, stopping: Callable[[], bool], programs: Programs) -> None:
    """Answer the calls of one connection until it ends."""
    try:
        serve_calls(connection, stopping, programs, MOST_RECORD)
    except (ConnectionError, OSError):
        return


def _serve_raw(
    instrument: Instrument, faults: WireFaults, connection: socket.socket, stopping: Callable[[], bool]
) -> None:
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
                send_all(connection, faults.answer(connection, reply), stopping)
    except (ConnectionDropped, OSError):
        return
    finally:
        session.close()


def serve(*instruments: Instrument) -> Server:
    """Serve instruments of one world on sockets; the caller closes the server."""
    return Server(instruments)
