"""SCPI as drivers speak it: refusals, several replies in one, identities, the emergency."""

import math

import pytest

from instruments.scpi import Refused, Scpi, error_in, numbers_in
from instruments.transcript import TranscriptReplay, parse
from labctl.core.errors import BenchError, InstrumentError

IDENTITY = "KEITHLEY INSTRUMENTS INC.,MODEL 2400,1234567,C34"


def wire(text):
    return TranscriptReplay(parse(text))


def test_a_setting_and_its_error_are_two_messages_in_one_piece():
    with wire('> :OUTP 1\n| :SYST:ERR?\n< 0,"No error"\n') as talk:
        Scpi(talk, "smu").set(":OUTP 1")


def test_a_refusal_has_every_error_in_the_words_of_the_instrument():
    talk = wire(
        '> :OUTP 2\n| :SYST:ERR?\n< -222,"Parameter data out of range"\n'
        '> :SYST:ERR?\n< +802,"OUTPUT blocked by output enable"\n> :SYST:ERR?\n< 0,"No error"\n'
    )
    words = r"smu refused ':OUTP 2': -222 Parameter data out of range; 802 OUTPUT blocked by output enable"
    with talk, pytest.raises(Refused, match=words):
        Scpi(talk, "smu").set(":OUTP 2")


def test_a_queue_that_never_ends_is_left():
    talk = wire('> :SYST:ERR?\n< -113,"Undefined header"\n' * 64)
    with talk:
        assert Scpi(talk, "smu").errors()[-1] == "and more"


def test_several_replies_come_in_one_line_and_one_too_few_is_an_error():
    with wire("> A?;B?\n< 1; 2\n") as talk:
        assert Scpi(talk, "smu").ask(["A?", "B?"]) == ["1", "2"]
    with (
        wire("> A?;B?\n< 1\n") as talk,
        pytest.raises(InstrumentError, match=r"smu: 'A\?;B\?' was answered by '1'; expected 2 replies"),
    ):
        Scpi(talk, "smu").ask(["A?", "B?"])


@pytest.mark.parametrize(
    "line", [IDENTITY, IDENTITY.lower(), "Keithley,2400,1,2", "Keithley Instruments, Inc., Model 2400, 1, 2"]
)
def test_an_identity_of_the_model(line):
    with wire(f"> *IDN?\n< {line}\n") as talk:
        assert Scpi(talk, "smu").identity("2400") == line


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (IDENTITY.replace("2400", "2400-LV"), "the bench file says 2400; check its address"),
        (IDENTITY.replace("2400", "2410"), "the bench file says 2400; check its address"),
        ("HTTP/1.1 400 Bad Request", "that is no identity"),
        ("2401", "that is no identity"),
    ],
)
def test_another_identity_is_refused(line, words):
    with wire(f"> *IDN?\n< {line}\n") as talk, pytest.raises(BenchError, match=words):
        Scpi(talk, "smu").identity("2400")


def test_numbers_and_errors_are_read_strictly():
    assert numbers_in("+9.900000E+37,-1") == [pytest.approx(math.nan, nan_ok=True), -1.0]
    with pytest.raises(InstrumentError, match="is not a list of numbers"):
        numbers_in("1,x")
    with pytest.raises(InstrumentError, match="where an error number was expected"):
        error_in("+1.0E+00")


def test_the_emergency_passes_over_a_reply_of_before():
    talk = wire('> :ABOR\n| :OUTP 0\n| :OUTP?;:SOUR:VOLT?\n< +1.0E-01,+1.0E-05\n< 0;0\n> :SYST:ERR?\n< 0,"No error"\n')
    with talk:
        assert Scpi(talk, "smu").cut_in([":ABOR", ":OUTP 0"], [":OUTP?", ":SOUR:VOLT?"]) == ["0", "0"]


def test_a_switch_and_an_error_queue_are_read_strictly():
    with (
        wire("") as talk,
        pytest.raises(InstrumentError, match="':OUTP\\?' was answered by 'ON'; expected 0 or 1"),
    ):
        Scpi(talk, "smu").is_on("ON\n")
    with (
        wire("> :OUTP 1\n| :SYST:ERR?\n< what\n") as talk,
        pytest.raises(InstrumentError, match="'what'; expected the number of an error"),
    ):
        Scpi(talk, "smu").set(":OUTP 1")
