"""A GPIB controller behind a socket or a serial line, that speaks as those of Prologix do, and its bus.

Written from public facts of the GPIB-ETHERNET and GPIB-USB controllers: user manuals 1.6.6.0 and 6.107, chapters 7
(transmission, escapes) and 8 (commands), and the client of pyvisa-py. What these do not state is this project's:
commands are carried out one after the other, those of several connections in turns, and a bus without the instrument
that is addressed is silent. Device mode, service requests (`++srq`) and settings that outlive the power are not
emulated.
"""

import socket
import threading
import time
from collections.abc import Callable, Mapping

from labctl.core.units import Second
from sim_backend.emulators.link import MAX_MESSAGE, ConnectionDropped, Instrument
from sim_backend.emulators.message_exchange import MessageExchange
from sim_backend.emulators.sockets import Stopping, send_all
from sim_backend.emulators.wire_faults import WireFault, WireFaults, reset

VERSION = "Prologix GPIB-ETHERNET Controller version 01.06.06.00"
ESCAPE, PLUS = 0x1B, 0x2B
ENDS = (0x0A, 0x0D)
LONGEST_WAIT = 3000
"""Most that `++read_tmo_ms` takes, ms."""
MESSAGE_WAIT: Second = 1.0
"""How long an instrument that accepts nothing holds up the bus; then a message is lost. Public facts do not say it."""
APPENDED = (b"\r\n", b"\r", b"\n", b"")
"""What is added to data on the bus, by the number of `++eos`."""
LONGEST_COMMAND = 64
_PIECE = 1 << 16
_NUMBERS = {
    "mode": (0, 1), "auto": (0, 1), "eoi": (0, 1), "eos": (0, 3), "eot_enable": (0, 1), "eot_char": (0, 255),
    "read_tmo_ms": (1, LONGEST_WAIT), "savecfg": (0, 1), "lon": (0, 1),
}  # fmt: skip
"""Commands that set a number, or tell it without one, and the bounds of it."""
_NO_SETTING = ("rst", "ifc", "loc", "llo")
Send = Callable[[bytes], None]


class Prologix:
    """A controller and its bus. Its settings, the address among them, are the same for all its connections.

    Args:
        instruments: by GPIB address, as `++addr` spells it: ``24``, or ``9 96`` with a secondary address.
        faults: what happens to its answers.
    """

    def __init__(self, instruments: Mapping[str, Instrument], faults: WireFaults | None = None) -> None:
        self.faults = faults or WireFaults()
        self._exchanges = {address: MessageExchange(instrument) for address, instrument in instruments.items()}
        self._bus = threading.RLock()
        self._address = "0"
        self._settings = {
            "mode": 1, "auto": 1, "eoi": 1, "eos": 0, "eot_enable": 0, "eot_char": 0, "read_tmo_ms": 200, "savecfg": 1,
            "lon": 0,
        }  # fmt: skip

    def session(self) -> "PrologixSession":
        """Open a connection."""
        return PrologixSession(self)

    def close(self) -> None:
        """End the conversations with the instruments."""
        for exchange in self._exchanges.values():
            exchange.close()

    def serve(self, connection: socket.socket, stopping: Stopping) -> None:
        """Serve one accepted connection until it ends."""
        session = self.session()

        def send(data: bytes) -> None:
            match self.faults.strikes(WireFault.RESET, WireFault.SILENT, WireFault.HALF):
                case WireFault.RESET:
                    reset(connection)
                case WireFault.SILENT:
                    session.silent = True
                case WireFault.HALF:
                    data = data[: len(data) // 2]
            if not session.silent:
                send_all(connection, data, stopping)

        try:
            while not stopping():
                try:
                    data = connection.recv(_PIECE)
                except TimeoutError:
                    continue
                if not data:
                    return
                session.feed(data, send)
        except (ConnectionError, OSError):
            return

    def command(self, text: str, send: Send) -> None:
        """Carry out a command without its ``++``."""
        name, *values = text.split() or [""]
        with self._bus:
            if name == "addr":
                self._set_address(values, send)
            elif name in _NUMBERS:
                self._set(name, values, send)
            elif name == "read":
                self._read(values[0] if values else "", send)
            elif name == "clr":
                for exchange in self._addressed():
                    exchange.clear()
            elif name == "trg":
                for exchange in self._addressed():
                    exchange.put(b"*TRG\n", True, MESSAGE_WAIT)
            elif name == "spoll":
                for exchange in self._addressed(" ".join(values)):
                    send(b"%d\r\n" % exchange.status_byte)
            elif name == "ver":
                send(VERSION.encode() + b"\r\n")
            elif name not in _NO_SETTING:
                send(b"Unrecognized command\r\n")

    def data(self, data: bytes, send: Send) -> None:
        """Send data to the instrument that is addressed."""
        with self._bus:
            data += APPENDED[self._settings["eos"]]
            for exchange in self._addressed():
                exchange.put(data, bool(self._settings["eoi"]), MESSAGE_WAIT)
            if self._settings["auto"]:
                self._read("eoi", send)

    def _addressed(self, address: str = "") -> list[MessageExchange]:
        """Return the conversation with an instrument, by default the one that is addressed; none if it is not there."""
        if self.faults.strikes(WireFault.TURNED):
            self._turn()
        exchange = self._exchanges.get(address or self._address)
        return [] if exchange is None else [exchange]

    def _set_address(self, values: list[str], send: Send) -> None:
        if values:
            self._address = " ".join(str(int(value)) if value.isdecimal() else value for value in values)
            return
        if self.faults.strikes(WireFault.OTHER_ADDRESS):
            self._turn()
        send(self._address.encode() + b"\r\n")

    def _turn(self) -> None:
        """Address another instrument, as a second program does."""
        others = [address for address in self._exchanges if address != self._address]
        self._address = others[0] if others else "30"

    def _set(self, name: str, values: list[str], send: Send) -> None:
        low, high = _NUMBERS[name]
        if not values:
            send(b"%d\r\n" % self._settings[name])
        elif values[0].isdecimal() and low <= int(values[0]) <= high:
            self._settings[name] = int(values[0])
        else:
            send(b"Unrecognized command\r\n")

    def _read(self, until: str, send: Send) -> None:
        """Read until END, a byte, or a silence of `++read_tmo_ms`, and pass on what comes."""
        seconds = self._settings["read_tmo_ms"] / 1000
        stop = int(until) & 0xFF if until.isdecimal() else None
        exchanges, asked = self._addressed(), True
        if not exchanges:
            time.sleep(seconds)
        for exchange in exchanges:
            while True:
                data, end = exchange.take(_PIECE, seconds, stop=stop, asked=asked)
                asked = False
                if exchange.dropped:
                    raise ConnectionDropped("the bus is gone")
                if end and self._settings["eot_enable"]:
                    data += bytes([self._settings["eot_char"]])
                if data:
                    send(data)
                if not data or (end and until == "eoi") or (stop is not None and data[-1] == stop):
                    return


class PrologixSession:
    """One connection: takes lines apart, of commands and of data with escapes."""

    def __init__(self, controller: Prologix) -> None:
        self._controller = controller
        self._line = bytearray()
        self._escaped = self._too_long = False
        self._plain = 0
        """Unescaped plus signs at the front of the line: two begin a command."""
        self.silent = False
        """Nothing is answered any more, by a fault."""

    def feed(self, data: bytes, send: Send) -> None:
        """Take bytes; carry out the lines that they complete."""
        for byte in data:
            if self._escaped:
                self._escaped = False
                self._line.append(byte)
            elif byte == ESCAPE:
                self._escaped = True
            elif byte in ENDS:
                self._ended(send)
            elif byte == PLUS and not self._is_command:
                if len(self._line) == 0:
                    self._plain += 1
            else:
                self._line.append(byte)
            if len(self._line) > MAX_MESSAGE:
                self._line.clear()
                self._too_long = True

    @property
    def _is_command(self) -> bool:
        return self._plain >= 2

    def _ended(self, send: Send) -> None:
        line, command, whole = bytes(self._line), self._is_command, not self._too_long
        self._line.clear()
        self._plain, self._too_long = 0, False
        if not line or not whole:
            return
        if command and len(line) <= LONGEST_COMMAND:
            self._controller.command(line.decode("latin-1"), send)
        elif not command:
            self._controller.data(line, send)
