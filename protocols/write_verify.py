"""Write-verify: read, pulse the wrong cells, read all again, repair the cells that the pulses disturbed.

The unit of work is a region, all cells that have to be right together, because on a passive array writing one
cell half-selects its neighbours: a cell is finished when the whole region has been read after the last pulse. At
the end the other cells of its kernels are read as well: those that flipped are counted and left alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field, field_validator

from labctl.core.die import Die
from labctl.core.operations import Attempts, Flag, FlagArray
from labctl.core.units import BoolArray, FloatArray, IntArray
from protocols.bias import Scheme
from protocols.cell_knowledge import CellKnowledge, last_of
from protocols.cells import CellReader, Cells
from protocols.records import Attempt, Write
from protocols.settings import WriteSettings
from protocols.statistics import binomial_interval


class WriteVerify(WriteSettings):
    """Parameters of write-verify on single cells."""

    repair_rounds: Annotated[
        int,
        Field(ge=0, le=100, description="times that cells flipped by disturb are written again (project default 3)"),
    ] = 3

    @field_validator("scheme")
    @classmethod
    def _one_cell_at_a_time(cls, scheme: Scheme) -> Scheme:
        if scheme is Scheme.GROUNDED:
            raise ValueError("'grounded' puts the write voltage on the whole row; expected half or third")
        return scheme


@dataclass(frozen=True, eq=False)
class Written:
    """Result of write-verify on a region: n cells, a ladder of k rungs; counts of pulses are `[0]` to AP, `[1]` to P.

    Args:
        target, state, conductance, flag, short, is_open: (n,).
        rung_pulses, rung_failures: (2, k), unflagged pulses on cells that can switch, and how many failed.
        stuck_pulses: (2,), pulses on cells that never switched.
        limited_pulses: pulses during which a line was in compliance.
        stuck: cells left wrong that are known not to switch that way.
        flipped_unplaced: other cells of the kernels that changed state.
    """

    target: BoolArray
    state: BoolArray
    conductance: FloatArray
    flag: FlagArray
    short: BoolArray
    is_open: BoolArray
    rung_pulses: IntArray
    rung_failures: IntArray
    stuck_pulses: IntArray
    limited_pulses: int
    pulses: int
    repaired: int
    gave_up: int
    stuck: int
    flipped_unplaced: int

    @property
    def correct(self) -> BoolArray:
        """Cells whose read-back is unflagged and equals the target."""
        correct: BoolArray = (self.flag == 0) & (self.state == self.target)
        return correct


def attempt_record(
    attempts: Attempts, cells: Cells, target: BoolArray, settings: WriteSettings, *, solution: int, round_: int
) -> Attempt:
    """Return the attempts on `cells` (those of the plan, in its order) as a table."""
    i = attempts.cell
    kernel, row, col = cells.take(i).at
    last = np.zeros(len(i), np.bool_)
    # the plan verified a cell at its last attempt or never
    last[last_of(i)] = True
    return Attempt(
        solution=np.full(len(i), solution),
        round=np.full(len(i), round_),
        kernel=kernel,
        row=row,
        col=col,
        attempt=attempts.attempt,
        target=target[i],
        voltage=attempts.voltage,
        width=np.full(len(i), settings.width),
        conductance=attempts.current / settings.v_read,
        flag=attempts.flag,
        pulse_flag=attempts.pulse_flag,
        verified=last & attempts.verified[i],
    )


class _Tally:
    """Counts of pulses of one region: towards AP and P, per rung."""

    def __init__(self, ladder: FloatArray) -> None:
        self.ladder = ladder
        self.pulses, self.failures = np.zeros((2, len(ladder)), np.int64), np.zeros((2, len(ladder)), np.int64)
        self.stuck = np.zeros(2, np.int64)
        self.limited = self.total = 0

    def add(self, record: Attempt, moves: BoolArray) -> None:
        """Count the pulses of `record`; `moves` (a,) says whether the cell of an attempt can switch that way."""
        direction = record.target.astype(np.int64)
        rung = np.abs(record.voltage[:, None] - self.ladder).argmin(axis=1)
        sound = moves & (record.flag == 0) & (record.pulse_flag == 0)
        np.add.at(self.pulses, (direction[sound], rung[sound]), 1)
        failed = sound & ~record.verified
        np.add.at(self.failures, (direction[failed], rung[failed]), 1)
        self.stuck += np.bincount(direction[~moves], minlength=2)
        self.limited += int(((record.pulse_flag & Flag.COMPLIANCE) != 0).sum())
        self.total += len(record.flag)


def write_verify(
    die: Die, known: CellKnowledge, reader: CellReader, target: BoolArray, settings: WriteVerify, *, solution: int
) -> Iterator[Attempt | Written]:
    """Write the cells of `reader` to `target`; yield the attempts of every round, and at last the result.

    Cells known or found to be shorts get no pulse, nor do cells whose state cannot be read, cells out of budget,
    or cells known not to switch in that direction: surveyed open or stuck, or not verified on a whole ladder, now
    or in an earlier solution. The region is read before every round and after the last; then the other cells of its
    kernels, so that the whole of them has been read after the last pulse.

    Args:
        known: is updated with the pulses and reads.
        target: (n,), True is P, in the order of the reader's cells.
    """
    cells, n, tally = reader.cells, len(reader.cells), _Tally(settings.ladder)
    v_max, cut, direction = settings.ladder.max(), known.cut[cells.at], target.astype(np.int64)
    settled, flipped = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    others = reader.others
    if not known.has_read(others.cells.at).all():
        known.update_from_read(others.cells.at, *others.read(die))
    for round_ in range(settings.repair_rounds + 2):
        conductance, flag = reader.read(die)
        known.update_from_read(cells.at, conductance, flag)
        readable, short = flag == 0, known.short[cells.at]
        with np.errstate(invalid="ignore"):
            state = conductance > cut
        wrong = readable & (state != target) & ~short
        flipped |= wrong & settled
        settled = readable & (state == target)
        budget = settings.budget - known.pulses[cells.at]
        stuck = wrong & known.hopeless(cells.at, target, v_max, settings.width)
        todo = np.flatnonzero(wrong & ~stuck & (budget > 0))
        if not len(todo) or round_ > settings.repair_rounds:
            break
        chosen = cells.take(todo)
        plan = settings.plan(die.geometry, chosen.at, target[todo], cut[todo], budget[todo])
        attempts = die.program(plan)
        record = attempt_record(attempts, chosen, target[todo], settings, solution=solution, round_=round_)
        known.add(record)
        settled[todo] = attempts.verified
        hopeless = known.hopeless(chosen.at, target[todo], v_max, settings.width)
        moves = ~hopeless | known.switches[(direction[todo], *chosen.at)]
        tally.add(record, moves[attempts.cell])
        yield record
    yield Written(
        target=target,
        state=state,
        conductance=conductance,
        flag=flag,
        short=short,
        is_open=(flag == 0) & known.is_open(cells.at, conductance),
        rung_pulses=tally.pulses,
        rung_failures=tally.failures,
        stuck_pulses=tally.stuck,
        limited_pulses=tally.limited,
        pulses=tally.total,
        repaired=int((flipped & settled).sum()),
        gave_up=int((wrong & ~short).sum()),
        stuck=int(stuck.sum()),
        flipped_unplaced=int(known.update_from_read(others.cells.at, *others.read(die)).sum()),
    )


def write_record(parts: Sequence[Written], settings: WriteVerify, *, solution: int) -> Write:
    """Return the summary of the regions that hold one solution."""
    cells, correct = sum(len(p.target) for p in parts), sum(int(p.correct.sum()) for p in parts)
    pulses, total = np.sum([p.rung_pulses for p in parts], axis=0), sum(p.pulses for p in parts)
    failures = np.sum([p.rung_failures for p in parts], axis=0)
    tried, failed = pulses.sum(axis=1), failures.sum(axis=1)
    wer = failed / np.maximum(tried, 1)
    interval = binomial_interval(failed, tried)
    return Write(
        solution=solution,
        cells=cells,
        correct=correct,
        fidelity=correct / cells,
        fidelity_interval=binomial_interval(correct, cells),
        pulses=total,
        pulses_per_cell=total / cells,
        wer_to_p=float(wer[1]),
        wer_to_p_interval=interval[1],
        wer_to_ap=float(wer[0]),
        wer_to_ap_interval=interval[0],
        rung=settings.ladder,
        rung_pulses=pulses,
        rung_failures=failures,
        stuck_pulses=np.sum([p.stuck_pulses for p in parts], axis=0),
        limited_pulses=sum(p.limited_pulses for p in parts),
        width=settings.width,
        v_read=settings.v_read,
        repaired=sum(p.repaired for p in parts),
        gave_up=sum(p.gave_up for p in parts),
        stuck=sum(p.stuck for p in parts),
        flipped_unplaced=sum(p.flipped_unplaced for p in parts),
        shorts=sum(int(p.short.sum()) for p in parts),
        unreadable=sum(int((p.flag != 0).sum()) for p in parts),
        opens=sum(int(p.is_open.sum()) for p in parts),
    )
