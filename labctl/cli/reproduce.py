"""The commands that repeat published experiments on simulated dies, from training to table and pictures."""

import json
import os
import platform
import shlex
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from labctl.cli.options import AsJson, Seed, Set, Workers, command_line, most_workers, overrides
from labctl.core.errors import BenchError
from labctl.core.exit_codes import ExitCode, Status
from labctl.files.door import neighbour
from labctl.terminal.progress import console

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")

OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="folder of the experiment (default: runs/NAME)")
]
ExamplesOption = Annotated[
    Path | None, typer.Option("--examples", metavar="DIR", help="folder of the campaign and training files")
]


def _there(path: Path | None) -> Path | None:
    """Return the path of a file that is there; BenchError before a folder is made."""
    if path is not None and not path.is_file():
        raise BenchError(f"--solutions {path}: no such file{neighbour(path)}; expected trained networks (npz)")
    return path


SolutionsOption = Annotated[
    Path | None,
    typer.Option("--solutions", metavar="FILE", help="trained networks (npz), not this suite's", callback=_there),
]
TrainOption = Annotated[
    list[str] | None,
    typer.Option("--train", metavar="KEY=VALUE", help="change a value of all training files, e.g. epochs=20"),
]


def register(main: typer.Typer) -> None:
    """Add the commands to the command line."""
    main.add_typer(app, name="reproduce", help="Repeat a published experiment on simulated dies, down to its table.")


@app.command("mtj-chip")
def mtj_chip(
    data: Annotated[str, typer.Option("--data", metavar="mnist|digits", help="images to classify")] = "mnist",
    dies: Annotated[
        int | None, typer.Option("--dies", metavar="N", min=1, help="the N innermost dies of the wafer (default: all)")
    ] = None,
    densities: Annotated[
        str, typer.Option("--densities", metavar="X,Y", help="multiples of the die file's fractions of defects")
    ] = "1",
    wafers: Annotated[
        str,
        typer.Option(
            "--wafers", metavar="own,SEED", help="try networks on the wafer that training knows, or on others, by seed"
        ),
    ] = "own",
    seeds: Annotated[
        int, typer.Option("--seeds", metavar="N", min=1, help="networks of each method, one per seed of the training")
    ] = 1,
    methods: Annotated[
        str, typer.Option("--methods", metavar="X,Y", help="some of baseline, hardware-aware, statistics-aware")
    ] = "baseline,hardware-aware,statistics-aware",
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", metavar="RULE", help="leave dies out by a figure: 'defects > 1000'"),
    ] = None,
    seed: Seed = None,
    out: OutOption = None,
    workers: Workers = None,
    set_: Set = None,
    train: TrainOption = None,
    examples: ExamplesOption = None,
    as_json: AsJson = False,
) -> None:
    """Compare networks trained without defects, for each die's own, and over their statistics, on a wafer of chips.

    Surveys the wafer, trains three ways, programs every die by write-verify, infers all test images, and writes table,
    pictures and results.json. What is finished in DIR is not done again. Needs mtj-labctl\\[train]; MNIST is yours.

    Example: labctl reproduce mtj-chip --data digits --dies 4
    """
    from labctl.experiments import mtj_chip as experiment
    from labctl.experiments import pictures, tables
    from labctl.experiments.chip_comparison import ChipSettings
    from labctl.experiments.steps import Steps, examples_folder
    from labctl.storage.locks import hold

    settings = ChipSettings(
        data,
        dies,
        _numbers(densities),
        _wafers(wafers),
        seed,
        overrides(set_),
        overrides(train, "--train"),
        seeds,
        tuple(methods.split(",")),
        tuple(exclude or ()),
    )
    experiment.check(settings)
    campaign = examples_folder(examples) / "overnight-36-dies.yaml"
    experiment.check_exclude(settings, campaign)
    folder, screen, start = out or Path("runs") / f"mtj-chip-{data}", console(stderr=True), time.monotonic()
    steps = Steps(folder.resolve(), workers or most_workers(), screen, settings.steps)
    with hold(folder, f"labctl reproduce into {folder}"):
        result = experiment.reproduce(settings, steps, campaign)
    tables.show_chip(result, console(stderr=as_json))
    _write(
        folder,
        {**result.to_json(), "run_commits": sorted(steps.commits)},
        tables.markdown(tables.CHIP_COLUMNS, tables.chip_rows(result), tables.CHIP_LEGEND)
        + "\n"
        + tables.markdown(tables.LOSS_COLUMNS, tables.loss_rows(result), tables.loss_legend(result)),
        tables.chip_csv(result),
    )
    _end(folder, pictures.draw_chip(result, folder), result.seconds, start, as_json)


@app.command("wine-passive")
def wine_passive(
    count: Annotated[int, typer.Option("--count", metavar="N", min=1, help="networks to train and write")] = 300,
    solutions: SolutionsOption = None,
    seed: Seed = None,
    out: OutOption = None,
    workers: Workers = None,
    set_: Set = None,
    examples: ExamplesOption = None,
    as_json: AsJson = False,
) -> None:
    """Write 300 networks for the Wine data into passive arrays of four device sizes: write fidelity and accuracy.

    Writes table, pictures and results.json. What is finished in DIR is not done again.

    Example: labctl reproduce wine-passive --count 24
    """
    from labctl.experiments import pictures, tables
    from labctl.experiments import wine_passive as experiment
    from labctl.experiments.steps import Steps, examples_folder
    from labctl.storage.locks import hold

    given = str(solutions) if solutions else None
    settings = experiment.WineSettings(count, given, seed=seed, set=overrides(set_))
    campaign = examples_folder(examples) / "wine-passive.yaml"
    folder, screen, start = out or Path("runs") / "wine-passive-300", console(stderr=True), time.monotonic()
    steps = Steps(folder.resolve(), workers or most_workers(), screen, settings.steps)
    with hold(folder, f"labctl reproduce into {folder}"):
        result = experiment.reproduce(settings, steps, campaign)
    tables.show_wine(result, console(stderr=as_json))
    _write(
        folder,
        {**result.to_json(), "run_commits": sorted(steps.commits)},
        tables.markdown(tables.WINE_COLUMNS, tables.wine_rows(result), tables.WINE_LEGEND),
        tables.wine_csv(result),
    )
    _end(folder, pictures.draw_wine(result, folder), result.seconds, start, as_json)


@app.command("wine-sizes")
def wine_sizes(
    dies: Annotated[int, typer.Option("--dies", metavar="N", min=1, help="dies of each size")] = 10,
    die_kind: Annotated[
        str, typer.Option("--die-kind", metavar="plain|bench-like", help="as the die file is, or bench-like")
    ] = "plain",
    solutions: SolutionsOption = None,
    seed: Seed = None,
    out: OutOption = None,
    workers: Workers = None,
    set_: Set = None,
    examples: ExamplesOption = None,
    as_json: AsJson = False,
) -> None:
    """Write networks for the Wine data into many passive arrays of each size: fidelity and accuracy over size.

    Every cell gets one pulse, then write-verify repairs. Writes table, picture and results.json. What is finished in
    DIR is not done again.

    Example: labctl reproduce wine-sizes --dies 2
    """
    from labctl.experiments import pictures, tables
    from labctl.experiments import wine_sizes as experiment
    from labctl.experiments.steps import Steps, examples_folder
    from labctl.storage.locks import hold

    settings = experiment.SizeSettings(dies, die_kind, str(solutions) if solutions else None, seed, overrides(set_))
    experiment.check(settings)
    campaign = examples_folder(examples) / "wine-passive.yaml"
    folder, screen, start = out or Path("runs") / f"wine-sizes-{die_kind}", console(stderr=True), time.monotonic()
    steps = Steps(folder.resolve(), workers or most_workers(), screen, 1)
    with hold(folder, f"labctl reproduce into {folder}"):
        result = experiment.reproduce(settings, steps, campaign)
    tables.show_sizes(result, console(stderr=as_json))
    _write(
        folder,
        {**result.to_json(), "run_commits": sorted(steps.commits)},
        tables.markdown(tables.SIZE_COLUMNS, tables.size_rows(result), tables.SIZE_LEGEND),
        tables.size_csv(result),
    )
    _end(folder, pictures.draw_sizes(result, folder), result.seconds, start, as_json)


def _numbers(text: str) -> tuple[float, ...]:
    """Return the numbers of a list.

    >>> _numbers("0.5, 1,2")
    (0.5, 1.0, 2.0)
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise BenchError(f"--densities {text}: expected numbers such as 0.5,1,2") from error


def _wafers(text: str) -> tuple[int | None, ...]:
    """Return the wafers of a list, None for the one that training knows.

    >>> _wafers("own,136")
    (None, 136)
    """
    parts = [part.strip() for part in text.split(",")]
    if wrong := [
        part for part in parts if part != "own" and not (part.isascii() and part.isdigit() and len(part) < 19)
    ]:
        raise BenchError(f"--wafers {text}: found '{wrong[0]}', expected own, or seeds such as 136,236")
    return tuple(None if part == "own" else int(part) for part in parts)


def _write(folder: Path, results: dict[str, Any], table: str, sheet: str) -> None:
    """Write the results, with the command, code and machine that made them, the table, and the figures of the dies."""
    from labctl.experiments.steps import write
    from labctl.station import run_folder
    from labctl.station.doctor import versions

    made = {
        "command": shlex.join(["labctl", *command_line()[1:]]),
        "git_commit": run_folder.git_commit(),
        "versions": versions(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
    }
    write(folder / "results.json", json.dumps({**results, **made}, indent=1) + "\n")
    write(folder / "table.md", table)
    write(folder / "dies.csv", sheet)


def _end(folder: Path, drawn: list[Path], seconds: Any, start: float, as_json: bool) -> None:
    """Print where everything is and how long it took, in this session and altogether."""
    from labctl.terminal.progress import duration

    screen = console(stderr=as_json)
    for path in [folder / "table.md", folder / "dies.csv", folder / "results.json", *drawn]:
        screen.print(f"written: {path}", markup=False, highlight=False)
    now, whole = time.monotonic() - start, sum(seconds.values())
    screen.print(f"done in {duration(now)}; all steps took {duration(whole)}", markup=False, highlight=False)
    if as_json:
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        print(json.dumps({"outcome": Status.SUCCESS, "exit": ExitCode.GOOD, "path": str(folder), **results}))
