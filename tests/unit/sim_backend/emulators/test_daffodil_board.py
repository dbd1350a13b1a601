"""The emulated Daffodil board, register by register: selection, modes, events, converters, and its audit."""

import random

import numpy as np
import pytest

from instruments.board_bench import BoardBench
from instruments.emergency import make_safe
from instruments.open_board import open_board
from instruments.transport import BytesTransport
from labctl.boards.daffodil import registers as reg
from labctl.boards.daffodil.engine import Engine
from labctl.core.errors import BenchError, LabError
from labctl.core.operations import Pulse, Sense
from sim_backend.die import SimDie
from sim_backend.emulators.context import EmulatorContext
from sim_backend.emulators.daffodil import emulate
from sim_backend.emulators.daffodil_analog import Analog
from sim_backend.emulators.daffodil_board import EmulatedBoard
from sim_backend.emulators.sentio_model import StationMap
from sim_backend.emulators.world import Cables, World
from tests.small_chip import chip, on_board

CODE = {"low": 1393, "zero": 2048, "high": 2458}
"""Codes of the chip's ground, of the reference, and of 0.5 V above it."""


@pytest.fixture
def board():
    """Return a board at rest on which every operation of its chip is kept, as `done`."""
    points = np.array([(100.0, 100e3)] * reg.LINES)
    analog = Analog(points, (0, 255), np.ones(reg.LINES), np.zeros(reg.LINES))
    board = EmulatedBoard(chip(32, 5, 4, ideal=True), analog, World(Cables({}, {}), lambda x, y, site: None))
    Engine(board).initialise()
    board.done, perform = [], board.chip.perform
    board.chip.perform = lambda operation: (board.done.append(operation), perform(operation))[1]
    board.audit.__init__()
    return board


def outputs(board, on=(), off=()):
    data = board.data
    for bit in on:
        data |= 1 << bit
    for bit in off:
        data &= ~(1 << bit)
    for word in range(reg.WORDS):
        board.write(reg.DATA + 4 * word, data >> 32 * word & 0xFFFFFFFF)


def set_dac(board, place, code, load=True):
    board.write_dac(*place, "raw", code)
    if load:
        outputs(board, off=[reg.LOAD_N[place[0]]])
        outputs(board, on=[reg.LOAD_N[place[0]]])


def event(board, clocks=40_000):
    board.write(reg.PULSE_LENGTH, clocks)
    board.write(reg.EVENT, 1)
    assert board.read(reg.EVENT) == 0


LINES = [*(reg.COLUMN + i for i in range(5)), *(reg.ROW + i for i in range(4))]


@pytest.mark.parametrize("kernel", range(32))
def test_a_kernel_is_selected_by_five_outputs(board, kernel):
    names = (reg.RA0, reg.RA1, reg.CA1, reg.ARRAY_LSB, reg.ARRAY_MSB)
    outputs(board, off=names)
    outputs(board, on=[*LINES, *(bit for k, bit in enumerate(names) if kernel >> k & 1), reg.WRITE_R])
    event(board)
    (operation,) = board.done
    assert operation.bias.kernel.tolist() == [kernel]


def test_in_an_event_of_reads_amplifiers_hold_the_rows_and_keep_their_outputs_until_it_ends(board):
    set_dac(board, reg.column_dac(2), CODE["high"])
    set_dac(board, reg.row_dac(1), CODE["low"])
    set_dac(board, reg.gate_dac(2), 4000)
    outputs(board, on=[*LINES, reg.WRITE_R])
    assert board.code(1) == CODE["zero"]
    event(board)
    (operation,) = board.done
    assert isinstance(operation, Sense)
    assert operation.bias.floating is None
    assert operation.bias.row.tolist() == [[0, 0, pytest.approx(410 * 5 / 4096), 0, 0]]
    assert not operation.bias.col.any()
    assert operation.bias.gate[0, 2] == pytest.approx(4000 * 5 / 4096 - 1.7)
    assert [board.code(row) < CODE["zero"] for row in range(5)] == [True] * 4 + [False]
    board.wait(40_001 * 46.875e-9)
    assert board.code(1) == CODE["zero"]


def test_a_line_that_is_not_enabled_floats_and_what_is_read_of_it_is_the_reference(board):
    set_dac(board, reg.column_dac(2), CODE["high"])
    set_dac(board, reg.gate_dac(2), 4000)
    outputs(board, on=[*LINES, reg.WRITE_R], off=[reg.ROW + 1, reg.COLUMN + 4])
    event(board)
    (operation,) = board.done
    assert np.flatnonzero(operation.bias.floating[0]).tolist() == [4, 5 + 1]
    assert board.code(1) == CODE["zero"]
    assert board.code(0) < CODE["zero"]


def test_an_event_in_which_both_are_driven_is_a_pulse_of_its_clocks(board):
    set_dac(board, reg.column_dac(2), CODE["high"])
    set_dac(board, reg.gate_dac(2), 4000)
    outputs(board, on=LINES, off=[reg.WRITE_R])
    event(board, 7)
    (operation,) = board.done
    assert isinstance(operation, Pulse)
    assert operation.width == pytest.approx(7 * 46.875e-9)


def test_a_level_is_put_out_when_it_is_loaded_and_gates_13_and_14_may_be_swapped(board):
    set_dac(board, reg.column_dac(2), CODE["high"], load=False)
    assert board.output(*reg.column_dac(2)) == 2.5
    outputs(board, off=[reg.LOAD_N[3]])
    assert board.output(*reg.column_dac(2)) == 2.5
    outputs(board, off=[reg.LOAD_N[2]])
    assert board.output(*reg.column_dac(2)) == pytest.approx(CODE["high"] * 5 / 4096)
    assert [reg.gate_dac(i, True)[1] for i in (12, 13, 14, 15)] == [12, 14, 13, 15]


def test_gain_and_offset_words_of_a_channel_are_those_of_its_data_sheet(board):
    place = reg.column_dac(0)
    board.write_dac(*place, "calibscale", 2046)
    board.write_dac(*place, "calibbias", -100)
    set_dac(board, place, 3000)
    assert board.output(*place) == pytest.approx((3000 * 2048 / 4096 - 100) * 5 / 4096)


@pytest.mark.parametrize(
    ("on", "off", "why"),
    [
        ([reg.WRITE_C], [], "not emulated"),
        ([reg.EXTERNAL_R], [], "not emulated"),
        ([], [reg.POWER[0]], "without power"),
        ([reg.POWER_DOWN], [], "without power"),
    ],
)
def test_what_is_not_emulated_is_refused_and_nothing_happens_to_the_chip(board, on, off, why):
    outputs(board, on=[*LINES, *on], off=off)
    event(board)
    assert board.done == []
    assert len(board.audit.refused) == 1
    assert why in board.audit.refused[0]


@pytest.mark.parametrize(
    "write", [("write_dac", 2, 3, "raw", 4096), ("write_dac", 2, 3, "raw", -1), ("write_pot", 0, 0, 256)]
)
def test_a_code_that_a_converter_does_not_have_is_an_error_of_the_device(board, write):
    name, *words = write
    with pytest.raises(OSError, match="expected"):
        getattr(board, name)(*words)


# -- the audit


def test_a_line_that_was_left_charged_counts_when_a_gate_opens_and_when_the_next_event_begins(board):
    outputs(board, on=LINES)
    set_dac(board, reg.column_dac(2), CODE["high"])
    event(board)
    assert board.audit.towards_p == 0.0, "every gate is closed"
    outputs(board, off=LINES)
    set_dac(board, reg.gate_dac(2), 4000)
    volts = pytest.approx(410 * 5 / 4096)
    assert board.audit.towards_p == volts
    assert board.audit.towards_ap == 0.0
    set_dac(board, reg.row_dac(0), CODE["low"])
    outputs(board, on=[reg.ROW + 0])
    event(board)
    assert board.audit.towards_p == pytest.approx((CODE["high"] - CODE["low"]) * 5 / 4096)
    assert board.audit.gate == pytest.approx(4000 * 5 / 4096 - 1.7)


def test_at_full_power_a_gate_that_opens_is_wholly_open_and_the_server_keeps_the_board_from_it(board):
    outputs(board, on=[reg.FULL_POWER])
    set_dac(board, reg.gate_dac(2), 2100)
    assert board.audit.gate == pytest.approx(3.3)
    Engine(board).initialise()
    assert not board.data >> reg.FULL_POWER & 1
    outputs(board, on=[reg.FULL_POWER])
    engine = Engine(board)
    engine.set_up(engine.settings)
    assert not board.data >> reg.FULL_POWER & 1


def test_supplied_gates_count_as_open(board):
    outputs(board, on=LINES)
    set_dac(board, reg.column_dac(2), CODE["high"])
    event(board)
    outputs(board, on=[reg.WRITE_G])
    event(board)
    assert board.audit.towards_p == pytest.approx(410 * 5 / 4096)
    assert board.audit.gate == pytest.approx(3.3)


# -- as an instrument


def test_a_bench_whose_die_is_no_chip_is_refused():
    context = EmulatorContext(World(Cables({}, {}), lambda x, y, site: None), StationMap(((0, 0),)), die=SimDie)
    with pytest.raises(BenchError, match="board drives integrated chips"):
        emulate("board", None, context)


def leave_line(server, rng):
    server.board.write_dac(*reg.column_dac(rng.randrange(reg.LINES)), name="raw", value=rng.randrange(1393, 4096))


def leave_gate(server, rng):
    server.board.write_dac(*reg.gate_dac(rng.randrange(reg.LINES)), name="raw", value=rng.randrange(1600, 4096))


def leave_enable(server, rng):
    bit = reg.ROW + rng.randrange(reg.LINES)
    word = reg.DATA + 4 * (bit // 32)
    server.board.write(word, server.board.read(word) | 1 << bit % 32)


def leave_busy(server, rng):
    server.leftovers()["busy"](rng)


@pytest.mark.parametrize("leave", [leave_line, leave_gate, leave_enable, leave_busy])
def test_however_it_was_left_it_is_refused_and_then_made_safe(leave):
    on = on_board(chip())
    bench = BoardBench.model_validate(
        {
            "name": "board",
            "body": {"driver": "daffodil", "resource": "TCPIP::192.0.2.60::5025::SOCKET", "patience": 1.0},
            "limits": {"v_towards_p": 1.2, "v_towards_ap": 1.2, "width": 1e-2, "compliance": 5e-3, "ramp_rate": 1e3},
        }
    )

    def connect(name, entry):
        return BytesTransport(on.server.session(), name, probe=entry.declaration.probe)

    leave(on.server, random.Random(5))
    with pytest.raises(LabError):
        open_board(bench, connect=connect)
    make_safe(bench, connect=connect)
    open_board(bench, connect=connect).close()
