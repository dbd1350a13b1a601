"""The circuit solver against ngspice, the same networks as netlists and answers in binary doubles.

ngspice knows no zero resistor and no isolated node: nodes joined by a zero wire get one name, and nodes without
a path to a driven terminal are left out. It eliminates a nodal matrix of doubles, whose rounding acts like a leak
of about 1e-16 of the largest conductance from every node. Networks are chosen so that this stays below 1e-12
of the largest current, and where a test cannot (a short on thin wires) that rounding is allowed for; extreme
contrasts are judged by rational arithmetic (`tests/unit/sim_backend/test_crossbar.py`).
"""

import shutil
from pathlib import Path

import numpy as np
import pytest

from sim_backend.crossbar import solve
from tests import spice

pytestmark = [
    pytest.mark.judge,
    pytest.mark.skipif(shutil.which("ngspice") is None, reason="ngspice is not installed (Debian package ngspice)"),
]
OPTIONS = ".options reltol=1e-13 abstol=1e-20 vntol=1e-18 gmin=1e-30 pivtol=1e-300 noacct"


def ngspice(folder: Path, g, v_row, v_col, r_row, r_col, r_source, r_sense):
    """Row and column currents and cell voltages of one vector, and how sure it is of a current."""
    m, n = g.shape
    parent = {}

    def find(a):
        while a in parent:
            a = parent[a]
        return a

    links = []
    for i in range(m):
        for j in range(n):
            left = f"w{i}_{j - 1}" if j else f"s{i}"
            links.append((left, f"w{i}_{j}", r_row[i, j] + (0.0 if j else r_source[i])))
            below = f"b{i + 1}_{j}" if i < m - 1 else f"t{j}"
            links.append((f"b{i}_{j}", below, r_col[i, j] + (0.0 if i < m - 1 else r_sense[j])))
    for a, b, r in links:
        if r == 0.0 and find(a) != find(b):
            parent[find(a)] = find(b)
    resistors = [(find(a), find(b), r) for a, b, r in links if 0.0 < r < np.inf]
    resistors += [
        (find(f"w{i}_{j}"), find(f"b{i}_{j}"), 1.0 / g[i, j]) for i in range(m) for j in range(n) if g[i, j] > 0.0
    ]
    sources = {f"s{i}": v for i, v in enumerate(v_row)} | {f"t{j}": v for j, v in enumerate(v_col)}
    sources = {name: v for name, v in sources.items() if not np.isnan(v)}
    alive = {find(name) for name in sources}
    while grown := {x for a, b, _ in resistors for x in (a, b) if (a in alive) != (b in alive)} - alive:
        alive |= grown
    lines = ["crossbar", OPTIONS]
    lines += [f"R{k} {a} {b} {r:.17g}" for k, (a, b, r) in enumerate(resistors) if a in alive]
    lines += [f"V{name} {find(name)} 0 {v:.17g}" for name, v in sources.items()]
    value = spice.operating_point(folder, lines)
    row = np.array([-value.get(f"i(vs{i})", 0.0) for i in range(m)])
    col = np.array([value.get(f"i(vt{j})", 0.0) for j in range(n)])
    across = np.full((m, n), np.nan)
    for i in range(m):
        for j in range(n):
            a, b = find(f"w{i}_{j}"), find(f"b{i}_{j}")
            if a in alive and b in alive:
                across[i, j] = value[f"v({a})"] - value[f"v({b})"]
    cells = np.nan_to_num(across) * g
    leak = np.finfo(float).eps * max([1.0 / r for *_, r in resistors]) * max(map(abs, sources.values()))
    with np.errstate(divide="ignore"):
        by_source, by_sense = 1.0 / (r_row[:, 0] + r_source), 1.0 / (r_col[-1] + r_sense)
    row = np.where(g.sum(axis=1) < by_source, cells.sum(axis=1), row)
    col = np.where(g.sum(axis=0) < by_sense, cells.sum(axis=0), col)
    return row, col, across, 8.0 * leak


def cases():
    """Named networks and one vector each."""
    rng = np.random.default_rng(2024)

    def base(m, n, segment=2.0):
        wires = {"r_row": np.full((m, n), segment), "r_col": np.full((m, n), segment)}
        wires |= {"r_source": np.zeros(m), "r_sense": np.zeros(n)}
        g = np.where(rng.random((m, n)) < 0.5, 1 / 1.1e3, 1 / 2.4e3)
        return g, rng.uniform(-0.4, 0.4, m), np.zeros(n), wires

    for m, n in [(1, 1), (1, 7), (7, 1), (5, 4), (4, 5), (15, 14), (24, 25)]:
        yield f"sound {m} x {n}", *base(m, n)
    for k in range(12):
        m, n = (int(x) for x in rng.integers(2, 12, 2))
        g, v_row, v_col, wires = base(m, n)
        g[rng.random((m, n)) < 0.15], g[rng.random((m, n)) < 0.15] = 100.0, 0.0
        g[:, rng.integers(n)] *= k % 2
        wires["r_row"], wires["r_col"] = 10 ** rng.uniform(-1, 2, (m, n)), 10 ** rng.uniform(-1, 2, (m, n))
        wires["r_source"], wires["r_sense"] = rng.uniform(0, 50, m), rng.uniform(0, 50, n)
        yield f"shorts, opens, uneven wires {k}", g, v_row, rng.uniform(-0.1, 0.1, n), wires
    for k in range(12):
        m, n = (int(x) for x in rng.integers(2, 10, 2))
        g, v_row, v_col, wires = base(m, n, 200.0)
        g[rng.random((m, n)) < 0.2] = 0.0
        lines = np.concatenate([v_row, rng.uniform(-0.1, 0.1, n)])
        driven = rng.permutation(m + n)[: 2 if k % 3 == 0 else (m + n) // 2]
        lines[np.setdiff1d(np.arange(m + n), driven)] = np.nan
        yield f"floating {k}", g, lines[:m], lines[m:], wires
    for k, (row, col) in enumerate([(0.0, 0.0), (2.0, 0.0), (0.0, 2.0), (0.05, 50.0)]):
        g, v_row, v_col, wires = base(6, 9)
        wires["r_row"][:], wires["r_col"][:] = row, col
        g[2, 3] = 100.0 if row + col == 2.0 else g[2, 3]
        yield f"wires {row:g} and {col:g} ohm", g, v_row, v_col, wires
        v_row = v_row.copy()
        v_row[k] = np.nan
        yield f"wires {row:g} and {col:g} ohm, a floating row", g, v_row, v_col, wires
    g, v_row, v_col, wires = base(6, 9, 50.0)
    wires["r_row"][2, 4] = wires["r_col"][3, 5] = np.inf
    yield "broken lines", g, v_row, v_col, wires


@pytest.mark.parametrize(
    ("name", "g", "v_row", "v_col", "wires"), list(cases()), ids=lambda x: x if isinstance(x, str) else ""
)
def test_agrees_with_ngspice(tmp_path, name, g, v_row, v_col, wires):
    row, col, across, unsure = ngspice(tmp_path, g, v_row, v_col, **wires)
    point = solve(g, v_row[None], v_col[None], **wires)
    allowed = max(1e-12 * max(np.abs(row).max(), np.abs(col).max()), unsure)
    np.testing.assert_allclose(point.row_current[0], row, rtol=0, atol=allowed)
    np.testing.assert_allclose(point.col_current[0], col, rtol=0, atol=allowed)
    np.testing.assert_allclose(point.cell_voltage[0], across, rtol=0, atol=1e-12)
    if name.startswith(("sound", "floating", "broken")):
        assert unsure <= 1e-11 * np.abs(v_row[~np.isnan(v_row)]).max(initial=0.1) * g.max(), "judged too mildly"
