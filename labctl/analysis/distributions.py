"""Distributions as histograms of few bars: over the cells of all dies, by nominal diameter, and of figures over dies.

What a value is compared with is drawn as lines: limits of the rules for bins, and what the die file says is nominal.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from labctl.analysis.measurements import Counts, fine_centres
from labctl.analysis.thresholds import WORDS
from labctl.config.pass_range import PassRange
from labctl.core.figure import Figure, Figures
from labctl.storage.arrays import Array

_BARS = 64
_BARS_OF_DIES = 16


@dataclass(frozen=True)
class Bars:
    """One histogram of a distribution: counts between `edges`, which are in the unit of the distribution."""

    name: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]


class LineKind(StrEnum):
    """What a line in a chart marks."""

    LIMIT = "limit"
    """of the rules for bins: of a figure of a die"""
    CELL = "cell"
    """of the survey, for each cell"""
    NOMINAL = "nominal"
    """what the die file says"""


@dataclass(frozen=True)
class Line:
    """A value that others are compared with, in the unit of the chart; `text` says which."""

    kind: LineKind
    value: float
    text: str


@dataclass(frozen=True)
class Distribution:
    """A distribution: one or two histograms on one axis; `beyond` are counts outside.

    Args:
        lines: what the values are compared with.
    """

    key: str
    title: str
    unit: str
    what: str
    bars: tuple[Bars, ...]
    beyond: int
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """What distributions are compared with.

    Args:
        limits: by name of a figure, SI units.
        declared: figures of the run.
        nominal: by nominal diameter, what the die file says of a junction: g_p, g_ap in S, and tmr.
        thresholds: by nominal diameter, those of the survey for each cell, as `labctl.analysis.thresholds` has them.
    """

    limits: Mapping[str, PassRange] = field(default_factory=dict)
    declared: Figures = field(default_factory=lambda: Figures(()))
    nominal: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    thresholds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def of(self, key: str, size: str) -> tuple[Figure, PassRange] | None:
        """Return the figure of a size of which there are limits, or that of all cells; None without limits."""
        for name in (f"{key}[{size}]", key):
            if name in self.limits:
                return self.declared[name], self.limits[name]
        return None


def limit_lines(figure: Figure, limits: PassRange, factor: float | None = None) -> Iterator[Line]:
    """Yield the lines of the limits of a figure.

    Args:
        factor: turns its SI value into the unit of the chart, by default that in which it is shown; negative: turns
            the inverse of its value into it, of which a limit of 0 or less has none.
    """
    for value, sign in (
        (limits.low, "≥" if limits.low_passes else ">"),
        (limits.high, "≤" if limits.high_passes else "<"),
    ):
        inverted = factor is not None and factor < 0
        if not math.isfinite(value) or (inverted and value <= 0):
            continue
        scale = figure.factor if factor is None else factor
        at = -scale / value if inverted else value * scale
        if math.isfinite(at):
            yield Line(LineKind.LIMIT, at, f"{figure.title} {sign} {figure.text(value)}")


def distributions(counts: Counts, comparison: Comparison | None = None) -> Iterator[Distribution]:
    """Yield the distributions over cells that are not empty, those of each nominal diameter by themselves."""
    comparison = comparison or Comparison()
    sizes = counts.sizes
    for size in sizes:
        suffix, of = (f"[{size}]", f", {size}") if len(sizes) > 1 else ("", "")
        nominal = comparison.nominal.get(size, {})
        if size in counts.g_p or size in counts.g_ap:
            yield _conductance(counts, size, suffix, of, _conductance_lines(comparison, size, nominal))
        if size in counts.tmr:
            lines = [*_lines_of(comparison, "tmr", size, 100.0), *_nominal(nominal, "tmr", 100.0, "die file")]
            lines += _of_cells(comparison, size, ("low_tmr", "idle"), 100.0, "%")
            yield _tmr(counts.tmr[size], suffix, of, tuple(lines))
        if counts.to_p.get(size) or counts.to_ap.get(size):
            named = (("to P", counts.to_p.get(size)), ("to AP", counts.to_ap.get(size)))
            bars = tuple(_rungs(name, levels, 0.1) for name, levels in named if levels)
            lines = [
                line
                for key in ("v_switch", "v_switch_p", "v_switch_ap")
                for line in _lines_of(comparison, key, size, 1e3)
            ]
            yield Distribution(
                f"v_switch{suffix}", f"switching voltage{of}", "mV", "verified pulses", bars, 0, tuple(lines)
            )
    if counts.pulses:
        yield _pulses(counts.pulses)


def of_figure(figure: Figure, values: Sequence[float], limits: PassRange) -> Distribution | None:
    """Return the distribution of a figure over dies, with its limits on the axis; None if no value is finite."""
    finite = np.array([value for value in values if math.isfinite(value)]) * figure.factor
    lines = tuple(limit_lines(figure, limits))
    if not finite.size:
        return None
    ends = [*finite.tolist(), *(line.value for line in lines)]
    low, high = min(ends), max(ends)
    edge = 0.04 * (high - low) or 0.01 * abs(high) or 1.0
    width = max((float(np.ptp(finite)) or 2 * edge) / _BARS_OF_DIES, (high - low) / _BARS)
    first = math.floor((float(finite.min()) - low) / width) * width + low
    edges = first + width * np.arange(math.floor((float(finite.max()) - first) / width) + 2)
    counts, _ = np.histogram(finite, edges)
    bars = Bars("dies", tuple(map(float, edges)), tuple(map(int, counts)))
    return Distribution(figure.key, figure.title, figure.shown_unit, "dies", (bars,), len(values) - finite.size, lines)


def _lines_of(comparison: Comparison, key: str, size: str, factor: float) -> Iterator[Line]:
    if (limited := comparison.of(key, size)) is not None:
        yield from limit_lines(*limited, factor)


def _nominal(nominal: Mapping[str, float], key: str, factor: float, text: str) -> Iterator[Line]:
    if key in nominal:
        yield Line(LineKind.NOMINAL, nominal[key] * factor, text)


def _conductance_lines(comparison: Comparison, size: str, nominal: Mapping[str, float]) -> tuple[Line, ...]:
    """Return the limits of resistances, the nominal conductances, and the thresholds of the survey."""
    lines = [line for key in ("r_p", "r_ap") for line in _lines_of(comparison, key, size, -1e6)]
    lines += _nominal(nominal, "g_p", 1e6, "P by the die file")
    lines += _nominal(nominal, "g_ap", 1e6, "AP by the die file")
    return (*lines, *_of_cells(comparison, size, ("open", "stuck", "short"), 1e6, "µS"))


def _of_cells(comparison: Comparison, size: str, names: Sequence[str], factor: float, unit: str) -> Iterator[Line]:
    """Yield the lines of the survey's thresholds for each cell, those of these names that there are."""
    for name in names:
        if (value := comparison.thresholds.get(size, {}).get(name)) is not None:
            yield Line(LineKind.CELL, value * factor, f"{WORDS[name]} {value * factor:.4g} {unit}")


def _conductance(counts: Counts, size: str, suffix: str, of: str, lines: tuple[Line, ...]) -> Distribution:
    """Return P and AP on one axis from the lowest to the highest half percent of either."""
    centres = fine_centres() * 1e6
    named = (("P", counts.g_p.get(size)), ("AP", counts.g_ap.get(size)))
    sides = [(name, fine) for name, fine in named if fine is not None and fine.any()]
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
    title = f"conductance of good cells{of}"
    return Distribution(f"conductance{suffix}", title, "µS", "cells", tuple(bars), beyond, lines)


def _tmr(cells: Counter[int], suffix: str, of: str, lines: tuple[Line, ...]) -> Distribution:
    """Return the distribution of TMR from the lowest to the highest half percent of the cells."""
    levels = np.array(sorted(cells))
    n = np.array([cells[v] for v in levels.tolist()])
    share = np.cumsum(n) / n.sum()
    low, high = (float(levels[np.searchsorted(share, at)]) for at in (0.005, 0.995))
    width = max(1, math.ceil((high - low + 1) / _BARS))
    edges = np.arange(low - 0.5, high + width + 0.5, width)
    counts, _ = np.histogram(levels, edges, weights=n)
    bars = Bars("good cells", tuple(map(float, edges / 10)), tuple(map(int, np.round(counts))))
    beyond = int(n.sum() - sum(bars.counts))
    return Distribution(f"tmr{suffix}", f"TMR of good cells{of}", "%", "cells", (bars,), beyond, lines)


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
