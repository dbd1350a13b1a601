"""The emulated Velox: both framings, heights, modes, map, contact and what it refuses."""

from random import Random

import numpy as np
import pytest

from sim_backend.emulators.resistors import ResistorBox
from sim_backend.emulators.sentio_model import SiteHeights, StationMap
from sim_backend.emulators.velox import Velox
from sim_backend.emulators.world import Cables, World

ROUTE = ((0, 0), (1, 0), (1, 1))


def make(sites: int = 1, heights: SiteHeights | None = None) -> Velox:
    dies = {(x, y, s): ResistorBox(np.full((1, 2, 3), 1e-4)) for x, y in ROUTE for s in range(sites)}
    wiring = Cables({"smu.smua": "p"}, {(0, "row", 0): "p", (0, "col", 0): "g"}, ("g",))
    world = World(wiring, lambda x, y, s: dies.get((x, y, s)), in_contact=False)
    return Velox("prober", world, wafer=StationMap(ROUTE, sites), heights=heights)


def ask(prober: Velox, line: str) -> str:
    reply = prober.handle(line.encode() + b"\n").decode()
    assert reply.count("\n") == 1
    return reply.rstrip("\n")


def test_a_command_is_answered_in_its_framing() -> None:
    prober = make()
    assert ask(prober, "ReportKernelVersion") == '0: 3.2.1 "Velox"'
    assert ask(prober, "Cmd=7:ReportKernelVersion:") == 'Rsp=7:0:3.2.1 "Velox"'
    assert ask(prober, "FCN=1:RegisterProberApp:labctl labctl 0") == "Rsp=0:0:"
    assert ask(prober, "*IDN?") == "FormFactor,Velox,0,3.2.1"
    assert ask(prober, "reportsoftwareversion") == "0: 3.2.1"
    assert ask(prober, "IsAppRegistered WaferMap") == "0: 1"
    assert ask(prober, "Cmd=8:Fly:").startswith("Rsp=8:9")
    assert prober.handle(b"\n") == b""


def test_the_map_is_stepped_to_its_end_and_by_places() -> None:
    prober = make(sites=2)
    assert ask(prober, "StepNextDie").startswith("9")
    assert ask(prober, "ReadMapPosition2").startswith("9")
    assert ask(prober, "StepFirstDie") == "0: 0 0 0 2"
    assert ask(prober, "StepNextDie") == "0: 0 0 1 2"
    assert ask(prober, "StepNextDie") == "0: 1 0 0 2"
    assert ask(prober, "StepNextDie 1 1 1") == "0: 1 1 1 2"
    assert ask(prober, "ReadMapPosition2").split()[1:] == ["1", "1", "5000.000", "5000.000", "1", "2", "3", "3"]
    assert ask(prober, "StepNextDie").startswith("703:")
    assert ask(prober, "StepNextDie 7 7 0").startswith("9")
    assert ask(prober, "StepNextDie 1 x").startswith("9")
    assert prober.world.place == (1, 1, 1)


def test_the_chuck_goes_up_and_down_and_says_how_it_stands() -> None:
    prober = make()
    ask(prober, "StepFirstDie")
    assert ask(prober, "ReadChuckHeights Y") == "0: 15000.000 30.000 50.000 250.000 200.000"
    for word, letter, z in (("Contact", "C", 15000), ("Align", "A", 14950), ("Separation", "S", 14750)):
        assert ask(prober, f"MoveChuck{word} 100") == "0:"
        assert ask(prober, "ReadChuckPosition Y Z").split()[-1] == f"{z:.3f}"
        assert ask(prober, "ReadChuckStatus").split()[7] == letter
        assert prober.world.in_contact == (letter == "C")
    assert ask(prober, "SetChuckMode 1 1 2 2 2 2") == "0:"
    ask(prober, "MoveChuckContact")
    assert ask(prober, "ReadChuckStatus").split()[2::5][:2] == ["19", "O"]
    assert ask(prober, "ReadChuckPosition I H").split()[-1] == f"{30 / 25.4:.3f}"
    for wrong in ("MoveChuckContact 0", "ReadChuckPosition Y Q", "SetChuckMode 3", "SetChuckMode up"):
        assert ask(prober, wrong).startswith("9")


def test_a_step_in_contact_is_refused_unless_autoz_lifts_and_lowers_the_needles() -> None:
    prober = make()
    ask(prober, "StepFirstDie")
    ask(prober, "SetChuckMode 2 0")
    ask(prober, "MoveChuckContact")
    assert ask(prober, "StepNextDie").startswith("9")
    ask(prober, "SetChuckMode 2 1")
    assert ask(prober, "StepNextDie") == "0: 1 0 0 1"
    assert prober.world.in_contact
    assert prober.state.touches == 2


def test_no_contact_height_is_told_and_nothing_goes_up() -> None:
    prober = make(heights=SiteHeights(contact=None))
    assert ask(prober, "ReadChuckHeights Y").startswith("0: -1.000 ")
    assert ask(prober, "ReadChuckStatus").split()[2] == "0"
    assert ask(prober, "MoveChuckContact").startswith("9")
    assert ask(prober, "MoveChuckSeparation").startswith("9")


def test_the_chuck_moves_by_microns_mils_and_dies() -> None:
    prober = make()
    assert ask(prober, "ReadChuckIndex Y") == "0: 5000.000 5000.000"
    ask(prober, "SetChuckIndex 4000 2000 Y")
    assert ask(prober, "MoveChuck 100 200 H Y 50") == "0:"
    assert ask(prober, "ReadChuckPosition Y Z").split()[1:3] == ["100.000", "200.000"]
    ask(prober, "MoveChuckIndex 1 2 R 100")
    assert ask(prober, "ReadChuckPosition Y Z").split()[1:3] == ["4100.000", "4200.000"]
    ask(prober, "MoveChuck 10 0 R I")
    assert ask(prober, "ReadChuckPosition Y Z").split()[1] == "4354.000"


@pytest.mark.parametrize("number", range(20))
def test_whatever_is_left_is_a_state_that_it_answers_for(number: int) -> None:
    prober, rng = make(), Random(number)
    for name, leave in prober.leftovers().items():
        if name != "busy":
            leave(rng)
    ask(prober, "ReadChuckHeights Y")
    ask(prober, "ReadChuckStatus")
