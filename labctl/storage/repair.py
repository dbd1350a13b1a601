"""Make again what of a run is damaged or gone, from what is whole. What was damaged goes to ``RUN/quarantine``."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from labctl.core.errors import LabError, StorageError
from labctl.core.events import SealedAgain
from labctl.storage.arrays import quarantine, storage, sync, sync_folder
from labctl.storage.hdf5_reader import journal_of_run_file
from labctl.storage.journal import Journal
from labctl.storage.manifest import run_meta, text_of
from labctl.storage.private import rights_of
from labctl.storage.run_log import Runlog, folder_of, read_state, recorded_digests
from labctl.storage.sealing import seal_in_subprocess, write_run_file_in_subprocess
from labctl.storage.verification import Mend, Problem, input_again, manifest_again


def repair(run: Path, problems: Iterable[Problem], write_report: Callable[[Path], object]) -> list[str]:
    """Go the way back of every problem that has one; return what could not be mended and why, in words.

    The caller holds the run's lock.

    Args:
        write_report: writes the report of a run.
    """
    failed = []
    order = list(Mend)
    mendable = sorted((p for p in problems if p.mend is not None), key=lambda p: order.index(p.mend or Mend.REPORT))
    for problem in mendable:
        path = run / problem.path
        try:
            with rights_of(run):
                match problem.mend:
                    case Mend.JOURNAL:
                        _journal_again(run)
                    case Mend.MANIFEST:
                        _replace(run, path, text_of(manifest_again(run)[0]).encode())
                    case Mend.INPUT:
                        _input_again(run, path)
                    case Mend.SEAL:
                        _seal_again(run, path.stem)
                    case Mend.RUN_FILE:
                        _away(run, path)
                        write_run_file_in_subprocess(run)
                    case _:
                        write_report(run)
        except LabError as error:
            failed.append(f"{problem.path} was not mended: {error}")
    return failed


def _away(run: Path, *paths: Path) -> None:
    for path in paths:
        if path.exists():
            quarantine(run, path)


def _replace(run: Path, path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all; what is there goes to quarantine."""
    part = path.with_name(f"{path.name}.part")
    with storage(path, "write the file"), part.open("wb") as file:
        file.write(data)
        file.flush()
        sync(file.fileno())
    _away(run, path)
    with storage(path, "write the file"):
        os.replace(part, path)
        sync_folder(path.parent)


def _journal_again(run: Path) -> None:
    """Put the copy of the run's journal in place, unless dies have been sealed or begun since it was made."""
    path, data = run / "journal.db", journal_of_run_file(run / "run.h5")
    trial = run / "journal.part"
    trial.mkdir(exist_ok=True)
    try:
        with storage(trial, "write the file"):
            (trial / "journal.db").write_bytes(data)
        with Journal.open(trial) as journal:
            journal.verify()
        known = {folder_of(die.name, one.number) for die in read_state(trial).dies.values() for one in die.tries}
    finally:
        for file in trial.iterdir():
            file.unlink()
        trial.rmdir()
    begun = {p.parent.name for p in run.glob("dies/*/journal.db")} | {p.stem for p in run.glob("dies/*.h5")}
    if later := sorted(begun - known):
        raise StorageError(
            f"the copy in run.h5 is older than {', '.join(later)}: it was made before they were begun; take the "
            "journal from a backup"
        )
    _away(run, *(run / f"journal.db{end}" for end in ("-wal", "-shm", "-journal")))
    _replace(run, path, data)


def _input_again(run: Path, path: Path) -> None:
    name = path.relative_to(run / "files").as_posix()
    data = input_again(run, name, run_meta(run)["files"][name]["sha256"])
    if data is None:
        raise StorageError("no sealed die has a copy of it any more")
    _replace(run, path, data)


def _seal_again(run: Path, name: str) -> None:
    """Seal a die again from its journal, and record the digest of the new file where it is another."""
    _away(run, run / "dies" / f"{name}.h5")
    sha256 = seal_in_subprocess(run, name)
    if recorded_digests(run).get(name, sha256) == sha256:
        return
    die, _, number = name.partition("~")
    with Runlog.open(run) as log:
        log.write(SealedAgain(die=die, sha256=sha256, try_no=int(number or 1)))
        log.finish()
