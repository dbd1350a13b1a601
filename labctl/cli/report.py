"""The commands that show runs: `watch` while a run goes on, `report` afterwards."""

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from labctl.cli.options import RunFolder, RunFolders
from labctl.config.bins import tally
from labctl.core.errors import BenchError, StorageError
from labctl.core.exit_codes import ExitCode
from labctl.terminal.progress import console, counted

_NAMED = 3
"""Dies that could not be read whose reasons are given."""


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (watch, report):
        app.command(command.__name__, rich_help_panel="Overnight")(command)


def watch(
    run: RunFolder,
    once: Annotated[bool, typer.Option("--once", help="show where it stands, once")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one line of JSON on standard output, once")] = False,
) -> None:
    """Watch a run from any terminal: map, current die, figures, alarms, when it ends, disk. Never disturbs the run.

    On a terminal the screen is live until ^C, which ends the watching only; elsewhere there is a line every 30 s.
    Exit code 5 if run.json is damaged, which the journal makes up for.
    """
    from labctl.report.watch import watch as do_watch
    from labctl.storage.manifest import damage_of

    do_watch(run, Console(highlight=False), once=once, as_json=as_json)
    if damage := damage_of(run):
        if not as_json:
            raise StorageError(damage)
        print(f"labctl: {damage}", file=sys.stderr)  # the one line of JSON has been printed
        raise typer.Exit(ExitCode.STORAGE)


def report(
    run_folders: RunFolders,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="PAGE", help="of several runs: the page, a new file NAME.html")
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="open the page in the browser")] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="end with one line of JSON on standard output: the paths, and how many are good"),
    ] = False,
) -> None:
    """Write report.html and report.json into a run folder, from that folder alone, whether the run has ended or not.

    Of several runs it writes one page, to a new file: maps of bins and figures side by side, what changed from run to
    run, yields. Nothing is written into their folders.
    A die whose file is damaged is left out of the figures, and the exit code is 5; so it is if run.json is damaged, and
    if one of several runs cannot be read.
    Example: labctl report runs/monday runs/tuesday --out week.html
    """
    if len(run_folders) > 1 or out is not None:
        page = _of_several(run_folders, out, as_json)
    else:
        page = _of_one(run_folders[0], as_json)
    if open_:
        import webbrowser

        webbrowser.open(page.path.absolute().as_uri())
    page.refuse()


@dataclass(frozen=True)
class _Written:
    """A page that was written, and what then has to be refused."""

    path: Path
    refuse: Callable[[], None]


def _of_several(runs: list[Path], out: Path | None, as_json: bool) -> _Written:
    """Write the page of several runs."""
    if len(runs) == 1:
        raise BenchError(f"--out {out} is for several runs, and there is one; its report is written into {runs[0]}")
    if out is None:
        raise BenchError("there are several runs; expected --out PAGE, a new file such as --out lot.html")
    from labctl.report.several_page import headline, write_page

    these = write_page(runs, out)
    console(stderr=as_json).print(f"{out}: {headline(these)}", markup=False)
    if as_json:
        summary = {"runs": [{"run": str(r.folder), "label": r.label, "good": r.good} for r in these.runs]}
        print(json.dumps({"page": str(out), "text": headline(these), **summary, "unread": list(these.unread)}))

    def refuse() -> None:
        if these.unread:
            raise StorageError(f"{out} is without {counted(len(these.unread), 'run')}: {'; '.join(these.unread)}")

    return _Written(out, refuse)


def _of_one(run: Path, as_json: bool) -> _Written:
    """Write the report of a run into its folder."""
    from labctl.report.drawings import Drawings
    from labctl.report.html import write_report
    from labctl.storage.manifest import damage_of

    drawings = Drawings()
    page = write_report(run, drawings)
    facts = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    dies = tally(facts["good"], facts["measured"], facts["meant"], facts["limits"])
    console(stderr=as_json).print(f"{page}: {dies}; {facts['text']}", markup=False)
    if as_json:
        summary = {k: facts[k] for k in ("good", "measured", "bins", "outcome", "exit_code", "text")}
        print(json.dumps({"page": str(page), "data": str(page.with_suffix(".json")), **summary}))

    def refuse() -> None:
        _refuse_unread([die["measured"]["note"] for die in (*facts["dies"], *facts["golden"])], page)
        if damage := damage_of(run):
            raise StorageError(damage)
        drawings.refuse()

    return _Written(page, refuse)


def _refuse_unread(notes: Iterable[str], page: Path) -> None:
    """Raise StorageError if a die of a report could not be read, which its note says."""
    if unread := [note for note in notes if note]:
        more = f"; and {len(unread) - _NAMED} more" if len(unread) > _NAMED else ""
        raise StorageError(f"{page} is without {counted(len(unread), 'die')}: {'; '.join(unread[:_NAMED])}{more}")
