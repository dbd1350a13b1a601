"""What a comparison says as pictures, each as PNG and as SVG; the same figures give the same files."""

from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from labctl.core.errors import StorageError
from labctl.experiments.chip_comparison import METHODS, Comparison, Result
from labctl.experiments.losses import Losses, in_order, pooled
from labctl.experiments.wine_passive import Wine
from labctl.experiments.wine_sizes import Sizes

_INK, _PALE = "#333333", "#9aa5ad"
_LOOKS = dict(zip(METHODS, (("#c8553d", "o"), ("#6a994e", "s"), ("#2a6f97", "^")), strict=True))
_WAFERS = "Dv<>PX*"
"""Markers of wafers that training does not know, in turns."""
_SIZES = ("#c8553d", "#d9a441", "#6a994e", "#2a6f97")
CLAIM = 0.02
"""What the publication allows the mean error to lie above the software baseline."""


def draw_chip(comparison: Comparison, folder: Path) -> list[Path]:
    """Draw the integrated chip: error per die, against defects and their density, loss by way; return the files.

    Raises:
        StorageError: a file cannot be written.
    """
    dies = Figure(figsize=(7.2, 4.3), layout="constrained", facecolor="white")
    _per_die(dies.add_subplot(), comparison)
    defects = Figure(figsize=(7.2, 4.3), layout="constrained", facecolor="white")
    _against_defects(defects.add_subplot(), comparison)
    drawn = _save(dies, folder / "error-per-die") + _save(defects, folder / "error-against-defects")
    if comparison.losses:
        losses = Figure(figsize=(7.2, 1.2 + 0.19 * len(_ways(comparison))), layout="constrained", facecolor="white")
        _losses(losses.add_subplot(), comparison)
        drawn += _save(losses, folder / "losses")
    if len(comparison.settings.densities) > 1:
        densities = Figure(figsize=(7.2, 4.3), layout="constrained", facecolor="white")
        _sensitivity(densities.add_subplot(), comparison)
        drawn += _save(densities, folder / "sensitivity")
    return drawn


def draw_wine(wine: Wine, folder: Path) -> list[Path]:
    """Draw the passive arrays: accuracy of all networks, and write fidelity; return the files.

    Raises:
        StorageError: a file cannot be written.
    """
    accuracy = Figure(figsize=(7.2, 5.6), layout="constrained", facecolor="white")
    _histograms(accuracy, wine)
    fidelity = Figure(figsize=(7.2, 3.4), layout="constrained", facecolor="white")
    _fidelity(fidelity.add_subplot(), wine)
    return _save(accuracy, folder / "accuracy") + _save(fidelity, folder / "fidelity")


def draw_sizes(sizes: Sizes, folder: Path) -> list[Path]:
    """Draw fidelity and accuracy over device size with their intervals over dies; return the files.

    Raises:
        StorageError: a file cannot be written.
    """
    figure = Figure(figsize=(7.2, 3.8), layout="constrained", facecolor="white")
    axes = figure.subplots(1, 2)
    x = 1e9 * np.array([size.diameter for size in sizes.sizes])
    shown = ((("blind", "blind"), ("verified", "verified")), (("untuned_train", "untuned"), ("tuned_train", "tuned")))
    for ax, names, title in zip(axes, shown, ("write fidelity, %", "accuracy on the 148, %"), strict=True):
        for (name, label), colour in zip(names, (_SIZES[0], _SIZES[3]), strict=True):
            mean, low, high = 100 * np.array([size.figure(name) for size in sizes.sizes]).T
            error = [mean - low, high - mean]
            ax.errorbar(x, mean, error, marker="o", markersize=4.5, capsize=3, color=colour, label=label)
        ax.set(title=title, xlabel="nominal diameter, nm", xticks=x)
        ax.legend(frameon=False, fontsize=9)
        _plain(ax)
    return _save(figure, folder / "sizes")


def _save(figure: Figure, path: Path) -> list[Path]:
    """Write a figure as PNG and SVG, without time or anything else that differs from run to run."""
    drawn = [path.with_suffix(".png"), path.with_suffix(".svg")]
    try:
        figure.savefig(drawn[0], dpi=110)
        with matplotlib.rc_context({"svg.hashsalt": path.stem}):
            figure.savefig(drawn[1], metadata={"Date": None})
    except OSError as error:
        raise StorageError(f"{path.parent}: pictures cannot be written: {error.strerror or error}") from error
    return drawn


def _plain(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)


def _at_reference(comparison: Comparison) -> list[Result]:
    return [r for r in comparison.results if r.density == comparison.settings.reference]


def _look(comparison: Comparison, r: Result) -> tuple[str, str, str]:
    """Return colour, marker and name of a result."""
    colour, marker = _LOOKS[r.method]
    if not r.other:
        return colour, marker, r.method
    return colour, _WAFERS[_others(comparison).index(r.seed) % len(_WAFERS)], f"{r.method}, wafer {r.seed}"


def _others(comparison: Comparison) -> list[int]:
    """Return the seeds of the wafers that training does not know."""
    return [seed for seed in comparison.settings.wafers if seed is not None]


def _software(ax: Axes, comparison: Comparison) -> None:
    """Draw the error in software, and how much more the publication allows."""
    base = 100 * comparison.software
    ax.axhline(base, color=_INK, linewidth=1.0, linestyle="--", zorder=1)
    ax.axhspan(base, base + 100 * CLAIM, color=_PALE, alpha=0.22, linewidth=0, zorder=0)
    ax.annotate(
        f"software baseline {base:.2f} %; shaded: 2 points above",
        (1.0, base),
        xycoords=("axes fraction", "data"),
        xytext=(-4, -4),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=8,
        color=_INK,
    )


def _legend(ax: Axes) -> None:
    """Name the curves below the picture, where none of them is hidden."""
    handles, names = ax.get_legend_handles_labels()
    columns = 3 if len(names) < 4 else 2
    assert isinstance(ax.figure, Figure)
    ax.figure.legend(handles, names, frameon=False, fontsize=9, loc="outside lower center", ncols=columns)


def _errors(ax: Axes, comparison: Comparison) -> None:
    """Have a logarithmic axis of errors: those of the baseline are ten times the others, and both count."""
    errors = 100 * np.concatenate([r.values("error") for r in comparison.results])
    ax.set_yscale("log")
    # nobody's error is 0 of thousands of images; if it is, it is drawn at the edge
    low, high = min(errors.min(), 100 * comparison.software), max(errors.max(), 100 * (comparison.software + CLAIM))
    ax.set_ylim(max(low / 1.5, 0.05), high * 1.2)
    ax.yaxis.set_major_locator(FixedLocator([t for d in (0.1, 1, 10) for t in (d, 2 * d, 3 * d, 4 * d, 5 * d, 7 * d)]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set_ylabel("test error, %")
    _plain(ax)


def _per_die(ax: Axes, comparison: Comparison) -> None:
    _software(ax, comparison)
    for r in _at_reference(comparison):
        colour, marker, name = _look(comparison, r)
        error = np.sort(100 * r.values("error"))
        label = f"{name}: {error.mean():.1f}" + (f" ± {error.std(ddof=1):.1f} %" if len(error) > 1 else " %")
        rank = np.arange(1, len(error) + 1)
        ax.plot(rank, error, marker=marker, color=colour, markersize=4.5, linewidth=1.2, label=label)
    ax.set(title=f"{comparison.network}: every die, each curve sorted", xlabel="die, sorted by error")
    ax.xaxis.set_major_locator(MaxNLocator(9, integer=True, min_n_ticks=1))
    _legend(ax)
    _errors(ax, comparison)


def _against_defects(ax: Axes, comparison: Comparison) -> None:
    """Draw every die of every wafer; the densities, if there are several, by how dark they are."""
    _software(ax, comparison)
    for r in comparison.results:
        colour, marker, name = _look(comparison, r)
        here = r.density == comparison.settings.reference
        ax.plot(
            r.values("placed"),
            100 * r.values("error"),
            marker,
            color=colour,
            markersize=5 if here else 4,
            alpha=0.9 if here else 0.4,
            markeredgewidth=0,
            linestyle="none",
            label=name if here else None,
        )
    pale = "; pale: other densities" if len(comparison.settings.densities) > 1 else ""
    label = f"bad cells under the network, as surveyed{pale}"
    ax.set(title=f"{comparison.network}: every die against its defects", xlabel=label)
    _legend(ax)
    ax.set_xlim(0, None)
    _errors(ax, comparison)


def _sensitivity(ax: Axes, comparison: Comparison) -> None:
    _software(ax, comparison)
    densities = sorted(comparison.settings.densities)
    for wafer in comparison.settings.wafers:
        for method in comparison.settings.methods if wafer is None else comparison.settings.shared:
            results = [comparison.of(method, d, wafer) for d in densities]
            colour, marker, name = _look(comparison, results[0])
            mean, spread = (np.array([100 * r.figures()[k] for r in results]) for k in ("mean", "spread"))
            # a little apart, so that no bar hides another
            x = np.array(densities) * 1.025 ** (METHODS.index(method) - 1 + 3 * comparison.settings.wafers.index(wafer))
            line = "-" if wafer is None else "--"
            ax.errorbar(x, mean, spread, color=colour, marker=marker, markersize=6, capsize=3, ls=line, label=name)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(densities))
    ax.xaxis.set_minor_locator(NullLocator())
    rates = [sum(v for k, v in comparison.rates[d].items() if k != "good") for d in densities]
    ax.set_xticklabels([f"x {d:g}\n{100 * rate:.2f} %" for d, rate in zip(densities, rates, strict=True)])
    ax.set(
        title=f"{comparison.network}: mean and spread over the dies", xlabel="density of defects; cells that are bad"
    )
    _legend(ax)
    _errors(ax, comparison)


def _ways(comparison: Comparison) -> list[Losses]:
    """Return what the picture of losses shows, all wafers together where there are several, from the top."""
    return in_order(pooled(comparison.losses))


def _way(one: Losses, *, several: bool) -> str:
    """Return method, level of information and way to classify; the wafers too, if there are several rows of them."""
    wafers = f", wafer {', '.join(map(str, one.wafers))}" if several else ""
    density = "" if one.density == 1 else f" x {one.density:g}"
    way = ("remapped, " if one.terms.remapped else "") + one.terms.way.value
    way += "" if one.terms.analog else " (not analog)"
    return f"{one.method}{density}{wafers}, {one.terms.information.value}: {way}"


def _losses(ax: Axes, comparison: Comparison) -> None:
    """Draw the mean loss of every way to classify with its interval, and the dies as points behind it."""
    shown = _ways(comparison)
    ax.axvspan(0, 100 * CLAIM, color=_PALE, alpha=0.22, linewidth=0, zorder=0)
    for k, one in enumerate(shown):
        colour, marker = _LOOKS[one.method]
        dies, mean = 100 * one.loss.mean(axis=0), 100 * float(one.loss.mean())
        low, high = (100 * v for v in one.interval())
        ax.plot(dies, np.full(len(dies), k), "|", color=colour, alpha=0.35, markersize=7)
        ax.errorbar(mean, k, xerr=[[mean - low], [high - mean]], color=colour, marker=marker, markersize=5, capsize=2.5)
    ax.set_yticks(
        range(len(shown)), [_way(one, several=len({one.wafers for one in shown}) > 1) for one in shown], fontsize=8
    )
    ax.invert_yaxis()
    ax.set(xlabel="loss in points: mean, 95 % interval, dies; shaded: 2 points")
    ax.axvline(0, color=_INK, linewidth=0.8)
    _plain(ax)


def _histograms(figure: Figure, wine: Wine) -> None:
    """Draw the tuned and untuned accuracy of all networks on every size, and the same in software."""
    axes = figure.subplots(len(wine.arrays), 2, sharex=True, sharey=True, squeeze=False)
    samples = sum(wine.arrays[0].samples)
    lowest = min(float(a.whole(t).min()) for a in wine.arrays for t in ("untuned", "tuned"))
    # one bin for every number of samples that can be right, or every second or fourth of them
    each = 1 if lowest > 0.85 else 2 if lowest > 0.6 else 4
    bins = 100 * (np.arange(samples + 1, int(lowest * samples) - 1, -each)[::-1] - 0.5) / samples
    for k, (a, colour) in enumerate(zip(wine.arrays, _SIZES * len(wine.arrays), strict=False)):
        for ax, tuning, title in zip(
            axes[k], ("untuned", "tuned"), ("network scale 1", "scale tuned per layer"), strict=True
        ):
            value = 100 * a.whole(tuning)
            ax.hist(value, bins=bins, color=colour, alpha=0.8)
            ax.hist(100 * a.whole(tuning, software=True), bins=bins, histtype="step", color=_INK, linewidth=1.0)
            label = f"{a.diameter * 1e9:.0f} nm\nmean {value.mean():.2f} %\nworst {value.min():.1f} %"
            ax.text(0.03, 0.92, label, transform=ax.transAxes, fontsize=8.5, va="top", color=_INK)
            if k == 0:
                ax.set_title(title, fontsize=10)
            _plain(ax)
    figure.suptitle(f"Wine: {len(wine.arrays[0].cells)} networks on arrays; outlined: in software", fontsize=11)
    figure.supxlabel(f"accuracy on all {samples} samples, %", fontsize=10)
    figure.supylabel("networks", fontsize=10)


def _fidelity(ax: Axes, wine: Wine) -> None:
    """Draw the cells that read back wrong, per million, with their 95 % interval, and pulses per cell in words."""
    from protocols.statistics import binomial_interval

    for k, a in enumerate(wine.arrays):
        cells, wrong = int(a.cells.sum()), int((a.cells - a.correct).sum())
        low, high = (1e6 * float(v) for v in binomial_interval(wrong, cells))
        ax.plot([k, k], [low, high], color=_SIZES[k % len(_SIZES)], linewidth=2.5, solid_capstyle="butt")
        ax.plot(k, 1e6 * wrong / cells, "o", color=_SIZES[k % len(_SIZES)], markersize=7, clip_on=False)
        ax.annotate(
            f"{wrong} of {cells:,}\n{a.pulses.sum() / cells:.2f} pulses per cell",
            (k, high), xytext=(0, 5), textcoords="offset points", ha="center", fontsize=8.5, color=_INK,
        )  # fmt: skip
    ax.set_xticks(range(len(wine.arrays)), [f"{a.diameter * 1e9:.0f} nm" for a in wine.arrays])
    ax.set(title="cells that read back wrong, of those placed", ylabel="per million, 95 % interval")
    ax.margins(x=0.15, y=0.35)
    ax.set_ylim(0, None)
    _plain(ax)
