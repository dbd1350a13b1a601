"""The emulated Prologix controller: commands, escapes, addresses, reads that end, and garbage."""

import pytest

from sim_backend.emulators import message_exchange, prologix
from sim_backend.emulators.link import MAX_MESSAGE
from sim_backend.emulators.prologix import VERSION, Prologix
from sim_backend.emulators.wire_faults import WireFault
from tests.talker import Talker
from tests.waiting import until


class Host:
    """A host over one connection; it reads until there is something, and until END where there is an address."""

    def __init__(self, controller: Prologix) -> None:
        self.session, self.received = controller.session(), b""
        self.say("++auto 0\n++eos 2\n++eoi 1\n++eot_enable 1\n++eot_char 4\n++read_tmo_ms 3000\n")

    def say(self, data: str | bytes) -> bytes:
        self.received = b""
        self.session.feed(data.encode("latin-1") if isinstance(data, str) else data, self._hear)
        return self.received

    def _hear(self, data: bytes) -> None:
        self.received += data


@pytest.fixture
def controller():
    controller = Prologix({"24": Talker("a"), "9 96": Talker("b")})
    yield controller
    controller.close()


@pytest.fixture
def host(controller: Prologix) -> Host:
    return Host(controller)


def test_each_address_is_another_instrument_and_one_without_an_instrument_is_silent(host: Host) -> None:
    assert host.say("++addr 24\n*IDN?\n++read eoi\n") == b"EXAMPLE,T1,a,1\n\x04"
    assert host.say("++addr 9 96\n*IDN?\n++read eoi\n") == b"EXAMPLE,T1,b,1\n\x04"
    assert host.say("++read_tmo_ms 1\n++addr 5\n*IDN?\n++read eoi\n++spoll\n") == b""
    assert host.say("++addr\n") == b"5\r\n"


def test_the_address_is_the_same_for_all_connections(controller: Prologix, host: Host) -> None:
    host.say("++addr 24\n")
    assert Host(controller).say("++addr\n") == b"24\r\n"


def test_bytes_with_a_meaning_are_data_behind_an_escape(host: Host) -> None:
    assert host.say(b"++addr 24\n\x1b+1\x1b\n:LEVEL \x1b+2\x1b\r\x1b\n:LEVEL?\n++read eoi\n") == b"+2.000000E+00\n\x04"
    assert host.say("+:LEVEL?\n++read eoi\n") == b"+2.000000E+00\n\x04", "a plus without an escape is dropped"


def test_a_read_ends_at_a_byte_or_when_nothing_comes(host: Host) -> None:
    assert host.say("++addr 24\n*IDN?\n++read 44\n") == b"EXAMPLE,"
    assert host.say("++read_tmo_ms 1\n++read\n") == b"T1,a,1\n\x04"


def test_read_after_write_reads_by_itself_and_asks_who_has_nothing_to_say(host: Host) -> None:
    def is_asked_for_nothing() -> bool:  # a millisecond may be over before the instrument has taken the message
        host.say("++addr 24\n++auto 1\n++read_tmo_ms 1\n:LEVEL 1\n")
        return b"-420" in host.say("++auto 0\n++read_tmo_ms 3000\n:SYST:ERR?\n++read eoi\n")

    until(is_asked_for_nothing)


def test_serial_poll_clear_and_trigger_reach_the_instrument_that_is_addressed() -> None:
    instrument = Talker("a")
    controller = Prologix({"24": instrument})
    host = Host(controller)
    host.say("++addr 24\n:LEVEL?\n")
    until(lambda: host.say("++spoll\n") == b"16\r\n")
    assert host.say("++spoll 24\n") == b"16\r\n"
    host.say("++clr\n")
    assert host.say("++spoll\n") == b"0\r\n"
    host.say(":HANG\n")
    until(instrument.hangs.is_set)
    host.say("++clr\n++trg\n")
    until(lambda: len(instrument.errors))
    assert b"-211" in host.say(":SYST:ERR?\n++read eoi\n")
    controller.close()


def test_settings_are_told_and_nonsense_is_no_command(host: Host) -> None:
    assert host.say("++ver\n") == VERSION.encode() + b"\r\n"
    assert host.say("++read_tmo_ms\n++mode\n++eos\n") == b"3000\r\n1\r\n2\r\n"
    for nonsense in ("++read_tmo_ms 3001\n", "++eos x\n", "++frobnicate\n", "++\n", "++eot_char " + "9" * 40 + "\n"):
        assert host.say(nonsense) in (b"Unrecognized command\r\n", b"")
    assert host.say("++savecfg 0\n++ifc\n++rst\n" + "++x" + "y" * 100 + "\n") == b""


def test_an_endless_line_is_forgotten_and_the_next_one_is_taken(host: Host) -> None:
    host.say("++addr 24\n")
    assert host.say(b"x" * (MAX_MESSAGE + 2) + b"\n") == b""
    assert host.say("*IDN?\n++read eoi\n") == b"EXAMPLE,T1,a,1\n\x04"


def test_a_controller_that_was_turned_tells_the_other_address(controller: Prologix, host: Host) -> None:
    controller.faults.expect(WireFault.OTHER_ADDRESS)
    assert host.say("++addr 24\n++addr\n") == b"9 96\r\n"
    assert controller.faults.happened == [WireFault.OTHER_ADDRESS]


def test_a_controller_that_is_turned_behind_the_proof_carries_to_the_other_address(
    controller: Prologix, host: Host
) -> None:
    controller.faults.expect(WireFault.TURNED)
    assert host.say("++addr 24\n++addr\n:LEVEL 2\n++addr\n") == b"24\r\n9 96\r\n"
    assert host.say(":LEVEL?\n++read eoi\n") == b"+2.000000E+00\n\x04"
    assert host.say("++addr 24\n:LEVEL?\n++read eoi\n") == b"+0.000000E+00\n\x04"


def test_an_instrument_that_accepts_nothing_holds_up_the_bus_for_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prologix, "MESSAGE_WAIT", 0.01)
    monkeypatch.setattr(message_exchange, "MAX_MESSAGE", 100)
    instrument = Talker("a")
    controller = Prologix({"24": instrument})
    host = Host(controller)
    host.say("++addr 24\n:HANG\n")
    until(instrument.hangs.is_set)
    host.say((":LEVEL 1" + " " * 80 + "\n") * 3 + "++trg\n")
    assert host.say("++addr\n") == b"24\r\n"
    host.say("++clr\n")
    controller.close()
