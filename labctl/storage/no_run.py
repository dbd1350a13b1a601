"""What is at a path where a run was expected, in words."""

import os
from contextlib import suppress
from pathlib import Path

from labctl.core.errors import LabError, NotThereError, StorageError
from labctl.core.known_files import HDF5, what_is
from labctl.storage.journal import Journal
from labctl.storage.pruned import is_pruned
from labctl.storage.vouching import has_seal

FOLDER = "a run folder"
_HEAD = 1 << 20
_CREATOR = b"mtj-labctl"
"""Stands in every HDF5 file that this suite has written, near its beginning."""


def no_run(path: Path, expected: str = FOLDER) -> NotThereError:
    """Return the error for a path at which there is no run, with what is there instead."""
    try:
        there = _what(path)
    except OSError as error:
        there = f"it cannot be read: {error.strerror or error}"
    return NotThereError(f"{path}: there is no run here; expected {expected}; {there}")


def require_open(path: Path) -> None:
    """Raise StorageError if a folder of a run, or that of its dies, is there and lets this user not look into it.

    Searches for files leave out what they may not see, and a run would look as if it had no dies.
    """
    for folder in (path, path / "dies"):
        try:
            with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
                next(entries, None)
                os.stat(folder / ".")
        except OSError as error:
            raise StorageError(
                f"{folder} may not be looked into: {error.strerror or error}; expected a folder that this user may "
                "read: its owner can open it"
            ) from error


def require_run_with_dies(run: Path) -> list[Path]:
    """Return the folders of the journals of dies in a run.

    Raises:
        NotThereError: there is no run there, or none of its dies was begun.
        StorageError: it may not be looked into, or its journals were dropped.
    """
    require_open(run)
    if folders := sorted(p.parent for p in (run / "dies").glob("*/journal.db")):
        return folders
    if is_pruned(run):
        raise StorageError(f"{run} was pruned; what its journals held of stress was entered in the ledger before that")
    raise (
        NotThereError(f"{run}: no die was begun here; expected a run folder with journals of dies")
        if (run / "run.json").is_file()
        else no_run(run)
    )


def is_run(path: Path) -> bool:
    """Return whether a folder has the journal of a run, and not that of a die.

    Raises:
        StorageError: the folder may not be looked into, or the journal is damaged.
    """
    require_open(path)
    if not (path / "journal.db").is_file():
        return False
    if (path / "dies").is_dir() or (path / "run.json").is_file():
        return True
    with Journal.open(path) as journal:
        return "dies" in journal.meta


def is_ours(path: Path) -> bool:
    """Return whether a file is HDF5 that this suite has written, whole or damaged; OSError if it cannot be read."""
    if has_seal(path):
        return True
    with path.open("rb") as file:
        head = file.read(_HEAD)
    return head.startswith(HDF5) and _CREATOR in head


def _what(path: Path) -> str:
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        return "it is no regular file" if path.exists() else "no such file or folder"
    if (run := _run_around(path)) is not None:
        return f"it is a file of the run {run}"
    if is_ours(path):
        return f"it is {_sealed(path)}"
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head.startswith(HDF5):
        return "it is an HDF5 file that labctl has not written, or only the beginning of one"
    return f"it is {what_is(head) or ('an empty file' if not head else 'a file of an unknown kind')}"


def _folder(path: Path) -> str:
    if (run := _run_around(path)) is not None:
        return f"it is a folder of the run {run}"
    if (path / "journal.db").is_file():
        return "it is the journal of a die"
    if (path / "run.json").is_file():
        if _by_hand(path / "run.json"):
            return "it is a session by hand or in Python, which has no figures; labctl show and labctl.open_run read it"
        return "it has a run.json, and the journal of the run is gone (journal.db)"
    runs = [one for one in sorted(path.iterdir())[:1000] if (one / "run.json").is_file()]
    if runs:
        names = ", ".join(one.name for one in runs[:3]) + (", ..." if len(runs) > 3 else "")
        return f"it is a folder of {len(runs)} run{'s' if len(runs) > 1 else ''}: {names}"
    return "it is a folder without one" if any(path.iterdir()) else "it is an empty folder"


def _by_hand(path: Path) -> bool:
    """Return whether a run.json, whole or not, is that of a session without procedures."""
    try:
        with path.open("rb") as file:
            return b'"kind": "by hand"' in file.read(_HEAD)
    except OSError:
        return False


def _run_around(path: Path) -> Path | None:
    """Return the folder of the run that a path lies in, None if there is none within three levels."""
    for folder in path.absolute().parents[:3]:
        if (folder / "run.json").is_file() and (folder / "dies").is_dir():
            return folder
    return None


def _sealed(path: Path) -> str:
    """Return what a file of this suite is."""
    # imported here: HDF5 takes a while, and nobody else needs it for an error
    from labctl.storage.hdf5_reader import sealed_as

    try:
        return sealed_as(path)
    except LabError:
        return "an HDF5 file of labctl that is cut off or damaged"
