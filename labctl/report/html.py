"""The morning report as one HTML file that loads nothing: `report.html`, beside `report.json`, in the run folder."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from labctl.analysis.networks import in_words
from labctl.core.errors import StorageError
from labctl.core.events import Level
from labctl.core.texts import visible, visible_json
from labctl.files import digest
from labctl.report import page_parts, retested
from labctl.report.drawings import Drawings
from labctl.report.judged_parts import judgement_of
from labctl.report.report_data import Facts, ReportEvent, gather
from labctl.report.report_json import as_json
from labctl.report.templates import packaged_text, templates
from labctl.storage.private import rights_of
from labctl.storage.vouching import sealed_page

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
    drawn = page_parts.drawn_maps(facts)
    colours = page_parts.colours_of(drawn)
    needs = [e for e in facts.events if e.level in (Level.WARNING, Level.ALARM)]
    failed = drawings or Drawings()
    networks = page_parts.networks(facts)
    template = templates().get_template("report.html.jinja")
    return template.render(
        f=facts,
        headline=page_parts.headline(facts),
        mood=page_parts.mood(facts.alive, facts.exit_code),
        figures=page_parts.in_large(facts),
        look=_gravest(needs),
        more=max(0, len(needs) - _LOOK),
        maps=list(drawn.values()),
        marked=page_parts.marks_in_words(facts.dies),
        lies=page_parts.wafer_in_words(facts),
        columns=page_parts.columns(facts),
        rows=page_parts.rows(facts, colours),
        network_columns=page_parts.NETWORK_COLUMNS,
        networks=page_parts.network_rows(networks),
        best=in_words(networks),
        retest=retested.of_facts(facts),
        judged=judgement_of(facts, colours),
        drift=page_parts.trends(facts),
        histograms=page_parts.histograms(facts.distributions),
        spreads=list(page_parts.spreads(facts)),
        mark=lambda die: page_parts.mark(die, colours),
        in_short=lambda die: page_parts.in_short(die, facts),
        known=lambda die: page_parts.known(die, facts),
        curves=lambda die: list(page_parts.curves_of(die, facts, folder, failed)),
        after=_after,
        origin=list(_origin(facts)),
        files=list(_files(facts, folder)),
        zone=time.strftime("UTC%z", time.localtime(facts.made)),
        css=Markup(packaged_text("report.css")),
        js=Markup(packaged_text("parts.js") + packaged_text("report.js")),
    )


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
