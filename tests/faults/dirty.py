"""Begin many times with instruments as somebody left them: the same reading as on clean ones, or a refusal by cause.

    python tests/faults/dirty.py                                            50 starts of each family
    python tests/faults/dirty.py --family keithley2600b --starts 10000 --results F
                                                     results in a file; a later call goes on from there
    python tests/faults/dirty.py --family mpi_sentio --number 931           one of them again, with all that was said

What is left, every attribute and command of the emulated instruments at a random legal value, is a function of the
family and the number of the start. From each start the bench is also switched off, as `labctl off` does: every output
has to end at 0 V and off, and every relay open. Exit code 1 if something does not hold.
"""

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the matrices are small, and the processes use the cores
os.environ.setdefault("OMP_NUM_THREADS", "1")

from faults.dirty_bench import FAMILIES, carry_out
from faults.results import add_result, collect_rarely, done_before

FATES = ("starts", "same", "refused", "nothing left", "violated", "not off")


def begin(start):
    """Carry one start out, given as (family, number); return its course as JSON can hold it."""
    return asdict(carry_out(*start))


def carry_on(wanted, results, do, show=print):
    """Return the courses of all starts in `wanted`; what the file `results` has is not done again.

    Args:
        wanted: starts as (family, number).
        do: yields the course of each of a list of starts, in any order.
        show: called with a line for each that violates something.
    """
    done = {(one["family"], one["number"]): one for one in done_before(results)}
    for course in do([start for start in wanted if start not in done]):
        done[course["family"], course["number"]] = course
        add_result(results, course)
        for text in course["violated"]:
            show(f"{course['family']} {course['number']}, left {course['left']}: {text}")
    return [done[start] for start in wanted]


def table(courses):
    """Return the lines of a table: of each family how many starts there were, and what came of them."""
    width = max(map(len, FAMILIES))
    lines = ["  ".join([f"{'family':{width}}", *FATES])]
    for family in FAMILIES:
        counts = Counter()
        for one in courses:
            if one["family"] == family:
                counts["starts"] += 1
                fate = "refused" if one["refusal"] else "same" if one["left"] else "nothing left"
                off = any(text.startswith("off: ") for text in one["violated"])
                counts["not off" if off else "violated" if one["violated"] else fate] += 1
        if counts:
            lines.append("  ".join([f"{family:{width}}", *(f"{counts[fate]:{len(fate)}}" for fate in FATES)]))
    return lines


def main():
    """Begin, print what does not hold and a table, and exit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=FAMILIES, help="one family only")
    parser.add_argument("--starts", type=int, default=50, help="of each family")
    parser.add_argument("--number", type=int, help="one start only; needs a family")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument(
        "--results", type=Path, help="file of results, one JSON object a line; what it has is not redone"
    )
    given = parser.parse_args()
    if given.number is not None:
        if given.family is None:
            parser.error("--number needs a --family")
        course = begin((given.family, given.number))
        print(json.dumps(course, indent=2))
        return 1 if course["violated"] else 0
    families = (given.family,) if given.family else FAMILIES
    wanted = [(family, number) for family in families for number in range(given.starts)]
    start, before = time.monotonic(), len(done_before(given.results))
    with multiprocessing.get_context("spawn").Pool(given.processes, collect_rarely) as pool:
        courses = carry_on(wanted, given.results, lambda left: pool.imap_unordered(begin, left, chunksize=8))
    minutes = (time.monotonic() - start) / 60
    print("\n".join(table(courses)))
    wrong, now = sum(bool(one["violated"]) for one in courses), max(0, len(courses) - before)
    print(f"{len(courses)} starts, {wrong} violated; {now} of them now, {now / minutes:.0f} a minute")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
