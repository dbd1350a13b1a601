"""The driver of 2450, 2460 and 2461 in TSP against transcripts of the manual's facts, and on the emulated one."""

import math
from pathlib import Path

import pytest
from pydantic import ValidationError

from instruments.keithley2450_tsp import CHANNEL, NEUTRAL, Keithley2450Tsp, Keithley2450TspOptions
from instruments.transcript import TranscriptReplay, parse
from instruments.transport import BytesTransport
from labctl.core.errors import BenchError, InstrumentError, LinkTimeoutError, NotDriven
from labctl.core.operations import Flag
from labctl.core.source import Aperture, ChannelSetup, Hold, Level, Limit, Measure, OffState, Ramp, SourceMeasure, Watch
from labctl.testing.emulated import NAME, resistors
from sim_backend.emulators.k2450_tsp import K2450Tsp
from sim_backend.emulators.link import Fault

FILES = Path(__file__).parents[2] / "golden" / "transcripts"
SETUP = ChannelSetup(0.6, 1e-3, 1e-3, cold_limit=1e-6, off_state=OffState.HIGH_Z)
OPEN = Limit(CHANNEL, 1e-3, 1e-3)
ORDER = ("connect", "prepare", "output", "read", "pulse", "off", "close")
R = 10e3
READ = [OPEN, Aperture(CHANNEL, 1e-2), Ramp(CHANNEL, 0.1, 100.0), Hold(1e-3), Measure(CHANNEL)]
READ += [Measure(CHANNEL, voltage=True), Ramp(CHANNEL, 0.0, 100.0)]
PULSE = [Level(CHANNEL, 0.5), Hold(5e-3), Watch(CHANNEL), Level(CHANNEL, 0.0)]


def pairs(*names):
    return [pair for name in names for pair in parse((FILES / f"2450-tsp-{name}.txt").read_text(encoding="ascii"))]


def made(wire, **options):
    return Keithley2450Tsp("smu", Keithley2450TspOptions(**options), wire)


def session(driver):
    """Go through a whole session; return its samples, and yield the name of each part before it."""
    yield "connect"
    assert isinstance(driver, SourceMeasure)
    driver.connect()
    yield "prepare"
    driver.prepare({CHANNEL: SETUP})
    yield "output"
    driver.output([CHANNEL])
    yield "read"
    first, second = driver.run(READ)
    yield "pulse"
    (watched,) = driver.run(PULSE)
    assert first.current == pytest.approx(1e-5, rel=1e-6)
    assert (second.current, second.voltage) == (pytest.approx(1e-5, rel=1e-6), pytest.approx(0.1))
    assert math.isnan(first.voltage)
    assert {first.flag, second.flag, watched.flag} == {Flag(0)}
    yield "off"
    driver.off()
    yield "close"
    driver.close()


def test_a_whole_session_sends_what_the_manual_says():
    with TranscriptReplay(pairs(*ORDER)) as wire:
        assert tuple(session(made(wire))) == ORDER


@pytest.fixture
def smu():
    return K2450Tsp(NAME, "2450", resistors((CHANNEL,), R))


def ready(smu, setup=SETUP):
    driver = made(BytesTransport(smu.session(), NAME))
    driver.connect()
    driver.prepare({CHANNEL: setup})
    driver.output([CHANNEL])
    return driver


@pytest.mark.parametrize("setting", NEUTRAL, ids=lambda setting: setting.attribute)
def test_a_setting_that_is_not_taken_keeps_the_output_off(smu, setting, monkeypatch):
    driver = made(BytesTransport(smu.session(), NAME))
    driver.connect()
    monkeypatch.setattr(
        type(setting), "taken", property(lambda s: "false" if s.attribute == setting.attribute else "true")
    )
    with pytest.raises(InstrumentError, match=f"{setting.attribute} is .* was set; the output stays off"):
        driver.prepare({CHANNEL: SETUP})
    assert not smu.smu.output


@pytest.mark.parametrize("options", [{"model": "2400"}, {"terminals": "side"}, {"output_enable": True}])
def test_options_are_checked(options):
    with pytest.raises(ValidationError, match=next(iter(options))):
        Keithley2450TspOptions(**options)


@pytest.mark.parametrize("language", ["SCPI", "SCPI2400"])
def test_another_command_set_is_refused_and_not_changed_and_off_is_off(smu, language):
    smu.execute("smu.source.level=0.3 smu.source.output=smu.ON")
    smu.language = language
    driver = made(BytesTransport(smu.session(), NAME))
    with pytest.raises(BenchError, match=rf"its command set is {language}, expected TSP: .* nothing was changed"):
        driver.connect()
    assert (smu.language, smu.smu.output, smu.smu.set.level_v) == (language, True, 0.3)
    driver.emergency_off()
    assert (smu.language, smu.smu.output, smu.smu.set.level_v) == (language, False, 0.0)


def test_a_script_is_one_message_and_the_instrument_times_a_pulse(smu):
    driver = ready(smu)
    driver.run([OPEN])
    edges, level_v = [], smu.smu.level_v
    smu.smu.level_v = lambda volts: (edges.append((smu.world.now, volts)), level_v(volts))[1]
    before = smu.world.now
    driver.run(PULSE)
    (up, high), (down, low) = edges
    assert (high, low) == (0.5, 0.0)
    assert down - up == pytest.approx(5e-3, rel=0.05)
    assert smu.world.now - before < 12e-3


@pytest.mark.parametrize("broken", ["error('mine')", "mtj_wait(1e6)", "smu.source.level=99", "x.y=1"])
def test_a_script_that_fails_ends_at_zero(smu, broken, monkeypatch):
    driver = ready(smu)
    driver.run([OPEN])
    compiled = driver._compiled
    monkeypatch.setattr(driver, "_compiled", lambda steps: ([*compiled(steps)[0], broken], compiled(steps)[1]))
    with pytest.raises(InstrumentError):
        driver.run([Level(CHANNEL, 0.4), Watch(CHANNEL)])
    if broken != "smu.source.level=99":  # that one is an event, and the script goes on
        assert smu.smu.set.level_v == 0.0
    driver.off()
    assert not smu.smu.output


def test_an_output_that_trips_gives_no_reading(smu):
    driver = ready(smu)
    driver.run([OPEN])
    smu.trip()
    with pytest.raises(InstrumentError):
        driver.run([Measure(CHANNEL)])
    smu.execute("eventlog.clear()")
    with pytest.raises(NotDriven, match="output is off"):
        driver.run([Level(CHANNEL, 0.1), Level(CHANNEL, 0.0)])


def test_a_line_that_is_lost_is_known(smu, monkeypatch):
    driver = ready(smu)
    compiled = driver._compiled
    monkeypatch.setattr(driver, "_compiled", lambda steps: (compiled(steps)[0], compiled(steps)[1]))
    execute = smu.execute
    smu.execute = lambda message: execute(message.replace("mtj_wait(2.000000000e-03)", ""))
    with pytest.raises(NotDriven, match="a script of 1 steps has carried out 0"):
        driver.run([Hold(2e-3), Watch(CHANNEL)])


@pytest.mark.parametrize("fault", [Fault.MUTE, Fault.DROP, Fault.DEAF])
def test_a_link_that_fails_in_a_script_is_an_error_and_off_is_off(smu, fault):
    driver = ready(smu)
    driver.run([OPEN])
    smu.fault = lambda line: fault if b"mtj_r or {}" in line else Fault.NONE
    with pytest.raises(InstrumentError):
        driver.run(PULSE)
    smu.fault = lambda line: Fault.NONE
    driver.emergency_off()
    assert not smu.smu.output
    assert smu.smu.set.level_v == 0.0


def test_off_over_a_link_that_does_not_answer_waits_once_and_is_left_to_who_makes_safe(smu):
    driver, asked = ready(smu), []

    def fault(line):
        asked.append(line)
        return Fault.MUTE

    smu.fault = fault
    with pytest.raises(LinkTimeoutError):
        driver.off()
    assert not any(b"smu.source.output=smu.OFF" in line for line in asked), "no command waits for another timeout"
    smu.fault = lambda line: Fault.NONE
    assert driver.emergency_off() == {}
    assert not smu.smu.output


def test_what_an_earlier_user_left_is_told_by_check(smu):
    smu.execute("smu.measure.filter.enable=smu.ON foo()")
    driver = made(BytesTransport(smu.session(), NAME))
    driver.connect()
    state, faults = driver.diagnosis()
    text = "; ".join(state)
    assert all(words in text for words in ("smu.measure.filter.enable is smu.ON", "-286", "interlock"))
    assert faults == []


def test_strange_mains_and_other_models_are_refused(smu):
    with pytest.raises(BenchError, match="the bench file says 2461"):
        made(BytesTransport(smu.session(), NAME), model="2461").connect()


def test_enumerated_values_are_printed_as_words_and_a_wrong_one_is_an_event(smu):
    assert smu.execute("print(smu.source.output,smu.measure.func)") == "smu.OFF\tsmu.FUNC_DC_CURRENT\n"
    smu.execute("smu.source.func=smu.FUNC_DC_CURRENT print(1)")
    assert smu.execute("print(smu.source.ilimit.tripped,smu.source.vlimit.tripped)") == "nil\tsmu.OFF\n"
    smu.execute("smu.source.offmode='open'")
    assert smu.execute("print(eventlog.next(eventlog.SEV_ERROR))").startswith("1.13000e+03\tParameter error")
    assert smu.execute("print((eventlog.next()))") == "0.00000e+00\n"
