"""PyMeasure's Keithley 2450 driver against the emulated 2450, over TCP through pyvisa-py.

Disagreements, triaged by the manual and the standard; both are PyMeasure's. Its `reset` has a colon before a common
command, `:*CLS`, which IEEE 488.2 (7.6.1.2) has not. Its statistics are taken for a list of voltage, current and
resistance, as a 2400 answers them; a 2450 answers one number, so that `mean_current` fails. Its buffer is for the
command set SCPI2400, as it says itself, and not tried here.
"""

from collections.abc import Iterator

import pytest

from labctl.testing.emulated import NAME, resistors
from sim_backend.emulators.k2450 import K2450
from sim_backend.emulators.serve import serve
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.judge, pytest.mark.filterwarnings("ignore")]
pymeasure = pytest.importorskip("pymeasure.instruments.keithley", reason="pymeasure is not installed (extra judges)")

R = 10e3


@pytest.fixture
def bench() -> Iterator[tuple[K2450, object]]:
    smu = K2450(NAME, "2450", resistors(("out",), R))
    with serve(smu) as server:
        driver = pymeasure.Keithley2450(
            server.resource(NAME), visa_library="@py", read_termination="\n", write_termination="\n",
            timeout=1000 * PATIENCE,
        )  # fmt: skip
        yield smu, driver
        driver.adapter.connection.close()


def no_error(smu: K2450) -> bool:
    return smu.execute(":SYST:ERR?").startswith("0,")


def reset(driver: object) -> None:
    """Reset, and take the error of `:*CLS` from the queue."""
    driver.reset()
    assert driver.next_error[0] == -102


def test_force_measure_limit_off(bench):
    smu, driver = bench
    reset(driver)
    driver.apply_voltage(voltage_range=2, compliance_current=1e-4)
    driver.source_voltage = 0.5
    driver.measure_current(nplc=0.1, current=1e-4, auto_range=False)
    driver.enable_source()
    assert driver.source_enabled
    assert driver.source_mode == "voltage"
    assert driver.current == pytest.approx(0.5 / R)
    driver.compliance_current = 2e-5
    assert driver.current == pytest.approx(2e-5)
    driver.measure_voltage(nplc=0.1)
    assert driver.voltage == pytest.approx(0.2)
    driver.measure_resistance(nplc=0.1)
    assert driver.resistance == pytest.approx(R)
    driver.source_voltage = 0
    driver.disable_source()
    assert not driver.source_enabled
    assert driver.next_error[0] == 0
    assert (smu.smu.output, smu.smu.set.level_v, smu.smu.set.limit_i) == (False, 0.0, 2e-5)
    assert smu.smu.set.range_v == 2.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("current_range", 1e-3), ("current_nplc", 0.5), ("compliance_current", 3e-5), ("compliance_voltage", 4.0),
        ("source_current", 1e-5), ("source_voltage", -1.5), ("source_voltage_range", 20.0),
        ("source_current_range", 1e-3), ("source_voltage_delay", 0.25), ("source_voltage_delay_auto", True),
        ("voltage_nplc", 2.0), ("voltage_range", 20.0), ("resistance_nplc", 2.0),
        ("buffer_points", 12), ("current_filter_type", "MOV"), ("current_filter_count", 7),
        ("current_output_off_state", "HIMP"), ("voltage_output_off_state", "ZERO"),
    ],
)  # fmt: skip
def test_each_setting_is_read_back_by_it_as_it_was_set(bench, name, value):
    smu, driver = bench
    setattr(driver, name, value)
    now = getattr(driver, name)
    assert now == value if isinstance(value, str) else now == pytest.approx(value)
    assert no_error(smu)


def test_it_ramps_and_shuts_down(bench):
    smu, driver = bench
    reset(driver)
    driver.source_mode = "voltage"
    driver.enable_source()
    driver.ramp_to_voltage(0.3, steps=5, pause=0)
    assert driver.source_voltage == pytest.approx(0.3)
    driver.shutdown()
    assert not driver.source_enabled
    assert (smu.smu.output, smu.smu.set.level_v) == (False, 0.0)
    assert no_error(smu)


def test_its_statistics_are_those_of_another_instrument(bench):
    smu, driver = bench
    reset(driver)
    driver.source_voltage = 0.1
    driver.enable_source()
    assert driver.current == pytest.approx(1e-5)
    assert driver.means == pytest.approx(1e-5)
    with pytest.raises((TypeError, IndexError)):
        driver.mean_current  # noqa: B018 - the property asks
    assert no_error(smu)
