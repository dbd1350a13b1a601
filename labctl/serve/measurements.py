"""What was measured on the dies of a run, kept between looks: a die is read again only where it has changed."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from labctl.analysis.measurements import Counts, Measured, measure
from labctl.core.figure import Figures
from labctl.core.units import Second
from labctl.storage.arrays import Array
from labctl.storage.results import DieData
from labctl.storage.run_log import DieState


@dataclass(frozen=True)
class _Few:
    """Counts of one die as what is not 0 of them: a fiftieth of the memory."""

    sparse: Mapping[str, tuple[Array, Array, int]]
    """Conductances: "g_p" and "g_ap" with their size behind a blank, as indices, counts and length."""
    others: Counts

    @classmethod
    def of(cls, counts: Counts) -> "_Few":
        sparse = {
            f"{name} {size}": _few(fine) for name in ("g_p", "g_ap") for size, fine in getattr(counts, name).items()
        }
        return cls(sparse, replace(counts, g_p={}, g_ap={}))

    def all(self) -> Counts:
        counts = replace(self.others, g_p={}, g_ap={})
        for key, few in self.sparse.items():
            name, _, size = key.partition(" ")
            getattr(counts, name)[size] = _all(*few)
        return counts


def _few(counts: Array) -> tuple[Array, Array, int]:
    where = np.flatnonzero(counts)
    return where.astype(np.int32), counts[where].astype(np.int32), counts.size


def _all(where: Array, values: Array, size: int) -> Array:
    counts: Array = np.zeros(size, np.int64)
    counts[where] = values
    return counts


@dataclass(frozen=True)
class _Kept:
    identity: tuple[object, ...]
    measured: Measured
    counts: _Few


class Measurements:
    """What was measured on the dies of one run.

    Args:
        formulas: of the figures of dies that have not ended.
        cost: processor time of this thread, s.

    Attributes:
        waiting: dies that have changed and were not read again, since the last `begin`.
    """

    def __init__(self, formulas: Figures, cost: Callable[[], float] = time.thread_time) -> None:
        self._formulas, self._cost, self._kept = formulas, cost, dict[str, _Kept]()
        self._budget: Second | None = None
        self._until, self._with_counts = -math.inf, False
        self.waiting, self._new, self._new_before = 0, 0, 0

    def begin(self, budget: Second | None, *, counts: bool) -> None:
        """Begin a look at all dies.

        Args:
            budget: processor time after which no other die is read than the first; None: none is read.
            counts: whether distributions are wanted; without them they are those of nothing.
        """
        self._budget, self._until = budget, math.inf if budget is not None else -math.inf
        self._with_counts, self.waiting = counts, 0
        self._new_before, self._new = self._new, 0

    def of(self, data: DieData, die: DieState) -> tuple[Measured, Counts]:
        """Return what was measured on a die; while it waits to be read, what an earlier look or the run's journal says.

        A file that cannot be read gives a note that says so, as in the report.
        """
        identity, kept = identity_of(data, die), self._kept.get(die.name)
        known = kept is not None and kept.identity[0] == die.folder
        # one that is worked on is another at every look: those that were never read come first
        if (
            (kept is None or kept.identity != identity)
            and self._cost() < self._until
            and not (known and self._new_before)
        ):
            if self._until == math.inf:
                self._until = self._cost() + (self._budget or 0.0)
            measured, counts = measure(data, self._formulas)
            kept = self._kept[die.name] = _Kept(identity, measured, _Few.of(counts))
        if kept is None or kept.identity != identity:
            self.waiting += 1
            self._new += not known
        if kept is None or kept.identity[0] != die.folder:
            return Measured(sealed=data.sealed, figures=die.last.figures if die.last else {}), Counts()
        return kept.measured, kept.counts.all() if self._with_counts else Counts()

    def read_as(self, die: str) -> object:
        """Return what is another once `counts` may be others, None of a die that was not read."""
        kept = self._kept.get(die)
        return None if kept is None else kept.identity

    def counts(self, die: str) -> Counts:
        """Return the distributions of one die, those of nothing if it was not read."""
        kept = self._kept.get(die)
        return Counts() if kept is None else kept.counts.all()


def identity_of(data: DieData, die: DieState) -> tuple[object, ...]:
    """Return what is another if the die has to be read again: its file was written, sealed, or may be read now."""
    paths = [data.path] if data.sealed else [data.path / f"journal.db{suffix}" for suffix in ("", "-wal")]
    stamps = []
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            continue
        if status.st_size:  # SQLite makes an empty log beside a journal that is read
            stamps.append((status.st_mtime_ns, status.st_ctime_ns, status.st_size))  # rights are of the second
    return die.folder, data.sealed, data.sha256, *stamps
