"""Measure dies of an earlier run again: which ones, and whether that run was of this campaign and this wafer."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from labctl.config.bins import HARD, passes
from labctl.core.errors import BenchError
from labctl.core.retest import GivenBin, Retest
from labctl.station.run_spec import RunKind, RunSpec, differences
from labctl.storage.identity import Identity, run_id_of
from labctl.storage.locks import holder
from labctl.storage.manifest import checked
from labctl.storage.run_log import RunState, read_state

_SAME = ("stages", "bins")
"""Keys of a run that have to be the same, or its bins say something else."""


def seed_of(run: Path) -> int | None:
    """Return the seed of the simulated world of an earlier run; None if it has none.

    Raises:
        StorageError: there is no run there (`NotThereError`), or it is damaged.
    """
    seed = read_state(run).meta.get("seed")
    return None if seed is None else int(seed)


def retested(spec: RunSpec, run: Path, bins: Sequence[str] | None, only: Sequence[str] | None = None) -> RunSpec:
    """Return a run of those dies of a campaign that an earlier run has put into some bins.

    Args:
        run: folder of the earlier run.
        bins: soft bins; all of dies that did not pass if None.
        only: names of dies, of those that are in these bins; all if None.

    Raises:
        BenchError: the earlier run goes on, was made by hand, is of another wafer, campaign or simulated world, was
            judged otherwise, or has no such bin or no die in it.
        StorageError: there is no run there (`NotThereError`), or it is damaged.
    """
    state = read_state(run)
    meta = checked(state.meta, run / "journal.db")
    if meta.get("kind") == RunKind.BY_HAND:
        raise BenchError(f"{run} was made by hand and has no bins; expected a run of the campaign '{spec.name}'")
    if state.exit_code is None and (owner := holder(run)) is not None:
        raise BenchError(f"{run} goes on, carried out by {owner}; its dies are measured again when it has ended")
    _refuse_other(spec, run, state)
    earlier = Retest.of(meta.get("retest"))
    given = {
        die.name: GivenBin(die.bin, die.last.hard) if die.last is not None and die.bin else GivenBin("", 0)
        for die in state.subjects
        if die.tries or die.name not in _left_out(meta)
    }
    before = given if earlier is None else earlier.after({n: b for n, b in given.items() if b.name})
    first = before if earlier is None else earlier.first
    chosen = _bins(bins, meta, before, run)
    rehearsal = bool(meta.get("faults")) or (earlier is not None and earlier.rehearsal)
    retest = Retest(str(run), run_id_of(meta), chosen, first, before, rehearsal)
    names = list(retest.dies)
    if only is not None:
        for name in only:
            if name not in names:
                there = before.get(name)
                fact = f"is in bin '{there.name}'" if there and there.name else "has no bin"
                raise BenchError(f"--only {name}: it {fact} in {run}, expected one of bin {', '.join(chosen)}")
        names = [name for name in names if name in only]
    return replace(spec.some(names), retest=retest)


def _left_out(meta: Mapping[str, Any]) -> set[str]:
    """Return the names of the dies that a campaign leaves out."""
    return {die["name"] for die in meta["dies"] if die.get("excluded")}


def _bins(
    asked: Sequence[str] | None, meta: Mapping[str, Any], before: Mapping[str, GivenBin], run: Path
) -> tuple[str, ...]:
    """Return the bins whose dies are measured again."""
    counts = Counter(given.name for given in before.values() if given.name)
    there = ", ".join(f"{name} ({n})" for name, n in counts.most_common()) or "no bin yet"
    if asked is None:
        failed = dict.fromkeys(given.name for given in before.values() if given.name and not passes(given.hard))
        if not failed:
            raise BenchError(f"{run}: every die that has a bin has passed, so there is none to measure again: {there}")
        return tuple(failed)
    known = [*HARD, *(str(rule["bin"]) for rule in meta.get("bins") or ())]
    for name in asked:
        if name not in known and name not in counts:
            raise BenchError(f"--bins {name}: {run} knows no such bin; its dies are in {there}")
    if not any(name in counts for name in asked):
        raise BenchError(f"--bins {','.join(asked)}: no die of {run} is in such a bin; its dies are in {there}")
    return tuple(dict.fromkeys(asked))


def _refuse_other(spec: RunSpec, run: Path, state: RunState) -> None:
    """Raise BenchError if a run was of another campaign, wafer or world than `spec`, or was judged otherwise."""
    meta, now = state.meta, json.loads(json.dumps(spec.to_json()))
    if meta.get("name") != spec.name:
        raise BenchError(f"{run} is of the campaign '{meta.get('name')}', expected one of '{spec.name}'")
    was, is_now = Identity.of(state), Identity.of(RunState(now, {}))
    for what, before, after in (("wafer", was.wafer, is_now.wafer), ("lot", was.lot, is_now.lot)):
        if before != after:
            raise BenchError(
                f"{run} is of {what} '{before}', and this campaign is of {what} '{after}'; expected the same"
            )
    slots = (meta.get("slot"), now.get("slot"))
    if None not in slots and slots[0] != slots[1]:
        raise BenchError(
            f"{run} had its wafer from slot {slots[0]}, and this campaign has it from slot {slots[1]}; expected the "
            "same, or, of a wafer that was moved there, a run of its own with --only"
        )
    if bool(meta.get("real")) != bool(now["real"]):
        kinds = {True: "on a real bench", False: "on simulated dies or a twin"}
        raise BenchError(
            f"{run} was carried out {kinds[bool(meta.get('real'))]}, and this run would be {kinds[bool(now['real'])]}; "
            "expected the same"
        )
    dies = {die["name"]: die for die in now["dies"]}
    for die in meta["dies"]:
        here = dies.get(die["name"])
        if here is None or here["at"] != die["at"]:
            fact = "is not there" if here is None else f"is at {here['at']}, it was at {die['at']}"
            raise BenchError(f"die {die['name']} of {run} {fact} in this campaign; expected the same wafer map")
    if not now["real"]:
        _refuse_other_world(run, meta, now, dies)
    if changed := list(differences({key: meta.get(key) for key in _SAME}, {key: now[key] for key in _SAME})):
        more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        raise BenchError(
            f"{run} was measured or judged otherwise: {changed[0]}{more}. Its bins say something else then; expected "
            "the stages and rules of that run, or a run of its own with --only"
        )


def _refuse_other_world(run: Path, meta: Mapping[str, Any], now: Mapping[str, Any], dies: Mapping[str, Any]) -> None:
    if meta.get("seed") != now["seed"]:
        raise BenchError(
            f"{run} is of other simulated dies, those of seed {meta.get('seed')}, and this run would be of seed "
            f"{now['seed']}; expected the same, or no --seed"
        )
    for die in meta["dies"]:
        if die["description"] != dies[die["name"]]["description"]:
            raise BenchError(
                f"die {die['name']} is simulated otherwise than in {run}: its die file, or how the wafer varies, is "
                "another; expected the same"
            )
