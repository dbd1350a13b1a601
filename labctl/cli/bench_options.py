"""Options that the commands at the bench share, and the bench or twin that they name."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from labctl.cli.options import BENCH
from labctl.core.errors import BenchError

BenchFile = Annotated[Path, typer.Argument(metavar="BENCH", help="bench file")]
BenchOption = Annotated[Path, BENCH]
DieOption = Annotated[
    Path, typer.Option("--die", metavar="FILE", help="die file; its nominal conductances choose ranges and the cut")
]
OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="new folder of the run (default: runs/TIME-hand-NAME)")
]
TwinSeed = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="seed of the simulated die of a twin")]
CellOption = Annotated[str, typer.Option("--cell", metavar="K,R,C", help="kernel, row and column, from 0")]
VRead = Annotated[str, typer.Option("--v-read", metavar="QUANTITY", help="cell voltage of a read")]
VGate = Annotated[
    str | None,
    typer.Option("--v-gate", metavar="QUANTITY", help="open gate of a die with transistors (default: 3.29 V)"),
]
Aperture = Annotated[str, typer.Option("--aperture", metavar="QUANTITY", help="integration time of a reading")]
Compliance = Annotated[str, typer.Option("--compliance", metavar="QUANTITY", help="current limit of every line")]


def read_bench(path: Path, *, to_make_safe: bool = False) -> Any:
    """Return the bench of a file; BenchError lists everything that is wrong with the file.

    Args:
        to_make_safe: an instrument whose driver cannot be used is kept with its fault; the others can be made safe.
    """
    from instruments import bench_file
    from labctl.station.doctor import require_own_names

    require_own_names()
    return bench_file.read_bench(path, to_make_safe=to_make_safe).value


def die_of_twin(bench: Any, path: Path | None, seed: int, name: str) -> Any:
    """Return a simulated die that fits the wiring: the die of a die file, or an ideal one."""
    from labctl import files
    from sim_backend.description import DieDescription
    from sim_backend.make import make_die

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
    bench.fits(description.shape)
    return make_die(description, seed=seed, name=name)


def check_sim(sim: str | None) -> None:
    """Raise BenchError if `--sim` is neither left out nor a kind of twin."""
    if sim not in (None, "bytes", "tcp"):
        raise BenchError(f"--sim {sim}: expected bytes or tcp")


class Connected(NamedTuple):
    """A bench or that of its twin; the function that connects to an instrument, None for VISA; clock and wait in s."""

    bench: Any
    connect: Any
    clock: Callable[[], float]
    wait: Callable[[float], None]


@contextmanager
def connector(bench: Any, sim: str | None, *, needles_up: bool = False) -> Iterator[Connected]:
    """Yield the real bench, or with `sim` that of a twin with an ideal die, which is closed afterwards.

    Args:
        needles_up: a twin without a prober has no die under its needles.
    """
    if sim is None:
        yield Connected(bench, None, time.monotonic, time.sleep)
        return
    from labctl.station.stand_ins import with_stand_ins
    from labctl.station.twin import Twin

    check_sim(sim)
    twin = Twin(bench, {(0, 0, 0): die_of_twin(bench, None, 0, "die0")}, sockets=sim == "tcp")
    try:
        if needles_up:
            twin.world.touch(False)
        yield Connected(with_stand_ins(bench), twin.connect, lambda: twin.world.clock.now, twin.wait)
    finally:
        twin.close()
