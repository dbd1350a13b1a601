"""Rights of what is written into a folder: those of the folder, whatever the umask of who writes.

A run folder is made for its owner alone, because it holds what was measured and what processes go on with. Its owner
may share it afterwards: what is written into it from then on is shared in the same way.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labctl.storage.arrays import storage

OWNER = 0o700


def make_private(folder: Path) -> None:
    """Make `folder`, or take it as it is if it is there, and let nobody but its owner into it. Raises OSError."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=OWNER, exist_ok=True)
    folder.chmod(OWNER)


@contextmanager
def rights_of(folder: Path) -> Iterator[None]:
    """Give what this process and those it starts make in the block the rights of `folder`, less execution of files.

    Raises:
        StorageError: the folder is not there.
    """
    with storage(folder, "look at the rights"):
        mode = stat.S_IMODE(folder.stat().st_mode)
    before = os.umask(0o777 & ~mode)
    try:
        yield
    finally:
        os.umask(before)
