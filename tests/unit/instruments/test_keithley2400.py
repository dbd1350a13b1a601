"""The driver of the Series 2400 against transcripts of the manual's facts, and on the emulated one with faults."""

import math
from pathlib import Path

import pytest
from pydantic import ValidationError

from instruments.keithley2400 import CHANNEL, Keithley2400, Keithley2400Options
from instruments.keithley2400_settings import AFTER_RESET, NEUTRAL
from instruments.scpi_source import Setting
from instruments.transcript import TranscriptReplay, parse
from instruments.transport import BytesTransport
from labctl.core.errors import BenchError, InstrumentError, NotDriven
from labctl.core.operations import Flag
from labctl.core.source import (
    Aperture,
    ChannelSetup,
    EmergencyOff,
    Hold,
    Level,
    Limit,
    Measure,
    OffState,
    Ramp,
    SourceMeasure,
    Watch,
)
from labctl.testing.emulated import NAME, resistors
from sim_backend.emulators.k2400 import K2400

FILES = Path(__file__).parents[2] / "golden" / "transcripts"
SETUP = ChannelSetup(0.6, 1e-3, 1e-3, cold_limit=1e-6, off_state=OffState.HIGH_Z)
OPEN = Limit(CHANNEL, 1e-3, 1e-3)
PULSE = [Level(CHANNEL, 0.5), Hold(0.01), Watch(CHANNEL), Level(CHANNEL, 0.0)]
ORDER = ("connect", "prepare", "output", "read", "pulse", "off", "close")
R = 10e3


def pairs(*names):
    return [pair for name in names for pair in parse((FILES / f"2400-{name}.txt").read_text(encoding="ascii"))]


def made(wire, **options):
    return Keithley2400("smu", Keithley2400Options(**options), wire)


def until(wire, last):
    """Return a driver after the transcripts up to `last`, and what it read by them."""
    smu, samples = made(wire), []
    for name in ORDER[: ORDER.index(last) + 1]:
        match name:
            case "connect":
                smu.connect()
            case "prepare":
                smu.prepare({CHANNEL: SETUP})
            case "output":
                smu.output([CHANNEL])
            case "read":
                steps = [OPEN, Aperture(CHANNEL, 1e-2), Ramp(CHANNEL, 0.1, 1000.0), Hold(1e-3), Measure(CHANNEL)]
                samples += smu.run([*steps, Measure(CHANNEL, voltage=True), Ramp(CHANNEL, 0.0, 1000.0)])
            case "pulse":
                samples += smu.run([PULSE[0], Hold(0.01 - 150e-6), *PULSE[2:]])
            case "off":
                smu.off()
            case "close":
                smu.close()
    return smu, samples


def test_a_whole_session_sends_what_the_manual_says():
    with TranscriptReplay(pairs(*ORDER)) as wire:
        smu, (first, second, watched) = until(wire, "close")
    assert isinstance(smu, SourceMeasure)
    assert (first.current, second.current, second.voltage) == (1e-5, 1e-5, 0.1)
    assert math.isnan(first.voltage)
    assert math.isnan(watched.current)
    assert {first.flag, second.flag, watched.flag} == {Flag(0)}


def test_the_emergency_asks_nothing_first():
    talk = pairs("emergency")
    assert not any("?" in line for line in talk[0][1].splitlines()[:-1])
    with TranscriptReplay(talk) as wire:
        smu = made(wire)
        assert isinstance(smu, EmergencyOff)
        assert smu.emergency_off() == {}


@pytest.mark.parametrize("reply", ["1;+0.000000E+00;+0.000000E+00", "0;+1.000000E-01;+0.000000E+00", "0;0;+1.0E-06"])
def test_an_emergency_that_is_not_verified_needs_a_person(reply):
    talk = pairs("emergency")
    with (
        TranscriptReplay([talk[0], ("<", reply), *talk[2:]]) as wire,
        pytest.raises(InstrumentError, match="NOT verified"),
    ):
        made(wire).emergency_off()


@pytest.mark.parametrize("setting", NEUTRAL, ids=lambda setting: setting.header)
def test_a_setting_that_is_not_taken_keeps_the_output_off(setting):
    talk = pairs("connect", "prepare")
    at = max(k for k, (mark, text) in enumerate(talk) if mark == ">" and setting.query in text.split(";"))
    values = talk[at + 1][1].split(";")
    values[talk[at][1].split(";").index(setting.query)] = "7" if isinstance(setting.value, float | int) else "XYZ"
    rest = next(k for k in range(at, len(talk)) if talk[k][1].startswith(":SOUR:VOLT 0"))
    with (
        TranscriptReplay([*talk[: at + 1], ("<", ";".join(values)), *talk[at + 2 : rest]]) as wire,
        pytest.raises(InstrumentError, match=f"{setting.header} is (7|XYZ) after .* was set; the output stays off"),
    ):
        until(wire, "prepare")


@pytest.mark.parametrize(
    ("reply", "good"),
    [("+2.100000E+00", True), ("2", True), ("+2.000000E+01", False), ("x", False), ("+2.0999E+00", True)],
)
def test_a_range_is_answered_as_itself_or_as_its_full_scale(reply, good):
    assert Setting(":SOUR:VOLT:RANG", "2", 2.0, 1.05).answered(reply) is good


def test_the_settings_after_a_reset_are_those_of_the_table():
    assert {setting.header for setting in AFTER_RESET} >= {":SYST:RSEN", ":ROUT:TERM", ":SYST:AZER", ":SENS:AVER"}


@pytest.mark.parametrize(
    ("options", "words"),
    [({"model": "2430"}, "model"), ({"terminals": "side"}, "terminals"), ({"channels": 2}, "channels")],
)
def test_options_are_checked(options, words):
    with pytest.raises(ValidationError, match=words):
        Keithley2400Options(**options)


# -- on the emulated one


def emulated(model="2400", **options):
    smu = K2400(NAME, model, resistors((CHANNEL,), R), wired="REAR" if options.get("terminals") == "rear" else "FRONt")
    return smu, lambda: made(BytesTransport(smu.session(), NAME), model=model, **options)


def levels(world):
    """Return a list to which every level that is driven from now on is added, with its time."""
    course, drive = [], world.drive

    def recorded(wire, out):
        course.append((world.now, 0.0 if out is None else out.level))
        drive(wire, out)

    world.drive = recorded
    return course


def ready(make, setup=SETUP):
    driver = make()
    driver.connect()
    driver.prepare({CHANNEL: setup})
    driver.output([CHANNEL])
    return driver


def test_levels_that_do_not_come_back_are_sent_one_by_one():
    smu, make = emulated()
    driver = ready(make)
    samples = driver.run([OPEN, Level(CHANNEL, 0.2), Hold(0.01), Watch(CHANNEL), Measure(CHANNEL)])
    assert [sample.flag for sample in samples] == [Flag(0), Flag(0)]
    assert samples[1].current == pytest.approx(0.2 / R)
    assert driver.state()[CHANNEL].level == 0.2
    assert smu.triggers.levels == []


def test_a_source_of_current_is_told_and_so_is_a_list():
    smu, make = emulated()
    smu.execute(":SOUR:FUNC CURR;:SOUR:CURR 1E-6;:OUTP 1")
    assert make().state()[CHANNEL].forced == "1e-06 A, forcing a current"
    smu.execute(":OUTP 0;*RST;:SOUR:LIST:VOLT 1;:SOUR:VOLT:MODE LIST;:OUTP 1")
    assert math.isnan(make().state()[CHANNEL].level)


@pytest.mark.parametrize("how", ["off", "emergency_off"])
@pytest.mark.parametrize(
    "left",
    [
        ":SOUR:VOLT 5;:OUTP 1",
        ":SOUR:FUNC CURR;:SOUR:CURR 1E-3;:OUTP 1",
        ":SOUR:VOLT 5;:SOUR:LIST:VOLT 0.1,0.2;:TRIG:COUN 2;:SOUR:VOLT:MODE LIST;:OUTP 1;:INIT",
        ":SOUR:VOLT 5;:SOUR:CLE:AUTO 1",
        ":OUTP:SMOD GUAR;:SOUR:VOLT 1;:OUTP 1",
    ],
)
def test_off_is_off_however_it_was_left_and_no_higher_level_on_the_way(how, left):
    smu, make = emulated()
    smu.execute(left)
    course = levels(smu.world)
    driver = make()
    getattr(driver, how)()
    assert driver.state()[CHANNEL].output is False
    s = smu.smu.set
    assert (smu.smu.output, s.level_v, s.level_i, s.mode, s.clear_auto) == (False, 0.0, 0.0, "FIXed", False)
    assert max((level for _, level in course), default=0.0) <= 0.0


def test_an_output_that_trips_gives_no_reading():
    smu, make = emulated(output_enable=True)
    for steps in ([Measure(CHANNEL)], [Watch(CHANNEL)], PULSE, [Level(CHANNEL, 0.1)]):
        smu.smu.enable(True)
        driver = ready(make)
        smu.smu.enable(False)
        with pytest.raises(NotDriven, match="its output is off"):
            driver.run([OPEN, *steps])
        driver.off()
    smu.smu.enable(False)
    state, faults = driver.diagnosis()
    assert "output enable NOT asserted, switches the output off" in state[0]
    assert "the output enable line is open" in faults[0]


def test_a_list_that_is_not_taken_is_not_begun(monkeypatch):
    smu, make = emulated()
    driver = ready(make)
    driver.run([OPEN])
    ask = driver._scpi.ask

    def another(queries, **more):
        return [reply.replace("+5.000000E-01,", "+6.000000E-01,") for reply in ask(queries, **more)]

    monkeypatch.setattr(driver._scpi, "ask", another)
    course = levels(smu.world)
    with pytest.raises(InstrumentError, match="it was not begun"):
        driver.run(PULSE)
    assert {level for _, level in course} <= {0.0}


def test_what_an_earlier_user_left_is_told_by_check():
    smu, make = emulated()
    smu.execute(":SENS:AVER 1;:SYST:RSEN 1;:ROUT:TERM REAR;:FOO")
    driver = make()
    driver.connect()
    state, faults = driver.diagnosis()
    text = "; ".join(state)
    assert all(words in text for words in (":SENS:AVER 1", ":SYST:RSEN 1", ":ROUT:TERM REAR", "-113 Undefined header"))
    assert faults == []


def test_mains_of_50_hz_and_no_others():
    smu, make = emulated()
    smu.smu.frequency = 50.0
    driver = ready(make)
    assert driver.capabilities.apertures == (pytest.approx(0.01 / 50), pytest.approx(10 / 50))
    driver.run([Aperture(CHANNEL, 0.02)])
    assert smu.smu.set.nplc == pytest.approx(1.0)
    smu.smu.frequency = 0.0
    with pytest.raises(InstrumentError, match="'0'; expected a mains frequency of 50 or 60"):
        make().connect()


def test_another_model_is_refused():
    smu, _ = emulated("2410")
    with pytest.raises(BenchError, match="the bench file says 2400"):
        made(BytesTransport(smu.session(), NAME)).connect()


@pytest.mark.parametrize("reply", ["+1.0E-01,+1.0E-05,+9.91E+37;1;0", "a,b,c;1;0", "+1.0E-01,+1.0E-05;1;0", "1;0"])
def test_a_reply_that_is_no_reading_is_an_error(reply):
    smu, make = emulated()
    driver = ready(make)
    execute = smu.execute
    smu.execute = lambda message: f"{reply}\n" if ":READ?" in message else execute(message)
    with pytest.raises(InstrumentError, match="READ"):
        driver.run([Measure(CHANNEL)])


def test_a_pulse_with_one_reading_is_no_pulse():
    smu, make = emulated()
    driver = ready(make)
    driver.run([OPEN])
    execute = smu.execute
    smu.execute = lambda message: "1,2,0;1\n" if ":READ?" in message else execute(message)
    with pytest.raises(InstrumentError, match="expected the two readings of a pulse"):
        driver.run(PULSE)
    assert smu.smu.set.level_v == 0.0


def test_a_measure_range_that_is_not_taken_is_an_error():
    smu, make = emulated()
    driver = ready(make)
    execute = smu.execute
    smu.execute = lambda message: "1.05E-3;1\n" if ":SENS:CURR:RANG:AUTO?" in message else execute(message)
    with pytest.raises(InstrumentError, match=r"a measure range of 1\.05E-3 for 0\.001 A"):
        driver.run([OPEN])


def test_a_pulse_at_another_level_is_no_pulse():
    """The list is another one by the time that it is begun: its first reading says so."""
    smu, make = emulated()
    driver = ready(make)
    driver.run([OPEN])
    execute = smu.execute

    def another(message):
        if ":READ?" in message:
            smu.triggers.levels[0] = 0.4
        return execute(message)

    smu.execute = another
    with pytest.raises(NotDriven, match=r"is at 0\.4 V, and 0\.5 V was set"):
        driver.run(PULSE)
    assert smu.smu.set.level_v == 0.0
