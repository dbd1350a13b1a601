"""Messages of bytes: framed by the driver, resynchronised like lines, in this process and over a socket."""

import socket
import struct
import threading
from types import SimpleNamespace

import pytest

from instruments.bench import Bench
from instruments.drivers import driver_of, visa
from instruments.transport import BytesTransport, Deadlines
from instruments.visa import VisaTransport
from labctl.core import meanwhile
from labctl.core.driver import Driver, DriverKind, Wire
from labctl.core.errors import InstrumentError, LinkTimeoutError
from labctl.core.plugins import INSTRUMENTS
from labctl.core.transport import BinaryTransport
from tests.unit.instruments.test_probed_die import bench
from tests.waiting import PATIENCE

READ, SET, STOP = 1, 2, 3


def message(verb, payload=b""):
    return struct.pack(">BH", verb, len(payload)) + payload


def whole(data):
    return len(data) >= 3 and len(data) >= 3 + struct.unpack(">H", data[1:3])[0]


class Box:
    """An instrument of one register; its replies hold line feeds and zeros like any other byte."""

    def __init__(self):
        self.register, self.heard, self.connections, self.deaf, self.chatty = b"\n\x00", [], 0, False, b""

    def handle(self, data):
        reply = b""
        while data:
            length = struct.unpack(">H", data[1:3])[0]
            verb, payload, data = data[0], data[3 : 3 + length], data[3 + length :]
            self.heard.append(verb)
            if verb == SET:
                self.register = payload
            if verb == READ and not self.deaf:
                reply += message(READ, self.register) + self.chatty
        return reply

    def reconnect(self):
        self.connections += 1


def in_process(box, **options):
    return BytesTransport(box, "box", probe=None, terminator="", **options)


def test_a_reply_is_what_its_frame_says_whatever_its_bytes_are():
    box, log = Box(), []
    wire = in_process(box, log=lambda direction, data: log.append((direction, data)))
    assert isinstance(wire, BinaryTransport)
    wire.send(message(SET, b"\r\n\xff\x00"))
    assert wire.exchange(message(READ), whole) == message(READ, b"\r\n\xff\x00")
    assert log == [
        (">", message(SET, b"\r\n\xff\x00")),
        (">", message(READ)),
        ("<", message(READ, b"\r\n\xff\x00")),
    ]


def test_work_is_done_when_a_message_is_out_and_before_its_reply_is_read():
    box, order = Box(), []
    wire = in_process(box, log=lambda direction, data: order.append(direction))
    for number in range(2):
        meanwhile.later(lambda: order.append("work"))
        assert whole(wire.exchange(message(READ), whole))  # an answer that comes at once is not waited for
        assert whole(wire.exchange(message(READ), whole, extra=1.0))
        assert wire.exchange(message(READ), whole, extra=1.0) == message(READ, box.register), number
    assert order == [">", "<", ">", "work", "<", ">", "<"] * 2


@pytest.mark.parametrize(
    "safe",
    [
        lambda wire: wire.break_in(message(STOP), message(READ), whole),
        lambda wire: wire.cut_in("off", "off?", lambda line: True),
        lambda wire: wire.resync(),
    ],
    ids=["break_in", "cut_in", "resync"],
)
def test_work_is_left_undone_where_an_instrument_is_made_safe(safe):
    wire = BytesTransport(SimpleNamespace(handle=lambda data: message(READ) + b"\n"), "box", probe=None)
    meanwhile.later(lambda: pytest.fail("it was done"))
    safe(wire)
    assert wire.exchange(message(READ), whole, extra=1.0)


@pytest.mark.parametrize(
    "ask",
    [
        lambda wire: wire.exchange(message(READ), whole, extra=1.0),
        lambda wire: wire.query("MEAS?", extra=1.0),
    ],
    ids=["bytes", "lines"],
)
def test_the_time_of_work_is_the_host_s_and_no_instrument_s(monkeypatch, ask):
    clock, waits = SimpleNamespace(now=0.0, monotonic=lambda: clock.now, sleep=None), []
    monkeypatch.setattr("instruments.transport.time", clock)
    silent = SimpleNamespace(handle=lambda data: b"")
    wire = BytesTransport(silent, "box", probe=None, deadlines=Deadlines(query=2.0), wait=waits.append)
    for work in (0.0, 60.0):
        meanwhile.later(lambda: setattr(clock, "now", clock.now + work))  # noqa: B023 - it is done in this round
        with pytest.raises(LinkTimeoutError):
            ask(wire)
    assert waits == [3.0, 3.0]


def test_after_no_reply_the_link_is_resynchronised_and_nothing_is_sent_again():
    box = Box()
    wire = in_process(box, deadlines=Deadlines(query=0.01))
    box.deaf = True
    with pytest.raises(LinkTimeoutError, match=r"box did not answer 3 bytes within .* after 0 bytes"):
        wire.exchange(message(READ), whole)
    box.deaf = False
    assert wire.exchange(message(READ), whole) == message(READ, b"\n\x00")
    assert (box.heard, box.connections) == ([READ, READ], 1)


def test_a_reply_that_never_is_whole_ends_with_an_error(monkeypatch):
    monkeypatch.setattr("instruments.transport.LONGEST_LINE", 4)
    with pytest.raises(InstrumentError, match="box sent 5 bytes that are no whole reply"):
        in_process(Box()).exchange(message(READ), lambda data: False)


def test_in_an_emergency_bytes_are_the_first_of_a_fresh_connection():
    box = Box()
    wire = in_process(box)
    assert wire.break_in(message(STOP), message(READ), whole) == message(READ, b"\n\x00")
    assert (box.heard, box.connections) == ([STOP, READ], 1)


def test_over_a_socket_a_line_feed_ends_nothing():
    box, server = Box(), socket.create_server(("127.0.0.1", 0))

    def serve():
        connection, _ = server.accept()
        with connection:
            while data := connection.recv(4096):
                for byte in box.handle(data):  # one by one: a frame comes in pieces
                    connection.sendall(bytes([byte]))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    resource = f"TCPIP::127.0.0.1::{server.getsockname()[1]}::SOCKET"
    deadlines = Deadlines(query=PATIENCE, setting=PATIENCE)
    wire = VisaTransport(resource, probe=None, terminator="", deadlines=deadlines)
    try:
        wire.send(message(SET, b"\n\n\x00"))
        assert wire.exchange(message(READ), whole) == message(READ, b"\n\n\x00")
    finally:
        wire.close()
        thread.join(PATIENCE)
        server.close()
    assert box.heard == [SET, READ]


class Relays:
    def __init__(self, name, options, wire):
        self.name, self.wire = name, wire


BINARY = Driver(DriverKind.MATRIX, Relays, wire=Wire.BINARY, scheme=lambda options: lambda row, column: row + column)


def test_a_driver_of_bytes_has_an_address_and_no_question(register):
    register(INSTRUMENTS, {"binary": "tests.unit.instruments.test_transport:BINARY"})
    file = bench(instruments__matrix={"driver": "binary", "resource": "TCPIP::192.0.2.20::7::SOCKET"})
    assert isinstance(file, Bench)
    driver = driver_of("matrix", file.instruments["matrix"], visa(), None)
    assert driver.wire.name == "TCPIP::192.0.2.20::7::SOCKET"
    assert (BINARY.probe, BINARY.terminator) == (None, "")


def test_a_reply_that_does_not_come_takes_the_time_that_it_may_where_a_clock_is_given():
    box, waited = Box(), []
    box.deaf = True
    wire = in_process(box, deadlines=Deadlines(query=7.0), wait=waited.append)
    with pytest.raises(LinkTimeoutError):
        wire.exchange(message(READ), whole)
    assert waited == [7.0]


def test_a_connection_that_is_refused_is_told_as_one_that_is_gone():
    box = Box()

    def refuse():
        raise ConnectionError("connection closed")

    box.reconnect = refuse
    with pytest.raises(InstrumentError, match="box is gone: connection closed"):
        in_process(box).resync()
