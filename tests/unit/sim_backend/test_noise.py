"""What readings of dies scatter by: thermal and shot noise, 1/f noise in time, errors of gain; against closed forms."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.constants import Boltzmann, elementary_charge
from scipy.signal import periodogram

from labctl.core.bias import Bias
from labctl.core.operations import Pulse, Sense
from labctl.core.units import FloatArray
from sim_backend.description import DieDescription
from sim_backend.flicker import Flicker
from sim_backend.make import make_die
from sim_backend.noise import bias_noise, bias_noise_of, noise_sigma

AREA = np.pi / 4 * 0.08**2
"""um^2"""
NONE = {"relative": 0, "absolute": "0 A", "flicker": 0}
ALIKE = {
    "spread": {"diameter": 0, "ra": 0, "v_c0": 0, "delta": 0},
    "lines": {"r_row": "0 ohm", "r_col": "0 ohm"},
    "converter": {"lsb": "0 A", "full_scale": "1 A"},
    "switching": {"v_half": "1 kV", "delta": 200},
    "timing": {"settle": "0 s", "pattern": "0 s", "dwell": "0 s"},
    "disturb": False,
    "random_state": False,
}
CHIP = {
    "defects": {},
    "transistor": {},
    "board": {"offset": "0 A", "gain": 0, "dac_lsb": "0 V", "clock": "0 s"},
}


def make(shape: tuple[int, int], noise: dict[str, Any], kind: str = "passive", seed: int = 5, **more: Any) -> Any:
    geometry = {"kind": kind, "n_rows": shape[0], "n_cols": shape[1]}
    simulation = {**ALIKE, **(CHIP if kind == "1T1R" else {}), "noise": {**NONE, **noise}, **more}
    file = {"name": "t", "geometry": geometry, "junction": {"diameter": "80 nm"}, "simulation": simulation}
    return make_die(DieDescription.model_validate(file, context={"file": True}), seed=seed, name="die")


def reads(die: Any, rows: Any, n: int, aperture: float) -> FloatArray:
    """(n, n_cols) A of the same read n times, one right after the other."""
    row = np.broadcast_to(np.asarray(rows, np.float64), (n, die.geometry.n_rows))
    gate = None if die.geometry.kind == "passive" else np.full((n, die.geometry.n_rows), 3.3)
    bias = Bias(row, np.zeros((n, die.geometry.n_cols)), gate, compliance=1.0)
    return np.asarray(die.sense(Sense(bias, np.arange(die.geometry.n_cols), aperture)).current)


def allan(y: FloatArray, m: int) -> float:
    """Allan variance of means of m readings, over all columns."""
    means = y[: len(y) // m * m].reshape(-1, m, y.shape[1]).mean(axis=1)
    return float(0.5 * np.square(np.diff(means, axis=0)).mean())


# ---------------------------------------------------------------- thermal and shot noise


@pytest.mark.parametrize("kelvin", [77.0, 300.0, 390.0])
def test_thermal_and_shot_noise_of_a_junction_are_one(kelvin: float) -> None:
    """S_I = 2 q I coth(q V / 2 k T), from Poissonian tunnelling either way with detailed balance."""
    g, v = 4e-4, np.array([-0.5, -0.1, -1e-3, 1e-5, 2e-3, 0.05, 0.1, 0.4])
    s = 4 * Boltzmann * kelvin * g * (1 + bias_noise(v, kelvin))
    forth = g * v / elementary_charge / -np.expm1(-elementary_charge * v / (Boltzmann * kelvin))
    back = forth * np.exp(-elementary_charge * v / (Boltzmann * kelvin))
    assert s == pytest.approx(2 * elementary_charge**2 * (forth + back), rel=1e-9)
    assert [bias_noise_of(float(x), kelvin) for x in v] == pytest.approx(bias_noise(v, kelvin))
    # 4 k T G without a voltage, 2 q I far above 2 k T / q, and never their sum
    assert 4 * Boltzmann * kelvin * g * (1 + bias_noise_of(0.0, kelvin)) == pytest.approx(4 * Boltzmann * kelvin * g)
    large = 40 * Boltzmann * kelvin / elementary_charge
    shot = 2 * elementary_charge * g * large
    assert 4 * Boltzmann * kelvin * g * (1 + bias_noise_of(large, kelvin)) == pytest.approx(shot, rel=1e-9)


def test_noise_that_averages_is_thermal_and_shot_flicker_and_instrument() -> None:
    off = {"relative": 0.0, "absolute": 0.0, "flicker": 0.0, "f_low": 0.01}
    i, g, t = np.array([[0.0, 2e-5, -4e-5]]), 4e-4, 1e-3
    johnson = np.sqrt(4 * Boltzmann * 300 * g * 500.0)
    assert noise_sigma(i[:, :1], g, t, **off, kelvin=1200.0) == pytest.approx(2 * johnson)
    assert noise_sigma(i, g, t, **off) == pytest.approx(johnson)
    flicker = noise_sigma(i, 0.0, t, **(off | {"flicker": 1e-4}))
    assert flicker[0, 2] == pytest.approx(4e-5 * np.sqrt(1e-4 * np.log(500 / 0.01)), rel=1e-4)
    instrument = noise_sigma(i, g, t, **(off | {"relative": 0.003, "absolute": 1e-8}))
    assert instrument[0, 1] == pytest.approx(np.hypot(6e-8, 1e-8), rel=0.01)


@pytest.mark.parametrize("kelvin", [300.0, 360.0])
@pytest.mark.parametrize("volts", [(0.0, 0.0, 0.0), (0.1, 0.0, 0.0), (0.3, -0.3, 0.02)])
def test_white_noise_is_that_of_every_junction_at_its_own_voltage(volts: tuple[float, ...], kelvin: float) -> None:
    aperture = 1e-3
    die = make((3, 40), {}, thermal={"temperature": f"{kelvin} K"})
    current = reads(die, volts, 4000, aperture)
    truth = die.truth()
    g = truth["g_ap"][0]
    power = np.zeros(g.shape[1])
    for row, v in enumerate(volts):
        x = elementary_charge * v / (2 * Boltzmann * kelvin)
        power += 4 * Boltzmann * kelvin * g[row] if v == 0 else 2 * elementary_charge * g[row] * v / np.tanh(x)
    assert current.mean(axis=0) == pytest.approx(volts @ g, rel=1e-4, abs=1e-11)
    expected = np.sqrt(power / (2 * aperture))
    assert current.std(axis=0).mean() == pytest.approx(expected.mean(), rel=5 / np.sqrt(2 * 40 * 4000))
    assert allan(current, 16) == pytest.approx(float((expected**2).mean()) / 16, rel=0.1)


def test_of_both_signs_the_current_cancels_and_the_noise_does_not() -> None:
    die = make((2, 30), {})
    current = reads(die, (0.3, -0.3), 3000, 1e-3)
    shot = 2 * elementary_charge * 0.3 * die.truth()["g_ap"][0].sum(axis=0)
    assert np.abs(current.mean(axis=0)).max() < 1e-11
    assert current.std(axis=0).mean() == pytest.approx(np.sqrt(shot / 2e-3).mean(), rel=0.015)


def test_without_a_voltage_wires_and_cells_have_the_noise_of_the_admittance() -> None:
    """Nyquist: 4 k T times the conductance into the terminal, found by driving it; the rest is at 0 V."""
    lines = {"r_row": "300 ohm", "r_col": "500 ohm", "r_sense": "1 kohm"}
    die = make((3, 4), {}, lines=lines)
    scatter = reads(die, (0, 0, 0), 20_000, 1e-3).std(axis=0)
    calm = make((3, 4), {"flicker_in_time": True}, lines=lines)
    bias = Bias(np.zeros((4, 3)), 1e-3 * np.eye(4), compliance=1.0)
    admittance = -np.diagonal(calm.sense(Sense(bias, np.arange(4), 1e9)).current) / 1e-3
    assert scatter == pytest.approx(np.sqrt(4 * Boltzmann * 300 * admittance / 2e-3), rel=0.03)


@pytest.mark.parametrize("rows", [1, 4])
def test_white_noise_of_a_chip_is_that_of_junction_and_transistor_in_series(rows: int) -> None:
    """One open row is a ladder, several are a product of matrices: both have the junctions' share of the stack."""
    aperture, volts = 1e-5, 0.1
    die = make((4, 25), {}, "1T1R")
    n = 8000
    gate = np.zeros((n, 4))
    gate[:, :rows] = 3.3
    row = np.zeros((n, 4))
    row[:, :rows] = volts
    bias = Bias(row, np.zeros((n, 25)), gate, compliance=1.0)
    current = die.sense(Sense(bias, np.arange(25), aperture)).current
    g = die.truth()["g_ap"][0][:rows]
    stack = (current.mean(axis=0) / volts / rows)[None]
    share = stack / g
    u = elementary_charge * share * volts / (2 * Boltzmann * 300)
    junction = 4 * Boltzmann * 300 * g * u / np.tanh(u)
    channel = 4 * Boltzmann * 300 * g * share / (1 - share)
    power = (junction * share**2 + channel * (1 - share) ** 2).sum(axis=0)
    assert current.std(axis=0).mean() == pytest.approx(np.sqrt(power / (2 * aperture)).mean(), rel=0.01)


# ----------------------------------------------------------------------------- 1/f noise


def test_the_process_has_the_spectrum_1_over_f() -> None:
    aperture, n = 1e-3, 1 << 12
    flicker = Flicker(1, "die", 300, 0.05)
    x = flicker.mean(0, np.arange(n) * round(aperture * 1e9), aperture, np.arange(n))
    f, power = periodogram(x, 1 / aperture, "hann", detrend=False, axis=0)
    power = power.mean(axis=1)
    for low in (4.0, 8.0, 16.0, 32.0, 64.0, 128.0):
        band = (f >= low) & (f < 2 * low)
        seen = (power[band] * f[band] / np.sinc(f[band] * aperture) ** 2).mean()
        assert seen == pytest.approx(1.0, rel=0.07 if low < 10 else 0.05), low
    # flat below f_low, at its value there
    slow = Flicker(1, "die", 400, 0.05)
    y = slow.mean(0, np.arange(4000) * int(5e9), 5.0, np.arange(4000))
    f, power = periodogram(y, 0.2, "hann", detrend=False, axis=0)
    assert power[3:40].mean() == pytest.approx(1 / 0.05, rel=0.08)


def test_the_allan_variance_of_readings_is_flat() -> None:
    """That of S = h / f is 2 ln 2 h whatever the time of averaging (Barnes et al., IEEE IM-20, 105 (1971))."""
    noise = {"flicker": 1e-9, "flicker_in_time": True, "f_low": "1 mHz"}
    die = make((1, 60), noise)
    y = reads(die, [0.05], 8192, 1e-3) / (0.05 * die.truth()["g_ap"][0])
    expected = 2 * np.log(2) * 1e-9 / AREA
    for m, tolerance in ((1, 0.03), (8, 0.03), (64, 0.06), (512, 0.15)):
        assert allan(y, m) == pytest.approx(expected, rel=tolerance), m
    # ten times longer apertures see the same, and readings that draw their own average as white noise does
    long = reads(make((1, 60), noise), [0.05], 1024, 1e-2) / (0.05 * die.truth()["g_ap"][0])
    assert allan(long, 8) == pytest.approx(expected, rel=0.12)
    white = make((1, 60), {**noise, "flicker_in_time": False})
    y = reads(white, [0.05], 8192, 1e-3) / (0.05 * die.truth()["g_ap"][0])
    assert allan(y, 64) == pytest.approx(allan(y, 1) / 64, rel=0.2)


def test_each_state_has_its_own_and_cells_of_a_column_are_independent() -> None:
    noise = {"flicker": 1e-9, "flicker_ap": 9e-9, "flicker_in_time": True}
    die = make((2, 50), noise)
    die.pulse(Pulse(Bias(np.array([[0.7, 0.0]]), np.zeros((1, 50)), compliance=1.0), 1e-3))
    assert die.truth()["state"][0, 0].all()
    assert not die.truth()["state"][0, 1].any()
    in_p, in_ap = (reads(die, v, 4096, 1e-3) for v in ([0.05, 0], [0, 0.05]))
    unit = 2 * np.log(2) * 1e-9 / AREA * 0.05**2
    g_p, g_ap = die.truth()["g_p"][0, 0] ** 2, die.truth()["g_ap"][0, 1] ** 2
    assert allan(in_p, 32) == pytest.approx(unit * g_p.mean(), rel=0.12)
    assert allan(in_ap, 32) == pytest.approx(9 * unit * g_ap.mean(), rel=0.12)
    # both at once, of either sign: powers add where currents cancel
    both = reads(die, [0.05, -0.05], 4096, 1e-3)
    assert allan(both, 32) == pytest.approx(unit * (g_p.mean() + 9 * g_ap.mean()), rel=0.12)


def test_it_runs_on_between_operations_and_belongs_to_the_cell() -> None:
    noise = {"flicker": 1e-7, "flicker_in_time": True, "f_low": "10 mHz"}
    die = make((2, 400), noise)
    a, b = reads(die, [0.05, 0], 50, 1e-3).mean(axis=0), reads(die, [0.05, 0], 50, 1e-3).mean(axis=0)
    other = reads(die, [0, 0.05], 50, 1e-3).mean(axis=0)
    shift = [x / x.mean() - 1 for x in (a, b, other)]
    # of two means over T, one right after the other: 1 - 2 ln 2 / variance, which is ln(1 / f_low T) but for a constant
    assert np.corrcoef(shift[0], shift[1])[0, 1] == pytest.approx(
        1 - 2 * np.log(2) / np.log(1 / (0.01 * 0.05)), abs=0.06
    )
    assert abs(np.corrcoef(shift[0], shift[2])[0, 1]) < 0.25


@pytest.mark.parametrize("kind", ["passive", "1T1R"])
def test_noise_in_time_does_not_depend_on_where_a_batch_is_cut(kind: str) -> None:
    rng = np.random.default_rng(2)
    noise = {"flicker": 1e-8, "flicker_in_time": True, "relative": 0.01, "gain": 0.0}
    lines = {"r_row": "2 ohm", "r_col": "2 ohm"}
    timing = {"settle": "0.3 ms", "pattern": "0.1 ms", "dwell": "0 s"}
    whole, pieces = (make((4, 5), noise, kind, lines=lines, timing=timing) for _ in range(2))
    gate = None if kind == "passive" else np.full((300, 4), 3.3)
    sense = Sense(Bias(rng.uniform(-0.1, 0.1, (300, 4)), np.zeros((300, 5)), gate), np.array([3, 0]))
    first = np.eye(4)[rng.integers(0, 4, 60)]
    gates = None if kind == "passive" else 3.3 * first
    read = Sense(Bias(0.1 * first, np.zeros((60, 5)), gates), np.array([1, 2]))
    floating = None if kind == "passive" else np.tile([False] * 4 + [True, False, True, True, True], (60, 1))
    pulses = Pulse(Bias(0.5 * first, np.zeros((60, 5)), gates, floating=floating), 1e-3, read)
    for operation, n in ((sense, 300), (pulses, 60)):
        cuts = [slice(0, 1), slice(1, 31), slice(31, 33), slice(33, n)]
        act = [die.sense if operation is sense else die.pulse for die in (whole, pieces)]
        one = act[0](operation).current
        assert np.array_equal(one, np.concatenate([act[1](operation.take(s)).current for s in cuts]))
        assert np.unique(one).size > n


@pytest.mark.parametrize("rows", [1, 3])
def test_a_chip_has_it_too_less_what_the_transistor_takes(rows: int) -> None:
    noise = {"flicker": 1e-9, "flicker_in_time": True}
    die = make((3, 25), noise, "1T1R", timing={"settle": "0 s", "pattern": "0 s"})
    n, volts = 4096, 0.05
    gate, row = np.zeros((n, 3)), np.zeros((n, 3))
    gate[:, :rows], row[:, :rows] = 3.3, volts
    y = die.sense(Sense(Bias(row, np.zeros((n, 25)), gate), np.arange(25), 1e-4)).current
    g = die.truth()["g_ap"][0][:rows]
    stack = y.mean(axis=0) / volts / rows
    relative = np.square(stack / g).mean() * 2 * np.log(2) * 1e-9 / AREA
    assert allan(y, 16) == pytest.approx(relative * rows * np.square(stack * volts).mean(), rel=0.15)


def test_another_visit_has_other_noise() -> None:
    noise = {"flicker": 1e-7, "flicker_in_time": True}
    a, b, again = (make((1, 5), noise) for _ in range(3))
    b.seek(7)
    again.seek(7)
    first, other, same = (reads(die, [0.05], 3, 1e-3) for die in (a, b, again))
    assert not np.array_equal(first, other)
    assert np.array_equal(other, same)


# ------------------------------------------------------------------------ errors of gain


def test_the_gain_of_an_ammeter_is_drawn_once_and_does_not_average() -> None:
    die, other = make((2, 200), {"gain": 0.02}), make((2, 200), {"gain": 0.02}, seed=6)
    exact = 0.1 * die.truth()["g_ap"][0]
    gain = [reads(d, v, n, 1.0).mean(axis=0) / e for d, v, n, e in (
        (die, [0.1, 0], 1, exact[0]), (die, [0, 0.1], 400, exact[1]), (other, [0.1, 0], 1, exact[0]))]  # fmt: skip
    logs = np.log(gain)
    assert logs.std(axis=1) == pytest.approx(0.02, rel=5 / np.sqrt(400))
    assert np.abs(logs.mean(axis=1)).max() < 5 * 0.02 / np.sqrt(200)
    assert gain[0] == pytest.approx(gain[1], abs=1e-5)
    assert np.corrcoef(logs[0], logs[2])[0, 1] < 0.3


@pytest.mark.parametrize(
    ("kind", "noise", "says"),
    [
        ("1T1R", {"gain": "1 %"}, "expected board.gain"),
        ("passive", {"flicker_ap": 1e-9}, "expected flicker_in_time: true"),
        ("passive", {"gain": -0.1}, "greater than or equal to 0"),
    ],
)
def test_noise_that_does_nothing_is_refused(kind: str, noise: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        make((2, 2), noise, kind)
