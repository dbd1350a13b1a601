"""Generic instruments act on the world of a bench like any other, and refuse what they cannot do."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from sim_backend.emulators import generic_matrix, generic_prober, generic_source
from sim_backend.emulators.context import EmulatorContext
from sim_backend.emulators.link import Instrument
from sim_backend.emulators.resistors import ResistorBox
from sim_backend.emulators.sentio_model import StationMap
from sim_backend.emulators.world import Cables, World

OHMS = np.array([[2000.0, 4000.0, 5000.0], [8000.0, 1000.0, 2500.0]])
SETUP = {
    "range_v": 1.0, "limit": 1e-3, "range_i": 1e-3, "off_state": "normal", "off_limit": 1e-6, "remote_sense": False,
    "cold_limit": 1e-6,
}  # fmt: skip


class Bench:
    """A generic source, matrix and prober around resistors of 2 rows by 3 columns at (0, 0); (1, 0) is empty."""

    def __init__(self, stands=True, ideal=True, seed=1):
        lines = {(0, "row", k): f"10{k + 1}" for k in range(2)} | {(0, "col", k): f"11{k}" for k in range(3)}
        die = ResistorBox(1 / OHMS[None])
        self.world = World(
            Cables({"smu.a": "A", "smu.b": "B"}, lines, ("H",)), lambda x, y, site: die if (x, y) == (0, 0) else None
        )
        relays = {f"1{row}{k:02d}": (row, f"1{k:02d}") for row in "ABH" for k in (1, 2, 10, 11, 12)}
        station = StationMap(((0, 0), (1, 0)))
        context = EmulatorContext(self.world, station, crosspoints=relays, seed=seed, ideal=ideal)
        options = SimpleNamespace(
            model="X", channels=("a", "b"), ranges_v=(1.0, 10.0), ranges_i=(1e-6, 1e-5, 1e-3), shortest_aperture=1e-4,
            longest_aperture=1.0, stands=stands, stands_for="someone",
        )  # fmt: skip
        self.source = generic_source.emulate("smu", options, context)
        self.matrix = generic_matrix.emulate("matrix", options, context)
        self.prober = generic_prober.emulate("prober", options, context)

    def ask(self, instrument, verb, **fields):
        reply = json.loads(instrument.handle(json.dumps({"do": verb, "id": 7, **fields}).encode() + b"\n"))
        assert reply["id"] == 7
        return reply["refused"] if "refused" in reply else reply["reply"]

    def ready(self):
        """Route a to row 0 and b to column 1, and switch both on."""
        assert self.ask(self.matrix, "route", closed=["1A01", "1B11"]) == ["1A01", "1B11"]
        assert self.ask(self.source, "prepare", setups={"a": SETUP, "b": SETUP}) == {"a": SETUP, "b": SETUP}
        self.ask(self.source, "output", channels=["a", "b"])
        return self

    def run(self, *steps):
        """Return the samples of steps, or the words of a refusal."""
        reply = self.ask(self.source, "run", steps=list(steps))
        return reply if isinstance(reply, str) else reply["samples"]


def level(channel, volts, **more):
    return {"step": "Ramp" if more else "Level", "channel": channel, "volts": volts, **more}


def limit(channel, amps):
    return {"step": "Limit", "channel": channel, "limit": amps, "range_i": amps}


def measure(channel, voltage=False):
    return {"step": "Measure", "channel": channel, "voltage": voltage}


def test_it_forces_and_measures_through_its_relays():
    bench = Bench().ready()
    ((a, _, flag), (b, volts, _)) = bench.run(
        limit("a", 1e-3), limit("b", 1e-3), level("a", 0.1), measure("a"), measure("b", True)
    )
    assert flag == 0
    assert volts == 0.0
    detours = 1 / (1 / (OHMS[0, 0] + OHMS[1, 0]) + 1 / (OHMS[0, 2] + OHMS[1, 2])) + OHMS[1, 1]
    assert -b == pytest.approx(0.1 * (1 / OHMS[0, 1] + 1 / detours))
    assert a == pytest.approx(-b)
    assert bench.ask(bench.source, "state") == {"a": [True, 0.1, 1e-3], "b": [True, 0.0, 1e-3]}
    assert bench.world.ledger.peak_cell_voltage == pytest.approx(0.1)


def test_it_is_limited_by_the_load_line_and_overranges():
    bench = Bench().ready()
    (watch, (current, _, flag)) = bench.run(
        limit("a", 1e-5), limit("b", 1e-3), level("a", 1.0), {"step": "Watch", "channel": "a"}, measure("a")
    )
    assert watch == [None, None, 1]
    assert current == pytest.approx(1e-5)
    assert flag == 1
    small = {**limit("a", 1e-3), "range_i": 1e-5}
    ((current, _, flag),) = bench.run(small, level("a", 1.0), measure("a"))
    assert current is None
    assert flag & 2


@pytest.mark.parametrize("stands", [True, False])
def test_levels_stand_or_every_sequence_ends_cold_also_one_that_is_refused(stands):
    bench = Bench(stands).ready()
    bench.run(limit("a", 1e-3), level("a", 0.5))
    after = [True, 0.5, 1e-3] if stands else [True, 0.0, 1e-6]
    assert bench.ask(bench.source, "state")["a"] == after
    assert "beyond the setup" in bench.run(limit("a", 1e-3), level("a", 0.5), level("a", 1.5))
    assert bench.ask(bench.source, "state")["a"] == after


def test_the_reply_tells_of_every_channel_at_the_end_of_the_steps():
    bench = Bench(stands=False).ready()
    steps = [limit("a", 1e-3), level("a", 0.5)]
    reply = bench.ask(bench.source, "run", steps=steps)
    assert reply == {"samples": [], "state": {"a": [True, 0.5, 1e-3], "b": [True, 0.0, 1e-6]}}
    bench.ask(bench.source, "off", rate=None)
    assert bench.ask(bench.source, "run", steps=steps)["state"]["a"] == [False, 0.5, 1e-3]


def test_a_ramp_takes_the_time_of_its_rate():
    bench = Bench().ready()
    begin = bench.world.now
    bench.run(level("a", 0.5, rate=1.0))
    assert bench.world.now - begin == pytest.approx(0.5, abs=0.01)


def test_off_ramps_and_an_emergency_does_not():
    bench = Bench().ready()
    bench.run(level("a", 0.5))
    begin = bench.world.now
    bench.ask(bench.source, "off", rate=1.0)
    assert bench.world.now - begin == pytest.approx(0.5, abs=0.02)
    assert bench.ask(bench.source, "state")["a"][:2] == [False, 0.0]
    bench = Bench().ready()
    bench.run(level("a", 0.5))
    bench.ask(bench.source, "abort")
    reply = bench.ask(bench.source, "aborted")
    assert reply["before"]["a"][:2] == [True, 0.5]
    assert reply["now"]["a"][:2] == [False, 0.0]


@pytest.mark.parametrize(
    ("verb", "fields", "words"),
    [
        ("run", {"steps": [{"step": "Level", "channel": "c", "volts": 0.1}]}, "there is no channel 'c'"),
        ("run", {"steps": [limit("a", 0.1)]}, "a limit of 0.1 A is beyond the setup"),
        ("run", {"steps": [{"step": "Aperture", "channel": "a", "seconds": 2.0}]}, "it integrates 0.0001 to 1.0 s"),
        ("run", {"steps": [{"step": "Jump", "channel": "a"}]}, "the step is 'Jump'"),
        ("run", {"steps": [level("a", 0.1, rate=0.0)]}, "a rate of 0.0 V/s"),
        ("prepare", {"setups": {"a": SETUP}}, "a is on; it is set up while it is off"),
        ("off", {}, "missing 1 required positional argument"),
        ("dance", {}, "the verb is 'dance'; expected one of state, prepare"),
    ],
)
def test_what_it_cannot_do_is_refused_and_counted(verb, fields, words):
    bench = Bench().ready()
    assert words in bench.ask(bench.source, verb, **fields)
    assert bench.world.ledger.refused == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"range_v": 20.0}, "20 V is beyond the ranges of a X"),
        ({"limit": 1.0}, "1 A is beyond the ranges of a X"),
        ({"cold_limit": 1e-3, "limit": 1e-5}, "a: the cold limit is above the limit"),
    ],
)
def test_a_setup_beyond_its_capabilities_is_refused(change, words):
    bench = Bench()
    assert bench.ask(bench.source, "prepare", setups={"a": {**SETUP, **change}}) == words
    assert bench.ask(bench.source, "output", channels=["a"]) == "a was not set up"


def test_what_is_no_message_is_refused():
    bench = Bench()
    assert json.loads(bench.source.handle(b"hello\n"))["id"] is None
    assert "a message is a mapping" in json.loads(bench.source.handle(b"[1]\n"))["refused"]
    assert bench.source.handle(b"*IDN?\n") == b"mtj-labctl,source,stands in for someone,1\n"
    assert bench.source.handle(b"\n") == b""


def test_noise_is_that_of_the_operation_whatever_was_read_before():
    def reads(count, operation):
        bench = Bench(ideal=False, seed=3).ready()
        bench.run(*[measure("a")] * count)
        bench.source.seek(operation)
        return bench.run(limit("a", 1e-3), level("a", 0.1), *[measure("a")] * 3)

    assert reads(1, 5) == reads(4, 5)
    assert reads(1, 5) != reads(1, 6)


def test_relays_that_the_wiring_does_not_have_are_refused_and_none_moves():
    bench = Bench().ready()
    assert bench.ask(bench.matrix, "route", closed=["1A01", "1C01"]) == "there are no relays 1C01"
    assert bench.ask(bench.matrix, "closed") == ["1A01", "1B11"]
    bench.ask(bench.matrix, "open")
    assert bench.ask(bench.matrix, "opened") == {"now": [], "before": ["1A01", "1B11"]}
    assert bench.world.ledger.hot_switches == 0


def test_the_needles_step_only_when_they_are_up_and_only_on_the_map():
    bench = Bench()
    assert bench.ask(bench.prober, "where") == {"place": [0, 0, 0], "contact": True, "last": False}
    assert bench.ask(bench.prober, "step", place=[1, 0, 0]) == "the needles are down"
    bench.ask(bench.prober, "separate")
    assert bench.ask(bench.prober, "step", place=[1, 0, 1]) == "1, 0, site 1 is not on the map"
    assert bench.ask(bench.prober, "step", place=[1, 0, 0]) == {"place": [1, 0, 0], "contact": False, "last": True}
    bench.ask(bench.prober, "contact")
    assert bench.world.in_contact
    assert bench.world.ledger.moves_in_contact == 0


def test_what_an_abort_ends_can_be_busy_and_a_prober_ends_by_itself():
    bench = Bench()
    assert bench.source.ends_busy(b'{"do": "abort", "id": 1}')
    assert bench.matrix.ends_busy(b'{"do": "open", "id": 1}')
    assert not bench.source.ends_busy(b'{"do": "open", "id": 1}')
    assert type(bench.prober).ends_busy is Instrument.ends_busy
