"""The measurements of one die in few numbers: medians, counts and spreads, so that a wafer of chips fits into a page.

The tables of one die are in memory at a time. Distributions are counted on fine bins that all dies share, so that dies
can be added up without any cell being kept.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from labctl.analysis.accuracy_terms import COLUMNS, accuracies, texts
from labctl.analysis.figures import DieTables, compute, groups_of, stored
from labctl.analysis.thresholds import series_of
from labctl.core.defects import DEFECTS, Defect
from labctl.core.errors import StorageError
from labctl.core.events import Approached, DieEvent, StageEnded, StageStarted
from labctl.core.figure import Columns, Figures, newest
from labctl.core.units import FloatArray, Ohm
from labctl.storage.arrays import Array
from labctl.storage.event_rows import DieRow, event_rows, is_void
from labctl.storage.results import DieData
from labctl.storage.tables import Table

_LOWEST, _DECADES, _PER_DECADE = 1e-8, 7, 4000
"""The fine bins of conductance: from 10 nS to 0.1 S, each 0.06 % wide."""


Groups = Mapping[str, tuple[int, ...]]
"""Kernels of each nominal diameter; empty where all are alike."""
_NEEDED: Mapping[str, frozenset[str]] = {
    "survey": frozenset({"g_p", "g_ap", "tmr", "defect"}),
    "attempt": frozenset({"kernel", "row", "col", "target", "voltage", "verified"}),
    "write": frozenset(
        {"solution", "cells", "correct", "gave_up", "repaired", "fidelity", "fidelity_interval", "fidelity_blind"}
        | {"pulses_per_cell", "wer_to_p", "wer_to_p_interval", "wer_to_ap", "wer_to_ap_interval"}
    ),
    "accuracy": frozenset(COLUMNS),
    "inference": frozenset(
        {
            f"{figure}_{part}"
            for figure in ("accuracy_tuned", "accuracy_untuned", "float_tuned")
            for part in ("test", "train")
        }
        | {"solution", "interval_tuned_test", "scale", "error_rms", "flagged"}
    ),
}
"""The tables that are evaluated, and the columns that they need."""
_INFERRED = (
    *(f"{figure}_{part}" for figure in ("accuracy", "accuracy_untuned", "software") for part in ("test", "train")),
    *("accuracy_test_interval", "scale", "error_rms", "flagged"),
)
"""Figures of a network from inference; None before."""


@dataclass(frozen=True)
class FigureSpread:
    """The spread of a quantity over the cells of a die: percentiles 5, 25, 50, 75 and 95."""

    n: int
    p5: float
    p25: float
    median: float
    p75: float
    p95: float

    @classmethod
    def of(cls, values: FloatArray) -> "FigureSpread | None":
        """Return the spread of the finite values, None if there is none."""
        finite = values[np.isfinite(values)]
        if not finite.size:
            return None
        p5, p25, median, p75, p95 = map(float, np.percentile(finite, (5, 25, 50, 75, 95)))
        return cls(int(finite.size), p5, p25, median, p75, p95)


@dataclass
class Counts:
    """Distributions, as counts that can be added up, by the nominal diameter of kernels: "80 nm", "" if it is unknown.

    Args:
        g_p, g_ap: of good cells, on the fine bins of conductance.
        tmr: of good cells, cells by TMR in units of 0.1 %.
        to_p, to_ap: pulses after which the cell was verified, by voltage in units of 0.1 mV.
        pulses: cells of any size, by the number of pulses they were given.
    """

    g_p: dict[str, Array] = field(default_factory=dict)
    g_ap: dict[str, Array] = field(default_factory=dict)
    tmr: dict[str, Counter[int]] = field(default_factory=dict)
    to_p: dict[str, Counter[int]] = field(default_factory=dict)
    to_ap: dict[str, Counter[int]] = field(default_factory=dict)
    pulses: Counter[int] = field(default_factory=Counter)

    @property
    def sizes(self) -> list[str]:
        """The nominal diameters of which there is anything, small ones first."""
        names = dict.fromkeys(
            name for counts in (self.g_p, self.g_ap, self.tmr, self.to_p, self.to_ap) for name in counts
        )
        return sorted(names, key=lambda name: (float(name.split()[0]) if name else 0.0, name))

    def add(self, other: "Counts") -> None:
        """Add the counts of another die."""
        for name in ("g_p", "g_ap"):
            mine, theirs = getattr(self, name), getattr(other, name)
            for size, counts in theirs.items():
                mine[size] = mine[size] + counts if size in mine else counts
        for name in ("tmr", "to_p", "to_ap"):
            mine, theirs = getattr(self, name), getattr(other, name)
            for size, counts in theirs.items():
                mine.setdefault(size, Counter()).update(counts)
        self.pulses.update(other.pulses)


@dataclass(frozen=True)
class Stage:
    """One procedure on one die: its duration in s, and its outcome ("" if it did not end)."""

    name: str
    since: float
    seconds: float
    outcome: str
    reason: str


@dataclass(frozen=True)
class Measured:
    """The measurements of one try of a die; empty where it did not get so far.

    Args:
        figures: by name, SI units: as stored when the die ended, or before as its tables give them now.
        defects: cells by kind of defect.
        contact: resistance of each contact structure, ohm.
        networks: one entry per solution.
        accuracies: one entry per accuracy of a solution, with the terms under which it was reached.
        terms: the different ones, in words.
        spreads: of "g_p", "g_ap", "tmr" over the good cells, "to_p" and "to_ap" of switching voltages; where kernels
            differ in nominal diameter of each size, as "g_p[60 nm]".
        nominal: by nominal diameter of kernels, "80 nm", what the die file says: {"g_p", "g_ap"} in S, and "tmr".
        series: resistance in series with each junction while it is read, by the die file, ohm; None if it is not known.
        note: why data are missing: a damaged file.
        void: whether the try failed and kept no figure: what its tables hold may be no measurement, and counts nowhere.
    """

    sealed: bool = False
    cells: int = 0
    figures: Mapping[str, float] = field(default_factory=dict)
    defects: Mapping[str, int] = field(default_factory=dict)
    contact: Mapping[str, float] = field(default_factory=dict)
    networks: tuple[dict[str, Any], ...] = ()
    accuracies: tuple[dict[str, Any], ...] = ()
    terms: tuple[str, ...] = ()
    spreads: Mapping[str, FigureSpread] = field(default_factory=dict)
    stages: tuple[Stage, ...] = ()
    identities: Mapping[str, str] = field(default_factory=dict)
    calibrations: Mapping[str, str] = field(default_factory=dict)
    nominal: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    series: Ohm | None = None
    note: str = ""
    void: bool = False


def measure(die: DieData, formulas: Figures) -> tuple[Measured, Counts]:
    """Return the measurements of `die`; if its file cannot be read, only a note that says so; of a void try no counts.

    Args:
        formulas: of the figures of a die that has not ended.
    """
    counts = Counts()
    try:
        with die.open() as source:
            measured = _measure(die, source, counts, formulas)
            return measured, Counts() if measured.void else counts
    except StorageError as error:
        return Measured(sealed=die.sealed, note=str(error)), Counts()


def _measure(die: DieData, source: Any, counts: Counts, formulas: Figures) -> Measured:
    tables = {n: source.table(n) for n in _NEEDED if n in source.tables}
    # procedures from elsewhere may have tables of the same names with other columns
    tables = {n: table for n, table in tables.items() if _NEEDED[n] <= set(table)}
    spreads: dict[str, FigureSpread | None] = {}
    defects: dict[str, int] = {}
    cells = 0
    groups = groups_of(source.meta)
    if (surveys := tables.get("survey")) is not None:
        rows = newest(surveys, "kernel")
        survey = {name: column[rows] for name, column in surveys.items()}
        defects, cells = _survey(survey, groups, spreads), survey["defect"].size
        _count_survey(survey, diameters_of(source.meta), counts)
    if (attempt := tables.get("attempt")) is not None:
        _spread_attempts(attempt, groups, spreads)
        _count_attempts(attempt, diameters_of(source.meta), counts)
    events = list(event_rows(DieEvent, source.events()))
    approached, stages = _events(events)
    figures = stored(events)
    description = source.meta.get("description") or {}
    contact = {str(k): float(v) for k, v in approached.get("contact_resistance", {}).items()}
    if figures is None:
        figures = compute(formulas, DieTables(source), approached, source.meta)
    return Measured(
        sealed=die.sealed,
        cells=cells,
        figures=figures,
        defects=defects,
        contact=contact,
        networks=tuple(networks_of(tables.get("write"), tables.get("inference"))),
        accuracies=tuple(accuracies(tables["accuracy"]) if "accuracy" in tables else ()),
        terms=tuple(texts([(die.name, tables["accuracy"], description)]) if "accuracy" in tables else ()),
        spreads={name: spread for name, spread in spreads.items() if spread is not None},
        stages=tuple(stages),
        calibrations={str(k): str(v) for k, v in approached.get("calibrations", {}).items()},
        identities={str(k): str(v) for k, v in approached.get("identities", {}).items()},
        nominal=_nominal(description.get("junction") or {}),
        series=series_of(description) if "survey" in tables else None,
        void=is_void(events),
    )


def _nominal(junction: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return what a die file says of junctions of each diameter: RA over the area of a circle, and the TMR.

    >>> round(_nominal({"diameter": 80e-9, "ra": 12e-12, "tmr": 1.2})["80 nm"]["g_p"], 7)
    0.0004189
    """
    if not {"ra", "tmr"} <= set(junction):
        return {}
    nominal = {}
    for diameter in dict.fromkeys(junction.get("kernel_diameters") or [junction.get("diameter")]):
        if diameter:
            g_p = math.pi * diameter**2 / 4 / junction["ra"]
            nominal[_label(diameter)] = {"g_p": g_p, "g_ap": g_p / (1 + junction["tmr"]), "tmr": junction["tmr"]}
    return nominal


def _label(diameter: float) -> str:
    return f"{diameter * 1e9:.4g} nm"


def _survey(survey: Columns, groups: Groups, spreads: dict[str, FigureSpread | None]) -> dict[str, int]:
    """Add the spreads of the good cells, those of kernels of one size together; return the defects by kind."""
    good = survey["defect"] == Defect.GOOD
    for suffix, kernels in _suffixes(groups):
        chosen = good if kernels is None else good & np.isin(survey["kernel"], kernels)[:, None, None]
        for name in ("g_p", "g_ap", "tmr"):
            spreads[name + suffix] = FigureSpread.of(survey[name][chosen])
    cells = np.bincount(survey["defect"].ravel(), minlength=len(Defect))
    return {kind.title: int(cells[kind]) for kind in DEFECTS if cells[kind]}


def _count_survey(survey: Columns, diameters: Groups, counts: Counts) -> None:
    """Count the good cells of each diameter by conductance and by TMR."""
    good = survey["defect"] == Defect.GOOD
    for size, kernels in diameters.items():
        chosen = good & np.isin(survey["kernel"], kernels)[:, None, None] if kernels else good
        if chosen.any():
            counts.g_p[size] = fine_counts(survey["g_p"][chosen])
            counts.g_ap[size] = fine_counts(survey["g_ap"][chosen])
            tmr = survey["tmr"][chosen]
            counts.tmr[size] = _levels(tmr[np.isfinite(tmr)] * 1e3)


def _spread_attempts(attempt: Table, groups: Groups, spreads: dict[str, FigureSpread | None]) -> None:
    """Add the spreads of the voltages at which cells switched."""
    for name, to_p in (("to_p", True), ("to_ap", False)):
        towards = attempt["verified"] & (attempt["target"] == to_p)
        for suffix, kernels in _suffixes(groups):
            chosen = towards if kernels is None else towards & np.isin(attempt["kernel"], kernels)
            spreads[name + suffix] = FigureSpread.of(attempt["voltage"][chosen])


def _count_attempts(attempt: Table, diameters: Groups, counts: Counts) -> None:
    """Count the pulses that switched a cell by voltage, and cells by the pulses that they were given."""
    for name, to_p in (("to_p", True), ("to_ap", False)):
        towards = attempt["verified"] & (attempt["target"] == to_p)
        for size, kernels in diameters.items():
            chosen = towards & np.isin(attempt["kernel"], kernels) if kernels else towards
            if chosen.any():
                getattr(counts, name)[size] = _levels(attempt["voltage"][chosen] * 1e4)
    if attempt.rows:
        shape = tuple(int(attempt[axis].max()) + 1 for axis in ("kernel", "row", "col"))
        per_cell = np.bincount(np.ravel_multi_index([attempt[axis] for axis in ("kernel", "row", "col")], shape))
        counts.pulses.update(_levels(per_cell[per_cell > 0]))


def _levels(values: Array) -> Counter[int]:
    """Return how many values round to each whole number."""
    levels, n = np.unique(np.round(values).astype(np.int64), return_counts=True)
    return Counter(dict(zip(levels.tolist(), n.tolist(), strict=True)))


def diameters_of(meta: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the kernels of each nominal diameter of a die, by its journal's meta; () are all kernels.

    >>> diameters_of({"description": {"junction": {"diameter": 80e-9}}}), diameters_of({})
    ({'80 nm': ()}, {'': ()})
    """
    if groups := groups_of(meta):
        return groups
    junction = (meta.get("description") or {}).get("junction") or {}
    each = junction.get("kernel_diameters") or [junction.get("diameter")]
    return {_label(each[0]) if each[0] else "": ()}


def _suffixes(groups: Groups) -> list[tuple[str, tuple[int, ...] | None]]:
    """Return the ends of names and the kernels: of every size, or of all kernels where they are alike."""
    return [(f"[{group}]", kernels) for group, kernels in groups.items()] or [("", None)]


def networks_of(write: Table | None, inference: Table | None) -> Iterator[dict[str, Any]]:
    """Yield how each solution was written and what it then inferred; ratios from 0 to 1."""
    if write is None or not _NEEDED["write"] <= set(write):
        return
    if inference is not None and not _NEEDED["inference"] <= set(inference):
        inference = None
    where = {} if inference is None else {s: k for k, s in enumerate(inference["solution"].tolist())}
    for k, solution in enumerate(write["solution"].tolist()):
        one: dict[str, Any] = {"solution": solution, **dict.fromkeys(_INFERRED)}
        for key in ("cells", "correct", "gave_up", "repaired"):
            one[key] = int(write[key][k])
        for key in ("fidelity", "fidelity_blind", "pulses_per_cell", "wer_to_p", "wer_to_ap"):
            one[key] = _finite(write[key][k])
        for key in ("fidelity_interval", "wer_to_p_interval", "wer_to_ap_interval"):
            one[key] = [_finite(v) for v in write[key][k]]
        if inference is not None and (at := where.get(solution)) is not None:
            for part in ("test", "train"):
                one[f"accuracy_{part}"] = _finite(inference[f"accuracy_tuned_{part}"][at])
                one[f"accuracy_untuned_{part}"] = _finite(inference[f"accuracy_untuned_{part}"][at])
                one[f"software_{part}"] = _finite(inference[f"float_tuned_{part}"][at])
            one["accuracy_test_interval"] = [_finite(v) for v in inference["interval_tuned_test"][at]]
            one["scale"] = [_finite(v) for v in inference["scale"][at]]
            one["error_rms"] = [_finite(v) for v in inference["error_rms"][at]]
            one["flagged"] = int(inference["flagged"][at].sum())
        yield one


def _events(rows: Sequence[DieRow]) -> tuple[Mapping[str, Any], list[Stage]]:
    """Return the notes of the newest approach of the die, and its stages."""
    approached: Mapping[str, Any] = {}
    stages: list[Stage] = []
    for row in rows:
        match row.event:
            case Approached(notes=notes):
                approached = notes
            case StageStarted():
                stages.append(Stage(row.stage, row.stamp.utc, 0.0, "", ""))
                started = row.stamp.monotonic
            case StageEnded(outcome=outcome, reason=reason) if stages:
                seconds = max(0.0, row.stamp.monotonic - started)
                stages[-1] = Stage(row.stage, stages[-1].since, seconds, outcome, reason)
    return approached, stages


def _finite(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def fine_counts(conductance: FloatArray) -> Array:
    """Return how many of the conductances, in S, lie in each fine bin; those outside count into the outermost."""
    positive = conductance[np.isfinite(conductance) & (conductance > 0)]
    index = np.floor((np.log10(positive) - math.log10(_LOWEST)) * _PER_DECADE).astype(np.int64)
    return np.bincount(np.clip(index, 0, _DECADES * _PER_DECADE - 1), minlength=_DECADES * _PER_DECADE)


def fine_centres() -> FloatArray:
    """Return the centres of the fine bins, S."""
    return np.asarray(_LOWEST * 10 ** ((np.arange(_DECADES * _PER_DECADE) + 0.5) / _PER_DECADE))
