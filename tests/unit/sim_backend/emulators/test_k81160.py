"""The emulated 81160A: levels by load, limits, what conflicts, triggers, and the pulses that come to a line."""

from random import Random

import pytest

from labctl.testing.emulated import NAME, seen_pulses
from sim_backend.emulators.k81160 import K81160


@pytest.fixture
def world_and_pulses():
    return seen_pulses(["out1", "out2"])


@pytest.fixture
def box(world_and_pulses):
    return K81160(NAME, world_and_pulses[0])


def error(box):
    return int(box.errors.next().partition(",")[0])


def number(box, query):
    return float(box.execute(query))


READY = ":FUNC1 PULS;:ARM:SOUR1 MAN;:VOLT1:HIGH 0.2;:VOLT1:LOW 0;:PULS:WIDT1 5E-8;:OUTP1 ON"


def test_levels_are_those_of_the_load_that_it_is_told(box):
    box.execute(":VOLT1:HIGH 0.25;:VOLT1:LOW -0.5")
    assert (number(box, ":VOLT1?"), number(box, ":VOLT1:OFFS?")) == pytest.approx((0.75, -0.125))
    box.execute(":OUTP1:LOAD 1000000")
    assert number(box, ":VOLT1:HIGH?") == pytest.approx(0.5, rel=1e-4)
    box.execute(":VOLT1 0.2;:VOLT1:OFFS 0.3")
    assert (number(box, ":VOLT1:HIGH?"), number(box, ":VOLT1:LOW?")) == pytest.approx((0.4, 0.2))
    box.execute(":OUTP1:LOAD 50")
    assert number(box, ":VOLT1:HIGH?") == pytest.approx(0.2, rel=1e-4)
    assert error(box) == 0


@pytest.mark.parametrize(
    ("commands", "code"),
    [
        (":VOLT1:HIGH 5.1", -222),
        (":VOLT1:LOW 0.48", -221),
        (
            ":VOLT1:HIGH 0.2;:VOLT1:LOW 0;:VOLT1:LIM:HIGH 0.3;:VOLT1:LIM:LOW -0.3;:VOLT1:LIM:STAT 1;:VOLT1:HIGH 0.31",
            -222,
        ),
        (
            ":VOLT1:HIGH 0.2;:VOLT1:LOW 0;:VOLT1:LIM:HIGH 0.3;:VOLT1:LIM:LOW -0.3;:VOLT1:LIM:STAT 1;:VOLT1:LOW -0.4",
            -222,
        ),
        (":VOLT1:LIM:HIGH 0.3;:VOLT1:LIM:STAT 1", -221),
        (":VOLT1:LIM:STAT 1;:VOLT1:LIM:HIGH 0.3", -221),
        (":VOLT1:LIM:LOW 1;:VOLT1:LIM:HIGH 0.9", -221),
        (":PULS:WIDT1 2E-6", -221),
        (":PULS:PER1 1E-7", -221),
        (":PULS:WIDT1 1E-9", -222),
        (":OUTP1:LOAD 0.1", -222),
        (":TRIG1:COUN 0", -222),
        (":OUTP3 1", -114),
        ("*TRG", -211),
        (":DATA1:NVOL:FREE?", -113),
    ],
)
def test_what_is_beyond_bounds_or_limits_or_does_not_fit_is_refused(box, commands, code):
    box.execute(commands)
    assert error(box) == code
    assert error(box) == 0


def test_a_trigger_makes_one_pulse_from_the_idle_level_and_back(box, world_and_pulses):
    world, pulses = world_and_pulses
    box.execute(f"{READY};*TRG")
    assert pulses == [("out1", pytest.approx(0.4), pytest.approx(5e-8))]
    box.execute(":OUTP1:POL INV;:VOLT1:LOW -0.3;:VOLT1:HIGH 0;*TRG;*TRG")
    assert [volts for _, volts, _ in pulses[1:]] == pytest.approx([-0.6, -0.6])
    box.execute(":TRIG1:COUN 3;*TRG")
    assert len(pulses) == 6
    assert world.ledger.pulses == 6
    assert error(box) == 0


def test_a_pulse_that_an_output_cuts_short_by_going_off_is_recorded(box, world_and_pulses):
    world, _ = world_and_pulses
    box.execute(f"{READY.replace('5E-8', '5E-7')};*TRG")
    world.advance(5e-7)
    box.execute(":OUTP1 OFF;:OUTP1 ON;*TRG")
    assert not world.ledger.events
    world.advance(2e-7)
    box.execute(":OUTP1 OFF")
    (event,) = world.ledger.events
    assert (event.what, event.detail) == ("cut pulse", f"{NAME}.out1 went off 3e-07 s before its end")


@pytest.mark.parametrize("commands", [":OUTP1 OFF", ":ARM:SENS1 LEV", ":ARM:SOUR1 EXT", ":FUNC1 DC"])
def test_nothing_comes_out_that_is_off_or_waits_for_something_else(box, world_and_pulses, commands):
    box.execute(f"{READY};{commands};*TRG")
    assert not world_and_pulses[1]


def test_without_a_trigger_it_begins_when_its_output_goes_on(box, world_and_pulses):
    world, pulses = world_and_pulses
    box.execute(":FUNC1 SQU;:OUTP1 ON;:OUTP1 ON")
    assert [volts for _, volts, _ in pulses] == [1.0, -1.0]
    assert [event.what for event in world.ledger.events] == ["untriggered"]
    assert box.outputs() == {"out1": 1.0}


def test_an_idle_level_that_is_not_0_is_recorded(box, world_and_pulses):
    box.execute(":FUNC1 PULS;:ARM:SOUR1 MAN;:OUTP1 ON")
    assert [event.what for event in world_and_pulses[0].ledger.events] == ["idle level"]


def test_width_and_period_have_two_spellings_each(box):
    box.execute(":FUNC1:PULS:PER 1E-3;:PULS:WIDT1 2E-5")
    assert (number(box, ":PULS:PER?"), number(box, ":FUNC1:PULS:WIDT?")) == (1e-3, 2e-5)
    assert number(box, ":PULS:DCYC1?") == pytest.approx(2)
    box.execute(":PULS:DCYC1 5")
    assert number(box, ":PULS:WIDT1?") == pytest.approx(5e-5)
    box.execute(":FREQ1 500")
    assert number(box, ":PULS:PER1?") == pytest.approx(2e-3)


def test_a_reset_and_the_mains_switch_every_output_off(box):
    box.execute(f"{READY};:TRAC:CHAN1 1;*RST")
    assert box.execute(":OUTP1?;:TRAC:CHAN1?;:FUNC1?") == "0;0;SIN\n"
    box.execute(READY)
    box.power_off()
    assert box.outputs() == {}


def test_what_is_left_is_all_that_can_be_set(box):
    assert len(box.leftovers()) > 45
    for name in box.leftovers():
        left = K81160(NAME, seen_pulses(["out1", "out2"])[0])
        assert left.leftovers()[name](Random(7)) is not None, name
    left.leftovers()[":OUTPut2[:STATe]"](Random(7))
    assert left.channels[2].on
