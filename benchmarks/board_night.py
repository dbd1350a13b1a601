"""How much longer a night of chips takes on its emulated board than on simulated dies: both runs, one after the other.

Run ``python benchmarks/board_night.py`` on a computer that does nothing else (36 chips, some 6 minutes on two cores;
``--dies 6`` for the first ones alone, ``--small`` for one chip with few images, the size that the tests run; ``--json``
for machines). The campaign is `examples/overnight-36-dies.yaml`, the board that of `examples/bench-daffodil.yaml` over
TCP. Printed are the time on the clock and the processor time of all processes of each run, a chip's share of both, and
the ratios. A board has one chip at a time, while simulated dies share the cores: the ratio of times depends on how many
there are, and on what else they do, which is printed as the load before each run."""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
CAMPAIGN = ROOT / "examples" / "overnight-36-dies.yaml"
WAFER = ROOT / "examples" / "wafers" / "wafer-36.yaml"
BENCH = ROOT / "examples" / "bench-daffodil.yaml"
RUNS = {"simulated dies": [], "emulated board": ["--bench", str(BENCH), "--sim", "tcp"]}
FEW = ["--set", "stages.1.chip_inference.readout.tune_on=20", "--set", "stages.1.chip_inference.readout.test_on=20"]


@dataclass(frozen=True)
class Took:
    """What one run took.

    Args:
        load: mean number of processes that wanted to run in the minute before it.
        seconds: on the clock. processor: of all its processes, s.
        sealed: dies that have a sealed file.
    """

    run: str
    load: float
    seconds: float
    processor: float
    sealed: int


def carried_out(name: str, words: list[str]) -> Took:
    """Carry out a run of the campaign."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "labctl", "run", str(CAMPAIGN), "--out", f"{folder}/run", *RUNS[name], *words]
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        seconds, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
        sealed = len(list(Path(folder, "run", "dies").glob("*.h5")))
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Took(name, load, seconds, processor, sealed)


def first_dies(number: int) -> str:
    """Return the names of the first dies of the wafer, row by row, as `--only` takes them."""
    wafer = yaml.safe_load(WAFER.read_text(encoding="utf-8"))
    at = [(x, y) for y, row in enumerate(wafer["map"]) for x, mark in enumerate(row) if mark == "X"]
    return ",".join(f"{wafer['name']}-x{x}y{y}" for x, y in at[:number])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dies", type=int, default=36, help="how many of the 36 chips")
    parser.add_argument("--small", action="store_true", help="one chip with few images")
    parser.add_argument("--json", action="store_true", help="for machines")
    wanted = parser.parse_args()
    dies = 1 if wanted.small else wanted.dies
    words = ["--only", first_dies(dies), *(FEW if wanted.small else [])]
    plain, board = (carried_out(name, words) for name in RUNS)
    ratio = board.seconds / plain.seconds
    if wanted.json:
        print(
            json.dumps({"dies": dies, "cores": os.cpu_count(), "ratio": ratio, "runs": [asdict(plain), asdict(board)]})
        )
        return
    print(f"{dies} chips, {os.cpu_count()} cores")
    print("| run | load before | time | a chip | processor time | a chip | sealed |\n|:--|--:|--:|--:|--:|--:|--:|")
    for took in (plain, board):
        times = " | ".join(f"{s:.0f} s | {s / dies:.2f} s" for s in (took.seconds, took.processor))
        print(f"| {took.run} | {took.load:.2f} | {times} | {took.sealed} of {dies} |")
    print(
        f"the board takes {ratio:.2f} times as long, {board.processor / plain.processor:.2f} times the processor time"
    )


if __name__ == "__main__":
    main()
