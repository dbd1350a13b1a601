"""Pictures of a die: conductance maps, their distribution, currents against ideal, accuracy, confusion.

Colours and bins are chosen by the good cells; one short of ten times their conductance would leave nothing to see of
them. Defects are drawn as what they are, with a legend.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labctl.core.defects import Defect
from labctl.core.errors import StorageError
from labctl.core.events import DieEvent, StageStarted
from labctl.core.picture import CellMap, Curves, Declared
from labctl.core.units import FloatArray
from labctl.report import kernel_grid
from labctl.report.die_figures import DieFigures, good_range
from labctl.report.die_pictures import KernelPicture, curves, kernel_pictures
from labctl.report.die_text import literal
from labctl.report.drawings import Drawings, is_ours
from labctl.report.kernel_grid import Grid
from labctl.storage.event_rows import event_rows
from labctl.storage.results import DieData
from labctl.storage.tables import Table
from labctl.terminal.progress import counted

_P, _AP, _INK, _PALE = "#c8553d", "#2a6f97", "#333333", "#9aa5ad"
_ACROSS, _WIDE, _HIGH, _TOP = 3, 5.4, 4.6, 0.9
"""Panels side by side, the size of each, and the height of the title; inches."""
_LEGEND = 12
"""Curves up to which they have a legend."""


def caption(die: DieData) -> str:
    """Return a line about the die: size, diameter, seed, read voltage, whatever its data say."""
    meta, tables, facts = die.meta, die.tables, []
    if "survey" in tables:
        survey = die.table("survey")
        kernels, rows, cols = survey["g_p"].shape
        facts.append(f"{kernels} x {rows} x {cols} cells" if kernels > 1 else f"{rows} x {cols} cells")
    junction = (meta.get("description") or {}).get("junction") or {}
    diameters = junction.get("kernel_diameters") or [d for d in [junction.get("diameter")] if d]
    if diameters:
        facts.append("/".join(f"{d * 1e9:.4g}" for d in diameters) + " nm")
    if meta.get("body"):
        facts.append(str(meta["body"]))
    if "seed" in meta:
        facts.append(f"seed {meta['seed']}")
    rows = event_rows(DieEvent, die.events())
    started = [row.event.settings for row in rows if isinstance(row.event, StageStarted)]
    parts = [part for body in started for part in (body, body.get("inference"), body.get("readout")) if part]
    volts = {part["v_read"] for part in parts if part.get("v_read")}
    if volts:
        facts.append("read at " + ", ".join(f"{v * 1e3:.4g} mV" for v in sorted(volts)))
    return "  ·  ".join(facts)


def die_picture(
    f: DieFigures,
    declared: Sequence[tuple[Declared, Table]],
    points: tuple[FloatArray, FloatArray] | None,
    readback: Table | None,
    about: str,
    path: Path,
    drawings: Drawings,
) -> bool:
    """Draw one die: a panel for whatever has been measured of it. Return whether there was anything to draw.

    Args:
        declared: pictures that the run declares, with their tables.
        points: ideal and measured column currents, uA.
        readback: last read of every placed cell.
        about: a line below the title.
        drawings: keeps what could not be drawn.
    """
    maps: list[tuple[Declared, CellMap, list[KernelPicture], Grid]] = []
    lines: list[tuple[Declared, Curves, list[tuple[str, FloatArray, FloatArray]]]] = []
    for one, table in declared:
        with drawings.of(one):
            if isinstance(one.picture, CellMap):
                if kernels := list(kernel_pictures(table, one.picture)):
                    maps.append((one, one.picture, kernels, Grid.of(kernels, _ACROSS * _WIDE)))
            elif points_of := list(curves(table, one.picture)):
                lines.append((one, one.picture, points_of))
    inferred = f.inference is not None and f.inference.rows > 0
    panels = len(lines) + (f.survey is not None) + (points is not None) + 2 * inferred
    if not panels and not maps:
        return False
    sheet = _Sheet([grid for *_, grid in maps], panels)
    figure = sheet.figure
    for text, below, size, colour in ((f"die {f.die}, bin: {f.bin}", 0.32, 14, _INK), (about, 0.62, 10, "#67685f")):
        at = 0.2 / sheet.width, 1 - below / sheet.height
        figure.text(*at, literal(text), fontsize=size, color=colour, va="center")
    for (of, picture, kernels, grid), bottom in zip(maps, sheet.bottoms, strict=True):
        with drawings.of(of):
            kernel_grid.draw(figure, bottom, grid, picture, kernels)
    axes = iter(sheet.axes())
    if f.survey is not None:
        _distribution(next(axes), f.survey, readback)
    for of, curve, drawn_curves in lines:
        with drawings.of(of):
            _curves(next(axes), curve, drawn_curves)
    if points is not None:
        _scatter(figure, next(axes), *points)
    if inferred and f.inference is not None:
        _accuracy(next(axes), f, f.inference)
        _confusion(next(axes), f.inference)
    try:
        figure.savefig(path, dpi=110)
    except (OSError, StorageError):
        raise
    except Exception as error:  # of what protocols declare, which is laid out now: all else is drawn without it
        strangers = dict.fromkeys(one for one in ([m[0] for m in maps] + [c[0] for c in lines]) if not is_ours(one))
        if not strangers:
            raise
        for one in strangers:
            drawings.failed(one, error)
        own = [(one, table) for one, table in declared if is_ours(one)]
        return die_picture(f, own, points, readback, about, path, drawings)
    return True


class _Sheet:
    """A figure with grids of kernels below each other, and panels side by side below these; sizes in inches."""

    def __init__(self, grids: Sequence[Grid], panels: int) -> None:
        self._panels, self._across = panels, 4 if panels == 4 else max(1, min(_ACROSS, panels))
        self.width = max([min(self._across, _ACROSS) * _WIDE, *(grid.width for grid in grids)])
        below = -(-panels // self._across) * _HIGH
        self.height = _TOP + sum(grid.height for grid in grids) + below
        self.bottoms, bottom = list[float](), self.height - _TOP
        for grid in grids:
            bottom -= grid.height
            self.bottoms.append(bottom)
        self.figure = Figure(figsize=(self.width, self.height), facecolor="white")
        self._bottom = bottom

    def axes(self) -> Iterator[Axes]:
        """Yield the axes of the panels, row by row."""
        pitch = self.width / self._across
        for k in range(self._panels):
            left, bottom = k % self._across * pitch, self._bottom - (k // self._across + 1) * _HIGH
            wide, high = min(pitch, 1.3 * _WIDE) - 1.05, _HIGH - 1.55
            frame = (left + 0.7) / self.width, (bottom + 1.0) / self.height, wide / self.width, high / self.height
            yield self.figure.add_axes(frame)


def _curves(ax: Axes, picture: Curves, drawn: Sequence[tuple[str, FloatArray, FloatArray]]) -> None:
    labelled = len(drawn) <= _LEGEND and any(label for label, _, _ in drawn)
    for k, (label, x, y) in enumerate(drawn):
        colour = colormaps["viridis"](k / max(1, len(drawn) - 1) * 0.9)
        ax.plot(x, y, ".-", color=colour, linewidth=1.1, markersize=4, label=literal(label) if labelled else "_")
    if labelled:
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, frameon=False, fontsize=8)
    ax.set(title=literal(picture.title), xlabel=literal(picture.x_title), ylabel=literal(picture.y_title))
    _plain(ax)


def _distribution(ax: Axes, survey: Table, readback: Table | None) -> None:
    """Draw P and AP on one axis with one bin width; read-backs as steps, scaled to as many cells as were surveyed."""
    good = survey["defect"] == Defect.GOOD
    low, _ = good_range(survey["g_ap"] * 1e6, good)
    _, high = good_range(survey["g_p"] * 1e6, good)
    bins = np.linspace(low - 0.08 * (high - low), high + 0.08 * (high - low), 81)
    beyond = 0
    for name, colour, label in (("g_p", _P, "P, survey"), ("g_ap", _AP, "AP, survey")):
        g = survey[name].ravel() * 1e6
        inside = (g >= bins[0]) & (g <= bins[-1])
        beyond += int((~inside).sum())
        ax.stairs(np.histogram(g[inside], bins=bins)[0], bins, fill=True, color=colour, alpha=0.45, label=label)
    if readback is not None:
        for target, colour, label in ((True, _P, "P, read back"), (False, _AP, "AP, read back")):
            g = readback["conductance"][readback["target"] == target] * 1e6
            if g.size:
                counts, _ = np.histogram(g, bins=bins)
                ax.stairs(counts * (good.size / g.size), bins, color=colour, linewidth=1.4, label=label)
    more = f" ({counted(beyond, 'survey read')} beyond the axis)" if beyond else ""
    ax.set(
        title="conductance at the read voltage",
        xlabel=f"conductance, µS{more}",
        ylabel="cells (read-backs scaled to as many)",
        xlim=(bins[0], bins[-1]),
    )
    ax.margins(y=0.2)
    ax.legend(loc="upper center", ncols=2, frameon=False, fontsize=8)
    _plain(ax)


def _scatter(figure: Figure, ax: Axes, ideal: FloatArray, measured: FloatArray) -> None:
    low, high = min(ideal.min(), measured.min()), max(ideal.max(), measured.max())
    edge = 0.04 * (high - low)
    span = (low - edge, high + edge)
    ax.plot(span, span, color=_PALE, linewidth=1.0, zorder=0)
    cloud = ax.hexbin(ideal, measured, gridsize=70, bins="log", cmap="magma_r", mincnt=1, extent=(*span, *span))
    rms = np.sqrt(np.mean((measured - ideal) ** 2))
    ax.text(0.03, 0.97, f"rms error {rms:.3g} µA", transform=ax.transAxes, va="top", fontsize=9, color=_INK)
    ax.set(title="column currents, network scale 1", xlabel="ideal, µA", ylabel="measured, µA", xlim=span, ylim=span)
    ax.set_aspect("equal")
    figure.colorbar(cloud, ax=ax, label="currents per hexagon", shrink=0.75, pad=0.03)
    _plain(ax)


def _accuracy(ax: Axes, f: DieFigures, inference: Table) -> None:
    order = np.argsort(inference["accuracy_tuned_train"], kind="stable")
    x = np.arange(len(order))
    for name, colour, marker, size, label in (
        ("float_tuned_train", _PALE, "_", 17.0, "tuned in software"),
        ("accuracy_tuned_train", _P, "o", 5.0, "tuned"),
        ("accuracy_untuned_train", _AP, "o", 9.0, "scale 1"),
        ("accuracy_tuned_test", _INK, "x", 5.0, "tuned, test"),
    ):
        # rings around dots: nothing is hidden where both are the same
        fill = "none" if label == "scale 1" else colour
        y = 100 * inference[name][order]
        ax.plot(x, y, marker, color=colour, markerfacecolor=fill, label=label, markersize=size, clip_on=False)
    fidelity = "" if f.write is None else f" (write fidelity {100 * f.write['fidelity'].mean():.2f} %)"
    ax.set(title=f"accuracy{fidelity}", xlabel="solution, sorted by tuned accuracy", ylabel="accuracy, %")
    ax.set_xlim(-0.6, len(order) - 0.4)
    low, _ = ax.get_ylim()
    ax.set_ylim(max(0.0, low - 1), 100.5)
    ax.set_xticks(x[:: max(1, len(order) // 8)])
    ax.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, columnspacing=1.0)
    _plain(ax)


def _confusion(ax: Axes, inference: Table) -> None:
    """Draw label against predicted class, tuned, test samples, all solutions added up, in % of each label."""
    counts = inference["confusion_tuned_test"].sum(axis=0)
    share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax.imshow(share, cmap="Blues", vmin=0, vmax=100)
    classes = len(counts)
    if classes <= 12:
        for (label, predicted), value in np.ndenumerate(share):
            shown = f"{value:.1f} %\n{counts[label, predicted]:,}" if classes <= 5 else f"{value:.0f}"
            colour = "white" if value > 55 else _INK
            ax.text(predicted, label, shown, ha="center", va="center", fontsize=9, color=colour)
    ax.set(
        title=f"test samples, tuned, {counted(inference.rows, 'network')}",
        xlabel="predicted class",
        ylabel="label",
        xticks=range(classes),
        yticks=range(classes),
    )


def _plain(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
