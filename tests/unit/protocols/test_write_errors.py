"""Chance is not a defect: cells are given up by a test, open loop pulses every cell, and error rates count trials."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from labctl.core.operations import Pulse, Reading
from labctl.core.record import History
from protocols.cell_knowledge import CellKnowledge
from protocols.cells import CellReader, Cells
from protocols.records import Attempt, Write, WriteErrorRate
from protocols.survey import Survey
from protocols.write_errors import error_rates
from protocols.write_verify import WriteMode, WriteVerify, write_record, write_verify

CELLS = Cells.join([Cells.block(0, 1, 0, (3, 4)), Cells.block(1, 0, 1, (5, 2))])
N = len(CELLS)
ONE_PULSE = {"v_start": 0.42, "v_max": 0.42}


class Stage:
    """Solutions written one after the other into one die, as a stage does."""

    def __init__(self, die: Any, history: History | None = None, **parameters: Any) -> None:
        self.die, self.settings = die, WriteVerify(**parameters)
        self.known = CellKnowledge(die, history or History(), self.settings.short_above, self.settings.v_read)
        self.reader = CellReader(die.geometry, CELLS, self.settings)
        self.attempts: list[Attempt] = []
        self.solution = 0

    def write(self, target: np.ndarray) -> Write:
        self.solution += 1
        parts = write_verify(self.die, self.known, self.reader, target, self.settings, solution=self.solution)
        *attempts, written = parts
        self.attempts += attempts
        return write_record([written], self.settings, solution=self.solution)

    @property
    def rates(self) -> WriteErrorRate:
        (table,) = error_rates(self.attempts, self.known, self.settings)
        return table


def by_chance(die: Any, p: np.ndarray, seed: int = 4) -> None:
    """Let every pulse switch its cell with the probability `p` of the cell (of the shape of the die)."""
    whole, random = die._pulse, np.random.default_rng(seed)

    def pulse(operation: Pulse) -> Reading:
        parts = []
        for i in range(len(operation)):
            die.v_switch = np.where(random.random(p.shape) < p, 0.4, np.inf)
            parts.append(whole(operation.take(slice(i, i + 1))))
        return Reading.join(parts)

    die._pulse = pulse


def targets(n: int, seed: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).random((n, N)) < 0.5


@pytest.mark.parametrize("mode", WriteMode)
def test_sixty_solutions_with_one_weak_pulse_keep_their_fidelity(
    threshold_die: Callable[..., Any], mode: WriteMode
) -> None:
    die = threshold_die()
    p = np.full(die.geometry.shape, 0.9)
    p[0, 2], p[1, 3, 1] = 0.6, 0.0  # a weak row, and a cell that is stuck
    by_chance(die, p)
    stage = Stage(die, mode=mode, repair_rounds=0, **ONE_PULSE)
    writes = [stage.write(target) for target in targets(60)]
    fidelity = np.array([w.fidelity for w in writes])
    assert fidelity[40:].mean() > fidelity[:20].mean() - 0.03
    assert fidelity.mean() > 0.85
    assert max(w.stuck for w in writes) == 1  # the stuck cell and no other
    assert writes[-1].stuck_pulses.sum() <= 1


def test_a_stuck_cell_is_given_up_after_as_many_pulses_as_refute_it(threshold_die: Callable[..., Any]) -> None:
    for p_switch, pulses in ((0.5, 10), (0.9, 3), (0.99, 2)):
        die = threshold_die()
        die.v_switch[1, 3, 1] = np.inf
        stage = Stage(die, repair_rounds=0, p_switch=p_switch, **ONE_PULSE)
        for _ in range(12):
            record = stage.write(np.ones(N, np.bool_))
        assert die.applied[1, 3, 1] == pulses
        assert (record.stuck, record.pulses) == (1, 0)
    with pytest.raises(ValidationError, match="less than 1"):
        WriteVerify(p_switch=1.0)


def test_one_unlucky_ladder_convicts_nobody(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    die.v_switch[1, 3, 1] = np.inf
    stage, everywhere = Stage(die, repair_rounds=0), np.ones(N, np.bool_)
    assert (stage.write(everywhere).gave_up, stage.write(everywhere).stuck) == (1, 1)
    assert die.applied[1, 3, 1] == 20
    # one that switched in between begins anew
    die = threshold_die()
    die.v_switch[1, 3, 1] = np.inf
    stage = Stage(die, repair_rounds=0)
    stage.write(everywhere)
    die.v_switch[1, 3, 1] = 0.4
    assert stage.write(everywhere).fidelity == 1.0
    stage.write(~everywhere)
    die.v_switch[1, 3, 1] = np.inf
    assert stage.write(everywhere).stuck == 0


def test_only_ladders_of_the_same_height_and_width_add_up(threshold_die: Callable[..., Any]) -> None:
    die, cell, to_p = threshold_die(), (np.array([1]), np.array([3]), np.array([1])), np.array([True])
    die.v_switch[1, 3, 1] = np.inf
    history = History()

    def fail(**parameters: Any) -> CellKnowledge:
        stage = Stage(die, history, repair_rounds=0, **parameters)
        stage.write(np.ones(N, np.bool_))
        for attempt in stage.attempts:
            history.add(attempt)
        return CellKnowledge(die, history, 4.0, 0.1)

    def given_up(known: CellKnowledge, **parameters: Any) -> bool:
        return bool(known.hopeless(cell, to_p, WriteVerify(**parameters))[0])

    for _ in range(9):
        known = fail(**ONE_PULSE)
    assert not given_up(known, **ONE_PULSE)
    known = fail(v_start=0.44, v_max=0.44)  # nine weaker pulses say nothing of a stronger one
    assert not given_up(known, v_start=0.44, v_max=0.44)
    known = fail(**ONE_PULSE)  # and a weaker one now changes nothing
    for _ in range(8):
        known = fail(v_start=0.44, v_max=0.44)
    assert not given_up(known, v_start=0.44, v_max=0.44)
    known = fail(v_start=0.44, v_max=0.44)
    assert given_up(known, v_start=0.44, v_max=0.44)
    assert given_up(known, **ONE_PULSE)  # what does not switch at 440 mV does not at 420 mV
    assert not given_up(known, v_start=0.44, v_max=0.44, width=2e-3)
    assert not given_up(known)  # up to 600 mV
    assert not known.hopeless(cell, ~to_p, WriteVerify(**ONE_PULSE))[0]


def test_open_loop_pulses_every_cell_and_reads_none_of_them_before(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    target = targets(1)[0]
    die.state[CELLS.at] = target  # all right already
    stage = Stage(die, mode="open_loop")
    record = stage.write(target)
    assert (die.applied[CELLS.at] == 1).all()
    assert die.applied.sum() == N == record.pulses
    assert die.sensed == [5, 2, 5, 3, 5, 2]  # the others, then after the pulses the placed cells, then the others
    assert record.fidelity == record.fidelity_blind == 1.0
    assert record.rung.tolist() == [0.42]
    assert not stage.attempts[0].trial.any()  # nobody knew what the cells were
    assert (record.rung_pulses.sum(), record.wer_to_p_interval.tolist()) == (0, [0.0, 1.0])


def test_open_loop_tells_blind_and_verified_fidelity(threshold_die: Callable[..., Any]) -> None:
    die, target = threshold_die(), targets(1)[0]
    stiff = tuple(int(axis[np.flatnonzero(target)[2]]) for axis in CELLS.at)
    die.v_switch[stiff] = 0.45
    blind = Stage(die, mode="open_loop").write(target)
    assert blind.fidelity == blind.fidelity_blind == pytest.approx((N - 1) / N)
    assert blind.fidelity_blind_interval[0] < blind.fidelity_blind < blind.fidelity_blind_interval[1]
    assert (blind.gave_up, blind.stuck, blind.pulses) == (1, 0, N)
    die.disturb = {die.pulses + N: (0, 1, 0)}  # the last blind pulse flips a cell that was right
    repaired = Stage(die, mode="open_loop", repair_rounds=2)
    record = repaired.write(target)
    assert record.fidelity_blind == pytest.approx((N - 2) / N)
    assert (record.fidelity, record.repaired, record.gave_up) == (1.0, 1, 0)
    assert [len(a.flag) for a in repaired.attempts] == [N, 4]  # 420, 440, 460 mV, and 420 mV for the other
    assert [int(a.round[0]) for a in repaired.attempts] == [0, 1]
    assert len(record.rung) == 10


def test_open_loop_spares_shorts_and_cells_out_of_budget(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    die.g_p[0, 2, 1] = die.g_ap[0, 2, 1] = 1 / 150
    die.v_switch[1, 1, 1] = np.inf
    history = History(list(Survey().run(die, History())))
    before = die.applied.copy()
    stage = Stage(die, history, mode="open_loop", budget=int(before[CELLS.at].max()) + 1)
    record = stage.write(np.ones(N, np.bool_))
    given = (die.applied - before)[CELLS.at]
    assert (given.sum(), die.applied[0, 2, 1] - before[0, 2, 1]) == (N - 1, 0)
    assert die.applied[1, 1, 1] == before[1, 1, 1] + 1  # stuck as surveyed, pulsed like every other
    assert (record.shorts, record.stuck, record.stuck_pulses.tolist()) == (1, 1, [0, 1])
    assert record.wer_to_p == 0.0
    assert stage.write(np.ones(N, np.bool_)).pulses == N - 2


def test_a_good_pulse_on_a_cell_that_was_right_is_no_proof_that_it_switches(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    die.v_switch[1, 3, 1] = np.inf  # stuck in AP
    stage = Stage(die, mode="open_loop")
    for k in range(24):
        stage.write(np.full(N, k % 2 == 0))
    assert not stage.known.switches[:, 1, 3, 1].any()
    assert stage.known.switches[1][CELLS.at].sum() == N - 1
    assert stage.known.hopeless(tuple(np.array([i]) for i in (1, 3, 1)), np.array([True]), stage.settings)[0]


def test_rates_are_by_kernel_direction_and_voltage(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    die.v_switch[0, 2, 1] = 0.47  # 420, 440, 460 fail
    die.v_switch[1, 3, 1] = np.inf  # never switched: in no rate, not even before it was given up
    stage, up = Stage(die, repair_rounds=0), np.ones(N, np.bool_)
    for target in (up, ~up, up):
        record = stage.write(target)
    rates = stage.rates
    keys = rates.kernel, rates.target, rates.first, rates.voltage
    rows = list(zip(*keys, rates.cells, rates.pulses, rates.failures, strict=True))
    assert rows == [
        (0, False, True, 0.42, 12, 12, 1), (0, False, False, 0.44, 1, 1, 1), (0, False, False, 0.46, 1, 1, 1),
        (0, False, False, 0.48, 1, 1, 0), (0, True, True, 0.42, 12, 24, 2), (0, True, False, 0.44, 1, 2, 2),
        (0, True, False, 0.46, 1, 2, 2), (0, True, False, 0.48, 1, 2, 0),
        (1, False, True, 0.42, 9, 9, 0), (1, True, True, 0.42, 9, 18, 0),
    ]  # fmt: skip
    np.testing.assert_allclose(rates.wer, rates.failures / rates.pulses)
    assert ((rates.wer_low <= rates.wer) & (rates.wer <= rates.wer_high)).all()
    assert (rates.width == 1e-3).all()
    assert record.stuck_pulses.tolist() == [0, 10]
    assert list(error_rates([], stage.known, stage.settings)) == []


def test_a_pulse_that_repairs_is_no_first_pulse(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    stage = Stage(die, mode="open_loop", repair_rounds=1)
    stage.write(np.zeros(N, np.bool_))
    die.v_switch[0, 2, 1] = 0.43  # its blind pulse fails, and so does the first rung of its repair
    assert stage.write(np.ones(N, np.bool_)).fidelity == 1.0
    rates = stage.rates
    rows = list(zip(rates.kernel, rates.first, rates.voltage, rates.pulses, rates.failures, strict=True))
    assert rows == [(0, True, 0.42, 12, 1), (0, False, 0.42, 1, 1), (0, False, 0.44, 1, 0), (1, True, 0.42, 10, 0)]


def test_what_was_flagged_or_limited_is_in_no_rate(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die()
    die.g_p[0, 2, 1] = die.g_ap[0, 2, 1] = 1 / 40  # a short: every pulse of its lines meets compliance
    stage = Stage(die, mode="open_loop")
    die.state[:] = True
    stage.write(np.ones(N, np.bool_))
    record = stage.write(np.zeros(N, np.bool_))
    limited = (CELLS.kernel == 0) & ((CELLS.row == 2) | (CELLS.col == 1))
    assert record.rung_pulses.sum() == N - limited.sum()
    assert stage.rates.pulses.tolist() == [12 - limited.sum(), 10]


def test_the_settings_of_an_open_loop() -> None:
    assert (WriteVerify().rounds, WriteVerify(mode="open_loop").rounds) == (3, 0)
    assert len(WriteVerify(mode="open_loop", repair_rounds=1).ladder) == len(WriteVerify().ladder) == 10
    with pytest.raises(ValidationError, match="'verify' or 'open_loop'"):
        WriteVerify(mode="blind")
