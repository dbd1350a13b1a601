"""Our 2600B driver beside other people's: one scenario, one emulated 2602B each, the same state and readings after it.

Force 0.5 V behind 100 uA into 10 kohm, measure, lower the limit to 20 uA so that the source is in compliance, measure,
0 V, off. What one driver sets and the other leaves at its default (noise of a session, not of the scenario) is named.
"""

from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pytest

from instruments.keithley2600b import Keithley2600B
from instruments.transport import BytesTransport
from labctl.core.operations import Flag
from labctl.core.source import Aperture, ChannelSetup, Level, Limit, Measure
from sim_backend.emulators.k2600 import K2600
from sim_backend.emulators.resistors import ResistorBox
from sim_backend.emulators.serve import serve
from sim_backend.emulators.world import Cables, World
from tests.golden import clients
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.judge, pytest.mark.filterwarnings("ignore")]

R, LEVEL, LIMIT, LOW, RANGE, NPLC = 10e3, 0.5, 1e-4, 2e-5, 1e-4, 0.06
SAME = (
    "func",
    "levelv",
    "output",
    "limiti",
    "rangev",
    "measure_rangei",
    "measure_autorangei",
    "nplc",
    "offmode",
    "sense",
)
"""What the scenario decides, by the names of the instrument."""

Readings = list[float]


def instrument() -> tuple[K2600, World]:
    wiring = Cables({"smu.smua": "pad", "smu.smub": "other"}, {(0, "row", 0): "pad", (0, "col", 0): "other"})
    world = World(wiring, ResistorBox(np.full((1, 1, 1), 1 / R)))
    return K2600("smu", "2602B", world), world


def ours(smu: K2600, world: World) -> Readings:
    driver = Keithley2600B(BytesTransport(smu.session()))
    driver.connect()
    setup = ChannelSetup(range_v=1.0, limit=LIMIT, range_i=RANGE, off_limit=1e-3, cold_limit=LOW)
    driver.prepare({"smua": setup, "smub": setup})
    driver.output(["smua", "smub"])
    free, held = driver.run(
        [
            Aperture("smua", NPLC / 60),
            Limit("smua", LIMIT, RANGE),
            Limit("smub", LIMIT, RANGE),
            Level("smua", LEVEL),
            Measure("smua", voltage=True),
            Limit("smua", LOW, RANGE),
            Measure("smua", voltage=True),
        ]
    )
    assert (free.flag, held.flag) == (Flag(0), Flag.COMPLIANCE)
    driver.off()
    return [free.current, free.voltage, held.current, held.voltage]


def pymeasure(smu: K2600, world: World) -> Readings:
    package = pytest.importorskip("pymeasure.instruments.keithley", reason="pymeasure is not installed (extra judges)")
    with serve(smu) as server:
        driver = package.Keithley2600(
            server.resource("smu"),
            visa_library="@py",
            read_termination="\n",
            write_termination="\n",
            timeout=1000 * PATIENCE,
        )
        a, b = driver.ChA, driver.ChB
        b.source_output = "ON"
        a.apply_voltage(voltage_range=1, compliance_current=LIMIT)
        a.source_voltage = LEVEL
        a.measure_current(nplc=NPLC, current=RANGE, auto_range=False)
        a.source_output = "ON"
        found = [a.current, a.voltage]
        a.compliance_current = LOW
        found += [a.current, a.voltage]
        a.source_voltage = 0
        a.source_output = b.source_output = "OFF"
        assert driver.next_error == (0, "Queue Is Empty")
    return found


def keithley2600(smu: K2600, world: World) -> Readings:
    with serve(smu) as server:
        k = clients.keithley2600(server.resource("smu"))
        k.smub.source.output = k.smub.OUTPUT_ON
        k.smua.source.rangev = 1
        k.smua.source.limiti = LIMIT
        k.smua.measure.rangei = RANGE
        k.smua.measure.nplc = NPLC
        k.smua.source.levelv = LEVEL
        k.smua.source.output = k.smua.OUTPUT_ON
        found = [*k.smua.measure.iv()]
        k.smua.source.limiti = LOW
        found += [*k.smua.measure.iv()]
        k.smua.source.levelv = 0
        k.smua.source.output = k.smua.OUTPUT_OFF
        k.smub.source.output = k.smub.OUTPUT_OFF
        assert k.read_error_queue() == []
        k.disconnect()
    return found


@pytest.mark.parametrize("theirs", [pymeasure, keithley2600], ids=lambda f: f.__name__)
def test_the_same_scenario_ends_in_the_same_state(theirs: Callable[[K2600, World], Readings]) -> None:
    (one, our_world), (other, their_world) = instrument(), instrument()
    mine, found = ours(one, our_world), theirs(other, their_world)
    assert mine == pytest.approx([LEVEL / R, LEVEL, LOW, LOW * R], rel=1e-5)
    assert found == pytest.approx(mine, rel=1e-6)
    a, b = (asdict(smu.smus["smua"].set) for smu in (one, other))
    assert {name: b[name] for name in SAME} == pytest.approx({name: a[name] for name in SAME})
    for world in (our_world, their_world):
        assert world.ledger.peak_cell_voltage == pytest.approx(LEVEL)
        end = world.now
        world.advance(1.0)
        assert world.ledger.energised_time(since=end) == 0.0
