"""Our body over the public library's simulator, unmodified: its own predictions, and its own cells.

Its folder is in DAFFODIL_LIB: a clone of https://github.com/usnistgov/daffodil-lib, with the Wine solutions in
`examples/wine`. Nothing of it is part of this project.
"""

import importlib
import inspect
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from instruments.board_bench import BoardBench
from instruments.daffodil_library import DaffodilLibrary, Installed, Options
from instruments.open_board import BareBoard, BoardDie, open_board
from labctl.core.bias import Bias, Nominal
from labctl.core.errors import LimitError
from labctl.core.limits import Limits
from labctl.core.operations import Pulse, Sense, WritePlan
from protocols.bias import read_bias, write_bias
from sim_backend.emulators.daffodil_object import ATTRIBUTES, CALLS, FakeObject

LIBRARY = os.environ.get("DAFFODIL_LIB", "")
pytestmark = [
    pytest.mark.judge,
    pytest.mark.skipif(not LIBRARY, reason="needs DAFFODIL_LIB, a clone of daffodil-lib"),
]
CLASS = "daffodillib.Board.controller.Daffodil_Sim"
V_REF, V_READ, V_GATE, OHM = 1.8, 0.1, 3.29, 2e3
LIMITS = Limits(
    v_towards_p=1.0, v_towards_ap=1.0, width=1e-2, compliance=5e-3, v_gate=3.3, v_count=0.5, pulses_per_cell=10**6
)
LAYERS = ((0, 11, 12, (13, 12)), (1, 0, 0, (6, 6)))
"""Kernel, first column and first row of the board, and shape of each layer, as the library's example has them."""
SOLUTIONS = 20


@pytest.fixture
def theirs():
    """Return the modules of the library that are needed, forgotten afterwards."""
    sys.path.insert(0, LIBRARY)
    names = {"controller": "Board.controller", "layers": "network_layer"}
    yield SimpleNamespace(**{name: importlib.import_module(f"daffodillib.{path}") for name, path in names.items()})
    sys.path.remove(LIBRARY)
    for name in [name for name in sys.modules if name.split(".")[0] == "daffodillib"]:
        del sys.modules[name]


def body():
    """Return our die over a simulator of its own, and that."""
    options = Options.model_validate(
        {"class": CLASS, "arguments": ["Generic"], "folder": LIBRARY, "reference": V_REF, "feedback": OHM}
    )
    board = DaffodilLibrary("board", options, Installed())
    nominal = Nominal.alike(233e-6, 133e-6, 32)
    board.turn_to(nominal, -1)
    board.keep_within(LIMITS)
    board.off()
    return BoardDie(BareBoard(board, nominal), LIMITS, inside=True), board


def cells_of(simulator, kernel):
    """Return the conductances (columns, rows) of a kernel of a simulator, S."""
    return np.array(simulator.sim_device.all_kernels[kernel].kern) * 1e-6


def test_what_is_faked_is_there_with_the_same_parameters(theirs):
    simulator = theirs.controller.Daffodil_Sim("Generic")
    simulator.set_compliance_control(0)
    simulator.set_dpot_D(simulator.invert_dpot_rout(OHM))
    missing = [name for name in (*CALLS, *ATTRIBUTES) if not hasattr(simulator, name)]
    assert missing == []
    for kind in (theirs.controller.Daffodil_Sim, theirs.controller.Daffodil_Phys):
        for name in CALLS:
            own, other = (list(inspect.signature(getattr(c, name)).parameters) for c in (FakeObject, kind))
            assert own == other, name
    channel = simulator.dacs[0].all_channels[0]
    assert all(hasattr(channel, name) for name in ("x1", "m", "c", "update_m", "update_c"))
    assert hasattr(simulator.dpots[0].all_channels[0], "D")


def test_cells_are_written_and_read_as_the_simulator_has_them(theirs):
    die, board = body()
    kernel, row, col = (index.ravel() for index in np.indices((1, 25, 25)))
    kernel = kernel + 21
    target = np.random.default_rng(5).random(625) < 0.5
    plan = WritePlan(
        write_bias(die.geometry, kernel, row, col, target, v_gate=V_GATE),
        Sense(read_bias(die.geometry, kernel, row, col, V_READ, v_gate=V_GATE), col[:, None]),
        target, die.nominal.cut(kernel), V_READ, np.array([0.6, 0.85]), np.full(625, 2), 1e-3,
    )  # fmt: skip
    attempts = die.program(plan)
    simulator = board._served.hardware._board
    states = cells_of(simulator, 21) > 180e-6
    assert attempts.verified.all()
    assert (states.ravel() == target).all(), "bits wrong"
    reading = die.sense(plan.verify)
    volts = board.applied(plan.verify.bias).row.max()
    error = np.abs(reading.current[:, 0] - cells_of(simulator, 21).ravel() * volts) * OHM / (5.0 / 4096)
    print(
        f"625 cells of kernel 21, {(states.ravel() != target).sum()} bits wrong, largest error {error.max():.2f} codes"
    )
    assert error.max() <= 1.0 + 0.02 * V_READ * 233e-6 * OHM / (5.0 / 4096)
    assert board.state() == {}


def test_a_bench_file_names_the_class_and_the_board_is_made_safe(theirs):
    file = {
        "name": "theirs",
        "body": {"driver": "daffodil_library", "class": CLASS, "arguments": ["Generic"], "folder": LIBRARY},
        "limits": {"v_towards_p": 1.0, "v_towards_ap": 1.0, "width": 0.01, "compliance": 0.005, "v_gate": 3.29},
    }
    file["limits"]["ramp_rate"] = 1000.0
    nominal = Nominal.alike(233e-6, 133e-6, 32)
    with open_board(BoardBench.model_validate(file)) as opened:
        assert opened.identities == {"board": "usnistgov,Daffodil_Sim,,daffodillib of unknown version"}
        die = opened.turn_to(nominal, -1)
        at = np.array([3]), np.array([24]), np.array([7])
        reading = die.sense(Sense(read_bias(die.geometry, *at, V_READ, v_gate=V_GATE), at[2][:, None]))
        assert reading.current[0, 0] == pytest.approx(133e-6 * V_READ, rel=0.05)
        with pytest.raises(LimitError):
            die.pulse(Pulse(write_bias(die.geometry, *at, np.array([True]), v_gate=V_GATE).scaled(1.1), 1e-3))


def by_theirs(theirs, x, solutions):
    """Return the outputs (solutions, samples, 3) that the library computes, and its cells after each load."""
    board = theirs.controller.Daffodil_Sim("Generic")
    board.sim_device.dpot_r = OHM
    board.set_dpot_D(board.invert_dpot_rout(OHM))
    board.set_compliance_control(0)
    board.setrefopamp(board.dac_invertvout(V_REF))
    both = {"vread": V_READ, "vset": 0.8, "vreset": 0.8, "vref": V_REF, "vgate": 5, "encoding": "forward"}
    layers = [
        theirs.layers.Linear(board, shape=[1, 1], weight_shape=shape, mode="block", offsets=[offset], **both)
        for *offset, shape in LAYERS
    ]
    scale = (board.sim_device.setG - board.sim_device.resetG) / board.sim_device.currentscale
    outputs, cells = [], []
    for weights, biases in solutions:
        for layer, weight in zip(layers, weights, strict=True):
            layer.load_weights_outerproduct_parallel(weight, vgate=5)
        board.setrefopamp(board.dac_invertvout(V_REF))
        cells.append([cells_of(board, k) for k in (0, 1)])
        outputs.append(_forward(x, biases, scale, lambda k, a: [layers[k].forward_pass(v.tolist()) for v in a]))
    return np.array(outputs), cells


def _forward(x, biases, scale, currents):
    """Return the outputs (samples, 3) of both layers, as the library's example has them."""
    a = x
    for k, bias in enumerate(biases):
        out = np.array(currents(k, a * V_READ))
        a = np.tanh((out[:, ::2] - out[:, 1::2]) / (scale * V_READ) + bias)
    return a


def by_ours(x, solutions, scale, *, nearest):
    """Return the outputs (solutions, samples, 3) through our body, cells written and verified by it.

    Args:
        nearest: it is asked for the levels that the library's rounding makes of the volts, else for the volts.
    """
    die, board = body()
    step, reference = board._object.step, board._object.reference_code
    outputs, cells = [], []

    def currents(k, volts):
        kernel, first, _, (n, m) = LAYERS[k]
        row, gate = np.zeros((len(volts), 25)), np.zeros((len(volts), 25))
        if nearest:
            volts = (np.rint((volts + V_REF) / step) - reference) * step
        row[:, first : first + n], gate[:, first : first + n] = volts, V_GATE
        cols = LAYERS[k][2] + np.arange(m)
        reading = die.sense(Sense(Bias(row, np.zeros_like(row), gate, kernel=np.array(kernel)), cols))
        assert not reading.flag.any()
        return reading.current

    for weights, biases in solutions:
        for (kernel, first, below, _), weight in zip(LAYERS, weights, strict=True):
            row, col = (index.ravel() for index in np.indices(weight.shape))
            row, col, target = row + first, col + below, weight.ravel() > 0.5
            at = np.full(len(row), kernel)
            attempts = die.program(
                WritePlan(
                    write_bias(die.geometry, at, row, col, target, v_gate=V_GATE),
                    Sense(read_bias(die.geometry, at, row, col, V_READ, v_gate=V_GATE), col[:, None]),
                    target,
                    die.nominal.cut(at),
                    V_READ,
                    np.array([0.85]),
                    np.ones(len(row), np.int64),
                    1e-3,
                )
            )
            assert attempts.verified.all()
        cells.append([cells_of(board._served.hardware._board, k) for k in (0, 1)])
        outputs.append(_forward(x, biases, scale, currents))
    return np.array(outputs), cells


@pytest.mark.slow
def test_predictions_of_published_wine_solutions_are_the_librarys_own(theirs):
    wine = Path(LIBRARY) / "examples" / "wine"
    x, y = (np.loadtxt(wine / "dataset" / f"{name}_train.txt").T for name in "XY")
    solutions = [
        [[np.loadtxt(wine / "solutions" / f"{i}_fc{k}_{what}.txt") for k in (1, 2)] for what in ("weight", "bias")]
        for i in range(SOLUTIONS)
    ]
    library, cells = by_theirs(theirs, x, solutions)
    same, own = by_ours(x, solutions, 100e-6, nearest=True)
    for a, b in zip(cells, own, strict=True):
        for k, (_, first, below, (n, m)) in enumerate(LAYERS):
            block = slice(first, first + n), slice(below, below + m)
            assert np.array_equal(a[k][block], b[k][block]), "cells of the two differ"
    towards_zero, _ = by_ours(x, solutions, 100e-6, nearest=False)
    accuracy = [100 * (out.argmax(2) == y.argmax(1)).mean(1) for out in (library, same, towards_zero)]
    different = [int((library.argmax(2) != out.argmax(2)).sum()) for out in (same, towards_zero)]
    print(
        f"{SOLUTIONS} solutions of {library.shape[1]} samples: {different[0]} of {library[..., 0].size} predictions "
        f"differ at the library's levels, outputs by {np.abs(library - same).max():.1e} at most; {different[1]} where "
        f"our steps go towards 0 V; accuracy {', '.join(f'{a.mean():.2f}' for a in accuracy)} %"
    )
    assert different[0] == 0
    assert np.abs(library - same).max() < 1e-9
    assert different[1] < 0.015 * library[..., 0].size
    assert abs(accuracy[0].mean() - accuracy[2].mean()) < 0.5
