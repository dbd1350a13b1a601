"""Options that the commands at the bench share, and the bench that they name."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from labctl.core.errors import BenchError

BenchFile = Annotated[Path, typer.Argument(metavar="BENCH", help="bench file")]
BenchOption = Annotated[
    Path, typer.Option("--bench", metavar="FILE", help="bench file: the real bench, unless --sim is given too")
]
DieOption = Annotated[
    Path, typer.Option("--die", metavar="FILE", help="die file; its nominal conductances choose ranges and the cut")
]
SimOption = Annotated[
    str | None,
    typer.Option("--sim", metavar="bytes|tcp", help="the twin of the bench: in this process, or on sockets"),
]
OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="new folder of the run [default: runs/TIME-hand-NAME]")
]
SeedOption = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="seed of the simulated die of a twin")]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="end with one line of JSON on standard output; all else is on standard error"),
]


def _bench(path: Path) -> Any:
    """Return the bench of a file; BenchError tells all that is wrong with it."""
    from instruments.bench import Bench
    from labctl import files
    from labctl.station.doctor import require_own_names

    require_own_names()
    return files.read(path, Bench).value


def _simulated(bench: Any, path: Path | None, seed: int, name: str) -> Any:
    """Return a simulated die that fits the wiring: that of a die file, or an ideal one."""
    from labctl import files
    from sim_backend.description import DieDescription
    from sim_backend.die import SimDie

    shape = bench.geometry()
    if path is not None:
        description = files.read(path, DieDescription).value
    else:
        description = DieDescription.model_validate(
            {
                "name": name,
                "geometry": {
                    "kind": shape.kind, "kernels": shape.kernels, "n_rows": shape.n_rows, "n_cols": shape.n_cols,
                },
                "junction": {"diameter": 80e-9},
                "simulation": {"ideal": True},
            }
        )  # fmt: skip
    bench.wiring.fits(description.shape)
    return SimDie(description, seed=seed, name=name)


@contextmanager
def _wires(bench: Any, sim: str | None) -> Iterator[Any]:
    """Yield what connects to the instruments of a bench, or of its twin around an ideal die."""
    if sim is None:
        yield None
        return
    from labctl.station.twin import Twin

    if sim not in ("bytes", "tcp"):
        raise BenchError(f"--sim {sim}: expected bytes or tcp")
    made = Twin(bench, {(0, 0, 0): _simulated(bench, None, 0, "die0")}, sockets=sim == "tcp")
    try:
        yield made.connect
    finally:
        made.close()
