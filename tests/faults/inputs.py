"""Read many mutated files: every ending is a reading or a refusal in words, in at most 2 s of process time.

    python tests/faults/inputs.py                                           100 files of each kind
    python tests/faults/inputs.py --kind npz --files 20000 --results F
                                                     results in a file; a later call goes on from there
    python tests/faults/inputs.py --kind npz --number 931 [--keep FILE]     one of them again; the file is kept
    python tests/faults/inputs.py --kind plan --files 500                   through `labctl plan`, any of its files

A file is a function of its kind and number: an example with keys dropped, doubled, renamed and added, values of other
kinds, huge numbers, odd texts, bytes changed, cut and moved, other encodings, headers that lie, or what is no file.
Exit code 1 if something does not hold.
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

from faults.planning import carry_out as plan
from faults.reading import KINDS, carry_out, mutated
from faults.results import add_result, done_before

ALL = (*KINDS, "plan")
FATES = ("files", "read", "refused", "violated")


def carry(start):
    """Carry one file out, given as (kind, number); return its course as JSON can hold it."""
    kind, number = start
    return asdict(plan(number) if kind == "plan" else carry_out(kind, number))


def carry_on(wanted, results, do, show=print):
    """Return the courses of all files in `wanted`; what the file `results` has is not done again.

    Args:
        wanted: files as (kind, number).
        do: yields the course of each of a list of files, in any order.
        show: called with a line for each that violates something.
    """
    done = {(one["kind"], one["number"]): one for one in done_before(results)}
    for course in do([start for start in wanted if start not in done]):
        done[course["kind"], course["number"]] = course
        add_result(results, course)
        for text in course["violated"]:
            show(f"{course['kind']} {course['number']}, {course['mutation']}: {text}")
    return [done[start] for start in wanted]


def table(courses):
    """Return the lines of a table: of each kind how many files there were, what came of them, and the longest time."""
    lines = ["  ".join([f"{'kind':8}", *FATES, "slowest"])]
    for kind in ALL:
        of_kind = [one for one in courses if one["kind"] == kind]
        counts = Counter("violated" if one["violated"] else one["ending"] for one in of_kind)
        counts["files"] = len(of_kind)
        if of_kind:
            slowest = max(one["seconds"] for one in of_kind)
            lines.append(
                "  ".join([f"{kind:8}", *(f"{counts[fate]:{len(fate)}}" for fate in FATES), f"{slowest:5.2f} s"])
            )
    return lines


def main():
    """Read, print what does not hold and a table, and exit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=ALL, action="append", help="this kind only; may be given again")
    parser.add_argument("--files", type=int, default=100, help="of each kind")
    parser.add_argument("--number", type=int, help="one file only; needs a kind")
    parser.add_argument("--keep", type=Path, help="with --number: where the file is written to")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument(
        "--results", type=Path, help="file of results, one JSON object a line; what it has is not redone"
    )
    given = parser.parse_args()
    if given.number is not None:
        if given.kind is None:
            parser.error("--number needs a --kind")
        if given.keep is not None and given.kind != ["plan"]:
            given.keep.write_bytes(mutated(given.kind[0], given.number)[2])
        course = carry((given.kind[0], given.number))
        print(json.dumps(course, indent=2))
        return 1 if course["violated"] else 0
    wanted = [(kind, number) for kind in given.kind or KINDS for number in range(given.files)]
    start, before = time.monotonic(), len(done_before(given.results))
    with multiprocessing.get_context("spawn").Pool(given.processes) as pool:
        courses = carry_on(wanted, given.results, lambda left: pool.imap_unordered(carry, left, chunksize=8))
    minutes = (time.monotonic() - start) / 60
    print("\n".join(table(courses)))
    wrong, now = sum(bool(one["violated"]) for one in courses), max(0, len(courses) - before)
    print(f"{len(courses)} files, {wrong} violated; {now} of them now, {now / minutes:.0f} a minute")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
