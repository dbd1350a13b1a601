"""What the host sends to a source that runs no scripts: in which order, and what it never sends."""

import math

import pytest

from instruments.host_timed import HostTimedSource
from labctl.core.errors import BenchError, InstrumentError, LinkTimeoutError, NotDriven
from labctl.core.operations import Flag
from labctl.core.source import (
    Aperture,
    ChannelSetup,
    ChannelState,
    Hold,
    Level,
    Limit,
    Measure,
    Ramp,
    SourceCapabilities,
    SourceMeasure,
    Watch,
)

SETUP = ChannelSetup(0.5, 1e-3, 1e-3, off_limit=1e-6, cold_limit=1e-6)


class Box(HostTimedSource):
    """A source of two channels that writes down what it is sent; `deaf` to the settings of these names."""

    def __init__(self, deaf=()):
        super().__init__("smu", SourceCapabilities("X", ("a", "b"), (1.0, 10.0), (1e-6, 1e-3), 1e-2, (1e-4, 0.1)))
        self.sent, self.deaf = [], deaf
        self.channels = {name: [False, 0.0, 1e-6] for name in "ab"}

    def put(self, verb, channel, place, value):
        self.sent.append((verb, channel, value))
        if verb not in self.deaf:
            self.channels[channel][place] = value

    def identify(self):
        return "box"

    def read_state(self, channel):
        return ChannelState(*self.channels[channel])

    def set_up(self, channel, range_v, setup):
        self.sent.append(("set up", channel, range_v))

    def set_level(self, channel, volts):
        self.put("level", channel, 1, volts)

    def set_limit(self, channel, limit, range_i):
        self.put("limit", channel, 2, limit)

    def set_output(self, channel, on):
        self.put("output", channel, 0, on)

    def set_aperture(self, channel, seconds):
        self.sent.append(("aperture", channel, seconds))

    def pause(self, seconds):
        self.sent.append(("pause", "", seconds))

    def limited(self, channel):
        return channel == "b"

    def measure(self, channel, voltage):
        return (math.nan if channel == "b" else 2e-4), (0.1 if voltage else math.nan)

    def close(self):
        self.sent.append(("close", "", None))


def ready(**options):
    box = Box(**options)
    box.prepare({"a": SETUP, "b": SETUP})
    box.output(["a", "b"])
    box.sent.clear()
    return box


def test_it_is_a_source_and_connecting_sends_nothing():
    box = Box()
    assert isinstance(box, SourceMeasure)
    assert (box.connect(), box.sent) == ("box", [])


def test_a_setup_is_sent_cold_and_an_output_goes_on_cold():
    box = Box()
    box.prepare({"b": SETUP})
    assert box.sent == [("set up", "b", 1.0), ("level", "b", 0.0), ("limit", "b", 1e-6)]
    box.sent.clear()
    box.output(["b"])
    assert box.sent == [("level", "b", 0.0), ("limit", "b", 1e-6), ("output", "b", True)]


def test_steps_are_sent_in_order_and_answered():
    box = ready()
    steps = [Limit("a", 1e-3, 1e-3), Aperture("a", 1e-2), Level("a", 0.4), Hold(0.02), Ramp("a", 0.1, 100.0)]
    samples = box.run([*steps, Watch("b"), Measure("a", voltage=True), Measure("b")])
    levels = [round(value, 9) for verb, _, value in box.sent if verb == "level"]
    assert levels == [0.4, 0.3, 0.2, 0.1]
    assert [(verb, value) for verb, _, value in box.sent if verb != "level"] == [
        ("limit", 1e-3), ("aperture", 1e-2), ("pause", 0.02), ("pause", 1e-3), ("pause", 1e-3),
    ]  # fmt: skip
    watch, good, beyond = samples
    assert (watch.flag, math.isnan(watch.current)) == (Flag.COMPLIANCE, True)
    assert (good.current, good.voltage, good.flag) == (2e-4, 0.1, Flag(0))
    assert (math.isnan(beyond.current), beyond.flag) == (True, Flag.COMPLIANCE | Flag.OVERRANGE)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (Level("a", 0.6), r"smu\.a: 0\.6 V is beyond the setup, 0\.5 V"),
        (Ramp("a", -0.6, 1.0), r"smu\.a: -0\.6 V is beyond the setup"),
        (Ramp("a", 0.1, 0.0), "a ramp of 0 V/s"),
        (Level("a", math.nan), "nan V is beyond the setup"),
        (Limit("a", 2e-3, 1e-3), r"a limit of 0\.002 A is beyond the setup"),
        (Limit("a", 0.0, 1e-3), "a limit of 0 A is beyond the setup"),
        (Limit("a", 1e-3, 1.0), "1 A is beyond the ranges of a X"),
        (Aperture("a", 1.0), r"integrates 0\.0001 to 0\.1 s, not 1 s"),
        (Level("c", 0.1), r"smu\.c has not been set up"),
    ],
)
def test_what_is_beyond_is_refused_before_anything_is_sent(step, words):
    box = ready()
    with pytest.raises((InstrumentError, BenchError), match=words):
        box.run([Level("a", 0.1), step])
    assert box.sent == []


def test_setups_beyond_the_ranges_or_of_a_channel_that_is_on_are_refused():
    box = Box()
    for setup in (ChannelSetup(20.0, 1e-3, 1e-3), ChannelSetup(1.0, 1.0, 1e-3), ChannelSetup(1.0, 1e-3, 1.0)):
        with pytest.raises(BenchError, match="is beyond the ranges of a X"):
            box.prepare({"a": setup})
    assert box.sent == []
    box.channels["b"][0] = True
    with pytest.raises(InstrumentError, match="smu: b on; channels are set up while they are off"):
        box.prepare({"a": SETUP, "b": SETUP})
    assert box.sent == []


@pytest.mark.parametrize(
    ("deaf", "words"),
    [
        ("limit", r"took a limit of 0\.5 A for 1e-06 A"),
        ("level", r"is at 0\.3 V; 0 V were set"),
        ("output", "did not switch on"),
    ],
)
def test_what_is_not_taken_is_an_error(deaf, words):
    box = Box(deaf=(deaf,))
    box.channels["a"][1:] = [0.3, 0.5]
    with pytest.raises(InstrumentError, match=rf"smu\.a {words}"):
        switch_on(box)


def switch_on(box):
    box.prepare({"a": SETUP})
    box.output(["a"])


def test_off_tries_every_channel_and_believes_what_is_read_back():
    box = ready()
    box.run([Level("a", 0.2)])
    box.sent.clear()
    box.off(100.0)
    assert [round(value, 9) for verb, channel, value in box.sent if (verb, channel) == ("level", "a")] == [
        0.1,
        0.0,
        0.0,
    ]
    assert [(verb, channel) for verb, channel, value in box.sent if verb == "output" and not value] == [
        ("output", "a"), ("output", "b"),
    ]  # fmt: skip
    stuck = ready()
    stuck.deaf = ("output",)
    with pytest.raises(InstrumentError, match="smu is NOT verified off: a on at 0 V, b on at 0 V"):
        stuck.off()

    def fail(channel, volts):
        raise InstrumentError("no answer")

    mute = ready()
    mute.run([Level("a", 0.2)])
    mute.set_level = fail
    with pytest.raises(InstrumentError, match=r"NOT verified off: .*; no answer; no answer"):
        mute.off()
    assert mute.channels["a"][:2] == [False, 0.2]


@pytest.mark.parametrize("urgent", [False, True])
def test_a_link_that_does_not_answer_ends_an_orderly_off_at_once_and_an_urgent_one_tries_everything(urgent):
    tried = []

    class Silent(Box):
        def put(self, sent, channel, place, value):
            tried.append((sent, channel))
            raise LinkTimeoutError("no answer")

    box = Silent()
    for channel in "ab":
        box.channels[channel] = [True, 0.2, 1e-3]
    with pytest.raises(InstrumentError) as caught:
        box._switch_off(urgent=urgent)
    everything = [(verb, channel) for channel in "ab" for verb in ("level", "output")]
    assert tried == (everything if urgent else everything[:1])
    assert isinstance(caught.value, LinkTimeoutError) is not urgent


@pytest.mark.parametrize("verb", ["level", "output"])
def test_off_tries_every_command_on_every_channel_whatever_one_of_them_raises(verb):
    class Raising(Box):
        def put(self, sent, channel, place, value):
            if (sent, channel) == (verb, "a"):
                raise ZeroDivisionError("of its commands")
            super().put(sent, channel, place, value)

    box = Raising()
    for channel in "ab":
        box.channels[channel] = [True, 0.2, 1e-3]
    with pytest.raises(InstrumentError, match=r"NOT verified off: a .*; of its commands"):
        box.off()
    assert box.channels["b"][:2] == [False, 0.0]
    assert box.channels["a"][:2] == ([False, 0.2] if verb == "level" else [True, 0.0])


def test_a_reading_is_not_accepted_without_its_output_and_level():
    box = ready()
    box.run([Limit("a", 1e-3, 1e-3), Level("a", 0.1)])
    assert box.run([Measure("a")])[0].current == 2e-4
    box.channels["a"][1] = 0.05
    with pytest.raises(NotDriven, match=r"smu\.a is at 0\.05 V, and 0\.1 V was set"):
        box.run([Measure("a")])
    box = ready()
    box.run([Level("a", 0.1)])
    box.channels["a"][0] = False
    assert box.run([Watch("b")])[0].flag is Flag.COMPLIANCE
    with pytest.raises(NotDriven, match=r"smu\.a: its output is off.*interlock"):
        box.run([Measure("a")])


def test_a_level_that_was_not_taken_is_noticed_before_the_next_ramp_changes_it():
    box = ready()
    box.output(["a"])
    box.run([Ramp("a", 0.2, 1e3)])
    box.deaf = ("level",)
    with pytest.raises(NotDriven, match=r"smu\.a is at 0\.2 V, and 0\.3 V was set; nothing of this script is accepted"):
        box.run([Level("a", 0.3), Measure("a", False), Ramp("a", 0.2, 1e3)])


def test_an_output_that_was_not_set_up_stays_off():
    box = Box()
    with pytest.raises(InstrumentError, match=r"smu\.a has not been set up; its output stays off"):
        box.output(["a"])
    assert not box.sent


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("place", [1, 2])
def test_a_level_or_a_limit_that_is_no_number_is_an_error_and_the_source_goes_off_all_the_same(place, value):
    box = ready()
    box.channels["a"][place] = value
    box.deaf = ("level", "limit")
    with pytest.raises(InstrumentError, match=r"smu\.a tells no number of its level or its limit"):
        box.run([Ramp("a", 0.2, 100.0), Limit("a", 1e-3, 1e-3)])
    if place == 1:
        with pytest.raises(InstrumentError, match="NOT verified off"):
            box.off(100.0)
    else:
        box.off(100.0)
    assert not box.channels["a"][0]
