"""Write-verify: read, pulse the wrong cells, read all again, repair the cells that the pulses disturbed.

In open loop every cell gets one pulse instead, right or wrong, and what that came to is read afterwards.

The unit of work is a region, all cells that have to be right together, because on a passive array writing one
cell half-selects its neighbours: a cell is finished when the whole region has been read after the last pulse. At
the end the other cells of its kernels are read as well: those that flipped are counted and left alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import numpy as np
from pydantic import Field, field_validator

from labctl.core.cell_state import CellState, CellStateArray
from labctl.core.die import Die
from labctl.core.operations import Attempts, FlagArray
from labctl.core.units import BoolArray, FloatArray, IntArray
from protocols.bias import Scheme
from protocols.cell_knowledge import CellKnowledge, last_of
from protocols.cells import CellReader, Cells
from protocols.records import Attempt, Write
from protocols.settings import WriteSettings
from protocols.statistics import binomial_interval, cluster_interval
from protocols.write_errors import PulseCounts, can_switch


class WriteMode(StrEnum):
    """How cells are written first."""

    VERIFY = "verify"
    """they are read, and those that are wrong climb the ladder until they verify"""
    OPEN_LOOP = "open_loop"
    """each gets one pulse of the first rung, right or wrong, and nothing is read before"""


class WriteVerify(WriteSettings):
    """Parameters of writing single cells, by write-verify or in open loop."""

    mode: Annotated[
        WriteMode,
        Field(
            description="verify: cells that read wrong climb the ladder until they verify; open_loop: every cell gets "
            "one pulse of v_start and nothing is read before, which gives the blind fidelity"
        ),
    ] = WriteMode.VERIFY
    repair_rounds: Annotated[
        int | None,
        Field(
            ge=0,
            le=100,
            description="times that cells which are still wrong, or were flipped by disturb, are written again by "
            "write-verify (project default 3; in open loop 0: they stay as their one pulse left them)",
        ),
    ] = None

    @field_validator("scheme")
    @classmethod
    def _one_cell_at_a_time(cls, scheme: Scheme) -> Scheme:
        if scheme is Scheme.GROUNDED:
            raise ValueError("'grounded' puts the write voltage on the whole row; expected half or third")
        return scheme

    @property
    def rounds(self) -> int:
        """Repair rounds."""
        if self.repair_rounds is None:
            return 0 if self.mode is WriteMode.OPEN_LOOP else 3
        return self.repair_rounds

    @property
    def ladder(self) -> FloatArray:
        """(k,) V, every voltage that a cell may be pulsed with: in open loop without repair rounds `v_start` alone."""
        ladder = super().ladder
        return ladder[:1] if self.mode is WriteMode.OPEN_LOOP and not self.rounds else ladder


@dataclass(frozen=True, eq=False)
class Written:
    """Result of writing a region of n cells.

    Args:
        target, state, conductance, flag, short: (n,); codes of `CellState`.
        counts: of the pulses.
        correct_blind: cells that were right after one pulse each in open loop; None if they were not written so.
        stuck: cells left wrong that are known not to switch that way.
        flipped_unplaced: other cells of the kernels that changed state.
    """

    target: BoolArray
    state: CellStateArray
    conductance: FloatArray
    flag: FlagArray
    short: BoolArray
    counts: PulseCounts
    correct_blind: int | None
    repaired: int
    gave_up: int
    stuck: int
    flipped_unplaced: int

    @property
    def correct(self) -> BoolArray:
        """Cells whose read-back equals the target: neither open nor flagged."""
        correct: BoolArray = self.state == self.target
        return correct


def attempt_record(
    attempts: Attempts,
    known: CellKnowledge,
    cells: Cells,
    target: BoolArray,
    trial: BoolArray,
    settings: WriteSettings,
    *,
    solution: int,
    round_: int,
) -> Attempt:
    """Return the attempts on the n `cells` of a plan, in its order, as a table; an open cell is never verified.

    Args:
        target: (n,), True is P.
        trial: (n,), last read in the other state.
    """
    i = attempts.cell
    kernel, row, col = cells.take(i).at
    last = np.zeros(len(i), np.bool_)
    # the plan verified a cell at its last attempt or never
    last[last_of(i)] = True
    conductance = attempts.current / settings.v_read
    opened = known.states_of((kernel, row, col), conductance, attempts.flag) == CellState.OPEN
    return Attempt(
        solution=np.full(len(i), solution),
        round=np.full(len(i), round_),
        kernel=kernel,
        row=row,
        col=col,
        attempt=attempts.attempt,
        target=target[i],
        trial=trial[i],
        voltage=attempts.voltage,
        width=np.full(len(i), settings.width),
        conductance=conductance,
        flag=attempts.flag,
        pulse_flag=attempts.pulse_flag,
        verified=last & attempts.verified[i] & ~opened,
    )


def write_verify(
    die: Die, known: CellKnowledge, reader: CellReader, target: BoolArray, settings: WriteVerify, *, solution: int
) -> Iterator[Attempt | Written]:
    """Write the cells of `reader` to `target`; yield the attempts of every round, and at last the result.

    In open loop, every cell that is no known short gets one pulse first. Then, and otherwise from the beginning, cells
    known or found to be shorts get no pulse, nor do cells whose state cannot be read, open cells that have to be AP,
    cells out of budget, or cells that are given up in that direction (`CellKnowledge.hopeless`), now or in an earlier
    solution. The region is read
    before every round and after the last; then the other cells of its kernels, so that the whole of them has been read
    after the last pulse.

    Args:
        known: is updated with the pulses and reads.
        target: (n,), True is P, in the order of the reader's cells.
    """
    cells, n = reader.cells, len(reader.cells)
    cut, blind = known.cut[cells.at], settings.mode is WriteMode.OPEN_LOOP
    settled, flipped = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    done: list[tuple[Attempt, IntArray]] = []
    correct_blind: int | None = None

    def pulse(pending: IntArray, round_: int, rungs: int | None = None) -> Attempt:
        """Write the cells `pending` and read each back; return the attempts."""
        chosen, wanted = cells.take(pending), target[pending]
        trial = known.in_other_state(chosen.at, wanted)
        budget = settings.budget - known.pulses[chosen.at]
        attempts = die.program(settings.plan(die.geometry, chosen.at, wanted, cut[pending], budget, rungs=rungs))
        record = attempt_record(attempts, known, chosen, wanted, trial, settings, solution=solution, round_=round_)
        known.add(record)
        settled[pending] = False
        settled[pending[attempts.cell[record.verified]]] = True
        done.append((record, pending[attempts.cell]))
        return record

    others = reader.others
    if not known.has_read(others.cells.at).all():
        known.update_from_read(others.cells.at, *others.read(die))
    if blind:
        pending = np.flatnonzero(~known.short[cells.at] & (known.pulses[cells.at] < settings.budget))
        if len(pending):
            yield pulse(pending, 0, rungs=1)
    for round_ in range(int(blind), settings.rounds + 2):
        conductance, flag = reader.read(die)
        known.update_from_read(cells.at, conductance, flag)
        state, short = known.states_of(cells.at, conductance, flag), known.short[cells.at]
        wrong = (state != CellState.UNREADABLE) & (state != target) & ~short
        flipped |= wrong & settled
        settled = state == target
        if blind and correct_blind is None:
            correct_blind = int(settled.sum())
        stuck = wrong & known.hopeless(cells.at, target, settings)
        movable = wrong & ~stuck & ~((state == CellState.OPEN) & ~target)
        pending = np.flatnonzero(movable & (known.pulses[cells.at] < settings.budget))
        if not len(pending) or round_ > settings.rounds:
            break
        yield pulse(pending, round_)
    counts = PulseCounts(settings.ladder, n)
    for record, cell in done:
        counts.add(record, cell, can_switch(known, record, settings))
    yield Written(
        target=target,
        state=state,
        conductance=conductance,
        flag=flag,
        short=short,
        counts=counts,
        correct_blind=correct_blind,
        repaired=int((flipped & settled).sum()),
        gave_up=int((wrong & ~short).sum()),
        stuck=int(stuck.sum()),
        flipped_unplaced=int(known.update_from_read(others.cells.at, *others.read(die)).sum()),
    )


def write_record(parts: Sequence[Written], settings: WriteVerify, *, solution: int) -> Write:
    """Return the summary of the regions that hold one solution."""
    counts = [p.counts for p in parts]
    cells, correct = sum(len(p.target) for p in parts), sum(int(p.correct.sum()) for p in parts)
    blind = [p.correct_blind for p in parts if p.correct_blind is not None]
    total = sum(c.total for c in counts)
    tried = np.concatenate([c.cell_pulses for c in counts], axis=1)
    failed = np.concatenate([c.cell_failures for c in counts], axis=1)
    wer = failed.sum(axis=1) / np.maximum(tried.sum(axis=1), 1)
    return Write(
        solution=solution,
        cells=cells,
        correct=correct,
        fidelity=correct / cells,
        fidelity_interval=binomial_interval(correct, cells),
        fidelity_blind=sum(blind) / cells if blind else np.nan,
        fidelity_blind_interval=binomial_interval(sum(blind), cells) if blind else np.full(2, np.nan),
        pulses=total,
        pulses_per_cell=total / cells,
        wer_to_p=float(wer[1]),
        wer_to_p_interval=cluster_interval(failed[1], tried[1]),
        wer_to_ap=float(wer[0]),
        wer_to_ap_interval=cluster_interval(failed[0], tried[0]),
        rung=settings.ladder,
        rung_pulses=np.sum([c.rung_pulses for c in counts], axis=0),
        rung_failures=np.sum([c.rung_failures for c in counts], axis=0),
        stuck_pulses=np.sum([c.stuck for c in counts], axis=0),
        limited_pulses=sum(c.limited for c in counts),
        width=settings.width,
        v_read=settings.v_read,
        repaired=sum(p.repaired for p in parts),
        gave_up=sum(p.gave_up for p in parts),
        stuck=sum(p.stuck for p in parts),
        flipped_unplaced=sum(p.flipped_unplaced for p in parts),
        shorts=sum(int(p.short.sum()) for p in parts),
        unreadable=sum(int((p.flag != 0).sum()) for p in parts),
        opens=sum(int((p.state == CellState.OPEN).sum()) for p in parts),
    )
