"""What a Daffodil board does to its chip, and what it reads of it: two tables.

Run ``python benchmarks/board.py`` (some minutes; ``--small`` for the size that the tests run, ``--biases`` and
``--readings`` for any other, ``--json`` for machines). On the emulated board:

* random patterns in every mode, some below the limits and some above, on four boards: the highest cell and gate
  voltages in the emulator's audit, transients between patterns included;
* the codes through driver, server and board, beside those of the simulated chip alone behind the same converters,
  without noise and with it.
"""

# ruff: noqa: E402  (the number of threads must be set before numpy is imported)
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]
sys.modules["tests"] = ModuleType("tests")  # other distributions install one of that name
sys.modules["tests"].__path__ = [str(ROOT / "tests")]

from tests.board_figures import BOARDS, LIMITS, MODES, board_of, driven_at_random, with_noise, without_noise


def main() -> int:
    """Print the tables; exit 1 if a limit does not hold, or codes are apart."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--biases", type=int, default=10_000, help="patterns that are done on each board")
    parser.add_argument("--readings", type=int, default=100_000)
    parser.add_argument("--small", action="store_true", help="400 patterns and 4,000 readings")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    biases, readings = (400, 4_000) if given.small else (given.biases, given.readings)
    driven = {which: driven_at_random(board_of(which), biases) for which in BOARDS}
    still, (noisy, mean, ratio, least) = without_noise(readings), with_noise(readings)
    if given.json:
        noise = {"readings": noisy, "mean": mean, "variances": ratio, "least_variance": least}
        limits = {which: {**asdict(one), "within": one.within} for which, one in driven.items()}
        print(json.dumps({"limits": limits, "without_noise": asdict(still), "with_noise": noise}))
    else:
        print(f"limits {LIMITS.v_towards_p} V towards P, {LIMITS.v_towards_ap} V towards AP, gate {LIMITS.v_gate} V")
        print("| board | done, by mode | refused | towards P | towards AP | gate |\n|---|---|--:|--:|--:|--:|")
        for which, one in driven.items():
            modes = ", ".join(f"{one.done[mode]:,} {mode}" for mode in MODES)
            volts = f"{one.towards_p:.4f} V | {one.towards_ap:.4f} V | {one.gate:.4f} V"
            print(f"| {which} | {modes} | {sum(one.refused.values()):,} | {volts} |")
        print(
            f"\n{still.readings:,} readings without noise: {still.other} of another code, at most {still.apart} apart, "
        )
        print(f"those within {still.edge:.2g} V of an edge")
        print(f"{noisy:,} readings with noise: mean {mean:+.4f} codes apart, variances {ratio - 1:+.2%}")
    enough = still.apart < 2 and still.edge < 1e-6 and all(one.within for one in driven.values())
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main())
