"""Program messages as IEEE 488.2 writes them: units, headers, elements of data."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_backend.emulators.scpi.errors import ScpiError
from sim_backend.emulators.scpi.message import Element, Kind, Unit, block, quoted, units


def data_of(text):
    (unit,) = units(f"X {text}")
    return unit.data


def code_of(message):
    with pytest.raises(ScpiError) as caught:
        list(units(message))
    return caught.value.code


def test_a_message_is_units_with_headers_and_data():
    assert list(units(" :SENS:CURR:RANG 1e-3 ; prot? MIN;*cls;;")) == [
        Unit(("SENS", "CURR", "RANG"), False, True, (Element(Kind.NUMBER, "1e-3", 1e-3),)),
        Unit(("PROT",), True, False, (Element(Kind.CHARACTERS, "MIN"),)),
        Unit(("*CLS",), False, False),
    ]
    assert list(units("")) == list(units(" ;; ")) == []


def test_units_before_a_mistake_are_yielded():
    messages = units("*RST;:OUTP ON;)")
    assert [next(messages).words, next(messages).words] == [("*RST",), ("OUTP",)]
    with pytest.raises(ScpiError, match="-102"):
        next(messages)


@pytest.mark.parametrize(
    ("text", "value", "suffix"),
    [
        ("1", 1.0, ""),
        ("-.5", -0.5, ""),
        ("+7.", 7.0, ""),
        ("1.5 E -3", 1.5e-3, ""),
        ("2e3", 2e3, ""),
        ("1 mA", 1.0, "MA"),
        ("1MV", 1.0, "MV"),
        ("3E-6A", 3e-6, "A"),
        ("2 V/S", 2.0, "V/S"),
        ("#H1f", 31.0, ""),
        ("#q17", 15.0, ""),
        ("#B101", 5.0, ""),
    ],
)
def test_numbers(text, value, suffix):
    (element,) = data_of(text)
    assert (element.kind, element.value, element.suffix) == (Kind.NUMBER, value, suffix)


def test_strings_blocks_and_expressions_hold_what_divides_elsewhere():
    assert [e.text for e in data_of("'a;b','it''s',\"say \"\"1,2\"\"\"")] == ["a;b", "it's", 'say "1,2"']
    assert [e.text for e in data_of("#15he;lo , #210a,b;c:d'e\"")] == ["he;lo", "a,b;c:d'e\""]
    assert [e.text for e in data_of("#0all, the;rest")] == ["all, the;rest"]
    assert [e.text for e in data_of("(@1,(2:3)),( '(' ,1)")] == ["@1,(2:3)", " '(' ,1"]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("X\x801", -101), ("\x80", -101), (":", -102), ("*", -102), ("A::B", -102), ("X )", -102), ("1", -102),
        ("X 1 2", -121), ("X 'a' 'b'", -103), ("X ABC DEF", -103), ("X,1", -111), ("X'a'", -111), ("X?1", -111),
        ("X 1,", -109), ("X ,1", -109), ("X 1,;", -109), ("ABCDEFGHIJKLM 1", -112), ("X ABCDEFGHIJKLM", -144),
        ("X 1E32001", -123), ("X +", -121), ("X 1.2.3", -121), ("X #H", -121), ("X #B2", -121),
        ("X " + "9" * 256, -124), ("X 1 ABCDEFGHIJKLM", -134), ("X 'abc", -151), ('X "a""', -151), ("X #", -161),
        ("X #15hell", -161), ("X #2a1b", -161), ("X #3", -161), ("X (1", -171), ("X ((1)", -171), ("X ('1)", -151),
    ],
)  # fmt: skip
def test_what_is_not_a_message_has_its_number(message, code):
    assert code_of(message) == code


@given(st.text(st.characters(max_codepoint=255, exclude_characters="\n")))
def test_a_string_is_read_as_it_was_quoted(text):
    assert data_of(quoted(text)) == (Element(Kind.STRING, text),)


@given(st.binary().filter(lambda content: b"\n" not in content))
def test_a_block_is_read_as_it_was_written(content):
    (first, second) = data_of(block(content) + ",1")
    assert first.text.encode("latin-1") == content
    assert second.value == 1.0


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["r", ".9e", "+.6E"]))
def test_a_number_is_read_as_it_was_written(number, form):
    text = repr(number) if form == "r" else format(number, form)
    (element,) = data_of(text)
    assert element.value == float(text)


WORDS = st.from_regex(r"[A-Z][A-Z0-9_]{0,11}", fullmatch=True)
ELEMENTS = st.one_of(
    st.integers(-(10**9), 10**9).map(str),
    WORDS,
    st.text(string.ascii_letters + " ;:,?*'\"()#1").map(quoted),
    st.binary(max_size=20).filter(lambda content: b"\n" not in content).map(block),
    st.lists(st.integers(1, 99), min_size=1).map(lambda numbers: f"(@{','.join(map(str, numbers))})"),
)
UNITS = st.tuples(st.booleans(), st.lists(WORDS, min_size=1, max_size=4), st.booleans(), st.lists(ELEMENTS, max_size=3))


@given(st.lists(UNITS, max_size=5))
def test_a_message_is_read_as_it_was_joined(parts):
    texts = [f"{':' * rooted}{':'.join(words)}{'?' * query} {','.join(data)}" for rooted, words, query, data in parts]
    read = list(units(";".join(texts)))
    assert [(u.rooted, list(u.words), u.query, len(u.data)) for u in read] == [
        (rooted, words, query, len(data)) for rooted, words, query, data in parts
    ]


@given(st.text(st.characters(max_codepoint=255)))
def test_anything_is_units_or_a_command_error(text):
    code = 0
    try:
        list(units(text))
    except ScpiError as error:
        code = error.code
    assert code == 0 or -200 < code <= -100
