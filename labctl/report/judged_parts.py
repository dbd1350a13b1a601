"""Parts of a page about limits, yields and what failed, the same in the morning report and on the live page."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from labctl.analysis.capability import Capability
from labctl.analysis.distributions import of_figure
from labctl.analysis.yields import Cause, zone_sizes
from labctl.core.figure import Figure
from labctl.report import charts_svg, judgement
from labctl.report.page_parts import Chart
from labctl.report.report_data import Facts
from labctl.report.templates import swatch, with_subscripts

Column = tuple[str, str, bool, str]
Cell = tuple[Any, Any, str]
_CPK = (
    "the smaller of (upper limit - mean) / 3 sigma and (mean - lower limit) / 3 sigma, with one limit that one; sigma "
    "is the standard deviation over all dies of the run that have a bin"
)


@dataclass(frozen=True)
class Listing:
    """A table of a page: headings as (title, unit, whether it is text, what it is), rows as (text, sorted by, class).

    Args:
        inner: numbers of the rows that belong to the row above them.
    """

    title: str
    note: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    inner: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Judgement:
    """What stands in the section about yield and limits."""

    tables: list[Listing] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)


def judgement_of(facts: Facts, colours: Mapping[str, str]) -> Judgement:
    """Return the tables and charts about yield, limits and failures; empty ones of a run that nothing judges.

    Args:
        colours: of bins.
    """
    tables = []
    if judgement.is_judged(facts):
        tables.append(_yields(facts, colours))
    for title, note, causes, what in (
        ("What failed", "Bins of the dies that did not pass, most frequent first, and inside each the reasons.",
         judgement.failed_bins(facts), "dies"),
        ("Rules that are true", "A die that misses several limits counts for each; its bin is that of the first.",
         judgement.failed_rules(facts), "dies"),
        ("Defects of cells", "Surveyed cells that are not good, over all dies.",
         judgement.defects_of_cells(facts), "cells"),
    ):  # fmt: skip
        if causes:
            tables.append(_pareto(title, note, causes, what))
    known = list(judgement.capabilities(facts))
    if known:
        tables.insert(min(1, len(tables)), _limits(known, facts))
    return Judgement(tables, [chart for one in known if (chart := _histogram(one, facts)) is not None])


def _yields(facts: Facts, colours: Mapping[str, str]) -> Listing:
    dies = judgement.judged(facts)
    sizes = zone_sizes(dies)
    columns: list[Column] = [
        ("bin", "", True, "soft bin"),
        ("hard bin", "", False, "its number; 1 is good"),
        ("dies", "", False, ""),
        ("share", "%", False, "of the dies that have a bin"),
        ("95 % interval", "%", True, "of the share, by Wilson"),
        *((zone.value, f"{number} dies", False, _ZONES) for zone, number in sizes.items()),
    ]
    rows = []
    for one in judgement.bin_yields(facts):
        mark = Markup('<i class="bin">{}</i>').format(swatch(colours.get(one.bin, "")))
        low, high = one.interval
        row: list[Cell] = [
            (mark + one.bin, one.bin, "left"),
            (one.hard, one.hard, ""),
            (one.dies, one.dies, ""),
            (f"{100 * one.share:.1f}", one.share, ""),
            (f"{100 * low:.0f} to {100 * high:.0f}", None, "left"),
        ]
        row += [_in_zone(one.zones[zone], number) for zone, number in sizes.items()]
        rows.append(row)
    left = facts.meant - len(dies)
    note = f"Of the {len(dies)} dies that have a bin" + (f"; {left} more have none yet." if left > 0 else ".")
    return Listing("Yield", note + (f" {_ZONES}." if sizes else ""), columns, rows)


_ZONES = "Centre, middle and edge are three rings of the wafer, a third of its dies each as nearly as distances allow"


def _in_zone(number: int, of: int) -> Cell:
    return (f"{number} ({100 * number / of:.0f} %)" if of else "–", number / of if of else -1.0, "")


def _limits(known: Sequence[Capability], facts: Facts) -> Listing:
    columns: list[Column] = [
        ("figure", "", True, ""),
        ("unit", "", True, ""),
        ("lower limit", "", False, "of the rules for bins"),
        ("upper limit", "", False, "of the rules for bins"),
        ("dies", "", False, "that have a bin and a value"),
        ("below", "dies", False, "beyond the lower limit"),
        ("above", "dies", False, "beyond the upper limit"),
        ("mean", "", False, "of these dies"),
        ("sigma", "", False, "standard deviation over these dies"),
        ("Cpk", "", False, _CPK),
        ("95 % interval", "of Cpk", True, "by Bissell, for large numbers"),
    ]
    figures = {figure.key: figure for figure in facts.figures}
    rows = [_limit_row(one, figures[one.figure]) for one in known]
    note = f"Cpk: {_CPK}, which others call Ppk. It says how many dies will be bad only of a normal distribution."
    unknown = sum(one.unknown for one in known)
    return Listing("Limits", note + (f" {unknown} values could not be computed." if unknown else ""), columns, rows)


def _limit_row(one: Capability, figure: Figure) -> list[Cell]:
    def number(value: float | None, look: str = "") -> Cell:
        return (figure.text_number(value), math.nan if value is None else value, look)

    sigma = "–" if one.sigma is None else f"{one.sigma * figure.factor:.3g}"
    cpk, interval = one.cpk, one.interval
    return [
        (with_subscripts(figure.title), figure.title, "left"),
        (figure.shown_unit, None, "left"),
        number(one.low),
        number(one.high),
        (one.dies, one.dies, ""),
        (one.below if one.low is not None else "", one.below, "out" if one.below else ""),
        (one.above if one.high is not None else "", one.above, "out" if one.above else ""),
        number(one.mean),
        (sigma, one.sigma, ""),
        ("–" if cpk is None else f"{cpk:.2f}", cpk, ""),
        ("" if interval is None else f"{interval[0]:.2f} to {interval[1]:.2f}", None, "left"),
    ]


def _histogram(one: Capability, facts: Facts) -> Chart | None:
    figure = next(figure for figure in facts.figures if figure.key == one.figure)
    drawn = of_figure(figure, judgement.values_of(facts.dies, figure.key), facts.limits[figure.key])
    if drawn is None:
        return None
    note = "" if one.cpk is None else f"Cpk {one.cpk:.2f}"
    return f"{figure.title} of dies", note, Markup(charts_svg.histogram(drawn, every_line=True))


def _pareto(title: str, note: str, causes: Sequence[Cause], what: str) -> Listing:
    columns: list[Column] = [
        ("what", "", True, ""),
        (what, "", False, ""),
        ("share", "%", False, "of all in this table"),
        ("together", "%", False, "with those above it"),
        ("", "", True, ""),
    ]
    rows: list[list[Cell]] = []
    inner = set()
    for cause in causes:
        numbers = (f"{cause.number:,}", f"{100 * cause.share:.1f}", f"{100 * cause.cumulative:.1f}")
        bar = _bar(cause.cumulative - cause.share, cause.share)
        rows.append(
            [(with_subscripts(cause.name), None, "left"), *((text, None, "") for text in numbers), (bar, None, "left")]
        )
        for reason, number in cause.inside:
            inner.add(len(rows))
            rows.append([(with_subscripts(reason), None, "reason"), (f"{number:,}", None, ""), *[("", None, "")] * 3])
    return Listing(title, note, columns, rows, frozenset(inner))


def _bar(start: float, share: float) -> Markup:
    """Return the share of a cause as a bar that begins where the one above it ends."""
    return Markup(
        '<svg class="share" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="whole" width="100" height="10"/><rect x="{:.1f}" width="{:.1f}" height="10"/></svg>'
    ).format(100 * start, max(100 * share, 0.5))
