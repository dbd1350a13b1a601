"""The integrated chip: its circuits against nodal analysis written here, its statistics, its order, its converters."""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from labctl.core.bias import Bias
from labctl.core.defects import Defect
from labctl.core.errors import BenchError
from labctl.core.operations import Flag, Pulse, Reading, Sense
from labctl.core.record import History
from protocols.bias import read_bias, row_bias, vector_bias, write_bias
from protocols.records import KernelSurvey
from protocols.survey import Survey
from sim_backend import mtj
from sim_backend.cells import FabricatedDefect, fabricate
from sim_backend.chip import ChipDie
from sim_backend.chip_path import series_path
from sim_backend.description import DieDescription
from sim_backend.die import SimDie
from sim_backend.make import make_die
from sim_backend.rng import Stream
from sim_backend.switching import Law
from sim_backend.wafer import Wafer

Array = npt.NDArray[Any]
K, M, N = 3, 5, 4
R_ON, R_ROW, R_COL, R_SOURCE, R_SENSE, V_HALF = 300.0, 7.0, 5.0, 11.0, 13.0, 0.5
LONG = 1e4
LAW = Law(1.0, 1e-9, 2e-9)
"""s; an aperture in which thermal and shot noise average out."""
QUIET: dict[str, Any] = {
    "disturb": False,
    "defects": {},
    "lines": {"r_row": "7 ohm", "r_col": "5 ohm", "r_source": "11 ohm", "r_sense": "13 ohm"},
    "noise": {"relative": 0, "absolute": "0 A", "flicker": 0},
    "converter": {"lsb": "0 A", "full_scale": "1 A"},
    "board": {"dac_lsb": "0 V", "offset": "0 A"},
}


def describe(shape: tuple[int, int, int] = (K, M, N), **simulation: Any) -> DieDescription:
    kernels, n_rows, n_cols = shape
    file = {
        "name": "small",
        "geometry": {"kind": "1T1R", "kernels": kernels, "n_rows": n_rows, "n_cols": n_cols},
        "junction": {"diameter": "80 nm"},
        "simulation": simulation,
    }
    return DieDescription.model_validate(file, context={"file": True})


def make(shape: tuple[int, int, int] = (K, M, N), seed: int = 5, **simulation: Any) -> ChipDie:
    return ChipDie(describe(shape, **simulation), seed=seed, name="die")


def quiet(shape: tuple[int, int, int] = (K, M, N), seed: int = 5, **changes: Any) -> ChipDie:
    return make(shape, seed, **{**QUIET, **changes})


class Nodal(NamedTuple):
    col: Array  # (n_cols,) A out of the columns
    row: Array  # (n_rows,) A into the rows
    junction: Array  # (n_rows, n_cols) V


def nodal(die: ChipDie, kernel: int, row: Array, col: Array, on: Array) -> Nodal:
    """Solve one kernel with a node at both ends of every junction; NaN floats, infinite `on` is a closed gate."""
    truth = {name: value[kernel] for name, value in die.truth().items()}
    short, opened = truth["defect"] == FabricatedDefect.SHORT, truth["defect"] == FabricatedDefect.OPEN
    g_p = np.where(short, truth["g_short"], np.where(opened, 0.0, truth["g_p"]))
    tmr = np.where(truth["state"] | short | opened, 0.0, truth["tmr0"])
    m, n = g_p.shape
    lines, v_half = die.description.simulation.lines, die.description.simulation.switching.v_half
    w, mid, b = np.arange(3 * m * n).reshape(3, m, n)
    v_mtj = np.zeros((m, n))
    for _ in range(60):
        g = g_p / (1 + tmr / (1 + (v_mtj / v_half) ** 2))
        a, rhs = np.eye(3 * m * n) * 1e-15, np.zeros(3 * m * n)

        def join(p: int, q: int, s: float, a: Array = a) -> None:
            a[p, p] += s
            a[q, q] += s
            a[p, q] -= s
            a[q, p] -= s

        for i in range(m):
            for j in range(n):
                join(w[i, j], mid[i, j], g[i, j])
                if np.isfinite(on[i]):
                    join(mid[i, j], b[i, j], 1 / on[i])
                if j:
                    join(w[i, j - 1], w[i, j], 1 / lines.r_row)
                if i:
                    join(b[i - 1, j], b[i, j], 1 / lines.r_col)
        ends = [(w[i, 0], row[i], lines.r_source + lines.r_row) for i in range(m)]
        ends += [(b[m - 1, j], col[j], lines.r_sense + lines.r_col) for j in range(n)]
        for node, volts, ohm in ends:
            if np.isfinite(volts):
                a[node, node] += 1 / ohm
                rhs[node] += volts / ohm
        v = np.linalg.solve(a, rhs)
        v_mtj = (v[w] - v[mid]) * np.isfinite(on)[:, None]
    into = np.array([(volts - v[node]) / ohm if np.isfinite(volts) else 0.0 for node, volts, ohm in ends])
    return Nodal(-into[m:], into[:m], v_mtj)


def on(die: ChipDie, gate: Array) -> Array:
    transistor = die.description.simulation.transistor
    assert transistor is not None
    return transistor.resistance(gate)


def apply(die: ChipDie, kernel: int, row: Array, col: Array, gate: Array) -> Array:
    """Read all columns of one pattern, NaN being a floating line."""
    floating = np.isnan(np.concatenate([row, col]))[None]
    bias = Bias(np.nan_to_num(row)[None], np.nan_to_num(col)[None], gate[None], floating, kernel=np.array(kernel))
    return die.sense(Sense(bias, np.arange(len(col)), LONG)).current[0]


# ------------------------------------------------------------------ circuits


@pytest.mark.parametrize("defects", [{}, {"short": "15 %", "open": "10 %"}], ids=["good", "shorts and opens"])
def test_reading_rows_is_what_nodal_analysis_says(defects: dict[str, str]) -> None:
    die = quiet(defects=defects)
    for kernel in range(K):
        rows = np.arange(M)
        bias = row_bias(die.geometry, np.full(M, kernel), rows, 0.2)
        current = die.sense(Sense(bias, np.arange(N), LONG)).current
        for i in rows:
            row, gate = np.where(rows == i, 0.2, 0.0), np.where(rows == i, 3.3, 0.0)
            expected = nodal(die, kernel, row, np.zeros(N), on(die, gate))
            assert current[i] == pytest.approx(expected.col, rel=1e-6, abs=1e-11)


def test_a_single_path_is_what_nodal_analysis_says() -> None:
    die = quiet()
    row, col, gate = np.zeros(M), np.full(N, np.nan), np.zeros(M)
    row[3], col[1], gate[3] = 0.45, 0.0, 2.0
    expected = nodal(die, 2, row, col, on(die, gate))
    truth = {name: value[2, 3, 1:2] for name, value in die.truth().items()}
    wires = R_SOURCE + R_SENSE + 2 * R_ROW + (M - 3) * R_COL
    path = series_path(
        np.array([0.45]),
        truth["g_p"],
        np.where(truth["state"], 0.0, truth["tmr0"]),
        wires + on(die, gate)[3:4],
        np.array([1.0]),
        v_half=V_HALF,
    )
    assert path.current[0] == pytest.approx(expected.col[1], rel=1e-9)
    assert path.junction[0] == pytest.approx(expected.junction[3, 1], rel=1e-9)


@pytest.mark.parametrize("seed", [1, 2])
def test_inference_is_within_a_thousandth_of_nodal_analysis(seed: int) -> None:
    die = quiet((1, 9, 6), seed)
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.0, 0.1, (20, 9))
    current = die.sense(Sense(vector_bias(die.geometry, 0, 0, x), np.arange(6), LONG)).current
    for v, currents in zip(x, current, strict=True):
        expected = nodal(die, 0, v, np.zeros(6), np.full(9, R_ON)).col
        assert currents == pytest.approx(expected, rel=1e-3)
    # the wires matter: without them the currents would be far off
    truth = die.truth()
    plain = x @ np.where(truth["state"], truth["g_p"], truth["g_ap"])[0]
    assert (np.abs(plain / current - 1) > 0.1).all()


def test_inference_at_the_linear_voltage_is_exact() -> None:
    die = quiet((1, 9, 6), v_linear="100 mV", switching={"v_half": "1000 V"})
    x = np.random.default_rng(3).uniform(-0.1, 0.1, (8, 9))
    current = die.sense(Sense(vector_bias(die.geometry, 0, 0, x), np.arange(6), LONG)).current
    for v, currents in zip(x, current, strict=True):
        assert currents == pytest.approx(nodal(die, 0, v, np.zeros(6), np.full(9, R_ON)).col, rel=1e-6, abs=1e-11)


def test_a_short_loads_its_row_and_column() -> None:
    clean, shape = None, (1, 9, 6)
    for seed in range(40):
        die = quiet(shape, seed, defects={"short": "2 %", "r_short_min": "30 ohm", "r_short_max": "31 ohm"})
        shorts = np.argwhere(die.truth()["defect"][0] == FabricatedDefect.SHORT)
        if len(shorts) == 1 and 0 < shorts[0][1] < 5 and 0 < shorts[0][0] < 8:
            clean = quiet(shape, seed)
            break
    assert clean is not None
    (i, j), x = shorts[0], np.full((1, 9), 0.1)
    bias = vector_bias(die.geometry, 0, 0, x)
    shorted, without = (d.sense(Sense(bias, np.arange(6), LONG)).current[0] for d in (die, clean))
    assert shorted == pytest.approx(nodal(die, 0, x[0], np.zeros(6), np.full(9, R_ON)).col, rel=1e-3)
    # as an odd weight it would change its own column only; as a short it pulls its row down for all others
    others = np.arange(6) > j
    assert (shorted[others] < without[others] * 0.998).all()
    assert shorted[j] > without[j]
    own = 0.1 / (30.0 + R_ON) - 0.1 * clean.truth()["g_ap"][0, i, j] * 0.5
    assert shorted[j] - without[j] < own


ODD = {
    "columns at different potentials": (np.full(M, 0.1), np.array([0.0, 0.05, 0.0, -0.05]), np.full(M, 3.3)),
    "a floating row": (np.array([0.1, np.nan, 0.1, 0.0, 0.2]), np.zeros(N), np.full(M, 3.3)),
    "a floating column": (np.full(M, 0.1), np.array([0.0, np.nan, 0.0, 0.0]), np.full(M, 3.3)),
    "two gates, half open": (np.full(M, 0.2), np.zeros(N), np.array([0.0, 2.0, 0.0, 3.3, 0.0])),
    "one gate and its row floating": (
        np.array([0.1, np.nan, 0.1, 0.1, 0.1]),
        np.array([0.0, 0.1, 0.0, 0.2]),
        np.array([0.0, 3.3, 0.0, 0.0, 0.0]),
    ),
    "one gate and a floating column": (np.full(M, 0.1), np.array([0.0, 0.02, np.nan, 0.0]), np.eye(M)[2] * 2.5),
}


@pytest.mark.parametrize(("row", "col", "gate"), ODD.values(), ids=ODD.keys())
def test_whatever_else_is_asked_for_is_what_nodal_analysis_says(row: Array, col: Array, gate: Array) -> None:
    die = quiet(defects={"short": "10 %", "open": "5 %"}, v_linear="150 mV", transistor={"i_sat": "10 mA"})
    tolerance = 1e-3 if not np.isnan(row).any() and not np.isnan(col).any() and np.ptp(col) == 0 else 1e-6
    for kernel in range(K):
        expected = nodal(die, kernel, row, col, on(die, gate)).col
        assert apply(die, kernel, row, col, gate) == pytest.approx(expected, rel=tolerance, abs=1e-11)


@settings(max_examples=200, deadline=None)
@given(
    volts=st.floats(-3.0, 3.0),
    ohms=st.floats(0.0, 1e6),
    g_p=st.floats(1e-6, 1.0),
    tmr=st.one_of(st.just(0.0), st.floats(0.1, 5.0)),
    limit=st.floats(1e-9, 1.0),
)
def test_series_paths_obey_their_equation(volts: float, ohms: float, g_p: float, tmr: float, limit: float) -> None:
    path = series_path(*(np.array([v]) for v in (volts, g_p, tmr, ohms, limit)), v_half=V_HALF)
    v, i = float(path.junction[0]), float(path.current[0])
    assert i == pytest.approx(float(mtj.conductance(g_p, tmr, v, V_HALF)) * v, rel=1e-9, abs=1e-18)
    if path.limited[0]:
        assert abs(i) == limit
        assert abs(v + ohms * i) <= abs(volts) * (1 + 1e-9)
    else:
        assert v + ohms * i == pytest.approx(volts, rel=1e-9, abs=1e-15)
        assert abs(i) <= limit * (1 + 1e-9)


def test_transistors_saturate_and_sources_are_limited() -> None:
    die = quiet(transistor={"i_sat": "20 uA"}, lines={}, random_state=False)
    reading = die.sense(Sense(row_bias(die.geometry, np.zeros(1, int), np.zeros(1, int), 0.5), np.arange(N), LONG))
    assert reading.current[0] == pytest.approx(np.full(N, 20e-6), rel=1e-9)
    assert not reading.flag.any()
    wide = vector_bias(die.geometry, 0, 0, np.full((1, M), 0.5))
    assert die.sense(Sense(wide, np.arange(N), LONG)).current[0] == pytest.approx(np.full(N, M * 20e-6), rel=1e-6)
    limited = row_bias(die.geometry, np.zeros(1, int), np.zeros(1, int), 0.5, compliance=30e-6)
    reading = die.sense(Sense(limited, np.arange(N), LONG))
    assert (reading.flag == Flag.COMPLIANCE).all()
    assert reading.current.sum() == pytest.approx(30e-6, rel=1e-6)


def test_gate_voltage_sets_resistance_and_saturation() -> None:
    transistor = describe().simulation.transistor
    assert transistor is not None
    gate = np.array([0.0, 0.6, 1.95, 3.3])
    assert transistor.resistance(gate).tolist() == [np.inf, np.inf, pytest.approx(600), pytest.approx(300)]
    assert transistor.saturation(gate) == pytest.approx([0, 0, 0.25e-3, 1e-3])


# ------------------------------------------------------------ order, identity


def everything(die: ChipDie, seed: int = 0, n: int = 60) -> tuple[Sense, Pulse, Pulse]:
    """Return reads of many kinds, single-cell pulses, and pulses of which some are no single path."""
    rng, g = np.random.default_rng(seed), die.geometry
    kernel, row, col = rng.integers(0, K, n), rng.integers(0, M, n), rng.integers(0, 2, n)
    volts = rng.uniform(0.3, 0.7, n)
    write = write_bias(g, kernel, row, col, rng.random(n) < 0.5).scaled(volts)
    verify = Sense(read_bias(g, kernel, row, col, 0.2), col[:, None], 1e-3)
    gate = np.where(rng.random((n, M)) < 0.5, 3.3, 0.0)
    sense = Sense(Bias(rng.uniform(0, 0.24, (n, M)), np.zeros((n, N)), gate, kernel=kernel), np.arange(N), 1e-3)
    assert write.gate is not None
    assert write.floating is not None
    odd, opened = rng.random(n) < 0.2, write.gate.copy()
    opened[odd] = 3.3
    mixed = Bias(write.row, write.col, opened, write.floating, kernel=kernel, pulsed=write.pulsed)
    return sense, Pulse(write, 1e-3, verify), Pulse(mixed, 1e-3, verify)


RESTLESS: dict[str, Any] = {"switching": {"delta": 30}, "breakdown": {"v_bd": "500 mV"}}
"""Cells that reads disturb and pulses break, so that an order that is wrong shows."""


@pytest.mark.parametrize("kind", [0, 1, 2], ids=["reads", "paths", "mixed pulses"])
def test_a_batch_may_be_cut_anywhere_and_a_die_rebuilt(kind: int) -> None:
    whole = make(**RESTLESS)
    operation = everything(whole)[kind]
    act = whole.sense if isinstance(operation, Sense) else whole.pulse
    before = whole.truth()
    expected = act(operation)  # type: ignore[arg-type]
    assert (before["state"] != whole.truth()["state"]).any()
    for cuts in ([0, 60], [0, 7, 8, 31, 60], list(range(61))):
        die = make(**RESTLESS)
        act = die.sense if isinstance(operation, Sense) else die.pulse
        joined = Reading.join([act(operation.take(slice(a, b))) for a, b in pairwise(cuts)])  # type: ignore[arg-type]
        for name in ("current", "flag", "pulse_flag"):
            assert np.array_equal(getattr(joined, name), getattr(expected, name)), name
        for name, value in whole.truth().items():
            assert np.array_equal(die.truth()[name], value), name


def test_the_batches_that_are_cut_do_disturb_and_break() -> None:
    die = make(**RESTLESS)
    sense, paths, _ = everything(die)
    before = die.truth()["state"]
    die.sense(sense)
    assert 0 < (die.truth()["state"] != before).sum() < before.size
    die.pulse(paths)
    assert (die.truth()["defect"] == FabricatedDefect.BROKEN).any()


def test_pulses_on_one_cell_act_in_their_order() -> None:
    die = quiet()
    n = 40
    to_p = np.random.default_rng(1).random(n) < 0.5
    cell = (np.zeros(n, int), np.full(n, 2), np.full(n, 1))
    write = write_bias(die.geometry, *cell, to_p).scaled(0.7)
    verify = Sense(read_bias(die.geometry, *cell, 0.1), cell[2][:, None], LONG)
    conductance = die.pulse(Pulse(write, 1e-3, verify)).current[:, 0] / 0.1
    assert ((conductance > die.nominal.cut(0)) == to_p).all()
    assert len(np.unique(conductance.round(9))) == 2


def test_a_verify_read_sees_the_row_as_it_is_then() -> None:
    # two cells of one row, written one after the other: the second one's current pulls the row down for the first
    die = quiet(random_state=False, lines={"r_row": "100 ohm"})
    cols = np.array([0, 1, 2])
    write = write_bias(die.geometry, np.zeros(3, int), np.zeros(3, int), cols, np.ones(3, np.bool_)).scaled(0.8)
    first = read_bias(die.geometry, np.zeros(3, int), np.zeros(3, int), np.zeros(3, int), 0.1)
    current = die.pulse(Pulse(write, 1e-3, Sense(first, np.zeros((3, 1), int), LONG))).current[:, 0]
    assert current[0] > current[1] * 1.001 > current[2] * 1.002
    last = nodal(die, 0, np.eye(M)[0] * 0.1, np.zeros(N), on(die, np.eye(M)[0] * 3.3)).col[0]
    assert current[2] == pytest.approx(last, rel=1e-6)


def test_dies_differ_by_seed_and_by_name() -> None:
    a, b = make(), ChipDie(describe(), seed=5, name="other")
    assert not np.array_equal(a.truth()["g_p"], b.truth()["g_p"])
    assert not np.array_equal(a.truth()["g_p"], make(seed=6).truth()["g_p"])


# ----------------------------------------------------------------- statistics


def test_pulses_switch_as_often_as_the_formula_says() -> None:
    die = quiet((4, 30, 25), random_state=False, spread={"v_c0": 0, "delta": 0})
    kernel, row, col = (index.ravel() for index in np.indices(die.geometry.shape))
    truth = {name: value.ravel() for name, value in die.truth().items()}
    volts = 0.425
    wires = R_SOURCE + R_SENSE + (col + 1) * R_ROW + (30 - row) * R_COL
    v = series_path(
        np.full(len(row), volts), truth["g_p"], truth["tmr0"], wires + R_ON, np.ones(len(row)), v_half=V_HALF
    ).junction
    p = LAW.probability(v / 0.5, truth["delta"], 1e-3)
    assert 0.2 < p.mean() < 0.8
    die.pulse(Pulse(write_bias(die.geometry, kernel, row, col, np.ones(len(row), np.bool_)).scaled(volts), 1e-3))
    switched = die.truth()["state"].ravel()
    assert switched.sum() == pytest.approx(p.sum(), abs=5 * np.sqrt((p * (1 - p)).sum()))
    high = p > np.median(p)
    assert switched[high].sum() == pytest.approx(p[high].sum(), abs=5 * np.sqrt((p * (1 - p))[high].sum()))


def test_reads_disturb_as_often_as_the_formula_says() -> None:
    settings_: dict[str, Any] = {"disturb": True, "random_state": False, "switching": {"delta": 20}}
    settings_["spread"] = {"v_c0": 0, "delta": 0}
    n, dies = 100, [quiet((1, 6, 5), seed, **settings_) for seed in range(100)]
    first, gate = dies[0], np.eye(6)[0] * 3.3
    v = nodal(first, 0, np.eye(6)[0] * 0.18, np.zeros(5), on(first, gate)).junction[0]
    time = 1e-6 + 2e-6  # aperture and settling
    p = LAW.probability(v / 0.5, 20.0, time).mean()
    expected = 1 - (1 - p) ** n
    assert 0.2 < expected < 0.8
    for die in dies:
        die.sense(Sense(row_bias(die.geometry, np.zeros(n, int), np.zeros(n, int), 0.18), np.array([0]), 1e-6))
    state = np.array([die.truth()["state"][0, 0] for die in dies])
    assert state.mean() == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / state.size) + 0.01)
    assert not any(die.truth()["state"][0, 1:].any() for die in dies)


def test_defects_of_a_chip_are_those_of_the_defaults() -> None:
    codes = ChipDie(describe((32, 25, 25)), seed=2, name="d").truth()["defect"]
    for code, share in (
        (FabricatedDefect.SHORT, 5e-3),
        (FabricatedDefect.OPEN, 1e-3),
        (FabricatedDefect.STUCK_P, 1e-3),
        (FabricatedDefect.STUCK_AP, 1e-3),
    ):
        assert (codes == code).sum() == pytest.approx(20000 * share, abs=4 * np.sqrt(20000 * share))


def test_clusters_keep_the_fractions_and_crowd() -> None:
    given_ = {"short": "2 %", "stuck_p": "1 %", "clustered": "80 %", "cluster_size": 6}
    shape = (40, 30, 25)
    crowded = describe(shape, defects=given_)
    single = describe(shape, defects={**given_, "clustered": "0 %"})
    neighbours = []
    for file in (crowded, single):
        codes = np.stack([fabricate(file, 3, "x", k).defect.reshape(30, 25) for k in range(40)])
        short = codes == FabricatedDefect.SHORT
        # clusters are six cells: the number of shorts varies that much more
        assert short.mean() == pytest.approx(0.02, abs=5 * np.sqrt(6 * 0.02 / codes.size))
        assert (codes == FabricatedDefect.STUCK_P).mean() == pytest.approx(0.01, abs=5 * np.sqrt(6 * 0.01 / codes.size))
        edge = np.concatenate([short[:, 0], short[:, -1]]).mean()
        assert edge == pytest.approx(0.02, abs=6 * np.sqrt(6 * 0.02 / (80 * 25)))
        neighbours.append(float((short[:, :, 1:] & short[:, :, :-1]).sum() / short[:, :, 1:].sum()))
    assert neighbours[0] > 0.4 > 0.1 > neighbours[1]


def test_broken_lines_cut_off_what_is_behind_them() -> None:
    shape = (60, 20, 15)
    file = describe(shape, defects={"broken_line": "5 %"})
    opened = np.stack([fabricate(file, 3, "x", k).defect.reshape(20, 15) for k in range(60)]) == FabricatedDefect.OPEN
    lines = opened.reshape(60, -1).any(axis=1).mean()
    assert lines == pytest.approx(1 - 0.95**35, abs=0.2)
    # rows are driven from the left, columns read at the bottom: the far corner is lost most often
    assert opened[:, :5, -5:].mean() > 2 * opened[:, -5:, :5].mean()
    per_row = 0.05 * (np.arange(15) + 1) / 15
    per_col = 0.05 * (20 - np.arange(20)) / 20
    expected = 1 - (1 - per_row)[None] * (1 - per_col)[:, None]
    assert opened.mean() == pytest.approx(expected.mean(), rel=0.3)


def test_quick_normals_are_normal() -> None:
    drawn = Stream(3, "x", "noise", stride=25)
    z = drawn.quick_normals(0, 40_000).astype(np.float64)
    n = z.size
    assert z.shape == (40_000, 25)
    assert z.mean() == pytest.approx(0, abs=5 / np.sqrt(n))
    assert z.var() == pytest.approx(1, abs=5 * np.sqrt(2 / n))
    assert (z**4).mean() == pytest.approx(3, abs=5 * np.sqrt(96 / n))
    assert (np.abs(z) > 3).mean() == pytest.approx(0.0026998, rel=0.1)
    assert np.abs(np.corrcoef(z.T) - np.eye(25)).max() < 6 / np.sqrt(40_000)
    assert np.array_equal(drawn.quick_normals(17, 5), drawn.quick_normals(0, 40)[17:22])


def test_noise_and_offsets_are_those_of_the_file() -> None:
    noisy = {**QUIET, "noise": {"relative": "2 %", "absolute": "0 A", "flicker": 0}}
    die = make((1, 5, 4), **{**noisy, "board": {"dac_lsb": "0 V", "offset": "3 uA"}})
    calm = quiet((1, 5, 4))
    x = np.full((4000, 5), 0.1)
    current = die.sense(Sense(vector_bias(die.geometry, 0, 0, x), np.arange(4), LONG)).current
    clean = calm.sense(Sense(vector_bias(die.geometry, 0, 0, x[:1]), np.arange(4), LONG)).current[0]
    assert current.std(axis=0) == pytest.approx(0.02 * clean, rel=0.06)
    offset = current.mean(axis=0) - clean
    assert 1e-7 < np.abs(offset).mean() < 1e-5
    closed = Bias(np.zeros((1, 5)), np.zeros((1, 4)), np.zeros((1, 5)))
    assert die.sense(Sense(closed, np.arange(4), LONG)).current[0] == pytest.approx(offset, abs=5e-7)


# ------------------------------------------------------- converters and board


def test_converters_have_steps() -> None:
    die = make(**{**QUIET, "converter": {"lsb": "0.61 uA", "full_scale": "1 mA"}, "board": {"offset": "0 A"}})
    x = np.random.default_rng(0).uniform(0, 0.1, (50, M))
    current = die.sense(Sense(vector_bias(die.geometry, 0, 0, x), np.arange(N), LONG)).current
    assert current / 0.61e-6 == pytest.approx(np.round(current / 0.61e-6), abs=1e-6)
    lsb = 5 / 4096
    stepped = np.round(x / lsb) * lsb
    other = make(**{**QUIET, "board": {"offset": "0 A"}})
    exact = quiet()
    read = [
        d.sense(Sense(vector_bias(d.geometry, 0, 0, v), np.arange(N), LONG)).current
        for d, v in ((other, x), (exact, stepped), (exact, x))
    ]
    assert read[0] == pytest.approx(read[1], rel=1e-9)
    assert not np.allclose(read[0], read[2], rtol=1e-4)


def test_a_column_beyond_the_full_scale_is_flagged() -> None:
    many = {"short": "100 %", "r_short_min": "30 ohm", "r_short_max": "31 ohm"}
    die = make(**{**QUIET, "defects": many, "lines": {}, "converter": {"lsb": "0.61 uA", "full_scale": "1 mA"}})
    reading = die.sense(Sense(vector_bias(die.geometry, 0, 0, np.full((1, M), 0.1)), np.arange(N), LONG))
    assert (reading.flag == Flag.OVERRANGE).all()
    assert reading.current == pytest.approx(np.full((1, N), 1e-3))


def test_a_short_takes_a_pulse_into_compliance() -> None:
    die = make(**{**QUIET, "defects": {"short": "100 %"}, "lines": {}, "transistor": {"i_sat": "5 mA"}})
    one = np.zeros(1, int)
    for compliance, flag in ((0.2e-3, Flag.COMPLIANCE), (5e-3, 0)):
        write = write_bias(die.geometry, one, one, one, np.ones(1, np.bool_), compliance=compliance).scaled(0.5)
        assert die.pulse(Pulse(write, 1e-3)).pulse_flag.tolist() == [flag]


def test_a_pulse_beyond_breakdown_makes_a_short() -> None:
    die = quiet()
    cell = (np.array([1]), np.array([2]), np.array([3]))
    write = write_bias(die.geometry, *cell, np.ones(1, np.bool_)).scaled(2.4)
    read = Sense(read_bias(die.geometry, *cell, 0.1), cell[2][:, None], LONG)
    g = die.pulse(Pulse(write, 1e-3, read)).current[0, 0] / 0.1
    assert die.truth()["defect"][1, 2, 3] == FabricatedDefect.BROKEN
    assert (die.truth()["defect"] != FabricatedDefect.NONE).sum() == 1
    assert g > 3 * die.nominal.g_p(0)


def test_a_read_out_of_range_is_refused_in_the_plan() -> None:
    die = make((2, 25, 20))
    bias = vector_bias(die.geometry, 1, 0, np.full((3, 25), 0.15))
    with pytest.raises(BenchError, match=r"25 open cells in P at 0.15 V carry 1.4 mA .* full scale is 1.25 mA"):
        die.check(Sense(bias, np.arange(20)))
    assert die.check(Sense(bias.scaled(0.8), np.arange(20))) > 0
    # rows at both signs are no larger a voltage across a cell than the larger of them
    signs = vector_bias(die.geometry, 1, 0, np.where(np.arange(25) % 2, 0.12, -0.12)[None])
    assert die.check(Sense(signs, np.arange(20))) > 0
    one = read_bias(die.geometry, np.zeros(1, int), np.zeros(1, int), np.zeros(1, int), 0.15)
    assert die.check(Sense(one, np.zeros((1, 1), int))) > 0


BEYOND = {
    "a line at 2.6 V": ({"row": 2.6}, "a line at 2.6 V; the board drives lines from -0.8 to 2.5 V"),
    "a line at -1 V": ({"row": -1.0}, "a line at -1 V"),
    "too much across": ({"row": 2.5, "col": -0.8 - 1e-6}, "a line at -0.800001 V"),
    "a gate at 3.5 V": ({"gate": 3.5}, "a gate at 3.5 V; the board drives gates from 0 to 3.3 V"),
    "a gate below ground": ({"gate": -0.1}, "a gate at -0.1 V"),
}


@pytest.mark.parametrize(("volts", "says"), BEYOND.values(), ids=BEYOND.keys())
def test_voltages_beyond_the_board_are_refused(volts: dict[str, float], says: str) -> None:
    die = make()
    row, col, gate = np.zeros((2, M)), np.zeros((2, N)), np.zeros((2, M))
    row[1, 0], col[1, 0], gate[1, 0] = volts.get("row", 0.0), volts.get("col", 0.0), volts.get("gate", 0.0)
    with pytest.raises(BenchError, match=says):
        die.pulse(Pulse(Bias(row, col, gate), 1e-3))
    # a floating line may say what it likes
    floating = np.zeros((2, M + N), np.bool_)
    floating[1, [0, M]] = True
    if "gate" not in volts:
        assert die.check(Pulse(Bias(row, col, gate, floating), 1e-3)) > 0


def test_the_supply_bounds_what_stands_across_the_array() -> None:
    die = make(board={"supply": "2 V"})
    row, col = np.full((1, M), 1.5), np.full((1, N), -0.6)
    with pytest.raises(BenchError, match=r"2.1 V across the array; its supply is 2 V"):
        die.check(Pulse(Bias(row, col, np.zeros((1, M))), 1e-3))


# ------------------------------------------------------------ description, use


def test_a_description_records_the_defaults_of_its_kind() -> None:
    chip = describe()
    assert chip.simulation.transistor is not None
    assert chip.simulation.board is not None
    assert chip.simulation.defects.short == 0.005
    again = DieDescription.model_validate(chip.model_dump(mode="json"))
    assert again.model_dump() == chip.model_dump()
    assert describe(defects={}).simulation.defects.short == 0.0
    series = 1 / (1 / (np.pi / 4 * (80e-9) ** 2 / 12e-12) + 300)
    assert chip.nominal.g_p(0) == pytest.approx(series)


def test_every_default_of_chips_and_wafers_is_labelled() -> None:
    definitions = {**DieDescription.model_json_schema()["$defs"], **Wafer.model_json_schema()["$defs"]}
    for part in ("Transistor", "Board", "Variation", "Variations"):
        for field in definitions[part]["properties"].values():
            assert "Project default, not a published value" in str(field), (part, field)


@pytest.mark.parametrize("part", ["transistor", "board"])
def test_a_passive_die_has_neither_transistors_nor_board(part: str) -> None:
    file = {"name": "p", "geometry": {"n_rows": 3, "n_cols": 4}, "junction": {"diameter": "80 nm"}}
    with pytest.raises(ValidationError, match=f"a passive die has no {part}"):
        DieDescription.model_validate({**file, "simulation": {part: {}}}, context={"file": True})


def test_make_die_chooses_by_kind() -> None:
    assert isinstance(make_die(describe(), seed=1, name="x"), ChipDie)
    passive = describe().model_copy(update={"geometry": describe().geometry.model_copy(update={"kind": "passive"})})
    with pytest.raises(BenchError, match="this simulated die is 1T1R"):
        ChipDie(passive, seed=1, name="x")
    file = {"name": "p", "geometry": {"n_rows": 3, "n_cols": 4}, "junction": {"diameter": "80 nm"}}
    assert isinstance(make_die(DieDescription.model_validate(file), seed=1, name="x"), SimDie)


def test_a_survey_finds_what_is_wrong_with_a_chip() -> None:
    many = {"short": "2 %", "open": "2 %", "stuck_p": "2 %", "stuck_ap": "2 %"}
    die = make((3, 25, 20), defects=many)
    rows = [r for r in Survey().run(die, History()) if isinstance(r, KernelSurvey)]
    surveyed, truth = np.stack([r.defect for r in rows]), die.truth()["defect"]
    pairs = {
        FabricatedDefect.NONE: Defect.GOOD,
        FabricatedDefect.SHORT: Defect.SHORT,
        FabricatedDefect.OPEN: Defect.OPEN,
        FabricatedDefect.STUCK_P: Defect.STUCK_P,
    }
    pairs |= {FabricatedDefect.STUCK_AP: Defect.STUCK_AP}
    wrong = sum(int((surveyed[truth == made] != named).sum()) for made, named in pairs.items())
    assert wrong <= 0.01 * truth.size
    for made in (FabricatedDefect.SHORT, FabricatedDefect.OPEN):
        assert (surveyed[truth == made] == pairs[made]).all()
