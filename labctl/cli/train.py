"""``labctl train``: train networks for dies."""

import json
import threading
import time
from pathlib import Path
from typing import Annotated

import typer

from labctl.cli.options import AsJson, Set, overrides
from labctl.core.units import Second
from labctl.terminal.progress import console

PROGRESS: Second = 2.0
"""Time between two lines of progress."""


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(train)


def train(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="training file (YAML), such as examples/train-*.yaml")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="new solution file (npz)")],
    set_: Set = None,
    as_json: AsJson = False,
) -> None:
    """Train networks for dies: without defects, for one die's own, or over their statistics. Needs mtj-labctl\\[train].

    A training that was stopped goes on from its checkpoint when it is started again in the same way.
    """
    from labctl.networks.train import Progress
    from labctl.networks.train import train as do_train
    from labctl.terminal.progress import duration, left
    from labctl.terminal.signals import asked_to_stop

    screen, stopping, printed = console(stderr=True), threading.Event(), 0.0

    def show_progress(now: Progress) -> None:
        nonlocal printed
        if time.monotonic() - printed >= PROGRESS or now.epoch == now.epochs:
            printed = time.monotonic()
            rest = "" if now.seconds_left is None or now.epoch == now.epochs else f", {left(now.seconds_left)} left"
            screen.print(f"epoch {now.epoch} of {now.epochs}: accuracy {now.accuracy:.1%}{rest}")

    with asked_to_stop(stopping.set):
        trained = do_train(config, out, overrides=overrides(set_), progress=show_progress, stop=stopping.is_set)
    screen.print(
        f"{trained.networks} {trained.method.value} networks into {trained.path} in {duration(trained.seconds)}; in "
        f"software {trained.accuracy_train.mean():.1%} of the training and {trained.accuracy_test.mean():.1%} of the "
        "test samples"
    )
    if trained.accuracy_dies.size:
        screen.print(
            f"on the surveyed cells, without wires and noise: {trained.accuracy_dies.mean():.1%} of the test samples"
        )
    if as_json:
        summary = {
            "path": str(trained.path),
            "method": trained.method.value,
            "train": trained.accuracy_train.tolist(),
            "test": trained.accuracy_test.tolist(),
        }
        print(json.dumps(summary))
