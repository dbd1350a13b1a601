"""``run.json``: the first thing in a run folder, which says what the run is. Written once, read here."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labctl.core.errors import StorageError
from labctl.storage.arrays import storage

FORMAT = 2
"""Version of run folders. 1 named weights and data for the whole campaign."""


def run_meta(run: Path) -> dict[str, Any]:
    """Return the content of ``run.json``, {} if there is none.

    Raises:
        StorageError: it is damaged, or of another format.
    """
    path = run / "run.json"
    if not path.is_file():
        return {}
    with storage(path, "read the run"):
        text = path.read_text(encoding="utf-8")
    try:
        meta = json.loads(text)
    except ValueError as error:
        raise StorageError(f"{path} is damaged: {error}; {_COPY}") from error
    if not isinstance(meta, dict):
        raise StorageError(f"{path} is damaged: expected a mapping; {_COPY}")
    return checked(meta, path)


def checked(meta: Mapping[str, Any], where: Path) -> dict[str, Any]:
    """Return the content of ``run.json`` as read from `where`; StorageError if it is of another format."""
    if (version := meta.get("format")) != FORMAT:
        made = dict(meta.get("versions") or {}).get("mtj-labctl", "")
        raise StorageError(
            f"{where} is of the format {version} of run folders, and this labctl reads {FORMAT}; open it with the "
            f"version that made it{f', {made}' if made else ''}"
        )
    return dict(meta)


_COPY = "every sealed die has a copy of it, in the group entry/provenance/run of its HDF5 file"
