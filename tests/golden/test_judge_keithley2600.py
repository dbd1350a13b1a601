"""The keithley2600 package against the emulated 2602B, over TCP through pyvisa-py: it walks our whole object tree."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from sim_backend.emulators.k2600 import K2600
from sim_backend.emulators.resistors import ResistorBox
from sim_backend.emulators.serve import serve
from sim_backend.emulators.world import Cables, World
from tests.golden import clients

pytestmark = [pytest.mark.judge, pytest.mark.filterwarnings("ignore")]

R = 10e3


@pytest.fixture
def bench() -> Iterator[tuple[K2600, World, Any]]:
    wiring = Cables({"smu.smua": "pad", "smu.smub": "other"}, {(0, "row", 0): "pad", (0, "col", 0): "other"})
    world = World(wiring, ResistorBox(np.full((1, 1, 1), 1 / R)))
    smu = K2600("smu", "2602B", world)
    with serve(smu) as server:
        driver = clients.keithley2600(server.resource("smu"))
        yield smu, world, driver
        driver.disconnect()


def test_force_measure_compliance_off(bench: tuple[K2600, World, Any]) -> None:
    smu, world, k = bench
    assert k.localnode.model == "2602B"
    k.smub.source.output = k.smub.OUTPUT_ON
    k.smua.source.limiti = 1e-4
    k.apply_voltage(k.smua, 0.5)
    k.set_integration_time(k.smua, 0.001)
    assert k.smua.measure.i() == pytest.approx(0.5 / R, rel=1e-5)
    assert k.smua.measure.iv() == pytest.approx((0.5 / R, 0.5), rel=1e-5)
    assert k.smua.source.compliance is False

    k.smua.source.limiti = 2e-5
    assert k.smua.measure.i() == pytest.approx(2e-5, rel=1e-5)
    assert k.smua.source.compliance is True
    assert k.status.measurement.instrument.smua.condition == 2

    k.ramp_to_voltage(k.smua, 0.0, delay=0.0, step_size=0.1)
    k.smua.source.output = k.smua.OUTPUT_OFF
    state = smu.smus["smua"].set
    assert (state.func, state.levelv, state.output, state.limiti) == (1, 0.0, 0, 2e-5)
    assert state.nplc == pytest.approx(0.06)
    assert k.read_error_queue() == []
    assert world.ledger.peak_cell_voltage == pytest.approx(0.5)


def test_errors_of_the_instrument_reach_the_driver(bench: tuple[K2600, World, Any]) -> None:
    smu, _, k = bench
    with pytest.raises(Exception, match="Parameter too big"):
        k.smua.source.levelv = 100
    assert smu.smus["smua"].set.levelv == 0.0
    with pytest.raises(AttributeError):
        k.smua.source.compliance = True


def test_sweeps_with_its_trigger_set_up(bench: tuple[K2600, World, Any]) -> None:
    smu, _, k = bench
    k.smub.source.output = k.smub.OUTPUT_ON
    levels = [0.0, 0.1, 0.2, 0.3, 0.2]
    volts, amps = k.voltage_sweep_single_smu(k.smua, levels, t_int=0.001, delay=-1, pulsed=False)
    assert volts == pytest.approx(levels, abs=1e-6)
    assert amps == pytest.approx([v / R for v in levels], abs=1e-9)
    assert smu.smus["smua"].set.levelv == pytest.approx(0.2)  # end sweep: hold


def test_dual_sweep_and_long_lists(bench: tuple[K2600, World, Any]) -> None:
    _, _, k = bench
    one = [0.01 * n for n in range(60)]
    other = [0.0] * 60
    v1, i1, v2, i2 = k.voltage_sweep_dual_smu(k.smua, k.smub, one, other, t_int=0.001, delay=0, pulsed=True)
    assert v1 == pytest.approx(one, abs=1e-6)
    assert i1 == pytest.approx([v / R for v in one], abs=1e-9)
    assert v2 == pytest.approx(other, abs=1e-6)
    assert i2 == pytest.approx([-v / R for v in one], abs=1e-9)
