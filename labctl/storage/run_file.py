"""The ``run.h5`` of a run folder: is it the one of this run?"""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from labctl.core.errors import StorageError
from labctl.storage.arrays import storage
from labctl.storage.journal import Journal
from labctl.storage.vouching import vouch, way_back


def require_run_file(run: Path) -> None:
    """Compare the ``run.h5`` of a run folder with its seal, and its copy of the run's journal with the journal there.

    Raises:
        StorageError: it is damaged, or is that of another run; or the journal is damaged.
    """
    path = run / "run.h5"
    vouch(path)
    if (run / "journal.db").is_file():
        with Journal.open(run) as journal:
            refuse_other_run(path, journal.meta)


def refuse_other_run(path: Path, kept: Mapping[str, Any]) -> None:
    """Raise StorageError if a whole ``run.h5`` has the journal of another run than the one that begins with `kept`.

    One that has no journal, as that of work by hand, is of nobody's run and passes.
    """
    # imported here: HDF5 takes a while
    from labctl.storage.hdf5_reader import has_journal, journal_of_run_file

    if not has_journal(path):
        return
    with TemporaryDirectory(prefix="mtj-labctl-") as folder:
        copy = Path(folder) / "journal.db"
        with storage(copy, "write the file"):
            copy.write_bytes(journal_of_run_file(path))
        with Journal.open(Path(folder)) as journal:
            other = of_two_runs(kept, journal.meta)
    if other:
        raise StorageError(f"{path} is of another run than journal.db: it was copied here; {way_back(path)}")


def of_two_runs(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two began at other moments by both clocks; damage to one number changes one clock alone."""
    return all(key in one and key in other and one[key] != other[key] for key in ("utc", "monotonic"))
