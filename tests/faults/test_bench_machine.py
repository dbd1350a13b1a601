"""The bench in any order of calls, with and without faults, and machines that lack a guard, which are found out."""

from collections import Counter

import pytest
from faults import bench_machine
from faults.bench_machine import BenchMachine
from faults.kinds import KINDS
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from instruments import open_bench
from instruments.bench_io import BenchIO
from instruments.bench_state import BenchState, Contact
from instruments.probed_die import ProbedDie

DONE = {"reads", "pulses", "SwitchedOff", "BenchError", "InstrumentError"}
"""What happens in so many courses: deeds, and refusals by their class."""


def drive(examples, steps, number=0):
    """Drive machines of a class of their own, by a seed; return what happened in all of them."""
    machine = type("Machine", (BenchMachine,), {"happened": Counter()})
    run_state_machine_as_test(
        seed(number)(machine),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    return machine.happened


def many():
    """Drive machines by twelve seeds; return what happened in all of them."""
    return sum((drive(8, 12, number) for number in range(1, 13)), Counter())


def test_a_few_courses_are_safe_and_every_refusal_is_the_one_that_the_state_demands():
    happened = drive(14, 12, 6)
    assert happened.keys() >= {"reads", "SwitchedOff", "InstrumentError"}
    assert len(happened.keys() & KINDS.keys()) >= 2


@pytest.mark.slow
def test_many_courses_are_safe_and_many_kinds_of_faults_happen_in_them():
    happened = many()
    assert happened.keys() >= DONE
    assert len(happened.keys() & KINDS.keys()) >= 10


def nothing(*args, **kwargs):
    """Guard nothing."""


GUARDS = {
    "needles move whatever is on": lambda patch: patch.setattr(BenchIO, "_permit_motion", nothing),
    "the latch is not read": lambda patch: patch.setattr(BenchMachine, "permit", nothing),
    "off is believed and not sent": lambda patch: patch.setattr(BenchIO, "_off", lambda *args: True),
    "outputs that are on are accepted": lambda patch: patch.setattr(open_bench, "refuse_outputs_on", nothing),
    "the first voltage is above the bound": lambda patch: patch.setattr(bench_machine, "FIRST", 0.01),
    "needles count as biased from the beginning": lambda patch: patch.setattr(
        BenchState, "contact", property(lambda self: Contact.BIASED)
    ),
    "no voltage is too high at first": lambda patch: (
        patch.setattr(BenchState, "require_drive", nothing),
        patch.setattr(ProbedDie, "_first_voltage", nothing),
    ),
    "relays are believed open": lambda patch: patch.setattr(BenchIO, "_open_relays", lambda *args, **kwargs: {}),
}


QUICK = {"the latch is not read", "the first voltage is above the bound"}


@pytest.mark.parametrize("guard", [pytest.param(g, marks=[] if g in QUICK else pytest.mark.slow) for g in GUARDS])
def test_a_bench_without_one_of_its_guards_is_found_out(guard, monkeypatch):
    GUARDS[guard](monkeypatch)
    with pytest.raises(AssertionError):
        many()
