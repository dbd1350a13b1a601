"""Show a run: figures of every die, conductance maps and current scatter, as text, as JSON and as pictures.

Everything is read from the run folder, sealed or not, so it works on a finished, a running and a killed run.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from labctl.config.bins import MEASURED, NO_LIMITS
from labctl.core.defects import DEFECTS, Defect
from labctl.core.errors import StorageError
from labctl.core.units import FloatArray
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
from labctl.storage.results import DieData, Run, open_run
from labctl.storage.tables import Table
from labctl.terminal.progress import Column, counted, print_table

_SHADES = " .:-=+*#%@"
COLUMNS = (
    Column("die", right=False),
    Column("bin", right=False),
    Column("R_P kohm", 1),
    Column("TMR", 2),
    Column("good cells", 5),
    Column("n", 0),
    Column("fidelity", 7),
    Column("untuned", 4),
    Column("tuned", 8),
    Column("tuned test", 6),
    Column("software", 3),
)
LEGEND = {
    "R_P kohm": "R_P and TMR: medians of the good cells as they read in the array, so apparent: wires included.",
    "n": "n: solutions.",
    "fidelity": "fidelity (placed cells that read back as written) and accuracy in %: median / worst solution.",
    "untuned": "untuned: training samples, network scale 1.",
    "tuned": "tuned: training samples, network scale tuned on them.",
    "tuned test": "tuned test: test samples at that scale.",
    "software": "software: the same network in software, tuned, on the training samples.",
}


def summary(path: Path, outcome: str | None = None, code: int | None = None) -> dict[str, Any]:
    """Return what `--json` prints of a run: ratios from 0 to 1, outcome and exit code, one entry per die."""
    run = open_run(path)
    dies = [figures(run, name) for name in _ordered(run) if not _visit(name)]
    return {
        "outcome": outcome or _outcome(dies),
        "exit": code,
        "path": str(path),
        "dies": [{"die": f.die, "bin": f.bin, "solutions": _solutions(f)} for f in dies],
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
        solutions.append({"index": index, "fidelity": fidelity[index], "accuracy": accuracy})
    return solutions


def _span(values: FloatArray) -> str:
    """Return median and minimum, in %."""
    return f"{np.median(values) * 100:.1f} / {np.min(values) * 100:.1f}"


def show(path: Path, console: Console, *, maps: bool = False, die: str | None = None) -> None:
    """Print the figures of a run.

    Args:
        maps: also print the conductance maps and the current scatter of one die.
        die: which one; the first that has been started if None.

    Raises:
        StorageError: there is no run, it is damaged, or it has no such die.
    """
    run = open_run(path)
    names = _ordered(run)
    if not names:
        raise StorageError(f"{path}: the run has no die yet")
    if die is not None and die not in names:
        raise StorageError(f"{path} has no die '{die}'; it has {', '.join(names)}")
    title = f"{run.meta.get('name', path.name)}  {run.meta.get('title', '')}".rstrip()
    dies = [figures(run, name) for name in names if not _visit(name)]
    rows = [(f.die, f.bin, *_survey_cells(f.survey), *_solution_cells(f)) for f in dies]
    missing = print_table(console, title, COLUMNS, rows)
    console.print(" ".join(text for heading, text in LEGEND.items() if heading not in missing), markup=False)
    if missing:
        console.print(f"Not shown in {console.width} columns: {', '.join(missing)}.", markup=False)
    if measured := sum(f.bin == MEASURED for f in dies):
        console.print(f"{counted(measured, 'die')} measured; {NO_LIMITS}.", markup=False)
    if _outcome(dies) == UNFINISHED:
        bins = Counter(f.bin for f in dies if f.outcome == UNFINISHED)
        counts = ", ".join(f"{counted(n, 'die')} {word}" for word, n in bins.items())
        console.print(f"This run is unfinished: {counts}.", markup=False)
    for f in dies:
        if f.reason:
            console.print(f"{f.die}: {f.outcome}: {f.reason.splitlines()[0]}", markup=False, highlight=False)
    if maps:
        _print_die(run, path, die, console)


def _print_die(run: Run, path: Path, wanted: str | None, console: Console) -> None:
    """Print maps and scatter of one die, and say how to see the others."""
    started = [name for name in _ordered(run) if name in run.dies]
    name = wanted or (started[0] if started else None)
    if name is None or name not in run.dies:
        console.print(f"\nThere is nothing to draw of die {name} yet." if name else "\nThere is nothing to draw yet.")
        return
    _print_map(run.die(name), console)
    _print_scatter(run.die(name), console)
    others = [n for n in started if n != name]
    if others and wanted is None:
        more = "" if len(others) == 1 else f" ({', '.join(others)})" if len(others) < 8 else f" ({len(others)} more)"
        console.print(
            f"\nDrawn is die {name} only; another: labctl show {path} --die {others[0]}{more}",
            markup=False,
            soft_wrap=True,
        )


def _survey_cells(survey: Table | None) -> tuple[str, str, str]:
    if survey is None:
        return "-", "-", "-"
    good = survey["defect"] == Defect.GOOD
    if not good.any():
        return "-", "-", f"0/{good.size}"
    return (
        f"{np.median(1e-3 / survey['g_p'][good]):#.3g}".rstrip("."),
        f"{np.median(survey['tmr'][good]):.0%}",
        f"{good.sum()}/{good.size}",
    )


def _solution_cells(f: DieFigures) -> tuple[str, ...]:
    if f.write is None or not f.write.rows:
        return "0", "-", "-", "-", "-", "-"
    fidelity = _span(f.write["fidelity"])
    if f.inference is None or not f.inference.rows:
        return "0", fidelity, "-", "-", "-", "-"
    i = f.inference
    return (
        str(i.rows),
        fidelity,
        _span(i["accuracy_untuned_train"]),
        _span(i["accuracy_tuned_train"]),
        _span(i["accuracy_tuned_test"]),
        _span(i["float_tuned_train"]),
    )


def _print_map(die: DieData, console: Console) -> None:
    """Print the surveyed G_P of every kernel, two characters a cell: a shade of a good cell, a letter of a defect."""
    survey = _table(die, "survey")
    if survey is None:
        return
    for k in range(survey.rows):
        g, defect = survey["g_p"][k] * 1e6, survey["defect"][k]
        low, high = good_range(g, defect == Defect.GOOD)
        level = np.clip((np.nan_to_num(g) - low) / (high - low), 0, 1)
        shade = np.array(list(_SHADES[1:]))[np.round(level * (len(_SHADES) - 2)).astype(int)]
        present = [kind for kind in DEFECTS if (defect == kind).any()]
        for kind in present:
            shade[defect == kind] = kind.letter
        scale = f"{low:.0f} ({_SHADES[1]}) to {high:.0f} uS ({_SHADES[-1]})"
        letters = "".join(f", {kind.letter} {kind.title}" for kind in present)
        console.print(
            f"\n{die.name} kernel {int(survey['kernel'][k])}: surveyed G_P from {scale}{letters}", markup=False
        )
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
