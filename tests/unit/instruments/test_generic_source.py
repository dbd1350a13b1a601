"""Every command of the generic source against transcripts; its options are its capabilities."""

import json
import math

import pytest
from pydantic import ValidationError

from instruments.generic_source import DRIVER, GenericSource, GenericSourceOptions
from instruments.transcript import TranscriptReplay
from labctl.core.errors import InstrumentError, NotDriven
from labctl.core.operations import Flag
from labctl.core.source import ChannelSetup, Hold, Level, Measure, OffState, Ramp, SourceMeasure, Watch

OPTIONS = GenericSourceOptions(
    model="X", channels=("a", "b", "c"), ranges_v=(1.0, 10.0), ranges_i=(1e-6, 1e-3), shortest_pulse=1e-3,
    shortest_aperture=1e-4, longest_aperture=1.0,
)  # fmt: skip
SETUP = ChannelSetup(1.0, 1e-3, 1e-3, OffState.NORMAL, 1e-6, cold_limit=1e-6)
TAKEN = {
    "range_v": 1.0, "limit": 1e-3, "range_i": 1e-3, "off_state": "normal", "off_limit": 1e-6, "remote_sense": False,
    "cold_limit": 1e-6,
}  # fmt: skip
REST = {"a": [False, 0.0, 1e-6], "b": [False, 0.0, 1e-6], "c": [False, 0.0, 1e-6]}


def source(*exchanges):
    """Return a source and its wire: verb, fields and reply of each message in turn."""
    talk = []
    for number, (verb, fields, reply) in enumerate(exchanges, 1):
        talk += [(">", json.dumps({"do": verb, "id": number, **fields}))]
        talk += [("<", json.dumps({"id": number, "reply": reply}))]
    wire = TranscriptReplay(talk)
    return GenericSource(wire, "smu", OPTIONS), wire


def test_its_capabilities_are_those_of_its_options_and_back():
    assert isinstance(source()[0], SourceMeasure)
    capabilities = DRIVER.capabilities(OPTIONS)
    assert capabilities == source()[0].capabilities
    assert (capabilities.channels, capabilities.apertures) == (("a", "b", "c"), (1e-4, 1.0))
    assert GenericSourceOptions.of(capabilities, "x") == OPTIONS.model_copy(update={"stands_for": "x"})
    unnamed = GenericSourceOptions(**OPTIONS.model_dump(exclude={"model", "stands", "stands_for", "longest_pulse"}))
    assert (unnamed.model, unnamed.stands, unnamed.stands_for) == ("generic", True, "")
    assert DRIVER.capabilities(OPTIONS.model_copy(update={"longest_pulse": 2.0})).longest_pulse == 2.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ranges_v": (10.0, 1.0)}, "ranges_v are .* expected ascending, above 0"),
        ({"longest_pulse": 1e-4}, "shortest_pulse is above longest_pulse"),
        ({"ranges_i": (0.0, 1.0)}, "ranges_i are .* expected ascending, above 0"),
        ({"channels": ("a", "a")}, "expected different names"),
        ({"shortest_aperture": 2.0}, "shortest_aperture is above longest_aperture"),
    ],
)
def test_capabilities_that_no_source_has_are_refused(change, words):
    with pytest.raises(ValidationError, match=words):
        GenericSourceOptions.model_validate({**OPTIONS.model_dump(), **change})


def test_what_is_set_up_is_compared_with_what_was_taken():
    smu, wire = source(("prepare", {"setups": {"b": TAKEN}}, {"b": TAKEN}))
    with wire:
        smu.prepare({"b": SETUP})
    smu, wire = source(("prepare", {"setups": {"b": TAKEN}}, {"b": {**TAKEN, "limit": 1.0}}))
    with wire, pytest.raises(InstrumentError, match=r"smu took .*'limit': 1\.0"):
        smu.prepare({"b": SETUP})


def test_an_output_goes_on_at_zero_volts_and_is_read_back():
    prepared = ("prepare", {"setups": {"b": TAKEN}}, {"b": TAKEN})
    switched, on = ("output", {"channels": ["b"]}, None), {**REST, "b": [True, 0.0, 1e-6]}
    smu, wire = source(prepared, ("state", {}, REST), switched, ("state", {}, on))
    with wire:
        smu.prepare({"b": SETUP})
        smu.output(["b"])
    smu, wire = source(prepared, ("state", {}, REST), switched, ("state", {}, REST))
    smu.prepare({"b": SETUP})
    with wire, pytest.raises(InstrumentError, match="smu: b did not switch on"):
        smu.output(["b"])
    smu, wire = source(prepared, ("state", {}, {**REST, "b": [False, 0.3, 1e-6]}))
    smu.prepare({"b": SETUP})
    with wire, pytest.raises(InstrumentError, match=r"smu\.b is not at 0 V behind its cold limit"):
        smu.output(["b"])
    smu, wire = source()
    with wire, pytest.raises(InstrumentError, match=r"smu\.a has not been set up"):
        smu.output(["a"])


def test_steps_go_out_as_one_message_and_samples_come_back():
    sent = [
        {"step": "Level", "channel": "a", "volts": 0.5},
        {"step": "Ramp", "channel": "a", "volts": 0.0, "rate": 100.0},
        {"step": "Hold", "seconds": 0.25},
        {"step": "Watch", "channel": "b"},
        {"step": "Measure", "channel": "c", "voltage": True},
    ]
    steps = [Level("a", 0.5), Ramp("a", 0.0, 100.0), Hold(0.25), Watch("b"), Measure("c", voltage=True)]
    on = {name: [True, 0.0, 1e-6] for name in "abc"}
    smu, wire = source(("run", {"steps": sent}, {"samples": [[None, None, 1], [2e-4, 0.1, 0]], "state": on}))
    with wire:
        watch, reading = smu.run(steps)
        assert smu.run([]) == []
    assert (watch.channel, watch.flag, math.isnan(watch.current)) == ("b", Flag(1), True)
    assert (reading.channel, reading.current, reading.voltage, reading.flag) == ("c", 2e-4, 0.1, Flag(0))
    smu, wire = source(("run", {"steps": sent}, {"samples": [[None, None, 1]], "state": on}))
    with wire, pytest.raises(InstrumentError, match="2 readings expected, 1 came"):
        smu.run(steps)


def test_a_reading_is_not_accepted_without_its_output_and_level():
    level, reading = [Level("a", 0.5)], [Measure("b")]
    sent = [[{"step": "Level", "channel": "a", "volts": 0.5}], [{"step": "Measure", "channel": "b", "voltage": False}]]
    on, sample = {"a": [True, 0.5, 1e-3], "b": [True, 0.0, 1e-3]}, [[2e-4, None, 0]]
    for state, words in [
        ({**on, "b": [False, 0.0, 1e-3]}, r"smu\.b: its output is off.*interlock"),
        ({**on, "b": [True, 0.1, 1e-3]}, r"smu\.b is at 0\.1 V, and 0 V was set"),
    ]:
        first = ("run", {"steps": sent[0]}, {"samples": [], "state": on})
        smu, wire = source(first, ("run", {"steps": sent[1]}, {"samples": sample, "state": state}))
        with wire:
            smu.run(level)
            with pytest.raises(NotDriven, match=words):
                smu.run(reading)
    again = ("run", {"steps": sent[0][:0] + sent[1]}, {"samples": sample, "state": on})
    smu, wire = source(("run", {"steps": sent[0]}, {"samples": [], "state": on}), again)
    with wire:
        smu.run(level)
        assert smu.run(reading)[0].current == 2e-4


@pytest.mark.parametrize("amiss", [{"b": [True, 0.0, 1e-6]}, {"c": [False, 0.1, 1e-6]}])
def test_off_is_read_back(amiss):
    smu, wire = source(("off", {"rate": 50.0}, None), ("state", {}, REST))
    with wire:
        smu.off(50.0)
    smu, wire = source(("off", {"rate": None}, None), ("state", {}, {**REST, **amiss}))
    with wire, pytest.raises(InstrumentError, match="is NOT verified off"):
        smu.off()
    missing = {name: state for name, state in REST.items() if name != "c"}
    smu, wire = source(("state", {}, missing))
    with wire, pytest.raises(InstrumentError, match=r"smu\.c is NOT verified off: None"):
        smu.verify_off()


def test_in_an_emergency_off_is_the_first_message_and_what_was_on_is_told():
    talk = [
        (">", '{"do": "abort", "id": 1}\n{"do": "aborted", "id": 2}'),
        ("<", '{"id": 1, "reply": null}'),
        ("<", json.dumps({"id": 2, "reply": {"now": REST, "before": {**REST, "a": [True, 0.3, 1e-3]}}})),
    ]
    with TranscriptReplay(talk) as wire:
        before = GenericSource(wire, "smu", OPTIONS).emergency_off()
    assert (before["a"].output, before["a"].level, before["b"].output) == (True, 0.3, False)


@pytest.mark.parametrize("reply", [None, 3, "off", [], {"a": [False, 0.0]}, {"a": [False, "much", 1e-6]}, {"a": None}])
def test_an_answer_of_another_form_is_an_error_with_the_name_of_the_instrument(reply):
    made, wire = source(("state", {}, reply))
    with wire, pytest.raises(InstrumentError, match=r"smu: .* was answered by .*expected an answer to it"):
        made.state()


def test_a_state_without_a_channel_that_was_driven_is_an_error():
    steps = [{"step": "Measure", "channel": "b", "voltage": False}]
    made, wire = source(("run", {"steps": steps}, {"samples": [[1e-6, None, 0]], "state": {}}))
    made._levels = {"b": 0.1}
    with wire, pytest.raises(InstrumentError, match="smu tells nothing of its channel b"):
        made.run([Measure("b")])
