"""The driver of the 81160A against transcripts of public facts, and on the emulated one with what goes wrong."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from instruments.keysight81160a import Keysight81160A, Keysight81160AOptions, _levels, _neutral
from instruments.transcript import TranscriptReplay, parse
from instruments.transport import BytesTransport
from labctl.core.errors import BenchError, InstrumentError, LinkTimeoutError, NotDriven
from labctl.core.pulse_source import PulseSetup, PulseSource
from labctl.core.source import EmergencyOff
from labctl.testing.emulated import NAME, seen_pulses
from sim_backend.emulators.k81160 import K81160

FILES = Path(__file__).parents[2] / "golden" / "transcripts"
ORDER = ("connect", "prepare", "pulse", "pulse-ap", "off", "close")
SETUP = {"out1": PulseSetup(0.7, 1e-6)}
BEHIND = ":OUTP1?;:OUTP1:POL?"
"""How the question begins that is asked behind a trigger."""


def pairs(*names):
    return [pair for name in names for pair in parse((FILES / f"81160a-{name}.txt").read_text(encoding="ascii"))]


def made(wire, **options):
    return Keysight81160A("pulser", Keysight81160AOptions(**options), wire)


def until(wire, last):
    """Return a driver after the transcripts up to `last`."""
    source = made(wire)
    acts = {
        "connect": source.connect,
        "prepare": lambda: source.prepare(SETUP),
        "pulse": lambda: source.fire("out1", 0.45, 50e-9),
        "pulse-ap": lambda: source.fire("out1", -0.5, 20e-9),
        "off": source.off,
        "close": source.close,
    }
    for name in ORDER[: ORDER.index(last) + 1]:
        acts[name]()
    return source


def emulated(outputs=2):
    """Return an emulated 81160A, a function that makes drivers of it, and the pulses that came to resistors."""
    world, pulses = seen_pulses([f"out{n}" for n in range(1, 1 + outputs)])
    instrument = K81160(NAME, world, outputs=outputs)
    return instrument, lambda: made(BytesTransport(instrument.session(), NAME), outputs=outputs), pulses


@pytest.fixture
def ready():
    """An emulated 81160A, a driver that has set up its first output, and the pulses that came to the resistors."""
    instrument, make, pulses = emulated()
    source = make()
    source.connect()
    source.prepare(SETUP)
    return instrument, source, pulses


def test_a_whole_session_sends_what_is_known_of_the_dialect():
    with TranscriptReplay(pairs(*ORDER)) as wire:
        source = until(wire, "close")
    assert isinstance(source, PulseSource)


def test_the_emergency_asks_nothing_first():
    talk = pairs("emergency")
    assert not any("?" in line for line in talk[0][1].splitlines()[:-1])
    with TranscriptReplay(talk) as wire:
        source = made(wire)
        assert isinstance(source, EmergencyOff)
        assert source.emergency_off() == {}


@pytest.mark.parametrize("reply", ["1;0;MAN", "0;1;MAN", "0;x;MAN"])
def test_an_emergency_that_is_not_verified_needs_a_person(reply):
    talk = pairs("emergency")
    with (
        TranscriptReplay([talk[0], ("<", reply), *talk[2:]]) as wire,
        pytest.raises(InstrumentError, match=r"NOT verified off: out[12]: output [1x]; go there"),
    ):
        made(wire).emergency_off()


@pytest.mark.parametrize("setting", [*_neutral("out1"), *_levels("out1", 0.05)], ids=lambda setting: setting.header)
def test_a_setting_that_is_not_taken_keeps_the_output_off(setting):
    talk = pairs("connect", "prepare")
    at = max(k for k, (mark, text) in enumerate(talk) if mark == ">" and setting.query in text.split(";"))
    values = talk[at + 1][1].split(";")
    values[talk[at][1].split(";").index(setting.query)] = "7" if isinstance(setting.value, float | int) else "XYZ"
    rest = [k for k in range(at + 2, len(talk)) if talk[k][0] == ">"]
    with (
        TranscriptReplay([*talk[: at + 1], ("<", ";".join(values)), *talk[rest[0] if rest else len(talk) :]]) as wire,
        pytest.raises(InstrumentError, match=f"{setting.header} is (7|XYZ) after .* was set; the output stays off"),
    ):
        until(wire, "prepare")


@pytest.mark.parametrize("options", [{"outputs": 3}, {"output": 1}])
def test_options_are_checked(options):
    with pytest.raises(ValidationError):
        Keysight81160AOptions(**options)


def test_an_output_that_is_on_is_told_and_not_set_up():
    instrument, make, pulses = emulated()
    instrument.channels[2].on = True
    source = make()
    source.connect()
    assert source.state()["out2"].output
    assert source.state()["out2"].forced == "-1 to 1 V into an open end, without a trigger"
    with pytest.raises(InstrumentError, match="NOT verified off: out2: output 1"):
        source.prepare(SETUP)
    assert instrument.channels[2].on
    source.off()
    source.verify_off()
    assert not pulses


def test_what_it_does_is_told_for_an_open_end_whatever_load_it_was_told():
    instrument, make, _ = emulated()
    instrument.execute(":OUTP1:LOAD 1000000;:VOLT1:HIGH 0.7;:VOLT1:LOW 0;:VOLT1:LIM:HIGH 1;:VOLT1:LIM:STAT 1")
    source = make()
    source.connect()
    state = source.state()["out1"]
    assert (state.high, state.low) == pytest.approx((0.7, 0.0), rel=1e-4)
    assert state.limits[1] == pytest.approx(1.0, rel=1e-4)
    assert source.state()["out2"].limited == "none"


def test_settings_that_are_no_pulses_are_told():
    _, make, _ = emulated()
    source = make()
    source.connect()
    (state, *_), faults = source.diagnosis()
    assert state.startswith("not as for pulses, and set anew before it is used: :FUNC1 SIN, :ARM:SOUR1 IMM")
    assert not faults
    source.prepare({**SETUP, "out2": SETUP["out1"]})
    assert source.diagnosis() == ([], [])


def test_old_errors_are_read_and_told():
    instrument, make, _ = emulated()
    instrument.execute(":NONSENSE")
    source = make()
    source.connect()
    assert source.old_errors == ("-113 Undefined header",)


def test_another_instrument_is_refused():
    instrument, make, _ = emulated()
    instrument.identity = "{maker},81150A,{serial},{revision}"
    with pytest.raises(BenchError, match="the bench file says 81160A"):
        make().connect()


def test_pulses_of_both_signs_come_out_with_limits_on(ready):
    instrument, source, pulses = ready
    source.fire("out1", 0.45, 50e-9)
    source.fire("out1", -0.5, 20e-9)
    source.fire("out1", -0.7, 1e-6)
    source.fire("out1", 0.1, 1.5e-9)
    asked = [(0.45, 50e-9), (-0.5, 20e-9), (-0.7, 1e-6), (0.1, 1.5e-9)]
    np.testing.assert_allclose([pulse[1:] for pulse in pulses], asked)
    assert {pulse[0] for pulse in pulses} == {"out1"}
    assert not instrument.outputs()
    assert {event.what for event in instrument.world.ledger.events} == set()
    assert instrument.channels[1].limited
    assert not source.old_errors


def test_its_width_passes_before_levels_are_read_again_and_the_output_goes_off():
    instrument, _, _ = emulated()
    talk, execute = [], instrument.execute
    instrument.execute = lambda text: (talk.append(text), execute(text))[1]

    def sleep(seconds):
        talk.append(seconds)
        instrument.world.advance(seconds)

    source = made(BytesTransport(instrument.session(), NAME, sleep=sleep))
    source.connect()
    source.prepare({"out1": PulseSetup(0.7, 0.5)})
    source.fire("out1", 0.45, 0.3)
    trigger = talk.index("*TRG")
    assert talk[trigger + 1 : trigger + 3] == [":SYST:ERR?", 0.3]
    assert talk[trigger + 3].startswith(BEHIND)
    assert ":OUTP1 0" in talk[trigger + 4 :]
    assert not instrument.world.ledger.events


def test_an_output_that_goes_off_in_its_pulse_is_noticed():
    instrument, _, _ = emulated()
    source = made(BytesTransport(instrument.session(), NAME, sleep=lambda seconds: instrument.trip()))
    source.connect()
    source.prepare({"out1": PulseSetup(0.7, 0.5)})
    with pytest.raises(NotDriven, match=r"0\.3 s :OUTP1 is 0; the pulse is not accepted"):
        source.fire("out1", 0.45, 0.3)


def test_the_instrument_itself_refuses_what_is_beyond_its_limits(ready):
    instrument, _, _ = ready
    instrument.execute(":VOLT1:HIGH 0.36")
    assert instrument.errors.next().startswith("-222")
    assert instrument.channels[1].level("high") == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("channel", "volts", "seconds", "words"),
    [
        ("out2", 0.4, 5e-8, "pulser.out2 has not been set up"),
        ("out1", 0.71, 5e-8, r"a pulse of 0\.71 V asked for, it makes 0\.1 to 0\.7 V here"),
        ("out1", -0.71, 5e-8, r"a pulse of -0\.71 V asked for"),
        ("out1", 0.09, 5e-8, r"a pulse of 0\.09 V asked for"),
        ("out1", 0.4, 1.1e-6, r"a pulse of 1\.1e-06 s asked for, it makes 1\.5e-09 to 1e-06 s here"),
        ("out1", 0.4, 1e-9, "a pulse of 1e-09 s asked for"),
        ("out1", float("nan"), 5e-8, "a pulse of nan V"),
    ],
)
def test_what_is_beyond_the_setup_is_not_sent(ready, channel, volts, seconds, words):
    instrument, source, pulses = ready
    before = instrument.world.ledger.messages
    with pytest.raises(InstrumentError, match=words):
        source.fire(channel, volts, seconds)
    assert instrument.world.ledger.messages == before
    assert not pulses


@pytest.mark.parametrize(
    ("setup", "words"),
    [
        (PulseSetup(0.05, 1e-6), "a limit of 0.05 V"),
        (PulseSetup(10.1, 1e-6), "a limit of 10.1 V"),
        (PulseSetup(1.0, 1e-9), "pulses of 1e-09 s"),
        (PulseSetup(1.0, 2.0), "pulses of 2 s"),
    ],
)
def test_a_setup_beyond_the_instrument_is_not_sent(setup, words):
    instrument, make, _ = emulated()
    source = make()
    source.connect()
    before = instrument.world.ledger.messages
    with pytest.raises(InstrumentError, match=words):
        source.prepare({"out1": setup})
    assert instrument.world.ledger.messages == before


def falsified(instrument, monkeypatch, message, act):
    """Have `act` happen at the instrument when a message arrives, before it is carried out."""
    execute = instrument.execute

    def executed(text):
        if text.startswith(message):
            act()
        return execute(text)

    monkeypatch.setattr(instrument, "execute", executed)


def test_an_output_that_went_off_made_no_pulse(ready, monkeypatch):
    instrument, source, pulses = ready
    falsified(instrument, monkeypatch, "*TRG", instrument.trip)
    with pytest.raises(NotDriven, match=r"pulser.out1: behind '\*TRG' for 0\.45 V and 5e-08 s :OUTP1 is 0; the"):
        source.fire("out1", 0.45, 50e-9)
    assert not pulses


def test_a_trigger_that_is_lost_on_the_way_is_noticed():
    instrument, _, pulses = emulated()
    session = instrument.session()
    handle, lost = session.handle, []
    session.handle = lambda data: lost.append(data) or b"" if data.startswith(b"*TRG") else handle(data)
    source = made(BytesTransport(session, NAME))
    source.connect()
    source.prepare(SETUP)
    with pytest.raises(LinkTimeoutError, match=r"did not answer '\*TRG"):
        source.fire("out1", 0.45, 50e-9)
    assert len(lost) == 1
    assert not pulses


def test_a_level_that_somebody_changed_is_noticed_and_the_output_is_off(ready, monkeypatch):
    instrument, source, _ = ready
    falsified(instrument, monkeypatch, "*TRG", lambda: setattr(instrument.channels[1], "high", 0.5))
    with pytest.raises(NotDriven, match=r"5e-08 s :VOLT1:HIGH is \+2\.500000E-01; the pulse is not"):
        source.fire("out1", 0.45, 50e-9)
    assert not instrument.outputs()


def test_a_setting_that_somebody_changed_between_two_pulses_keeps_the_output_off(ready):
    instrument, source, pulses = ready
    instrument.execute(":ARM:SOUR1 IMM")
    with pytest.raises(InstrumentError, match=":ARM:SOUR1 is IMM after MAN was set; the output stays off"):
        source.fire("out1", 0.45, 50e-9)
    instrument.execute(":ARM:SOUR1 MAN;:ARM:SOUR2 MAN;:OUTP2 1")
    with pytest.raises(InstrumentError, match=":OUTP2 is 1 after 0 was set"):
        source.fire("out1", 0.45, 50e-9)
    assert not pulses


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("*TRG", r"refused '\*TRG': -113 Undefined header"),
        (BEHIND, r"pulser\.out1: -113 Undefined header.* behind '\*TRG'; "),
    ],
)
def test_an_error_with_the_trigger_or_behind_it_is_an_error_and_the_output_is_off(message, words, ready, monkeypatch):
    instrument, source, _ = ready
    falsified(instrument, monkeypatch, message, lambda: instrument.execute(":NONSENSE"))
    with pytest.raises(InstrumentError, match=words):
        source.fire("out1", 0.45, 50e-9)
    assert not instrument.outputs()


def test_a_pulse_takes_the_messages_that_it_is_predicted_to_take(ready):
    instrument, source, _ = ready
    before = instrument.world.ledger.messages
    source.fire("out1", 0.45, 50e-9)
    assert instrument.world.ledger.messages - before == source.capabilities.messages


def test_a_trigger_that_is_answered_by_something_else_is_no_proof(ready, monkeypatch):
    instrument, source, _ = ready
    execute = instrument.execute
    monkeypatch.setattr(instrument, "execute", lambda text: "1\n" if text.startswith(BEHIND) else execute(text))
    with pytest.raises(InstrumentError, match="5 replies"):
        source.fire("out1", 0.45, 50e-9)
    assert not instrument.outputs()


def test_an_output_that_stays_on_is_told(ready, monkeypatch):
    instrument, source, _ = ready
    monkeypatch.setattr(instrument.channels[1], "switch", lambda on: setattr(instrument.channels[1], "on", True))
    instrument.tree = type(instrument.tree)()
    instrument._common()
    instrument.build()
    with pytest.raises(InstrumentError, match="NOT verified off: out1: output 1"):
        source.fire("out1", 0.45, 50e-9)
    with pytest.raises(InstrumentError, match="NOT verified off"):
        source.off()


def test_an_instrument_of_one_output_is_asked_for_one():
    instrument, make, _ = emulated(outputs=1)
    source = make()
    source.connect()
    assert set(source.state()) == {"out1"}
    source.emergency_off()
    assert not instrument.world.ledger.refused


def test_closing_what_was_never_set_up_asks_nothing():
    instrument, make, _ = emulated()
    source = make()
    before = instrument.world.ledger.messages
    source.close()
    assert instrument.world.ledger.messages == before


def test_a_link_that_does_not_answer_is_left_to_whoever_makes_all_safe(ready, monkeypatch):
    instrument, source, _ = ready
    execute, heard = instrument.execute, []

    def deaf(text):
        heard.append(text)
        return "" if text.startswith(BEHIND) else execute(text)

    monkeypatch.setattr(instrument, "execute", deaf)
    with pytest.raises(LinkTimeoutError):
        source.fire("out1", 0.45, 50e-9)
    assert heard[-3:-1] == ["*TRG", ":SYST:ERR?"]
    assert heard[-1].startswith(BEHIND)
    source.emergency_off()
    assert not instrument.outputs()


def test_one_that_lost_its_power_before_it_goes_on_makes_nothing_of_its_own(ready, monkeypatch):
    instrument, source, pulses = ready
    begun = len(pulses)

    def power_cycle():
        instrument.reset()
        instrument.channels[1].reset()

    def switched_on(text):
        if text.endswith(":OUTP1 1"):
            power_cycle()
        return execute(text)

    execute = instrument.execute
    monkeypatch.setattr(instrument, "execute", switched_on)
    source.fire("out1", 0.45, 50e-9)
    np.testing.assert_allclose([pulse[1:] for pulse in pulses[begun:]], [(0.45, 50e-9)])
    assert not instrument.world.ledger.events
    assert not instrument.outputs()
