"""Identities are read in whatever form they come, and no model is taken for another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instruments.identity import fields_of
from instruments.tsp import parse_identity
from labctl.core.errors import BenchError

FORMS = [
    "Keithley Instruments Inc., Model 2602B, 1234567, 3.4.0",
    "Keithley Instruments, Inc., Model 2602B, 1234567, 3.4.0",
    "KEITHLEY INSTRUMENTS,MODEL 2602B,1234567,3.4.0",
    "KEITHLEY INSTRUMENTS, LLC, model 2602b , 1234567 , 3.4.0",
    "Keithley Instruments,2602B,1234567,3.4.0",
    "Keithley, a Tektronix company, Beaverton, 2602B, 1234567, 3.4.0",
    "  Keithley  Instruments  Inc. ,  Model   2602B ,  1234567 ,  3.4.0  \r",
    '"Keithley Instruments, Inc.", "Model 2602B", "1234567", "3.4.0"',
    "'KEITHLEY INSTRUMENTS INC., MODEL 2602B, 1234567, 3.4.0'",
    "Keithley Instruments Inc.; Model 2602B; 1234567; 3.4.0",
    "Keithley Instruments, Inc.; Model 2602B; 1234567; 3.4.0",
    "Keithley Instruments Inc., Model: 2602B, SN 1234567, 3.4.0",
    "Keithley Instruments Inc., Model No. 2602B, Serial No. 1234567, 3.4.0",
    "Keithley Instruments Inc., MODEL2602B, S/N: 1234567, 3.4.0",
    "3M Instruments, Inc., Model 2602B, 1234567, 3.4.0",
    "Keithley Instruments Inc., Model 2602B SourceMeter, 1234567, 3.4.0",
    "Tektronix Model 2602B, 1234567, 3.4.0",
    "Tektronix 2602B, 1234567, 3.4.0",
    "2602B, 1234567, 3.4.0",
]


@pytest.mark.parametrize("line", FORMS)
def test_model_serial_and_firmware_are_read_from_every_form(line):
    fields = fields_of(line, "2602B")
    assert (fields.model.upper(), fields.serial, fields.firmware) == ("2602B", "1234567", "3.4.0")
    assert parse_identity(line, ["2636B", "2602B"]).model == "2602B"
    assert "2602" not in fields.maker


@pytest.mark.parametrize("line", FORMS)
def test_no_other_model_is_taken_for_it(line):
    for model in ("2602A", "2602", "602B", "2612B", "3.4.0", "Keithley", "2602B-PULSE"):
        with pytest.raises(BenchError, match=f"answers, and the bench file says {model}"):
            parse_identity(line, [model])


@pytest.mark.parametrize(
    "line",
    [
        "Keithley Instruments, Inc., Model 2602B-PULSE, 1234567, 3.4.0",
        "Keithley Instruments Inc., Model 2400, 2602B, 3.4.0",
        "Keithley Instruments Inc., 2400, 2602B, 3.4.0",
        "Keithley Instruments Inc., 2400 or 2602B, 1, 3.4.0",
        "Keithley Instruments Inc., Model 2400, 1, 2602B",
        "HTTP/1.1 400 Bad Request",
        "",
    ],
)
def test_a_2602b_that_is_named_somewhere_else_is_none(line):
    with pytest.raises(BenchError, match="answers, and the bench file says 2602B"):
        parse_identity(line, ["2602B"])


def test_firmware_may_have_commas_and_a_serial_number_may_be_missing():
    line = "Keithley Instruments, Inc., Model 2602B, 0, 3.4.0, build 7, 2026-01-02"
    assert fields_of(line) == fields_of(line, "2602B")
    assert (fields_of(line).serial, fields_of(line).firmware) == ("", "3.4.0, build 7, 2026-01-02")
    assert fields_of("Keithley Instruments Inc., Model 2602B").serial == ""


@given(st.text(max_size=80), st.sampled_from([None, "2602B", ""]))
def test_whatever_answers_has_fields(line, model):
    fields = fields_of(line, model)
    assert all(isinstance(value, str) for value in vars(fields).values())
