"""Measure the simulated chip: cells surveyed and programmed per second, inferences per second, a whole campaign.

Run ``python benchmarks/chip.py`` (a few seconds; ``--small`` is the size that the tests run, ``--json`` for machines):
one process, one BLAS thread, the die of
``examples/dies/chip-32x25x25.yaml``. Survey and programming go through the protocols, so that their share is in. The
inference is the read-out of a batch of input vectors by 30 kernels of which every column is read, which is what a
169-50-10 network asks for, with wires, noise and converters. A figure is the median of the repetitions, in processor
time of one thread, which is the time on the wall where nobody else works.

``--peer FOLDER`` (or DAFFODIL_LIB) names an unpacked copy of daffodil-lib (github.com/usnistgov/daffodil-lib): its
simulated board, which has neither wires nor noise, then loads the same Wine network of 192 cells and infers the same
148 samples on the same machine, and ratios are given. ``--campaign`` runs examples/overnight-36-dies.yaml, sealed files
and summary included, with the options that follow, and gives its time, processor time and size.
"""

# ruff: noqa: E402  (the number of threads must be set before numpy is imported)
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from labctl.core.operations import Sense
from labctl.core.record import History
from labctl.files.load import load
from protocols.bias import vector_bias
from protocols.cell_knowledge import CellKnowledge
from protocols.cells import CellReader, Cells
from protocols.survey import Survey
from protocols.write_verify import WriteVerify, write_verify
from sim_backend.description import DieDescription
from sim_backend.make import make_die

VECTORS, SMALL, KERNELS = 10_000, 100, 30
WINE = ((13, 12), (6, 6))
"""(rows, columns) of cells of the two layers of the Wine network."""

_PEER = """
import contextlib, io, json, os, sys, time
import numpy as np

folder = sys.argv[1]
sys.path.insert(0, folder)
os.chdir(os.path.join(folder, "examples"))
with contextlib.redirect_stdout(io.StringIO()):
    from daffodillib import network_layer
    from daffodillib.Board import controller
    from daffodillib.utils import testing_forward

    v_read, v_ref, v_gate, ohm = 0.1, 1.8, 5, 2000
    board = controller.Daffodil_Sim("Generic")
    board.sim_device.dpot_r = ohm
    board.set_dac_gain_mode(4093)
    board.set_dac_offset(0)
    board.set_dpot_D(board.invert_dpot_rout(ohm))
    board.set_compliance_control(1)
    board.setrefopamp(board.dac_invertvout(v_ref))
    both = dict(vread=v_read, vset=0.8, vreset=0.8, vref=v_ref, vgate=v_gate, encoding="forward", mode="block")
    layers, weights = [], []
    for number, (shape, offset) in enumerate((((13, 12), (0, 11, 12)), ((6, 6), (1, 0, 0))), start=1):
        layers.append(network_layer.Linear(board, shape=[1, 1], weight_shape=shape, offsets=[offset], **both))
        layers[-1].bias = np.loadtxt(f"wine/solutions/0_fc{number}_bias.txt")
        weights.append(np.loadtxt(f"wine/solutions/0_fc{number}_weight.txt"))
    x, y = (np.loadtxt(f"wine/dataset/{name}_train.txt").T for name in "XY")
    scale = (board.sim_device.setG - board.sim_device.resetG) / board.sim_device.currentscale
    found = []
    for _ in range(int(sys.argv[2])):
        start = time.process_time()
        for layer, weight in zip(layers, weights):
            layer.load_weights_outerproduct_parallel(weight, vgate=v_gate)
        loaded = time.process_time()
        board.setrefopamp(board.dac_invertvout(v_ref))
        begin = time.process_time()
        accuracy = testing_forward(layers, x, y, scale, v_read)
        found.append((loaded - start, time.process_time() - begin))
print(json.dumps({"samples": len(x), "times": found}))
"""


def seconds(call: Callable[[], object]) -> float:
    """Return the processor time that `call` takes in this one thread, which others on the machine do not change."""
    start = time.process_time()
    call()
    return time.process_time() - start


def measure(repeats: int, vectors: int) -> dict[str, float]:
    description = load(ROOT / "examples/dies/chip-32x25x25.yaml", DieDescription)
    times: dict[str, list[float]] = {name: [] for name in ("make", "survey", "program", "first", "again")}
    for seed in range(repeats):
        times["make"].append(seconds(lambda seed=seed: make_die(description, seed=seed, name="die")))
        die = make_die(description, seed=seed, name="die")
        kernels, n_rows, n_cols = die.geometry.shape
        cells, history = kernels * n_rows * n_cols, History()

        def survey(die=die, history=history) -> None:
            for record in Survey(aperture=10e-6).run(die, history):
                history.add(record)

        times["survey"].append(seconds(survey))
        settings = WriteVerify(aperture=10e-6)
        every = Cells.join([Cells.block(k, 0, 0, (n_rows, n_cols)) for k in range(kernels)])
        target = np.random.default_rng(seed).random(cells) < 0.5
        reader, known = (
            CellReader(die.geometry, every, settings),
            CellKnowledge(die, history, settings.short_above, settings.v_read),
        )
        facts: list[object] = []

        def program(die=die, known=known, reader=reader, target=target, facts=facts, settings=settings) -> None:
            facts.extend(write_verify(die, known, reader, target, settings, solution=0))

        times["program"].append(seconds(program))
        x = np.random.default_rng(seed).uniform(0, 0.1, (vectors, n_rows))

        def infer(die=die, x=x, n_cols=n_cols) -> None:
            for kernel in range(KERNELS):
                die.sense(Sense(vector_bias(die.geometry, kernel, 0, x), np.arange(n_cols), 10e-6))

        times["first"].append(seconds(infer))
        times["again"].append(seconds(infer))
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {
        "make die, s": medians["make"],
        "survey of 20,000 cells, s": medians["survey"],
        "write-verify of 20,000 cells, s": medians["program"],
        "cells programmed per second": cells / medians["program"],
        f"{vectors:,} vectors on 30 kernels, new state, s": medians["first"],
        f"{vectors:,} vectors on 30 kernels, state unchanged, s": medians["again"],
        "inferences per second": vectors / medians["first"],
    }


def beside(folder: Path, repeats: int) -> dict[str, float]:
    """Load a network of 192 cells and infer 148 samples, here and on the simulated board of the peer at `folder`."""
    done = subprocess.run([sys.executable, "-c", _PEER, str(folder), str(repeats)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"daffodil-lib at {folder} does not run:\n{done.stderr}")
    reply = json.loads(done.stdout)
    theirs = [statistics.median(times) for times in zip(*reply["times"], strict=True)]
    description = load(ROOT / "examples/dies/chip-32x25x25.yaml", DieDescription)
    die, settings = make_die(description, seed=1, name="die"), WriteVerify(aperture=10e-6)
    cells = Cells.join([Cells.block(k, 0, 0, shape) for k, shape in enumerate(WINE)])
    reader, known = (
        CellReader(die.geometry, cells, settings),
        CellKnowledge(die, History(), settings.short_above, settings.v_read),
    )
    random = np.random.default_rng(1)
    x, facts = random.uniform(-0.1, 0.1, (reply["samples"], WINE[0][0])), []

    def program() -> None:
        facts.extend(write_verify(die, known, reader, random.random(len(cells)) < 0.5, settings, solution=0))

    def infer() -> None:
        a = x
        for kernel, (_, cols) in enumerate(WINE):
            reading = die.sense(Sense(vector_bias(die.geometry, kernel, 0, a), np.arange(cols), 10e-6))
            current = reading.current
            a = 0.1 * np.tanh((current[:, 0::2] - current[:, 1::2]) / 3e-5)

    ours = [statistics.median(seconds(call) for _ in range(repeats)) for call in (program, infer)]
    return {
        "192 cells, daffodil-lib, s": theirs[0],
        "192 cells, write-verify here, s": ours[0],
        "192 cells, ratio": theirs[0] / ours[0],
        "148 samples, daffodil-lib, s": theirs[1],
        "148 samples, wires and noise here, s": ours[1],
        "148 samples, ratio": theirs[1] / ours[1],
    }


def campaign(options: list[str]) -> dict[str, float]:
    """Run the campaign of 36 dies with `options`, in a folder that is then removed."""
    import resource  # of POSIX; nothing else here needs it

    with tempfile.TemporaryDirectory(prefix="labctl-") as scratch:
        folder = Path(scratch, "run")
        command = [sys.executable, "-m", "labctl", "run", str(ROOT / "examples/overnight-36-dies.yaml")]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        # 1: finished, some dies not good
        code = subprocess.run(
            [*command, "--out", str(folder), *options], cwd=ROOT, stdout=subprocess.DEVNULL
        ).returncode
        wall = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if code not in (0, 1):
            raise SystemExit(f"the campaign ended with {code}")
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {
        "campaign of 36 dies, s": wall,
        "campaign of 36 dies, processor s": sum(
            getattr(after, name) - getattr(before, name) for name in ("ru_utime", "ru_stime")
        ),
        "campaign of 36 dies, MB": size / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--small", action="store_true", help=f"one repetition, {SMALL} vectors")
    parser.add_argument("--repeats", type=int, default=3, help="repetitions, each on another die")
    peer = os.environ.get("DAFFODIL_LIB")
    parser.add_argument("--peer", type=Path, default=peer and Path(peer), help="an unpacked copy of daffodil-lib")
    parser.add_argument("--campaign", nargs=argparse.REMAINDER, help="run the campaign, too, with these options")
    given = parser.parse_args()
    figures = measure(1, SMALL) if given.small else measure(given.repeats, VECTORS)
    if given.peer is None:
        print("daffodil-lib: not compared, neither --peer nor DAFFODIL_LIB names a copy of it", file=sys.stderr)
    else:
        figures |= beside(given.peer.resolve(), given.repeats)
        theirs = 192 / figures["192 cells, daffodil-lib, s"]
        figures["cells programmed per second, ratio"] = figures["cells programmed per second"] / theirs
    if given.campaign is not None:
        figures |= campaign(given.campaign)
    if given.json:
        print(json.dumps(figures, indent=2))
        return
    for name, value in figures.items():
        print(f"{name:52s} {value:12.4g}" if value < 1000 else f"{name:52s} {value:12,.0f}")


if __name__ == "__main__":
    main()
