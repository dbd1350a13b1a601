"""Distributions over the cells of all dies, as histograms of few bars made from counts on fine bins."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from labctl.analysis.measurements import Counts, fine_centres
from labctl.storage.arrays import Array

_BARS = 64


@dataclass(frozen=True)
class Bars:
    """One histogram of a distribution: counts between `edges`, which are in the unit of the distribution."""

    name: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Distribution:
    """A distribution over the cells of all dies: one or two histograms on one axis; `beyond` are counts outside."""

    key: str
    title: str
    unit: str
    what: str
    bars: tuple[Bars, ...]
    beyond: int


def distributions(counts: Counts) -> Iterator[Distribution]:
    """Yield the distributions that are not empty."""
    if counts.g_p.any() or counts.g_ap.any():
        yield _conductance(counts)
    if counts.to_p or counts.to_ap:
        named = (("to P", counts.to_p), ("to AP", counts.to_ap))
        bars = tuple(_rungs(name, levels, 0.1) for name, levels in named if levels)
        yield Distribution("v_switch", "switching voltage", "mV", "verified pulses", bars, 0)
    if counts.pulses:
        yield _pulses(counts.pulses)


def _conductance(counts: Counts) -> Distribution:
    """Return P and AP on one axis from the lowest to the highest half percent of either."""
    centres = fine_centres() * 1e6
    sides = [(name, fine) for name, fine in (("P", counts.g_p), ("AP", counts.g_ap)) if fine.any()]
    ends = [_percentiles(fine, centres) for _, fine in sides]
    low, high = min(e[0] for e in ends), max(e[1] for e in ends)
    edge = 0.04 * (high - low) or 0.01 * high
    edges = np.linspace(max(0.0, low - edge), high + edge, _BARS + 1)
    bars, beyond = [], 0
    for name, fine in sides:
        shown, _ = np.histogram(centres, edges, weights=fine)
        whole = np.round(shown).astype(np.int64)
        beyond += int(fine.sum() - whole.sum())
        bars.append(Bars(name, tuple(map(float, edges)), tuple(map(int, whole))))
    return Distribution("conductance", "conductance of good cells", "µS", "cells", tuple(bars), beyond)


def _percentiles(fine: Array, centres: Array) -> tuple[float, float]:
    share = np.cumsum(fine) / fine.sum()
    at = np.searchsorted(share, (0.005, 0.995))
    return float(centres[at[0]]), float(centres[min(at[1], len(centres) - 1)])


def _rungs(name: str, pulses: Counter[int], unit: float) -> Bars:
    """Return counts at few levels, each a bar as wide as the narrowest step between them."""
    levels = np.array(sorted(pulses))
    step = int(np.diff(levels).min()) if len(levels) > 1 else 200
    grid = np.arange(levels[0], levels[-1] + step, step)
    edges = (np.append(grid, grid[-1] + step) - step / 2) * unit
    near = np.searchsorted(edges, levels * unit, side="right") - 1
    counts = np.bincount(near, weights=[pulses[v] for v in levels.tolist()], minlength=len(grid)).astype(int)
    return Bars(name, tuple(map(float, edges)), tuple(map(int, counts)))


def _pulses(cells: Counter[int]) -> Distribution:
    """Return the distribution of pulses per cell, up to the 99.5th percentile of the cells."""
    levels = np.array(sorted(cells))
    n = np.array([cells[v] for v in levels.tolist()])
    last = int(levels[np.searchsorted(np.cumsum(n) / n.sum(), 0.995)])
    width = max(1, -(-last // _BARS))
    edges = np.arange(0.5, last + width + 0.5, width)
    counts, _ = np.histogram(levels, edges, weights=n)
    bars = Bars("cells", tuple(map(float, edges)), tuple(map(int, np.round(counts))))
    beyond = int(n.sum() - sum(bars.counts))
    return Distribution("pulses", "write pulses per cell", "", "cells", (bars,), beyond)
