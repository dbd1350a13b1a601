"""The command line: its commands, and the exit code and the one message with which every error ends."""

import json
import os
import signal
import sys
import traceback
from typing import Annotated, Any, NoReturn

import typer

from labctl.cli import bench, doctor, export, plan, report, reproduce, run, schema, show, stress, train
from labctl.core.errors import LabError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="""Run write-verify and inference on magnetic tunnel junction dies.

    Start with [bold]labctl plan CAMPAIGN[/bold] to see what a campaign would do, then [bold]labctl run CAMPAIGN[/bold],
    then [bold]labctl show RUN[/bold]. Without a bench file everything happens on a simulated die.
    """,
    epilog="Exit codes: 0 all good, 1 finished with failed dies, 2 refused before the start, 3 stopped by a limit, "
    "4 stopped by the operator, 5 storage, 6 outputs not verified off, 70 a bug of ours.",
)

OUTCOMES = {2: "refused", 3: "abort", 4: "abort", 5: "fail", 6: "fail", 70: "fail"}
"""What an exit code means, where a run did not come to its end."""


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(version("mtj-labctl"))
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version and leave")
    ] = False,
) -> None:
    pass


for _module in (plan, run, show, train, doctor, schema, bench, export, stress, reproduce, report):
    _module.register(app)


class _Interrupted(BaseException):
    """^C outside of a run."""


def _interrupt(number: int, frame: Any) -> NoReturn:
    raise _Interrupted


def _fail(code: int, message: str) -> NoReturn:
    """Leave with `code`, one message for the operator, and with --json one line that says the same."""
    print(f"labctl: {message}", file=sys.stderr)
    if "--json" in sys.argv:
        print(json.dumps({"outcome": OUTCOMES[code], "exit": code, "path": None, "dies": [], "reason": message}))
    sys.exit(code)


def main() -> None:
    """Run the command line; every error leaves with its documented exit code and one message for the operator."""
    # the matrices here are small: a second BLAS thread costs more than it gives; numpy reads this when it is imported
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    signal.signal(signal.SIGINT, _interrupt)
    try:
        app()
    except LabError as error:
        code = 2 if error.exit_code == 3 else error.exit_code
        _fail(code, f"refused: {error}" if code == 2 else str(error))
    except _Interrupted:
        _fail(4, "interrupted")
    except Exception:
        traceback.print_exc()
        _fail(70, "this is a bug of ours; please report it with the lines above")
