"""Every command of the driver of a B1500A or E5270B against transcripts of public facts, and the emulated one."""

import math
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from instruments.flex import CODES, EXTENDED, Flex, Refused, commands_in, datum_in
from instruments.keysightb1500 import KeysightB1500
from instruments.keysightb1500_models import KeysightB1500Options, integration
from instruments.transcript import TranscriptReplay
from instruments.transport import BytesTransport
from labctl.core.errors import BenchError, InstrumentError, LinkTimeoutError, NotDriven
from labctl.core.operations import Flag
from labctl.core.source import Aperture, ChannelSetup, ChannelState, Hold, Level, Limit, Measure, Ramp, Watch
from labctl.testing.emulated import NAME, resistors
from sim_backend.emulators.b1500 import B1500

FILES = Path(__file__).parents[2] / "golden" / "transcripts"
OPTIONS = KeysightB1500Options(slots=(1, 2))
SETUP = ChannelSetup(0.5, 1e-3, 1e-3, cold_limit=1e-6)
NO_ERROR = '+0,"No Error."'


def replay(name):
    return TranscriptReplay.of(FILES / f"{name}.txt")


def said(*pairs):
    """Return what is said with these messages; an error in the place of none comes with a "!"."""
    lines = []
    for asked, *replies in pairs:
        error = next((reply[1:] for reply in replies if reply.startswith("!")), NO_ERROR)
        lines += [(">", f"{asked}\n{EXTENDED}"), *(("<", reply) for reply in replies if not reply.startswith("!"))]
        lines.append(("<", error))
    return TranscriptReplay(lines)


class Box:
    """A driver and its emulated mainframe, with a resistor at each unit."""

    def __init__(self, model="B1500A", ohms=10e3):
        self.emulated = B1500(NAME, model, resistors(("smu1", "smu2"), ohms), slots=(1, 2))
        self.sent = []
        wire = BytesTransport(self, NAME)
        self.driver = KeysightB1500(NAME, OPTIONS.model_copy(update={"model": model}), wire)

    def handle(self, data):
        self.sent += data.decode().splitlines()
        return self.emulated.handle(data)

    def clear(self):
        self.emulated.session().clear()

    def on(self, **setup):
        self.driver.prepare({"smu1": ChannelSetup(**{**SETUP.__dict__, **setup}) if setup else SETUP})
        self.driver.output(["smu1"])
        return self.driver


def test_connecting_reads_identity_errors_modules_and_state_and_sets_nothing():
    with replay("b1500-connect") as talk:
        made = KeysightB1500("smu", OPTIONS, talk)
        assert made.connect() == "Agilent Technologies,B1500A,0,A.04.03.2010.0130"
    assert made.diagnosis() == (["smu1 B1517A, smu2 B1517A; off is open, whatever the off state of the bench"], [])


def test_an_e5270b_tells_four_errors_at_once():
    with replay("e5270-connect") as talk:
        KeysightB1500("smu", KeysightB1500Options(model="E5270B", slots=(1, 2)), talk).connect()


def test_a_channel_is_set_up_switched_on_read_and_switched_off():
    with replay("b1500-run") as talk:
        made = KeysightB1500("smu", OPTIONS, talk)
        made.prepare({"smu1": SETUP})
        made.output(["smu1"])
        steps = [
            Limit("smu1", 1e-3, 1e-3), Level("smu1", 0.3), Aperture("smu1", 1e-3), Measure("smu1", True),
            Watch("smu1"), Measure("smu1"), Level("smu1", 0.5), Hold(20e-3), Watch("smu1"), Level("smu1", 0.3),
            Level("smu1", 0.5), Hold(20e-3), Level("smu1", 0.3), Level("smu1", 0.0),
        ]  # fmt: skip
        read, watched, beyond, pulsed = made.run(steps)
        assert (read.current, read.voltage, read.flag) == (3e-5, 0.3, Flag(0))
        assert watched.flag == Flag.COMPLIANCE
        assert math.isnan(beyond.current)
        assert beyond.flag == Flag.OVERRANGE
        assert pulsed.flag == Flag.COMPLIANCE
        made.off()


@pytest.mark.parametrize("model", ["B1500A", "E5270B"])
def test_currents_levels_and_limits_are_those_of_the_resistor(model):
    box = Box(model)
    driver = box.on()
    assert box.emulated.outputs() == {"smu1": 0.0}
    assert box.emulated.units[1].limit == pytest.approx(1e-6)
    samples = driver.run([Limit("smu1", 1e-3, 1e-3), Level("smu1", 0.5), Measure("smu1", True), Watch("smu1")])
    assert samples[0].current == pytest.approx(5e-5)
    assert samples[0].voltage == pytest.approx(0.5)
    limited = driver.run([Limit("smu1", 1e-5, 1e-5), Watch("smu1"), Measure("smu1")])
    assert [sample.flag for sample in limited] == [Flag.COMPLIANCE, Flag.COMPLIANCE]
    assert limited[1].current == pytest.approx(1e-5)
    driver.off(rate=10.0)
    assert box.emulated.outputs() == {}


def test_a_pulse_stands_for_its_hold_and_a_ramp_ends_at_its_level():
    box = Box()
    driver = box.on()
    before = box.emulated.world.now
    driver.run([Limit("smu1", 1e-3, 1e-3), Ramp("smu1", 0.3, 100.0), Hold(20e-3)])
    assert box.emulated.outputs() == {"smu1": 0.3}
    assert box.emulated.world.now >= before
    driver.run([Level("smu1", 0.0)])
    assert box.emulated.outputs() == {"smu1": 0.0}


def edges(box, steps):
    """Return the time between the last two levels of some steps."""
    times, force = [], box.emulated._volts

    def noted(*numbers):
        force(*numbers)
        times.append(box.emulated.world.now)

    box.emulated._volts = noted
    samples = box.driver.run(steps)
    box.emulated._volts = force
    return times[-1] - times[-2], samples


@pytest.mark.parametrize("watches", [0, 1, 2])
@pytest.mark.parametrize("width", [10e-3, 50e-3])
def test_a_pulse_is_one_message_that_the_instrument_times(width, watches):
    box = Box()
    box.on()
    sent = len(box.sent)
    pulse = [Level("smu1", 0.5), Hold(width), *[Watch("smu1")] * watches, Level("smu1", 0.0)]
    seconds, samples = edges(box, [Limit("smu1", 1e-5, 1e-5), *pulse])
    assert seconds == pytest.approx(width, abs=0.3e-3)
    assert [sample.flag for sample in samples] == [Flag.COMPLIANCE] * watches
    assert sum("PA" in line for line in box.sent[sent:]) == 1
    assert box.emulated.outputs() == {"smu1": 0.0}


def test_a_level_that_is_held_and_not_left_for_the_one_before_is_no_pulse():
    box = Box()
    box.on()
    box.driver.run([Level("smu1", 0.2), Hold(1e-3), Level("smu1", 0.1)])
    assert not any("PA" in line for line in box.sent)
    assert box.emulated.outputs() == {"smu1": 0.1}


@pytest.mark.parametrize("watches", [0, 1])
def test_a_pulse_that_is_refused_on_its_way_goes_back_to_the_level_before(watches):
    box = Box()
    driver = box.on()
    box.emulated._pause = lambda seconds: box.emulated._within(seconds, 1e3, 1e3)
    with pytest.raises(Refused, match="error 120"):
        driver.run([Level("smu1", 0.5), Hold(20e-3), *[Watch("smu1")] * watches, Level("smu1", 0.0)])
    assert box.emulated.outputs() == {"smu1": 0.0}


def test_a_pulse_of_an_output_that_went_off_is_told():
    box = Box()
    driver = box.on()
    box.emulated.trip()
    with pytest.raises(NotDriven, match="its output is off"):
        driver.run([Level("smu1", 0.5), Hold(20e-3), Watch("smu1"), Level("smu1", 0.0)])


@pytest.mark.parametrize("model", ["B1500A", "E5270B"])
@pytest.mark.parametrize("volts", [0.5, -0.5])
@pytest.mark.parametrize("watches", [0, 1])
@pytest.mark.parametrize(
    ("losing", "told", "words"),
    [
        (lambda message: "", InstrumentError, "expected"),
        (lambda message: message.partition(";")[2], NotDriven, r"0.1 V was measured in a pulse of -?0.5 V"),
        (lambda message: message.replace("0.5,", "0.3,"), NotDriven, r"0.3 V was measured in a pulse"),
        (lambda message: re.sub("TV[^;]*;", "", message), InstrumentError, "V with a number"),
    ],
    ids=["lost", "without its level", "at another level", "without its reading"],
)
def test_a_pulse_that_was_not_at_its_level_without_an_error_is_no_pulse(model, volts, watches, losing, told, words):
    box = Box(model)
    driver = box.on()
    driver.run([Limit("smu1", 1e-3, 1e-3), Level("smu1", 0.1)])
    execute = box.emulated.execute
    box.emulated.execute = lambda text: execute(losing(text) if "PA" in text else text)
    with pytest.raises(told, match=words):
        driver.run([Level("smu1", volts), Hold(20e-3), *[Watch("smu1")] * watches, Level("smu1", 0.1)])
    assert box.emulated.outputs() == {"smu1": 0.1}


def test_a_voltage_beyond_the_range_proves_no_pulse():
    box = Box()
    driver = box.on()
    driver.run([Limit("smu1", 1e-3, 1e-3)])
    measured = box.emulated._measure
    box.emulated._measure = lambda slot, kind, code: "VAV+199.999E+99" if kind == "V" else measured(slot, kind, code)
    with pytest.raises(NotDriven, match="a voltage beyond the range was measured"):
        driver.run([Level("smu1", 0.5), Hold(20e-3), Level("smu1", 0.0)])


def test_the_same_level_twice_is_no_pulse():
    box = Box()
    box.on().run([Level("smu1", 0.2), Hold(20e-3), Level("smu1", 0.2), Hold(20e-3), Level("smu1", 0.2)])
    assert not any("TV" in line for line in box.sent)


def test_a_pulse_at_its_limit_is_a_pulse_at_whatever_voltage_the_limit_leaves():
    box = Box(ohms=1e3)
    driver = box.on()
    pulse = [Level("smu1", 0.5), Hold(20e-3), Watch("smu1"), Level("smu1", 0.0)]
    (sample,) = driver.run([Limit("smu1", 1e-5, 1e-5), *pulse])
    assert sample.flag == Flag.COMPLIANCE


def test_the_converter_is_told_when_another_aperture_is_wanted():
    box = Box()
    driver = box.on()
    driver.run([Aperture("smu1", 1e-3), Measure("smu1"), Measure("smu1"), Aperture("smu1", 40e-3), Measure("smu1")])
    assert [line for line in box.sent if line.startswith("AIT")] == ["AIT1,1,12", "AIT1,2,2"]


@pytest.mark.parametrize(
    ("seconds", "frequency", "command"),
    [(80e-6, 50, "AIT1,1,1"), (10.16e-3, 50, "AIT1,1,127"), (15e-3, 50, "AIT1,2,1"), (2.0, 50, "AIT1,2,100"),
     (50e-3, 60, "AIT1,2,3")],
)  # fmt: skip
def test_an_aperture_is_a_count_or_whole_periods(seconds, frequency, command):
    assert integration(seconds, frequency) == command


def test_another_instrument_and_a_slot_without_a_unit_are_refused():
    box = Box()
    box.emulated.model = "E5270B"
    with pytest.raises(BenchError, match="the bench file says B1500A"):
        box.driver.connect()
    box = Box()
    box.emulated.modules[2] = "B1520A"
    with pytest.raises(BenchError, match="slot 2 has a B1520A"):
        box.driver.connect()
    del box.emulated.modules[2]
    with pytest.raises(BenchError, match="slot 2 has no module"):
        box.driver.connect()


def test_errors_of_before_are_told_and_blamed_on_nobody():
    box = Box()
    box.emulated.errors = [100, 120]
    box.driver.connect()
    assert "2 errors of before were in its queue" in box.driver.diagnosis()[0][1]
    box.on()


@pytest.mark.parametrize("slots", [(), (1, 1), (0,), (9,)])
def test_slots_are_different_ones_of_one_to_eight(slots):
    with pytest.raises(ValidationError):
        KeysightB1500Options(slots=slots)


@pytest.mark.parametrize(
    ("kind", "reply", "told"),
    [(30, "FL0", "FL is 0.0, not 1"), (53, "SSR1,1;SSR2,0", "SSR is 1.0, not 0"), (55, "AAD2,1", "AAD is None, not 1"),
     (31, "TM1;AV1,0;CM1;FMT1,0;MM1", "CM is 1.0, not 0")],
)  # fmt: skip
def test_a_setting_that_was_not_taken_keeps_the_output_off(kind, reply, told):
    box = Box()
    learn = box.emulated._learn
    box.emulated._learn = lambda asked: reply if asked == kind else learn(asked)
    with pytest.raises(InstrumentError, match=told):
        box.driver.prepare({"smu1": SETUP})
    assert box.emulated.outputs() == {}


def test_a_filter_is_told_for_all_or_by_slots():
    box = Box()
    box.emulated.units[2].filter = 0
    box.driver.prepare({"smu1": SETUP})  # FL1,1;FL0,2
    assert box.driver._switch(30, "FL", 2) == 0


@pytest.mark.parametrize(
    ("reply", "state"),
    [
        ("CL1", ChannelState(False, 0.0, 0.0)),
        ("DV1,200,+00.5000E+00,+100.000E-06,0,16", ChannelState(True, 0.5, 1e-4)),
        ("DI1,16,+50.0000E-06,+2.00000E+00", ChannelState(True, 0.0, 0.0, 5e-5, 2.0)),
    ],
)
def test_a_state_is_off_a_voltage_or_a_current(reply, state):
    with said(("*LRN? 1", reply)) as talk:
        assert repr(KeysightB1500("smu", OPTIONS, talk).read_state("smu1")) == repr(state)


@pytest.mark.parametrize("reply", ["CL2", "", "PV1,0,0,1,0.1", "DV1", "what?"])
def test_a_state_that_is_none_is_told(reply):
    with said(("*LRN? 1", reply)) as talk, pytest.raises(InstrumentError, match=r"\*LRN\? 1"):
        KeysightB1500("smu", OPTIONS, talk).read_state("smu1")


@pytest.mark.parametrize(
    ("reply", "told"),
    [("XAI+1.0E-06", "oscillates"), ("NBI+1.0E-06", "a status letter, channel 1 and I"), ("NAV+1.0E-06", "channel 1"),
     ("QAI+1.0E-06", "channel 1"), ("+1.0E-06", "channel 1")],
)  # fmt: skip
def test_a_reading_that_is_another_or_useless_is_refused(reply, told):
    with said(("TI1,-17", reply)) as talk, pytest.raises(InstrumentError, match=told):
        Flex(talk, "smu", EXTENDED).datum("TI1,-17", 1, "I")


def test_data_and_commands_are_taken_apart():
    assert datum_in("TAI-1.5E-09").value == -1.5e-9
    assert math.isnan(datum_in("NAI+199.999E+99").value)
    assert commands_in("CN1,2") == [("CN", (1.0, 2.0))]
    with pytest.raises(ValueError, match="is no command"):
        commands_in("+1.0")


def test_a_refusal_is_told_with_all_errors():
    box = Box()
    with pytest.raises(Refused, match="error 100"):
        Flex(BytesTransport(box, NAME), NAME, EXTENDED).set("XYZ1")
    with pytest.raises(Refused, match="error 100"):
        Flex(BytesTransport(Box("E5270B"), NAME), NAME, CODES).set("XYZ1")
    with pytest.raises(InstrumentError, match="the number of an error"):
        Flex(TranscriptReplay([(">", EXTENDED), ("<", "what?")]), NAME, EXTENDED).errors()


def test_an_output_that_went_off_is_told_by_a_level_and_by_a_reading():
    for steps in ([Level("smu1", 0.1)], [Measure("smu1")], [Watch("smu1")]):
        box = Box()
        driver = box.on()
        box.emulated.trip()
        with pytest.raises(NotDriven, match="its output is off"):
            driver.run(steps)


def test_a_unit_that_does_not_come_on_is_told():
    box = Box()
    box.driver.prepare({"smu1": SETUP})
    box.emulated._switch = lambda on, slots: None
    with pytest.raises(InstrumentError, match="did not switch on"):
        box.driver.output(["smu1"])
    with pytest.raises(InstrumentError, match="smu2 has not been set up"):
        box.driver.output(["smu2"])


def test_a_cold_limit_that_was_not_taken_is_told():
    box = Box()
    box.driver.prepare({"smu1": SETUP})
    box.emulated._volts = lambda *numbers: None
    with pytest.raises(InstrumentError, match=r"is at 0 V behind 0\.0001 A"):
        box.driver.output(["smu1"])


def test_off_ends_every_unit_and_is_verified():
    box = Box()
    box.emulated.execute("CN2;DV2,20,1,1E-3")
    box.on()
    box.driver.off()
    assert box.emulated.outputs() == {}
    box = Box()
    driver = box.on()
    box.emulated._switch = lambda on, slots: None
    with pytest.raises(InstrumentError, match="NOT verified off: smu1 on at 0 V"):
        driver.off()


def test_a_link_that_does_not_answer_is_given_up_at_once():
    box = Box()
    driver = box.on()
    box.emulated.busy = True
    sent = len(box.sent)
    with pytest.raises(LinkTimeoutError):
        driver.off()
    assert [line for line in box.sent[sent:] if line.startswith("CL")] == []


def test_an_emergency_begins_with_off_on_every_unit_and_verifies_it():
    box = Box()
    box.emulated.execute("CN1,2;DV1,20,1,1E-3;DI2,0,1E-3,2")
    assert box.driver.emergency_off() == {}
    first = box.sent.index("AB")
    assert box.sent[first : first + 4] == ["AB", "DZ", "CL", "*LRN? 0"]
    assert box.emulated.outputs() == {}
    box.emulated.execute("CN2")
    box.emulated._open = lambda slot: None
    with pytest.raises(InstrumentError, match="NOT verified off: CN2"):
        box.driver.emergency_off()
    box.driver.close()
