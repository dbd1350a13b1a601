"""Dies that are made bad, and simulated dies that fail while they are worked on."""

import numpy as np
import pytest

from labctl.core.bias import Bias
from labctl.core.defects import FABRICATED
from labctl.core.errors import ContactError, ContactLost, LinkTimeoutError
from labctl.core.operations import Sense
from labctl.core.planned_fault import ON_THE_WAY, PlannedFault
from sim_backend.description import DieDescription
from sim_backend.faults.dies import BAD, CONTACT_LOST, DEAD, NO_ANSWER, NO_CONTACT, FaultyDie, spoilt
from sim_backend.make import make_die


def description(**simulation):
    return DieDescription.model_validate(
        {
            "name": "D",
            "geometry": {"n_rows": 5, "n_cols": 4},
            "junction": {"diameter": 80e-9},
            "simulation": simulation,
        }
    )


def read():
    return Sense(Bias(np.array([[0.1, 0, 0, 0, 0]]), np.zeros((1, 4)), compliance=1e-3), np.array([[1]]))


NOISY = {"noise": {"relative": 0.01}, "defects": {"stuck_p": 0.5}}


@pytest.mark.parametrize("simulation", [{}, {"ideal": True}, NOISY])
def test_of_a_dead_die_no_cell_conducts_and_a_bad_one_has_shorts_and_opens(simulation):
    before = description(**simulation)
    dead, bad = spoilt(before, DEAD), spoilt(before, BAD)
    assert abs(make_die(dead, seed=1, name="A").sense(read()).current[0, 0]) < 1e-7
    defects = make_die(bad, seed=1, name="A").truth()["defect"]
    keys = ["", *(kind.key for kind in FABRICATED)]
    assert {keys[code] for code in np.unique(defects)} == {"", "short", "open"}
    assert (dead.shape, dead.nominal) == (before.shape, before.nominal)
    assert dead.simulation.noise.relative == before.simulation.noise.relative
    assert DieDescription.model_validate(bad.model_dump(mode="json")) == bad


@pytest.mark.parametrize(("kind", "error"), [(CONTACT_LOST, ContactLost), (NO_ANSWER, LinkTimeoutError)])
def test_a_die_fails_once_at_its_operation_and_says_which_fault_it_was(kind, error):
    told = []
    inner = make_die(description(), seed=1, name="A")
    die = FaultyDie(inner, [PlannedFault(7, kind, "A", operation=2)], lambda fault, detail: told.append(fault.number))
    die.approach()
    for operation in (0, 1):
        die.reach(operation)
        assert np.isfinite(die.sense(read()).current).all()
    die.reach(2)
    with pytest.raises(error, match="injected fault 7"):
        die.sense(read())
    assert told == [7]
    assert np.isfinite(die.sense(read()).current).all()


def test_needles_that_do_not_touch_are_told_on_the_way():
    faults = [PlannedFault(1, BAD, "A"), PlannedFault(2, NO_CONTACT, "A", operation=ON_THE_WAY)]
    with pytest.raises(ContactError, match="no contact with die A"):
        FaultyDie(make_die(description(), seed=1, name="A"), faults, lambda fault, detail: None).approach()
