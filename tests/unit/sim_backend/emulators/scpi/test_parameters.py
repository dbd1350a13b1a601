"""Parameters: which elements they take, in which units, and what a response says."""

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_backend.emulators.scpi.errors import ScpiError
from sim_backend.emulators.scpi.message import Kind, units
from sim_backend.emulators.scpi.parameters import (
    MULTIPLIERS,
    Boolean,
    Choice,
    Number,
    NumberList,
    Text,
    matches,
    short,
    shown,
)

VOLTS = Number(-21.0, 21.0, default=0.0, unit="V")


def read(parameter, text):
    (unit,) = units(f"X {text}")
    (element,) = unit.data
    return parameter.value(element)


def code_of(parameter, text):
    with pytest.raises(ScpiError) as caught:
        read(parameter, text)
    return caught.value.code


def same(value, expected, rel=1e-15):
    if isinstance(expected, float):
        return math.isclose(value, expected, rel_tol=rel, abs_tol=1e-30)
    return value == expected


@pytest.mark.parametrize(
    ("parameter", "text", "value"),
    [
        (VOLTS, "1 mV", 1e-3),
        (VOLTS, "1MV", 1e-3),
        (VOLTS, "2 kv", 2e3),
        (Number(unit="V"), "1 MAV", 1e6),
        (Number(unit="A"), "1 MA", 1e-3),
        (Number(unit="A"), "1 MAA", 1e6),
        (Number(unit="A"), "5 NA", 5e-9),
        (Number(unit="HZ"), "2 MHZ", 2e6),
        (Number(unit="OHM"), "3 MOHM", 3e6),
        (Number(unit="S"), "4 MS", 4e-3),
        (VOLTS, "MIN", -21.0),
        (VOLTS, "maximum", 21.0),
        (VOLTS, "DEF", 0.0),
        (Number(1, 100, whole=True), "2.5", 3),
        (Number(1, words={"INFinity": math.inf}), "INF", math.inf),
        (Boolean(), "ON", True),
        (Boolean(), "0", False),
        (Boolean(), "0.4", False),
        (Boolean(), "-7", True),
        (Boolean(("ONCE",)), "ONCE", "ONCE"),
        (Choice(("FRONt", "REAR")), "fron", "FRONt"),
        (Choice(("CURRent", "VOLTage"), strings=True), "'CURRENT'", "CURRent"),
        (Text(), "'1''2'", "1'2"),
        (NumberList(), "(-110:-222, -410)", ((-110, -222), (-410, -410))),
        (NumberList(channels=True), "(@1, 3:5)", ((1, 1), (3, 5))),
        (NumberList(channels=True), "(@)", ()),
    ],
)
def test_values(parameter, text, value):
    if parameter is VOLTS and abs(value) > 21:
        assert code_of(parameter, text) == -222
    else:
        assert same(read(parameter, text), value)


@pytest.mark.parametrize(
    ("parameter", "text", "code"),
    [
        (VOLTS, "22", -222), (VOLTS, "-21.1", -222), (VOLTS, "1 A", -131), (VOLTS, "1 XV", -131), (VOLTS, "UP", -141),
        (VOLTS, "'1'", -158), (VOLTS, "#11x", -168), (VOLTS, "(1)", -178), (Number(), "1 V", -138),
        (Boolean(), "YES", -141), (Boolean(), "1 V", -138), (Boolean(), "'ON'", -158), (Choice(("ASCii",)), "1", -128),
        (Choice(("ASCii",)), "ASCI", -141), (Choice(("CURRent",), strings=True), "CURR", -148),
        (Text(2), "'abc'", -223), (Text(), "abc", -148), (NumberList(), "(@1)", -171), (NumberList(True), "(1)", -171),
        (NumberList(), "(1:)", -171), (NumberList(), "(1,,2)", -171), (NumberList(), "1", -128),
    ],
)  # fmt: skip
def test_what_is_refused_has_its_number(parameter, text, code):
    assert code_of(parameter, text) == code


def test_bounds_may_follow_other_settings():
    full = [1.0]
    level = Number(lambda: -full[0], lambda: full[0], unit="V")
    assert code_of(level, "2") == -222
    full[0] = 2.0
    assert read(level, "2") == 2.0
    assert level.bound("MAX") == 2.0


def test_short_and_long_forms_and_nothing_between():
    assert [short(word) for word in ("RSYNchronize", "NPLCycles", "MODE")] == ["RSYN", "NPLC", "MODE"]
    assert [matches(word, "RSYNchronize") for word in ("rsyn", "RSYNCHRONIZE", "RSYNC", "RSY")] == [
        True, True, False, False,
    ]  # fmt: skip


@given(st.floats(-1e30, 1e30), st.sampled_from(sorted(MULTIPLIERS)), st.sampled_from(["V", "A", "S"]))
def test_a_multiplier_multiplies(number, multiplier, unit):
    value = read(Number(unit=unit), f"{number!r} {multiplier}{unit}")
    assert value == pytest.approx(number * MULTIPLIERS[multiplier], rel=1e-12)


@given(st.floats(-1e20, 1e20))
def test_a_response_is_a_number_again(number):
    assert float(shown(number)) == pytest.approx(number, rel=1e-6)


@given(st.lists(st.tuples(st.integers(-999, 999), st.integers(-999, 999))), st.booleans())
def test_a_list_is_read_as_it_was_written(ranges, channels):
    parameter = NumberList(channels)
    text = parameter.text(ranges)
    assert read(parameter, text) == tuple(ranges)


@pytest.mark.parametrize(
    "parameter",
    [VOLTS, Number(0, 100, whole=True), Number(), Boolean(), Choice(("A", "B")), Choice(("A", "B"), strings=True),
     Text(4), NumberList(), NumberList(channels=True)],
)  # fmt: skip
def test_random_values_are_legal_as_their_own_text(parameter):
    rng = Random(3)
    for _ in range(100):
        value = parameter.some(rng)
        again = read(parameter, parameter.text(value))
        assert same(again, value, 1e-5)


def test_kinds_have_an_error_each():
    assert {code_of(Number(), text) for text in ("AB", "'a'", "#11a", "(1)")} == {-141, -158, -168, -178}
    assert len(Kind) == 5
