"""Write error rates by trials: a pulse that may switch a cell, a read, a pulse that sets it back, a read, many times.

One cell, direction and voltage is one write plan of a rung, in which the cell is named twice for each trial: the pulse
that sets it back comes first, at a voltage of its own. So limits, journal and bench judge and carry it out as any other
plan; inside an instrument that runs scripts it is a message, without relays, in which the instrument reads, judges and
tells; elsewhere it is the host's loop over the same pulses.

Whoever carries out a plan judges each naming of a cell by itself, so that a cell that turns into a short is pulsed to
the end of its plan. Plans are of `PART` trials for that reason, and a cell gets no other once a read of it was flagged.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, ClassVar, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from labctl.core.bias import Geometry
from labctl.core.die import Die
from labctl.core.errors import BenchError
from labctl.core.operations import Attempts, Flag, WritePlan
from labctl.core.procedure import Procedure
from labctl.core.record import History
from labctl.core.units import BoolArray, FloatArray, Volt
from protocols.bias import Scheme
from protocols.cell_knowledge import CellKnowledge
from protocols.cells import Cells
from protocols.figures import TRIALS
from protocols.records import TRIAL, Attempt, WriteErrorRate
from protocols.settings import WriteSettings
from protocols.write_errors import error_rates
from protocols.write_verify import attempt_record

PART = 16
"""Trials of one plan at most: a cell that turns into a short gets 2 `PART` - 1 more pulses at worst."""


class WriteTrials(WriteSettings, Procedure):
    """Count how many pulses of each voltage of the ladder leave their cell as it was, in both directions."""

    name: ClassVar[str] = "write_trials"
    figures = TRIALS

    cells: Annotated[
        int, Field(ge=1, le=10_000, description="cells of each kernel, evenly spread over those that switch")
    ] = 8
    trials: Annotated[
        int, Field(ge=1, le=1_000_000, description="of each cell, direction and voltage; each takes two pulses")
    ] = 100
    v_back: Annotated[
        Volt | None,
        Field(gt=0, description="of the pulse that sets a cell back before its next trial; v_max if left out"),
    ] = None

    @field_validator("scheme")
    @classmethod
    def _one_cell_at_a_time(cls, scheme: Scheme) -> Scheme:
        if scheme is Scheme.GROUNDED:
            raise ValueError("'grounded' puts the write voltage on the whole row; expected half or third")
        return scheme

    @model_validator(mode="after")
    def _within_the_budget(self) -> Self:
        most = 4 * self.trials * len(self.ladder)
        if most > self.budget:
            raise ValueError(
                f"{self.trials} trials of {len(self.ladder)} voltages in both directions are {most} pulses on a cell; "
                f"expected no more than its budget, {self.budget}"
            )
        return self

    @property
    def back(self) -> Volt:
        """Voltage of the pulses that set a cell back."""
        return self.v_max if self.v_back is None else self.v_back

    def run(self, die: Die, history: History) -> Iterator[Attempt | WriteErrorRate]:
        """Carry out the trials cell by cell; yield the attempts of each plan, and then the rates of all.

        Raises:
            BenchError: the trials of a cell would take it beyond its budget; no cell has had a pulse then.
        """
        known = CellKnowledge(die, history, self.short_above, self.v_read)
        chosen = list(self._chosen(die, known))
        self._require_budget(known, chosen)
        attempts: list[Attempt] = []
        number = 0
        for cell in chosen:
            for target, voltage, trials in self._parts():
                record = self._loop(die, known, cell, target, voltage, trials, number)
                number += trials
                known.add(record)
                attempts.append(record)
                yield record
                if not _left_sound(known, cell, record):
                    break
        yield from error_rates(attempts, known, self)

    def _require_budget(self, known: CellKnowledge, chosen: list[Cells]) -> None:
        """Raise BenchError if the trials of a cell would take it beyond its budget."""
        most = 4 * self.trials * len(self.ladder)
        for cell in chosen:
            had = int(known.pulses[cell.at][0])
            if had + most > self.budget:
                raise BenchError(
                    f"cell {', '.join(str(int(i[0])) for i in cell.at)} has had {had} pulses, and its {most} of these "
                    f"trials would take it beyond its budget, {self.budget}; expected fewer trials or voltages, or a "
                    "larger budget"
                )

    def _parts(self) -> Iterator[tuple[bool, Volt, int]]:
        """Yield the plans of a cell: direction, voltage and number of trials."""
        for target in (True, False):
            for voltage in self.ladder.tolist():
                for begin in range(0, self.trials, PART):
                    yield target, voltage, min(PART, self.trials - begin)

    def _chosen(self, die: Die, known: CellKnowledge) -> Iterator[Cells]:
        """Yield the cells of all kernels, one by one, without shorts and cells that do not switch."""
        for kernel in range(die.geometry.kernels):
            every = Cells.block(kernel, 0, 0, die.geometry.shape[1:])
            towards = [known.hopeless(every.at, np.full(len(every), to_p), self) for to_p in (True, False)]
            able = np.flatnonzero(~known.short[every.at] & ~towards[0] & ~towards[1])
            at = np.unique(np.linspace(0, len(able) - 1, min(self.cells, len(able))).round().astype(np.int64))
            for k in able[at].tolist():
                yield every.take(np.array([k]))

    def loop_plan(
        self, geometry: Geometry, cell: Cells, cut: FloatArray, target: bool, voltage: Volt, trials: int
    ) -> WritePlan:
        """Return `trials` of one cell: pulses that set it back and pulses towards `target`, in turns."""
        n = 2 * trials
        cells = cell.take(np.zeros(n, np.int64))
        towards = np.arange(n) % 2 == 1
        plan = self.plan(
            geometry, cells.at, towards == target, np.broadcast_to(cut, (n,)), np.ones(n, np.int64), rungs=1
        )
        scale = np.where(towards, 1.0, self.back / voltage)
        return replace(plan, write=plan.write.scaled(scale), ladder=np.array([voltage]))

    def _loop(
        self, die: Die, known: CellKnowledge, cell: Cells, target: bool, voltage: Volt, trials: int, number: int
    ) -> Attempt:
        """Carry out `trials` of a cell; return them as attempts, each trial as a solution from `number` on."""
        cut = known.cut[cell.at]
        plan = self.loop_plan(die.geometry, cell, cut, target, voltage, trials)
        made = die.program(plan)
        cells = cell.take(np.zeros(len(plan), np.int64))
        trial = _in_other_state(made, plan, bool(known.in_other_state(cell.at, plan.target[:1])[0]))
        record = attempt_record(made, known, cells, plan.target, trial, self, solution=number, round_=TRIAL)
        given = np.where(made.cell % 2 == 1, voltage, self.back)
        return replace(record, solution=number + made.cell // 2, voltage=given)


def _left_sound(known: CellKnowledge, cell: Cells, record: Attempt) -> bool:
    """Take the last read of a plan on one cell for its state; return whether the cell may be pulsed further.

    It may not once it is a short, a read of it was flagged, or one has told nothing. Reads that stand for a script that
    was lost are UNKNOWN for their pulse alone: they were taken afterwards, and tell the state.
    """
    if not len(record.flag):
        return False
    flag = record.flag & ~np.uint8(Flag.UNKNOWN)
    known.update_from_read(cell.at, record.conductance[-1:], flag[-1:])
    return not (known.short[cell.at].any() or flag.any() or not np.isfinite(record.conductance).all())


def _in_other_state(made: Attempts, plan: WritePlan, first: bool) -> BoolArray:
    """Return (n,), which pulses of a plan on one cell had something to switch, by the read before each.

    Args:
        first: whether the first one had.
    """
    read = np.full(len(plan), np.nan)
    read[made.cell] = np.where(made.flag == 0, made.current, np.nan) / plan.v_read
    with np.errstate(invalid="ignore"):
        before = np.where(np.isnan(read), np.nan, read > plan.cut)
    trial = np.zeros(len(plan), np.bool_)
    trial[0] = first
    trial[1:] = ~np.isnan(before[:-1]) & (before[:-1] != plan.target[1:])
    return trial
