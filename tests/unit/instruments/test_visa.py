"""The wire to a bench, against sockets that misbehave the way real ones do.

An answer is waited for as long as it takes; only who never answers is given a short deadline.
"""

import contextlib
import re
import socket
import threading

import pytest

from instruments import visa
from instruments.transport import BytesTransport, Deadlines
from instruments.visa import VisaTransport
from labctl.core.errors import BenchError, InstrumentError, LinkTimeoutError
from labctl.core.transport import Transport, Wait
from tests.waiting import PATIENCE

SHORT = Deadlines(setting=0.4, query=0.4, measure=0.4, relay=0.4, motion=0.4)
LONG = Deadlines(setting=PATIENCE, query=PATIENCE, measure=PATIENCE, relay=PATIENCE, motion=PATIENCE)
IDN = b"Keithley Instruments Inc., Model 2602B, 1, 3\n"


class Server:
    """Answers lines on 127.0.0.1; `answer` gets the line and its number and returns bytes, or None to hang up."""

    def __init__(self, answer):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.answer, self.lines, self.chunks, self.connections = answer, [], [], 0
        self._live = []
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def resource(self):
        return f"TCPIP::127.0.0.1::{self.listener.getsockname()[1]}::SOCKET"

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections += 1
                self._live.append(connection)
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection):
        pending = b""
        with contextlib.suppress(OSError), connection:
            while data := connection.recv(4096):
                self.chunks.append(data)
                pending += data
                while b"\n" in pending:
                    line, _, pending = pending.partition(b"\n")
                    self.lines.append(line.decode())
                    reply = IDN if line == b"*IDN?" else self.answer(line.decode(), len(self.lines))
                    if reply is None:
                        return
                    connection.sendall(reply)

    def close(self):
        self.listener.close()
        for connection in self._live:
            connection.close()


@pytest.fixture
def serve():
    made = []

    def start(answer=lambda line, number: line.encode() + b"\n", **arguments):
        server = Server(answer)
        made.append(server)
        transport = VisaTransport(server.resource, deadlines=LONG, **arguments)
        made.append(transport)
        transport.resync()
        return server, transport

    yield start
    for thing in reversed(made):
        thing.close()


def test_questions_are_answered_and_the_probe_was_asked_first(serve):
    server, transport = serve()
    assert isinstance(transport, Transport)
    assert transport.query("one") == "one"
    assert server.lines == ["*IDN?", "one"]


def test_nagle_is_off_and_a_message_of_several_lines_leaves_in_one_piece(serve):
    server, transport = serve(lambda line, number: b"" if line == "set" else b"0\n")
    assert transport.unbuffered
    assert transport.query("set\nask?") == "0"
    assert b"set\nask?\n" in server.chunks


def test_lines_are_collected_up_to_the_last_one_wanted(serve):
    _, transport = serve(lambda line, number: b"1\n2\r\ndone\n")
    assert transport.converse("go", lambda line: line == "done") == ["1", "2", "done"]


def test_a_reply_that_comes_in_pieces_is_one_line(serve):
    _, transport = serve(lambda line, number: b"first half" if line == "a" else b" second half\n")
    assert transport.query("a\nb") == "first half second half"


def test_a_port_where_nobody_listens_is_known_at_the_first_use():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(InstrumentError, match=f"{port}"):
        VisaTransport(f"TCPIP::127.0.0.1::{port}::SOCKET", deadlines=SHORT, open_timeout=0.5).query("x")


def test_somebody_who_listens_and_says_nothing_is_found_when_opening():
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(LinkTimeoutError, match=re.escape("*IDN?")):
        VisaTransport(f"TCPIP::127.0.0.1::{mute.getsockname()[1]}::SOCKET", deadlines=SHORT).resync()


@pytest.mark.parametrize("address", ["smu on the left", "192.0.2.11", "TCPIP::"])
def test_an_address_that_is_none_is_an_error_of_the_bench_file(address):
    with pytest.raises(
        BenchError, match=r"not an address that VISA can open: .*; expected one such as TCPIP"
    ) as refused:
        VisaTransport(address, deadlines=SHORT).write("x")
    assert "termination" not in str(refused.value), "which settings it does not take says nothing of the address"


def test_a_library_that_is_missing_for_an_interface_is_not_put_down_to_the_address(monkeypatch):
    class Manager:
        session = 1

        def open_resource(self, *args, **settings):
            raise ValueError("Please install\nlinux-gpib")

    monkeypatch.setattr("instruments.visa._manager", lambda backend: Manager())
    with pytest.raises(BenchError, match=r"^VISA cannot open 'GPIB0::22::INSTR': Please install linux-gpib$"):
        VisaTransport("GPIB0::22::INSTR", deadlines=SHORT).write("x")


def test_a_peer_that_hangs_up_is_gone_at_once_and_not_after_the_deadline(serve):
    _, transport = serve(lambda line, number: None if line == "bye" else b"ok\n")
    with pytest.raises(InstrumentError, match="gone") as caught:
        transport.query("bye")
    assert not isinstance(caught.value, LinkTimeoutError)
    assert transport.query("back") == "ok"


def test_a_peer_that_hung_up_between_two_questions_is_noticed_before_the_next(serve):
    server, transport = serve()
    for connection in server._live:
        connection.shutdown(socket.SHUT_RDWR)
    assert transport.query("again") == "again"
    assert server.connections == 2


def test_a_late_reply_never_answers_the_next_question(serve):
    late = threading.Event()

    def answer(line, number):
        if line == "slow":
            late.wait()
            return b"late\n"
        return line.encode() + b"\n"

    server, transport = serve(answer)
    transport.deadlines = SHORT
    with pytest.raises(LinkTimeoutError, match="slow"):
        transport.query("slow")
    late.set()
    transport.deadlines = LONG
    assert [transport.query(f"q{k}") for k in range(3)] == ["q0", "q1", "q2"]
    assert server.lines.count("slow") == 1


def test_a_reply_that_nobody_asked_for_is_thrown_away(serve):
    _, transport = serve(lambda line, number: b"1\n2\n" if line == "two" else line.encode() + b"\n")
    assert transport.query("two") == "1"
    assert transport.query("next") == "next"


def test_an_interrupted_question_makes_the_next_one_start_afresh(serve, monkeypatch):
    server, transport = serve()

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(transport, "_receive", interrupt)
        with pytest.raises(KeyboardInterrupt):
            transport.query("interrupted")
    assert transport.query("after") == "after"
    assert server.connections == 2


def test_extra_time_is_added_to_the_deadline_of_the_class(serve):
    hold = threading.Event()

    def answer(line, number):
        hold.wait(0.6)
        return b"done\n"

    _, transport = serve(answer)
    transport.deadlines = SHORT
    assert transport.query("measure", wait=Wait.MEASURE, extra=PATIENCE) == "done"


def test_every_byte_is_logged_on_request(serve):
    heard = []
    _, transport = serve(log=lambda direction, data: heard.append((direction, data)))
    transport.query("a\tb")
    assert heard[-2:] == [(">", b"a\tb\n"), ("<", b"a\tb\n")]
    assert ("<", IDN) in heard


def test_two_threads_each_get_their_own_answers(serve):
    _, transport = serve()
    wrong = []

    def ask(who):
        for k in range(100):
            if transport.query(f"{who}{k}") != f"{who}{k}":
                wrong.append((who, k))

    threads = [threading.Thread(target=ask, args=(who,)) for who in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_one_manager_serves_all_and_survives_the_closing_of_a_transport(serve):
    _, first = serve()
    _, second = serve()
    first.close()
    first.close()
    assert second.query("still here") == "still here"
    assert list(visa._managers) == ["@py"]


def test_a_manager_that_somebody_else_closed_is_made_anew(serve):
    _, transport = serve()
    visa._manager("@py").close()
    assert transport.query("after") == "after"


def test_a_closed_transport_opens_again_when_it_is_used(serve):
    server, transport = serve()
    transport.close()
    assert transport.query("x") == "x"
    assert server.connections == 2


class Echo:
    def __init__(self):
        self.cleared = 0

    def handle(self, data):
        if b"drop" in data:
            raise ConnectionResetError("dropped")
        return b"" if b"mute" in data else data

    def clear(self):
        self.cleared += 1


def test_an_instrument_in_this_process_is_held_to_the_same_rules():
    echo = Echo()
    transport = BytesTransport(echo, "echo")
    assert transport.query("a") == "a"
    with pytest.raises(LinkTimeoutError, match="echo did not answer 'mute'"):
        transport.query("mute")
    assert transport.query("b") == "b"
    assert echo.cleared == 1
    transport.write("unread")
    assert transport.query("c") == "c"
    with pytest.raises(InstrumentError, match="gone: dropped"):
        transport.query("drop")
