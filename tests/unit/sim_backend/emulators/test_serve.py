"""Emulated instruments on sockets: raw and HiSLIP, through pyvisa-py and by hand, faults of the wire, and the end."""

import socket
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from sim_backend.emulators.clock import Clock, RealClock, VirtualClock
from sim_backend.emulators.k707 import K707
from sim_backend.emulators.k2600 import K2600
from sim_backend.emulators.link import ConnectionDropped, Fault
from sim_backend.emulators.resistors import ResistorBox
from sim_backend.emulators.serve import Server, serve
from sim_backend.emulators.world import Cables, World
from tests.waiting import PATIENCE, until

pyvisa = pytest.importorskip("pyvisa", reason="pyvisa is not installed")


def bench(clock: Clock | None = None) -> tuple[World, K2600, K707]:
    lines = {(0, "row", 0): "matrix.1-01", (0, "col", 0): "matrix.1-02"}
    wiring = Cables({"smu.smua": "matrix.A", "smu.smub": "matrix.B"}, lines)
    world = World(wiring, ResistorBox(np.full((1, 1, 1), 1e-4)), clock=clock or VirtualClock())
    return world, K2600("smu", "2602B", world), K707("matrix", "707B", world, cards={1: "7174A"})


@pytest.fixture
def served() -> Iterator[tuple[World, Server]]:
    world, smu, matrix = bench()
    with serve(smu, matrix) as server:
        yield world, server


@pytest.fixture(scope="module")
def manager() -> Iterator[object]:
    manager = pyvisa.ResourceManager("@py")
    yield manager
    manager.close()


def test_one_world_behind_several_sockets(served: tuple[World, Server], manager: object) -> None:
    world, server = served
    options = {"read_termination": "\n", "write_termination": "\n", "timeout": 1000 * PATIENCE}
    smu = manager.open_resource(server.resource("smu"), **options)
    matrix = manager.open_resource(server.resource("matrix"), **options)
    assert "2602B" in smu.query("*IDN?")
    assert matrix.query("channel.close('1A01,1B02') print(channel.getclose('allslots'))") == "1A01;1B02"
    reply = smu.query("smua.source.levelv = 0.2 smua.source.output = 1 smub.source.output = 1 print(smua.measure.i())")
    assert float(reply) == pytest.approx(2e-5)
    assert world.ledger.messages == 3
    smu.close()
    matrix.close()


def test_the_same_bytes_in_process_and_over_a_socket() -> None:
    talk = [
        b"*IDN?\n", b"print(smua.mea", b"sure.iv())\nx = = 1\nprint(errorqueue.next())\n",
        b"format.data = format.REAL64 printnumber(1, 2, 3)\n", b"loadandrunscript\r\nprint(1)\r\nendscript\r\n",
    ]  # fmt: skip
    _, smu, _ = bench()
    expected = b"".join(smu.handle(piece) for piece in talk)
    _, other, _ = bench()
    with serve(other) as server:
        port = int(server.resource("smu").split("::")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as wire:
            for piece in talk:
                wire.sendall(piece)
            reply = b""
            while len(reply) < len(expected):
                reply += wire.recv(4096)
    assert reply == expected
    assert other.world.now == smu.world.now


def test_hislip_query_status_byte_and_trigger(served: tuple[World, Server], manager: object) -> None:
    _, server = served
    smu = manager.open_resource(server.served[0].hislip, timeout=1000 * PATIENCE)
    assert "2602B" in smu.query("*IDN?")
    assert [smu.query(f"print({n})") for n in range(3)] == [f"{n:.5e}\n" for n in range(3)]
    assert smu.read_stb() & 4 == 0
    smu.write("x = = 1")
    assert smu.query("print(errorqueue.count)") == "1.00000e+00\n"
    assert smu.read_stb() & 4 == 4
    smu.write("print('unread')")
    assert smu.query("*OPC?").startswith(("unread", "1"))
    long = smu.query("print(string.rep('x', 100000))")
    assert len(long) == 100001
    smu.close()


def test_device_clear_ends_an_endless_script_and_leaves_the_output(manager: object) -> None:
    world = World(Cables({"smu.smua": "A"}, {}), ResistorBox(np.ones((1, 1, 1))))
    smu = K2600("smu", "2601B", world, instructions=10**15, seconds=60.0)
    with serve(smu) as server:
        wire = manager.open_resource(server.served[0].hislip, timeout=1000 * PATIENCE)
        wire.write("smua.source.levelv = 0.5 smua.source.output = 1")
        wire.write("smua.measure.nplc = 5 while true do end")
        until(lambda: smu.smus["smua"].set.nplc == 5)
        wire.clear()
        assert wire.query("print(smua.source.levelv, smua.source.output)") == "5.00000e-01\t1.00000e+00\n"
        assert "script aborted" in wire.query("print(errorqueue.next())")
        wire.close()


def test_hislip_refuses_strangers(served: tuple[World, Server]) -> None:
    _, server = served
    port = int(server.served[0].hislip.split(",")[1].split("::")[0])
    for opening, kind in ((b"GET / HTTP/1.1\r\n\r\n", 2), (b"HS" + bytes([17, 0]) + b"\0\0\0\x99" + bytes(8), 2)):
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as wire:
            wire.sendall(opening)
            answer = wire.recv(4096)
            assert answer[:3] == b"HS" + bytes([kind])


def test_closing_ends_every_thread_even_with_peers_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim_backend.emulators.serve.PATIENCE", PATIENCE)
    before = threading.active_count()
    _, smu, matrix = bench()
    server = serve(smu, matrix)
    wires = [
        socket.create_connection(("127.0.0.1", int(s.resource.split("::")[2])), timeout=PATIENCE) for s in server.served
    ]
    wires[0].sendall(b"print(")
    server.close()
    assert threading.active_count() == before
    assert wires[1].recv(10) == b""
    for wire in wires:
        wire.close()


def test_clients_at_the_same_time_get_their_own_replies(served: tuple[World, Server]) -> None:
    _, server = served
    port = int(server.resource("smu").split("::")[2])
    wrong: list[str] = []

    def client(number: int) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as wire, wire.makefile("rb") as lines:
            for k in range(50):
                wire.sendall(f"print({number * 100 + k})\n".encode())
                if float(lines.readline()) != number * 100 + k:
                    wrong.append(f"{number} {k}")

    threads = [threading.Thread(target=client, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_faults_of_the_wire_in_process() -> None:
    _, smu, _ = bench()
    session = smu.session()
    faults = {b"print(1)": Fault.MUTE, b"print(2)": Fault.LATE, b"x = 5": Fault.DEAF, b"x = 6": Fault.DROP}
    smu.fault = lambda line: faults.get(line, Fault.NONE)
    assert session.handle(b"print(1)\n") == b""
    assert session.handle(b"print(2)\n") == b""
    assert session.handle(b"print(3)\n") == b"2.00000e+00\n3.00000e+00\n"
    session.handle(b"x = 5\n")
    assert session.handle(b"print(x)\n") == b"nil\n"
    with pytest.raises(ConnectionDropped, match="smu closed"):
        session.handle(b"x = 6\n")
    assert smu.session().handle(b"print(x)\n") == b"6.00000e+00\n"


def test_a_dropped_connection_over_tcp(served: tuple[World, Server]) -> None:
    _, smu, _ = bench()
    smu.fault = lambda line: Fault.DROP if line == b"die" else Fault.NONE
    with serve(smu) as server:
        port = int(server.resource("smu").split("::")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as wire:
            wire.sendall(b"die\n")
            assert wire.recv(10) == b""
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as wire:
            wire.sendall(b"*OPC?\n")
            assert wire.recv(10) == b"1\n"


def test_an_endless_line_is_forgotten_and_refused() -> None:
    world, smu, _ = bench()
    session = smu.session()
    assert session.handle(b"x" * (1 << 20) + b"y") == b""
    assert world.ledger.refused == 1
    assert session.handle(b"print(1)\n") == b"1.00000e+00\n"


def test_closing_ends_an_endless_script_and_a_new_connection_starts_clean() -> None:
    _, smu, _ = bench()
    smu.lua.instructions, smu.lua.seconds = 10**15, 60.0
    server = serve(smu)
    port = int(server.resource("smu").split("::")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as wire:
        wire.sendall(b"*OPC?\nloadscript half\nprint(1)\n")
        assert wire.recv(10) == b"1\n"
        until(lambda: smu._script is not None)
    until(lambda: smu._script is None)
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as wire:
        wire.sendall(b"*OPC?\n")
        assert wire.recv(10) == b"1\n"
        wire.sendall(b"smua.measure.nplc = 7 while true do end\n")
        until(lambda: smu.smus["smua"].set.nplc == 7)
        server.close()
    assert smu.handle(b"for k = 1, 1e4 do x = k end print(x)\n") == b"1.00000e+04\n"


def test_a_long_script_of_one_instrument_holds_up_no_other_and_ends_when_the_server_does() -> None:
    _, smu, matrix = bench()
    smu.lua.instructions, smu.lua.seconds = 10**15, 60.0
    server = serve(smu, matrix)
    ports = {served.name: int(served.resource.split("::")[2]) for served in server.served}
    with (
        socket.create_connection(("127.0.0.1", ports[smu.name]), timeout=PATIENCE) as busy,
        socket.create_connection(("127.0.0.1", ports[matrix.name]), timeout=PATIENCE) as other,
    ):
        busy.sendall(b"smua.measure.nplc = 7 while true do pcall(string.find, string.rep('a', 40), pattern) end\n")
        until(lambda: smu.smus["smua"].set.nplc == 7)
        for _ in range(20):
            other.sendall(b"print(1)\n")
            assert other.recv(20) == b"1.00000e+00\n"
        server.close()
    assert smu.handle(b"print(1)\n") == b"1.00000e+00\n"


def test_a_script_that_waits_on_a_real_clock_lets_others_in_and_ends_when_the_server_does() -> None:
    world, smu, matrix = bench(clock=RealClock())
    server = serve(smu, matrix)
    ports = {served.name: int(served.resource.split("::")[2]) for served in server.served}
    with (
        socket.create_connection(("127.0.0.1", ports[smu.name]), timeout=PATIENCE) as busy,
        socket.create_connection(("127.0.0.1", ports[matrix.name]), timeout=PATIENCE) as other,
    ):
        busy.sendall(b"smua.measure.nplc = 7 delay(3600)\n")
        until(lambda: smu.smus["smua"].set.nplc == 7)
        other.sendall(b"print(1)\n")
        assert other.recv(20) == b"1.00000e+00\n"
        server.close()
    assert world.now < 3600.0


def test_a_host_that_never_reads_stops_its_own_messages_and_the_server_ends() -> None:
    _, smu, _ = bench()
    server = serve(smu)
    port = int(server.resource("smu").split("::")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as deaf:
        deaf.sendall(b"n = 0\n" + b"n = n + 1 print(string.rep('x', 4e6)) print(string.rep('y', 4e6))\n" * 50)
        until(lambda: smu.handle(b"print(n)\n") not in (b"nil\n", b"0.00000e+00\n"))
        server.close()
    assert float(smu.handle(b"print(n)\n")) <= 2


def test_one_client_too_many_is_hung_up_on_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim_backend.emulators.serve.MOST_CLIENTS", 2)
    _, smu, _ = bench()
    with serve(smu) as server:
        port = int(server.resource("smu").split("::")[2])
        wires = [socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) for _ in range(2)]
        for wire in wires:
            wire.sendall(b"*OPC?\n")
            assert wire.recv(10) == b"1\n"
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as more:
            assert more.recv(10) == b""
        wires[0].sendall(b"*OPC?\n")
        assert wires[0].recv(10) == b"1\n"
        for wire in wires:
            wire.close()
