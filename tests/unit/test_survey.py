"""Survey: what it measures of good cells, what it calls bad ones, and what it never pulses."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from labctl.core.die import Flag, Geometry, Nominal
from labctl.core.errors import BenchError
from labctl.core.procedure import History
from labctl.nominal import NominalDie
from protocols.bias import Scheme
from protocols.known import Known
from protocols.records import Attempt, Defect, KernelSurvey
from protocols.survey import Survey

NOMINAL = Nominal(4e-4, 2e-4)


def survey(die: Any, history: History | None = None, **parameters: Any) -> History:
    history = history or History()
    for record in Survey(**parameters).run(die, history):
        history.add(record)
    return history


@pytest.mark.parametrize("polarity", [1, -1])
@pytest.mark.parametrize("scheme", list(Scheme))
def test_nominal_die_is_good_everywhere_and_left_ap(polarity: int, scheme: Scheme) -> None:
    die = NominalDie(Geometry(3, 5, 4, polarity=polarity), NOMINAL, timing=len)
    die.state[1, 2, 3] = True
    rows = survey(die, scheme=scheme).all(KernelSurvey)
    assert [r.kernel for r in rows] == [0, 1, 2]
    for r in rows:
        np.testing.assert_allclose(r.g_p, np.full((5, 4), 4e-4))
        np.testing.assert_allclose(r.g_ap, np.full((5, 4), 2e-4))
        np.testing.assert_allclose(r.tmr, np.ones((5, 4)))
        assert r.good == 20
    assert rows[1].g_initial[2, 3] == pytest.approx(4e-4)
    assert not die.state.any()


def test_every_defect_gets_its_name(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    die.g_p[0, 0, 0] = die.g_ap[0, 0, 0] = 1 / 100  # short
    die.g_p[0, 1, 0] = die.g_ap[0, 1, 0] = 1e-9  # open
    die.v_switch[0, 2, 1] = die.v_switch[0, 3, 3] = np.inf
    die.state[0, 2, 1] = True  # stuck P; (3, 3) is stuck AP
    die.g_p[0, 4, 2] = 1.2 * die.g_ap[0, 4, 2]  # low TMR
    die.g_p[1, 1, 1], die.g_ap[1, 1, 1] = 4.4e-4, 1.9e-4  # good, and not nominal
    first, second = survey(die).all(KernelSurvey)
    expected = np.zeros((5, 4), np.uint8)
    expected[0, 0], expected[1, 0], expected[2, 1] = Defect.SHORT, Defect.OPEN, Defect.STUCK_P
    expected[3, 3], expected[4, 2] = Defect.STUCK_AP, Defect.LOW_TMR
    np.testing.assert_array_equal(first.defect, expected)
    assert first.good == 15
    assert second.good == 20
    assert second.tmr[1, 1] == pytest.approx(4.4 / 1.9 - 1)
    assert die.applied[0, 0, 0] == 0


def test_stuck_cells_get_the_whole_ladder_and_good_ones_one_pulse(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    die.v_switch[1, 3, 0] = np.inf
    history = survey(die, v_start=0.42, v_max=0.5, v_step=0.04)
    attempts = history.all(Attempt)
    assert [bool(a.target[0]) for a in attempts] == [True, False]
    assert die.applied[1, 3, 0] == 3 + 1  # AP already: verified by the first pulse towards AP
    assert die.applied[0, 2, 2] == 2
    np.testing.assert_allclose(attempts[0].voltage[-2:], [0.46, 0.5])
    assert not attempts[0].verified[-1]
    assert sum(len(a.flag) for a in attempts) == die.applied.sum()


def test_one_kernel_only(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    rows = survey(die, kernels=(1,)).all(KernelSurvey)
    assert [r.kernel for r in rows] == [1]
    assert not die.applied[0].any()


def test_a_short_does_not_convict_its_neighbours(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    die.g_p[0, 2, 1] = die.g_ap[0, 2, 1] = 1 / 40  # 0.21 V over 40 ohm: every pulse of its lines goes into compliance
    history = survey(die)
    row = history.all(KernelSurvey)[0]
    assert np.argwhere(row.defect == Defect.SHORT).tolist() == [[2, 1]]
    flagged = np.concatenate([(a.flag & Flag.COMPLIANCE) != 0 for a in history.all(Attempt)])
    assert flagged.any()
    assert die.applied[0, 2, 1] == 0
    # and it stays a short when it is surveyed again
    known = Known(die, history, 4.0)
    assert np.argwhere(known.short).tolist() == [[0, 2, 1]]


def test_unreadable_row_is_said_to_be_so(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    die.bad[(1, 3)] = [Flag.INVALID] * 100
    row = survey(die).all(KernelSurvey)[1]
    assert (row.defect[3] == Defect.UNREADABLE).all()
    assert (np.delete(row.defect, 3, axis=0) == Defect.GOOD).all()


def test_kernels_that_are_not_there_are_refused(threshold_die: Callable[..., Any]) -> None:
    with pytest.raises(BenchError, match="kernel 2; the die has 2"):
        survey(threshold_die(), kernels=(0, 2))
    with pytest.raises(BenchError, match="twice"):
        survey(threshold_die(), kernels=(1, 1))
