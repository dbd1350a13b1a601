"""The driver of 2450, 2460 and 2461 against transcripts of the manual's facts, and its own ways on the emulated one."""

import math
from pathlib import Path

import pytest
from pydantic import ValidationError

from instruments.keithley2450 import CHANNEL, NEUTRAL, Keithley2450, Keithley2450Options
from instruments.transcript import TranscriptReplay, parse
from instruments.transport import BytesTransport
from labctl.core.errors import BenchError, InstrumentError
from labctl.core.operations import Flag
from labctl.core.source import Aperture, ChannelSetup, Hold, Level, Limit, Measure, OffState, Ramp, SourceMeasure, Watch
from labctl.testing.emulated import NAME, resistors
from sim_backend.emulators.k2450 import K2450, LANGUAGES

FILES = Path(__file__).parents[2] / "golden" / "transcripts"
SETUP = ChannelSetup(0.6, 1e-3, 1e-3, cold_limit=1e-6, off_state=OffState.HIGH_Z)
OPEN = Limit(CHANNEL, 1e-3, 1e-3)
ORDER = ("connect", "prepare", "output", "read", "pulse", "off", "close")
R = 10e3


def pairs(*names):
    return [pair for name in names for pair in parse((FILES / f"2450-{name}.txt").read_text(encoding="ascii"))]


def made(wire, **options):
    return Keithley2450("smu", Keithley2450Options(**options), wire)


def test_a_whole_session_sends_what_the_manual_says():
    with TranscriptReplay(pairs(*ORDER)) as wire:
        smu = made(wire)
        assert isinstance(smu, SourceMeasure)
        smu.connect()
        smu.prepare({CHANNEL: SETUP})
        smu.output([CHANNEL])
        steps = [OPEN, Aperture(CHANNEL, 1e-2), Ramp(CHANNEL, 0.1, 1000.0), Hold(1e-3), Measure(CHANNEL)]
        first, second = smu.run([*steps, Measure(CHANNEL, voltage=True), Ramp(CHANNEL, 0.0, 1000.0)])
        (watched,) = smu.run([Level(CHANNEL, 0.5), Hold(0.02 - 150e-6), Watch(CHANNEL), Level(CHANNEL, 0.0)])
        smu.off()
        smu.close()
    assert (first.current, second.current, second.voltage) == (1e-5, 1e-5, 0.1)
    assert math.isnan(first.voltage)
    assert {first.flag, second.flag, watched.flag} == {Flag(0)}


@pytest.mark.parametrize("name", ["emergency", "emergency-tsp"])
def test_the_emergency_asks_nothing_first_and_speaks_both_command_sets(name):
    talk = pairs(name)
    first = talk[0][1].splitlines()
    assert not any("?" in line for line in first[:-1])
    assert {":OUTP 0", "smu.source.output=smu.OFF"} < set(first)
    with TranscriptReplay(talk) as wire:
        assert made(wire).emergency_off() == {}


@pytest.mark.parametrize(
    ("name", "reply"),
    [
        ("emergency", "1;+0.000000E+00;+0.000000E+00"), ("emergency", "0;+1.0E-01;+0.000000E+00"),
        ("emergency", "0;x;0"), ("emergency-tsp", "smu.ON\t0.00000e+00"), ("emergency-tsp", "smu.OFF\t1.0e-01"),
        ("emergency-tsp", "nil"),
    ],
)  # fmt: skip
def test_an_emergency_that_is_not_verified_needs_a_person(name, reply):
    talk = pairs(name)[:3]
    with (
        TranscriptReplay([*talk, ("<", reply)]) as wire,
        pytest.raises(InstrumentError, match=r"NOT verified|expected"),
    ):
        made(wire).emergency_off()


@pytest.mark.parametrize("setting", NEUTRAL, ids=lambda setting: setting.header)
def test_a_setting_that_is_not_taken_keeps_the_output_off(setting):
    smu = K2450(NAME, "2450", resistors((CHANNEL,), R))
    driver = made(BytesTransport(smu.session(), NAME))
    driver.connect()
    (command,) = [c for c in smu.tree.commands if c.query and smu.tree.command(words(setting), smu.tree.root)[0] is c]
    object.__setattr__(command, "run", lambda *values: None)
    before = command.query()
    object.__setattr__(command, "query", lambda *asked: "7" if isinstance(setting.value, float | int) else "XYZ")
    assert setting.answered(before) or setting.header in (":SOUR:VOLT:READ:BACK", ":SOUR:VOLT:DEL")
    with pytest.raises(InstrumentError, match=f"{setting.header} is (7|XYZ) after .* was set; the output stays off"):
        driver.prepare({CHANNEL: SETUP})
    assert not smu.smu.output


def words(setting):
    return tuple(setting.header.lstrip(":").split(":"))


@pytest.mark.parametrize("options", [{"model": "2400"}, {"terminals": "side"}, {"output_enable": True}])
def test_options_are_checked(options):
    with pytest.raises(ValidationError, match=next(iter(options))):
        Keithley2450Options(**options)


# -- on the emulated one


@pytest.fixture
def smu():
    return K2450(NAME, "2450", resistors((CHANNEL,), R))


def ready(smu, setup=SETUP):
    driver = made(BytesTransport(smu.session(), NAME))
    driver.connect()
    driver.prepare({CHANNEL: setup})
    driver.output([CHANNEL])
    return driver


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_another_command_set_is_refused_and_not_changed_and_off_is_off(smu, language):
    smu.execute(":SOUR:VOLT 0.3;:OUTP 1")
    smu.language = language
    driver = made(BytesTransport(smu.session(), NAME))
    words = rf"its command set is {language}, expected SCPI: set it under MENU, .* restart it; nothing was changed, .*"
    with pytest.raises(BenchError, match=words):
        driver.connect()
    assert (smu.language, smu.smu.output, smu.smu.set.level_v) == (language, True, 0.3)
    driver.emergency_off()
    assert (smu.language, smu.smu.output, smu.smu.set.level_v) == (language, False, 0.0)


def test_the_voltage_protection_is_the_lowest_that_the_range_needs(smu):
    ready(smu)
    assert smu.smu.set.protection == 2.0
    smu.execute(":OUTP 0")
    ready(smu, ChannelSetup(15.0, 1e-3, 1e-3))
    assert smu.smu.set.protection == 20.0


def test_a_pulse_is_one_message_so_that_one_that_has_arrived_ends(smu):
    driver = ready(smu)
    driver.run([OPEN])
    sent, execute = [], smu.execute

    def recorded(message):
        sent.append((message, smu.smu.set.level_v))
        reply = execute(message)
        sent[-1] += (smu.smu.set.level_v,)
        return reply

    smu.execute = recorded
    driver.run([Level(CHANNEL, 0.5), Hold(0.02), Level(CHANNEL, 0.0)])
    assert any("0.5" in message for message, *_ in sent)
    assert {level for _, *both in sent for level in both} == {0.0}


def test_a_reply_of_another_level_is_no_pulse(smu, monkeypatch):
    driver = ready(smu)
    driver.run([OPEN])
    level_v = smu.smu.level_v
    smu.tree.command(("SOUR", "VOLT"), smu.tree.root)[0].__dict__["run"] = lambda volts: level_v(volts * 0.9)
    with pytest.raises(InstrumentError, match=r"is at 0\.45 V, and 0\.5 V was set"):
        driver.run([Level(CHANNEL, 0.5), Hold(0.02), Level(CHANNEL, 0.0)])
    assert smu.smu.set.level_v == 0.0


def test_what_an_earlier_user_left_is_told_by_check(smu):
    smu.execute(":SENS:CURR:UNIT OHM;:ROUT:TERM REAR;:FOO")
    driver = made(BytesTransport(smu.session(), NAME))
    driver.connect()
    state, faults = driver.diagnosis()
    text = "; ".join(state)
    assert all(
        words in text for words in (":SENS:CURR:UNIT OHM", ":ROUT:TERM REAR", "-113 Undefined header", "interlock")
    )
    assert faults == []


def test_strange_mains_and_other_models_are_refused(smu):
    with pytest.raises(BenchError, match="the bench file says 2461"):
        made(BytesTransport(smu.session(), NAME), model="2461").connect()
    talk = [
        (">", "*LANG?"),
        ("<", "SCPI"),
        (">", "*IDN?"),
        ("<", "KEITHLEY,MODEL 2450,1,1"),
        (">", ":SYST:LFR?"),
        ("<", "0"),
    ]
    with (
        TranscriptReplay(talk) as wire,
        pytest.raises(InstrumentError, match="'0'; expected a mains frequency of 50 or 60"),
    ):
        made(wire).connect()


@pytest.mark.parametrize("reply", ["+1.0E-01,+1.0E-05;0", "a,b,c;0", "+1.0E-01,+1.0E-05,+9.91E+37;0"])
def test_a_reply_that_is_no_reading_is_an_error(smu, reply):
    driver = ready(smu)
    execute = smu.execute
    smu.execute = lambda message: f"{reply}\n" if ":READ?" in message else execute(message)
    with pytest.raises(InstrumentError):
        driver.run([Measure(CHANNEL)])
