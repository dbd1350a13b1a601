"""The transport to a real bench, and the only module that uses pyvisa.

Verified against pyvisa-py 0.8.1 on loopback sockets, not against a real instrument.

This module works around the raw sockets of pyvisa-py. It leaves Nagle's algorithm on, which costs 44 ms per
write-then-query; opening a dead port succeeds; a peer that hangs up makes a read spin at full load until its timeout;
`clear` sends nothing and can hang; a timeout leaves the late reply for the next query. So raw sockets are read here,
with a select and our own deadline (an empty read is "gone"), without Nagle, and a broken connection is reopened.
"""

import contextlib
import re
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pyvisa
from pyvisa.constants import ControlFlow, Parity, StatusCode, StopBits
from pyvisa.rname import InvalidResourceName, ResourceName

from instruments.carrier import SerialLine
from instruments.transport import LOOK, Deadlines, LineTransport, Log
from labctl.core.errors import BenchError, InstrumentError, LinkTimeoutError
from labctl.core.units import Second

_manager_lock = threading.Lock()
_managers: dict[str, pyvisa.ResourceManager] = {}

LONGEST_WAIT: Second = 3600.0
DEAD_SOCKET_WAIT: Second = 1.0
"""Time to connect to the port at which an instrument drops its raw sockets."""


def _manager(backend: str) -> pyvisa.ResourceManager:
    """Return this process's only manager of a backend, made anew if other code has closed it.

    It is never closed here: pyvisa shares one manager, and closing it closes all sessions.
    """
    with _manager_lock:
        if backend not in _managers or _is_closed(_managers[backend]):
            try:
                _managers[backend] = pyvisa.ResourceManager(backend)
            except (ValueError, OSError) as error:
                raise BenchError(f"VISA backend '{backend}' cannot be used: {error}") from error
        return _managers[backend]


def preload_backend(backend: str) -> None:
    """Load a VISA backend, which takes up to a second; nothing is opened. Raises BenchError if it cannot be used."""
    _manager(backend)


SUCH_AS = "TCPIP::192.0.2.11::5025::SOCKET"
"""An address as VISA names it, for messages."""


def misspelt_resource(resource: str) -> str:
    """Return why `resource` is no name of a VISA resource, "" if it is one; nothing is asked or searched for."""
    try:
        ResourceName.from_string(resource)
    except InvalidResourceName as error:
        return str(error).removeprefix(f"Could not parse {resource}: ")
    host = resource.split("::")[1] if resource.upper().startswith("TCPIP") else ""
    return "" if re.fullmatch(r"[\w.:%\[\]-]*(,\d+)?", host) else f"'{host}' is no name or address of a host"


def _is_closed(manager: pyvisa.ResourceManager) -> bool:
    """Return whether a manager was closed by other code."""
    try:
        return manager.session is None
    except pyvisa.errors.InvalidSession:
        return True


def _raw_socket(resource: Any) -> socket.socket | None:
    """Return the socket beneath a pyvisa-py session, None if there is none. The attributes are private: guarded."""
    try:
        interface = resource.visalib.sessions[resource.session].interface
    except (AttributeError, KeyError, TypeError):
        return None
    return interface if isinstance(interface, socket.socket) else None


def _drop_calls(resource: Any) -> None:
    """Shut the socket beneath a VXI-11 session, which would wait 5 s for a peer that is gone to end the link."""
    with contextlib.suppress(Exception):  # private, and a backend may raise anything
        resource.visalib.sessions[resource.session].interface.sock.shutdown(socket.SHUT_RDWR)


class VisaTransport(LineTransport):
    """A transport over VISA: raw sockets, HiSLIP, VXI-11, serial, GPIB, USB.

    It opens at its first use or at `resync`, and sends `probe` then, because opening proves nothing.

    Args:
        resource: VISA address, such as ``TCPIP::192.0.2.11::5025::SOCKET``; addresses are never searched for.
        backend: pyvisa backend; ``@py`` is pyvisa-py, "" the system's VISA library.
        probe: harmless query; None sends none.
        terminator: ends messages of lines; empty for messages of bytes, in which a line feed ends nothing.
        open_timeout: for the connection itself, s.
        dead_socket: port at which an instrument drops the raw sockets that it still holds; used if a fresh
            connection failed. None if it has none.

    Other arguments as in `LineTransport`. The first call raises BenchError if the address is invalid, and
    InstrumentError if nothing listens there or the listener does not answer.
    """

    def __init__(
        self,
        resource: str,
        *,
        called: str = "",
        backend: str = "@py",
        probe: str | None = "*IDN?",
        deadlines: Deadlines | None = None,
        terminator: str = "\n",
        open_timeout: Second = 3.0,
        log: Log | None = None,
        dead_socket: int | None = None,
        sleep: Callable[[Second], None] | None = None,
    ) -> None:
        super().__init__(
            resource, called=called, probe=probe, deadlines=deadlines, terminator=terminator, log=log, sleep=sleep
        )
        self._backend, self._open_timeout = backend, open_timeout
        self._resource: Any = None
        self._socket: socket.socket | None = None
        self._dead_socket, self._refused = dead_socket, False

    @property
    def unbuffered(self) -> bool:
        """Return whether small messages leave at once: this is a socket and Nagle's algorithm is off."""
        return self._socket is not None and bool(self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    def close(self) -> None:
        """Close the connection; harmless if it is closed."""
        with self._lock:
            resource, self._resource, self._socket = self._resource, None, None
            if resource is not None:
                if self._stale:
                    _drop_calls(resource)
                with contextlib.suppress(Exception):  # a backend may raise anything
                    resource.close()

    def _settings(self) -> dict[str, Any]:
        """Return what is set when the session is opened."""
        return {"read_termination": "\n" if self._terminator else None, "write_termination": self._terminator}

    def _reopen(self) -> None:
        self._open()

    def _open(self) -> None:
        """Open a session, in place of one that was open."""
        self.close()
        self._require_host()
        try:
            self._resource = _manager(self._backend).open_resource(
                self._name,
                open_timeout=int(self._open_timeout * 1000),
                **self._settings(),
            )
        except pyvisa.errors.InvalidSession as error:
            raise InstrumentError(f"cannot open {self._called}: {error}; {LOOK}") from error
        except pyvisa.VisaIOError as error:
            if error.error_code in (StatusCode.error_invalid_resource_name, StatusCode.error_resource_not_found):
                raise BenchError(
                    f"'{self._name}' is not an address that VISA can open: {error.description}; expected one such as "
                    f"{SUCH_AS}"
                ) from error
            raise InstrumentError(f"cannot open {self._called}: {error.description}; {LOOK}") from error
        except ValueError as error:  # the address is none, or its interface has no library
            if why := misspelt_resource(self._name):
                text = f"'{self._name}' is not an address that VISA can open: {why}; expected one such as {SUCH_AS}"
            else:
                text = f"VISA cannot open '{self._name}': {' '.join(str(error).split())}"
            raise BenchError(text) from error
        except Exception as error:  # a backend may raise anything
            raise InstrumentError(f"nobody listens at {self._called}: {error}; {LOOK}") from error
        self._socket = _raw_socket(self._resource)
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def _require_host(self) -> None:
        """Raise InstrumentError if the host of the address cannot be resolved; pyvisa-py would leave a socket open."""
        address = re.match(r"TCPIP\d*::([^:\[\],]+)", self._name, re.IGNORECASE)
        if address is None:
            return
        try:
            socket.getaddrinfo(address[1], None)
        except OSError as error:
            raise InstrumentError(f"nobody listens at {self._called}: {error.strerror or error}; {LOOK}") from error

    def _break_in(self) -> None:
        """Connect afresh: after a failure through the dead-socket port, with a device clear if there is one."""
        address = re.fullmatch(r"TCPIP\d*::([^:]+)::\d+::SOCKET", self._name, re.IGNORECASE)
        if self._refused and address and self._dead_socket is not None:
            with contextlib.suppress(OSError):
                socket.create_connection((address[1], self._dead_socket), DEAD_SOCKET_WAIT).close()
        self._refused = True
        self._reopen()
        if self._socket is None and not self._name.upper().endswith("::SOCKET"):
            with contextlib.suppress(Exception):  # what counts is what is sent next; a backend may raise anything
                self._resource.timeout = int(self._open_timeout * 1000)
                self._resource.clear()

    def cut_in(self, text: str, ask: str, last: Callable[[str], bool]) -> list[str]:
        """Send `text` as the first bytes of a fresh connection, then `ask`; see `LineTransport.cut_in`."""
        lines = super().cut_in(text, ask, last)
        self._refused = False
        return lines

    # -- bytes of a protocol in between, such as that of a gateway

    def open(self) -> None:
        """Connect afresh; InstrumentError if nobody is there."""
        self._reopen()

    @property
    def seconds_per_byte(self) -> Second:
        """Time that a byte is on the way, s, where that counts."""
        return 0.0

    @property
    def has_unread(self) -> bool:
        """Whether something has come that nobody has asked for, or the other side is gone."""
        return self._unread()

    def send_all(self, data: bytes, deadline: float) -> None:
        """Send all of `data`; `deadline` is on the monotonic clock. InstrumentError if the other side is gone."""
        self._send(data, deadline)

    def receive_some(self, deadline: float) -> bytes:
        """Return what comes first; LinkTimeoutError at `deadline`, InstrumentError if the other side is gone."""
        return self._receive(deadline)

    # -- the connection

    def _send(self, data: bytes, deadline: float) -> None:
        try:
            if self._socket is not None:
                self._send_raw(self._socket, data, deadline)
            else:
                self._resource.timeout = _milliseconds(deadline)
                self._resource.write_raw(data)
        except pyvisa.VisaIOError as error:
            raise self._broken(error.error_code == StatusCode.error_timeout, error) from error
        except LinkTimeoutError:
            raise
        except Exception as error:  # a backend may raise anything
            raise self._broken(False, error) from error

    def _send_raw(self, raw: socket.socket, data: bytes, deadline: float) -> None:
        while data:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([], [raw], [], left)[1]:
                raise LinkTimeoutError(f"{self._called} takes no more bytes")
            data = data[raw.send(data) :]

    def _receive(self, deadline: float) -> bytes:
        try:
            if self._socket is not None:
                return self._receive_raw(self._socket, deadline)
            self._resource.timeout = _milliseconds(deadline)
            data = self._read_some()
            if not data:  # pyvisa-py's HiSLIP returns nothing, at once, for any response but the first
                raise LinkTimeoutError(f"{self._called} is silent")
            return data
        except pyvisa.VisaIOError as error:
            raise self._broken(error.error_code == StatusCode.error_timeout, error) from error
        except LinkTimeoutError:
            raise
        except Exception as error:  # a backend may raise anything
            raise self._broken(False, error) from error

    def _read_some(self) -> bytes:
        """Return what a session reads at once, within its timeout."""
        data: bytes = self._resource.read_raw()
        return data

    def _receive_raw(self, raw: socket.socket, deadline: float) -> bytes:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([raw], [], [], left)[0]:
            raise LinkTimeoutError(f"{self._called} is silent")
        data = raw.recv(1 << 16)
        if not data:
            raise ConnectionResetError("the other side has ended the connection")
        return data

    def _unread(self) -> bool:
        # also true when the peer has hung up: reading would return at once
        if self._resource is None or (self._socket is not None and self._socket.fileno() < 0):
            return True
        if self._socket is not None:
            return bool(select.select([self._socket], [], [], 0)[0])
        return self._waiting_bytes() > 0

    def _waiting_bytes(self) -> int:
        """Return how many bytes have come on a serial line; 0 where a session cannot tell."""
        try:
            return int(self._resource.bytes_in_buffer)
        except (AttributeError, NotImplementedError, pyvisa.Error):
            return 0
        except OSError:
            return 1  # its port is gone: reading would say so at once

    def _discard(self) -> None:
        """Drop what has come on a serial line."""
        with contextlib.suppress(pyvisa.Error, OSError):
            self._resource.read_bytes(max(1, self._waiting_bytes()))

    def _broken(self, timeout: bool, error: Exception) -> InstrumentError:
        if timeout:
            return LinkTimeoutError(f"{self._called} is silent")
        reason = getattr(error, "strerror", None) or error
        return InstrumentError(f"{self._called} is gone: {reason}; {LOOK}")


def serial_settings(line: SerialLine) -> dict[str, Any]:
    """Return the settings of a serial line as a session takes them."""
    parity = {"none": Parity.none, "even": Parity.even, "odd": Parity.odd}
    flow = {"none": ControlFlow.none, "xon_xoff": ControlFlow.xon_xoff, "rts_cts": ControlFlow.rts_cts}
    return {
        "baud_rate": line.baud,
        "data_bits": line.data_bits,
        "parity": parity[line.parity],
        "stop_bits": {1: StopBits.one, 2: StopBits.two}[line.stop_bits],
        "flow_control": flow[line.flow_control],
    }


def _milliseconds(deadline: float) -> int:
    """Return the time until `deadline` in ms, at least 1."""
    return max(1, int(min(deadline - time.monotonic(), LONGEST_WAIT) * 1000))
