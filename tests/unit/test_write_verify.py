"""Write-verify: pulses only what is wrong, repairs what flipped, gives up within bounds, counts honestly."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from labctl.core.die import Flag
from labctl.core.errors import BenchError
from labctl.core.procedure import History
from protocols.cells import CellReader, Cells
from protocols.known import Known
from protocols.records import Attempt, Defect, KernelSurvey, Write
from protocols.survey import Survey
from protocols.write_verify import WriteVerify, Written, write_record, write_verify

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
    known = Known(die, history, settings.short_above)
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
    assert die.sensed == [5, 3]  # five rows of two columns, three rows of four


def test_stiff_cells_climb_and_stuck_ones_are_given_up(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    die.v_switch[where(P[0])], die.v_switch[where(P[1])] = 0.47, np.inf
    attempts, written, record = run(die, v_start=0.42, v_max=0.54, v_step=0.02)
    assert die.applied[where(P[0])] == 4  # 420, 440, 460, 480 mV
    assert die.applied[where(P[1])] == 7
    assert len(attempts) == 1  # no repair round for a cell that was given up
    assert (record.correct, record.gave_up) == (21, 1)
    assert record.fidelity == pytest.approx(21 / 22)
    np.testing.assert_array_equal(record.rung_failures[1], [2, 2, 2, 1, 1, 1, 1])
    np.testing.assert_array_equal(record.rung_pulses[1], [len(P), 2, 2, 2, 1, 1, 1])
    assert record.wer_to_p == pytest.approx(10 / (len(P) + 9))
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


def test_a_reading_that_fails_once_is_repeated(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    die.bad[(0, 2)] = [Flag.INVALID]
    _, _, record = run(die)
    assert (record.fidelity, record.unreadable) == (1.0, 0)
    assert die.sensed[:3] == [5, 3, 1]


def test_budget_counts_over_the_life_of_the_die(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    cell = where(P[0])
    die.v_switch[cell] = np.inf
    history = History()
    rungs = len(WriteVerify().ladder)
    run(die, history, budget=rungs + 3)
    assert die.applied[cell] == rungs
    run(die, history, budget=rungs + 3)
    assert die.applied[cell] == rungs + 3
    _, _, record = run(die, history, budget=rungs + 3)
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


def test_a_cell_named_twice_or_off_the_die_is_refused(threshold_die: Callable[..., Any]) -> None:
    twice = Cells.join([Cells.block(0, 0, 0, (2, 3)), Cells.block(0, 1, 2, (1, 2))])
    with pytest.raises(BenchError, match="twice"):
        CellReader(threshold_die().geometry, twice, WriteVerify())
    with pytest.raises(BenchError, match="not on this die"):
        CellReader(threshold_die().geometry, Cells.block(0, 3, 0, (3, 2)), WriteVerify())
