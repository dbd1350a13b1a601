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
from weakref import WeakSet

from instruments.carrier import SerialLine
from instruments.transport import LISTEN, LONGEST_LINE, LOOK, LineTransport
from instruments.visa import VisaTransport
from labctl.core.addresses import device_identity
from labctl.core.errors import InstrumentError, LinkTimeoutError
from labctl.core.units import Second

END = b"\x04"
"""Stands for END behind a response; no text has it."""
BUS_WAIT: Second = 0.25
"""How long one read waits for the first byte, and for each next one."""
ANSWER_WAIT: Second = 2.0
"""[?] Time for the controller's own answers, and beyond `BUS_WAIT` for the end of a read."""
BUS_BYTE: Second = 1e-3
"""[?] How long an instrument takes for a byte of a message, at most."""
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
        self.users: WeakSet[LineTransport] = WeakSet()
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
