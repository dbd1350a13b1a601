"""What says of a run that `labctl prune` dropped its journals: the key `pruned` of ``run.json``.

The run's journal has the same as its event `Pruned`, and is asked by `labctl.storage.manifest`. Messages about a file
that is damaged or gone ask ``run.json`` alone, because they must not fail in turn.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

KEY = "pruned"
_FILES = ("journal.db", "journal.db-wal", "journal.db-shm", "journal.db-journal", "lock", "sealing-lock")
"""Files of a try's folder beside its arrays, in the order in which they go."""


def journal_files(folder: Path) -> list[Path]:
    """Return the files of the journal in a try's folder that are there, in the order in which they go.

    What else lies there, such as a file of the desktop or of a file server, is not the journal's and stays.
    """
    arrays = sorted(path for path in (folder / "arrays").glob("*") if path.suffix in (".npy", ".part"))
    return [path for path in (*(folder / name for name in _FILES), *arrays) if path.is_file()]


def pruned_text(mark: Mapping[str, Any]) -> str:
    """Return when a run was pruned, for the operator; "" without a mark.

    >>> pruned_text({}), pruned_text({"utc": 1e6})[:37]
    ('', "'labctl prune' dropped it on 1970-01-")
    """
    try:
        return f"'labctl prune' dropped it on {time.strftime('%Y-%m-%d', time.localtime(float(mark['utc'])))}"
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return ""


def dropped(run: Path, name: str) -> str:
    """Return that the journal of a try was dropped, and when; "" if it was not, or nothing says so.

    Args:
        name: of the try, as the folder of its journal was called.
    """
    try:
        mark = _mark(run)
        return pruned_text(mark) if name in mark["dies"] else ""
    except (KeyError, TypeError):
        return ""


def is_pruned(run: Path) -> bool:
    """Return whether ``run.json`` says that the run was pruned."""
    return bool(_mark(run))


def _mark(run: Path) -> Any:
    """Return the mark in ``run.json``, {} if there is none, or nothing says so."""
    try:
        return json.loads((run / "run.json").read_bytes()).get(KEY, {})
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}
