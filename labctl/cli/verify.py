"""``labctl verify``: check all files of a run, say the way back from every damage, and go it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labctl.cli.options import RunFolder
from labctl.core.exit_codes import ExitCode
from labctl.terminal.progress import console, counted, quantity

if TYPE_CHECKING:
    from labctl.storage.verification import Problem, Verification


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(verify)


def verify(
    run: RunFolder,
    repair: Annotated[
        bool, typer.Option("--repair", help="make again what is damaged or gone, from what is whole")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="end with one line of JSON on standard output: problems and the way back")
    ] = False,
) -> None:
    """Check every file of a run against what was recorded of it: journals, sealed dies, run.json, inputs, report.

    For each problem it says what the way back is. Leaves with 0 if all is whole or mended, with 5 if a problem is left.
    """
    from labctl.storage.verification import verify_run

    screen = console(stderr=True)
    with screen.status("") as status:

        def progress(path: str, n: int, of: int) -> None:
            status.update(f"{n + 1} of {of}: {path}")

        before = verify_run(run, progress)
        failed: list[str] = []
        after = before
        if repair and any(problem.mend for problem in before.problems):
            failed = _repaired(run, before.problems)
            after = verify_run(run, progress)
    left = {problem.path for problem in after.problems}
    for problem in before.problems:
        now = "" if problem.path in left else " MENDED."
        screen.print(f"{problem.path}: {problem.text}.{now} {_way_back(problem)}", markup=False, highlight=False)
    for problem in after.problems:
        if problem.path not in {p.path for p in before.problems}:
            screen.print(f"{problem.path}: {problem.text}. {_way_back(problem)}", markup=False, highlight=False)
    for text in (*failed, *after.notes):
        screen.print(text, markup=False, highlight=False)
    mendable = sum(problem.mend is not None for problem in after.problems)
    screen.print(
        f"{run}: {counted(after.checked, 'file')}, {quantity(after.bytes, 'B')}; "
        + (f"{counted(len(after.problems), 'problem')} left" if after.problems else "all is whole")
        + (f"; 'labctl verify {run} --repair' mends {mendable} of them" if mendable and not repair else ""),
        markup=False,
        highlight=False,
    )
    if as_json:
        print(json.dumps(_summary(run, before.problems, after)))
    raise typer.Exit(ExitCode.STORAGE if after.problems else ExitCode.GOOD)


def _way_back(problem: "Problem") -> str:
    return f"The way back: {problem.way_back}."


def _summary(run: Path, before: "Sequence[Problem]", after: "Verification") -> dict[str, Any]:
    """Return what was found, as `--json` prints it."""
    left = {problem.path for problem in after.problems}
    new = [problem for problem in after.problems if problem.path not in {p.path for p in before}]
    problems = [
        {
            "path": problem.path,
            "problem": problem.text,
            "way_back": problem.way_back,
            "mendable": problem.mend is not None,
            "mended": problem.path not in left,
        }
        for problem in (*before, *new)
    ]
    counts = {"checked": after.checked, "bytes": after.bytes}
    return {"run": str(run), "whole": after.whole, **counts, "problems": problems, "notes": after.notes}


def _repaired(run: Path, problems: "Sequence[Problem]") -> list[str]:
    """Mend what can be mended while nobody else works on the run; return what could not be, in words."""
    from labctl.report.html import write_report
    from labctl.storage.locks import hold
    from labctl.storage.repair import repair

    with hold(run, f"labctl verify {run} --repair"):
        return repair(run, problems, write_report)
