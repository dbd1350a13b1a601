"""Whatever a script of the 2600B does and however it ends, the instrument is at 0 V behind the low limit afterwards.

On the emulated 2602B, whose virtual clock only moves when told: a resistor of 1 kohm between its two channels.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instruments.keithley2600b import Keithley2600B
from instruments.transport import BytesTransport
from instruments.tsp import Refused, Tsp
from labctl.core.errors import InstrumentError, NotDriven
from labctl.core.source import Aperture, ChannelSetup, Hold, Level, Limit, Measure, Ramp, Watch
from sim_backend.emulators.k2600 import K2600
from sim_backend.emulators.k2600_smu import OFF
from sim_backend.emulators.resistors import ResistorBox
from sim_backend.emulators.world import Cables, World

SPAN, LIMIT, LOW = 0.6, 5e-3, 1e-5
CHANNELS = ("smua", "smub")


class Wired:
    """A driver that is set up and switched on, its emulated instrument and its world."""

    def __init__(self):
        wiring = Cables({"smu.smua": "pad", "smu.smub": "other"}, {(0, "row", 0): "pad", (0, "col", 0): "other"})
        self.world = World(wiring, ResistorBox(np.full((1, 1, 1), 1e-3)))
        self.instrument = K2600("smu", "2602B", self.world)
        self.driver = Keithley2600B(BytesTransport(self.instrument.session()), "smu")
        self.driver.connect()
        setup = ChannelSetup(SPAN, LIMIT, LIMIT, cold_limit=LOW)
        self.driver.prepare(dict.fromkeys(CHANNELS, setup))
        self.driver.output(CHANNELS)

    def say(self, text):
        """Send a setting from another session, as somebody at the bench would."""
        assert self.instrument.session().handle(f"{text}\nprint(errorqueue.count)\n".encode()) == b"0.00000e+00\n"

    @property
    def levels(self):
        return [self.instrument.smus[c].set.levelv for c in CHANNELS]

    def assert_cold(self):
        settings = [self.instrument.smus[c].set for c in CHANNELS]
        assert [(s.output, s.levelv, s.limiti, s.measure_rangei, s.count) for s in settings] == [
            (1, 0.0, LOW, LOW, 1)
        ] * 2


def a_channel(kind, *arguments):
    return st.builds(kind, st.sampled_from(CHANNELS), *arguments)


volts = st.floats(-SPAN, SPAN)
STEPS = st.lists(
    st.one_of(
        a_channel(Level, volts),
        a_channel(Ramp, volts, st.sampled_from([30.0, 1000.0])),
        st.builds(Hold, st.sampled_from([0.0, 2e-3, 3.0])),
        a_channel(Limit, st.floats(1e-6, LIMIT), st.just(LIMIT)),
        a_channel(Aperture, st.sampled_from([20e-6, 1e-3, 0.4])),
        a_channel(Watch),
        a_channel(Measure, st.booleans()),
    ),
    min_size=1,
    max_size=40,
)
WRONG = (
    "smua.source.levelv=1000",  # refused, and the script goes on
    "smua.source.unknown=1",
    "smub.source.output.x=1",
    'error("an error of a script")',
    "error({})",
    "mtj_limit(smub,1e9,1)",
    "mtj_m=mtj_m+1",
    "mtj_wait(1e4)",
)


@given(STEPS)
def test_any_steps_end_cold_and_in_time(steps):
    wired = Wired()
    _, seconds = wired.driver._steps.compile(steps)
    begin = wired.world.now
    samples = wired.driver.run(steps)
    assert len(samples) == sum(isinstance(step, Watch | Measure) for step in steps)
    assert wired.world.now - begin < seconds
    wired.assert_cold()
    wired.driver.run([Measure("smua", voltage=True)])
    wired.assert_cold()


@pytest.mark.parametrize("tripped", CHANNELS)
def test_a_script_whose_output_trips_gives_no_reading(tripped):
    wired = Wired()
    smu = wired.instrument.smus["smub"]
    conversions = iter(range(2))

    def convert(*arguments, once=smu.convert, **keywords):
        if next(conversions):
            wired.instrument.smus[tripped].switch(OFF)
        return once(*arguments, **keywords)

    smu.convert = convert
    steps = [Level("smua", 0.1), Measure("smub"), Measure("smub"), Watch("smua")]
    with pytest.raises(NotDriven, match=rf"smu\.{tripped}: its output is off"):
        wired.driver.run(steps)


@given(STEPS, st.sampled_from(WRONG), st.data())
def test_a_script_that_fails_anywhere_ends_cold(steps, wrong, data):
    wired = Wired()
    lines, seconds = wired.driver._steps.compile(steps)
    at = data.draw(st.integers(0, len(lines)))
    with pytest.raises(Refused):
        wired.driver._script([*lines[:at], wrong, *lines[at:]], seconds, {})
    wired.assert_cold()
    (sample,) = wired.driver.run([Limit("smua", LIMIT, LIMIT), Limit("smub", LIMIT, LIMIT), Measure("smua")])
    assert sample.flag == 0


READ = [Limit("smua", LIMIT, LIMIT), Limit("smub", LIMIT, LIMIT), Level("smua", 0.1)]


@pytest.mark.parametrize("left", ["measure.delay=20", "measure.count=5000", "measure.filter.enable=1"])
@pytest.mark.parametrize("voltage", [False, True])
def test_a_reading_that_would_last_beyond_the_time_of_its_script_is_not_begun(left, voltage):
    wired = Wired()
    wired.driver.run([Aperture("smub", 0.4)])
    wired.say("smub.measure.filter.count=100")
    wired.say(f"smub.{left}")
    begin = wired.world.now
    with pytest.raises(InstrumentError, match=r"script takes longer than its \d"):
        wired.driver.run([*READ, Measure("smub", voltage)])
    assert wired.world.now - begin < 0.1
    settings = [wired.instrument.smus[c].set for c in CHANNELS]
    assert [(s.levelv, s.limiti) for s in settings] == [(0.0, LOW)] * 2


def test_a_script_whose_steps_take_longer_than_the_host_reckons_ends_by_the_instruments_timer():
    wired = Wired()
    levels, inner = [], wired.world.advance

    def slow(seconds):
        levels.append(wired.levels)
        inner(100 * seconds)

    ramp = [Ramp("smua", 0.6, 30.0), Ramp("smua", 0.0, 30.0)]
    _, seconds = wired.driver._steps.compile(ramp)
    wired.world.advance = slow
    begin = wired.world.now
    with pytest.raises(InstrumentError, match="takes longer"):
        wired.driver.run(ramp)
    took = wired.world.now - begin
    assert seconds - 0.1 < took < seconds + 0.6  # messages take their hundredfold too
    assert 0 < max(level for level, _ in levels) < 0.6
    wired.assert_cold()


def test_a_second_channel_that_is_set_up_later_ends_cold_with_the_first():
    wired = Wired()
    wired.driver.off()
    for channel in CHANNELS:
        wired.driver.prepare({channel: ChannelSetup(SPAN, LIMIT, LIMIT, cold_limit=LOW)})
    wired.driver.output(CHANNELS)
    wired.driver.run([Level(channel, 0.1) for channel in CHANNELS])
    wired.assert_cold()


def test_an_instrument_that_forgot_its_functions_energises_nothing():
    wired = Wired()
    wired.say("mtj_run=nil")
    drives, inner = [], wired.world.drive
    wired.world.drive = lambda channel, drive: (drives.append(drive.level), inner(channel, drive))
    with pytest.raises(InstrumentError, match="mtj_run"):
        wired.driver.run([Level("smua", 0.1)])
    assert not any(drives)
    wired.assert_cold()


@pytest.mark.parametrize("slower", [1, 1000])
def test_the_ramp_of_off_ends_at_0_v_and_off_in_its_time_even_if_its_link_is_lost(monkeypatch, slower):
    wired = Wired()
    wired.say("smua.source.levelv=0.5")
    levels, inner, script = [], wired.world.advance, Tsp.script

    def advance(seconds):
        levels.append(wired.levels[0])
        inner(slower * seconds)

    def lost(tsp, command, **options):
        if not isinstance(command, str):  # the ramp, whose answer is lost, as all that would follow it
            script(tsp, command, **options)
        raise InstrumentError("the link is lost")

    monkeypatch.setattr(Tsp, "script", lost)
    monkeypatch.setattr(Tsp, "set", lost)
    wired.world.advance = advance
    begin = wired.world.now
    wired.driver.off(rate=0.5)  # verified, although no command came after the ramps
    took = wired.world.now - begin  # some seconds of steps and statements, or 160 s instead of a thousand times that
    assert 1 < took < 10 if slower == 1 else 160 < took < 180, "the instrument's own timer ends it"
    assert any(0 < level < 0.5 for level in levels), "it is a ramp"
    settings = [wired.instrument.smus[c].set for c in CHANNELS]
    assert [(s.levelv, s.output) for s in settings] == [(0.0, 0)] * 2


def test_a_warning_in_the_middle_of_a_script_ends_nothing_and_is_told_once():
    wired = Wired()
    for _ in range(2):
        wired.instrument.error(1801, "the fan is slow", 10)
        (sample,) = wired.driver.run([*READ, Measure("smub")])
        assert sample.current == pytest.approx(-1e-4)
    assert wired.driver.warnings() == ["1801 the fan is slow"]
    assert wired.driver.warnings() == []


def test_an_error_of_before_a_script_is_told_and_one_of_the_script_ends_it():
    wired = Wired()
    wired.instrument.error(-220, "Parameter error", 20)
    (sample,) = wired.driver.run([*READ, Measure("smub")])
    assert sample.current == pytest.approx(-1e-4)
    assert wired.driver.warnings() == ["-220 Parameter error, of before a command: from its panel, or another program"]
    wired.instrument.error(-220, "Parameter error", 20)
    with pytest.raises(Refused) as caught:
        wired.driver._tsp.script(["smua.source.rangev=1e9"])
    assert "a script failed: " in str(caught.value)
    assert "-220" not in str(caught.value)
