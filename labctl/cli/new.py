"""``labctl new``: write a commented file to begin with."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from labctl.cli.options import PrintJson
from labctl.core.errors import BenchError, StorageError
from labctl.core.texts import visible

_NEXT: Mapping[str, str] = {
    "campaign": "labctl plan {path}",
    "die": "a campaign names it, wafer: {{file: WAFER.yaml, die: {path}}}; labctl new campaign MINE.yaml writes one",
    "wafer": "a campaign names it, wafer: {{file: {path}, die: DIE.yaml}}; labctl new campaign MINE.yaml writes one",
    "bench": "labctl check {path} --sim bytes",
    "training": "labctl train --help",
    "driver": "cd {path}, then python -m pip install -e . and python -m pytest -q; docs/write-a-driver.md explains it",
    "protocol": "cd {path}, then python -m pip install -e . and labctl plan campaign.yaml; docs/write-a-protocol.md",
}
"""What to do with what was written."""


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(new)


def new(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="campaign|die|wafer|bench|training|driver|protocol",
            help="what to write",
            autocompletion=lambda incomplete: [kind for kind in _NEXT if kind.startswith(incomplete)],
        ),
    ],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="a new file; for a driver or protocol a new folder")],
    like: Annotated[
        str, typer.Option("--like", metavar="NAME", help="the example to copy; a wrong name lists all there are")
    ] = "",
    as_json: PrintJson = False,
) -> None:
    """Write a commented file that passes 'plan' as it is, to be changed: an example, with the files that it names.

    A driver or a protocol is a folder that installs as a distribution of its own, with its test. Nothing is ever
    written over. Examples: labctl new campaign mine.yaml; labctl new bench bench.yaml --like bench-2400-two-needles
    """
    from labctl.files import shipped

    if kind not in (*shipped.KINDS, *shipped.PAGES):
        raise BenchError(f"'{kind}': expected one of {', '.join((*shipped.KINDS, *shipped.PAGES))}")
    if like and kind in shipped.PAGES:
        raise BenchError(f"--like {like}: there is one {kind} to begin with; leave --like out")
    try:
        written = (
            shipped.write_file(kind, path, like) if kind in shipped.KINDS else shipped.write_distribution(kind, path)
        )
    except OSError as error:
        raise StorageError(f"{error.filename or path}: cannot be written: {error.strerror or error}") from error
    if as_json:
        print(json.dumps({"written": [str(one) for one in written]}))
        return
    for one in written:
        print(visible(str(one)))
    print(f"next: {_NEXT[kind].format(path=shlex.quote(str(path)))}")
