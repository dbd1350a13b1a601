"""Parts of a page about a run, the same in the morning report and on the live page: headline, maps, tables, charts."""

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from statistics import median
from typing import Any

from markupsafe import Markup
from rich.filesize import decimal

from labctl.analysis.distributions import Distribution
from labctl.analysis.networks import NetworkOverDies, over_dies
from labctl.config.bins import unjudged
from labctl.core.die_state import FINAL
from labctl.core.errors import StorageError
from labctl.core.exit_codes import ExitCode
from labctl.core.figure import Figure, Shown, split_name
from labctl.core.picture import Curves
from labctl.report import charts_svg
from labctl.report.die_pictures import curves
from labctl.report.drawings import Drawings
from labctl.report.judgement import outside
from labctl.report.report_data import DieFacts, Facts
from labctl.report.retested import bins_of, final, first_pass
from labctl.report.templates import swatch
from labctl.report.wafer_maps_svg import Map, maps
from labctl.storage.results import DieData
from labctl.storage.run_log import folder_of
from labctl.terminal.progress import counted, duration
from labctl.wafer_maps.picture import orientation

Chart = tuple[str, str, Markup]
"""Title, note and drawing."""
_MOODS: Mapping[int | None, str] = {
    ExitCode.GOOD: "ok",
    ExitCode.OTHER_BIN: "mixed",
    ExitCode.STOPPED: "mixed",
    ExitCode.OPERATOR: "mixed",
}
BINS = "bin"
"""Key of the map of bins."""
_POINTS = 2000
"""Points of the curves of one die that are drawn on the page."""


def mood(alive: str, exit_code: int | None) -> str:
    """Return the class by which a page colours the state of a run."""
    return "live" if alive else _MOODS.get(exit_code, "bad")


def headline(facts: Facts) -> str:
    """Return the one line to read when there is time for one."""
    n = facts.meant
    if facts.exit_code == ExitCode.NOT_OFF:
        return "Go to the bench: outputs may be live."
    done = sum(d.state in FINAL for d in facts.dies)
    if facts.exit_code is None and done < n:
        without = facts.without_verdict and not facts.good
        verdict = f"{facts.without_verdict} measured" if without else f"{facts.good} good"
        return f"{done} of {counted(n, 'die')} done, {verdict}."
    for number, kind in ((facts.good, "good"), (facts.without_verdict, f"measured; {unjudged(facts.limits)}")):
        if number == n:
            return f"All {counted(n, 'die')} are {kind}." if n != 1 else f"The die is {kind}."
    return f"{facts.tally}."


def in_large(facts: Facts) -> list[tuple[str, str, str]]:
    """Return what stands in large type: (name, value, note)."""
    rest = len(facts.dies) - facts.meant
    title, number = "good dies", facts.good
    if facts.without_verdict and not facts.good:
        title, number = f"measured dies; {unjudged(facts.limits)}", facts.without_verdict
    rows = [(title, f"{number} / {facts.meant}", f"{counted(rest, 'die')} left out" if rest else "")]
    if facts.retest is not None:
        after = final(facts.retest, bins_of(facts))
        for name, one in (("first-pass yield", first_pass(facts.retest)), ("final yield", after)):
            rows.append((name, f"{100 * one.share:.1f} %", f"{one.good} of {one.dies} dies"))
    for figure in (f for f in facts.figures if f.shown is Shown.HEADLINE):
        values = [v for d in facts.dies if (v := d.figures.get(figure.key)) is not None and math.isfinite(v)]
        if values:
            note = f"median; {figure.text_number(min(values))} to {figure.text_number(max(values))}"
            rows.append((figure.title, figure.text(median(values)), note if len(values) > 1 else ""))
    simulated, ended = facts.body.startswith("simulated"), facts.exit_code in (ExitCode.GOOD, ExitCode.OTHER_BIN)
    foretold = facts.predicted.get("seconds", 0.0)
    note = f"{duration(foretold)} predicted{' for a bench' if simulated else ''}" if foretold else ""
    against = "" if simulated or not ended else _against(facts.seconds, foretold)
    rows.append(("time taken", duration(facts.seconds), note + against))
    foretold = facts.predicted.get("bytes", 0.0)
    against = _against(facts.bytes, foretold) if ended else ""
    note = f"{decimal(int(foretold))} predicted{against}" if foretold else ""
    rows.append(("on disk", decimal(int(facts.bytes)), note))
    tries = sum(max(0, len(d.tries) - 1) for d in facts.dies)
    if tries:
        rows.append(("further tries", str(tries), f"on {counted(sum(len(d.tries) > 1 for d in facts.dies), 'die')}"))
    return rows


def _against(taken: float, foretold: float) -> str:
    """Return by how much what happened differs from what was foretold."""
    return f" ({taken / foretold - 1:+.0%})" if foretold else ""


def marks_in_words(dies: Sequence[DieFacts]) -> str:
    """Return what the marks on maps mean, those that there are."""
    notes = ["a white corner marks a die in doubt"] if any(d.suspect for d in dies) else []
    notes += ["each dot a further try"] if any(len(d.tries) > 1 for d in dies) else []
    return f"{'; '.join(notes).capitalize()}." if notes else ""


def wafer_in_words(facts: Facts) -> str:
    """Return which wafer the maps are of, and how it lies, "" of dies that no map places."""
    wafer = facts.wafer
    if wafer is None or not wafer.places:
        return ""
    lot = f", lot {wafer.lot}" if wafer.lot else ""
    untouched = len(set(wafer.places) - {die.at for die in facts.dies})
    outlined = f"; {counted(untouched, 'die')} of the wafer, outlined, not of this run" if untouched else ""
    return f"Wafer {wafer.wafer}{lot}: {orientation(wafer.notch)}{outlined}."


def _shown(facts: Facts) -> list[Figure]:
    """Return the figures of the table of dies that at least one of them has."""
    return [f for f in facts.figures if f.shown is not Shown.DETAIL and any(f.key in d.figures for d in facts.dies)]


def columns(facts: Facts) -> list[tuple[str, str, bool, str]]:
    """Return the headings of the table of dies: title, unit, whether it is text, and what it is."""
    figures = [(f.title, f.shown_unit, False, f.note) for f in _shown(facts)]
    why = [("why", "", True, "")] if any(_why(d) for d in facts.dies) else []
    before = [] if facts.retest is None else [("before", "", True, "soft bin in the run whose dies are measured again")]
    first = [
        ("die", "", True, ""),
        ("bin", "", True, "soft bin"),
        *before,
        ("hard bin", "", False, "its number; 1 is good, 99 measured and judged by nothing"),
        ("tries", "", False, ""),
    ]
    return [*first, *figures, *why]


def _why(die: DieFacts) -> str:
    """Return what the table says of a die that is not good, or in doubt."""
    reasons = ["in doubt"] if die.suspect else []
    if not (die.good or die.is_measured):
        reasons += [die.reason.splitlines()[0] if die.reason else die.because]
    return "; ".join(filter(None, reasons))


def rows(facts: Facts, colours: Mapping[str, str]) -> list[list[tuple[Any, Any, str]]]:
    """Return the table of the dies as (text, what it is sorted by, class)."""
    shown, table = _shown(facts), []
    for order, d in enumerate(facts.dies):
        name = Markup(f'<a href="#die-{escape(d.name)}">{escape(d.name)}</a>')
        figures = [
            (f.text_number(d.figures.get(f.key)), d.figures.get(f.key, ""), "out" if outside(d, f.key, facts) else "")
            for f in shown
        ]
        table.append(
            [
                (name, order, "left"),
                (mark(d, colours) + (d.bin or d.state), d.bin or d.state, "left"),
                *_before(d, facts),
                (d.hard or "", d.hard or "", ""),
                (len(d.tries) or "", len(d.tries) or "", ""),
                *figures,
                *([(_why(d), None, "reason")] if any(_why(die) for die in facts.dies) else []),
            ]
        )
    return table


def networks(facts: Facts) -> list[NetworkOverDies]:
    """Return the networks of a run on test samples, each over the dies on which it was inferred."""
    return over_dies((d.name, d.measured.networks) for d in facts.valid)


NETWORK_COLUMNS = (
    ("network", "", False, "number of the solution in its file"),
    ("dies", "", False, "on which it was inferred; the others are means over them"),
    ("write fidelity", "%", False, "placed cells that read back as written, an open one never / placed cells"),
    ("accuracy", "%", False, "test samples, on hardware, network scale tuned"),
    ("software", "%", False, "test samples, the same network in software, network scale tuned there"),
    ("drop", "points", False, "software less accuracy"),
    ("worst die", "%", True, "where its accuracy is lowest"),
)


def network_rows(of_run: Sequence[NetworkOverDies]) -> list[list[tuple[Any, Any, str]]]:
    """Return the table of networks over dies, with the headings of `NETWORK_COLUMNS`, as `rows` does."""

    def percent(ratio: float | None, digits: int = 1) -> tuple[str, float, str]:
        return ("–", -1.0, "") if ratio is None else (f"{100 * ratio:.{digits}f}", ratio, "")

    table = []
    for one in of_run:
        name, lowest = one.worst
        link = Markup('<a href="#die-{0}">{0}</a> {1:.1f}').format(name, 100 * lowest)
        numbers = [percent(one.fidelity, 2), *map(percent, (one.accuracy, one.software, one.drop))]
        table.append([(one.solution, one.solution, ""), (one.dies, one.dies, ""), *numbers, (link, lowest, "left")])
    return table


def _before(die: DieFacts, facts: Facts) -> list[tuple[Any, Any, str]]:
    """Return the bin of a die before a retest; nothing in a run that is none."""
    if facts.retest is None:
        return []
    given = facts.retest.before.get(die.name)
    return [(given.name if given else "", given.name if given else "", "left")]


def in_short(die: DieFacts, facts: Facts) -> str:
    """Return the figures of a die that stand beside its name."""
    chosen = [f for f in facts.figures if f.shown is Shown.HEADLINE and f.key in die.figures]
    figures = [f"{f.title} {f.text(die.figures[f.key])}" for f in chosen]
    tries = [f"{len(die.tries)} tries"] if len(die.tries) > 1 else []
    return " · ".join([*figures, *tries])


def known(die: DieFacts, facts: Facts) -> list[tuple[str, str]]:
    """Return the figures of a die, in words."""
    figures = [(f.title, f.text(die.figures[f.key])) for f in facts.figures if f.key in die.figures]
    for name, ohm in die.measured.contact.items():
        figures.append((f"contact, pads {name}", f"{ohm:.3g} Ω"))
    return figures


def curves_of(die: DieFacts, facts: Facts, folder: Path, drawings: Drawings) -> Iterator[Chart]:
    """Yield the curves that the run declares, of the newest try of a die, where few enough to be seen."""
    declared = [one for one in facts.pictures if isinstance(one.picture, Curves)]
    if not declared or not die.file:
        return
    last = die.tries[-1] if die.tries else None
    file, sha256 = (folder_of(die.name, last.number), last.sha256) if last else (die.name, "")
    data = DieData.of_run(folder, die.name, file, sha256)
    try:
        names = data.tables
        tables = {table: data.table(table) for table in {one.picture.table for one in declared} if table in names}
    except StorageError:  # the die's note says so
        return
    for one in declared:
        picture, svg, note = one.picture, "", ""
        if picture.table not in tables or not isinstance(picture, Curves):
            continue
        with drawings.of(one):
            drawn = list(curves(tables[picture.table], picture))
            many = sum(x.size for _, x, _ in drawn) > _POINTS
            svg = "" if many else charts_svg.curves(picture, drawn)
            note = "too many points for this page: labctl show --plot draws them" if many else ""
        if svg or note or (note := drawings.why(one)):
            yield picture.title, note, Markup(svg)


def spreads(facts: Facts) -> Iterator[Chart]:
    """Yield the charts of the spread over the cells of every die."""
    groups = dict.fromkeys(split_name(name)[1] for d in facts.valid for name in d.measured.spreads)
    for group in groups:
        suffix, of = (f"[{group}]", f", {group},") if group else ("", "")
        for names, title, unit, factor in (
            (("g_p", "g_ap"), "conductance", "µS", 1e6),
            (("tmr",), "TMR", "%", 100.0),
        ):
            drawn = next((d for d in facts.distributions if d.key in _same(title, group)), None)
            lines = () if drawn is None else drawn.lines
            svg = charts_svg.spreads(
                facts.valid, [name + suffix for name in names], f"{title}{of}", unit, factor, lines
            )
            if svg:
                yield f"{title}{of} of every die", "", Markup(svg)


def _same(title: str, group: str) -> tuple[str, ...]:
    """Return the keys of the distribution that is of the same cells as a chart of spreads."""
    key = title.lower()
    return (f"{key}[{group}]",) if group else (key,)


def drawn_maps(facts: Facts) -> dict[str, Map]:
    """Return the maps of a run by key: that of bins, then those of figures."""
    return {m.key: m for m in maps(facts.dies, facts.bins, [f for f in facts.figures if f.on_map], facts.wafer)}


def bin_map(facts: Facts) -> Map:
    """Return the map of bins alone."""
    return maps(facts.dies, facts.bins, (), facts.wafer)[0]


def colours_of(drawn: Mapping[str, Map]) -> dict[str, str]:
    """Return the colour of each bin, or state, of the maps of a run."""
    return {name: colour for name, colour, _, _ in drawn[BINS].legend}


def mark(die: DieFacts, colours: Mapping[str, str]) -> Markup:
    """Return the colour of a die's bin as a small square."""
    colour = "" if die.state == "pending" else colours.get(die.bin or die.state, "")
    return Markup('<i class="bin">{}</i>').format(swatch(colour))


def trends(facts: Facts) -> list[Chart]:
    """Return the charts of figures against time."""
    return [(s.title, "", Markup(charts_svg.against_time(s))) for s in facts.series]


def histograms(distributions: Sequence[Distribution]) -> list[Chart]:
    """Return the charts of distributions over cells; a note names limits that are too far away for the axis."""
    charts = []
    for d in distributions:
        low, high = min(b.edges[0] for b in d.bars), max(b.edges[-1] for b in d.bars)
        shown = charts_svg.near(d.lines, low, high)
        notes = [f"{d.beyond:,} {d.what}"] if d.beyond else []
        notes += [line.text for line in d.lines if line not in shown]
        beyond = f"beyond the axis: {', '.join(notes)}" if notes else ""
        charts.append((d.title, beyond, Markup(charts_svg.histogram(d))))
    return charts
