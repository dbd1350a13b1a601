"""A simulated die in the place of a board without an emulator, on needles that touch it or not."""

import numpy as np
import pytest

from labctl.core.operations import WritePlan
from protocols.write_verify import WriteSettings
from sim_backend.emulators.board import SimulatedBoard
from tests.small_array import array


@pytest.mark.parametrize("touching", [True, False])
def test_a_write_plan_on_needles_that_are_up_reads_open_and_switches_nothing(touching):
    die = array(1)
    board = SimulatedBoard("board", lambda nominal, polarity: die, "arc_two", die)
    board.touch(die if touching else None)
    before = die.truth()["state"].copy()
    attempts = board.perform(plan(die))
    assert (np.abs(attempts.current) > 0).all() == touching
    assert attempts.verified.any() == touching
    assert (die.truth()["state"] == before).all() != touching


def plan(die) -> WritePlan:
    """Return a plan that writes three cells to P."""
    settings = WriteSettings(v_start=0.5, v_max=0.9, v_step=0.1, width=1e-3)
    at = (np.zeros(3, int), np.arange(3), np.zeros(3, int))
    cut = np.full(3, float(np.sqrt(die.nominal.g_p(0) * die.nominal.g_ap(0))))
    return settings.plan(die.geometry, at, np.ones(3, bool), cut, np.full(3, 12))
