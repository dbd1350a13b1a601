"""Noise of readings in time: power spectrum and Allan variance of a cell, against closed forms; two tables, a picture.

Run ``python benchmarks/noise.py`` (some 5 s; ``--picture FILE`` draws them). One junction in P is read 8,192 times for
1 ms at 50 mV, one reading after the other, in sixty independent columns whose results are averaged: with 1/f noise that
runs on in time, with 1/f noise that every reading draws anew, and with thermal and shot noise alone."""

# ruff: noqa: E402  (the number of threads must be set before numpy is imported)
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from labctl.core.bias import Bias
from labctl.core.operations import Pulse, Sense
from sim_backend.description import DieDescription
from sim_backend.make import make_die

VOLTS, APERTURE, ALPHA, DIAMETER = 0.05, 1e-3, 1e-9, 0.08
"""V; s; um^2; um"""
KINDS = {
    "1/f in time": {"flicker": ALPHA, "flicker_in_time": True, "f_low": 1e-3},
    "1/f of every reading": {"flicker": ALPHA, "f_low": 1e-3},
    "thermal and shot": {"flicker": 0.0},
}
MEANS = (1, 4, 16, 64, 256, 1024)
Array = npt.NDArray[np.float64]


def readings(noise: dict[str, Any], n: int, columns: int) -> Array:
    """Return (n, columns) readings over their mean current."""
    simulation = {
        "noise": {"relative": 0.0, "absolute": 0.0, **noise},
        "converter": {"lsb": 0.0},
        "lines": {"r_row": 0.0, "r_col": 0.0},
        "timing": {"settle": 0.0, "pattern": 0.0, "dwell": 0.0},
        "disturb": False,
    }
    geometry = {"n_rows": 1, "n_cols": columns}
    file = {"name": "noise", "geometry": geometry, "junction": {"diameter": DIAMETER * 1e-6}, "simulation": simulation}
    die = make_die(DieDescription.model_validate(file), seed=1, name="die")
    ground = np.zeros((1, columns))
    die.pulse(Pulse(Bias(np.full((1, 1), 0.7), ground, compliance=1.0), 1e-3))
    bias = Bias(np.full((n, 1), VOLTS), np.broadcast_to(ground, (n, columns)), compliance=1.0)
    current = die.sense(Sense(bias, np.arange(columns), APERTURE)).current
    return np.asarray(current / (VOLTS * die.truth()["g_p"][0]))


def allan(y: Array, m: int) -> float:
    """Return the Allan variance of means of m readings."""
    means = y[: len(y) // m * m].reshape(-1, m, y.shape[1]).mean(axis=1)
    return float(0.5 * np.square(np.diff(means, axis=0)).mean())


def closed_forms() -> tuple[float, float]:
    """Return h of S = h / f and the white S of the readings, relative to the current, in 1 and 1 / Hz."""
    g = np.pi / 4 * DIAMETER**2 / 12.0  # S, of 12 ohm um^2
    u = scipy.constants.elementary_charge * VOLTS / (2 * scipy.constants.Boltzmann * 300.0)
    white = 2 * scipy.constants.elementary_charge * g * VOLTS / np.tanh(u)
    return ALPHA / (np.pi / 4 * DIAMETER**2), float(white / (g * VOLTS) ** 2)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw spectrum and Allan variance")
    parser.add_argument("--small", action="store_true", help="few readings, the size that the tests run")
    parser.add_argument("--json", action="store_true", help="for machines")
    wanted = parser.parse_args()
    n, columns = (1024, 40) if wanted.small else (8192, 60)
    h, white = closed_forms()
    spectra, rows = {}, []
    for name, noise in KINDS.items():
        y = readings(noise, n, columns)
        frequency, power = scipy.signal.periodogram(y, 1 / APERTURE, "hann", detrend=False, axis=0)
        spectra[name] = frequency[2:], power.mean(axis=1)[2:]
        rows.append({"noise": name, "allan": {m: allan(y, m) for m in MEANS if 8 * m <= n}})
    expected = {"1/f in time": lambda m: 2 * np.log(2) * h, "thermal and shot": lambda m: white / (2 * m * APERTURE)}
    for row in rows:
        law = expected.get(row["noise"])
        row["over"] = {m: value / law(m) for m, value in row["allan"].items()} if law else {}
    if wanted.json:
        print(json.dumps(rows))
    else:
        print("| noise | means of | Allan variance | over the closed form |\n|--|--:|--:|--:|")
        for row in rows:
            for m, value in row["allan"].items():
                over = f"{row['over'][m]:.3f}" if row["over"] else ""
                print(f"| {row['noise']} | {m} | {value:.3g} | {over} |")
    if wanted.picture:
        draw(wanted.picture, spectra, rows, h, white)


def draw(
    path: Path, spectra: dict[str, tuple[Array, Array]], rows: list[dict[str, Any]], h: float, white: float
) -> None:
    """Draw spectra and Allan variances with their closed forms."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for (name, (frequency, power)), row in zip(spectra.items(), rows, strict=True):
        edges = np.geomspace(frequency[0], frequency[-1], 40)
        which = np.digitize(frequency, edges)
        bins = [which == k for k in range(1, 41) if (which == k).any()]
        (line,) = left.loglog([frequency[b].mean() for b in bins], [power[b].mean() for b in bins], ".", label=name)
        means = np.array(list(row["allan"]))
        right.loglog(means * APERTURE, list(row["allan"].values()), "o", color=line.get_color(), label=name)
    f = next(iter(spectra.values()))[0]
    left.loglog(f, h / f * np.sinc(f * APERTURE) ** 2, "k-", lw=0.8, label="alpha / (area f)")
    left.loglog(f, np.full(len(f), white), "k--", lw=0.8, label="2 q I coth(q V / 2 k T) / I^2")
    means = np.array(MEANS) * APERTURE
    right.loglog(means, np.full(len(means), 2 * np.log(2) * h), "k-", lw=0.8, label="2 ln 2 alpha / area")
    right.loglog(means, white / (2 * means), "k--", lw=0.8, label="white")
    left.set(xlabel="frequency (Hz)", ylabel="power over the current squared (1/Hz)")
    right.set(xlabel="averaging time (s)", ylabel="Allan variance, relative")
    for axes, where in ((left, "center left"), (right, "lower left")):
        axes.legend(fontsize=8, loc=where)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
