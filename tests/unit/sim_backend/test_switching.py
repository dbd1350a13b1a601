"""The switching law: n = 1 against its closed form, n = 2 against the Fokker-Planck equation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from labctl.core.units import FloatArray
from sim_backend.switching import Law
from tests import fokker_planck

TAU0, TAU_D, V_C0, DELTA = 1e-9, 2e-9, 0.5, 60.0
EMPIRICAL, MACROSPIN = Law(1.0, TAU0, TAU_D), Law(2.0, TAU0, TAU_D)


def p_switch(voltage: float, time: float, delta: float = DELTA) -> float:
    return float(EMPIRICAL.probability(voltage / V_C0, delta, time))


# ---------------------------------------------------------------------- n = 1


@pytest.mark.parametrize("time", [1e-9, 50e-9, 300e-9, 1e-6, 1e-4, 1e-3, 0.1, 1.0])
@pytest.mark.parametrize("voltage", [-0.3, 0.0, 0.2, 0.35, 0.382, 0.4, 0.45, 0.5, 0.6])
def test_the_empirical_law_is_its_closed_form_to_the_bit(voltage: float, time: float) -> None:
    exponent = np.maximum(DELTA * (1 - voltage / V_C0), 0.0)
    assert p_switch(voltage, time) == -np.expm1(-(time / TAU0) * np.exp(-exponent))


@pytest.mark.parametrize(("time", "v_50"), [(10e-9, 0.478), (1e-6, 0.439), (1e-3, 0.382), (0.1, 0.343)])
def test_median_voltage(time: float, v_50: float) -> None:
    median = V_C0 * EMPIRICAL.median(time, DELTA)
    assert median == pytest.approx(v_50, abs=6e-4)
    assert p_switch(median, time) == pytest.approx(0.5, abs=1e-9)


def test_width_of_the_transition() -> None:
    low, high = (brentq(lambda v, p=p: p_switch(v, 1e-3) - p, 0.2, 0.5, xtol=1e-12) for p in (0.1, 0.9))
    assert high - low == pytest.approx(3.08 * V_C0 / DELTA, rel=2e-3)


def test_half_select_disturb_of_the_reference() -> None:
    # half of the voltage that writes with an error of 1e-6
    for delta, time, expected in ((60, 1e-3, 3.5e-10), (40, 1e-3, 7.7e-6), (40, 0.1, 7.7e-5)):
        v = V_C0 * (1 - np.log(time / (TAU0 * np.log(1e6))) / delta)
        assert 1 - p_switch(v, time, delta) == pytest.approx(1e-6, rel=1e-6)
        assert p_switch(v / 2, time, delta) == pytest.approx(expected, rel=0.03)


# ------------------------------------------------------------------ any n


@given(
    n=st.sampled_from([1.0, 1.0, 1.3, 1.7, 2.0, 2.0, 2.0]),
    v=st.floats(-1.5, 2.5),
    dv=st.one_of(st.floats(0.0, 0.5), st.floats(0.0, 1e-3)),
    log_t=st.floats(-9.0, 0.0),
    dlog_t=st.floats(0.0, 3.0),
    delta=st.floats(10.0, 150.0),
    field=st.floats(-0.8, 0.8),
    dh=st.floats(0.0, 0.1),
)
def test_switching_is_monotone_in_voltage_time_and_field_and_continuous(
    n: float, v: float, dv: float, log_t: float, dlog_t: float, delta: float, field: float, dh: float
) -> None:
    law, t = Law(n, TAU0, TAU_D), 10**log_t
    p = float(law.probability(v, delta, t, field))
    assert 0.0 <= p <= 1.0
    assert law.probability(v + dv, delta, t, field) >= p - 1e-15
    assert law.probability(v, delta, t * 10**dlog_t, field) >= p - 1e-15
    assert law.probability(v, delta, t, field + dh) >= p - 1e-15
    # no step in V or in t, at the critical voltage or elsewhere: the steepest slope is that of the barrier
    assert law.probability(v + 1e-7, delta, t, field) - p <= 1e-7 * 100 * delta
    assert law.probability(v, delta, t * (1 + 1e-7), field) - p <= 1e-7 * 100 * delta


@pytest.mark.parametrize("law", [EMPIRICAL, Law(1.5, TAU0, TAU_D), MACROSPIN])
def test_probability_is_monotone_and_without_a_plateau_below_a_microsecond(law: Law) -> None:
    v, t = np.linspace(0.5, 1.5, 401)[:, None], np.logspace(-9, 0, 181)
    p = law.probability(v, DELTA, t)
    assert (np.diff(p, axis=0) >= -1e-15).all()
    assert (np.diff(p, axis=1) >= -1e-15).all()
    between = np.flatnonzero((t > 50e-9) & (t < 1e-6))
    for column in between:
        rising = p[(p[:, column] > 0.02) & (p[:, column] < 0.9), column]
        if law is MACROSPIN:
            assert (np.diff(rising) > 1e-3).all()


@pytest.mark.parametrize("n", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("time", [5e-9, 100e-9, 1e-6, 1e-3, 1.0])
@pytest.mark.parametrize("field", [-0.2, 0.0, 0.3])
def test_the_median_switches_half(n: float, time: float, field: float) -> None:
    law = Law(n, TAU0, TAU_D)
    assert law.probability(law.median(time, 40.0, field), 40.0, time, field) == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("n", [1.0, 1.5, 2.0])
def test_the_barrier_has_the_field_in_it(n: float) -> None:
    law, h, v = Law(n, TAU0, TAU_D), 0.2, 0.3
    # Delta_H (1 - V / V_c(H))^n with Delta_H = Delta (1 - h)^2 and V_c(H) = V_c0 (1 - h)
    assert law.barrier(v, DELTA, h) == pytest.approx(DELTA * (1 - h) ** 2 * (1 - v / (1 - h)) ** n, rel=1e-12)
    assert law.barrier(0.0, DELTA, h) == pytest.approx(DELTA * (1 - h) ** 2, rel=1e-12)
    assert law.barrier(0.0, DELTA, -h) == pytest.approx(DELTA * (1 + h) ** 2, rel=1e-12)
    assert law.barrier(1 - h, DELTA, h) == 0.0
    if n < 2:
        tau = TAU0 * np.exp(law.barrier(v, 40.0, h))
        assert law.probability(v, 40.0, 1e-4, h) == pytest.approx(-np.expm1(-1e-4 / tau), rel=1e-12)


# ------------------------------------------- n = 2 against Fokker and Planck


def rate(drive: float, delta: float, field: float = 0.0) -> float:
    """Return the rate of the law per tau_d, long after the pulse has begun."""
    t = 3e3 * TAU_D
    for _ in range(60):
        left = np.log1p(-MACROSPIN.probability(drive, delta, np.array([t, 2 * t]), field))
        if left[1] < -1e-9:  # else the probability is too small to be told from rounding
            break
        t *= 8
    return float((left[0] - left[1]) / t * TAU_D)


@pytest.mark.parametrize("delta", [20.0, 40.0, 60.0, 100.0])
def test_the_rate_is_that_of_fokker_and_planck(delta: float) -> None:
    for barrier in (5.0, 6.0, 8.0, 11.0, 15.0, 20.0, 28.0):
        if barrier <= delta:
            drive = 1 - np.sqrt(barrier / delta)
            assert rate(drive, delta) == pytest.approx(fokker_planck.rate(drive, delta), rel=0.04), barrier
    constant = np.exp(-5.0) * TAU_D / TAU0  # what a constant attempt time of 1 ns would give
    assert not 0.5 < fokker_planck.rate(1 - np.sqrt(5 / delta), delta) / constant < 2


def test_the_judge_has_the_limit_of_high_barriers() -> None:
    # Brown's rate, from steepest descent at the barrier and in the well
    for drive in (0.0, 0.3, 0.5):
        brown = np.sqrt(100 / np.pi) * (1 - drive) ** 2 * (1 + drive) * np.exp(-100 * (1 - drive) ** 2)
        assert fokker_planck.rate(drive, 100.0) == pytest.approx(brown, rel=2.5 / (100 * (1 - drive) ** 2))
    # and it does not depend on the grid
    assert fokker_planck.rate(0.6, 60.0, 1000) == pytest.approx(fokker_planck.rate(0.6, 60.0, 3000), rel=2e-3)


def test_the_rate_in_a_field_is_that_of_fokker_and_planck() -> None:
    for field, drive in ((0.2, 0.4), (-0.15, 0.7), (0.5, 0.0)):
        assert rate(drive, 60.0, field) == pytest.approx(fokker_planck.rate(drive + field, 60.0), rel=0.03)


@pytest.mark.parametrize("delta", [20.0, 60.0, 100.0])
@pytest.mark.parametrize("drive", [0.7, 0.9, 1.0, 1.1, 1.3, 1.6, 2.0])
def test_the_probability_is_that_of_fokker_and_planck_across_the_critical_voltage(delta: float, drive: float) -> None:
    time, expected = fokker_planck.switched(drive, delta, 0.6, 11, points=120)
    assert MACROSPIN.probability(drive, delta, time * TAU_D) == pytest.approx(expected, abs=0.045)


def test_the_probability_in_a_field_is_that_of_fokker_and_planck() -> None:
    for field, drive in ((0.2, 0.6), (-0.2, 1.3), (0.2, 1.0)):
        time, expected = fokker_planck.switched(drive + field, 60.0, 0.6, 11, field, points=120)
        assert MACROSPIN.probability(drive, 60.0, time * TAU_D, field) == pytest.approx(expected, abs=0.06)


def butler(drive: float, delta: float, time: FloatArray) -> FloatArray:
    """Return the write error rate of Butler et al., IEEE Trans. Magn. 48, 4684 (2012)."""
    growth = drive * np.exp(2 * (drive - 1) * time / TAU_D) - 1
    return np.asarray(-np.expm1(-(np.pi**2) * (drive - 1) * delta / (4 * growth)))


@pytest.mark.parametrize(("drive", "above"), [(1.5, 6.5), (2.0, 2.1), (2.5, 1.7)])
def test_the_write_error_rate_far_above_is_ballistic(drive: float, above: float) -> None:
    """Growth from the thermal angle: Butler's linear growth to pi / 2 takes longer, the exact one does not."""
    time, expected = fokker_planck.switched(drive, 60.0, 1.2, 5, points=200)
    wer = 1 - MACROSPIN.probability(drive, 60.0, time * TAU_D)
    rare = (1 - expected < 0.3) & (1 - expected > 1e-8)
    assert rare.sum() >= 2
    assert wer[rare] == pytest.approx(1 - expected[rare], rel=0.25)
    factor = butler(drive, 60.0, time[rare] * TAU_D) / wer[rare]
    assert ((factor > 1) & (factor < above)).all()
    # and the error falls by the same factor per nanosecond
    ours, theirs = (np.diff(np.log(e[rare])) for e in (wer, butler(drive, 60.0, time * TAU_D)))
    assert ours == pytest.approx(theirs, rel=0.1)


def test_both_regimes_meet_at_the_critical_voltage() -> None:
    t = np.logspace(-9, 0, 91)
    below, above = (MACROSPIN.probability(1 + step, DELTA, t) for step in (-1e-9, 1e-9))
    assert np.abs(above - below).max() < 1e-6
    slope_below, slope_above = (
        (MACROSPIN.probability(1 + a, DELTA, t) - MACROSPIN.probability(1 + b, DELTA, t))
        for a, b in ((0, -1e-4), (1e-4, 0))
    )
    assert slope_above == pytest.approx(slope_below, abs=2e-5)
