"""The table of settings has everything that can be set on a channel, or a reason why not."""

import re

import pytest

from instruments.keithley2600b import MODELS, Keithley2600B
from instruments.keithley2600b_settings import AFTER_RESET, NEUTRAL, messages
from instruments.transport import BytesTransport
from instruments.tsp import LONGEST_CHUNK
from labctl.core.source import ChannelSetup
from sim_backend.emulators.k2600 import K2600
from sim_backend.emulators.world import Cables, World

SETUP = ChannelSetup(range_v=0.6, limit=1e-3, range_i=1e-3)
WITHOUT_EFFECT = {
    r"source\.(rangei|autorangei|lowrangei|limitv|offlimitv)": "the channel forces a voltage, on and off",
    r"source\.output": "switched by its own command, which is read back",
    r"source\.outputenableaction": "set if the bench file chooses it",
    r"contact\.threshold": "the contact check of the instrument is not used",
    r"nvbuffer[12]\..*": "the buffer is cleared, and its mode set, where it is filled",
    r"trigger\..*": "no sweep is begun",
}
"""Attributes that change neither a reading nor a time of a channel that is set up, and why; a reset clears them all."""


def emulated(model):
    world = World(Cables({"smu.smua": "pad"}, {}), lambda *place: None)
    return K2600("smu", model, world)


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
    for name, value in AFTER_RESET.items():
        assert attributes[f"smua.{name}"][0]() == value, name


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
