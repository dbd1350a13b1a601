"""Processor time of the campaigns of the README with the code of two folders, in turns, one run after the other.

    python benchmarks/two_trees.py OLD NEW [--runs 5]

OLD and NEW are folders of this project, each with its own `.venv`. Wine runs as it stands, the digits on three of the
36 dies. A run's processor time is that of all its processes. Printed are the medians, and the median of the ratios of
runs that follow each other, which what else the machine does changes least."""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

CAMPAIGNS = {
    "Wine, 4 dies, 24 networks": ["examples/wine-passive.yaml"],
    "digits, 3 of the 36 dies": ["examples/overnight-36-dies.yaml", "--only", "W01-x2y3,W01-x3y3,W01-x4y3"],
}


def seconds(tree: Path, words: list[str]) -> float:
    """Return the processor time of one run with the code of `tree`, in s."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    with tempfile.TemporaryDirectory() as folder:
        command = [str(tree / ".venv/bin/python"), "-m", "labctl", "run", *words, "--out", f"{folder}/run"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            command, cwd=tree, env={**os.environ, **threads}, capture_output=True, text=True, check=False
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("old", type=Path, metavar="OLD", help="folder of the code to compare with")
    parser.add_argument("new", type=Path, metavar="NEW", help="folder of the code")
    parser.add_argument("--runs", type=int, default=5, help="of each, in turns")
    parser.add_argument("--small", action="store_true", help="Wine alone, on one die, once")
    parser.add_argument("--json", action="store_true", help="for machines")
    wanted = parser.parse_args()
    campaigns, runs = CAMPAIGNS, wanted.runs
    if wanted.small:
        campaigns, runs = {"small": ["examples/wine-passive.yaml", "--only", "D80"]}, 1
    rows = []
    for name, words in campaigns.items():
        times: list[tuple[float, float]] = []
        for _ in range(runs):
            times.append((seconds(wanted.old.resolve(), words), seconds(wanted.new.resolve(), words)))
            print(f"{name}: {times[-1][0]:.1f} s, {times[-1][1]:.1f} s", file=sys.stderr, flush=True)
        old, new = (statistics.median(one) for one in zip(*times, strict=True))
        ratio = statistics.median(after / before for before, after in times)
        rows.append({"campaign": name, "old": old, "new": new, "ratio": ratio, "runs": runs})
    if wanted.json:
        print(json.dumps(rows))
        return
    print("| campaign | before | after | after / before |\n|:--|--:|--:|--:|")
    for row in rows:
        print(f"| {row['campaign']} | {row['old']:.1f} s | {row['new']:.1f} s | {row['ratio']:.3f} |")


if __name__ == "__main__":
    main()
