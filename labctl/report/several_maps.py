"""Maps of several runs side by side on one scale, and of what changed from the first run on a wafer to later ones."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from labctl.core.die_state import FINAL
from labctl.core.figure import Figure, Figures
from labctl.report.rule_words import rule_in_words
from labctl.report.several_runs import OneRun, Runs, Wafer, bins_of
from labctl.report.templates import clock, day_of
from labctl.report.wafer_maps_svg import WaferPicture
from labctl.storage.run_log import DieState
from labctl.wafer_maps import palette
from labctl.wafer_maps.picture import limits, orientation, shade

Filled = Mapping[str, tuple[str, str, str]]
"""Colour, text inside and words of every die."""
_FEW = 6
"""Columns up to which a map can be small."""
Scale = tuple[tuple[str, ...], tuple[str, ...]]
"""Colours, and the numbers along them."""


@dataclass(frozen=True)
class RowOfMaps:
    """The maps of the runs on one wafer, and of what differs from the first, as (label, words, drawing).

    Args:
        note: how they lie, in words.
        wide: the wafer has many columns.
    """

    wafer: Wafer
    note: str
    maps: Sequence[tuple[str, str, str]]
    wide: bool = False


@dataclass(frozen=True)
class OneScale:
    """Maps of wafers whose dies are of one kind.

    Args:
        scale: of the figure, the same for all of them, None of bins; `change` of the differences.
    """

    rows: Sequence[RowOfMaps]
    scale: Scale | None = None
    change: Scale | None = None


@dataclass(frozen=True)
class SharedMaps:
    """Bins, or one figure, of all runs.

    Args:
        legend: of bins, (name, colour, letter, number of dies).
    """

    key: str
    title: str
    unit: str
    note: str
    kinds: Sequence[OneScale]
    legend: Sequence[tuple[str, str, str, int]] = ()


def colours_of_bins(these: Runs) -> dict[str, tuple[str, str]]:
    """Return colour and letter of every bin or state, the same on all maps."""
    counts = bins_of(these)
    good = [die.bin for run in these.runs for die in run.judged if die.last and die.last.hard == 1]
    busy = {name for name in counts if name == "not ended"}
    final = {state.value for state in FINAL} | {"pending", "left out", *busy}
    bins = sorted((n for n in counts if n not in final), key=lambda n: (n not in good, -counts[n], n))
    states = [name for name in counts if name not in bins]
    return palette.of_bins([*bins, *states], good[0] if good else "", busy)


def maps_of(these: Runs, figures: Sequence[Figure], colours: Mapping[str, tuple[str, str]]) -> Iterator[SharedMaps]:
    """Yield the maps of bins, then those of the figures that a die has."""
    counts = bins_of(these)
    legend = [(name, *look, counts[name]) for name, look in colours.items() if counts[name]]
    rows = [_row(wafer, partial(_bins, colours=colours), None) for wafer in these.wafers]
    yield SharedMaps("bin", "bin", "", "soft bin of each die, all runs in the same colours", [OneScale(rows)], legend)
    for figure in figures:
        kinds = [_of_kind(wafers, figure) for wafers in these.kinds]
        if known := [maps for maps in kinds if maps is not None]:
            yield SharedMaps(figure.key, figure.title, figure.shown_unit, figure.note, known)


def _of_kind(wafers: Sequence[Wafer], figure: Figure) -> OneScale | None:
    """Return the maps of a figure of dies of one kind, None if none of them has it."""
    runs = [run for wafer in wafers for run in wafer.runs]
    values = [v for run in runs for d in run.dies if math.isfinite(v := run.value(d, figure.key))]
    if not values:
        return None
    ends, scale = limits(values), palette.scale(figure.better)
    changes = [abs(v) for wafer in wafers for pair in wafer.pairs for v in _changes(pair, figure).values()]
    most = limits([0.0, *changes])[1] if changes else 0.0
    fill = partial(_values, figure=figure, ends=ends, scale=scale)
    change = partial(_differences, figure=figure, most=most)
    marks = f"-{figure.text_number(most)}", "0", f"+{figure.text_number(most)}"
    return OneScale(
        [_row(wafer, fill, change) for wafer in wafers],
        (scale, _marks(figure, ends, (min(values), max(values)))),
        (palette.CHANGE, marks) if most else None,
    )


def _marks(figure: Figure, ends: tuple[float, float], values: tuple[float, float]) -> tuple[str, ...]:
    low, high = (figure.text_number(end) for end in ends)
    middle = figure.text_number(sum(ends) / 2)
    return f"≤ {low}" if values[0] < ends[0] else low, middle, f"≥ {high}" if values[1] > ends[1] else high


def _row(
    wafer: Wafer,
    fill: Callable[[OneRun], Filled],
    change: Callable[[tuple[OneRun, OneRun]], Filled] | None,
) -> RowOfMaps:
    maps = []
    for k, run in enumerate(wafer.runs):
        picture = WaferPicture(list(run.dies.values()), run.wafer)
        words = f"{run.name}, {day_of(run.state.since)} {clock(run.state.since)}"
        svg = picture.draw(fill(run), f"run {run.label}", beside=k * 2 * picture.layout.box[2])
        maps.append((run.label, words, _linked(svg, wafer)))
    for k, (earlier, later) in enumerate(wafer.pairs):
        if change is None:
            break
        dies = [die for name, die in later.dies.items() if name in earlier.dies]
        picture = WaferPicture(dies, later.wafer)
        filled = change((earlier, later))
        if any(colour for colour, _, _ in filled.values()):
            label = f"{later.label} less {earlier.label}"
            svg = picture.draw(filled, label, beside=(len(wafer.runs) + k) * 2 * picture.layout.box[2])
            maps.append((label, "", _linked(svg, wafer)))
    known = [run.wafer for run in wafer.runs if run.wafer.places]
    n_cols = max(WaferPicture(list(run.dies.values()), run.wafer).layout.n_cols for run in wafer.runs)
    return RowOfMaps(wafer, orientation(known[0].notch) if known else "", maps, n_cols > _FEW)


def _linked(svg: str, wafer: Wafer) -> str:
    """Return a map whose dies lead to their rows in the table of this wafer."""
    return svg.replace('href="#die-', f'href="#die-{wafer.runs[0].label}-')


def _bins(run: OneRun, colours: Mapping[str, tuple[str, str]]) -> Filled:
    filled, declared = {}, Figures.of_run(run.state.meta)
    for name, die in run.dies.items():
        standing = run.standing(name)
        colour, letter = colours[standing]
        words = f"{run.label}, {_words(die, standing, declared)}"
        filled[name] = ("" if standing == "pending" else colour, letter, words)
    return filled


def _words(die: DieState, standing: str, declared: Figures) -> str:
    rule = rule_in_words(die.last.rule, declared) if die.last else ""
    why = die.reason.splitlines()[0] if die.reason else rule
    return f"{die.name}: {standing}{f' ({why})' if why else ''}"


def _values(run: OneRun, figure: Figure, ends: tuple[float, float], scale: Sequence[str]) -> Filled:
    low, high = ends
    filled = {}
    for name in run.dies:
        value = run.value(name, figure.key)
        words = f"{run.label}, {name}: {figure.title} {figure.text(value)}; {run.standing(name)}"
        level = 0.5 if high == low else (value - low) / (high - low)
        known = math.isfinite(value)
        filled[name] = (shade(scale, level) if known else "", figure.text_number(value) if known else "", words)
    return filled


def _changes(pair: tuple[OneRun, OneRun], figure: Figure) -> dict[str, float]:
    earlier, later = pair
    changes = {n: later.value(n, figure.key) - earlier.value(n, figure.key) for n in later.dies if n in earlier.dies}
    return {name: value for name, value in changes.items() if math.isfinite(value)}


def _differences(pair: tuple[OneRun, OneRun], figure: Figure, most: float) -> Filled:
    earlier, later = pair
    changes, filled = _changes(pair, figure), {}
    for name in (n for n in later.dies if n in earlier.dies):
        if name not in changes:
            filled[name] = ("", "", f"{name}: {figure.title} is not known in both runs")
            continue
        value = changes[name]
        number = figure.text_number(value)
        number = number.lstrip("-") if not set(number) & set("123456789") else f"+{number}" if value > 0 else number
        words = f"{name}: {figure.title} {figure.text(earlier.value(name, figure.key))}, then "
        words += figure.text(later.value(name, figure.key))
        filled[name] = (shade(palette.CHANGE, 0.5 + 0.5 * value / most if most else 0.5), number, words)
    return filled
