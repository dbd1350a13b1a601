"""In which order dies come, where they go, and when it is enough."""

from dataclasses import replace

import pytest

from labctl.batch.decisions import Rules, ordered, spread
from labctl.config.bins import BinRule
from labctl.config.rules import Batch, DieOrder
from labctl.core.die_state import State
from labctl.storage.run_log import DieState, RunState, Try

# a map of 4 x 3 places
PLACES = {f"x{x}y{y}": (x, y) for y in range(3) for x in range(4)}


def die(name, state=State.PENDING, *, reason="", hard=0, seconds=10.0, tries=1):
    if state is State.PENDING:
        return DieState(name, PLACES[name])
    done = tuple(Try(k + 1, state, 0.0, seconds, seconds, reason=reason, hard=hard) for k in range(tries))
    return DieState(name, PLACES[name], done, state, reason)


def wafer(*changed):
    dies = {name: die(name) for name in PLACES} | {d.name: d for d in changed}
    return RunState({}, dies)


def ends(rules, *ended):
    """Let dies end one after the other; return what the rules said of each."""
    state, rules_broken = wafer(), []
    for one in ended:
        state = replace(state, dies={**state.dies, one.name: one})
        broken = rules.broken(state, one)
        rules_broken.append(broken[0] if broken else None)
    return rules_broken


def good(name):
    return die(name, State.DONE, hard=1)


def bad(name):
    return die(name, State.DONE, hard=2)


def untouched(name):
    return die(name, State.CONTACT_FAIL, hard=5)


def broke(name, reason="a bug: ZeroDivisionError()\nTraceback of one die"):
    return die(name, State.ERROR, reason=reason, hard=7)


def batch(**settings):
    return Batch.model_validate(settings)


def test_dies_without_contact_in_a_row_end_the_run_and_a_good_one_starts_the_count_anew():
    rules = Rules(batch(stop={"contact_failures": 3}))
    dies = [untouched("x0y0"), untouched("x1y0"), good("x2y0"), untouched("x3y0"), untouched("x0y1"), untouched("x1y1")]
    assert ends(rules, *dies) == [None] * 5 + ["contact_failures"]
    text = Rules(batch(stop={"contact_failures": 1})).broken(wafer(untouched("x2y1")), untouched("x2y1"))[1]
    assert text == "1 dies in a row have no contact (x2y1): look at the needles"


def test_a_die_that_goes_on_later_has_not_ended():
    rules = Rules(batch(stop={"contact_failures": 2}))
    dies = [untouched("x0y0"), die("x1y0", State.INTERRUPTED), die("x2y0", State.SKIPPED), untouched("x3y0")]
    assert ends(rules, *dies) == [None, None, None, "contact_failures"]


def test_the_same_error_on_two_dies_in_a_row_ends_the_run_and_two_tries_of_one_die_do_not():
    again = broke("x0y0", "a bug: ZeroDivisionError()\nanother traceback")
    assert ends(Rules(batch()), broke("x0y0"), again, broke("x1y0")) == [None, None, "same_exception"]
    assert ends(Rules(batch()), broke("x0y0"), broke("x1y0", "a bug: KeyError()")) == [None, None]
    assert ends(Rules(batch(stop={"same_exception": None})), *(broke(name) for name in PLACES)) == [None] * 12


def test_a_low_yield_ends_the_run_once_enough_dies_are_done():
    rules = Rules(batch(stop={"low_yield": {"below": 0.5, "after": 3}}))
    assert ends(rules, bad("x0y0"), bad("x1y0"), good("x2y0"), good("x3y0")) == [None, None, "low_yield", None]


def test_no_die_is_begun_that_would_not_end_in_time():
    rules = Rules(batch(budgets={"time": 100.0}), predicted={"x0y0": 40.0, "x1y0": 60.0})
    assert rules.too_late(wafer(), 40.0) is None
    assert rules.too_late(wafer(), 41.0) == "a die takes about 60 s and 59 s are left of the 100 s that it may"
    measured = wafer(good("x0y0"), good("x1y0"))
    assert rules.too_late(measured, 90.0) is None
    assert "about 10 s and 9 s are left" in rules.too_late(measured, 91.0)
    assert Rules(batch()).too_late(wafer(), 1e9) is None


def test_the_pretest_comes_first_and_is_spread_over_the_wafer():
    rules = Rules(batch(pretest=4))
    order = rules.order(wafer())
    assert sorted(order) == sorted(PLACES)
    first = [PLACES[name] for name in order[:4]]
    assert {x for x, _ in first} >= {0, 3}
    assert {y for _, y in first} >= {0, 2}
    assert order[4:] == [name for name in PLACES if name not in order[:4]]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_shuffled_order_is_that_of_its_seed(seed):
    dies = list(wafer().dies.values())
    order = ordered(dies, DieOrder.SHUFFLED, seed)
    assert sorted(order) == sorted(PLACES)
    assert order == ordered(dies, DieOrder.SHUFFLED, seed) != ordered(dies, DieOrder.SHUFFLED, seed + 1)


def test_from_the_centre_outwards_no_die_is_nearer_than_the_one_before():
    places = [PLACES[name] for name in ordered(list(wafer().dies.values()), DieOrder.CENTRE_OUT, 0)]
    far = [(x - 1.5) ** 2 + (y - 1) ** 2 for x, y in places]
    assert far == sorted(far)


def test_what_is_final_does_not_come_again():
    left = Rules(batch()).order(wafer(good("x0y0"), die("x1y0", State.SKIPPED), die("x2y0", State.INTERRUPTED)))
    assert left == [name for name in PLACES if name not in ("x0y0", "x1y0")]


def test_no_more_dies_are_spread_than_there_are():
    dies = list(wafer().dies.values())[:2]
    assert sorted(spread(dies, 5)) == ["x0y0", "x1y0"]
    assert spread([], 3) == []


def test_a_new_try_is_given_as_often_as_the_campaign_says():
    rules = Rules(batch(tries=2))
    assert [rules.tries_again(die("x0y0", State.ERROR, tries=n)) for n in (1, 2, 3)] == [True, True, False]


def test_the_first_rule_that_is_true_gives_the_bin_and_says_why():
    bins = (
        BinRule(bin="defective", hard=4, when="good < 90 %"),
        BinRule(bin="weak", hard=9, when="fidelity < 98 % and tmr < 60 %"),
    )
    rules = Rules(batch(), bins)
    row = rules.bin(State.DONE, {"good": 0.95, "fidelity": 0.97, "tmr": 0.5})
    assert row == {"bin": "weak", "hard": 9, "rule": "fidelity < 98 % and tmr < 60 %: it is 0.97, 0.5"}
    assert rules.bin(State.DONE, {"good": 0.5, "fidelity": 0.1, "tmr": 0.1})["bin"] == "defective"
    assert rules.bin(State.DONE, {"good": 0.95, "fidelity": 0.97, "tmr": 0.7})["hard"] == 1
    assert rules.bin(State.CONTACT_FAIL, {})["bin"] == "contact"
    assert rules.bin(State.INTERRUPTED, {"good": 0.0}) == {}
