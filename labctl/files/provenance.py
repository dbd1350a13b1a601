"""Files as they were on the disk: their bytes, not their decoded text, and one way to hash them."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from labctl.core.names import called_after


def digest(raw: bytes) -> str:
    """Return the sha256 of the bytes of a file, as a run stores it."""
    return hashlib.sha256(raw).hexdigest()


def names_of(files: Mapping[Path, bytes]) -> dict[Path, str]:
    """Return the name that the copy of each file has in a run folder, by the path of the file."""
    return {path: f"{number:02d}-{called_after(path.name)}" for number, path in enumerate(files)}


def keep(folder: Path, files: Mapping[Path, bytes]) -> None:
    """Write the bytes of files that were read into `folder`; OSError if a copy cannot be written."""
    for path, name in names_of(files).items():
        (folder / name).write_bytes(files[path])
