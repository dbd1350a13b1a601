"""A folder of runs: one that goes on, and others that were killed, have ended, or are damaged."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labctl.storage.locks import hold


@pytest.fixture
def runs(night: Callable[[str], Path], tmp_path: Path) -> Iterator[Path]:
    """Runs "going", "killed", "ended" and "damaged"; somebody carries the first one out."""
    folder = tmp_path / "runs"
    for name, until in (("going", "kill"), ("killed", "kill"), ("ended", "end"), ("damaged", "end")):
        shutil.copytree(night(until), folder / name)
    journal = bytearray((folder / "damaged" / "journal.db").read_bytes())
    at = journal.find(b"the golden die has drifted")
    journal[at] ^= 1
    (folder / "damaged" / "journal.db").write_bytes(journal)
    with hold(folder / "going", "labctl run night.yaml"):
        yield folder
