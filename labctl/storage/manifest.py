"""``run.json``: the first thing in a run folder, which says what the run is. Written once, read here.

One key is added later: `pruned`, when the journals of its dies are dropped (`labctl.storage.pruning`).
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labctl.core.errors import StorageError
from labctl.core.events import Pruned
from labctl.storage.arrays import storage, sync, sync_folder
from labctl.storage.journal import Journal
from labctl.storage.no_run import is_run
from labctl.storage.pruned import KEY

FORMAT = 2
"""Version of run folders. 1 named weights and data for the whole campaign."""


_OF_JOURNAL = ("order", "estimate", "instruments")
"""What the run's journal begins with besides the contents of ``run.json``."""


_IN_DIE = "(entry/provenance/run of its HDF5 file)"


def run_meta(run: Path) -> dict[str, Any]:
    """Return the content of ``run.json``, {} if there is neither that nor a journal of the run.

    The run's journal begins with the same: one that is not as it was written is damaged, or was edited. Whether the run
    was pruned is taken from that journal, where there is one.

    Raises:
        StorageError: it is damaged, gone, or of another format, or the journal is damaged.
    """
    path = run / "run.json"
    kept = meta_of_journal(run)
    if not path.is_file():
        if kept is not None:
            raise StorageError(f"{path} is gone; {_way_back(run)}")
        return {}
    with storage(path, "read the run"):
        data = path.read_bytes()
    try:
        meta = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise StorageError(f"{path} is damaged: {error}; {_way_back(run)}") from error
    if not isinstance(meta, dict):
        raise StorageError(f"{path} is damaged: expected a mapping; {_way_back(run)}")
    mark = (kept or {}).get(KEY, meta.get(KEY))  # a journal that was copied back from run.h5 does not know
    meta = _unmarked(meta)
    kept = None if kept is None else _unmarked(kept)
    if kept is not None and json.dumps(meta) != json.dumps(kept):
        odd = [key for key in {**kept, **meta} if json.dumps(meta.get(key)) != json.dumps(kept.get(key))]
        raise StorageError(
            f"{path} is not what the run was started with: '{(odd or list(meta))[0]}' is not as the run's journal has "
            f"it; {_way_back(run)}"
        )
    return checked(_marked(meta, mark), path)


def _unmarked(meta: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in meta.items() if key != KEY}


def _marked(meta: Mapping[str, Any], mark: Any) -> dict[str, Any]:
    return {**meta, **({} if mark is None else {KEY: mark})}


def meta_of_journal(run: Path) -> dict[str, Any] | None:
    """Return the content of ``run.json`` as the run's journal has it, None if it has none, or no row in it.

    Raises:
        StorageError: the journal is damaged.
    """
    if not is_run(run):
        return None
    with Journal.open(run) as journal:
        row = next(journal.rows("meta"), None)
        if row is None:
            return None
        meta = journal.body(row)
        require_run(meta, run)
        marks = [{"utc": event.stamp.utc, **event.body} for event in journal.events(Pruned.kind)]
        return _marked({k: v for k, v in meta.items() if k not in _OF_JOURNAL}, marks[-1] if marks else None)


def require_run(meta: Mapping[str, Any], run: Path) -> None:
    """Raise StorageError if the journal in the folder of a run, which begins with `meta`, is not that of a run."""
    if "dies" not in meta:
        raise StorageError(
            f"{run / 'journal.db'} is the journal of die {meta.get('die', '')}, not of the run: it was copied over the "
            f"other; 'labctl verify {run}' says what the way back is"
        )


def known_meta(run: Path) -> dict[str, Any]:
    """Return the content of ``run.json`` as the run's journal has it, or from that file where there is no journal.

    Raises:
        StorageError: the journal, or in its place the file, is damaged or of another format.
    """
    kept = meta_of_journal(run)
    return run_meta(run) if kept is None else checked(kept, run / "journal.db")


def damage_of(run: Path) -> str:
    """Return what is wrong with the ``run.json`` of a run that is read from its journal alone, "" if nothing is.

    The journal has been read before, so that every problem is one of the file.
    """
    try:
        run_meta(run)
    except StorageError as error:
        return f"{error}; what was shown or written is from the run's journal"
    return ""


def text_of(meta: Mapping[str, Any]) -> str:
    """Return the text of ``run.json``."""
    return json.dumps(meta, indent=1)


def write_meta(run: Path, meta: Mapping[str, Any]) -> None:
    """Write ``run.json`` in place of what is there: whole, or not at all. Raises StorageError."""
    path, part = run / "run.json", run / "run.json.part"
    with storage(path, "write the run"):
        with part.open("wb") as file:
            file.write(text_of(meta).encode())
            file.flush()
            sync(file.fileno())
        os.replace(part, path)
        sync_folder(run)


def checked(meta: Mapping[str, Any], where: Path) -> dict[str, Any]:
    """Return the content of ``run.json`` as read from `where`; StorageError if it is of another format."""
    if (version := meta.get("format")) != FORMAT:
        made = dict(meta.get("versions") or {}).get("mtj-labctl", "")
        raise StorageError(
            f"{where} is of the format {version} of run folders, and this labctl reads {FORMAT}; open it with the "
            f"version that made it{f', {made}' if made else ''}"
        )
    return dict(meta)


def _way_back(run: Path) -> str:
    return f"the run's journal and every sealed die have a copy of it {_IN_DIE}, and {_written_again(run)}"


def refuse_nameless(run: Path) -> None:
    """Raise StorageError for a run of which neither ``run.json`` nor the journal is left, only its dies."""
    raise StorageError(
        f"{run / 'run.json'} is gone, and the run's journal too; every sealed die has a copy of "
        f"run.json {_IN_DIE}, and {_written_again(run)}"
    )


def _written_again(run: Path) -> str:
    return f"'labctl verify {run} --repair' writes it again from there"
