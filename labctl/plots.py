"""Pictures of a die: conductance maps, their distribution, currents against ideal, accuracy per solution."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")

from matplotlib.figure import Figure

from labctl.core.units import FloatArray
from labctl.tables import Table

_P, _AP, _INK = "#c8553d", "#2a6f97", "#333333"


def die_picture(f: Any, points: tuple[FloatArray, FloatArray] | None, readback: Table | None, path: Path) -> None:
    """Draw one die: a panel for whatever has been measured of it.

    Args:
        f: `labctl.report.DieFigures`.
        points: ideal and measured column currents, uA.
        readback: last read of every placed cell.
    """
    kernels = 0 if f.survey is None else f.survey.rows
    panels = kernels + (f.survey is not None) + (points is not None) + (f.inference is not None)
    columns = max(1, min(3, panels))
    rows = max(1, -(-panels // columns))
    figure = Figure(figsize=(5.2 * columns, 4.4 * rows), layout="constrained")
    figure.suptitle(f"{f.die}: {f.bin}", x=0.01, ha="left", weight="bold")
    axes = iter(figure.subplots(rows, columns, squeeze=False).ravel())
    for k in range(kernels):
        _map(figure, next(axes), f.survey, k)
    if f.survey is not None:
        _distribution(next(axes), f.survey, readback)
    if points is not None:
        _scatter(next(axes), *points)
    if f.inference is not None:
        _accuracy(next(axes), f)
    for empty in axes:
        empty.set_axis_off()
    figure.savefig(path, dpi=110)


def _map(figure: Figure, ax: Any, survey: Table, k: int) -> None:
    image = ax.imshow(survey["g_p"][k] * 1e6, cmap="viridis", origin="upper", aspect="equal")
    bad_row, bad_col = np.nonzero(survey["defect"][k])
    ax.plot(bad_col, bad_row, "x", color="white", markersize=7)
    ax.set(title=f"kernel {int(survey['kernel'][k])}: surveyed G_P", xlabel="column", ylabel="row")
    figure.colorbar(image, ax=ax, label="uS", shrink=0.85)


def _distribution(ax: Any, survey: Table, readback: Table | None) -> None:
    for name, colour, label in (("g_p", _P, "P, survey"), ("g_ap", _AP, "AP, survey")):
        g = survey[name].ravel() * 1e6
        ax.hist(g[np.isfinite(g)], bins=30, color=colour, alpha=0.75, label=label)
    if readback is not None:
        twin = ax.twinx()
        for target, colour in ((True, _P), (False, _AP)):
            g = readback["conductance"][readback["target"] == target] * 1e6
            g = g[np.isfinite(g)]
            if g.size:
                twin.hist(g, bins=30, histtype="step", color=colour, label=f"{'P' if target else 'AP'}, read back")
        twin.set_yticks([])
        twin.legend(loc="upper center", frameon=False, fontsize=8)
    ax.set(title="conductance at the read voltage", xlabel="uS", ylabel="cells")
    ax.legend(loc="upper right", frameon=False, fontsize=8)


def _scatter(ax: Any, ideal: FloatArray, measured: FloatArray) -> None:
    low, high = min(ideal.min(), measured.min()), max(ideal.max(), measured.max())
    ax.hexbin(ideal, measured, gridsize=70, bins="log", cmap="magma_r", mincnt=1)
    ax.plot([low, high], [low, high], color=_INK, linewidth=0.8)
    ax.set(title="column currents at scale 1", xlabel="ideal, uA", ylabel="measured, uA", aspect="equal")


def _accuracy(ax: Any, f: Any) -> None:
    order = np.argsort(f.inference["accuracy_tuned_train"])
    for name, colour, marker, label in (
        ("accuracy_untuned_train", _AP, "o", "scale 1"),
        ("accuracy_tuned_train", _P, "o", "tuned"),
        ("float_tuned_train", _INK, "_", "software, tuned"),
    ):
        ax.plot(100 * f.inference[name][order], marker, color=colour, label=label, markersize=5)
    fidelity = 100 * f.write["fidelity"].mean() if f.write is not None else float("nan")
    ax.set(
        title=f"accuracy on the training samples (write fidelity {fidelity:.2f} %)",
        xlabel="solution, sorted",
        ylabel="%",
    )
    ax.legend(frameon=False, fontsize=8, loc="lower right")
