"""``labctl fleet``: one row per die, kernel group and run, of all runs of a lab."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from labctl.cli.options import PrintJson
from labctl.core.errors import LabError, NotThereError, StorageError
from labctl.terminal.progress import console, counted

fleet = typer.Typer(
    no_args_is_help=True,
    help="""Ask all runs at once: one row per die, kernel group and run, in one Parquet file.

    The file is made from run folders, and again from them at any time. pandas, DuckDB and Spark read it.
    """,
)
FleetFile = Annotated[Path, typer.Option("--fleet", metavar="FILE", help="the Parquet file")]
Words = Annotated[
    str,
    typer.Argument(
        metavar="[WORDS]",
        help="filter, such as 'tmr < 90 % and after 2026-10-01': figures with <, <=, >, >=, =, != and a quantity; "
        "texts with = and !=, * and ? stand for any; after and before with a date; and, or, not and brackets",
    ),
]
_FILE = Path("fleet.parquet")


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.add_typer(fleet, name="fleet")


@fleet.command()
def add(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN ...", help="run folders, or folders of run folders")],
    file: FleetFile = _FILE,
    anew: Annotated[bool, typer.Option("--anew", help="leave out what the file had")] = False,
    as_json: PrintJson = False,
) -> None:
    """Enter runs, finished or not; a run that is entered again takes the place of its earlier rows.

    A run that cannot be read is named and left out, and the exit code is 5; it is 2 where there is no run at all.
    Example: labctl fleet add runs
    """
    from labctl.fleet import store
    from labctl.fleet.rows import RunRows, rows_of
    from labctl.storage.manifest import damage_of

    store.arrow()
    taken, refused, damaged, no_run = dict[str, RunRows](), list[str](), list[str](), 0
    for path in runs:
        try:
            folders = _folders(path)
        except OSError as error:
            refused.append(f"{path}: cannot be read: {error.strerror or error}")
            continue
        for run in folders:
            try:
                of_run = rows_of(run)
                taken[of_run.run_id] = of_run
                damaged += [damage] if (damage := damage_of(run)) else []
            except LabError as error:
                refused.append(str(error))
                no_run += isinstance(error, NotThereError)
    known = store.add(file, taken.values(), anew=anew) if taken or anew else None
    rows = known.table.num_rows if known else 0
    if as_json:
        print(json.dumps({"fleet": str(file), "runs": len(taken), "rows": rows, "refused": refused + damaged}))
    elif known:
        entered = counted(sum(len(run.rows) for run in taken.values()), "row")
        console().print(f"{file}: {counted(len(taken), 'run')} entered, {entered}; it has {counted(rows, 'row')} now")
    if refused:
        kind = NotThereError if no_run == len(refused) and not taken else StorageError
        raise kind("; ".join([f"{counted(len(refused), 'run')} left out: {'; '.join(refused)}", *damaged]))
    if damaged:
        raise StorageError("; ".join(damaged))


def _folders(path: Path) -> list[Path]:
    """Return a run folder, or the folders in it that look like one; a path without any, to be refused by its name."""
    if not path.is_dir() or (path / "journal.db").exists() or (path / "run.json").exists():
        return [path]
    inside = sorted(one for one in path.iterdir() if (one / "journal.db").exists() or (one / "run.json").exists())
    return inside or [path]


@fleet.command()
def query(
    words: Words = "",
    file: FleetFile = _FILE,
    columns: Annotated[
        str | None, typer.Option("--columns", metavar="A,B", help="columns of the table (default: what matters)")
    ] = None,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="all columns, in a new file")] = None,
    parquet: Annotated[
        Path | None, typer.Option("--parquet", metavar="FILE", help="all columns, in a new file")
    ] = None,
    as_json: PrintJson = False,
) -> None:
    """List the dies of which WORDS are true, the newest first.

    Examples: labctl fleet query 'tmr < 90 % and after 2026-10-01'; labctl fleet query 'not bin = good' --csv bad.csv
    """
    from labctl.cli.options import names
    from labctl.fleet import shown, store
    from labctl.fleet.conditions import names_in, rows_where

    known = store.read(file)
    kept = known.only(rows_where(known, words))
    written = shown.write(kept, csv, parquet)
    if as_json:
        print(shown.as_json(kept))
        return
    screen = console()
    shown.print_rows(screen, kept, shown.chosen(kept, names(columns, "--columns") or (), names_in(words)))
    for path in written:
        screen.print(f"written: {path}")


@fleet.command("map")
def map_(
    figure: Annotated[str, typer.Argument(metavar="FIGURE", help="such as tmr")],
    words: Words = "",
    file: FleetFile = _FILE,
    png: Annotated[Path | None, typer.Option("--png", metavar="FILE", help="draw it into a new file")] = None,
) -> None:
    """Show the mean of a figure by place on the wafer, over all dies of which WORDS are true.

    Example: labctl fleet map tmr 'wafer = W0*' --png tmr.png
    """
    from labctl.fleet import pictures, store
    from labctl.fleet.conditions import rows_where

    known = store.read(file)
    shown = pictures.places(known.only(rows_where(known, words)), figure)
    console().print(pictures.map_text(shown), markup=False)
    if png is not None:
        pictures.draw_map(shown, png)
        console(stderr=not sys.stdout.isatty()).print(f"drawn: {png}", highlight=False)


@fleet.command()
def trend(
    figure: Annotated[str, typer.Argument(metavar="FIGURE", help="such as r_p")],
    png: Annotated[Path, typer.Option("--png", metavar="FILE", help="a new file")],
    words: Words = "",
    file: FleetFile = _FILE,
) -> None:
    """Draw a figure against time, over all dies of which WORDS are true, with the median of each run.

    Example: labctl fleet trend r_p 'campaign = overnight*' --png r_p.png
    """
    from labctl.fleet import pictures, store
    from labctl.fleet.conditions import rows_where

    known = store.read(file)
    points = pictures.draw_trend(known.only(rows_where(known, words)), figure, png)
    console().print(f"drawn: {png}, {counted(points, 'point')}", highlight=False)
