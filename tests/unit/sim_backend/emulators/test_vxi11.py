"""VXI-11 by hand: records, calls, links, locks, the channel that aborts, strangers. Its judge is pyvisa-py's client."""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from sim_backend.emulators import vxi11
from sim_backend.emulators.rpc import Reader, answer, opaque, words
from sim_backend.emulators.serve import Server, Serving, Way
from tests.received import exactly
from tests.talker import Talker
from tests.waiting import PATIENCE, until

DONE = bytes(12)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server([Talker()], {"talker": Serving((Way.VXI11,), Way.VXI11)}) as server:
        yield server


def port(server: Server) -> int:
    return int(server.resource("talker").split(",")[1].split("::")[0])


class Client:
    """A client of the core channel, or of the one that aborts."""

    def __init__(self, port: int, program: int = vxi11.CORE) -> None:
        self.wire, self.program, self.number = socket.create_connection(("127.0.0.1", port), PATIENCE), program, 0

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *error: object) -> None:
        self.wire.close()

    def call(self, procedure: int, arguments: bytes = b"", program: int | None = None, version: int = 1) -> Reader:
        """Return the reply behind its header, with the state of acceptance first."""
        self.number += 1
        record = words(self.number, 0, 2, self.program if program is None else program, version, procedure, 0, 0, 0, 0)
        record += arguments
        self.wire.sendall(words(1 << 31 | len(record)) + record)
        size = struct.unpack(">I", exactly(self.wire, 4))[0] & 0x7FFFFFFF
        reply = Reader(exactly(self.wire, size))
        assert [reply.word() for _ in range(5)] == [self.number, 1, 0, 0, 0]
        return reply

    def link(self, name: bytes = b"inst0", lock: int = 0) -> tuple[int, int, int]:
        """Return error, link, and port of the channel that aborts."""
        reply = self.call(vxi11.CREATE_LINK, words(7, lock, 10) + opaque(name))
        assert reply.word() == 0
        return reply.word(), reply.signed(), reply.word()

    def write(self, link: int, data: bytes, flags: int = vxi11.END) -> int:
        """Return the error."""
        reply = self.call(vxi11.WRITE, words(link, 1000, 10, flags) + opaque(data))
        assert reply.word() == 0
        return reply.word()

    def read(self, link: int, size: int = 1000, seconds: float = PATIENCE, flags: int = 0, stop: int = 0) -> tuple:
        """Return error, reason and data."""
        reply = self.call(vxi11.READ, words(link, size, int(1000 * seconds), 10, flags, stop))
        assert reply.word() == 0
        return reply.word(), reply.word(), reply.opaque(1 << 20)

    def error(self, procedure: int, arguments: bytes) -> int:
        reply = self.call(procedure, arguments)
        assert reply.word() == 0
        return reply.word()


def test_a_message_in_pieces_and_a_response_in_pieces(server: Server) -> None:
    with Client(port(server)) as client:
        _, link, _ = client.link()
        assert client.write(link, b"*ID", 0) == 0
        assert client.write(link, b"N?") == 0
        assert client.read(link, 7) == (0, vxi11.REQUESTED, b"EXAMPLE")
        assert client.read(link, 100, flags=vxi11.TERMINATED, stop=ord(",")) == (0, vxi11.CHARACTER, b",")
        assert client.read(link) == (0, vxi11.ENDED, b"T1,talker,1\n")


def test_nothing_to_say_is_a_timeout_and_an_error_of_the_instrument(server: Server) -> None:
    with Client(port(server)) as client:
        _, link, _ = client.link()
        assert client.read(link, seconds=0)[0] == vxi11.TIMED_OUT
        client.write(link, b":SYST:ERR?\n")
        assert b"-420" in client.read(link)[2]


def test_the_channel_that_aborts_ends_a_read(server: Server) -> None:
    with Client(port(server)) as client:
        _, link, abort = client.link()
        results = []
        client.write(link, b":HANG\n")
        reading = threading.Thread(target=lambda: results.append(client.read(link)))
        reading.start()
        with Client(abort, vxi11.ASYNC) as second:
            assert second.error(vxi11.ABORT, words(link + 1)) == vxi11.NO_LINK
            until(lambda: second.error(vxi11.ABORT, words(link)) or not reading.is_alive())
        reading.join()
        assert results[0][0] == vxi11.ABORTED
        assert client.error(vxi11.CLEAR, words(link, 0, 10, 1000)) == 0


def test_a_lock_keeps_others_out_until_it_is_given_back_or_its_client_is_gone(server: Server) -> None:
    with Client(port(server)) as other:
        _, theirs, _ = other.link()
        with Client(port(server)) as holder:
            _, own, _ = holder.link(lock=1)
            assert other.write(theirs, b":LEVEL 1\n") == vxi11.LOCKED
            assert other.link(lock=1)[0] == vxi11.LOCKED
            assert other.error(vxi11.UNLOCK, words(theirs)) == vxi11.NOT_HELD
            assert holder.error(vxi11.UNLOCK, words(own)) == 0
            assert other.write(theirs, b":LEVEL 1\n") == 0
            assert holder.error(vxi11.LOCK, words(own, 0, 0)) == 0
        until(lambda: other.write(theirs, b":LEVEL 1\n") == 0)


def test_a_server_that_closes_ends_reads_that_wait_and_every_thread() -> None:
    before = threading.active_count()
    with Server([Talker()], {"talker": Serving((Way.VXI11,), Way.VXI11)}) as server, Client(port(server)) as client:
        _, link, _ = client.link()
        client.write(link, b":LEVEL 1\n")
        client.call(vxi11.READ_STB, words(link, 0, 0, 0))
        waiting = threading.Thread(target=_read, args=(client, link))
        waiting.start()
        server.close()
        waiting.join()
    assert threading.active_count() == before


def _read(client: Client, link: int) -> None:
    with contextlib.suppress(AssertionError, ConnectionError):
        client.read(link)


def test_what_is_no_link_no_device_and_not_supported_has_its_error(server: Server) -> None:
    with Client(port(server)) as client, Client(port(server)) as stranger:
        assert client.link(b"inst7")[0] == vxi11.NOT_ACCESSIBLE
        _, link, _ = client.link()
        assert stranger.write(link, b":LEVEL 1\n") == vxi11.NO_LINK, "a link belongs to its connection"
        assert stranger.read(link)[0] == vxi11.NO_LINK
        for procedure in (vxi11.READ_STB, vxi11.TRIGGER, vxi11.CLEAR):
            assert stranger.error(procedure, words(link, 0, 10, 10)) == vxi11.NO_LINK
        for procedure in (vxi11.LOCK, vxi11.UNLOCK, vxi11.DESTROY_LINK):
            assert stranger.error(procedure, words(link, 0, 0)) == vxi11.NO_LINK
        for procedure in (vxi11.ENABLE_SRQ, vxi11.DO_COMMAND, vxi11.CREATE_INTERRUPT, vxi11.DESTROY_INTERRUPT):
            assert client.error(procedure, words(link)) == vxi11.NOT_SUPPORTED
        assert client.error(vxi11.REMOTE, words(link, 0, 10, 10)) == 0
        assert client.error(vxi11.DESTROY_LINK, words(link)) == 0
        assert client.write(link, b":LEVEL 1\n") == vxi11.NO_LINK
        errors = [client.link()[0] for _ in range(vxi11.MOST_LINKS + 1)]
        assert errors == [0] * vxi11.MOST_LINKS + [vxi11.NO_RESOURCES]


def test_calls_that_no_program_answers_have_the_answer_of_the_protocol(server: Server) -> None:
    with Client(port(server)) as client:
        assert client.call(0).word() == 0
        assert client.call(1, program=99).word() == 1
        reply = client.call(1, version=9)
        assert [reply.word() for _ in range(3)] == [2, 1, 1]
        assert client.call(77).word() == 3
        assert client.call(vxi11.CREATE_LINK, b"\0\0").word() == 4
        assert client.call(vxi11.CREATE_LINK, words(1, 0, 0, 1 << 30)).word() == 4
        assert client.link()[0] == 0, "it goes on"
    denied = Reader(answer(words(5, 0, 3, 0, 0, 0, 0, 0, 0, 0), {}))
    assert [denied.word() for _ in range(6)] == [5, 1, 1, 0, 2, 2]


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n", words(1 << 31 | 0x7FFFFFFF), words(1 << 31 | 8) + bytes(8), words(0),
        words(1 << 31 | 8) + words(1, 1), words(1 << 31 | 40) + words(1, 0, 2, vxi11.CORE, 1, 10, 0, 1 << 20, 0, 0),
    ],
)  # fmt: skip
def test_who_sends_garbage_is_hung_up_on_and_harms_nobody(server: Server, garbage: bytes) -> None:
    with Client(port(server)) as client:
        _, link, _ = client.link()
        with socket.create_connection(("127.0.0.1", port(server)), PATIENCE) as stranger:
            stranger.sendall(garbage)
            with contextlib.suppress(ConnectionResetError):
                assert stranger.recv(10) == b""
        client.write(link, b"*IDN?\n")
        assert client.read(link)[2] == b"EXAMPLE,T1,talker,1\n"
