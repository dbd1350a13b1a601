"""The emulated SENTIO prober: replies, map, route, heights, contact and everything it refuses."""

import numpy as np
import pytest

from sim_backend.emulators.nets import Drive
from sim_backend.emulators.resistors import ResistorBox
from sim_backend.emulators.sentio import Sentio
from sim_backend.emulators.sentio_model import SiteHeights, StationMap
from sim_backend.emulators.world import Cables, World

ROUTE = ((0, 0), (1, 0), (1, 1))


def make(sites: int = 1, heights: SiteHeights | None = None) -> Sentio:
    dies = {(x, y, s): ResistorBox(np.full((1, 2, 3), 1e-4 * (1 + x))) for x, y in ROUTE for s in range(sites)}
    wiring = Cables({"smu.smua": "p"}, {(0, "row", 0): "p", (0, "col", 0): "g"}, ("g",))
    world = World(wiring, lambda x, y, s: dies.get((x, y, s)), in_contact=False)
    return Sentio("prober", world, wafer=StationMap(ROUTE, sites), heights=heights)


def ask(prober: Sentio, line: str) -> tuple[int, int, str]:
    """Return error, status and message."""
    reply = prober.handle(line.encode() + b"\n").decode()
    assert reply.endswith("\n")
    assert reply.count("\n") == 1
    code, command, message = reply.rstrip("\n").split(",", 2)
    assert command == "0"
    return int(code) & 1023, int(code) >> 10, message


def test_connect_and_version() -> None:
    prober = make()
    assert prober.handle(b"*RCS 1\n") == b""
    assert ask(prober, "status:get_version") == (0, 0, "Version: 25.2.0")
    assert prober.remote
    assert prober.handle(b"*LOCAL\n\n") == b""
    assert not prober.remote


def test_the_route_ends_with_status_and_then_with_an_error() -> None:
    prober = make()
    assert ask(prober, "map:step_next_die")[0] == 12
    assert ask(prober, "map:step_first_die") == (0, 0, "0,0,0")
    assert ask(prober, "map:step_next_die") == (0, 0, "1,0,0")
    assert ask(prober, "map:step_next_die") == (0, 1, "1,1,0")
    assert ask(prober, "map:step_next_die")[:2] == (11, 1)
    assert prober.world.place == (1, 1, 0)
    assert ask(prober, "map:step_die 1, 0, 0") == (0, 0, "1,0,0")
    assert ask(prober, "map:get_die_seq") == (0, 0, "1")
    assert ask(prober, "map:get_num_dies Selected")[2] == "3"


def test_sites_of_a_die_come_before_the_next_die() -> None:
    prober = make(sites=2)
    assert ask(prober, "map:step_first_die") == (0, 0, "0,0,0")
    assert ask(prober, "map:step_next_die") == (0, 2, "0,0,1")
    assert ask(prober, "map:step_next_die") == (0, 0, "1,0,0")
    assert ask(prober, "map:step_die 1,1,1") == (0, 3, "1,1,1")
    assert ask(prober, "map:step_die 1,1,2")[0] == 14


def test_subsites_lie_beside_the_home_of_the_die() -> None:
    prober = make(sites=2)
    prober.wafer = StationMap(ROUTE, 2, table=(("a", 0.0, 0.0), ("b", 250.0, -120.0)))
    assert ask(prober, "map:subsite:get_num") == (0, 0, "2")
    assert ask(prober, "map:subsite:get 1, UR") == (0, 0, "b,250.000,-120.000")
    assert ask(prober, "map:subsite:get 1, DL")[2] == "b,-250.000,120.000"
    assert ask(prober, "map:subsite:get 2, UR")[0] == 14
    assert ask(prober, "map:subsite:get 1, SIDEWAYS")[0] == 6
    assert ask(prober, "map:subsite:step 1")[0] == 12
    ask(prober, "map:step_die 1, 0, 0")
    assert ask(prober, "map:subsite:step 1") == (0, 2, "1,0,1")
    assert ask(prober, "map:subsite:step a") == (0, 0, "1,0,0")
    assert ask(prober, "map:subsite:step b") == (0, 2, "1,0,1")
    assert ask(prober, "map:subsite:step nowhere")[0] == 14
    assert prober.world.place == (1, 0, 1)
    assert ask(prober, "get_chuck_xy")[2] == "5250.000,-120.000"


def test_contact_connects_the_die_and_takes_its_time() -> None:
    prober = make()
    world = prober.world
    ask(prober, "map:step_first_die")
    begin = world.now
    error, _, z = ask(prober, "move_chuck_contact")
    assert (error, float(z)) == (0, 15000.0)
    assert world.now - begin == pytest.approx(world.timing.contact + world.timing.message)
    world.drive("smu.smua", Drive(0.1, 1e-3))
    assert world.observe("smu.smua").amps == pytest.approx(1.5e-5)  # G in parallel with G/2 through the floating lines
    world.drive("smu.smua", Drive(0.0, 1e-3))
    assert float(ask(prober, "move_chuck_separation ")[2]) == 14750.0
    world.drive("smu.smua", Drive(0.1, 1e-3))
    assert world.observe("smu.smua").amps == 0.0
    assert ask(prober, "setup:contact_counter:get")[2] == "1"
    assert float(ask(prober, "move_chuck_hover")[2]) == 14950.0
    ask(prober, "enable_chuck_hover False")
    assert ask(prober, "move_chuck_hover")[0] == 12


@pytest.mark.parametrize(
    ("mode", "error", "contact"),
    [("BackToContact", 0, True), ("StepToSeparation", 0, False), ("LockContact", 38, True)],
)
def test_stepping_from_contact_separates_first(mode: str, error: int, contact: bool) -> None:
    prober = make()
    assert ask(prober, f"set_stepping_contact_mode {mode}")[0] == 0
    ask(prober, "map:step_first_die")
    ask(prober, "move_chuck_contact")
    assert ask(prober, "map:step_next_die")[0] == error
    assert prober.world.in_contact is contact
    assert prober.world.place == ((0, 0, 0) if error else (1, 0, 0))
    assert prober.world.ledger.moves_in_contact == 0


@pytest.mark.parametrize("shifted", [("contact", "separation", "hover"), ("contact",)])
def test_a_compensated_chuck_stands_off_the_heights_that_are_told(shifted: tuple[str, ...]) -> None:
    prober = make()
    prober.state.compensation, prober.state.compensated = -60.0, shifted
    ask(prober, "map:step_first_die")
    up = 14750.0 - 60.0 * ("separation" in shifted)
    assert ask(prober, "get_chuck_z Z")[2] == f"{up:.3f}"
    assert ask(prober, "move_chuck_contact")[2] == "14940.000"
    assert prober.world.in_contact
    assert ask(prober, "get_chuck_site_heights Wafer")[2] == "15000.000,250.000,30.000,50.000"
    assert ask(prober, "map:compensation:set_z None")[0] == 0
    assert ask(prober, "get_chuck_z Z")[2] == "15000.000"
    assert ask(prober, "map:compensation:set_z Sometimes")[0] == 6


def test_where_it_is_can_be_asked() -> None:
    prober = make(sites=2)
    assert ask(prober, "map:die:get_current_index")[2] == "No die active"
    assert ask(prober, "map:die:get_current_subsite")[2] == "No subsite active"
    ask(prober, "map:step_die 1, 1, 1")
    assert ask(prober, "map:die:get_current_index")[2] == "2,1,1"
    assert ask(prober, "map:die:get_current_subsite")[2] == "1"


@pytest.mark.parametrize(("stuck", "index"), [("chuck", "1,1,0"), ("all", "0,0,0")])
def test_a_step_can_be_answered_and_not_made(stuck: str, index: str) -> None:
    prober = make()
    ask(prober, "map:step_first_die")
    prober.state.stuck = stuck
    assert ask(prober, "map:step_die 1, 0, 0") == (0, 0, "1,0,0")
    assert ask(prober, "map:die:get_current_index")[2] == index
    assert ask(prober, "get_chuck_xy Wafer, Z")[2] == "0.000,0.000"
    assert prober.world.place == (0, 0, 0)


def test_a_contact_can_stop_short_and_a_separation_can_be_answered_and_not_made() -> None:
    prober = make()
    ask(prober, "map:step_first_die")
    prober.state.short = 40.0
    assert ask(prober, "move_chuck_contact")[2] == "14960.000"
    assert not prober.world.in_contact
    prober.state.short = 0.0
    assert ask(prober, "move_chuck_contact")[2] == "15000.000"
    assert prober.world.in_contact
    prober.state.stuck_in_contact = True
    assert ask(prober, "move_chuck_separation") == (0, 0, "14750.000")
    assert ask(prober, "get_chuck_z Z")[2] == "15000.000"
    assert prober.world.in_contact


def test_moving_in_contact_is_refused_by_the_prober() -> None:
    prober = make()
    assert ask(prober, "move_chuck_xy Home, 5000, 0") == (0, 0, "5000.000,0.000")
    assert prober.world.place == (1, 0, 0)
    assert ask(prober, "move_chuck_xy Relative, 0, 5000")[2] == "5000.000,5000.000"
    ask(prober, "move_chuck_contact")
    assert ask(prober, "move_chuck_xy Home, 0, 0")[0] == 38
    assert prober.world.place == (1, 1, 0)


def test_touching_down_or_leaving_under_voltage_is_noted() -> None:
    prober = make()
    ask(prober, "map:step_first_die")
    prober.world.drive("smu.smua", Drive(0.1, 1e-3))
    ask(prober, "move_chuck_contact")
    ask(prober, "move_chuck_separation")
    assert prober.world.ledger.hot_switches == 2


def test_heights_and_overtravel() -> None:
    prober = make()
    assert ask(prober, "get_chuck_site_heights Wafer")[2] == "15000.000,250.000,30.000,50.000"
    assert ask(prober, "set_chuck_overtravel_gap 250")[0] == 8
    assert ask(prober, "set_chuck_overtravel_gap 50")[0] == 0
    ask(prober, "enable_chuck_overtravel True")
    assert float(ask(prober, "move_chuck_contact")[2]) == 15050.0
    assert ask(prober, "clear_contact")[0] == 12
    assert ask(prober, "set_chuck_site_heights Wafer,16000,300,20,40")[0] == 12
    ask(prober, "move_chuck_separation")
    assert ask(prober, "set_chuck_site_heights Wafer,16000,300,20,40")[2] == "Wafer,16000.000,300.000,20.000,40.000"
    assert ask(prober, "clear_contact Wafer")[0] == 0
    assert ask(prober, "move_chuck_contact")[0] == 23
    assert ask(prober, "get_chuck_site_status Wafer")[2] == "1,0,1,1"
    assert not prober.world.in_contact


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("nonsense", 3), ("map:step_die 7, 7, 0", 8), ("map:step_die 1", 7), ("map:step_die a, b, 0", 6),
        ("move_chuck_xy Home, 1", 7), ("move_chuck_xy Nowhere, 1, 2", 6), ("move_chuck_contact now", 7),
        ("set_stepping_contact_mode Sometimes", 6), ("query_command_status 4", 32), ("abort_command 4", 32),
        ("set_chuck_separation_gap 0", 8), ("set_chuck_overtravel_gap x", 6), ("map:step_die_seq 3, 0", 8),
        ("set_chuck_overtravel_gap nan", 8), ("move_chuck_xy Home, 1, 2, 3", 7), ("enable_chuck_overtravel", 7),
    ],
)  # fmt: skip
def test_what_it_refuses(line: str, code: int) -> None:
    prober = make()
    assert ask(prober, line)[0] == code
    assert prober.world.ledger.refused == 1
    assert prober.world.place == (0, 0, 0)


def test_door_and_vacuum_stop_motion_and_not_separation() -> None:
    prober = make()
    ask(prober, "map:step_first_die")
    ask(prober, "move_chuck_contact")
    prober.state.front_door_open = True
    assert ask(prober, "map:step_next_die")[0] == 60
    assert [ask(prober, f"get_door_status {door}")[2] for door in ("prober", "loader")] == ["0,0", "1,1"]
    assert ask(prober, "get_door_status side")[0] == 6
    assert ask(prober, "move_chuck_separation")[0] == 0
    assert ask(prober, "move_chuck_contact")[0] == 60
    prober.state.front_door_open = False
    assert ask(prober, "get_vacuum_status Wafer")[2] == "1"
    prober.state.vacuum = False
    assert ask(prober, "get_vacuum_status")[2] == "0"
    assert ask(prober, "move_chuck_contact")[0] == 68
    prober.state.vacuum, prober.state.home = True, False
    assert ask(prober, "map:step_first_die")[0] == 18


def test_bins_are_kept_for_dies_and_for_their_subsites() -> None:
    prober = make(sites=2)
    assert ask(prober, "map:bins:set_bin 3")[0] == 12
    assert ask(prober, "map:bins:get_bin 1, 0") == (0, 0, "0")
    assert ask(prober, "map:bins:set_bin 5, 1, 0")[0] == 0
    assert ask(prober, "map:bins:set_bin 7, 1, 0, 1")[0] == 0
    assert [ask(prober, f"map:bins:get_bin 1, 0{site}")[2] for site in ("", ", 0", ", 1")] == ["5", "0", "7"]
    ask(prober, "map:step_die 1, 0, 1")
    assert ask(prober, "map:bins:get_bin") == (0, 0, "5")
    for line, code in (
        ("set_bin 3, 9, 9", 8), ("set_bin 3, 1, 0, 2", 14), ("set_bin 100, 1, 0", 8), ("set_bin -1, 1, 0", 8),
        ("set_bin 3, 1", 7), ("set_bin x, 1, 0", 6), ("set_all 3, x", 6), ("resize 0", 8), ("resize 1000", 8),
    ):  # fmt: skip
        assert ask(prober, f"map:bins:{line}")[0] == code, line
    assert ask(prober, "map:bins:resize 6")[0] == 0
    assert ask(prober, "map:bins:get_num_bins") == (0, 0, "6")
    assert ask(prober, "map:bins:get_bin 1, 0, 1") == (0, 0, "0"), "a bin that the shorter table does not have"
    ask(prober, "map:bins:set_all 4, s")
    assert [ask(prober, f"map:bins:get_bin 0, 0{site}")[2] for site in ("", ", 0", ", 1")] == ["0", "4", "4"]
    ask(prober, "map:bins:set_all 2, d")
    ask(prober, "map:bins:set_all 1")
    assert set(prober.bins.bins.values()) == {1}
    ask(prober, "map:bins:clear_all")
    assert ask(prober, "map:bins:get_bin 0, 0") == (0, 0, "0")


def test_needles_are_cleaned_beside_the_wafer_and_no_touch_of_the_die_is_counted() -> None:
    prober = make()
    ask(prober, "map:step_first_die")
    ask(prober, "move_chuck_contact")
    begun = prober.world.now
    assert ask(prober, "aux:cleaning:start 5") == (0, 0, "OK")
    assert prober.world.now - begun > 5
    assert (prober.level, prober.state.cleaned, prober.world.in_contact) == ("separation", 5, False)
    assert ask(prober, "setup:contact_counter:get")[2] == "1"
    assert prober.world.ledger.moves_in_contact == prober.world.ledger.hot_switches == 0
    assert ask(prober, "aux:cleaning:start")[0] == 0
    assert ask(prober, "aux:cleaning:enable_auto True")[0] == 0
    assert prober.cleans_itself
    for line in ("start 0", "start 101"):
        assert ask(prober, f"aux:cleaning:{line}")[0] == 8
    prober.state.cleaning = False
    assert ask(prober, "aux:cleaning:start")[0] == 3
    prober.state.cleaning, prober.heights.contact = True, None
    assert ask(prober, "aux:cleaning:start")[0] == 23
    prober.state.front_door_open = True
    assert ask(prober, "aux:cleaning:start")[0] == 60


def test_cleaning_under_voltage_is_a_hot_touch_and_one_may_end_on_the_die() -> None:
    prober = make()
    ask(prober, "map:step_first_die")
    prober.world.drive("smu.smua", Drive(0.5, 1e-3))
    prober.state.ends_cleaning_in_contact = True
    ask(prober, "aux:cleaning:start 2")
    assert prober.world.ledger.count("hot touch") == 2, "the cleaning, and the die afterwards"
    assert prober.world.in_contact


def test_a_thermo_chuck_goes_to_its_setpoint_with_time() -> None:
    prober = make()
    assert ask(prober, "status:get_chuck_thermo_state")[2] == "Controlling"
    assert ask(prober, "status:set_chuck_temp 85.00, False") == (0, 0, "OK")
    assert ask(prober, "status:get_chuck_temp_setpoint")[2] == "85.00"
    prober.world.advance(20.0)
    assert float(ask(prober, "status:get_chuck_temp")[2]) == pytest.approx(45.0, abs=0.1)
    assert ask(prober, "status:get_chuck_thermo_state")[2] == "Heating"
    prober.world.advance(100.0)
    assert ask(prober, "status:get_chuck_temp")[2] == "85.00"
    ask(prober, "status:set_chuck_temp 25")
    assert ask(prober, "status:get_chuck_thermo_state")[2] == "Cooling"
    prober.state.thermo_lost = "Error"
    prober.world.advance(100.0)
    assert float(ask(prober, "status:get_chuck_temp")[2]) > 84.0
    assert ask(prober, "status:get_chuck_thermo_state")[2] == "Error"
    for line, code in (("301", 8), ("-61", 8), ("85, False, 1", 7), ("hot", 6)):
        assert ask(prober, f"status:set_chuck_temp {line}")[0] == code
    assert ask(prober, "status:set_chuck_temp")[0] == 7
    prober.state.thermo = False
    for line in ("get_chuck_temp", "get_chuck_temp_setpoint", "get_chuck_thermo_state", "set_chuck_temp 30"):
        assert ask(prober, f"status:{line}")[0] == 3


def test_wafers_go_from_their_slot_to_the_chuck_and_back_and_are_aligned_there() -> None:
    prober = make()
    assert ask(prober, "loader:has_cassette cas1") == (0, 0, "0,0")
    prober.loader.slots = {"cas1": {1: "LOT-01", 3: ""}}
    prober.state.vacuum = prober.state.home = False
    assert ask(prober, "loader:has_cassette cas1") == (0, 0, "1,200")
    assert [ask(prober, f"loader:has_station {name}")[2] for name in ("cas1", "ww")] == ["1", "0"]
    assert ask(prober, "loader:query_wafer_status chuck, 1")[0] == ask(prober, "loader:unload_wafer")[0] == 65
    assert ask(prober, "vis:align_wafer")[0] == 12
    assert ask(prober, "loader:query_wafer_status cas1, 3")[2].startswith("Cassette1,3,")
    assert ask(prober, "loader:query_wafer_id cas1, 1")[2] == "LOT-01"
    assert ask(prober, "loader:load_wafer cas1, 1") == (0, 0, "LOT-01")
    assert ask(prober, "loader:query_wafer_id chuck, 1")[2] == "LOT-01"
    assert ask(prober, "loader:load_wafer cas1, 3")[0] == 64
    assert ask(prober, "map:step_first_die")[0] == 18, "it is not aligned"
    assert ask(prober, "vis:align_wafer")[0] == 0
    assert ask(prober, "map:step_first_die")[0] == 0
    ask(prober, "move_chuck_contact")
    assert ask(prober, "loader:unload_wafer") == (0, 0, "OK")
    assert (prober.world.in_contact, prober.state.home, prober.state.vacuum) == (False, False, False)
    assert ask(prober, "loader:load_wafer cas1, 3, 180") == (0, 0, "OK"), "one without an id"
    assert ask(prober, "loader:load_wafer cas1, 2")[0] == 64
    ask(prober, "loader:unload_wafer")
    for line, code in (
        ("load_wafer cas1, 2", 65),
        ("load_wafer cas1", 7),
        ("load_wafer x, 1", 6),
        ("query_wafer_status x", 7),
    ):
        assert ask(prober, f"loader:{line}")[0] == code, line
    assert ask(prober, "loader:query_wafer_status cas1, 2")[0] == 65
    prober.loader.reads_ids = prober.loader.aligns = False
    ask(prober, "loader:load_wafer cas1, 1")
    assert ask(prober, "loader:query_wafer_id chuck, 1")[0] == 3
    assert ask(prober, "vis:align_wafer")[0] == 21
    prober.state.home = prober.state.keeps_home = True
    ask(prober, "loader:unload_wafer")
    ask(prober, "loader:load_wafer cas1, 3")
    assert prober.state.home, "a station of the other kind"
