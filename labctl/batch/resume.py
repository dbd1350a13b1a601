"""Resume a run that was stopped or killed: from the files kept in its folder, after a check of what has changed.

A die goes on in the middle by repeating its operations up to the end of its journal, so files, code and libraries have
to be the same. Changes are refused unless the operator accepts them, which the run's journal records. The run always
goes on with the files it was started with, never with a file as it is now.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from labctl.batch.reference_die import due
from labctl.core.die_state import FINAL
from labctl.core.errors import BenchError, StorageError
from labctl.core.planned_fault import InjectedFaults
from labctl.core.retest import Retest
from labctl.files import Door, absolute, digest
from labctl.station import composition
from labctl.station.doctor import versions
from labctl.station.injected_faults import with_faults
from labctl.station.run_folder import git_commit
from labctl.station.run_spec import RunKind, RunSpec, command_of, differences
from labctl.storage.manifest import run_meta
from labctl.storage.no_run import is_run, no_run
from labctl.storage.run_log import RunState, read_state

_IGNORED = ("platform",)
"""Versions that may differ: a new kernel of the operating system changes no result."""


def changes(meta: Mapping[str, Any], spec: RunSpec) -> list[str]:
    """Return what has changed since a run was started, for the operator; usually nothing.

    Args:
        meta: the contents of its ``run.json``.
        spec: the run, compiled again from the files kept in its folder.
    """
    changed = []
    for kept in meta["files"].values():
        original = absolute(kept["path"], Path(meta["cwd"]))
        if (now := _digest(original)) != kept["sha256"]:
            changed.append(f"{original} " + ("is gone" if now is None else "has changed"))
    for name, sha256 in meta["shipped"].items():
        if spec.shipped.get(name) != sha256:
            changed.append(f"{name}, which is installed with the data sets, has changed")
    if not changed:  # what code and libraries make of the same files
        now_json = json.loads(json.dumps(spec.to_json()))
        changed += differences({key: meta.get(key) for key in now_json}, now_json)
    commit = git_commit()
    if commit != meta["git_commit"]:
        changed.append(f"the code is at {commit or 'no commit'}, it was at {meta['git_commit'] or 'no commit'}")
    then, now_ = dict(meta["versions"]), versions()
    for library in sorted({*then, *now_} - {*_IGNORED}):
        if then.get(library) != now_.get(library):
            changed.append(f"{library} is {now_.get(library, 'gone')}, it was {then.get(library, 'not there')}")
    return changed


def _digest(path: Path) -> str | None:
    """Return the sha256 of a file; None if it is gone."""
    try:
        return digest(path.read_bytes())
    except OSError:
        return None


def read(run: Path, meta: Mapping[str, Any]) -> RunSpec:
    """Return a run, compiled from the files kept in its folder and from no others.

    Raises:
        StorageError: a file kept in the run folder has changed or is gone.
    """
    for name, file in meta["files"].items():
        now = _digest(run / "files" / name)
        if now != file["sha256"]:
            found = "is gone" if now is None else "is not the file that the run was started with"
            raise StorageError(f"{run / 'files' / name} {found}; 'labctl verify {run}' says what the way back is")
    cwd, kept = Path(meta["cwd"]), meta["files"]
    copies = {absolute(file["path"], cwd): run / "files" / name for name, file in kept.items()}
    roles = {role: absolute(kept[name]["path"], cwd) for role, name in meta["roles"].items()}
    door = Door(cwd, copies)
    spec = composition.read(roles["campaign"], meta["set"], None, roles.get("bench"), meta["sim"], door)
    names = {d["name"] for d in meta["dies"]}
    spec = spec.some([s.name for s in spec.subjects if s.name in names])
    spec = replace(spec, retest=Retest.of(meta.get("retest")))
    faults = InjectedFaults.of(meta.get("faults"))
    return spec if faults is None else with_faults(spec, faults)


def to_do(state: RunState, run: Path, only: Sequence[str] | None) -> list[str]:
    """Return the names of the dies that are left to do, of `only` if given.

    There may be none: a run that was broken off behind its last die has not been brought to its end.

    Raises:
        BenchError: there is no such die, it is final, or there is nothing left to do.
    """
    names = [d.name for d in state.subjects if d.state not in FINAL]
    for name in only or ():
        if name not in state.dies:
            left = f"; there is something left to do on {', '.join(names) or 'none'}"
            raise BenchError(f"{run} has no die {name}; it has {', '.join(d.name for d in state.subjects)}{left}")
        if name not in names:
            raise BenchError(
                f"die {name} is final in {run}: {state.dies[name].state}; measure it again in a run of its own, "
                f"with --only {name}"
            )
    if not names and only_files_missing(state):
        raise BenchError(f"nothing is left to do in {run}; see: labctl show {run}")
    return [n for n in names if only is None or n in only]


def made_again(meta: Mapping[str, Any]) -> str:
    """Return why a run cannot be resumed but is made again, and how, in operator words; "" if it can be.

    Args:
        meta: first entry of its journal.
    """
    command = repeating(meta)
    reason = "it was made by hand, has no procedure to go on with, and the needles may be elsewhere"
    return f"{reason}; give the command again: {command}" if command else ""


def repeating(meta: Mapping[str, Any]) -> str:
    """Return the command line that makes a run again which cannot be resumed; "" if it can be."""
    return command_of(list(meta["argv"])) if meta.get("kind") == RunKind.BY_HAND else ""


def state_of(run: Path) -> RunState:
    """Return the state of a run that can be resumed.

    Raises:
        BenchError: it is none that can go on.
        StorageError: there is no such run (`NotThereError`), or it is damaged.
    """
    if again := made_again(run_meta(run)):
        raise BenchError(f"{run} cannot be resumed: {again}")
    if not is_run(run):
        raise no_run(run)
    return read_state(run)


def only_files_missing(state: RunState) -> bool:
    """Return whether a run has ended with nothing left to do on a die: at most files about it have not been written."""
    return state.exit_code is not None and not state.unfinished and not due(state)
