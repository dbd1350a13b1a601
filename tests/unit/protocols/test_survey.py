"""Survey: what it measures of good cells, what it calls bad ones, and what it never pulses."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from labctl.core.bias import Geometry, Kind, Nominal
from labctl.core.defects import Defect
from labctl.core.errors import BenchError
from labctl.core.operations import Flag, Reading, Sense
from labctl.core.record import History
from labctl.execution.nominal_die import NominalDie
from protocols.bias import Scheme
from protocols.cell_knowledge import CellKnowledge
from protocols.cells import Cells
from protocols.records import Attempt, InferenceMap, KernelSurvey, Line
from protocols.settings import InferenceReadSettings, ReadSettings, SecondGate, WriteSettings
from protocols.survey import Survey
from sim_backend.cells import FabricatedDefect as Made
from sim_backend.description import DieDescription
from sim_backend.die import SimDie

NOMINAL = Nominal.alike(4e-4, 2e-4, 2)


def survey(die: Any, history: History | None = None, **parameters: Any) -> History:
    history = history or History()
    for record in Survey(**parameters).run(die, history):
        history.add(record)
    return history


@pytest.mark.parametrize("polarity", [1, -1])
@pytest.mark.parametrize("scheme", list(Scheme))
def test_nominal_die_is_good_everywhere_and_left_ap(polarity: int, scheme: Scheme) -> None:
    die = NominalDie(Geometry(3, 5, 4, polarity=polarity), Nominal.alike(4e-4, 2e-4, 3), timing=len)
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
    die.g_p[0, 4, 2] = 1.45 * die.g_ap[0, 4, 2]  # low TMR: less than half of the nominal 100 %
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


@pytest.mark.parametrize(("offset_reads", "expected"), [(0, Defect.OPEN), (6, Defect.STUCK_AP)])
def test_a_cell_that_conducts_more_than_the_offset_of_the_meter_is_not_open(
    threshold_die: Callable[..., Any], offset_reads: int, expected: Defect
) -> None:
    dice = np.random.default_rng(4)

    class Noisy(type(threshold_die())):  # type: ignore[misc]
        """Its meter is off by 5 nA and has 2 nA of noise."""

        def _sense(self, sense: Sense) -> Reading:
            reading = super()._sense(sense)
            noise = 5e-9 + 2e-9 * dice.standard_normal(reading.current.shape)
            return Reading(reading.current + noise, reading.flag, reading.pulse_flag)

    die = Noisy(Geometry(2, 5, 4), NOMINAL)
    die.g_p[0, 1, 0] = die.g_ap[0, 1, 0] = 1e-11  # reads 50 nS
    die.g_p[1, 4, 2] = die.g_ap[1, 4, 2] = 2e-6  # a hundredth of G_AP, and 10 noises above the offset
    die.v_switch[1, 4, 2] = np.inf
    first, second = survey(die, offset_reads=offset_reads).all(KernelSurvey)
    assert (first.defect[1, 0], second.defect[4, 2]) == (Defect.OPEN, expected)
    assert (first.good, second.good) == (19, 19)


def test_every_cell_is_judged_by_the_nominal_states_of_its_own_kernel(threshold_die: Callable[..., Any]) -> None:
    """What is open, short, stuck or of low TMR in one kernel is good in another."""
    nominal = Nominal([4e-4, 4e-3], [3e-4, 2e-3])
    die = threshold_die(Geometry(2, 5, 4), nominal)
    die.g_p[1, 0, 1], die.g_ap[1, 0, 1] = 1.9e-4, 9e-5  # open, by the second kernel's G_AP
    die.g_p[0, 2, 3] = die.g_ap[0, 2, 3] = 4e-3  # short, by the first kernel's G_P
    die.v_switch[:, 3, 2] = np.inf  # stuck AP in both
    die.v_switch[1, 4, 0], die.state[1, 4, 0] = np.inf, True  # stuck P
    die.g_p[:, 1, 1] = 1.4 * die.g_ap[:, 1, 1]  # low TMR, where 100 % is nominal
    first, second = survey(die).all(KernelSurvey)
    expected = np.zeros((2, 5, 4), np.uint8)
    expected[1, 0, 1], expected[0, 2, 3], expected[1, 1, 1] = Defect.OPEN, Defect.SHORT, Defect.LOW_TMR
    expected[:, 3, 2], expected[1, 4, 0] = Defect.STUCK_AP, Defect.STUCK_P
    np.testing.assert_array_equal(first.defect, expected[0])
    np.testing.assert_array_equal(second.defect, expected[1])
    known, cells = CellKnowledge(die, History(), 4.0, 0.1), Cells.block(1, 0, 0, (5, 4))
    np.testing.assert_array_equal(known.cut[:, 0, 0], np.sqrt([4e-4 * 3e-4, 4e-3 * 2e-3]))
    np.testing.assert_array_equal(known.ceiling, [1.6e-3, 1.6e-2])
    assert known.states(cells.at, ReadSettings()) == (4e-3, 2e-3)
    both = Cells.join([cells, Cells.block(0, 0, 0, (5, 4))])
    assert known.nominal_states(both.at) == pytest.approx(((4e-4 + 4e-3) / 2, (3e-4 + 2e-3) / 2))


def test_stuck_cells_get_the_whole_ladder_and_good_ones_one_pulse(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    die.v_switch[1, 3, 0] = np.inf
    history = survey(die, v_start=0.42, v_max=0.5, v_step=0.04, p_switch=0.7)
    attempts = history.all(Attempt)
    assert [bool(a.target[0]) for a in attempts] == [True, False, True, False]
    # AP already, so verified by the first pulse towards AP; then both ladders, judged by its own conductance
    assert die.applied[1, 3, 0] == 3 + 1 + 3 + 3
    assert die.applied[0, 2, 2] == 2
    np.testing.assert_allclose(attempts[0].voltage[-2:], [0.46, 0.5])
    assert not attempts[0].verified[-1]
    assert [a.round.max() for a in attempts] == [0, 0, 1, 1]
    second = history.all(KernelSurvey)[1]
    assert second.defect[3, 0] == Defect.STUCK_AP
    assert (second.v_max, second.width) == (0.5, 1e-3)
    assert sum(len(a.flag) for a in attempts) == die.applied.sum()


def test_one_kernel_only(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    rows = survey(die, kernels=(1,)).all(KernelSurvey)
    assert [r.kernel for r in rows] == [1]
    assert not die.applied[0].any()


def shorted(die: Any) -> Any:
    """Put a short at row 2, column 1 of kernel 0: 0.21 V over 40 ohm, every pulse of its lines meets compliance."""
    die.g_p[0, 2, 1] = die.g_ap[0, 2, 1] = 1 / 40
    return die


def test_a_short_does_not_convict_its_neighbours(threshold_die: Callable[..., Any]) -> None:
    die = shorted(threshold_die())
    die.v_switch[0, 2, 0] = die.v_switch[0, 4, 1] = 0.5  # stiff cells on its row and on its column
    history = survey(die)
    row = history.all(KernelSurvey)[0]
    assert np.argwhere(row.defect == Defect.SHORT).tolist() == [[2, 1]]
    assert row.good == 19
    attempts = history.all(Attempt)
    assert not any(a.flag.any() for a in attempts)
    limited = np.concatenate([(a.pulse_flag & Flag.COMPLIANCE) != 0 for a in attempts])
    assert limited.any()
    assert np.concatenate([a.verified for a in attempts])[limited].any()
    assert die.applied[0, 2, 0] == 2 * 5  # 420 to 500 mV, each way
    assert die.applied[0, 2, 1] == 0
    # and it stays a short when it is surveyed again
    known = CellKnowledge(die, history, 4.0, 0.1)
    assert np.argwhere(known.short).tolist() == [[0, 2, 1]]


def test_lines_in_compliance_are_named(threshold_die: Callable[..., Any]) -> None:
    lines = survey(shorted(threshold_die())).all(Line)
    assert [(r.kernel, r.axis, r.index, r.share, r.shorts) for r in lines] == [(0, "row", 2, 1, 1), (0, "col", 1, 1, 1)]
    assert survey(threshold_die()).all(Line) == []


def test_stuck_is_only_said_of_what_was_pulsed_up_to_the_cap(threshold_die: Callable[..., Any]) -> None:
    die = shorted(threshold_die())
    for cell in ((0, 2, 3), (0, 0, 1), (0, 0, 3), (1, 2, 3)):
        die.v_switch[cell] = np.inf
    first, second = survey(die).all(KernelSurvey)
    assert first.defect[2, 3] == first.defect[0, 1] == Defect.NOT_REACHED
    assert first.defect[0, 3] == second.defect[2, 3] == Defect.STUCK_AP
    # 15 pulses are 10 rungs towards P, 1 towards AP, and 4 of the second go
    die = threshold_die()
    die.v_switch[1, 3, 0] = np.inf
    history = survey(die, budget=15)
    assert die.applied[1, 3, 0] == 15
    assert history.all(KernelSurvey)[1].defect[3, 0] == Defect.NOT_REACHED


@pytest.mark.parametrize(("p_switch", "defect"), [(0.5, Defect.NOT_REACHED), (0.96, Defect.NOT_REACHED),
                                                 (0.97, Defect.STUCK_AP)])  # fmt: skip
def test_two_pulses_convict_only_where_two_are_enough(
    threshold_die: Callable[..., Any], p_switch: float, defect: Defect
) -> None:
    die = threshold_die()
    die.v_switch[1, 3, 0] = np.inf
    history = survey(die, v_start=0.42, v_max=0.42, p_switch=p_switch)
    second = history.all(KernelSurvey)[1]
    assert (second.defect[3, 0], second.good) == (defect, 19)
    known, cell = CellKnowledge(die, history, 4.0, 0.1), (np.array([1]), np.array([3]), np.array([0]))
    settings = WriteSettings(v_start=0.42, v_max=0.42, p_switch=p_switch)
    assert known.hopeless(cell, np.array([True]), settings).item() is (defect is Defect.STUCK_AP)
    assert not known.in_other_state(cell, np.array([False])).item()  # a survey leaves AP


@pytest.mark.parametrize(("g_p", "g_ap"), [(4.4e-4, 2.9e-4), (2.5e-4, 1.5e-4)])
def test_stiff_cells_on_one_side_of_the_nominal_cut_are_not_called_stuck(
    threshold_die: Callable[..., Any], g_p: float, g_ap: float
) -> None:
    die = threshold_die()
    cells = np.array([0, 1, 1]), np.array([1, 0, 4]), np.array([2, 3, 0])
    die.g_p[cells], die.g_ap[cells], die.v_switch[cells] = g_p, g_ap, 0.47
    die.state[0, 1, 2] = True  # one starts in P
    first, second = survey(die).all(KernelSurvey)
    assert (first.good, second.good) == (20, 20)
    assert first.g_p[1, 2] == second.g_p[4, 0] == pytest.approx(g_p)
    assert first.g_ap[1, 2] == second.g_ap[4, 0] == pytest.approx(g_ap)
    assert not die.state.any()


def test_what_the_simulation_knows_to_switch_is_never_called_stuck() -> None:
    """A regression: 32 of 404 sound cells were, because a short shared their line."""
    defects = {"short": "3 %", "open": "2 %", "stuck_p": "2 %", "stuck_ap": "2 %", "low_tmr": "3 %"}
    description = DieDescription.model_validate(
        {
            "name": "d",
            "geometry": {"kernels": 2, "n_rows": 15, "n_cols": 14},
            "junction": {"diameter": "80 nm", "ra": "12 ohm um^2", "tmr": "120 %"},
            "simulation": {"defects": defects},
        },
        context={"file": True},
    )
    die = SimDie(description, seed=2112, name="B2")
    true = die.truth()["defect"]
    history = survey(die)
    defect = np.stack([r.defect for r in history.all(KernelSurvey)])
    assert any((a.pulse_flag & Flag.COMPLIANCE).any() for a in history.all(Attempt))
    assert (true == Made.SHORT).any()
    np.testing.assert_array_equal(defect == Defect.SHORT, true == Made.SHORT)
    np.testing.assert_array_equal(defect == Defect.OPEN, true == Made.OPEN)
    moves = np.isin(true, (Made.NONE, Made.LOW_TMR))
    assert not np.isin(defect[moves], (Defect.STUCK_P, Defect.STUCK_AP, Defect.UNREADABLE)).any()
    assert np.isin(defect[moves], (Defect.GOOD, Defect.LOW_TMR)).mean() > 0.97  # the others were not reached
    stuck = np.isin(true, (Made.STUCK_P, Made.STUCK_AP))
    assert np.isin(defect[stuck], (Defect.STUCK_P, Defect.STUCK_AP, Defect.NOT_REACHED)).all()


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


def test_cells_are_mapped_as_inference_reads_them(threshold_die: Callable[..., Any]) -> None:
    class Offset(type(threshold_die())):  # type: ignore[misc]
        """Its meter is off by 3 uA, and below 80 mV a cell conducts half as well."""

        def _sense(self, sense: Sense) -> Reading:
            reading = super()._sense(sense)
            part = np.where(np.abs(sense.bias.row).max(axis=1) < 0.08, 0.5, 1.0)[:, None]
            return Reading(reading.current * part + 3e-6, reading.flag, reading.pulse_flag)

    die = Offset(Geometry(2, 5, 4), NOMINAL)
    die.g_p[1, 3, 2] = 4.4e-4
    history = survey(die, inference=InferenceReadSettings(v_read=0.06, v_gate=1.2))
    first, second = history.all(InferenceMap)
    assert (first.kernel, first.v_read, first.v_gate) == (0, 0.06, 1.2)
    np.testing.assert_allclose(first.g_p, np.full((5, 4), 2e-4))
    np.testing.assert_allclose(second.g_ap, np.full((5, 4), 1e-4))
    assert second.g_p[3, 2] == pytest.approx(2.2e-4)
    np.testing.assert_allclose(history.all(KernelSurvey)[0].g_p, np.full((5, 4), 4.3e-4))
    known, cells = CellKnowledge(die, history, 4.0, 0.1), Cells.block(0, 0, 0, (5, 4)).at
    assert known.states(cells, ReadSettings(v_read=0.06, v_gate=1.2)) == pytest.approx((2e-4, 1e-4))
    assert known.states(cells, ReadSettings(v_read=0.05, v_gate=1.2)) == pytest.approx((4.3e-4, 2.3e-4))


def test_cells_are_mapped_with_what_a_second_gate_takes_off(threshold_die: Callable[..., Any]) -> None:
    class Gated(type(threshold_die())):  # type: ignore[misc]
        """At 1.2 V its cells conduct half, and a short what it does at every gate; its meter is off by 3 uA."""

        def _sense(self, sense: Sense) -> Reading:
            reading = super()._sense(sense)
            short = np.abs(reading.current) > 1e-3
            part = np.where((sense.bias.gate.max(axis=1)[:, None] < 2) & ~short, 0.5, 1.0)
            return Reading(reading.current * part + 3e-6, reading.flag, reading.pulse_flag)

    die = Gated(Geometry(2, 5, 4, Kind.ONE_T_ONE_R), NOMINAL)
    die.g_p[1, 3, 2] = die.g_ap[1, 3, 2] = 1 / 20
    read = InferenceReadSettings(v_read=0.06, v_gate=1.2, second_gate=SecondGate(v_gate=3, share=0.1))
    history = survey(die, inference=read)
    first, second = history.all(InferenceMap)
    assert (first.v_gate, first.v_second_gate, first.second_share) == (1.2, 3, 0.1)
    assert first.gates == read.gates
    np.testing.assert_allclose(first.g_p, np.full((5, 4), (0.5 - 0.1) * 4e-4))
    np.testing.assert_allclose(first.g_ap, np.full((5, 4), (0.5 - 0.1) * 2e-4))
    assert second.g_p[3, 2] == pytest.approx(0.9 / 20)
    known, cells = CellKnowledge(die, history, 4.0, 0.1), Cells.block(0, 0, 0, (5, 4)).at
    assert known.states(cells, read) == pytest.approx((1.6e-4, 0.8e-4))
    other = read.model_copy(update={"second_gate": None})
    assert known.states(cells, other) != pytest.approx((1.6e-4, 0.8e-4))


def test_a_die_without_gates_has_no_second_gate(threshold_die: Callable[..., Any]) -> None:
    read = InferenceReadSettings(v_gate=1.6, second_gate=SecondGate(share=0.1))
    with pytest.raises(BenchError, match="the die has no gates"):
        survey(threshold_die(), inference=read)


def test_a_second_gate_that_is_not_above_the_first_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"v_gate 1.6 V is not above v_gate 1.6 V"):
        InferenceReadSettings(v_gate=1.6, second_gate=SecondGate(v_gate=1.6, share=0.1))


def test_a_cell_without_a_value_at_one_of_two_gates_has_none_in_the_map(threshold_die: Callable[..., Any]) -> None:
    class Losing(type(threshold_die())):  # type: ignore[misc]
        """Its second column gives 0 A that is no value at a gate of 3 V."""

        def _sense(self, sense: Sense) -> Reading:
            reading = super()._sense(sense)
            lost = (sense.cols == 1) & (sense.bias.gate.max(axis=1, keepdims=True) == 3)
            return Reading(
                np.where(lost, 0.0, reading.current),
                np.where(lost, Flag.INVALID, reading.flag).astype(np.uint8),
                reading.pulse_flag,
            )

    die = Losing(Geometry(2, 5, 4, Kind.ONE_T_ONE_R), NOMINAL)
    read = InferenceReadSettings(v_gate=1.6, second_gate=SecondGate(v_gate=3, share=0.1))
    history = survey(die, inference=read)
    first = history.all(InferenceMap)[0]
    assert np.isnan(first.g_p[:, 1]).all()
    np.testing.assert_allclose(np.delete(first.g_p, 1, axis=1), np.full((5, 3), 0.9 * 4e-4))
    known, cells = CellKnowledge(die, history, 4.0, 0.1), Cells.block(0, 0, 0, (5, 4)).at
    assert known.good[cells].all()
    assert known.states(cells, read) == pytest.approx((3.6e-4, 1.8e-4))
