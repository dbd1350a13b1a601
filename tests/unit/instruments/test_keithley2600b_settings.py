"""The table of settings has everything that can be set on a channel, or a reason why not."""

import re
from random import Random

import pytest

from instruments.keithley2600b import MODELS, Keithley2600B
from instruments.keithley2600b_defaults import LEFT_ALONE, RANGES, SET_ANEW, UNLISTED, after_reset, values_in
from instruments.keithley2600b_settings import NEUTRAL, messages
from instruments.transport import BytesTransport
from instruments.tsp import LONGEST_CHUNK
from labctl.core.errors import InstrumentError
from labctl.core.source import ChannelSetup
from sim_backend.emulators.k2600 import K2600
from sim_backend.emulators.world import Cables, World

SETUP = ChannelSetup(range_v=0.6, limit=1e-3, range_i=1e-3)
WITHOUT_EFFECT = {
    r"source\.(rangei|autorangei|lowrangei|limitv|offlimitv)": "the channel forces a voltage, on and off",
    r"source\.output": "switched by its own command, which is read back",
    r"source\.outputenableaction": "set if the bench file chooses it",
    r"contact\.threshold": "the contact check of the instrument is not used",
    r"nvbuffer[12]\..*": "no reading goes into a buffer",
    r"trigger\..*": "no sweep is begun",
}
"""Attributes that change neither a reading nor a time of a channel that is set up, and why; a reset clears them all."""


def emulated(model):
    world = World(Cables({"smu.smua": "pad"}, {}), lambda *place: None)
    return K2600("smu", model, world)


def connected(instrument):
    """Return the driver of an instrument, or of a new one of a model, connected."""
    smu = driver(emulated(instrument) if isinstance(instrument, str) else instrument)
    smu.connect()
    return smu


def driver(instrument, **options):
    return Keithley2600B(BytesTransport(instrument.session()), "smu", model=instrument.model, **options)


@pytest.mark.parametrize("model", ["2602B", "2635B"])
def test_every_attribute_of_a_channel_is_set_and_read_back_or_has_no_effect(model):
    instrument = emulated(model)
    writable = {n.partition(".")[2] for n in instrument.lua.attributes() if n.startswith("smua.")}
    table = {setting.attribute for setting in driver(instrument)._settings("smua", SETUP)}
    assert table <= writable
    without = {name for name in writable if any(re.fullmatch(pattern, name) for pattern in WITHOUT_EFFECT)}
    assert writable - table - without == set()
    assert not table & without


@pytest.mark.parametrize("model", MODELS)
def test_the_values_after_a_reset_are_those_of_every_model(model):
    attributes = emulated(model).lua.attributes()
    for name, value in after_reset(model).items():
        assert (attributes[f"smua.{name}"][0]() or 0) == value, name
    for name, value in (LEFT_ALONE | SET_ANEW).items():
        present = attributes[name][0]()
        assert (len(list(present)) if name.endswith("list") else present) == value, name


@pytest.mark.parametrize("model", ["2602B", "2635B"])
def test_every_attribute_that_a_user_can_set_is_listed_when_it_is_not_as_after_a_reset(model):
    clean, rng = connected(model), Random(model)
    assert not any("after a reset" in line for line in clean.diagnosis()[0])
    set_before_use = {setting.attribute for setting in clean._settings("smua", SETUP)}
    assert set_before_use <= after_reset(model).keys() | RANGES.keys()
    for name in emulated(model).lua.attributes():
        if model == "2635B" and not re.search("range|limit|enable", name):  # what depends on the model
            continue
        if name.startswith("smub.") or any(re.fullmatch(pattern, name) for pattern in UNLISTED):
            continue
        instrument = emulated(model)
        leave = instrument.leftovers()[name]
        left = next((text for text in (leave(rng) for _ in range(20)) if text is not None), None)
        if left is None:
            assert (name, model) == ("smua.source.outputenableaction", "2635B")
            continue
        state = connected(instrument).diagnosis()[0]
        listed = " ".join(line for line in state if "not as after a reset" in line)
        assert name == "smua.source.output" or f" {name.removeprefix('smua.')} " in listed, (name, left, listed)


def test_a_sweep_that_waits_for_its_event_is_listed_and_ends_before_the_channel_is_used():
    instrument = emulated("2602B")
    instrument.leftovers()["smub.trigger.initiate"](Random(1))
    smu = connected(instrument)
    waits = "smub: a sweep is running or waits for its event; it ends before it is used"
    assert waits in smu.diagnosis()[0]
    smu.prepare({"smub": SETUP})
    smu.diagnosis()  # the emulated instrument shows a sweep that has ended once more
    assert waits not in smu.diagnosis()[0]


def test_a_setting_that_the_firmware_lacks_hides_no_other_and_an_answer_that_is_none_is_told():
    instrument = emulated("2602B")
    smu = connected(instrument)
    instrument.execute("trigger.timer[1].count=3 smua.measure.count=4 trigger=nil")
    state, _ = smu.diagnosis()
    assert [line for line in state if "after a reset" in line] == [
        "smua: not as after a reset, and set anew before it is used: measure.count 4"
    ]
    for reply in ("1\t2", "one"):
        with pytest.raises(InstrumentError, match=f"'{reply}' answers where 1 settings were asked for"):
            values_in(reply, 1)


@pytest.mark.parametrize("model", MODELS)
def test_every_model_takes_its_settings_and_the_messages_are_short(model):
    instrument = emulated(model)
    smu = driver(instrument)
    smu.connect()
    smu.prepare(dict.fromkeys(smu.capabilities.channels, SETUP))
    assert not instrument.errors
    plan = smu._settings("smua", SETUP)
    assert max(map(len, messages("smua", plan))) < LONGEST_CHUNK
    assert sum(text.count("=") for text in messages("smua", plan)) == len(plan)
    assert NEUTRAL.keys() < {setting.attribute for setting in plan}
