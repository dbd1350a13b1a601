"""Survey: read, write P, read, write AP, read; every cell gets its own G_P, G_AP and TMR, or a defect.

Without it a cell is judged by the nominal conductances, which a spread of a few percent forgives and an array
of another device size does not. It leaves all cells AP.
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from labctl.core.die import Die, FlagArray, Nominal
from labctl.core.errors import BenchError
from labctl.core.procedure import History, Procedure
from labctl.core.units import BoolArray, FloatArray, Ratio
from protocols.cells import CellReader, Cells
from protocols.known import Known, shorts
from protocols.records import SURVEY, Attempt, Defect, KernelSurvey
from protocols.settings import WriteSettings
from protocols.write_verify import attempt_record


class Survey(WriteSettings, Procedure):
    """Measure every cell of the given kernels in both states and name the defects.

    Each cell that is no short gets at least one pulse in each direction, because the nominal cut may misjudge
    the state in which it was found; a cell that does not verify climbs the whole ladder. The scheme
    `grounded` is allowed: its half-selected cells are written the way they have to go anyway.
    """

    name: ClassVar[str] = "survey"

    kernels: Annotated[
        tuple[int, ...] | None,
        Field(min_length=1, description="kernels to survey, numbered from 0; all if left out"),
    ] = None
    open_below: Annotated[
        Ratio, Field(gt=0, lt=1, description="a cell below this multiple of the nominal G_AP is open")
    ] = 0.1
    tmr_stuck: Annotated[
        Ratio, Field(ge=0, description="a cell whose two conductances differ by less did not switch: stuck")
    ] = 0.05
    tmr_low: Annotated[Ratio, Field(ge=0, description="a cell that switches with a TMR below this is LOW_TMR")] = 0.3

    def run(self, die: Die, history: History) -> Iterator[Attempt | KernelSurvey]:
        """Survey the kernels; yield the attempts of both directions, then one row per kernel.

        Raises:
            BenchError: a kernel is not on the die, or is named twice.
        """
        kernels, cells = self._cells(die)
        known = Known(die, history, self.short_above)
        reader = CellReader(die.geometry, cells, self)
        reads: list[tuple[FloatArray, FlagArray]] = []
        for target in (None, True, False):
            if target is not None:
                record = self._write(die, known, cells, target)
                if record is not None:
                    yield record
            conductance, flag = reader.read(die)
            known.short[cells.at] |= shorts(conductance, flag, known.ceiling)
            reads.append((conductance, flag))
        yield from self._rows(kernels, known, cells, reads, die.geometry.shape[1:])

    def _cells(self, die: Die) -> tuple[tuple[int, ...], Cells]:
        n, *shape = die.geometry.shape
        kernels = tuple(range(n)) if self.kernels is None else self.kernels
        wrong = [k for k in kernels if not 0 <= k < n]
        if wrong:
            raise BenchError(f"survey of kernel {wrong[0]}; the die has {n} (numbered from 0)")
        if len(set(kernels)) != len(kernels):
            raise BenchError(f"survey names a kernel twice: {', '.join(map(str, kernels))}")
        return kernels, Cells.join([Cells.block(k, 0, 0, (shape[0], shape[1])) for k in kernels])

    def _write(self, die: Die, known: Known, cells: Cells, to_p: bool) -> Attempt | None:
        budget = self.budget - known.pulses[cells.at]
        chosen = cells.take(~known.short[cells.at] & (budget > 0))
        n = len(chosen)
        if not n:
            return None
        target = np.full(n, to_p)
        plan = self.plan(
            die.geometry,
            chosen.at,
            target,
            np.full(n, die.nominal.cut),
            self.budget - known.pulses[chosen.at],
        )
        record = attempt_record(die.program(plan), chosen, target, self.v_read, solution=SURVEY, round_=0)
        known.add(record)
        return record

    def _rows(
        self,
        kernels: tuple[int, ...],
        known: Known,
        cells: Cells,
        reads: list[tuple[FloatArray, FlagArray]],
        shape: tuple[int, ...],
    ) -> Iterator[KernelSurvey]:
        (initial, _), (g_p, flag_p), (g_ap, flag_ap) = reads
        short = known.short[cells.at]
        tmr, defect = self.classify(g_p, g_ap, (flag_p | flag_ap) != 0, short, known.nominal)
        for i, kernel in enumerate(kernels):
            part = slice(i * shape[0] * shape[1], (i + 1) * shape[0] * shape[1])
            yield KernelSurvey(
                kernel=kernel,
                g_initial=initial[part].reshape(shape),
                g_p=g_p[part].reshape(shape),
                g_ap=g_ap[part].reshape(shape),
                tmr=tmr[part].reshape(shape),
                defect=defect[part].reshape(shape),
                good=int((defect[part] == Defect.GOOD).sum()),
            )

    def classify(
        self, g_p: FloatArray, g_ap: FloatArray, flagged: BoolArray, short: BoolArray, nominal: Nominal
    ) -> tuple[FloatArray, FlagArray]:
        """Return TMR and `Defect` codes from the (n,) conductances in S after writing P and after writing AP.

        A cell without any conductance has no TMR (NaN).

        Args:
            flagged: reads that cannot be used.
            short: cells already known to be shorts.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            tmr = np.where(g_ap > 0, g_p / g_ap - 1, np.nan)
            cases = [
                (short, Defect.SHORT),
                (flagged | ~np.isfinite(g_p) | ~np.isfinite(g_ap), Defect.UNREADABLE),
                (np.maximum(g_p, g_ap) < self.open_below * nominal.g_ap, Defect.OPEN),
                (~(np.abs(tmr) >= self.tmr_stuck) & (np.sqrt(g_p * g_ap) > nominal.cut), Defect.STUCK_P),
                (~(np.abs(tmr) >= self.tmr_stuck), Defect.STUCK_AP),
                (tmr < self.tmr_low, Defect.LOW_TMR),
            ]
        defect = np.select([c for c, _ in cases], [int(d) for _, d in cases], int(Defect.GOOD))
        return tmr, defect.astype(np.uint8)
