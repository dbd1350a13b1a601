"""The emulated 2450, 2460 and 2461: limits, readings and their elements, buffer, trigger model, command sets."""

from random import Random

import pytest

from instruments.keithley2450_models import MODELS as DRIVER_MODELS
from labctl.testing.emulated import NAME, resistors
from sim_backend.emulators.k2450 import K2450
from sim_backend.emulators.k2450_models import MODELS

R = 10e3


def make(model="2450", **options):
    world = resistors(("out",), R)
    return K2450(NAME, model, world, **options), world


@pytest.fixture
def smu():
    return make()[0]


def error(smu):
    return smu.execute(":SYST:ERR?").strip()


def numbers(reply):
    return [float(part) for part in reply.strip().split(",")]


def test_after_a_reset_it_is_as_the_manual_says(smu):
    smu.execute(":SOUR:VOLT 1;:OUTP 1;:SENS:CURR:UNIT OHM;:SOUR:VOLT:PROT PROT5;:ROUT:TERM REAR;*RST")
    asked = ":OUTP?;:SOUR:FUNC?;:SOUR:VOLT?;:SOUR:VOLT:ILIM?;:SOUR:VOLT:PROT?;:ROUT:TERM?;:SOUR:VOLT:READ:BACK?"
    assert smu.execute(asked) == "0;VOLT;+0.000000E+00;+1.050000E-04;NONE;FRON;1\n"
    assert smu.execute(":SENS:FUNC?;:SENS:CURR:UNIT?;:SENS:CURR:NPLC?") == '"CURR:DC";AMP;+1.000000E+00\n'
    assert smu.execute("*LANG?") == "SCPI\n"


def test_errors_have_their_type_and_time(smu):
    smu.execute(":NONSENSE")
    assert error(smu).startswith('-113,"Undefined header;1;')
    assert error(smu) == '0,"No error;0;0 0"'


def test_a_reading_has_the_elements_that_were_asked_for_in_their_order(smu):
    smu.execute(":SOUR:VOLT 0.5;:SOUR:VOLT:ILIM 1E-3;:OUTP 1")
    assert numbers(smu.execute(":READ?")) == [pytest.approx(5e-5)]
    assert numbers(smu.execute(':READ? "defbuffer1",SOURSTAT,READ,SOUR')) == pytest.approx([128, 5e-5, 0.5])
    smu.execute(":SOUR:VOLT:ILIM 1E-5")
    assert numbers(smu.execute(':READ? "defbuffer1",SOUR,READ,SOURSTAT')) == pytest.approx([0.1, 1e-5, 160])
    smu.execute(":SOUR:VOLT:READ:BACK 0;:SENS:CURR:RSEN 1")
    assert numbers(smu.execute(':READ? "defbuffer1",SOUR,READ,SOURSTAT')) == pytest.approx([0.5, 1e-5, 224])
    assert smu.execute(":SOUR:VOLT:ILIM:TRIP?;:SOUR:CURR:VLIM:TRIP?") == "1;0\n"
    assert smu.execute(':READ? "nowhere"') == ""
    assert error(smu).startswith("-224")


def test_what_changes_a_reading_behind_its_back(smu):
    smu.execute(":SOUR:VOLT 0.5;:SOUR:VOLT:ILIM 1E-3;:OUTP 1")
    for setting, value in {
        ":SENS:CURR:UNIT OHM": R, ":SENS:CURR:UNIT WATT": 0.5**2 / R, ":SENS:CURR:UNIT AMP": 5e-5,
        ":SENS:CURR:REL 1E-5;:SENS:CURR:REL:STAT 1": 4e-5, ":SENS:CURR:REL:STAT 0": 5e-5,
        ":CALC:CURR:MATH:STAT 1": -99.995, ":CALC:CURR:MATH:STAT 0;:SENS:FUNC 'VOLT'": 0.5, ":SENS:FUNC 'RES'": R,
    }.items():  # fmt: skip
        smu.execute(setting)
        assert numbers(smu.execute(":READ?")) == [pytest.approx(value)]
    assert numbers(smu.execute(":MEAS:CURR?")) == [pytest.approx(5e-5)]


def test_a_reading_needs_the_output(smu):
    assert smu.execute(":READ?;:OUTP?") == "0\n"
    assert error(smu).startswith("5074")


def test_a_measure_range_raises_a_limit_below_a_thousandth_of_it(smu):
    smu.execute(":SOUR:VOLT:ILIM 1E-6;:SENS:CURR:RANG 0.1")
    assert error(smu).startswith("-221")
    assert smu.execute(":SOUR:VOLT:ILIM?") == "+1.000000E-04\n"
    smu.execute(":SOUR:VOLT:ILIM 1E-6")
    assert error(smu).startswith("-222")
    assert smu.execute(":SOUR:VOLT:ILIM?") == "+1.000000E-04\n"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (":SOUR:VOLT:RANG 0.2;:SOUR:VOLT 0.5", -222), (":SOUR:VOLT:PROT PROT3", -141), (":SENS:FUNC 'POW'", -224),
        (":INIT", -213), (":TRIG:LOAD 'GradeBinning'", -224), (":SENS:CURR:UNIT VOLT", -141), (":OUTP:ENAB 1", -113),
        (":FETC?", -230), (':TRAC:DATA? 1,2,"defbuffer1"', -222), (':TRAC:STAT:AVER? "defbuffer1"', -230),
    ],
)  # fmt: skip
def test_what_is_refused_has_its_number(smu, message, code):
    smu.execute(message)
    assert error(smu).startswith(f"{code},")


def test_off_states_and_protection(smu):
    smu.execute(":SOUR:VOLT:ILIM 1E-3;:SENS:CURR:RANG 1E-3;:SOUR:VOLT:PROT PROT2;:SOUR:VOLT 5")
    assert smu.smu._drive().limit == pytest.approx(0.1 * 1.05e-3)
    for mode, limit in {"ZERO": 1e-3, "HIMP": None}.items():
        smu.execute(f":OUTP:VOLT:SMOD {mode}")
        drive = smu.smu._drive()
        assert (drive.limit if drive else None) == limit
    smu.execute(":OUTP 1")
    assert smu.smu._drive().level == pytest.approx(2.1)


def test_the_loop_of_the_trigger_model_waits_before_each_reading():
    smu, world = make()
    smu.execute(":SOUR:VOLT 0.1;:SOUR:VOLT:ILIM 1E-3;:SENS:CURR:RANG 1E-3;:OUTP 1")
    begin = world.now
    smu.execute(':TRIG:LOAD "SimpleLoop",3,0.5,"defbuffer1";:INIT;*WAI')
    assert 1.5 < world.now - begin < 1.9
    assert smu.execute(':TRAC:ACT? "defbuffer1";:TRIG:STAT?') == "3;IDLE;IDLE;0\n"
    assert numbers(smu.execute(':TRAC:DATA? 1,3,"defbuffer1",READ,SOUR')) == pytest.approx([1e-5, 0.1] * 3)


def test_a_buffer_that_fills_once_refuses_the_reading_after_it(smu):
    smu.execute(":SOUR:VOLT 0.1;:OUTP 1;:TRAC:POIN 2;:TRAC:FILL:MODE ONCE;:SENS:COUN 2;:READ?")
    assert smu.execute(':TRAC:FILL:MODE?;:TRAC:POIN? "defbuffer1"') == "ONCE;2\n"
    assert smu.execute(":SENS:COUN 1;:READ?") == ""
    assert error(smu).startswith("4915")
    smu.execute(':TRAC:CLE "defbuffer1";:TRAC:FILL:MODE CONT,"defbuffer1"')
    for _ in range(4):
        assert smu.execute(":READ?")
    assert smu.execute(":TRAC:ACT?") == "2\n"


def test_statistics_of_the_buffer(smu):
    smu.execute(":SOUR:VOLT 0.1;:OUTP 1;:SENS:COUN 3;:READ?")
    for node, value in {"AVER": 1e-5, "MAX": 1e-5, "MIN": 1e-5, "STDD": 0.0}.items():
        assert numbers(smu.execute(f":TRAC:STAT:{node}?"))[0] == pytest.approx(value, abs=1e-12)


def test_of_the_command_set_tsp_there_is_what_switches_off(smu):
    smu.execute(":SOUR:VOLT 0.3;:OUTP 1")
    smu.language = "TSP"
    assert smu.execute("*LANG?") == "TSP\n"
    assert smu.execute("print(smu.source.output, smu.source.level)") == "smu.ON\t3.00000e-01\n"
    smu.execute("smu.source.output = 0")  # names are documented, numbers are not
    assert smu.smu.output
    for line in (":OUTP 0", "abort", "smu.source.level = 0", "smu.source.output = smu.OFF"):
        assert smu.execute(line) == ""
    assert smu.execute("print(smu.source.output, smu.source.level)") == "smu.OFF\t0.00000e+00\n"
    assert len(smu.errors) == 2


def test_driver_and_emulator_have_the_same_models():
    assert DRIVER_MODELS.keys() == MODELS.keys()
    for name, model in MODELS.items():
        assert (DRIVER_MODELS[name].ranges_v, DRIVER_MODELS[name].ranges_i) == (model.ranges_v, model.ranges_i)
        assert set(DRIVER_MODELS[name].protection) <= set(model.protection)
        assert make(name)[0].execute("*IDN?").startswith(f"KEITHLEY INSTRUMENTS,MODEL {name},")


def test_every_part_of_its_state_is_left_and_a_reset_takes_it_back(smu):
    fresh = str(vars(smu.smu.set)), str(vars(smu.smu.extra))
    for number, (name, leave) in enumerate(sorted(smu.leftovers().items())):
        if name not in ("busy", "*IDN?", "*LANG"):
            leave(Random(number))
    smu.execute("*RST")
    assert (str(vars(smu.smu.set)), str(vars(smu.smu.extra))) == fresh
    assert (smu.taken, smu.once, smu.count) == ([], False, 1.0)
    smu.power_off()
    assert smu.world.observe(smu.smu.wire).volts == 0
    assert [smu.ends_busy(line) for line in (b":ABOR", b"abort", b":OUTP 0")] == [True, True, False]
