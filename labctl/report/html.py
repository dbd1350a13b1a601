"""The morning report as one HTML file that loads nothing: `report.html`, beside `report.json`, in the run folder."""

import math
import os
import re
import time
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files as packaged
from pathlib import Path
from statistics import median
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from rich.filesize import decimal

from labctl.config.bins import NO_LIMITS
from labctl.core.die_state import FINAL
from labctl.core.errors import StorageError
from labctl.core.events import Level
from labctl.core.exit_codes import ExitCode
from labctl.core.figure import Figure, Shown, split_name
from labctl.core.picture import Curves
from labctl.core.texts import visible, visible_json
from labctl.files import digest
from labctl.report import charts_svg, palette
from labctl.report.die_pictures import curves
from labctl.report.drawings import Drawings
from labctl.report.report_data import DieFacts, Facts, ReportEvent, as_json, gather
from labctl.report.wafer_maps_svg import maps
from labctl.storage.private import rights_of
from labctl.storage.results import DieData
from labctl.storage.run_log import folder_of
from labctl.storage.vouching import sealed_page
from labctl.terminal.progress import counted, duration

MOODS: dict[int | None, str] = {
    ExitCode.GOOD: "ok",
    ExitCode.OTHER_BIN: "mixed",
    ExitCode.STOPPED: "mixed",
    ExitCode.OPERATOR: "mixed",
}
_POINTS = 2000
"""Points of the curves of one die that are drawn on the page."""
_LOOK = 8
"""Warnings and alarms that stand at the top; the others are among the events."""


def write_report(folder: Path, drawings: Drawings | None = None) -> Path:
    """Write ``report.json`` and ``report.html`` into a run folder, from that folder alone; return the page.

    Each takes the place of an earlier one in one step, so that nobody ever opens half a page.

    Args:
        drawings: keeps what could not be drawn; on the page it says so in its place.

    Raises:
        StorageError: there is no run there, its journal is damaged, or the folder cannot be written.
    """
    facts = gather(folder)
    texts = (
        ("report.json", visible_json(as_json(facts))),
        ("report.html", sealed_page(visible(page(facts, folder, drawings)))),
    )
    for name, text in texts:
        part = folder / f"{name}.part"
        try:
            with rights_of(folder):
                part.write_text(text, encoding="utf-8", newline="\n")
            os.replace(part, folder / name)
        except OSError as error:
            raise StorageError(f"{folder / name}: the report cannot be written: {error.strerror or error}") from error
    return folder / "report.html"


def page(facts: Facts, folder: Path, drawings: Drawings | None = None) -> str:
    """Return the page; `folder` is looked at for the files that the run keeps, to compare their digests."""
    home = packaged("labctl.report")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    look_of = {m.key: m for m in maps(facts.dies, facts.bins, [f for f in facts.figures if f.on_map])}
    colours = {name: colour for name, colour, _, _ in look_of["bin"].legend}
    environment.filters |= {
        "clock": clock,
        "day": _day,
        "day_if_other": lambda utc, other: "" if _day(utc) == _day(other) else f"{_day(utc)} ",
        "duration": duration,
        "times": lambda n: "once" if n == 1 else f"{n} times",
        "first_line": lambda text: text.splitlines()[0] if text else "",
        "capitalise": lambda text: text[:1].upper() + text[1:],
        "link": lambda name: Markup(f'<a href="#die-{escape(name)}">{escape(name)}</a>'),
        "ink": palette.ink,
        "sub": lambda text: Markup(re.sub(r"\bR_(A?P)\b", r"R<sub>\1</sub>", str(escape(text)))),
        "percent": lambda value, digits: "" if value is None else f"{100 * value:.{digits}f}",
        "size": lambda number: decimal(int(number)),
        "after": _after,
        "bin_mark": lambda die: _mark(die, colours),
        "in_short": lambda die: _in_short(die, facts),
        "known": lambda die: _known(die, facts),
        "curves": lambda die: list(_curves(die, facts, folder, drawings or Drawings())),
    }
    needs = [e for e in facts.events if e.level in (Level.WARNING, Level.ALARM)]
    drawn = [{**vars(m), "large": Markup(m.large), "small": Markup(m.small)} for m in look_of.values()]
    return environment.from_string((home / "report.html.jinja").read_text(encoding="utf-8")).render(
        f=facts,
        headline=headline(facts),
        mood="live" if facts.alive else MOODS.get(facts.exit_code, "bad"),
        figures=_figures(facts),
        look=_gravest(needs),
        more=max(0, len(needs) - _LOOK),
        maps=drawn,
        marked=_marked(facts.dies),
        columns=_columns(facts),
        rows=_rows(facts, colours),
        drift=[(s.title, "", Markup(charts_svg.against_time(s))) for s in facts.series],
        histograms=[
            (d.title, f"{d.beyond:,} beyond the axis" if d.beyond else "", Markup(charts_svg.histogram(d)))
            for d in facts.distributions
        ],
        spreads=list(_spreads(facts)),
        origin=list(_origin(facts)),
        files=list(_files(facts, folder)),
        zone=time.strftime("UTC%z", time.localtime(facts.made)),
        css=Markup((home / "report.css").read_text(encoding="utf-8")),
        js=Markup((home / "report.js").read_text(encoding="utf-8")),
    )


def headline(facts: Facts) -> str:
    """Return the one line to read when there is time for one."""
    n = facts.meant
    if facts.exit_code == ExitCode.NOT_OFF:
        return "Go to the bench: outputs may be live."
    done = sum(d.state in FINAL for d in facts.dies)
    if facts.exit_code is None and done < n:
        unjudged = facts.without_verdict and not facts.good
        verdict = f"{facts.without_verdict} measured" if unjudged else f"{facts.good} good"
        return f"{done} of {counted(n, 'die')} done, {verdict}."
    for number, kind in ((facts.good, "good"), (facts.without_verdict, f"measured; {NO_LIMITS}")):
        if number == n:
            return f"All {counted(n, 'die')} are {kind}." if n != 1 else f"The die is {kind}."
    return f"{facts.tally}."


def clock(utc: float, seconds: bool = False) -> str:
    """Return s since 1970 as the clock of this place shows it."""
    return time.strftime("%H:%M:%S" if seconds else "%H:%M", time.localtime(utc))


def _day(utc: float) -> str:
    return time.strftime("%a %d %b %Y", time.localtime(utc))


def _after(seconds: float) -> str:
    """Return a time since the start.

    >>> _after(3725.4), _after(-3)
    ('1:02:05', '–')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 0 else "–"


def _gravest(events: Sequence[ReportEvent]) -> list[ReportEvent]:
    """Return the gravest, in their order; what another says of the same die as well is left out."""
    texts = {(e.die, e.text) for e in events}
    events = [e for e in events if not any(d == e.die and t != e.text and e.text in t for d, t in texts)]
    alarms = [e for e in events if e.level == Level.ALARM][:_LOOK]
    warnings = [e for e in events if e.level == Level.WARNING][: _LOOK - len(alarms)]
    return sorted([*alarms, *warnings], key=lambda e: e.seq)


def _figures(facts: Facts) -> list[tuple[str, str, str]]:
    """Return what stands in large type: (name, value, note)."""
    rest = len(facts.dies) - facts.meant
    title, number = "good dies", facts.good
    if facts.without_verdict and not facts.good:
        title, number = f"measured dies; {NO_LIMITS}", facts.without_verdict
    rows = [(title, f"{number} / {facts.meant}", f"{counted(rest, 'die')} left out" if rest else "")]
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


def _marked(dies: Sequence[DieFacts]) -> str:
    """Return what the marks on maps mean, those that there are."""
    notes = ["a white corner marks a die in doubt"] if any(d.suspect for d in dies) else []
    notes += ["each dot a further try"] if any(len(d.tries) > 1 for d in dies) else []
    return f"{'; '.join(notes).capitalize()}." if notes else ""


def _shown(facts: Facts) -> list[Figure]:
    """Return the figures of the table of dies that at least one of them has."""
    return [f for f in facts.figures if f.shown is not Shown.DETAIL and any(f.key in d.figures for d in facts.dies)]


def _columns(facts: Facts) -> list[tuple[str, str, bool, str]]:
    """Return the headings of the table of dies: title, unit, whether it is text, and what it is."""
    figures = [(f.title, f.shown_unit, False, f.note) for f in _shown(facts)]
    why = [("why", "", True, "")] if any(_why(d) for d in facts.dies) else []
    first = [
        ("die", "", True, ""),
        ("bin", "", True, "soft bin"),
        ("hard", "", False, "hard bin"),
        ("tries", "", False, ""),
    ]
    return [*first, *figures, *why]


def _why(die: DieFacts) -> str:
    """Return what the table says of a die that is not good, or in doubt."""
    reasons = ["in doubt"] if die.suspect else []
    if not (die.good or die.is_measured):
        reasons += [die.reason.splitlines()[0] if die.reason else die.rule]
    return "; ".join(filter(None, reasons))


def _rows(facts: Facts, colours: dict[str, str]) -> list[list[tuple[Any, Any, str]]]:
    """Return the table of the dies as (text, what it is sorted by, class)."""
    shown, rows = _shown(facts), []
    for order, d in enumerate(facts.dies):
        name = Markup(f'<a href="#die-{escape(d.name)}">{escape(d.name)}</a>')
        figures = [(f.text_number(d.figures.get(f.key)), d.figures.get(f.key, ""), "") for f in shown]
        rows.append(
            [
                (name, order, "left"),
                (_mark(d, colours) + (d.bin or d.state), d.bin or d.state, "left"),
                (d.hard or "", d.hard or "", ""),
                (len(d.tries) or "", len(d.tries) or "", ""),
                *figures,
                *([(_why(d), None, "reason")] if any(_why(die) for die in facts.dies) else []),
            ]
        )
    return rows


def _mark(die: DieFacts, colours: dict[str, str]) -> Markup:
    colour = colours.get(die.bin or die.state, "transparent")
    return Markup(f'<i class="bin" style="background: {colour if die.state != "pending" else "none"}"></i>')


def _in_short(die: DieFacts, facts: Facts) -> str:
    """Return the figures of a die that stand beside its name."""
    chosen = [f for f in facts.figures if f.shown is Shown.HEADLINE and f.key in die.figures]
    figures = [f"{f.title} {f.text(die.figures[f.key])}" for f in chosen]
    tries = [f"{len(die.tries)} tries"] if len(die.tries) > 1 else []
    return " · ".join([*figures, *tries])


def _known(die: DieFacts, facts: Facts) -> list[tuple[str, str]]:
    """Return the figures of a die, in words."""
    figures = [(f.title, f.text(die.figures[f.key])) for f in facts.figures if f.key in die.figures]
    for name, ohm in die.measured.contact.items():
        figures.append((f"contact, pads {name}", f"{ohm:.3g} Ω"))
    return figures


def _curves(die: DieFacts, facts: Facts, folder: Path, drawings: Drawings) -> Iterator[tuple[str, str, Markup]]:
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


def _spreads(facts: Facts) -> Any:
    groups = dict.fromkeys(split_name(name)[1] for d in facts.dies for name in d.measured.spreads)
    for group in groups:
        suffix, of = (f"[{group}]", f", {group},") if group else ("", "")
        for names, title, unit, factor in (
            (("g_p", "g_ap"), "conductance", "µS", 1e6),
            (("tmr",), "TMR", "%", 100.0),
        ):
            svg = charts_svg.spreads(facts.dies, [name + suffix for name in names], f"{title}{of}", unit, factor)
            if svg:
                yield f"{title}{of} of every die", "", Markup(svg)


def _origin(facts: Facts) -> Any:
    p = facts.provenance
    argv = " ".join(str(a) for a in p.get("argv", ()))
    for name, value in (
        ("run folder", facts.path),
        ("typed", argv),
        ("in folder", p.get("cwd")),
        ("dies", facts.body),
        ("seed", p.get("seed")),
        ("set on the command line", ", ".join(f"{k}={v}" for k, v in p.get("set", {}).items())),
        ("operator", p.get("operator")),
        ("temperature", f"{p['temperature']:g} K" if p.get("temperature") else ""),
        ("time zone", p.get("time_zone")),
        ("host", " ".join(str(p[k]) for k in ("host", "machine") if k in p)),
        ("git commit", p.get("git_commit")),
        ("versions", ", ".join(f"{k} {v}" for k, v in p.get("versions", {}).items())),
        *((f"instrument {k}", v) for k, v in facts.identities.items()),
        *((f"calibration of {k}", v) for k, v in facts.calibrations.items()),
    ):
        if value not in (None, ""):
            yield name, value


def _files(facts: Facts, folder: Path) -> Any:
    """Yield the files that the run keeps, and whether they are still what they were; then what it read of packages."""
    for name, kept in facts.provenance.get("files", {}).items():
        path = folder / "files" / name
        try:
            same = digest(path.read_bytes()) == kept["sha256"]
            now = "as it was" if same else "CHANGED"
        except OSError:
            now = "missing"
        yield name, kept["path"], kept["sha256"], now
    for name, sha256 in facts.provenance.get("shipped", {}).items():
        yield name, "installed with its distribution", sha256, ""
