"""A SCPI instrument: compound messages, responses, errors, status, what is left."""

from random import Random

import pytest
import pyvisa

from sim_backend.emulators.registers import Register
from sim_backend.emulators.scpi.errors import ScpiError
from sim_backend.emulators.scpi.instrument import ScpiInstrument
from sim_backend.emulators.scpi.parameters import Boolean, Number, Text
from sim_backend.emulators.serve import serve
from sim_backend.emulators.world import Cables, World
from tests.waiting import PATIENCE, until


class Box(ScpiInstrument):
    """An instrument with a level, a switch and lists."""

    maker = "ACME"

    def __init__(self):
        self.level, self.on, self.numbers, self.hot = 0.0, False, [], 0
        super().__init__("box", "B1", World(Cables({}, {}), lambda x, y, site: None), serial="7", revision="1", queue=4)

    def build_registers(self):
        child = Register(lambda: self.hot)
        return {"OPERation": Register(lambda: 2 if child.condition() else 0, {"HEAT": child})}

    def build(self):
        volts = Number(-2.0, 2.0, default=0.0, unit="V")
        self.setting(":SOURce:VOLTage[:LEVel]", volts, lambda: self.level, self.set_level)
        self.setting(":OUTPut[:STATe]", Boolean(), lambda: self.on, self.switch)
        self.tree.add(":LIST:APPend", volts, rest=True, run=lambda *values: self.numbers.extend(values))
        self.tree.add(":DISPlay:TEXT", Text(), optional=1, run=lambda text="": self.numbers.append(text))
        self.tree.add(":READ", query=lambda: "1,2,3")

    def set_level(self, value):
        if self.on and value > 1:
            raise ScpiError(-221)
        self.level = value

    def switch(self, on):
        self.on = on

    def reset(self):
        self.level, self.on = 0.0, False


@pytest.fixture
def box():
    box = Box()
    box.execute("*CLS")
    return box


def test_responses_of_one_message_are_joined_and_commands_answer_nothing(box):
    assert box.execute(":SOUR:VOLT 1.5V;VOLT?;LEV?") == "+1.500000E+00\n"
    assert box.execute(":SYST:ERR?") == '-113,"Undefined header"\n'
    assert box.execute(":READ?;:OUTP?;*OPC?;:SOUR:VOLT? MAX") == "1,2,3;0;1;+2.000000E+00\n"
    assert box.execute(":OUTP ON") == box.execute("") == ""


def test_a_common_command_leaves_the_place_and_a_colon_goes_to_the_root(box):
    assert box.execute(":SOUR:VOLT 1;*CLS;VOLT?") == "+1.000000E+00\n"
    assert box.execute(":SOUR:VOLT 1;OUTP ON") == ""
    assert box.execute("SYST:ERR?;ERR:COUN?") == '-113,"Undefined header";0\n'
    assert box.execute(":SOUR:VOLT 1;:OUTP ON;:OUTP?") == "1\n"


def test_a_command_error_ends_its_message_and_another_one_its_unit(box):
    assert box.execute(":OUTP?;:SOUR:VLT 1;:OUTP ON") == "0\n"
    assert not box.on
    assert box.execute(":SOUR:VOLT 3;:OUTP ON;:SOUR:VOLT 1.5;:OUTP?") == "1\n"
    assert [box.execute("SYST:ERR?") for _ in range(4)] == [
        '-113,"Undefined header"\n', '-222,"Parameter data out of range"\n', '-221,"Settings conflict"\n',
        '0,"No error"\n',
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (":SOUR:VOLT", -109), (":SOUR:VOLT 1,2", -108), (":SOUR:VOLT? 1", -128), (":SOUR:VOLT? UP", -141),
        (":OUTP? MIN", -108), (":READ", -113), (":LIST:APP?", -113), ("*TRG", -211), ("*IDN? 1", -108),
        ("*IDN?;*ESE?", -440), (":LIST:APP", -109), ("*ESE 256", -222),
    ],
)  # fmt: skip
def test_what_is_refused_has_its_number(box, message, code):
    box.execute(message)
    assert box.execute(":SYST:ERR?").startswith(f"{code},")


def test_lists_and_parameters_that_may_be_left_out(box):
    box.execute(":LIST:APP 1,2 , -1 mV;:DISP:TEXT;:DISP:TEXT 'a'")
    assert box.numbers == [1.0, 2.0, -1e-3, "", "a"]


def test_identity_reset_and_the_rest_of_the_common_commands(box):
    assert box.execute("*IDN?") == "ACME,B1,7,1\n"
    box.execute(":SOUR:VOLT 1;:OUTP 1")
    assert box.execute("*RST;*WAI;:SOUR:VOLT?;*TST?;*OPC?;:SYST:VERS?") == "+0.000000E+00;0;1;1999.0\n"


def test_errors_set_events_and_the_status_byte_and_the_queue_overflows(box):
    assert box.execute("*ESE 32;*SRE 36;*ESE?;*SRE?;*STB?") == "32;36;0\n"
    for _ in range(6):
        box.execute("NONSENSE")
    assert box.execute("*STB?") == "100\n"
    assert box.execute("*ESR?;*ESR?;*STB?") == "32;0;68\n"
    codes = [box.execute(":SYST:ERR?").split(",")[0] for _ in range(5)]
    assert codes == ["-113", "-113", "-113", "-350", "0"]
    assert box.execute("*SRE 255;*SRE?") == "191\n"


def test_registers_latch_what_their_filters_let_through(box):
    box.execute(":STAT:OPER:ENAB 2;HEAT:ENAB 1;PTR 0;NTR 1")
    assert box.execute(":STAT:OPER:HEAT:PTR?;NTR?;COND?") == "0;1;0\n"
    box.hot = 1
    assert box.execute(":STAT:OPER:HEAT:COND?;EVEN?") == "1;0\n"
    assert box.execute(":STAT:OPER?;:STAT:OPER?") == "2;0\n"
    box.hot = 0
    assert box.execute(":STAT:OPER:HEAT?;:STAT:OPER:COND?") == "1;0\n"
    box.hot = 1
    assert box.execute("*STB?") == "128\n"
    box.execute("*CLS")
    assert box.execute("*STB?;:STAT:OPER:ENAB?") == "0;2\n"
    assert box.execute(":STAT:PRES;:STAT:OPER:ENAB?;HEAT:PTR?") == "0;32767\n"


def test_a_response_that_does_not_end_is_a_deadlock(box):
    box.tree.add(":BIG", query=lambda: "x" * (17 << 20))
    assert box.execute(":BIG?") == ""
    assert box.execute("*ESR?;:SYST:ERR?") == '4;-430,"Query DEADLOCKED"\n'


def test_every_setting_is_left_at_another_legal_value(box):
    left = box.leftovers()
    assert {":SOURce:VOLTage[:LEVel]", ":OUTPut[:STATe]", "*IDN?", "errors", "*ESE, *SRE", "busy"} == set(left)
    assert left[":SOURce:VOLTage[:LEVel]"](Random(1)) == box.execute(":SOUR:VOLT?").strip() != "+0.000000E+00"
    assert left[":OUTPut[:STATe]"](Random(1)) == "1"
    left["errors"](Random(2))
    assert box.execute(":SYST:ERR?") != '0,"No error"\n'
    left["*IDN?"](Random(5))
    assert box.execute("*IDN?") != "ACME,B1,7,1\n"


def test_a_message_before_the_response_was_read_is_an_error_on_a_link_that_tells(box):
    with serve(box) as server:
        manager = pyvisa.ResourceManager("@py")
        wire = manager.open_resource(server.served[0].hislip, timeout=1000 * PATIENCE)
        wire.write(":SOUR:VOLT?")
        wire.write(":SOUR:VOLT 1")
        until(lambda: box.level == 1.0)
        wire.close()
    assert box.execute(":SYST:ERR?;*ESR?") == '-410,"Query INTERRUPTED";4\n'
