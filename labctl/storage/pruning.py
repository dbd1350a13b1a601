"""Drop the journals of dies whose sealed files hold the same, once that is proved, and mark the run: no way back.

A sealed file has its seal and the digest that the run's journal recorded; before its journal goes, every operation,
event and record of both is compared as well, because afterwards nothing can make the file again. What no sealed file
holds stays: journals of tries that were not sealed, inputs, the run's own journal, what lies in quarantine.

The mark, and ``run.h5`` with it, are durable before the first file goes. A pruning that was killed has dropped some
journals, and the next one drops the rest; sealed files are only read.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from labctl.core.errors import BenchError, StorageError
from labctl.core.events import Pruned
from labctl.storage.arrays import storage
from labctl.storage.hdf5_reader import SealedDie
from labctl.storage.journal import Journal
from labctl.storage.manifest import run_meta, write_meta
from labctl.storage.no_run import is_run, no_run
from labctl.storage.private import rights_of
from labctl.storage.pruned import KEY, journal_files
from labctl.storage.run_log import Runlog, RunState, folder_of, read_state
from labctl.storage.sealing import write_run_file_in_subprocess
from labctl.storage.verification import verify_run

Progress = Callable[[str, int, int], None]
_NAMED = 3
"""Problems or dies that a refusal names."""


@dataclass(frozen=True)
class Redundant:
    """The journal of a try that has a sealed file.

    Args:
        name: of the try, as its folder is called.
        files: of the journal, in the order in which they go.
        bytes: that they have.
    """

    name: str
    files: tuple[Path, ...]
    bytes: int


@dataclass(frozen=True)
class Pruning:
    """What a pruning of a run would drop.

    Args:
        kept: tries whose journals stay, because no sealed file holds the same.
        marked: the run was pruned before, or that was broken off.
    """

    run: Path
    redundant: tuple[Redundant, ...]
    kept: tuple[str, ...]
    marked: bool

    @property
    def bytes(self) -> int:
        """Bytes that it would free."""
        return sum(one.bytes for one in self.redundant)


def plan_pruning(run: Path, progress: Progress = lambda path, n, of: None) -> Pruning:
    """Return what of a finished run its sealed files make redundant, after all files of the run have been verified.

    Args:
        progress: called with what is looked at, its number from 0, and how many there are.

    Raises:
        BenchError: the run has not ended, or a resume has something left to do on it, or it was made by hand; or a
            folder of it is a link to another place.
        StorageError: a file is damaged, gone, or is not what its journal says; or there is no run.
    """
    require_recorded(run)
    state = read_state(run)
    _refuse_unfinished(run, state)
    _refuse_links(run)
    verification = verify_run(run, progress)
    if verification.problems:
        named = "; ".join(f"{problem.path} {problem.text}" for problem in verification.problems[:_NAMED])
        more = f"; and {len(verification.problems) - _NAMED} more" if len(verification.problems) > _NAMED else ""
        raise StorageError(
            f"{run} is not whole, so nothing is dropped: {named}{more}; 'labctl verify {run}' says what the way back is"
        )
    tries = {folder_of(die.name, one.number): one.sha256 for die in state.dies.values() for one in die.tries}
    sealed = [name for name, sha256 in tries.items() if sha256 and (run / "dies" / name).is_dir()]
    redundant = []
    for n, name in enumerate(sealed):
        progress(f"dies/{name}.h5 beside its journal", n, len(sealed))
        if (run / "dies" / name / "journal.db").is_file():
            _compare(run, name, tries[name])
        redundant.append(_redundant(run / "dies" / name))
    kept = [path.parent.name for path in sorted(run.glob("dies/*/journal.db")) if path.parent.name not in sealed]
    return Pruning(run, tuple(one for one in redundant if one.files), tuple(kept), bool(run_meta(run).get(KEY)))


def require_recorded(run: Path) -> None:
    """Refuse what is no run of a campaign. Changes nothing.

    Raises:
        BenchError: it was made by hand.
        StorageError: there is no run, or it cannot be read.
    """
    if not is_run(run):
        if run_meta(run).get("kind") == "by hand":
            raise BenchError(f"{run} was made by hand: nobody has recorded digests of its files, so nothing is dropped")
        raise no_run(run)


def _refuse_links(run: Path) -> None:
    """Raise BenchError if a folder from which files would go lies elsewhere: these may be files of another run."""
    root = run.resolve()
    folders = [run / "dies", *(p for p in sorted((run / "dies").iterdir()) if p.is_dir())]
    for folder in (*folders, *(p / "arrays" for p in folders[1:])):
        if (there := folder.resolve()) != root / folder.relative_to(run):
            raise BenchError(f"{folder} is a link to {there}, whose files may be another run's; nothing is dropped")


def _refuse_unfinished(run: Path, state: RunState) -> None:
    if state.exit_code is None:
        raise BenchError(
            f"{run} has not ended: it is running, or was killed, and its journals are what it goes on from; expected a "
            f"finished run: labctl resume {run}"
        )
    if left := state.unfinished:
        names = ", ".join(left[:_NAMED]) + (f" and {len(left) - _NAMED} more" if len(left) > _NAMED else "")
        raise BenchError(
            f"{run} can be resumed, and its journals are what it goes on from; left to do: {names}; expected a run "
            f"with nothing left: labctl resume {run}"
        )


def prune(plan: Pruning, by: str = "", progress: Progress = lambda path, n, of: None) -> None:
    """Mark the run and drop what `plan_pruning` found; the caller holds the run's lock since before that.

    Args:
        by: who asked for it, as user@host.

    Raises:
        StorageError: a file cannot be removed, or the mark or ``run.h5`` cannot be written; again finishes it.
    """
    run = plan.run
    if not plan.redundant:
        return
    with rights_of(run):
        _mark(plan, by)
        write_run_file_in_subprocess(run)  # its copy of the run's journal has the mark before the first file goes
    for n, one in enumerate(plan.redundant):
        progress(f"dies/{one.name}", n, len(plan.redundant))
        folder = run / "dies" / one.name
        with storage(folder, f"drop its files; 'labctl prune {run} --yes' goes on"):
            for path in one.files:
                path.unlink(missing_ok=True)
        for empty in (folder / "arrays", folder):  # what is not of a journal stays, and its folder with it
            with suppress(OSError):
                empty.rmdir()


def _mark(plan: Pruning, by: str) -> None:
    """Write the mark into the run's journal and ``run.json``; a mark that is there has to name what goes now."""
    names = tuple(one.name for one in plan.redundant)
    mark = run_meta(plan.run).get(KEY) or {"dies": (), "bytes": 0}
    new = tuple(name for name in names if name not in mark["dies"])
    if new:
        with Runlog.open(plan.run) as log:
            log.write(Pruned(dies=(*mark["dies"], *new), bytes=mark["bytes"] + plan.bytes, by=by))
            log.finish()
    write_meta(plan.run, run_meta(plan.run))


def _redundant(folder: Path) -> Redundant:
    """Return the files of a try's journal that are there."""
    with storage(folder, "look at the files"):
        files = journal_files(folder)
        return Redundant(folder.name, tuple(files), sum(os.path.getsize(path) for path in files))


def _compare(run: Path, name: str, sha256: str) -> None:
    """Raise StorageError unless the sealed file of a try holds everything that its journal holds."""
    folder = run / "dies" / name
    with Journal.open(folder, of=name) as journal, SealedDie(folder.with_name(f"{name}.h5"), sha256, name) as sealed:
        if not journal.finished:
            raise StorageError(f"{journal.path} went on after it was sealed; nothing is dropped: labctl verify {run}")
        parts: tuple[tuple[str, Iterator[Any], Iterator[Any]], ...] = (
            ("what it was started with", iter([journal.meta]), iter([sealed.meta])),
            ("operations", journal.operations(), sealed.operations()),
            ("events", journal.events(), sealed.events()),
            ("names of tables", iter(sorted(journal.tables)), iter(sorted(sealed.tables))),
        )
        for part, one, other in parts:
            _require(all(_same(a, b) for a, b in zip_longest(one, other)), sealed.path, part)
        for table in journal.tables:
            both = journal.table(table), sealed.table(table)
            _require(_same(*(dict(t.columns) for t in both)) and both[0].units == both[1].units, sealed.path, table)


def _require(same: bool, path: Path, part: str) -> None:
    if not same:
        raise StorageError(f"{path} has other {part} than its journal; nothing is dropped, keep both and report it")


def _same(one: Any, other: Any) -> bool:
    """Return whether two bodies are equal, NaN to NaN, and arrays of one type and shape.

    >>> _same({"a": [1, float("nan")]}, {"a": [1, float("nan")]}), _same(np.zeros(2), np.zeros(2, int))
    (True, False)
    """
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        if not (isinstance(one, np.ndarray) and isinstance(other, np.ndarray)):
            return False
        kind = one.dtype.kind
        alike = one.dtype == other.dtype or (kind == other.dtype.kind == "U")
        return alike and one.shape == other.shape and bool(np.array_equal(one, other, equal_nan=kind in "fc"))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, Sequence) and isinstance(other, Sequence) and not isinstance(one, str):
        return len(one) == len(other) and all(_same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other) or (one != one and other != other)
