"""The command line: the composition root, and the words in which the suite talks to an operator."""

import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from pydantic import BaseModel

from labctl.cli import bench, plan, run, stress
from labctl.cli import export as export_cli
from labctl.cli import report as cli_morning
from labctl.cli import reproduce as cli_reproduce
from labctl.cli.options import AsJson, Set, overrides
from labctl.core.errors import LabError
from labctl.terminal.progress import console

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


plan.register(app)
run.register(app)


@app.command()
def show(
    path: Annotated[Path, typer.Argument(metavar="RUN", help="run folder, its run.h5, or the sealed file of one die")],
    die: Annotated[
        str | None, typer.Option("--die", metavar="NAME", help="die whose maps are shown [default: the first]")
    ] = None,
    plot: Annotated[bool, typer.Option("--plot", help="draw PNG pictures into RUN/plots")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a run, finished, running or killed: figures, conductance map and current scatter."""
    from labctl.report import pictures, summary

    summary.show(path, console(stderr=as_json), maps=True, die=die)
    if plot:
        for picture in pictures.plot(path):
            console(stderr=as_json).print(f"drawn: {picture}", highlight=False)
    if as_json:
        print(json.dumps(summary.summary(path)))


@app.command()
def train(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="training file (YAML), such as examples/train-*.yaml")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="new solution file (npz)")],
    set_: Set = None,
    as_json: AsJson = False,
) -> None:
    """Train networks for dies: without defects, for one die's own, or over their statistics. Needs mtj-labctl[train].

    A training that was stopped goes on from its checkpoint when it is started again in the same way.
    """
    from labctl.networks.train import Progress
    from labctl.networks.train import train as do_train
    from labctl.terminal.progress import duration, left
    from labctl.terminal.signals import asked_to_stop

    screen, asked, said = console(stderr=True), threading.Event(), [0.0]

    def show_progress(now: Progress) -> None:
        if time.monotonic() - said[0] >= 2 or now.epoch == now.epochs:
            said[0] = time.monotonic()
            rest = "" if now.seconds_left is None or now.epoch == now.epochs else f", {left(now.seconds_left)} left"
            screen.print(f"epoch {now.epoch} of {now.epochs}: accuracy {now.accuracy:.1%}{rest}")

    with asked_to_stop(asked.set):
        found = do_train(config, out, overrides=overrides(set_), progress=show_progress, stop=asked.is_set)
    screen.print(
        f"{found.networks} {found.method.value} networks into {found.path} in {duration(found.seconds)}; in software "
        f"{found.accuracy_train.mean():.1%} of the training and {found.accuracy_test.mean():.1%} of the test samples"
    )
    if found.accuracy_dies.size:
        screen.print(
            f"on the surveyed cells, without wires and noise: {found.accuracy_dies.mean():.1%} of the test samples"
        )
    if as_json:
        train_accuracy, test_accuracy = found.accuracy_train.tolist(), found.accuracy_test.tolist()
        said_json = {
            "path": str(found.path),
            "method": found.method.value,
            "train": train_accuracy,
            "test": test_accuracy,
        }
        print(json.dumps(said_json))


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Examine this installation: names, versions, protocols, how fast and how durable this folder is."""
    from labctl.station.doctor import examine

    findings = examine(Path.cwd())
    screen = console(stderr=as_json)
    for f in findings:
        screen.print(f"{'ok  ' if f.ok else 'WRONG'} {f.check}: {f.found}", markup=False, highlight=False)
    if as_json:
        print(json.dumps([vars(f) for f in findings]))
    raise typer.Exit(0 if all(f.ok for f in findings) else 2)


@app.command()
def schema(
    which: Annotated[
        str, typer.Argument(metavar="campaign|die|wafer|bench|training", help="which kind of file")
    ] = "campaign",
) -> None:
    """Print the JSON schema of a file, for the editor: completion, units and ranges while typing."""
    from instruments.bench import Bench
    from labctl import files
    from labctl.config.wafer_file import WaferFile
    from labctl.core.errors import BenchError
    from labctl.networks.train import Training
    from labctl.station import registry
    from sim_backend.description import DieDescription

    models: dict[str, type[BaseModel]] = {
        "campaign": registry.campaign_model(),
        "die": DieDescription,
        "wafer": WaferFile,
        "bench": Bench,
        "training": Training,
    }
    if which not in models:
        raise BenchError(f"there is no schema of '{which}'; expected one of {', '.join(models)}")
    print(json.dumps(files.schema(models[which]), indent=1))


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
    # the matrices here are small: a second BLAS thread costs more than it gives, and it has to be said before numpy
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


bench.register(app)
export_cli.register(app)
stress.register(app)
cli_reproduce.register(app)
cli_morning.register(app)
