"""The page of several runs as one HTML file that loads nothing: maps side by side, what changed, yields, every die."""

import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from markupsafe import Markup

from labctl.core.errors import BenchError, StorageError
from labctl.core.figure import Figure, Shown
from labctl.core.names import new_folder_of
from labctl.core.texts import visible
from labctl.report import charts_svg, several_changes, several_runs
from labctl.report.several_maps import colours_of_bins, maps_of
from labctl.report.several_runs import OneRun, Runs, Wafer
from labctl.report.templates import clock, day_of, packaged_text, swatch, templates, with_subscripts
from labctl.terminal.progress import counted
from protocols.statistics import binomial_interval

Column = tuple[str, str, bool, str]
"""Of a table: title, unit, whether it is text, what it is."""
Cell = tuple[Any, Any, str]
"""Of a table: text, what it is sorted by, class."""
_NAMED = 12
"""Dies of one change whose names are given."""


def write_page(folders: Sequence[Path], page: Path) -> Runs:
    """Write the page of several runs into a new file; return what it shows.

    Raises:
        BenchError: the file exists or cannot be made, or fewer than two runs are named.
        LabError: no run can be read.
        StorageError: the page cannot be written.
    """
    new_folder_of(page)
    if os.path.lexists(page):
        raise BenchError(f"{page}: it exists; nothing is ever written over: name a new file")
    these = several_runs.gather(folders)
    part = page.with_name(f".{page.name}.part")
    try:
        part.write_text(visible(html(these)), encoding="utf-8", newline="\n")
        os.replace(part, page)
    except OSError as error:
        raise StorageError(f"{page}: the page cannot be written: {error.strerror or error}") from error
    return these


def html(these: Runs) -> str:
    """Return the page."""
    now, shown = time.time(), [f for f in these.figures if f.shown is not Shown.DETAIL]
    colours = colours_of_bins(these)
    return (
        templates()
        .get_template("several.html.jinja")
        .render(
            these=these,
            headline=headline(these),
            over=", ".join(dict.fromkeys(run.name for run in these.runs)),
            made=f"{day_of(now)} {clock(now)} ({time.strftime('UTC%z', time.localtime(now))})",
            runs=_runs(these, [f for f in shown if f.shown is Shown.HEADLINE]),
            maps=list(maps_of(these, [f for f in shown if f.on_map], colours)),
            changes=[_changes(wafer, shown, colours) for wafer in these.wafers if len(wafer.runs) > 1],
            charts=list(_charts(these, [f for f in shown if f.on_map])),
            dies=[_dies(wafer, shown, colours) for wafer in these.wafers],
            css=Markup(packaged_text("report.css") + packaged_text("several.css")),
            js=Markup(packaged_text("parts.js") + '"use strict";pageParts.maps(document);pageParts.tables(document);'),
        )
    )


def headline(these: Runs) -> str:
    """Return the one line to read when there is time for one."""
    names = [wafer.name for wafer in these.wafers]
    where = f" on {names[0]}" if len(set(names)) == 1 and names[0] != "no wafer" else ""
    where = where or (f" on {counted(len(set(names)), 'wafer')}" if len(set(names)) > 1 else "")
    text = f"{counted(len(these.runs), 'run')}{where}"
    pairs = [pair for wafer in these.wafers for pair in wafer.pairs]
    if not pairs:
        return f"{text}."
    dies = {(pair[0].on, name) for pair in pairs for change in several_changes.moved(*pair) for name in change.dies}
    return (
        f"{text}: {counted(len(dies), 'die') if dies else 'no die'} changed {'their' if len(dies) > 1 else 'its'} bin."
    )


def _when(run: OneRun) -> str:
    return f"{day_of(run.state.since)} {clock(run.state.since)}"


def _runs(these: Runs, figures: Sequence[Figure]) -> tuple[list[Column], list[list[Cell]]]:
    """Return the table of the runs."""
    judged = any(run.judged for run in these.runs)
    columns: list[Column] = [
        ("run", "", True, ""),
        ("folder", "", True, ""),
        ("begun", "", True, ""),
        ("wafer", "", True, ""),
        ("dies", "", False, "of the campaign"),
    ]
    columns += _YIELD if judged else [("measured", "", False, "dies that nothing judges")]
    columns += [(f.title, f.shown_unit, False, f"median over the dies: {f.note}") for f in figures]
    rows: list[list[Cell]] = []
    for run in these.runs:
        row: list[Cell] = [
            (Markup("<b>{}</b> {}").format(run.label, run.name), run.label, "left"),
            (run.folder.name, run.folder.name, "left"),
            (_when(run), run.state.since, "left"),
            (run.on.removeprefix("wafer "), run.on, "left"),
            (len(run.dies), len(run.dies), ""),
        ]
        row += _yield(run) if judged else [(run.measured, run.measured, "")]
        medians = [_median(run, figure) for figure in figures]
        row += [(f.text_number(v), v if math.isfinite(v) else "", "") for f, v in zip(figures, medians, strict=True)]
        rows.append(row)
    return columns, rows


_YIELD: list[Column] = [
    ("with a bin", "", False, "good or bad; dies that nothing judges have none"),
    ("good", "", False, "in hard bin 1"),
    ("yield", "%", False, "good dies / dies with a bin"),
    ("95 % interval", "%", True, "of the yield, by Wilson"),
]


def _yield(run: OneRun) -> list[Cell]:
    """Return the cells of `_YIELD`."""
    judged = len(run.judged)
    if not judged:
        return [("none", 0, ""), ("–", "", ""), ("–", "", ""), ("", None, "left")]
    low, high = (100 * float(v) for v in binomial_interval(run.good, judged))
    share = run.good / judged
    interval = f"{low:.0f} to {high:.0f}"
    return [(judged, judged, ""), (run.good, run.good, ""), (f"{100 * share:.1f}", share, ""), (interval, None, "left")]


def _median(run: OneRun, figure: Figure) -> float:
    known = [value for name in run.dies if math.isfinite(value := run.value(name, figure.key))]
    return median(known) if known else math.nan


def _changes(wafer: Wafer, figures: Sequence[Figure], colours: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """Return what changed on one wafer from its first run to each later one, and how well figures repeat."""
    bins: list[list[Cell]] = []
    sums = []
    for earlier, later in wafer.pairs:
        moves, common = several_changes.moved(earlier, later), several_changes.both(earlier, later)
        changed = sum(len(move.dies) for move in moves)
        sums.append(
            f"{earlier.label} to {later.label}: {changed or 'none'} of {counted(common, 'die')} in both changed the bin"
        )
        for move in moves:
            more = f" and {len(move.dies) - _NAMED} more" if len(move.dies) > _NAMED else ""
            bins.append(
                [
                    (f"{earlier.label} to {later.label}", None, "left"),
                    (_bin(move.before, colours), move.before, "left"),
                    (_bin(move.after, colours), move.after, "left"),
                    (len(move.dies), len(move.dies), ""),
                    (", ".join(move.dies[:_NAMED]) + more, None, "reason"),
                ]
            )
    good, judged = several_changes.final(wafer)
    if judged:
        sums.append(f"By the newest run that gave a die its bin, {good} of {counted(judged, 'die')} are good")
    rows = [
        _row(known)
        for figure in figures
        for pair in wafer.pairs
        if (known := several_changes.difference(figure, *pair)) is not None
    ]
    return {"wafer": wafer, "sums": sums, "bins": (_BINS, bins), "figures": (_FIGURES, rows)}


_BINS: list[Column] = [
    ("runs", "", True, ""),
    ("from", "", True, "bin, or state of a die without one"),
    ("to", "", True, "bin, or state of a die without one"),
    ("dies", "", False, ""),
    ("which", "", True, ""),
]
_FIGURES: list[Column] = [
    ("figure", "", True, ""),
    ("runs", "", True, ""),
    ("dies", "", False, "that have the figure in both runs"),
    ("mean change", "", False, "of the dies' differences, later run less earlier run"),
    ("its spread", "", False, "standard deviation of the differences (n - 1)"),
    ("repeatability", "", False, "standard deviation of one measurement of a die: spread of the differences / sqrt(2)"),
    ("between dies", "", False, "standard deviation of the dies' own means"),
    ("greatest change", "", False, ""),
    ("of", "", True, "the die that changed most"),
]


def _row(known: several_changes.Difference) -> list[Cell]:
    figure = known.figure
    digits = figure.digits + 1 if figure.digits >= 0 else -1

    def number(value: float, sign: str = "") -> str:
        shown = value * figure.factor
        if not math.isfinite(shown):
            return "–"
        return f"{shown:{sign}.{digits}f}" if digits >= 0 else f"{shown:{sign}.4g}"

    title = f"{figure.title}, {figure.shown_unit}" if figure.shown_unit else figure.title
    return [
        (with_subscripts(title), title, "left"),
        (f"{known.earlier.label} to {known.later.label}", None, "left"),
        (known.dies, known.dies, ""),
        (number(known.mean, "+" if known.mean else ""), known.mean, ""),
        (number(known.spread), known.spread, ""),
        (number(known.repeatability), known.repeatability, ""),
        (number(known.between), known.between, ""),
        (number(known.most, "+" if known.most else ""), abs(known.most), ""),
        (known.worst if known.most else "", known.worst, "left"),
    ]


def _bin(standing: str, colours: Mapping[str, tuple[str, str]]) -> Markup:
    colour = "" if standing == "pending" else colours[standing][0]
    return Markup('<i class="bin">{}</i>{}').format(swatch(colour), standing)


def _charts(these: Runs, figures: Sequence[Figure]) -> Iterator[tuple[str, str, Markup]]:
    """Yield a chart per figure: a column of dies for each run, those of one wafer beside each other."""
    several = len(these.kinds) > 1
    for figure, of_kind in ((figure, of_kind) for figure in figures for of_kind in these.kinds):
        wafers = [[(run.label, _known(run, figure)) for run in wafer.runs] for wafer in of_kind]
        ends = {value for columns in wafers for _, values in columns for value in values.values()}
        if len(ends) > 1 and sum(bool(values) for columns in wafers for _, values in columns) > 1:
            note = f"{figure.shown_unit}; bars are medians" if figure.shown_unit else "bars are medians"
            note += f"; {of_kind[0].kind}" if several and of_kind[0].kind else ""
            yield figure.title, note, Markup(charts_svg.by_run(figure.title, figure.shown_unit, wafers))


def _known(run: OneRun, figure: Figure) -> dict[str, float]:
    """Return a figure of the dies that have it, as it is shown."""
    values = {name: run.value(name, figure.key) * figure.factor for name in run.dies}
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _dies(wafer: Wafer, figures: Sequence[Figure], colours: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """Return the table of the dies of one wafer: bin and figures of each run, beside each other by figure."""
    several = len(wafer.runs) > 1
    known = [f for f in figures if any(math.isfinite(run.value(d, f.key)) for run in wafer.runs for d in wafer.dies)]
    columns: list[Column] = [("die", "", True, "")]
    columns += [(f"bin {run.label}" if several else "bin", "", True, "") for run in wafer.runs]
    for figure in known:
        columns += [
            (f"{figure.title} {run.label}" if several else figure.title, figure.shown_unit, False, figure.note)
            for run in wafer.runs
        ]
    rows: list[list[Cell]] = []
    for order, name in enumerate(wafer.dies):
        label = Markup('<span id="die-{0}">{1}</span>').format(anchor(wafer, name), name)
        row: list[Cell] = [(label, order, "left")]
        standings = [run.standing(name) if name in run.dies else "" for run in wafer.runs]
        changed = len({run.standing(name) for run in wafer.runs if run.tried(name)}) > 1
        row += [
            (_bin(standing, colours) if standing else "not in it", standing, "left changed" if changed else "left")
            for standing in standings
        ]
        for figure in known:
            values = [run.value(name, figure.key) for run in wafer.runs]
            row += [(figure.text_number(v), v if math.isfinite(v) else "", "") for v in values]
        rows.append(row)
    return {"wafer": wafer, "columns": columns, "rows": rows}


def anchor(wafer: Wafer, die: str) -> str:
    """Return the name under which a die is found on the page: a die of another kind or wafer may have its name."""
    return f"{wafer.runs[0].label}-{die}"
