"""Write-verify: read, pulse what is wrong, read everything again, repair what the pulses disturbed.

The unit of work is a region, all cells that have to be right together, because on a passive array writing one
cell half-selects its neighbours: a cell is finished when the whole region has been read after the last pulse.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field, field_validator

from labctl.core.die import Attempts, Die, FlagArray
from labctl.core.units import BoolArray, FloatArray, IntArray
from protocols.bias import Scheme
from protocols.cells import CellReader, Cells
from protocols.known import Known, shorts
from protocols.records import Attempt, Write
from protocols.settings import WriteSettings
from protocols.statistics import binomial_interval


class WriteVerify(WriteSettings):
    """Parameters of write-verify on single cells."""

    repair_rounds: Annotated[
        int,
        Field(ge=0, description="times that cells flipped by disturb are written again (project default 3)"),
    ] = 3

    @field_validator("scheme")
    @classmethod
    def _one_cell_at_a_time(cls, scheme: Scheme) -> Scheme:
        if scheme is Scheme.GROUNDED:
            raise ValueError("'grounded' puts the write voltage on the whole row; cells are written with half or third")
        return scheme


@dataclass(frozen=True, eq=False)
class Written:
    """How the cells of a region ended: n cells, `a` attempts on them, a ladder of k rungs."""

    target: BoolArray
    state: BoolArray
    conductance: FloatArray
    flag: FlagArray
    short: BoolArray
    rung_pulses: IntArray
    rung_failures: IntArray
    pulses: int
    repaired: int
    gave_up: int

    @property
    def correct(self) -> BoolArray:
        """Cells whose read-back is unflagged and equals the target."""
        found: BoolArray = (self.flag == 0) & (self.state == self.target)
        return found


def attempt_record(
    attempts: Attempts, cells: Cells, target: BoolArray, v_read: float, *, solution: int, round_: int
) -> Attempt:
    """Return the attempts on `cells` (those of the plan, in its order) as a table."""
    i = attempts.cell
    kernel, row, col = cells.take(i).at
    last = np.zeros(len(i), np.bool_)
    # the plan verified a cell at its last attempt or never
    last[len(i) - 1 - np.unique(i[::-1], return_index=True)[1]] = True
    return Attempt(
        solution=np.full(len(i), solution),
        round=np.full(len(i), round_),
        kernel=kernel,
        row=row,
        col=col,
        attempt=attempts.attempt,
        target=target[i],
        voltage=attempts.voltage,
        conductance=attempts.current / v_read,
        flag=attempts.flag,
        verified=last & attempts.verified[i],
    )


def write_verify(
    die: Die, known: Known, reader: CellReader, target: BoolArray, settings: WriteVerify, *, solution: int
) -> Iterator[Attempt | Written]:
    """Bring the cells of `reader` to `target`; yield the attempts of every round, and at last how it ended.

    Cells known or found to be shorts get no pulse, nor do cells whose state cannot be read, nor cells out of
    budget. A cell that did not verify on the whole ladder is given up and not tried again in the repair
    rounds.

    Args:
        known: is kept up to date with the pulses spent and the shorts found.
        target: (n,), True is P, in the order of the reader's cells.
    """
    cells, n, rungs = reader.cells, len(reader.cells), settings.ladder
    cut = known.cut[cells.at]
    pulses, failures = np.zeros((2, len(rungs)), np.int64), np.zeros((2, len(rungs)), np.int64)
    gave_up, settled, flipped = (np.zeros(n, np.bool_) for _ in range(3))
    total = 0
    for round_ in range(settings.repair_rounds + 2):
        conductance, flag = reader.read(die)
        readable = flag == 0
        known.short[cells.at] |= shorts(conductance, flag, known.ceiling)
        short = known.short[cells.at]
        with np.errstate(invalid="ignore"):
            state = conductance > cut
        wrong = readable & (state != target) & ~short
        flipped |= wrong & settled
        settled = readable & (state == target)
        budget = settings.budget - known.pulses[cells.at]
        todo = np.flatnonzero(wrong & ~gave_up & (budget > 0))
        if not len(todo) or round_ > settings.repair_rounds:
            break
        chosen = cells.take(todo)
        plan = settings.plan(die.geometry, chosen.at, target[todo], cut[todo], budget[todo])
        attempts = die.program(plan)
        record = attempt_record(attempts, chosen, target[todo], settings.v_read, solution=solution, round_=round_)
        known.add(record)
        gave_up[todo], settled[todo] = ~attempts.verified, attempts.verified
        sound = record.flag == 0
        rung = np.abs(record.voltage[:, None] - rungs).argmin(axis=1)
        np.add.at(pulses, (record.target[sound].astype(np.int64), rung[sound]), 1)
        failed = sound & ~record.verified
        np.add.at(failures, (record.target[failed].astype(np.int64), rung[failed]), 1)
        total += len(record.flag)
        yield record
    yield Written(
        target=target,
        state=state,
        conductance=conductance,
        flag=flag,
        short=short,
        rung_pulses=pulses,
        rung_failures=failures,
        pulses=total,
        repaired=int((flipped & settled).sum()),
        gave_up=int((wrong & ~short).sum()),
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
        width=settings.width,
        v_read=settings.v_read,
        repaired=sum(p.repaired for p in parts),
        gave_up=sum(p.gave_up for p in parts),
        shorts=sum(int(p.short.sum()) for p in parts),
        unreadable=sum(int((p.flag != 0).sum()) for p in parts),
    )
