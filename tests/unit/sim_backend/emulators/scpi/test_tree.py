"""Headers: long and short forms, nodes left out, suffixes, and where the next header of a message begins."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_backend.emulators.scpi.errors import ScpiError
from sim_backend.emulators.scpi.parameters import short
from sim_backend.emulators.scpi.tree import CommandTree

SPELLED = (
    "[:SENSe[1]]:CURRent[:DC]:RANGe[:UPPer]",
    "[:SENSe[1]]:CURRent[:DC]:RANGe:AUTO",
    "[:SENSe[1]]:CURRent[:DC]:PROTection[:LEVel]",
    ":SOURce[1]:VOLTage[:LEVel][:IMMediate][:AMPLitude]",
    ":SOURce[1]:VOLTage:RANGe",
    ":SOURce2:TTL[:LEVel]",
    ":CALCulate1:STATe",
    ":CALCulate2:NULL:STATe",
    ":ROUTe:CLOSe<n>:COUNt",
    "*IDN",
)


@pytest.fixture(scope="module")
def tree():
    tree = CommandTree()
    for spelled in SPELLED:
        tree.add(spelled)
    return tree


def leads_to(tree, header, start=None):
    command, free, after = tree.command(header.upper().split(":"), start or tree.root)
    return command.spelled, free, after


@pytest.mark.parametrize(
    ("header", "spelled", "free"),
    [
        ("SENS:CURR:DC:RANG:UPP", SPELLED[0], ()),
        ("curr:range", SPELLED[0], ()),
        ("SENSE1:CURRENT:RANG:AUTO", SPELLED[1], ()),
        ("CURR:PROT:LEV", SPELLED[2], ()),
        ("SOUR:VOLT", SPELLED[3], ()),
        ("SOUR1:VOLT:AMPL", SPELLED[3], ()),
        ("SOUR2:TTL", SPELLED[5], ()),
        ("CALC:STAT", SPELLED[6], ()),
        ("CALC2:NULL:STATE", SPELLED[7], ()),
        ("ROUT:CLOS12:COUN", SPELLED[8], (12,)),
        ("ROUT:CLOS:COUN", SPELLED[8], (1,)),
        ("*IDN", SPELLED[9], ()),
    ],
)
def test_headers(tree, header, spelled, free):
    assert leads_to(tree, header)[:2] == (spelled, free)


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("SENS:CUR:RANG", -113), ("SENSE:CURRE:RANG", -113), ("CURR", -113), ("SENS", -113), ("*RST", -113),
        ("SENS2:CURR:RANG", -114), ("SOUR3:VOLT", -114), ("SOUR2:VOLT", -113), ("CURR:RANG:AUTO:X", -113),
        ("CALC3:STAT", -114),
    ],
)  # fmt: skip
def test_headers_that_are_none(tree, header, code):
    with pytest.raises(ScpiError) as caught:
        leads_to(tree, header)
    assert caught.value.code == code


def test_the_next_header_begins_beside_the_last_word(tree):
    _, _, after = leads_to(tree, "SENS:CURR:RANG")
    assert leads_to(tree, "PROT", after)[0] == SPELLED[2]
    _, _, deeper = leads_to(tree, "RANG:AUTO", after)
    with pytest.raises(ScpiError):
        leads_to(tree, "PROT", deeper)
    assert leads_to(tree, "UPP", deeper)[0] == SPELLED[0]


def test_two_commands_of_one_header_and_strange_spellings_are_mistakes(tree):
    tree = CommandTree()
    tree.add("[:SENSe]:FUNCtion[:ON]")
    with pytest.raises(ValueError, match=r"is \[:SENSe\]:FUNCtion\[:ON\] as well"):
        tree.add(":FUNCtion")
    with pytest.raises(ValueError, match="is not spelled as a command"):
        tree.add(":SOURce[x]:VOLTage")


@given(st.data())
def test_every_way_to_write_a_header_is_the_command(tree, data):
    spelled = data.draw(st.sampled_from(SPELLED[:8]))
    words = []
    for node in spelled.replace("[:", "|[").replace(":", "|").split("|")[1:]:
        optional = node.startswith("[") and data.draw(st.booleans())
        name = node.strip("[]").removesuffix("[1")
        suffix = data.draw(st.sampled_from(["", "1"])) if "[1" in node else ""
        if not optional:
            word = data.draw(st.sampled_from([name, short(name), name.lower(), name.swapcase()])) + suffix
            words.append(word.upper())
    assert tree.command(words, tree.root)[0].spelled == spelled


def test_no_header_has_two_commands(tree):
    assert len({command.spelled for command in tree.commands}) == len(SPELLED)
    assert all(a.spelled != b.spelled for a, b in itertools.combinations(tree.commands, 2))
