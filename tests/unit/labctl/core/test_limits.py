"""The gate refuses what is beyond a limit and lets pass what is on it."""

from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from labctl.core.bias import Bias, Geometry, Kind, Nominal
from labctl.core.cell_voltage import extremes, pulses_per_cell, stressed
from labctl.core.errors import BenchError, LimitError
from labctl.core.limits import Limited, Limits
from labctl.core.operations import Pulse, Sense, WritePlan
from labctl.execution.nominal_die import NominalDie

LIMITS = Limits(
    v_towards_p=0.6,
    v_towards_ap=0.5,
    width=1e-3,
    compliance=5e-3,
    v_count=0.31,
    pulses_per_cell=3,
    v_gate=0.0,
)


def limited(polarity=1, **changes):
    die = NominalDie(Geometry(2, 2, 3, polarity=polarity), Nominal.alike(4e-4, 2e-4, 2), timing=lambda operation: 1e-3)
    return Limited(die, LIMITS.model_copy(update=changes))


def half_select(volts, n=1):
    row, col = np.full((n, 2), volts / 2), np.full((n, 3), volts / 2)
    row[:, 1], col[:, 2] = volts, 0.0
    return Bias(row, col, pulsed=np.full(n, 1))


def test_a_voltage_on_the_limit_passes_and_one_beyond_is_refused_with_value_limit_and_unit():
    die = limited()
    die.pulse(Pulse(half_select(0.6), 1e-3))
    with pytest.raises(LimitError) as caught:
        die.pulse(Pulse(half_select(0.601), 1e-3))
    assert (caught.value.value, caught.value.limit, caught.value.unit) == (pytest.approx(0.601), 0.6, "V")
    assert "towards P" in str(caught.value)


@pytest.mark.parametrize(("polarity", "volts", "passes"), [(1, -0.55, False), (-1, -0.55, True), (-1, 0.55, False)])
def test_each_direction_has_its_own_limit(polarity, volts, passes):
    die, operation = limited(polarity), Pulse(half_select(volts), 1e-3)
    if passes:
        die.pulse(operation)
    else:
        with pytest.raises(LimitError, match="towards AP"):
            die.pulse(operation)


def test_lines_that_cancel_when_settled_are_judged_by_what_cells_see_on_the_way():
    lifted = Bias(np.full((1, 2), 2.0), np.full((1, 3), 2.0))
    assert extremes(lifted).positive[0] == 2.0
    with pytest.raises(LimitError):
        limited().sense(Sense(lifted, np.arange(3)))


def test_a_floating_line_is_judged_by_the_worst_driven_pair_in_both_directions():
    floating = np.zeros((1, 5), np.bool_)
    floating[0, 0] = True
    bias = Bias(np.array([[9.0, 0.4]]), np.array([[0.0, -0.15, 0.0]]), floating=floating)
    peaks = extremes(bias)
    assert peaks.positive[0] == pytest.approx(0.55)
    assert peaks.negative[0] == pytest.approx(0.55)
    with pytest.raises(LimitError, match="towards AP"):
        limited().sense(Sense(bias, np.arange(3)))


@pytest.mark.parametrize(
    ("operation", "what"),
    [
        (Pulse(half_select(0.4), 2e-3), "pulse width"),
        (Sense(Bias(np.zeros((1, 2)), np.zeros((1, 3)), compliance=6e-3), np.arange(3)), "compliance"),
    ],
)
def test_width_and_compliance_have_limits(operation, what):
    with pytest.raises(LimitError, match=what):
        limited().check(operation)


def test_a_plan_is_judged_by_its_cap_before_the_first_pulse():
    die = limited()
    plan = WritePlan(
        write=half_select(1.0),
        verify=Sense(Bias(np.array([[0.0, 0.1]]), np.zeros((1, 3))), np.array([[2]])),
        target=np.array([True]),
        cut=np.array([3e-4]),
        v_read=0.1,
        ladder=np.array([0.4, 0.7]),
        budget=np.array([5]),
        width=1e-3,
    )
    with pytest.raises(LimitError):
        die.program(plan)
    assert die.counts.sum() == 0


def test_pulses_are_counted_where_a_cell_sees_more_than_v_count_and_run_out():
    die = limited()
    die.pulse(Pulse(half_select(0.6, n=3), 1e-3))
    expected = np.zeros((2, 2, 3), np.int64)
    expected[0, 1, 2] = 3
    np.testing.assert_array_equal(die.counts, expected)
    with pytest.raises(LimitError, match="pulses on one cell: 4"):
        die.pulse(Pulse(half_select(0.6), 1e-3))
    np.testing.assert_array_equal(die.counts, expected)


class Refusing(NominalDie):
    """A die that no operation can be realised on; what is done to it is kept."""

    done = ()

    def check(self, operation):
        raise BenchError("no channel is left")

    def _pulse(self, pulse):
        self.done = (*self.done, pulse)


def test_a_pulse_that_the_die_refuses_is_neither_done_nor_counted():
    body = Refusing(Geometry(2, 2, 3), Nominal.alike(4e-4, 2e-4, 2), timing=lambda operation: 1e-3)
    die = Limited(body, LIMITS)
    with pytest.raises(BenchError, match="no channel is left"):
        die.pulse(Pulse(half_select(0.6), 1e-3))
    assert die.counts.sum() == 0
    assert body.done == ()


def test_cells_behind_a_closed_gate_are_not_stressed():
    bias = Bias(np.array([[0.5, 0.5]]), np.zeros((1, 3)), gate=np.array([[0.0, 1.8]]))
    np.testing.assert_array_equal(stressed(bias, 0.3)[0], [[False] * 3, [True] * 3])
    assert Geometry(1, 2, 3, Kind.ONE_T_ONE_R).kind == "1T1R"


SHAPE = 2, 3, 4


@st.composite
def biases(draw):
    """Any bias of dies of SHAPE: all numbers of open gates, floating lines, voltages on and around the threshold."""
    n = draw(st.integers(0, 6))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    row, col = (random.choice([-0.4, -0.3, 0.0, 0.1, 0.3, 0.4, 0.7], (n, k)) for k in SHAPE[1:])
    if draw(st.booleans()) and n:
        row = np.broadcast_to(row[:1], row.shape)
    gate = random.choice([-1.0, 0.0, 1.8], (n, SHAPE[1]), p=[0.1, 0.6, 0.3]) if draw(st.booleans()) else None
    floating = random.random((n, SHAPE[1] + SHAPE[2])) < 0.4 if draw(st.booleans()) else None
    return Bias(row, col, gate, floating, kernel=random.integers(0, SHAPE[0], n))


@given(biases())
def test_pulses_per_cell_are_the_stressed_cells_added_up(bias):
    expected, hit = np.zeros(SHAPE, np.int64), stressed(bias, 0.3)
    np.add.at(expected, bias.kernel, hit.astype(np.int64))
    np.testing.assert_array_equal(pulses_per_cell(bias, 0.3, SHAPE), expected)


@given(biases())
def test_extremes_are_those_of_the_driven_lines_and_ground(bias):
    driven = np.ones((len(bias), 7), np.bool_) if bias.floating is None else ~bias.floating
    peaks = extremes(bias)
    for k in range(len(bias)):
        row = np.append(bias.row[k][driven[k, :3]], 0.0)
        col = np.append(bias.col[k][driven[k, 3:]], 0.0)
        pair = np.concatenate([row, col])
        expected = (row.max() - col.min(), col.max() - row.min())
        if not driven[k].all():
            expected = (pair.max() - pair.min(),) * 2
        assert (peaks.positive[k], peaks.negative[k]) == expected


@pytest.mark.parametrize(
    ("limit", "most"),
    [("v_towards_p", 50.0), ("v_towards_ap", 50.0), ("v_gate", 50.0), ("v_count", 50.0), ("pulses_per_cell", 10**12)],
)
def test_a_limit_that_limits_nothing_is_refused(limit, most):
    settings = {**LIMITS.model_dump(), limit: most}
    assert getattr(Limits(**settings), limit) == most
    with pytest.raises(ValidationError, match="less than or equal to"):
        Limits(**{**settings, limit: 2 * most})


@given(biases(), st.sampled_from([0.35, 0.75, 1.15]))
def test_a_bias_is_refused_if_and_only_if_a_pattern_of_it_is_beyond_the_limits(bias, limit):
    geometry = Geometry(*SHAPE, Kind.PASSIVE if bias.gate is None else Kind.ONE_T_ONE_R)
    die = NominalDie(geometry, Nominal.alike(4e-4, 2e-4, geometry.kernels), timing=lambda operation: 1e-3)
    gate = Limited(die, LIMITS.model_copy(update={"v_towards_p": limit, "v_towards_ap": 0.75, "v_gate": 2.0}))
    peaks = extremes(bias)
    refused = peaks.positive.max(initial=0.0) > limit or peaks.negative.max(initial=0.0) > 0.75
    with pytest.raises(LimitError) if refused else nullcontext():
        gate.check(Sense(bias, np.arange(4)))


def test_a_batch_that_would_use_up_the_pulses_of_a_cell_is_refused_before_its_first():
    die = limited()
    die.pulse(Pulse(half_select(0.6, n=2), 1e-3))
    die.check(Pulse(half_select(0.6), 1e-3))
    with pytest.raises(LimitError, match="pulses on one cell: 4"):
        die.check(Pulse(half_select(0.6, n=2), 1e-3))
    die.check(Pulse(half_select(0.2, n=9), 1e-3))
    assert die.counts.max() == 2


def test_what_was_done_before_is_judged_and_counted_and_not_done_again():
    die = limited()
    die.recall(Sense(half_select(0.1), np.arange(3)))
    assert die.counts.sum() == 0
    die.recall(Pulse(half_select(0.6, n=2), 1e-3))
    assert die.counts[0, 1, 2] == die.counts.sum() == 2
    for beyond in (Pulse(half_select(0.7), 1e-3), Pulse(half_select(0.6), 2e-3), Pulse(half_select(0.6, n=2), 1e-3)):
        with pytest.raises(LimitError):
            die.recall(beyond)
    assert die.counts.sum() == 2


def test_a_plan_whose_verify_read_is_beyond_the_limits_is_refused():
    die = limited()
    read = Sense(Bias(np.array([[0.0, 0.7]]), np.zeros((1, 3))), np.array([[2]]))
    plan = WritePlan(
        half_select(1.0), read, np.array([True]), np.array([3e-4]), 0.1, np.array([0.4]), np.array([1]), 1e-3
    )
    with pytest.raises(LimitError, match="towards P"):
        die.check(plan)
    assert die.counts.sum() == 0


def test_no_pattern_is_beyond_no_limit():
    assert limited().sense(Sense(half_select(9.0, n=0), np.arange(3))).current.shape == (0, 3)
