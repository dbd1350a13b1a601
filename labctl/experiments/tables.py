"""The tables of an experiment: printed, as Markdown, and as CSV for other plots."""

import csv
import io
from collections.abc import Sequence
from dataclasses import fields

import numpy as np
from rich.console import Console

from labctl.experiments.chip_comparison import METHODS, Comparison, DieError, Result
from labctl.experiments.losses import Losses, in_order, pooled
from labctl.experiments.wine_passive import PARTS, Wine
from labctl.experiments.wine_sizes import FIGURES, Sizes
from labctl.terminal.progress import Column, print_table
from protocols.die_information import LEVELS

CHIP_COLUMNS = (
    Column("weights", right=False),
    Column("defects", right=False),
    Column("dies", 3),
    Column("software"),
    Column("mean"),
    Column("spread"),
    Column("best", 5),
    Column("median", 4),
    Column("worst", 6),
    Column("untuned", 2),
    Column("fidelity", 7),
    Column("bad cells", 8),
)
CHIP_LEGEND = (
    "Test error in %. software: the same ternary weights without hardware. mean, spread (one standard deviation), "
    "best, median, worst: over the dies, one scale per layer and die tuned on training images; untuned: mean at the "
    "scales trained. fidelity: placed cells that read back as written, in %. bad cells: per die, as surveyed."
)
LOSS_COLUMNS = (
    Column("weights", right=False),
    Column("wafer", right=False),
    Column("information", right=False),
    Column("way", right=False),
    Column("error", 3),
    Column("drop", 2),
    Column("loss"),
    Column("95 %", 7, right=False),
    Column("worst die", 6),
    Column("within 2 points", 5, right=False),
)
LOSS_LEGEND = (
    "In points. information: the most that was known of the die: " + LEVELS + ". "
    "way: untuned (no label), tuned (scales, {labels} labels), calibrated (gain and offset of each neuron, "
    "{unlabelled} unlabelled images), subtracted (weights of bad cells digital: NOT ANALOG INFERENCE, a bound); "
    "remapped: placed by the survey. error: test error on hardware. drop: less that of the same network in software. "
    "loss: less that of the conventional network in software ({conventional:.2f} %), of the same seed, image and die; "
    "95 %: bootstrap over dies, seeds and images. worst die, within: loss of dies, mean over {seeds}; in brackets "
    "Wilson's 95 % interval, and after the / that with dies left out counted as failures. Wafers marked * are those "
    "whose dies training knew. Periphery: {periphery}. Dies: {dies}."
)
WINE_COLUMNS = (
    Column("diameter"),
    Column("n", 0),
    Column("fidelity"),
    Column("pulses per cell", 1),
    Column("untuned train", 3),
    Column("untuned test", 2),
    Column("tuned train"),
    Column("tuned test", 4),
    Column("at 95.3 %", 1),
)
WINE_LEGEND = (
    "Mean (worst) over the networks, in %. untuned: network scale 1; tuned: scale of each layer tuned on the training "
    "samples. fidelity: placed cells that read back as written. at 95.3 %: networks that reach the best accuracy of "
    "the publication, tuned, on training and test samples together. software: the same networks without hardware."
)


SIZE_COLUMNS = (
    Column("diameter"),
    Column("dies", 0),
    Column("n", 0),
    Column("blind"),
    Column("verified"),
    Column("untuned, 148", 3),
    Column("tuned, 148", 4),
    Column("untuned, 30", 1),
    Column("tuned, 30", 1),
    Column("141 of 148", 2),
)
SIZE_LEGEND = (
    "In %, mean over dies and networks and its 95 % interval, a bootstrap over dies. n: networks of each die. blind, "
    "verified: cells that read back right after one pulse, and after write-verify. untuned: network scale 1, without "
    "any label; tuned: scales by the labels of the 148, so of the 148 not a test. 30: test samples, too few to rank "
    "sizes by. 141 of 148: networks that get so many right, tuned, which makes 95.3 %. Not the published experiment's "
    "dies."
)


def size_rows(sizes: Sizes) -> list[tuple[str, ...]]:
    """Return a row per diameter."""
    rows = []
    for size in sizes.sizes:
        dies, networks = size.values["blind"].shape
        figures = ["{:.2f} ({:.2f}-{:.2f})".format(*(100 * v for v in size.figure(name))) for name in FIGURES]
        rows.append((f"{size.diameter * 1e9:.0f} nm", str(dies), str(networks), *figures))
    return rows


def show_sizes(sizes: Sizes, screen: Console) -> None:
    """Print the table of the curves over size."""
    _show(screen, f"wine-sizes: 13-6-3, {sizes.settings.kind} dies", SIZE_COLUMNS, size_rows(sizes), SIZE_LEGEND)


def size_csv(sizes: Sizes) -> str:
    """Return one line per die and network."""
    text = io.StringIO()
    sheet = csv.writer(text, lineterminator="\n")
    sheet.writerow(["diameter", "die", "network", *FIGURES])
    for size in sizes.sizes:
        for die, network in np.ndindex(size.values["blind"].shape):
            values = (_plain(float(size.values[name][die, network])) for name in FIGURES)
            sheet.writerow([_plain(size.diameter), die, network, *values])
    return text.getvalue()


def chip_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """Return a row per method and density, and one per other wafer."""
    return [_chip_row(r) for r in sorted(comparison.results, key=_order)]


def _order(r: Result) -> tuple[bool, float, int, int]:
    return r.other, r.density, METHODS.index(r.method), r.seed


def _chip_row(r: Result) -> tuple[str, ...]:
    f = r.figures()
    shown = ("software", "mean", "spread", "best", "median", "worst", "untuned")
    return (
        r.method + (f", wafer {r.seed}" if r.other else ""),
        f"x {r.density:g}",
        str(len(r.dies)),
        *(f"{100 * f[name]:.2f}" for name in shown),
        f"{100 * f['fidelity']:.2f}",
        f"{f['defects']:.0f}",
    )


def loss_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """Return a row per method, wafer, way and whether it was remapped; first of all wafers together."""
    together = [one for one in pooled(comparison.losses) if len(one.wafers) > 1]
    return [_loss_row(one) for one in in_order([*together, *comparison.losses])]


def _loss_row(r: Losses) -> tuple[str, ...]:
    f, level = r.figures(), r.terms.information
    low, high = (100 * v for v in f["loss_interval"])
    share, of_all = ([round(100 * v) for v in f[key]] for key in ("within_interval", "within_fabricated_interval"))
    return (
        r.method,
        f"{', '.join(map(str, r.wafers))}{'*' if r.seen else ''}" + (f", x {r.density:g}" if r.density != 1 else ""),
        f"{level.value} {level.title}",
        ("remapped, " if r.terms.remapped else "") + r.terms.way.value,
        *(f"{100 * f[name]:.2f}" for name in ("error", "drop", "loss")),
        f"{low:.2f} to {high:.2f}",
        f"{100 * f['loss_worst_die']:.2f}",
        f"{f['within']} of {len(r.dies.included)} ({share[0]}-{share[1]} % / {of_all[0]}-{of_all[1]} %)",
    )


def loss_legend(comparison: Comparison) -> str:
    """Return what the columns of the table of losses mean."""
    losses = comparison.losses
    seeds = comparison.settings.seeds
    return LOSS_LEGEND.format(
        labels=max((r.terms.labelled for r in losses), default=0),
        unlabelled=max((r.terms.unlabelled for r in losses), default=0),
        conventional=100 * comparison.software,
        seeds="one seed" if seeds == 1 else f"{seeds} seeds",
        periphery="; ".join(dict.fromkeys(_around(r) for r in losses)),
        dies="; ".join(dict.fromkeys(r.dies.text for r in losses)),
    )


def _around(r: Losses) -> str:
    return r.periphery + (", read at two gates" if r.terms.second_gate else "")


def wine_rows(wine: Wine) -> list[tuple[str, ...]]:
    """Return a row per diameter, and one of the software."""
    rows = []
    for array in wine.arrays:
        f = array.figures()
        rows.append(
            (
                f"{array.diameter * 1e9:.0f} nm",
                str(len(array.cells)),
                f"{100 * f['fidelity']:.3f} ({100 * f['fidelity_min']:.2f})",
                f"{f['pulses_per_cell']:.2f}",
                *(f"{100 * f[part]:.2f} ({100 * f[f'{part}_min']:.1f})" for part in PARTS),
                f"{100 * f['at_published']:.1f}",
            )
        )
    first = wine.arrays[0]
    software = [f"{100 * first.software[p].mean():.2f} ({100 * first.software[p].min():.1f})" for p in PARTS]
    return [*rows, ("software", str(len(first.cells)), "", "", *software, "")]


def show_chip(comparison: Comparison, screen: Console) -> None:
    """Print the table of the integrated chip."""
    _show(screen, f"mtj-chip: {comparison.network}", CHIP_COLUMNS, chip_rows(comparison), CHIP_LEGEND)
    if comparison.losses:
        title = "loss over the conventional network in software"
        _show(screen, title, LOSS_COLUMNS, loss_rows(comparison), loss_legend(comparison))


def show_wine(wine: Wine, screen: Console) -> None:
    """Print the table of the passive arrays."""
    _show(screen, "wine-passive: 13-6-3", WINE_COLUMNS, wine_rows(wine), WINE_LEGEND)


def _show(screen: Console, title: str, columns: Sequence[Column], rows: Sequence[tuple[str, ...]], legend: str) -> None:
    missing = print_table(screen, title, columns, rows)
    screen.print(legend, markup=False, highlight=False)
    if missing:
        screen.print(f"Not shown in {screen.width} columns: {', '.join(missing)}.", markup=False, highlight=False)


def markdown(columns: Sequence[Column], rows: Sequence[tuple[str, ...]], legend: str) -> str:
    """Return a table as Markdown, numbers to the right.

    >>> print(markdown([Column("a", right=False), Column("b")], [("x", "1")], "a and b."))
    | a | b |
    |:--|--:|
    | x | 1 |
    <BLANKLINE>
    a and b.
    <BLANKLINE>
    """
    lines = [[c.heading for c in columns], *rows]
    text = ["| " + " | ".join(row) + " |" for row in lines]
    rule = "|" + "|".join("--:" if c.right else ":--" for c in columns) + "|"
    return "\n".join([text[0], rule, *text[1:], "", legend, ""])


def chip_csv(comparison: Comparison) -> str:
    """Return one line per network and die."""
    text = io.StringIO()
    names = [f.name for f in fields(DieError)]
    sheet = csv.writer(text, lineterminator="\n")
    sheet.writerow(["method", "density", "wafer_seed", *names])
    for r in sorted(comparison.results, key=_order):
        for die in r.dies:
            sheet.writerow([r.method, f"{r.density:g}", r.seed, *(_plain(getattr(die, name)) for name in names)])
    return text.getvalue()


def wine_csv(wine: Wine) -> str:
    """Return one line per network and diameter."""
    text = io.StringIO()
    sheet = csv.writer(text, lineterminator="\n")
    sheet.writerow(["die", "diameter", "network", "fidelity", *PARTS, *(f"software_{part}" for part in PARTS)])
    for a in wine.arrays:
        for n in range(len(a.cells)):
            values = [a.fidelity[n], *(a.accuracy[p][n] for p in PARTS), *(a.software[p][n] for p in PARTS)]
            sheet.writerow([a.die, _plain(a.diameter), n, *map(_plain, values)])
    return text.getvalue()


def _plain(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value
