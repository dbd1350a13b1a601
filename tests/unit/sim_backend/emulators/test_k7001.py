"""The emulated 7001 and 7002: channels and ranges, what is configured, cards, errors."""

from random import Random

import pytest

from labctl.core.errors import BenchError
from sim_backend.emulators.k7001 import K7001
from sim_backend.emulators.world import Cables, World


@pytest.fixture
def world():
    return World(Cables({}, {}), lambda *place: None)


@pytest.fixture
def box(world):
    return K7001("matrix", "7001", world, cards={1: "7012", 2: "7012"})


def closed(box):
    return box.execute(":ROUT:CLOS:STAT?").strip()


def error(box):
    return int(box.errors.next().partition(",")[0])


def test_channels_close_and_open_in_the_world(box, world):
    box.execute(":clos (@1!1!1, 1!2!2,1!3!3,2!4!10)")
    assert closed(box) == "(@1!1!1,1!2!2,1!3!3,2!4!10)"
    assert ("matrix.row4", "matrix.2-10") in world.closed
    assert box.execute(":CLOS? (@1!1!1,1!1!2);:OPEN? (@1!1!1:1!1!2)") == "1,0;0,1\n"
    box.execute(":ROUT:OPEN (@1!1!1)")
    box.execute(":open all")
    assert closed(box) == "(@)"
    assert error(box) == 0
    assert box.execute("*IDN?").startswith("KEITHLEY INSTRUMENTS INC.,MODEL 7001,0503327,")


def test_neighbours_in_a_row_are_told_as_a_range(box):
    box.execute(":CLOS (@1!1!9:1!2!1,1!2!3)")
    assert closed(box) == "(@1!1!9:1!1!10,1!2!1,1!2!3)"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (":CLOS (@3!1!1)", -222),
        (":CLOS (@1!5!1)", -222),
        (":CLOS (@1!1!2:1!1!1)", -222),
        (":CLOS (@1!1)", -171),
        (":CLOS (1!1!1)", -171),
        (":CLOS ALL", -171),
        (":CLOS?", -109),
        (":CONF:SLOT3:CTYP?", -114),
        (":SCAN (@1!1!1)", -113),
    ],
)
def test_what_it_does_not_have_is_refused_as_a_whole(box, command, code):
    assert box.execute(command) == ""
    assert error(box) == code
    box.execute(":CLOS (@1!1!1,1!1!11)")
    assert closed(box) == "(@)"


def test_a_single_channel_opens_the_others_before_it_or_after(box, world):
    seen, switch = [], world.switch
    world.switch = lambda **more: (switch(**more), seen.append(len(world.closed)))
    box.execute(":CONF:SCH 1;:CLOS (@1!1!1)")
    box.execute(":CLOS (@1!1!2)")
    assert (seen, closed(box)) == ([1, 0, 1], "(@1!1!2)")
    seen.clear()
    box.execute(":CONF:BBM 0;:CLOS (@1!1!3)")
    assert (seen, closed(box)) == ([2, 1], "(@1!1!3)")


def test_a_pair_of_cards_moves_together_until_a_reset(box):
    box.execute(":CONF:CPA 1;:CLOS (@1!1!1)")
    assert closed(box) == "(@1!1!1,2!1!1)"
    box.execute("*RST")
    box.execute(":CLOS (@1!1!1)")
    assert closed(box) == "(@1!1!1)"


def test_cards_are_told_and_a_slot_may_have_none(world):
    box = K7001("matrix", "7002", world, cards={1: "7012", 10: "7012"}, rows=4, columns=10)
    assert box.execute(":CONF:SLOT:CTYP?;:ROUT:CONF:SLOT2:CTYP?;:CONF:SLOT10:CTYP?") == "C7012;CNONE;C7012\n"
    with pytest.raises(BenchError, match="no emulated matrix '707A'"):
        K7001("matrix", "707A", world, cards={})
    with pytest.raises(BenchError, match=r"cards in slots \[3\] of a 7001, which has 2"):
        K7001("matrix", "7001", world, cards={3: "7012"})


def test_a_relay_that_sticks_stays_and_the_mains_that_fail_open_every_one(box, world):
    box.sticks = lambda channel: channel == "1!1!2"
    box.execute(":CLOS (@1!1!1,1!1!2)")
    assert closed(box) == "(@1!1!1)"
    box.power_off()
    assert not world.closed


def test_every_part_of_its_state_can_be_left_otherwise(box):
    left = box.leftovers()
    for name, leave in left.items():
        assert any(leave(Random(seed)) is not None for seed in range(8)), name
    assert {"relays", "cards", "busy", "*IDN?", "errors", "[:ROUTe]:CONFigure:SCHannel"} <= left.keys()
    assert box.ends_busy(b":ABOR")
    assert not box.ends_busy(b":OPEN ALL")
