"""PyMeasure's driver of FormFactor Velox, over TCP through pyvisa-py, drives the emulated one in the words of GPIB.

The end of the wafer, 703, is no error to it; every other code is. It knows no frames of a message server.
"""

import numpy as np
import pytest

from sim_backend.emulators.resistors import ResistorBox
from sim_backend.emulators.sentio_model import StationMap
from sim_backend.emulators.serve import serve
from sim_backend.emulators.velox import Velox
from sim_backend.emulators.world import Cables, World
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.judge, pytest.mark.filterwarnings("ignore")]
theirs = pytest.importorskip("pymeasure.instruments.formfactor.velox", reason="pymeasure is not installed")

ROUTE = ((0, 0), (1, 0), (1, 1))


@pytest.fixture
def bench():
    die = ResistorBox(np.full((1, 2, 3), 1e-4))
    world = World(Cables({}, {}), lambda *place: die, in_contact=False)
    box = Velox("prober", world, wafer=StationMap(ROUTE))
    with serve(box) as server:
        driver = theirs.Velox(
            server.resource("prober"), visa_library="@py", read_termination="\n", write_termination="\n",
            timeout=1000 * PATIENCE,
        )  # fmt: skip
        yield box, driver
        driver.adapter.connection.close()


def test_a_wafer_is_probed_as_its_example_does_it(bench):
    box, driver = bench
    assert driver.id == "FormFactor,Velox,0,3.2.1"
    assert driver.version == "3.2.1"
    assert driver.wafermap.enabled
    coordinates, touched = driver.wafermap.step_first_die(), []
    while not driver.wafermap.end_reached:
        assert coordinates == [*ROUTE[len(touched)], 0, 1]
        driver.chuck.move_contact()
        assert box.world.in_contact
        touched.append(box.world.place[:2])
        driver.chuck.move_separation()
        assert not box.world.in_contact
        coordinates = driver.wafermap.step_next_die()
    assert tuple(touched) == ROUTE
    assert driver.error_code == 703


def test_it_steps_to_places_and_moves_the_chuck(bench):
    box, driver = bench
    driver.wafermap.step_to_die(1, 1)
    assert box.world.place == (1, 1, 0)
    assert driver.chuck.index == [5000, 5000]
    driver.chuck.index = (4000.0, 3000.0)
    assert driver.chuck.index == [4000, 3000]
    driver.chuck.move_index(1, 2)
    assert box.xy == [4000.0, 6000.0]
    driver.chuck.move(-100, 50, pos_ref="relative")
    assert box.xy == [3900.0, 6050.0]
    driver.chuck.move(100, 0, unit="mils", velocity=10)
    assert box.xy == [2540.0, 0.0]
    driver.chuck.move_align(0.1)
    assert box.level == "hover"


def test_a_refusal_is_an_error_to_it(bench):
    box, driver = bench
    with pytest.raises(ConnectionError, match="9"):
        driver.wafermap.step_to_die(7, 7)
    assert driver.error_code
    box.state.front_door_open = True
    with pytest.raises(ConnectionError, match="door"):
        driver.chuck.move_contact()
    assert not box.world.in_contact
