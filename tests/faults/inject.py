"""Inject faults at random messages of a small campaign, and check what must hold whatever happens.

    python tests/faults/inject.py                                   200 injections, every kind about as often
    python tests/faults/inject.py --injections 2000 --results F     results in a file; a later call goes on from there
    python tests/faults/inject.py --kind "needles lift" --injections 50     of one kind only
    python tests/faults/inject.py --kind "relays stuck" --at 931    one of them again, with all that was said
    python tests/faults/inject.py --everywhere --all --results F    every kind at every position; a night
    python tests/faults/inject.py --everywhere --injections 400 --results F     the next 400 of them

A position is an instrument, the shape of a message and the phase of the campaign; a kind is injected at its first
message and at another one, and only there. Which faults happen is a function of the seed, and the first so many of a
longer list are those of a shorter one. Exit code 1 if something did not hold.
"""

import argparse
import json
import multiprocessing
import os
import random
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the matrices are small, and the processes use the cores
os.environ.setdefault("OMP_NUM_THREADS", "1")

from faults.campaign import carry_out
from faults.invariants import judged
from faults.kinds import KINDS, Injection
from faults.positions import planned_everywhere, positions_of
from faults.results import add_result, done_before


def planned(number, messages, seed, kinds=tuple(KINDS)):
    """Return `number` injections as (kind, message): all `kinds` in turn, each at messages that do not repeat."""
    left = {}
    for kind in kinds:
        left[kind] = list(range(1, messages + 1))
        random.Random(f"{seed} {kind}").shuffle(left[kind])
    rounds = -(-number // len(kinds))
    return [(kind, left[kind][turn % messages]) for turn in range(rounds) for kind in kinds][:number]


def inject(kind, at, undisturbed, only=False):
    """Carry the campaign out with one injection; return its result as JSON can hold it.

    Args:
        only: whether it happens to that message or not at all.
    """
    course = carry_out(Injection(kind, at, only=only))
    injection = course.injection
    violated, unnoticed = judged(course, undisturbed) if injection.applies else ({}, {})
    return {
        "kind": kind,
        "at": at,
        "only": only,
        "phase": injection.trail[at - 1][2] if at <= len(injection.trail) else "",
        "happened": injection.happened,
        "instrument": injection.instrument,
        "detail": injection.detail,
        "messages": injection.messages,
        "seconds": round(course.seconds, 3),
        "told": [[code, text.strip().partition("\n")[0]] for code, text in course.told],
        "dies": {name: [die.state.value, die.bin, die.try_no, die.sessions] for name, die in course.dies.items()},
        "violated": violated,
        "unnoticed": unnoticed,
    }


_undisturbed = None


def _one(planned_injection, only=False):
    """Do one injection in a worker process."""
    global _undisturbed
    _undisturbed = _undisturbed or carry_out(Injection())
    return inject(*planned_injection, _undisturbed, only)


def carry_on(wanted, results, do, show=print, only=False, most=None):
    """Return the results of the injections in `wanted`; what the file `results` has is not done again.

    Args:
        do: yields the result of each of a list of injections, in any order.
        show: called with a line for each that violates something.
        only: whether each happens to its message or not at all.
        most: number of injections that are done now, None for all; those left are in no result.
    """
    done = {(one["kind"], one["at"]): one for one in done_before(results) if one["only"] == only}
    for result in do([one for one in wanted if one not in done][:most]):
        done[result["kind"], result["at"]] = result
        add_result(results, result)
        for name, text in result["violated"].items():
            show(f"{result['kind']} at message {result['at']} ({result['instrument']}): {name}: {text}")
    return [done[one] for one in wanted if one in done]


def table(results):
    """Return the lines of a table: of each kind how many were injected, and what came of them."""
    fates = ("injected", "told", "harmless", "does not apply", "unnoticed", "violated")
    width = max(map(len, KINDS))
    lines = ["  ".join([f"{'kind':{width}}", *fates])]
    for kind in KINDS:
        counts = Counter()
        for one in results:
            if one["kind"] == kind:
                fate = "does not apply" if not one["happened"] else "told" if one["told"] else "harmless"
                counts["violated" if one["violated"] else "unnoticed" if one["unnoticed"] else fate] += 1
        counts["injected"] = counts.total()
        lines.append("  ".join([f"{kind:{width}}", *(f"{counts[fate]:{len(fate)}}" for fate in fates)]))
    return lines


def main():
    """Inject, print what did not hold and a table, and exit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--injections", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the messages at which they happen")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument(
        "--results", type=Path, help="file of results, one JSON object a line; what it has is not redone"
    )
    parser.add_argument("--kind", choices=sorted(KINDS), help="injections of this kind only")
    parser.add_argument("--at", type=int, help="one injection of that kind, at this message, from 1")
    parser.add_argument("--everywhere", action="store_true", help="at every position, and not at random messages")
    parser.add_argument("--all", action="store_true", help="all of them, with --everywhere; takes hours")
    given = parser.parse_args()
    if given.all and not given.everywhere:
        parser.error("--all needs --everywhere")
    if given.at is not None and not given.kind:
        parser.error("--at needs --kind")
    if given.at is not None:
        result = inject(given.kind, given.at, carry_out(Injection()), given.everywhere)
        print(json.dumps(result, indent=2))
        return 1 if result["violated"] else 0
    start, before = time.monotonic(), len(done_before(given.results))
    kinds = (given.kind,) if given.kind else tuple(KINDS)
    trail, most = carry_out(Injection()).injection.trail, None
    if given.everywhere:
        wanted, most = planned_everywhere(kinds, positions_of(trail), given.seed), given.injections
        print(f"{len(wanted)} injections at {len(positions_of(trail))} positions of {len(trail)} messages", flush=True)
    else:
        wanted = planned(given.injections, len(trail), given.seed, kinds)
    with multiprocessing.get_context("spawn").Pool(given.processes) as pool:
        do = partial(pool.imap_unordered, partial(_one, only=given.everywhere))
        results = carry_on(wanted, given.results, do, only=given.everywhere, most=None if given.all else most)
    minutes = (time.monotonic() - start) / 60
    print("\n".join(table(results)))
    wrong, unnoticed = (sum(bool(one[what]) for one in results) for what in ("violated", "unnoticed"))
    now = len(done_before(given.results)) - before if given.results else len(results)
    print(f"{len(results)} injections, {wrong} violated, {unnoticed} unnoticed")
    print(f"{now} of them now, {now / minutes:.0f} a minute")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
