"""Resistance in series with probed lines: where it acts, what it takes from a cell, and that limits do not count it."""

import numpy as np
import pytest
from pydantic import ValidationError

from instruments.bench import PROBED
from instruments.open_bench import planned_die
from labctl.core.bias import Bias
from labctl.core.errors import BenchError, LimitError
from labctl.core.operations import Pulse, Sense
from labctl.station.twin import Twin
from tests.unit.instruments.test_probed_die import NOMINAL, K, M, N, bench, simulated

LINES = M + N
LINEAR = {
    "lines": {"r_row": "0 ohm", "r_col": "0 ohm", "r_source": "3 ohm", "r_sense": "4 ohm"},
    "switching": {"v_half": "1 kV"},
}


def nodal(g, leads, source, driven):
    """Cell voltages and line currents of perfect lines behind resistances, by nodal analysis with numpy alone."""
    nodes = np.zeros((LINES, LINES))
    nodes[:M, M:], nodes[M:, :M] = -g, -g.T
    nodes[np.diag_indices(LINES)] = -nodes.sum(axis=1)
    into = np.where(driven, 1.0 / leads, 0.0)
    v = np.linalg.solve(nodes + np.diag(into), into * source)
    return (v[:M, None] - v[M:]).ravel(), into * (source - v)


def twin_of(die, **twin):
    file = bench(twin=twin)
    Twin(file, {(0, 0, 0): die})
    return file


def conductance(die, kernel):
    truth = die.truth()
    return np.where(truth["state"][kernel], truth["g_p"][kernel], truth["g_ap"][kernel])


@pytest.mark.parametrize("kernel", range(K))
def test_resistances_of_single_lines_act_on_cells_and_currents(kernel):
    die = simulated(**LINEAR)
    own = {f"r{kernel}{i}": 10.0 * (i + 1) for i in range(M)} | {f"c{kernel}{i}": 110.0 + i for i in range(N)}
    twin_of(die, line_resistance="7 ohm", pad_resistance={pad: f"{ohm} ohm" for pad, ohm in own.items()})
    leads = np.array([own[f"r{kernel}{i}"] for i in range(M)] + [own[f"c{kernel}{i}"] for i in range(N)])
    leads += np.array([3.0] * M + [4.0] * N)
    source, limit = np.array([0.3, 0.0, -0.1, 0.2, 0.0, -0.3, 0.0]), np.full(LINES, 1.0)
    for driven in (np.ones(LINES, bool), np.arange(LINES) % 3 != 1):
        expected = nodal(conductance(die, kernel), leads, source, driven)
        _, current, _ = die.hold(kernel, np.where(driven, source, 0.0), driven, limit, 0.0)
        assert current == pytest.approx(expected[1], rel=1e-6, abs=1e-12)
        point = die._arrays[kernel].circuit.operating_point(np.where(driven, source, 0.0), driven, limit)
        assert point.cell_voltage == pytest.approx(expected[0], rel=1e-6, abs=1e-9)
    bias = Bias(source[None, :M], source[None, M:], kernel=np.array([kernel]), compliance=1.0)
    expected = nodal(conductance(die, kernel), leads, source, np.ones(LINES, bool))
    assert die.sense(Sense(bias, np.arange(N), 1e-3)).current[0] == pytest.approx(-expected[1][M:], rel=0.015, abs=1e-7)


@pytest.mark.parametrize(
    ("die", "twin", "ohm"),
    [
        ({}, {}, PROBED),
        ({}, {"ideal_instruments": True}, 0.0),
        ({"ideal": True}, {}, 0.0),
        ({}, {"line_resistance": "0 ohm"}, 0.0),
        ({"ideal": True}, {"ideal_instruments": True, "line_resistance": "60 ohm"}, 60.0),
    ],
)
def test_where_the_default_acts(die, twin, ohm):
    """One line drives all cells of a row, and their columns are at 0 V: the row's resistance is in series with all."""
    made = simulated(**die) if die else simulated(**LINEAR)
    twin_of(made, **twin)
    source, driven = np.zeros(LINES), np.ones(LINES, bool)
    source[1] = 10e-3
    _, current, _ = made.hold(0, source, driven, np.full(LINES, 1.0), 0.0)
    leads = np.full(LINES, ohm + 1e-4) + (0.0 if die else np.array([3.0] * M + [4.0] * N))
    assert current == pytest.approx(nodal(conductance(made, 0), leads, source, driven)[1], rel=1e-6, abs=1e-11)


def test_cells_get_less_and_limits_count_the_whole():
    """The voltage of the sources is what a campaign and a bench limit, as if nothing fell on the way."""
    source, limit = np.zeros(LINES), np.full(LINES, 1.0)
    source[0], source[M] = 0.36, -0.36
    bias = Bias(source[None, :M], source[None, M:], kernel=np.array([0]), compliance=10e-3)
    for ohm in ("0 ohm", "800 ohm"):
        die = simulated(**LINEAR)
        file = twin_of(die, line_resistance=ohm)
        highest = np.abs(die._arrays[0].circuit.operating_point(source, np.ones(LINES, bool), limit).cell_voltage).max()
        assert (highest > 0.7) == (ohm == "0 ohm")
        with pytest.raises(LimitError, match=r"0\.72 V"):
            planned_die(file, NOMINAL).check(Pulse(bias, 1e-3))


def test_a_die_that_the_wiring_does_not_fit_keeps_its_lines_and_wrong_resistances_are_refused():
    die = simulated(**LINEAR)
    with pytest.raises(BenchError, match=r"shape \(1, 7\); expected \(2, 7\)"):
        die.probe(np.zeros((1, LINES)))
    with pytest.raises(BenchError, match="not negative"):
        die.probe(np.full((K, LINES), -1.0))
    for twin, says in (
        ({"line_resistance": "-1 ohm"}, "greater than or equal to 0"),
        ({"pad_resistance": {"r00": "-1 ohm"}}, "greater than or equal to 0"),
        ({"pad_resistance": {"r99": "1 ohm"}}, "pad 'r99' of twin.pad_resistance is not in the wiring"),
        ({"gain": "-1 %"}, "greater than or equal to 0"),
    ):
        with pytest.raises(ValidationError, match=says):
            bench(twin=twin)


def test_meters_of_a_twin_have_gains_of_their_seed():
    file = bench(twin={"gain": "2 %", "line_resistance": "0 ohm"})

    def gains(seed):
        smus = Twin(file, {(0, 0, 0): simulated()}, seed=seed).instruments["smu1"].smus.values()
        return [smu._gain(1, full) for smu in smus for full in (1e-6, 1e-3)]

    assert gains(3) == gains(3) != gains(4)
    assert len({*gains(3), *gains(4)}) == 8
