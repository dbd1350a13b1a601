"""Every part of the state of an emulated instrument can be left at another value than the one it is made with."""

from random import Random

import pytest

from instruments.generic_matrix import GenericMatrixOptions
from instruments.generic_prober import GenericProberOptions
from instruments.generic_source import GenericSourceOptions
from instruments.keysightm9615a import KeysightM9615AOptions
from sim_backend.emulators.context import EmulatorContext
from sim_backend.emulators.generic_matrix import GenericMatrix
from sim_backend.emulators.generic_prober import GenericProber
from sim_backend.emulators.generic_source import GenericSource
from sim_backend.emulators.k707 import K707
from sim_backend.emulators.k2600 import K2600
from sim_backend.emulators.leftovers import TRIES, at_attribute, some_number
from sim_backend.emulators.m9615a import M9615ALibrary
from sim_backend.emulators.niswitch import NiSwitchLibrary
from sim_backend.emulators.sentio import Sentio, StationMap
from sim_backend.emulators.tsp.vm import Refusal
from sim_backend.emulators.world import Cables, World

ROUTE = ((0, 0), (1, 0), (2, 0))
SOURCE = {
    "channels": ("ch1", "ch2"), "ranges_v": (1.0, 6.0), "ranges_i": (1e-6, 1e-3), "shortest_pulse": 1e-3,
    "shortest_aperture": 1e-4, "longest_aperture": 0.1,
}  # fmt: skip


def world():
    wires = {f"smu.{channel}": channel for channel in ("smua", "smub", "ch1", "ch2", "ch3", "ch4", "ch5")}
    return World(Cables(wires, {}), lambda *place: None, in_contact=False)


def made(kind):
    place, crosspoints = world(), {"one": ("ch1", "pad"), "two": ("ch2", "other")}
    context = EmulatorContext(place, StationMap(ROUTE), crosspoints=crosspoints)
    match kind:
        case "2602B" | "2635B":
            return K2600("smu", kind, place)
        case "707B":
            return K707("matrix", kind, place, cards={1: "7174A", 3: "7072"})
        case "SENTIO":
            return Sentio("prober", place, wafer=StationMap(ROUTE, sites=2, table=(("a", 0, 0), ("b", 30, 40))))
        case "source":
            return GenericSource("smu", GenericSourceOptions(**SOURCE), context)
        case "matrix":
            return GenericMatrix("matrix", GenericMatrixOptions(), context)
        case "M9615A":
            options = SOURCE.keys() - {"channels"}
            return M9615ALibrary(
                "smu", KeysightM9615AOptions(address="1", **{key: SOURCE[key] for key in options}), place
            )
        case "niswitch":
            return NiSwitchLibrary("PXI1Slot5", place, {"r0/c0": ("ch1", "pad"), "r1/c0": ("ch2", "pad")})
        case "prober":
            return GenericProber("prober", GenericProberOptions(), context)


OF_CHANNELS = {
    "channel.setdelay", "channel.setforbidden", "channel.setlabel", "channel.setlabelrow", "channel.setlabelcolumn",
    "channel.pattern.setimage", "channel.pattern.snapshot",
}  # fmt: skip
KINDS = ("2602B", "2635B", "707B", "SENTIO", "source", "matrix", "prober", "M9615A", "niswitch")


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_is_left_at_another_value_sooner_or_later(kind):
    parts, rng, left = made(kind).leftovers(), Random(kind), set()
    for _ in range(12):
        left |= {part for part, leave in parts.items() if leave(rng) is not None}
    fixed = {"smua.source.outputenableaction"} if kind == "2635B" else set()
    assert parts.keys() - left == fixed


def test_a_matrix_without_cards_has_none_to_exchange_and_no_relay_to_close():
    matrix = made("707B")
    matrix.cards.clear()
    parts = matrix.leftovers()
    assert parts["cards"](Random(1)) is None
    assert parts["relays"](Random(1)) == ""


@pytest.mark.parametrize("kind", ["2602B", "707B"])
def test_the_parts_of_a_script_speaking_instrument_are_its_attributes_and_more(kind):
    one = made(kind)
    attributes = one.lua.attributes()
    of_2602b = {"smua.trigger.initiate", "smub.trigger.initiate", "display.trigger", "display.loadmenu"}
    more = {"2602B": of_2602b, "707B": {"relays", "cards", "scan.background", *OF_CHANNELS}}[kind]
    assert one.leftovers().keys() == attributes.keys() | {"busy", "*IDN?", "errorqueue", "loadscript"} | more
    named = {"smua.measure.rel.enablei", "trigger.timer.8.passthrough", "trigger.blender.6.stimulus.4"}
    assert named <= attributes.keys() or kind == "707B"


def test_the_parts_of_a_prober_are_its_commands_and_its_machine():
    parts = made("SENTIO").leftovers().keys()
    assert {"set_chuck_site_heights", "set_stepping_contact_mode", "move_chuck_contact", "map:step_die"} < parts
    assert {"front_door_open", "vacuum", "home", "compensation"} < parts
    assert not {"get_chuck_z", "stuck", "short", "map:get_die_seq"} & parts


def test_a_value_is_left_only_if_the_instrument_accepts_it_and_it_is_another():
    state = {"value": 3.0}

    def write(value):
        if not 0 <= value <= 4:
            raise Refusal(1101, "Parameter too big")
        state["value"] = value

    leave = at_attribute(lambda: state["value"], write, Refusal)
    values = {leave(Random(seed)) for seed in range(40)}
    assert len(values) > 4
    assert all(0 <= float(value) <= 4 for value in values)

    def refuse(value):
        raise Refusal(1101, "Parameter too big")

    assert at_attribute(lambda: 3.0, refuse, Refusal)(Random(1)) is None


def test_numbers_are_small_ones_and_of_any_size_and_sign():
    rng = Random(3)
    values = [some_number(rng) for _ in range(50 * TRIES)]
    assert {0, 1, 2, -1} < set(values)
    assert min(abs(value) for value in values if value) < 1e-8
    assert max(values) > 100
    assert min(values) < -10


def test_each_function_of_a_matrix_that_sets_something_is_left_to_have_been_used():
    matrix = made("707B")
    functions = {f"channel.{name}" for name in matrix.settings.objects() if str(name).startswith("set")}
    assert functions | {"channel.pattern.setimage", "channel.pattern.snapshot"} == OF_CHANNELS
    assert matrix.leftovers().keys() >= OF_CHANNELS


def test_every_field_of_a_generic_channel_is_left_but_memories_of_messages():
    source = made("source")
    state = {f"{name}.{part}" for name, channel in source.channels.items() for part in vars(channel)}
    memories = {f"{name}.{part}" for name in source.channels for part in ("setup", "before")}
    assert state - source.leftovers().keys() == memories


@pytest.mark.parametrize(("kind", "asking"), [("matrix", {"closed", "opened"}), ("prober", {"where"})])
def test_every_verb_of_another_generic_instrument_is_left_but_those_that_ask(monkeypatch, kind, asking):
    one = made(kind)
    verbs = one.verbs()
    assert verbs.keys() - asking == one.leftovers().keys() - {"busy"}
    monkeypatch.setattr(one, "verbs", lambda: {**verbs, "shake": lambda amplitude: None})
    with pytest.raises(KeyError, match="amplitude"):
        one.leftovers()


def test_a_verb_that_changes_nothing_leaves_nothing():
    assert made("matrix").leftovers()["open"](Random(1)) is None
    prober = made("prober")
    assert prober.leftovers()["separate"](Random(1)) is None
    assert prober.leftovers()["contact"](Random(1)) == "contact"
    assert prober.leftovers()["step"](Random(1)) is None  # the needles are down


def test_the_parts_of_a_library_s_module_are_its_attributes_on_every_channel():
    library = made("M9615A")
    attributes = {f"ch{number}.{part}" for number, channel in library.channels.items() for part in channel.values}
    assert library.leftovers().keys() == attributes | {"module"}
    library.leftovers()["ch2.1150403"](Random(1))
    assert library.outputs() == {"ch2": 0.0}
