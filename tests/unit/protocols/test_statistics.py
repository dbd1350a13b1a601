"""Intervals against values worked out elsewhere, and against their own definition."""

from typing import Any

import numpy as np
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st

from protocols.statistics import binomial_interval, cluster_interval, confusion_matrix, cross_entropy, refuted
from sim_backend.switching import Law


@pytest.mark.parametrize("method", ["wilson", "exact"])
@given(n=st.integers(1, 400), share=st.floats(0, 1), confidence=st.sampled_from([0.68, 0.95, 0.99]))
def test_interval_agrees_with_scipy(method: str, n: int, share: float, confidence: float) -> None:
    k = round(n * share)
    expected = scipy.stats.binomtest(k, n).proportion_ci(confidence, method=method)
    interval = binomial_interval(k, n, confidence=confidence, method=method)  # type: ignore[arg-type]
    np.testing.assert_allclose(interval, [expected.low, expected.high], atol=1e-12)


def test_nothing_tried_says_nothing() -> None:
    for method in ("wilson", "exact"):
        interval = binomial_interval([0, 1, 3], [0, 2, 3], method=method)  # type: ignore[arg-type]
        assert interval.shape == (3, 2)
        assert interval[0].tolist() == [0.0, 1.0]
        assert interval[2, 1] == 1.0


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and the number of trials"):
        binomial_interval(5, 4)


LAW = Law(1.0, 1e-9, 2e-9)
NORMALS = scipy.stats.norm.ppf((np.arange(4000) + 0.5) / 4000)


def failing(volts: float, normal: np.ndarray) -> np.ndarray:
    """Return the probability that a pulse of 1 ms fails on cells whose V_c0 of 0.5 V differs by 5 %."""
    return 1 - np.asarray(LAW.probability(volts / (0.5 * (1 + 0.05 * normal)), 60.0, 1e-3))


def cells_by_law(random: np.random.Generator, p: float, m: int) -> np.ndarray:
    volts = scipy.optimize.brentq(lambda v: failing(v, NORMALS).mean() - p, 0.3, 0.7)
    return failing(volts, random.normal(size=m))


def cells_by_beta(random: np.random.Generator, p: float, m: int) -> np.ndarray:
    return random.beta(p * 3, (1 - p) * 3, m)  # correlation 0.25 of two pulses on a cell


def cells_alike(random: np.random.Generator, p: float, m: int) -> np.ndarray:
    return np.full(m, p)


def covered(cells: Any, p: float, m: int, pulses: int) -> tuple[float, float, float]:
    """Return how often the intervals over cells and of a binomial cover `p`, and the ratio of their widths."""
    random, ours, theirs = np.random.default_rng(5), [], []
    for _ in range(300):
        trials = random.binomial(2 * pulses, 0.5, m)
        failures = random.binomial(trials, cells(random, p, m))
        ours.append(cluster_interval(failures, trials))
        theirs.append(binomial_interval(failures.sum(), trials.sum()))
    low, high = np.array(ours).T
    simple = np.array(theirs).T
    inside = float(np.mean((low <= p) & (p <= high))), float(np.mean((simple[0] <= p) & (p <= simple[1])))
    return *inside, float((high - low).mean() / (simple[1] - simple[0]).mean())


@pytest.mark.parametrize("cells", [cells_by_law, cells_by_beta])
@pytest.mark.parametrize(("p", "m"), [(0.3, 60), (0.05, 225), (0.005, 225)])
def test_the_interval_over_cells_holds_when_they_differ(cells: Any, p: float, m: int) -> None:
    ours, binomial, _ = covered(cells, p, m, 30)
    assert ours > 0.92
    assert binomial < 0.65


@pytest.mark.parametrize(("p", "wider"), [(0.3, 1.15), (0.05, 1.2)])
def test_cells_that_are_alike_cost_little(p: float, wider: float) -> None:
    ours, binomial, ratio = covered(cells_alike, p, 60, 30)
    assert (ours > 0.92, binomial > 0.92, ratio < wider) == (True, True, True)


def test_of_cells_that_never_failed_each_is_one_trial() -> None:
    never = cluster_interval(np.zeros(40, int), np.full(40, 25))
    np.testing.assert_allclose(never, binomial_interval(0, 40, method="exact"))
    always = cluster_interval(np.full(40, 25), np.full(40, 25))
    np.testing.assert_allclose(always, binomial_interval(40, 40, method="exact"))
    uneven = cluster_interval(np.zeros(3, int), np.array([100, 1, 1]))
    np.testing.assert_allclose(uneven, binomial_interval(0, 102**2 / 10002, method="exact"))
    assert cluster_interval(np.zeros(5, int), np.zeros(5, int)).tolist() == [0.0, 1.0]
    assert cluster_interval(np.array([3]), np.array([7])).tolist() == pytest.approx(
        binomial_interval(3 / 7, 1, method="exact").tolist()
    )
    with pytest.raises(ValueError, match="between no failures and as many as trials"):
        cluster_interval(np.array([3]), np.array([2]))


def test_one_trial_of_every_cell_is_a_binomial() -> None:
    failures = np.arange(300) < 90
    low, high = cluster_interval(failures.astype(int), np.ones(300, int))
    expected = binomial_interval(90, 300, method="exact")
    np.testing.assert_allclose([low, high], expected, atol=1e-3)


@given(p=st.floats(0.01, 0.99), failures=st.integers(0, 2000))
def test_a_probability_is_refuted_as_the_binomial_test_has_it(p: float, failures: int) -> None:
    expected = scipy.stats.binom.cdf(0, failures, p) <= 1e-3 if failures else False
    assert bool(refuted(np.array(failures), p)) is bool(expected)


def test_cross_entropy_is_the_mean_negative_log_likelihood() -> None:
    a = np.array([[0.1, 0.7, -0.3], [2.0, -1.0, 0.0]])
    p = np.exp(a) / np.exp(a).sum(axis=1, keepdims=True)
    expected = -(np.log(p[0, 1]) + np.log(p[1, 2])) / 2
    assert cross_entropy(a, np.array([1, 2])) == pytest.approx(expected, rel=1e-14)
    stacked = cross_entropy(np.stack([a, a + 1000.0, -a]), np.array([1, 2]))
    assert stacked.shape == (3,)
    assert stacked[1] == pytest.approx(expected)


def test_confusion_counts_every_sample_once() -> None:
    matrix = confusion_matrix(np.array([0, 2, 2, 1]), np.array([0, 1, 2, 1]), 3)
    assert matrix.tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]
