"""The simulated chip against ngspice: junctions with level 1 transistors and wires, as netlists of their own.

A junction is a behavioural source with the formula of the bias dependence, a transistor ngspice's own level 1 model
with its body at the chip's ground, and everything is solved by ngspice's nodal Newton iteration. Asked for is a
thousandth of the current; single cells, single rows and odd patterns agree to a millionth.
"""

import shutil

import numpy as np
import pytest

from sim_backend.cells import FabricatedDefect
from tests import spice

pytestmark = [
    pytest.mark.judge,
    pytest.mark.skipif(shutil.which("ngspice") is None, reason="ngspice is not installed (Debian package ngspice)"),
]
REFERENCE = 0.8
M, N = 5, 4
ONE = {"row": {}, "column": {"junction": "column"}, "body effect": {"body_effect": 0.5}}
"""Transistors of the cells that are judged."""
ONE["column and body effect"] = {**ONE["column"], **ONE["body effect"]}


@pytest.mark.parametrize("transistor", ONE.values(), ids=ONE.keys())
def test_one_cell_in_both_signs_triode_and_saturation(tmp_path, transistor):
    die = spice.chip((1, 3), dict.fromkeys(spice.WIRES, 0.0), seed=12, defects={"short": "35 %"}, transistor=transistor)
    truth = {name: value[0, 0] for name, value in die.truth().items()}
    assert (truth["defect"] == FabricatedDefect.SHORT).tolist() == [True, False, False]
    assert sorted(truth["state"][1:]) == [False, True]
    saturated = 0
    for volts, gate in [
        (0.1, 3.3),
        (-0.1, 3.3),
        (0.1, 1.7),
        (-0.1, 1.7),
        (0.7, 3.3),
        (-0.7, 3.3),
        (0.6, 1.6),
        (-0.6, 1.9),
    ]:
        for j in range(3):
            col = np.full(3, volts)  # no voltage across the others
            col[j] = 0.0
            args = (np.array([volts]), col, np.array([gate]))
            expected = spice.column_currents(tmp_path, die, *args)
            assert spice.measured(die, *args) == pytest.approx(expected, rel=1e-6, abs=1e-12)
            over = gate - REFERENCE - truth["v_threshold"][j]
            saturated += abs(expected[j]) == pytest.approx(truth["gain"][j] * over**2 / 2, rel=1e-6)
    assert saturated >= 2 or transistor != {}, "no case in saturation"


SPREAD = {"v_threshold_spread": "20 mV", "gain_spread": "10 %"}
M, N = 5, 4
BOTH = np.array([0.1, -0.1, 0.07, -0.03, 0.1])
PATTERNS = {
    "one row": (np.array([0.0, 0.0, 0.2, 0.0, 0.0]), np.zeros(N), np.eye(M)[2] * 2.0, 1e-6),
    "one row, negative": (np.array([0.0, 0.0, -0.2, 0.0, 0.0]), np.zeros(N), np.eye(M)[2] * 3.3, 1e-6),
    "one row, saturated": (np.array([0.0, 0.5, 0.0, 0.0, 0.0]), np.zeros(N), np.eye(M)[1] * 1.6, 1e-6),
    "inputs of both signs": (BOTH, np.zeros(N), np.full(M, 3.3), 1e-3),
    "the same at the gate of inference": (BOTH, np.zeros(N), np.full(M, 1.6), 1e-3),
    "all high at the gate of inference": (np.full(M, 0.1), np.zeros(N), np.full(M, 1.6), 1e-3),
    "all low at the gate of inference": (np.full(M, -0.1), np.zeros(N), np.full(M, 1.6), 1e-3),
    "larger inputs, another potential": (2 * BOTH + 0.1, np.full(N, 0.1), np.full(M, 2.2), 1e-3),
    "saturated": (np.full(M, 0.6), np.zeros(N), np.full(M, 1.6), 1e-6),
    "saturated, negative": (np.full(M, -0.5), np.full(N, 0.1), np.full(M, 1.5), 1e-6),
    "floating lines": (
        np.array([0.3, np.nan, -0.3, 0.1, 0.0]), np.array([0.0, np.nan, 0.0, 0.05]), np.full(M, 2.0), 1e-6,
    ),
    "floating lines, cut off by their own transistors": (
        np.array([np.nan, -0.22, np.nan, np.nan, np.nan]), np.array([np.nan, -0.05, -0.16, np.nan]),
        np.array([3.3, 3.3, 1.6, 1.3, 2.0]), 1e-6,
    ),
    "gates of all kinds": (
        np.full(M, 0.4), np.array([0.0, 0.1, -0.1, np.nan]), np.array([0.0, 1.0, 1.5, 2.5, 3.3]), 1e-6,
    ),
}  # fmt: skip


@pytest.mark.parametrize("transistor", ONE.values(), ids=ONE.keys())
@pytest.mark.parametrize(("row", "col", "gate", "within"), PATTERNS.values(), ids=PATTERNS.keys())
def test_a_kernel_with_wires(tmp_path, transistor, row, col, gate, within):
    defects = {"short": "10 %", "open": "5 %"}
    die = spice.chip((M, N), seed=2, defects=defects, transistor={**SPREAD, **transistor})
    assert {0, 1, 2} <= set(die.truth()["defect"].ravel())
    expected = spice.column_currents(tmp_path, die, row, col, gate)
    assert spice.measured(die, row, col, gate) == pytest.approx(expected, abs=within * np.abs(expected).max(), rel=0)
