"""The emulated Series 2400 does what its manual says: limits, off states, readings, lists, buffer, errors."""

import math
from random import Random

import pytest

from instruments.keithley2400_models import MODELS as DRIVER_MODELS
from labctl.core.errors import BenchError
from labctl.testing.emulated import NAME, resistors
from sim_backend.emulators.k2400 import K2400
from sim_backend.emulators.k2400_models import MODELS
from sim_backend.emulators.k2400_trigger import Ended
from sim_backend.emulators.nets import Drive

R = 10e3


def make(model="2400", **options):
    world = resistors(("out",), R)
    return K2400(NAME, model, world, **options), world


@pytest.fixture
def smu():
    return make()[0]


def error(smu):
    return smu.execute(":SYST:ERR?").strip()


def numbers(reply):
    return [float(part) for part in reply.strip().split(",")]


def output(smu):
    """Return what is at its terminals."""
    return smu.smu._drive()


def test_after_a_reset_it_is_as_the_manual_says(smu):
    smu.execute(":SOUR:VOLT 3;:OUTP 1;:SYST:RSEN 1;:ROUT:TERM REAR;:FORM:ELEM CURR;*RST")
    asked = ":OUTP?;:SOUR:FUNC?;:SOUR:VOLT?;:SENS:CURR:PROT?;:SENS:CURR:RANG?;:SYST:RSEN?;:ROUT:TERM?;:OUTP:SMOD?"
    expected = "0;VOLT;+0.000000E+00;+1.050000E-04;+1.050000E-04;0;FRON;NORM\n"
    assert smu.execute(asked) == expected
    assert smu.execute(":FORM:ELEM?;:SENS:FUNC?;:SOUR:DEL:AUTO?;:SENS:CURR:NPLC?;:TRIG:COUN?") == (
        'VOLT,CURR,RES,TIME,STAT;"CURR:DC";1;+1.000000E+00;1\n'
    )
    assert error(smu) == '0,"No error"'


def test_a_reading_has_its_elements_in_one_order_and_the_set_voltage_where_none_is_measured(smu):
    smu.execute(":FORM:ELEM STAT,CURR,VOLT;:SOUR:VOLT 0.5;:OUTP 1")
    volts, amps, status = numbers(smu.execute(":READ?"))
    assert (volts, amps) == (0.5, pytest.approx(5e-5))
    assert int(status) == 1 << 2 | 1 << 12 | 1 << 14
    smu.execute(":SENS:CURR:PROT 1E-5")
    assert numbers(smu.execute(":READ?"))[0] == 0.5  # not what is there
    smu.execute(":SENS:FUNC 'VOLT'")
    volts, amps, status = numbers(smu.execute(":READ?"))
    assert (volts, amps) == (pytest.approx(0.1), pytest.approx(1e-5))
    assert int(status) & (1 << 3 | 1 << 11 | 1 << 16) == 1 << 3 | 1 << 11
    smu.execute(":FORM:ELEM RES;:SENS:FUNC:OFF:ALL;:SENS:FUNC 'RES'")
    assert numbers(smu.execute(":READ?")) == [pytest.approx(R)]


def test_what_is_neither_sourced_nor_measured_is_not_a_number(smu):
    smu.execute(":OUTP 1;:SENS:FUNC:OFF:ALL")
    assert numbers(smu.execute(":READ?"))[1:3] == [9.91e37, 9.91e37]


def test_readings_need_the_output(smu):
    assert smu.execute(":READ?;:OUTP?") == "0\n"
    assert error(smu) == '803,"Not permitted with OUTPUT off"'
    smu.execute(":INIT")
    assert error(smu).startswith("803")
    assert smu.execute(":FETC?") == ""
    assert error(smu).startswith("-230")


def test_a_one_shot_measurement_switches_the_output_on_and_leaves_it(smu):
    smu.execute(":SOUR:VOLT 0.2")
    assert numbers(smu.execute(":MEAS:CURR?"))[1] == pytest.approx(2e-5)
    assert smu.execute(":OUTP?") == "1\n"


def test_with_automatic_off_the_output_is_on_for_the_cycle_only():
    smu, world = make()
    smu.execute(":SOUR:CLE:AUTO 1;:SOUR:VOLT 0.2")
    seen = []
    drive = world.drive
    world.drive = lambda wire, out: (seen.append(out.level if out else None), drive(wire, out))[1]
    assert numbers(smu.execute(":READ?"))[1] == pytest.approx(2e-5)
    assert smu.execute(":OUTP?") == "0\n"
    assert seen[-1] == 0.0
    assert 0.2 in seen


def test_a_fixed_measure_range_limits_as_well(smu):
    smu.execute(":SENS:CURR:RANG 1E-6;:FORM:ELEM CURR,STAT;:SOUR:VOLT 1;:OUTP 1")
    amps, status = numbers(smu.execute(":READ?"))
    assert amps == pytest.approx(1.05e-6)
    assert int(status) & (1 << 3 | 1 << 16) == 1 << 16


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([":SENS:CURR:RANG 1E-3"], 824),
        ([":SENS:CURR:PROT 1E-3", ":SENS:CURR:RANG 1E-3", ":SENS:CURR:PROT 9E-7"], 822),
        ([":SENS:CURR:PROT 1E-10"], 822),
        ([":SENS:CURR:PROT 0.5", ":SOUR:VOLT 100"], 826),
        ([":SOUR:VOLT 100", ":SENS:CURR:PROT 0.5"], 826),
        ([":SOUR:VOLT:RANG 2", ":SOUR:VOLT 2.2"], -222),
        ([":SOUR:VOLT 5", ":SOUR:VOLT:RANG 2"], -221),
        ([":SOUR:VOLT 211"], -222),
        ([":SOUR:VOLT:MODE LIST", ":SOUR:VOLT 1"], -221),
        ([":SENS:VOLT:RANG 2"], -221),
        ([":ARM:COUN 100;:TRIG:COUN 26"], -221),
        ([":SOUR:LIST:VOLT " + ",".join(["0"] * 101)], -223),
        ([":TRAC:FEED:CONT NEXT", ":TRAC:POIN 5"], 800),
        ([":ARM:SOUR BUS;:OUTP 1", ":READ?"], -213),
        ([":ARM:COUN INF;:OUTP 1", ":READ?"], -213),
        ([":SOUR:VOLT:MODE SWE;:OUTP 1", ":READ?"], -221),
        ([":CALC2:LIM:STAT ON"], -113),
        ([":SYST:CCH ON"], -113),
        ([":SENS:FUNC 'POW'"], -224),
    ],
)
def test_what_the_settings_forbid_is_refused_by_its_number(smu, messages, code):
    for message in messages:
        smu.execute(message)
    assert error(smu).startswith(f"{code},")


def test_the_output_enable_line_blocks_and_switches_off(smu):
    smu.execute(":OUTP:ENAB 1;:OUTP 1")
    smu.smu.enable(False)
    assert smu.execute(":OUTP?;:OUTP:ENAB:TRIP?") == "0;0\n"
    smu.execute(":OUTP 1")
    assert error(smu) == '802,"OUTPUT blocked by output enable"'
    smu.execute(":OUTP:ENAB 0;:OUTP 1")
    assert smu.execute(":OUTP?") == "1\n"


def test_off_states(smu):
    smu.execute(":SENS:CURR:PROT 1E-3;:SENS:CURR:RANG 1E-3;:SOUR:VOLT 1")
    states = {"NORM": Drive(0.0, pytest.approx(5.25e-6)), "ZERO": Drive(0.0, 1e-3), "HIMP": None}
    for mode, expected in states.items():
        smu.execute(f":OUTP:SMOD {mode}")
        assert output(smu) == expected
    smu.execute(":OUTP:SMOD GUAR")
    assert output(smu).current
    assert output(make("2410")[0]).current


def test_cables_on_the_other_terminals_see_nothing():
    smu, _ = make(wired="REAR")
    smu.execute(":SOUR:VOLT 1;:OUTP 1;:FORM:ELEM CURR")
    assert numbers(smu.execute(":READ?")) == [0.0]
    smu.execute(":ROUT:TERM REAR")
    assert numbers(smu.execute(":READ?")) == [pytest.approx(1e-4)]


@pytest.mark.parametrize(("asked", "taken"), [(5, 20), (20, 20), (59, 40), (150, 120), (161, 210), (210, 210)])
def test_the_voltage_protection_has_steps_and_protects(smu, asked, taken):
    smu.execute(f":SOUR:VOLT:PROT {asked};:SENS:CURR:PROT 0.05;:SOUR:VOLT 200;:OUTP 1")
    assert float(smu.execute(":SOUR:VOLT:PROT?")) == taken
    assert output(smu).level == pytest.approx(min(200, 1.05 * taken if taken < 210 else 200))


def test_a_list_is_gone_through_and_its_last_level_stays():
    smu, world = make()
    smu.execute(":SOUR:VOLT:RANG 2;:SENS:CURR:PROT 1E-3;:SOUR:SWE:RANG FIX;:SOUR:DEL 0.01;:SYST:AZER 0")
    smu.execute(":SOUR:LIST:VOLT 0.5,-0.25;:SOUR:LIST:VOLT:APP 0.1;:TRIG:COUN 3;:FORM:ELEM VOLT,CURR;:OUTP 1")
    assert smu.execute(":SOUR:LIST:VOLT?;:SOUR:LIST:VOLT:POIN?") == "+5.000000E-01,-2.500000E-01,+1.000000E-01;3\n"
    smu.execute(":SOUR:VOLT:MODE LIST")
    levels, drive = [], world.drive
    world.drive = lambda wire, out: (levels.append((world.now, out.level)), drive(wire, out))[1]
    assert numbers(smu.execute(":READ?")) == pytest.approx([0.5, 5e-5, -0.25, -2.5e-5, 0.1, 1e-5])
    times = dict(map(reversed, levels))
    cycle = 225e-6 + 50e-6 + 0.01 + 300e-6 + 185e-6 + 1 / 60
    assert times[-0.25] - times[0.5] == pytest.approx(cycle)
    assert output(smu).level == 0.1
    smu.execute(":SOUR:VOLT:MODE FIX")
    assert output(smu).level == 0.0


def test_a_list_beyond_a_fixed_range_is_refused_and_without_it_takes_its_range(smu):
    smu.execute(":SOUR:VOLT:RANG 0.2;:SOUR:SWE:RANG FIX;:SOUR:LIST:VOLT 0.5;:SOUR:VOLT:MODE LIST;:OUTP 1")
    assert smu.execute(":READ?") == ""
    assert error(smu).startswith("-222")
    smu.execute(":SOUR:SWE:RANG BEST")
    assert numbers(smu.execute(":READ?"))[0] == 0.5
    assert smu.execute(":SOUR:VOLT:RANG?") == "+2.100000E+00\n"


def test_a_sweep_ends_at_compliance_if_it_is_to(smu):
    smu.execute(":SENS:CURR:PROT 1E-5;:SOUR:LIST:VOLT 0.05,0.5,1;:TRIG:COUN 3;:SOUR:VOLT:MODE LIST;:OUTP 1")
    assert len(numbers(smu.execute(":READ?"))) == 15
    smu.execute(":SOUR:SWE:CAB EARL")
    assert len(numbers(smu.execute(":READ?"))) == 10


def test_the_buffer_fills_and_has_statistics(smu):
    smu.execute(":FORM:ELEM CURR;:SENS:CURR:PROT 1E-3;:SOUR:LIST:VOLT 0.1,0.2,0.3;:SOUR:VOLT:MODE LIST;:OUTP 1")
    smu.execute(":TRAC:POIN 3;:TRAC:FEED SENS;:TRAC:FEED:CONT NEXT;:TRIG:COUN 3;:STAT:MEAS:ENAB 512;*SRE 1;:INIT")
    assert smu.execute("*STB?").strip() == "65"
    assert numbers(smu.execute(":TRAC:DATA?")) == pytest.approx([1e-5, 2e-5, 3e-5])
    expected = {"MEAN": 2e-5, "SDEV": 1e-5, "MAX": 3e-5, "MIN": 1e-5, "PKPK": 2e-5}
    for word, value in expected.items():
        assert numbers(smu.execute(f":CALC3:FORM {word};:CALC3:DATA?"))[1] == pytest.approx(value)
    assert smu.execute(":TRAC:FEED:CONT?;:TRAC:POIN:ACT?") == "NEV;3\n"
    smu.execute(":TRAC:CLE")
    assert smu.execute(":CALC3:DATA?") == ""
    assert error(smu).startswith("-230")


@pytest.mark.parametrize(
    ("settings", "passes"),
    [("", 3), (":SYST:AZER 0", 1), (":SENS:FUNC 'VOLT'", 6), (":SENS:AVER 1;:SENS:AVER:COUN 5", 7)],
)
def test_a_reading_takes_its_conversions(settings, passes):
    smu, world = make()
    smu.execute(f":SENS:CURR:NPLC 2;:SENS:CURR:RANG:AUTO 0;:TRIG:DEL 0.5;:SOUR:DEL 0.25;{settings};:OUTP 1")
    reading = 0.5 + 225e-6 + 300e-6 + passes * (2 / 60 + 185e-6)
    for expected in (reading + 0.25, reading):  # the second time the source has not moved
        begin = world.now
        smu.execute(":READ?")
        assert world.now - begin == pytest.approx(expected, rel=1e-6)


def test_a_current_source_forces_a_current_and_goes_on_off_only(smu):
    smu.execute(":SOUR:VOLT 1;:OUTP 1;:SOUR:FUNC CURR;:SOUR:CURR 2E-5;:SENS:VOLT:PROT 5;:FORM:ELEM VOLT,CURR")
    assert smu.execute(":OUTP?") == "0\n"
    smu.execute(":OUTP 1;:SENS:FUNC 'VOLT'")
    assert numbers(smu.execute(":READ?")) == pytest.approx([0.2, 2e-5])
    smu.execute(":SENS:VOLT:PROT 0.1")
    assert smu.execute(":SENS:VOLT:PROT:TRIP?;:SENS:CURR:PROT:TRIP?") == "1;0\n"
    smu.execute(":SENS:CURR:RANG 1E-6")
    assert error(smu).startswith("-221")


def test_overflow_and_noise(smu):
    real, _ = make(ideal=False, seed=3)
    real.execute(":SENS:CURR:RANG 1E-4;:FORM:ELEM CURR;:SOUR:VOLT 0.5;:OUTP 1;:TRIG:COUN 50")
    values = numbers(real.execute(":READ?"))
    assert len(set(values)) > 5
    assert all(value == pytest.approx(5e-5, abs=2e-9) for value in values)
    smu.execute(":SENS:CURR:PROT 1E-3;:SENS:CURR:RANG 1E-3;:SENS:CURR:PROT 1;:SOUR:VOLT 1;:OUTP 1")
    smu.smu.offset = 1.0
    assert numbers(smu.execute(":FORM:ELEM CURR,STAT;:READ?"))[0] == 9.9e37


def test_an_operation_that_is_ended_leaves_level_and_output():
    smu, _ = make()
    smu.execute(":SOUR:LIST:VOLT 0.5,0;:SOUR:VOLT:MODE LIST;:TRIG:COUN 2;:OUTP 1")
    cycle, smu.smu.cycle = smu.smu.cycle, None

    def once(level):
        reading = cycle(level)
        smu.interrupt()
        smu.smu.cycle = cycle
        return reading

    smu.smu.cycle = once
    assert smu.execute(":READ?") == ""
    smu.device_clear()
    assert (smu.execute(":OUTP?"), output(smu).level) == ("1\n", 0.5)
    smu.triggers.ended = True
    with pytest.raises(Ended):
        smu.triggers._go_on()


def test_a_message_that_does_not_end_is_ended_by_abort(smu):
    assert [smu.ends_busy(line) for line in (b":ABOR\n", b"abort", b":READ?", b":OUTP 0")] == [True, True, False, False]


def test_limit_registers_and_power(smu):
    smu.execute(":SENS:CURR:PROT 1E-6;:SOUR:VOLT 1;:OUTP 1")
    assert int(smu.execute(":STAT:MEAS:COND?")) & 1 << 14
    assert smu.execute(":SENS:CURR:PROT:TRIP?") == "1\n"
    smu.power_off()
    assert smu.world.observe(smu.smu.wire).amps == 0


def test_driver_and_emulator_have_the_same_models():
    assert DRIVER_MODELS.keys() == MODELS.keys()
    for name, model in MODELS.items():
        ours = DRIVER_MODELS[name]
        assert (ours.ranges_v, ours.ranges_i, ours.protection, ours.most_i) == (
            model.ranges_v, model.ranges_i, model.protection, model.most_i,
        )  # fmt: skip
        assert make(name)[0].execute("*IDN?").startswith(f"KEITHLEY INSTRUMENTS INC.,MODEL {name},")
    with pytest.raises(BenchError, match="there is no emulated '2430'"):
        make("2430")


def test_every_part_of_its_state_is_left_and_a_reset_takes_it_back(smu):
    fresh = {name: str(value) for name, value in vars(smu.smu.set).items()}
    assert len(smu.leftovers()) > 60
    for number, (name, leave) in enumerate(sorted(smu.leftovers().items())):
        if name not in ("busy", "*IDN?"):
            leave(Random(number))
    smu.execute("*CLS")
    smu.execute("*RST")
    assert {name: str(value) for name, value in vars(smu.smu.set).items()} == fresh
    assert math.isinf(smu.smu.set.protection)
