"""Wafer maps as SVG: a large one with numbers per figure, and small ones to choose from.

Dies stand where the prober's map has them, row by row from the top. What fills a round map is drawn on a round wafer,
with dies as high as make it round; a few dies in a row stay a row. Several dies at one place share it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from labctl.core.die_state import FINAL
from labctl.core.figure import Figure
from labctl.report import palette
from labctl.report.report_data import DieFacts

_WIDE, _GAP = 64.0, 3.0
_NUMBERS_UP_TO = 14
"""Columns of a map in whose dies numbers can still be read."""


@dataclass(frozen=True)
class Spot:
    """Where one die is drawn."""

    die: DieFacts
    x: float
    y: float
    wide: float
    high: float


@dataclass(frozen=True)
class Map:
    """One map: its large and small drawings, and the ends of its scale in words.

    Args:
        legend: for bins, (name, colour, letter, number of dies).
        scale: for figures, the colours; `marks` are the numbers along them.
    """

    key: str
    title: str
    unit: str
    note: str
    large: str
    small: str
    span: str
    legend: tuple[tuple[str, str, str, int], ...] = ()
    scale: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    missing: int = 0


class WaferPicture:
    """The places of some dies."""

    def __init__(self, dies: Sequence[DieFacts]) -> None:
        cols, rows = sorted({d.at[0] for d in dies}), sorted({d.at[1] for d in dies})
        self.n_cols = cols[-1] - cols[0] + 1 if cols else 1
        self.n_rows = rows[-1] - rows[0] + 1 if rows else 1
        self.round = self.n_cols >= 4 and self.n_rows >= 4
        ratio = min(max(self.n_cols / self.n_rows, 0.7), 1.45) if self.round else 0.75
        wide, high = _WIDE, _WIDE * ratio
        at: dict[tuple[int, int], list[DieFacts]] = {}
        for die in dies:
            at.setdefault(die.at, []).append(die)
        self.spots: list[Spot] = []
        for (col, row), here in at.items():
            side = math.ceil(math.sqrt(len(here)))
            for k, die in enumerate(here):
                x, y = (col - cols[0] + k % side / side) * wide, (row - rows[0] + k // side / side) * high
                self.spots.append(Spot(die, x, y, wide / side - _GAP, high / side - _GAP))
        width, height = self.n_cols * wide - _GAP, self.n_rows * high - _GAP
        self.centre = width / 2, height / 2
        corners = [(s.x + a * s.wide, s.y + b * s.high) for s in self.spots for a in (0, 1) for b in (0, 1)]
        self.radius = max((math.dist(c, self.centre) for c in corners), default=0.0) + 9
        if self.round:
            left, top = (c - self.radius - 2 for c in self.centre)
            width, height = 2 * self.radius + 4, 2 * self.radius + 4
        else:
            left, top, width, height = -2, -2, width + 4, height + 4
        self.box = f"{left:.1f} {top:.1f} {width:.1f} {height:.1f}"
        self.width = width

    def draw(self, filled: Mapping[str, tuple[str, str, str]], title: str) -> str:
        """Return the large map; `filled` has colour, text inside and words of every die."""
        parts = [f'<svg class="map" viewBox="{self.box}" role="group" aria-label="{escape(title)}">', self._edge()]
        for s in self.spots:
            colour, text, label = filled[s.die.name]
            size = min(18.0, 1.7 * s.wide / max(len(text), 1), 0.5 * s.high)
            shown = text if self.n_cols <= _NUMBERS_UP_TO or len(text) <= 1 else ""
            parts.append(
                f'<a class="die" href="#die-{escape(s.die.name)}" data-say="{escape(label)}" '
                f'data-at="{s.x + s.wide / 2:.0f},{s.y + s.high / 2:.0f}" aria-label="{escape(label)}">'
                f"<title>{escape(label)}</title>{_rect(s, colour)}"
                + (
                    f'<text x="{s.x + s.wide / 2:.1f}" y="{s.y + s.high / 2 + size * 0.35:.1f}" '
                    f'font-size="{size:.1f}" fill="{palette.ink(colour) if colour else "currentColor"}">'
                    f"{escape(shown)}</text>"
                    if shown
                    else ""
                )
                + _flags(s)
                + "</a>"
            )
        return "".join([*parts, "</svg>"])

    def thumb(self, filled: Mapping[str, tuple[str, str, str]]) -> str:
        """Return the small map, without numbers."""
        spots = "".join(_rect(s, filled[s.die.name][0]) for s in self.spots)
        return f'<svg class="thumb" viewBox="{self.box}" aria-hidden="true">{self._edge()}{spots}</svg>'

    def _edge(self) -> str:
        if not self.round:
            return ""
        x, y = self.centre
        return f'<circle class="wafer" cx="{x:.1f}" cy="{y:.1f}" r="{self.radius:.1f}"/>'


def _rect(s: Spot, colour: str) -> str:
    fill = f'fill="{colour}"' if colour else 'class="none"'
    return f'<rect x="{s.x:.1f}" y="{s.y:.1f}" width="{s.wide:.1f}" height="{s.high:.1f}" rx="2.5" {fill}/>'


def _flags(s: Spot) -> str:
    """Mark a die in doubt by a corner, one that took more than one try by dots."""
    marks = ""
    if s.die.suspect:
        marks += f'<path class="suspect" d="M{s.x:.1f} {s.y:.1f}h14l-14 14z"/>'
    for k in range(len(s.die.tries) - 1):
        marks += f'<circle class="again" cx="{s.x + s.wide - 6 - 7 * k:.1f}" cy="{s.y + 7:.1f}" r="2.6"/>'
    return marks


def maps(dies: Sequence[DieFacts], bins: Mapping[str, int], figures: Sequence[Figure]) -> list[Map]:
    """Return the map of bins, then one for each of the figures that a die has."""
    wafer = WaferPicture(dies)
    drawn = [_bin_map(wafer, bins)]
    for figure in figures:
        if any(math.isfinite(d.figures.get(figure.key, math.nan)) for d in dies):
            drawn.append(_figure_map(wafer, figure))
    return drawn


def _bin_map(wafer: WaferPicture, bins: Mapping[str, int]) -> Map:
    good = next((s.die.bin for s in wafer.spots if s.die.good), "")
    busy = [s.die.state for s in wafer.spots if not s.die.bin and s.die.state not in (*FINAL, "left out")]
    look = palette.of_bins(bins, good, busy)
    filled = {}
    for s in wafer.spots:
        colour, letter = look[s.die.bin or s.die.state]
        filled[s.die.name] = (colour if s.die.state != "pending" else "", letter, _said(s.die))
    legend = tuple((name, *look[name], n) for name, n in bins.items())
    return Map(
        "bin", "bin", "", "soft bin of each die", wafer.draw(filled, "bin of each die"), wafer.thumb(filled),
        _count([s.die for s in wafer.spots]), legend,
    )  # fmt: skip


def _count(dies: Sequence[DieFacts]) -> str:
    good, measured = sum(d.good for d in dies), sum(d.is_measured for d in dies)
    return f"{measured} of {len(dies)} measured" if measured and not good else f"{good} of {len(dies)} good"


def _figure_map(wafer: WaferPicture, figure: Figure) -> Map:
    key, title, number = figure.key, figure.title, figure.text_number
    measured = {s.die.name: s.die.figures[key] for s in wafer.spots if key in s.die.figures}
    values = {name: value for name, value in measured.items() if math.isfinite(value)}
    low, high = palette.limits(list(values.values()))
    colours = palette.scale(figure.better)
    filled = {}
    for s in wafer.spots:
        value = values.get(s.die.name)
        level = 0.5 if high == low or value is None else (value - low) / (high - low)
        colour = "" if value is None else palette.shade(colours, level)
        text = "" if value is None else number(value)
        filled[s.die.name] = (colour, text, f"{s.die.name}: {title} {figure.text(value)}; {s.die.bin or s.die.state}")
    ends = min(values.values()), max(values.values())
    marks = [number(low), number((low + high) / 2), number(high)]
    marks[0] = f"≤ {marks[0]}" if ends[0] < low else marks[0]
    marks[2] = f"≥ {marks[2]}" if ends[1] > high else marks[2]
    return Map(
        key, title, figure.shown_unit, figure.note, wafer.draw(filled, f"{title} of each die"), wafer.thumb(filled),
        f"{number(ends[0])} to {figure.text(ends[1])}", (), colours, tuple(marks), len(wafer.spots) - len(values),
    )  # fmt: skip


def _said(die: DieFacts) -> str:
    why = die.reason.splitlines()[0] if die.reason else die.rule
    tries = f"; {len(die.tries)} tries" if len(die.tries) > 1 else ""
    doubt = f"; in doubt: {die.suspect}" if die.suspect else ""
    return f"{die.name}: {die.bin or die.state}{f' ({why})' if why else ''}{tries}{doubt}"
