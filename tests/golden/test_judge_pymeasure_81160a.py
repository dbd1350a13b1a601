"""PyMeasure's Keysight 81160A driver, over TCP through pyvisa-py, and the messages of its tests on the emulated one.

All 36 pairs of its tests (seven shapes and two couplings, on two channels, each set and asked for) are accepted. Not
emulated, and refused, are waveforms that are loaded, and their memory. Nothing is a disagreement. Limits are sent by it
with six digits behind the point, so that they are whole microvolts.
"""

from collections.abc import Iterator

import pytest

from instruments.keysight81160a import Keysight81160A, Keysight81160AOptions
from instruments.transport import BytesTransport
from labctl.core.pulse_source import PulseSetup
from labctl.testing.emulated import NAME, seen_pulses
from sim_backend.emulators.k81160 import K81160
from sim_backend.emulators.serve import serve
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.judge, pytest.mark.filterwarnings("ignore")]
pymeasure = pytest.importorskip("pymeasure.instruments.keysight", reason="pymeasure is not installed (extra judges)")
expected_protocol = pytest.importorskip("pymeasure.test", reason="its tests' helper").expected_protocol

SHAPES = ("SIN", "SQU", "RAMP", "PULS", "NOIS", "DC", "USER")
SET_AND_ASKED = [
    *((f":FUNC{n} {shape}", f":FUNC{n}?", shape) for n in (1, 2) for shape in SHAPES),
    *((f":TRAC:CHAN{n} {state}", f":TRAC:CHAN{n}?", str(state)) for n in (1, 2) for state in (1, 0)),
]


@pytest.fixture
def bench() -> Iterator[tuple[K81160, object, list[tuple[str, float, float]]]]:
    world, pulses = seen_pulses(["out1", "out2"])
    box = K81160(NAME, world)
    with serve(box) as server:
        driver = pymeasure.Keysight81160A(
            server.resource(NAME), visa_library="@py", read_termination="\n", write_termination="\n",
            timeout=1000 * PATIENCE,
        )  # fmt: skip
        yield box, driver, pulses
        driver.adapter.connection.close()


def no_error(box: K81160) -> bool:
    return box.errors.next() == '0,"No error"'


@pytest.mark.parametrize(("command", "query", "reply"), SET_AND_ASKED, ids=[command for command, *_ in SET_AND_ASKED])
def test_each_pair_of_its_tests_is_accepted(command, query, reply):
    box = K81160(NAME, seen_pulses(["out1", "out2"])[0])
    assert box.execute(command) == ""
    assert box.execute(query) == f"{reply}\n"
    assert no_error(box)


def test_the_pairs_are_those_that_its_driver_sends():
    for command, query, reply in SET_AND_ASKED:
        channel = int(command[len(":FUNC") : len(":FUNC") + 1] if "FUNC" in command else command[len(":TRAC:CHAN")])
        name, value = ("shape", reply) if "FUNC" in command else ("coupling_enabled", bool(int(reply)))
        with expected_protocol(pymeasure.Keysight81160A, [(command, None), (query, reply)]) as driver:
            setattr(driver.channels[channel], name, value)
            assert getattr(driver.channels[channel], name) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shape", "PULS"), ("amplitude", 0.4), ("offset", 0.25), ("voltage_high", 1.25), ("voltage_low", -0.75),
        ("amplitude_unit", "VPP"), ("frequency", 2e5), ("square_dutycycle", 30), ("ramp_symmetry", 40),
        ("pulse_period", 1e-3), ("pulse_hold", "DCYC"), ("pulse_width", 5e-8), ("pulse_dutycycle", 25),
        ("pulse_transition", 1e-9), ("output_load", 1e6), ("burst_state", True), ("burst_mode", "GAT"),
        ("burst_period", 1e-5), ("burst_ncycles", 7), ("limit_high", 2.5), ("limit_low", -1.5),
        ("limit_state_enabled", True), ("coupling_enabled", True), ("trigger_mode", "MAN"), ("trigger_mode", "INT2"),
        ("trigger_count", 12), ("output", True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("channel", [1, 2])
def test_each_setting_is_read_back_by_it_as_it_was_set(bench, channel, name, value):
    box, driver, _ = bench
    setattr(driver.channels[channel], name, value)
    now = getattr(driver.channels[channel], name)
    assert now == (value if isinstance(value, str) else pytest.approx(value))
    assert no_error(box)


def test_its_settings_of_the_instrument_are_those_of_the_first_channel(bench):
    box, driver, _ = bench
    driver.shape = "PULS"
    driver.pulse_period = 1e-4
    driver.pulse_width = 2e-6
    driver.pulse_transition = 5e-9
    driver.voltage_high, driver.voltage_low = 0.3, 0.0
    assert driver.shape == "PULS"
    one = box.channels[1]
    assert (one.shape, one.period, one.width, one.edge) == ("PULSe", 1e-4, 2e-6, 5e-9)
    assert (one.level("high"), one.level("low")) == pytest.approx((0.3, 0.0))
    assert no_error(box)


def test_waveforms_are_not_emulated_and_refused(bench):
    box, driver, _ = bench
    driver.channels[1].save_waveform([-1.0, 0.0, 1.0], "test")
    driver.channels[1].delete_waveform("test")
    assert driver.ask("*ESR?").strip() == str(32 | 128)  # command errors, and that it was switched on
    assert len(box.errors) > 1


def test_its_limits_refuse_a_level_and_its_trigger_makes_a_pulse_as_ours_does(bench):
    box, driver, pulses = bench
    driver.reset()
    channel = driver.channels[1]
    channel.shape, channel.trigger_mode, channel.trigger_count = "PULS", "MAN", 1
    driver.write(":PULS:PER1 2")
    channel.pulse_transition = 1e-9
    channel.voltage_high, channel.voltage_low, channel.pulse_width = 0.225, 0.0, 50e-9
    channel.limit_high, channel.limit_low, channel.limit_state_enabled = 0.35, -0.35, True
    assert no_error(box)
    channel.voltage_high = 0.36
    assert channel.voltage_high == pytest.approx(0.225)
    assert box.errors.next().startswith("-222")
    channel.output = True
    driver.trigger()
    driver.wait_for_trigger()
    channel.output = False
    assert channel.output is False
    assert no_error(box)

    world, mine = seen_pulses(["out1", "out2"])
    ours = K81160(NAME, world)
    source = Keysight81160A("pulser", Keysight81160AOptions(), BytesTransport(ours.session()))
    source.connect()
    source.prepare({"out1": PulseSetup(0.7, 1e-6)})
    source.fire("out1", 0.45, 50e-9)
    assert pulses == mine
    same = ("on", "load", "high", "low", "limited", "limits", "inverted", "shape", "unit", "width", "period", "edge")
    same += ("trigger", "sense", "count", "burst")
    theirs, own = (vars(one.channels[1]) for one in (box, ours))
    assert {name: theirs[name] for name in same} == {name: own[name] for name in same}
