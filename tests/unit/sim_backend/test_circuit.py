"""Lines in compliance: the puzzle cases of an array, 3 x 2 cells."""

import numpy as np
import pytest

from sim_backend.circuit import Circuit
from sim_backend.description import Lines


def circuit(g, r=1.0):
    return Circuit((3, 2), np.full(6, g), np.zeros(6), Lines(r_row=r, r_col=r), v_half=0.5, v_linear=0.1)


@pytest.mark.parametrize("r", [0.0, 1.0])
def test_grounded_lines_have_no_limit_and_no_forced_current(r):
    """V/2 on an array of shorts: the two selected sources are at their limit, the ground takes what is left."""
    source = np.array([0.0, 0.3, 0.0, -0.3, 0.0])
    compliance = np.array([np.inf, 1e-3, np.inf, 2e-3, np.inf])
    driven = np.ones(5, np.bool_)
    shorted = circuit(0.5, r)
    forced = shorted._limited(source, driven, compliance)  # warnings are errors
    assert forced == pytest.approx([0.0, 1e-3, 0.0, -2e-3, 0.0])
    point = shorted.operating_point(source, driven, compliance)
    assert point.limited.tolist() == [False, True, False, True, False]
    assert point.line_current[[1, 3]] == pytest.approx([1e-3, -2e-3])
    assert point.line_current.sum() == pytest.approx(0.0, abs=1e-12)
    assert np.abs(point.line_voltage).max() < 0.05


def test_a_read_differs_little_from_the_full_solution_up_to_a_tenth_of_a_volt():
    """The figure of docs/physics.md: the bias dependence at the linear cell voltages, of 15 x 12 cells."""
    rng = np.random.default_rng(7)
    m, n = 15, 12
    ap, spread = rng.random(m * n) < 0.5, rng.normal(1.0, 0.05, m * n)
    wires = Lines(r_row=2.0, r_col=2.0)
    array = Circuit((m, n), 4e-4 * spread, np.where(ap, 1.0, 0.0), wires, v_half=0.5, v_linear=0.1)
    free = np.zeros(m + n, np.bool_)
    worst = 0.0
    for scale in (0.02, 0.05, 0.1):
        source = np.concatenate([rng.uniform(-scale, scale, m), np.zeros(n)])
        read = array.read(source, array.reading_network(free))[m:]
        exact = array.operating_point(source, ~free, np.full(m + n, np.inf)).line_current[m:]
        worst = max(worst, float(np.abs(read - exact).max() / np.abs(exact).max()))
    assert 0.0 < worst < 1e-5
