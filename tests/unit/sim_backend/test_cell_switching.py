"""Cells under the switching law: their own state and voltages, a field, their own heat, and bounds over all of them."""

from typing import Any

import numpy as np
import pytest

from sim_backend import mtj
from sim_backend.cell_switching import CellSwitching
from sim_backend.cells import NEVER, JunctionCells, fabricate
from sim_backend.description import DieDescription
from sim_backend.switching import Law

MS = 1e-3


def made(polarity: int = 1, **simulation: Any) -> tuple[JunctionCells, CellSwitching, DieDescription]:
    description = DieDescription.model_validate(
        {
            "name": "cells",
            "geometry": {"n_rows": 5, "n_cols": 4},
            "junction": {"diameter": 80e-9},
            "simulation": simulation,
        }
    )
    cells = fabricate(description, 7, "cells", 0)
    return cells, CellSwitching(cells, description.simulation, polarity), description


@pytest.mark.parametrize("exponent", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("polarity", [1, -1])
def test_each_cell_has_its_state_its_critical_voltage_and_the_field(exponent: float, polarity: int) -> None:
    switching = {"exponent": exponent, "v_c0_p": 0.5, "v_c0_ap": 0.4, "h_k": 0.2, "h_off": 0.01, "field": 0.03}
    cells, cell_switching, _ = made(polarity, switching=switching)
    assert cells.state.any()
    assert not cells.state.all()
    v = np.linspace(-0.5, 0.5, 20)
    law = Law(exponent, 1e-9, 2e-9)
    for i in range(20):
        to_ap = cells.state[i]
        drive = polarity * v[i] * (-1 / cells.v_c0_ap[i] if to_ap else 1 / cells.v_c0_p[i])
        expected = law.probability(drive, cells.delta[i], MS, -0.1 if to_ap else 0.1)
        assert cell_switching.probability(v, MS)[i] == pytest.approx(expected, rel=1e-12)
        # alone or among others, the same to the bit: results do not depend on how a batch is cut
        assert cell_switching.probability(v[i : i + 1], MS, np.array([i]))[0] == cell_switching.probability(v, MS)[i]


def test_an_offset_field_makes_two_barriers() -> None:
    cells, cell_switching, _ = made(
        switching={"exponent": 2.0, "delta": 25.0, "h_k": 0.2, "h_off": 0.02},
        spread={"delta": 0.0, "v_c0": 0.0},
    )
    rate = -np.log1p(-cell_switching.probability(np.zeros(20), MS)) / MS
    out_of_p, out_of_ap = rate[cells.state], rate[~cells.state]
    # Delta (1 - 0.1)^2 out of P and Delta (1 + 0.1)^2 out of AP: the loop lies on the side of a positive field
    assert np.ptp(out_of_p) == pytest.approx(0.0, abs=1e-9 * out_of_p[0])
    expected = np.exp(25 * (1.1**2 - 0.9**2)) * (0.9**2 * 1.1) / (1.1**2 * 0.9)
    assert out_of_p[0] / out_of_ap[0] == pytest.approx(expected, rel=0.02)
    # a field that compensates the offset makes them equal
    _, level, _ = made(
        switching={"exponent": 2.0, "delta": 25.0, "h_k": 0.2, "h_off": 0.02, "field": 0.02},
        spread={"delta": 0.0, "v_c0": 0.0},
    )
    assert np.ptp(level.probability(np.zeros(20), MS)) == 0.0


def test_a_change_of_state_changes_drive_and_field() -> None:
    cells, cell_switching, _ = made(switching={"h_off": 0.05, "exponent": 2.0})
    v = np.full(20, 0.3)
    before = cell_switching.probability(v, MS)
    cells.state[:] = ~cells.state
    cell_switching.changed(np.arange(20))
    turned = cell_switching.probability(v, MS)
    assert ((before > turned) == ~(~cells.state)).all()
    cells.state[:] = ~cells.state
    cell_switching.changed(np.arange(20))
    assert (cell_switching.probability(v, MS) == before).all()


def test_a_cell_heats_itself() -> None:
    """74 uW of an 80 nm cell in P at 0.42 V on 0.5 K/uW are 37 K."""
    given = {"switching": {"v_half": 0.5}, "spread": {"diameter": 0.0, "ra": 0.0, "v_c0": 0.0, "delta": 0.0}}
    cells, cold, _ = made(**given)
    _, hot, description = made(**given, thermal={"r_th": 0.5e6})
    v = np.where(cells.state, -0.36, 0.36)
    assert 0.42**2 * cells.g_p[0] == pytest.approx(74e-6, rel=0.01)
    thermal = description.simulation.thermal
    for i in (int(np.flatnonzero(cells.state)[0]), int(np.flatnonzero(~cells.state)[0])):
        tmr = 0.0 if cells.state[i] else mtj.tmr_at(cells.tmr0[i], 0.36, 0.5)
        kelvin = 300 + 0.5e6 * 0.36**2 * cells.g_p[i] / (1 + tmr)
        barrier = mtj.barrier_at(kelvin, thermal.t_star, thermal.barrier_power)
        expected = Law(1.0, 1e-9, 2e-9).probability(0.36 / (0.5 * barrier), 60 * barrier * 300 / kelvin, MS)
        assert hot.probability(v, MS)[i] == pytest.approx(expected, rel=1e-12)
    # P carries more current than AP and is the hotter one; both switch sooner than they would without their heat
    assert (hot.probability(v, MS) > cold.probability(v, MS)).all()
    assert hot.probability(v, MS)[cells.state].min() > hot.probability(v, MS)[~cells.state].max()
    assert (hot.probability(np.zeros(20), MS) == cold.probability(np.zeros(20), MS)).all()


def test_beyond_its_curie_point_a_cell_has_no_barrier() -> None:
    cells, hot, _ = made(thermal={"r_th": 1e10})
    p = hot.probability(np.where(cells.state, -0.03, 0.03), MS)
    assert (p > 0.99).all()
    assert np.isfinite(hot.probability(np.full(20, 1.0), MS)).all()


@pytest.mark.parametrize(
    "simulation",
    [
        {"switching": {"exponent": 1.0}},
        {"switching": {"exponent": 1.5}},
        {"switching": {"exponent": 2.0}},
        {"switching": {"exponent": 2.0, "h_off": 0.05, "delta": 40.0}},
        {"switching": {"h_off": -0.05, "delta": 40.0}, "thermal": {"r_th": 1e6}},
        {"switching": {"exponent": 2.0, "delta": 30.0}, "thermal": {"r_th": 1e6}, "defects": {"short": 0.2}},
    ],
)
def test_the_bound_is_one(simulation: dict[str, Any]) -> None:
    cells, cell_switching, _ = made(**simulation)
    for volts in (0.0, 0.05, 0.1, 0.2, 0.3, 0.4):
        bound = cell_switching.bound(volts, MS)
        for _ in range(2):
            for sign in (-1, 1):
                assert (
                    cell_switching.probability(np.full(20, sign * volts), MS).sum() <= bound * (1 + 1e-12) or bound == 1
                )
            cells.state[:] = ~cells.state
            cell_switching.changed(np.arange(20))
    part = slice(4, 9)
    assert cell_switching.bound(0.2, MS, part) <= cell_switching.bound(0.2, MS)


def test_what_does_not_switch_does_not_by_any_law() -> None:
    for switching in ({}, {"exponent": 2.0}, {"exponent": 2.0, "h_off": 0.2}):
        cells, cell_switching, _ = made(
            defects={"short": 0.3, "open": 0.3, "stuck_p": 0.4}, switching=switching, thermal={"r_th": 1e5}
        )
        assert (cells.delta == NEVER).all()
        for volts in (-2.0, -0.1, 0.0, 0.3, 2.0):
            assert (cell_switching.probability(np.full(20, volts), 1.0) == 0).all()


def test_heat_adds_to_the_temperature_of_the_die() -> None:
    given = {"spread": {"diameter": 0.0, "ra": 0.0, "v_c0": 0.0, "delta": 0.0, "tmr": 0.0}, "random_state": False}
    _, both, description = made(**given, thermal={"temperature": 350.0, "r_th": 0.5e6})
    cells, _, _ = made(**given, thermal={"temperature": 350.0})
    thermal = description.simulation.thermal
    kelvin = 350 + 0.5e6 * 0.3**2 * cells.g_p[0] / (1 + mtj.tmr_at(cells.tmr0[0], 0.3, 0.5))
    barrier = mtj.barrier_at(kelvin, thermal.t_star, thermal.barrier_power)
    expected = Law(1.0, 1e-9, 2e-9).probability(0.3 / (0.5 * barrier), 60 * barrier * 300 / kelvin, MS)
    assert both.probability(np.full(20, 0.3), MS) == pytest.approx(np.full(20, expected), rel=1e-9)
