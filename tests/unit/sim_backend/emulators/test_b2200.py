"""The emulated B2200: configurations, rules and sequences, modes that close relays by themselves, and errors."""

from random import Random

import pytest

from labctl.core.errors import BenchError
from sim_backend.emulators.b2200 import B2200
from sim_backend.emulators.world import Cables, World


@pytest.fixture
def world():
    return World(Cables({}, {}), lambda *place: None)


@pytest.fixture
def box(world):
    return B2200("matrix", "B2200A", world)


def closed(box):
    return box.execute(":CLOS:CARD? 0").strip()


def error(box):
    return int(box.errors.next().partition(",")[0])


def test_channels_close_and_open_in_the_world(box, world):
    box.execute(":ROUT:CLOS (@00248,01012)")
    assert closed(box) == "(@00248,01012)"
    assert set(world.closed) == {("matrix.in2", "matrix.out48"), ("matrix.in10", "matrix.out12")}
    assert box.execute(":CLOS? (@00248,00101);:OPEN? (@00248,00101)") == "1,0;0,1\n"
    box.execute(":OPEN (@00248)")
    assert box.execute(":ROUTE:CLOSE:CARD? 0") == "(@01012)\n"
    box.execute(":OPEN:CARD ALL")
    assert closed(box) == "(@)"
    assert error(box) == 0


def test_in_the_normal_configuration_a_module_has_outputs_of_its_own(box):
    box.execute(":CLOS (@00215)")
    box.execute(":ROUT:FUNC NCON")
    assert box.execute(":ROUT:FUNC?;:CLOS:CARD? 2") == "NCON;(@20203)\n"
    box.execute(":CLOS (@10101,40112)")
    box.execute(":OPEN:CARD 2")
    box.execute(":ROUT:FUNC ACON")
    assert closed(box) == "(@00101,00148)"
    assert error(box) == 0


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (":CLOS (@00149)", -222),
        (":CLOS (@01501)", -222),
        (":CLOS (@10101)", -222),
        (":CLOS:CARD? 1", -222),
        (":CLOS:CARD? ALL", -224),
        (":CLOS:CARD?", -109),
        (":CLOS?", -109),
        (":CONN:RULE 0,BBM", -141),
        (":CONN:RULE FREE,0", -148),
        (":CONN:RULE 5,FREE", -222),
        (":COUP:PORT 0,'2'", -224),
        (":AGND:UNUSED 0,'9'", -224),
        (":BIAS:PORT 0,15", -222),
        (":SYMB:CHAN 0,1,'x'", -113),
    ],
)
def test_what_it_does_not_have_is_refused_as_a_whole(box, command, code):
    assert box.execute(command) == ""
    assert error(box) == code
    box.execute(":CLOS (@00101,00149)")
    assert closed(box) == "(@)"


@pytest.mark.parametrize(
    ("rule", "sequence", "moves"),
    [
        ("FREE", "BBM", [{"00101", "00201"}]),
        ("SROU", "BBM", [set(), {"00201"}]),
        ("SROU", "MBBR", [{"00101", "00201"}, {"00201"}]),
        ("SROU", "NSEQ", [{"00201"}]),
    ],
)
def test_the_single_rule_opens_what_was_closed_in_its_sequence(box, world, rule, sequence, moves):
    seen, switch = [], world.switch
    box.execute(f":CONN:RULE 0,{rule};:CONN:SEQ 0,{sequence};:CLOS (@00101)")
    world.switch = lambda **more: (switch(**more), seen.append(set(world.closed)))
    box.execute(":CLOS (@00201)")
    names = {("matrix.in1", "matrix.out1"): "00101", ("matrix.in2", "matrix.out1"): "00201"}
    assert [{names[ends] for ends in one} for one in seen] == moves
    assert box.execute(":CONN:RULE? 0;:CONN:SEQ? 0") == f"{rule};{sequence}\n"


@pytest.mark.parametrize(("mode", "port", "other"), [("BIAS", 10, "AGND"), ("AGND", 12, "BIAS")])
def test_a_mode_puts_unused_outputs_onto_its_port_and_takes_them_back(box, mode, port, other):
    box.execute(f":{mode}:CHAN:ENAB (@00101,00102);:{mode} 0,1")
    assert closed(box) == f"(@0{port}01,0{port}02)"
    box.execute(":CLOS (@00301)")
    assert closed(box) == f"(@00301,0{port}02)"
    box.execute(":OPEN:CARD 0")
    assert closed(box) == f"(@0{port}01,0{port}02)"
    assert error(box) == 0
    box.execute(f":CLOS (@0{port}03)")
    assert error(box) == -221
    box.execute(f":{other} 0,1")
    assert error(box) == -221
    assert box.execute(f":{mode}? 0;:{mode}:PORT? 0;:{mode}:CHAN:ENAB? (@00102,00103)") == f"1;{port};1,0\n"
    box.execute(f":{mode}:CHAN:DIS:CARD ALL;:{mode} ALL,OFF")
    assert closed(box) == "(@)"


def test_a_mode_that_is_switched_off_leaves_its_relays_until_they_are_opened(box):
    box.execute(":BIAS:CHAN:ENAB:CARD 0;:BIAS 0,ON")
    box.execute(":BIAS ALL,0")
    assert len(box.closed) == 48
    box.execute(":OPEN:CARD ALL")
    assert not box.closed


def test_coupled_inputs_close_and_open_in_pairs(box):
    box.execute(":COUP:PORT 0,'1, 3';:COUP 0,1;:CLOS (@00103,00506)")
    assert closed(box) == "(@00103,00204,00506)"
    box.execute(":OPEN (@00204)")
    assert closed(box) == "(@00506)"
    assert box.execute(":COUP:PORT? 0") == "'1, 3'\n"


def test_a_reset_and_a_card_that_is_switched_on_anew_open_every_relay(box):
    for command in ("*RST", ":SYST:CPON ALL"):
        box.execute(":CONN:RULE 0,SROU;:BIAS:PORT 0,-1;:CLOS (@00101)")
        box.execute(command)
        assert (closed(box), box.execute(":CONN:RULE? 0;:BIAS:PORT? 0")) == ("(@)", "FREE;10\n")


def test_it_has_as_many_outputs_as_modules(world):
    small = B2200("matrix", "B2201A", world, modules=2)
    small.execute(":CLOS (@00124)")
    small.execute(":CLOS (@00125)")
    assert error(small) == -222
    assert "B2211A 14x24" in small.execute(":SYST:CDES? 0")
    assert small.execute(":SYST:CTYP? 0") == "AGILENT,B2211A,0,A.01.00\n"
    with pytest.raises(BenchError, match="no emulated matrix 'E5250A'"):
        B2200("matrix", "E5250A", world)
    with pytest.raises(BenchError, match="5 modules in a B2200A; expected 1 to 4"):
        B2200("matrix", "B2200A", world, modules=5)


def test_a_relay_that_sticks_stays(box):
    box.sticks = lambda channel: channel == "00102"
    box.execute(":CLOS (@00101,00102)")
    assert closed(box) == "(@00101)"


def test_the_mains_that_fail_open_every_relay(box, world):
    box.execute(":CLOS (@00101)")
    box.power_off()
    assert not world.closed


def test_every_part_of_its_state_can_be_left_otherwise(box):
    left = box.leftovers()
    assert "busy" not in left  # no message of it lasts
    for name, leave in left.items():
        assert any(leave(Random(seed)) is not None for seed in range(8)), name
    assert {"relays", "modules", "bias mode", "[:ROUTe]:FUNCtion", "*IDN?", "errors"} <= left.keys()
