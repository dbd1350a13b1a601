"""The parts of the page of a run as HTML, made by what makes those of the report: one definition of each number."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from labctl.analysis.distributions import distributions
from labctl.analysis.measurements import Counts
from labctl.analysis.networks import in_words
from labctl.core.errors import LabError, NotThereError
from labctl.core.texts import visible
from labctl.report import page_parts, retested
from labctl.report.bench_state import LIVE
from labctl.report.drawings import Drawings
from labctl.report.formulas import formulas_of
from labctl.report.judged_parts import judgement_of
from labctl.report.live_screen import disk, ends
from labctl.report.live_state import Now
from labctl.report.report_data import DieFacts, Facts
from labctl.report.run_folder import SOMEBODY
from labctl.report.templates import templates
from labctl.report.wafer_maps_svg import Map
from labctl.serve.run_list import Listed
from labctl.terminal.progress import counted

HOME = "labctl.serve"
NAMES = ("head", "now", "alarms", "maps", "dies", "trends", "cells")
"""The parts of the page of a run, from the top."""


def of_now(now: Now, facts: Facts) -> dict[str, str]:
    """Return the parts that say where a run stands."""
    text = now.text.removesuffix(f"; {now.bench}") if now.bench else now.text
    return {
        "head": _drawn(
            "head",
            now=now,
            headline=page_parts.headline(facts),
            mood=page_parts.mood(now.alive, now.exit_code),
            text=text,
            by="" if now.alive == SOMEBODY else now.alive,
            live=now.bench.startswith(LIVE),
            rehearsal=facts.rehearsal,
            retest=retested.of_facts(facts),
        ),
        "now": _drawn(
            "now",
            now=now,
            large=page_parts.in_large(facts)[:1],
            ends=ends(now) if now.left is not None else "",
            disk=disk(now),
        ),
        "alarms": _drawn("alarms", now=now, more=now.warnings - len(now.alarms)),
    }


def drawn_maps(facts: Facts) -> dict[str, Map]:
    """Return the maps of the figures of a run by key."""
    return {key: drawn for key, drawn in page_parts.drawn_maps(facts).items() if key != page_parts.BINS}


def maps(facts: Facts, figures: Mapping[str, Map]) -> str:
    """Return the map of bins, and those of figures, which were drawn."""
    drawn = [page_parts.bin_map(facts), *figures.values()]
    words = {"marked": page_parts.marks_in_words(facts.dies), "lies": page_parts.wafer_in_words(facts)}
    return _drawn("maps", maps=drawn, **words)


def of_facts(facts: Facts, figures: Mapping[str, Map], waiting: int) -> dict[str, str]:
    """Return the parts that show what the dies are.

    Args:
        figures: the maps of figures.
        waiting: dies that were not read yet.
    """
    colours = page_parts.colours_of({page_parts.BINS: page_parts.bin_map(facts)})
    spread, networks = list(page_parts.spreads(facts)), page_parts.networks(facts)
    unread = f"{counted(waiting, 'die')} not yet read" if waiting else ""
    return {
        "maps": maps(facts, figures),
        "dies": _drawn(
            "dies",
            columns=page_parts.columns(facts),
            rows=page_parts.rows(facts, colours),
            texts=facts.accuracies,
            network_columns=page_parts.NETWORK_COLUMNS,
            networks=page_parts.network_rows(networks),
            best=in_words(networks),
            judged=judgement_of(facts, colours),
            waiting=unread,
        ),
        "trends": _drawn("trends", charts=page_parts.trends(facts), golden=bool(facts.golden)),
        "cells": _drawn(
            "cells",
            charts=[*page_parts.histograms(facts.distributions), *spread],
            waiting=unread,
        ),
    }


def die(one: DieFacts, facts: Facts, folder: Path, counts: Counts) -> str:
    """Return all that is known of one die.

    Args:
        counts: its distributions.
    """
    drawings, charts = Drawings(), list[page_parts.Chart]()
    try:
        charts = list(page_parts.curves_of(one, facts, folder, drawings))
    except LabError as error:
        return problem(error)
    return _drawn(
        "one_die",
        die=one,
        known=page_parts.known(one, facts),
        curves=[*page_parts.histograms(list(distributions(counts, facts.comparison))), *charts],
        mark=page_parts.mark(one, page_parts.colours_of({page_parts.BINS: page_parts.bin_map(facts)})),
    )


def unreadable(folder: Path, error: LabError) -> str:
    """Return the head of the page of a run that cannot be read."""
    kind = "nothing to be shown" if isinstance(error, NotThereError) else "cannot be read"
    return _drawn("unreadable", name=folder.name, kind=kind, text=visible(str(error)))


def problem(error: LabError) -> str:
    """Return why a part cannot be shown."""
    return _drawn("problem", text=visible(str(error)))


def runs(listed: tuple[Listed, ...]) -> str:
    """Return the list of runs."""
    return _drawn("runs", runs=[(run, page_parts.mood(run.alive, run.exit_code)) for run in listed])


def prepare() -> None:
    """Load what the first look at a run needs, before there is one that goes on: protocols, HDF5 and the templates."""
    import_module("labctl.storage.hdf5_reader")
    formulas_of({})
    for name in ("run", "login", "run_parts"):
        templates(HOME).get_template(f"{name}.html.jinja")


def page(name: str, /, **values: Any) -> str:
    """Return a whole page."""
    return visible(templates(HOME).get_template(f"{name}.html.jinja").render(**values))


def _drawn(part: str, /, **values: Any) -> str:
    macros: Mapping[str, Any] = vars(templates(HOME).get_template("run_parts.html.jinja").module)
    return visible(str(macros[part](**values)))
