"""Take up a run that was stopped or killed: from the files kept in its folder, after a look at what has changed.

A die goes on in the middle by doing the same again up to where its journal ends, so what it is made of has to be the
same: files, code, libraries. What differs is refused; whoever goes on all the same says so, and the run's journal too.
The run always goes on with what it was started with, never with a file as it is now.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from labctl.batch.reference_die import due
from labctl.core.die_state import FINAL
from labctl.core.errors import BenchError, StorageError
from labctl.files import Kept, absolute, as_kept, digest
from labctl.station import composition
from labctl.station.composition import Prepared
from labctl.station.doctor import versions
from labctl.station.run_folder import git_commit
from labctl.storage.run_log import RunState, read_state

_IGNORED = ("platform",)
"""Versions that may differ: a new kernel of the operating system changes no result."""


def changes(run: Path, meta: Mapping[str, Any]) -> list[str]:
    """Return what has changed since the run in the folder `run` was started, in operator words; nothing as a rule.

    Raises:
        BenchError: a file that was kept in the run folder is not what it was.
    """
    found = []
    for name, said in meta["files"].items():
        copy, original = run / "files" / name, absolute(said["path"], Path(meta["cwd"]))
        if _digest(copy) != said["sha256"]:
            raise BenchError(f"{copy} is not the file that the run was started with; restore it from a backup")
        if (now := _digest(original)) != said["sha256"]:
            found.append(f"{original} " + ("is gone" if now is None else "has changed"))
    commit = git_commit()
    if commit != meta["git_commit"]:
        found.append(f"the code is at {commit or 'no commit'}, it was at {meta['git_commit'] or 'no commit'}")
    then, now_ = dict(meta["versions"]), versions()
    for library in sorted({*then, *now_} - {*_IGNORED}):
        if then.get(library) != now_.get(library):
            found.append(f"{library} is {now_.get(library, 'gone')}, it was {then.get(library, 'not there')}")
    return found


def _digest(path: Path) -> str | None:
    """Return the sha256 of a file; None if it is gone."""
    try:
        return digest(path.read_bytes())
    except OSError:
        return None


def read(run: Path, meta: Mapping[str, Any]) -> Prepared:
    """Return the campaign of a run, read from the files kept in its folder."""
    cwd, kept = Path(meta["cwd"]), meta["files"]
    copies = {absolute(said["path"], cwd): run / "files" / name for name, said in kept.items()}
    roles = {role: absolute(kept[name]["path"], cwd) for role, name in meta["roles"].items() if name is not None}
    with as_kept(Kept(cwd, copies)):
        prepared = composition.read(roles["campaign"], meta["set"], None, roles.get("bench"), meta["sim"])
    names = {d["name"] for d in meta["dies"]}
    return prepared.some([s.name for s in prepared.subjects if s.name in names])


def to_do(state: RunState, run: Path, only: Sequence[str] | None) -> list[str]:
    """Return the names of the dies that a resume works on, of `only` if given.

    Raises:
        BenchError: there is no such die, it is final, or there is nothing left to do.
    """
    names = [d.name for d in state.subjects if d.state not in FINAL]
    for name in only or ():
        if name not in state.dies:
            raise BenchError(f"{run} has no die {name}; there is something left to do on {', '.join(names) or 'none'}")
        if name not in names:
            raise BenchError(
                f"die {name} is final in {run}: {state.dies[name].state}; measure it again in a run of its own, "
                f"with --only {name}"
            )
    if not names and not due(state):
        raise BenchError(f"nothing is left to do in {run}; see: labctl show {run}")
    return [n for n in names if only is None or n in only]


def state_of(run: Path) -> RunState:
    """Return where a run stands that can be taken up; BenchError says why it cannot."""
    try:
        return read_state(run)
    except StorageError as error:
        if (run / "run.json").is_file() and not (run / "journal.db").exists():
            made_by = json.loads((run / "run.json").read_text(encoding="utf-8")).get("name", "")
            raise BenchError(f"{run}: '{made_by}' has no journal of its own and cannot be taken up") from error
        raise BenchError(str(error)) from error
