"""What each option of the simulated die costs, one at a time: Wine on passive arrays, the shipped digits on chips.

Run ``python benchmarks/options.py wine`` (some 4 minutes of processor time) and ``python benchmarks/options.py digits``
(some 8; ``--small`` for one option on one die, the size that the tests run; ``--json`` for machines). Each option is on
alone, on the same dies with the same random numbers, so that differences are paired by die; their mean has its 95 %
interval over dies (Student's t). Wine: cells get one pulse of 420 mV each (blind), then write-verify repairs; accuracy
is of all 178 samples. Digits: the campaign of the README, accuracy of the 360 test images. Processes of a run are
counted together: processor time over that without any option."""

# ruff: noqa: E402  (the number of threads must be set before numpy is imported)
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from labctl.networks import solutions
from labctl.storage.results import open_run

EXAMPLES = ROOT / "examples"
NONE = "none"
LEADS = {"lines": {"r_source": "25 ohm", "r_sense": "25 ohm"}}
BOTH: dict[str, dict[str, Any]] = {
    "V_c0 of both directions independent": {"spread": {"v_c0_correlation": 0}},
    "Delta with 12 % of spread": {"spread": {"delta": "12 %"}},
    "TMR with 5 % of spread": {"spread": {"tmr": "5 %"}},
    "Delta and V_c0 correlated by 0.5": {"spread": {"correlations": [{"of": ["delta", "v_c0"], "value": 0.5}]}},
    "exponent 2": {"switching": {"exponent": 2}},
    "die at 350 K": {"thermal": {"temperature": "350 K"}},
    "heating, 0.4 K/uW": {"thermal": {"r_th": "0.4 K/uW"}},
    "back-hopping, V_r 800 mV": {"back_hopping": {"v_p": "800 mV", "v_ap": "800 mV"}},
    "telegraph noise": {"telegraph": True},
    "1/f noise in time, alpha 1e-9 and 3e-9 um^2": {
        "noise": {"flicker": 1e-9, "flicker_ap": 3e-9, "flicker_in_time": True}
    },
}
OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "wine": {
        "25 ohm in every line": LEADS,
        "diameter with 1.5 nm of spread": {"spread": {"diameter_absolute": "1.5 nm"}},
        **BOTH,
        "Delta as the area (macrospin)": {"switching": {"scaling": "macrospin"}},
        "ammeters with 1 % of gain": {"noise": {"gain": "1 %"}},
    },
    "digits": {
        "diameter with 1.5 nm of spread": {"spread": {"diameter_absolute": "1.5 nm"}},
        **BOTH,
        "amplifiers with 3 % of gain": {"board": {"gain": "3 %"}},
        "thresholds with 10 mV of spread": {"transistor": {"v_threshold_spread": "10 mV"}},
    },
}
"""What each option changes in the section `simulation` of the die file."""
WINE_DIES = tuple(f"D55-{k}" for k in range(6))
NETWORKS = 8
DIGITS_DIES = ("W01-x1y1", "W01-x2y3", "W01-x3y0", "W01-x3y3", "W01-x5y1", "W01-x5y4")


def merged(into: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return a mapping with changes in it, section by section."""
    return {**into, **{k: merged(into.get(k) or {}, v) if isinstance(v, dict) else v for k, v in changes.items()}}


def described(file: str, changes: dict[str, Any], to: Path, junction: dict[str, Any]) -> str:
    """Write a die file of the examples with changes, and return its path."""
    die = yaml.safe_load((EXAMPLES / "dies" / file).read_text(encoding="utf-8"))
    die["junction"] = {**die["junction"], **junction}
    die["simulation"] = merged(die["simulation"], changes)
    to.write_text(yaml.safe_dump(die, sort_keys=False), encoding="utf-8")
    return str(to)


def campaign(which: str, changes: dict[str, Any], folder: Path, dies: tuple[str, ...]) -> Path:
    """Write the campaign of the examples on dies with changes, and return its path."""
    if which == "wine":
        plan = yaml.safe_load((EXAMPLES / "wine-passive.yaml").read_text(encoding="utf-8"))
        file = described("passive-15x15.yaml", changes, folder / "die.yaml", {"diameter": "55 nm"})
        plan["dies"] = [{"name": name, "file": file} for name in dies]
        network = plan["stages"][1]["network"]
        some = solutions.load(EXAMPLES / network["solutions"]).take(np.arange(NETWORKS))
        network["solutions"] = str(folder / "some.npz")
        solutions.save(folder / "some.npz", some)
        network["write_verify"] |= {"mode": "open_loop", "repair_rounds": 3}
    else:
        plan = yaml.safe_load((EXAMPLES / "overnight-36-dies.yaml").read_text(encoding="utf-8"))
        file = described("chip-32x25x25.yaml", changes, folder / "die.yaml", {})
        plan["wafer"] = {"file": str(EXAMPLES / plan["wafer"]["file"]), "die": file}
        network = plan["stages"][1]["chip_inference"]
        network["solutions"] = str(EXAMPLES / network["solutions"])
    path = folder / "campaign.yaml"
    path.write_text(yaml.safe_dump(plan, sort_keys=False), encoding="utf-8")
    return path


def figures(run: Path, die: str) -> dict[str, float]:
    """Return what a die came to, in %, means over its networks."""
    done = open_run(run).die(die)
    inference, write = done.table("inference"), done.table("write")
    samples = {"train": 148, "test": 30} if len(inference["accuracy_untuned_test"]) > 1 else {"test": 1}
    whole = sum(samples.values())
    result = {"fidelity": float(np.mean(write["fidelity"])), "blind": float(np.mean(write["fidelity_blind"]))}
    for tuning in ("untuned", "tuned"):
        parts = [n * np.mean(inference[f"accuracy_{tuning}_{part}"]) for part, n in samples.items()]
        result[tuning] = float(sum(parts) / whole)
    return {name: 100.0 * value for name, value in result.items()}


def run(which: str, changes: dict[str, Any], dies: tuple[str, ...]) -> tuple[dict[str, list[float]], float]:
    """Carry a campaign out and return figures by die, and its processor time in s."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = ["-m", "labctl", "run", str(campaign(which, changes, folder, dies)), "--out", str(folder / "run")]
        words += ["--only", ",".join(dies)] if which == "digits" else []
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, cwd=ROOT)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode not in (0, 1):  # 1: a die is of another bin
            raise SystemExit(f"{changes}: exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        each = [figures(folder / "run", die) for die in dies]
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {key: [one[key] for one in each] for key in each[0]}, seconds


def paired(values: list[float], without: list[float]) -> tuple[float, float]:
    """Return the mean of paired differences and half the width of its 95 % interval."""
    difference = np.subtract(values, without)
    n = len(difference)
    if n < 2:
        return float(difference.mean()), float("nan")
    half = scipy.stats.t.ppf(0.975, n - 1) * difference.std(ddof=1) / np.sqrt(n)
    return float(difference.mean()), float(half)


def main() -> None:
    """Print the table of one of the two experiments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("which", choices=("wine", "digits"))
    parser.add_argument("--small", action="store_true", help="one option on one die")
    parser.add_argument("--json", action="store_true", help="for machines")
    wanted = parser.parse_args()
    dies = WINE_DIES if wanted.which == "wine" else DIGITS_DIES
    options = {NONE: {}, **OPTIONS[wanted.which]}
    if wanted.small:
        dies, options = dies[:1], dict(list(options.items())[:2])
    columns = ("blind", "fidelity", "untuned", "tuned") if wanted.which == "wine" else ("fidelity", "untuned", "tuned")
    if not wanted.json:
        print(f"| option | {' | '.join(columns)} | processor time |\n|:--|{'--:|' * (len(columns) + 1)}", flush=True)
    rows: dict[str, Any] = {}
    for name, changes in options.items():
        values, seconds = run(wanted.which, changes, dies)
        rows[name] = {**values, "seconds": seconds}
        if not wanted.json:  # each row as soon as it is there
            print(row_of(name, rows[name], rows[NONE], columns), flush=True)
    if wanted.json:
        print(json.dumps(rows))


def row_of(name: str, row: dict[str, Any], base: dict[str, Any], columns: tuple[str, ...]) -> str:
    """Return a line of the table: values without any option, and differences from them with one."""
    if row is base:
        return f"| {name} | {' | '.join(f'{np.mean(base[c]):.2f}' for c in columns)} | {base['seconds']:.0f} s |"
    pairs = [paired(row[c], base[c]) for c in columns]
    cells = [f"{round(mean, 2) + 0.0:+.2f} ± {half:.2f}" for mean, half in pairs]
    return f"| {name} | {' | '.join(cells)} | x {row['seconds'] / base['seconds']:.2f} |"


if __name__ == "__main__":
    main()
