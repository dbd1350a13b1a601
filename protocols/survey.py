"""Survey: read, write P, read, write AP, read; gives G_P, G_AP and TMR of every cell, or its defect.

Without it a cell is judged by the nominal conductances, which a spread of a few percent forgives and an array
of another device size does not. It leaves all cells AP.

A cell is judged against itself: one whose two conductances are the same has either verified by the nominal cut
without switching, or does not switch. It is pulsed up the ladder a second time in both directions, and then verifies
only by a change of its own conductance. Compliance during its pulses is evidence about its line: lines on which most
pulses met it are named, and a cell of such a line that did not switch is classified as not reached instead of stuck.
So is every cell that did not switch, if two ladders have too few pulses to refute that each switches it with
`p_switch`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from labctl.core.bias import Nominal
from labctl.core.cell_state import OPEN_BELOW, is_open
from labctl.core.defects import Defect
from labctl.core.die import Die
from labctl.core.errors import BenchError
from labctl.core.operations import Flag, FlagArray, Sense, has_no_value
from labctl.core.procedure import Procedure
from labctl.core.record import History
from labctl.core.units import BoolArray, FloatArray, Ratio, Siemens
from protocols.bias import read_bias
from protocols.cell_knowledge import CellKnowledge
from protocols.cells import CellReader, Cells
from protocols.figures import SURVEY_FIGURES, SURVEY_PICTURES
from protocols.records import SURVEY, Attempt, InferenceMap, KernelSurvey, Line
from protocols.settings import InferenceReadSettings, WriteSettings
from protocols.statistics import refuted
from protocols.write_verify import attempt_record

LINE_SHARE = 0.5
"""Share of the pulsed cells of a line in compliance from which it is attributed to the line, not to a cell."""


class Survey(WriteSettings, Procedure):
    """Measure every cell of the given kernels in both states and name the defects.

    Each cell that is no short gets at least one pulse in each direction, because the nominal cut may misjudge
    its initial state; a cell that does not verify climbs the whole ladder, also one that an earlier survey
    classified as stuck, because a survey measures anew; one that did not change climbs once more in both
    directions before it is classified as stuck. The scheme `grounded` is allowed: its half-selected cells are
    written in the direction in which they have to be written anyway.
    """

    name: ClassVar[str] = "survey"
    figures = SURVEY_FIGURES
    pictures = SURVEY_PICTURES

    kernels: Annotated[
        tuple[int, ...] | None,
        Field(min_length=1, description="kernels to survey, numbered from 0; all if left out"),
    ] = None
    open_below: Annotated[
        Ratio, Field(gt=0, lt=1, description="a cell below this multiple of the nominal G_AP is open")
    ] = OPEN_BELOW
    offset_reads: Annotated[
        int,
        Field(
            ge=0,
            le=1000,
            description="reads at 0 V of the cells that would be open: one that conducts 5 standard deviations more "
            "than their mean is not; 0: its conductance alone decides",
        ),
    ] = 0
    tmr_stuck: Annotated[
        Ratio,
        Field(ge=0, description="a cell with less than this multiple of the nominal TMR, either way, did not switch"),
    ] = 0.1
    tmr_low: Annotated[
        Ratio, Field(ge=0, description="a cell that switches with less than this multiple of the nominal TMR: LOW_TMR")
    ] = 0.5
    inference: Annotated[
        InferenceReadSettings | None,
        Field(description="how inference will read, if not as the survey does: all cells are mapped that way, too"),
    ] = None

    def run(self, die: Die, history: History) -> Iterator[Attempt | KernelSurvey | InferenceMap | Line]:
        """Survey the kernels; yield the attempts of both directions, then per kernel its rows and its bad lines.

        Raises:
            BenchError: a kernel is not on the die, or is named twice; a second gate voltage, and the die has no gates.
        """
        kernels, cells = self._cells(die)
        known = CellKnowledge(die, history, self.short_above, self.v_read)
        reader = CellReader(die.geometry, cells, self)
        pulsed = _Pulsed(die.geometry.shape)
        everywhere, nominal = np.ones(len(cells), np.bool_), NominalCells.of(die.nominal, cells)
        mapped = _Mapped(die, cells, self.inference)
        initial, _ = self._read(die, known, reader)
        yield from self._write(die, known, pulsed, cells, everywhere, True, nominal.cut)
        g_p, flag_p = self._read(die, known, reader)
        mapped.read(True, everywhere)
        yield from self._write(die, known, pulsed, cells, everywhere, False, nominal.cut)
        g_ap, flag_ap = self._read(die, known, reader)
        mapped.read(False, everywhere)
        change = 1 + self.tmr_stuck * nominal.tmr
        dark = self._dark(die, cells.take(self._open(g_p, g_ap, nominal)))
        again = self._idle(g_p, g_ap, nominal) & ((flag_p | flag_ap) == 0) & ~self._open(g_p, g_ap, nominal, dark)
        if again.any():
            pulsed.forget(cells.take(again))
            yield from self._write(die, known, pulsed, cells, again, True, g_ap * change, round_=1)
            second, flags = self._read(die, known, reader)
            g_p, flag_p = np.where(again, second, g_p), np.where(again, flags, flag_p)
            mapped.read(True, again)
            yield from self._write(die, known, pulsed, cells, again, False, g_p / change, round_=1)
            second, flags = self._read(die, known, reader)
            g_ap, flag_ap = np.where(again, second, g_ap), np.where(again, flags, flag_ap)
            mapped.read(False, again)
        reads = (initial, g_p, g_ap, (flag_p | flag_ap) != 0)
        unreached = (pulsed.cut_short | ~pulsed.whole.all(axis=0))[cells.at] | (not self._convicts)
        for row in self._rows(kernels, known, cells, reads, unreached, nominal, die.geometry.shape[1:], dark):
            yield row
            yield from mapped.rows(row.kernel)
            yield from pulsed.lines(row.kernel, known.short[row.kernel])

    @property
    def _convicts(self) -> bool:
        """Whether the two ladders that a cell fails before it is called stuck are pulses enough to give it up."""
        return bool(refuted(np.array(2 * len(self.ladder)), self.p_switch))

    def _cells(self, die: Die) -> tuple[tuple[int, ...], Cells]:
        n, *shape = die.geometry.shape
        kernels = tuple(range(n)) if self.kernels is None else self.kernels
        wrong = [k for k in kernels if not 0 <= k < n]
        if wrong:
            raise BenchError(f"survey of kernel {wrong[0]}; the die has {n} (numbered from 0)")
        if len(set(kernels)) != len(kernels):
            raise BenchError(f"survey names a kernel twice: {', '.join(map(str, kernels))}")
        return kernels, Cells.join([Cells.block(k, 0, 0, (shape[0], shape[1])) for k in kernels])

    def _read(self, die: Die, known: CellKnowledge, reader: CellReader) -> tuple[FloatArray, FlagArray]:
        """Return the (n,) conductances in S and flags of the cells, and update `known` from them."""
        conductance, flag = reader.read(die)
        known.update_from_read(reader.cells.at, conductance, flag)
        return conductance, flag

    def _write(
        self,
        die: Die,
        known: CellKnowledge,
        pulsed: "_Pulsed",
        cells: Cells,
        wanted: BoolArray,
        to_p: bool,
        cut: FloatArray,
        *,
        round_: int = 0,
    ) -> Iterator[Attempt]:
        """Pulse the `wanted` cells that may be pulsed towards one state; yield the attempts, if there were any."""
        budget = self.budget - known.pulses[cells.at]
        pending = np.flatnonzero(wanted & ~known.short[cells.at] & (budget > 0))
        if not len(pending):
            return
        chosen, target = cells.take(pending), np.full(len(pending), to_p)
        plan = self.plan(die.geometry, chosen.at, target, cut[pending], budget[pending])
        trial = known.in_other_state(chosen.at, target)
        record = attempt_record(die.program(plan), known, chosen, target, trial, self, solution=SURVEY, round_=round_)
        known.add(record)
        pulsed.add(record, self.ladder.max())
        yield record

    def _rows(
        self,
        kernels: tuple[int, ...],
        known: CellKnowledge,
        cells: Cells,
        reads: tuple[FloatArray, FloatArray, FloatArray, BoolArray],
        unreached: BoolArray,
        nominal: "NominalCells",
        shape: tuple[int, ...],
        dark: "Dark",
    ) -> Iterator[KernelSurvey]:
        initial, g_p, g_ap, flagged = reads
        tmr, defect = self.classify(g_p, g_ap, flagged, known.short[cells.at], unreached, nominal, dark)
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
                v_max=float(self.ladder.max()),
                width=self.width,
                offset=dark.offset * self.v_read if np.isfinite(dark.sigma) else np.nan,
                noise=dark.sigma * self.v_read if np.isfinite(dark.sigma) else np.nan,
            )

    def _open(
        self, g_p: FloatArray, g_ap: FloatArray, nominal: "NominalCells", dark: "Dark | None" = None
    ) -> BoolArray:
        dark = dark or Dark()
        most = np.maximum(g_p, g_ap)
        return is_open(most, nominal.g_ap, below=self.open_below, offset=dark.offset, sigma=dark.sigma)

    def _dark(self, die: Die, cells: Cells) -> "Dark":
        """Read cells at 0 V as often as the settings say; without that nothing is known of what a meter reads then."""
        if not self.offset_reads or not len(cells):
            return Dark()
        at = np.tile(np.arange(len(cells)), self.offset_reads)
        kernel, row, col = cells.take(at).at
        bias = read_bias(die.geometry, kernel, row, col, self.v_read, compliance=self.compliance, v_gate=self.v_gate)
        reading = die.sense(Sense(bias.scaled(0.0), col[:, None], self.aperture))
        current = reading.current[reading.flag == 0]
        if len(current) < 2:
            return Dark()
        return Dark(float(current.mean()) / self.v_read, float(current.std(ddof=1)) / self.v_read)

    def _idle(self, g_p: FloatArray, g_ap: FloatArray, nominal: "NominalCells") -> BoolArray:
        """Return which cells did not switch by their own conductances; cells without a conductance count as idle."""
        idle: BoolArray = ~(np.abs(_tmr(g_p, g_ap)) >= self.tmr_stuck * nominal.tmr)
        return idle

    def classify(
        self,
        g_p: FloatArray,
        g_ap: FloatArray,
        flagged: BoolArray,
        short: BoolArray,
        unreached: BoolArray,
        nominal: "NominalCells",
        dark: "Dark | None" = None,
    ) -> tuple[FloatArray, FlagArray]:
        """Return TMR and `Defect` codes from the (n,) conductances in S after writing P and after writing AP.

        A cell without any conductance has no TMR (NaN).

        Args:
            flagged: reads that cannot be used.
            short: cells already known to be shorts.
            unreached: cells that may not have seen every rung of the ladder in both directions, or not often enough.
            nominal: what the cells are nominally.
            dark: what the meters read without a voltage.
        """
        tmr, idle = _tmr(g_p, g_ap), self._idle(g_p, g_ap, nominal)
        with np.errstate(invalid="ignore"):
            cases = [
                (short, Defect.SHORT),
                (flagged | ~np.isfinite(g_p) | ~np.isfinite(g_ap), Defect.UNREADABLE),
                (self._open(g_p, g_ap, nominal, dark), Defect.OPEN),
                (idle & unreached, Defect.NOT_REACHED),
                (idle & (np.sqrt(g_p * g_ap) > nominal.cut), Defect.STUCK_P),
                (idle, Defect.STUCK_AP),
                (tmr < self.tmr_low * nominal.tmr, Defect.LOW_TMR),
            ]
        defect = np.select([c for c, _ in cases], [int(d) for _, d in cases], int(Defect.GOOD))
        return tmr, defect.astype(np.uint8)


def _tmr(g_p: FloatArray, g_ap: FloatArray) -> FloatArray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(g_ap > 0, g_p / g_ap - 1, np.nan)


@dataclass(frozen=True)
class Dark:
    """What the meters read at 0 V, as a conductance at the read voltage: mean and standard deviation, S."""

    offset: Siemens = 0.0
    sigma: Siemens = float("inf")


@dataclass(frozen=True, eq=False)
class NominalCells:
    """What n cells are nominally, each by its kernel: G_AP and cut in S, TMR, each (n,)."""

    g_ap: FloatArray
    cut: FloatArray
    tmr: FloatArray

    @classmethod
    def of(cls, nominal: Nominal, cells: Cells) -> "NominalCells":
        """Return the nominal values of `cells`."""
        kernel = cells.at[0]
        return cls(nominal.g_ap(kernel), nominal.cut(kernel), nominal.tmr(kernel))


class _Mapped:
    """Conductances of the cells of a die, read as inference will read them; empty without settings for that."""

    def __init__(self, die: Die, cells: Cells, settings: InferenceReadSettings | None) -> None:
        if settings is not None:
            settings.refuse_without_gates(die.geometry)
        self._die, self._settings = die, settings
        self._reader = None if settings is None else CellReader(die.geometry, cells, settings, both_ways=True)
        self._g: FloatArray = np.full((2, *die.geometry.shape), np.nan)

    def read(self, to_p: bool, wanted: BoolArray) -> None:
        """Read the cells, written P or AP; keep the conductances of the `wanted` ones (n,), NaN without a value."""
        if self._reader is not None:
            conductance, flag = self._reader.read(self._die)
            conductance[has_no_value(conductance, flag)] = np.nan
            self._g[int(to_p), *self._reader.cells.take(wanted).at] = conductance[wanted]

    def rows(self, kernel: int) -> Iterator[InferenceMap]:
        """Yield the map of `kernel`."""
        if self._settings is not None:
            s, second = self._settings, self._settings.second_gate
            yield InferenceMap(
                kernel=kernel,
                v_read=s.v_read,
                v_gate=s.v_gate,
                g_p=self._g[1, kernel],
                g_ap=self._g[0, kernel],
                v_second_gate=np.nan if second is None else second.v_gate,
                second_share=0.0 if second is None else second.share,
            )


class _Pulsed:
    """Compliance and completeness of the pulses on the cells of a die; arrays of the shape of the die."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.tried, self.limited, self.cut_short = (np.zeros(shape, np.bool_) for _ in range(3))
        self.whole = np.zeros((2, *shape), np.bool_)
        """by target: verified, or got the last rung and was read"""

    def forget(self, cells: Cells) -> None:
        """Reset `cells` for another ladder; the record of compliance of cells and lines stays."""
        self.cut_short[cells.at] = self.whole[:, *cells.at] = False

    def add(self, record: Attempt, v_max: float) -> None:
        """Add the attempts of one direction; `v_max` is the last rung, in V."""
        cells = (record.kernel, record.row, record.col)
        limited = (record.pulse_flag & Flag.COMPLIANCE) != 0
        self.tried[cells] = True
        np.logical_or.at(self.limited, cells, limited)
        np.logical_or.at(self.cut_short, cells, limited & ~record.verified)
        whole = record.verified | ((record.voltage >= v_max) & (record.flag == 0))
        np.logical_or.at(self.whole, (record.target.astype(np.int64), *cells), whole)

    def lines(self, kernel: int, short: BoolArray) -> Iterator[Line]:
        """Yield the lines of `kernel` on which pulses meet compliance, `short` (n_rows, n_cols) being its shorts."""
        tried, limited = self.tried[kernel], self.limited[kernel]
        for axis, name in ((1, "row"), (0, "col")):
            share = limited.sum(axis=axis) / np.maximum(tried.sum(axis=axis), 1)
            for index in np.flatnonzero(share >= LINE_SHARE):
                shorts = int(short.sum(axis=axis)[index])
                yield Line(kernel=kernel, axis=name, index=int(index), share=float(share[index]), shorts=shorts)
