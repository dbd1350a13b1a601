import numpy as np
import pytest

from sim_backend import mtj


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


def test_the_barrier_falls_with_temperature_and_ends_at_the_curie_point() -> None:
    kelvin = np.array([300.0, 350.0, 400.0, 1120.0, 2000.0])
    barrier = mtj.barrier_at(kelvin, 1120.0, 2.0)
    m_s = 1 - (kelvin[:3] / 1120) ** 1.5
    assert barrier[:3] == pytest.approx((m_s / m_s[0]) ** 2)
    assert (np.diff(barrier) <= 0).all()
    assert barrier[3:] == pytest.approx([1e-6, 1e-6])
    assert mtj.barrier_at(400.0, 1120.0, 0.0) == 1.0


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


def test_converter_rounds_and_says_when_it_is_beyond_its_scale() -> None:
    current, over = mtj.quantise(np.array([1.26e-8, -1.4e-8, 2e-3, -1e-3]), 1e-8, 1e-3)
    assert current == pytest.approx([1e-8, -1e-8, 1e-3, -1e-3])
    assert over.tolist() == [False, False, True, False]
    exact, _ = mtj.quantise(np.array([1.26e-8]), 0.0, np.inf)
    assert exact[0] == 1.26e-8
