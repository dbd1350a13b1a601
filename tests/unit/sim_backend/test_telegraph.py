"""Telegraph noise of cells of low thermal stability: dwell times, means over apertures, spectra in closed form."""

from typing import Any

import numpy as np
import pytest

from labctl.core.bias import Bias
from labctl.core.operations import Pulse, Sense
from labctl.core.units import FloatArray
from sim_backend import telegraph
from sim_backend.description import DieDescription
from sim_backend.make import make_die

QUIET = {
    "spread": {"diameter": 0, "ra": 0, "v_c0": 0, "delta": 0},
    "lines": {"r_row": "0 ohm", "r_col": "0 ohm"},
    "noise": {"relative": 0, "absolute": "0 A", "flicker": 0},
    "converter": {"lsb": "0 A"},
}
SETTLE = {"timing": {"settle": "0 s", "dwell": "0 s"}}


def make(shape: tuple[int, int] = (1, 1), kind: str = "passive", seed: int = 5, **simulation: Any) -> Any:
    geometry = {"kind": kind, "n_rows": shape[0], "n_cols": shape[1]}
    file = {"name": "t", "geometry": geometry, "junction": {"diameter": "80 nm"}}
    file |= {"simulation": {"telegraph": True, **QUIET, **SETTLE, **simulation}}
    return make_die(DieDescription.model_validate(file, context={"file": True}), seed=seed, name="die")


def series(die: Any, n: int, aperture: float, volts: float = 20e-3) -> FloatArray:
    """The current of a single cell, read n times, as a share between AP (0) and P (1)."""
    gate = None if die.geometry.kind == "passive" else np.full((n, 1), 3.3)
    bias = Bias(np.full((n, 1), volts), np.zeros((n, 1)), gate)
    current = die.sense(Sense(bias, np.arange(1), aperture)).current[:, 0]
    truth = die.truth()
    if gate is None:
        g_p = truth["g_p"][0, 0, 0]
        g_ap = g_p / (1.0 + truth["tmr0"][0, 0, 0] / (1.0 + (volts / 0.5) ** 2))
        low, high = g_ap * volts, g_p * volts
    else:
        low, high = current.min(), current.max()
    return np.asarray((current - low) / (high - low))


def rates(delta: float, volts: float = 20e-3) -> tuple[float, float]:
    """Out of P and out of AP, per s; a positive voltage writes P."""
    return 1e9 * np.exp(-delta * (1 + volts / 0.5)), 1e9 * np.exp(-delta * (1 - volts / 0.5))


def test_dwell_times_are_exponential_with_the_rates_of_the_law() -> None:
    delta, aperture = 16.0, 20e-6
    die = make(switching={"delta": delta})
    in_p = series(die, 60_000, aperture) > 0.5
    edges = np.flatnonzero(np.diff(in_p)) + 1
    dwell, state = np.diff(edges) * aperture, in_p[edges[:-1]]
    for up, rate in zip((True, False), rates(delta), strict=True):
        own = dwell[state == up]
        assert len(own) > 50
        assert own.mean() == pytest.approx(1.0 / rate, rel=5 / np.sqrt(len(own)))
        # exponential: as much spread as mean
        assert own.std() == pytest.approx(own.mean(), rel=8 / np.sqrt(len(own)))


@pytest.mark.parametrize(("delta", "aperture"), [(14.0, 2e-3), (10.0, 2e-3), (12.0, 0.1e-3)])
def test_a_reading_is_the_mean_over_its_aperture(delta: float, aperture: float) -> None:
    out, back = rates(delta)
    share = series(make(switching={"delta": delta}), 3000, aperture)
    p, kt = back / (out + back), (out + back) * aperture
    variance = 2 * p * (1 - p) / kt * (1 - (1 - np.exp(-kt)) / kt)
    independent = 3000 * min(1.0, kt)
    assert share.mean() == pytest.approx(p, abs=5 * np.sqrt(variance * 2 / independent))
    assert share.var() == pytest.approx(variance, rel=8 * np.sqrt(2 / independent))


def test_its_spectrum_is_a_lorentzian() -> None:
    """Readings one after the other: the autocovariance of their means is that of a telegraph signal."""
    delta, aperture = 15.0, 50e-6
    out, back = rates(delta)
    k, p = out + back, back / (out + back)
    share = series(make(switching={"delta": delta}), 100_000, aperture) - p
    kt = k * aperture
    for lag in (1, 3, 10):
        # the mean over two windows, lag apart, of exp(-k |t|)
        expected = p * (1 - p) * ((1 - np.exp(-kt)) / kt) * ((np.exp(kt) - 1) / kt) * np.exp(-kt * lag)
        assert (share[lag:] * share[:-lag]).mean() == pytest.approx(expected, rel=0.15)


def test_many_transitions_agree_with_few_drawn_one_by_one() -> None:
    rng = np.random.default_rng(1)
    uniform = rng.random(4000)
    out, back = np.full(4000, 260.0), np.full(4000, 120.0)

    def draw(cell: int, count: int) -> FloatArray:
        return np.asarray(np.random.default_rng([7, cell]).random(count))

    seen = [telegraph.follow(out * f, back * f, 0.2, uniform, draw) for f in (1.0, 1.2)]
    kt = 380.0 * 0.8
    for one, factor in zip(seen, (1.0, 1.2), strict=True):
        p = 260.0 / 380.0
        assert one.share.mean() == pytest.approx(p, abs=5e-3)
        variance = 2 * p * (1 - p) / (kt * factor) * (1 - 1 / (kt * factor))
        assert one.share.var() == pytest.approx(variance, rel=0.12)
        assert one.switched.mean() == pytest.approx(p, abs=0.04)


def test_readings_do_not_depend_on_where_a_batch_is_cut_and_wires_are_part_of_them() -> None:
    soft = {"switching": {"delta": 14.0}, "lines": {"r_row": "2 ohm", "r_col": "2 ohm"}}
    whole, pieces = make((3, 4), **soft), make((3, 4), **soft)
    bias = Bias(np.full((40, 3), 20e-3), np.zeros((40, 4)))
    sense = Sense(bias, np.array([2, 0]))
    a = whole.sense(sense).current
    b = np.concatenate([pieces.sense(sense.take(s)).current for s in (slice(0, 7), slice(7, 8), slice(8, 40))])
    assert np.array_equal(a, b)
    assert np.unique(a[:, 0]).size > 10
    g = whole.truth()["g_p"][0]
    assert (a.max(axis=0) < 20e-3 * g[:, [2, 0]].sum(axis=0)).all()
    assert np.array_equal(whole.truth()["state"], pieces.truth()["state"])


def test_a_verify_read_sees_it_too() -> None:
    die = make(switching={"delta": 10.0})
    n = 400
    read = Sense(Bias(np.full((n, 1), 20e-3), np.zeros((n, 1))), np.arange(1), 1e-3)
    pulses = Pulse(Bias(np.full((n, 1), 0.3), np.zeros((n, 1))), 1e-3, read)
    current = die.pulse(pulses).current[:, 0]
    out, back = rates(10.0)
    g_p = die.truth()["g_p"][0, 0, 0]
    g_ap = g_p / (1 + 1.2 / (1 + 0.04**2))
    p = back / (out + back)
    assert current.mean() / 20e-3 == pytest.approx(p * g_p + (1 - p) * g_ap, rel=0.01)


def test_a_chip_has_it() -> None:
    die = make(kind="1T1R", switching={"delta": 11.0}, defects={}, timing={"settle": "0 s"},
               board={"offset": "0 A", "gain": 0, "dac_lsb": "0 V"}, transistor={})  # fmt: skip
    share = series(die, 4000, 1e-4)
    assert 0.2 < share.mean() < 0.8
    assert len(np.unique(np.round(share, 6))) > 100


def test_stable_cells_read_as_without_it() -> None:
    bias = Bias(np.random.default_rng(0).uniform(0, 0.1, (50, 3)), np.zeros((50, 4)))
    on, off = make((3, 4)), make((3, 4), telegraph=False)
    assert np.array_equal(on.sense(Sense(bias, np.arange(4))).current, off.sense(Sense(bias, np.arange(4))).current)
