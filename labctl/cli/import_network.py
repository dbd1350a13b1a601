"""``labctl import-network``: weights from elsewhere, checked against the accuracy that their maker knows."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from labctl.cli.options import names
from labctl.core.errors import BenchError
from labctl.terminal.progress import console


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("import-network")(import_network)


def import_network(
    source: Annotated[
        Path, typer.Argument(metavar="FILE", help="npz or safetensors, weights and biases by name; never a pickle")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="new file of weights (npz), for a campaign")],
    data: Annotated[
        str, typer.Option("--data", metavar="NAME|PATH", help="data set whose test samples are classified")
    ],
    accuracy: Annotated[
        str, typer.Option("--accuracy", metavar="'93.3 %'", help="what is known of the network on these test samples")
    ],
    layout: Annotated[
        str, typer.Option("--layout", metavar="WORDS", help="how the file is meant, such as out-in,bias-before-scale")
    ] = "",
    scale: Annotated[
        str, typer.Option("--scale", metavar="N,N", help="by what each layer divides its sums (default: 1)")
    ] = "",
    activation: Annotated[
        str, typer.Option("--activation", metavar="tanh|sign", help="of the hidden neurons")
    ] = "tanh",
    preprocess: Annotated[
        str, typer.Option("--preprocess", metavar="scale", help="done to the samples first, as campaigns name it")
    ] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="end with one line of JSON on standard output: layout, accuracy, sizes")
    ] = False,
) -> None:
    """Take a network of signs from numpy, PyTorch or another program, if it is as good as its maker says.

    A file that is transposed, has other signs or another place of the bias is refused, with the layouts that would
    give the stated accuracy. Latent weights become their signs. docs/my-network.md has formats and formulas.
    """
    from labctl.networks.bring import bring

    try:
        scales = [float(word) for word in names(scale or None) or ()]
    except ValueError:
        raise BenchError(f"--scale {scale}: expected numbers with commas, one for each layer") from None
    words = names(layout or None) or ()
    brought = bring(
        source, out, data, accuracy, layout=words, scale=scales, activation=activation, preprocess=preprocess
    )
    screen = console(stderr=True)
    screen.print(
        f"{out}: {'-'.join(map(str, brought.sizes))}, read as {brought.layout}; {brought.accuracy:.2%} of "
        f"{brought.samples} test samples in software, as stated; scale {', '.join(f'{s:g}' for s in brought.scale)}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    if brought.others:
        others = "; ".join(brought.others[:3])
        screen.print(f"other layouts have that accuracy too: {others}", markup=False, highlight=False, soft_wrap=True)
    if as_json:
        print(json.dumps({**asdict(brought), "path": str(brought.path)}))
