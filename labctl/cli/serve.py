"""``labctl serve``: runs in a browser, from here or from elsewhere."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from labctl.terminal.progress import console


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("serve", rich_help_panel="Overnight")(serve)


def serve(
    root: Annotated[
        Path, typer.Argument(metavar="RUNS", help="folder of run folders, or one run folder", readable=False)
    ],
    host: Annotated[
        str,
        typer.Option(
            "--host",
            metavar="ADDRESS",
            help="address of this computer that is listened at; any but 127.0.0.1 asks for a token",
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="N", min=0, max=65535, help="0 for any that is free")] = 8642,
    name: Annotated[
        list[str] | None,
        typer.Option("--name", metavar="NAME", help="name by which browsers may ask for the page, such as lab3.local"),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            help="ask for the token in FILE, which its owner alone may read; made with one if it is not there",
        ),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="open the page in the browser")] = False,
) -> None:
    """Show runs in a browser, live: map, current die, figures, curves and histograms as they come, alarms, disk.

    It only reads, and never disturbs a run; ^C ends the page and no run. By itself it is for this computer only.

    From elsewhere, safely: ssh -L 8642:127.0.0.1:8642 lab3, then http://127.0.0.1:8642 there.

    From a phone in the same network: labctl serve runs --host 192.0.2.5, which prints an address with a token, once.
    """
    from labctl.serve import server

    screen = console()

    def ready(url: str) -> None:
        if open_:
            import webbrowser

            webbrowser.open(url)

    server.serve(
        root,
        lambda text: screen.print(text, markup=False, highlight=False, soft_wrap=True),
        host=host,
        port=port,
        names=name or (),
        token_file=token_file,
        on_terminal=sys.stdout.isatty(),
        ready=ready,
    )
