"""The emulated 2600B: settings and their refusals, readings, buffers, status, output states, sweeps and pulses."""

import struct

import numpy as np
import pytest

from labctl.core.errors import BenchError
from sim_backend.emulators.k2600 import K2600
from sim_backend.emulators.k2600_models import MODELS
from sim_backend.emulators.resistors import ResistorBox
from sim_backend.emulators.world import Cables, World

R = 10e3


def make(model: str = "2602B", **options: object) -> K2600:
    """A resistor between smua and ground."""
    wiring = Cables(
        {f"smu.{c}": n for c, n in zip(MODELS[model].channels, ("pad", "nc"), strict=False)},
        {(0, "row", 0): "pad", (0, "col", 0): "gnd"},
        ("gnd",),
    )
    return K2600("smu", model, World(wiring, ResistorBox(np.full((1, 1, 1), 1 / R))), **options)


def ask(smu: K2600, text: str) -> str:
    return smu.handle(text.encode() + b"\n").decode().rstrip("\n")


def value(smu: K2600, expression: str) -> list[float]:
    return [float(v) for v in ask(smu, f"format.asciiprecision = 16 print({expression})").split("\t")]


def error(smu: K2600) -> int:
    return int(float(ask(smu, "print(errorqueue.next())").split("\t")[0]))


def test_force_voltage_measure_both_resistance_and_power() -> None:
    smu = make()
    ask(smu, "smua.source.levelv = 0.5 smua.source.limiti = 1e-3 smua.source.output = smua.OUTPUT_ON")
    assert value(smu, "smua.measure.iv()") == pytest.approx([0.5 / R, 0.5])
    assert value(smu, "smua.measure.r(), smua.measure.p()") == pytest.approx([R, 0.25 / R])
    assert ask(smu, "print(smua.source.compliance)") == "false"


@pytest.mark.parametrize(
    ("setting", "good", "bad", "code"),
    [
        ("source.limiti", 1e-8, 0, 1102), ("source.limiti", 3.0, 3.1, 1101), ("source.limiti", 1e-3, -1e-3, 1102),
        ("source.limitv", 0.01, 0.001, 1102), ("source.levelv", 40.4, 40.5, 1101), ("source.levelv", -1, -41, 1102),
        ("source.leveli", 3.03, 3.1, 1101), ("source.func", 0, 2, 1101), ("source.offmode", 2, 3, 1101),
        ("measure.nplc", 25, 26, 1101), ("measure.nplc", 0.001, 0.0001, 1102), ("measure.rangei", 1, 5, 1101),
        ("source.output", 1, 3, 1101), ("measure.count", 5, 0, 1102), ("sense", 1, 2, 1102),
        ("measure.autozero", 0, 4, 1101), ("source.settling", 128, 129, 1101), ("measure.delay", -1, -2, 1102),
        ("source.levelv", 0.2, "0/0", 1101), ("source.limiti", 1e-3, "1/0", 1101), ("measure.count", 2, "0/0", 1102),
        ("source.levelv", 0.2, "'text'", -104), ("source.limiti", 1e-3, "nil", -104),
        ("source.outputenableaction", 1, 2, 1101), ("measure.filter.count", 10, 101, 1101),
        ("trigger.count", 3, 0, 1102), ("measure.rel.enablev", 1, 2, 1101),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_refused_and_the_old_one_kept(
    setting: str, good: float, bad: object, code: int
) -> None:
    smu = make()
    ask(smu, "smua.source.func = 0 smua.source.limitv = 1" if "leveli" in setting else "")
    ask(smu, f"smua.{setting} = {good}")
    assert ask(smu, "print(errorqueue.count)") == "0.00000e+00"
    assert value(smu, f"smua.{setting}") == [good]
    assert ask(smu, f"smua.{setting} = {bad} print('goes on')") == "goes on"
    assert error(smu) == code
    assert value(smu, f"smua.{setting}") == [good]


def test_safe_operating_area_and_ranges() -> None:
    smu = make()
    ask(smu, "smua.source.limiti = 3 smua.source.levelv = 7")
    assert error(smu) == 5007
    ask(smu, "smua.source.levelv = 5.5")
    assert value(smu, "smua.source.rangev, smua.source.levelv") == [6.0, 5.5]
    ask(smu, "smua.source.rangev = 0.5")
    assert error(smu) == -221
    ask(smu, "smua.source.levelv = 0 smua.source.rangev = 0.5")
    assert value(smu, "smua.source.rangev, smua.source.autorangev") == [1.0, 0.0]
    ask(smu, "smua.source.levelv = 1.02")
    assert error(smu) == 1101


@pytest.mark.parametrize("model", sorted(MODELS))
def test_every_model_says_who_it_is_and_resets_within_its_ranges(model: str) -> None:
    smu = make(model)
    assert ask(smu, "*IDN?").split(", ")[1] == f"Model {model}"
    assert ask(smu, "print(localnode.model)") == model
    spec = MODELS[model]
    assert (ask(smu, "print(smub)") == "nil") == (len(spec.channels) == 1)
    assert value(smu, "smua.source.limiti, smua.source.output, smua.measure.nplc") == [spec.default_limit, 0.0, 1.0]
    ask(smu, f"smua.source.levelv = {spec.v_max}")
    assert error(smu) == 0


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(BenchError, match="2400"):
        K2600("smu", "2400", World(Cables({}, {}), ResistorBox(np.ones((1, 1, 1)))))


def test_compliance_shows_in_value_attribute_and_status_bits() -> None:
    smu = make()
    ask(smu, "smua.source.levelv = 0.5 smua.source.limiti = 2e-5 smua.source.output = 1")
    reply = ask(smu, "print(smua.measure.i(), status.measurement.instrument.smua.condition, smua.source.compliance)")
    assert reply == "2.00000e-05\t2.00000e+00\ttrue"
    assert ask(smu, "print(status.measurement.current_limit.condition, status.measurement.condition)") == (
        "2.00000e+00\t8.19400e+03"
    )
    ask(smu, "smua.source.func = 0 smua.source.limitv = 0.1 smua.source.leveli = 1e-3")
    assert ask(smu, "print(smua.measure.v(), status.measurement.instrument.smua.condition)") == (
        "1.00000e-01\t1.00000e+00"
    )
    ask(smu, "smua.source.leveli = 1e-6")
    assert ask(smu, "print(smua.measure.v(), status.measurement.instrument.smua.condition)") == (
        "1.00000e-02\t0.00000e+00"
    )


@pytest.mark.parametrize(
    ("lowest", "level", "range_"), [(3.0, 0, 6.0), (0, -3, 6.0), (30, 0.5, 40.0), (0.05, 0.5, 1.0)]
)
def test_a_lowest_range_between_two_ranges_is_the_upper_one(lowest: float, level: float, range_: float) -> None:
    smu = make()
    ask(smu, f"smua.source.lowrangev = {lowest} smua.source.autorangev = 1 smua.source.levelv = {level}")
    assert value(smu, "smua.source.rangev") == [range_]


def test_over_range_and_autorange() -> None:
    smu = make()
    ask(smu, "smua.source.levelv = -0.5 smua.source.output = 1 smua.measure.rangei = 1e-5")
    assert value(smu, "smua.measure.i()") == [-9.91e37]
    ask(smu, "smua.measure.rangei = 4.9e-5")
    assert value(smu, "smua.measure.i(), smua.measure.rangei") == pytest.approx([-5e-5, 1e-4])
    ask(smu, "smua.measure.autorangei = 1 smua.source.levelv = 1e-3")
    assert value(smu, "smua.measure.i(), smua.measure.rangei") == pytest.approx([1e-7, 1e-7])


@pytest.mark.parametrize(
    ("mode", "amps", "connected"),
    [("OUTPUT_NORMAL", 0.0, True), ("OUTPUT_ZERO", 0.0, True), ("OUTPUT_HIGH_Z", 0.0, False)],
)
def test_off_is_a_low_impedance_except_with_the_relay_open(mode: str, amps: float, connected: bool) -> None:
    wiring = Cables({"smu.smua": "p", "smu.smub": "q"}, {(0, "row", 0): "p", (0, "col", 0): "q"})
    smu = K2600("smu", "2602B", World(wiring, ResistorBox(np.full((1, 1, 1), 1 / R))))
    ask(smu, f"smua.source.levelv = 0.5 smua.source.output = 1 smub.source.offmode = smub.{mode}")
    current = value(smu, "smua.measure.i()")[0]
    assert current == pytest.approx(0.5 / R if connected else amps)


def test_off_state_limits_the_current_that_others_push_into_it() -> None:
    wiring = Cables({"smu.smua": "p", "smu.smub": "q"}, {(0, "row", 0): "p", (0, "col", 0): "q"})
    smu = K2600("smu", "2602B", World(wiring, ResistorBox(np.full((1, 1, 1), 1 / R))))
    ask(smu, "smua.source.levelv = 5 smua.source.output = 1 smub.source.offlimiti = 1e-5")
    assert value(smu, "smua.measure.i()")[0] == pytest.approx(1e-5)


def test_output_enable_line_is_ignored_by_default_on_the_2602_and_never_on_the_2612() -> None:
    smu = make("2602B")
    ask(smu, "smua.source.output = 1")
    smu.smus["smua"].enable(False)
    assert value(smu, "smua.source.output") == [1.0]
    smu.smus["smua"].enable(True)
    ask(smu, "smua.source.outputenableaction = smua.OE_OUTPUT_OFF")
    smu.smus["smua"].enable(False)
    assert value(smu, "smua.source.output") == [0.0]
    ask(smu, "smua.source.output = 1")
    assert error(smu) == 802
    smu.smus["smua"].enable(True)
    assert value(smu, "smua.source.output") == [0.0]  # does not come back by itself

    fixed = make("2612B")
    ask(fixed, "smua.source.outputenableaction = 0")
    assert error(fixed) == 1102
    fixed.smus["smua"].enable(False)
    ask(fixed, "smua.source.output = 1")
    assert error(fixed) == 802


def test_abort_and_device_clear_change_no_output_and_rst_does() -> None:
    smu = make()
    ask(smu, "smua.source.levelv = 0.5 smua.source.output = 1")
    ask(smu, "smua.abort()")
    ask(smu, "abort")
    smu.session().clear()
    assert value(smu, "smua.source.levelv, smua.source.output") == [0.5, 1.0]
    ask(smu, "*RST")
    assert value(smu, "smua.source.levelv, smua.source.output") == [0.0, 0.0]


def test_buffers() -> None:
    smu = make()
    ask(smu, "smua.source.levelv = 0.5 smua.source.output = 1 smua.measure.count = 4")
    ask(smu, "smua.measure.overlappediv(smua.nvbuffer1, smua.nvbuffer2) waitcomplete()")
    assert value(smu, "smua.nvbuffer1.n, smua.nvbuffer1[4], smua.nvbuffer2.readings[1]") == pytest.approx(
        [4, 5e-5, 0.5]
    )
    assert ask(smu, "print(smua.nvbuffer1[5])") == "nil"
    times = [float(t) for t in ask(smu, "printbuffer(1, 4, smua.nvbuffer1.timestamps)").split(", ")]
    assert np.diff(times) == pytest.approx([1 / 60 + 200e-6] * 3, rel=1e-4)
    ask(smu, "smua.measure.i(smua.nvbuffer1)")
    assert value(smu, "smua.nvbuffer1.n") == [4.0]
    ask(smu, "smua.nvbuffer1.appendmode = 1 smua.measure.i(smua.nvbuffer1)")
    assert value(smu, "smua.nvbuffer1.n") == [8.0]
    ask(smu, "format.data = format.REAL32")
    raw = smu.handle(b"printbuffer(1, 2, smua.nvbuffer1.readings, smua.nvbuffer1.sourcevalues)\n")
    assert raw[:2] == b"#0"
    assert struct.unpack("<4f", raw[2:-1]) == pytest.approx([5e-5, 0.5, 5e-5, 0.5])
    ask(smu, "format.data = format.ASCII printbuffer(1, 9, smua.nvbuffer1)")
    assert error(smu) == 4900
    ask(smu, "b = smua.makebuffer(2) b.appendmode = 1 smua.measure.i(b)")
    assert error(smu) == 4915
    assert value(smu, "b.n, b.capacity") == [2.0, 2.0]
    ask(smu, "smua.measure.i({})")
    assert error(smu) == 4903
    ask(smu, "smua.nvbuffer1.clear()")
    assert value(smu, "smua.nvbuffer1.n") == [0.0]


def test_time_of_a_reading_is_its_integration_and_the_overhead() -> None:
    smu = make()
    timing = smu.world.timing
    ask(smu, "smua.source.output = 1 smua.measure.nplc = 2 smua.measure.autozero = 0 smua.measure.i()")
    before = smu.world.now
    ask(smu, "smua.measure.i()")
    expected = timing.message + timing.measure_overhead + 2 / timing.line_frequency
    assert smu.world.now - before == pytest.approx(expected)
    before = smu.world.now
    ask(smu, "delay(0.25)")
    assert smu.world.now - before == pytest.approx(0.25 + timing.message)
    ask(smu, "delay(-1)")
    assert error(smu) == 1102


def test_noise_and_resolution_are_of_the_range_and_reproducible() -> None:
    readings = []
    for _ in range(2):
        smu = make(ideal=False, seed=7)
        ask(smu, "smua.source.levelv = 0.1 smua.source.output = 1 smua.measure.rangei = 1e-5 smua.measure.count = 200")
        ask(smu, "format.asciiprecision = 12 smua.measure.i(smua.nvbuffer1)")
        readings.append([float(v) for v in ask(smu, "printbuffer(1, 200, smua.nvbuffer1)").split(", ")])
    assert readings[0] == readings[1]
    counts = np.array(readings[0]) / 1e-11
    assert counts == pytest.approx(np.round(counts), abs=1e-4)
    assert np.std(readings[0]) == pytest.approx(2e-6 * 1e-5, rel=0.3)
    assert np.mean(readings[0]) == pytest.approx(0.1 / R, abs=1e-11)


def test_source_steps_are_those_of_the_range_unless_ideal() -> None:
    smu = make(ideal=False)
    ask(smu, "smua.source.rangev = 1 smua.source.levelv = 0.123456 smua.source.output = 1")
    assert smu.world.observe("smu.smua").volts == pytest.approx(0.12345, abs=1e-9)
    assert make().smus["smua"]._step(0.123456, 5e-5) == 0.123456


def test_zero_bias_offset_of_the_ammeter() -> None:
    smu = make(offset=2e-9)
    ask(smu, "smua.source.output = 1")
    assert value(smu, "smua.measure.i()") == pytest.approx([2e-9])
    ask(smu, "smua.measure.rel.leveli = 2e-9 smua.measure.rel.enablei = 1")
    assert value(smu, "smua.measure.i()") == pytest.approx([0.0], abs=1e-15)


def test_linear_sweep_runs_by_itself_and_holds_or_returns() -> None:
    smu = make()
    setup = """loadandrunscript
    smua.source.output = 1
    smua.trigger.source.linearv(0, 0.4, 5)
    smua.trigger.source.limiti = 1e-3
    smua.trigger.source.action = smua.ENABLE
    smua.trigger.measure.iv(smua.nvbuffer1, smua.nvbuffer2)
    smua.trigger.measure.action = smua.ENABLE
    smua.trigger.count = 5
    smua.trigger.endsweep.action = smua.SOURCE_IDLE
    smua.trigger.initiate()
    waitcomplete()
    printbuffer(1, 5, smua.nvbuffer1)
    endscript
    """
    readings = [float(v) for v in smu.handle(setup.encode()).decode().split(", ")]
    assert readings == pytest.approx([0, 1e-5, 2e-5, 3e-5, 4e-5])
    assert value(smu, "smua.source.levelv, smua.source.limiti") == [0.0, 1e-3]
    ask(smu, "smua.trigger.source.listv({0.1, 99}) smua.trigger.initiate()")
    assert error(smu) == 1101
    assert value(smu, "smua.source.levelv") == [0.0]
    for call, code in (
        ("linearv(0, 1, 0/0)", 1102),
        ("linearv(0, 1, 1e9)", 1101),
        ("logv(0, 1, 5)", -221),
        ("listv({})", 1102),
    ):
        ask(smu, f"smua.trigger.source.{call}")
        assert error(smu) == code
    ask(smu, "smua.trigger.measure.stimulus = 12 smua.trigger.initiate()")
    assert error(smu) == -221


def test_kipulse_pulses_for_its_time_and_measures_at_the_end() -> None:
    smu = make()
    ask(smu, "smua.source.rangev = 1 smua.source.rangei = 1e-3 smua.measure.rangei = 1e-3 smua.measure.rangev = 1")
    ask(smu, "smua.measure.nplc = 0.01 smua.measure.autozero = 0 smua.source.output = 1 smua.nvbuffer1.appendmode = 1")
    box = smu.world._load
    box.held.clear()
    call = "ConfigPulseVMeasureI(smua, 0, 0.5, 1e-3, 2e-3, 5e-3, 3, smua.nvbuffer1, 1)"
    assert ask(smu, f"print({call})").startswith("true")
    assert ask(smu, "print(InitiatePulseTest(1))").startswith("true")
    assert value(smu, "smua.nvbuffer1.n, smua.nvbuffer1[3], smua.source.levelv") == pytest.approx([3, 5e-5, 0.0])
    up = sum(t for _, v, t in box.held if v[0] == 0.5)
    assert up == pytest.approx(3 * 2e-3, rel=1e-6)
    assert ask(smu, "print(InitiatePulseTest(9))") == "false\tNo pulse test with this tag"
    assert ask(smu, "print(ConfigPulseVMeasureI(smua, 0, 0.5, 1e-3, 1e-5, 5e-3, 3, nil, 2))").startswith("false")
    assert ask(smu, "print(ConfigPulseVMeasureI(smua, 0, 99, 1e-3, 2e-3, 5e-3, 3, nil, 2))").startswith("false")


def test_contact_check_refuses_what_the_manual_says() -> None:
    smu = make()
    ask(smu, "smua.source.offlimiti = 1e-4 print(smua.contact.r())")
    assert error(smu) == 5066
    ask(smu, "smua.source.offmode = 2 smua.contact.check()")
    assert error(smu) == 5048
    ask(smu, "smua.source.limiti = 1e-4 smua.source.output = 1 smua.contact.r()")
    assert error(smu) == 5065
    other = make("2604B")
    ask(other, "smua.contact.r()")
    assert error(other) == 1100


ENDLESS = "smua.trigger.count=1e9 smua.trigger.arm.count=1e9 "


@pytest.mark.parametrize(
    "setting",
    [
        "smua.trigger.initiate()",
        "smua.trigger.source.linearv(0,0.1,3) smua.trigger.source.action=1 smua.trigger.initiate()",
        "smua.trigger.measure.i(smua.nvbuffer1) smua.trigger.measure.action=1 smua.trigger.initiate()",
        "smua.trigger.arm.stimulus=trigger.EVENT_ID smua.trigger.initiate()",
    ],
)
def test_a_command_without_end_ends_and_the_instrument_goes_on(setting: str) -> None:
    smu = make(command=0.05)
    ask(smu, f"smua.source.output=1 {ENDLESS}{setting}")
    ask(smu, "*TRG")
    assert "command deadline exceeded" in ask(smu, "print(errorqueue.next())")
    assert value(smu, "smua.source.output") == [1.0]
    assert error(smu) == 0


def test_the_budget_of_a_command_is_begun_with_each_one() -> None:
    smu = make(command=0.2)
    ask(smu, "smua.source.output=1 for k=1,3 do smua.measure.i() delay(0.001) end")
    smu.lua.begin_command = lambda: None
    smu.lua._command_ends = 0.0
    ask(smu, "delay(0.001)")
    assert "command deadline exceeded" in ask(smu, "print(errorqueue.next())"), "if it were not begun"
