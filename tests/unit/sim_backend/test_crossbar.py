"""The circuit solver against exact rational nodal analysis, and against what every resistor network must obey."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim_backend.crossbar import ResistorNetwork, solve

SHORT = 100.0  # S, a cell of 0.01 ohm
EXACT = 1e-12  # of the largest current of the vector


def exact(g, v_row, v_col, r_row, r_col):
    """Row currents, column currents and cell voltages of one vector, by Gaussian elimination of rational numbers.

    Terminal resistances are taken as part of the first and last segments; None is an undefined cell voltage.
    """
    m, n = g.shape
    parent = list(range(2 * m * n + m + n))

    def find(a):
        while parent[a] != a:
            a = parent[a]
        return a

    source, sense = 2 * m * n, 2 * m * n + m
    wires, cells = [], []
    for i in range(m):
        for j in range(n):
            row, col = i * n + j, m * n + i * n + j
            wires.append((row - 1 if j else source + i, row, r_row[i, j]))
            wires.append((col + n if i < m - 1 else sense + j, col, r_col[i, j]))
            cells.append((row, col, g[i, j]))
    for a, b, r in wires:
        if r == 0.0:
            parent[find(a)] = find(b)
    links = [(find(a), find(b), 1 / Fraction(r)) for a, b, r in wires if 0.0 < r < np.inf]
    links += [(find(a), find(b), Fraction(x)) for a, b, x in cells if x > 0.0]
    held = {find(source + i): Fraction(v) for i, v in enumerate(v_row) if not np.isnan(v)}
    held |= {find(sense + j): Fraction(v) for j, v in enumerate(v_col) if not np.isnan(v)}
    known = set(held)
    while grown := {x for a, b, _ in links for x in (a, b) if (a in known) != (b in known)} - known:
        known |= grown
    unknown = sorted({x for a, b, _ in links for x in (a, b)} & known - set(held))
    at = {node: k for k, node in enumerate(unknown)}
    rows = [[Fraction(0)] * (len(unknown) + 1) for _ in unknown]
    for a, b, y in links:
        for p, q in ((a, b), (b, a)):
            if p in at:
                rows[at[p]][at[p]] += y
                if q in at:
                    rows[at[p]][at[q]] -= y
                else:
                    rows[at[p]][-1] += y * held[q]
    for k, pivot in enumerate(rows):
        for low in rows[k + 1 :]:
            if low[k]:
                f = low[k] / pivot[k]
                for c in range(k, len(low)):
                    if pivot[c]:
                        low[c] -= f * pivot[c]
    voltage = dict(held)
    for k in reversed(range(len(unknown))):
        rest = sum(rows[k][c] * voltage[unknown[c]] for c in range(k + 1, len(unknown)))
        voltage[unknown[k]] = (rows[k][-1] - rest) / rows[k][k]
    across, current = np.full((m, n), np.nan), [[Fraction(0)] * n for _ in range(m)]
    for i in range(m):
        for j in range(n):
            a, b = (voltage.get(find(node)) for node in (i * n + j, m * n + i * n + j))
            if a is not None and b is not None:
                across[i, j], current[i][j] = float(a - b), (a - b) * Fraction(g[i, j])
    return (
        np.array([float(sum(line)) for line in current]),
        np.array([float(sum(line)) for line in zip(*current, strict=True)]),
        across,
    )


@st.composite
def crossbars(draw, max_side=4, floating=True, broken=True):
    """Networks with shorts, opens, dead lines, zero and broken wires, and vectors that drive or float lines."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    m, n = draw(st.integers(1, max_side)), draw(st.integers(1, max_side))
    g = 10.0 ** rng.uniform(-5, -2, (m, n))
    cells = draw(st.sampled_from(["sound", "shorts and opens", "any"]))
    if cells != "sound":
        g[rng.random((m, n)) < 0.2], g[rng.random((m, n)) < 0.2] = 0.0, SHORT
    if cells == "any":
        g = np.where(rng.random((m, n)) < 0.4, 10.0 ** rng.uniform(-13, 4, (m, n)), g)
    if draw(st.booleans()):
        g[rng.integers(m)] = 0.0

    def wire():
        kind = draw(st.sampled_from(["zero", "uniform", "varied", "wild", "partly zero", "broken"]))
        if kind == "zero":
            return np.zeros((m, n))
        if kind == "uniform":
            return np.full((m, n), 10.0 ** rng.uniform(-6, 3))
        r = 10.0 ** (rng.uniform(-1, 2, (m, n)) if kind == "varied" else rng.uniform(-8, 6, (m, n)))
        if kind in ("partly zero", "broken"):
            r[rng.random((m, n)) < 0.3] = 0.0
        if kind == "broken" and broken:
            r[rng.random((m, n)) < 0.15] = np.inf
        return r

    r_row, r_col = wire(), wire()
    v_row, v_col = rng.uniform(-1, 1, (2, m)), rng.uniform(-1, 1, (2, n))
    if draw(st.booleans()):
        v_col[:] = 0.0
    if floating and draw(st.booleans()):
        share = draw(st.sampled_from([0.2, 0.5, 0.8]))
        v_row[rng.random(v_row.shape) < share], v_col[rng.random(v_col.shape) < share] = np.nan, np.nan
    return g, v_row, v_col, {"r_row": r_row, "r_col": r_col}


def lines(point):
    """All line currents into the array, (k, rows + columns)."""
    return np.concatenate([point.row_current, -point.col_current], axis=1)


def assert_same_current(actual, wanted, tolerance=EXACT):
    error, largest = np.abs(actual - wanted).max(axis=-1), np.abs(wanted).max(axis=-1)
    assert (error <= tolerance * largest + 1e-60).all(), f"off by {error} of {largest}"


@settings(max_examples=120, deadline=None)
@given(crossbars())
def test_agrees_with_rational_arithmetic(case):
    g, v_row, v_col, wires = case
    point = solve(g, v_row, v_col, **wires)
    for k in range(2):
        row, col, across = exact(g, v_row[k], v_col[k], **wires)
        assert_same_current(lines(point)[k], np.concatenate([row, -col]))
        np.testing.assert_array_equal(np.isnan(point.cell_voltage[k]), np.isnan(across))
        np.testing.assert_allclose(point.cell_voltage[k], across, rtol=0, atol=1e-12)


def test_the_exact_reference_knows_a_voltage_divider():
    row, col, across = exact(np.array([[0.5]]), [1.0], [0.0], np.array([[1.0]]), np.array([[1.0]]))
    assert (row[0], col[0], across[0, 0]) == (0.25, 0.25, 0.5)


@pytest.mark.parametrize("shape", [(5, 4), (4, 5), (12, 30), (33, 9)])
@pytest.mark.parametrize("segment", [0.0, 1e-6, 2.0, 200.0])
def test_both_methods_agree(shape, segment):
    rng = np.random.default_rng(7)
    g = rng.uniform(2e-4, 1e-3, shape)
    g[0, 1], g[2, 3], g[:, 2] = SHORT, SHORT, 0.0
    v_row, v_col = rng.uniform(-0.5, 0.5, (1, shape[0])), rng.uniform(-0.1, 0.1, (1, shape[1]))
    wires = {"r_row": segment, "r_col": segment / 2, "r_source": 10.0, "r_sense": 3.0}
    one_by_one, reduced = ResistorNetwork(g, **wires), ResistorNetwork(g, **wires)
    reduced.terminals  # noqa: B018  eliminates, so that vectors are no longer solved one by one
    a, b = one_by_one.solve(v_row, v_col), reduced.solve(v_row, v_col)
    assert one_by_one.prefers_cells(0)
    assert not reduced.prefers_cells(0)
    assert_same_current(lines(a), lines(b))
    np.testing.assert_allclose(a.cell_voltage, b.cell_voltage, rtol=0, atol=1e-12)


def test_long_columns_of_shorts_do_not_underflow():
    g = np.full((60, 3), 1e6)
    point = ResistorNetwork(g, r_row=1.0, r_col=1e5).solve(np.ones((3, 60)), np.zeros((3, 3)))
    near = exact(g[-3:], np.ones(3), np.zeros(3), np.full((3, 3), 1.0), np.full((3, 3), 1e5))[1]
    assert_same_current(point.col_current, np.tile(near, (3, 1)))


@settings(max_examples=30, deadline=None)
@given(crossbars(max_side=9, floating=False))
def test_currents_superpose(case):
    g, v_row, v_col, wires = case
    network = ResistorNetwork(g, **wires)
    parts = lines(network.solve(v_row, v_col))
    whole = lines(network.solve(v_row.sum(axis=0)[None], v_col.sum(axis=0)[None]))
    assert np.abs(whole[0] - parts.sum(axis=0)).max() <= EXACT * np.abs(parts).max() + 1e-60


@settings(max_examples=30, deadline=None)
@given(crossbars(max_side=9))
def test_current_is_conserved(case):
    g, v_row, v_col, wires = case
    current = lines(solve(g, v_row, v_col, **wires))
    assert (np.abs(current.sum(axis=1)) <= EXACT * np.abs(current).max(axis=1) + 1e-60).all()
    floats = np.isnan(np.concatenate([v_row, v_col], axis=1))
    assert not current[floats].any()


@settings(max_examples=30, deadline=None)
@given(crossbars(max_side=9))
def test_lines_are_reciprocal(case):
    g, _, _, wires = case
    count = sum(g.shape)
    unit = np.eye(count)
    response = lines(solve(g, unit[:, : len(g)], unit[:, len(g) :], **wires))
    np.testing.assert_allclose(response, response.T, rtol=1e-11, atol=1e-12 * np.abs(response).max())


@settings(max_examples=30, deadline=None)
@given(crossbars(max_side=7))
def test_mirroring_on_the_antidiagonal_swaps_rows_and_columns(case):
    g, v_row, v_col, wires = case
    point = solve(g, v_row, v_col, **wires)
    swapped = solve(
        g[::-1, ::-1].T,
        v_col[:, ::-1],
        v_row[:, ::-1],
        r_row=wires["r_col"][::-1, ::-1].T,
        r_col=wires["r_row"][::-1, ::-1].T,
    )
    assert_same_current(lines(swapped)[:, ::-1], lines(point))


@settings(max_examples=30, deadline=None)
@given(crossbars(max_side=7), st.randoms(use_true_random=False))
def test_rows_may_be_permuted_where_columns_have_no_wires(case, random):
    g, v_row, v_col, wires = case
    order = random.sample(range(len(g)), len(g))
    point = solve(g, v_row, v_col, r_row=wires["r_row"], r_col=0.0)
    permuted = solve(g[order], v_row[:, order], v_col, r_row=wires["r_row"][order], r_col=0.0)
    assert_same_current(permuted.col_current, point.col_current, 1e-11)
    np.testing.assert_allclose(permuted.cell_voltage, point.cell_voltage[:, order], rtol=0, atol=1e-12)


def test_a_floating_line_sits_where_no_current_flows():
    rng = np.random.default_rng(3)
    g = rng.uniform(2e-4, 1e-3, (3, 5))
    network = ResistorNetwork(g, r_row=2.0, r_col=3.0)
    v_row, v_col = np.array([[0.5, np.nan, 0.2]]), np.zeros((1, 5))
    floated = network.solve(v_row, v_col)
    to_others = network.terminals[1].copy()
    v_row[0, 1] = to_others @ np.array([0.5, 0.0, 0.2, 0, 0, 0, 0, 0]) / to_others.sum()
    driven = network.solve(v_row, v_col)
    assert floated.row_current[0, 1] == 0.0
    assert_same_current(lines(driven), lines(floated))
    np.testing.assert_allclose(driven.cell_voltage, floated.cell_voltage, rtol=0, atol=1e-15)


def test_vectors_of_a_batch_may_float_different_lines():
    rng = np.random.default_rng(5)
    g = rng.uniform(2e-4, 1e-3, (4, 6))
    v_row, v_col = rng.uniform(-1, 1, (40, 4)), rng.uniform(-1, 1, (40, 6))
    v_row[rng.random(v_row.shape) < 0.3], v_col[rng.random(v_col.shape) < 0.3] = np.nan, np.nan
    network = ResistorNetwork(g, r_row=2.0, r_col=0.5)
    batch = network.solve(v_row, v_col)
    for k in range(40):
        alone = ResistorNetwork(g, r_row=2.0, r_col=0.5).solve(v_row[k : k + 1], v_col[k : k + 1])
        assert_same_current(lines(batch)[k], lines(alone)[0])
        np.testing.assert_allclose(batch.cell_voltage[k], alone.cell_voltage[0], rtol=0, atol=1e-14)


def test_a_line_without_a_path_carries_nothing_and_its_cells_have_no_voltage():
    g = np.array([[1e-3, 0.0, 2e-3], [0.0, 5e-4, 0.0]])
    point = solve(g, [[0.3, np.nan]], [[0.0, np.nan, 0.1]], r_row=2.0, r_col=2.0)
    assert point.row_current[0, 1] == 0.0
    assert point.col_current[0, 1] == 0.0
    np.testing.assert_array_equal(np.isnan(point.cell_voltage[0]), [[False, True, False], [True, True, True]])


def test_no_line_driven_means_no_current_and_no_voltage():
    nothing = np.full((2, 3), np.nan)
    point = solve(np.full((2, 3), 1e-3), np.full((2, 2), np.nan), nothing, r_row=1.0, r_col=1.0)
    assert not lines(point).any()
    assert np.isnan(point.cell_voltage).all()


def test_a_common_voltage_costs_no_digits():
    rng = np.random.default_rng(9)
    g = rng.uniform(2e-4, 1e-3, (5, 4))
    g[1, 1] = g[2, 1] = SHORT
    small = np.array([[0, 4, 7, 1, 2], [3, 0, 0, 5, 1]]) * 2.0**-30
    for floating in (False, True):
        v_col = np.full((2, 4), np.nan if floating else 0.0)
        v_col[:, 0] = 0.0
        low = ResistorNetwork(g, r_row=2.0, r_col=2.0).solve(small, v_col)
        high = ResistorNetwork(g, r_row=2.0, r_col=2.0).solve(1.0 + small, 1.0 + v_col)
        assert_same_current(lines(high), lines(low))


def test_a_large_array_of_contrasts_keeps_kirchhoff():
    rng = np.random.default_rng(11)
    shape = (120, 90)
    g = rng.uniform(2e-4, 1e-3, shape)
    g[rng.random(shape) < 0.02], g[rng.random(shape) < 0.02] = SHORT, 0.0
    g[:, 17], g[40] = 0.0, 0.0
    network = ResistorNetwork(g, r_row=2.0, r_col=rng.uniform(0.5, 5.0, shape), r_sense=10.0)
    v = rng.uniform(-0.5, 0.5, (1, 120))
    one = network.solve(v, np.zeros((1, 90)))
    cells = one.cell_voltage * g
    assert_same_current(one.row_current, cells.sum(axis=2), 1e-10)
    many = network.solve(np.repeat(v, 30, axis=0), np.zeros((30, 90)))
    assert_same_current(many.col_current[4:5], one.col_current)
    assert_same_current(many.row_current[4:5], one.row_current)
    assert not one.col_current[0, 17]


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1), (2, 3)])
def test_no_vectors_is_an_answer_too(shape):
    m, n = shape
    point = solve(np.ones(shape), np.zeros((0, m)), np.zeros((0, n)), r_row=1.0, r_col=1.0)
    assert point.row_current.shape == (0, m)
    assert point.col_current.shape == (0, n)
    assert point.cell_voltage.shape == (0, m, n)


def test_terminal_resistances_belong_to_the_outer_segments():
    g = np.array([[1e-3, 2e-3, 5e-4], [3e-3, 1e-3, 1e-4]])
    source, sense = np.array([10.0, 20.0]), np.array([5.0, 0.0, 7.0])
    r_row, r_col = np.full((2, 3), 2.0), np.full((2, 3), 3.0)
    v = [[0.3, 0.1]], [[0.0, 0.05, 0.0]]
    apart = solve(g, *v, r_row=r_row, r_col=r_col, r_source=source, r_sense=sense)
    r_row[:, 0] += source
    r_col[-1] += sense
    np.testing.assert_array_equal(lines(apart), lines(solve(g, *v, r_row=r_row, r_col=r_col)))


def test_a_network_keeps_its_own_conductances():
    g = np.full((2, 3), 1e-3)
    network = ResistorNetwork(g, r_row=0.0, r_col=0.0)
    g[:] = 5.0
    out = network.solve(np.full((1, 2), 0.3), np.full((1, 3), 0.1)).col_current
    np.testing.assert_allclose(out, np.full((1, 3), 4e-4), rtol=1e-14)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conductance": [1.0, 2.0]}, r"conductance has shape \(2,\), expected \(n_rows, n_cols\)"),
        ({"conductance": [[1.0, -2.0, 1.0]] * 2}, "conductance contains -2 S"),
        ({"conductance": [[1.0, np.nan, 1.0]] * 2}, "conductance contains nan S"),
        ({"conductance": [[1.0, np.inf, 1.0]] * 2}, "conductance contains inf S"),
        ({"v_row": [0.0, 0.0]}, r"v_row has shape \(2,\), expected \(k, 2\)"),
        ({"v_row": [[0.0] * 3]}, r"v_row has shape \(1, 3\), expected \(k, 2\)"),
        ({"v_col": [[0.0] * 2]}, r"v_col has shape \(1, 2\), expected \(1, 3\)"),
        ({"v_row": [[0.0, np.inf]]}, "v_row contains an infinite voltage"),
        ({"v_col": [[0.0, -np.inf, 0.0]]}, "v_col contains an infinite voltage"),
        ({"r_row": [1.0, 2.0]}, r"r_row has shape \(2,\), expected a scalar or \(n_rows, n_cols\) = \(2, 3\)"),
        ({"r_col": -1.0}, "r_col contains -1 ohm"),
        ({"r_source": [1.0, np.nan]}, "r_source contains nan ohm"),
        ({"r_sense": np.ones((3, 1))}, r"r_sense has shape \(3, 1\)"),
    ],
)
def test_refuses_what_is_not_a_crossbar(change, message):
    case = {"conductance": np.ones((2, 3)), "v_row": [[0.0, 0.1]], "v_col": [[0.0] * 3], "r_row": 1.0, "r_col": 1.0}
    with pytest.raises(ValueError, match=message):
        solve(**(case | change))
