"""The public library of a Daffodil board's makers, unmodified, drives the emulated board.

Its folder is in DAFFODIL_LIB: a clone of https://github.com/usnistgov/daffodil-lib. Nothing of it is part of this
project. Its C library is compiled as it is; its class for the physical board runs on files in a temporary folder.
"""

import ctypes
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from instruments.daffodil_library import DaffodilLibrary, Options
from labctl.boards.daffodil import registers as reg
from labctl.boards.daffodil.engine import Engine
from labctl.boards.daffodil.patterns import KEEP, READ, Pattern
from labctl.core.operations import Pulse
from sim_backend.emulators.daffodil_analog import Analog
from sim_backend.emulators.daffodil_board import EmulatedBoard
from sim_backend.emulators.daffodil_files import BoardFiles, CLibrary
from sim_backend.emulators.world import Cables, World
from tests.small_chip import chip, on_board, read, set_states, write

LIBRARY = os.environ.get("DAFFODIL_LIB", "")
pytestmark = [
    pytest.mark.judge,
    pytest.mark.skipif(
        not (LIBRARY and shutil.which("gcc")), reason="needs gcc and DAFFODIL_LIB, a clone of daffodil-lib"
    ),
]
TABLE = "dpots/1304917.txt"


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """Return their module of the board's controller, its modules of events, and a function that makes their board."""
    shared = tmp_path / "libpgpio.so"
    source = Path(LIBRARY) / "pgpio" / "pgpio-lib" / "pgpio-lib.c"
    subprocess.run(["gcc", "-w", "-shared", "-fPIC", "-o", shared, source], check=True)
    (tmp_path / "misc" / "dpots").mkdir(parents=True)
    shutil.copy(Path(LIBRARY) / TABLE, tmp_path / "misc" / "dpots")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(LIBRARY)
    utils = importlib.import_module("daffodillib.utils")
    folder = tmp_path / "sys"
    monkeypatch.setattr(utils, "find_device_iio", lambda n: str(folder / "iio" / f"iio:device{n}"))
    monkeypatch.setattr(utils, "find_device_spi", lambda n: str(folder / "spi" / f"spi13.{n}"))
    controller = importlib.import_module("daffodillib.Board.controller")
    read_array = importlib.import_module("daffodillib.read_array")
    outer = importlib.import_module("daffodillib.outerproduct")

    def make(board: EmulatedBoard):
        proxy = CLibrary(ctypes.CDLL(str(shared)), BoardFiles(board, folder))
        with monkeypatch.context() as patched:
            patched.setattr(ctypes, "CDLL", lambda name: proxy)
            return controller.Daffodil_Phys(), proxy

    yield SimpleNamespace(make=make, read_array=read_array, outerproduct=outer)
    for name in [name for name in sys.modules if name.split(".")[0] == "daffodillib"]:
        del sys.modules[name]


def emulated(die):
    points = np.loadtxt(Path(LIBRARY) / TABLE)
    analog = Analog(points[1:26, [0, 2]], (int(points[0, 0]), int(points[0, 2])), np.ones(25), np.zeros(25))
    return EmulatedBoard(die, analog, World(Cables({}, {}), lambda x, y, site: None))


def accesses_of_ours(board):
    """Return how many registers our server writes to read the same kernel, row by row."""
    engine = Engine(board)
    engine.initialise()
    written, write = [], board.write
    board.write = lambda address, word: (written.append(address), write(address, word))
    codes = [
        [2130 if i == k else 2048 for i in range(25)] + [KEEP] * 25 + [4000 if i == k else 1393 for i in range(25)]
        for k in range(25)
    ]
    every = (1 << 25) - 1
    engine.run([Pattern(21, READ, 60_000, every, every, every, row) for row in codes])
    assert board.audit.reads == 25
    return len(written)


@pytest.mark.slow
def test_their_class_reads_every_cell_of_a_kernel_right(theirs):
    die = chip(22, 25, 25, ideal=True)
    rng = np.random.default_rng(8)
    states = rng.random((25, 25)) < 0.5
    set_states(die, 21, states)
    board = emulated(die)
    daffodil, proxy = theirs.make(board)
    daffodil.set_dpot_D(daffodil.invert_dpot_rout(2e3))
    measured = np.array(theirs.read_array.read_kernel(daffodil, 21, 0.1, 5.0 * 4095 / 4096, 1.8, [25, 25]))
    g_p, g_ap = die.nominal.g_p(21), die.nominal.g_ap(21)
    assert board.audit.reads == 25
    assert not board.audit.refused
    assert ((measured > np.sqrt(g_p * g_ap)) == states).all(), "bits misread"
    error = np.abs(measured - np.where(states, g_p, g_ap)) * 0.1
    codes = error * 2e3 / (5.0 / 4096)
    print(f"625 cells, {(measured.size)} read, largest error {codes.max():.2f} codes, {proxy.writes} writes")
    assert codes.max() < 1.5
    ours = accesses_of_ours(emulated(chip(22, 25, 25, ideal=True)))
    print(f"ours: {ours} writes of registers for the same cells")
    assert 20 * ours < proxy.writes


def test_our_initialisation_leaves_the_registers_as_theirs_does(theirs):
    board = emulated(chip(1, 5, 4, ideal=True))
    daffodil, _ = theirs.make(board)
    daffodil.set_compliance_control(0)
    with_theirs = dict(board.words)
    board.power_off()
    Engine(board).initialise()
    others = with_theirs.keys() - {reg.PULSE_LENGTH, reg.EVENT}  # ours has an event of rest behind it
    assert {a: board.read(a) for a in others} == {a: with_theirs[a] for a in others}


@pytest.mark.slow
def test_their_class_writes_the_cell_that_it_selects(theirs):
    die = chip(2, 5, 4, ideal=True)
    board = emulated(die)
    daffodil, _ = theirs.make(board)
    daffodil.set_kernel(1)
    daffodil.setrefopamp(daffodil.dac_invertvout(1.8))
    column, row = [int(i == 3) for i in range(25)], [int(i == 2) for i in range(25)]
    theirs.outerproduct.outer_product_primitive(daffodil, 1.0, 5.0 * 4095 / 4096, column, row, 0)
    states = die.truth()["state"]
    assert np.argwhere(states).tolist() == [[1, 3, 2]]
    theirs.outerproduct.outer_product_primitive(daffodil, 1.0, 5.0 * 4095 / 4096, column, row, 1)
    assert not die.truth()["state"].any()
    assert board.audit.refused == []
    assert max(board.audit.towards_p, board.audit.towards_ap) < 1.01


@pytest.mark.slow
def test_their_class_is_a_body_of_ours_which_writes_and_reads_as_through_our_server(theirs):
    """Our driver over their class for the physical board, and that over the emulated one."""
    cells = tuple(index.ravel() for index in np.indices((2, 5, 4)))
    target = np.random.default_rng(3).random(40) < 0.5
    points = np.loadtxt(Path(LIBRARY) / TABLE)
    table = {"potentiometer_codes": points[0, [0, 2]].astype(int).tolist(), "potentiometers": points[1:26, [0, 2]]}
    table["potentiometers"] = [tuple(pair) for pair in table["potentiometers"].tolist()]
    shape = {"kernels": 2, "n_rows": 5, "n_cols": 4}
    die = chip(2, 5, 4, ideal=True)
    board = emulated(die)
    options = Options.model_validate({"class": "daffodillib.Board.controller.Daffodil_Phys", **shape, **table})
    theirs_of = SimpleNamespace(
        find=lambda options: "", make=lambda options: theirs.make(board)[0], now=board.now, wait=board.wait
    )
    through = DaffodilLibrary("board", options, theirs_of)
    through.turn_to(die.nominal, 1)
    ours = on_board(chip(2, 5, 4, ideal=True), options=table).board
    readings = []
    for body in (through, ours):
        pulse = write(body, *cells, target)
        reading = body.pulse(Pulse(pulse.bias, pulse.width, read(body, *cells)))
        assert not reading.flag.any()
        readings.append(reading.current)
    states = die.truth()["state"].ravel()
    print(f"40 cells through {options.class_}: {(states != target).sum()} bits wrong")
    assert np.array_equal(states, target)
    assert np.array_equal(*readings), "codes differ"
    assert board.audit.refused == []
    through.off()
    through.verify_off()
