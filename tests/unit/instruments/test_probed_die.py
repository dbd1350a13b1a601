"""A die under needles: emulated instruments looking at a simulated die, in process unless said otherwise.

The bench reaches 2 kernels of 4 x 3 cells with two 2602B, a 707B and a SENTIO.
"""

import math
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from instruments import probed_die, routing
from instruments.assignment import OPEN, Reach
from instruments.bench import Bench
from instruments.bench_state import Contact, IllegalTransition, State
from instruments.chuck_prober import NeedlesDown
from instruments.contact import Needles, check_contact, check_first_contact, check_time
from instruments.drivers import visa
from instruments.emergency import make_safe
from instruments.entry import Address
from instruments.keithley2600b import DRIVER, Keithley2600B
from instruments.keithley2600b_script import COUNTED_STEPS
from instruments.open_bench import open_bench, planned_die
from instruments.reading_math import subtract_leads
from instruments.step_sequence import READ, Act, ChannelStep, Composer, RouteVisit, SourceChannel
from instruments.touches import lift, touch_down
from instruments.transport import BytesTransport
from instruments.tsp import number
from labctl.core.bias import Bias, Geometry, Nominal
from labctl.core.die import Die
from labctl.core.errors import BenchError, ContactError, InstrumentError, LimitError, LinkTimeoutError, SwitchedOff
from labctl.core.operations import Flag, Pulse, Reading, Sense, WritePlan
from labctl.core.source import Ramp, levels_after
from labctl.station.twin_wiring import wiring_of
from sim_backend.description import DieDescription
from sim_backend.die import SimDie
from sim_backend.emulators.k707 import K707
from sim_backend.emulators.k2600 import K2600
from sim_backend.emulators.link import Fault
from sim_backend.emulators.sentio import Sentio, StationMap
from sim_backend.emulators.serve import Server
from sim_backend.emulators.world import World

K, M, N = 2, 4, 3
NOMINAL = Nominal.alike(4.2e-4, 1.9e-4, 2)


def bench(context=None, gates=False, **changes):
    pads = [f"{axis}{k}{i}" for k in range(K) for axis, n in (("r", M), ("c", N), ("g", M * gates)) for i in range(n)]
    data = {
        "name": "twin",
        "instruments": {
            "smu1": {"driver": "keithley2600b", "resource": "1"},
            "smu2": {"driver": "keithley2600b", "resource": "2"},
            "matrix": {"driver": "keithley707b", "resource": "3"},
            "prober": {"driver": "mpi_sentio", "resource": "4", "overtravel_ceiling": "50 um"},
        },
        "wiring": {
            "channels": {"smu1.smua": "A", "smu1.smub": "B", "smu2.smua": "C", "smu2.smub": "D"},
            "ground": "H",
            "pads": {pad: f"{1 + j // 12}-{1 + j % 12:02d}" for j, pad in enumerate(pads)},
            "kernels": [
                {
                    "rows": [f"r{k}{i}" for i in range(M)],
                    "cols": [f"c{k}{i}" for i in range(N)],
                    "gates": [f"g{k}{i}" for i in range(M * gates)],
                }
                for k in range(K)
            ],
        },
        "limits": {
            "v_towards_p": "0.7 V", "v_towards_ap": "0.6 V", "v_gate": "3 V",
            "width": "10 ms", "compliance": "10 mA", "ramp_rate": "1000 V/s",
        },
        "contact": {"structures": [["r00", "c00"], ["r03", "c02"]], "retouches": 1, "touches_per_die": 3},
    }  # fmt: skip
    for path, value in changes.items():
        section = data
        *way, last = path.split("__")
        for key in way:
            section = section.setdefault(key, {})
        section[last] = value
    return Bench.model_validate(data, context={"file": True, **(context or {})})


def simulated(**simulation):
    data = {
        "name": "die",
        "geometry": {"kernels": K, "n_rows": M, "n_cols": N},
        "polarity": 1,
        "junction": {"diameter": "80 nm"},
        "simulation": simulation or {"ideal": True},
    }
    return SimDie(DieDescription.model_validate(data, context={"file": True}), seed=11, name="die")


class Twin:
    """The emulated instruments of a bench and the bench opened on them."""

    def __init__(self, file=None, load=None, in_contact=True, **options):
        file, load = file or bench(), load or simulated()
        cables = wiring_of(file)
        loose = {f"smu{k}.smu{c}": f"spare{k}{c}" for k in (1, 2) for c in "ab"}
        self.world = World(replace(cables, channels={**loose, **cables.channels}), load, in_contact=in_contact)
        self.instruments = {
            "smu1": K2600("smu1", "2602B", self.world),
            "smu2": K2600("smu2", "2602B", self.world),
            "matrix": K707("matrix", "707B", self.world, cards={1: "7174A", 2: "7174A"}),
            "prober": Sentio("prober", self.world, wafer=StationMap(((0, 0), (1, 0)))),
        }
        self.sent = []
        self.open = open_bench(file, NOMINAL, connect=self.connect, wait=self.world.advance, **options)
        self.die = self.open.die

    def connect(self, name, entry):
        def log(direction, data):
            if direction == ">":
                self.sent.append((name, data.decode()))

        return BytesTransport(self.instruments[name].session(), name, probe=entry.declaration.question, log=log)

    def smu(self, name, channel):
        return self.instruments[name].channels[channel].smu

    @property
    def outputs(self):
        return [d is not None and d.level != 0 for d in self.world._drives.values()]

    def clean(self):
        ledger = self.world.ledger
        return (ledger.hot_switches, ledger.fights, ledger.moves_in_contact) == (0, 0, 0)


class Standing(Keithley2600B):
    """A source of somebody else on the emulated 2600B: what a call has set stands until the next."""

    @property
    def capabilities(self):
        return replace(super().capabilities, stands=True)

    levels = MappingProxyType({})

    def output(self, channels):
        self.levels = {}
        super().output(channels)

    def run(self, steps):
        samples = self._run(steps, self.levels)
        self.levels = {**self.levels, **levels_after(steps, self.levels)}
        return samples

    def _script(self, lines, seconds, levels):
        body = [f"local r=mtj_r mtj_n=0 mtj_t={number(seconds)} timer.reset()", *lines, "mtj_proof(r)"]
        steps = sum(line.startswith(COUNTED_STEPS) for line in lines)
        return self._proved(self._tsp.script(body, extra=seconds), levels, steps)


@pytest.fixture
def standing(monkeypatch):
    """Have benches whose sources keep their levels between two calls."""
    declared = replace(
        DRIVER,
        make=lambda name, options, wire: Standing(wire, name, model=options.model),
        capabilities=lambda options: replace(DRIVER.capabilities(options), stands=True),
    )
    monkeypatch.setattr("instruments.keithley2600b.DRIVER", declared)


@pytest.fixture
def twin():
    made = Twin()
    made.die.idle()
    return made


def read(rows, cols, kernel=0, volts=0.1):
    rows = np.asarray(rows)
    row = np.zeros((len(rows), M))
    row[np.arange(len(rows)), rows] = volts
    return Sense(Bias(row, np.zeros((len(rows), N)), kernel=np.asarray(kernel)), np.asarray(cols)[:, None])


def half_select(rows, cols, volts, kernel=0):
    n, at = len(rows), np.arange(len(rows))
    row, col = np.full((n, M), volts / 2), np.full((n, N), volts / 2)
    row[at, rows], col[at, cols] = volts, 0.0
    return Bias(row, col, kernel=np.asarray(kernel), pulsed=np.asarray(rows))


def shifted(rows, cols, volts, kernel=0):
    """V/2 writes with the row at +V/2 and the column at -V/2: two channels and the ground."""
    n, at = len(rows), np.arange(len(rows))
    row, col = np.zeros((n, M)), np.zeros((n, N))
    row[at, rows], col[at, cols] = volts / 2, -volts / 2
    return Bias(row, col, kernel=np.asarray(kernel), pulsed=np.asarray(rows))


def test_it_is_a_die_of_the_wiring(twin):
    assert isinstance(twin.die, Die)
    assert twin.die.geometry == Geometry(K, M, N)
    assert twin.die.nominal == NOMINAL


def test_opening_changes_nothing_at_all():
    twin = Twin()
    assert twin.world.ledger.relay_operations == 0
    assert not [text for _, text in twin.sent if "=" in text or "channel.open" in text or "move" in text]
    assert twin.open.identities["matrix"].startswith("Keithley Instruments Inc., Model 707B")


def test_currents_and_states_are_those_of_the_die_itself(twin):
    alone = simulated()
    sense = read([0, 3, 2], [2, 0, 1], kernel=[0, 1, 0])
    every = Sense(Bias(np.array([[0.1, 0, 0, 0], [0, 0, 0, -0.1]]), np.zeros((2, N))), np.array([2, 0, 1]))
    pulse = Pulse(half_select([0, 3, 2], [2, 0, 1], 0.5), 1e-3, read([0, 3, 2], [2, 0, 1]))
    for operation in (sense, every):
        np.testing.assert_allclose(twin.die.sense(operation).current, alone.sense(operation).current, rtol=1e-6)
    reading, expected = twin.die.pulse(pulse), alone.pulse(pulse)
    np.testing.assert_allclose(reading.current, expected.current, rtol=1e-6)
    assert not reading.flag.any()
    assert (reading.current > 1.5 * twin.die.sense(read([1, 1, 1], [2, 0, 1])).current).all()
    twin.die.idle()
    assert twin.clean()


def test_a_write_plan_writes_and_verifies(twin):
    rows, cols = np.arange(3), np.array([2, 0, 1])
    plan = WritePlan(
        half_select(rows, cols, 1.0), read(rows, cols), np.ones(3, np.bool_), np.full(3, NOMINAL.cut(0)), 0.1,
        np.array([0.2, 0.5]), np.full(3, 2), 1e-3,
    )  # fmt: skip
    attempts = twin.die.program(plan)
    assert attempts.verified.all()
    assert attempts.attempt.tolist() == [1, 1, 1, 2, 2, 2]
    once = twin.die.check(Pulse(plan.write.scaled(0.5), 1e-3, plan.verify))
    assert twin.die.check(plan) == pytest.approx(2 * once, rel=0.05)


def test_a_pulse_and_its_read_are_one_script_in_which_the_column_goes_first_and_comes_back_last(twin):
    twin.die.sense(read([0], [0]))
    sent, drives = len(twin.sent), []
    inner = twin.world.drive
    twin.world.drive = lambda channel, drive: (drives.append((channel, round(drive.level, 3))), inner(channel, drive))
    twin.die.pulse(Pulse(shifted([1], [2], 0.5), 1e-3, read([1], [2])))
    moved = [pair for k, pair in enumerate(drives) if pair[1] or any(c == pair[0] and v for c, v in drives[:k])]
    changes = [p for k, p in enumerate(moved) if p not in moved[max(0, k - 1) : k]]
    tops = [p for p in changes if p[1] in (0.25, -0.25, 0.1, 0.0)]
    assert tops[:4] == [("smu1.smub", -0.25), ("smu1.smua", 0.25), ("smu1.smua", 0.0), ("smu1.smub", 0.0)]
    assert ("smu1.smua", 0.1) in tops[4:]
    assert tops[-1][1] == 0.0
    assert [name for name, _ in twin.sent[sent:] if name != "matrix"] == ["smu1"]


def test_where_levels_stand_half_selected_lines_go_up_first_and_come_down_last_on_one_route(standing):
    twin = Twin()
    twin.die.idle()
    check_contact(twin.die)
    twin.die.idle()
    twin.sent.clear()
    twin.die.sense(read([0], [0]))
    before, drives = twin.world.ledger.relay_operations, []
    inner = twin.world.drive
    twin.world.drive = lambda channel, drive: (drives.append((channel, drive.level)), inner(channel, drive))
    twin.die.pulse(Pulse(half_select([1], [2], 0.5), 1e-3, read([1], [2])))
    moved = [pair for k, pair in enumerate(drives) if pair[1] or any(c == pair[0] and v for c, v in drives[:k])]
    changes = [p for k, p in enumerate(moved) if p not in moved[max(0, k - 1) : k]]
    order = [(channel, round(level, 3)) for channel, level in changes]
    up, top, down = order.index(("smu1.smub", 0.25)), order.index(("smu1.smua", 0.5)), None
    down = next(k for k in range(top, len(order)) if order[k] == ("smu1.smua", 0.0))
    last = next(k for k in range(top, len(order)) if order[k] == ("smu1.smub", 0.0))
    assert up < top < down < last
    assert all(0 < level <= 0.25 for channel, level in order[: up + 1] if channel == "smu1.smub")
    assert ("smu1.smua", 0.1) in order[last:]
    # one route: every line is moved to its new source at most once
    assert twin.world.ledger.relay_operations - before <= 2 * (M + N)
    assert sum("channel.close" in text for _, text in twin.sent) == 2


def test_an_operation_is_planned_once_and_judged_each_time(twin, monkeypatch):
    planned, judged, plan, judge = [], [], routing.plan, probed_die.judge
    monkeypatch.setattr(routing, "plan", lambda asked, *rest, **how: planned.append(asked) or plan(asked, *rest, **how))
    monkeypatch.setattr(probed_die, "judge", lambda bias, *rest: judged.append(bias) or judge(bias, *rest))
    die, first, second = twin.die, read([0], [1]), read([1], [1])
    for operation in (first, second):
        expected = die.check(operation)
        assert die.check(operation) == expected
        die.sense(operation)
    die.sense(first)
    assert planned == [first, second, first]
    assert len(judged) == 2 * 7, "the bias of a read is judged as one and as the whole"


def test_the_width_is_what_was_asked_for(twin):
    times = []
    inner = twin.world.drive
    twin.world.drive = lambda channel, drive: (
        times.append((twin.world.now, channel, drive.level)),
        inner(channel, drive),
    )
    twin.die.pulse(Pulse(half_select([1], [2], 0.5), 2e-3))
    up = next(t for t, channel, level in times if channel == "smu1.smua" and level == 0.5)
    end = next(t for t, channel, level in times if channel == "smu1.smua" and level == 0.0 and t > up)
    assert end - up == pytest.approx(2e-3, rel=1e-6)


OPERATIONS = pytest.mark.parametrize(
    "operation",
    [
        read([2, 2, 2], [1, 1, 1], volts=np.array([0.1, -0.1, 0.2])),
        read([2] * 75, [1] * 75),
        Pulse(shifted([0, 3, 2], [2, 0, 1], 0.5), 1e-3, read([0, 3, 2], [2, 0, 1])),
        read([0, 3, 2, 2], [2, 0, 1, 1], kernel=[0, 1, 0, 0]),
        Sense(Bias(np.array([[0.1, 0, 0, 0], [0, 0, 0, -0.1]]), np.zeros((2, N))), np.array([2, 0, 1]), aperture=5e-3),
        Pulse(half_select([0, 3, 2], [2, 0, 1], 0.5), 1e-3, read([0, 3, 2], [2, 0, 1])),
        Pulse(half_select([0, 3], [2, 0], -0.4), 4e-3),
    ],
)


@OPERATIONS
@pytest.mark.parametrize("between", ["open", "grounded"])
def test_the_predicted_time_is_the_time_it_takes(operation, between):
    twin = Twin(bench(outputs__between_routes=between))
    twin.die.idle()
    assert_takes_as_predicted(twin, operation, 0.07)


@OPERATIONS
def test_where_levels_stand_the_predicted_time_is_the_time_it_takes(standing, operation):
    twin = Twin()
    twin.die.idle()
    assert_takes_as_predicted(twin, operation, 0.1)


@pytest.mark.parametrize("between", ["open", "grounded"])
def test_the_predicted_time_of_proving_contact_again_is_the_time_it_takes(between):
    twin = Twin(bench(outputs__between_routes=between))
    twin.die.idle()
    check_contact(twin.die)
    twin.die.sense(read([2], [1], kernel=1))
    begin = twin.world.now
    check_contact(twin.die)
    predicted = check_time(planned_die(twin.open.bench, NOMINAL))
    assert predicted == pytest.approx(twin.world.now - begin, rel=0.07)


def assert_takes_as_predicted(twin, operation, error):
    run = twin.die.sense if isinstance(operation, Sense) else twin.die.pulse
    run(operation)
    twin.die.sense(read([0], [0], kernel=1))
    begin = twin.world.now
    run(operation)
    assert twin.die.check(operation) == pytest.approx(twin.world.now - begin, rel=error)


FOUR = Sense(Bias(np.array([[0.1, 0.2, 0.3, 0.4]]), np.zeros((1, N))), np.array([1]))


def test_more_levels_than_one_instrument_has_channels_are_refused_before_anything_moves():
    words = (
        r"4 levels and a sensed column at once, 2 channels and a ground: 5 channels of one instrument are needed, and "
        r"none here has more than smu1 .2602B. with 2; levels cannot be held from one script to the next"
    )
    with pytest.raises(BenchError, match=words):
        planned_die(bench(), NOMINAL).check(FOUR)


def test_the_instrument_with_most_channels_does_everything_and_the_others_stay_off():
    twin = Twin(bench(wiring__channels={"smu1.smua": "A", "smu2.smua": "C", "smu2.smub": "D"}))
    twin.die.idle()
    pulse = Pulse(shifted([1, 3], [2, 0], 0.5), 1e-3, read([1, 3], [2, 0]))
    np.testing.assert_allclose(twin.die.pulse(pulse).current, simulated().pulse(pulse).current, rtol=1e-6)
    on = {name: state.output for name in ("smu1", "smu2") for name, state in twin.open.sources[name].state().items()}
    assert {name: smu.set.output for k in (1, 2) for name, smu in twin.instruments[f"smu{k}"].smus.items()} == on
    assert [twin.smu(f"smu{k}", f"smu{c}").set.output for k in (1, 2) for c in "ab"] == [0, 0, 1, 1]
    assert not any(row == "matrix.A" for row, _ in twin.world.closed)


def test_sources_of_one_channel_each_check_contact_and_can_read_no_cell_of_an_array():
    twin = Twin(bench(wiring__channels={"smu1.smua": "A", "smu2.smua": "C"}))
    twin.die.idle()
    assert twin.die.check(Pulse(Bias(read([1], [2]).bias.row, np.zeros((1, N)), pulsed=np.array([1])), 1e-3)) > 0
    with pytest.raises(BenchError, match=r"2 channels of one instrument are needed.* smu1 .2602B. with 1;"):
        twin.die.check(read([1], [2]))
    resistance = twin.die.continuity("r00", "c00")
    assert resistance == pytest.approx(Twin().die.continuity("r00", "c00"), rel=1e-9), "the other line is on ground"


@pytest.mark.parametrize("number", [1, 2])
def test_a_contact_check_that_reads_no_number_is_read_again_and_tells_nothing_of_contact(number, monkeypatch):
    twin = Twin()
    twin.die.idle()
    normal = twin.die.continuity("r00", "c00")
    carry_out, spoilt = twin.die._io.carry_out, []

    def silent(events):
        samples = carry_out(events)
        if len(spoilt) < number and any(tag.kind == READ for tag, _ in samples):
            spoilt.append(len(samples))
            samples = [(tag, replace(one, current=math.nan, flag=Flag.OVERRANGE)) for tag, one in samples]
        return samples

    monkeypatch.setattr(twin.die._io, "carry_out", silent)
    if number == 2:
        with pytest.raises(InstrumentError, match="what the contact check has read is no number"):
            twin.die.continuity("r00", "c00")
    else:
        assert twin.die.continuity("r00", "c00") == pytest.approx(normal, rel=0.01)
    assert len(spoilt) == number


def test_where_levels_stand_a_visit_uses_the_channels_of_all_instruments(standing):
    twin = Twin()
    twin.die.idle()
    sense = Sense(Bias(np.array([[0.1, 0, 0, 0], [0, -0.1, 0, 0.05]]), np.zeros((2, N))), np.array([2, 0, 1]))
    np.testing.assert_allclose(twin.die.sense(sense).current, simulated().sense(sense).current, rtol=1e-6)
    assert sum("channel.close" in text for _, text in twin.sent) == 1 + 3, "after that of the contact check"
    twin.die.idle()
    assert twin.clean()


def test_where_levels_stand_more_levels_than_channels_are_refused(standing):
    die = planned_die(bench(), NOMINAL)
    levels = FOUR
    with pytest.raises(BenchError, match="4 levels and a sensed column at once, 4 channels and a ground"):
        die.check(levels)


@pytest.mark.parametrize(
    ("operation", "error", "words"),
    [
        (Pulse(half_select([0], [0], 0.5), 50e-9), BenchError, "5e-08 s asked for; smu1 .2602B. makes none shorter"),
        (Pulse(half_select([0], [0], 0.5), 0.1), LimitError, "pulse width on this bench: 0.1 s"),
        (Pulse(half_select([0], [0], 0.71), 1e-3), LimitError, "towards P on this bench: 0.71 V"),
        (Pulse(half_select([0], [0], -0.61), 1e-3), LimitError, "towards AP on this bench: 0.61 V"),
        (Sense(read([0], [0]).bias, np.array([0]), aperture=1.0), BenchError, "aperture of 1 s"),
        (Sense(Bias(np.zeros((1, 5)), np.zeros((1, N))), np.array([0])), BenchError, "the die has 4 x 3"),
        (Sense(Bias(np.zeros((1, M)), np.zeros((1, N)), compliance=0.02), np.array([0])), LimitError, "compliance"),
    ],
)
def test_what_the_bench_cannot_or_may_not_do_is_refused_without_a_connection(operation, error, words):
    with pytest.raises(error, match=words):
        planned_die(bench(), NOMINAL).check(operation)


def test_limits_of_a_bench_beyond_what_its_sources_force_are_refused_without_a_connection():
    limits = {"limits__v_towards_p": "45 V", "limits__v_towards_ap": "45 V"}
    with pytest.raises(BenchError, match=r"allow 45 V, and smu1 \(2602B\) forces 40 V at most"):
        planned_die(bench(**limits), NOMINAL)


def test_lines_that_pulse_together_need_an_instrument_that_times_them_and_one_line_does_not():
    hosted = [SourceChannel(0, name, step_messages=3.0) for name in ("smu1", "smu2")]
    both = RouteVisit(0, (0, 1), True, (0.3, -0.3), -1, False, (0.0, 0.0), {}, 1e-3)
    act = Act(1e-3, 1e-3, 1e-3)
    for refused in (both, replace(both, pulse=(0.3, 0.3))):
        with pytest.raises(BenchError, match="gets each step in messages, so the width would be longer than asked for"):
            list(Composer(bench(), hosted).visit(refused, act))
    assert list(Composer(bench(), hosted).visit(replace(both, maker=0), act))
    assert list(Composer(bench(), [replace(channel, step_messages=0.0) for channel in hosted]).visit(both, act))


def test_a_pulse_longer_than_a_source_makes_is_refused_without_a_connection():
    die = planned_die(bench(), NOMINAL)
    for unit in die._io.working:
        unit.capabilities = replace(unit.capabilities, longest_pulse=2e-3)
    assert die.check(Pulse(half_select([0], [0], 0.5), 2e-3)) > 0
    with pytest.raises(BenchError, match=r"0\.0021 s asked for; smu1 \(2602B\) makes none longer than 0\.002 s"):
        die.check(Pulse(half_select([0], [0], 0.5), 2.1e-3))


def test_the_other_polarity_exchanges_the_limits():
    pulse = Pulse(half_select([0], [0], 0.65), 1e-3)
    assert planned_die(bench(), NOMINAL).check(pulse) > 0
    with pytest.raises(LimitError, match="towards AP"):
        planned_die(bench(), NOMINAL, polarity=-1).check(pulse)


def test_a_pulse_and_read_that_need_more_channels_than_there_are_take_two_routes():
    two = {"smu1.smua": "A", "smu1.smub": "B"}
    twin = Twin(bench(wiring__channels=two))
    twin.die.idle()
    pulse = Pulse(half_select([1, 3], [2, 0], 0.5), 1e-3, read([1, 3], [2, 0]))
    np.testing.assert_allclose(twin.die.pulse(pulse).current, simulated().pulse(pulse).current, rtol=1e-6)
    assert sum("channel.close" in text for _, text in twin.sent) == 1 + 4, "after that of the contact check"
    twin.die.idle()
    assert twin.clean()


def reach(lines, channels, ground):
    """Return what lines of one kernel reach over one matrix: all of it."""
    can = np.ones((lines, channels + 1), np.bool_)
    can[:, -1] = ground
    return Reach(tuple(map(str, range(lines))), M, N, tuple(range(channels)), can, np.full(lines, OPEN))


def test_gates_are_lines_with_levels_of_their_own():
    die = planned_die(bench(gates=True), NOMINAL)
    row, gate, floating = np.zeros((1, M)), np.zeros((1, M)), np.zeros((1, M + N), np.bool_)
    row[0, 1], gate[0, 1], floating[0, [0, 2, 3, 4, 6]] = 0.5, 2.5, True
    bias = Bias(row, np.zeros((1, N)), gate, floating, pulsed=np.array([1]))
    visits = routing.plan(Pulse(bias, 1e-3), [reach(2 * M + N, 4, True)], 4)
    assert visits.route.tolist() == [[-1, 0, -1, -1, -1, 4, -1, 4, 1, 4, 4]]
    assert visits.pulse.tolist() == [[0.5, 2.5, 0, 0]]
    assert die.check(Pulse(bias, 1e-3)) > 1e-3
    with pytest.raises(LimitError, match="gate voltage"):
        die.check(Pulse(Bias(row, np.zeros((1, N)), gate * 2, floating), 1e-3))


levels = st.sampled_from([0.0, 0.1, 0.2])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_line_is_on_a_source_that_has_its_level_and_every_wanted_column_is_alone_and_read_once(data):
    n, channels, ground = data.draw(st.integers(1, 4)), data.draw(st.integers(3, 6)), data.draw(st.booleans())

    def bias():
        numbers = st.lists(st.lists(levels, min_size=M + N, max_size=M + N), min_size=n, max_size=n)
        lines = np.array(data.draw(numbers))
        own = np.array(data.draw(st.lists(st.integers(-1, M + N - 1), min_size=n, max_size=n)))
        return Bias(lines[:, :M], lines[:, M:], pulsed=own)

    cols = np.array(data.draw(st.lists(st.permutations(range(N)), min_size=n, max_size=n)))[
        :, : data.draw(st.integers(1, N))
    ]
    pulse = Pulse(bias(), 1e-3, Sense(bias(), cols))
    try:
        visits = routing.plan(pulse, [reach(M + N, channels, ground)], channels)
    except BenchError:
        return
    wanted = [np.concatenate([b.row, b.col], axis=1) for b in (pulse.bias, pulse.verify.bias)]
    seen = np.zeros(cols.shape, np.int64)
    for k in range(len(visits)):
        p, route = visits.pattern[k], visits.route[k]
        for happens, source, level in (
            (visits.pulses[k], visits.pulse[k], wanted[0][p]),
            (visits.reads[k], visits.read[k], wanted[1][p]),
        ):
            if happens:
                np.testing.assert_array_equal(np.append(source, 0.0)[route], level)
        for c, slot in enumerate(visits.sense[k]):
            if slot >= 0:
                assert np.flatnonzero(route == c).tolist() == [M + cols[p, slot]]
                seen[p, slot] += 1
        if visits.maker[k] >= 0:
            assert np.flatnonzero(route == visits.maker[k]).tolist() == [pulse.bias.pulsed[p]]
        assert route.max() < channels + ground
    assert (seen == 1).all()
    assert np.bincount(visits.pattern[visits.pulses], minlength=n).tolist() == [1] * n


def test_reads_that_share_a_route_are_one_script(twin):
    row = np.zeros((20, M))
    row[:, 2] = np.linspace(-0.2, 0.2, 20)
    sense = Sense(Bias(row, np.zeros((20, N))), np.array([1]))
    twin.die.sense(read([0], [0]))
    before = len(twin.sent)
    reading = twin.die.sense(sense)
    np.testing.assert_allclose(reading.current, simulated().sense(sense).current, rtol=1e-6, atol=1e-12)
    assert sum(name == "smu1" for name, _ in twin.sent[before:]) == 1


# -- flags and corrections


def shorted():
    return simulated(
        spread={"diameter": 0.0, "ra": 0.0, "tmr": 0.0},
        lines={"r_row": "0 ohm", "r_col": "0 ohm"},
        defects={"short": 1.0, "r_short_min": "100 ohm", "r_short_max": "100 ohm"},
    )


def test_more_current_than_the_range_is_read_again_with_all_there_is():
    twin = Twin(load=shorted())
    twin.die.idle()
    reading = twin.die.sense(read([1], [2]))
    assert reading.current[0, 0] == pytest.approx(1e-3, rel=0.01)
    assert reading.flag[0, 0] == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, 9.91e37])
@pytest.mark.parametrize("subtract", [False, True], ids=["reading", "offset"])
@pytest.mark.parametrize("lasts", [False, True], ids=["once", "always"])
def test_what_is_no_number_is_read_again_also_if_its_driver_says_nothing(value, subtract, lasts, monkeypatch):
    twin = Twin(bench(reads__zero_offset=subtract))
    twin.die.idle()
    normal = twin.die.sense(read([1], [2]))
    run, spoilt = Keithley2600B.run, []

    def silent(source, steps):
        samples = run(source, steps)
        measured = [k for k, sample in enumerate(samples) if not math.isnan(sample.current)]
        if measured and (lasts or not spoilt):
            spoilt.append(measured[0])
            samples[measured[0]] = replace(samples[measured[0]], current=value)
        return samples

    monkeypatch.setattr(Keithley2600B, "run", silent)
    if lasts:
        with pytest.raises(InstrumentError, match="nan A where 0 was set; no relay moves"):
            twin.die.sense(read([1], [2]))
        return
    reading = twin.die.sense(read([1], [2]))
    assert spoilt
    assert not reading.flag.any()
    np.testing.assert_allclose(reading.current, normal.current, rtol=0.02)


def test_compliance_is_flagged_with_the_reading_and_with_the_pulse():
    twin = Twin(load=shorted())
    twin.die.idle()
    low = read([1], [2])
    low = Sense(Bias(low.bias.row, low.bias.col, compliance=0.5e-3), low.cols)
    write = Bias(low.bias.row * 5, low.bias.col, pulsed=np.array([1]), compliance=1e-3)
    reading = twin.die.pulse(Pulse(write, 1e-3, low))
    assert reading.flag[0, 0] & Flag.COMPLIANCE
    assert reading.pulse_flag[0] & Flag.COMPLIANCE
    twin.die.idle()
    assert twin.clean()


def test_a_floating_column_has_no_reading_and_no_relay(twin):
    floating = np.zeros((1, M + N), np.bool_)
    floating[0, M + 1] = True
    reading = twin.die.sense(Sense(Bias(np.full((1, M), 0.1), np.zeros((1, N)), floating=floating), np.arange(N)))
    assert reading.flag[0].tolist() == [0, Flag.INVALID, 0]


@pytest.mark.parametrize(("subtract", "error"), [(True, 0.0), (False, 3e-7)])
def test_the_offset_of_the_meter_is_subtracted_when_asked(subtract, error):
    twin = Twin(bench(reads__zero_offset=subtract))
    twin.die.idle()
    for smu in twin.instruments.values():
        for channel in getattr(smu, "channels", {}).values():
            channel.smu.offset = 3e-7
    current = twin.die.sense(read([1], [2])).current[0, 0]
    assert current == pytest.approx(simulated().sense(read([1], [2])).current[0, 0] - error, abs=1e-10)


def test_lead_resistance_is_subtracted_from_a_single_cell_exactly():
    g, r, v = 4e-4, 150.0, np.array([0.1, -0.1])
    reading = Reading((v / (1 / g + r))[:, None], np.zeros((2, 1), np.uint8), np.zeros(2, np.uint8))
    subtract_leads(reading, v, r)
    np.testing.assert_allclose(reading.current[:, 0], v * g)


def test_lead_resistance_needs_one_driven_row():
    die = planned_die(bench(reads__lead_resistance="10 ohm"), NOMINAL)
    assert die.check(read([1], [2])) > 0
    with pytest.raises(BenchError, match="one driven row"):
        die.check(Sense(Bias(np.full((1, M), 0.1), np.zeros((1, N))), np.array([0])))


# -- safety


def test_idle_is_allowed_any_time_and_twice_and_leaves_nothing_energised():
    twin = Twin()
    twin.die.idle()
    twin.die.idle()
    twin.die.pulse(Pulse(half_select([1], [2], 0.5), 1e-3, read([1], [2])))
    twin.die.idle()
    twin.die.idle()
    end = twin.world.now
    twin.world.advance(10.0)
    assert twin.world.ledger.energised_time(since=end) == 0
    assert not twin.world.closed
    assert not any(state.output for unit in twin.open.sources.values() for state in unit.state().values())
    assert twin.world.ledger.peak_cell_voltage == pytest.approx(0.5)
    assert twin.clean()


def test_no_relay_moves_when_the_sources_do_not_read_zero(twin):
    twin.die.sense(read([0], [0]))
    before = twin.world.closed
    twin.smu("smu1", "smua").offset = 5e-6
    with pytest.raises(InstrumentError, match=r"smu1.smua reads .* no relay moves"):
        twin.die.sense(read([1], [1]))
    assert len(twin.world.closed - before) <= M + N
    with pytest.raises(InstrumentError, match="must be made safe first"):
        twin.die.sense(read([0], [0]))


@pytest.mark.parametrize("fault", [Fault.DEAF, Fault.MUTE, Fault.LATE, Fault.DROP], ids=lambda fault: fault.name)
@pytest.mark.parametrize("name", ["smu1", "matrix"])
def test_whatever_breaks_off_is_idled_and_then_goes_on(name, fault):
    assert_goes_on_after_idling(name, fault)


@pytest.mark.parametrize("fault", [Fault.DEAF, Fault.MUTE, Fault.LATE, Fault.DROP], ids=lambda fault: fault.name)
@pytest.mark.parametrize("name", ["smu1", "smu2", "matrix"])
def test_where_levels_stand_whatever_breaks_off_is_idled_and_then_goes_on(standing, name, fault):
    assert_goes_on_after_idling(name, fault)


def assert_goes_on_after_idling(name, fault):
    word = b"print(errorqueue.count,"
    twin = Twin(bench(wiring__channels={"smu1.smua": "A", "smu2.smua": "C", "smu1.smub": "B"}))
    twin.die.idle()
    hit = []

    def once(line):
        if word in line and not hit:
            hit.append(line)
            return fault
        return Fault.NONE

    pulse = Pulse(half_select([1, 2], [2, 0], 0.5), 1e-3, read([1, 2], [2, 0]))
    twin.die.sense(read([0], [0]))
    twin.instruments[name].fault = once
    with pytest.raises(InstrumentError):
        twin.die.pulse(pulse)
    assert hit
    with pytest.raises(InstrumentError, match="must be made safe first"):
        twin.die.pulse(pulse)
    twin.die.idle()
    assert not any(twin.outputs)
    assert not twin.world.closed
    np.testing.assert_allclose(twin.die.pulse(pulse).current, simulated().pulse(pulse).current, rtol=1e-6)
    twin.die.idle()
    assert twin.clean()


@pytest.mark.parametrize(
    ("name", "word", "words"),
    [("smu1", b"levelv", "script .* did not run"), ("matrix", b"channel.close", "closed should be")],
)
def test_a_message_that_is_lost_is_noticed_although_the_next_is_answered(twin, name, word, words):
    twin.die.sense(read([0], [0]))
    twin.instruments[name].fault = lambda line: Fault.DEAF if word in line else Fault.NONE
    with pytest.raises(InstrumentError, match=words):
        twin.die.pulse(Pulse(half_select([1], [2], 0.5), 1e-3, read([1], [2])))
    twin.instruments[name].fault = lambda line: Fault.NONE
    twin.die.idle()
    assert not any(twin.outputs)
    assert not twin.world.closed


def test_an_interrupt_between_any_two_messages_leaves_a_bench_that_idles():
    steps, count = 1, 0
    while True:
        twin = Twin()
        twin.die.idle()
        twin.die.sense(read([0], [0]))
        left = [steps]

        def stop(line, left=left):
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
            return Fault.NONE

        for instrument in twin.instruments.values():
            instrument.fault = stop
        try:
            twin.die.pulse(Pulse(half_select([1], [2], 0.5), 1e-3, read([1], [2])))
        except KeyboardInterrupt:
            count += 1
        else:
            break
        finally:
            for instrument in twin.instruments.values():
                instrument.fault = lambda line: Fault.NONE
        twin.die.idle()
        assert not any(twin.outputs)
        assert not twin.world.closed
        assert twin.clean()
        assert twin.world.ledger.peak_cell_voltage <= 0.5 + 1e-9
        steps += 1
    assert count >= 8


def test_a_bench_that_cannot_be_made_safe_says_so_and_stays_at_fault(twin):
    twin.die.sense(read([0], [0]))
    twin.instruments["smu2"].fault = lambda line: Fault.DEAF
    with pytest.raises(InstrumentError, match=r"NOT verified safe.*smu2"):
        twin.die.idle()
    assert not any(twin.outputs)
    with pytest.raises(InstrumentError, match="must be made safe first"):
        twin.die.sense(read([0], [0]))
    twin.instruments["smu2"].fault = lambda line: Fault.NONE
    twin.die.idle()
    assert np.isfinite(twin.die.sense(read([0], [0])).current).all()


def test_outputs_left_on_by_somebody_else_are_ramped_down_and_not_stepped():
    twin = Twin()
    smu = twin.instruments["smu1"]
    smu.handle(b"smua.source.levelv=0.5 smua.source.output=1\n")
    seen = []
    inner = twin.world.drive
    twin.world.drive = lambda channel, drive: (seen.append((channel, drive.level)), inner(channel, drive))
    with pytest.raises(InstrumentError, match=r"NOT verified off: output on, level 0\.5 V"):
        twin.die.sense(read([0], [0]))
    twin.die.idle()
    down = [level for channel, level in seen if channel == "smu1.smua"]
    assert max(-np.diff([0.5, *down])) <= 0.1 + 1e-9
    assert down[-1] == 0


def left_on():
    """Return a bench that a dead program has left with a cell at 0.3 V."""
    twin = Twin()
    twin.instruments["matrix"].handle(b'channel.close("1A01,1B05")\n')
    for name in ("smu1", "smu2"):
        twin.instruments[name].handle(b"smua.source.levelv=0.3 smua.source.output=1\n")
    return twin


def test_a_bench_left_on_is_made_safe_from_outside():
    twin = left_on()
    make_safe(bench(), connect=twin.connect, wait=twin.world.advance)
    assert not any(twin.outputs)
    assert not twin.world.closed
    assert twin.clean()


def test_one_source_that_does_not_answer_keeps_no_other_from_being_made_safe():
    twin = left_on()
    twin.instruments["smu1"].fault = lambda line: Fault.DEAF
    with pytest.raises(InstrumentError, match=r"NOT verified safe: smu1: .*relays stay as they are"):
        make_safe(bench(), connect=twin.connect, wait=twin.world.advance)
    assert twin.smu("smu2", "smua").set.output == 0
    assert twin.world.closed
    assert twin.clean()


# -- a bench that is not at rest, or switched off


def test_a_bench_with_an_output_on_is_refused_by_name_and_level_and_nothing_is_changed():
    twin = left_on()
    twin.sent.clear()
    with pytest.raises(BenchError, match=r"smu1\.smua is on at 0\.3 V, smu2\.smua is on at 0\.3 V; .*labctl off BENCH"):
        open_bench(bench(), NOMINAL, connect=twin.connect)
    assert twin.smu("smu1", "smua").set.output == twin.smu("smu2", "smua").set.output == 1
    assert twin.smu("smu1", "smua").set.levelv == 0.3
    assert twin.world.closed
    assert not any("=0" in text or "abort" in text for _, text in twin.sent)


def test_a_bench_that_is_switched_off_is_not_connected():
    twin = Twin()
    twin.sent.clear()
    with pytest.raises(SwitchedOff):
        open_bench(bench(), NOMINAL, connect=twin.connect, permit=Permit(0))
    assert twin.sent == []


class Permit:
    """Allows so many times, and no more."""

    def __init__(self, times):
        self.left, self.calls = times, 0

    def __call__(self):
        self.calls += 1
        self.left -= 1
        if self.left < 0:
            raise SwitchedOff("switched off by alice")


def asked_while_switching_on():
    twin = Twin(permit=(permit := Permit(99)))
    before = permit.calls
    twin.die.sense(read([0], [0]))
    return before, permit.calls - before


def test_the_permit_is_asked_before_setting_up_and_before_each_source_goes_on_and_after():
    before, during = asked_while_switching_on()
    assert (before, during) == (1, 5), "when opened; twice before, before outputs, after; once more on what is on"


@pytest.mark.parametrize("after", range(5))
def test_whenever_it_is_forbidden_no_output_stays_on_and_no_level_was_set(after):
    twin = Twin(permit=(permit := Permit(1 + after)))
    with pytest.raises(SwitchedOff):
        twin.die.sense(read([0], [0]))
    on = [s for s in ("smu1", "smu2") if twin.smu(s, "smua").set.output]
    assert len(on) == min(1, max(0, after - 2))
    assert not any(twin.outputs), "at 0 V"
    permit.left = 99
    twin.die.idle()
    assert not any(twin.smu(s, c).set.output for s in ("smu1", "smu2") for c in ("smua", "smub"))
    assert np.isfinite(twin.die.sense(read([0], [0])).current).all(), "released, it goes on"
    assert twin.clean()


def test_outputs_that_are_on_are_not_used_once_it_is_forbidden():
    twin = Twin(permit=(permit := Permit(99)))
    twin.die.sense(read([0], [0]))
    permit.left = 0
    twin.sent.clear()
    with pytest.raises(SwitchedOff):
        twin.die.sense(read([0], [0]))
    assert twin.sent == []
    twin.die.idle()
    assert twin.clean()


def test_another_die_under_the_same_needles_has_the_same_permit():
    twin = Twin(permit=(permit := Permit(99)))
    die = twin.open.turn_to(NOMINAL)
    permit.left = 0
    with pytest.raises(SwitchedOff):
        die.sense(read([0], [0]))


# -- needles


def test_a_program_that_skips_the_contact_check_gets_the_first_voltage_of_the_contact_check_all_the_same():
    twin = Twin()
    assert twin.die.state.contact is Contact.UNKNOWN
    twin.die.pulse(Pulse(half_select([1], [2], 0.5), 1e-3))
    assert twin.world.ledger.first_bias == [pytest.approx(twin.open.bench.contact.voltage, rel=0.01)]
    assert twin.die.state.contact is Contact.BIASED
    twin.die.idle()
    messages = len(twin.sent)
    twin.die.sense(read([0], [0]))
    assert twin.die.state.contact is Contact.BIASED, "the needles have not moved since"
    assert sum("channel.close" in text for _, text in twin.sent[messages:]) == 1
    twin.open.turn_to(NOMINAL).sense(read([0], [0]))
    messages = twin.sent[messages:]
    assert sum("channel.close" in text for _, text in messages) == 3, "for another die the contact check comes first"


def test_a_voltage_above_the_first_is_refused_on_needles_that_nobody_knows_of_and_nothing_is_sent():
    twin = Twin()
    check_contact(twin.die)
    twin.open.turn_to(NOMINAL)
    io = twin.die._io
    visit = Ramp("smua", 0.016, 1000.0)
    io.switch_on()
    twin.sent.clear()
    with pytest.raises(IllegalTransition, match=r"0\.016 V asked for on needles that are down: .*at most 0\.015 V"):
        io.carry_out([ChannelStep(0, visit)])
    with pytest.raises(
        IllegalTransition, match=r"0\.02 V asked for"
    ):  # two lines at half of it, in opposite directions
        io.carry_out([ChannelStep(0, Ramp("smua", 0.01, 1000.0)), ChannelStep(1, Ramp("smub", -0.01, 1000.0))])
    assert twin.sent == []
    assert io.composer.state.level == [0.0] * 4
    io.carry_out([ChannelStep(0, Ramp("smua", 0.01, 1000.0))])


def test_a_bench_that_was_switched_off_by_another_process_is_believed_in_nothing():
    twin = Twin(permit=(permit := Permit(99)))
    twin.die.sense(read([0], [0]))
    make_safe(bench(), connect=twin.connect, wait=twin.world.advance)
    permit.left = 0
    with pytest.raises(SwitchedOff):
        twin.die.sense(read([0], [0]))
    assert twin.die.state.state is State.UNKNOWN
    permit.left = 99
    assert np.isfinite(twin.die.sense(read([0], [0])).current).all(), "released, everything is read back and goes on"
    assert twin.clean()


def test_no_output_goes_on_unless_the_needles_are_down():
    twin = Twin(in_contact=False)
    twin.die.idle()
    with pytest.raises(ContactError, match="not in contact; no output goes on"):
        twin.die.sense(read([0], [0]))
    assert twin.world.ledger.energised_time() == 0


def test_the_prober_moves_only_when_everything_is_off(twin):
    prober = twin.open.prober
    twin.die.sense(read([0], [0]))
    with pytest.raises(InstrumentError, match="NOT verified off"):
        prober.step(1, 0)
    with pytest.raises(InstrumentError, match="NOT verified off"):
        prober.separate()
    twin.die.idle()
    with pytest.raises(InstrumentError, match="14 pads are not on ground, and 0 other relays are closed"):
        prober.separate()
    twin.die.land()
    position = prober.step(1, 0)
    assert (position.col, position.row, position.end_of_route) == (1, 0, True)
    assert prober.separated()
    prober.contact()
    assert prober.in_contact()
    assert twin.clean()


def watch_needles(twin):
    """Return the list of what is closed, and on, whenever needles touch or lift."""
    seen, touch = [], twin.world.touch

    def watched(down):
        if down != twin.world.in_contact:
            outputs = [bool(c.smu.set.output) for k in (1, 2) for c in twin.instruments[f"smu{k}"].channels.values()]
            seen.append((down, {column for row, column in twin.world.closed if row == "matrix.H"}, any(outputs)))
            assert all(row == "matrix.H" for row, _ in twin.world.closed)
        touch(down)

    twin.world.touch = watched
    return seen


@pytest.mark.parametrize("landing", ["grounded", None, "open"])
@pytest.mark.parametrize("conducts", [True, False])
def test_needles_touch_and_leave_pads_on_ground_with_every_output_off(landing, conducts):
    file = bench(**({"contact__landing": landing} if landing else {}))
    columns = set() if landing == "open" else {f"matrix.{column}" for (column,) in file.wiring.pads.values()}
    load = simulated() if conducts else simulated(defects={"open": 1.0})
    twin = Twin(file, load=load, in_contact=False)
    seen = watch_needles(twin)
    twin.die.idle()
    if conducts:
        touch_down(Needles(twin.die), twin.open.prober)
        twin.die.sense(read([1], [2]))
        lift(Needles(twin.die), twin.open.prober)
    else:
        with pytest.raises(ContactError):
            touch_down(Needles(twin.die), twin.open.prober)
    assert seen == [(down, columns, False) for _ in range(1 if conducts else 2) for down in (True, False)]
    assert twin.clean()


def test_without_a_ground_row_pads_are_landed_on_as_they_are():
    twin = Twin(bench(wiring__ground=None), in_contact=False)
    seen = watch_needles(twin)
    twin.die.idle()
    touch_down(Needles(twin.die), twin.open.prober)
    assert seen == [(True, set(), False)]


@pytest.mark.parametrize(("path", "words"), [("contact__landing", "landing"), ("outputs__between_routes", "between")])
def test_ground_that_is_not_wired_cannot_be_asked_for(path, words):
    with pytest.raises(ValidationError, match=f"'{words}.*: grounded' needs a ground row, and the wiring has none"):
        bench(wiring__ground=None, **{path: "grounded"})


def test_a_pad_that_is_not_on_ground_keeps_needles_where_they_are():
    twin = Twin(in_contact=False)
    twin.die.idle()
    twin.instruments["matrix"].fault = lambda line: Fault.DEAF if b"channel.close" in line else Fault.NONE
    with pytest.raises(InstrumentError, match="closed should be"):
        touch_down(Needles(twin.die), twin.open.prober)
    assert not twin.world.in_contact
    assert twin.instruments["prober"].state.touches == 0


def test_outputs_do_not_go_on_beside_relays_that_nobody_landed_with():
    twin = Twin()
    twin.die.idle()
    twin.instruments["matrix"].handle(b'channel.close("1H01,1H02")\n')
    with pytest.raises(InstrumentError, match="12 pads are not on ground, and 0 other relays are closed"):
        twin.die.sense(read([0], [0]))
    assert not any(twin.outputs)


@pytest.mark.parametrize("structures", [[["r00", "c00"], ["r03", "c02"]], []])
def test_the_first_voltage_after_a_touch_is_that_of_the_contact_check(structures):
    twin = Twin(bench(contact__structures=structures), in_contact=False)
    twin.die.idle()
    for turn in range(2):
        touch_down(Needles(twin.die), twin.open.prober)
        twin.die.pulse(Pulse(half_select([1], [2], 0.5), 1e-3, read([1], [2])))
        lift(Needles(twin.die), twin.open.prober)
        assert len(twin.world.ledger.first_bias) == turn + 1
    assert twin.world.ledger.first_bias == pytest.approx([15e-3] * 2)
    assert twin.world.ledger.peak_cell_voltage == pytest.approx(0.5)


@pytest.mark.parametrize("offset", [-100, -60, -40, 20, 100])
def test_a_compensated_station_is_judged_by_what_conducts(offset):
    twin = Twin(in_contact=False)
    state, prober = twin.instruments["prober"].state, twin.open.prober
    state.compensation = offset
    twin.die.land()
    prober.step(0, 0)
    assert touch_down(Needles(twin.die), prober).touches == 1
    assert twin.world.in_contact
    assert prober.in_contact()
    assert prober.at_contact_height() == (offset == 20), "up to the overtravel ceiling nothing is strange"
    lift(Needles(twin.die), prober)
    assert not twin.world.in_contact
    assert state.touches == 1
    assert twin.clean()


@pytest.mark.parametrize(("short", "words"), [(40, "r00-c00 open"), (150, "the chuck did not reach contact")])
def test_a_contact_that_stops_short_is_no_contact_and_leaves_the_needles_up(short, words):
    twin = Twin(in_contact=False)
    sentio = twin.instruments["prober"]
    sentio.state.short = short
    twin.die.idle()
    with pytest.raises(ContactError, match=f"given up after 2 touches: .*{words}"):
        touch_down(Needles(twin.die), twin.open.prober)
    assert (sentio.level, sentio.state.touches) == ("separation", 2)
    assert twin.open.prober.separated()


def test_needles_that_do_not_lift_are_told_and_no_step_follows():
    twin = Twin(in_contact=False)
    twin.die.idle()
    touch_down(Needles(twin.die), twin.open.prober)
    twin.instruments["prober"].state.stuck_in_contact = True
    for move in (lambda: lift(Needles(twin.die), twin.open.prober), lambda: twin.open.prober.step(1, 0)):
        with pytest.raises(NeedlesDown, match="did not separate"):
            move()
    assert twin.world.in_contact
    assert twin.world.place == (0, 0, 0)
    assert twin.clean()


@pytest.mark.parametrize(("stuck", "words"), [("chuck", "moved by 0 um in x"), ("all", r"stands at die \(0, 0\)")])
def test_a_step_that_sentio_only_says_is_refused(stuck, words):
    twin = Twin(in_contact=False)
    twin.die.land()
    twin.open.prober.step(0, 0)
    twin.instruments["prober"].state.stuck = stuck
    with pytest.raises(InstrumentError, match=words):
        twin.open.prober.step(1, 0)
    assert twin.world.place == (0, 0, 0)


def test_no_line_floats_between_routes_where_the_bench_says_so():
    twin = Twin(bench(outputs__between_routes="grounded"), in_contact=False)
    twin.die.idle()
    touch_down(Needles(twin.die), twin.open.prober)
    every = {f"matrix.{column}" for (column,) in bench().wiring.pads.values()}
    held, switch = [], twin.world.switch

    def watched(close=(), open=()):
        switch(close, open)
        held.append({column for _, column in twin.world.closed})

    twin.world.switch = watched
    rows, cols = np.array([1, 3, 0]), np.array([2, 0, 1])
    twin.die.sense(Sense(Bias(np.full((1, M), 0.1), np.zeros((1, N))), np.arange(N)))
    first = {f"matrix.{column}" for pad, (column,) in bench().wiring.pads.items() if pad[1] == "0"}
    pulse = Pulse(half_select(rows, cols, 0.5), 1e-3, read(rows, cols))
    begin = len(held)
    np.testing.assert_allclose(twin.die.pulse(pulse).current, simulated().pulse(pulse).current, rtol=1e-6)
    assert len(held) > begin + 6
    assert all(first <= columns <= every for columns in held[begin:])
    lift(Needles(twin.die), twin.open.prober)
    assert twin.clean()


def test_contact_is_checked_at_millivolts_and_a_touch_is_counted():
    twin = Twin(in_contact=False)
    twin.die.idle()
    touchdown = touch_down(Needles(twin.die), twin.open.prober, touches=1)
    assert touchdown.touches == 2
    alone = read([0], [0], volts=15e-3)
    floating = np.ones((1, M + N), np.bool_)
    floating[0, [0, M]] = False
    current = simulated().sense(Sense(Bias(alone.bias.row, alone.bias.col, floating=floating), alone.cols)).current
    assert touchdown.resistance["r00", "c00"] == pytest.approx(15e-3 / current[0, 0], rel=1e-6)
    assert twin.world.ledger.peak_cell_voltage <= 20e-3
    twin.die.idle()
    assert twin.clean()


def test_without_contact_the_needles_retouch_within_the_quota_and_then_give_up():
    twin = Twin(load=simulated(defects={"open": 1.0}), in_contact=False)
    twin.die.idle()
    with pytest.raises(ContactError, match=r"given up after 2 touches: no contact: r00-c00 open"):
        touch_down(Needles(twin.die), twin.open.prober)
    assert twin.instruments["prober"].state.touches == 2
    with pytest.raises(ContactError, match="quota of 3 touches is used up"):
        touch_down(Needles(twin.die), twin.open.prober, touches=3)
    assert twin.instruments["prober"].state.touches == 2
    assert twin.open.prober.separated()
    assert twin.clean()


class Swapped(Twin):
    """A bench at which each of two equal sources is at the address of the other."""

    def connect(self, name, entry):
        return super().connect({"smu1": "smu2", "smu2": "smu1"}.get(name, name), entry)


@pytest.mark.parametrize("stands", [False, True])
def test_swapped_sources_are_found_before_the_first_die_is_measured(stands, request):
    if stands:
        request.getfixturevalue("standing")
    twin = Swapped(in_contact=False)
    twin.die.idle()
    with pytest.raises(InstrumentError, match=r"no current flows from smu.\.smu. to .*: smu1 and smu2 are swapped"):
        touch_down(Needles(twin.die), twin.open.prober)
    assert twin.world.ledger.peak_cell_voltage <= 20e-3
    twin.die.idle()
    assert twin.clean()


@pytest.mark.parametrize("swapped", [False, True])
def test_where_no_structure_is_named_a_cell_tells_of_swapped_sources(swapped):
    twin = (Swapped if swapped else Twin)(bench(contact__structures=[]))
    twin.die.idle()
    if swapped:
        with pytest.raises(InstrumentError, match=r"through r00-c00, .*: smu1 and smu2 are swapped"):
            check_first_contact(twin.die)
    else:
        assert check_first_contact(twin.die) == {}
    twin.die.idle()
    assert twin.clean()


def test_sources_that_are_not_swapped_are_not_called_so_where_nothing_conducts():
    twin = Twin(load=simulated(defects={"open": 1.0}))
    twin.die.idle()
    with pytest.raises(ContactError, match=r"r00-c00 open.*no current flows: look whether the needles touch, and"):
        check_first_contact(twin.die)
    twin.die.idle()
    assert twin.clean()


def test_a_shorted_structure_is_contact():
    twin = Twin(load=shorted())
    twin.die.idle()
    assert all(r < 2e3 for r in check_contact(twin.die).values())


# -- over sockets


@pytest.mark.parametrize("wire", ["resource", "hislip"])
def test_over_sockets_it_is_the_same_die(wire):
    file = bench()
    inside = Twin(file)
    with Server(inside.instruments.values()) as server:
        addresses = {served.name: getattr(served, wire) for served in server.served}
        entries = {
            name: entry.model_copy(update={"address": Address(resource=addresses[name])})
            for name, entry in file.instruments.items()
        }
        outside = file.model_copy(update={"instruments": entries})
        pulse = Pulse(half_select([1, 2], [2, 0], 0.5), 1e-3, read([1, 2], [2, 0]))
        with open_bench(outside, NOMINAL, connect=visa(), wait=inside.world.advance) as opened:
            opened.off()
            np.testing.assert_allclose(opened.die.pulse(pulse).current, simulated().pulse(pulse).current, rtol=1e-6)
            inside.instruments["smu1"].fault = lambda line: Fault.DROP
            with pytest.raises(InstrumentError) as caught:
                opened.die.pulse(pulse)
            assert wire == "hislip" or not isinstance(caught.value, LinkTimeoutError)
            inside.instruments["smu1"].fault = lambda line: Fault.NONE
    assert not any(inside.outputs)
    assert inside.clean()
    assert inside.smu("smu1", "smua").set.offmode == 2
