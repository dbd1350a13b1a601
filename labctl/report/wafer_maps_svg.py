"""Wafer maps as SVG: a large one with numbers per figure, and small ones to choose from.

Where dies, numbers and notch stand is said by `labctl.wafer_maps.picture`, as for every picture of a wafer.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Generic, Protocol, TypeVar

from labctl.core.die_state import FINAL
from labctl.core.figure import Figure
from labctl.report.report_data import DieFacts
from labctl.storage.identity import Identity
from labctl.wafer_maps import palette
from labctl.wafer_maps.picture import Layout, Square, ink, limits, shade

_NUMBERS_UP_TO = 14
"""Columns of a map in whose dies numbers can still be read."""


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


class Marked(Protocol):
    """What a map needs to know of a die: where it stands, and what it is marked for."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def at(self) -> tuple[int, int]:
        """Column and row on the prober's map."""

    @property
    def suspect(self) -> str:
        """Why its figures are in doubt, "" if they are not."""

    @property
    def tries(self) -> Sequence[Any]:
        """Its tries."""


Die = TypeVar("Die", bound=Marked)


class WaferPicture(Generic[Die]):
    """The places of some dies on their wafer.

    Args:
        wafer: as far as it is known.
    """

    def __init__(self, dies: Sequence[Die], wafer: Identity | None = None) -> None:
        places, notch = ((), None) if wafer is None else (wafer.places, wafer.notch)
        self.layout = Layout([die.at for die in dies], places, notch)
        self.spots = list(zip(dies, self.layout.squares, strict=True))

    def draw(self, filled: Mapping[str, tuple[str, str, str]], title: str, beside: float = 0.0) -> str:
        """Return the large map; `filled` has colour, text inside and words of every die.

        Args:
            beside: how far to the right it stands, for the arrow keys, where several stand side by side.
        """
        layout = self.layout
        parts = [
            f'<svg class="map" viewBox="{_box(layout.box)}" role="group" aria-label="{escape(title)}">',
            self._wafer(),
            *_numbers(layout),
        ]
        for die, s in self.spots:
            colour, text, label = filled[die.name]
            size = min(18.0, 1.7 * s.wide / max(len(text), 1), 0.5 * s.high)
            shown = text if layout.n_cols <= _NUMBERS_UP_TO or len(text) <= 1 else ""
            x, y = s.middle
            parts.append(
                f'<a class="die" href="#die-{escape(die.name)}" data-say="{escape(label)}" '
                f'data-at="{x + beside:.0f},{y:.0f}" aria-label="{escape(label)}">'
                f"<title>{escape(label)}</title>{_rect(s, colour)}"
                + (
                    f'<text x="{x:.1f}" y="{y + size * 0.35:.1f}" '
                    f'font-size="{size:.1f}" fill="{ink(colour) if colour else "currentColor"}">'
                    f"{escape(shown)}</text>"
                    if shown
                    else ""
                )
                + _flags(die, s)
                + "</a>"
            )
        return "".join([*parts, "</svg>"])

    def thumb(self, filled: Mapping[str, tuple[str, str, str]]) -> str:
        """Return the small map, without numbers."""
        squares = "".join(_rect(s, filled[die.name][0]) for die, s in self.spots)
        return (
            f'<svg class="thumb" viewBox="{_box(self.layout.inner)}" aria-hidden="true">{self._wafer()}{squares}</svg>'
        )

    def _wafer(self) -> str:
        """Return the edge of the wafer, its notch, and outlines of dies that are not of this run."""
        parts = [f'<path class="wafer" d="{_path(self.layout.edge)}"/>'] if self.layout.edge else []
        parts += [f'<path class="notch" d="{_path(self.layout.arrow)}"/>'] if self.layout.arrow else []
        if self.layout.others:
            outlines = "".join(
                f"M{s.x:.1f} {s.y:.1f}h{s.wide:.1f}v{s.high:.1f}h{-s.wide:.1f}z" for s in self.layout.others
            )
            parts.append(f'<path class="others" d="{outlines}"/>')
        return "".join(parts)


def _box(box: Sequence[float]) -> str:
    return " ".join(f"{value:.1f}" for value in box)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + "z"


def _numbers(layout: Layout) -> Iterator[str]:
    """Yield the numbers of columns and rows."""
    size = layout.text_size
    yield f'<g class="numbers" font-size="{size:.1f}" aria-hidden="true">'
    for n in layout.columns:
        yield f'<text x="{n.x:.1f}" y="{n.y:.1f}">{n.text}</text>'
    for n in layout.rows:
        yield f'<text class="row" x="{n.x:.1f}" y="{n.y + 0.35 * size:.1f}">{n.text}</text>'
    yield "</g>"


def _rect(s: Square, colour: str) -> str:
    fill = f'fill="{colour}"' if colour else 'class="none"'
    return f'<rect x="{s.x:.1f}" y="{s.y:.1f}" width="{s.wide:.1f}" height="{s.high:.1f}" rx="2.5" {fill}/>'


def _flags(die: Marked, s: Square) -> str:
    """Mark a die in doubt by a corner, one that took more than one try by dots."""
    marks = ""
    if die.suspect:
        marks += f'<path class="suspect" d="M{s.x:.1f} {s.y:.1f}h14l-14 14z"/>'
    for k in range(len(die.tries) - 1):
        marks += f'<circle class="again" cx="{s.x + s.wide - 6 - 7 * k:.1f}" cy="{s.y + 7:.1f}" r="2.6"/>'
    return marks


def maps(
    dies: Sequence[DieFacts], bins: Mapping[str, int], figures: Sequence[Figure], on: Identity | None = None
) -> list[Map]:
    """Return the map of bins, then one for each of the figures that a die has; `on` is their wafer."""
    wafer = WaferPicture(dies, on)
    drawn = [_bin_map(wafer, bins)]
    for figure in figures:
        if any(math.isfinite(d.figures.get(figure.key, math.nan)) for d in dies):
            drawn.append(_figure_map(wafer, figure))
    return drawn


def _bin_map(wafer: WaferPicture[DieFacts], bins: Mapping[str, int]) -> Map:
    good = next((die.bin for die, _ in wafer.spots if die.good), "")
    busy = [die.state for die, _ in wafer.spots if not die.bin and die.state not in (*FINAL, "left out")]
    look = palette.of_bins(bins, good, busy)
    filled = {}
    for die, _ in wafer.spots:
        colour, letter = look[die.bin or die.state]
        filled[die.name] = (colour if die.state != "pending" else "", letter, _said(die))
    legend = tuple((name, *look[name], n) for name, n in bins.items())
    return Map(
        "bin", "bin", "", "soft bin of each die", wafer.draw(filled, "bin of each die"), wafer.thumb(filled),
        _count([die for die, _ in wafer.spots]), legend,
    )  # fmt: skip


def _count(dies: Sequence[DieFacts]) -> str:
    good, measured = sum(d.good for d in dies), sum(d.is_measured for d in dies)
    return f"{measured} of {len(dies)} measured" if measured and not good else f"{good} of {len(dies)} good"


def _figure_map(wafer: WaferPicture[DieFacts], figure: Figure) -> Map:
    key, title, number = figure.key, figure.title, figure.text_number
    measured = {die.name: die.figures[key] for die, _ in wafer.spots if key in die.figures}
    values = {name: value for name, value in measured.items() if math.isfinite(value)}
    low, high = limits(list(values.values()))
    colours = palette.scale(figure.better)
    filled = {}
    for die, _ in wafer.spots:
        value = values.get(die.name)
        level = 0.5 if high == low or value is None else (value - low) / (high - low)
        colour = "" if value is None else shade(colours, level)
        text = "" if value is None else number(value)
        filled[die.name] = (colour, text, f"{die.name}: {title} {figure.text(value)}; {die.bin or die.state}")
    ends = min(values.values()), max(values.values())
    marks = [number(low), number((low + high) / 2), number(high)]
    marks[0] = f"≤ {marks[0]}" if ends[0] < low else marks[0]
    marks[2] = f"≥ {marks[2]}" if ends[1] > high else marks[2]
    return Map(
        key, title, figure.shown_unit, figure.note, wafer.draw(filled, f"{title} of each die"), wafer.thumb(filled),
        f"{number(ends[0])} to {figure.text(ends[1])}", (), colours, tuple(marks), len(wafer.spots) - len(values),
    )  # fmt: skip


def _said(die: DieFacts) -> str:
    why = die.reason.splitlines()[0] if die.reason else die.because
    tries = f"; {len(die.tries)} tries" if len(die.tries) > 1 else ""
    doubt = f"; in doubt: {die.suspect}" if die.suspect else ""
    return f"{die.name}: {die.bin or die.state}{f' ({why})' if why else ''}{tries}{doubt}"
