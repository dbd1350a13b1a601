"""Compare the switching law with the Fokker-Planck equation, and what depends on its exponent: the table of a document.

Run ``python benchmarks/switching_law.py`` (some seconds; ``--small`` for fewer voltages, the size that the tests run,
``--json`` for machines, ``--picture FILE`` to draw it). The equation is solved by `tests/fokker_planck.py`, which
shares nothing with the law but the formula of the potential."""

# ruff: noqa: E402  (the number of threads must be set before numpy is imported)
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from scipy.optimize import brentq

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import fokker_planck

from sim_backend.description import Switching
from sim_backend.switching import Law, eigenvalue

YEAR = 365.25 * 86400.0
PULSE = 1e-3
DELTAS = (60.0, 40.0)
TIMES = {"10 ns": 10e-9, "100 ns": 100e-9, "1 us": 1e-6, "1 ms": PULSE, "100 ms": 0.1}


def properties(switching: Switching) -> dict[str, str]:
    """Return what depends on the exponent, as texts, by what it is."""
    law, v_c0, delta = switching.law, switching.v_c0_p, switching.delta

    def median(time: float) -> float:
        return v_c0 * law.median(time, delta)

    def share(volts: float, time: float, field: float = 0.0) -> str:
        p = float(law.probability(volts / v_c0, delta, time, field))
        return f"{p:.1e}" if p < 0.1 else f"{p:.2f}"

    def voltage(wer: float) -> float:
        return float(brentq(lambda v: float(law.probability(v / v_c0, delta, PULSE)) - (1.0 - wer), 0.0, 3.0))

    sure = voltage(1e-6)
    rows = {"V_c0": f"{v_c0 * 1e3:.1f} mV"}
    rows |= {f"V_50 at {name}": f"{median(time) * 1e3:.0f} mV" for name, time in TIMES.items()}
    rows |= {
        "V_50, slope at 1 ms": f"{(median(PULSE * 10) - median(PULSE)) * 1e3:.1f} mV a decade",
        "10 to 90 % at 1 ms": f"{(voltage(0.1) - voltage(0.9)) * 1e3:.1f} mV",
        "write error 1e-6 at 1 ms": f"{sure * 1e3:.0f} mV",
        "half-selected cell, per such pulse": share(sure / 2, PULSE),
        "half-selected cell at 420 mV, 1 ms": share(0.21, PULSE),
        "half-selected cell at 600 mV, 1 ms": share(0.30, PULSE),
        "read at 100 mV for 1.2 ms": share(0.1, 1.2e-3),
        "lost in 10 years": share(0.0, 10 * YEAR),
        "lost in 10 years, H_off of H_k / 10": share(0.0, 10 * YEAR, 0.1),
    }
    return rows


def table() -> list[str]:
    """Return the lines of the table, in Markdown."""
    kinds = [(delta, exponent) for delta in DELTAS for exponent in (1.0, 2.0)]
    columns = [properties(Switching(exponent=exponent, delta=delta)) for delta, exponent in kinds]
    lines = ["| | " + " | ".join(f"Delta {delta:.0f}, n = {exponent:.0f}" for delta, exponent in kinds) + " |"]
    lines.append("|---" * (len(kinds) + 1) + "|")
    return lines + [f"| {what} | " + " | ".join(column[what] for column in columns) + " |" for what in columns[0]]


def compared(small: bool) -> dict[str, float]:
    """Return the largest deviations of the law from the Fokker-Planck equation."""
    law, barriers = Law(2.0, 1e-9, 1.0), np.array([5.0, 9.0, 20.0]) if small else np.linspace(5.0, 30.0, 26)
    rates, shares, tails = [], [], []
    for delta in (20.0, 60.0, 100.0):
        for barrier in barriers[barriers <= delta]:
            drive = 1.0 - np.sqrt(barrier / delta)
            expected = fokker_planck.rate(drive, delta, 600 if small else 2000)
            rates.append(abs(ours(drive, delta) / expected - 1.0))
        for drive in (0.7, 1.0, 1.5) if small else np.linspace(0.6, 2.0, 15):
            time, p = fokker_planck.switched(drive, delta, 0.6, 11, points=80 if small else 200)
            law_p = law.probability(drive, delta, time)
            shares.append(np.abs(law_p - p).max())
            rare = (1 - p < 0.5) & (1 - p > 1e-6) & (drive > 1)
            tails += list(np.abs(np.log10((1 - law_p[rare]) / (1 - p[rare]))))
    return {
        "rate for barriers of 5 kT and more, largest deviation": float(max(rates)),
        "probability at 0.6 to 2 V_c0, largest difference": float(max(shares)),
        "write error rate above V_c0 down to 1e-6, largest factor": float(10 ** max(tails)),
    }


def ours(drive: float, delta: float) -> float:
    """Return the rate of the law per tau_d below the critical voltage."""
    return float(eigenvalue(np.asarray(np.sqrt(delta) * (1 - drive))) * (1 + drive) / 2 / np.sqrt(delta))


def draw(path: Path, small: bool) -> None:
    """Draw probability against voltage for five pulse widths, and the rate against the barrier."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 4.2), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2)
    macrospin, empirical = Switching(exponent=2.0), Switching()
    volts = np.linspace(0.25, 1.3, 400)
    for k, (name, time) in enumerate({"5 ns": 5e-9, "20 ns": 20e-9, **TIMES}.items()):
        if name == "10 ns":
            continue
        for switching, style, width in ((empirical, "--", 0.8), (macrospin, "-", 1.5)):
            p = switching.law.probability(volts / switching.v_c0_p, switching.delta, time)
            left.plot(volts, p, style, color=f"C{k}", lw=width, label=name if style == "-" else None)
        units = time / macrospin.tau_d
        doublings = max(int(np.ceil(np.log2(units / 0.5))), 0)
        for drive in np.arange(0.35, 1.75, 0.2 if small else 0.05):
            first, points = units / 2**doublings, 80 if small else 160
            p = fokker_planck.switched(drive, macrospin.delta, first, doublings + 1, points=points)[1][-1]
            if 0.005 < p < 0.995:
                left.plot(drive * macrospin.v_c0_p, p, "o", color=f"C{k}", ms=3.5)
    left.axvline(macrospin.v_c0_p, color="0.6", lw=0.8)
    left.set(xlabel="voltage across the junction (V)", ylabel="switching probability", xlim=(0.25, 1.3))
    left.legend(
        title="pulse; lines n = 2,\ndashed n = 1,\ndots Fokker-Planck", fontsize=8, title_fontsize=8, loc=(0.66, 0.42)
    )
    for delta in (20.0, 40.0, 60.0, 100.0):
        barrier = np.linspace(0.05, min(delta, 40.0), 6 if small else 60)
        drive = 1 - np.sqrt(barrier / delta)
        right.plot(barrier, [ours(v, delta) / fokker_planck.rate(v, delta, 800) for v in drive], label=f"{delta:.0f}")
    right.axvline(5.0, color="0.6", lw=0.8)
    right.set(xlabel="barrier (kT)", ylabel="rate, n = 2 over Fokker-Planck", ylim=(0.85, 1.15))
    right.legend(title="Delta", fontsize=8, title_fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Print the comparison and the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--small", action="store_true", help="fewer voltages, a coarser grid")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw it")
    wanted = parser.parse_args()
    deviations, lines = compared(wanted.small), table()
    if wanted.picture:
        draw(wanted.picture, wanted.small)
    if wanted.json:
        print(json.dumps({"deviations": deviations, "table": lines}))
        return
    for what, value in deviations.items():
        print(f"{what}: {value:.3g}")
    print()
    print("\n".join(lines))


if __name__ == "__main__":
    main()
