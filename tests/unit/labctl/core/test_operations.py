"""The host loop of write-verify: a cell is judged by its own read, whatever its line went through."""

from typing import Any

import numpy as np
import pytest

from labctl.core.bias import Geometry, Nominal
from labctl.core.operations import Attempts, Flag, Pulse, Reading, Sense
from labctl.core.write_loop import program_by_host
from labctl.execution.nominal_die import NominalDie
from protocols.settings import WriteSettings

GEOMETRY = Geometry(2, 5, 4)
CELLS = np.array([0, 0, 1]), np.array([1, 4, 2]), np.array([3, 0, 1])
TARGET = np.array([True, True, True])


class Flagging(NominalDie):
    """A nominal die that flags the cell in row 4: its pulses, its reads, and loses the value on request."""

    def __init__(self, pulse: Flag, read: Flag, *, works: bool = True) -> None:
        super().__init__(GEOMETRY, Nominal.alike(4e-4, 2e-4, 2), timing=len)
        self.flags, self.works = np.array([pulse, read], np.uint8), works
        self.batches: list[int] = []

    def _pulse(self, pulse: Pulse) -> Reading:
        self.batches.append(len(pulse))
        reading = super()._pulse(pulse)
        hit = pulse.bias.pulsed == 4
        if not self.works:
            self.state[0, 4, 0] = False
            reading.current[hit] = 0.1 * self.nominal.g_ap(0)
        reading.pulse_flag[hit] |= self.flags[0]
        reading.flag[hit] |= self.flags[1]
        return reading


def program(die: Any, **changes: Any) -> Attempts:
    budget = changes.pop("budget", 50)
    settings = WriteSettings(v_start=0.4, v_max=0.5, v_step=0.05, **changes)
    return program_by_host(
        die, settings.plan(GEOMETRY, CELLS, TARGET, np.full(3, die.nominal.cut(0)), np.full(3, budget))
    )


def test_compliance_in_the_pulse_is_noted_and_the_read_decides() -> None:
    attempts = program(Flagging(Flag.COMPLIANCE, Flag(0)))
    assert attempts.verified.all()
    assert not attempts.short.any()
    assert attempts.pulse_flag.tolist() == [0, Flag.COMPLIANCE, 0]
    assert not attempts.flag.any()


def test_the_ladder_goes_on_while_a_line_is_in_compliance() -> None:
    die = Flagging(Flag.COMPLIANCE, Flag(0), works=False)
    attempts = program(die)
    assert die.batches == [3, 1, 1]
    assert attempts.verified.tolist() == [True, False, True]
    assert not attempts.short.any()
    np.testing.assert_allclose(attempts.voltage[attempts.cell == 1], [0.4, 0.45, 0.5])


@pytest.mark.parametrize("flag", [Flag.COMPLIANCE, Flag.OVERRANGE, Flag.INVALID])
def test_a_cell_whose_read_is_flagged_gets_no_further_pulse(flag: Flag) -> None:
    die = Flagging(Flag(0), flag)
    attempts = program(die)
    assert die.batches == [3]
    assert attempts.verified.tolist() == [True, False, True]
    assert attempts.short.tolist() == [False, bool(flag & Flag.COMPLIANCE), False]


class Losing(Flagging):
    """A die that loses the verify reads of the cell in row 4; on request without its pulse, or failing its reads."""

    def __init__(self, *, works: bool, reads: Flag = Flag(0)) -> None:
        super().__init__(Flag.UNKNOWN, Flag.UNKNOWN, works=works)
        self.senses: list[int] = []
        self.read = reads

    def _pulse(self, pulse: Pulse) -> Reading:
        reading = super()._pulse(pulse)
        reading.current[reading.flag != 0] = np.nan
        return reading

    def _sense(self, sense: Sense) -> Reading:
        self.senses.append(len(sense))
        reading = super()._sense(sense)
        reading.flag[:] = self.read
        return reading


def test_a_lost_read_is_taken_again_before_any_further_pulse() -> None:
    die = Losing(works=True)
    attempts = program(die)
    assert (die.batches, die.senses) == ([3], [1])
    assert attempts.verified.all()
    assert attempts.pulse_flag.tolist() == [0, Flag.UNKNOWN, 0]
    assert not attempts.flag.any()


def test_a_lost_pulse_counts_and_the_ladder_goes_on_from_what_the_cell_reads() -> None:
    for budget, batches in ((2, [3, 1]), (50, [3, 1, 1]), (0, [])):
        die = Losing(works=False)
        attempts = program(die, budget=budget)
        assert (die.batches, die.senses) == (batches, [1] * len(batches))
        assert not attempts.verified[1]
        assert len(attempts.cell) == sum(batches)


def test_a_cell_that_cannot_be_read_after_a_lost_read_gets_no_further_pulse() -> None:
    for flag in (Flag.UNKNOWN, Flag.INVALID, Flag.COMPLIANCE):
        die = Losing(works=False, reads=flag)
        attempts = program(die)
        assert (die.batches, die.senses) == ([3], [1])
        assert attempts.flag.tolist() == [0, flag, 0]
        assert attempts.short.tolist() == [False, flag is Flag.COMPLIANCE, False]


@pytest.mark.parametrize(
    ("lost", "read_again", "unfinished"),
    [(1, True, False), (3, True, False), (1, False, False), (3, False, True), (0, False, False)],
)
def test_a_ladder_has_failed_unless_its_last_attempt_was_lost(lost: int, read_again: bool, unfinished: bool) -> None:
    settings = WriteSettings(v_start=0.4, v_max=0.5, v_step=0.05)
    at = tuple(index[:1] for index in CELLS)
    plan = settings.plan(GEOMETRY, at, TARGET[:1], np.full(1, 3e-4), np.full(1, 50))
    cell, attempt = np.zeros(3, np.int64), np.array([1, 2, 3])
    pulse_flag = np.where(attempt == lost, Flag.UNKNOWN, 0).astype(np.uint8)
    flag = np.zeros(3, np.uint8) if read_again else pulse_flag
    wrong = np.zeros(1, np.bool_)
    made = Attempts(cell, attempt, plan.ladder, np.full(3, 2e-5), flag, pulse_flag, wrong, wrong)
    if made.lost.any():
        made = made.judged(plan, np.array([0]), Reading(np.full((1, 1), 2e-5), np.zeros((1, 1), np.uint8), flag[:1]))
    assert made.unfinished(plan).tolist() == [unfinished]


def test_a_reading_at_the_end_of_a_range_is_one_and_a_lost_one_is_none():
    flag = np.array([[0, Flag.COMPLIANCE, Flag.OVERRANGE, Flag.INVALID, Flag.UNKNOWN, 0]], np.uint8)
    current = np.array([[1e-6, 1e-6, 1e-3, 1e-6, 1e-6, np.nan]])
    assert Reading(current, flag, np.zeros(1, np.uint8)).valid.tolist() == [[True, True, True, False, False, False]]
