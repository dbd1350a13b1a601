"""QCoDeS's driver of the Keysight B2200 as a matrix of ours, over the commands that it sends."""

import re
from importlib.util import find_spec

import pytest

from instruments.transport import BytesTransport
from labctl.core.driver import declared
from labctl.core.errors import InstrumentError
from labctl.testing import check_matrix
from labctl.testing.emulated import _entry

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(find_spec("qcodes") is None, reason="qcodes is not installed (extra qcodes)"),
]
B2200 = {"class": "qcodes.instrument_drivers.Keysight.KeysightB2200"}
MODES = {":CONN:RULE": "FREE", ":CONN:SEQ": "BBM", ":BIAS": "0", ":AGND": "0", ":COUP": "0"}


class Box:
    """Answers the commands of a B2200 with one card of 14 x 48 in auto mode, by QCoDeS's own simulation of it."""

    def __init__(self):
        self.closed, self.moves, self.errors, self.heard = set(), [], [], []
        self.modes, self.stuck = dict.fromkeys(MODES, "1") | {":CONN:RULE": "SROU", ":CONN:SEQ": "NSEQ"}, set()

    def handle(self, data):
        return b"".join(self.answer(line).encode() for line in data.decode().splitlines())

    def reconnect(self):
        pass

    def answer(self, line):
        self.heard.append(line)
        channels = set(re.findall(r"\d{5}", line))
        if line == "*IDN?":
            return "AGILENT TECHNOLOGIES,B2200A,0,A.01.00\n"
        if line == "*CLS":
            self.errors.clear()
        elif line == "*ESR?":
            return f"{32 * bool(self.errors)}\n"
        elif line == ":SYST:ERR?":
            return (self.errors.pop(0) if self.errors else "0, No Error") + "\n"
        elif line == ":CLOS:CARD? 0":
            return f"(@{','.join(sorted(self.closed))})\n"
        elif line == ":OPEN:CARD 0":
            self.move(set())
        elif line.startswith((":CLOS ", ":OPEN ")):
            self.move(self.closed | (channels - self.stuck) if line.startswith(":CLOS") else self.closed - channels)
        elif (mode := line.split("?")[0].split()[0]) in MODES:
            if "?" in line:
                return f"{self.modes[mode]}\n"
            self.modes[mode] = line.split(",")[1]
        else:
            self.errors.append("1, Command error")
        return ""

    def move(self, closed):
        self.closed = closed
        self.moves.append(frozenset(f"{int(c[1:3])}/{int(c[3:])}" for c in closed))


@pytest.fixture
def box():
    return Box()


@pytest.fixture
def make(box):
    entry = _entry("qcodes_matrix", B2200)
    return lambda: declared("qcodes_matrix")[0].make("matrix", entry.options, BytesTransport(box, "matrix"))


def test_it_keeps_the_contract_of_matrices(make, box):
    check_matrix(make, ["1/1", "1/48", "14/7"], "15/1", moves=lambda: box.moves)


def test_modes_that_change_how_relays_move_are_set_before_the_first_route_and_read_back(make, box):
    matrix = make()
    matrix.connect()
    assert box.heard == ["*IDN?", ":CLOS:CARD? 0"]
    matrix.permit = lambda: None
    matrix.route(["1/1"])
    assert box.modes == MODES
    box.answer = lambda line, answer=box.answer: "" if line.startswith(":CONN:SEQ 0") else answer(line)
    box.modes[":CONN:SEQ"] = "MBBR"
    other = make()
    other.permit = lambda: None
    with pytest.raises(InstrumentError, match=r"'connection_sequence\(\) == 'bbm'' is not true; no relay moved"):
        other.route(["2/2"])
    assert box.closed == {"00101"}


def test_a_relay_that_does_not_close_is_told(make, box):
    matrix = make()
    matrix.permit = lambda: None
    box.stuck = {"00202"}
    with pytest.raises(InstrumentError, match=r"\['1/1'\] are closed; \['1/1', '2/2'\] were expected"):
        matrix.route(["1/1", "2/2"])


def test_an_emergency_needs_no_object_and_believes_no_relay_that_is_told(make, box):
    box.closed = {"00101", "01448"}
    make().emergency_open()
    assert box.closed == set()
    assert box.heard == [":OPEN:CARD 0", ":CLOS:CARD? 0"]
    box.move = lambda closed: None
    box.closed = {"00101"}
    with pytest.raises(InstrumentError, match=r"relays are still closed: '\(@00101\)'"):
        make().emergency_open()


def test_rows_and_columns_that_it_lacks_are_refused_when_the_wiring_is_read():
    spell = _entry("qcodes_matrix", B2200).scheme
    assert spell("3", "12") == "3/12"
    with pytest.raises(ValueError, match="'15' is not a row; there are 1 to 14"):
        spell("15", "1")
    with pytest.raises(ValueError, match="'1-07' is not a column; there are 1 to 48"):
        spell("1", "1-07")
