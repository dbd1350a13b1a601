"""``labctl publish``: a bundle of a run for others, with licence, dictionary, and a script for every figure."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer

from labctl.cli.options import RunFolder
from labctl.core.errors import BenchError
from labctl.core.names import new_folder_of
from labctl.terminal.progress import console, counted


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(publish)


def publish(
    run: RunFolder,
    out: Annotated[
        Path, typer.Option("--out", metavar="PATH", help="the bundle: a new folder, or a new file NAME.zip")
    ],
    licence: Annotated[
        str, typer.Option("--licence", metavar="NAME", help="under which it is published: an SPDX name or an address")
    ] = "",
    about: Annotated[
        Path | None,
        typer.Option(
            "--about", metavar="FILE", help="YAML: authors, genealogy of the sample, probe card, ambient, notes"
        ),
    ] = None,
    day: Annotated[
        str, typer.Option("--date", metavar="YYYY-MM-DD", help="day of publication (default: today, UTC)")
    ] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="end with one line of JSON on standard output: the bundle and its files")
    ] = False,
) -> None:
    """Write a bundle that others can use without this suite: an RO-Crate with data, dictionary, figures and scripts.

    It has no secrets, no paths and no names of this computer; the same command and date give the same bytes.
    Example: labctl publish runs/night --out night.zip --licence CC-BY-4.0 --about about.yaml
    """
    from labctl.config.about import About
    from labctl.core.errors import StorageError
    from labctl.export.crate import publish as write
    from labctl.files import load

    details = About() if about is None else load(about, About)
    if licence and details.licence and licence != details.licence:
        raise BenchError(f"--licence is {licence} and {about} says {details.licence}; expected one licence")
    try:
        published = (date.fromisoformat(day) if day else datetime.now(UTC).date()).isoformat()
    except ValueError:
        raise BenchError(f"--date {day}: expected a day such as 2026-12-01") from None
    try:
        new_folder_of(out)
        files = write(run, out, licence or details.licence, details, published)
    except FileExistsError as error:
        raise BenchError(str(error)) from error
    except OSError as error:
        raise StorageError(f"{error.filename or out}: cannot be written: {error.strerror or error}") from error
    console(stderr=as_json).print(f"{out}: {counted(len(files), 'file')}, checked against their digests", markup=False)
    if as_json:
        print(json.dumps({"bundle": str(out), "files": files}))
