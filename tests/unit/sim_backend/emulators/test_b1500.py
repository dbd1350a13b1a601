"""The emulated B1500A and E5270B: tokens, units, spot measurements, status letters, errors."""

from random import Random

import pytest

from labctl.testing.emulated import NAME, resistors
from sim_backend.emulators.b1500 import B1500, FlexError, tokens


def make(model: str = "B1500A") -> B1500:
    return B1500(NAME, model, resistors(("smu1", "smu2"), 10e3), slots=(1, 2))


def ask(box: B1500, line: str) -> str:
    reply = box.handle(line.encode() + b"\n").decode()
    assert reply.endswith("\r\n")
    return reply.rstrip()


@pytest.mark.parametrize(
    ("line", "found"),
    [("*RST", [("*RST", False, [])]), ("cn 1, 2", [("CN", False, [1, 2])]), ("UNT? 0", [("UNT", True, [0])]),
     ("CL;;DZ1", [("CL", False, []), ("DZ", False, [1])]), ("DV1,0,-1.5E-1,.1", [("DV", False, [1, 0, -0.15, 0.1])])],
)  # fmt: skip
def test_a_message_is_letters_and_numbers(line: str, found: list[object]) -> None:
    assert tokens(line) == found


@pytest.mark.parametrize(("line", "code"), [("1,2", 100), ("DV1,x", 102), ("DV1,inf", 102), (":CN1", 100)])
def test_what_is_none_is_an_error(line: str, code: int) -> None:
    with pytest.raises(FlexError) as refusal:
        tokens(line)
    assert refusal.value.code == code


def test_errors_are_told_one_by_one_or_four_at_once() -> None:
    box = make()
    for line in (b"XX\n", b"DV1,0,1\n", b"DV9,0,1\n", b"FMT77\n", b"DV1\n"):
        assert box.handle(line) == b""
    assert ask(box, "ERRX?") == '+100,"Undefined GPIB command."'
    assert ask(box, "ERR? 1") == "200"
    assert ask(box, "ERR?") == "121,120,120,0"
    assert ask(box, "ERRX?") == '+0,"No Error."'
    assert ask(box, "EMG? 200") == "Channel output switch must be ON."
    other = make("E5270B")
    other.handle(b"ERRX?\n")
    assert ask(other, "ERR?") == "100,0,0,0"


def test_a_unit_comes_on_at_no_level_behind_100_ua_and_forgets_it_when_it_opens() -> None:
    box = make()
    assert ask(box, "UNT?").startswith("B1517A,0;B1517A,0;0,0;")
    assert (ask(box, "*LRN? 0"), ask(box, "*LRN? 1")) == ("CL", "CL1")
    box.handle(b"CN1\n")
    assert (ask(box, "*LRN? 0"), ask(box, "*LRN? 1")) == ("CN1", "DV1,200,+0.00000E+00,+1.00000E-04,0,16")
    box.handle(b"DV1,20,1,1E-3;CN\n")
    assert box.outputs() == {"smu1": 1.0, "smu2": 0.0}
    box.handle(b"DI2,0,1E-5,2\n")
    assert ask(box, "*LRN? 2") == "DI2,0,+1.00000E-05,+2.00000E+00"
    assert ask(box, "TV2") == "NBV+1.000000E-01"
    box.handle(b"DV2,0,1\n")  # from a current to a voltage without a limit
    assert ask(box, "ERR? 1") == "206"
    box.handle(b"DZ\n")
    assert box.outputs() == {"smu1": 0.0, "smu2": 0.0}
    box.handle(b"CL 1\n")
    assert box.outputs() == {"smu2": 0.0}
    box.handle(b"CL\n")
    assert box.outputs() == {}


def test_a_reading_has_a_letter_a_channel_and_a_number() -> None:
    box = make()
    box.handle(b"CN1,2;DV1,20,1,1E-3;DV2,20,1,1E-5\n")
    assert ask(box, "TI1,-17") == "TAI+1.000000E-04"  # unit 2 is at its limit
    assert ask(box, "TI2,-17") == "CBI+1.000000E-05"
    assert ask(box, "TI1,-15") == "VAI+199.999E+99"
    assert ask(box, "TI1") == "TAI+1.000000E-04"
    box.handle(b"DV2,20,0,1E-5;FMT2\n")
    assert ask(box, "TV1,-20") == "+1.000000E+00"
    box.handle(b"CL;TI1\n")
    assert ask(box, "ERR? 1") == "200"


def test_modes_are_told_as_commands() -> None:
    box = make()
    assert ask(box, "*LRN? 30") == "FL0"
    box.handle(b"FL1,1;SSR1,1;AAD1,1;CM1;FMT5;AIT1,2,3;AV10;AZ0;TSC0;WAT1,1,0;BC;AB\n")
    assert ask(box, "*LRN? 30") == "FL0,2;FL1,1"
    assert ask(box, "*LRN? 31") == "TM1;AV1,0;CM1;FMT5,0;MM1"
    assert ask(box, "*LRN? 53") == "SSR1,1;SSR2,0"
    assert ask(box, "*LRN? 55") == "AAD1,1;AAD2,0"
    assert ask(box, "*LRN? 56") == "AIT0,0,1;AIT1,2,3"
    assert box.aperture == pytest.approx(60e-3)
    box.handle(b"*RST\n")
    assert ask(box, "*LRN? 31") == "TM1;AV1,0;CM0;FMT1,0;MM1"
    for wrong in (b"AIT1,1,128", b"FL2", b"CM2", b"SSR1,2", b"*LRN? 99", b"DI1,3,0,1", b"AV0", b"TI1,77"):
        box.handle(b"CN1\n" + wrong + b"\n")
        assert ask(box, "ERR? 1") == "120", wrong


@pytest.mark.parametrize("number", range(10))
def test_whatever_is_left_is_a_state_that_it_answers_for(number: int) -> None:
    box, rng = make(), Random(number)
    for name, leave in box.leftovers().items():
        if name != "busy":
            leave(rng)
    assert ask(box, "*LRN? 1")
    box.handle(b"CL\n")
    assert box.outputs() == {}
