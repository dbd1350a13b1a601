"""GPIB behind a Prologix controller: several instruments, faults of the controller, and what is sent to it.

The controller is the emulated one of this project, on a socket or a serial line of this computer.
"""

import os
import threading
import time
from collections.abc import Iterator
from typing import Any, ClassVar, cast

import pytest

from instruments import gateway, gateway_transport
from instruments.carrier import Address, SerialLine
from instruments.gateway import Gateway, escaped
from instruments.gateway_transport import GatewayTransport, gateway_at
from instruments.transport import LONGEST_LINE, Deadlines
from instruments.transports import transport_to
from labctl.core.driver import Driver, DriverKind
from labctl.core.errors import BenchError, InstrumentError, LinkTimeoutError
from labctl.core.transport import THROUGH, Transport
from sim_backend.emulators.serve import Bus, Server, Serving, Way
from sim_backend.emulators.wire_faults import WireFault
from tests.talker import Talker
from tests.waiting import PATIENCE, until

LONG = Deadlines(setting=PATIENCE, query=PATIENCE, measure=PATIENCE, relay=PATIENCE, motion=PATIENCE)
TEXT = Driver(DriverKind.MATRIX, lambda *_: None, scheme=lambda options: lambda row, column: row + column)


@pytest.fixture(autouse=True)
def no_controllers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_transport, "_gateways", {})


class World:
    """Two talkers behind one controller."""

    def __init__(self, server: Server, talkers: dict[str, Talker]) -> None:
        self.server, self.talkers, self.faults = server, talkers, server.faults["a"]
        self._made: list[Transport] = []

    def transport(self, name: str, deadlines: Deadlines = LONG) -> GatewayTransport:
        resource, _, controller = self.server.resource(name).partition(THROUGH)
        address = Address(resource=resource, gateway=controller, rs232=SerialLine() if "ASRL" in controller else None)
        transport = transport_to(name, address, TEXT, deadlines=deadlines)
        assert isinstance(transport, GatewayTransport)
        self._made.append(transport)
        return transport

    def close(self) -> None:
        for transport in self._made:
            transport.close()


@pytest.fixture(params=["socket", "serial"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    serial = request.param == "serial"
    if serial:
        pytest.importorskip("serial", reason="pyserial is not installed (extra serial)")
        if not hasattr(os, "openpty"):
            pytest.skip("no pseudo-terminals on this system")
    talkers = {name: Talker(name) for name in "ab"}
    server = Server(
        talkers.values(),
        {name: Serving(usual=Way.GATEWAY) for name in "ab"},
        [Bus({"a": "24", "b": "9 96"}, serial)],
    )
    world = World(server, talkers)
    yield world
    world.close()
    server.close()


def test_two_instruments_share_a_controller_and_each_answers_for_itself(world: World) -> None:
    a, b = world.transport("a"), world.transport("b")
    a.write(":LEVEL 1+1")  # a plus and a line feed reach the instrument, which refuses the number
    assert "-1" in a.query(":SYST:ERR?")
    assert a.converse("*IDN?\n:LEVEL?", lambda line: line.startswith("+")) == ["EXAMPLE,T1,a,1", "+0.000000E+00"]
    b.write(":LEVEL 2")
    assert [float(t.query(":LEVEL?")) for t in (a, b)] == [0.0, 2.0]
    assert world.talkers["a"].errors.next().startswith("0"), "nobody was asked who had nothing to say"


def test_instruments_that_are_asked_at_the_same_time_get_their_own_answers(world: World) -> None:
    wrong: list[str] = []

    def ask(name: str) -> None:
        transport = world.transport(name)
        for k in range(8):
            transport.write(f":LEVEL {k}")
            if float(transport.query(":LEVEL?")) != k or f",{name}," not in transport.query("*IDN?"):
                wrong.append(name)

    threads = [threading.Thread(target=ask, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_one_that_thinks_holds_up_no_other_and_a_device_clear_ends_it(world: World) -> None:
    a, b = world.transport("a"), world.transport("b")
    assert a.query("*IDN?")
    a.deadlines = LONG.model_copy(update={"query": 0.05})
    with pytest.raises(LinkTimeoutError, match="did not answer ':HANG' within"):
        a.query(":HANG")
    until(world.talkers["a"].hangs.is_set)
    assert b.query("*IDN?") == "EXAMPLE,T1,b,1"
    a.deadlines = LONG
    assert a.query(":LEVEL?") == "+0.000000E+00"
    assert not world.talkers["a"].hangs.is_set()


def test_cutting_in_is_a_device_clear_and_asks_nothing_first(world: World) -> None:
    busy = world.transport("a")
    busy.write(":LEVEL 5\n:HANG")
    until(world.talkers["a"].hangs.is_set)
    fresh = world.transport("a")
    fresh.ask_nothing_first()
    assert fresh.cut_in(":LEVEL 0", ":LEVEL?", lambda line: True) == ["+0.000000E+00"]


def test_a_second_program_makes_safe_while_the_first_one_waits(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    if "ASRL" in world.server.resource("a"):
        pytest.skip("a serial line has one program")
    first = world.transport("a")
    first.write(":LEVEL 5\n:HANG")
    until(world.talkers["a"].hangs.is_set)
    monkeypatch.setattr(gateway_transport, "_gateways", {})  # another process has connections of its own
    second, other = world.transport("a"), world.transport("b")
    assert second._gateway is not first._gateway
    for transport in (second, other):
        transport.ask_nothing_first()
        assert transport.cut_in(":LEVEL 0", ":LEVEL?", lambda line: True) == ["+0.000000E+00"]
    assert first.query("*IDN?") == "EXAMPLE,T1,a,1"


def test_what_somebody_has_left_unread_is_read_away_and_nothing_is_cleared(world: World) -> None:
    world.transport("b").query("*IDN?")
    gone = world.transport("a")
    gone._gateway.deliver("24", b":LEVEL 3;:LEVEL?")
    until(lambda: gone.status_byte() & 16)
    assert world.transport("a").query("*IDN?") == "EXAMPLE,T1,a,1"
    assert len(world.talkers["a"].errors) == 0


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (WireFault.SILENT, "is silent; check that it is on"),
        (WireFault.OTHER_ADDRESS, "was turned to address '9 96' while 24 was spoken to: another program uses it"),
        (WireFault.TURNED, "was turned to address '9 96' while 24 .*, and what was sent may have gone there"),
        (WireFault.RESET, "is gone"),
        (WireFault.HALF, "the controller"),
    ],
)
def test_a_controller_that_fails_is_named_and_the_next_call_connects_anew(
    world: World, fault: WireFault, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = world.transport("a")
    assert a.query("*IDN?")
    if "ASRL" in world.server.resource("a") and fault not in (WireFault.OTHER_ADDRESS, WireFault.TURNED):
        pytest.skip("this fault is of a socket")
    monkeypatch.setattr(gateway, "ANSWER_WAIT", 0.2 if fault in (WireFault.SILENT, WireFault.HALF) else PATIENCE)
    world.faults.expect(fault)
    with pytest.raises(InstrumentError, match=words):
        a.query(":LEVEL?")
    monkeypatch.setattr(gateway, "ANSWER_WAIT", PATIENCE)
    assert world.faults.happened == [fault]
    assert a.query(":LEVEL?") == "+0.000000E+00"
    assert world.transport("b").query("*IDN?") == "EXAMPLE,T1,b,1"


def test_a_controller_without_its_instrument_is_a_timeout_of_the_instrument(world: World) -> None:
    a = world.transport("a")
    a._address = "5"
    a.deadlines = Deadlines(query=0.05)
    with pytest.raises(InstrumentError, match="nobody answers at GPIB address 5 of the controller"):
        a.query("*IDN?")
    a.ask_nothing_first()
    with pytest.raises(LinkTimeoutError, match=r"did not answer ':LEVEL 0...' within 0.0"):
        a.cut_in(":LEVEL 0", "*IDN?", lambda line: True)


def test_what_is_sent_is_escaped_and_an_answer_that_is_none_is_told(world: World) -> None:
    assert escaped(b"a+b\r\n\x1b") == b"a\x1b+b\x1b\r\x1b\n\x1b\x1b"
    world.transport("a")
    controller = world.server.resource("a").partition(THROUGH)[2]
    with pytest.raises(BenchError, match="is given two settings: "):
        gateway_at(controller, "@py", SerialLine(baud=300))


def user_of(resource: str, backend: str = "@py", line: SerialLine | None = None) -> GatewayTransport:
    return GatewayTransport("GPIB::24", gateway_at(resource, backend, line), "24")


def test_a_controller_is_one_however_its_address_is_written_and_has_one_backend() -> None:
    first = user_of("TCPIP::192.0.2.30::1234::SOCKET")
    second = user_of(" tcpip0::192.0.2.30::01234::socket")
    assert second._gateway is first._gateway
    with pytest.raises(BenchError, match="is given two settings: backend '@py', and backend ''"):
        user_of("TCPIP0::192.0.2.30::1234::SOCKET", backend="")


def test_a_controller_is_forgotten_with_its_last_user_and_has_its_new_settings_then() -> None:
    slow, other = [user_of("ASRL3::INSTR", line=SerialLine(baud=300)) for _ in range(2)]
    slow.close()
    with pytest.raises(BenchError, match=r"two settings: backend '@py' and 300 baud, .* and 9600 baud"):
        user_of("ASRL3", line=SerialLine())
    other.close()
    other.close()
    fast = user_of("ASRL3", line=SerialLine())
    assert fast._gateway is not slow._gateway
    with pytest.raises(BenchError, match="two settings"):
        slow.join()
    fast.close()
    slow.join()
    assert gateway_transport._gateways == {slow._gateway.key: slow._gateway}


def test_a_controller_whose_users_are_gone_without_a_word_has_new_settings() -> None:
    gateway_at("ASRL3::INSTR", "@py", SerialLine(baud=300))
    assert gateway_at("ASRL3::INSTR", "@py", SerialLine()).settings.endswith("9600 baud, 8N1, no flow control")


VERSION = "Example controller 1.0"


def carried(data: bytes = b"", *, before: str = "24", behind: str = "24") -> bytes:
    """Return what a controller answers to a transfer that `data` comes of."""
    return f"{before}\r\n".encode() + data + f"{VERSION}\r\n{behind}\r\n".encode()


class Scripted:
    """A controller that answers as it is told, in place of what carries its bytes.

    Args:
        answers: one for each receiving; ends with silence.
        settings: its answer to what it is set to.
    """

    name, has_unread, seconds_per_byte = "TCPIP::192.0.2.30::1234::SOCKET", False, 0.0

    def __init__(self, *answers: bytes, settings: bytes = f"0\r\n{VERSION}\r\n".encode(), opens: bool = True) -> None:
        self._answers, self._settings, self._opens, self.sent, self.opened = list(answers), settings, opens, b"", 0
        self.deadlines: list[float] = []

    def open(self) -> None:
        if not self._opens:
            raise InstrumentError("nobody listens")
        self.opened += 1
        self._answers.insert(0, self._settings)

    def close(self) -> None:
        """Do nothing."""

    def send_all(self, data: bytes, deadline: float) -> None:
        self.sent += data
        self.deadlines.append(deadline)

    def receive_some(self, deadline: float) -> bytes:
        if not self._answers:
            raise LinkTimeoutError("silent")
        return self._answers.pop(0)


def controller(*answers: bytes, **others: Any) -> Gateway:
    return Gateway(cast("Any", Scripted(*answers, **others)))


def test_a_controller_is_set_up_first_and_keeps_nothing_of_it() -> None:
    wire = Scripted(carried())
    Gateway(cast("Any", wire)).deliver("24", b"*RST", clear=True)
    assert wire.sent.decode().split("\n") == [
        "++savecfg 0", "++savecfg 0", "++mode 1", "++auto 0", "++eoi 1", "++eos 2", "++eot_char 4", "++eot_enable 1",
        "++read_tmo_ms 250", "++addr", "++ver", "++addr 24", "++addr", "++clr", "*RST", "++ver", "++addr", "",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([carried(b"1\n\x04")], (b"1\n", True)),
        ([carried(b"1\n\x04")[:-5], b"\n24\r", b"\n"], (b"1\n", True)),
        ([carried(b"first half")], (b"first half", False)),
        ([carried(b"24\r\n")], (b"24\r\n", False)),
        ([carried()], (b"", False)),
        ([carried(b"1\n\x04old")], "sent 3 bytes behind a response"),
        ([carried(b"1\n\x04") + b"7"], "sent 1 bytes that nobody asked for"),
        ([b"hello\r\n"], "answers 'hello' where its address was expected"),
        ([carried(before="7")], "was turned to address '7' while 24 was spoken to: another program uses it"),
        ([carried(b"1\n\x04", behind="9 96")], "was turned to address '9 96' while 24 .* may have gone there"),
        ([carried(b"1\n\x04", behind="x")], "answers 'x' where its address was expected"),
        ([b"24\r\n1\n\x04"], "is silent"),
        ([b"24\r\n" + bytes(LONGEST_LINE + 1)], "bytes without an end"),
        ([], "is silent"),
    ],
)
def test_a_response_counts_between_two_proofs_of_the_address(answers: list[bytes], expected: Any) -> None:
    made = controller(*answers)
    if isinstance(expected, tuple):
        assert made.fetch("24") == expected
        return
    with pytest.raises(InstrumentError, match=expected):
        made.fetch("24")
    assert not made._open, "nothing that is still to come answers the next transfer"


def test_a_controller_that_answers_its_settings_is_told() -> None:
    for settings, words in ((b"Unrecognized command\r\n", "answers 'Unrecognized command'"), (b"0\r\n\r\n", "version")):
        with pytest.raises(InstrumentError, match=words):
            controller(settings=settings).deliver("24", b"*RST")


def test_a_serial_poll_that_is_no_number_or_that_nobody_answers_is_told() -> None:
    with pytest.raises(InstrumentError, match=r"answers '\+\+spoll' by 'what'"):
        controller(carried(b"what\r\n")).status_byte("24")
    with pytest.raises(InstrumentError, match="nobody answers at GPIB address 24"):
        controller(carried()).status_byte("24")
    assert controller(carried(b"80\r\n")).status_byte("24") == 80


def test_what_nobody_asked_for_opens_the_connection_anew_and_one_that_cannot_be_opened_is_told() -> None:
    wire = Scripted(carried(), carried())
    made = Gateway(cast("Any", wire))
    made.deliver("24", b"*RST")
    wire.has_unread = True
    made.deliver("24", b"*RST")
    assert wire.opened == 2
    with pytest.raises(InstrumentError, match="nobody listens"):
        controller(opens=False).deliver("24", b"*RST")


def test_a_transfer_that_a_key_has_ended_leaves_no_answer_for_the_next_one() -> None:
    class Interrupted(Scripted):
        def receive_some(self, deadline: float) -> bytes:
            data = super().receive_some(deadline)
            if data == b"^C":
                raise KeyboardInterrupt
            return data

    wire = Interrupted(carried(), b"^C", carried(b"new\n\x04"))
    made = Gateway(cast("Any", wire))
    made.deliver("24", b"*RST")
    with pytest.raises(KeyboardInterrupt):
        made.deliver("24", b"VOLT 0")
    assert made.fetch("24") == (b"new\n", True)
    assert wire.opened == 2


def test_a_long_message_has_the_time_that_it_needs_on_a_slow_line() -> None:
    wire = Scripted(carried())
    wire.seconds_per_byte = 1e-3
    begun = time.monotonic()
    Gateway(cast("Any", wire)).deliver("24", bytes(8000))
    assert wire.deadlines[-1] - begun > 8


def test_a_message_whose_answer_takes_long_does_not_hold_a_silent_controller_as_long() -> None:
    class Timed(Scripted):
        waits: ClassVar[list[float]] = []

        def receive_some(self, deadline: float) -> bytes:
            self.waits.append(deadline - time.monotonic())
            return super().receive_some(deadline)

    transport = GatewayTransport("GPIB::24", Gateway(cast("Any", Timed(b"24\r\n"))), "24", probe=None)
    transport.ask_nothing_first()
    transport._used, transport._stale = True, False
    with pytest.raises(InstrumentError, match="is silent"):
        transport.query("READ?", extra=3600.0)
    assert max(Timed.waits) <= gateway.ANSWER_WAIT + transport.deadlines.setting


def test_a_bit_of_a_status_byte_that_stands_for_no_message_is_read_once() -> None:
    wire = Scripted(carried(b"16\r\n"), carried(), carried(), carried(b"EXAMPLE\n\x04"))
    transport = GatewayTransport("GPIB::24", Gateway(cast("Any", wire)), "24")
    transport.resync()
    assert wire.sent.count(b"++read eoi") == 2


def test_a_probe_that_is_answered_by_more_than_its_reply_is_asked_again_and_then_told() -> None:
    old = [carried(b"0\r\n"), carried(), carried(b"old\nEXAMPLE\n\x04")]
    again = [carried(), carried(), carried(b"EXAMPLE\n\x04")]
    transport = GatewayTransport("GPIB::24", controller(*old, *again, carried(), carried(b"new\n\x04")), "24")
    assert transport.query("ask") == "new"
    transport.close()
    more = [carried(), carried(), carried(b"old\nEXAMPLE\n\x04")]
    transport = GatewayTransport("GPIB::24", controller(*old, *more * 4), "24")
    with pytest.raises(InstrumentError, match="says more than it is asked for"):
        transport.query("ask")


def test_a_message_that_was_half_sent_to_a_controller_is_made_none(world: World) -> None:
    a = world.transport("a")
    assert a.query("*IDN?")
    a._gateway._carrier.send_all(b":LEVEL 5", time.monotonic() + PATIENCE)
    a.ask_nothing_first()
    assert a.cut_in("*CLS", ":LEVEL?", lambda line: True) == ["+0.000000E+00"]
