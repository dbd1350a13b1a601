"""Where dies stand in a picture of a wafer, for pages and by matplotlib.

Dies stand where the prober's map has them: columns count to the right, rows downwards. What fills a round map is drawn
on a round wafer, with dies as high as make it round; a few dies in a row stay a row. Columns and rows are numbered, and
the notch is drawn where it is known. Lengths are of the drawing, y downwards.

This file needs the standard library, and matplotlib to draw; a published bundle has a copy of it.
"""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from re import sub
from textwrap import wrap
from typing import Any

PITCH, GAP = 64.0, 3.0
"""From one column to the next, and between two dies."""
_MARGIN, _DENT = 9.0, 13.0
"""Between the dies and the edge of a round wafer, and the depth of its notch."""
_NUMBERS = 16
"""Most numbers along an axis."""
_OTHERS = 5000
"""Places without a die of the run up to which each is outlined."""
_INK, _SOFT, _LINE, _FAINT = "#23241f", "#67685f", "#b9b6aa", "#e4e1d6"
NOTCH = {0: "below", 90: "at the left", 180: "above", 270: "at the right"}
"""Where the notch is, by its angle in degrees clockwise from the bottom."""


@dataclass(frozen=True)
class Square:
    """Where one die is drawn: its upper left corner and its size."""

    x: float
    y: float
    wide: float
    high: float

    @property
    def middle(self) -> tuple[float, float]:
        """Its centre."""
        return self.x + self.wide / 2, self.y + self.high / 2


@dataclass(frozen=True)
class Number:
    """The number of a column or a row, and the point beside which it stands."""

    text: str
    x: float
    y: float


def orientation(notch: int | None) -> str:
    """Return in words how a map lies; `notch` is in degrees clockwise from the bottom, None if unknown.

    >>> orientation(90)
    'columns count to the right, rows downwards, as the prober counts; the notch is at the left'
    """
    where = "the notch is not known" if notch is None else f"the notch is {NOTCH[notch]}"
    return f"columns count to the right, rows downwards, as the prober counts; {where}"


class Layout:
    """The places of the dies of a picture.

    Args:
        places: (column, row) of every die that is drawn; several at one place share it.
        others: (column, row) of the dies of the wafer, drawn or not; of those without a die here an outline is drawn.
        notch: degrees clockwise from the bottom, None if unknown.
    """

    def __init__(
        self, places: Sequence[tuple[int, int]], others: Collection[tuple[int, int]] = (), notch: int | None = None
    ) -> None:
        every = {*places, *others} or {(0, 0)}
        self.left, self.top = min(x for x, _ in every), min(y for _, y in every)
        self.n_cols = max(x for x, _ in every) - self.left + 1
        self.n_rows = max(y for _, y in every) - self.top + 1
        self.round = self.n_cols >= 4 and self.n_rows >= 4
        ratio = min(max(self.n_cols / self.n_rows, 0.7), 1.45) if self.round else 0.75
        self._pitch = PITCH, PITCH * ratio
        at: dict[tuple[int, int], list[int]] = {}
        for k, place in enumerate(places):
            at.setdefault(place, []).append(k)
        squares = {k: square for place, dies in at.items() for k, square in self._share(place, dies)}
        self.squares = [squares[k] for k in range(len(places))]
        empty = {*others} - {*places}
        outlined = sorted(empty) if len(empty) <= _OTHERS else []
        self.others = [next(self._share(place, [0]))[1] for place in outlined]
        width, height = self.n_cols * self._pitch[0] - GAP, self.n_rows * self._pitch[1] - GAP
        self.centre = width / 2, height / 2
        corners = list(self._corners(every))
        margin = _MARGIN if notch is None else _DENT + 4
        self.radius = max((math.dist(c, self.centre) for c in corners), default=0.0) + margin
        self.notch = notch
        x, y = (self.centre[0] - self.radius, self.centre[1] - self.radius) if self.round else (0.0, 0.0)
        right, bottom = 2 * self.centre[0] - x, 2 * self.centre[1] - y
        beside = 0.0 if self.round or notch is None else _DENT + 4
        x, y = x - beside * (notch == 90), y - beside * (notch == 180)
        right, bottom = right + beside * (notch == 270), bottom + beside * (notch == 0)
        self.inner = (x - 2, y - 2, right - x + 4, bottom - y + 4)
        """Box around wafer and dies: left, top, width, height."""
        self.text_size = min(max(12.0, (right - x) / 36), 0.6 * PITCH * max(1, self._step(self.n_cols)))
        room = self.text_size * (0.5 + 0.6 * max(len(str(self.top)), len(str(self.top + self.n_rows - 1))))
        self.box = (x - room - 2, y - 1.4 * self.text_size, right - x + room + 4, bottom - y + 1.4 * self.text_size + 2)
        """Box around numbers too."""
        self.columns = [
            Number(str(col), (col - self.left + 0.5) * self._pitch[0] - GAP / 2, y - 0.4 * self.text_size)
            for col in self._numbered(self.left, self.n_cols)
        ]
        self.rows = [
            Number(str(row), x - 0.4 * self.text_size, (row - self.top + 0.5) * self._pitch[1] - GAP / 2)
            for row in self._numbered(self.top, self.n_rows)
        ]

    def _corners(self, places: Collection[tuple[int, int]]) -> Iterator[tuple[float, float]]:
        """Yield the corners of the outermost dies of each row."""
        ends: dict[int, tuple[int, int]] = {}
        for col, row in places:
            first, last = ends.get(row, (col, col))
            ends[row] = min(first, col), max(last, col)
        for row, cols in ends.items():
            for col in cols:
                _, square = next(self._share((col, row), [0]))
                yield from ((square.x + a * square.wide, square.y + b * square.high) for a in (0, 1) for b in (0, 1))

    def _share(self, place: tuple[int, int], dies: Sequence[int]) -> Iterator[tuple[int, Square]]:
        side = math.ceil(math.sqrt(len(dies)))
        wide, high = self._pitch
        left, top = (place[0] - self.left) * wide, (place[1] - self.top) * high
        for n, k in enumerate(dies):
            x, y = left + n % side / side * wide, top + n // side / side * high
            yield k, Square(x, y, wide / side - GAP, high / side - GAP)

    @staticmethod
    def _step(count: int) -> int:
        return next((step for step in (1, 2, 5, 10, 20, 50, 100) if count <= step * _NUMBERS), 200)

    def _numbered(self, first: int, count: int) -> list[int]:
        step = self._step(count)
        return [n for n in range(first, first + count) if n % step == 0]

    @property
    def edge(self) -> list[tuple[float, float]]:
        """The edge of a round wafer as a polygon with its notch; empty of any other."""
        if not self.round:
            return []
        (x, y), r = self.centre, self.radius
        if self.notch is None:
            return [(x + r * math.cos(a), y + r * math.sin(a)) for a in (math.tau * k / 180 for k in range(180))]
        half = math.asin(min(0.2, 0.8 * _DENT / r))
        middle = math.pi / 2 + math.radians(self.notch)
        turn = [middle + half + (math.tau - 2 * half) * k / 180 for k in range(181)]
        dent = (x + (r - _DENT) * math.cos(middle), y + (r - _DENT) * math.sin(middle))
        return [*((x + r * math.cos(a), y + r * math.sin(a)) for a in turn), dent]

    @property
    def arrow(self) -> list[tuple[float, float]]:
        """The mark of the notch beside dies that fill no round wafer; empty where there is none."""
        if self.round or self.notch is None:
            return []
        left, top, width, height = self.inner
        x, y = left + width / 2, top + height / 2
        tip, base, half = 1.0, _DENT, 0.6 * _DENT
        return {
            0: [(x, top + height - base), (x - half, top + height - tip), (x + half, top + height - tip)],
            90: [(left + base, y), (left + tip, y - half), (left + tip, y + half)],
            180: [(x, top + base), (x - half, top + tip), (x + half, top + tip)],
            270: [(left + width - base, y), (left + width - tip, y - half), (left + width - tip, y + half)],
        }[self.notch]


@dataclass(frozen=True)
class Panel:
    """One map of a picture.

    Args:
        fills: colour of every die of the layout as #rrggbb, "" for one without a value.
        texts: in the dies.
        scale: colours from the least to the greatest value; `ends` the numbers of both, `label` what they are.
        legend: (name, colour, letter) of bins.
    """

    title: str
    layout: Layout
    fills: Sequence[str]
    texts: Sequence[str]
    scale: Sequence[str] = ()
    ends: tuple[str, str] = ("", "")
    label: str = ""
    legend: Sequence[tuple[str, str, str]] = field(default=())


def shade(colours: Sequence[str], level: float) -> str:
    """Return the colour at `level` from 0 to 1 of a scale.

    >>> shade(("#000000", "#ffffff"), 0.5)
    '#808080'
    """
    at = min(max(level, 0.0), 1.0) * (len(colours) - 1)
    k = min(int(at), len(colours) - 2)
    low, high = _rgb(colours[k]), _rgb(colours[k + 1])
    return "#" + "".join(f"{round(a + (b - a) * (at - k)):02x}" for a, b in zip(low, high, strict=True))


def ink(colour: str) -> str:
    """Return black or white, whichever can be read on `colour` (relative luminance as in WCAG 2).

    >>> ink("#15214d"), ink("#f0e442")
    ('#fff', '#1c1c1a')
    """
    red, green, blue = ((c / 255 / 12.92) if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in _rgb(colour))
    return "#1c1c1a" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.2 else "#fff"


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def limits(values: Sequence[float]) -> tuple[float, float]:
    """Return from where to where a scale runs: all values, but for those far beyond the bulk of them.

    Far is three times the distance of the quartiles outside of them, so that one bad die does not hide the others.

    >>> limits([1.0, 2.0, 3.0, 4.0, 500.0])
    (1.0, 10.0)
    """
    ordered = sorted(values)
    if len(ordered) < 4:
        return ordered[0], ordered[-1]
    low, high = (ordered[round(q * (len(ordered) - 1))] for q in (0.25, 0.75))
    far = 3 * (high - low) or math.inf
    return max(ordered[0], low - far), min(ordered[-1], high + far)


def figure_panel(
    title: str,
    layout: Layout,
    values: Sequence[float],
    number: Callable[[float], str],
    colours: Sequence[str],
    unit: str = "",
    between: tuple[float, float] | None = None,
) -> Panel:
    """Return the map of a figure.

    Args:
        values: of every die of the layout, NaN of one without.
        number: gives a value as text.
        colours: from the least to the greatest value.
        between: ends of the scale; those of `limits` if None.
    """
    known = [value for value in values if math.isfinite(value)]
    low, high = between or (limits(known) if known else (0.0, 0.0))
    levels = [0.5 if high == low or not math.isfinite(v) else (v - low) / (high - low) for v in values]
    fills = [shade(colours, level) if math.isfinite(v) else "" for v, level in zip(values, levels, strict=True)]
    texts = [number(v) if math.isfinite(v) else "–" for v in values]
    ends = number(low), number(high)
    if known:
        ends = f"≤ {ends[0]}" if min(known) < low else ends[0], f"≥ {ends[1]}" if max(known) > high else ends[1]
    return Panel(title, layout, fills, texts, colours if known else (), ends, unit)


def drawn(panels: Sequence[Panel], title: str, note: str, across: int = 3) -> Any:
    """Return a matplotlib figure of maps, `across` of them in a row, under a title and a line of words."""
    from matplotlib.figure import Figure

    across = max(1, min(across, len(panels)))
    down = -(-len(panels) // across)
    wide, high = _size(panels)
    width = max(across * wide, 4.6)
    lines = wrap(note, int(15 * width))
    top = 0.6 + 0.17 * len(lines)
    height = down * high + top
    figure = Figure(figsize=(width, height), facecolor="white")
    wide = width / across
    figure.text(0.2 / width, 1 - 0.3 / height, _words(title), fontsize=13, fontweight="bold", color=_INK, va="center")
    figure.text(0.2 / width, 1 - 0.5 / height, _words("\n".join(lines)), fontsize=8.5, color=_SOFT, va="top")
    for k, panel in enumerate(panels):
        left, bottom = k % across * wide, height - top - (k // across + 1) * high
        frame = (left + 0.2) / width, (bottom + 0.62) / height, (wide - 0.4) / width, (high - 1.0) / height
        _panel(figure, frame, panel, (high - 1.0) / height)
    return figure


def _words(text: str) -> str:
    """Return a text that matplotlib draws as it is, and not as a formula between dollars, but for R_P and R_AP."""
    return sub(r"\bR_(A?P)\b", r"R$_\\mathrm{\1}$", text.replace("$", r"\$"))


def _size(panels: Sequence[Panel]) -> tuple[float, float]:
    """Return the size of a panel in inches: dies wide enough for their texts, all panels alike."""
    wide = max(min(max(0.56 * p.layout.n_cols + 0.8, 3.4), 9.0) for p in panels)
    ratio = max(p.layout.box[3] / p.layout.box[2] for p in panels)
    return wide, (wide - 0.4) * ratio + 1.0


def _panel(figure: Any, frame: tuple[float, float, float, float], panel: Panel, share: float) -> None:
    from matplotlib.patches import Polygon, Rectangle

    layout = panel.layout
    axes = figure.add_axes(frame)
    left, top, width, height = layout.box
    axes.set(xlim=(left, left + width), ylim=(top + height, top), aspect="equal")
    axes.set_axis_off()
    axes.set_title(_words(panel.title), fontsize=10.5, loc="left", color=_INK, pad=9)
    if layout.edge:
        axes.add_patch(Polygon(layout.edge, closed=True, facecolor="#fbfaf6", edgecolor=_LINE, linewidth=1.0))
    if layout.arrow:
        axes.add_patch(Polygon(layout.arrow, closed=True, facecolor=_SOFT, edgecolor="none"))
    unit = figure.get_size_inches()[0] * 72 * frame[2] / width  # points per unit of the layout
    unit = min(unit, figure.get_size_inches()[1] * 72 * frame[3] / height)
    size = min(8.0, layout.text_size * unit)
    for number in layout.columns:
        axes.text(number.x, number.y, number.text, ha="center", va="bottom", fontsize=size, color=_SOFT)
    for number in layout.rows:
        axes.text(number.x, number.y, number.text, ha="right", va="center", fontsize=size, color=_SOFT)
    for square in layout.others:
        at = (square.x, square.y), square.wide, square.high
        axes.add_patch(Rectangle(*at, facecolor="none", edgecolor=_FAINT, linewidth=0.7))
    for square, fill, text in zip(layout.squares, panel.fills, panel.texts, strict=True):
        at, dashed = ((square.x, square.y), square.wide, square.high), (0, (3, 2))
        axes.add_patch(
            Rectangle(*at, facecolor=fill, edgecolor=_INK, linewidth=0.3)
            if fill
            else Rectangle(*at, facecolor="none", edgecolor=_LINE, linewidth=0.7, linestyle=dashed)
        )
        fits = min(9.0, 0.42 * square.high * unit, 1.55 * square.wide * unit / max(len(text), 1))
        if text and fits >= 3.5:
            colour = ink(fill) if fill else _SOFT
            axes.text(*square.middle, text, ha="center", va="center", fontsize=fits, color=colour)
    if panel.scale:
        _scale(figure, frame, panel)
    elif panel.legend:
        _legend(axes, panel)


def _scale(figure: Any, frame: tuple[float, float, float, float], panel: Panel) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    left, bottom, width, _ = frame
    height = figure.get_size_inches()[1]
    axes = figure.add_axes((left, bottom - 0.24 / height, width, 0.09 / height))
    colours = LinearSegmentedColormap.from_list("scale", list(panel.scale))
    axes.imshow([[k / 255 for k in range(256)]], aspect="auto", cmap=colours, vmin=0, vmax=1)
    axes.set_axis_off()
    for x, text, side in ((0.0, panel.ends[0], "left"), (0.5, panel.label, "center"), (1.0, panel.ends[1], "right")):
        axes.text(x, -0.6, text, transform=axes.transAxes, ha=side, va="top", fontsize=8, color=_SOFT)


def _legend(axes: Any, panel: Panel) -> None:
    from matplotlib.patches import Patch

    marks = [
        Patch(facecolor=colour or "none", edgecolor=_LINE, label=f"{name} ({letter})" if letter else name)
        for name, colour, letter in panel.legend
    ]
    axes.legend(
        handles=marks,
        loc="upper left",
        bbox_to_anchor=(0.0, -0.01),
        ncols=min(3, len(marks)),
        frameon=False,
        fontsize=8,
        labelcolor=_INK,
        handlelength=1.0,
        handleheight=1.0,
        columnspacing=1.2,
        borderaxespad=0.0,
    )
