"""Tees and routes of a bench file, and the pulses of a pulse source on a probed die: what it sees, what is refused."""

import numpy as np
import pytest
from pydantic import ValidationError

from instruments.bench import Bench
from instruments.check_bench import wired_text
from instruments.open_bench import planned_die
from labctl.core.bias import Bias
from labctl.core.errors import BenchError, InstrumentError, LimitError
from labctl.core.operations import Pulse, Sense
from labctl.core.pulse_source import across
from labctl.core.site import Site
from labctl.station.bench_setup import on_bench
from labctl.station.simulated import simulated
from labctl.station.twin import Twin
from sim_backend.description import DieDescription

TEE = {"pulses": "pulser.out1", "shortest": "5 ns", "longest": "1 us", "junction": ["1 kohm", "10 kohm"]}
LIMITS = {
    "v_towards_p": "0.8 V", "v_towards_ap": "0.8 V", "width": "10 ms", "compliance": "10 mA", "ramp_rate": "1000 V/s",
    "pulse_current": "20 mA",
}  # fmt: skip
NEEDLES = {
    "name": "needles",
    "instruments": {
        "smu": {"driver": "keithley2400", "resource": "1"},
        "pulser": {"driver": "keysight81160a", "resource": "2"},
    },
    "wiring": {
        "pads": {"top": "smu.out", "bottom": "ground"},
        "kernels": [{"rows": ["top"], "cols": ["bottom"]}],
        "tees": {"smu.out": TEE},
    },
    "limits": LIMITS,
    "contact": {"structures": [["top", "bottom"]]},
    "twin": {"ideal_instruments": True},
}
LINES = ["r0", "r1", "c0", "c1", "c2"]


def changed(keys, **changes):
    """Return keys of a bench file with others in place: `wiring__tees` is that of the wiring."""
    keys = {name: dict(part) if isinstance(part, dict) else part for name, part in keys.items()}
    for path, value in changes.items():
        *way, last = path.split("__")
        place = keys
        for key in way:
            place[key] = dict(place.get(key, {}))
            place = place[key]
        place[last] = value
    return keys


def over_matrix(driver="generic_source", fastest=None, **tees):
    """Return a bench of two sources' channels over a matrix, with a pulse source at the first of them."""
    source = {
        "driver": "generic_source", "resource": "1", "channels": ["smua", "smub", "smuc"],
        "ranges_v": ["0.1 V", "1 V", "6 V"], "ranges_i": ["1 uA", "10 uA", "100 uA", "1 mA", "10 mA", "100 mA"],
        "shortest_pulse": "200 us", "shortest_aperture": "20 us", "longest_aperture": "0.4 s", "stands": True,
    }  # fmt: skip
    instruments = {
        "smu": source if driver == "generic_source" else {"driver": driver, "resource": "1"},
        "matrix": {"driver": "keithley707b", "resource": "3"},
        "pulser": {"driver": "keysight81160a", "resource": "2"},
    }
    channels = {"smu.smua": "A", "smu.smub": "B"} | ({"smu.smuc": "C"} if driver == "generic_source" else {})
    wiring = {
        "channels": channels,
        "ground": "H",
        "pads": {line: f"1-{1 + k:02d}" for k, line in enumerate(LINES)},
        "kernels": [{"rows": LINES[:2], "cols": LINES[2:]}],
        "tees": tees or {"smu.smua": TEE},
    } | ({"fastest_pulse": fastest} if fastest else {})
    return NEEDLES | {
        "instruments": instruments, "wiring": wiring, "contact": {"structures": [["r0", "c0"]]},
    }  # fmt: skip


def bench(keys):
    return Bench.model_validate(keys, context={"file": True})


def cell(volts, width=50e-9, shape=(1, 1), *, scheme="whole", verify=True, compliance=1e-3):
    """Return one pulse on cell 0,0 with its read: the whole level on its row, or half of it there and on its column."""
    m, n = shape
    row, col = np.zeros((1, m)), np.zeros((1, n))
    row[0, 0] = volts
    if scheme == "half":
        row += 0.5 * volts * (np.arange(m) > 0)
        col += 0.5 * volts * (np.arange(n) > 0)
    bias = Bias(row, col, kernel=np.array(0), pulsed=np.array(0), compliance=compliance)
    read = np.zeros((1, m))
    read[0, 0] = 0.1
    sense = Sense(Bias(read, np.zeros((1, n)), kernel=np.array(0), compliance=compliance), np.array([0]))
    return Pulse(bias, width, sense if verify else None)


def die_of(m, n, diameter="80 nm"):
    keys = {
        "name": "die",
        "geometry": {"kernels": 1, "n_rows": m, "n_cols": n},
        "junction": {"diameter": diameter},
        "simulation": {"ideal": True},
    }
    return DieDescription.model_validate(keys, context={"file": True})


class Station:
    """A bench on its twin, and what has been sent to the pulse source."""

    def __init__(self, keys):
        self.bench = bench(keys)
        kernel = self.bench.wiring.kernels[0]
        self.site = Site("D", die_of(len(kernel.rows), len(kernel.cols)), 7, (0, 0))
        self.twin = Twin(self.bench, {self.site.spot: simulated(self.site)}, seed=7, in_contact=True)
        self.pulses = []
        pulse = self.twin.world.pulse

        def seen(source, base, top, impedance, seconds):
            pulse(source, base, top, impedance, seconds)
            lines = self.twin.world._find_nets().line_voltage
            self.pulses.append((top - base, seconds, {k: v.copy() for k, v in lines.items()}))

        self.twin.world.pulse = seen

    def do(self, *operations):
        with on_bench(self.bench, [self.site], "bytes", twin=self.twin, by_hand=True) as body:
            die = body.approach(self.site).die
            return [die.perform(operation) for operation in operations]

    @property
    def incidents(self):
        return {event.what for event in self.twin.ledger.events}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"wiring__tees": {"smu.in": TEE}}, "tees: smu.in is not among the wired channels, which are smu.out"),
        ({"wiring__tees": {"smu.out": TEE | {"pulses": "smu.out"}}}, "tees: .* and 'smu' is a source"),
        ({"wiring__tees": {"smu.out": TEE | {"pulses": "x.out1"}}}, "'x' is no instrument of the bench"),
        ({"wiring__tees": {"smu.out": TEE | {"pulses": "pulser.out3"}}}, "pulser has no channel 'out3'; it has out1"),
        ({"wiring__tees": {"smu.out": TEE | {"longest": "1 ns", "shortest": "1 ns"}}}, "makes none of them"),
        ({"wiring__tees": {"smu.out": TEE | {"longest": "1 ns"}}}, "shortest 5e-09 s is above longest 1e-09 s"),
        ({"wiring__tees": {"smu.out": TEE | {"junction": ["2 kohm", "1 kohm"]}}}, "expected the lowest first"),
        ({"wiring__fastest_pulse": {"smu": "1 us"}}, "fastest_pulse: 'smu' is no matrix of the bench"),
        ({"wiring__pads": {"top": "pulser.out1", "bottom": "ground"}}, "wired, but pulser is a pulse source"),
    ],
)
def test_a_tee_that_is_not_sound_is_refused(changes, words):
    with pytest.raises(ValidationError, match=words):
        bench(changed(NEEDLES, **changes))


def test_one_pulse_source_is_at_one_tee():
    with pytest.raises(ValidationError, match=r"pulser\.out1 is at smu\.smua and at smu\.smub"):
        bench(over_matrix(**{"smu.smua": TEE, "smu.smub": TEE}))


def test_the_check_says_what_part_of_a_level_a_junction_sees():
    text = wired_text(bench(NEEDLES))
    assert "pulser.out1 by a bias tee on the line of smu.out with pulses of 5e-09 to 1e-06 s" in text
    assert "(95.2% to 99.5% of the level are across 1000 to 10000 ohm)" in text


def test_a_short_pulse_goes_to_the_pulse_source_by_itself_and_the_junction_sees_the_divider():
    station = Station(NEEDLES)
    first, second = station.do(cell(0.6), cell(0.45, width=10e-3))
    (open_end, seconds, lines) = station.pulses[0]
    assert len(station.pulses) == 1  # 10 ms are the source's own
    assert (open_end, seconds) == pytest.approx((0.6, 50e-9))
    seen = float(lines[0][0] - lines[0][1])
    high, low = 1 / float(first.current[0, 0] / 0.1), 5252
    assert across(0.6, high, 50) < seen < across(0.6, low * 1.05, 50)  # it was AP when the pulse began
    assert first.current[0, 0] > 0.9 * second.current[0, 0] > 0
    assert station.incidents == set()
    assert station.twin.ledger.pulses == 1
    assert station.twin.ledger.peak_cell_voltage == pytest.approx(seen, rel=1e-6)


def test_a_pulse_of_the_other_sign_writes_the_other_state():
    station = Station(NEEDLES)
    p, ap = station.do(cell(0.6), cell(-0.6))
    assert p.current[0, 0] > 1.8 * ap.current[0, 0] > 0
    assert [v for v, *_ in station.pulses] == pytest.approx([0.6, -0.6])


def test_the_output_of_the_pulse_source_is_off_around_everything_else():
    station = Station(NEEDLES)
    box = station.twin.instruments["pulser"]
    on = []
    measure = type(station.twin.instruments["smu"].triggers).initiate

    def initiate():
        on.append(bool(box.outputs()))
        return measure(station.twin.instruments["smu"].triggers)

    station.twin.instruments["smu"].triggers.initiate = initiate
    station.twin.instruments["smu"].tree.__init__()
    station.twin.instruments["smu"]._common()
    station.twin.instruments["smu"].build()
    station.do(cell(0.6))
    assert on
    assert not any(on)
    assert not box.outputs()
    assert station.twin.instruments["pulser"].channels[1].limits == pytest.approx([-0.8, 0.8])


def planned(keys):
    file = bench(keys)
    kernel = file.wiring.kernels[0]
    site = Site("D", die_of(len(kernel.rows), len(kernel.cols)), 7, (0, 0))
    return planned_die(file, simulated(site).nominal)


@pytest.mark.parametrize(
    ("operation", "error", "words"),
    [
        (cell(0.6, 1e-9), BenchError, r"smu \(2400\) makes none shorter than 0.005 s; pulser.out1 by its tee 5e-09"),
        (cell(0.6, 1e-4), BenchError, "a pulse of 0.0001 s asked for; smu"),
        (cell(0.09), BenchError, r"a pulse of 0.09 V asked for; pulser.out1 makes 0.1 to 10 V into an open end"),
        (cell(0.81), LimitError, "cell voltage"),
        (cell(-0.81), LimitError, "cell voltage"),
    ],
)  # fmt: skip
def test_what_nothing_makes_or_limits_forbid_is_refused_in_the_plan(operation, error, words):
    with pytest.raises(error, match=words):
        planned(NEEDLES).check(operation)


def test_the_current_into_a_short_is_judged_by_its_own_limit():
    die = planned(changed(NEEDLES, limits__pulse_current="11 mA"))
    die.check(cell(0.55))
    with pytest.raises(LimitError, match=r"current of a pulse into a short on this bench: 0\.0112 A .* 0\.011 A"):
        die.check(cell(0.56))
    keys = {**NEEDLES, "limits": {key: value for key, value in LIMITS.items() if key != "pulse_current"}}
    with pytest.raises(LimitError, match=r"the limit is 0\.01 A"):
        planned(keys).check(cell(0.56))


def test_limits_below_every_pulse_are_refused():
    with pytest.raises(
        BenchError, match=r"the limits of the bench allow 0\.05 V, and pulser\.out1 makes no pulse below"
    ):
        planned(changed(NEEDLES, limits__v_towards_p="50 mV", limits__v_towards_ap="50 mV"))


@pytest.mark.parametrize(
    ("fastest", "words"),
    [
        (None, r"it goes through matrix at pad r0, which carries none of a pulse source \(wiring.fastest_pulse\)"),
        ({"matrix": "100 ns"}, "which carries none shorter than 1e-07 s"),
    ],
)
def test_a_route_that_does_not_carry_the_pulse_is_refused(fastest, words):
    with pytest.raises(BenchError, match=words):
        planned(over_matrix(fastest=fastest)).check(cell(0.6, shape=(2, 3)))


def test_over_a_matrix_the_other_lines_stand_while_the_row_pulses():
    station = Station(over_matrix(fastest={"matrix": "20 ns"}))
    (reading,) = station.do(cell(0.6, shape=(2, 3), scheme="half"))
    (_, _, lines) = station.pulses[0]
    assert lines[0][1:] == pytest.approx([0.3, 0.0, 0.3, 0.3])
    assert 0.57 < lines[0][0] < 0.6
    assert reading.current[0, 0] > 3e-5
    assert station.incidents == set()


def test_levels_that_do_not_stand_are_refused_and_a_row_alone_is_pulsed():
    keys = over_matrix("keithley2600b", {"matrix": "20 ns"})
    with pytest.raises(BenchError, match=r"pattern 0: other lines are on channels while pulser\.out1 pulses"):
        planned(keys).check(cell(0.6, shape=(2, 3), scheme="half", verify=False))
    station = Station(keys)
    before, reading = station.do(cell(0.0, 1e-3, shape=(2, 3)), cell(0.6, shape=(2, 3)))
    assert len(station.pulses) == 1
    assert station.pulses[0][2][0] == pytest.approx([0.59, 0, 0, 0, 0], abs=0.01)
    assert reading.current[0, 0] > 1.5 * before.current[0, 0]
    assert station.incidents == set()


def test_a_line_without_a_pulse_source_is_refused():
    die = planned(over_matrix(fastest={"matrix": "20 ns"}, **{"smu.smuc": TEE}))
    with pytest.raises(
        BenchError, match=r"on the line of smu\.smua, where no pulse source is; there is one on that of"
    ):
        die.check(cell(0.6, shape=(2, 3)))


def test_several_lines_at_once_are_refused():
    die = planned(over_matrix(fastest={"matrix": "20 ns"}))
    row, col = np.array([[0.3, 0.0]]), np.array([[-0.3, 0.0, 0.0]])
    with pytest.raises(BenchError, match="pattern 0: several lines pulse together, and a pulse source pulses one"):
        die.check(Pulse(Bias(row, col, kernel=np.array(0)), 50e-9))


def test_the_tees_of_two_pulse_sources_have_widths_of_their_own():
    slow = TEE | {"pulses": "pulser.out2", "shortest": "100 ns"}
    die = planned(over_matrix(fastest={"matrix": "20 ns"}, **{"smu.smua": slow, "smu.smub": TEE}))
    with pytest.raises(BenchError, match=r"50* s asked for; pulser.out2 makes and its tee carries|5e-08 s asked for"):
        die.check(cell(0.6, shape=(2, 3)))
    die.check(cell(0.6, 200e-9, shape=(2, 3)))


def test_what_is_planned_is_the_time_that_it_takes():
    station = Station(NEEDLES)
    operation = cell(0.6)
    with on_bench(station.bench, [station.site], "bytes", twin=station.twin, by_hand=True) as body:
        die = body.approach(station.site).die
        die.perform(operation)
        begin = station.twin.world.now
        die.perform(operation)
        taken = station.twin.world.now - begin
        assert die.check(operation) == pytest.approx(taken, rel=0.2)


def test_a_pulse_of_nothing_is_none():
    station = Station(NEEDLES)
    station.do(cell(0.0))
    assert not station.pulses


def test_a_pulse_that_fails_ends_with_the_bench_safe():
    station = Station(NEEDLES)
    box = station.twin.instruments["pulser"]
    execute, messages = box.execute, []

    def lose_the_question_behind_the_trigger(text):
        messages.append(text)
        return "" if messages[-3:-2] == ["*TRG"] else execute(text)

    box.execute = lose_the_question_behind_the_trigger
    with pytest.raises(InstrumentError):
        station.do(cell(0.6))
    assert "*TRG" in messages
    assert not box.outputs()
    assert not station.twin.instruments["smu"].outputs()


def test_an_output_of_the_pulse_source_that_is_on_is_refused():
    station = Station(NEEDLES)
    station.twin.instruments["pulser"].channels[2].on = True
    with pytest.raises(BenchError, match=r"not at rest: pulser\.out2 is on at -1 to 1 V into an open end, without a"):
        station.do(cell(0.6))
