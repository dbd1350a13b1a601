"""``labctl show``: print the figures of a run."""

import json
from pathlib import Path
from typing import Annotated

import typer

from labctl.cli.options import AsJson, open_to_us
from labctl.terminal.progress import console


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(show)


def show(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="run folder, its run.h5, or the sealed file of one die",
            readable=False,
            callback=open_to_us,
        ),
    ],
    die: Annotated[
        str | None,
        typer.Option("--die", metavar="NAME", help="die whose maps are shown (default: the first), and that is drawn"),
    ] = None,
    plot: Annotated[
        bool, typer.Option("--plot", help="draw PNG pictures of the wafer and of dies into RUN/plots")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show a run, finished, running or killed: figures, conductance map and current scatter."""
    from labctl.report import pictures, summary
    from labctl.report.drawings import Drawings

    drawings = Drawings()
    summary.show(path, console(stderr=as_json), maps=True, die=die, drawings=drawings)
    if plot:
        for picture in pictures.plot(path, drawings, die):
            console(stderr=as_json).print(f"drawn: {picture}", highlight=False)
    if as_json:
        print(json.dumps(summary.summary(path)))
    drawings.refuse()
