"""The figures of a die as tables and pictures show them, read from the run folder, sealed or not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from labctl.analysis.figures import DieTables, compute, stored
from labctl.core.events import Approached, DieEnded, DieEvent
from labctl.core.figure import Figures
from labctl.core.units import FloatArray
from labctl.storage.event_rows import event_rows
from labctl.storage.results import DieData, Run
from labctl.storage.tables import Table

NOT_STARTED, UNFINISHED, NOT_SEALED = "not started", "unfinished", "not sealed"
PARTS = ("train", "test")
TUNINGS = ("untuned", "tuned")


@dataclass(frozen=True)
class DieFigures:
    """What there is to say of one die; None where it has not come to that yet.

    Args:
        bin: of an ended die; "not started", "unfinished" or "not sealed" of another.
        meta: what its journal was started with.
        values: its figures by name, SI units: as stored when it ended, or before as its tables give them now.
    """

    die: str
    bin: str
    outcome: str
    reason: str
    survey: Table | None
    write: Table | None
    inference: Table | None
    meta: dict[str, Any]
    values: Mapping[str, float] = field(default_factory=dict)


def _table(die: DieData, name: str) -> Table | None:
    return die.table(name) if name in die.tables else None


def figures(run: Run, name: str, formulas: Figures, *, tables: bool = True) -> DieFigures:
    """Return the figures of one die; nothing of it may be on the disk yet.

    Args:
        formulas: of the figures of a die that has not ended.
        tables: whether its tables are wanted, too.
    """
    if name not in run.dies:
        return DieFigures(name, NOT_STARTED, UNFINISHED, "", None, None, None, {})
    die = run.die(name)
    rows = list(event_rows(DieEvent, die.events()))
    ended = [row.event for row in rows if isinstance(row.event, DieEnded)]
    approaches = [row.event for row in rows if isinstance(row.event, Approached)]
    values = stored(rows)
    if values is None:
        approach = dict(approaches[-1].notes) if approaches else {}
        with die.open() as source:
            values = compute(formulas, DieTables(source), approach, source.meta)
    survey, write, inference = (_table(die, n) if tables else None for n in ("survey", "write", "inference"))
    bin_ = ended[-1].bin if ended else UNFINISHED
    if ended and not die.sealed:
        bin_ = NOT_SEALED
    return DieFigures(
        name,
        bin_,
        ended[-1].outcome if ended and die.sealed else UNFINISHED,
        ended[-1].reason if ended else "",
        survey,
        write,
        inference,
        die.meta,
        values,
    )


def _visit(name: str) -> bool:
    """Return whether this is a visit of a golden die, which is no die of the campaign."""
    return "@" in name


def _ordered(run: Run) -> list[str]:
    """Return the dies in the order of the campaign, of a run folder those that have not been started too."""
    named = [name for name in run.planned if name in run.dies or run.path.is_dir()]
    return named + [name for name in run.dies if name not in named]


def good_range(values: FloatArray, good: FloatArray) -> tuple[float, float]:
    """Return the 1st and 99th percentile of the good cells (of all finite ones if none is good); (0, 1) of nothing."""
    finite = np.isfinite(values)
    chosen = values[finite & (good if (finite & good).any() else True)]
    if not chosen.size:
        return 0.0, 1.0
    low, high = np.percentile(chosen, [1, 99])
    return float(low), float(high) if high > low else float(low) + 1e-30


def _scatter_points(die: DieData) -> tuple[FloatArray, FloatArray] | None:
    """Return ideal and measured column currents at scale 1 of all solutions, in uA."""
    currents = _table(die, "layer_current")
    if currents is None or not currents.rows:
        return None
    return currents["untuned_ideal"].ravel() * 1e6, currents["untuned"].ravel() * 1e6
