import numpy as np
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st
from scipy.constants import Boltzmann, elementary_charge

from sim_backend import mtj

TAU0, TAU_D, V_C0, DELTA = 1e-9, 2e-9, 0.5, 60.0


def p_switch(voltage: float, time: float, delta: float = DELTA) -> float:
    return float(mtj.switching_probability(voltage / V_C0, delta, time, tau0=TAU0, tau_d=TAU_D))


@pytest.mark.parametrize(
    ("nm", "ra_um2", "kilo_ohm"),
    [(40, 5, 3.98), (65, 5, 1.51), (100, 5, 0.64), (80, 12, 2.39), (55, 12, 5.05)],
)
def test_resistance_of_published_sizes(nm: float, ra_um2: float, kilo_ohm: float) -> None:
    assert 1e-3 / mtj.parallel_conductance(nm * 1e-9, ra_um2 * 1e-12) == pytest.approx(kilo_ohm, abs=0.006)


def test_tmr_is_half_at_v_half_and_even_in_voltage() -> None:
    v = np.array([0.0, 0.1, 0.5, -0.5, 1.0])
    assert mtj.tmr_at(1.2, v, 0.5) == pytest.approx([1.2, 1.2 / 1.04, 0.6, 0.6, 0.24])


def test_conductance_is_the_tmr_formula() -> None:
    v = np.linspace(-1, 1, 21)
    g_p = np.array([[2e-4], [4e-4]])
    expected = g_p / (1.0 + mtj.tmr_at(1.2, v, 0.5))
    assert mtj.conductance(g_p, 1.2, v, 0.5) == pytest.approx(expected, rel=1e-14)
    assert (mtj.conductance(g_p, 0.0, v, 0.5) == g_p).all()
    assert mtj.conductance(4e-4, 1.2, v, np.inf) == pytest.approx(np.full(21, 4e-4 / 2.2), rel=1e-15)


def test_current_rises_with_voltage_up_to_a_volt() -> None:
    v = np.linspace(0, 1, 1001)
    assert (np.diff(mtj.conductance(4e-4, 1.2, v, 0.5) * v) > 0).all()


@pytest.mark.parametrize("time", [1e-6, 1e-4, 1e-3, 0.1])
@pytest.mark.parametrize("voltage", [0.0, 0.2, 0.35, 0.382, 0.4, 0.45, 0.5])
def test_thermal_switching_is_the_closed_form(voltage: float, time: float) -> None:
    tau = TAU0 * np.exp(DELTA * (1 - voltage / V_C0))
    assert p_switch(voltage, time) == pytest.approx(-np.expm1(-time / tau), rel=1e-12)


@pytest.mark.parametrize(("time", "v_50"), [(1e-6, 0.439), (1e-3, 0.382), (0.1, 0.343)])
def test_median_voltage(time: float, v_50: float) -> None:
    median = mtj.median_voltage(time, V_C0, DELTA, TAU0)
    assert median == pytest.approx(v_50, abs=6e-4)
    assert p_switch(median, time) == pytest.approx(0.5, abs=1e-9)


def test_width_of_the_transition() -> None:
    low, high = (scipy.optimize.brentq(lambda v, p=p: p_switch(v, 1e-3) - p, 0.2, 0.5, xtol=1e-12) for p in (0.1, 0.9))
    assert high - low == pytest.approx(3.08 * V_C0 / DELTA, rel=2e-3)


def test_precessional_switching_is_butlers_formula() -> None:
    time, i = 20e-9, np.array([1.05, 1.2, 1.5, 2.0])
    wer = 1 - np.exp(-(np.pi**2) * (i - 1) * DELTA / (4 * (i * np.exp(2 * (i - 1) * time / TAU_D) - 1)))
    probability = mtj.switching_probability(i, DELTA, time, tau0=TAU0, tau_d=TAU_D)
    assert probability == pytest.approx(1 - wer, rel=1e-9)
    assert (mtj.switching_probability(np.array([0.5, 1.0]), DELTA, time, tau0=TAU0, tau_d=TAU_D) == 0).all()


@given(
    v=st.floats(-1.0, 2.0),
    dv=st.floats(0.0, 0.5),
    log_t=st.floats(-10.0, 0.0),
    dlog_t=st.floats(0.0, 3.0),
    delta=st.floats(20.0, 100.0),
)
def test_switching_is_monotone_in_voltage_and_time(
    v: float, dv: float, log_t: float, dlog_t: float, delta: float
) -> None:
    p = p_switch(v, 10**log_t, delta)
    assert 0.0 <= p <= 1.0
    assert p_switch(v + dv, 10**log_t, delta) >= p - 1e-15
    assert p_switch(v, 10 ** (log_t + dlog_t), delta) >= p - 1e-15


def test_switching_is_monotone_across_the_blend() -> None:
    i, t = np.linspace(0.5, 1.5, 201)[:, None], np.logspace(-8, -5, 301)
    p = mtj.switching_probability(i, DELTA, t, tau0=TAU0, tau_d=TAU_D)
    assert (np.diff(p, axis=0) >= -1e-15).all()
    assert (np.diff(p, axis=1) >= -1e-15).all()
    # and it is no step: between the two regimes lies something
    assert ((p > 0.01) & (p < 0.99)).any(axis=1).sum() > 20


def test_the_blend_is_a_tenfold_of_time_and_halfway_in_its_logarithm_both_regimes_count_the_same() -> None:
    i = np.array([0.97, 1.03, 1.2])

    def at(time: float) -> mtj.FloatArray:
        return mtj.switching_probability(i, DELTA, time, tau0=TAU0, tau_d=TAU_D)

    def butler(time: float) -> mtj.FloatArray:
        wer = 1 - np.exp(-(np.pi**2) * (i - 1) * DELTA / (4 * (i * np.exp(2 * (i - 1) * time / TAU_D) - 1)))
        return np.where(i > 1, 1 - wer, 0.0)

    def thermal(time: float) -> mtj.FloatArray:
        return -np.expm1(-time / TAU0 * np.exp(-np.maximum(DELTA * (1 - i), 0.0)))

    assert mtj.BLEND == (100e-9, 1e-6)
    assert at(100e-9) == pytest.approx(butler(100e-9), rel=1e-9)
    middle = np.sqrt(100e-9 * 1e-6)
    assert at(middle) == pytest.approx((butler(middle) + thermal(middle)) / 2, rel=1e-9)
    assert at(1e-6) == pytest.approx(thermal(1e-6), rel=1e-12)


def test_half_select_disturb_of_the_reference() -> None:
    # half of the voltage that writes with an error of 1e-6
    for delta, time, expected in ((60, 1e-3, 3.5e-10), (40, 1e-3, 7.7e-6), (40, 0.1, 7.7e-5)):
        v = V_C0 * (1 - np.log(time / (TAU0 * np.log(1e6))) / delta)
        assert 1 - p_switch(v, time, delta) == pytest.approx(1e-6, rel=1e-6)
        assert p_switch(v / 2, time, delta) == pytest.approx(expected, rel=0.03)


def test_spread_has_the_median_and_sigma_asked_for() -> None:
    z = np.random.default_rng(1).standard_normal(40_000)
    logs = np.log(mtj.spread(80e-9, 0.05, z))
    assert np.median(logs) == pytest.approx(np.log(80e-9), abs=5 * 0.05 * 1.25 / 200)
    assert logs.std() == pytest.approx(0.05, rel=5 / np.sqrt(2 * z.size))


def test_stress_adds_up_to_the_weibull_law() -> None:
    assert mtj.stress(1.2, 1.0, 1.2, 1.0, 40) == pytest.approx(1.0)
    assert mtj.stress(-0.6, 2.0, 1.2, 1.0, 40) == pytest.approx(2.0 * 0.5**40)
    u = (np.arange(20_000) + 0.5) / 20_000
    survived = mtj.endurance(u, 1.5)
    for s in (0.5, 1.0, 2.0):
        assert (survived > s).mean() == pytest.approx(np.exp(-(s**1.5)), abs=1e-4)


def test_noise_adds_johnson_shot_flicker_and_instrument() -> None:
    off = {"relative": 0.0, "absolute": 0.0, "flicker": 0.0, "f_low": 0.01}
    i, g, t = np.array([[0.0, 2e-5, -4e-5]]), 4e-4, 1e-3
    johnson = np.sqrt(4 * Boltzmann * 300 * g * 500.0)
    assert mtj.noise_sigma(i[:, :1], g, t, **off) == pytest.approx(johnson)
    shot = mtj.noise_sigma(i, 0.0, t, **off)
    assert shot == pytest.approx(np.sqrt(2 * elementary_charge * np.abs(i) * 500.0))
    flicker = mtj.noise_sigma(i, 0.0, t, **(off | {"flicker": 1e-4}))
    assert flicker[0, 2] == pytest.approx(4e-5 * np.sqrt(1e-4 * np.log(500 / 0.01)), rel=1e-4)
    instrument = mtj.noise_sigma(i, g, t, **(off | {"relative": 0.003, "absolute": 1e-8}))
    assert instrument[0, 1] == pytest.approx(np.hypot(6e-8, 1e-8), rel=0.01)


def test_converter_rounds_and_says_when_it_is_beyond_its_scale() -> None:
    current, over = mtj.quantise(np.array([1.26e-8, -1.4e-8, 2e-3, -1e-3]), 1e-8, 1e-3)
    assert current == pytest.approx([1e-8, -1e-8, 1e-3, -1e-3])
    assert over.tolist() == [False, False, True, False]
    exact, _ = mtj.quantise(np.array([1.26e-8]), 0.0, np.inf)
    assert exact[0] == 1.26e-8
