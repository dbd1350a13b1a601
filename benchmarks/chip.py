"""Measure the simulated chip: cells surveyed and programmed per second, and inferences per second.

Run ``python benchmarks/chip.py`` (a few seconds; ``--json`` for machines): one process, one BLAS thread, the die of
``examples/dies/chip-32x25x25.yaml``. Survey and programming go through the protocols, so that their share is in. The
inference is the read-out of a batch of input vectors by 30 kernels of which every column is read, which is what a
169-50-10 network asks for, with wires, noise and converters. A figure is the median of the repetitions.
"""

# ruff: noqa: E402  (the number of threads must be set before numpy is imported)
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from labctl.core.die import Sense
from labctl.core.procedure import History
from labctl.files.load import load
from protocols.bias import vector_bias
from protocols.cells import CellReader, Cells
from protocols.known import Known
from protocols.survey import Survey
from protocols.write_verify import WriteVerify, write_verify
from sim_backend.description import DieDescription
from sim_backend.make import make_die

VECTORS, KERNELS = 10_000, 30


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(repeats: int) -> dict[str, float]:
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
        reader, known = CellReader(die.geometry, every, settings), Known(die, history, settings.short_above)
        facts: list[object] = []

        def program(die=die, known=known, reader=reader, target=target, facts=facts, settings=settings) -> None:
            facts.extend(write_verify(die, known, reader, target, settings, solution=0))

        times["program"].append(seconds(program))
        x = np.random.default_rng(seed).uniform(0, 0.1, (VECTORS, n_rows))

        def infer(die=die, x=x, n_cols=n_cols) -> None:
            for kernel in range(KERNELS):
                die.sense(Sense(vector_bias(die.geometry, kernel, 0, x), np.arange(n_cols), 10e-6))

        times["first"].append(seconds(infer))
        times["again"].append(seconds(infer))
    found = {name: statistics.median(values) for name, values in times.items()}
    return {
        "make die, s": found["make"],
        "survey of 20,000 cells, s": found["survey"],
        "write-verify of 20,000 cells, s": found["program"],
        "cells programmed per second": cells / found["program"],
        "10,000 vectors on 30 kernels, new state, s": found["first"],
        "10,000 vectors on 30 kernels, state unchanged, s": found["again"],
        "inferences per second": VECTORS / found["first"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--repeats", type=int, default=3, help="repetitions, each on another die")
    given = parser.parse_args()
    found = measure(given.repeats)
    if given.json:
        print(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        print(f"{name:52s} {value:12.3f}" if value < 1000 else f"{name:52s} {value:12,.0f}")


if __name__ == "__main__":
    main()
