"""Pictures of a fleet: a figure by place on the wafer, over all its runs, and against time."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from labctl.core.errors import BenchError
from labctl.core.figure import Figure
from labctl.fleet.shown import new_file
from labctl.fleet.store import Fleet
from labctl.terminal.progress import counted
from labctl.wafer_maps.palette import scale
from labctl.wafer_maps.picture import Layout, drawn, figure_panel, orientation

_INK = "#1c1c1a"


@dataclass(frozen=True)
class Places:
    """A figure by place, in the unit in which it is shown.

    Args:
        x, y: (n_x,) and (n_y,) columns and rows of the prober's map, y from the top.
        mean: (n_y, n_x) over the rows of the fleet, NaN where there are none; `count` of how many.
        wafers: names of the wafers of these rows.
        notch: degrees clockwise from the bottom, None if it is unknown, or differs among these wafers.
    """

    figure: Figure
    x: npt.NDArray[np.int64]
    y: npt.NDArray[np.int64]
    mean: npt.NDArray[np.float64]
    count: npt.NDArray[np.int64]
    wafers: tuple[str, ...] = ()
    notch: int | None = None


def _values(fleet: Fleet, name: str) -> tuple[Figure, npt.NDArray[np.float64]]:
    """Return the declaration of a figure and its value in every row, in its shown unit, NaN where there is none.

    A figure of a whole die counts once, in the first of its rows.

    Raises:
        BenchError: there is no such figure, or it is one of kernels of several sizes.
    """
    if name not in fleet.figure_columns:
        raise BenchError(f"there is no figure '{name}'; expected one of {', '.join(fleet.figure_columns) or 'none'}")
    figure, values = fleet.figure(name), np.array(fleet.table[name].to_numpy(), float)
    sizes = {size for size, value in zip(fleet.table["size"].to_pylist(), values, strict=True) if np.isfinite(value)}
    if figure.by_size and len(sizes) > 1:
        named = ", ".join(f"'{size}'" if size else "''" for size in sorted(sizes))
        raise BenchError(f"'{name}' is of kernels of {len(sizes)} sizes here ({named}); choose one, as size = '60 nm'")
    dies = list(zip(fleet.table["run_id"].to_pylist(), fleet.table["die"].to_pylist(), strict=True))
    first = {die: row for row, die in reversed(list(enumerate(dies)))}
    again = np.array([first[die] != row for row, die in enumerate(dies)], bool)
    values[again] = np.nan
    return figure, values * figure.factor


def places(fleet: Fleet, name: str) -> Places:
    """Return the mean of a figure by place; visits of golden dies are left out.

    Raises:
        BenchError: there is no such figure, or no row has it.
    """
    figure, values = _values(fleet, name)
    keep = np.isfinite(values) & ~np.asarray(fleet.table["golden"].to_numpy(zero_copy_only=False), bool)
    if not keep.any():
        raise BenchError(f"no die of these rows has a figure '{name}'")
    at = {axis: np.asarray(fleet.table[axis].to_numpy())[keep] for axis in ("x", "y")}
    x, y = (np.arange(at[axis].min(), at[axis].max() + 1) for axis in ("x", "y"))
    total, count = np.zeros((len(y), len(x))), np.zeros((len(y), len(x)), np.int64)
    index = at["y"] - y[0], at["x"] - x[0]
    np.add.at(total, index, values[keep])
    np.add.at(count, index, 1)
    with np.errstate(invalid="ignore"):
        mean = total / count
    notches, wafers = (
        {value for value, kept in zip(fleet.table[name].to_pylist(), keep, strict=True) if kept}
        for name in ("notch", "wafer")
    )
    return Places(figure, x, y, mean, count, tuple(sorted(wafers)), notches.pop() if len(notches) == 1 else None)


def map_text(shown: Places) -> str:
    """Return the map as text: the mean by place, a point where there is no die."""
    cells = [[shown.figure.text_number(v / shown.figure.factor) if np.isfinite(v) else "." for v in row]
             for row in shown.mean]  # fmt: skip
    width = max(len(text) for text in (*(t for row in cells for t in row), *map(str, shown.x)))
    lines = [" " * 6 + " ".join(f"{x:>{width}}" for x in shown.x)]
    lines += [f"y{y:>4} " + " ".join(f"{t:>{width}}" for t in row) for y, row in zip(shown.y, cells, strict=True)]
    unit = f", {shown.figure.shown_unit}" if shown.figure.shown_unit else ""
    return "\n".join([f"{shown.figure.title}{unit}: mean by place of {shown.count.sum():,} rows", *lines])


def draw_map(shown: Places, path: Path) -> None:
    """Draw the map into a new PNG file."""
    figure = shown.figure
    rows, cols = np.nonzero(np.isfinite(shown.mean))
    layout = Layout(
        [(int(shown.x[col]), int(shown.y[row])) for row, col in zip(rows, cols, strict=True)], (), shown.notch
    )
    values = (shown.mean[rows, cols] / figure.factor).tolist()
    panel = figure_panel("", layout, values, figure.text_number, scale(figure.better), figure.shown_unit)
    unit = f", {figure.shown_unit}" if figure.shown_unit else ""
    of = f"wafer {shown.wafers[0]}" if len(shown.wafers) == 1 else f"{len(shown.wafers)} wafers"
    note = f"Mean of {counted(int(shown.count.sum()), 'row')} by place, {of}; {orientation(shown.notch)}."
    drawn([panel], f"{figure.title}{unit}", note).savefig(new_file(path), dpi=150)


def draw_trend(fleet: Fleet, name: str, path: Path) -> int:
    """Draw a figure against the time at which dies were finished into a new PNG file; return the number of points.

    A line joins the medians of runs.

    Raises:
        BenchError: there is no such figure, no row has it, or the file exists.
    """
    from matplotlib.figure import Figure as Canvas

    figure, values = _values(fleet, name)
    keep = np.isfinite(values)
    if not keep.any():
        raise BenchError(f"no die of these rows has a figure '{name}'")
    finished = np.asarray(fleet.table["finished"].to_numpy())
    golden = np.asarray(fleet.table["golden"].to_numpy(zero_copy_only=False), bool)
    runs = np.asarray(fleet.table["run_id"].to_pylist())
    canvas = Canvas(figsize=(8.0, 3.6), layout="constrained")
    axes = canvas.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    for rows, colour, label in ((keep & ~golden, "#30799f", "dies"), (keep & golden, "#d55e00", "golden die")):
        if rows.any():
            axes.plot(finished[rows], values[rows], ".", color=colour, markersize=3, alpha=0.6, label=label)
    medians = _medians(runs[keep & ~golden], finished[keep & ~golden], values[keep & ~golden])
    if len(medians) > 1:
        axes.plot(*zip(*medians, strict=True), "o-", color=_INK, markersize=4, linewidth=1, label="median of each run")
    axes.set_ylabel(f"{figure.title}{f' ({figure.shown_unit})' if figure.shown_unit else ''}")
    axes.legend(frameon=False, fontsize=8)
    axes.set_xlabel("finished (UTC)")
    canvas.autofmt_xdate()
    canvas.savefig(new_file(path), dpi=150)
    return int(keep.sum())


def _medians(runs: npt.NDArray[Any], finished: npt.NDArray[Any], values: npt.NDArray[Any]) -> Sequence[tuple[Any, Any]]:
    """Return the middle time and the median of the values of each run, in order of time."""
    of_runs = [(finished[runs == run], values[runs == run]) for run in np.unique(runs)]
    middles = [(times.min() + (times.max() - times.min()) / 2, float(np.median(of_run))) for times, of_run in of_runs]
    return sorted(middles)
