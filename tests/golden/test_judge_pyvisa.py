"""pyvisa with pyvisa-py, unmodified, is the judge of the links: it knows nothing of this project.

Raw socket, HiSLIP, VXI-11, a serial line on a pseudo-terminal, and GPIB behind a Prologix controller, for which
pyvisa-py has a session of its own. It reads a serial line byte by byte, so a block is shorter there. Without root a
portmapper cannot be at port 111: the port that pyvisa-py asks is patched in the one test that asks it; elsewhere the
port of VXI-11 stands in the address, which pyvisa-py takes.
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from sim_backend.emulators.serial_port import HAS_TERMINALS
from sim_backend.emulators.serve import Bus, Server, Serving, Way
from tests.talker import SIZE, Talker, block
from tests.waiting import PATIENCE, until

pyvisa = pytest.importorskip("pyvisa", reason="pyvisa is not installed")
pytest.importorskip("serial", reason="pyserial is not installed (extra serial)")
pytestmark = pytest.mark.skipif(not HAS_TERMINALS, reason="no pseudo-terminals on this system")
EVERY = ["socket", "hislip", "vxi11", "serial", "gateway"]
CLEARED = ["hislip", "vxi11", "gateway"]
"""Ways of which the protocol has a device clear."""


@pytest.fixture(scope="module")
def manager() -> Iterator[Any]:
    manager = pyvisa.ResourceManager("@py")
    yield manager
    manager.close()


@pytest.fixture
def talker() -> Talker:
    return Talker()


@pytest.fixture
def server(talker: Talker) -> Iterator[Server]:
    serving = {"talker": Serving((Way.VXI11, Way.SERIAL))}
    with Server([talker], serving, [Bus({"talker": "24"})]) as server:
        yield server


class Opened:
    """Sessions with the instrument, by its ways."""

    def __init__(self, manager: Any, server: Server) -> None:
        self._manager, self._served, self.sessions = manager, server.served[0], list[Any]()

    def __call__(self, way: str) -> Any:
        settings = {"timeout": 1000 * PATIENCE, "read_termination": "\n", "write_termination": "\n"}
        resource = getattr(self._served, way)
        if way == "gateway":
            port = re.search(r"::(\d+)::SOCKET", resource)
            assert port is not None
            self._open(f"PRLGX-TCPIP0::127.0.0.1::{port[1]}::INTFC", timeout=1000 * PATIENCE)
            return self._open("GPIB0::24::INSTR", write_termination="\n")
        if way in ("hislip", "vxi11"):
            settings["read_termination"] = None  # END ends a response, and a block has line feeds
        return self._open(resource, **settings)

    def board(self) -> Any:
        """Return the session with the controller, whose timeout is that of its instruments."""
        return self.sessions[0]

    def _open(self, resource: str, **settings: Any) -> Any:
        self.sessions.append(self._manager.open_resource(resource, **settings))
        return self.sessions[-1]


@pytest.fixture
def opened(server: Server, manager: Any) -> Iterator[Opened]:
    opened = Opened(manager, server)
    yield opened
    for session in reversed(opened.sessions):
        session.close()


@pytest.mark.parametrize("way", EVERY)
def test_a_query_is_answered(way: str, opened: Opened) -> None:
    instrument = opened(way)
    assert instrument.query("*IDN?").strip() == "EXAMPLE,T1,talker,1"
    instrument.write(":LEVEL 1.5")
    assert float(instrument.query(":LEVEL?")) == 1.5


@pytest.mark.parametrize("way", EVERY)
def test_a_block_of_more_than_a_megabyte_comes_byte_for_byte(way: str, opened: Opened) -> None:
    instrument = opened(way)
    size = SIZE if way != "serial" else 20_000
    wanted = block(size)
    instrument.write(f":BLOCK? {size}")
    data = b""
    while len(data) < len(wanted):
        data += instrument.read_bytes(1) if way == "serial" else instrument.read_raw()
    assert data == wanted


@pytest.mark.parametrize("way", EVERY)
def test_what_is_not_answered_is_a_timeout_and_the_next_query_is_answered(way: str, opened: Opened) -> None:
    instrument = opened(way)
    waits = instrument if way != "gateway" else opened.board()
    instrument.write(":LEVEL 1")
    waits.timeout = 50
    with pytest.raises((pyvisa.errors.VisaIOError, TimeoutError)):
        instrument.read()
    waits.timeout = 1000 * PATIENCE
    assert instrument.query("*IDN?").strip() == "EXAMPLE,T1,talker,1"


@pytest.mark.parametrize("way", CLEARED)
def test_a_device_clear_ends_what_hangs_and_leaves_the_settings(way: str, opened: Opened, talker: Talker) -> None:
    instrument = opened(way)
    instrument.write(":LEVEL 2;:HANG")
    until(talker.hangs.is_set)
    instrument.clear()
    assert float(instrument.query(":LEVEL?")) == 2


@pytest.mark.parametrize("way", CLEARED)
def test_the_status_byte_has_errors_and_a_message_that_waits(way: str, opened: Opened) -> None:
    instrument = opened(way)
    assert instrument.query("*IDN?")
    assert instrument.read_stb() == 0
    instrument.write(":NONSENSE")
    instrument.query(":LEVEL?")
    assert instrument.read_stb() == 4
    assert "-113" in instrument.query(":SYST:ERR?")
    instrument.write(":LEVEL?")
    if way != "gateway":  # its session reads in the place of the poll while a response is expected
        until(lambda: instrument.read_stb() == 16)
        instrument.read()
        assert instrument.read_stb() == 0


def test_a_portmapper_tells_the_port_of_vxi11(server: Server, manager: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyvisa_py.protocols.rpc.PMAP_PORT", server.served[0].portmapper)
    instrument = manager.open_resource("TCPIP::127.0.0.1::inst0::INSTR", timeout=1000 * PATIENCE)
    assert instrument.query("*IDN?").strip() == "EXAMPLE,T1,talker,1"
    instrument.close()


def test_a_query_that_is_interrupted_is_told_on_hislip(opened: Opened) -> None:
    instrument = opened("hislip")
    instrument.write("*IDN?")
    until(lambda: instrument.read_stb() == 16)
    assert float(instrument.query(":LEVEL?")) == 0
    assert "-410" in instrument.query(":SYST:ERR?")


def test_the_overlapped_mode_is_granted_and_interrupts_nothing(opened: Opened, talker: Talker) -> None:
    instrument = opened("hislip")
    client = instrument.visalib.sessions[instrument.session].interface
    client.async_device_clear()
    assert client.device_clear_complete(1) == 1
    client._message_id = 0xFFFF_FF00
    client.send(b"*IDN?\n")
    client.send(b":LEVEL?\n")
    client.last_message_id = 0xFFFF_FF00
    assert client.receive(100) == b"EXAMPLE,T1,talker,1\n"
    assert len(talker.errors) == 0


@pytest.mark.parametrize("way", ["vxi11", "gateway"])
def test_a_trigger_arrives(way: str, opened: Opened, talker: Talker) -> None:
    instrument = opened(way)
    instrument.assert_trigger()
    until(lambda: len(talker.errors) == 1)  # -211: nothing waits for it
    assert "-211" in instrument.query(":SYST:ERR?")
