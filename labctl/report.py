"""Show a run: figures of every die, conductance maps and current scatter, as text, as JSON and as pictures.

Everything is read from the run folder, sealed or not, so it works on a finished, a running and a killed run.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from labctl.core.errors import StorageError
from labctl.core.units import FloatArray
from labctl.results import DieData, Run, open_run
from labctl.tables import Table

PARTS = ("train", "test")
TUNINGS = ("untuned", "tuned")
_SHADES = " .:-=+*#%@"


@dataclass(frozen=True)
class DieFigures:
    """What there is to say of one die; None where it has not come to that yet."""

    die: str
    bin: str
    outcome: str
    reason: str
    survey: Table | None
    write: Table | None
    inference: Table | None


def _table(die: DieData, name: str) -> Table | None:
    return die.table(name) if name in die.tables else None


def figures(run: Run, name: str) -> DieFigures:
    """Return the figures of one die; a die without an end is "unfinished"."""
    die = run.die(name)
    ended: dict[str, Any] = {}
    for event in die.events():
        if event.kind == "die_ended":
            ended = event.body
    return DieFigures(
        name,
        ended.get("bin", "unfinished"),
        ended.get("outcome", "unfinished"),
        ended.get("reason", ""),
        _table(die, "survey"),
        _table(die, "write"),
        _table(die, "inference"),
    )


def summary(path: Path, outcome: str | None = None, code: int | None = None) -> dict[str, Any]:
    """Return what `--json` prints of a run: ratios from 0 to 1, outcome and exit code, one entry per die."""
    run = open_run(path)
    found = [figures(run, name) for name in _ordered(run)]
    if outcome is None:
        kinds = {f.outcome for f in found}
        outcome = next((k for k in ("unfinished", "fail", "abort") if k in kinds), "success")
    return {
        "outcome": outcome,
        "exit": code,
        "path": str(path),
        "dies": [{"die": f.die, "bin": f.bin, "solutions": _solutions(f)} for f in found],
    }


def _solutions(f: DieFigures) -> list[dict[str, Any]]:
    if f.write is None or f.inference is None:
        return []
    fidelity = dict(zip(f.write["solution"].tolist(), f.write["fidelity"].tolist(), strict=True))
    found = []
    for k, index in enumerate(f.inference["solution"].tolist()):
        accuracy = {t: {p: float(f.inference[f"accuracy_{t}_{p}"][k]) for p in PARTS} for t in TUNINGS}
        found.append({"index": index, "fidelity": fidelity[index], "accuracy": accuracy})
    return found


def _ordered(run: Run) -> list[str]:
    """Return the dies in the order of the campaign."""
    said = [name for name in run.meta.get("dies", ()) if name in run.dies]
    return said + [name for name in run.dies if name not in said]


def _span(values: FloatArray) -> str:
    """Return median and minimum, in %."""
    return f"{np.median(values) * 100:.1f} / {np.min(values) * 100:.1f}"


def show(path: Path, console: Console, *, maps: bool = False) -> None:
    """Print the figures of a run; with `maps` also the conductance map and the current scatter of its first die."""
    run = open_run(path)
    names = _ordered(run)
    if not names:
        raise StorageError(f"{path}: the run has no die yet")
    title = f"{run.meta.get('name', path.name)}  {run.meta.get('title', '')}".rstrip()
    grid = Grid(title=title, title_justify="left", box=SIMPLE_HEAD)
    wide = console.width >= 100
    survey = ("R_P kohm", "TMR", "good cells") if wide else ()
    for heading in ("die", "bin"):
        grid.add_column(heading, no_wrap=True)
    for heading in (*survey, "n", "fidelity", "untuned", "tuned", "tuned test", "software"):
        grid.add_column(heading, justify="right", no_wrap=wide)
    reasons = []
    for name in names:
        f = figures(run, name)
        grid.add_row(name, f.bin, *(_survey_cells(f.survey) if wide else ()), *_solution_cells(f))
        if f.reason:
            reasons.append(f"{name}: {f.outcome}: {f.reason.splitlines()[0]}")
    console.print(grid)
    console.print(
        "n solutions; fidelity and accuracy in %, median / worst: on the training samples untuned (network scale 1)\n"
        "and tuned, on the test samples tuned, and the same network in software on the training samples, tuned."
    )
    for reason in reasons:
        console.print(reason, markup=False, highlight=False)
    if maps:
        first = run.die(names[0])
        _print_map(first, console)
        _print_scatter(first, console)


def _survey_cells(survey: Table | None) -> tuple[str, str, str]:
    if survey is None:
        return "-", "-", "-"
    good = survey["defect"] == 0
    if not good.any():
        return "-", "-", f"0/{good.size}"
    return (
        f"{np.median(1e-3 / survey['g_p'][good]):.3g}",
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
    """Print the last read-back of every cell that was placed, else the surveyed G_P, one character a cell."""
    survey = _table(die, "survey")
    if survey is None:
        return
    for k in range(survey.rows):
        g = survey["g_p"][k] * 1e6
        finite = g[np.isfinite(g)]
        if not finite.size:
            continue
        low, high = np.percentile(finite, [1, 99])
        level = np.clip((g - low) / max(high - low, 1e-30), 0, 1)
        level = np.where(np.isfinite(level), level, 0)
        rows = ["".join(_SHADES[round(float(v) * (len(_SHADES) - 1))] * 2 for v in line) for line in level]
        scale = f"{low:.0f} ({_SHADES[1]}) to {high:.0f} uS ({_SHADES[-1]})"
        console.print(f"\n{die.name} kernel {int(survey['kernel'][k])}: G_P from {scale}")
        for line in rows:
            console.print(Text("  " + line))


def _scatter_points(die: DieData) -> tuple[FloatArray, FloatArray] | None:
    """Return ideal and measured column currents at scale 1 of all solutions, in uA."""
    found = _table(die, "layer_current")
    if found is None or not found.rows:
        return None
    return found["untuned_ideal"].ravel() * 1e6, found["untuned"].ravel() * 1e6


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


def plot(path: Path) -> list[Path]:
    """Draw the pictures of every die into RUN/plots and return their paths.

    Raises:
        StorageError: the folder cannot be written.
    """
    from labctl import plots

    run = open_run(path)
    folder = (run.path if run.path.is_dir() else run.path.parent) / "plots"
    try:
        folder.mkdir(exist_ok=True)
        drawn = []
        for name in _ordered(run):
            f = figures(run, name)
            picture = folder / f"{name}.png"
            plots.die_picture(f, _scatter_points(run.die(name)), _table(run.die(name), "readback"), picture)
            drawn.append(picture)
    except OSError as error:
        raise StorageError(f"{folder}: pictures cannot be written: {error.strerror or error}") from error
    return drawn
