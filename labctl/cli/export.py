"""``labctl export``: hand a run to other people's programs."""

import json
from pathlib import Path
from typing import Annotated

import typer

from labctl.cli.options import PrintJson, RunFolder
from labctl.core.errors import BenchError
from labctl.core.names import new_folder_of
from labctl.core.texts import visible


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(export)


def export(
    run: RunFolder,
    stdf: Annotated[Path | None, typer.Option("--stdf", metavar="FILE", help="STDF V4, in a new file")] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="DIR", help="CSV: dies and tables, in a new folder")
    ] = None,
    g85: Annotated[Path | None, typer.Option("--g85", metavar="FILE", help="map of hard bins as SEMI G85 XML")] = None,
    crosssim: Annotated[
        Path | None,
        typer.Option("--crosssim", metavar="DIR", help="surveyed cells as a device of CrossSim, new folder"),
    ] = None,
    aihwkit: Annotated[
        Path | None,
        typer.Option("--aihwkit", metavar="DIR", help="their spread as a noise model of aihwkit, new folder"),
    ] = None,
    as_json: PrintJson = False,
) -> None:
    """Write a run as STDF V4, CSV, a wafer map or for simulators, for other people's programs. Nothing is written over.

    Example: labctl export runs/night --stdf night.stdf --csv night-csv
    """
    from labctl.core.errors import StorageError
    from labctl.storage.run_log import read_state

    if not any(path is not None for path in (stdf, csv, g85, crosssim, aihwkit)):
        raise BenchError(
            "nothing to export to; name --stdf FILE, --csv DIR, --g85 FILE, --crosssim DIR or --aihwkit DIR"
        )
    for path in (stdf, csv, g85, crosssim, aihwkit):
        if path is not None:
            new_folder_of(path)
    state = read_state(run)
    written: list[Path] = []
    try:
        if stdf is not None:
            from labctl.export.stdf import write_stdf

            write_stdf(state, stdf)
            written.append(stdf)
        if g85 is not None:
            from labctl.export.bins import write_bins

            write_bins(state, g85)
            written.append(g85)
        if csv is not None:
            from labctl.export.csv import write_csv
            from labctl.storage.results import open_run

            written += write_csv(state, open_run(run), csv)
        if crosssim is not None:
            from labctl.export.simulators import write_crosssim

            written += write_crosssim(run, crosssim)
        if aihwkit is not None:
            from labctl.export.simulators import write_aihwkit

            written += write_aihwkit(run, aihwkit)
    except FileExistsError as error:
        raise BenchError(f"{error.filename or error}: it exists; an export never writes over anything") from error
    except OSError as error:
        raise StorageError(f"{error.filename or run}: cannot be written: {error.strerror or error}") from error
    if as_json:
        print(json.dumps({"written": [str(path) for path in written]}))
    else:
        for path in written:
            print(visible(str(path)))
