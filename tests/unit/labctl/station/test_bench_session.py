"""A die under the needles by hand: what is refused, what is only recorded, and what is proved again."""

import numpy as np
import pytest

from labctl.core.bias import Bias
from labctl.core.errors import ContactLost, InstrumentError
from labctl.core.limits import Limited, Limits
from labctl.core.operations import Sense
from labctl.core.site import Site
from labctl.execution.contact_watch import ContactWatch
from labctl.station.bench_session import ByHand, OnBench
from sim_backend.description import DieDescription
from tests.unit.instruments.test_probed_die import K, M, N, Swapped, Twin, bench, simulated

LIMITS = Limits(v_towards_p=0.6, v_towards_ap=0.6, width=1e-3, compliance=1e-2, v_count=0.35, pulses_per_cell=50)
DIE = {"name": "die", "geometry": {"kernels": K, "n_rows": M, "n_cols": N}, "junction": {"diameter": "80 nm"}}
CELL = Sense(Bias(np.eye(1, M, 2) * 0.1, np.zeros((1, N))), np.array([1]))


def by_hand(twin):
    """Return the die that is under the needles of a twin."""
    description = DieDescription.model_validate(DIE, context={"file": True})
    return ByHand(twin.open.bench, twin.open, None).approach(Site("die", description, 5))


@pytest.mark.parametrize("structures", [[["r00", "c00"]], []])
def test_swapped_instruments_are_refused_by_hand(structures):
    twin = Swapped(bench(contact__structures=structures))
    with pytest.raises(InstrumentError, match="smu1 and smu2 are swapped"):
        by_hand(twin)
    twin.open.off()
    assert twin.clean()


def test_contact_is_proved_again_at_the_end_of_work_by_hand():
    twin = Twin()
    ready = by_hand(twin)
    watch = ContactWatch(Limited(ready.die, LIMITS), ready.prove)
    watch.look(CELL, ready.die.perform(CELL))
    assert watch.end().resistance.keys() == {"r00-c00", "r03-c02"}
    twin.world.touch(False)
    with pytest.raises(ContactLost, match="at the end of the stage: no contact: r00-c00 open"):
        watch.end()


def test_what_is_known_of_calibrations_is_recorded_with_the_die():
    papers = {"certificate": "K-7", "due": "2200-01-31"}
    assert by_hand(Twin(bench(instruments__smu2__calibration=papers))).notes["calibrations"] == {
        "smu2": "certificate K-7, due 2200-01-31"
    }
    twin = Twin()
    twin.open.calibrations["matrix"] = "calibrated 2026-03-01"
    description = DieDescription.model_validate(DIE, context={"file": True})
    die = OnBench(twin.open.bench, twin.open, None).approach(Site("die", description, 5))
    assert die.notes["calibrations"] == {"matrix": "calibrated 2026-03-01"}


def test_structures_that_did_not_conduct_at_first_are_recorded_and_prove_nothing():
    twin = Twin(load=simulated(defects={"open": 1.0}))
    ready = by_hand(twin)
    assert ready.notes["no_contact"].startswith("no contact: r00-c00 open")
    assert ready.prove is None


def test_where_no_structure_is_named_an_open_cell_alone_is_no_result():
    twin = Twin(bench(contact__structures=[]), load=simulated(defects={"open": 1.0}))
    ready = by_hand(twin)
    watch = ContactWatch(Limited(ready.die, LIMITS), ready.prove)
    with pytest.raises(ContactLost, match=r"no cell that was read conducts.*swapped instruments or cables"):
        watch.look(CELL, ready.die.perform(CELL))


class Mapped:
    """A prober that has bins on its map."""

    def __init__(self, asked):
        self.bins_on_map, self.bins = asked, []

    def set_bin(self, *about):
        self.bins.append(about)


@pytest.mark.parametrize(("asked", "bins"), [(True, [(0, 0, None, 5)]), (False, [])])
def test_a_bin_goes_onto_the_map_of_a_prober_that_is_asked_for_it(asked, bins):
    twin = Twin()
    twin.open.prober = Mapped(asked)
    description = DieDescription.model_validate(DIE, context={"file": True})
    OnBench(twin.open.bench, twin.open, None).mark(Site("die", description, 5), 5)
    assert twin.open.prober.bins == bins
    twin.open.prober = None
