"""Timers, blenders, TRIG and `*TRG` of the emulated 2600B, and the sweeps that they carry."""

import pytest

from sim_backend.emulators.k2600 import K2600
from tests.unit.sim_backend.emulators.test_k2600 import R, ask, error, make, value

FIXED = (
    "smua.source.rangev = 1 smua.source.autorangev = 0 smua.source.limiti = 1e-3 smua.measure.rangei = 1e-3 "
    "smua.measure.autozero = 0 smua.measure.delay = 0 smua.measure.nplc = 0.001 smua.source.output = 1 "
    "smua.nvbuffer1.clear() smua.nvbuffer1.appendmode = 1 smua.nvbuffer1.collecttimestamps = 1"
)
PULSES = """
smua.trigger.source.listv({0.1, 0.2, 0.3}) smua.trigger.source.action = smua.ENABLE
smua.trigger.measure.i(smua.nvbuffer1) smua.trigger.measure.action = smua.ENABLE
smua.trigger.endpulse.action = smua.SOURCE_IDLE smua.trigger.count = 3
trigger.timer[1].delay = 5e-3 trigger.timer[1].count = 2 trigger.timer[1].passthrough = true
trigger.timer[2].delay = 0.9e-3 trigger.timer[2].stimulus = trigger.timer[1].EVENT_ID
trigger.timer[3].delay = 1e-3 trigger.timer[3].stimulus = trigger.timer[1].EVENT_ID
smua.trigger.source.stimulus = trigger.timer[1].EVENT_ID
smua.trigger.measure.stimulus = trigger.timer[2].EVENT_ID
smua.trigger.endpulse.stimulus = trigger.timer[3].EVENT_ID
"""


def pulsing(start: str) -> K2600:
    smu = make()
    ask(smu, FIXED)
    ask(smu, " ".join(PULSES.split("\n")) + f"trigger.timer[1].stimulus = {start}")
    smu.world._load.held.clear()
    assert error(smu) == 0
    return smu


def width(smu: K2600, level: float) -> float:
    return sum(t for _, v, t in smu.world._load.held if v[0] == pytest.approx(level))


@pytest.mark.parametrize(
    ("start", "go"),
    [
        ("smua.trigger.ARMED_EVENT_ID", "smua.trigger.initiate()"),
        ("display.trigger.EVENT_ID", "smua.trigger.initiate() waitcomplete()"),
        ("trigger.EVENT_ID", "smua.trigger.initiate()\n*TRG"),
    ],
)
def test_a_train_of_pulses_keeps_the_widths_and_the_period_of_its_timers(start: str, go: str) -> None:
    smu = pulsing(start)
    for line in go.split("\n"):
        assert value(smu, "smua.nvbuffer1.n") == [0]
        ask(smu, line)
    assert value(smu, "smua.nvbuffer1.n, smua.source.levelv") == [3, 0]
    assert value(smu, "smua.nvbuffer1[1], smua.nvbuffer1[3]") == pytest.approx([0.1 / R, 0.3 / R])
    assert [width(smu, level) for level in (0.1, 0.2, 0.3)] == pytest.approx(3 * [1e-3])
    first, second, third = value(smu, ", ".join(f"smua.nvbuffer1.timestamps[{k}]" for k in (1, 2, 3)))
    assert [second - first, third - second] == pytest.approx([5e-3, 5e-3])
    assert value(smu, "status.operation.sweeping.condition") == [2]
    assert value(smu, "status.operation.sweeping.condition") == [0]
    assert error(smu) == 0


def test_a_sweep_whose_event_never_comes_waits_and_is_ended_by_abort_or_reset() -> None:
    smu = pulsing("trigger.blender[1].EVENT_ID")
    for end in ("smua.abort()", "smua.reset()", "reset()", "*RST"):
        ask(smu, "smua.trigger.source.listv({0.1}) smua.trigger.source.action = 1")
        ask(smu, "smua.trigger.source.stimulus = trigger.timer[1].EVENT_ID smua.trigger.initiate() waitcomplete()")
        assert value(smu, "status.operation.sweeping.condition") == [2]
        ask(smu, end)
        smu.sweeps.swept.clear()
        assert value(smu, "status.operation.sweeping.condition") == [0]
    assert width(smu, 0.1) == 0


def test_detectors_are_set_by_hand_and_forgotten_by_the_next_sweep() -> None:
    smu = pulsing("trigger.timer[8].EVENT_ID")
    ask(smu, "smua.trigger.arm.stimulus = trigger.EVENT_ID smua.trigger.arm.set() smua.trigger.initiate()")
    assert not smu.channels["smua"].detectors["arm"].detected, "set before it was initiated"
    ask(smu, "smua.trigger.arm.set() smua.trigger.source.set() smua.trigger.measure.set()")
    assert value(smu, "smua.source.levelv, smua.nvbuffer1.n") == [0.1, 1]
    ask(smu, "smua.trigger.endpulse.set()")
    assert value(smu, "smua.source.levelv") == [0]


def test_autoclear_forgets_what_came_before_the_trigger_layer() -> None:
    for autoclear, readings in ((1, 0), (0, 1)):
        smu = pulsing("0")
        ask(smu, f"smua.trigger.autoclear = {autoclear} smua.trigger.arm.stimulus = trigger.EVENT_ID")
        ask(smu, "smua.trigger.initiate() smua.trigger.source.set() smua.trigger.measure.set()")
        ask(smu, "*TRG")
        assert value(smu, "smua.nvbuffer1.n") == [readings]


def test_two_channels_keep_step_on_one_timer() -> None:
    smu = pulsing("display.trigger.EVENT_ID")
    ask(smu, FIXED.replace("smua", "smub"))
    ask(smu, " ".join(PULSES.split("\n")).replace("smua", "smub"))
    ask(smu, "smua.trigger.initiate() smub.trigger.initiate() waitcomplete()")
    assert value(smu, "smua.nvbuffer1.n, smub.nvbuffer1.n, smub.source.levelv") == [3, 3, 0]
    begun = [value(smu, f"{n}.nvbuffer1.timestamps[2]")[0] for n in ("smua", "smub")]
    assert abs(begun[1] - begun[0]) < 0.1e-3


def test_a_timer_counts_passes_through_and_goes_through_its_delays() -> None:
    smu = make()
    ask(smu, "trigger.timer[2].delaylist = {1, 2, 4} trigger.timer[2].count = 4")
    ask(smu, "trigger.timer[2].stimulus = display.trigger.EVENT_ID")
    assert ask(smu, "display.trigger.clear() print(display.trigger.wait(1), display.trigger.overrun)") == "true\tfalse"
    ask(smu, "begun = timer.measure.t()")
    times = []
    for _ in range(4):
        assert ask(smu, "print(trigger.timer[2].wait(10))") == "true"
        times += value(smu, "timer.measure.t() - begun")
    assert times == pytest.approx([1, 3, 7, 8], abs=0.05)
    before = value(smu, "timer.measure.t()")[0]
    assert ask(smu, "print(trigger.timer[2].wait(2.5))") == "false"
    assert value(smu, "timer.measure.t()")[0] - before == pytest.approx(2.5, abs=0.05)
    ask(smu, "trigger.timer[2].passthrough = true display.trigger.wait(0)")
    assert ask(smu, "print(trigger.timer[2].wait(0))") == "true"


def test_a_timer_that_runs_is_not_started_again_and_goes_on_beside_the_script() -> None:
    smu = make()
    ask(smu, "trigger.timer[1].delay = 1 trigger.timer[1].stimulus = display.trigger.EVENT_ID")
    ask(smu, "trigger.timer[2].delay = 1 trigger.timer[2].stimulus = trigger.timer[1].EVENT_ID")
    ask(smu, "display.trigger.wait(0) delay(0.5) display.trigger.wait(0) delay(0.6)")
    assert ask(smu, "print(trigger.timer[1].wait(0))") == "true", "1 s after the first event"
    ask(smu, "delay(0.95)")
    assert ask(smu, "print(trigger.timer[2].wait(0))") == "true", (
        "begun when the first one ended, not when it was asked"
    )
    ask(smu, "trigger.timer[1].count = 0 display.trigger.wait(0) delay(20000)")
    assert ask(smu, "print(trigger.timer[1].overrun)") == "false", "as far as anybody looked"
    assert ask(smu, "print(trigger.timer[1].wait(0), trigger.timer[1].overrun)") == "true\ttrue"
    ask(smu, "trigger.timer[1].clear() trigger.timer[1].reset()")
    assert ask(smu, "print(trigger.timer[1].wait(50), trigger.timer[1].overrun)") == "false\tfalse"


def test_a_finite_timer_ends_while_nobody_looks() -> None:
    smu = make()
    ask(smu, "trigger.timer[1].delay = 1e-3 trigger.timer[1].count = 5000")
    ask(smu, "trigger.timer[1].stimulus = display.trigger.EVENT_ID display.trigger.wait(0) delay(100)")
    assert ask(smu, "print(trigger.timer[1].wait(0), trigger.timer[1].wait(10))") == "true\tfalse"


def test_blenders_wait_for_all_or_for_any_event_and_no_loop_goes_on_for_ever() -> None:
    smu = make()
    ask(smu, "b = trigger.blender[3] b.stimulus[1] = display.trigger.EVENT_ID b.stimulus[4] = trigger.EVENT_ID")
    ask(smu, "display.trigger.wait(0)")
    assert ask(smu, "print(b.wait(0))") == "false"
    ask(smu, "*TRG")
    assert ask(smu, "print(b.wait(0), b.overrun)") == "true\tfalse"
    assert ask(smu, "print(trigger.wait(0), trigger.wait(0))") == "true\tfalse"
    ask(smu, "b.orenable = true b.stimulus[2] = b.EVENT_ID display.trigger.wait(0) display.trigger.wait(0)")
    assert ask(smu, "print(b.overrun, b.wait(0))") == "true\ttrue"
    ask(smu, "b.reset()")
    assert ask(smu, "print(b.orenable, b.overrun, b.stimulus[1], b.stimulus[5])") == "false\tfalse\t0.00000e+00\tnil"
    ask(smu, "display.trigger.wait(0)")
    ask(smu, "trigger.clear() b.clear()")
    assert ask(smu, "print(b.wait(0))") == "false"


@pytest.mark.parametrize(
    ("setting", "good", "bad", "code"),
    [
        ("trigger.timer[8].count", "1048575", "1048576", 1101),
        ("trigger.timer[8].count", "0", "-1", 1102),
        ("trigger.timer[1].delay", "100000", "100001", 1101),
        ("trigger.timer[1].delay", "0", "-1", 1102),
        ("trigger.timer[1].passthrough", "true", "1", -104),
        ("trigger.timer[1].stimulus", "trigger.EVENT_ID", "-1", 1102),
        ("trigger.timer[1].delaylist", "{5e-5, 5e-5}", "{1e-5, 1e-5}", 1102),
        ("trigger.timer[1].delaylist", "{1e-5}", "{}", 1102),
        ("trigger.blender[6].orenable", "true", "2", -104),
        ("trigger.blender[6].stimulus[4]", "trigger.EVENT_ID", "1e9", 1101),
        ("smua.trigger.autoclear", "1", "2", 1101),
    ],
)
def test_settings_keep_to_their_range_and_a_reset_undoes_them(setting: str, good: str, bad: str, code: int) -> None:
    smu = make()
    whole = f"{setting}[1]" if "delaylist" in setting else setting
    before = ask(smu, f"print({whole})")
    ask(smu, f"{setting} = {good}")
    assert error(smu) == 0
    kept = ask(smu, f"print({whole})")
    ask(smu, f"{setting} = {bad}")
    assert error(smu) == code
    assert ask(smu, f"print({whole})") == kept
    ask(smu, "reset()")
    assert ask(smu, f"print({whole})") == before


def test_a_wait_has_a_patience_that_is_a_time() -> None:
    smu = make()
    for call, code in (("trigger.wait(-1)", 1102), ("display.trigger.wait(1e9)", 1101), ("trigger.wait('x')", -104)):
        ask(smu, call)
        assert error(smu) == code


def test_a_sweep_that_waits_beside_an_endless_timer_waits() -> None:
    smu = pulsing("0")
    ask(
        smu,
        "trigger.timer[5].delay = 0 trigger.timer[5].count = 0 trigger.timer[5].stimulus = display.trigger.EVENT_ID",
    )
    ask(smu, "display.trigger.wait(0) smua.trigger.initiate()")
    assert value(smu, "smua.nvbuffer1.n") == [0]
    assert error(smu) == 0


def test_entries_of_the_menu_of_user_tests_are_kept_listed_and_deleted() -> None:
    smu = make()
    ask(smu, "display.loadmenu.add('one', 'first(1)', display.DONT_SAVE) display.loadmenu.add('two', 'second()')")
    listing = "for name, code in display.loadmenu.catalog() do print(name, code) end"
    assert ask(smu, listing) == "one\tfirst(1)\ntwo\tsecond()"
    ask(smu, "reset() display.loadmenu.delete('one')")
    assert ask(smu, listing) == "two\tsecond()"
    ask(smu, "display.loadmenu.delete('one')")
    assert error(smu) == -292
    ask(smu, "display.loadmenu.add('three', 3)")
    assert error(smu) == -104


def test_what_is_sourced_is_measured_on_the_range_that_it_is_sourced_on() -> None:
    smu = make()
    ask(smu, "smua.measure.autorangev = 0 smua.measure.rangev = 0.1 smua.source.rangev = 6 smua.source.levelv = 2")
    ask(smu, "smua.source.output = 1")
    assert value(smu, "smua.measure.v()") == pytest.approx([2.0])
    ask(smu, "smua.source.output = 0 smua.source.func = 0 smua.source.leveli = 1e-4 smua.source.output = 1")
    assert value(smu, "smua.measure.v()") == [9.91e37], "1 V, on the range of 0.1 V"
