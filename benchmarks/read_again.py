"""How far apart the accuracies of one written chip are when it is read again: by noise alone, and on its board.

Run ``python benchmarks/read_again.py`` (three minutes of processor time; ``--small`` for the size that the tests run,
``--json`` for machines, ``--draws`` and ``--dies`` for other sizes). Chips of the README's campaign are surveyed and
written once; then their network is tuned and the test images are classified again and again, each time with other
noise of the readings, by the simulated chip alone and by the emulated board in front of it. Two accuracies of one chip
are compared with the same scales in both (`untuned`), and with the scales that each has found best on the images for
tuning (`tuned`), of which many are as good as each other.
"""

# ruff: noqa: E402  (the number of threads must be set before numpy is imported)
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from labctl.core.units import FloatArray, IntArray
from labctl.storage.results import open_run

CAMPAIGN, BOARD = ROOT / "examples" / "overnight-36-dies.yaml", ROOT / "examples" / "bench-daffodil.yaml"
DIES = ("W01-x2y0", "W01-x4y0", "W01-x5y0", "W01-x1y1", "W01-x5y1", "W01-x4y3")
TUNINGS = ("untuned", "tuned")
POINTS = 0.5
"""Difference of two accuracies that counts, in percent of the images."""


@dataclass(frozen=True)
class Reads:
    """A chip that was read n times.

    Args:
        accuracy: of the test images in percent, (n,) by tuning. predicted: their classes (n, images), likewise.
        scales: (n, layers) that tuning has found.
    """

    accuracy: dict[str, FloatArray]
    predicted: dict[str, IntArray]
    scales: FloatArray

    @classmethod
    def of(cls, folder: Path, die: str) -> "Reads":
        """Return the reads of a die of a run."""
        made = open_run(folder).die(die)
        inference, prediction = made.table("inference"), made.table("prediction")
        return cls(
            {tuning: 100 * np.asarray(inference[f"accuracy_{tuning}_test"]) for tuning in TUNINGS},
            {tuning: np.asarray(prediction[f"{tuning}_test"]) for tuning in TUNINGS},
            np.asarray(inference["scale"]),
        )


def carried_out(folder: Path, dies: tuple[str, ...], draws: int, words: list[str]) -> dict[str, Reads]:
    """Survey and write chips, and read them `draws` times; `words` say on what."""
    survey, inference = yaml.safe_load(CAMPAIGN.read_text(encoding="utf-8"))["stages"]
    inference["chip_inference"] |= {
        key: str(CAMPAIGN.parent / inference["chip_inference"][key]) for key in ("solutions",)
    }
    settings = {"stages": [survey, *[inference] * draws], "accept": {}, "bins": []}
    command = [sys.executable, "-m", "labctl", "run", str(CAMPAIGN), "--out", str(folder), "--only", ",".join(dies)]
    for key, value in settings.items():
        command += ["--set", f"{key}={json.dumps(value)}"]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return {die: Reads.of(folder, die) for die in dies}


def apart(one: dict[str, Reads], other: dict[str, Reads] | None, tuning: str) -> dict[str, float]:
    """Return how far apart two reads of a chip are, over all chips; `other` is None for two of the same.

    Returns:
        points: of the accuracies, rms and most; share: of pairs more than `POINTS` apart; images: of other classes,
        mean and most; mean: of the signed difference.
    """
    points, images, signed = [], [], []
    for die, reads in one.items():
        n = len(reads.scales)
        pairs = itertools.combinations(range(n), 2) if other is None else itertools.product(range(n), range(n))
        there = reads if other is None else other[die]
        for i, j in pairs:
            signed.append(there.accuracy[tuning][j] - reads.accuracy[tuning][i])
            points.append(abs(signed[-1]))
            images.append(int((there.predicted[tuning][j] != reads.predicted[tuning][i]).sum()))
    return {
        "rms": float(np.sqrt(np.mean(np.square(points)))),
        "most": float(max(points)),
        "share": float(np.mean(np.array(points) > POINTS)),
        "images": float(np.mean(images)),
        "most_images": max(images),
        "mean": float(np.mean(signed)) if other is not None else 0.0,
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=4, help="times that each chip is read")
    parser.add_argument("--dies", default=",".join(DIES), help="chips of the campaign, with commas")
    parser.add_argument("--small", action="store_true", help="one chip, read twice, without a board")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    dies, draws = (DIES[:1], 2) if given.small else (tuple(given.dies.split(",")), given.draws)
    with tempfile.TemporaryDirectory() as folder:
        plain = carried_out(Path(folder) / "plain", dies, draws, [])
        on_board = None
        if not given.small:
            on_board = carried_out(Path(folder) / "board", dies, draws, ["--bench", str(BOARD), "--sim", "bytes"])
    rows = {}
    for tuning in TUNINGS:
        rows[f"{tuning}, the chip and itself"] = apart(plain, None, tuning)
        if on_board is not None:
            rows[f"{tuning}, the chip and on its board"] = apart(plain, on_board, tuning)
    if given.json:
        print(json.dumps({"dies": len(dies), "draws": draws, "rows": rows}))
        return
    print(f"{len(dies)} chips, each read {draws} times")
    print(f"| two reads of | rms, points | most | above {POINTS} | images of other classes | most | mean difference |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name, row in rows.items():
        cells = (
            f"{row['rms']:.2f} | {row['most']:.2f} | {row['share']:.0%} | {row['images']:.1f} | {row['most_images']}"
        )
        print(f"| {name} | {cells} | {row['mean']:+.2f} |")
    for die, reads in plain.items():
        scales = ", ".join("/".join(f"{scale:.2f}" for scale in pair) for pair in reads.scales)
        print(f"{die}: {', '.join(f'{accuracy:.2f}' for accuracy in reads.accuracy['tuned'])} % at scales {scales}")


if __name__ == "__main__":
    main()
