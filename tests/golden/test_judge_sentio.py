"""MPI's own Python client of SENTIO, unmodified, drives the emulated station over TCP.

It speaks the station's native commands, and takes each reply apart as the station's maker means it.
"""

import numpy as np
import pytest

from sim_backend.emulators.resistors import ResistorBox
from sim_backend.emulators.sentio import Sentio
from sim_backend.emulators.sentio_model import SiteHeights, StationMap
from sim_backend.emulators.serve import serve
from sim_backend.emulators.world import Cables, World

pytestmark = [pytest.mark.judge, pytest.mark.filterwarnings("ignore")]
theirs = pytest.importorskip("sentio_prober_control.Sentio.ProberSentio", reason="MPI's client is not installed")
names = pytest.importorskip("sentio_prober_control.Sentio.Enumerations", reason="MPI's client is not installed")
Refused = theirs.ProberException

ROUTE = ((0, 0), (1, 0), (1, 1))
HEIGHTS = SiteHeights()


@pytest.fixture
def station():
    die = ResistorBox(np.full((1, 2, 3), 1e-4))
    world = World(Cables({}, {}), lambda *place: die, in_contact=False)
    box = Sentio("prober", world, wafer=StationMap(ROUTE), heights=HEIGHTS)
    with serve(box) as server:
        _, host, port, _ = server.resource("prober").split("::")
        communicator = theirs.CommunicatorTcpIp.create(f"{host}:{port}")
        yield box, theirs.SentioProber(communicator)
        communicator.disconnect()
        communicator._CommunicatorTcpIp__reader.close()  # which it leaves open, and the socket with it


def test_a_wafer_is_probed_and_binned(station):
    box, prober = station
    place, touched = prober.map.step_first_die(), []
    while True:
        touched.append(place[:2])
        assert prober.move_chuck_contact() == pytest.approx(HEIGHTS.contact)
        assert box.world.in_contact
        prober.map.bins.set_bin(len(touched), *place[:2])
        assert prober.move_chuck_separation() == pytest.approx(HEIGHTS.contact - HEIGHTS.separation)
        assert not box.world.in_contact
        if prober.map.end_of_route():
            break
        place = prober.map.step_next_die()
    assert tuple(touched) == ROUTE
    assert [prober.map.bins.get_bin(*at) for at in ROUTE] == [1, 2, 3]
    assert prober.map.get_num_dies(names.DieNumber.Selected) == len(ROUTE)
    with pytest.raises(Refused):
        prober.map.step_next_die()


def test_heights_and_modes_are_as_it_sets_them(station):
    box, prober = station
    wafer = names.ChuckSite.Wafer
    assert prober.get_chuck_site_height(wafer)[0] == pytest.approx(HEIGHTS.contact)
    set_to = (HEIGHTS.contact - 100.0, 300.0, 20.0, 60.0)
    assert prober.set_chuck_site_height(wafer, *set_to)[1:] == set_to
    assert prober.get_chuck_site_height(wafer) == set_to
    for mode in names.SteppingContactMode:
        prober.set_stepping_contact_mode(mode)
        assert box.mode == mode.to_string()
    has_home, has_contact, overtravel, vacuum = prober.get_chuck_site_status(wafer)
    assert (has_home, has_contact, overtravel, vacuum) == (True, True, False, box.state.vacuum)


def test_a_step_is_refused_off_the_map_and_in_locked_contact(station):
    box, prober = station
    prober.map.step_first_die()
    with pytest.raises(Refused):
        prober.map.step_die(7, 7)
    prober.set_stepping_contact_mode(names.SteppingContactMode.LockContact)
    prober.move_chuck_contact()
    with pytest.raises(Refused):
        prober.map.step_next_die()
    assert box.world.in_contact
    assert box.world.place[:2] == ROUTE[0]


def test_wafers_are_loaded_and_the_chuck_is_heated(station):
    box, prober = station
    first = names.LoaderStation.Cassette1
    slot, box.loader.slots["cas1"] = 2, {2: "W02"}
    assert prober.loader.has_station(first)
    assert prober.loader.query_wafer_status(first, slot)[:2] == (first, slot)
    assert prober.loader.query_wafer_id(first, slot) == "W02"
    prober.loader.load_wafer(first, slot)
    assert box.loader.on_chuck is not None
    assert prober.loader.query_wafer_status(first, slot) is None
    prober.loader.unload_wafer()
    assert box.loader.on_chuck is None
    prober.status.set_chuck_temp(60.0)
    assert prober.status.get_chuck_temp_setpoint() == 60.0
    assert prober.status.get_chuck_thermo_state() is names.ThermoChuckState.Heating
