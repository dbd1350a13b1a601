"""Write-verify: pulses only what is wrong, repairs what flipped, gives up within bounds, counts honestly."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from labctl.core.cell_state import CellState
from labctl.core.defects import Defect
from labctl.core.errors import BenchError
from labctl.core.operations import Flag, Reading
from labctl.core.record import History
from protocols.cell_knowledge import CellKnowledge
from protocols.cells import CellReader, Cells
from protocols.records import Attempt, KernelSurvey, Write
from protocols.survey import Survey
from protocols.write_verify import WriteMode, WriteVerify, Written, write_record, write_verify

CELLS = Cells.join([Cells.block(0, 1, 0, (3, 4)), Cells.block(1, 0, 1, (5, 2))])
TARGET = np.random.default_rng(11).random(len(CELLS)) < 0.5


def run(
    die: Any,
    history: History | None = None,
    target: np.ndarray = TARGET,
    cells: Cells = CELLS,
    **parameters: Any,
) -> tuple[list[Attempt], Written, Write]:
    settings = WriteVerify(**parameters)
    history = history or History()
    known = CellKnowledge(die, history, settings.short_above, settings.v_read)
    reader = CellReader(die.geometry, cells, settings)
    *attempts, written = write_verify(die, known, reader, target, settings, solution=5)
    for a in attempts:
        history.add(a)
    return attempts, written, write_record([written], settings, solution=5)


def where(index: int) -> tuple[int, int, int]:
    kernel, row, col = CELLS.at
    return int(kernel[index]), int(row[index]), int(col[index])


P, AP = np.flatnonzero(TARGET), np.flatnonzero(~TARGET)


def test_writes_what_is_wanted_and_nothing_else(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    die.state[where(AP[0])] = die.state[0, 0, 0] = True
    attempts, written, record = run(die)
    np.testing.assert_array_equal(die.state[CELLS.at], TARGET)
    assert die.state[0, 0, 0]
    assert record.fidelity == 1.0
    assert (record.cells, record.pulses, record.repaired, record.gave_up) == (22, len(P) + 1, 0, 0)
    assert die.applied.sum() == len(P) + 1
    assert len(attempts) == 1
    assert attempts[0].solution.tolist() == [5] * record.pulses
    assert (record.rung_pulses.sum(axis=1) == [1, len(P)]).all()
    assert record.wer_to_p == record.wer_to_ap == 0.0
    assert written.correct.all()


def test_a_region_that_is_right_gets_no_pulse(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    die.state[CELLS.at] = TARGET
    attempts, _, record = run(die)
    assert attempts == []
    assert (record.pulses, record.fidelity) == (0, 1.0)
    assert record.wer_to_p_interval.tolist() == [0.0, 1.0]
    # five rows of two columns, three rows of four; the others before and after: five of two, two of four
    assert die.sensed == [5, 2, 5, 3, 5, 2]


def test_stiff_cells_climb_and_stuck_ones_are_given_up(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    die.v_switch[where(P[0])], die.v_switch[where(P[1])] = 0.47, np.inf
    attempts, written, record = run(die, v_start=0.42, v_max=0.54, v_step=0.02)
    assert die.applied[where(P[0])] == 4  # 420, 440, 460, 480 mV
    assert die.applied[where(P[1])] == 14
    assert len(attempts) == 2  # a second ladder; no third round for a cell that was given up
    assert (record.correct, record.gave_up) == (21, 1)
    assert record.fidelity == pytest.approx(21 / 22)
    assert record.stuck == 1
    # WER is that of cells that switch; the pulses on the stuck one are counted apart
    np.testing.assert_array_equal(record.rung_failures[1], [1, 1, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(record.rung_pulses[1], [len(P) - 1, 1, 1, 1, 0, 0, 0])
    assert record.wer_to_p == pytest.approx(3 / (len(P) + 2))
    assert record.stuck_pulses.tolist() == [0, 14]
    assert record.pulses == record.rung_pulses.sum() + record.stuck_pulses.sum()
    assert attempts[0].verified.sum() == len(P) - 1
    assert not written.correct[P[1]]


def test_disturbed_cells_are_repaired(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    die.disturb = {len(P): where(AP[1]), len(P) + 1: where(P[0])}
    attempts, _, record = run(die)
    assert [a.round[0] for a in attempts] == [0, 1, 2]
    assert (record.fidelity, record.repaired, record.gave_up) == (1.0, 2, 0)
    assert record.pulses == len(P) + 2
    np.testing.assert_array_equal(die.state[CELLS.at], TARGET)


def test_repair_is_bounded(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    # each repair flips the other one of two cells
    die.disturb = {len(P) + k: where(AP[1 + k % 2]) for k in range(100)}
    attempts, _, record = run(die, repair_rounds=2)
    assert len(attempts) == 3
    assert die.pulses == record.pulses
    assert (record.correct, record.gave_up) == (21, 1)
    _, _, none = run(threshold_die(), repair_rounds=0)
    assert none.fidelity == 1.0


def test_cells_that_failed_two_ladders_are_not_pulsed_again(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    cell = where(P[0])
    die.v_switch[cell] = np.inf
    history = History()
    run(die, history)
    assert die.applied[cell] == 20
    attempts, _, record = run(die, history)
    assert (attempts, record.pulses, record.gave_up, record.stuck) == ([], 0, 1, 1)
    # only that direction is given up, and only for pulses no higher and no longer
    die.state[cell] = True
    die.v_switch[cell] = 0.4
    flipped = TARGET.copy()
    flipped[P[0]] = False
    assert run(die, history, flipped)[2].fidelity == 1.0
    assert run(die, history, width=2e-3)[2].fidelity == 1.0
    # it has switched there now, so it counts as a cell that can
    assert run(die, history, flipped)[2].fidelity == run(die, history)[2].fidelity == 1.0
    assert die.applied[cell] == 20 + 4


def test_surveyed_stuck_and_open_cells_are_not_pulsed(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    stuck, opened = where(P[0]), where(P[3])
    die.v_switch[stuck] = np.inf
    die.g_p[opened] = die.g_ap[opened] = 1e-9
    history = History(list(Survey().run(die, History())))
    before = die.applied.copy()
    _, _, record = run(die, history)
    assert die.applied[stuck] == before[stuck]
    assert die.applied[opened] == before[opened]
    assert (record.gave_up, record.stuck, record.shorts) == (2, 2, 0)
    assert record.stuck_pulses.tolist() == [0, 0]
    assert record.wer_to_p == 0.0
    run(die, history, v_max=0.62)  # higher than the survey went
    assert die.applied[stuck] == before[stuck] + 2 * 11


def test_a_later_survey_overrules_failed_ladders(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    cell = where(P[0])
    die.v_switch[cell] = np.inf
    history = History()
    run(die, history)
    die.v_switch[cell] = 0.4
    for fact in Survey().run(die, history):
        history.add(fact)
    assert run(die, history)[2].fidelity == 1.0


def test_a_cell_seen_to_switch_that_fails_a_ladder_counts_for_wer(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    history = History(list(Survey().run(die, History())))
    die.v_switch[where(P[0])] = np.inf  # has aged since
    _, _, record = run(die, history)
    assert record.rung_failures[1].tolist() == [2] * 10
    assert record.stuck_pulses.tolist() == [0, 0]


def test_pulses_into_compliance_do_not_convict_and_do_not_count(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    die.g_p[0, 2, 1] = die.g_ap[0, 2, 1] = 1 / 40  # no cell of AP: a short among the cells
    stiff = int(P[np.flatnonzero((CELLS.kernel[P] == 0) & (CELLS.row[P] == 2) & (CELLS.col[P] != 1))[0]])
    die.v_switch[where(stiff)] = 0.5
    attempts, written, record = run(die)
    on_lines = (CELLS.kernel == 0) & ((CELLS.row == 2) | (CELLS.col == 1))
    limited = int(sum((a.pulse_flag != 0).sum() for a in attempts))
    assert (
        record.limited_pulses
        == limited
        == int(TARGET[on_lines].sum()) - int(TARGET[on_lines & written.short].sum()) + 4
    )
    assert written.correct[~written.short].all()
    assert record.shorts == 1
    assert record.rung_pulses.sum() == record.pulses - limited
    assert record.wer_to_p == 0.0


def test_cells_without_a_weight_are_watched_and_left_alone(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    bystander, other = (0, 0, 2), (1, 4, 3)
    assert all(cell not in [where(i) for i in range(len(CELLS))] for cell in (bystander, other))
    die.disturb = {1: bystander, 2: other}
    settings, history = WriteVerify(), History()
    known, reader = (
        CellKnowledge(die, history, settings.short_above, settings.v_read),
        CellReader(die.geometry, CELLS, settings),
    )

    def write(target: np.ndarray) -> Any:
        *_, written = write_verify(die, known, reader, target, settings, solution=1)
        return written

    first = write(TARGET)
    assert first.flipped_unplaced == 2
    assert first.correct.all()
    assert die.state[bystander]
    assert die.state[other]
    assert die.applied[bystander] == die.applied[other] == 0
    assert write(TARGET).flipped_unplaced == 0
    die.state[bystander] = False  # between two solutions
    assert write(~TARGET).flipped_unplaced == 1
    assert write_record([first, first], settings, solution=1).flipped_unplaced == 4


def test_a_survey_is_the_read_before(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    history = History(list(Survey().run(die, History())))
    die.state[0, 0, 2] = True  # after the survey
    die.sensed.clear()
    _, _, record = run(die, history)
    assert record.flipped_unplaced == 1
    assert die.sensed == [5, 3, 5, 3, 5, 2]
    # once cells have been written, the survey is no longer what was read last
    die.sensed.clear()
    _, _, record = run(die, history)
    assert record.flipped_unplaced == 0
    assert die.sensed == [5, 2, 5, 3, 5, 2]


def test_all_cells_are_read_after_the_last_pulse(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    die.disturb = {len(P) + 1: (0, 0, 2), len(P): where(AP[1])}
    _, written, record = run(die)
    assert (record.repaired, record.flipped_unplaced, written.correct.all()) == (1, 1, True)
    assert die.sensed == [5, 2, *[5, 3] * 3, 5, 2]


def test_surveyed_shorts_get_no_pulse(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    die.g_p[where(P[2])] = die.g_ap[where(P[2])] = 1 / 150
    history = History(list(Survey().run(die, History())))
    surveyed = history.all(KernelSurvey)
    assert surveyed[where(P[2])[0]].defect[where(P[2])[1:]] == Defect.SHORT
    die.g_p[where(P[2])] = die.g_ap[where(P[2])] = 2e-4  # even if it looks healthy now
    _, _, record = run(die, history)
    assert die.applied[where(P[2])] == 0
    assert (record.shorts, record.correct) == (1, 21)


def test_shorts_found_on_the_way_get_no_further_pulse(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    cell = where(P[2])
    die.g_p[cell] = 1 / 10  # breaks down when it is written: 10 mA at the read, 5 mA allowed
    history = History()
    _, _, record = run(die, history)
    assert die.applied[cell] == 1
    assert record.shorts == 1
    die.g_p[cell] = 4e-4
    die.state[cell] = False
    _, _, again = run(die, history)
    assert die.applied[cell] == 1
    assert again.shorts == 1


def test_cells_that_cannot_be_read_are_not_pulsed(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    die.bad[(0, 2)] = [Flag.OVERRANGE] * 50
    _, written, record = run(die)
    row = (CELLS.kernel == 0) & (CELLS.row == 2)
    assert not die.applied[0, 2].any()
    assert record.unreadable == row.sum() == 4
    assert not written.correct[row].any()
    assert written.correct[~row].all()


def test_a_cell_that_conducts_nothing_is_counted_as_open(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    cells = [where(P[0]), where(np.flatnonzero(~TARGET)[0])]
    for cell in cells:
        die.g_p[cell] = die.g_ap[cell] = 1e-9
    _, written, record = run(die)
    assert record.opens == (written.state == CellState.OPEN).sum() == 2
    assert record.correct == len(TARGET) - 2  # the one whose target is AP is no AP either
    assert die.applied[cells[1]] == 0  # and no pulse would make it one


@pytest.mark.parametrize("mode", list(WriteMode))
def test_an_open_cell_is_never_verified_and_never_right(threshold_die: Callable[..., Any], mode: WriteMode) -> None:
    die = threshold_die()
    cell = where(np.flatnonzero(~TARGET)[0])
    die.g_p[cell] = die.g_ap[cell] = 1e-9
    attempts, _, record = run(die, mode=mode)
    of_cell = [(a.kernel == cell[0]) & (a.row == cell[1]) & (a.col == cell[2]) for a in attempts]
    assert not any(a.verified[own].any() for a, own in zip(attempts, of_cell, strict=True))
    assert (record.opens, record.correct) == (1, len(TARGET) - 1)
    if mode is WriteMode.OPEN_LOOP:
        assert sum(own.sum() for own in of_cell) == 1
        assert record.fidelity_blind == (len(TARGET) - 1) / len(TARGET)


def test_what_a_survey_measured_of_the_meters_judges_what_is_open_afterwards(threshold_die: Callable[..., Any]) -> None:
    """A twentieth of G_AP is open, unless the noise of the meters is known, and it is far above that."""
    cell = where(AP[0])
    states = []
    for offset_reads in (0, 4):
        dice, die = np.random.default_rng(4), threshold_die()
        die.g_p[cell] = die.g_ap[cell] = 1e-5
        die.v_switch[cell] = np.inf
        sense = die._sense

        def noisy(operation: Any, sense: Any = sense, dice: Any = dice) -> Reading:
            reading = sense(operation)
            noise = 5e-9 + 2e-9 * dice.standard_normal(reading.current.shape)
            return Reading(reading.current + noise, reading.flag, reading.pulse_flag)

        die._sense = noisy
        survey = Survey(offset_reads=offset_reads)
        history = History(list(survey.run(die, History())))
        surveyed = history.all(KernelSurvey)[cell[0]]
        known = [surveyed.offset, surveyed.noise]
        assert known == pytest.approx([5e-9, 2e-9], rel=0.9) if offset_reads else np.isnan(known).all()
        _, written, record = run(die, history, v_read=0.05)
        states.append((int(written.state[AP[0]]), record.opens))
    assert states == [(CellState.OPEN, 1), (CellState.AP, 0)]


def test_a_reading_that_fails_once_is_repeated(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    die.bad[(0, 2)] = [Flag.INVALID]
    _, _, record = run(die)
    assert (record.fidelity, record.unreadable) == (1.0, 0)
    assert die.sensed[:5] == [5, 2, 5, 3, 1]


def test_budget_counts_over_the_life_of_the_die(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    cell = where(P[0])
    die.v_switch[cell] = np.inf
    history = History()
    rungs = len(WriteVerify().ladder)
    run(die, history, budget=rungs + 3, repair_rounds=0)
    assert die.applied[cell] == rungs
    run(die, history, budget=rungs + 3, v_max=0.62)  # a higher cap is worth another try
    assert die.applied[cell] == rungs + 3
    _, _, record = run(die, history, budget=rungs + 3, v_max=0.64)
    assert die.applied[cell] == rungs + 3
    assert record.gave_up == 1


def test_cut_is_the_one_of_the_cell(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    cell = where(P[0])
    die.g_p[cell], die.g_ap[cell] = 1.9e-4, 0.9e-4  # its P lies below the nominal cut
    _, _, unsurveyed = run(die)
    assert unsurveyed.fidelity < 1
    history = History(list(Survey().run(die, History())))
    _, _, surveyed = run(die, history)
    assert surveyed.fidelity == 1.0


def test_impossible_parameters_are_refused() -> None:
    with pytest.raises(ValidationError, match="whole row"):
        WriteVerify(scheme="grounded")
    with pytest.raises(ValidationError, match=r"v_max 0\.4 V is below v_start 0\.42 V"):
        WriteVerify(v_max=0.4)
    assert WriteVerify().ladder[-1] == 0.6


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"v_step": 1e-12}, "v_step 1e-12 V: at least 1e-09 V expected"),
        ({"v_step": 1e-9}, r"v_step 1e-09 V makes 1.8e\+08 rungs from v_start 0.42 V to v_max 0.6 V; at most 1000"),
        ({"v_max": 1e300}, "at most 1000 expected"),
        ({"aperture": 1e9}, "less than or equal to 100"),
        ({"v_start": 1e-12}, "v_start 1e-12 V and v_step 0.02 V: at least 1e-09 V"),
        ({"v_read": 0.42}, "v_read 0.42 V is not below v_start 0.42 V: reads would write"),
        ({"budget": 10**30}, "less than or equal to 1000000000000"),
        ({"repair_rounds": 10**9}, "less than or equal to 100"),
    ],
)
def test_absurd_parameters_are_refused_at_once(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        WriteVerify(**fields)
    assert len(WriteVerify(v_step=0.18 / 999).ladder) == 1000


def test_a_cell_named_twice_or_off_the_die_is_refused(threshold_die: Callable[..., Any]) -> None:
    twice = Cells.join([Cells.block(0, 0, 0, (2, 3)), Cells.block(0, 1, 2, (1, 2))])
    with pytest.raises(BenchError, match="twice"):
        CellReader(threshold_die().geometry, twice, WriteVerify())
    with pytest.raises(BenchError, match="not on this die"):
        CellReader(threshold_die().geometry, Cells.block(0, 3, 0, (3, 2)), WriteVerify())
