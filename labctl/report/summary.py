"""Show a run: figures of every die, conductance maps and current scatter, as text, as JSON and as pictures.

Everything is read from the run folder, sealed or not, so it works on a finished, a running and a killed run.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from labctl.analysis.measurements import networks_of
from labctl.analysis.networks import in_words, over_dies
from labctl.config.bins import MEASURED, unjudged
from labctl.core.errors import NotThereError, StorageError
from labctl.core.figure import Figure, Figures, Shown, split_name
from labctl.core.picture import CellMap, Declared, pictures_of_run
from labctl.report import event_text, retested
from labctl.report.accuracies import accuracy_texts
from labctl.report.bench_state import bench_text_of
from labctl.report.die_figures import (
    PARTS,
    TUNINGS,
    UNFINISHED,
    DieFigures,
    _ordered,
    _scatter_points,
    _table,
    _visit,
    figures,
    good_range,
)
from labctl.report.die_pictures import KernelPicture, kernel_pictures
from labctl.report.drawings import Drawings
from labctl.report.formulas import formulas_of
from labctl.report.judged_lines import lines_of
from labctl.report.rehearsal import rehearsal_of, rehearsal_text_of
from labctl.storage.results import DieData, Run, open_run
from labctl.storage.run_log import read_state
from labctl.terminal.progress import Column, counted, print_table

_SHADES = " .:-=+*#%@"
FIRST = (Column("die", right=False), Column("bin", right=False))


def summary(path: Path, outcome: str | None = None, code: int | None = None) -> dict[str, Any]:
    """Return what `--json` prints of a run: ratios from 0 to 1, outcome and exit code, one entry per die."""
    run = open_run(path)
    declared, formulas = Figures.of_run(run.meta), formulas_of(run.meta)
    dies = [figures(run, name, formulas) for name in _ordered(run) if not _visit(name)]
    rehearsed = rehearsal_of(path)
    return {
        "outcome": outcome or _outcome(dies),
        "exit": code,
        "path": str(path),
        "dies": [
            {"die": f.die, "bin": f.bin, "figures": _finite(declared, f), "solutions": _solutions(f)} for f in dies
        ],
        "accuracies": list(accuracy_texts(run, [f.die for f in dies])),
        **({} if rehearsed is None else {"faults": rehearsed}),
    }


def _outcome(dies: list[DieFigures]) -> str:
    kinds = {f.outcome for f in dies}
    return next((k for k in (UNFINISHED, "fail", "abort") if k in kinds), "success")


def _solutions(f: DieFigures) -> list[dict[str, Any]]:
    if f.write is None or f.inference is None:
        return []
    fidelity = dict(zip(f.write["solution"].tolist(), f.write["fidelity"].tolist(), strict=True))
    solutions = []
    for k, index in enumerate(f.inference["solution"].tolist()):
        accuracy = {t: {p: float(f.inference[f"accuracy_{t}_{p}"][k]) for p in PARTS} for t in TUNINGS}
        columns = {part: f"float_tuned_{part}" for part in PARTS}
        software = {p: float(f.inference[column][k]) for p, column in columns.items() if column in f.inference}
        solutions.append({"index": index, "fidelity": fidelity[index], "accuracy": accuracy, "software": software})
    return solutions


def _columns(declared: Figures, dies: Sequence[DieFigures]) -> list[tuple[Column, Figure]]:
    """Return the columns of the table of dies: figures of which a die has a number. Those of the headline go last."""
    known = (name for f in dies for name, value in f.values.items() if not np.isnan(value))
    chosen = declared.chosen(known, Shown.HEADLINE, Shown.TABLE)
    columns = []
    for k, figure in enumerate(chosen):
        worth = len(chosen) - k + (len(chosen) if figure.shown is Shown.HEADLINE else 0)
        group = split_name(figure.key)[1]
        words = figure.title.removesuffix(f", {group}").split() + ([group] if group else [])
        columns.append((Column("\n".join(filter(None, [*words, _typed(figure.shown_unit)])), worth), figure))
    return columns


def _typed(unit: str) -> str:
    """Return a unit in letters that every terminal has.

    >>> _typed("kΩ"), _typed("µS")
    ('kohm', 'uS')
    """
    return unit.replace("Ω", "ohm").replace("µ", "u")


def show(
    path: Path, console: Console, *, maps: bool = False, die: str | None = None, drawings: Drawings | None = None
) -> None:
    """Print the figures of a run.

    Args:
        maps: also print the conductance maps and the current scatter of one die.
        die: which one; the first that has been started if None.
        drawings: keeps what could not be drawn.

    Raises:
        StorageError: there is no run, it is damaged, or it has no such die.
    """
    run = open_run(path)
    names = _ordered(run)
    if not names:
        raise StorageError(f"{path}: the run has no die yet")
    if die is not None and die not in names:
        raise NotThereError(f"{path} has no die '{die}'; it has {', '.join(names)}")
    title = f"{run.meta.get('name', path.name)}  {run.meta.get('title', '')}".rstrip()
    declared, formulas = Figures.of_run(run.meta), formulas_of(run.meta)
    dies = [figures(run, name, formulas, tables=False) for name in names if not _visit(name)]
    columns = _columns(declared, dies)
    rows = [(f.die, f.bin, *(_cell(figure, f.values.get(figure.key)) for _, figure in columns)) for f in dies]
    missing = print_table(console, title, [*FIRST, *(column for column, _ in columns)], rows)
    legend: dict[str, list[str]] = {}
    for column, figure in columns:
        if column.heading not in missing:
            legend.setdefault(figure.note, []).append(figure.title)
    for note, titles in legend.items():
        console.print(f"{'; '.join(titles)}: {note}.", markup=False)
    for text in accuracy_texts(run, [f.die for f in dies]):
        console.print(f"accuracy, {text}.", markup=False, highlight=False)
    if text := in_words(over_dies((f.die, networks_of(f.write, f.inference)) for f in dies)):
        console.print(f"{text}; test samples.", markup=False, highlight=False)
    if missing:
        left_out = ", ".join(" ".join(heading.split()) for heading in missing)
        console.print(f"Not shown in {console.width} columns: {left_out}.", markup=False)
    if measured := sum(f.bin == MEASURED for f in dies):
        console.print(f"{counted(measured, 'die')} measured; {unjudged(run.meta.get('bins') or ())}.", markup=False)
    if _outcome(dies) == UNFINISHED:
        bins = Counter(f.bin for f in dies if f.outcome == UNFINISHED)
        counts = ", ".join(f"{counted(n, 'die')} {word}" for word, n in bins.items())
        console.print(f"This run is unfinished: {counts}.", markup=False)
    if text := rehearsal_text_of(path, run.meta):
        console.print(f"{text}.", markup=False, highlight=False, soft_wrap=True)
    for line in lines_of(path):
        console.print(f"{_typed(line)}.", markup=False, highlight=False)
    if text := retested.of_path(path, run.meta):
        console.print(f"{text[:1].upper()}{text[1:]}.", markup=False, highlight=False, soft_wrap=True)
    if bench := bench_text_of(path):
        console.print(f"{bench}.", markup=False, highlight=False)
    for f in dies:
        if f.reason:
            console.print(f"{f.die}: {f.outcome}: {f.reason.splitlines()[0]}", markup=False, highlight=False)
    if (path / "journal.db").is_file() and (text := event_text.warned(read_state(path), declared)):
        console.print(text, markup=False, highlight=False)
    if maps:
        _print_die(run, path, die, console, drawings or Drawings())


def _print_die(run: Run, path: Path, wanted: str | None, console: Console, drawings: Drawings) -> None:
    """Print maps and scatter of one die, and say how to see the others."""
    started = [name for name in _ordered(run) if name in run.dies]
    name = wanted or (started[0] if started else None)
    if name is None or name not in run.dies:
        console.print(f"\nThere is nothing to draw of die {name} yet." if name else "\nThere is nothing to draw yet.")
        return
    _print_maps(run.die(name), pictures_of_run(run.meta), console, drawings)
    _print_scatter(run.die(name), console)
    others = [n for n in started if n != name]
    if others and wanted is None:
        more = "" if len(others) == 1 else f" ({', '.join(others)})" if len(others) < 8 else f" ({len(others)} more)"
        console.print(
            f"\nDrawn is die {name} only; another: labctl show {path} --die {others[0]}{more}",
            markup=False,
        )


def _cell(figure: Figure, value: float | None) -> str:
    number = figure.text_number(value)
    return "-" if number == "–" else number


def _finite(declared: Figures, f: DieFigures) -> dict[str, float | None]:
    """Return the figures of a die as JSON has them, None for NaN."""
    return {name: f.values[name] if np.isfinite(f.values[name]) else None for name in declared.in_order(f.values)}


def _print_maps(die: DieData, pictures: Sequence[Declared], console: Console, drawings: Drawings) -> None:
    """Print the maps that the run declares."""
    for declared in pictures:
        table, picture = _table(die, declared.picture.table), declared.picture
        if table is None or not isinstance(picture, CellMap):
            continue
        with drawings.of(declared):
            for one in kernel_pictures(table, picture):
                _print_map(f"{die.name} kernel {one.kernel}: {picture.title}", one, _typed(picture.unit), console)


def _print_map(title: str, one: KernelPicture, unit: str, console: Console) -> None:
    """Print a map, two characters a cell: a shade, or a letter of a cell that is marked."""
    low, high = good_range(one.values, one.codes == 0)
    span = high - low
    level = np.clip((np.nan_to_num(one.values) - low) / span, 0, 1) if span > 0 else np.ones(one.values.shape)
    shade = np.array(list(_SHADES[1:]))[np.round(level * (len(_SHADES) - 2)).astype(int)]
    for mark in one.marks:
        shade[one.codes == mark.code] = mark.letter
    scale = f"{low:.4g} ({_SHADES[1]}) to {high:.4g} {unit}".rstrip() + f" ({_SHADES[-1]})"
    words = "".join(f", {mark.letter} {mark.title}" for mark in one.marks)
    console.print(f"\n{title}, from {scale}{words}", markup=False)
    for line in shade:
        console.print(Text("  " + "".join(c * 2 for c in line)), soft_wrap=True)


def _print_scatter(die: DieData, console: Console, width: int = 60, height: int = 18) -> None:
    points = _scatter_points(die)
    if points is None:
        return
    ideal, measured = points
    low, high = float(min(ideal.min(), measured.min())), float(max(ideal.max(), measured.max()))
    counts, _, _ = np.histogram2d(measured, ideal, bins=(height, width), range=((low, high), (low, high)))
    level = np.log1p(counts) / max(float(np.log1p(counts).max()), 1e-30)
    console.print(f"\n{die.name}: measured against ideal current, {low:.1f} to {high:.1f} uA, {ideal.size:,} columns")
    for line in level[::-1]:
        text = "".join(_SHADES[round(float(v) * (len(_SHADES) - 1)) or int(v > 0)] for v in line)
        console.print(Text("  |" + text))
    console.print(Text("  +" + "-" * width + "> ideal"))
    error = measured - ideal
    rms, worst = np.sqrt(np.mean(error**2)), np.abs(error).max()
    console.print(f"  error: rms {rms:.3g} uA, mean {error.mean():.3g} uA, worst {worst:.3g} uA")
