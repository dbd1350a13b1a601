"""Files as they were on the disk: their bytes, not their decoded text, and one way to hash them."""

import hashlib
from pathlib import Path


def digest(raw: bytes) -> str:
    """Return the sha256 of the bytes of a file, as a run stores it."""
    return hashlib.sha256(raw).hexdigest()


def keep(copy: Path, original: Path, raw: bytes) -> dict[str, str]:
    """Write the bytes of a file that was read into a run folder; return its entry in ``run.json``.

    Raises:
        OSError: the copy cannot be written.
    """
    copy.write_bytes(raw)
    return {"path": str(original), "sha256": digest(raw)}
