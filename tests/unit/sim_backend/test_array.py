"""The array against an independent circuit: dense nodal analysis, non-linear by plain iteration."""

from typing import Any

import numpy as np
import pytest

from labctl.core.bias import Geometry
from labctl.core.units import BoolArray, FloatArray
from sim_backend import mtj
from sim_backend.array import Array
from sim_backend.cells import FabricatedDefect, fabricate
from sim_backend.description import DieDescription
from sim_backend.switching import Law

M, N = 3, 4
LINES = M + N
LAW = Law(1.0, 1e-9, 2e-9)
LIMIT = np.full(LINES, 1.0)
ALL = np.ones(LINES, np.bool_)


def make(m: int = M, n: int = N, seed: int = 3, polarity: int = 1, **simulation: Any) -> Array:
    description = DieDescription.model_validate(
        {
            "name": "a",
            "geometry": {"n_rows": m, "n_cols": n},
            "polarity": polarity,
            "junction": {"diameter": 80e-9},
            "simulation": simulation,
        }
    )
    return Array(
        fabricate(description, seed, "a", 0),
        Geometry(1, m, n, polarity=polarity),
        description.simulation.effective,
    )


def nodal(
    array: Array, source: FloatArray, driven: BoolArray, v_half: float = 0.5
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return cell voltages, line currents and line voltages of 1 ohm segments and bias-dependent cells."""
    m, n = array.circuit.n_rows, array.circuit.n_cols
    lines, cells = m + n, m * n
    rows, cols = np.divmod(np.arange(cells), n)
    w, b = lines + np.arange(cells), lines + cells + np.arange(cells)
    wires = [(w[k], rows[k] if cols[k] == 0 else w[k - 1]) for k in range(cells)]
    wires += [(b[k], m + cols[k] if rows[k] == m - 1 else b[k + n]) for k in range(cells)]
    c = array.cells
    short = np.isin(c.defect, (FabricatedDefect.SHORT, FabricatedDefect.BROKEN))
    v = np.zeros(cells)
    for _ in range(200):
        g = c.g_p / (1 + np.where(c.state, 0.0, mtj.tmr_at(c.tmr0, v, v_half)))
        g = np.where(short, c.g_short, np.where(c.defect == FabricatedDefect.OPEN, 0.0, g))
        laplace = np.zeros((lines + 2 * cells,) * 2)
        for (p, q), y in zip([*wires, *zip(w, b, strict=True)], [1.0] * (2 * cells) + list(g), strict=True):
            laplace[[p, q], [p, q]] += y
            laplace[[p, q], [q, p]] -= y
        known = np.flatnonzero(driven)
        free = np.setdiff1d(np.arange(len(laplace)), known)
        e = np.zeros(len(laplace))
        e[known] = source[known]
        e[free] = np.linalg.lstsq(laplace[np.ix_(free, free)], -laplace[np.ix_(free, known)] @ e[known], rcond=1e-14)[0]
        last, v = v, e[w] - e[b]
        if np.abs(v - last).max() < 1e-14:
            break
    current = laplace @ e
    return v, current[:lines], e[:lines]


def half_select(array: Array, volts: float, row: int, col: int) -> FloatArray:
    source = np.full(array.circuit.lines, volts / 2)
    source[row], source[array.circuit.n_rows + col] = volts, 0.0
    return source


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("volts", [0.05, 0.45, -0.6, 1.0])
def test_operating_point_is_that_of_the_nonlinear_circuit(seed: int, volts: float) -> None:
    array = make(seed=seed)
    source = half_select(array, volts, 1, 2) + np.linspace(0, 0.02, LINES)
    v, current, line = nodal(array, source, ALL)
    point = array.circuit.operating_point(source, ALL, LIMIT)
    assert point.cell_voltage == pytest.approx(v, abs=2e-9)
    assert point.line_current == pytest.approx(current, abs=1e-12)
    assert point.line_voltage == pytest.approx(line)
    assert not point.limited.any()


@pytest.mark.parametrize("volts", [0.1, 0.45, 1.1])
def test_floating_lines_take_the_voltage_that_makes_their_current_zero(volts: float) -> None:
    array, driven = make(5, 3), np.ones(8, np.bool_)
    driven[[0, 3, 6]] = False
    source = half_select(array, volts, 1, 2)
    v, current, line = nodal(array, np.where(driven, source, 0), driven)
    point = array.circuit.operating_point(source, driven, np.ones(8))
    assert point.cell_voltage == pytest.approx(v, abs=5e-9)
    assert point.line_current == pytest.approx(current, abs=5e-12)
    assert point.line_voltage == pytest.approx(line, abs=5e-9)
    assert (point.line_current[~driven] == 0).all()


def test_defects_are_part_of_the_circuit() -> None:
    array = make(5, 4, seed=2, defects={"short": 0.2, "open": 0.2})
    assert {int(FabricatedDefect.SHORT), int(FabricatedDefect.OPEN)} <= set(array.cells.defect.tolist())
    source = half_select(array, 0.4, 1, 2)
    v, current, _ = nodal(array, source, np.ones(9, np.bool_))
    point = array.circuit.operating_point(source, np.ones(9, np.bool_), np.ones(9))
    assert point.cell_voltage == pytest.approx(v, abs=2e-9)
    assert point.line_current == pytest.approx(current, abs=1e-11)


def test_compliance_holds_the_line_at_its_limit() -> None:
    array = make()
    source = half_select(array, 0.45, 1, 2)
    free = array.circuit.operating_point(source, ALL, LIMIT)
    limit = LIMIT.copy()
    limit[1] = 0.6 * abs(free.line_current[1])
    point = array.circuit.operating_point(source, ALL, limit)
    assert point.limited.tolist() == [k == 1 for k in range(LINES)]
    assert point.line_current[1] == pytest.approx(limit[1], rel=1e-12)
    assert 0 < point.line_voltage[1] < source[1]
    # driving the line at the voltage it has come to is the same condition
    same = array.circuit.operating_point(point.line_voltage, ALL, LIMIT)
    assert same.cell_voltage == pytest.approx(point.cell_voltage, abs=2e-9)
    assert same.line_current == pytest.approx(point.line_current, abs=1e-12)


def test_compliance_of_every_line_at_once_is_consistent() -> None:
    array = make(5, 4, seed=2, defects={"short": 0.3})
    driven, limit = np.ones(9, np.bool_), np.full(9, 0.1e-3)
    source = np.concatenate([np.linspace(0.1, 0.4, 5), np.zeros(4)])
    point = array.circuit.operating_point(source, driven, limit)
    assert point.limited.sum() >= 2
    assert (np.abs(point.line_current) <= limit * (1 + 1e-8)).all()
    assert point.line_voltage[~point.limited] == pytest.approx(source[~point.limited])
    # a source in compliance would rather push more: its line is on the near side of its set point
    pushed = np.sign(point.line_current) * (source - point.line_voltage)
    assert (pushed[point.limited] > 0).all()
    assert point.line_current.sum() == pytest.approx(0, abs=1e-12)


def test_current_limits_settle_whatever_is_limited() -> None:
    rng = np.random.default_rng(0)
    limited = 0
    for seed in range(40):
        array = make(5, 4, seed=seed, defects={"short": 0.3, "open": 0.2})
        for alike in (True, False):
            source = rng.uniform(-0.5, 0.5, 9) * rng.integers(0, 2, 9)
            limit = 10 ** (np.full(9, rng.uniform(-5, -3)) if alike else rng.uniform(-5, -3, 9))
            driven = rng.random(9) < 0.8
            point = array.circuit.operating_point(source, driven, limit)
            held = driven & ~point.limited
            pushed = np.sign(point.line_current) * (source - point.line_voltage)
            assert (np.abs(point.line_current) <= limit * (1 + 1e-7)).all()
            assert point.line_voltage[held] == pytest.approx(source[held], abs=1e-12)
            assert (pushed[point.limited] > -1e-8).all()
            assert point.line_current.sum() == pytest.approx(0, abs=1e-10)
            limited += int(point.limited.sum())
    assert limited > 100


def test_reads_take_the_bias_dependence_of_the_linear_network() -> None:
    array = make(15, 14)
    rng = np.random.default_rng(4)
    ones = np.ones(29, np.bool_)
    for top in (0.1, 0.2):
        source = np.concatenate([rng.uniform(0, top, (6, 15)), np.zeros((6, 14))], axis=1)
        exact = np.stack([array.circuit.operating_point(e, ones, np.ones(29)).line_current for e in source])
        current = array.circuit.read(source, array.circuit.reading_network(~ones))
        assert np.abs(current - exact).max() < 1e-4 * np.abs(exact).max()
        linear = source @ array.circuit.ports.y
        assert np.abs(current - exact).max() < 0.1 * np.abs(linear - exact).max()


def test_reads_with_floating_lines() -> None:
    array, free = make(5, 3), np.zeros(8, np.bool_)
    free[[0, 4, 6]] = True
    source = np.where(free, 0.0, np.linspace(0, 0.1, 8))
    exact = array.circuit.operating_point(source, ~free, np.ones(8)).line_current
    current = array.circuit.read(source[None], array.circuit.reading_network(free))[0]
    assert current == pytest.approx(exact, abs=1e-4 * np.abs(exact).max())


def test_many_changes_equal_a_new_circuit() -> None:
    array = make(5, 4)
    rng = np.random.default_rng(0)
    for _ in range(300):
        array.switch(np.arange(20) == rng.integers(20))
    new = make(5, 4)
    new.switch(new.cells.state != array.cells.state)
    new.circuit.ports.rebuild()
    for name in ("y", "q", "k"):
        a, b = getattr(array.circuit.ports, name), getattr(new.circuit.ports, name)
        assert np.abs(a - b).max() < 1e-12 * np.abs(b).max()


@pytest.mark.parametrize("polarity", [1, -1])
def test_switching_looks_at_state_direction_and_own_critical_voltage(polarity: int) -> None:
    array = make(polarity=polarity, switching={"v_c0_p": 0.5, "v_c0_ap": 0.4})
    c = array.cells
    v = polarity * np.linspace(-0.5, 0.5, M * N)
    p = array.switching(v[None], 1e-3)[0]
    drive = np.where(c.state, -polarity * v / c.v_c0_ap, polarity * v / c.v_c0_p)
    tau = 1e-9 * np.exp(c.delta * np.maximum(1 - drive, 0))
    assert p == pytest.approx(-np.expm1(-1e-3 / tau), rel=1e-9)


def test_stuck_and_dead_cells_never_switch() -> None:
    array = make(5, 4, defects={"short": 0.2, "open": 0.2, "stuck_p": 0.3, "stuck_ap": 0.3})
    for volts in (-2.0, 0.0, 2.0):
        assert (array.switching(np.full((1, 20), volts), 1.0) == 0).all()


def test_an_ideal_cell_switches_when_half_of_the_pulses_would() -> None:
    array = make(ideal=True)
    v_50 = 0.5 * LAW.median(1e-3, 60.0)
    v = np.array([[v_50 * 0.999, v_50 * 1.001]]).repeat(M * N // 2, axis=1)
    assert array.switching(v, 1e-3)[0].tolist() == (v[0] > v_50).astype(float).tolist()


def test_a_cell_above_its_breakdown_voltage_becomes_a_short() -> None:
    array = make()
    source = half_select(array, 1.6, 1, 2)
    before = array.circuit.operating_point(source, ALL, LIMIT)
    after = array.act(source, ALL, LIMIT, 1e-3, np.ones(M * N))
    broken = np.flatnonzero(array.cells.defect == FabricatedDefect.BROKEN)
    assert broken.tolist() == [1 * N + 2]
    assert after.line_current[1] > 3 * before.line_current[1]
    short = array.cells.g_short[broken[0]]
    assert after.line_current[1] == pytest.approx(short * after.cell_voltage[broken[0]], rel=0.5)
    assert (array.switching(np.full((1, M * N), 0.6), 1.0)[0, broken] == 0).all()


def test_stress_accumulates_until_the_cell_breaks() -> None:
    array = make(1, 1, spread={}, breakdown={"t_bd": 1.0, "spread": 0.0})
    source, ones = np.array([1.15, 0.0]), np.ones(2, np.bool_)
    v = array.circuit.operating_point(source, ones, np.ones(2)).cell_voltage[0]
    rate = (v / 1.2) ** 40
    life = float(array.cells.endurance[0]) / rate
    step = life / 7.5
    for n in range(1, 9):
        array.act(source, ones, np.ones(2), step, np.ones(1))
        assert bool(array.cells.defect[0] == FabricatedDefect.BROKEN) is (n == 8)


def test_low_voltages_do_not_wear() -> None:
    array = make()
    array.act(half_select(array, 0.5, 1, 2), ALL, LIMIT, 1.0, np.ones(M * N))
    assert (array.cells.stress == 0).all()


def test_the_bound_on_read_disturb_is_one() -> None:
    array = make(5, 4)
    for span in (0.05, 0.1, 0.2, 0.3, 0.4):
        bound = array.disturb_bound(np.array([span]), 1e-3)[0]
        for sign in (-1, 1):
            assert array.switching(np.full((1, 20), sign * span), 1e-3).sum() <= bound or bound == 1.0
    # and no needless one: within one step of the table
    above = LAW.probability(0.11 / array.cells.v_c0_p, array.cells.delta, 1e-3).sum()
    assert array.disturb_bound(np.array([0.1]), 1e-3)[0] <= above
    assert array.disturb_bound(np.array([0.9]), 1e-3)[0] == 1.0
