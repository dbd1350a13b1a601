"""A serial line to an emulated instrument on a pseudo-terminal: terminators, device clear, and what comes late."""

import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from instruments import serial_line
from instruments import transport as transport_module
from instruments.carrier import SerialLine
from instruments.serial_line import SerialTransport
from instruments.transport import Deadlines
from labctl.core.errors import BenchError, InstrumentError, LinkTimeoutError
from sim_backend.emulators.serial_port import HAS_TERMINALS, Port
from sim_backend.emulators.serve import Server, Serving, Way
from tests.talker import Talker
from tests.waiting import PATIENCE, until

pytest.importorskip("serial", reason="pyserial is not installed (extra serial)")
pytestmark = pytest.mark.skipif(not HAS_TERMINALS, reason="no pseudo-terminals on this system")
LONG = Deadlines(setting=PATIENCE, query=PATIENCE, measure=PATIENCE, relay=PATIENCE, motion=PATIENCE)
Open = Callable[..., SerialTransport]


@pytest.fixture
def opened(request: pytest.FixtureRequest) -> Iterator[tuple[Open, Talker]]:
    talker, made = Talker(), list[SerialTransport]()
    terminator = getattr(request, "param", "lf")
    line = SerialLine(terminator=terminator, baud=115200)
    serving = {"talker": Serving((Way.SERIAL,), Way.SERIAL, line.end.encode())}
    with Server([talker], serving) as server:

        def make(**others: object) -> SerialTransport:
            made.append(SerialTransport(server.resource("talker"), line, **{"deadlines": LONG, **others}))
            return made[-1]

        yield make, talker
        for transport in made:
            transport.close()


@pytest.mark.parametrize("opened", ["lf", "cr", "crlf"], indirect=True)
def test_lines_end_with_the_terminator_of_the_instrument(opened: tuple[Open, Talker]) -> None:
    make, _ = opened
    log = list[tuple[str, bytes]]()
    transport = make(log=lambda direction, data: log.append((direction, data)))
    assert transport.query("*IDN?") == "EXAMPLE,T1,talker,1"
    assert (">", b"*IDN?\n") in log, "a record has lines, whatever ends them on the line"
    assert transport.converse(":LEVEL 2\n:LEVEL?\n*OPC?", lambda line: line == "1") == ["+2.000000E+00", "1"]
    transport.close()
    transport.close()


def test_cutting_in_sends_a_device_clear_first_where_the_instrument_knows_one(opened: tuple[Open, Talker]) -> None:
    make, talker = opened
    busy = make()
    busy.write(":LEVEL 5\n:HANG")
    until(talker.hangs.is_set)
    fresh = make(clear=b"\x03")
    fresh.ask_nothing_first()
    assert fresh.cut_in(":LEVEL 0", ":LEVEL?", lambda line: True) == ["+0.000000E+00"]


def test_no_answer_is_a_timeout_and_a_line_that_is_gone_is_told(opened: tuple[Open, Talker]) -> None:
    make, _ = opened
    transport = make()
    assert transport.query("*IDN?")
    transport.deadlines = Deadlines(query=0.01, setting=PATIENCE)
    with pytest.raises(LinkTimeoutError, match="did not answer ':LEVEL 1' within"):
        transport.query(":LEVEL 1")
    with pytest.raises(InstrumentError):
        SerialTransport("ASRL/dev/no-such-line::INSTR", SerialLine(), deadlines=LONG).query("*IDN?")


def test_a_serial_line_without_its_library_says_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Manager:
        session = 1

        def open_resource(self, *args: object, **settings: object) -> None:
            raise ValueError("Please install PySerial (>=3.0)\nto use this resource type.")

    monkeypatch.setattr("instruments.visa._manager", lambda backend: Manager())
    with pytest.raises(BenchError, match=r"Please install PySerial .*; python -m pip install 'mtj-labctl\[serial\]'"):
        SerialTransport("ASRL3::INSTR", SerialLine(), deadlines=LONG).query("*IDN?")


class Late:
    """An instrument that answers every line with the answers that it is given, some of them late."""

    def __init__(self, answers: list[list[tuple[float, bytes]]]) -> None:
        self.port, self._answers, self._ended = Port(), answers, threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while not self._ended.is_set():
            for _ in range(self.port.read().count(b"\n")):
                for wait, answer in self._answers.pop(0) if self._answers else []:
                    time.sleep(wait)
                    self.port.write(answer, self._ended.is_set)

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self.port.close()


def test_a_reply_that_comes_after_the_port_was_opened_anew_answers_no_other_query(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serial_line, "QUIET", 0.5)  # a busy computer pauses as well
    late = Late([[(0.02, b"old\n"), (0.02, b"identity\n")], [(0, b"identity\n")], [(0, b"new\n")]])
    transport = SerialTransport(f"ASRL{late.port.path}::INSTR", SerialLine(), deadlines=LONG)
    assert transport.query("ask") == "new"
    transport.close()
    late.close()


def test_an_instrument_that_never_stops_talking_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial_line, "QUIET", 0.02)
    late = Late([[(0, b"one\ntwo\n")]] * 9)
    transport = SerialTransport(f"ASRL{late.port.path}::INSTR", SerialLine(), deadlines=LONG)
    with pytest.raises(InstrumentError, match="says more than it is asked for"):
        transport.query("ask")
    transport.close()
    late.close()


class Recorded:
    """An instrument that keeps what it receives, and answers every question by what it is told."""

    def __init__(self, reply: bytes = b"1\n") -> None:
        self.port, self.received, self._reply, self._ended = Port(), b"", reply, threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while not self._ended.is_set():
            data = self.port.read()
            self.received += data
            if b"?\n" in data:
                self.port.write(self._reply, self._ended.is_set)

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self.port.close()


@pytest.mark.parametrize("clear", [b"", b"\x03"])
def test_a_line_that_was_half_sent_is_ended_before_an_instrument_is_made_safe(clear: bytes) -> None:
    wire = Recorded()
    half, transport = [
        SerialTransport(f"ASRL{wire.port.path}::INSTR", SerialLine(), clear=clear, deadlines=LONG) for _ in range(2)
    ]
    half.ask_nothing_first()
    half.resync()
    half._send(b"loadandrunscript\nfor k=1,10 do smua.so", time.monotonic() + PATIENCE)
    half.close()
    transport.ask_nothing_first()
    assert transport.cut_in("abort", "ask?", lambda line: True) == ["1"]
    transport.close()
    wire.close()
    assert wire.received == b"loadandrunscript\nfor k=1,10 do smua.so" + clear + b"\nabort\nask?\n"


def test_a_long_message_has_the_time_that_it_is_on_the_line_and_making_safe_waits_for_no_long_reply(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deadlines = list[float]()
    transport = SerialTransport("ASRL3::INSTR", SerialLine(baud=9600), deadlines=Deadlines(setting=2.0, query=2.0))
    for module in (transport_module, serial_line):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: 0.0))
    monkeypatch.setattr(transport, "_open", lambda: None)
    monkeypatch.setattr(transport, "_unread", lambda: False)
    monkeypatch.setattr(transport, "_send", lambda data, deadline: deadlines.append(deadline))
    monkeypatch.setattr(transport, "_line", lambda deadline: deadlines.append(deadline) or "1")
    transport.write("x" * 9600)
    assert deadlines.pop() == pytest.approx(12.0)
    transport.query("x" * 9600)
    assert deadlines.pop() == pytest.approx(12.0 + 1000 / 960)
    transport.cut_in("x" * 958, "y", lambda line: True)
    assert deadlines.pop() == pytest.approx(3.0)
