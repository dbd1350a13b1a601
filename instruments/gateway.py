"""GPIB through a Prologix controller on a socket or a serial line: one controller, any number of instruments.

Written from public facts of the GPIB-ETHERNET and GPIB-USB controllers (user manuals 1.6.6.0 and 6.107), and of public
clients for them; verified against the emulated controller of this project, which pyvisa-py's client judged, and not on
a real one.

The controller is not spoken to through the session that pyvisa-py has for it, which takes no terminator and believes
the address that it set last. Here every transfer sets the address, and reads it back before and behind what it carries:
an answer belongs to the instrument that was asked, and a message that another program has turned away is noticed, after
it went elsewhere. A read ends with the character that stands for END; behind it comes the controller's own version,
which no instrument says, so that a response that never ends is not taken for an address. A transfer that was not ended
leaves no connection. One transfer has the controller for itself. What an instrument needs to think passes between two
transfers, so others are reached meanwhile.
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
from instruments.transport import LISTEN, LONGEST_LINE, LOOK, LineTransport
from instruments.visa import VisaTransport
from labctl.core.addresses import device_identity
from labctl.core.errors import BenchError, InstrumentError, LinkTimeoutError
from labctl.core.units import Second

END = b"\x04"
"""Stands for END behind a response; no text has it."""
BUS_WAIT: Second = 0.25
"""How long one read waits for the first byte, and for each next one."""
ANSWER_WAIT: Second = 2.0
"""[?] Time for the controller's own answers, and beyond `BUS_WAIT` for the end of a read."""
BUS_BYTE: Second = 1e-3
"""[?] How long an instrument takes for a byte of a message, at most."""
MAV = 16
"""Bit of a status byte: a message is available."""
MOST_LEFT = 16
"""Responses that are read away at first."""
SETTINGS = (
    "savecfg 0", "savecfg 0", "mode 1", "auto 0", "eoi 1", "eos 2", f"eot_char {END[0]}", "eot_enable 1",
    f"read_tmo_ms {round(1000 * BUS_WAIT)}",
)  # fmt: skip
"""Its settings, which are not to wear its memory: it addresses nobody by itself, and adds LF with END to a message.
The first comes twice: behind a message that was half sent over a serial line it makes that none, and is lost."""
SHORTEST_VERSION = 8
"""Characters below which a version could be what an instrument says."""
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
        backend: what carries it.
        line: settings of its serial line, if it is on one.
    """

    def __init__(self, carrier: VisaTransport, backend: str = "@py", line: SerialLine | None = None) -> None:
        self._carrier, self.name = carrier, f"the controller ({carrier.name})"
        self.key = device_identity(carrier.name)
        """One text for all ways to write its address."""
        self.settings = f"backend '{backend}'" + (f" and {line.on_the_wire}" if line else "")
        """In operator words."""
        self.users: WeakSet[GatewayTransport] = WeakSet()
        """Transports to its instruments that are not closed."""
        self._busy = threading.RLock()
        self._open, self._version = False, b""

    @property
    def seconds_per_byte(self) -> Second:
        """Time that a byte is on the way to the controller, s."""
        return self._carrier.seconds_per_byte

    def deliver(self, address: str, data: bytes, *, clear: bool = False, seconds: Second = 0.0) -> None:
        """Send a message to an instrument, behind a device clear if that is asked for.

        Args:
            seconds: what the instrument may take to accept it, if that is more than is usual.

        Raises:
            InstrumentError: the controller is gone or silent, or was turned to another address, before or meanwhile;
                or the instrument does not accept the message.
        """
        message = escaped(data) + b"\n" if data else b""
        self._transfer(address, (b"++clr\n" if clear else b"") + message, max(seconds, len(data) * BUS_BYTE))

    def fetch(self, address: str) -> tuple[bytes, bool]:
        """Return what an instrument says within `BUS_WAIT`, and whether END came with it.

        Raises:
            InstrumentError: as of `deliver`.
        """
        data = self._transfer(address, b"++read eoi\n", BUS_WAIT)
        response, end, more = data.partition(END)
        if more:
            self.drop()
            raise InstrumentError(f"{self.name} sent {len(more)} bytes behind a response; {LISTEN}")
        return response, bool(end)

    def status_byte(self, address: str) -> int:
        """Return the status byte of an instrument by a serial poll.

        Raises:
            InstrumentError: as of `deliver`, or nobody answers there.
        """
        text = self._transfer(address, b"++spoll\n", BUS_WAIT).strip()
        if not text:
            raise InstrumentError(f"nobody answers at GPIB address {address} of {self.name}; {LOOK}")
        if not text.isdigit():
            raise InstrumentError(f"{self.name} answers '++spoll' by '{_text(text)}'; {LISTEN}")
        return int(text)

    def drop(self) -> None:
        """Close the connection; the next transfer opens it again."""
        with self._busy:
            self._open = False
            self._carrier.close()

    def _transfer(self, address: str, rest: bytes, seconds: Second) -> bytes:
        """Carry out `rest` for an instrument, and return what came of it; whatever ends it early ends the connection.

        Args:
            rest: commands and messages, each with its line feed.
            seconds: what they may take on the bus.
        """
        with self._busy:
            try:
                if self._open and self._carrier.has_unread:
                    self.drop()
                if not self._open:
                    self._connect()
                return self._proved(address, rest, seconds)
            except BaseException:
                self.drop()
                raise

    def _proved(self, address: str, rest: bytes, seconds: Second) -> bytes:
        """Address an instrument, send `rest`, and ask for the address before and behind it, all in one piece."""
        wait = self._send(f"++addr {address}\n++addr\n".encode() + rest + b"++ver\n++addr\n")
        before, stream = self._until(b"\n", b"", wait)
        self._require(address, before, "; nothing of it counts")
        data, stream = self._until(self._version, stream, wait + seconds)
        behind, stream = self._until(b"\n", stream, wait)
        self._require(address, behind, ", and what was sent may have gone there")
        if stream:
            raise InstrumentError(f"{self.name} sent {len(stream)} bytes that nobody asked for; {LISTEN}")
        return data

    def _connect(self) -> None:
        self._carrier.open()
        self._open = True
        wait = self._send("".join(f"++{setting}\n" for setting in (*SETTINGS, "addr", "ver")).encode())
        present, stream = self._until(b"\n", b"", wait)
        self._require_address(present)
        version, _ = self._until(b"\n", stream, wait)
        self._version = version + b"\n"
        if len(version.strip()) < SHORTEST_VERSION:
            raise InstrumentError(f"{self.name} answers '{_text(version)}' where its version was expected; {LISTEN}")

    def _require_address(self, answer: bytes) -> str:
        """Return an answer that is an address; InstrumentError if it is none."""
        if not _ADDRESS.fullmatch(answer.strip()):
            raise InstrumentError(f"{self.name} answers '{_text(answer)}' where its address was expected; {LISTEN}")
        return _text(answer)

    def _require(self, address: str, answer: bytes, consequence: str) -> None:
        present = self._require_address(answer)
        if present != address:
            raise InstrumentError(
                f"{self.name} was turned to address '{present}' while {address} was spoken to: another program uses "
                f"it{consequence}; end that one"
            )

    def _until(self, mark: bytes, data: bytes, seconds: Second) -> tuple[bytes, bytes]:
        """Return what comes before `mark`, and what came behind it; `seconds` may pass without a byte."""
        while mark not in data:
            if len(data) > LONGEST_LINE:
                raise InstrumentError(f"{self.name} sent {len(data)} bytes without an end; {LISTEN}")
            try:
                data += self._carrier.receive_some(time.monotonic() + seconds)
            except LinkTimeoutError as error:
                raise InstrumentError(f"{self.name} is silent; {LOOK}") from error
        before, _, behind = data.partition(mark)
        return before, behind

    def _send(self, data: bytes) -> Second:
        """Send all of `data`, and return how long a first answer may take, s."""
        wait = ANSWER_WAIT + len(data) * self.seconds_per_byte
        try:
            self._carrier.send_all(data, time.monotonic() + wait)
        except LinkTimeoutError as error:
            raise InstrumentError(f"{error}; {LOOK}") from error
        return wait


def _text(answer: bytes) -> str:
    return answer.strip().decode("latin-1")[:40]


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
        self.join()

    def join(self) -> None:
        """Be a user of the controller, so that it stays open; BenchError if others use it with other settings."""
        with _lock:
            if self not in self._gateway.users:
                self._gateway = _listed(self._gateway)
                self._gateway.users.add(self)

    def status_byte(self) -> int:
        """Return the status byte by a serial poll."""
        return self._gateway.status_byte(self._address)

    def close(self) -> None:
        """End the conversation; the controller stays open for other instruments, and closes with the last."""
        with self._lock:
            with _lock:
                self._gateway.users.discard(self)
            _drop_unused(self._gateway)

    def _send(self, data: bytes, deadline: float) -> None:
        seconds = min(self.deadlines.setting, deadline - time.monotonic())  # others wait for the controller meanwhile
        with self._named():
            self._gateway.deliver(self._address, data.removesuffix(b"\n"), seconds=seconds)

    def _says_more(self) -> bool:
        return bool(self._pending)

    def _transit(self, size: int) -> Second:
        return size * self._gateway.seconds_per_byte

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
                if self._gateway.fetch(self._address) == (b"", False):
                    break  # this bit of its status byte is something else
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
        self.join()
        try:
            yield
        except InstrumentError as error:
            raise type(error)(f"{self._short}: {error}") from error


_gateways: dict[str, Gateway] = {}
"""Controllers of this process, by their key."""
_lock = threading.Lock()


def gateway_at(resource: str, backend: str, line: SerialLine | None) -> Gateway:
    """Return this process's only connection to the controller at an address; it opens when it is first used.

    Raises:
        BenchError: it is in use with another backend, or other settings of its serial line.
    """
    given: dict[str, Any] = {"called": "the controller", "backend": backend, "probe": None, "terminator": ""}
    if line is None:
        carrier = VisaTransport(resource, **given)
    else:  # the terminator of an instrument is not the controller's
        carrier = SerialTransport(resource, line.model_copy(update={"terminator": "lf"}), **given)
    with _lock:
        return _listed(Gateway(carrier, backend, line))


def _listed(gateway: Gateway) -> Gateway:
    """Return the controller of this process that is the same one, which `gateway` becomes if none is in use."""
    present = _gateways.setdefault(gateway.key, gateway)
    if present.settings == gateway.settings:
        return present
    if present.users:
        raise BenchError(
            f"{gateway.name} is given two settings: {present.settings}, and {gateway.settings}; expected the same "
            "backend and the same rs232 at each of its instruments"
        )
    present.drop()
    _gateways[gateway.key] = gateway
    return gateway


def _drop_unused(gateway: Gateway) -> None:
    """Close a controller that has no users, and forget it unless it has got one meanwhile."""
    if gateway.users:
        return
    gateway.drop()
    with _lock:
        if not gateway.users and _gateways.get(gateway.key) is gateway:
            del _gateways[gateway.key]
