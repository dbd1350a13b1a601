"""Rules decide from what the run's journal says: orders of dies, bins, new tries, and when it is enough."""

import math

import pytest
from pydantic import ValidationError

from labctl.batch.decisions import Rules, ordered, spread
from labctl.config.bins import Assigned, BinRule, bin_of, holds, is_good, is_measured, passes
from labctl.config.campaign import Accept
from labctl.config.rules import Batch, Budgets, DieOrder, StopRules, Yield
from labctl.core.die_state import State
from labctl.storage.run_log import DieState, RunState, Try

MAP = [DieState(f"x{x}y{y}", (x, y)) for y in range(3) for x in range(5)]


def ended(name, state, reason="", hard=1, seconds=10.0, at=(0, 0)):
    last = Try(1, state, 0.0, 1.0, seconds=seconds, reason=reason, hard=hard)
    return DieState(name, at, (last,), state, reason)


def run_of(dies):
    return RunState({}, {d.name: d for d in dies})


def broken_by(rules, dies, waiting=()):
    """Return what `Rules.broken` says as the dies end one after the other; the last answer."""
    broken = None
    for k in range(len(dies)):
        now = run_of([*dies[: k + 1], *[DieState(n, (9, 9)) for n in waiting]])
        broken = rules.broken(now, dies[k])
    return broken


def test_every_order_has_every_die_once():
    names = [d.name for d in MAP]
    for order in DieOrder:
        assert sorted(ordered(MAP, order, 7)) == sorted(names)
    assert ordered(MAP, DieOrder.MAP, 7) == names


def test_centre_out_never_comes_nearer_again():
    places = {d.name: d.at for d in MAP}
    far = [math.dist(places[name], (2, 1)) for name in ordered(MAP, DieOrder.CENTRE_OUT, 0)]
    assert far[0] == 0
    assert far == sorted(far)


def test_a_shuffle_is_that_of_its_seed():
    assert ordered(MAP, DieOrder.SHUFFLED, 7) == ordered(MAP, DieOrder.SHUFFLED, 7)
    assert ordered(MAP, DieOrder.SHUFFLED, 7) != ordered(MAP, DieOrder.SHUFFLED, 8)


def test_the_pre_test_comes_first_and_is_spread_over_the_map():
    rules = Rules(Batch(pretest=5))
    names = rules.order(run_of(MAP))
    assert sorted(names) == sorted(d.name for d in MAP)
    assert set(names[:5]) == {"x2y1", "x0y0", "x4y0", "x0y2", "x4y2"}
    assert spread(MAP, 99) != []
    assert spread([], 3) == []


def test_final_dies_are_not_in_the_order():
    dies = [ended("A", State.DONE), ended("B", State.CONTACT_FAIL), DieState("C", (1, 0)), ended("D", State.ERROR)]
    assert Rules(Batch()).order(run_of(dies)) == ["C", "D"]


def test_dies_without_contact_in_a_row_stop_the_run_and_one_with_contact_between_does_not():
    without = [ended(f"D{k}", State.CONTACT_FAIL, "no contact", 5) for k in range(3)]
    rule, text = broken_by(Rules(Batch()), without)
    assert rule == "contact_failures"
    assert "D0, D1, D2" in text
    between = [*without[:2], ended("E", State.DONE), without[2]]
    assert broken_by(Rules(Batch()), between) is None
    assert broken_by(Rules(Batch(stop=StopRules(contact_failures=None))), without) is None


def test_the_same_error_on_two_dies_in_a_row_stops_the_run_and_other_errors_do_not():
    def wrong(name, reason):
        return ended(name, State.ERROR, reason, 7)

    zero = "a bug: ZeroDivisionError('division by zero')"
    rule, text = broken_by(Rules(Batch()), [wrong("A", zero), wrong("B", zero + "\nTraceback")])
    assert rule == "same_exception"
    assert "ZeroDivisionError" in text
    assert broken_by(Rules(Batch()), [wrong("A", zero), wrong("B", "a bug: KeyError('x')")]) is None
    assert broken_by(Rules(Batch()), [wrong("A", zero), wrong("A", zero)]) is None, "two tries of one die"


def test_a_yield_below_the_bound_stops_the_run_once_enough_dies_have_ended():
    batch = Batch(stop=StopRules(contact_failures=None, low_yield=Yield(below=0.5, after=4)))
    bad = [ended(f"B{k}", State.DONE, hard=2) for k in range(4)]
    assert broken_by(Rules(batch), bad[:3]) is None
    assert broken_by(Rules(batch), bad)[0] == "low_yield"
    assert broken_by(Rules(batch), [*bad[:2], ended("G", State.DONE), ended("H", State.DONE)]) is None


def test_a_pre_test_that_is_mostly_bad_stops_the_run():
    dies = [ended(d.name, State.DONE, hard=2, at=d.at) for d in MAP if d.name in spread(MAP, 2)]
    rest = [d for d in MAP if d.name not in {e.name for e in dies}]
    rules = Rules(Batch(pretest=2))
    state = RunState({}, {d.name: d for d in [*dies, *rest]})
    broken = [rules.broken(state, die) for die in dies]
    assert broken[-1] is not None
    assert broken[-1][0] == "pretest"


def test_a_die_that_goes_on_later_has_not_ended():
    assert broken_by(Rules(Batch(stop=StopRules(contact_failures=1))), [ended("A", State.INTERRUPTED)]) is None


def test_no_die_is_begun_that_would_not_end_in_time():
    rules = Rules(Batch(budgets=Budgets(time=100.0)), predicted={"A": 30.0})
    fresh = run_of([DieState("A", (0, 0))])
    assert rules.too_late(fresh, 69.0) is None
    assert "30 s" in rules.too_late(fresh, 71.0)
    slow = run_of([ended("A", State.DONE, seconds=60.0), DieState("B", (1, 0))])
    assert rules.too_late(slow, 39.0) is None
    assert rules.too_late(slow, 41.0) is not None
    assert Rules(Batch()).too_late(slow, 1e9) is None


@pytest.mark.parametrize(
    ("figures", "bin_", "hard"),
    [
        ({"fidelity": 0.99, "r_p": 2400.0}, "good", 1),
        ({"fidelity": 0.99, "r_p": 6000.0}, "resistive", 12),
        ({"fidelity": 0.90, "r_p": 6000.0}, "resistive", 12),
        ({"fidelity": 0.90, "r_p": 2400.0}, "low-fidelity", 2),
        ({"fidelity": math.nan, "r_p": 2400.0}, "low-fidelity", 2),
        ({}, "measured", 99),
    ],
)
def test_the_first_rule_that_is_true_gives_the_bin_and_is_said(figures, bin_, hard):
    rules = (BinRule(bin="resistive", hard=12, when="r_p > 5 kohm"), *Accept(fidelity=0.98).rules)
    result = bin_of(rules, figures)
    assert (result.name, result.hard) == (bin_, hard)
    if bin_ not in ("good", "measured"):
        assert any(rule.when in result.rule for rule in rules)


def test_a_die_that_nothing_judges_is_measured_and_not_good():
    assert bin_of([], {"fidelity": 0.2}) == Assigned("measured", 99, "no acceptance limits were set")
    unmeasured = bin_of(Accept(fidelity=0.98).rules, {"r_p": 2400.0})
    assert unmeasured == Assigned("measured", 99, "no figure of an acceptance limit was measured")
    assert [(is_good(h), is_measured(h), passes(h)) for h in (1, 99, 2, 0)] == [
        (True, False, True),
        (False, True, True),
        (False, False, False),
        (False, False, False),
    ]
    for name, hard in (("measured", 4), ("fine", 99)):
        with pytest.raises(ValidationError, match="of dies that no rule judges"):
            BinRule(bin=name, hard=hard, when="r_p > 5 kohm")


@pytest.mark.parametrize("name", ["contact", "limit", "error", "interrupted"])
def test_a_rule_gives_no_bin_that_says_how_a_die_ended(name):
    with pytest.raises(ValidationError, match=f"bin '{name}' is of dies whose work ended so"):
        BinRule(bin=name, hard=9, when="r_p > 5 kohm")


def test_a_yield_counts_dies_that_nothing_judges_as_sound_and_says_so():
    rules = Rules(Batch(stop=StopRules(contact_failures=None, low_yield=Yield(below=0.7, after=3))))
    dies = [ended(name, State.DONE, hard=99) for name in "ABC"]
    assert broken_by(rules, dies) is None
    lost = [ended(name, State.CONTACT_FAIL, hard=5) for name in "DE"]
    name, text = broken_by(rules, [*dies[:2], *lost])
    assert name == "low_yield"
    assert text == "less than 70%: 2 of 4 dies are measured; no acceptance limits were set"


def test_conditions_are_joined_by_and():
    assert holds("r_p > 5 kohm and good < 90 %", {"r_p": 6e3, "good": 0.5})
    assert not holds("r_p > 5 kohm and good < 90 %", {"r_p": 6e3, "good": 0.95})


@pytest.mark.parametrize(
    "when", ["r_p", "r_p > 5 kohm or good < 1", "good <> 90", "r_p[ > 5 kohm", "tmr < 3 foo", "> 5 kohm"]
)
def test_what_is_no_comparison_is_refused(when):
    with pytest.raises(ValidationError):
        BinRule(bin="x", hard=9, when=when)
