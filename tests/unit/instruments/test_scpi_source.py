"""What every source over SCPI does with its steps, on the emulated instruments, also with faults at any message."""

import math
from dataclasses import dataclass
from itertools import pairwise

import pytest

from instruments import keithley2400, keithley2450
from instruments.scpi import Refused
from instruments.scpi_source import CHANNEL, ScpiSource
from instruments.step_sequence import ChannelStep, SourceChannel, duration
from instruments.timing import BenchTiming
from instruments.transport import BytesTransport
from labctl.core.driver import Driver
from labctl.core.errors import InstrumentError, LabError, LinkTimeoutError, NotDriven
from labctl.core.operations import Flag
from labctl.core.source import Aperture, ChannelSetup, Hold, Level, Limit, Measure, OffState, Ramp, Watch
from labctl.testing.emulated import NAME, resistors
from sim_backend.emulators.k2400 import K2400
from sim_backend.emulators.k2450 import K2450
from sim_backend.emulators.link import Fault

SETUP = ChannelSetup(0.6, 1e-3, 1e-3, cold_limit=1e-6, off_state=OffState.HIGH_Z)
OPEN = Limit(CHANNEL, 1e-3, 1e-3)
R = 10e3


@dataclass(frozen=True)
class Family:
    """A driver, its emulator, and the time that its shortest pulse lasts, s."""

    declaration: Driver
    emulator: type
    shortest: float

    @property
    def pulse(self):
        """Steps of a pulse of 0.5 V."""
        return [Level(CHANNEL, 0.5), Hold(2 * self.shortest), Watch(CHANNEL), Level(CHANNEL, 0.0)]

    def emulated(self, model=None, **options):
        """Return an emulated instrument with a resistor, and a function that makes drivers for it."""
        given = self.declaration.options(**({"model": model} if model else {}), **options)
        wired = "REAR" if options.get("terminals") == "rear" else "FRONt"
        smu = self.emulator(NAME, given.model, resistors((CHANNEL,), R), wired=wired)
        return smu, lambda: self.declaration.make("smu", given, BytesTransport(smu.session(), NAME))


FAMILIES = {
    "2400": Family(keithley2400.DRIVER, K2400, keithley2400.SHORTEST_PULSE),
    "2450": Family(keithley2450.DRIVER, K2450, keithley2450.SHORTEST_PULSE),
}
MODELS = [("2400", model) for model in keithley2400.MODELS] + [("2450", model) for model in keithley2450.MODELS]


@pytest.fixture(params=FAMILIES)
def family(request):
    return FAMILIES[request.param]


def ready(make, setup=SETUP):
    driver = make()
    assert isinstance(driver, ScpiSource)
    driver.connect()
    driver.prepare({CHANNEL: setup})
    driver.output([CHANNEL])
    return driver


def levels(world):
    """Return a list to which every level that is driven from now on is added, with its time."""
    course, drive = [], world.drive

    def recorded(wire, out):
        course.append((world.now, 0.0 if out is None else out.level))
        drive(wire, out)

    world.drive = recorded
    return course


@pytest.mark.parametrize(("name", "model"), MODELS)
@pytest.mark.parametrize("times", [1, 3, 10, 17, 50, 600])
def test_the_instrument_times_a_pulse_to_a_twentieth(name, model, times):
    family = FAMILIES[name]
    smu, make = family.emulated(model)
    driver = ready(make)
    driver.run([OPEN])
    course, width = levels(smu.world), times * family.shortest
    (sample,) = driver.run([Level(CHANNEL, 0.5), Hold(width - 150e-6), Watch(CHANNEL), Level(CHANNEL, 0.0)])
    begin = next(time for time, level in course if level == 0.5)
    end = next(time for time, level in course if time > begin and level == 0.0)
    assert end - begin == pytest.approx(width, rel=0.05)
    assert {level for _, level in course} == {0.0, 0.5}
    assert sample.flag == Flag(0)
    state = smu.smu.set
    assert (state.mode, state.delay, state.zero, state.nplc) == ("FIXed", 0.0, True, 1.0)


@pytest.mark.parametrize("hold", [1e-4, 11.0])
def test_a_pulse_that_the_instrument_cannot_time_is_refused_and_not_begun(family, hold):
    """Sent step by step its level would stand for as long as messages and readings take, and through a lost link."""
    smu, make = family.emulated()
    driver = ready(make)
    driver.run([OPEN])
    course = levels(smu.world)
    with pytest.raises(InstrumentError, match=r"holds the level of a pulse for .* it was not begun"):
        driver.run([Level(CHANNEL, 0.5), Hold(hold), Watch(CHANNEL), Level(CHANNEL, 0.0)])
    assert {level for _, level in course} <= {0.0}


def test_a_pulse_on_a_standing_level_goes_back_to_it(family):
    smu, make = family.emulated()
    driver = ready(make)
    driver.run([OPEN, Level(CHANNEL, 0.1)])
    course = levels(smu.world)
    driver.run([Level(CHANNEL, -0.4), Hold(0.01), Level(CHANNEL, 0.1), Measure(CHANNEL)])
    assert [level for k, (_, level) in enumerate(course) if k == 0 or course[k - 1][1] != level] == [0.1, -0.4, 0.1]


def test_compliance_comes_with_the_reading_of_a_pulse_and_of_a_measurement(family):
    _, make = family.emulated()
    driver = ready(make)
    low = Limit(CHANNEL, 1e-5, 1e-5)
    samples = driver.run([low, *family.pulse, Level(CHANNEL, 0.5), Measure(CHANNEL, voltage=True)])
    assert [sample.flag for sample in samples] == [Flag.COMPLIANCE, Flag.COMPLIANCE]
    assert (samples[1].current, samples[1].voltage) == (pytest.approx(1e-5), pytest.approx(0.1))


def test_a_measure_range_below_the_limit_is_compliance_too(family):
    _, make = family.emulated()
    driver = ready(make)
    (sample,) = driver.run([Limit(CHANNEL, 1e-3, 1e-6), Level(CHANNEL, 0.5), Measure(CHANNEL)])
    assert sample.flag & Flag.COMPLIANCE


def test_ranges_and_limits_go_up_and_down_without_an_error(family):
    smu, make = family.emulated()
    driver = ready(make, ChannelSetup(0.6, 0.1, 0.1, cold_limit=1e-6))
    for limit, full in ((1e-3, 1e-3), (1e-6, 1e-6), (0.1, 0.1), (2e-5, 1e-3), (1e-3, 1e-5), (3e-9, 1e-6), (0.05, 0.1)):
        driver.run([Limit(CHANNEL, limit, full)])
        assert smu.smu.set.limit_i == pytest.approx(limit)
        assert smu.smu.limit <= limit * (1 + 1e-9)
    assert [event for event in smu.world.ledger.events if event.what == "refused"] == []


def test_while_limits_change_it_is_never_limited_above_both(family):
    smu, make = family.emulated()
    driver = ready(make, ChannelSetup(0.6, 0.1, 0.1, cold_limit=1e-6))
    present, seen = 1e-6, []
    apply = smu.smu.apply
    smu.smu.apply = lambda: (apply(), seen.append(smu.smu.limit))
    for limit, full in ((1e-3, 1e-3), (1e-6, 1e-6), (0.1, 0.1), (2e-5, 1e-3), (1e-3, 1e-5)):
        seen.clear()
        driver.run([Limit(CHANNEL, limit, full)])
        assert max(seen) <= max(limit, present) * (1 + 1e-9)
        present = limit


def test_a_hold_passes_by_the_clock_of_the_instrument(family):
    smu, make = family.emulated()
    driver = ready(make)
    for steps in ([Hold(0.25), Measure(CHANNEL)], [Hold(0.25), Level(CHANNEL, 0.1)], [Hold(0.1), Hold(0.15)]):
        begin = smu.world.now
        driver.run(steps)
        assert 0.25 < smu.world.now - begin < 0.4
    begin = smu.world.now
    driver.run([Hold(2500.0), Watch(CHANNEL)])
    assert 2500 < smu.world.now - begin < 2501


def test_a_ramp_is_never_steeper_than_asked(family):
    smu, make = family.emulated()
    driver = ready(make)
    driver.run([OPEN])
    course = levels(smu.world)
    driver.run([Ramp(CHANNEL, 0.05, 5.0)])
    steps = [(t1 - t0, v1 - v0) for (t0, v0), (t1, v1) in pairwise(course) if v1 != v0]
    assert len(steps) >= 9
    assert all(volts / seconds <= 5.0 * (1 + 1e-6) for seconds, volts in steps)


def test_an_output_that_is_on_is_not_set_up(family):
    smu, make = family.emulated()
    smu.execute(":SOUR:VOLT 0.3;:OUTP 1")
    driver = make()
    driver.connect()
    assert driver.state()[CHANNEL].forced == "0.3 V"
    with pytest.raises(InstrumentError, match="on; channels are set up while they are off"):
        driver.prepare({CHANNEL: SETUP})
    assert smu.smu.set.level_v == 0.3


def test_the_limit_of_the_off_state_is_that_of_the_setup(family):
    smu, make = family.emulated()
    for state in (OffState.ZERO, OffState.NORMAL):
        driver = ready(make, ChannelSetup(0.6, 0.1, 0.1, off_state=state, cold_limit=1e-5, off_limit=1e-6))
        driver.run([Limit(CHANNEL, 0.1, 0.1), Level(CHANNEL, 0.1)])
        driver.off()
        assert smu.smu._drive().limit <= 1e-6 * (1 + 1e-9)
    driver.close()
    assert smu.smu._drive() is None


def test_another_level_than_was_set_gives_no_reading(family):
    smu, make = family.emulated()
    driver = ready(make)
    driver.run([OPEN, Level(CHANNEL, 0.1)])
    smu.smu.level_v(0.2)
    with pytest.raises(NotDriven, match=r"is at 0\.2 V, and 0\.1 V was set"):
        driver.run([Measure(CHANNEL)])


def test_rear_terminals(family):
    _, make = family.emulated(terminals="rear")
    driver = ready(make)
    (sample,) = driver.run([OPEN, Level(CHANNEL, 0.1), Measure(CHANNEL)])
    assert sample.current == pytest.approx(0.1 / R)


SESSION = [OPEN, Aperture(CHANNEL, 1e-2), Level(CHANNEL, 0.1), Measure(CHANNEL), Ramp(CHANNEL, 0.0, 1000.0)]


def session(driver, family):
    driver.connect()
    driver.prepare({CHANNEL: SETUP})
    driver.output([CHANNEL])
    samples = driver.run([*SESSION, *family.pulse])
    driver.off()
    return samples


class Once:
    """A fault of one message."""

    def __init__(self, number, fault):
        self.number, self.fault, self.count = number, fault, 0

    def __call__(self, line):
        self.count += 1
        return self.fault if self.count == self.number else Fault.NONE


def messages(family):
    smu, make = family.emulated()
    counting = smu.fault = Once(0, Fault.NONE)
    session(make(), family)
    return counting.count


@pytest.mark.parametrize("fault", [Fault.DEAF, Fault.MUTE, Fault.LATE, Fault.DROP, Fault.BUSY])
@pytest.mark.parametrize("stride", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_a_fault_at_any_message_is_an_error_or_the_same_reading_and_ends_off(family, fault, stride):
    """Every message of a session in turn, or its reply, is lost: no level that was not asked for, and off after it."""
    unnoticed, numbers = 0, range(1, messages(family) + 1, stride)
    for number in numbers:
        smu, make = family.emulated()
        smu.fault = Once(number, fault)
        course = levels(smu.world)
        try:
            reading, watched = session(make(), family)
        except LabError:
            make().emergency_off()
        else:
            unnoticed += 1
            assert reading.current == pytest.approx(0.1 / R), number
            assert (reading.flag, watched.flag) == (Flag(0), Flag(0)), number
        assert (smu.smu.output, smu.smu.set.level_v) == (False, 0.0), number
        assert {level for _, level in course} <= {0.0, 0.1, 0.5}, number
    assert unnoticed < len(numbers) / 2


def test_a_message_that_does_not_end_is_ended_by_the_emergency(family):
    smu, make = family.emulated()
    driver = ready(make)
    driver.run([OPEN, Level(CHANNEL, 0.1)])
    smu.busy = True
    with pytest.raises(LinkTimeoutError):
        driver.run([Measure(CHANNEL)])
    make().emergency_off()
    assert (smu.smu.output, smu.smu.set.level_v) == (False, 0.0)


def test_an_output_that_goes_off_gives_no_reading(family):
    smu, make = family.emulated()
    for steps in (
        [Measure(CHANNEL)],
        [Watch(CHANNEL)],
        [Hold(0.1), Watch(CHANNEL)],
        family.pulse,
        [Level(CHANNEL, 0.1)],
    ):
        driver = ready(make)
        driver.run([OPEN])
        smu.smu.switch(False)
        with pytest.raises(NotDriven, match="its output is off"):
            driver.run(steps)
        driver.off()


def test_single_readings_and_no_steps(family):
    _, make = family.emulated()
    driver = ready(make)
    driver.run([OPEN, Level(CHANNEL, 0.1)])
    amps, volts = driver.measure(CHANNEL, voltage=True)
    assert (amps, volts) == (pytest.approx(0.1 / R), pytest.approx(0.1))
    assert math.isnan(driver.measure(CHANNEL, voltage=False)[1])
    assert driver.limited(CHANNEL) is False
    assert driver.run([]) == []


@pytest.mark.parametrize("error", [Refused("lost"), InstrumentError("lost")])
def test_off_needs_no_reply_but_that_it_is_off(family, monkeypatch, error):
    smu, make = family.emulated()
    driver = ready(make)
    driver.run([OPEN, Level(CHANNEL, 0.1)])
    send, sent = driver._scpi.set, []

    def failing(text, **more):
        send(text, **more)
        if text in driver.off_commands:
            sent.append(text)
            raise error

    monkeypatch.setattr(driver._scpi, "set", failing)
    driver.off()
    assert sent == list(driver.off_commands)
    assert (smu.smu.output, smu.smu.set.level_v) == (False, 0.0)


@pytest.mark.parametrize(
    ("last", "act"),
    [(b":ABOR", lambda one: one.off()), (b":READ?", lambda one: one.run([Measure(CHANNEL, voltage=True)]))],
)
def test_a_link_that_does_not_answer_is_asked_once_and_left_to_who_makes_safe(family, last, act):
    smu, make = family.emulated()
    driver, heard = ready(make), []

    def fault(line):
        if heard or last in line:
            heard.append(line)
        return Fault.MUTE if heard and b"?" in line else Fault.NONE

    smu.fault = fault
    with pytest.raises(LinkTimeoutError):
        act(driver)
    assert sum(b"?" in line for line in heard) == 1, "no other question waits for its timeout"
    smu.fault = lambda line: Fault.NONE
    assert driver.emergency_off() == {}
    assert not smu.outputs()


def test_off_that_is_not_verified_says_what_failed_on_the_way(family, monkeypatch):
    smu, make = family.emulated()
    driver = ready(make)
    driver.run([OPEN, Level(CHANNEL, 0.1)])

    def lost(text, **more):
        raise InstrumentError(f"lost '{text}'")

    monkeypatch.setattr(driver._scpi, "set", lost)
    with pytest.raises(InstrumentError, match=r"NOT verified off.*lost ':OUTP") as caught:
        driver.off()
    assert str(caught.value).count("lost") >= len(driver.off_commands)
    monkeypatch.undo()
    driver.off()
    assert (smu.smu.output, smu.smu.set.level_v) == (False, 0.0)


def test_the_time_of_steps_is_predicted_to_a_sixth(family):
    smu, make = family.emulated()
    driver = ready(make)
    channels = [SourceChannel(0, CHANNEL, driver.capabilities.step_messages)]
    cold = Limit(CHANNEL, 1e-6, 1e-6)
    read = [OPEN, Aperture(CHANNEL, 1e-3), Ramp(CHANNEL, 0.1, 1000.0), Hold(1e-3), Measure(CHANNEL)]
    rest = [Ramp(CHANNEL, 0.0, 1000.0), cold, Measure(CHANNEL)]
    pulse = [Level(CHANNEL, 0.5), Hold(0.01), Watch(CHANNEL), Level(CHANNEL, 0.0)]
    for steps in (read, rest, [*read, *rest], [OPEN, *pulse, *read, *rest], [cold, Measure(CHANNEL)]):
        events = (ChannelStep(0, step) for step in steps)
        predicted = duration(events, channels, BenchTiming(), 1e-3)
        begin = smu.world.now
        driver.run(steps)
        assert predicted == pytest.approx(smu.world.now - begin, rel=1 / 6)


def test_a_hold_before_a_pulse_passes_before_it(family):
    smu, make = family.emulated()
    driver = ready(make)
    driver.run([OPEN])
    course, begin = levels(smu.world), smu.world.now
    driver.run([Hold(0.25), *family.pulse])
    assert 0.25 <= next(time for time, level in course if level == 0.5) - begin < 0.4


@pytest.mark.parametrize("voltage", [False, True])
def test_a_reading_is_waited_for_as_long_as_it_takes(family, voltage, monkeypatch):
    smu, make = family.emulated()
    driver = ready(make)
    driver.run([OPEN, Aperture(CHANNEL, driver.capabilities.apertures[1])])
    query, waits = driver._scpi.transport.query, []

    def timed(text, **more):
        begin = smu.world.now
        reply = query(text, **more)
        if ":READ?" in text:
            waits.append((smu.world.now - begin, more["extra"]))
        return reply

    monkeypatch.setattr(driver._scpi.transport, "query", timed)
    driver.run([Measure(CHANNEL, voltage)])
    ((took, waited),) = waits
    assert took < waited < 4 * took


@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("executed", [True, False])
def test_an_interrupt_at_any_message_leaves_it_off_behind_off(family, stride, executed):
    """^C while a message is on its way, or while its reply is awaited; the same driver switches off."""
    for number in range(1, messages(family) + 1, stride):
        smu, make = family.emulated()
        driver, execute, count = make(), smu.execute, []

        def interrupted(message, smu=smu, execute=execute, count=count, number=number):
            count.append(message)
            if len(count) != number:
                return execute(message)
            if executed:
                execute(message)
            raise KeyboardInterrupt

        smu.execute = interrupted
        course = levels(smu.world)
        with pytest.raises(KeyboardInterrupt):
            session(driver, family)
        driver.off()
        assert (smu.smu.output, smu.smu.set.level_v, smu.smu.set.mode) == (False, 0.0, "FIXed"), number
        assert {level for _, level in course} <= {0.0, 0.1, 0.5}, number
