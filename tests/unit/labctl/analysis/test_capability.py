"""Cpk against hand-made numbers: two limits, one, none, and what is no number."""

import math

import pytest

from labctl.analysis.capability import capability
from labctl.config.pass_range import PassRange

VALUES = [9.0, 10.0, 11.0, 12.0, 8.0]
SIGMA = math.sqrt(2.5)


def test_with_two_limits_the_smaller_side_counts() -> None:
    one = capability("r_p", VALUES, PassRange(low=4.0, high=13.0))
    assert (one.mean, one.sigma) == pytest.approx((10.0, SIGMA))
    assert one.cpl == pytest.approx(6 / (3 * SIGMA))
    assert one.cpu == one.cpk == pytest.approx(3 / (3 * SIGMA))
    assert (one.below, one.above, one.dies) == (0, 0, 5)


@pytest.mark.parametrize(("limits", "side"), [(PassRange(low=4.0), "cpl"), (PassRange(high=13.0), "cpu")])
def test_with_one_limit_that_one_counts(limits: PassRange, side: str) -> None:
    one = capability("r_p", VALUES, limits)
    assert one.cpk == getattr(one, side) is not None
    assert (one.cpl is None) != (one.cpu is None)


def test_a_mean_beyond_its_limit_is_negative_and_its_dies_are_counted() -> None:
    one = capability("r_p", VALUES, PassRange(low=10.5, high=11.5))
    assert one.cpk == pytest.approx(-0.5 / (3 * SIGMA))
    assert (one.below, one.above) == (3, 1)


def test_what_equals_a_limit_passes_as_the_rule_says() -> None:
    assert capability("r_p", [10.0, 12.0], PassRange(low=10.0)).below == 0
    assert capability("r_p", [10.0, 12.0], PassRange(low=10.0, low_passes=False)).below == 1
    assert capability("r_p", [10.0, 12.0], PassRange(high=12.0, high_passes=False)).above == 1


def test_without_a_limit_or_a_spread_there_is_no_cpk() -> None:
    assert capability("r_p", VALUES, PassRange()).cpk is None
    assert capability("r_p", [10.0], PassRange(low=4.0)).cpk is None
    assert capability("r_p", [10.0, 10.0, 10.0], PassRange(low=4.0)).cpk is None
    assert capability("r_p", [], PassRange(low=4.0)).mean is None


def test_two_dies_have_a_spread_and_no_cpk() -> None:
    one = capability("tmr", [1.03129, 1.03127], PassRange(low=1.08))
    assert (one.sigma, one.cpk, one.interval) == (pytest.approx(1.41e-5, rel=0.01), None, None)


def test_a_value_that_could_not_be_computed_is_counted_apart() -> None:
    one = capability("r_p", [*VALUES, math.nan], PassRange(low=4.0))
    assert (one.dies, one.unknown, one.below) == (5, 1, 0)


def test_the_interval_covers_the_true_cpk_about_as_often_as_it_says() -> None:
    import numpy as np

    draws = np.random.default_rng(1).normal(10.0, 1.0, (300, 30))
    intervals = [capability("r_p", row.tolist(), PassRange(low=6.0)).interval for row in draws]
    covered = [low <= 4 / 3 <= high for low, high in filter(None, intervals)]
    assert len(covered) == 300
    assert 0.9 <= sum(covered) / 300 <= 0.99
