"""What changed on a wafer from one run to another: bins, and figures die by die."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import NamedTuple

from labctl.config.bins import is_good
from labctl.core.figure import Figure
from labctl.report.several_runs import OneRun, Wafer


class Moved(NamedTuple):
    """Dies that went from one bin into another."""

    before: str
    after: str
    dies: tuple[str, ...]


@dataclass(frozen=True)
class Difference:
    """How a figure of the same dies differs between two runs, later less earlier; SI units.

    Args:
        dies: that have it in both.
        mean, spread: mean and standard deviation (n - 1) of the differences; `spread` NaN of one die.
        between: standard deviation of the dies' own means, NaN of one die.
        worst: the die that differs most, `most` by how much.
    """

    figure: Figure
    earlier: OneRun
    later: OneRun
    dies: int
    mean: float
    spread: float
    between: float
    worst: str
    most: float

    @property
    def repeatability(self) -> float:
        """Standard deviation of one measurement of a die: that of the differences / sqrt(2), so without the mean."""
        return self.spread / math.sqrt(2)


def moved(earlier: OneRun, later: OneRun) -> list[Moved]:
    """Return the dies tried in both runs by the change of their bin, most dies first, without those that stay."""
    ways: dict[tuple[str, str], list[str]] = {}
    for name in (n for n in earlier.dies if earlier.tried(n) and later.tried(n)):
        if (way := (earlier.standing(name), later.standing(name)))[0] != way[1]:
            ways.setdefault(way, []).append(name)
    return sorted((Moved(*way, tuple(dies)) for way, dies in ways.items()), key=lambda m: (-len(m.dies), m))


def final(wafer: Wafer) -> tuple[int, int]:
    """Return how many dies are good and how many good or bad, by the newest run that gave each a bin."""
    hard: dict[str, int] = {}
    for run in wafer.runs:
        hard |= {die.name: die.last.hard for die in run.judged if die.last}
    return sum(map(is_good, hard.values())), len(hard)


def both(earlier: OneRun, later: OneRun) -> int:
    """Return how many dies were tried in both runs."""
    return sum(earlier.tried(name) and later.tried(name) for name in earlier.dies)


def difference(figure: Figure, earlier: OneRun, later: OneRun) -> Difference | None:
    """Return how a figure differs between two runs of one wafer, None if no die has it in both."""
    pairs = {name: (earlier.value(name, figure.key), later.value(name, figure.key)) for name in earlier.dies}
    known = {name: pair for name, pair in pairs.items() if all(map(math.isfinite, pair))}
    if not known:
        return None
    changes = {name: after - before for name, (before, after) in known.items()}
    worst = max(changes, key=lambda name: abs(changes[name]))
    spread, between = _deviation(changes.values()), _deviation(fmean(pair) for pair in known.values())
    return Difference(
        figure, earlier, later, len(known), fmean(changes.values()), spread, between, worst, changes[worst]
    )


def _deviation(values: Iterable[float]) -> float:
    known = list(values)
    return stdev(known) if len(known) > 1 else math.nan
