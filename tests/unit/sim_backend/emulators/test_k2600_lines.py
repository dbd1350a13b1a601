"""Digital lines of the emulated 2600B: the port, its protection, and triggers in both directions."""

import pytest

from sim_backend.emulators.k2600 import K2600
from tests.unit.sim_backend.emulators.test_k2600 import ask, error, make, value
from tests.unit.sim_backend.emulators.test_k2600_triggers import pulsing


def level(smu: K2600, line: int = 1) -> int:
    return int(value(smu, f"digio.readbit({line})")[0])


def test_lines_are_written_and_read_one_by_one_and_together_unless_they_are_protected() -> None:
    smu = make()
    assert value(smu, "digio.readport()") == [16383], "lines float high"
    ask(smu, "digio.writeport(0) digio.writebit(4, 7)")
    assert value(smu, "digio.readport(), digio.readbit(4), digio.readbit(5)") == [8, 1, 0]
    ask(smu, "digio.writeprotect = 130 digio.writeport(16383) digio.writebit(8, 1)")
    assert value(smu, "digio.readport(), digio.writeprotect") == [16383 - 130, 130]
    ask(smu, "reset()")
    assert value(smu, "digio.readport(), digio.writeprotect") == [16383 - 130, 0], "a reset leaves the lines"
    smu.port.pull(1, low=True)
    assert level(smu) == 0
    for call in ("writebit(0, 1)", "writebit(15, 1)", "readbit(15)", "writeport(16384)", "writeport('x')"):
        ask(smu, f"digio.{call}")
        assert error(smu) in (1101, 1102, -104)
    assert error(smu) == 0


@pytest.mark.parametrize("model", ["2604B", "2614B", "2634B"])
def test_models_without_lines_have_none(model: str) -> None:
    assert ask(make(model), "print(digio)") == "nil"


@pytest.mark.parametrize(
    ("mode", "fall", "rise", "latched"),
    [
        ("TRIG_BYPASS", False, False, False), ("TRIG_FALLING", True, False, False), ("TRIG_RISING", False, True, False),
        ("TRIG_EITHER", True, True, False), ("TRIG_SYNCHRONOUSA", True, False, True),
        ("TRIG_SYNCHRONOUS", True, False, True), ("TRIG_SYNCHRONOUSM", False, True, False),
        ("TRIG_RISINGA", False, True, False), ("TRIG_RISINGM", False, False, False),
    ],
)  # fmt: skip
def test_each_mode_detects_its_edges(mode: str, fall: bool, rise: bool, latched: bool) -> None:
    smu = make()
    ask(smu, f"line = digio.trigger[1] line.mode = digio.{mode} line.clear()")
    smu.port.pull(1, low=True)
    assert ask(smu, "print(line.wait(0), line.overrun)") == f"{str(fall).lower()}\tfalse"
    smu.port.pull(1, low=False)
    assert level(smu) == (0 if latched or mode == "TRIG_RISINGM" else 1)
    assert ask(smu, "print(line.wait(0))") == str(rise).lower()
    ask(smu, "line.release()")
    assert level(smu) == (0 if mode == "TRIG_RISINGM" else 1)


@pytest.mark.parametrize(
    ("mode", "idle", "seen"),
    [
        ("FALLING", 1, "true"), ("RISINGA", 1, "true"), ("EITHER", 1, "true"), ("RISINGM", 0, "false"),
        ("SYNCHRONOUSM", 1, "true"), ("SYNCHRONOUS", 1, "false"),
    ],
)  # fmt: skip
def test_a_pulse_has_its_width_and_its_polarity(mode: str, idle: int, seen: str) -> None:
    smu = make()
    ask(smu, f"line = digio.trigger[1] line.mode = digio.TRIG_{mode} line.pulsewidth = 1 line.clear()")
    assert level(smu) == idle
    ask(smu, "line.assert() delay(0.5)")
    assert level(smu) == 1 - idle
    ask(smu, "delay(0.6)")
    assert level(smu) == idle
    assert ask(smu, "print(line.wait(0))") == seen
    ask(smu, "line.pulsewidth = 0 line.assert() delay(100)")
    assert level(smu) == 1 - idle
    ask(smu, "line.release()")
    assert level(smu) == idle


def test_an_acceptor_releases_its_line_by_its_output_trigger_and_bypass_gives_none() -> None:
    smu = make()
    ask(smu, "line = digio.trigger[3] line.mode = digio.TRIG_SYNCHRONOUSA")
    smu.port.pull(3, low=True)
    smu.port.pull(3, low=False)
    assert level(smu, 3) == 0
    ask(smu, "line.assert()")
    assert level(smu, 3) == 1
    ask(smu, "line.reset() line.assert()")
    assert (level(smu, 3), value(smu, "line.mode")) == (1, [0])
    ask(smu, "digio.writebit(3, 0) line.mode = digio.TRIG_RISING line.pulsewidth = 1 line.assert()")
    assert level(smu, 3) == 1, "what was written low acts as the master of rising edges"


def test_an_event_gives_a_pulse_and_an_edge_starts_a_sweep() -> None:
    smu = pulsing("digio.trigger[2].EVENT_ID")
    ask(smu, "digio.trigger[2].mode = digio.TRIG_FALLING digio.trigger[5].mode = digio.TRIG_RISINGM")
    ask(smu, "digio.trigger[5].pulsewidth = 2e-3 digio.trigger[5].stimulus = smua.trigger.SOURCE_COMPLETE_EVENT_ID")
    ask(smu, "trigger.timer[7].stimulus = digio.trigger[5].EVENT_ID smua.trigger.initiate()")
    assert value(smu, "smua.nvbuffer1.n") == [0]
    smu.port.pull(2, low=True)
    assert value(smu, "smua.nvbuffer1.n, smua.source.levelv") == [3, 0]
    assert error(smu) == 0
    ask(smu, "digio.trigger[6].mode = digio.TRIG_FALLING digio.trigger[6].stimulus = digio.trigger[6].EVENT_ID")
    ask(smu, "digio.trigger[6].assert()")
    assert ask(smu, "print(digio.trigger[6].wait(1))") == "true", "an event is not its own cause"
    assert ask(smu, "digio.trigger[2].clear() print(digio.trigger[2].wait(3))") == "false"


@pytest.mark.parametrize(
    ("setting", "good", "bad", "code"),
    [
        ("mode", "8", "9", 1101), ("pulsewidth", "0", "-1", 1102), ("pulsewidth", "1e5", "1e6", 1101),
        ("stimulus", "trigger.EVENT_ID", "-1", 1102),
    ],
)  # fmt: skip
def test_settings_of_a_line_keep_to_their_range_and_a_reset_undoes_them(
    setting: str, good: str, bad: str, code: int
) -> None:
    smu = make()
    before = value(smu, f"digio.trigger[14].{setting}")
    ask(smu, f"digio.trigger[14].{setting} = {good}")
    kept = value(smu, f"digio.trigger[14].{setting}")
    ask(smu, f"digio.trigger[14].{setting} = {bad}")
    assert error(smu) == code
    assert value(smu, f"digio.trigger[14].{setting}") == kept
    ask(smu, "reset()")
    assert value(smu, f"digio.trigger[14].{setting}") == before
