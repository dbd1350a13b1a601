"""What comes before a die: a wafer on the chuck, its temperature, and needles that are clean."""

from dataclasses import dataclass, field

import pytest

from instruments.before_a_die import (
    BAD_CONTACT,
    BesideThePlan,
    arrive,
    beside_the_plan,
    clean_for_contact,
    held,
    loaded,
    out_of_bounds,
)
from instruments.chuck_temperature import ThermoOptions
from instruments.mpi_sentio import SentioOptions
from labctl.core.errors import ContactError
from labctl.core.prober import Position, WaferOnChuck


@dataclass
class Stepping:
    """A prober that cleans nothing, and what drives the pads."""

    done: list = field(default_factory=list)

    def land(self):
        self.done.append("land")

    name = "prober"

    def separate(self):
        self.done.append("separate")

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


@dataclass
class Loader(Stepping):
    loading_patience: float = 1.0
    met: object = None

    def load_wafer(self, slot, wafer):
        self.done.append(("load", slot, wafer))
        return self.met


def test_a_wafer_is_loaded_by_the_prober_or_asked_for_with_the_needles_up():
    asked = []

    def yes(question):
        asked.append(question)
        return True

    one = Loader(met=WaferOnChuck(3, "LOT-3", True))
    facts = {"name": "W03", "slot": 3, "id": "LOT-3", "aligned": True, "by": "loaded by the prober"}
    assert loaded(one, one, "W03", 3, yes) == facts
    assert (one.done, asked) == (["land", ("load", 3, "W03")], [])
    for other in (Loader(), Stepping()):
        assert loaded(other, other, "W03", 3, yes) == {"name": "W03", "slot": 3, "by": "put there by a person"}
        assert other.done[-1] == "separate"
    assert asked[0].startswith("Put wafer W03 of slot 3 on the chuck of prober, and align it.")
    with pytest.raises(ContactError, match="W03 of slot 3 was asked for, and nobody says it is there"):
        loaded(Stepping(), Stepping(), "W03", 3, lambda question: False)


@dataclass
class Heated(Stepping):
    heating_patience: float = 0.0

    def hold_temperature(self, temperature, wait, go_on):
        self.done.append(("hold", temperature))
        return temperature + 0.1


@pytest.mark.parametrize(
    ("prober", "target", "record"),
    [(Heated(heating_patience=9.0), 358.0, {"chuck_temperature": 358.1}), (Heated(heating_patience=9.0), None, {}),
     (Heated(), 358.0, {}), (Stepping(), 358.0, {})],
)  # fmt: skip
def test_a_chuck_is_held_at_a_temperature_where_both_files_say_so(prober, target, record):
    assert held(prober, prober, target, lambda seconds: None, lambda: None) == record
    assert prober.done == (["land", ("hold", 358.0)] if record else [])


def test_what_takes_time_beside_a_plan_is_counted_where_the_bench_file_has_its_time():
    options = SentioOptions(overtravel_ceiling=50e-6, hottest=400.0, cassette="cas1", clean_every=20)
    assert beside_the_plan(options, 358.0, True, 41) == [
        BesideThePlan("a wafer is loaded and aligned, not counted, 600 s at most each"),
        BesideThePlan("the chuck comes to 358 K, not counted, 3600 s at most, and 60 s of soak", 60.0),
        BesideThePlan("needles are cleaned 2 times at least, not counted"),
    ]
    times = {"loading_time": 90.0, "heating_time": 900.0, "cleaning_time": 20.0, "align_wafer": False}
    assert beside_the_plan(options.model_copy(update=times), 358.0, True, 41) == [
        BesideThePlan("a wafer is loaded, 90 s", 90.0),
        BesideThePlan("the chuck comes to 358 K, 900 s and 60 s of soak", 960.0),
        BesideThePlan("needles are cleaned 2 times at least, 20 s each", 40.0),
    ]
    assert beside_the_plan(options, None, False, 20) == beside_the_plan(object(), 358.0, True, 41) == []


def test_a_temperature_out_of_the_bounds_of_an_entry_is_told_with_its_name():
    assert out_of_bounds("prober", 358.0, object()) == out_of_bounds("prober", 358.0, ThermoOptions()) == ""
    assert out_of_bounds("prober", 358.0, ThermoOptions(hottest=400.0)) == ""
    text = "prober: the campaign says 358 K, and the chuck of the bench file goes from 293.15 to 350 K"
    assert out_of_bounds("prober", 358.0, ThermoOptions(hottest=350.0)) == text
