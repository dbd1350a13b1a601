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
