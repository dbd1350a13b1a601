"""A plausible night on the bench of the harness: the same seed, the same faults; and whatever happens, all holds."""

import pytest
from faults.campaign import carry_out
from faults.invariants import violated
from faults.kinds import KINDS, Injection, Night

from sim_backend.faults.dies import MADE
from sim_backend.faults.typical import TABLE, draw

DIES = {"D0": 10, "D1": 10}
"""Operations on each of the two dies of the harness."""
INSTRUMENTS = {"smu1": "source", "smu2": "source", "matrix": "matrix", "prober": "prober"}


def night(seed):
    """Return what happens to the instruments in one night."""
    return Night(tuple(fault for fault in draw(DIES, INSTRUMENTS, seed) if fault.kind not in MADE))


def night_of_a_board(seed):
    """Return what happens to the board of the harness in one night."""
    return Night(tuple(fault for fault in draw(DIES, {"board": "board"}, seed) if fault.kind not in MADE))


@pytest.mark.parametrize("seed", [3, 10])
def test_whatever_happens_to_a_board_in_a_plausible_night_all_holds(seed):
    course = carry_out(night_of_a_board(seed), "board")
    assert course.injection.struck
    assert violated(course, carry_out(Injection(), "board")) == {}


def test_needles_lift_on_a_board_only_where_a_prober_is_beside_it():
    alone, beside = {"board": "board"}, {"board": "board", "prober": "prober"}
    nights = [[fault.kind for seed in range(20) for fault in draw(DIES, at, seed)] for at in (alone, beside)]
    assert [kinds.count("needles lift") > 0 for kinds in nights] == [False, True]


def test_whatever_happens_to_a_board_on_needles_in_a_plausible_night_all_holds():
    name, seed = "board on needles", 3
    planned = draw(DIES, {"board": "board", "prober": "prober"}, seed)
    course = carry_out(Night(tuple(fault for fault in planned if fault.kind not in MADE)), name)
    assert course.injection.struck
    assert violated(course, carry_out(Injection(), name)) == {}


@pytest.fixture(scope="module")
def undisturbed():
    return carry_out(Injection())


@pytest.mark.parametrize("seed", [4, 11])
def test_whatever_happens_in_a_plausible_night_all_holds(undisturbed, seed):
    course = carry_out(night(seed))
    assert course.injection.struck
    assert violated(course, undisturbed) == {}


def test_every_kind_of_the_table_is_one_of_the_layer_or_of_a_die():
    kinds = {*INSTRUMENTS.values(), "board", "board under a prober"}
    of_instruments = {typical.kind for typical in TABLE if set(typical.at) & kinds}
    assert of_instruments < KINDS.keys()
    assert MADE.keys() < {typical.kind for typical in TABLE} - of_instruments
