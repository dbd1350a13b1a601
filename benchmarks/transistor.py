"""Compare the cells of the simulated chip with ngspice: the table and the picture of a document.

Run ``python benchmarks/transistor.py`` (some seconds; ``--small`` for fewer points, the size that the tests run,
``--json`` for machines, ``--picture FILE`` to draw it). ngspice solves netlists of its own level 1 transistors, made by
`tests/spice.py`, and has to be installed (Debian package ngspice)."""

# ruff: noqa: E402  (the number of threads must be set before numpy is imported)
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import spice

from sim_backend.chip import ChipDie

ALIKE = {"diameter": 0, "ra": 0, "tmr": 0, "v_c0": 0, "delta": 0}
CELLS = {
    "P": {"stuck_p": "100 %"},
    "AP": {"stuck_ap": "100 %"},
    "short of 100 ohm": {"short": "100 %", "r_short_min": "100 ohm", "r_short_max": "100 ohm"},
}
POINTS = ((3.3, 0.1), (3.3, -0.1), (1.6, 0.1), (1.6, -0.1), (3.3, 0.5), (3.3, -0.5), (1.6, 0.5), (1.6, -0.5))
"""Gate from the chip's ground and row from the sense reference, V."""


def cells(**transistor: object) -> dict[str, ChipDie]:
    """Return chips of one nominal cell each, by what the cell is."""
    none = dict.fromkeys(spice.WIRES, 0.0)
    return {
        name: spice.chip((1, 1), none, defects=defect, transistor=transistor, spread=ALIKE)
        for name, defect in CELLS.items()
    }


def both(folder: Path, die: ChipDie, gate: float, volts: float) -> tuple[float, float]:
    """Return the current of a cell here and in ngspice, in A."""
    pattern = np.array([volts]), np.zeros(1), np.array([gate])
    return float(spice.measured(die, *pattern)[0]), float(spice.column_currents(folder, die, *pattern)[0])


def table(folder: Path) -> tuple[list[str], float]:
    """Return the lines of the table, in Markdown, and the largest relative difference."""
    dies = cells()
    lines = ["| gate | row | " + " | ".join(f"{name}, here | ngspice" for name in dies) + " |"]
    lines.append("|--:" * (2 + 2 * len(dies)) + "|")
    worst = 0.0
    for gate, volts in POINTS:
        row = []
        for die in dies.values():
            ours, theirs = both(folder, die, gate, volts)
            worst = max(worst, abs(ours / theirs - 1.0))
            row.append(f"{ours * 1e6:.2f} | {theirs * 1e6:.2f}")
        lines.append(f"| {gate:.1f} V | {volts * 1e3:+.0f} mV | " + " | ".join(row) + " |")
    return lines, worst


def kernels(folder: Path, small: bool) -> dict[str, float]:
    """Return the largest difference of column currents of kernels with wires, of the largest current of a pattern."""
    rng, m, n = np.random.default_rng(1), 5, 4
    kinds = {
        "inputs of both signs within 0.1 V, gates at 3.3 V": (0.1, 3.3),
        "inputs of both signs within 0.1 V, gates at 1.6 V": (0.1, 1.6),
        "rows of both signs within 0.6 V, gates at 1.6 V, in saturation": (0.6, 1.6),
    }
    deviations = dict.fromkeys(kinds, 0.0)
    for k in range(2 if small else 12):
        side = ("row", "column")[k % 2]
        spread = {"v_threshold_spread": "20 mV", "gain_spread": "10 %", "junction": side}
        die = spice.chip((m, n), seed=k, defects={"short": "5 %", "open": "5 %"}, transistor=spread)
        for name, (reach, gate) in kinds.items():
            pattern = rng.uniform(-reach, reach, m), np.zeros(n), np.full(m, gate)
            theirs = spice.column_currents(folder, die, *pattern)
            away = np.abs(spice.measured(die, *pattern) - theirs).max() / np.abs(theirs).max()
            deviations[name] = max(deviations[name], float(away))
    return deviations


def draw(path: Path, folder: Path, small: bool) -> None:
    """Draw the current of a cell in P against the row's voltage, and what a low gate does to inputs of both signs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 4.2), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2)
    volts, few = np.linspace(-0.7, 0.7, 141), np.linspace(-0.7, 0.7, 5 if small else 15)
    for k, gate in enumerate((1.6, 2.0, 3.3)):
        die = cells()["P"]
        left.plot(volts, 1e6 * currents(die, volts, gate), color=f"C{k}", label=f"{gate} V")
        left.plot(few, [1e6 * both(folder, die, gate, v)[1] for v in few], "o", color=f"C{k}", ms=3.5)
    left.set(xlabel="row above the sense reference (V)", ylabel="current of a cell in P (uA)")
    left.axhline(0.0, color="0.8", lw=0.6, zorder=0)
    left.legend(title="gate; lines here,\ndots ngspice", fontsize=8, title_fontsize=8)
    x, few = np.linspace(-0.1, 0.1, 80), np.linspace(-0.1, 0.1, 4 if small else 10)
    for k, side in enumerate(("row", "column")):
        for gate, style in ((1.6, "-"), (3.3, "--")):
            die = cells(junction=side)["P"]
            right.plot(1e3 * x, 1e6 * currents(die, x, gate) / x, style, color=f"C{k}", label=f"{side}, {gate} V")
            spots = [1e6 * both(folder, die, gate, v)[1] / v for v in few]
            right.plot(1e3 * few, spots, "o", color=f"C{k}", ms=3.5)
    right.set(xlabel="input (mV)", ylabel="current over input of a cell in P (uS)", ylim=(0, None))
    right.legend(title="junction at, gate", fontsize=8, title_fontsize=8)
    figure.savefig(path, dpi=110)


def currents(die: ChipDie, volts: np.ndarray, gate: float) -> np.ndarray:
    """Return the currents of a cell at several row voltages, in A."""
    return np.array([spice.measured(die, np.array([v]), np.zeros(1), np.array([gate]))[0] for v in volts])


def main() -> None:
    """Print the comparison and the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--small", action="store_true", help="fewer kernels and points")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw it")
    wanted = parser.parse_args()
    if shutil.which("ngspice") is None:
        raise SystemExit("ngspice is not installed; expected a program of that name (Debian package ngspice)")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines, worst = table(folder)
        deviations = {"one cell, of its own current": worst, **kernels(folder, wanted.small)}
        if wanted.picture:
            draw(wanted.picture, folder, wanted.small)
    if wanted.json:
        print(json.dumps({"deviations": deviations, "table": lines}))
        return
    for what, value in deviations.items():
        print(f"{what}: {value:.2g}")
    print()
    print("\n".join(lines))


if __name__ == "__main__":
    main()
