"""Pictures of a die: conductance maps, their distribution, currents against ideal, accuracy, confusion.

Colours and bins are chosen by the good cells; one short of ten times their conductance would leave nothing to see of
them. Defects are drawn as what they are, with a legend.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from labctl.core.defects import Defect
from labctl.core.errors import StorageError
from labctl.core.events import DieEvent, StageStarted
from labctl.core.picture import CellMap, Curves, Declared
from labctl.core.units import FloatArray
from labctl.report.die_figures import DieFigures, good_range
from labctl.report.die_pictures import KernelPicture, curves, kernel_pictures
from labctl.report.drawings import Drawings, is_ours
from labctl.storage.event_rows import event_rows
from labctl.storage.results import DieData
from labctl.storage.tables import Table
from labctl.terminal.progress import counted

_P, _AP, _INK, _PALE = "#c8553d", "#2a6f97", "#333333", "#9aa5ad"
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
    maps: list[tuple[Declared, CellMap, KernelPicture]] = []
    lines: list[tuple[Declared, Curves, list[tuple[str, FloatArray, FloatArray]]]] = []
    for one, table in declared:
        with drawings.of(one):
            if isinstance(one.picture, CellMap):
                maps += [(one, one.picture, drawn) for drawn in list(kernel_pictures(table, one.picture))]
            elif points_of := list(curves(table, one.picture)):
                lines.append((one, one.picture, points_of))
    inferred = f.inference is not None and f.inference.rows > 0
    panels = len(maps) + len(lines) + (f.survey is not None) + (points is not None) + 2 * inferred
    if not panels:
        return False
    columns = max(1, min(3, panels))
    rows = max(1, -(-panels // columns))
    margins = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
    figure = Figure(figsize=(5.4 * columns, 4.6 * rows + 0.6), layout=margins, facecolor="white")
    figure.suptitle(f"die {f.die}, bin: {f.bin}" + (f"\n{about}" if about else ""), x=0.015, ha="left", fontsize=12)
    axes = iter(figure.subplots(rows, columns, squeeze=False).ravel())
    for of, picture, kernel in maps:
        with drawings.of(of):
            _map(figure, next(axes), picture, kernel)
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
    for empty in axes:
        empty.set_axis_off()
    try:
        figure.savefig(path, dpi=110)
    except (OSError, StorageError):
        raise
    except Exception as error:  # of what protocols declare, which is laid out now: all else is drawn without it
        strangers = dict.fromkeys(one for one, _, _ in (*maps, *lines) if not is_ours(one))
        if not strangers:
            raise
        for one in strangers:
            drawings.failed(one, error)
        own = [(one, table) for one, table in declared if is_ours(one)]
        return die_picture(f, own, points, readback, about, path, drawings)
    return True


def _outside(values: FloatArray, low: float, high: float) -> Any:
    """Return which ends of a colour bar get an arrow."""
    below, above = bool((values < low).any()), bool((values > high).any())
    return {(True, True): "both", (True, False): "min", (False, True): "max"}.get((below, above), "neither")


def _map(figure: Figure, ax: Axes, picture: CellMap, one: KernelPicture) -> None:
    low, high = good_range(one.values, one.codes == 0)
    image = ax.imshow(one.values, cmap="viridis", origin="upper", aspect="equal", vmin=low, vmax=high)
    for mark in one.marks:
        row, col = np.nonzero(one.codes == mark.code)
        ax.plot(
            col,
            row,
            mark.marker,
            color=_P,
            markeredgecolor="white",
            markeredgewidth=0.9,
            markersize=9,
            linestyle="none",
            label=_literal(f"{mark.title} ({row.size})"),
        )
    if one.marks:
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, frameon=False, fontsize=8)
    ax.set(title=f"kernel {one.kernel}: {_literal(picture.title)}", xlabel="column", ylabel="row")
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(8, integer=True))
    bar = figure.colorbar(image, ax=ax, shrink=0.85, extend=_outside(one.values[np.isfinite(one.values)], low, high))
    bar.set_label(_literal(f"{picture.title.split(' as ')[0]}, {picture.unit}".rstrip(", ")))


def _literal(text: str) -> str:
    """Return a text that matplotlib draws as it is, and not as a formula between dollars."""
    return text.replace("$", r"\$")


def _curves(ax: Axes, picture: Curves, drawn: Sequence[tuple[str, FloatArray, FloatArray]]) -> None:
    labelled = len(drawn) <= _LEGEND and any(label for label, _, _ in drawn)
    for k, (label, x, y) in enumerate(drawn):
        colour = colormaps["viridis"](k / max(1, len(drawn) - 1) * 0.9)
        ax.plot(x, y, ".-", color=colour, linewidth=1.1, markersize=4, label=_literal(label) if labelled else "_")
    if labelled:
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, frameon=False, fontsize=8)
    ax.set(title=_literal(picture.title), xlabel=_literal(picture.x_title), ylabel=_literal(picture.y_title))
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
        ax.hist(g[inside], bins=bins.tolist(), color=colour, alpha=0.45, label=label)
    if readback is not None:
        for target, colour, label in ((True, _P, "P, read back"), (False, _AP, "AP, read back")):
            g = readback["conductance"][readback["target"] == target] * 1e6
            if g.size:
                counts, _ = np.histogram(g, bins=bins)
                ax.stairs(counts * (good.size / g.size), bins, color=colour, linewidth=1.4, label=label)
    more = f" ({counted(beyond, 'survey read')} beyond the axis)" if beyond else ""
    ax.set(
        title="conductance at the read voltage",
        xlabel=f"conductance, uS{more}",
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
    ax.text(0.03, 0.97, f"rms error {rms:.3g} uA", transform=ax.transAxes, va="top", fontsize=9, color=_INK)
    ax.set(title="column currents, network scale 1", xlabel="ideal, uA", ylabel="measured, uA", xlim=span, ylim=span)
    ax.set_aspect("equal")
    figure.colorbar(cloud, ax=ax, label="currents per hexagon", shrink=0.85)
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
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    ax.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=4, columnspacing=1.0)
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
        title=f"test samples, tuned, {inference.rows} solutions together",
        xlabel="predicted class",
        ylabel="label",
        xticks=range(classes),
        yticks=range(classes),
    )


def _plain(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
