"""HiSLIP by hand: strangers, sizes, sessions that are full or taken. Its judge is pyvisa-py's client."""

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from sim_backend.emulators import hislip
from sim_backend.emulators.hislip import HEADER, HislipServer
from sim_backend.emulators.serve import Server
from sim_backend.emulators.wire_faults import WireFault
from tests.received import exactly
from tests.talker import Talker, block
from tests.waiting import PATIENCE, until


@pytest.fixture
def server() -> Iterator[Server]:
    with Server([Talker()]) as server:
        yield server


class Channel:
    """One connection."""

    def __init__(self, server: Server) -> None:
        port = int(server.served[0].hislip.split(",")[1].split("::")[0])
        self.wire = socket.create_connection(("127.0.0.1", port), PATIENCE)

    def __enter__(self) -> "Channel":
        return self

    def __exit__(self, *error: object) -> None:
        self.wire.close()

    def send(self, kind: int, control: int = 0, parameter: int = 0, payload: bytes = b"") -> None:
        self.wire.sendall(HEADER.pack(b"HS", kind, control, parameter, len(payload)) + payload)

    def receive(self) -> tuple[int, int, int, bytes]:
        """Return type, control code, parameter and payload."""
        _, kind, control, parameter, size = HEADER.unpack(exactly(self.wire, HEADER.size))
        return kind, control, parameter, exactly(self.wire, size)

    def begin(self) -> int:
        """Return the number of a new session."""
        self.send(hislip.INITIALIZE, 0, 0x0100 << 16, b"hislip0")
        kind, control, parameter, _ = self.receive()
        assert (kind, control, parameter >> 16) == (hislip.INITIALIZE_RESPONSE, 0, 0x0100)
        return parameter & 0xFFFF


def test_a_response_comes_in_messages_that_the_client_takes_with_the_number_of_its_own(server: Server) -> None:
    with Channel(server) as first, Channel(server) as second:
        second.send(hislip.ASYNC_INITIALIZE, 0, first.begin())
        assert second.receive()[0] == hislip.ASYNC_INITIALIZE_RESPONSE
        second.send(hislip.MAX_SIZE, 0, 0, struct.pack("!Q", 300))
        assert second.receive()[3] == struct.pack("!Q", hislip.LARGEST)
        first.send(hislip.DATA, 0, 8, b":BLOCK?")
        first.send(hislip.DATA_END, 0, 10, b" 1000")
        messages = [first.receive() for _ in range(4)]
        assert [kind for kind, *_ in messages] == [hislip.DATA] * 3 + [hislip.DATA_END]
        assert {number for _, _, number, _ in messages} == {10}
        assert max(len(payload) for *_, payload in messages) == 300 - HEADER.size
        assert b"".join(payload for *_, payload in messages) == block(1000)


def test_who_interrupts_is_told_on_both_channels(server: Server) -> None:
    with Channel(server) as first, Channel(server) as second:
        second.send(hislip.ASYNC_INITIALIZE, 0, first.begin())
        second.receive()
        first.send(hislip.DATA_END, 0, 2, b"*IDN?\n")
        assert first.receive()[0] == hislip.DATA_END
        first.send(hislip.DATA_END, hislip.RMT, 4, b"*IDN?\n")
        assert first.receive()[0] == hislip.DATA_END
        first.send(hislip.DATA_END, 0, 6, b":LEVEL?\n")
        assert first.receive()[:3] == (hislip.INTERRUPTED, 0, 6)
        assert first.receive()[3] == b"+0.000000E+00\n"
        assert second.receive()[:3] == (hislip.ASYNC_INTERRUPTED, 0, 6)


def test_a_message_that_is_too_large_is_passed_over(server: Server) -> None:
    with Channel(server) as first:
        first.begin()
        first.send(hislip.DATA_END, 0, 2, bytes(hislip.LARGEST + 1))
        assert first.receive()[:2] == (hislip.ERROR, hislip.TOO_LARGE)
        first.send(99)
        assert first.receive()[:2] == (hislip.ERROR, hislip.UNKNOWN_TYPE)
        first.send(hislip.DATA_END, 0, 4, b"*IDN?\n")
        assert first.receive()[3] == b"EXAMPLE,T1,talker,1\n"


def test_strangers_get_an_error_and_harm_no_session(server: Server) -> None:
    with Channel(server) as first, Channel(server) as second:
        number = first.begin()
        second.send(hislip.ASYNC_INITIALIZE, 0, number)
        second.receive()
        openings = [
            (hislip.ASYNC_INITIALIZE, number, b""), (hislip.ASYNC_INITIALIZE, 70000, b""), (hislip.DATA, 0, b"*RST\n"),
            (hislip.INITIALIZE, 0, b"hislip9"),
        ]  # fmt: skip
        for kind, parameter, payload in openings:
            with Channel(server) as stranger:
                stranger.send(kind, 0, parameter, payload)
                assert stranger.receive()[:2] == (hislip.FATAL, hislip.BAD_INITIALIZATION)
        first.send(hislip.DATA_END, 0, 2, b"*IDN?\n")
        assert first.receive()[3] == b"EXAMPLE,T1,talker,1\n"


def test_more_sessions_than_there_are_are_refused(server: Server) -> None:
    with ExitStack() as stack:
        for _ in range(hislip.MOST_LINKS):
            stack.enter_context(Channel(server)).begin()
        with Channel(server) as more:
            more.send(hislip.INITIALIZE, 0, 0x0100 << 16, b"hislip0")
            assert more.receive()[:2] == (hislip.FATAL, hislip.TOO_MANY)


def test_locks_status_remote_and_clear_are_answered_in_their_order(server: Server) -> None:
    with Channel(server) as first, Channel(server) as second:
        second.send(hislip.ASYNC_INITIALIZE, 0, first.begin())
        second.receive()
        for kind, answer in (
            (hislip.LOCK, hislip.LOCK_RESPONSE), (hislip.LOCK_INFO, hislip.LOCK_INFO_RESPONSE),
            (hislip.REMOTE, hislip.REMOTE_RESPONSE), (hislip.STATUS, hislip.STATUS_RESPONSE), (99, hislip.ERROR),
            (hislip.MAX_SIZE, hislip.ERROR), (hislip.ASYNC_CLEAR, hislip.ASYNC_CLEAR_ACKNOWLEDGE),
        ):  # fmt: skip
            second.send(kind)
            assert second.receive()[0] == answer
        first.send(hislip.DATA_END, 0, 2, b":LEVEL 3\n")
        first.send(hislip.CLEAR_COMPLETE, hislip.OVERLAP)
        assert first.receive()[:2] == (hislip.CLEAR_ACKNOWLEDGE, hislip.OVERLAP)
        first.send(hislip.DATA_END, 0, 4, b":LEVEL?\n")
        assert first.receive()[3] == b"+0.000000E+00\n", "what came while it was cleared was dropped"


def test_half_a_message_is_half_a_message(server: Server) -> None:
    with Channel(server) as first:
        first.begin()
        server.faults["talker"].expect(WireFault.HALF)
        first.send(hislip.DATA_END, 0, 2, b"*IDN?\n")
        assert len(exactly(first.wire, 18)) == 18
        until(lambda: server.faults["talker"].happened == [WireFault.HALF])
        first.wire.settimeout(0.05)
        with pytest.raises(TimeoutError):
            first.wire.recv(1)


def test_a_client_that_is_gone_before_it_was_answered_keeps_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    served = HislipServer(Talker())

    def gone(connection: socket.socket, data: bytes, *rest: object) -> None:
        raise ConnectionResetError

    monkeypatch.setattr(hislip, "send_all", gone)
    for _ in range(2):
        client, connection = socket.socketpair()
        with client, connection:
            client.sendall(HEADER.pack(b"HS", hislip.INITIALIZE, 0, 0x0100 << 16, 7) + b"hislip0")
            served.serve(connection, lambda: False)
    assert served._links == {}
