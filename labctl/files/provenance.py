"""Files as they were on the disk: bytes, not the text that somebody read in them, and one way to hash them."""

import hashlib
from pathlib import Path


def digest(raw: bytes) -> str:
    """Return the sha256 of the bytes of a file, as a run writes it down and as whoever compares finds it."""
    return hashlib.sha256(raw).hexdigest()


def keep(copy: Path, original: Path, raw: bytes) -> dict[str, str]:
    """Write the bytes of a file that was read into a run folder; return what ``run.json`` says of it.

    Raises:
        OSError: the copy cannot be written.
    """
    copy.write_bytes(raw)
    return {"path": str(original), "sha256": digest(raw)}
