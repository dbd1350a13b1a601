"""How well a survey repeats, what it costs, and what that does to a network that is placed by it.

Run ``python benchmarks/repeat_survey.py`` (under 2 minutes of processor time; ``--small`` for one die, the size that
the tests run; ``--json`` for machines). Dies of the README's campaign are surveyed twice. Errors are rms errors of the
inputs of the last neurons of the shipped digits network, as surveyed cells let expect them, in units of these inputs:
not remapped, and remapped by the first survey; judged by that survey, and by the second, which the placement has not
seen."""

# ruff: noqa: E402  (the number of threads must be set before numpy is imported)
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from labctl.core.bias import Geometry, Kind
from labctl.core.defects import Defect
from labctl.networks import datasets
from labctl.networks.inputs import as_networks
from labctl.networks.trained_network import read_trained
from labctl.networks.training.maps import DieSurvey, layer_cells
from labctl.report.run_folder import predicted, read_run
from labctl.storage.results import open_run
from protocols.remap import LayerMap, expected_error, remap
from protocols.tiling import Tiling

CAMPAIGN = ROOT / "examples" / "overnight-36-dies.yaml"
NETWORK = ROOT / "examples" / "digits-baseline.npz"
DIES = ("W01-x1y1", "W01-x2y3", "W01-x3y0", "W01-x3y3", "W01-x5y1", "W01-x5y4")


def surveyed_twice(dies: tuple[str, ...], folder: Path) -> tuple[dict[str, list[DieSurvey]], float]:
    """Return both surveys of each die, and the bench time predicted for one of a die, in s."""
    survey = yaml.safe_load(CAMPAIGN.read_text(encoding="utf-8"))["stages"][0]
    words = ["-m", "labctl", "run", str(CAMPAIGN), "--out", str(folder), "--only", ",".join(dies), "--workers", "1"]
    for key, value in {"stages": [survey, survey], "accept": {}, "bins": []}.items():
        words += ["--set", f"{key}={json.dumps(value)}"]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    run, both = open_run(folder), {}
    for name in dies:
        verdicts, cells = (run.die(name).table(table) for table in ("survey", "inference_map"))
        kernels = len(np.unique(verdicts["kernel"]))
        parts = slice(kernels), slice(kernels, None)
        both[name] = [DieSurvey(name, cells["g_p"][p], cells["g_ap"][p], verdicts["defect"][p]) for p in parts]
    return both, predicted(read_run(folder)[0].meta)["seconds"] / 2 / len(dies)


def maps(survey: DieSurvey, tiling: Tiling) -> list[LayerMap]:
    """Return the cells under each layer."""
    result = []
    for k, cells in enumerate(layer_cells(survey.cells, tiling)):
        bad = (survey.defect[tiling.cells(k).at] != Defect.GOOD).reshape(len(cells), -1, 2)
        result.append(LayerMap(cells.reshape(*bad.shape, 2)[..., ::-1], bad.any(axis=-1)))
    return result


def figures(surveys: dict[str, list[DieSurvey]]) -> dict[str, float]:
    """Return the figures, means over dies."""
    trained = read_trained(NETWORK)
    network, scale = as_networks(trained.solutions)[0], trained.scale[0]
    x = trained.preprocess.apply(datasets.load(trained.data)).x_train
    rows = []
    for first, second in surveys.values():
        kernels, n_rows, n_cols = first.g_p.shape
        tiling = Tiling(network.shapes, Geometry(kernels, n_rows, n_cols, Kind.ONE_T_ONE_R))
        one, other = maps(first, tiling), maps(second, tiling)
        good = first.good & second.good
        placed, again = (remap(network, scale, m, x) for m in (one, other))
        rows.append(
            {
                "cells": float(good.size),
                "bad in both": float((~first.good & ~second.good).sum()),
                "bad in one only": float((first.good != second.good).sum()),
                "rms difference of a good cell": float(np.sqrt(((first.cells - second.cells)[good] ** 2).mean())),
                "error, not remapped": expected_error(network, scale, other, x),
                "error, remapped, by the same survey": placed.after,
                "error, remapped, by the other survey": expected_error(placed.solution, scale, other, x),
                "neurons at the same place": float((placed.order[0] == again.order[0]).mean()),
            }
        )
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="one die")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    dies = DIES[: 1 if given.small else None]
    with tempfile.TemporaryDirectory() as name:
        surveys, seconds = surveyed_twice(dies, Path(name) / "run")
        result = {"bench time of a survey, s": seconds, **figures(surveys)}
    if given.json:
        print(json.dumps(result))
        return
    for key, value in result.items():
        print(f"{key}: {value:.4g}")


if __name__ == "__main__":
    main()
