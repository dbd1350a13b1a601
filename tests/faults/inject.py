"""Inject faults at random messages of small campaigns, and check what must hold whatever happens.

    python tests/faults/inject.py                                   200 injections, every kind about as often, and some
                                                                    more on every other bench of the harness
    python tests/faults/inject.py --bench "standing" --injections 200       on one bench only
    python tests/faults/inject.py --injections 2000 --results F     results in a file; a later call goes on from there
    python tests/faults/inject.py --kind "needles lift" --injections 50     of one kind only
    python tests/faults/inject.py --kind "relays stuck" --at 931    one of them again, with all that was said
    python tests/faults/inject.py --everywhere --all --results F    every kind at every position; a night
    python tests/faults/inject.py --everywhere --injections 400 --results F     the next 400 of them

Everywhere means at every kind of moment (`faults/positions.py`): instrument, what matters of the message, phase of the
campaign. A kind is injected at the first message of each and at another one, and only there. So it is with the messages
that make a bench safe and open it again, after a first fault (`FIRST`) in the middle of a survey: of random injections
every fifth is such a second fault. Which faults happen is a function of the seed, and the first so many of a longer
list are those of a shorter one. Exit code 1 if something did not hold.
"""

import argparse
import json
import multiprocessing
import os
import random
import sys
import time
from collections import Counter
from dataclasses import asdict, fields
from functools import cache, partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the matrices are small, and the processes use the cores
os.environ.setdefault("OMP_NUM_THREADS", "1")

from faults.benches import BENCHES
from faults.campaign import carry_out
from faults.invariants import unnoticed, violated
from faults.kinds import KINDS, Injection
from faults.positions import FIRST, Everywhere, Planned, middle_of
from faults.results import add_result, collect_rarely, done_before

SECOND = 5
"""Of so many random injections one happens to a message that makes a bench safe, or opens it again."""


OTHERS = 10
"""A tenth as many injections happen on every other bench as on the first."""


def planned(number, messages, seed, kinds=tuple(KINDS), bench="matrix"):
    """Return `number` injections: all `kinds` in turn, each at messages that do not repeat."""
    left = {}
    for kind in kinds:
        left[kind] = list(range(1, messages + 1))
        random.Random(f"{seed} {kind}").shuffle(left[kind])
    rounds = -(-number // len(kinds))
    turns = [(kind, left[kind][turn % messages]) for turn in range(rounds) for kind in kinds]
    return [Planned(kind, at, bench=bench) for kind, at in turns[:number]]


def planned_after(everywhere, trail, bench="matrix"):
    """Return the injections into campaigns that were interrupted in the middle of a survey.

    Args:
        everywhere: `Everywhere`, which plans them.
        trail: of the undisturbed campaign.
    """
    at = middle_of(trail, "survey")
    trails = {first: carry_out(Injection(first, at), bench).injection.trail for first in FIRST}
    return everywhere.planned_after(trails, trail, at, bench)


def mixed(usual, second):
    """Return the injections `usual`, every `SECOND`-th replaced by the next of those of `second`."""
    turns = iter(second)
    return [one if (k + 1) % SECOND else next(turns, one) for k, one in enumerate(usual)]


def inject(planned, undisturbed):
    """Carry the campaign out with one planned injection; return its result as JSON can hold it."""
    first = Injection(planned.first, planned.first_at) if planned.first else None
    happens = Injection(planned.kind, planned.at, only=planned.only, first=first, of=planned.of)
    course = carry_out(happens, planned.bench)
    injection = course.injection
    message = injection.struck_at
    return {
        **asdict(planned),
        "phase": injection.trail[message - 1].phase if message else "",
        "happened": injection.happened,
        "instrument": injection.instrument,
        "detail": injection.detail,
        "messages": injection.messages,
        "seconds": round(course.seconds, 3),
        "told": [[code, text.strip().partition("\n")[0]] for code, text in course.told],
        "dies": {name: [die.state.value, die.bin, die.try_no, die.sessions] for name, die in course.dies.items()},
        "violated": violated(course, undisturbed) if injection.applies else {},
        "unnoticed": unnoticed(course, undisturbed) if injection.applies else {},
    }


@cache
def undisturbed_on(bench):
    """Return the course on a bench without a fault."""
    return carry_out(Injection(), bench)


def _one(planned):
    """Do one injection in a worker process."""
    return inject(planned, undisturbed_on(planned.bench))


def of_result(result):
    """Return the planned injection of a result."""
    return Planned(**{field.name: result[field.name] for field in fields(Planned)})


def carry_on(wanted, results, do, show=print, most=None):
    """Return the results of the injections in `wanted`; what the file `results` has is not done again.

    Args:
        do: yields the result of each of a list of injections, in any order.
        show: called with a line for each that violates something.
        most: number of injections that are done now, None for all; those left are in no result.
    """
    done = {of_result(one): one for one in done_before(results)}
    for result in do([one for one in wanted if one not in done][:most]):
        done[of_result(result)] = result
        add_result(results, result)
        for name, text in result["violated"].items():
            show(f"{again(of_result(result))} ({result['instrument']}): {name}: {text}")
    return [done[one] for one in wanted if one in done]


def again(planned):
    """Return the arguments that repeat an injection."""
    only = " --only" if planned.only else ""
    after = f' --first "{planned.first}" --first-at {planned.first_at} --of {planned.of}' if planned.first else ""
    return f'--bench "{planned.bench}" --kind "{planned.kind}" --at {planned.at}{only}{after}'


FATES = ("tried", "survived", "told", "harmless", "unnoticed", "violated", "not met")
"""What came of injections. Tried are those that happened, and survived those of them in which all held: somebody was
told, nothing was different, or it was in a way that nothing tells. Not met is a kind that did not apply after all."""


def table(results):
    """Return the lines of a table: of each kind how many were tried, what came of them, survived/tried per bench."""
    rows = {kind: [one for one in results if one["kind"] == kind] for kind in KINDS}
    rows |= {"all": results, "of them behind another fault": [one for one in results if one["first"]]}
    width = max(map(len, rows))
    lines = ["  ".join([f"{'kind':{width}}", *FATES, *(f"{bench:>9}" for bench in BENCHES)])]
    for row, ones in rows.items():
        fates = Counter(fate for one in ones for fate in fates_of(one))
        line = [f"{row:{width}}", *(f"{fates[fate]:{len(fate)}}" for fate in FATES)]
        for bench in BENCHES:
            there = Counter(fate for one in ones if one["bench"] == bench for fate in fates_of(one))
            line.append(f"{there['survived']}/{there['tried']}".rjust(max(9, len(bench))))
        lines.append("  ".join(line))
    return lines


def fates_of(result):
    """Return the columns of the table in which a result counts."""
    if not result["happened"]:
        return ["not met", *(["violated"] if result["violated"] else [])]
    if result["violated"]:
        return ["tried", "violated"]
    return ["tried", "survived", "unnoticed" if result["unnoticed"] else "told" if result["told"] else "harmless"]


def main():
    """Inject, print what did not hold and a table, and exit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--injections", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the messages at which they happen")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument(
        "--results", type=Path, help="file of results, one JSON object a line; what it has is not redone"
    )
    parser.add_argument("--bench", choices=BENCHES, help="on this bench only")
    parser.add_argument("--kind", choices=sorted(KINDS), help="injections of this kind only")
    parser.add_argument("--at", type=int, help="one injection of that kind, at this message, from 1")
    parser.add_argument("--only", action="store_true", help="at that message, or not at all")
    parser.add_argument("--first", choices=FIRST, default="", help="behind a fault of this kind, with --at")
    parser.add_argument("--first-at", type=int, default=0, help="message of that fault")
    parser.add_argument("--of", default="", help="instrument whose messages --at counts; none: all")
    parser.add_argument("--everywhere", action="store_true", help="at every position, and not at random messages")
    parser.add_argument("--all", action="store_true", help="all of them, with --everywhere; takes hours")
    given = parser.parse_args()
    if given.all and not given.everywhere:
        parser.error("--all needs --everywhere")
    if given.at is not None and not given.kind:
        parser.error("--at needs --kind")
    if given.at is not None:
        bench = given.bench or next(iter(BENCHES))
        planned_one = Planned(given.kind, given.at, given.only, given.first, given.first_at, given.of, bench)
        result = inject(planned_one, undisturbed_on(bench))
        print(json.dumps(result, indent=2))
        return 1 if result["violated"] else 0
    start, before = time.monotonic(), len(done_before(given.results))
    benches, wanted = [given.bench] if given.bench else list(BENCHES), []
    had = {}
    for bench in benches:
        kinds = (given.kind,) if given.kind else BENCHES[bench].kinds
        everywhere = Everywhere(kinds, given.seed, had)
        trail = undisturbed_on(bench).injection.trail
        if given.everywhere:
            usual = everywhere.planned(trail, bench)
            second = planned_after(everywhere, trail, bench)
            wanted += [*usual, *second]
            print(f"{bench}: {len(usual)} injections into {len(trail)} messages, ", end="")
            print(f"{len(second)} into those that make safe and open again", flush=True)
        else:
            second = planned_after(Everywhere(kinds, given.seed), trail, bench)
            number = given.injections if bench == benches[0] else -(-given.injections // OTHERS)
            wanted += mixed(planned(number, len(trail), given.seed, kinds, bench), second)
    random.Random(given.seed).shuffle(wanted)
    # a process that is forked knows the undisturbed courses of all benches, and the modules
    way = "fork" if sys.platform == "linux" else "spawn"
    with multiprocessing.get_context(way).Pool(given.processes, collect_rarely) as pool:
        do = partial(pool.imap_unordered, _one)
        results = carry_on(
            wanted, given.results, do, most=given.injections if given.everywhere and not given.all else None
        )
    minutes = (time.monotonic() - start) / 60
    print("\n".join(table(results)))
    wrong, silent = (sum(bool(one[what]) for one in results) for what in ("violated", "unnoticed"))
    now = len(done_before(given.results)) - before if given.results else len(results)
    print(f"{len(results)} of {len(wanted)} injections, {wrong} violated, {silent} unnoticed")
    print(f"{now} of them now, {now / minutes:.0f} a minute")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
