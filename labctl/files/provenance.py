"""Files as they were on the disk: their bytes, not their decoded text, and one way to hash them."""

import hashlib
from collections.abc import Mapping
from pathlib import Path


def digest(raw: bytes) -> str:
    """Return the sha256 of the bytes of a file, as a run stores it."""
    return hashlib.sha256(raw).hexdigest()


def keep(folder: Path, files: Mapping[Path, bytes]) -> dict[str, dict[str, str]]:
    """Write the bytes of files that were read into `folder`; return name, path and digest of each for ``run.json``.

    Raises:
        OSError: a copy cannot be written.
    """
    kept = {}
    for number, (path, raw) in enumerate(files.items()):
        name = f"{number:02d}-{path.name}"
        (folder / name).write_bytes(raw)
        kept[name] = {"path": str(path), "sha256": digest(raw)}
    return kept
