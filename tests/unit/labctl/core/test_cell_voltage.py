"""The one envelope of cell voltages, against the formulas that limits, bench and ledger each had of their own."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instruments.bench import BenchLimits
from instruments.reading_math import judge
from labctl.core.bias import Bias
from labctl.core.cell_voltage import extremes, peaks_per_cell, refuse_cell_voltages
from labctl.core.errors import LimitError, refuse_beyond
from labctl.storage.stress import stress_of

SHAPE = 2, 3, 5


def _refuse(quantity: str, value: float, limit: float, unit: str) -> None:
    if not value <= limit * (1 + 1e-12):
        raise LimitError(quantity, float(value), limit, unit)


def of_limits(bias: Bias) -> tuple[Any, Any]:
    """The highest voltages of each pattern as the limits had them."""
    n, row, col = len(bias), bias.row, bias.col
    if bias.floating is not None:
        driven = ~bias.floating
        row, col = row * driven[:, : row.shape[1]], col * driven[:, row.shape[1] :]

    def span(lines: Any) -> tuple[Any, Any]:
        flat = np.ascontiguousarray(lines).ravel()
        starts = np.arange(0, len(flat), lines.shape[1])
        low, high = np.minimum.reduceat(flat, starts).clip(max=0), np.maximum.reduceat(flat, starts).clip(min=0)
        return np.broadcast_to(low, n), np.broadcast_to(high, n)

    (row_lo, row_hi), (col_lo, col_hi) = span(row), span(col)
    positive, negative = row_hi - col_lo, col_hi - row_lo
    if bias.floating is not None:
        worst = np.maximum(row_hi, col_hi) - np.minimum(row_lo, col_lo)
        loose = bias.floating.any(1)
        positive, negative = np.where(loose, worst, positive), np.where(loose, worst, negative)
    return positive, negative


def of_bench(bias: Bias) -> tuple[Any, Any]:
    """The highest voltages of each pattern as the bench had them."""
    row, col, floating = bias.row, bias.col, bias.floating
    if floating is not None:
        n_rows = row.shape[1]
        row, col = np.where(floating[:, :n_rows], 0.0, row), np.where(floating[:, n_rows:], 0.0, col)
    row_high, row_low = row.max(1).clip(min=0), row.min(1).clip(max=0)
    col_high, col_low = col.max(1).clip(min=0), col.min(1).clip(max=0)
    positive, negative = row_high - col_low, col_high - row_low
    if floating is not None:
        worst = np.maximum(row_high, col_high) - np.minimum(row_low, col_low)
        loose = floating.any(1)
        positive, negative = np.where(loose, worst, positive), np.where(loose, worst, negative)
    return positive, negative


def judge_of_bench(bias: Bias, limits: BenchLimits, polarity: int) -> None:
    """The judgement of the bench as it was."""
    _refuse("compliance on this bench", bias.compliance, limits.compliance, "A")
    positive, negative = of_bench(bias)
    if polarity < 0:
        positive, negative = negative, positive
    _refuse("cell voltage towards P on this bench", float(positive.max()), limits.v_towards_p, "V")
    _refuse("cell voltage towards AP on this bench", float(negative.max()), limits.v_towards_ap, "V")
    if bias.gate is not None:
        _refuse("gate voltage on this bench", float(np.abs(bias.gate).max()), limits.v_gate, "V")


def judge_of_limits(bias: Bias, towards_p: float, towards_ap: float, polarity: int) -> None:
    """The judgement of the limits as it was, without the shortcut for voltages that are beyond nothing."""
    positive, negative = (v.max() for v in of_limits(bias))
    if polarity < 0:
        positive, negative = negative, positive
    _refuse("cell voltage towards P", positive, towards_p, "V")
    _refuse("cell voltage towards AP", negative, towards_ap, "V")


def peaks_of_ledger(bias: Bias) -> tuple[Any, Any]:
    """The highest voltages of each cell as the stress ledger had them."""
    row, col = bias.row, bias.col
    n_rows = row.shape[1]
    if bias.floating is None and bias.gate is None and not col.any():
        ones = np.ones(col.shape[1], np.float32)
        high, low = row.max(0).clip(min=0), -row.min(0).clip(max=0)
        return np.outer(high, ones).astype(np.float32), np.outer(low, ones).astype(np.float32)
    if bias.floating is not None:
        driven = ~bias.floating
        row, col = row * driven[:, :n_rows], col * driven[:, n_rows:]
    up = row.clip(min=0)[:, :, None] - col.clip(max=0)[:, None, :]
    down = col.clip(min=0)[:, None, :] - row.clip(max=0)[:, :, None]
    if bias.floating is not None:
        positive, negative = of_limits(bias)
        loose = bias.floating[:, :n_rows, None] | bias.floating[:, None, n_rows:]
        worst = np.maximum(positive, negative)[:, None, None]
        up, down = np.where(loose, worst, up), np.where(loose, worst, down)
    if bias.gate is not None:
        opened = (bias.gate > 0)[:, :, None]
        up, down = up * opened, down * opened
    return up.max(0).astype(np.float32), down.max(0).astype(np.float32)


@st.composite
def biases(draw):
    """Passive, gated and floating, of any voltages, repeated patterns and grounded columns among them."""
    n = draw(st.integers(1, 6))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    level = st.sampled_from(["any", "round", "alike", "zero"])

    def lines(k: int) -> Any:
        match draw(level):
            case "any":
                return random.normal(0, 0.4, (n, k))
            case "round":
                return random.choice([-0.4, -0.3, -0.0, 0.0, 0.1, 0.3, 0.4, 0.7], (n, k))
            case "alike":
                return np.broadcast_to(random.normal(0, 0.4, (1, k)), (n, k))
        return np.zeros((n, k))

    row, col = lines(SHAPE[1]), lines(SHAPE[2])
    gate = random.choice([-1.0, 0.0, 1.8], (n, SHAPE[1])) if draw(st.booleans()) else None
    floating = random.random((n, SHAPE[1] + SHAPE[2])) < 0.3 if draw(st.booleans()) else None
    return Bias(row, col, gate, floating, kernel=random.integers(0, SHAPE[0], n))


def verdict(act: Any, *arguments: Any) -> Any:
    try:
        act(*arguments)
    except LimitError as error:
        return str(error), error.quantity, error.value, error.limit, error.unit
    return None


@given(biases())
def test_highest_voltages_of_patterns_are_those_of_limits_and_bench_to_the_bit(bias):
    for old in (of_limits(bias), of_bench(bias)):
        np.testing.assert_array_equal(extremes(bias).positive, old[0], strict=True)
        np.testing.assert_array_equal(extremes(bias).negative, old[1], strict=True)
    np.testing.assert_array_equal(extremes(bias).highest, np.maximum(*of_bench(bias)))


@given(biases(), st.sampled_from([1, -1]), st.sampled_from([0.1, 0.4, 0.7, 1.1]), st.sampled_from([0.3, 0.75, 1.4]))
def test_limits_and_bench_refuse_what_they_refused_with_the_same_words(bias, polarity, towards_p, towards_ap):
    bench = BenchLimits(
        v_towards_p=towards_p, v_towards_ap=towards_ap, v_gate=1.5, width=1.0, compliance=5e-3, ramp_rate=1.0
    )  # fmt: skip
    assert verdict(judge, bias, bench, polarity) == verdict(judge_of_bench, bias, bench, polarity)
    old = verdict(judge_of_limits, bias, towards_p, towards_ap, polarity)
    assert verdict(refuse_cell_voltages, bias, polarity, towards_p, towards_ap) == old


@given(biases())
def test_peaks_of_cells_are_those_of_the_stress_ledger_to_the_bit(bias):
    for now, old in zip(peaks_per_cell(bias), peaks_of_ledger(bias), strict=True):
        assert now.astype(np.float32).tobytes() == old.tobytes()
    stress = stress_of(bias, SHAPE, None)
    for kernel in range(SHAPE[0]):
        mine = np.flatnonzero(bias.kernel == kernel)
        old = peaks_of_ledger(bias.take(mine)) if len(mine) else (np.zeros(SHAPE[1:], np.float32),) * 2
        np.testing.assert_array_equal(stress.positive[kernel], old[0])
        np.testing.assert_array_equal(stress.negative[kernel], old[1])


@given(biases(), st.integers(0, 5))
def test_no_cell_peaks_above_the_extremes_of_its_pattern(bias, k):
    one = bias.take(np.array([k % len(bias)]))
    up, down = peaks_per_cell(one)
    assert up.max() <= extremes(one).positive[0]
    assert down.max() <= extremes(one).negative[0]


@pytest.mark.parametrize("value", [0.5, 0.5 * (1 + 1e-13), -3.0])
def test_a_limit_lets_pass_what_is_beyond_it_by_rounding(value):
    refuse_beyond("voltage", value, 0.5, "V")


@pytest.mark.parametrize("value", [0.5 * (1 + 1e-11), float("nan"), float("inf")])
def test_a_limit_refuses_more_than_rounding_and_no_number(value):
    with pytest.raises(LimitError, match="voltage"):
        refuse_beyond("voltage", value, 0.5, "V")
