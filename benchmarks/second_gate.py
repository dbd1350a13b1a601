"""What a share of a second gate takes off the error of a cell, and which share takes off most.

Run ``python benchmarks/second_gate.py`` (half a minute of processor time; ``--small`` for one die, the size that the
tests run; ``--json`` for machines). Dies of the README's campaign are surveyed, or a run is named by ``--run RUN`` in
which dies were: every cell is read at an open gate, by the survey itself, and at that of inference. A share of the
first is taken off the second. Told is the mean square of what a cell then misses of 1, written P, and of 0, written AP,
in units of the mean G_P - G_AP of the good cells of its die, and how much of it the cells of each verdict make."""

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

from labctl.core.defects import Defect
from labctl.core.units import FloatArray
from labctl.storage.results import open_run

CAMPAIGN = ROOT / "examples" / "overnight-36-dies.yaml"
DIES = ("W01-x1y1", "W01-x2y3", "W01-x3y0", "W01-x3y3", "W01-x5y1", "W01-x5y4")
SHARES = tuple(k / 200 for k in range(25))


Cells = tuple[FloatArray, FloatArray, FloatArray]
"""Of a die the codes of its defects (n,), and (n, 2) S, P and AP, at the open gate and at that of inference."""


def survey(dies: tuple[str, ...], folder: Path) -> None:
    """Survey dies of the README's campaign into `folder`."""
    stage = yaml.safe_load(CAMPAIGN.read_text(encoding="utf-8"))["stages"][0]
    words = ["-m", "labctl", "run", str(CAMPAIGN), "--out", str(folder), "--only", ",".join(dies), "--workers", "1"]
    for key, value in {"stages": [stage], "accept": {}, "bins": []}.items():
        words += ["--set", f"{key}={json.dumps(value)}"]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


def surveyed(folder: Path) -> list[Cells]:
    """Return the cells of the surveyed dies of a run."""
    run, result = open_run(folder), []
    for name in run.dies:
        die = run.die(name)
        if not die.void and {"survey", "inference_map"} <= set(die.tables):
            own, low = die.table("survey"), die.table("inference_map")
            if own.rows != low.rows or np.any(low.get("second_share", 0.0)):
                raise SystemExit(f"{folder}: die {name} was surveyed twice, or at a second gate; expected once, at one")
            pairs = [np.stack([table["g_p"].ravel(), table["g_ap"].ravel()], axis=-1) for table in (own, low)]
            defect = own["defect"].ravel()
            opened, closed = (np.nanmedian(pair[defect == Defect.GOOD]) for pair in pairs)
            if not opened > closed:
                raise SystemExit(
                    f"{folder}: good cells of die {name} conduct {opened:.3g} S as the survey reads and {closed:.3g} S "
                    "at the gate of inference; expected more where the gate is open"
                )
            result.append((defect, *pairs))
    if not result:
        raise SystemExit(f"{folder}: no die was surveyed with 'inference'; expected one, at another gate")
    return result


def errors(defect: FloatArray, opened: FloatArray, low: FloatArray, share: float) -> dict[str, float]:
    """Return the mean square error of a cell of a die that has a value, and what each verdict makes of it."""
    both = low - share * opened
    p, ap = np.nanmean(both[defect == Defect.GOOD], axis=0)
    square = ((both - (p, ap)) ** 2).mean(axis=-1) / (p - ap) ** 2
    known = np.isfinite(square)
    parts = {d.key: float(square[known & (defect == d)].sum() / known.sum()) for d in Defect}
    return {"all": sum(parts.values()), **{key: part for key, part in parts.items() if part}}


def figures(dies: list[Cells]) -> dict[str, object]:
    """Return the mean over dies for every share, and the share with the least."""
    table = {}
    for share in SHARES:
        rows = [errors(*die, share) for die in dies]
        keys = dict.fromkeys(key for row in rows for key in row)
        table[share] = {key: float(np.mean([row.get(key, 0.0) for row in rows])) for key in keys}
    best = min(table, key=lambda share: table[share]["all"])
    if best == SHARES[-1]:
        raise SystemExit(
            f"the error still falls at the largest share tried, {best:.0%}; these shorts conduct too little"
        )
    return {
        "best share": best,
        "one gate": table[0.0],
        "two gates": table[best],
        "ratio": table[best]["all"] / table[0.0]["all"],
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="one die")
    parser.add_argument(
        "--run", type=Path, help="a run whose survey has 'inference' at one gate, instead of those dies"
    )
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = given.run or Path(name) / "run"
        if not given.run:
            survey(DIES[: 1 if given.small else None], folder)
        result = figures(surveyed(folder))
    if given.json:
        print(json.dumps(result))
        return
    for key, value in result.items():
        one = value.items() if isinstance(value, dict) else [("", value)]
        print(f"{key}: " + ", ".join(f"{name} {part:.4f}".strip() for name, part in one))


if __name__ == "__main__":
    main()
