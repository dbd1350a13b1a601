"""``labctl schema``: print the JSON schema of a kind of file."""

import json
from typing import Annotated

import typer
from pydantic import BaseModel

from labctl.core.errors import BenchError

_KINDS = ("campaign", "die", "wafer", "bench", "board", "training")


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(schema)


def schema(
    which: Annotated[
        str,
        typer.Argument(
            metavar="campaign|die|wafer|bench|board|training",
            help="which kind of file",
            autocompletion=lambda incomplete: [kind for kind in _KINDS if kind.startswith(incomplete)],
        ),
    ] = "campaign",
) -> None:
    """Print the JSON schema of a file, for the editor: completion, units and ranges while typing."""
    from labctl import files

    known = models()
    if which not in known:
        raise BenchError(f"there is no schema of '{which}'; expected one of {', '.join(known)}")
    print(json.dumps(files.schema(known[which]), indent=1))


def models() -> dict[str, type[BaseModel]]:
    """Return the model of every kind of file that people write, plug-ins included."""
    from instruments.bench import Bench
    from instruments.board_bench import BoardBench
    from labctl.config.wafer_file import WaferFile
    from labctl.networks.train import Training
    from labctl.station import registry
    from sim_backend.description import DieDescription

    return {
        "campaign": registry.campaign_model(),
        "die": DieDescription,
        "wafer": WaferFile,
        "bench": Bench,
        "board": BoardBench,
        "training": Training,
    }
