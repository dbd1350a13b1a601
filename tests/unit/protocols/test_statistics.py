"""Intervals against values worked out elsewhere, and against their own definition."""

import numpy as np
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st

from protocols.statistics import binomial_interval, confusion_matrix, cross_entropy


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
