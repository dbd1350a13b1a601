"""PyMeasure's Keithley 2400 driver against the emulated 2400, over TCP through pyvisa-py, and beside ours.

One disagreement was the emulator's and is mended: `:MEASure` left concurrent measurements off. None is left.
What is PyMeasure's and right by the manual: `current` is `:MEASure:CURRent?`, which switches the output on by itself.
"""

from collections.abc import Iterator

import numpy as np
import pytest

from instruments.keithley2400 import CHANNEL, Keithley2400, Keithley2400Options
from instruments.transport import BytesTransport
from labctl.core.operations import Flag
from labctl.core.source import Aperture, ChannelSetup, Level, Limit, Measure
from labctl.testing.emulated import NAME, resistors
from sim_backend.emulators.k2400 import K2400
from sim_backend.emulators.serve import serve
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.judge, pytest.mark.filterwarnings("ignore")]
pymeasure = pytest.importorskip("pymeasure.instruments.keithley", reason="pymeasure is not installed (extra judges)")

R = 10e3


def instrument(model: str = "2400") -> K2400:
    return K2400(NAME, model, resistors((CHANNEL,), R))


@pytest.fixture
def bench() -> Iterator[tuple[K2400, object]]:
    smu = instrument()
    with serve(smu) as server:
        driver = pymeasure.Keithley2400(
            server.resource(NAME), visa_library="@py", read_termination="\n", write_termination="\n",
            timeout=1000 * PATIENCE,
        )  # fmt: skip
        yield smu, driver
        driver.adapter.connection.close()


def no_error(smu: K2400) -> bool:
    return smu.execute(":SYST:ERR?") == '0,"No error"\n'


def test_force_measure_compliance_off(bench):
    smu, driver = bench
    driver.reset()
    driver.source_mode = "voltage"
    driver.source_voltage_range = 2
    driver.compliance_current = 1e-4
    driver.current_nplc = 0.1
    driver.source_voltage = 0.5
    driver.source_enabled = True
    assert driver.source_mode == "voltage"
    assert driver.source_voltage_range == pytest.approx(2.1)
    assert driver.current == pytest.approx(0.5 / R)
    assert driver.voltage == pytest.approx(0.5)
    every = driver.measure_all()
    assert (every["voltage"], every["current"], every["resistance"]) == pytest.approx((0.5, 0.5 / R, R))
    driver.compliance_current = 2e-5
    assert driver.current == pytest.approx(2e-5)
    assert driver.voltage == pytest.approx(0.2)
    driver.source_voltage = 0
    driver.source_enabled = False
    assert driver.source_enabled is False
    assert driver.check_errors() == []
    assert (smu.smu.output, smu.smu.set.level_v, smu.smu.set.limit_i) == (False, 0.0, 2e-5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("source_delay", 0.25), ("source_delay_auto_enabled", True), ("auto_zero_enabled", False),
        ("output_off_state", "HIMP"), ("output_off_state", "normal"), ("auto_output_off_enabled", True),
        ("filter_enabled", True), ("repeat_filter_enabled", False), ("filter_count", 7), ("current_nplc", 0.5),
        ("compliance_current", 3e-5), ("compliance_voltage", 4.0), ("current_range_auto_enabled", False),
        ("source_current", 1e-5), ("source_voltage", -1.5), ("source_voltage_range_auto_enabled", False),
        ("source_current_range_auto_enabled", False), ("trigger_delay", 0.125), ("trigger_count", 17),
        ("arm_count", 3), ("resistance_mode_auto_enabled", True), ("wires", 4), ("display_enabled", False),
        ("front_terminals_enabled", False), ("line_frequency", 50),
        ("line_frequency_auto_enabled", False), ("buffer_points", 12),
    ],
)  # fmt: skip
def test_each_setting_is_read_back_by_it_as_it_was_set(bench, name, value):
    smu, driver = bench
    setattr(driver, name, value)
    now = getattr(driver, name)
    aliases = {"HIMP": "disconnected", "normal": "normal"}
    assert now == pytest.approx(value) if not isinstance(value, str) else now in (value, aliases.get(value))
    assert no_error(smu)


def test_it_ramps_and_shuts_down(bench):
    smu, driver = bench
    driver.source_mode = "voltage"
    driver.source_enabled = True
    driver.ramp_to_voltage(0.3, steps=5, pause=0)
    assert driver.source_voltage == pytest.approx(0.3)
    driver.shutdown()
    assert driver.source_enabled is False
    assert (smu.smu.output, smu.smu.set.level_v) == (False, 0.0)
    assert no_error(smu)


def test_its_buffer_fills(bench):
    smu, driver = bench
    driver.reset()
    driver.source_voltage = 0.5
    driver.write(":FORM:ELEM CURR")
    driver.source_enabled = True
    driver.config_buffer(points=5)
    driver.trigger_count = 5
    driver.start_buffer()
    driver.wait_for_buffer(timeout=PATIENCE)
    assert driver.buffer_data == pytest.approx(np.full(5, 0.5 / R))
    assert driver.means[1] == pytest.approx(0.5 / R)
    driver.disable_buffer()
    assert driver.source_enabled
    assert no_error(smu)


def test_ours_leaves_the_same_state_and_reads_the_same(bench):
    theirs, driver = bench
    driver.reset()
    driver.source_mode = "voltage"
    driver.source_voltage_range = 2
    driver.compliance_current = 1e-4
    driver.current_range = 1e-4
    driver.current_nplc = 0.6
    driver.source_delay = 0
    driver.output_off_state = "disconnected"
    driver.source_enabled = True
    driver.source_voltage = 0.5
    read = [driver.values(":READ?")[1]]
    driver.compliance_current = 2e-5
    driver.current_range = 1e-5
    driver.compliance_current = 1e-5
    read.append(driver.values(":READ?")[1])

    mine = instrument()
    ours = Keithley2400("smu", Keithley2400Options(), BytesTransport(mine.session()))
    ours.connect()
    ours.prepare({CHANNEL: ChannelSetup(2.0, 1e-4, 1e-4, off_state="high_z", cold_limit=1e-6)})
    ours.output([CHANNEL])
    free, held = ours.run(
        [
            Aperture(CHANNEL, 0.01), Limit(CHANNEL, 1e-4, 1e-4), Level(CHANNEL, 0.5), Measure(CHANNEL),
            Limit(CHANNEL, 1e-5, 1e-5), Measure(CHANNEL),
        ]
    )  # fmt: skip
    assert [free.current, held.current] == pytest.approx(read)
    assert (free.flag, held.flag) == (Flag(0), Flag.COMPLIANCE)
    same = (
        "func",
        "mode",
        "level_v",
        "range_v",
        "limit_i",
        "measure_i",
        "measure_auto_i",
        "nplc",
        "off_mode",
        "remote",
    )
    a, b = theirs.smu, mine.smu
    assert {name: getattr(a.set, name) for name in same} == {name: getattr(b.set, name) for name in same}
    assert a.output
    assert b.output
