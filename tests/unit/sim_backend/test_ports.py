"""The ports of an array against the network solved anew, and limited lines against what a source meter does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim_backend.crossbar import ResistorNetwork
from sim_backend.ports import Ports, line_voltages

SHORT = 100.0


def wires_of(shape, kind="varied"):
    rng = np.random.default_rng(1)
    if kind == "none":
        return {"r_row": 0.0, "r_col": 0.0}
    r_row = rng.uniform(0.5, 5.0, shape)
    if kind == "broken":
        r_row[1, 2] = np.inf
    return {"r_row": r_row, "r_col": 2.0, "r_source": rng.uniform(0, 20, shape[0]), "r_sense": 3.0}


def cells(shape, seed=0):
    return np.random.default_rng(seed).uniform(2e-4, 1e-3, shape)


def assert_same(actual, wanted, tolerance=1e-13):
    for name in ("y", "q", "k"):
        a, b = getattr(actual, name), getattr(wanted, name)
        assert np.abs(a - b).max() <= tolerance * max(np.abs(b).max(), 1e-30), name


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (1, 4), (4, 1)])
@pytest.mark.parametrize("kind", ["none", "varied"])
def test_ports_are_the_network_at_unit_voltages(shape, kind):
    g, wires = cells(shape), wires_of(shape, kind)
    ports, unit = Ports(g, **wires), np.eye(sum(shape))
    point = ResistorNetwork(g, **wires).solve(unit[:, : shape[0]], unit[:, shape[0] :])
    into = np.concatenate([point.row_current, -point.col_current], axis=1)
    np.testing.assert_allclose(ports.y, into.T, rtol=0, atol=1e-14 * np.abs(into).max())
    np.testing.assert_allclose(ports.q, point.cell_voltage.reshape(len(unit), -1).T, rtol=0, atol=1e-14)
    np.testing.assert_allclose(ports.y.sum(axis=1), 0.0, atol=1e-15)


def test_without_wires_cells_see_the_lines_and_not_each_other():
    ports = Ports(cells((2, 3)), r_row=0.0, r_col=0.0)
    e = np.array([0.5, 0.2, 0.0, 0.1, -0.1])
    np.testing.assert_array_equal(ports.q @ e, (e[:2, None] - e[None, 2:]).ravel())
    np.testing.assert_array_equal(ports.k, np.zeros((6, 6)))


@pytest.mark.parametrize("shape", [(3, 5), (5, 3)])
@pytest.mark.parametrize("kind", ["varied", "broken"])
def test_k_answers_to_a_current_beside_a_cell(shape, kind):
    """A cell of other conductance is the old cell with a current beside it."""
    g, wires = cells(shape), wires_of(shape, kind)
    before, e = Ports(g, **wires), np.linspace(-0.3, 0.4, sum(shape))
    changed = g * np.random.default_rng(4).uniform(0.5, 2.0, shape)
    after = Ports(changed, **wires)
    v = after.q @ e
    beside = (changed - g).ravel() * v
    np.testing.assert_allclose(before.q @ e - before.k @ beside, v, rtol=0, atol=1e-14)
    np.testing.assert_allclose(before.y @ e + before.q.T @ beside, after.y @ e, rtol=0, atol=1e-16)
    np.testing.assert_allclose(before.k, before.k.T, rtol=0, atol=1e-14 * before.k.max())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["none", "varied", "broken"]))
def test_changes_stay_with_the_network_solved_anew(seed, kind):
    rng, shape = np.random.default_rng(seed), (4, 6)
    g, wires = cells(shape, seed), wires_of(shape, kind)
    ports = Ports(g, **wires)
    for _ in range(40):
        cell = int(rng.integers(g.size))
        g.flat[cell] = rng.choice([0.0, 2e-4, 1e-3, rng.uniform(1e-4, 1e-2), SHORT])
        ports.change(cell, float(g.flat[cell]))
        if rng.random() < 0.1:
            assert_same(ports, Ports(g, **wires), 1e-12)
    assert_same(ports, Ports(g, **wires), 1e-12)
    np.testing.assert_array_equal(ports.conductance, g)


def test_drift_of_a_thousand_changes_stays_below_the_promise():
    rng, shape = np.random.default_rng(2), (15, 14)
    g, wires = cells(shape), wires_of(shape)
    ports, p, ap = Ports(g, **wires), g.copy(), g / 2.2
    for cell in rng.integers(0, g.size, 1000):
        g.flat[cell] = ap.flat[cell] if g.flat[cell] == p.flat[cell] else p.flat[cell]
        ports.change(int(cell), float(g.flat[cell]))
    assert_same(ports, Ports(g, **wires), 1e-12)


def test_cells_beyond_a_break_come_alive_together():
    r_row = np.full((2, 3), 2.0)
    r_row[0, 1] = np.inf
    g = np.array([[1e-3, 0.0, 0.0], [1e-3, 1e-3, 1e-3]])
    ports = Ports(g, r_row=r_row, r_col=1.0)
    g[0, 1], g[0, 2] = 1e-3, 2e-3
    ports.change(1, 1e-3)
    ports.change(2, 2e-3)
    assert_same(ports, Ports(g, r_row=r_row, r_col=1.0))
    assert ports.q[1, 3] * ports.q[2, 3] < 0.0  # in series between two columns


@pytest.mark.parametrize(
    ("cell", "conductance", "error", "message"),
    [
        (0, -1.0, ValueError, "conductance is -1 S"),
        (0, np.nan, ValueError, "conductance is nan S"),
        (6, 1.0, IndexError, "no cell 6, the array has 6 cells"),
    ],
)
def test_refuses_a_change_that_cannot_be(cell, conductance, error, message):
    with pytest.raises(error, match=message):
        Ports(np.ones((2, 3)), r_row=1.0, r_col=1.0).change(cell, conductance)


# ------------------------------------------------------------------ lines in compliance


def y_of(shape=(3, 4), seed=0):
    return Ports(cells(shape, seed), **wires_of(shape)).y


def assert_settled(y, voltage, floating, compliance, answer):
    """Every line is in exactly one of its three conditions."""
    settled, current, limited = answer
    limit = np.broadcast_to(compliance, y.shape[:1])
    size = np.abs(current).max(initial=1e-12)
    rounding = 1e-15 * np.abs(y).max() * np.abs(settled).max(initial=0.0)  # of the product here
    np.testing.assert_allclose(settled @ y, current, rtol=0, atol=1e-11 * size + rounding)
    assert not (limited & floating).any()
    assert not current[floating].any()
    held = ~floating & ~limited
    np.testing.assert_array_equal(settled[held], voltage[held])
    assert (np.abs(current) <= limit * (1 + 1e-11)).all()
    at = np.broadcast_to(limit, current.shape)[limited]
    np.testing.assert_array_equal(np.abs(current[limited]), at)
    assert (((settled - voltage) * np.sign(current))[limited] <= 1e-9).all()


def test_without_limits_and_floating_lines_it_is_the_admittance():
    y, v = y_of(), np.random.default_rng(1).uniform(-1, 1, (5, 7))
    settled, current, limited = line_voltages(y, v, np.zeros(v.shape, bool), np.inf)
    np.testing.assert_array_equal(settled, v)
    np.testing.assert_allclose(current, v @ y, rtol=0, atol=1e-16)
    assert not limited.any()


def test_floating_lines_agree_with_the_network():
    g, wires = cells((3, 4)), wires_of((3, 4))
    v = np.random.default_rng(1).uniform(-1, 1, (20, 7))
    floating = np.random.default_rng(2).random(v.shape) < 0.5
    opened = np.where(floating, np.nan, v)
    point = ResistorNetwork(g, **wires).solve(opened[:, :3], opened[:, 3:])
    settled, current, _ = line_voltages(Ports(g, **wires).y, v, floating, np.inf)
    into = np.concatenate([point.row_current, -point.col_current], axis=1)
    np.testing.assert_allclose(current, into, rtol=0, atol=1e-13 * np.abs(into).max())
    across = (Ports(g, **wires).q @ settled.T).T.reshape(-1, 3, 4)
    known = ~np.isnan(point.cell_voltage)
    np.testing.assert_allclose(across[known], point.cell_voltage[known], rtol=0, atol=1e-13)


def test_a_shorted_cell_puts_its_source_into_compliance():
    ports = Ports([[SHORT, 1e-3, 1e-3], [1e-3, 1e-3, 1e-3]], r_row=0.5, r_col=0.5)
    voltage = np.array([[0.5, 0.0, 0.0, 0.0, 0.0]])
    limit = np.array([1e-3, 1.0, 1.0, 1.0, 1.0])
    answer = line_voltages(ports.y, voltage, np.zeros((1, 5), bool), limit)
    assert_settled(ports.y, voltage, np.zeros((1, 5), bool), limit, answer)
    assert answer[2].tolist() == [[True, False, False, False, False]]
    assert 0.0 < answer[0][0, 0] < 2e-3


def test_two_equal_limits_in_series_are_taken_by_the_first_line():
    ports = Ports([[1e-3]], r_row=0.0, r_col=0.0)
    settled, current, limited = line_voltages(ports.y, [[1.0, 0.0]], [[False, False]], 1e-4)
    assert limited.tolist() == [[True, False]]
    np.testing.assert_allclose(settled, [[0.1, 0.0]], rtol=1e-14)
    np.testing.assert_allclose(current, [[1e-4, -1e-4]], rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([3e-5, 2e-4, 1e-3]))
def test_every_line_ends_in_one_condition(seed, scale):
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 6)), int(rng.integers(1, 6)))
    g = cells(shape, seed)
    g[rng.random(shape) < 0.2], g[rng.random(shape) < 0.2] = SHORT, 0.0
    y = Ports(g, r_row=2.0, r_col=1.0).y
    voltage = rng.uniform(-0.5, 0.5, (6, sum(shape)))
    floating = rng.random(voltage.shape) < rng.choice([0.0, 0.3])
    compliance = scale * rng.uniform(0.5, 2.0, sum(shape))
    assert_settled(y, voltage, floating, compliance, line_voltages(y, voltage, floating, compliance))


def test_patterns_do_not_depend_on_their_batch():
    rng = np.random.default_rng(8)
    y, voltage = y_of(), rng.uniform(-0.5, 0.5, (30, 7))
    floating = rng.random(voltage.shape) < 0.3
    together = line_voltages(y, voltage, floating, 1e-4)
    for k in range(30):
        alone = line_voltages(y, voltage[k : k + 1], floating[k : k + 1], 1e-4)
        np.testing.assert_allclose(together[0][k], alone[0][0], rtol=0, atol=1e-13)
        np.testing.assert_array_equal(together[2][k], alone[2][0])


def test_a_line_that_nothing_drives_rests_at_zero():
    ports = Ports([[1e-3, 0.0]], r_row=1.0, r_col=1.0)
    settled, current, _ = line_voltages(ports.y, [[0.5, 0.2, 9.0]], [[False, False, True]], 1.0)
    assert settled[0, 2] == 0.0
    assert current[0, 2] == 0.0


@pytest.mark.parametrize(
    ("voltage", "floating", "compliance", "message"),
    [
        ([[0.0] * 6], [[False] * 6], 1.0, r"expected both \(n, 7\)"),
        ([[0.0] * 7], [[False] * 6], 1.0, r"expected both \(n, 7\)"),
        ([[0.0] * 7], [[False] * 7], 0.0, "compliance contains 0 A"),
        ([[0.0] * 7], [[False] * 7], np.nan, "compliance contains nan A"),
    ],
)
def test_refuses_limits_that_cannot_be(voltage, floating, compliance, message):
    with pytest.raises(ValueError, match=message):
        line_voltages(y_of(), voltage, floating, compliance)
