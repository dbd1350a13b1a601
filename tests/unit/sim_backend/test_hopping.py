"""Cells that switch more than once in a condition: against matrix exponentials, and on dies."""

from typing import Any

import numpy as np
import pytest
from scipy.linalg import expm

from labctl.core.bias import Bias
from labctl.core.operations import Pulse
from labctl.core.units import BoolArray, FloatArray
from sim_backend import hopping
from sim_backend.cell_switching import CellSwitching
from sim_backend.cells import fabricate
from sim_backend.description import DieDescription
from sim_backend.make import make_die

ZERO = np.zeros(1)


def described(shape: tuple[int, int] = (20, 25), kind: str = "passive", **simulation: Any) -> DieDescription:
    geometry = {"kind": kind, "n_rows": shape[0], "n_cols": shape[1]}
    file = {"name": "t", "geometry": geometry, "junction": {"diameter": "80 nm"}, "simulation": simulation}
    return DieDescription.model_validate(file, context={"file": True})


def chain(a: float, b: float, r: float) -> FloatArray:
    """The probabilities to go from each of U, F and F' to each, by the matrix exponential of the generator."""
    h = 1.0 / (1.0 / r + 1.0 / a) if r > 0.0 and a > 0.0 else 0.0
    return np.asarray(expm(np.array([[-a, a, 0.0], [b, -b - h, h], [0.0, h, -h]])))


@pytest.mark.parametrize("a", [0.0, 1e-9, 0.3, 1.0, 40.0, 3e4])
@pytest.mark.parametrize("b", [0.0, 1e-9, 0.3, 2.0, 50.0])
@pytest.mark.parametrize("r", [0.0, 1e-6, 0.5, 1.0, 30.0, 2e4])
def test_the_closed_form_is_the_chain(a: float, b: float, r: float) -> None:
    p = chain(a, b, r)
    reference = np.full(1, r)
    from_u = hopping.left(np.full(1, a), np.full(1, b), reference, np.zeros(1, bool))[0]
    from_f = hopping.left(np.full(1, b), np.full(1, a), reference, np.ones(1, bool))[0]
    assert from_u == pytest.approx(p[0, 1], rel=1e-6, abs=1e-12)
    assert from_f == pytest.approx(1.0 - p[1, 1], rel=1e-6, abs=1e-12)


def test_limits_of_the_chain() -> None:
    one, no, yes = np.ones(1), np.zeros(1, bool), np.ones(1, bool)
    # without hops and returns it is the switching law; with returns alone the two states share the time
    assert hopping.left(one, ZERO, ZERO, no)[0] == pytest.approx(-np.expm1(-1.0))
    assert hopping.left(3e3 * one, 1e3 * one, ZERO, no)[0] == pytest.approx(0.75)
    # far beyond both critical voltages a cell ends at random, whatever it was
    assert hopping.left(1e9 * one, ZERO, 1e8 * one, no)[0] == pytest.approx(0.5)
    assert hopping.left(ZERO, 1e9 * one, 1e8 * one, yes)[0] == pytest.approx(0.5)
    # nothing hops where the free layer would not follow
    assert hopping.left(1e-12 * one, 1e-15 * one, 1e6 * one, yes)[0] < 1e-11
    # the smallest probabilities keep their digits
    assert hopping.left(1e-14 * one, ZERO, ZERO, no)[0] == pytest.approx(1e-14, rel=1e-9)


HOPS = {"v_p": "900 mV", "v_ap": "800 mV", "delta": 50, "spread": 0}
PLAIN = {
    "spread": {"diameter": 0, "ra": 0, "v_c0": 0, "delta": 0},
    "lines": {"r_row": "0 ohm", "r_col": "0 ohm"},
    "breakdown": {"v_bd": "3 V"},
}


def failed(die: Any, volts: float, width: float, towards_p: bool, times: int) -> float:
    """The write error rate of pulses on all cells, which begin in the other state."""
    n_rows, n_cols = die.geometry.n_rows, die.geometry.n_cols
    sign, wrong, begun = 1.0 if towards_p else -1.0, 0, 0

    def pulse(volts: float, width: float) -> BoolArray:
        die.pulse(Pulse(Bias(np.full((1, n_rows), volts), np.zeros((1, n_cols)), compliance=1.0), width))
        return np.asarray(die.truth()["state"] != towards_p)

    for _ in range(times):
        other = pulse(-sign * 0.42, 1e-3)
        assert other.mean() > 0.99
        begun += int(other.sum())
        wrong += int((pulse(sign * volts, width) & other).sum())
    return wrong / begun


def test_write_errors_rise_again_in_both_polarities() -> None:
    die = make_die(described(**PLAIN, back_hopping=HOPS), seed=3, name="die")
    for towards_p, critical in ((True, 0.9), (False, 0.8)):
        for volts in (0.36, 0.45, 0.62, 0.7):
            free = 1e-3 / 1e-9 * np.exp(-60 * max(0.0, 1 - volts / 0.5))
            reference = 1e-3 / 1e-9 * np.exp(-50 * max(0.0, 1 - volts / critical))
            expected = 1.0 - chain(free, 0.0, reference)[0, 1]
            rate = failed(die, volts, 1e-3, towards_p, 8)
            assert rate == pytest.approx(expected, abs=5 * np.sqrt(expected * (1 - expected) / 4000) + 1e-9)
    # below the reference layer's voltage pulses do not fail, and far beyond it half of them do
    assert failed(die, 0.45, 1e-3, True, 4) == 0.0
    assert failed(die, 0.88, 1e-3, True, 4) == pytest.approx(0.5, abs=0.05)


def test_one_polarity_may_be_without_it() -> None:
    die = make_die(described(**PLAIN, back_hopping={**HOPS, "v_ap": None}), seed=3, name="die")
    assert failed(die, 0.88, 1e-3, True, 2) > 0.4
    assert failed(die, 0.88, 1e-3, False, 2) == 0.0


def test_a_chip_hops_too_and_its_cells_differ() -> None:
    hops = {"v_p": "500 mV", "v_ap": "2 V", "spread": 0.1}
    die = make_die(described((6, 5), "1T1R", back_hopping=hops), seed=3, name="die")
    factor = np.log(die.truth()["hop"])
    assert 0.05 < factor.std() < 0.2
    assert "hop" not in make_die(described((6, 5), "1T1R"), seed=3, name="die").truth()


def test_what_hops_stays_within_its_bound_and_defects_do_not_hop() -> None:
    for telegraph in (False, True):
        description = described((5, 4), back_hopping={**HOPS, "spread": "10 %"}, telegraph=telegraph)
        cells = fabricate(description, 7, "cells", 0)
        cells.delta[3] = 1e6
        switching = CellSwitching(cells, description.simulation, 1)
        for volts in (-0.9, -0.5, 0.4, 0.7, 0.9):
            p = switching.probability(np.full(20, volts), 1e-6)
            assert p[3] == 0.0
            bound = switching.bound(abs(volts), 1e-6)
            assert p.sum() <= bound + 1e-12 or bound == 1.0
            assert bound < 1.0 or abs(volts) > 0.4


def test_without_both_options_nothing_changes() -> None:
    plain, hopping_far = described((5, 4)), described((5, 4), back_hopping={"v_p": None, "v_ap": None})
    for volts in (0.3, 0.38, -0.4):
        p = [
            CellSwitching(fabricate(d, 7, "cells", 0), d.simulation, 1).probability(np.full(20, volts), 1e-3)
            for d in (plain, hopping_far)
        ]
        assert p[1] == pytest.approx(p[0], rel=1e-9, abs=1e-15)
