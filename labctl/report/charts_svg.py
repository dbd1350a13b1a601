"""Charts as SVG: figures against time, histograms, and the spread of every die; a point's numbers are in its title."""

import math
import time
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from labctl.analysis.distributions import Distribution, Line, LineKind
from labctl.core.picture import Curves
from labctl.core.units import FloatArray
from labctl.report.report_data import DieFacts, Series

_WIDE, _HIGH = 440.0, 250.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 62.0, 12.0, 12.0, 44.0
_JOINED = 400
"""Lines of a chart up to which the points of each die are joined."""
_STEPS = (
    *(1.0, 2.0, 5.0, 10.0, 15.0, 30.0),
    *(60.0 * m for m in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 7200, 14400)),
)
"""Between the marks of a time axis, s."""


def nice(low: float, high: float, about: int = 5) -> list[float]:
    """Return round numbers from `low` to `high`, about as many as asked for; of one number, that number.

    >>> nice(0.0, 9.2), nice(2.31, 2.48, 4), nice(0, 0)
    ([0.0, 2.0, 4.0, 6.0, 8.0], [2.35, 2.4, 2.45], [0])
    """
    if high <= low:
        return [low]
    rough = (high - low) / about
    power = 10 ** math.floor(math.log10(rough))
    if not power:  # of numbers too small for it
        return [low]
    step = next(m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= rough)
    return [round(k * step, 12) for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


class _Frame:
    """Two axes in a box, and what is drawn in it."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], title: str) -> None:
        self.x0, self.x1 = x
        self.y0, self.y1 = y
        self.parts = [
            f'<svg class="chart" viewBox="0 0 {_WIDE:.0f} {_HIGH:.0f}" role="img" aria-label="{escape(title)}">'
        ]

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point is drawn."""
        return (
            _LEFT + (x - self.x0) / (self.x1 - self.x0) * (_WIDE - _LEFT - _RIGHT),
            _HIGH - _BOTTOM - (y - self.y0) / (self.y1 - self.y0) * (_HIGH - _TOP - _BOTTOM),
        )

    def axes(self, x_ticks: Sequence[tuple[float, str]], y_ticks: Sequence[float], x_label: str, y_label: str) -> None:
        """Draw the axes with their numbers."""
        for value in y_ticks:
            _, y = self.at(self.x0, value)
            self.parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDE - _RIGHT}"/>')
            self.parts.append(
                f'<text class="tick" x="{_LEFT - 7}" y="{y + 4.5:.1f}" text-anchor="end">{plain(value)}</text>'
            )
        for value, text in x_ticks:
            x, _ = self.at(value, self.y0)
            self.parts.append(f'<path class="grid" d="M{x:.1f} {_HIGH - _BOTTOM}v5"/>')
            self.parts.append(
                f'<text class="tick" x="{x:.1f}" y="{_HIGH - _BOTTOM + 19}" text-anchor="middle">{escape(text)}</text>'
            )
        self.parts.append(f'<path class="axis" d="M{_LEFT} {_HIGH - _BOTTOM}H{_WIDE - _RIGHT}"/>')
        middle = (_LEFT + _WIDE - _RIGHT) / 2
        self.parts.append(
            f'<text class="label" x="{middle}" y="{_HIGH - 5}" text-anchor="middle">{escape(x_label)}</text>'
        )
        if y_label:
            y = (_HIGH - _BOTTOM + _TOP) / 2
            self.parts.append(
                f'<text class="label" transform="translate(11 {y}) rotate(-90)" text-anchor="middle">'
                f"{escape(y_label)}</text>"
            )

    def done(self) -> str:
        """Return the drawing."""
        return "".join([*self.parts, "</svg>"])


def plain(value: float) -> str:
    """Return a number of an axis.

    >>> plain(12000.0), plain(1200.0), plain(2.35), plain(-0.0)
    ('12 k', '1,200', '2.35', '0')
    """
    for least, divisor, prefix in ((1e6, 1e6, " M"), (1e4, 1e3, " k")):
        if abs(value) >= least:
            return f"{value / divisor:,.6g}{prefix}"
    return f"{value + 0.0:,.6g}"


def _padded(low: float, high: float) -> tuple[float, float]:
    edge = 0.08 * (high - low) or 0.02 * abs(high) or 1.0
    return low - edge, high + edge


def against_time(series: Series) -> str:
    """Return a figure of the dies against the time when each was finished; the golden die as diamonds on a line."""
    xs = [p.utc for p in series.points]
    ys = [p.value * series.factor for p in series.points]
    lines = near(series.lines, *_padded(min(ys), max(ys)))
    ends = [*ys, *(line.value for line in lines)]
    frame = _Frame(_padded(min(xs), max(xs)), _padded(min(ends), max(ends)), f"{series.title} against time")
    frame.axes(_clock_ticks(frame.x0, frame.x1), nice(frame.y0, frame.y1, 4), "", series.unit)
    _across(frame, lines)
    golden = [frame.at(x, y) for x, y, p in zip(xs, ys, series.points, strict=True) if p.golden]
    if len(golden) > 1:
        frame.parts.append('<path class="golden-line" d="M' + "L".join(f"{x:.1f} {y:.1f}" for x, y in golden) + '"/>')
    for x, y, (utc, _, die, is_golden) in zip(xs, ys, series.points, strict=True):
        at = frame.at(x, y)
        label = f"{die}, {time.strftime('%H:%M', time.localtime(utc))}: {plain(y)} {series.unit}".rstrip()
        title = f"<title>{escape(label)}</title>"
        if is_golden:
            mark = f'<path class="golden" d="M{at[0]:.1f} {at[1] - 5.5:.1f}l5.5 5.5l-5.5 5.5l-5.5 -5.5z">{title}</path>'
        else:
            mark = f'<circle class="point" cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="3.4">{title}</circle>'
        frame.parts.append(mark)
    return frame.done()


def _across(frame: _Frame, lines: Sequence[Line]) -> None:
    """Draw lines at values of the vertical axis."""
    for line in lines:
        y = frame.at(frame.x0, line.value)[1]
        x, anchor = (_LEFT + 5, "start") if line.kind is LineKind.LIMIT else (_WIDE - _RIGHT - 5, "end")
        frame.parts.append(
            f'<g class="line line-{line.kind}"><title>{escape(line.text)}</title>'
            f'<path d="M{_LEFT} {y:.1f}H{_WIDE - _RIGHT}"/>'
            f'<text x="{x:.1f}" y="{y - 4:.1f}" text-anchor="{anchor}">{escape(line.text)}</text></g>'
        )


def _clock_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Return full seconds, minutes, hours or days of the local clock."""
    step = next((s for s in _STEPS if (high - low) / s <= 4.5), _STEPS[-1])
    shift = time.localtime(low).tm_gmtoff
    form = "%H:%M:%S" if step < 60 else "%H:%M" if step < 86400 else "%d %b"
    return [
        (k * step - shift, time.strftime(form, time.localtime(k * step - shift)))
        for k in range(math.ceil((low + shift) / step), math.floor((high + shift) / step) + 1)
    ]


def histogram(distribution: Distribution, *, every_line: bool = False) -> str:
    """Return a distribution over cells or dies, with its lines.

    Args:
        every_line: also of lines that are farther from it than it is wide, which leaves less room for it.
    """
    low, high = min(b.edges[0] for b in distribution.bars), max(b.edges[-1] for b in distribution.bars)
    lines = distribution.lines if every_line else near(distribution.lines, low, high)
    low, high = _with(lines, low, high)
    top = max(max(b.counts) for b in distribution.bars)
    frame = _Frame((low, high), (0.0, top * (1.06 + 0.08 * len(lines))), distribution.title)
    ticks = [(v, plain(v)) for v in nice(low, high, 8)]
    whole = [v for v in nice(0.0, top, 4) if v == int(v)]
    frame.axes(ticks, whole, distribution.unit, distribution.what)
    base = frame.at(low, 0.0)[1]
    for number, bars in enumerate(distribution.bars):
        look = number if len(distribution.bars) > 1 else "plain"
        steps = []
        for left, right, n in zip(bars.edges[:-1], bars.edges[1:], bars.counts, strict=True):
            (a, y), (b, _) = frame.at(left, n), frame.at(right, n)
            steps.append(f"L{a:.1f} {y:.1f}L{b:.1f} {y:.1f}")
        start, end = frame.at(bars.edges[0], 0.0)[0], frame.at(bars.edges[-1], 0.0)[0]
        frame.parts.append(
            f'<path class="bars bars-{look}" d="M{start:.1f} {base:.1f}{"".join(steps)}L{end:.1f} {base:.1f}z">'
            f"<title>{escape(bars.name)}</title></path>"
        )
    for number, line in enumerate(sorted(lines, key=lambda line: line.value)):
        x, _ = frame.at(line.value, 0.0)
        left = x > (_LEFT + _WIDE - _RIGHT) / 2
        frame.parts.append(
            f'<g class="line line-{line.kind}"><title>{escape(line.text)}</title>'
            f'<path d="M{x:.1f} {_TOP}V{base:.1f}"/><text x="{x + (-5 if left else 5):.1f}" '
            f'y="{_TOP + 10 + 14 * number}" text-anchor="{"end" if left else "start"}">{escape(line.text)}</text></g>'
        )
    return frame.done()


def near(lines: Sequence[Line], low: float, high: float) -> list[Line]:
    """Return the lines that are no farther from what lies between `low` and `high` than that is wide."""
    return [line for line in lines if 2 * low - high <= line.value <= 2 * high - low]


def _with(lines: Sequence[Line], low: float, high: float) -> tuple[float, float]:
    """Return the ends of an axis that shows the lines, too."""
    ends = [low, high, *(line.value for line in lines)]
    edge = 0.04 * (max(ends) - min(ends))
    return (low if min(ends) == low else min(ends) - edge, high if max(ends) == high else max(ends) + edge)


def curves(picture: Curves, drawn: Sequence[tuple[str, FloatArray, FloatArray]]) -> str:
    """Return the curves of one die, NaN left out; each is labelled (label, x, y) in the units of the picture."""
    finite = [(label, x[good], y[good]) for label, x, y in drawn if (good := np.isfinite(x) & np.isfinite(y)).any()]
    if not finite:
        return ""
    xs, ys = (np.concatenate([curve[k] for curve in finite]) for k in (1, 2))
    frame = _Frame(_padded(float(xs.min()), float(xs.max())), _padded(float(ys.min()), float(ys.max())), picture.title)
    ticks = [(value, plain(value)) for value in nice(frame.x0, frame.x1, 6)]
    frame.axes(ticks, nice(frame.y0, frame.y1, 4), picture.x_title, picture.y_title)
    for number, (label, x, y) in enumerate(finite):
        path = "L".join(f"{a:.1f} {b:.1f}" for a, b in map(frame.at, x.tolist(), y.tolist()))
        title = f"<title>{escape(label or picture.title)}</title>"
        frame.parts.append(f'<path class="curve curve-{number % 6}" d="M{path}">{title}</path>')
    return frame.done()


def spreads(
    dies: Sequence[DieFacts], names: Sequence[str], title: str, unit: str, factor: float, lines: Sequence[Line] = ()
) -> str:
    """Return 5th to 95th percentile (line), quartiles (bar) and median (gap) of every die, in the order measured."""
    order = sorted((d for d in dies if any(n in d.measured.spreads for n in names)), key=lambda d: d.tries[-1].since)
    if not order:
        return ""
    shown = [(k, n, d.measured.spreads[n]) for k, d in enumerate(order) for n in names if n in d.measured.spreads]
    ends = [v * factor for _, _, s in shown for v in (s.p5, s.p95)]
    lines = near(lines, *_padded(min(ends), max(ends)))
    ends += [line.value for line in lines]
    frame = _Frame((-0.8, len(order) - 0.2), _padded(min(ends), max(ends)), title)
    whole = [(v, plain(v + 1)) for v in nice(0, len(order) - 1, 6) if v == int(v)]
    frame.axes(whole, nice(frame.y0, frame.y1, 4), "dies in the order measured", unit)
    for k, name, s in shown:
        number = names.index(name)
        x, top = frame.at(k, s.p95 * factor)
        bottom = frame.at(k, s.p5 * factor)[1]
        upper, lower, middle = (frame.at(k, v * factor)[1] for v in (s.p75, s.p25, s.median))
        wide = min(14.0, 0.55 * (_WIDE - _LEFT - _RIGHT) / (len(order) + 1))
        label = f"{order[k].name}: median {s.median * factor:.4g} {unit}, "
        label += f"5 to 95 %: {s.p5 * factor:.4g} to {s.p95 * factor:.4g}"
        frame.parts.append(
            f'<g class="spread spread-{number}"><title>{escape(label)}</title>'
            f'<path d="M{x:.1f} {top:.1f}V{bottom:.1f}"/>'
            f'<rect x="{x - wide / 2:.1f}" y="{upper:.1f}" width="{wide:.1f}" height="{max(lower - upper, 1.0):.1f}"/>'
            f'<path class="median" d="M{x - wide / 2:.1f} {middle:.1f}h{wide:.1f}"/></g>'
        )
    _across(frame, lines)
    return frame.done()


def by_run(title: str, unit: str, wafers: Sequence[Sequence[tuple[str, Mapping[str, float]]]]) -> str:
    """Return a figure of the dies of several runs, a column of points per run with its median.

    Args:
        wafers: of each wafer its runs, as (label, value by die in the shown unit); the points of a die on one wafer are
            joined.
    """
    columns: list[tuple[float, str, Mapping[str, float]]] = []
    joined: list[list[tuple[float, float]]] = []
    x = 0.0
    for runs in wafers:
        lines: dict[str, list[tuple[float, float]]] = {}
        for label, values in runs:
            columns.append((x, label, values))
            for name, value in values.items():
                lines.setdefault(name, []).append((x, value))
            x += 1
        x += 0.6
        joined += [line for line in lines.values() if len(line) > 1]
    ys = [value for _, _, values in columns for value in values.values()]
    frame = _Frame((-0.7, columns[-1][0] + 0.7), _padded(min(ys), max(ys)), f"{title} by run")
    frame.axes([(at, label) for at, label, _ in columns], nice(frame.y0, frame.y1, 4), "run", unit)
    if len(joined) <= _JOINED:
        paths = ("L".join(f"{a:.1f} {b:.1f}" for a, b in (frame.at(*point) for point in line)) for line in joined)
        frame.parts.append('<path class="joined" d="' + "".join(f"M{path}" for path in paths) + '"/>' if joined else "")
    for at, label, values in columns:
        for name, value in values.items():
            a, b = frame.at(at, value)
            text = f"{label}, {name}: {value:.4g} {unit}".rstrip()
            frame.parts.append(
                f'<circle class="point" cx="{a:.1f}" cy="{b:.1f}" r="3"><title>{escape(text)}</title></circle>'
            )
        if values:
            (a, b), middle = frame.at(at, float(np.median(list(values.values())))), 13.0
            frame.parts.append(f'<path class="middle" d="M{a - middle:.1f} {b:.1f}h{2 * middle:.1f}"/>')
    return frame.done()
