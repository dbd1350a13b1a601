"""GPIB through a Prologix controller on a socket or a serial line: one controller, any number of instruments.

Written from public facts of the GPIB-ETHERNET and GPIB-USB controllers (user manuals 1.6.6.0 and 6.107), and of public
clients for them; verified against the emulated controller of this project, which pyvisa-py's client judged, and not on
a real one.

The controller is not spoken to through the session that pyvisa-py has for it, which takes no terminator and believes
the address that it set last. Here every transfer sets the address and reads it back, so that an answer belongs to the
instrument that was asked; a read ends with the character that stands for END. One transfer has the controller for
itself. What an instrument needs to think passes between two transfers, so others are reached meanwhile.
"""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

from instruments.carrier import SerialLine
from instruments.serial_line import SerialTransport
from instruments.transport import LISTEN, LOOK, LineTransport
from instruments.visa import VisaTransport
from labctl.core.errors import BenchError, InstrumentError, LinkTimeoutError
from labctl.core.units import Second

END = b"\x04"
"""Stands for END behind a response; no text has it."""
BUS_WAIT: Second = 0.25
"""How long one read waits for the first byte, and for each next one."""
MARGIN: Second = 0.5
"""[?] How much later than that a controller says that nothing came."""
ANSWER_WAIT: Second = 2.0
"""[?] Time for the controller's own answers."""
MAV = 16
"""Bit of a status byte: a message is available."""
MOST_LEFT = 16
"""Responses that are read away at first."""
SETTINGS = (
    "savecfg 0", "mode 1", "auto 0", "eoi 1", "eos 2", f"eot_char {END[0]}", "eot_enable 1",
    f"read_tmo_ms {round(1000 * BUS_WAIT)}",
)  # fmt: skip
"""Its settings, which are not to wear its memory: it addresses nobody by itself, and adds LF with END to a message."""
_ADDRESS = re.compile(rb"\d{1,2}( \d{2,3})?")
_ESCAPED = b"\x1b\r\n+"


def escaped(data: bytes) -> bytes:
    r"""Return data as a controller takes it for data: the bytes with a meaning escaped.

    >>> escaped(b"+1\n2")
    b'\x1b+1\x1b\n2'
    """
    return b"".join(b"\x1b" + bytes([byte]) if byte in _ESCAPED else bytes([byte]) for byte in data)


class Gateway:
    """One controller, over what carries its bytes.

    Args:
        carrier: opens, sends and receives.
    """

    def __init__(self, carrier: VisaTransport) -> None:
        self._carrier, self.name = carrier, f"the controller ({carrier.name})"
        self._transfer = threading.RLock()
        self._open = False

    def deliver(self, address: str, data: bytes, *, clear: bool = False) -> None:
        """Send a message to an instrument, behind a device clear if that is asked for.

        Raises:
            InstrumentError: the controller is gone or silent, or was turned to another address.
        """
        message = escaped(data) + b"\n" if data else b""
        with self._transfer:
            self._begin(address, (b"++clr\n" if clear else b"") + message)

    def fetch(self, address: str) -> tuple[bytes, bool]:
        """Return what an instrument says within `BUS_WAIT`, and whether END came with it.

        Raises:
            InstrumentError: as of `deliver`.
        """
        with self._transfer:
            data = self._begin(address, b"++read eoi\n")
            quiet = time.monotonic() + BUS_WAIT + MARGIN
            while END not in data:
                try:
                    data += self._receive(quiet)
                except LinkTimeoutError:
                    return self._given_up(address, data)
                quiet = time.monotonic() + BUS_WAIT + MARGIN
            response, _, more = data.partition(END)
            if more:
                raise self._lost(f"{self.name} sent {len(more)} bytes behind a response; {LISTEN}")
            return response, True

    def status_byte(self, address: str) -> int:
        """Return the status byte of an instrument by a serial poll.

        Raises:
            InstrumentError: as of `deliver`, or nobody answers there.
        """
        with self._transfer:
            data = self._begin(address, b"++spoll\n")
            quiet = time.monotonic() + BUS_WAIT + MARGIN
            while b"\n" not in data:
                try:
                    data += self._receive(quiet)
                except LinkTimeoutError:
                    data, _ = self._given_up(address, data)
                    break
            if not data:
                raise InstrumentError(f"nobody answers at GPIB address {address} of {self.name}; {LOOK}")
            text = data.strip()
            if not text.isdigit():
                raise self._lost(f"{self.name} answers '++spoll' by '{text.decode('latin-1')}'")
            return int(text)

    def drop(self) -> None:
        """Close the connection; the next transfer opens it again."""
        with self._transfer:
            self._open = False
            self._carrier.close()

    def _begin(self, address: str, rest: bytes) -> bytes:
        """Address an instrument and send `rest` in one piece; return what came behind the proof of the address."""
        if self._open and self._carrier.has_unread:
            self.drop()
        if not self._open:
            self._connect()
        turn = f"++addr {address}\n++addr\n".encode()
        self._send(turn + rest)
        present, data = self._line(b"")
        if not _ADDRESS.fullmatch(present):
            text = present.decode("latin-1")[:20]
            raise self._lost(f"{self.name} answers '{text}' where its address was expected; {LISTEN}")
        if present != address.encode():
            raise self._lost(
                f"{self.name} was turned to address '{present.decode('latin-1')[:20]}' while "
                f"{address} was spoken to: another program uses it; end that one"
            )
        return data

    def _connect(self) -> None:
        try:
            self._carrier.open()
        except InstrumentError:
            self._carrier.close()
            raise
        self._open = True
        self._send("".join(f"++{setting}\n" for setting in SETTINGS).encode())

    def _given_up(self, address: str, data: bytes) -> tuple[bytes, bool]:
        """Return what came of a read that has ended without END: the controller is asked whether it has."""
        self._send(b"++addr\n")
        proof = address.encode() + b"\r\n"
        end = time.monotonic() + ANSWER_WAIT
        while not data.endswith(proof):
            data += self._received(end)
        data = data.removesuffix(proof)
        return data.removesuffix(END), data.endswith(END)

    def _line(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the controller's next line, and what came behind it."""
        end = time.monotonic() + ANSWER_WAIT
        while b"\n" not in data:
            data += self._received(end)
        line, _, rest = data.partition(b"\n")
        return line.strip(), rest

    def _received(self, deadline: float) -> bytes:
        try:
            return self._receive(deadline)
        except LinkTimeoutError as error:
            raise self._lost(f"{self.name} is silent; {LOOK}") from error

    def _receive(self, deadline: float) -> bytes:
        try:
            return self._carrier.receive_some(deadline)
        except LinkTimeoutError:
            raise
        except InstrumentError as error:
            raise self._lost(str(error)) from error

    def _send(self, data: bytes) -> None:
        try:
            self._carrier.send_all(data, time.monotonic() + ANSWER_WAIT)
        except InstrumentError as error:
            raise self._lost(str(error)) from error

    def _lost(self, text: str) -> InstrumentError:
        self.drop()
        return InstrumentError(text)


class GatewayTransport(LineTransport):
    """A transport to one instrument on the bus of a controller.

    Args:
        gateway: shared with the other instruments of its bus.
        address: on the bus, as the controller spells it.

    Other arguments as in `LineTransport`.
    """

    def __init__(self, name: str, gateway: Gateway, address: str, **others: Any) -> None:
        super().__init__(name, **others)
        self._short = others.get("called") or name
        self._gateway, self._address, self._used = gateway, address, False
        self._stale = True  # it has not been connected to

    def status_byte(self) -> int:
        """Return the status byte by a serial poll."""
        return self._gateway.status_byte(self._address)

    def close(self) -> None:
        """End the conversation; the controller stays open for other instruments, and closes with the last."""
        with self._lock:
            _release(self._gateway, self)

    def _send(self, data: bytes, deadline: float) -> None:
        with self._named():
            self._gateway.deliver(self._address, data.removesuffix(b"\n"))

    def _receive(self, deadline: float) -> bytes:
        while time.monotonic() < deadline:
            with self._named():
                data, end = self._gateway.fetch(self._address)
            if data or end:
                return data if not end or data.endswith(b"\n") else data + b"\n"
            time.sleep(1e-3)  # whoever waits for the controller is next
        raise LinkTimeoutError(f"{self._called} is silent")

    def _reopen(self) -> None:
        """Drop what this session has under way by a device clear; at first only read what somebody has left unread."""
        with self._named():
            if self._used:
                self._gateway.deliver(self._address, b"", clear=True)
                return
            for _ in range(MOST_LEFT):
                if not self.status_byte() & MAV:
                    break
                self._gateway.fetch(self._address)
            self._used = True

    def _break_in(self) -> None:
        """Reach the instrument by a device clear, over a fresh connection to the controller if it does not answer."""
        self._used = True
        with self._named():
            try:
                self._gateway.deliver(self._address, b"", clear=True)
            except InstrumentError:
                self._gateway.deliver(self._address, b"", clear=True)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Keep the controller open, and name the instrument in its errors."""
        _hold(self._gateway, self)
        try:
            yield
        except InstrumentError as error:
            raise type(error)(f"{self._short}: {error}") from error


_gateways: dict[tuple[str, str], tuple[Gateway, SerialLine | None]] = {}
_users: dict[Gateway, WeakSet[GatewayTransport]] = {}
_lock = threading.Lock()


def gateway_at(resource: str, backend: str, line: SerialLine | None) -> Gateway:
    """Return this process's only connection to the controller at an address; it opens when it is first used.

    Raises:
        BenchError: it is in use with other settings of its serial line.
    """
    line = line and line.model_copy(update={"terminator": "lf"})  # that of an instrument is not the controller's
    with _lock:
        if (resource, backend) not in _gateways:
            given: dict[str, Any] = {"called": "the controller", "backend": backend, "probe": None, "terminator": ""}
            carrier = VisaTransport(resource, **given) if line is None else SerialTransport(resource, line, **given)
            _gateways[resource, backend] = Gateway(carrier), line
        gateway, settings = _gateways[resource, backend]
    if settings != line:
        had, asked = (one and one.on_the_wire for one in (settings, line))
        raise BenchError(
            f"the controller at {resource} is given two settings of its serial line: {had}, and {asked}; expected the "
            "same rs232 at each of its instruments"
        )
    return gateway


def _hold(gateway: Gateway, user: GatewayTransport) -> None:
    with _lock:
        _users.setdefault(gateway, WeakSet()).add(user)


def _release(gateway: Gateway, user: GatewayTransport) -> None:
    with _lock:
        users = _users.setdefault(gateway, WeakSet())
        users.discard(user)
        last = not users
    if last:
        gateway.drop()
