"""Factory scripts of the emulated 2600B: sweeps, pulse trains, what is refused, and what they leave behind."""

import numpy as np
import pytest

from sim_backend.emulators.k2600 import K2600
from sim_backend.emulators.resistors import ResistorBox
from sim_backend.emulators.world import Cables, World
from tests.unit.sim_backend.emulators.test_k2600 import R, ask, error, make, value

FIXED = (
    "{0}.source.rangev = 1 {0}.source.rangei = 1e-3 {0}.measure.rangei = 1e-3 {0}.measure.rangev = 1 "
    "{0}.measure.nplc = 0.001 {0}.source.limiti = 1e-3 {0}.source.limitv = 1 {0}.source.output = 1"
)


def column(smu: K2600, name: str) -> list[float]:
    return value(smu, f"unpack((function() local t = {{}} for k = 1, smua.nvbuffer1.n do t[k] = {name}[k] end "
                      "return t end)())")  # fmt: skip


def both() -> K2600:
    """A resistor at each channel."""
    cables = Cables(
        {"smu.smua": "a", "smu.smub": "b"},
        {(0, "row", 0): "a", (0, "row", 1): "b", (0, "col", 0): "gnd"},
        ("gnd",),
    )
    return K2600("smu", "2602B", World(cables, ResistorBox(np.full((1, 2, 1), 1 / R))))


def held(smu: K2600, line: int, level: float) -> float:
    """Return how long a row stood at a level, s."""
    return sum(time for _, rows, time in smu.world._load.held if rows[line] == pytest.approx(level))


@pytest.mark.parametrize(
    ("call", "sourced"),
    [
        ("SweepVLinMeasureI(smua, -0.1, 0.3, 1e-3, 5)", [-0.1, 0.0, 0.1, 0.2, 0.3]),
        ("SweepVLogMeasureI(smua, 0.01, 1, 0, 3)", [0.01, 0.1, 1.0]),
        ("SweepVListMeasureI(smua, {0.3, -0.2, 0.1, 9}, 0.5, 3)", [0.3, -0.2, 0.1]),
        ("SweepILinMeasureV(smua, 0, 2e-5, 0, 3)", [0.0, 1e-5, 2e-5]),
        ("SweepILogMeasureV(smua, -1e-6, -1e-4, 0, 3)", [-1e-6, -1e-5, -1e-4]),
        ("SweepIListMeasureV(smua, {1e-5, 2e-5}, 1e-3, 2)", [1e-5, 2e-5]),
        ("PulseVMeasureI(smua, 0.1, 0.4, 1e-3, 2e-3, 3)", [0.4, 0.4, 0.4]),
        ("PulseIMeasureV(smua, 0, 1e-5, 1e-3, 2e-3, 2)", [1e-5, 1e-5]),
    ],
)
def test_a_sweep_measures_the_device_at_each_level_and_ends_off(call: str, sourced: list[float]) -> None:
    smu = make()
    volts = "VL" in call or "PulseV" in call
    ask(smu, f"smua.measure.nplc = 0.001 {call}")
    assert error(smu) == 0
    assert column(smu, "smua.nvbuffer1.sourcevalues") == pytest.approx(sourced)
    readings = [level / R if volts else level * R for level in sourced]
    assert column(smu, "smua.nvbuffer1.readings") == pytest.approx(readings)
    times = column(smu, "smua.nvbuffer1.timestamps")
    assert times == sorted(times)
    assert value(smu, "smua.source.output, smua.source.func, smua.source.levelv, smua.source.leveli") == [0, 1, 0, 0]


def test_a_sweep_lets_each_level_settle_and_cycles_keep_their_times() -> None:
    smu = make()
    ask(smu, "smua.measure.nplc = 0.001 SweepVListMeasureI(smua, {0.1, 0.2, 0.3}, 0.5, 3)")
    first, second, third = column(smu, "smua.nvbuffer1.timestamps")
    assert [second - first, third - second] == pytest.approx([0.5, 0.5], abs=1e-3)
    smu.world._load.held.clear()
    ask(smu, "smua.measure.rangei = 1e-3 PulseVMeasureI(smua, -0.1, 0.4, 20e-3, 40e-3, 3)")
    assert held(smu, 0, 0.4) == pytest.approx(60e-3, rel=1e-3)
    assert held(smu, 0, -0.1) == pytest.approx(4 * 40e-3, rel=0.01)


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("SweepVLinMeasureI(smua, 0, 99, 0, 3)", 1101), ("SweepVLinMeasureI(smua, 0, 1, 0, 1)", 1102),
        ("SweepVLinMeasureI(smua, 0, 1, -1, 3)", 1102), ("SweepVLogMeasureI(smua, 0, 1, 0, 3)", -221),
        ("SweepVListMeasureI(smua, {1, 2}, 0, 3)", 1101), ("SweepILinMeasureV(smua, 0, 99, 0, 3)", 1101),
        ("SweepVLinMeasureI(smua, 0, 1, 1e9, 3)", 1101), ("PulseVMeasureI(smua, 0, 'x', 1, 1, 1)", -104),
        ("SweepVLinMeasureI(3, 0, 1, 0, 3)", -286), ("SweepVLinMeasureI()", -286), ("InitiatePulseTestDual(1)", -286),
    ],
)  # fmt: skip
def test_a_sweep_that_is_not_possible_changes_nothing(call: str, code: int) -> None:
    smu = make()
    ask(smu, "smua.source.limiti = 1e-4 smua.source.levelv = 0.2")
    ask(smu, call)
    assert error(smu) == code
    state = "smua.source.func, smua.source.levelv, smua.source.output, smua.source.limiti, smua.nvbuffer1.n"
    assert value(smu, state) == [1, 0.2, 0, 1e-4, 0]


def test_the_limit_of_the_user_holds_in_a_sweep() -> None:
    smu = make()
    ask(smu, "smua.source.limiti = 1e-5 smua.measure.nplc = 0.001 SweepVLinMeasureI(smua, 0, 1, 0, 3)")
    assert column(smu, "smua.nvbuffer1.readings") == pytest.approx([0, 1e-5, 1e-5])


@pytest.mark.parametrize(
    ("call", "levels"),
    [
        ("ConfigPulseVMeasureI(smua, 0, 0.5, 1e-3, 2e-3, 5e-3, 3, smua.nvbuffer1, 1)", [0.5, 0.5, 0.5]),
        ("ConfigPulseVMeasureISweepLin(smua, 0, 0.2, 0.6, 1e-3, 2e-3, 5e-3, 3, smua.nvbuffer1, 1)", [0.2, 0.4, 0.6]),
        ("ConfigPulseVMeasureISweepLog(smua, 0, 0.01, 1, 1e-3, 2e-3, 5e-3, 3, smua.nvbuffer1, 1)", [0.01, 0.1, 1]),
        ("ConfigPulseIMeasureV(smua, 0, 5e-5, 1, 2e-3, 5e-3, 2, smua.nvbuffer1, 1)", [5e-5, 5e-5]),
        ("ConfigPulseIMeasureVSweepLin(smua, 0, 0, 5e-5, 1, 2e-3, 5e-3, 3, smua.nvbuffer1, 1)", [0, 25e-6, 5e-5]),
        ("ConfigPulseIMeasureVSweepLog(smua, 0, 1e-6, 1e-4, 1, 2e-3, 5e-3, 2, smua.nvbuffer1, 1)", [1e-6, 1e-4]),
    ],
)
def test_pulse_trains_measure_each_pulse(call: str, levels: list[float]) -> None:
    smu, volts = make(), "PulseV" in call
    ask(smu, f"smua.source.func = {int(volts)} smua.nvbuffer1.appendmode = 1 " + FIXED.format("smua"))
    smu.world._load.held.clear()
    assert ask(smu, f"print({call})") == "true\tPulse 1 configured."
    assert ask(smu, "print(InitiatePulseTest(1))").startswith("true")
    assert column(smu, "smua.nvbuffer1") == pytest.approx([v / R if volts else v * R for v in levels])
    for level in set(levels) - {0}:
        assert held(smu, 0, level if volts else level * R) == pytest.approx(levels.count(level) * 2e-3, rel=1e-6)
    assert value(smu, "smua.source.levelv, smua.source.leveli, smua.source.limiti") == [0, 0, 1e-3]
    assert error(smu) == 0


def test_the_first_of_two_trains_encloses_the_second() -> None:
    smu = both()
    ask(smu, FIXED.format("smua") + " " + FIXED.format("smub"))
    ask(smu, "print(ConfigPulseVMeasureI(smua, 0, 0.5, 1e-3, 2e-3, 5e-3, 4, smua.nvbuffer1, 1))")
    ask(smu, "print(ConfigPulseVMeasureI(smub, 0.1, -0.3, 1e-3, 1e-3, 5e-3, 4, smub.nvbuffer1, 2))")
    smu.world._load.held.clear()
    assert ask(smu, "print(InitiatePulseTestDual(1, 2))").startswith("true")
    assert value(smu, "smua.nvbuffer1.n, smub.nvbuffer1[1], smua.nvbuffer1[1]") == pytest.approx([4, -0.3 / R, 0.5 / R])
    assert [held(smu, 0, 0.5), held(smu, 1, -0.3)] == pytest.approx([8e-3, 4e-3])
    together = sum(t for _, v, t in smu.world._load.held if tuple(v[:2]) == pytest.approx((0.5, 0.1)))
    assert together == pytest.approx(4e-3), "1 ms of each pulse before the second begins"


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        ("smua, 0, 0.1, 1e-3, 1e-3, 5e-3, 4, nil, 2", "one channel"),
        ("smub, 0, 0.1, 1e-3, 1.97e-3, 5e-3, 4, nil, 2", "40 us longer"),
        ("smub, 0, 0.1, 1e-3, 1e-3, 6e-3, 4, nil, 2", "toff"), ("smub, 0, 0.1, 1e-3, 1e-3, 5e-3, 3, nil, 2", "number"),
        ("smub, 0, 0.1, 1e-3, 3e-4, 5e-3, 4, smub.nvbuffer1, 2", "too short"),
    ],
)  # fmt: skip
def test_two_trains_that_do_not_fit_are_refused(second: str, reason: str) -> None:
    smu = both()
    ask(smu, FIXED.format("smua") + " " + FIXED.format("smub"))
    ask(smu, "print(ConfigPulseVMeasureI(smua, 0, 0.5, 1e-3, 2e-3, 5e-3, 4, smua.nvbuffer1, 1))")
    assert ask(smu, f"print(ConfigPulseVMeasureI({second}))").startswith("true")
    answer = ask(smu, "print(InitiatePulseTestDual(1, 2))")
    assert answer.startswith("false\t")
    assert reason in answer


@pytest.mark.parametrize(
    ("settings", "call", "reason"),
    [
        ("", "(smua, 0, 0.5, 1e-3, 1e-5, 5e-3, 3, smua.nvbuffer1, 2)", "too short"),
        ("", "(smua, 0, 99, 1e-3, 2e-3, 5e-3, 3, nil, 2)", "too big"),
        ("", "(smua, 0, 0.5, 1e-3, 2e-3, 5e-3, 3, nil)", "at least 9"),
        ("", "SweepLin(smua, 0, 1, 1)", "at least 10"),
        ("", "(smua, 0, 0.5, 1e-3, 0, 5e-3, 3, nil, 2)", "positive"),
        ("", "(smua, 0, 0, 0, 1, 1, 0, nil, 2)", "small"),
        ("smua.source.autorangev = 1", "(smua, 0, 0.5, 1e-3, 2e-3, 5e-3, 3, nil, 2)", "Source autorange"),
        ("smua.measure.autorangei = 1", "(smua, 0, 0.5, 1e-3, 2e-3, 5e-3, 3, nil, 2)", "Measure autorange"),
        ("smua.source.func = 0", "(smua, 0, 0.5, 1e-3, 2e-3, 5e-3, 3, nil, 2)", "function"),
        ("", "SweepLog(smua, 0, 0, 1, 1e-3, 2e-3, 5e-3, 3, nil, 2)", "conflict"),
    ],
)
def test_a_train_that_is_not_possible_is_not_configured(settings: str, call: str, reason: str) -> None:
    smu = make()
    ask(smu, FIXED.format("smua") + " " + settings)
    answer = ask(smu, f"print(ConfigPulseVMeasureI{call})")
    assert answer.startswith("false\t")
    assert reason in answer
    assert ask(smu, "print(InitiatePulseTest(2))") == "false\tNo pulse test with this tag"
    assert ask(smu, "print(InitiatePulseTest('x'))") == "false\tData type error"


def test_a_train_with_its_output_off_is_not_started_and_needs_lines_that_are_there() -> None:
    smu = make()
    ask(smu, FIXED.format("smua"))
    assert ask(smu, "print(ConfigPulseVMeasureI(smua, 0, 0.5, 1e-3, 2e-3, 5e-3, 3, nil, 1))").startswith("true")
    assert ask(smu, "smua.source.output = 0 print(InitiatePulseTest(1))") == "false\tOutput must be on"
    other = make("2604B")
    ask(other, FIXED.format("smua"))
    assert "no digital lines" in ask(other, "print(ConfigPulseVMeasureI(smua, 0, 0.5, 1e-3, 2e-3, 5e-3, 3, nil, 1, 1))")


def test_pulses_wait_for_their_line_and_announce_themselves_on_another() -> None:
    smu = make()
    ask(smu, FIXED.format("smua") + " digio.trigger[1].mode = 1 digio.trigger[2].mode = 1 digio.trigger[2].clear()")
    ask(smu, "ConfigPulseVMeasureI(smua, 0, 0.5, 1e-3, 2e-3, 5e-3, 2, nil, 1, 1, 2, 0.5)")
    ask(smu, "ConfigPulseVMeasureI(smua, 0, 0.5, 1e-3, 2e-3, 5e-3, 2, nil, 2, 1, 2, 0.5, false)")
    ask(smu, "begun = os.time()")
    smu.world._load.held.clear()
    assert ask(smu, "print(InitiatePulseTest(1))") == "false\tTimer timeout"
    assert held(smu, 0, 0.5) == 0
    assert ask(smu, "print(digio.trigger[2].wait(0))") == "false"
    assert ask(smu, "print(InitiatePulseTest(2))").startswith("true"), "which goes on without its trigger"
    assert held(smu, 0, 0.5) == pytest.approx(4e-3)
    assert ask(smu, "print(digio.trigger[2].wait(0), digio.trigger[2].overrun)") == "true\ttrue"
    smu.port.pull(1, low=True)
    answer = ask(smu, "print(InitiatePulseTest(1))")
    assert answer == "false\tTimer timeout", "one edge, two pulses"
    assert held(smu, 0, 0.5) == pytest.approx(6e-3)


def test_a_train_is_looked_at() -> None:
    smu = make()
    ask(smu, FIXED.format("smua"))
    ask(smu, "ConfigPulseVMeasureI(smua, 0, 0.5, 1e-3, 2e-3, 0.2, 3, smua.nvbuffer1, 1)")
    ask(smu, "ConfigPulseVMeasureISweepLin(smua, 0, 0.1, 0.3, 1e-3, 2e-3, 0.2, 3, nil, 2, 4)")
    ask(smu, "one, two = QueryPulseConfig(1), QueryPulseConfig(2)")
    assert value(smu, "one.tag, one.level, one.points, one.ton, two.start, two.stop, two.sourcevalues[2]") == (
        pytest.approx([1, 0.5, 3, 2e-3, 0.1, 0.3, 0.2])
    )
    assert ask(smu, "print(one.smu == smua, one.buf == smua.nvbuffer1, two.buf, two.level)") == "true\ttrue\tnil\tnil"
    text = ask(smu, "print(one.tostring(), two.tostring())")
    assert ">> smu = smua\n>> func = volts\n>> type = pulse\n>> bias = 0\n>> level = 0.5\n" in text
    assert ">> type = lin\n>> bias = 0\n>> start = 0.1\n>> stop = 0.3\n" in text
    assert ">> measure = no\n>> sync_in = 4\n>> sync_out = 0\n>> sync_in_timeout = 10\n" in text
    assert ">> { 0.1, 0.2, 0.3 }" in text
    assert ask(smu, "print(QueryPulseConfig(3))") == "nil"


def test_an_aborted_sweep_leaves_its_level_as_an_aborted_script_does() -> None:
    smu = make()
    smu.lua.command = 0.0
    ask(smu, "SweepVLinMeasureI(smua, 0, 1, 0, 60000)")
    assert error(smu) == -286
    assert value(smu, "smua.source.output") in ([0.0], [1.0])
