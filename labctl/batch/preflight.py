"""Check before a run and between its dies that the disk has the space for it and keeps what is written.

HDF5 on a full disk crashes the interpreter, so a disk must never be full: a run starts with three times the space that
it is predicted to take, a die with three times that of the die. A ballast file in the run's folder is removed when
another program has filled the disk, so that the measurements are still journalled, sealed and reported.
"""

import math
import os
import shutil
import tempfile
from pathlib import Path

from rich.filesize import decimal

from labctl.core.errors import BenchError, StorageError
from labctl.storage.arrays import storage, sync, sync_folder
from labctl.storage.filesystem import check_place

TIMES = 3
"""Required free space, in multiples of the prediction: journal, sealed file, and reserve."""
BALLAST = "ballast"
_LEAST = 32 << 20
_SHARE = 0.05
_BLOCK = 1 << 20


def preflight(folder: Path, estimate: int, *, accept_place: bool = False) -> tuple[str, ...]:
    """Refuse a `folder`, which need not exist yet, in which a run would not be safe; leave nothing behind.

    Args:
        estimate: bytes that the run is predicted to write.
        accept_place: remark on network file systems and synchronised folders instead of refusing them.

    Returns:
        remarks for the run's journal; usually none.

    Raises:
        BenchError: the place is not suited, has too little space, or does not keep what is written.
    """
    remarks = check_place(folder, accept=accept_place)
    existing = _existing(folder)
    free, needed = _free(existing), TIMES * estimate + ballast_size(estimate)
    if free < needed:
        raise BenchError(
            f"{folder}: {decimal(free)} are free and {decimal(needed)} are needed, {TIMES} times the "
            f"{decimal(estimate)} that the run is predicted to take, and {decimal(ballast_size(estimate))} of ballast; "
            "free some space, or name another folder with --out"
        )
    _probe(existing)
    return remarks


def enough(folder: Path, next_dies: int) -> None:
    """Refuse to begin dies that the disk may not take, before anything is energised.

    Args:
        next_dies: predicted bytes of the next die, or of the next ones together.

    Raises:
        StorageError: less than three times that space is free beside the ballast.
    """
    with storage(folder, "ask for the free space"):
        free = _free(folder)
    if free < TIMES * next_dies:
        raise StorageError(
            f"{folder}: {decimal(free)} are free, and {decimal(TIMES * next_dies)} are needed before the next die, "
            f"{TIMES} times what it is predicted to take; free some space, then: labctl resume {folder}"
        )


def keeps(folder: Path, next_die: int) -> None:
    """Refuse a folder that does not keep what is written to it, or may not take `next_die` bytes.

    Raises:
        StorageError: there is less than three times that space.
        BenchError: a file cannot be written, renamed and read back.
    """
    enough(folder, next_die)
    _probe(folder)


def ballast_size(estimate: int) -> int:
    """Return the bytes of ballast of a run that is predicted to take `estimate` bytes."""
    return max(_LEAST, math.ceil(_SHARE * estimate))


class Ballast:
    """A file in the folder of a run that takes space only to give it back when the disk is full.

    Args:
        estimate: bytes that the run is predicted to take.
    """

    def __init__(self, folder: Path, estimate: int) -> None:
        self.path, self.size = folder / BALLAST, ballast_size(estimate)

    def fill(self) -> None:
        """Write the ballast; one that an earlier process left is used. Raises StorageError."""
        with storage(self.path, "reserve space"):
            if self.path.exists() and self.path.stat().st_size >= self.size:
                return
            # written, with incompressible data: some file systems reserve space without keeping it
            block = os.urandom(_BLOCK)
            try:
                with self.path.open("wb") as file:
                    for start in range(0, self.size, _BLOCK):
                        file.write(block[: self.size - start])
                    file.flush()
                    sync(file.fileno())
            except OSError:
                self.release()
                raise

    def release(self) -> int:
        """Remove the ballast and return the bytes freed; never raises, and may be called twice."""
        try:
            size = self.path.stat().st_size
            self.path.unlink()
            sync_folder(self.path.parent)
        except OSError:
            return 0
        return size


def _existing(folder: Path) -> Path:
    """Return `folder`, or the nearest folder above it that exists."""
    return next(f for f in (folder.absolute(), *folder.absolute().parents) if f.is_dir())


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _probe(folder: Path) -> None:
    """Write, sync, rename, read back and remove a file; BenchError if any of it fails."""
    data = os.urandom(1 << 16)
    try:
        with tempfile.TemporaryDirectory(prefix=".labctl-probe-", dir=folder) as scratch:
            part, whole = Path(scratch, "probe.part"), Path(scratch, "probe")
            with part.open("xb") as file:
                file.write(data)
                file.flush()
                sync(file.fileno())
            os.replace(part, whole)
            sync_folder(Path(scratch))
            kept = whole.read_bytes() == data
    except OSError as error:
        raise BenchError(f"{folder} does not keep what is written to it: {error.strerror or error}") from error
    if not kept:
        raise BenchError(f"{folder} does not keep what is written to it: a file read back is not what was written")
