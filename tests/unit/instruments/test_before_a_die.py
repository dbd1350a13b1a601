"""Needles are cleaned before the die that they are due for, and once for a die whose contact fails."""

from dataclasses import dataclass, field

from instruments.before_a_die import BAD_CONTACT, arrive, clean_for_contact
from labctl.core.prober import Position


@dataclass
class Stepping:
    """A prober that cleans nothing, and what drives the pads."""

    done: list = field(default_factory=list)

    def land(self):
        self.done.append("land")

    def step(self, *at):
        self.done.append(("step", *at))
        return Position(*at[:2])


@dataclass
class Washed(Stepping):
    cleans_bad_contact: bool = True
    due: str = ""

    def cleaning_due(self):
        return self.due

    def clean(self):
        self.done.append("clean")


def test_a_prober_that_cleans_nothing_is_stepped():
    prober, reasons = Stepping(), []
    assert arrive(prober, prober, (3, 7), reasons) == Position(3, 7)
    clean_for_contact(prober, prober, (3, 7), reasons)
    assert (prober.done, reasons) == (["land", ("step", 3, 7)], [])


def test_needles_are_cleaned_in_the_state_of_landing_before_the_step():
    prober, reasons = Washed(due="40 touches"), []
    arrive(prober, prober, (3, 7), reasons)
    assert (prober.done, reasons) == (["land", "clean", ("step", 3, 7)], ["40 touches"])
    prober.due, prober.done = "", []
    arrive(prober, prober, (4, 7), reasons)
    assert prober.done == ["land", ("step", 4, 7)]


def test_a_contact_that_fails_is_cleaned_for_once_and_the_die_is_stepped_to_again():
    prober, reasons = Washed(), []
    for _ in range(2):
        clean_for_contact(prober, prober, (3, 7), reasons)
    assert (prober.done, reasons) == (["land", "clean", ("step", 3, 7)], [BAD_CONTACT])
    other = Washed(cleans_bad_contact=False)
    clean_for_contact(other, other, (3, 7), [])
    assert other.done == []
