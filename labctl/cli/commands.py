"""The commands of the command line, and the module that each is in.

To import all of them takes more than twice as long as one takes, and longer than many a command lasts.
"""

import os
from importlib import import_module
from typing import Annotated

import typer

from labctl.cli.once import OnceGroup
from labctl.core.errors import BenchError
from labctl.core.exit_codes import ExitCode
from labctl.core.own_names import require_own_names

MODULES = {
    "plan": ("plan",),
    "run": ("run", "resume", "stop", "skip"),
    "show": ("show",),
    "verify": ("verify",),
    "prune": ("prune",),
    "publish": ("publish",),
    "train": ("train",),
    "import_network": ("import-network",),
    "doctor": ("doctor",),
    "notify": ("notify",),
    "schema": ("schema",),
    "bench": ("check", "read", "pulse", "map", "off", "twin", "transcript"),
    "export": ("export",),
    "fleet": ("fleet",),
    "new": ("new",),
    "stress": ("stress",),
    "reproduce": ("reproduce",),
    "report": ("watch", "report"),
    "serve": ("serve",),
}
"""Commands of each module, in the order of the help."""


def app(word: str = "") -> typer.Typer:
    """Return the command line: all of it, or what the module of the command `word` has, if there is such a command."""
    wanted = [module for module, commands in MODULES.items() if word in commands]
    line = typer.Typer(
        cls=OnceGroup,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        help=_HELP,
        epilog="Exit codes:\n\n" + "\n\n".join(f"{code:2} {code.headline}" for code in ExitCode),
    )
    line.callback()(_root)
    for module in wanted or MODULES:
        import_module(f"labctl.cli.{module}").register(line)
    return line


_HELP = """Run write-verify and inference on magnetic tunnel junction dies.

Start with [bold]labctl plan CAMPAIGN[/bold] to see what a campaign would do, then [bold]labctl run CAMPAIGN[/bold],
then [bold]labctl show RUN[/bold]. Without a bench file everything happens on a simulated die.
"""


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(version("mtj-labctl"))
        raise typer.Exit


def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version and leave")
    ] = False,
) -> None:
    try:
        os.getcwd()
    except FileNotFoundError:
        raise BenchError("the current folder has been deleted; change to another one") from None
    if context.invoked_subcommand != "doctor":  # which shows it among the rest
        require_own_names()
