"""Check all files of a run against what was recorded of them, and say for each problem what the way back is.

Journals are compared row by row and array by array, sealed files with their seals and with the digests that the run's
journal has, ``run.json`` with the run's journal, inputs with the digests in it, reports with the digests in them. A run
may be going on meanwhile. Nothing is changed; `labctl.storage.repair` goes the way back.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from labctl.core.errors import LabError, StorageError
from labctl.files import digest
from labctl.storage.arrays import storage
from labctl.storage.hdf5_reader import SealedDie, journal_of_run_file
from labctl.storage.journal import Journal
from labctl.storage.journal_reader import EMPTY
from labctl.storage.manifest import checked, meta_of_journal, run_meta
from labctl.storage.no_run import no_run, require_open
from labctl.storage.pruned import KEY, journal_files, pruned_text
from labctl.storage.run_file import of_two_runs, refuse_other_run
from labctl.storage.run_log import RunState, folder_of, read_state
from labctl.storage.vouching import vouch, vouch_text

REPORTS = ("report.json", "report.html")
BEGAN = re.compile(r'<meta name="run-began" content="([0-9.]+)">')
"""Where a report page says when its run began, UTC in s since 1970."""


class Mend(StrEnum):
    """What can be made again, from what is whole, in the order in which it has to be."""

    JOURNAL = "the run's journal, from its copy in run.h5"
    MANIFEST = "run.json, from the run's journal or a sealed die"
    INPUT = "an input file, from a sealed die"
    SEAL = "a sealed file, from the journal of its die"
    RUN_FILE = "run.h5, from the sealed dies"
    REPORT = "the report, from the run folder"


@dataclass(frozen=True)
class Problem:
    """A file that is not as it was written.

    Args:
        path: relative to the run.
        text: what is wrong with it.
        way_back: how to come to what it held, for the operator.
        mend: what `--repair` does about it; None if nothing is whole to make it from, or nothing is needed.
    """

    path: str
    text: str
    way_back: str
    mend: Mend | None = None


@dataclass
class Verification:
    """What a run was found to be.

    Args:
        checked: number of files that were compared.
        bytes: of these.
        notes: what is no damage and worth knowing.
    """

    run: Path
    checked: int = 0
    bytes: int = 0
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether there is no problem."""
        return not self.problems


def verify_run(run: Path, progress: Callable[[str, int, int], None] = lambda path, n, of: None) -> Verification:
    """Return what is wrong with a run.

    Args:
        progress: called before each file with its path relative to the run, its number from 0, and how many there are.

    Raises:
        StorageError: there is no run there.
    """
    require_open(run)
    if not (run / "dies").is_dir():
        raise no_run(run)
    return _Check(run, progress).carry_out()


class _Check:
    """One verification under way."""

    def __init__(self, run: Path, progress: Callable[[str, int, int], None]) -> None:
        self.run, self.progress, self.found = run, progress, Verification(run)
        self.state: RunState | None = None
        self.meta: Mapping[str, Any] = {}

    def carry_out(self) -> Verification:
        steps: list[tuple[Path, Callable[[Path], None]]] = [
            (self.run / "journal.db", self._run_journal),
            (self.run / "run.json", self._manifest),
        ]
        folders = sorted({p.parent for p in self.run.glob("dies/*/journal.db")})
        sealed = sorted(self.run.glob("dies/*.h5"))
        inputs = sorted(p for p in (self.run / "files").rglob("*") if p.is_file())
        ends = [self.run / name for name in ("run.h5", *REPORTS)]
        number = len(steps) + len(folders) + len(sealed) + len(inputs) + len(ends)
        steps += [(folder / "journal.db", self._die_journal) for folder in folders]
        steps += [(path, self._sealed) for path in sealed]
        steps += [(path, self._input) for path in inputs]
        steps += [(ends[0], self._run_file), *((path, self._report) for path in ends[1:])]
        for n, (path, check) in enumerate(steps):
            self.progress(self._name(path), n, number)
            if path.is_file():
                self.found.checked += 1
                self.found.bytes += sum(p.stat().st_size for p in (path, *self._beside(path)))
            check(path)
        self._missing(set(sealed), set(inputs))
        self._pruned()
        self._leftovers()
        return self.found

    def _beside(self, path: Path) -> Iterator[Path]:
        yield from (path.parent / "arrays").glob("*.npy") if path.name == "journal.db" else ()

    def _name(self, path: Path) -> str:
        return path.relative_to(self.run).as_posix()

    def _problem(self, path: Path, error: object, way_back: str, mend: Mend | None = None) -> None:
        text = str(error).removeprefix(f"{path}: ").removeprefix(f"{path} ").partition("; ")[0]
        self.found.problems.append(Problem(self._name(path), text, way_back, mend))

    def _run_journal(self, path: Path) -> None:
        if not path.is_file():
            if self._by_hand():
                return
            self._problem(path, "is not there", *self._journal_way_back())
            return
        try:
            with Journal.open(self.run) as journal:
                journal.verify()
            self.state = read_state(self.run)
        except LabError as error:
            self._problem(path, error, *self._journal_way_back())

    def _by_hand(self) -> bool:
        """Return whether the run was made by hand: then it has no journal of its own."""
        try:
            return run_meta(self.run).get("kind") == "by hand"
        except LabError:
            return False

    def _journal_way_back(self) -> tuple[str, Mend | None]:
        try:
            journal_of_run_file(self.run / "run.h5")
        except LabError:
            return (
                "each sealed die opens by itself (labctl show RUN/dies/NAME.h5); take the journal from a backup",
                None,
            )
        return "run.h5 has a copy of it, as it was when the last session ended", Mend.JOURNAL

    def _manifest(self, path: Path) -> None:
        try:
            self.meta = run_meta(self.run)
            if not self.meta:
                raise StorageError(f"{path} is not there")
            return
        except LabError as error:
            problem = error
        if self.state is None and (self.run / "journal.db").is_file():  # which has its own problem: is this one whole?
            try:
                self.meta = checked(json.loads(path.read_bytes()), path)
                return
            except (OSError, ValueError, TypeError, AttributeError, LabError) as error:
                problem = error if isinstance(error, LabError) else StorageError(f"{path} is damaged: {error}")
        if of_two_runs(self._kept(), _content(path)):
            self.meta, way = {}, "one of the two was copied over the other; take the right one from a backup"
            self._problem(path, "is of another run than journal.db", way)
            return
        self.meta, source = manifest_again(self.run)
        if source:
            self._problem(path, problem, f"{source} has a copy of it", Mend.MANIFEST)
        else:
            self._problem(path, problem, "no whole copy of it is left in the run; take it from a backup")

    def _kept(self) -> Mapping[str, Any]:
        """Return what the run's journal begins with, {} if it is not whole."""
        return {} if self.state is None else self.state.meta

    def _die_journal(self, path: Path) -> None:
        folder = path.parent
        try:
            with Journal.open(folder, of=folder.name) as journal:
                journal.verify()
                _ = journal.meta
        except LabError as error:
            if str(error).endswith(EMPTY):
                self.found.notes.append(f"{self._name(path)}: {EMPTY}")
                return
            sealed = folder.with_name(f"{folder.name}.h5")
            if self._is_whole(sealed, folder.name):
                self._problem(path, error, f"dies/{sealed.name} has everything that it held; keep that file")
            else:
                self._problem(
                    path, error, "what it held is lost unless there is a backup; 'labctl resume' tries the die again"
                )

    def _is_whole(self, path: Path, name: str) -> bool:
        try:
            with SealedDie(path, self._digests().get(name, ""), name):
                return True
        except LabError:
            return False

    def _digests(self) -> dict[str, str]:
        dies = () if self.state is None else self.state.dies.values()
        return {folder_of(die.name, one.number): one.sha256 for die in dies for one in die.tries}

    def _sealed(self, path: Path) -> None:
        digests = self._digests()
        if self.state is not None and path.stem not in digests:
            way = "it was copied or renamed; move it away"
            self._problem(path, "belongs to no die of this run", way)
            return
        try:
            with SealedDie(path, digests.get(path.stem, ""), path.stem):
                pass
        except LabError as error:
            self._sealed_again(path, error)

    def _sealed_again(self, path: Path, error: object) -> None:
        folder = path.with_suffix("")
        try:
            with Journal.open(folder, of=folder.name) as journal:
                journal.verify()
                whole, other = journal.finished, of_two_runs(self._kept(), journal.meta)
        except LabError:
            why = self._dropped(folder.name)
            lost = f"its journal cannot make it again: {why}" if why else "its journal is gone or damaged too"
            self._problem(path, error, f"{lost}; take it from a backup")
            return
        if other:
            way = "its journal is of another run than journal.db: one was copied over the other; take it from a backup"
            self._problem(path, error, way)
        elif whole:
            self._problem(path, error, f"dies/{folder.name}/journal.db has everything that it held", Mend.SEAL)
        else:
            way = "its journal has everything, and the die has not been finished: 'labctl resume' goes on with it"
            self._problem(path, error, way)

    def _input(self, path: Path) -> None:
        name = path.relative_to(self.run / "files").as_posix()
        kept = self.meta.get("files", {}).get(name)
        if kept is None:
            if self.meta:
                self.found.notes.append(f"{self._name(path)} is not one of the files that the run was started with")
            return
        with storage(path, "read an input file"):
            if digest(path.read_bytes()) == kept["sha256"]:
                return
        self._input_again(path, name, kept["sha256"], "is not the file that the run was started with")

    def _input_again(self, path: Path, name: str, sha256: str, text: str) -> None:
        if input_again(self.run, name, sha256) is not None:
            self._problem(path, text, "a sealed die has a copy of it", Mend.INPUT)
        else:
            origin = self.meta["files"][name].get("path", "")
            self._problem(path, text, f"take it from a backup; it was {origin}, with the sha256 {sha256}")

    def _run_file(self, path: Path) -> None:
        if not path.is_file():
            if self.state is not None and self.state.exit_code is not None:
                self._problem(
                    path, "is not there, and the run has ended", "it is made of the sealed dies", Mend.RUN_FILE
                )
            return
        try:
            vouch(path)
            refuse_other_run(path, self._kept())
        except LabError as error:
            self._problem(path, error, "it is made of the sealed dies", Mend.RUN_FILE)

    def _report(self, path: Path) -> None:
        if not path.is_file():
            return
        try:
            vouch_text(path)
            self._refuse_other_report(path)
        except LabError as error:
            self._problem(path, error, "it is made of the run folder", Mend.REPORT)

    def _refuse_other_report(self, path: Path) -> None:
        """Raise StorageError if a whole report is that of another run: each says when its run began."""
        if self.state is None:
            return
        if path.suffix == ".json":
            began = _content(path).get("since")
        else:
            with storage(path, "read the file"):
                mark = BEGAN.search(path.read_text(encoding="utf-8"))
            began = float(mark[1]) if mark else None
        if began not in (None, self.state.since):
            raise StorageError(f"{path} is of another run than journal.db: it was copied here")

    def _missing(self, sealed: set[Path], inputs: set[Path]) -> None:
        """Add the files that were recorded and are not there."""
        for name, kept in self.meta.get("files", {}).items():
            if (path := self.run / "files" / name) not in inputs:
                self._input_again(path, name, kept["sha256"], "is gone")
        for name, sha256 in self._digests().items():
            path = self.run / "dies" / f"{name}.h5"
            if sha256 and path not in sealed:
                self._sealed_again(path, "is gone")
            folder = self.run / "dies" / name
            gone = not (folder / "journal.db").is_file() and not self._dropped(name)
            if sha256 and folder.with_suffix(".h5") in sealed and gone:
                self._problem(folder / "journal.db", "is gone", f"dies/{name}.h5 has everything that it held; keep it")

    def _dropped(self, name: str) -> str:
        """Return that the journal of a try was dropped on purpose, and when; "" if it was not."""
        mark = self.meta.get(KEY) or {}
        return pruned_text(mark) if name in mark.get("dies", ()) else ""

    def _pruned(self) -> None:
        """Note that the run was pruned, and whether that was broken off."""
        if not (mark := self.meta.get(KEY)):
            return
        names = mark.get("dies", ())
        when = pruned_text(mark).removeprefix("'labctl prune' dropped it ")
        self.found.notes.append(f"pruned {when}: the sealed files of {', '.join(names)} are all there is of them")
        left = [name for name in names if journal_files(self.run / "dies" / name)]
        if left:
            finish = f"'labctl prune {self.run} --yes' finishes it"
            self.found.notes.append(f"the pruning was broken off before {', '.join(left)}; {finish}")

    def _leftovers(self) -> None:
        parts = [self._name(p) for pattern in ("*.part", "dies/*.part") for p in sorted(self.run.glob(pattern))]
        if parts:
            self.found.notes.append(f"left by a process that was ended, and in nobody's way: {', '.join(parts)}")
        if (n := sum(1 for _ in self.run.glob("quarantine/*"))) > 0:
            self.found.notes.append(f"in the way, and kept in quarantine/: {n} {'file' if n == 1 else 'files'}")
        unsealed = (
            [] if self.state is None else [d.name for d in self.state.dies.values() if d.last and not d.last.sha256]
        )
        if unsealed:
            self.found.notes.append(f"not sealed, so their journals are all there is: {', '.join(unsealed)}")


def manifest_again(run: Path) -> tuple[dict[str, Any], str]:
    """Return the content of a ``run.json`` that cannot be read, and which file has it; ({}, "") if none has."""
    try:
        if (kept := meta_of_journal(run)) is not None:
            return checked(kept, run / "journal.db"), "journal.db"
    except LabError:
        pass
    for path in sorted(run.glob("dies/*.h5")):
        try:
            with SealedDie(path) as die:
                return checked(die.run_meta, path), f"dies/{path.name}"
        except LabError:
            continue
    return {}, ""


def input_again(run: Path, name: str, sha256: str) -> bytes | None:
    """Return the bytes of an input file that are in a sealed die of the run; None if none has them."""
    for path in sorted(run.glob("dies/*.h5")):
        try:
            with SealedDie(path) as die:
                data = die.input_file(name)
        except LabError:
            continue
        if data is not None and digest(data) == sha256:
            return data
    return None


def _content(path: Path) -> Mapping[str, Any]:
    """Return the content of a JSON file, {} if it is damaged or gone."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
