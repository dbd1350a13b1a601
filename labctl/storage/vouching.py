"""Who vouches for a sealed file: a seal behind its last byte, and the digest that the run's journal recorded of it.

A file that was damaged, edited, renamed or copied over another gives no number. It is compared whole before the HDF5
library sees it, because that library takes what stands in a file for true, and once per process, because it does not
change. The seal makes a file that was sent away vouch for itself; HDF5 reads no further than its own end.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labctl.core.errors import StorageError
from labctl.storage.arrays import storage, sync
from labctl.storage.pruned import dropped

FORMAT = 1
"""Version of sealed files. Files before it had none, and no seal."""
_SEAL = re.compile(rb"\nseal of mtj-labctl, sha256 ([0-9a-f]{64})\n")
_LENGTH = len("\nseal of mtj-labctl, sha256 ") + 64 + 1
_CHUNK = 1 << 20
_BACKUP = "; take it from a backup"

_vouched: dict[tuple[str, int, int, int], str] = {}
"""The sha256 of files whose seal was compared by this process, by path, inode, size and time of change."""


def put_seal(path: Path) -> None:
    """Append the seal to a closed file that has none; it is on the disk when this returns. Raises StorageError."""
    with storage(path, "seal the file"), path.open("r+b") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0, os.SEEK_END)
        file.write(f"\nseal of mtj-labctl, sha256 {digest}\n".encode())
        file.flush()
        sync(file.fileno())


def vouch(path: Path) -> str:
    """Return the sha256 of a file that is as it was sealed. Raises StorageError if it is not."""
    with storage(path, "read the file"):
        status = path.stat()
        key = os.path.realpath(path), status.st_ino, status.st_size, status.st_mtime_ns
        if key not in _vouched:
            _vouched[key] = _compared(path)
    return _vouched[key]


def has_seal(path: Path) -> bool:
    """Return whether a file ends with a seal, that of its bytes or another; OSError if it cannot be read."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _LENGTH))
        return _SEAL.fullmatch(file.read()) is not None


def refuse_unrecorded(path: Path, digest: str, recorded: str) -> None:
    """Raise StorageError if the sha256 of a file is not the one that the run's journal has of it, unless that is ""."""
    if recorded and digest != recorded:
        raise StorageError(
            f"{path} is not the file that was sealed here: its sha256 is {digest[:16]}..., the run's journal recorded "
            f"{recorded[:16]}...; {way_back(path)}"
        )


def _compared(path: Path) -> str:
    """Return the sha256 of a file whose seal belongs to it."""
    with path.open("rb") as file:
        rest = max(0, file.seek(0, os.SEEK_END) - _LENGTH)
        file.seek(0)
        digest = hashlib.sha256()
        while rest and (data := file.read(min(rest, _CHUNK))):
            digest.update(data)
            rest -= len(data)
        seal = file.read()
    mark = _SEAL.fullmatch(seal)
    if mark is None:
        raise StorageError(f"{path} has no seal: it is cut off, damaged, or of another version; {way_back(path)}")
    if mark[1].decode() != digest.hexdigest():
        raise StorageError(f"{path} is not as it was sealed: damaged, or changed since; {way_back(path)}")
    digest.update(seal)
    return digest.hexdigest()


def way_back(path: Path) -> str:
    """Return how to come to what a sealed file held, for the operator."""
    journal = path.with_suffix("") / "journal.db"
    if journal.is_file():
        run = (path if path.parent.name else path.absolute()).parent.parent
        return f"the journal {journal} has everything, and 'labctl verify {run} --repair' seals it again from there"
    if path.name == "run.h5":
        return f"'labctl verify {path.parent} --repair' writes it again"
    folder = path.absolute().parent
    if folder.name == "dies":
        why = dropped(folder.parent, path.stem)
        return f"its journal cannot make it again: {why}" + _BACKUP if why else f"its journal is gone too{_BACKUP}"
    return "its journal, in the folder of its run, has everything; take the file from there or from a backup"


def journal_way_back(path: Path) -> str:
    """Return what to do about a damaged journal, for the operator."""
    parents = path.parents
    run = parents[2] if len(parents) > 2 and parents[1].name == "dies" else parents[0]
    return f"leave it as it is; 'labctl verify {run}' says what the way back is"


def sealed_json(content: Mapping[str, Any]) -> str:
    """Return `content` as the text of a JSON file whose last key, `sha256`, is the digest of that text without it.

    Raises:
        ValueError: a number is none.
    """
    return _json({**content, "sha256": hashlib.sha256(_json(content).encode(errors="surrogatepass")).hexdigest()})


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def sealed_page(text: str) -> str:
    """Return the text of a page with a comment behind it, which holds the digest of what stands before."""
    return f"{text}<!-- sha256 {hashlib.sha256(text.encode()).hexdigest()} -->\n"


def vouch_text(path: Path) -> None:
    """Compare a file that `sealed_json` or `sealed_page` made with the digest in it. Raises StorageError."""
    with storage(path, "read the file"):
        data = path.read_bytes()
    try:
        text = data.decode("utf-8")
        if path.suffix == ".json":
            content = json.loads(text)
            whole = sealed_json({key: value for key, value in content.items() if key != "sha256"}) == _json(content)
        else:
            before, _, seal = text.rpartition("<!-- sha256 ")
            whole = bool(seal) and sealed_page(before) == text
    except (ValueError, AttributeError, RecursionError):
        whole = False
    if not whole:
        raise StorageError(f"{path} is not as it was written: damaged, or changed since")
