"""Compare the circuit solver with badcrossbar: one process, one BLAS thread, column currents.

Run ``python benchmarks/crossbar.py`` (a bit over a minute; ``--quick`` for the 25 x 25 figures alone, ``--small`` for
15 x 15, the size that the tests run, ``--json`` for machines). Both solvers get the same random P and AP cells on 2 ohm
segments and alternate, so that a busy machine slows both; a figure is the median of the repetitions, a ratio the median
of the ratios of neighbours in time. Calls of microseconds are repeated within a turn and their median taken: otherwise
caches that the other solver emptied are measured. badcrossbar is asked for output currents only, its fastest answer.
"""

# ruff: noqa: E402  (the number of threads must be set before numpy is imported)
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import logging
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sim_backend.crossbar import ResistorNetwork, solve

SEGMENT, R_P, R_AP = 2.0, 2e3, 4e3  # ohm
VECTORS = 1000
GOALS = {("cold", 1): 25.0, ("cold", VECTORS): 60.0, ("unchanged", VECTORS): 1500.0}  # at 25 x 25


def crossbar(n: int, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (n, n) S, (k, n) V on rows and (k, n) V on columns."""
    rng = np.random.default_rng(n)
    g = np.where(rng.random((n, n)) < 0.5, 1.0 / R_P, 1.0 / R_AP)
    return g, rng.uniform(0.0, 0.3, (k, n)), np.zeros((k, n))


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def compared(ours: Callable[[], np.ndarray], theirs: Callable[[], np.ndarray], budget: float) -> dict[str, float]:
    """Time two solvers in turns for about `budget` seconds."""
    mine, other = ours(), theirs()
    error = float((np.abs(mine - other).max(axis=1) / np.abs(other).max(axis=1)).max())
    inner = int(np.clip(0.01 / seconds(ours), 1, 50))
    repeats = int(np.clip(budget / (seconds(theirs) + inner * seconds(ours)), 3, 60))
    pairs = [(statistics.median(seconds(ours) for _ in range(inner)), seconds(theirs)) for _ in range(repeats)]
    return {
        "ours": statistics.median(a for a, _ in pairs),
        "theirs": statistics.median(b for _, b in pairs),
        "ratio": statistics.median(b / a for a, b in pairs),
        "difference": error,
        "repeats": repeats,
    }


def against_badcrossbar(sizes: list[int], budget: float) -> list[dict[str, object]]:
    import badcrossbar

    logging.disable(logging.INFO)
    rows: list[dict[str, object]] = []
    for n in sizes:
        for k in (1, VECTORS):
            g, v_row, v_col = crossbar(n, k)
            ohm, volts = 1.0 / g, v_row.T.copy()

            def theirs(ohm=ohm, volts=volts):
                answer = badcrossbar.compute(volts, ohm, r_i=SEGMENT, node_voltages=False, all_currents=False)
                return answer.currents.output

            def cold(g=g, v_row=v_row, v_col=v_col):
                return solve(g, v_row, v_col, r_row=SEGMENT, r_col=SEGMENT).col_current

            network = ResistorNetwork(g, r_row=SEGMENT, r_col=SEGMENT)
            network.transfer  # noqa: B018  works the network out

            def unchanged(network=network, v_row=v_row, v_col=v_col):
                return network.solve(v_row, v_col).col_current

            for case, ours in (("cold", cold), ("unchanged", unchanged)):
                goal = GOALS.get((case, k)) if n == 25 else None
                rows.append({"n": n, "vectors": k, "network": case, **compared(ours, theirs, budget), "goal": goal})
    return rows


def growth(sizes: list[int]) -> list[dict[str, object]]:
    """Time our solver alone: medians, in s."""
    rows: list[dict[str, object]] = []
    for n in sizes:
        g, v_row, v_col = crossbar(n, VECTORS)
        floating = v_row[:1].copy()
        floating[:, n // 2] = np.nan
        network = ResistorNetwork(g, r_row=SEGMENT, r_col=SEGMENT)

        def cold(v_row, v_col, g=g):
            return solve(g, v_row, v_col, r_row=SEGMENT, r_col=SEGMENT).col_current

        def unchanged(v_row, v_col, network=network):
            return network.solve(v_row, v_col).col_current

        cases = {
            "one vector": (cold, v_row[:1], v_col[:1]),
            "one row floating": (cold, floating, v_col[:1]),
            "1000 vectors": (cold, v_row, v_col),
            "unchanged": (unchanged, v_row, v_col),
        }
        row: dict[str, object] = {"n": n}
        for name, (call, rows_at, cols_at) in cases.items():
            run = partial(call, rows_at, cols_at)
            run()
            row[name] = statistics.median(seconds(run) for _ in range(3 if n > 128 else 9))
        rows.append(row)
    return rows


def scaled(value: float) -> str:
    return f"{value * 1e6:.0f} us" if value < 1e-3 else f"{value * 1e3:.3g} ms" if value < 1.0 else f"{value:.3g} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="25 x 25 only")
    parser.add_argument("--small", action="store_true", help="15 x 15 only, and briefly")
    options = parser.parse_args()
    sizes, alone, budget = [15, 25, 64, 128], [16, 32, 64, 128, 256], 3.0
    if options.quick or options.small:
        sizes, alone, budget = ([15], [16], 0.1) if options.small else ([25], [], 3.0)
    try:
        compared_rows = against_badcrossbar(sizes, budget)
    except ImportError:
        compared_rows = []
        print("badcrossbar is not installed (extra 'judges'): no comparison", file=sys.stderr)
    growth_rows = growth(alone)
    if options.json:
        print(json.dumps({"segment_ohm": SEGMENT, "compared": compared_rows, "growth": growth_rows}, indent=1))
        return
    print(f"column currents, {SEGMENT:g} ohm segments, one BLAS thread")
    print("    array  vectors    network      ours  badcrossbar    ratio    goal  difference")
    for r in compared_rows:
        goal = f"{r['goal']:.0f}x" if r["goal"] else ""
        print(
            f"{r['n']:>3} x {r['n']:<3} {r['vectors']:>8} {r['network']:>10} {scaled(r['ours']):>9} "
            f"{scaled(r['theirs']):>12} {r['ratio']:>7.0f}x {goal:>7}  {r['difference']:.0e}"
        )
    if growth_rows:
        print("\ngrowth, ours alone")
        print("    array " + "".join(f"{name:>18}" for name in list(growth_rows[0])[1:]))
        for r in growth_rows:
            figures = "".join(f"{scaled(v):>18}" for name, v in r.items() if name != "n")
            print(f"{r['n']:>3} x {r['n']:<3} {figures}")


if __name__ == "__main__":
    main()
