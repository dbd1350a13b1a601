"""The simulated die against the formulas it is made of: statistics over many cells, with fixed seeds."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from labctl.core.bias import Bias
from labctl.core.errors import BenchError
from labctl.core.operations import Flag, Pulse, Reading, Sense
from labctl.core.units import BoolArray, FloatArray
from sim_backend import mtj
from sim_backend.cells import FabricatedDefect
from sim_backend.description import DieDescription
from sim_backend.die import SimDie
from sim_backend.noise import noise_sigma

M, N = 4, 5
LINES = M + N
PERFECT_WIRES = {"r_row": 0.0, "r_col": 0.0}
ONE_KIND = {"diameter": 0.0, "ra": 0.0, "v_c0": 0.0, "delta": 0.0}


def make(m: int = M, n: int = N, kernels: int = 1, seed: int = 5, name: str = "die", **simulation: Any) -> SimDie:
    geometry = {"kernels": kernels, "n_rows": m, "n_cols": n}
    file = {"name": "t", "geometry": geometry, "junction": {"diameter": 80e-9}, "simulation": simulation}
    return SimDie(DieDescription.model_validate(file), seed=seed, name=name)


def uniform_bias(n: int, volts: float, m: int = M, cols: int = N, **more: Any) -> Bias:
    """All cells at the same voltage."""
    return Bias(np.broadcast_to(volts, (n, m)), np.zeros((n, cols)), **more)


def state(die: SimDie) -> BoolArray:
    return np.asarray(die.truth()["state"], np.bool_)


def mixture(n: int, seed: int = 0) -> tuple[Pulse, Sense]:
    """Pulses that write about half of the time on two kernels, and reads."""
    rng = np.random.default_rng(seed)
    kernel, at = rng.integers(0, 2, n), np.arange(n)
    row, col = np.zeros((n, M)), np.zeros((n, N))
    rows, cols, volts = rng.integers(0, M, n), rng.integers(0, N, n), rng.choice([-0.8, 0.39, 0.8], n)
    row[at, rows], col[at, cols] = volts / 2, -volts / 2
    floating = np.zeros((n, LINES), np.bool_)
    floating[at[::3], (rows[::3] + 1) % M] = True
    bias = Bias(row, col, floating=floating, kernel=kernel, pulsed=np.where(at % 4, rows, -1))
    read = Bias(rng.uniform(-0.1, 0.1, (n, M)), np.zeros((n, N)), floating=floating, kernel=kernel)
    return Pulse(bias, 1e-3, Sense(read, cols[:, None])), Sense(read, np.array([3, 0]))


def same(a: Reading, b: Reading) -> bool:
    return all(np.array_equal(getattr(a, k), getattr(b, k)) for k in ("current", "flag", "pulse_flag"))


def agree(a: SimDie, b: SimDie) -> bool:
    return all(np.array_equal(x, b.truth()[key]) for key, x in a.truth().items())


# ------------------------------------------------------------------ determinism


@pytest.mark.parametrize("cuts", [(3, 4), (1, 1, 1, 1, 1, 1, 1), (6, 1), (2, 0, 5)])
def test_results_do_not_depend_on_where_a_batch_is_cut(cuts: tuple[int, ...]) -> None:
    pulse, sense = mixture(7)
    whole, pieces = make(kernels=2), make(kernels=2)
    edges = np.cumsum([0, *cuts])
    spans = [slice(a, b) for a, b in pairwise(edges)]
    for _ in range(3):
        assert same(whole.pulse(pulse), Reading.join([pieces.pulse(pulse.take(s)) for s in spans]))
        assert same(whole.sense(sense), Reading.join([pieces.sense(sense.take(s)) for s in spans]))
    assert agree(whole, pieces)
    assert not agree(whole, make(kernels=2))


def test_long_reads_with_disturb_do_not_depend_on_cuts_either() -> None:
    soft = {"switching": {"delta": 30.0}, "timing": {"settle": 1e-3}}
    whole, pieces = make(15, 14, **soft), make(15, 14, **soft)
    before = state(whole)
    rng = np.random.default_rng(1)
    bias = Bias(rng.uniform(0, 0.2, (700, 15)), np.zeros((700, 14)))
    sense = Sense(bias, np.arange(14))
    cuts = [slice(0, 33), slice(33, 34), slice(34, 500), slice(500, 700)]
    assert same(whole.sense(sense), Reading.join([pieces.sense(sense.take(s)) for s in cuts]))
    assert agree(whole, pieces)
    assert (state(whole) != before).sum() > 3


def test_a_die_is_the_same_to_the_bit_when_made_again() -> None:
    pulse, sense = mixture(40)
    a, b = make(kernels=2), make(kernels=2)
    assert agree(a, b)
    assert same(a.pulse(pulse), b.pulse(pulse))
    assert same(a.sense(sense), b.sense(sense))
    assert agree(a, b)


@pytest.mark.parametrize("other", [{"seed": 6}, {"name": "other"}])
def test_dies_of_other_seed_or_name_differ(other: dict[str, Any]) -> None:
    a, b = make(kernels=2).truth(), make(kernels=2, **other).truth()
    for key in ("g_p", "v_c0_p", "delta", "state"):
        assert not np.array_equal(a[key], b[key])
    assert not np.array_equal(a["g_p"][0], a["g_p"][1])


# ------------------------------------------------------------------ switching


@pytest.mark.parametrize(("volts", "width"), [(0.375, 1e-3), (0.385, 1e-3), (0.35, 0.1), (0.43, 1e-6)])
def test_cells_switch_as_often_as_the_closed_form_says(volts: float, width: float) -> None:
    quiet = {"lines": PERFECT_WIRES, "spread": ONE_KIND, "random_state": False}
    die = make(20, 25, **quiet)
    tau = 1e-9 * np.exp(60 * (1 - volts / 0.5))
    expected, flipped, tries = 1 - np.exp(-width / tau), 0, 0
    for _ in range(4):
        die.pulse(Pulse(uniform_bias(1, volts, 20, 25, compliance=1.0), width))
        flipped += int(state(die).sum())
        tries += 500
        back = uniform_bias(1, -0.7, 20, 25, compliance=1.0)
        die.pulse(Pulse(back, 1e-3))
        assert not state(die).any()
    assert flipped / tries == pytest.approx(expected, abs=5 * np.sqrt(expected * (1 - expected) / tries))


def test_half_selected_lines_disturb_for_their_whole_dwell() -> None:
    quiet = {"lines": PERFECT_WIRES, "spread": ONE_KIND, "random_state": False}
    die = make(200, 1, **quiet, switching={"delta": 40.0}, timing={"dwell": 0.1})
    half, row = 0.22, np.zeros((1, 200))
    row[0, 0] = half
    write = Pulse(Bias(row, np.full((1, 1), -half), pulsed=np.array(0), compliance=1.0), 1e-3)
    erase = Pulse(Bias(np.full((1, 200), -0.7), np.zeros((1, 1)), compliance=1.0), 1e-3)
    expected = 1 - np.exp(-(0.1 + 1e-3 + 0.1) / (1e-9 * np.exp(40 * (1 - half / 0.5))))
    flips, n = 0, 30
    for _ in range(n):
        die.pulse(write)
        assert state(die)[0, 0]
        flips += int(state(die)[0, 1:].sum())
        die.pulse(erase)
    assert flips == pytest.approx(199 * n * expected, abs=5 * np.sqrt(199 * n * expected))
    assert flips > 100


def test_without_a_pulsed_line_there_is_no_dwell() -> None:
    quiet = {"lines": PERFECT_WIRES, "spread": ONE_KIND, "random_state": False}
    die = make(200, 1, **quiet, switching={"delta": 40.0}, timing={"dwell": 100.0})
    row = np.zeros((1, 200))
    row[0, 0] = 0.22
    together = Bias(row, np.full((1, 1), -0.22), compliance=1.0)
    die.pulse(Pulse(together, 1e-3))
    assert state(die).sum() == 1
    die.pulse(Pulse(replace(together, pulsed=np.array(0)), 1e-3))
    assert state(die).all()


def test_reads_disturb_as_often_as_the_formula_says() -> None:
    quiet = {"lines": PERFECT_WIRES, "spread": ONE_KIND, "random_state": False}
    die = make(20, 25, **quiet, switching={"delta": 30.0})
    reads, time = 150, 0.2e-3 + 5e-3
    expected = 1 - np.exp(-reads * time / (1e-9 * np.exp(30 * (1 - 0.14 / 0.5))))
    assert 0.1 < expected < 0.5
    die.sense(Sense(uniform_bias(reads, 0.14, 20, 25), np.array([3]), 5e-3))
    flips = int(state(die).sum())
    assert flips == pytest.approx(500 * expected, abs=5 * np.sqrt(500 * expected * (1 - expected)))


def test_disturb_can_be_switched_off() -> None:
    die = make(disturb=False, switching={"delta": 20.0})
    before = state(die)
    die.sense(Sense(uniform_bias(200, 0.2), np.array([0])))
    assert np.array_equal(state(die), before)


def test_a_broken_cell_drives_the_source_into_compliance() -> None:
    die = make()
    row, col = np.zeros((2, M)), np.zeros((2, N))
    row[:, 1], col[:, 2] = [0.8, 0.3], [-0.8, 0.0]
    reading = die.pulse(Pulse(Bias(row, col, pulsed=np.array(1), compliance=2e-3), 1e-3))
    assert die.truth()["defect"][0, 1, 2] == FabricatedDefect.BROKEN
    assert (die.truth()["defect"] == FabricatedDefect.BROKEN).sum() == 1
    assert reading.pulse_flag[0] == Flag.COMPLIANCE
    read = die.sense(Sense(Bias(row[1:], col[1:], compliance=50e-6), np.arange(N)))
    assert (read.flag == Flag.COMPLIANCE).all()
    assert np.abs(read.current).max() < 60e-6


# ------------------------------------------------------------------ reading


def exact(die: SimDie, volts: float = 0.1) -> FloatArray:
    """Return the (m, n) currents of single cells behind perfect wires."""
    truth = die.truth()
    tmr = np.where(truth["state"][0], 0.0, mtj.tmr_at(truth["tmr0"][0], volts, 0.5))
    return np.asarray(truth["g_p"][0] / (1 + tmr) * volts)


def test_readings_scatter_as_the_noise_model_says() -> None:
    die = make(lines=PERFECT_WIRES, disturb=False)
    row = np.zeros((3000, M))
    row[:, 2] = 0.1
    reading = die.sense(Sense(Bias(row, np.zeros((3000, N))), np.arange(N)))
    ideal = exact(die)[2]
    flicker = 1e-10 / (np.pi / 4 * 0.08**2)
    sigma = noise_sigma(
        ideal, die.truth()["g_p"][0].sum(0), 1e-3, relative=0.003, absolute=1e-8, flicker=flicker, f_low=0.01
    )
    assert reading.current.std(axis=0) == pytest.approx(sigma, rel=6 / np.sqrt(6000))
    assert (np.abs(reading.current.mean(axis=0) - ideal) < 5 * sigma / np.sqrt(3000)).all()
    steps = reading.current / 10e-9
    assert np.abs(steps - np.round(steps)).max() < 1e-6
    assert np.abs(np.corrcoef(reading.current.T) - np.eye(N)).max() < 5 / np.sqrt(3000)


def test_an_ideal_die_reads_exactly_what_the_cells_conduct() -> None:
    die = make(ideal=True)
    die.pulse(Pulse(Bias(np.array([[0.2, 0, 0, 0]]), np.array([[-0.2, 0, 0, 0, 0]])), 1e-3))
    assert state(die).sum() == 1
    g = np.where(state(die)[0], die.nominal.g_p(0), die.nominal.g_ap(0))
    x = np.random.default_rng(0).uniform(0, 0.1, (50, M))
    reading = die.sense(Sense(Bias(x, np.zeros((50, N))), np.arange(N)))
    assert reading.current == pytest.approx(x @ g, rel=1e-12)


def test_beyond_full_scale_is_flagged() -> None:
    die = make(converter={"full_scale": 50e-6}, lines=PERFECT_WIRES, random_state=False)
    reading = die.sense(Sense(uniform_bias(1, 0.1), np.arange(N)))
    assert (reading.flag == Flag.OVERRANGE).all()
    assert (reading.current == 50e-6).all()
    assert not die.sense(Sense(uniform_bias(1, 0.02), np.arange(N))).flag.any()


def test_wires_take_their_share() -> None:
    thin = {"r_row": 5.0, "r_col": 5.0}
    wired, free = (make(15, 14, lines=w, random_state=False) for w in (thin, PERFECT_WIRES))
    a, b = (d.sense(Sense(uniform_bias(1, 0.1, 15, 14), np.arange(14))).current for d in (wired, free))
    assert (a < 0.97 * b).all()
    assert a[0, -1] < a[0, 0]  # the last column is the farthest from the sources


# ------------------------------------------------------------------ interface


def test_times_are_those_of_the_description() -> None:
    timing = {"dwell": 1e-3, "settle": 2e-3, "pattern": 3e-3, "operation": 5e-3}
    die = make(timing=timing)
    sense = Sense(uniform_bias(7, 0.1), np.array([0]), 10e-3)
    assert die.check(sense) == pytest.approx(5e-3 + 7 * (3 + 2 + 10) * 1e-3)
    pulsed = uniform_bias(7, 0.1, pulsed=np.array([0, 0, 0, -1, -1, -1, -1]))
    assert die.check(Pulse(pulsed, 4e-3)) == pytest.approx(5e-3 + 7 * 7e-3 + 3 * 2e-3)
    assert die.check(Pulse(pulsed, 4e-3, sense)) == pytest.approx(5e-3 + 7 * 19e-3 + 3 * 2e-3)


def test_a_verify_read_is_on_the_kernel_of_its_pulse() -> None:
    die = make(kernels=2)
    verify = Sense(uniform_bias(1, 0.1, kernel=np.array(1)), np.array([0]))
    with pytest.raises(BenchError, match="different kernels"):
        die.pulse(Pulse(uniform_bias(1, 0.3), 1e-3, verify))


def test_hold_is_what_a_source_sees() -> None:
    die, ones = make(disturb=False), np.ones(LINES, np.bool_)
    source = np.concatenate([[0.1, 0, 0, 0], np.zeros(N)])
    volts, current, limited = die.hold(0, source, ones, np.full(LINES, 1e-3), 0.0)
    reading = die.sense(Sense(Bias(source[None, :M], source[None, M:]), np.arange(N)))
    assert -current[M:] == pytest.approx(reading.current[0], rel=0.02, abs=5e-8)
    assert current.sum() == pytest.approx(0.0, abs=1e-15)
    assert np.array_equal(volts, source)
    assert not limited.any()
    _, held, limited = die.hold(0, source, ones, np.where(np.arange(LINES) == 0, 20e-6, 1.0), 1e-3)
    assert (held[0], limited[0], limited[1:].any()) == (pytest.approx(20e-6), True, False)


def test_hold_keeps_a_point_until_a_cell_changes() -> None:
    die, ones, compliance = make(disturb=False), np.ones(LINES, np.bool_), np.full(LINES, 5e-3)
    source = np.concatenate([[0.1, 0, 0, 0], np.zeros(N)])
    first = die.hold(0, source, ones, compliance, 0.0)
    version = die.version(0)
    assert all(one is other for one, other in zip(first, die.hold(0, source, ones, compliance, 0.0), strict=True))
    with pytest.raises(ValueError, match="read-only"):
        first[1][0] = 1.0
    v = np.zeros(N)
    v[0] = -0.35 if state(die)[0, 0, 0] == 0 else 0.35
    die.pulse(Pulse(Bias(-v[0] * np.eye(M)[:1], v[None]), 1e-2))
    assert die.version(0) > version
    again = make(disturb=False)
    again.pulse(Pulse(Bias(-v[0] * np.eye(M)[:1], v[None]), 1e-2))
    now, fresh = die.hold(0, source, ones, compliance, 0.0)[1], again.hold(0, source, ones, compliance, 0.0)[1]
    assert (now != first[1]).any()
    assert np.array_equal(now, fresh)


def test_hold_writes_for_as_long_as_it_lasts() -> None:
    driven, compliance = np.zeros(LINES, np.bool_), np.full(LINES, 5e-3)
    driven[[1, M + 2]] = True
    for polarity in (1, -1):
        die = make()
        source = np.zeros(LINES)
        source[1], source[M + 2] = polarity * 0.35, polarity * -0.35
        die.hold(0, source, driven, compliance, 0.0)
        assert agree(die, make())
        volts, current, _ = die.hold(0, source, driven, compliance, 1e-2)
        assert state(die)[0, 1, 2] == (polarity > 0)
        assert (current[~driven] == 0).all()
        assert (np.abs(volts[~driven]) < 0.36).all()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kernel": 1}, "not on this die"),
        ({"voltage": np.zeros(3)}, "expected"),
        ({"voltage": np.full(LINES, np.nan)}, "finite"),
        ({"compliance": np.zeros(LINES)}, "positive"),
        ({"duration": -1.0}, "negative"),
    ],
)
def test_hold_refuses_nonsense(change: dict[str, Any], says: str) -> None:
    good = {
        "kernel": 0,
        "voltage": np.zeros(LINES),
        "driven": np.ones(LINES, np.bool_),
        "compliance": np.ones(LINES),
        "duration": 0.0,
    }
    with pytest.raises(BenchError, match=says):
        make().hold(**(good | change))


def test_truth_has_the_shape_of_the_die_and_is_a_copy() -> None:
    die = make(kernels=2)
    truth = die.truth()
    assert {a.shape for a in truth.values()} == {(2, M, N)}
    assert truth["g_ap"] == pytest.approx(truth["g_p"] / 2.2)
    truth["state"][:] = True
    assert not state(die).all()
