"""Write cells that are hard to write, by write-verify and in open loop: fidelity and pulses per cell, two tables.

Run ``python benchmarks/write_verify.py`` (some 75 s; ``--small`` for one die and few patterns, the size that the tests
run; ``--json`` for machines). Cells of Delta 40 with 15 % spread of V_c0 and the exponent 1 are written with pulses of
10 and 100 ms, so that half-selected neighbours flip; then sixty patterns, one after the other, into default cells with
one weak pulse each. Fidelity is by what the simulated cells are, not by what they read."""

# ruff: noqa: E402  (the number of threads must be set before numpy is imported)
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from labctl.core.record import History
from labctl.files.load import load
from protocols.cell_knowledge import CellKnowledge
from protocols.cells import CellReader, Cells
from protocols.survey import Survey
from protocols.write_verify import WriteVerify, Written, write_record, write_verify
from sim_backend.description import DieDescription
from sim_backend.make import make_die

HARD = {"switching": {"delta": 40.0}, "spread": {"v_c0": 0.15}}
LAST = 0.54
WAYS = {
    "10 ms": (10e-3, {"open_loop": (0.38,), "verify": (0.30, 0.34)}),
    "100 ms": (100e-3, {"open_loop": (0.34,), "verify": (0.28, 0.34)}),
}
"""Width of a pulse, and first rungs, V: write-verify begins at V_50 of the median cell, rounded up, and higher."""
WEAK = {"v_start": 0.42, "v_max": 0.42}


def described(changes: dict[str, dict[str, float]]) -> DieDescription:
    """Return the shipped description of a passive die with changes in sections of its simulation."""
    die = load(ROOT / "examples/dies/passive-15x15.yaml", DieDescription)
    sections = {name: getattr(die.simulation, name).model_copy(update=values) for name, values in changes.items()}
    return die.model_copy(update={"simulation": die.simulation.model_copy(update=sections)})


@dataclass(frozen=True)
class Pattern:
    """How one pattern was written: fidelity, pulses per cell, cells left wrong that are given up."""

    fidelity: float
    pulses: float
    given_up: int


def write(changes: dict[str, dict[str, float]], seed: int, patterns: int, **settings: Any) -> Iterator[Pattern]:
    """Yield how random patterns were written into all cells of one die, one after the other, after a survey."""
    die = make_die(described(changes), seed=seed, name="die")
    kernels, n_rows, n_cols = die.geometry.shape
    cells = Cells.join([Cells.block(k, 0, 0, (n_rows, n_cols)) for k in range(kernels)])
    wanted = WriteVerify(**settings)
    history = History([] if changes else list(Survey().run(die, History())))
    known, reader = (
        CellKnowledge(die, history, wanted.short_above, wanted.v_read),
        CellReader(die.geometry, cells, wanted),
    )
    random = np.random.default_rng(seed)
    for number in range(patterns):
        target = random.random(len(cells)) < 0.5
        *_, written = write_verify(die, known, reader, target, wanted, solution=number)
        assert isinstance(written, Written)
        record = write_record([written], wanted, solution=number)
        right = float((die.truth()["state"][cells.at] == target).mean())
        yield Pattern(right, record.pulses_per_cell, record.stuck)


def hard(small: bool) -> list[dict[str, Any]]:
    """Return the rows of the table of cells that are hard to write."""
    rows = []
    for name, (width, ways) in WAYS.items():
        for scheme in ("half",) if small else ("half", "third"):
            for mode, starts in ways.items():
                for start in starts:
                    settings = {"mode": mode, "scheme": scheme, "width": width, "v_start": start, "v_max": LAST}
                    dies = range(1 if small else 4)
                    done = [p for seed in dies for p in write(HARD, seed, 1 if small else 4, **settings)]
                    rows.append({
                        "pulse": name, "scheme": scheme, "mode": mode, "v_start": start,
                        "fidelity": float(np.mean([p.fidelity for p in done])),
                        "pulses_per_cell": float(np.mean([p.pulses for p in done])),
                    })  # fmt: skip
    return rows


def weak(small: bool) -> list[dict[str, Any]]:
    """Return the rows of the table of sixty patterns with one weak pulse."""
    rows = []
    for mode in ("verify", "open_loop"):
        settings = {"mode": mode, "repair_rounds": 0, **WEAK}
        dies = [list(write({}, seed, 12 if small else 60, **settings)) for seed in range(1 if small else 4)]
        fidelity = np.array([[p.fidelity for p in done] for done in dies])
        rows.append({
            "mode": mode,
            "first_ten": float(fidelity[:, :10].mean()),
            "last_ten": float(fidelity[:, -10:].mean()),
            "given_up": float(np.mean([done[-1].given_up for done in dies])),
        })  # fmt: skip
    return rows


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--small", action="store_true", help="one die, few patterns")
    parser.add_argument("--json", action="store_true", help="for machines")
    wanted = parser.parse_args()
    figures = {"hard": hard(wanted.small), "weak": weak(wanted.small)}
    if wanted.json:
        print(json.dumps(figures))
        return
    titles = {"half": "V/2", "third": "V/3", "open_loop": "open loop", "verify": "write-verify"}
    print("| pulse | scheme | way | first rung | fidelity | pulses per cell |\n|--:|--|--|--:|--:|--:|")
    for row in figures["hard"]:
        print(
            f"| {row['pulse']} | {titles[row['scheme']]} | {titles[row['mode']]} | {1e3 * row['v_start']:.0f} mV | "
            f"{100 * row['fidelity']:.2f} % | {row['pulses_per_cell']:.2f} |"
        )
    print("\n| way | fidelity of the first ten | of the last ten | cells given up at the end |\n|--|--:|--:|--:|")
    for row in figures["weak"]:
        print(
            f"| {titles[row['mode']]} | {100 * row['first_ten']:.1f} % | {100 * row['last_ten']:.1f} % | "
            f"{row['given_up']:.1f} of 450 |"
        )


if __name__ == "__main__":
    main()
