"""The driver of the Series 2400 against transcripts of the manual's facts, and on the emulated one with faults."""

import math
from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import ValidationError

from instruments.keithley2400 import CHANNEL, Keithley2400, Keithley2400Options
from instruments.keithley2400_models import MODELS, SHORTEST_PULSE
from instruments.keithley2400_settings import AFTER_RESET, NEUTRAL
from instruments.scpi_source import Setting
from instruments.transcript import TranscriptReplay, parse
from instruments.transport import BytesTransport
from labctl.core.errors import BenchError, InstrumentError, LabError, LinkTimeoutError, NotDriven
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
from sim_backend.emulators.link import Fault

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


def ready(make, setup=SETUP):
    driver = make()
    driver.connect()
    driver.prepare({CHANNEL: setup})
    driver.output([CHANNEL])
    return driver


def levels(world):
    """Return a list to which every level that is driven from now on is added, with its time."""
    course, drive = [], world.drive

    def noted(wire, out):
        course.append((world.now, 0.0 if out is None else out.level))
        drive(wire, out)

    world.drive = noted
    return course


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("width", [SHORTEST_PULSE, 0.02, 0.5])
def test_the_instrument_times_a_pulse_to_a_twentieth(model, width):
    smu, make = emulated(model)
    driver = ready(make)
    driver.run([OPEN])
    course = levels(smu.world)
    (sample,) = driver.run([PULSE[0], Hold(width - 150e-6), *PULSE[2:]])
    begin = next(time for time, level in course if level == 0.5)
    end = next(time for time, level in course if time > begin and level == 0.0)
    assert end - begin == pytest.approx(width, rel=0.05)
    assert {level for _, level in course} == {0.0, 0.5}
    assert sample.flag == Flag(0)
    state = smu.smu.set
    assert (state.mode, state.delay, state.zero, state.nplc, smu.triggers.counts["TRIGger"]) == (
        "FIXed",
        0.0,
        True,
        1.0,
        1.0,
    )


def test_a_pulse_on_a_standing_level_goes_back_to_it():
    smu, make = emulated()
    driver = ready(make)
    driver.run([OPEN, Level(CHANNEL, 0.1)])
    course = levels(smu.world)
    driver.run([Level(CHANNEL, -0.4), Hold(0.01), Level(CHANNEL, 0.1), Measure(CHANNEL)])
    assert [level for k, (_, level) in enumerate(course) if k == 0 or course[k - 1][1] != level] == [0.1, -0.4, 0.1]


def test_levels_that_do_not_come_back_are_sent_one_by_one():
    smu, make = emulated()
    driver = ready(make)
    samples = driver.run([OPEN, Level(CHANNEL, 0.2), Hold(0.01), Watch(CHANNEL), Measure(CHANNEL)])
    assert [sample.flag for sample in samples] == [Flag(0), Flag(0)]
    assert samples[1].current == pytest.approx(0.2 / R)
    assert driver.state()[CHANNEL].level == 0.2
    assert smu.triggers.levels == []


def test_compliance_comes_with_the_reading_of_a_pulse_and_of_a_measurement():
    _, make = emulated()
    driver = ready(make)
    low = Limit(CHANNEL, 1e-5, 1e-5)
    samples = driver.run([low, *PULSE, Level(CHANNEL, 0.5), Measure(CHANNEL, voltage=True)])
    assert [sample.flag for sample in samples] == [Flag.COMPLIANCE, Flag.COMPLIANCE]
    assert (samples[1].current, samples[1].voltage) == (pytest.approx(1e-5), pytest.approx(0.1))


def test_a_measure_range_below_the_limit_is_compliance_too():
    _, make = emulated()
    driver = ready(make)
    (sample,) = driver.run([Limit(CHANNEL, 1e-3, 1e-6), Level(CHANNEL, 0.5), Measure(CHANNEL)])
    assert sample.flag & Flag.COMPLIANCE


def test_ranges_and_limits_go_up_and_down_without_an_error():
    smu, make = emulated()
    driver = ready(make, ChannelSetup(0.6, 0.1, 0.1, cold_limit=1e-6))
    for limit, full in ((1e-3, 1e-3), (1e-6, 1e-6), (0.1, 0.1), (2e-5, 1e-3), (1e-3, 1e-5), (3e-9, 1e-6), (0.05, 0.1)):
        driver.run([Limit(CHANNEL, limit, full)])
        assert smu.smu.set.limit_i == pytest.approx(limit)
        assert smu.smu.limit <= limit * (1 + 1e-9)
    assert [event for event in smu.world.ledger.events if event.what == "refused"] == []


def test_while_limits_change_it_is_never_limited_above_both():
    smu, make = emulated()
    driver = ready(make, ChannelSetup(0.6, 0.1, 0.1, cold_limit=1e-6))
    present, seen = 1e-6, []
    apply = smu.smu.apply
    smu.smu.apply = lambda: (apply(), seen.append(smu.smu.limit))
    for limit, full in ((1e-3, 1e-3), (1e-6, 1e-6), (0.1, 0.1), (2e-5, 1e-3), (1e-3, 1e-5)):
        seen.clear()
        driver.run([Limit(CHANNEL, limit, full)])
        assert max(seen) <= max(limit, present) * (1 + 1e-9)
        present = limit


def test_a_hold_passes_by_the_clock_of_the_instrument():
    smu, make = emulated()
    driver = ready(make)
    for steps in ([Hold(0.25), Measure(CHANNEL)], [Hold(0.25), Level(CHANNEL, 0.1)], [Hold(0.1), Hold(0.15)]):
        begin = smu.world.now
        driver.run(steps)
        assert 0.25 < smu.world.now - begin < 0.4
    begin = smu.world.now
    driver.run([Hold(2500.0), Watch(CHANNEL)])
    assert 2500 < smu.world.now - begin < 2501


def test_a_ramp_is_never_steeper_than_asked():
    smu, make = emulated()
    driver = ready(make)
    driver.run([OPEN])
    course = levels(smu.world)
    driver.run([Ramp(CHANNEL, 0.05, 5.0)])
    steps = [(t1 - t0, v1 - v0) for (t0, v0), (t1, v1) in pairwise(course) if v1 != v0]
    assert len(steps) >= 9
    assert all(volts / seconds <= 5.0 * (1 + 1e-6) for seconds, volts in steps)


def test_an_output_that_is_on_is_not_set_up():
    smu, make = emulated()
    smu.execute(":SOUR:VOLT 0.3;:OUTP 1")
    driver = make()
    driver.connect()
    assert driver.state()[CHANNEL].forced == "0.3 V"
    with pytest.raises(InstrumentError, match="on; channels are set up while they are off"):
        driver.prepare({CHANNEL: SETUP})
    assert smu.smu.set.level_v == 0.3


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


def test_the_limit_of_the_off_state_is_that_of_the_setup():
    smu, make = emulated()
    for state in (OffState.ZERO, OffState.NORMAL):
        driver = ready(make, ChannelSetup(0.6, 0.1, 0.1, off_state=state, cold_limit=1e-5, off_limit=1e-6))
        driver.run([Limit(CHANNEL, 0.1, 0.1), Level(CHANNEL, 0.1)])
        driver.off()
        assert smu.smu._drive().limit <= 1e-6 * (1 + 1e-9)
    driver.close()
    assert smu.smu._drive() is None


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


def test_another_level_than_was_set_gives_no_reading():
    smu, make = emulated()
    driver = ready(make)
    driver.run([OPEN, Level(CHANNEL, 0.1)])
    smu.smu.level_v(0.2)
    with pytest.raises(NotDriven, match=r"is at 0\.2 V, and 0\.1 V was set"):
        driver.run([Measure(CHANNEL)])


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


def test_rear_terminals():
    _, make = emulated(terminals="rear")
    driver = ready(make)
    (sample,) = driver.run([OPEN, Level(CHANNEL, 0.1), Measure(CHANNEL)])
    assert sample.current == pytest.approx(0.1 / R)


def test_mains_of_50_hz_and_no_others():
    smu, make = emulated()
    smu.smu.frequency = 50.0
    driver = ready(make)
    assert driver.capabilities.apertures == (pytest.approx(0.01 / 50), pytest.approx(10 / 50))
    driver.run([Aperture(CHANNEL, 0.02)])
    assert smu.smu.set.nplc == pytest.approx(1.0)
    smu.smu.frequency = 0.0
    with pytest.raises(InstrumentError, match="a mains frequency of '0'"):
        make().connect()


def test_another_model_is_refused():
    smu, _ = emulated("2410")
    with pytest.raises(BenchError, match="the bench file says 2400"):
        made(BytesTransport(smu.session(), NAME)).connect()


SESSION = [OPEN, Aperture(CHANNEL, 1e-2), Level(CHANNEL, 0.1), Measure(CHANNEL), Ramp(CHANNEL, 0.0, 1000.0), *PULSE]


def session(driver):
    driver.connect()
    driver.prepare({CHANNEL: SETUP})
    driver.output([CHANNEL])
    samples = driver.run(SESSION)
    driver.off()
    return samples


class Once:
    """A fault of one message."""

    def __init__(self, number, fault):
        self.number, self.fault, self.count = number, fault, 0

    def __call__(self, line):
        self.count += 1
        return self.fault if self.count == self.number else Fault.NONE


def messages():
    smu, make = emulated()
    counting = smu.fault = Once(0, Fault.NONE)
    session(make())
    return counting.count


@pytest.mark.parametrize("fault", [Fault.DEAF, Fault.MUTE, Fault.LATE, Fault.DROP, Fault.BUSY])
@pytest.mark.parametrize("stride", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_a_fault_at_any_message_is_an_error_or_the_same_reading_and_ends_off(fault, stride):
    """Every message of a session in turn, or its reply, is lost: no level that was not asked for, and off after it."""
    unnoticed, numbers = 0, range(1, messages() + 1, stride)
    for number in numbers:
        smu, make = emulated()
        smu.fault = Once(number, fault)
        course = levels(smu.world)
        try:
            reading, watched = session(make())
        except LabError:
            make().emergency_off()
        else:
            unnoticed += 1
            assert reading.current == pytest.approx(0.1 / R), number
            assert (reading.flag, watched.flag) == (Flag(0), Flag(0)), number
        assert (smu.smu.output, smu.smu.set.level_v) == (False, 0.0), number
        assert {level for _, level in course} <= {0.0, 0.1, 0.5}, number
    assert unnoticed < len(numbers) / 2


def test_a_message_that_does_not_end_is_ended_by_the_emergency():
    smu, make = emulated()
    driver = ready(make)
    driver.run([OPEN, Level(CHANNEL, 0.1)])
    smu.busy = True
    with pytest.raises(LinkTimeoutError):
        driver.run([Measure(CHANNEL)])
    make().emergency_off()
    assert (smu.smu.output, smu.smu.set.level_v) == (False, 0.0)
