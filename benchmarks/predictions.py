"""Compare the bench time that `labctl plan` predicts with the clock of the twin, on the shipped examples.

Run ``python benchmarks/predictions.py`` (some minutes; ``--only WORD`` for the rows with this word, ``--small`` for a
survey of 3 x 4 cells, the size that the tests run; ``--json`` for machines). A row is one stage of one die: on a bench
the clock of the emulated instruments, on simulated dies alone the times of the operations that the stage does there.
"""

# ruff: noqa: E402  (the number of threads must be set before numpy is imported)
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import soak

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from labctl.core.limits import Limited
from labctl.core.record import History
from labctl.execution import die_job
from labctl.execution.disk_estimate import DiskEstimate
from labctl.execution.plan import CountedDie, StagePlan
from labctl.execution.stop import Stop
from labctl.networks import solutions
from labctl.station import composition, run_folder
from labctl.station.jobs import jobs_of
from labctl.station.rehearse import rehearsed
from labctl.station.simulated import simulated

EXAMPLES = ROOT / "examples"
SOLUTIONS = 2
"""Networks of the Wine example; it has 24 of one size."""
ONE_ARRAY = """\
name: one-array
seed: 12
dies:
  - {{name: A1, file: {die}, change: {{geometry: {{kernels: 1}}{change}}}}}
limits:
  v_towards_p: 700 mV
  v_towards_ap: 700 mV
  width: 20 ms
  compliance: 10 mA
  v_count: 350 mV
  pulses_per_cell: 100000
stages:
{stages}
"""
TRIALS = "cells: 4, trials: 20, v_start: 360 mV, v_max: 440 mV, v_step: 20 mV, v_back: 600 mV"
LOOPS = {"trials": "", "long": ", width: 10 ms"}


@dataclass(frozen=True)
class Case:
    """A campaign on a bench, or on simulated dies.

    Args:
        die: the one that is compared; the first where it is empty.
        changes: of the campaign, as on the command line.
        sim: how the twin of the bench is reached.
    """

    name: str
    campaign: Path
    bench: Path | None = None
    die: str = ""
    changes: dict[str, str] = field(default_factory=dict)
    sim: str = "bytes"


def one_array(place: Path, name: str, stages: str, change: str = "") -> Path:
    """Write a campaign of one array of the shipped passive die; return its path."""
    path = place / f"{name}.yaml"
    die = EXAMPLES / "dies" / "passive-15x15.yaml"
    path.write_text(ONE_ARRAY.format(die=die, stages=stages, change=change), encoding="utf-8")
    return path


def inside(place: Path) -> Path:
    """Write the bench of two arrays with scripts inside its sources, the matrix on TSP-Link; return its path."""
    text = (EXAMPLES / "bench-two-arrays.yaml").read_text(encoding="utf-8")
    for node, name in enumerate(("smu1", "smu2", "matrix"), 1):
        text = text.replace(f"  {name}:\n", f"  {name}:\n    tsplink: {node}\n", 1)
    path = place / "inside.yaml"
    path.write_text(f"{text}\nprogramming: instrument\n", encoding="utf-8")
    return path


def cases(place: Path) -> Iterator[Case]:
    """Yield what is compared; files are written into a folder."""
    few = place / "few.npz"
    solutions.save(few, solutions.load(EXAMPLES / "wine-solutions.npz").take(np.arange(SOLUTIONS)))
    wine, two = EXAMPLES / "wine-passive.yaml", EXAMPLES / "bench-two-arrays.yaml"
    survey, ten = one_array(place, "survey", "  - survey: {}"), one_array(place, "ten", "  - survey: {width: 10 ms}")
    trials, long = (one_array(place, name, f"  - write_trials: {{{TRIALS}{more}}}") for name, more in LOOPS.items())
    yield Case("survey, simulated", EXAMPLES / "survey-wafer.yaml")
    for die in ("D55", "D65", "D80", "D100"):
        yield Case("wine, simulated", wine, die=die, changes={"solutions": str(few)})
    yield Case("survey, two arrays", EXAMPLES / "survey-wafer.yaml", two)
    yield Case("survey, one array", survey, EXAMPLES / "bench-2600b-707b-sentio.yaml")
    yield Case("survey, Velox", survey, EXAMPLES / "bench-2600b-707b-velox.yaml")
    yield Case("survey, 7002", survey, EXAMPLES / "bench-2600b-7002.yaml")
    yield Case("survey, 2450", ten, EXAMPLES / "bench-2450-b2200a.yaml")
    yield Case("survey, B1500A", ten, EXAMPLES / "bench-b1500a-7002.yaml")
    yield Case("wine, ArC TWO", wine, EXAMPLES / "bench-arc-two.yaml", "D80", {"solutions": str(few)})
    yield Case("survey, inside", EXAMPLES / "survey-wafer.yaml", inside(place))
    for die in ("D55", "D80", "D100"):
        yield Case("wine, two arrays", wine, two, die, {"solutions": str(few)})
    yield Case("wine, inside", wine, inside(place), "D80", {"solutions": str(few)})
    yield Case("night", EXAMPLES / "overnight-bench.yaml", two, changes={"solutions": str(few)})
    yield Case("trials, one array", trials, EXAMPLES / "bench-2600b-707b-sentio.yaml")
    yield Case("trials, B1500A", long, EXAMPLES / "bench-b1500a-7002.yaml")
    yield Case("cell, 2400", EXAMPLES / "survey-one-cell.yaml", EXAMPLES / "bench-2400-two-needles.yaml")
    yield Case("cell, 2601B", EXAMPLES / "survey-one-cell.yaml", EXAMPLES / "bench-two-needles.yaml")
    yield Case("cell, PyMeasure", EXAMPLES / "survey-one-cell-slowly.yaml", EXAMPLES / "bench-pymeasure-2400.yaml")
    yield Case("cell, 81160A", EXAMPLES / "nanoseconds-one-cell.yaml", EXAMPLES / "bench-2400-81160a.yaml")
    yield Case("chip, simulated", EXAMPLES / "overnight-36-dies.yaml", die="W01-x3y3")
    yield Case("chip, board", EXAMPLES / "digits-one-chip.yaml", EXAMPLES / "bench-daffodil.yaml", sim="tcp")


def on_the_twin(spec: Any, die: str, folder: Path) -> dict[str, float]:
    """Return the time of each stage of a die on the clock of the twin, s."""
    meta = run_folder.make_folder(folder, spec, [])
    at: list[tuple[str, float]] = []
    seal, die_job.seal_in_subprocess = die_job.seal_in_subprocess, lambda folder, die: ""
    try:
        with spec.station.opened(lambda text: True, spec.station.twin()) as body:
            world = body.twin.world
            (job,) = (one for one in jobs_of(spec, folder, meta) if one.die == die)

            def notify(die: str, what: str, detail: object) -> None:
                if what == "stage" or (what, detail) == ("lease", die_job.LEAVING):
                    at.append((str(detail), world.now))

            die_job.run_die(job, spec.stages, notify, Stop(), body)
            return {name: after - now for (name, now), (_, after) in pairwise(at)}
    finally:
        die_job.seal_in_subprocess = seal


def simulated_alone(spec: Any, die: str) -> dict[str, float]:
    """Return the times of the operations of each stage on a simulated die, s."""
    (site,) = (s for s in spec.subjects if s.name == die)
    limited, history = Limited(simulated(site), spec.limits), History()
    times = {}
    for stage in spec.stages:
        counted = StagePlan(stage.name)
        for record in stage.for_die(die).run(CountedDie(limited, counted, DiskEstimate(None)), history):
            history.add(record)
        times[stage.name] = counted.time
    return times


def compared(case: Case, place: Path) -> list[dict[str, Any]]:
    """Return a row for each stage of a case."""
    spec = composition.read(case.campaign, case.changes, None, case.bench, None if case.bench is None else case.sim)
    die = case.die or spec.subjects[0].name
    spec = spec.some([die])
    (plan,) = rehearsed(spec)[1][:1]
    if case.bench is None:
        took = simulated_alone(spec, die)
    else:
        took = on_the_twin(spec, die, place / f"run{len(list(place.iterdir()))}")
    return [
        {
            "case": case.name,
            "die": die,
            "stage": stage.stage,
            "predicted": stage.time,
            "took": took[stage.stage],
            "ratio": took[stage.stage] / stage.time,
        }
        for stage in plan.stages
    ]


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", help="rows with this word")
    parser.add_argument("--small", action="store_true", help="3 x 4 cells")
    parser.add_argument("--json", action="store_true", help="for machines")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        if given.small:
            chosen = [
                Case("small", soak.small(place), place / "bench.yaml", "D0"),
                Case("small", place / "nights.yaml"),
            ]
        else:
            chosen = [case for case in cases(place) if not given.only or given.only in case.name]
        for case in chosen:
            new = compared(case, place)
            rows += new
            for row in new if not given.json else ():
                print(
                    f"| {row['case']} | {row['die']} | {row['stage']} | {row['predicted']:.2f} s | {row['took']:.2f} s "
                    f"| {row['ratio']:.2f} |",
                    flush=True,
                )
    if given.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
