"""Write error rates: which pulses count, and the rates by direction, voltage and kernel.

A pulse counts if it could show whether its cell switches: the cell was last read in the other state, the read-back is
unflagged, no line was in compliance, and the cell is not one that was given up without ever having switched that way.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from labctl.core.operations import Flag
from labctl.core.units import BoolArray, FloatArray, IntArray
from protocols.cell_knowledge import CellKnowledge
from protocols.records import Attempt, WriteErrorRate
from protocols.settings import WriteSettings
from protocols.statistics import cluster_interval


def can_switch(known: CellKnowledge, attempt: Attempt, settings: WriteSettings) -> BoolArray:
    """Return (a,), which attempts are on cells that have switched that way, or that are not given up."""
    cells = (attempt.kernel, attempt.row, attempt.col)
    switched = known.switches[(attempt.target.astype(np.int64), *cells)]
    able: BoolArray = switched | ~known.hopeless(cells, attempt.target, settings)
    return able


def _sound(attempt: Attempt) -> BoolArray:
    """Return (a,), which pulses had something to switch and were given and read without a flag."""
    sound: BoolArray = attempt.trial & (attempt.flag == 0) & (attempt.pulse_flag == 0)
    return sound


class PulseCounts:
    """Counts of the pulses of one solution on n cells; `[0]` to AP, `[1]` to P.

    Args:
        ladder: (k,) V.
    """

    def __init__(self, ladder: FloatArray, n: int) -> None:
        self._ladder = ladder
        self.rung_pulses, self.rung_failures = (np.zeros((2, len(ladder)), np.int64) for _ in range(2))
        """(2, k), that count, and how many of these failed"""
        self.cell_pulses, self.cell_failures = (np.zeros((2, n), np.int64) for _ in range(2))
        """(2, n), the same by cell"""
        self.stuck = np.zeros(2, np.int64)
        """(2,), on cells that were given up and never switched that way"""
        self.limited = self.total = 0

    def add(self, attempt: Attempt, cell: IntArray, able: BoolArray) -> None:
        """Count the pulses of `attempt`; `cell` (a,) numbers their cells, and `able` (a,) is by `can_switch`."""
        direction = attempt.target.astype(np.int64)
        rung = np.abs(attempt.voltage[:, None] - self._ladder).argmin(axis=1)
        counted = able & _sound(attempt)
        failed = counted & ~attempt.verified
        for chosen, by_rung, by_cell in (
            (counted, self.rung_pulses, self.cell_pulses),
            (failed, self.rung_failures, self.cell_failures),
        ):
            np.add.at(by_rung, (direction[chosen], rung[chosen]), 1)
            np.add.at(by_cell, (direction[chosen], cell[chosen]), 1)
        self.stuck += np.bincount(direction[~able], minlength=2)
        self.limited += int(((attempt.pulse_flag & Flag.COMPLIANCE) != 0).sum())
        self.total += len(attempt.flag)


def error_rates(attempts: Sequence[Attempt], known: CellKnowledge, settings: WriteSettings) -> Iterator[WriteErrorRate]:
    """Yield the write error rates of all `attempts` of a stage as one table; none if no pulse counts.

    What is `known` at the end decides: the pulses before a cell was given up do not count either.
    """
    if not attempts:
        return

    def joined(name: str) -> Any:
        """Return a column of all attempts."""
        return np.concatenate([getattr(attempt, name) for attempt in attempts])

    counted = np.concatenate([_sound(attempt) & can_switch(known, attempt, settings) for attempt in attempts])
    if not counted.any():
        return
    target, verified = joined("target"), joined("verified")
    cell = np.ravel_multi_index((joined("kernel"), joined("row"), joined("col")), known.pulses.shape)
    first = np.zeros(len(cell), np.bool_)
    first[np.unique(np.stack([joined("solution"), target, cell]), axis=1, return_index=True)[1]] = True
    # one row of `keys` per kernel, direction, first or not, voltage and cell: groups of it are consecutive
    columns = np.stack([joined("kernel"), target, ~first, joined("voltage"), cell], axis=1).astype(np.float64)
    keys, where, trials = np.unique(columns[counted], axis=0, return_inverse=True, return_counts=True)
    failures = np.bincount(where.ravel(), weights=~verified[counted], minlength=len(keys)).astype(np.int64)
    groups, start, cells = np.unique(keys[:, :-1], axis=0, return_index=True, return_counts=True)
    failed, tried = np.add.reduceat(failures, start), np.add.reduceat(trials, start)
    parts = [slice(begin, begin + n) for begin, n in zip(start.tolist(), cells.tolist(), strict=True)]
    bounds = np.array([cluster_interval(failures[part], trials[part]) for part in parts])
    yield WriteErrorRate(
        kernel=groups[:, 0].astype(np.int64),
        target=groups[:, 1] > 0,
        first=groups[:, 2] == 0,
        voltage=groups[:, 3],
        width=np.full(len(groups), settings.width),
        cells=cells,
        pulses=tried,
        failures=failed,
        wer=failed / tried,
        wer_low=bounds[:, 0],
        wer_high=bounds[:, 1],
    )
