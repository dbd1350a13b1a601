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
from labctl.core.cell_voltage import peaks_per_cell
from labctl.core.defects import Defect
from labctl.core.errors import BenchError
from labctl.core.operations import Flag, Pulse, Reading, Sense
from labctl.core.record import History
from protocols.bias import V_GATE, read_bias, row_bias, vector_bias, write_bias
from protocols.records import KernelSurvey
from protocols.survey import Survey
from sim_backend import chip_readout, mtj
from sim_backend.cells import FabricatedDefect, fabricate
from sim_backend.chip import ChipDie
from sim_backend.chip_cell import StackLaw, Stacks
from sim_backend.chip_path import series_path
from sim_backend.chip_patterns import Patterns
from sim_backend.description import DieDescription
from sim_backend.die import SimDie
from sim_backend.make import make_die
from sim_backend.rng import Stream
from sim_backend.switching import Law
from sim_backend.transistor import Side, SquareLaw, Transistor
from sim_backend.wafer import Wafer

Array = npt.NDArray[Any]
K, M, N = 3, 5, 4
REFERENCE, R_ROW, R_COL, R_SOURCE, R_SENSE, V_HALF = 0.8, 7.0, 5.0, 11.0, 13.0, 0.5
LONG = 1e4
LAW = Law(1.0, 1e-9, 2e-9)
"""s; an aperture in which thermal and shot noise average out."""
QUIET: dict[str, Any] = {
    "disturb": False,
    "defects": {},
    "lines": {"r_row": "7 ohm", "r_col": "5 ohm", "r_source": "11 ohm", "r_sense": "13 ohm"},
    "noise": {"relative": 0, "absolute": "0 A", "flicker": 0},
    "converter": {"lsb": "0 A", "full_scale": "1 A"},
    "board": {"dac_lsb": "0 V", "offset": "0 A", "gain": 0},
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


def nodal(die: ChipDie, kernel: int, row: Array, col: Array, gate: Array) -> Nodal:
    """Solve one kernel with a node at both ends of every junction, all from the chip's ground; NaN floats."""
    truth = {name: value[kernel] for name, value in die.truth().items()}
    short, opened = truth["defect"] == FabricatedDefect.SHORT, truth["defect"] == FabricatedDefect.OPEN
    g_p = np.where(short, truth["g_short"], np.where(opened, 0.0, truth["g_p"]))
    tmr = np.where(truth["state"] | short | opened, 0.0, truth["tmr0"])
    m, n = g_p.shape
    lines, v_half = die.description.simulation.lines, die.description.simulation.switching.v_half
    w, mid, b = np.arange(3 * m * n).reshape(3, m, n)
    wires = [(w[i, j - 1], w[i, j], lines.r_row) for i in range(m) for j in range(1, n)]
    wires += [(b[i - 1, j], b[i, j], lines.r_col) for i in range(1, m) for j in range(n)]
    ends = [(w[i, 0], row[i], lines.r_source + lines.r_row) for i in range(m)]
    ends += [(b[m - 1, j], col[j], lines.r_sense + lines.r_col) for j in range(n)]
    linear, into = np.eye(3 * m * n) * 1e-15, np.zeros(3 * m * n)
    for p, q, ohm in wires:
        linear[[p, q], [p, q]] += 1 / ohm
        linear[[p, q], [q, p]] -= 1 / ohm
    for node, volts, ohm in ends:
        if np.isfinite(volts):
            linear[node, node] += 1 / ohm
            into[node] += (volts + REFERENCE) / ohm
    k, above = truth["gain"], gate[:, None] - truth["v_threshold"]
    v = np.full(3 * m * n, REFERENCE)
    for _ in range(200):
        u = v[w] - v[mid]
        over = 1 + (u / v_half) ** 2
        current, slope = (
            g_p * over / (over + tmr) * u,
            g_p * (over / (over + tmr) + 2 * (over - 1) * tmr / (over + tmr) ** 2),
        )
        upper, lower = np.maximum(above - v[mid], 0), np.maximum(above - v[b], 0)
        through = k / 2 * (lower**2 - upper**2)
        wrong, matrix = linear @ v - into, linear.copy()
        for at, sign, amount in ((w, 1, current), (mid, -1, current), (mid, 1, through), (b, -1, through)):
            np.add.at(wrong, at.ravel(), sign * amount.ravel())
        for p, q, by_p, by_q in ((w, mid, slope, slope), (mid, b, k * upper, k * lower)):
            for at, sign in ((p, 1), (q, -1)):
                np.add.at(matrix, (at.ravel(), p.ravel()), sign * by_p.ravel())
                np.add.at(matrix, (at.ravel(), q.ravel()), -sign * by_q.ravel())
        step = np.linalg.solve(matrix, -wrong)
        v += step * min(1.0, 0.5 / max(np.abs(step).max(), 1e-12))
        if np.abs(step).max() < 1e-13:
            break
    else:
        raise AssertionError("the referee does not converge")
    out = np.array([(volts + REFERENCE - v[node]) / ohm if np.isfinite(volts) else 0.0 for node, volts, ohm in ends])
    return Nodal(-out[m:], out[:m], v[w] - v[mid])


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
            row, gate = np.where(rows == i, 0.2, 0.0), np.where(rows == i, V_GATE, 0.0)
            expected = nodal(die, kernel, row, np.zeros(N), gate)
            assert current[i] == pytest.approx(expected.col, rel=1e-6, abs=1e-11)


def stacks(die: ChipDie, gate: float, at: tuple[Any, ...]) -> Stacks:
    """Return the good cells at an index (kernel, row, col) with their transistors."""
    truth = {name: value[at].reshape(-1) for name, value in die.truth().items()}
    tmr = np.where(truth["state"], 0.0, truth["tmr0"])
    return Stacks(truth["g_p"], tmr, gate - REFERENCE - truth["v_threshold"], 1.0 / truth["gain"])


def law(junction: Side = Side.ROW) -> StackLaw:
    return StackLaw(SquareLaw(0.0, 0.7, REFERENCE), junction, V_HALF)


@pytest.mark.parametrize("volts", [0.45, -0.45])
def test_a_single_path_is_what_nodal_analysis_says(volts: float) -> None:
    die = quiet()
    row, col, gate = np.zeros(M), np.full(N, np.nan), np.zeros(M)
    row[3], col[1], gate[3] = volts, 0.0, 2.0
    expected = nodal(die, 2, row, col, gate)
    beside, below = np.array([R_SOURCE + 2 * R_ROW]), np.array([R_SENSE + (M - 3) * R_COL])
    path = series_path(law(), np.array([volts]), np.zeros(1), stacks(die, 2.0, (2, 3, 1)), beside, below, 1.0)
    assert path.current[0] == pytest.approx(expected.col[1], rel=1e-9)
    assert path.junction[0] == pytest.approx(expected.junction[3, 1], rel=1e-9)


def test_a_write_to_ap_has_less_of_the_junctions_voltage_than_one_to_p() -> None:
    # the junction lifts the transistor's source, and the other way round it does not
    die, none = quiet(), np.zeros(1)
    for junction, sign in ((Side.ROW, 1), (Side.COLUMN, -1)):
        size = []
        for volts in (0.5 * sign, -0.5 * sign):
            cell = stacks(die, 2.0, (0, 0, 0))._replace(tmr=none)
            ends = np.array([max(volts, 0.0)]), np.array([max(-volts, 0.0)])  # as cells are written: no line below 0 V
            path = series_path(law(junction), *ends, cell, none, none, 1.0)
            size.append(abs(float(path.junction[0])))
        assert size[0] > 1.1 * size[1]


@pytest.mark.parametrize("seed", [1, 2])
def test_inference_is_within_a_thousandth_of_nodal_analysis(seed: int) -> None:
    die = quiet((1, 9, 6), seed)
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.0, 0.1, (20, 9))
    current = die.sense(Sense(vector_bias(die.geometry, 0, 0, x), np.arange(6), LONG)).current
    for v, currents in zip(x, current, strict=True):
        expected = nodal(die, 0, v, np.zeros(6), np.full(9, V_GATE)).col
        assert currents == pytest.approx(expected, rel=1e-4)
    # the wires matter: without them the currents would be far off
    truth = die.truth()
    plain = x @ np.where(truth["state"], truth["g_p"], truth["g_ap"])[0]
    assert (np.abs(plain / current - 1) > 0.1).all()


@pytest.mark.parametrize(("gate", "reach"), [(1.45, 0.12), (1.6, 0.12), (3.3, 0.12), (3.3, 0.24)])
def test_inputs_of_both_signs_are_what_nodal_analysis_says(gate: float, reach: float) -> None:
    die = quiet((1, 9, 6), transistor={"v_threshold_spread": "20 mV", "gain_spread": "5 %"})
    x = np.random.default_rng(3).uniform(-reach, reach, (8, 9))
    current = die.sense(Sense(vector_bias(die.geometry, 0, 0, x, v_gate=gate), np.arange(6), LONG)).current
    expected = np.array([nodal(die, 0, v, np.zeros(6), np.full(9, gate)).col for v in x])
    assert current == pytest.approx(expected, rel=0, abs=1e-3 * np.abs(expected).max())
    # a low gate makes the weight of an input depend on its sign
    ends = np.array([np.full(9, 0.1), np.full(9, -0.1)])
    up, down = die.sense(Sense(vector_bias(die.geometry, 0, 0, ends, v_gate=gate), np.arange(6), LONG)).current
    assert (-down / up).min() > (1.08 if gate < 2.0 else 1.0)


def test_a_kernel_is_prepared_once_per_state_and_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[float] = []

    class Counted(chip_readout.ReadOut):
        def __init__(self, *arguments: Any) -> None:
            made.append(arguments[3])
            super().__init__(*arguments)

    monkeypatch.setattr(chip_readout, "ReadOut", Counted)
    die = quiet((1, 9, 6))
    x = np.random.default_rng(3).uniform(-0.1, 0.1, (8, 9))

    def read(gate: float) -> Array:
        return die.sense(Sense(vector_bias(die.geometry, 0, 0, x, v_gate=gate), np.arange(6), LONG)).current

    first = [read(gate) for gate in (1.6, 3.0)]
    for _ in range(3):
        for gate, before in zip((1.6, 3.0), first, strict=True):
            np.testing.assert_allclose(read(gate), before, rtol=0, atol=1e-10)  # shot noise
    assert len(made) == 2
    cell = (np.zeros(1, int), np.zeros(1, int), np.zeros(1, int))
    to_p = ~die.truth()["state"][0, :1, 0]
    die.pulse(Pulse(write_bias(die.geometry, *cell, to_p).scaled(0.7), 1e-3))
    assert np.abs(read(1.6) - first[0]).max() > 1e-7
    assert len(made) == 3
    for gate in np.linspace(2.0, 3.0, 9):
        read(float(gate))
    assert max(len(kept) for _, kept in die._circuit._readouts.values()) <= 4


def test_a_closed_transistor_reads_nothing_though_its_gate_is_above_the_threshold() -> None:
    # 0.8 V at the gate are 0.2 V above the threshold and 0 V above the columns
    die = quiet(random_state=False)
    x = np.full((1, M), 0.1)
    for gate, open_ in ((0.8, False), (1.3, False), (1.5, True)):
        current = die.sense(Sense(vector_bias(die.geometry, 0, 0, x, v_gate=gate), np.arange(N), LONG)).current
        assert (np.abs(current) > 1e-7).all() == open_
        assert (current == 0.0).all() != open_


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
    assert shorted == pytest.approx(nodal(die, 0, x[0], np.zeros(6), np.full(9, V_GATE)).col, rel=1e-3)
    # as an odd weight it would change its own column only; as a short it pulls its row down for all others
    others = np.arange(6) > j
    assert (shorted[others] < without[others] * 0.998).all()
    assert shorted[j] > without[j]
    own = 0.1 / (30.0 + 300.0) - 0.1 * clean.truth()["g_ap"][0, i, j] * 0.5
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
    die = quiet(defects={"short": "10 %", "open": "5 %"})
    tolerance = 1e-3 if not np.isnan(row).any() and not np.isnan(col).any() and np.ptp(col) == 0 else 1e-6
    for kernel in range(K):
        expected = nodal(die, kernel, row, col, gate).col
        assert apply(die, kernel, row, col, gate) == pytest.approx(expected, rel=tolerance, abs=1e-11)


@settings(max_examples=200, deadline=None)
@given(
    volts=st.floats(-3.0, 3.0),
    ohms=st.floats(0.0, 1e4),
    share=st.floats(0.0, 1.0),
    g_p=st.floats(1e-6, 1.0),
    tmr=st.one_of(st.just(0.0), st.floats(0.1, 5.0)),
    above=st.floats(-1.0, 3.0),
    gain=st.floats(1e-5, 1e-1),
    body=st.one_of(st.just(0.0), st.floats(0.1, 1.0)),
    limit=st.floats(1e-9, 1.0),
    junction=st.sampled_from(Side),
)
def test_series_paths_obey_their_equation(
    volts: float, ohms: float, share: float, g_p: float, tmr: float, above: float, gain: float, body: float,
    limit: float, junction: Side,
) -> None:  # fmt: skip
    square = SquareLaw(body, 0.7, REFERENCE)
    cells = Stacks(*(np.array([x]) for x in (g_p, tmr, above, 1 / gain)))
    row, col = (0.0, -volts) if volts < 0 else (volts, 0.0)
    row, col = (row, col) if volts >= 0 else (-REFERENCE, -REFERENCE - volts)
    wires = np.array([ohms * share]), np.array([ohms * (1 - share)])
    path = series_path(StackLaw(square, junction, V_HALF), np.array([row]), np.array([col]), cells, *wires, limit)
    v, i = float(path.junction[0]), float(path.current[0])
    assert i == pytest.approx(float(mtj.conductance(g_p, tmr, v, V_HALF)) * v, rel=1e-9, abs=1e-18)
    assert abs(v) <= abs(row - col) * (1 + 1e-12), "more than there is between the lines"
    if path.limited[0]:
        assert abs(i) == limit
        return
    a, b = row - ohms * share * i, col + ohms * (1 - share) * i
    ends = (a - v, b) if junction is Side.ROW else (a, b + v)
    channel = square(np.array(above), np.array(ends[0]), np.array(ends[1]))
    rounding = 1e-12 * gain * (float(channel.upper) + float(channel.lower)) + 1e-12 * g_p
    assert i == pytest.approx(gain * float(channel.current), rel=1e-8, abs=rounding + 1e-18)
    assert abs(i) <= limit * (1 + 1e-9)


@pytest.mark.parametrize("junction", list(Side))
def test_no_junction_has_more_than_the_limits_count(junction: Side) -> None:
    transistor = {"junction": str(junction), "v_threshold_spread": "30 mV", "body_effect": 0.3}
    die, rng = quiet(defects={"short": "10 %"}, transistor=transistor), np.random.default_rng(4)
    circuit = die._circuit
    for _ in range(20):
        lines = rng.uniform(-0.8, 1.5, (1, M + N))
        floating, gate = rng.random((1, M + N)) < rng.choice([0.0, 0.2]), rng.choice([0.0, 0.9, 1.7, 3.3], (1, M))
        bias = Bias(lines[:, :M], lines[:, M:], gate, floating, kernel=np.array(1))
        point, _ = circuit.operating_point(Patterns(bias, 0.4, 0.0), 0, 1.0)
        cell = point.cell_voltage.reshape(M, N)
        up, down = peaks_per_cell(bias)
        assert (cell <= up + 1e-9).all()
        assert (-cell <= down + 1e-9).all()


@pytest.mark.parametrize("transistor", [{}, {"body_effect": 0.4, "junction": "column", "v_threshold_spread": "30 mV"}])
def test_any_condition_within_the_board_has_an_operating_point(transistor: dict[str, Any]) -> None:
    """Most lines float in many of them, so that transistors cut off what is joined to no source."""
    die, rng = quiet(defects={"short": "10 %", "open": "5 %"}, transistor=transistor), np.random.default_rng(17)
    cut_off = 0
    for _ in range(60):
        lines = rng.uniform(-0.8, 2.5, (1, M + N)) * rng.choice([0.1, 0.4, 1.0])
        floating, gate = rng.random((1, M + N)) < rng.choice([0.2, 0.6, 0.8]), rng.uniform(0.0, 3.3, (1, M))
        compliance = float(rng.choice([1.0, 5e-3, 1e-3, 50e-6]))
        bias = Bias(lines[:, :M], lines[:, M:], gate, floating, kernel=np.array(1))
        point, stacks = die._circuit.operating_point(Patterns(bias, 0.4, 0.0), 0, compliance)
        held = np.append(lines[~floating], 0.0)
        volts, current, v = point.line_voltage, point.line_current, point.cell_voltage
        assert held.min() - 1e-6 <= volts.min() <= volts.max() <= held.max() + 1e-6, "beyond all sources"
        assert np.abs(current).max() <= compliance * (1 + 1e-6)
        cell = np.where(
            stacks.g_p.ravel() > 0.0, mtj.conductance(stacks.g_p, stacks.tmr, v.reshape(M, N), V_HALF).ravel() * v, 0.0
        )
        into = cell.reshape(M, N).sum(axis=1), -cell.reshape(M, N).sum(axis=0)
        assert current == pytest.approx(np.concatenate(into), rel=1e-6, abs=1e-12)
        assert np.abs(current[floating[0]]).max(initial=0.0) < 5e-12  # the leak
        cut_off += int((floating[0] & (np.abs(volts) > 1e-3)).any())
    assert cut_off > 20


def test_transistors_saturate_and_sources_are_limited() -> None:
    # 1.2 V at the gate, 0.1 V above threshold and reference: 1.75 mA/V^2 * 0.01 V^2 / 2
    wires = {"r_row": "0 ohm", "r_col": "0 ohm"}
    die = quiet(transistor={"v_threshold": "0.3 V"}, lines=wires, random_state=False)
    most = 1.75e-3 * 0.1**2 / 2
    one = np.zeros(1, int)
    reading = die.sense(Sense(row_bias(die.geometry, one, one, 0.5, v_gate=1.2), np.arange(N), LONG))
    assert reading.current[0] == pytest.approx(np.full(N, most), rel=1e-9)
    assert not reading.flag.any()
    wide = vector_bias(die.geometry, 0, 0, np.full((1, M), 0.5), v_gate=1.2)
    assert die.sense(Sense(wide, np.arange(N), LONG)).current[0] == pytest.approx(np.full(N, M * most), rel=1e-6)
    limited = row_bias(die.geometry, one, one, 0.5, compliance=30e-6, v_gate=1.2)
    reading = die.sense(Sense(limited, np.arange(N), LONG))
    assert (reading.flag == Flag.COMPLIANCE).all()
    assert reading.current.sum() == pytest.approx(30e-6, rel=1e-6)


def test_transistors_differ_by_what_the_file_says() -> None:
    die = make((4, 25, 20), transistor={"v_threshold_spread": "15 mV", "gain_spread": "8 %"})
    truth = die.truth()
    assert truth["v_threshold"].mean() == pytest.approx(0.6, abs=5 * 0.015 / np.sqrt(2000))
    assert truth["v_threshold"].std() == pytest.approx(0.015, rel=5 / np.sqrt(4000))
    assert np.log(truth["gain"] / 1.75e-3).std() == pytest.approx(0.08, rel=5 / np.sqrt(4000))
    assert abs(np.corrcoef(truth["v_threshold"].ravel(), truth["gain"].ravel())[0, 1]) < 0.1
    same = make().truth()
    assert np.unique(same["v_threshold"]).tolist() == [0.6]
    assert np.unique(same["gain"]) == pytest.approx([1.75e-3])


def test_a_gate_at_0_v_has_to_close_every_transistor() -> None:
    with pytest.raises(ValidationError, match=r"a gate at 0 V would not close every transistor; expected more"):
        describe(transistor={"v_threshold_spread": "0.11 V"})
    with pytest.raises(ValidationError, match="the gates of the board do not open the transistors"):
        describe(board={"supply": "1.3 V"})
    with pytest.raises(ValidationError, match=r"reference 3.3 V is not below supply 3.3 V"):
        describe(board={"reference": "3.3 V"})


def test_the_on_resistance_counts_from_the_chips_ground() -> None:
    transistor = Transistor(gain=2e-3, v_threshold=0.6)
    assert [transistor.on_resistance(3.3, at) for at in (0.0, 0.8, 2.7)] == pytest.approx(
        [1 / 5.4e-3, 1 / 3.8e-3, np.inf]
    )
    lifted = 0.6 + 0.4 * (np.sqrt(0.7 + 0.8) - np.sqrt(0.7))
    body = Transistor(gain=2e-3, v_threshold=0.6, body_effect=0.4).on_resistance(3.3, 0.8)
    assert body == pytest.approx(1 / (2e-3 * (3.3 - 0.8 - lifted)))
    assert describe().series == pytest.approx(1 / (1.75e-3 * 1.9))


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
    last = nodal(die, 0, np.eye(M)[0] * 0.1, np.zeros(N), np.eye(M)[0] * V_GATE).col[0]
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
    beside, below = R_SOURCE + (col + 1) * R_ROW, R_SENSE + (30 - row) * R_COL
    cells = Stacks(truth["g_p"], truth["tmr0"], np.full(len(row), 1.9), 1 / 1.75e-3)
    none = np.zeros(len(row))
    v = series_path(law(), np.full(len(row), volts), none, cells, beside, below, 1.0).junction
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
    first, gate = dies[0], np.eye(6)[0] * V_GATE
    v = nodal(first, 0, np.eye(6)[0] * 0.18, np.zeros(5), gate).junction[0]
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
    die = make((1, 5, 4), **{**noisy, "board": {"dac_lsb": "0 V", "offset": "3 uA", "gain": 0}})
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
    die = make(
        **{**QUIET, "converter": {"lsb": "0.61 uA", "full_scale": "1 mA"}, "board": {"offset": "0 A", "gain": 0}}
    )
    x = np.random.default_rng(0).uniform(0, 0.1, (50, M))
    current = die.sense(Sense(vector_bias(die.geometry, 0, 0, x), np.arange(N), LONG)).current
    assert current / 0.61e-6 == pytest.approx(np.round(current / 0.61e-6), abs=1e-6)
    lsb = 5 / 4096
    stepped = np.round(x / lsb) * lsb
    other = make(**{**QUIET, "board": {"offset": "0 A", "gain": 0}})
    exact = quiet()
    read = [
        d.sense(Sense(vector_bias(d.geometry, 0, 0, v), np.arange(N), LONG)).current
        for d, v in ((other, x), (exact, stepped), (exact, x))
    ]
    assert read[0] == pytest.approx(read[1], rel=1e-9)
    assert not np.allclose(read[0], read[2], rtol=1e-4)


def test_amplifiers_differ_in_gain() -> None:
    die, calm = quiet((8, M, 20), board={"dac_lsb": "0 V", "offset": "0 A", "gain": "3 %"}), quiet((8, M, 20))
    kernel = np.arange(8)
    x = np.full((8, M), 0.1)
    bias = Bias(x, np.zeros((8, 20)), np.full((8, M), 3.3), kernel=kernel)
    gain = np.stack([d.sense(Sense(bias, np.arange(20), LONG)).current for d in (die, calm)])
    gain = np.log(gain[0] / gain[1])
    assert gain.std() == pytest.approx(0.03, rel=5 / np.sqrt(2 * 160))
    assert abs(gain.mean()) < 5 * 0.03 / np.sqrt(160)
    # of the amplifier: the same for every reading of a column
    again = (
        die.sense(Sense(bias, np.array([7, 3]), LONG)).current / calm.sense(Sense(bias, np.array([7, 3]), LONG)).current
    )
    assert np.log(again) == pytest.approx(gain[:, [7, 3]], abs=1e-9)


@pytest.mark.parametrize(("wanted", "clocks"), [(46.875e-9, 1), (1e-6, 21), (999e-6, 21312), (1e-3, 21333)])
def test_pulses_are_whole_clocks_wide(wanted: float, clocks: int) -> None:
    die = make()
    cell = (np.zeros(1, int), np.zeros(1, int), np.zeros(1, int))
    write = write_bias(die.geometry, *cell, np.ones(1, np.bool_)).scaled(0.5)
    fixed = die.description.simulation.timing.operation + die.description.simulation.timing.pattern
    assert die.check(Pulse(write, wanted)) - fixed == pytest.approx(clocks * 46.875e-9, rel=1e-6)
    for width in (20e-9, 300.0):
        with pytest.raises(BenchError, match=r"the board makes pulses of 4.6875e-08 s to 201.3 s"):
            die.pulse(Pulse(write, width))


def test_a_column_beyond_the_full_scale_is_flagged() -> None:
    many = {"short": "100 %", "r_short_min": "30 ohm", "r_short_max": "31 ohm"}
    die = make(**{**QUIET, "defects": many, "lines": {}, "converter": {"lsb": "0.61 uA", "full_scale": "1 mA"}})
    reading = die.sense(Sense(vector_bias(die.geometry, 0, 0, np.full((1, M), 0.1)), np.arange(N), LONG))
    assert (reading.flag == Flag.OVERRANGE).all()
    assert reading.current == pytest.approx(np.full((1, N), 1e-3))


def test_a_short_takes_a_pulse_into_compliance() -> None:
    die = make(**{**QUIET, "defects": {"short": "100 %"}, "lines": {}})
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
    with pytest.raises(BenchError, match=r"25 open cells in P at 0.15 V carry 1.39 mA .* full scale is 1.25 mA"):
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
    die = make(board={"supply": "2.2 V"})
    row, col = np.full((1, M), 1.5), np.full((1, N), -0.8)
    with pytest.raises(BenchError, match=r"a line at 1.5 V; the board drives lines from -0.8 to 1.4 V"):
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
    series = 1 / (1 / (np.pi / 4 * (80e-9) ** 2 / 12e-12) + 1 / (1.75e-3 * 1.9))
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
