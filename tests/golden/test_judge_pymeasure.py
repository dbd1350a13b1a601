"""PyMeasure's Keithley 2600 driver against the emulated 2602B, over TCP through pyvisa-py."""

from collections.abc import Iterator

import numpy as np
import pytest

from sim_backend.emulators.k2600 import K2600
from sim_backend.emulators.resistors import ResistorBox
from sim_backend.emulators.serve import serve
from sim_backend.emulators.world import Cables, World
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.judge, pytest.mark.filterwarnings("ignore")]
pymeasure = pytest.importorskip("pymeasure.instruments.keithley", reason="pymeasure is not installed (extra judges)")

R = 10e3


@pytest.fixture
def bench() -> Iterator[tuple[K2600, World, str]]:
    wiring = Cables({"smu.smua": "pad", "smu.smub": "other"}, {(0, "row", 0): "pad", (0, "col", 0): "other"})
    world = World(wiring, ResistorBox(np.full((1, 1, 1), 1 / R)))
    smu = K2600("smu", "2602B", world)
    with serve(smu) as server:
        yield smu, world, server.resource("smu")


def test_force_measure_compliance_off(bench: tuple[K2600, World, str]) -> None:
    smu, world, resource = bench
    driver = pymeasure.Keithley2600(
        resource, visa_library="@py", read_termination="\n", write_termination="\n", timeout=1000 * PATIENCE
    )
    a, b = driver.ChA, driver.ChB
    b.source_output = "ON"  # the other end of the resistor, 0 V
    a.apply_voltage(voltage_range=1, compliance_current=1e-4)
    a.source_voltage = 0.5
    a.measure_current(nplc=0.1)  # its measure_nplc takes only the two ends of its range
    a.source_output = "ON"
    assert a.source_mode == "voltage"
    assert a.current == pytest.approx(0.5 / R, rel=1e-5)
    assert a.voltage == pytest.approx(0.5, rel=1e-5)
    assert a.resistance == pytest.approx(R, rel=1e-5)
    assert a.compliance_current == pytest.approx(1e-4)
    assert smu.smus["smua"].set.rangev == 1.0

    a.compliance_current = 2e-5
    assert a.current == pytest.approx(2e-5, rel=1e-5)
    assert a.voltage == pytest.approx(2e-5 * R, rel=1e-5)
    assert smu.smus["smua"].compliance

    a.measure_current(nplc=1, current=1e-6, auto_range=False)
    assert a.current == pytest.approx(9.91e37)
    a.source_voltage = 0
    a.source_output = "OFF"
    b.source_output = "OFF"
    assert a.source_output == "OFF"
    assert driver.next_error == (0, "Queue Is Empty")
    state = smu.smus["smua"].set
    assert (state.func, state.levelv, state.output, state.limiti, state.measure_rangei) == (1, 0.0, 0, 2e-5, 1e-6)
    assert world.ledger.peak_cell_voltage == pytest.approx(0.5)
    driver.adapter.connection.close()


def test_compliance_below_half_a_microampere_is_refused_and_the_old_one_stays(
    bench: tuple[K2600, World, str],
) -> None:
    smu, _, resource = bench
    driver = pymeasure.Keithley2600(
        resource, visa_library="@py", read_termination="\n", write_termination="\n", timeout=1000 * PATIENCE
    )
    driver.ChA.compliance_current = 1e-3
    driver.ChA.compliance_current = 4e-7  # the driver sends 0.000000
    assert driver.next_error[0] == 1102
    assert smu.smus["smua"].set.limiti == 1e-3
    driver.adapter.connection.close()
