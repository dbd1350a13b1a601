"""The runs in a folder: which there are, and where each stands in one line."""

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from labctl.config.bins import is_good, is_measured
from labctl.core.die_state import FINAL, State
from labctl.core.errors import LabError, StorageError
from labctl.report import event_text
from labctl.report.bench_state import bench_text
from labctl.report.pace import Pace
from labctl.report.run_folder import left_out, read_run, who
from labctl.storage.event_rows import RunRow
from labctl.storage.run_log import RunState

MOST = 1000
"""Runs that are listed, the newest first."""
_SHARE = 0.003
"""Of one processor, that reading the list anew may take; as much again: runs that lie still and have not ended."""
_LEAST = 2.0
"""Shortest time between two looks at all runs, s."""
_SUFFIXES = ("", "-wal")


@dataclass(frozen=True)
class Listed:
    """One run of the list.

    Args:
        id: its name in addresses, the name of its folder.
        since, until: UTC in s of its first row and of its newest; of a run that cannot be read, of its file.
        problem: why it cannot be read, "" if it can.
    """

    id: str
    name: str
    title: str
    body: str
    text: str
    alive: str
    exit_code: int | None
    done: int
    good: int
    measured: int
    total: int
    since: float
    until: float
    problem: str = ""


@dataclass
class _Known:
    """A run as it was read; with its rows if more may come, or what is said of it may change without any.

    What is said of a bench depends on locks and on its latch too, which are no files of the run.
    """

    stamp: tuple[object, ...]
    listed: Listed
    state: RunState | None = None
    rows: list[RunRow] | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing is new of it before its journal is."""
        return self.listed.exit_code is not None and not self.listed.problem


class RunList:
    """The runs in `root`, which is a folder of run folders, or one run folder, for any number of people who look."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._known: dict[str, _Known] = {}
        self._paths: dict[str, Path] = {}
        self._listed: tuple[Listed, ...] | None = None
        self._lock = threading.Lock()
        self._pace, self._again = Pace(_SHARE, _LEAST), Pace(_SHARE, _LEAST)

    @property
    def single(self) -> str:
        """The name of the run if the folder is one itself, "" otherwise."""
        return _as_text(self.root.resolve().name) if _is_run(self.root) else ""

    def folder(self, id_: str) -> Path | None:
        """Return the folder of a run by its name in addresses, None if there is no such run; no path is made of it."""
        if (known := self._paths.get(id_)) is None or not _is_run(known):
            self._paths = dict(self._folders())
        return self._paths.get(id_)

    def runs(self) -> tuple[Listed, ...]:
        """Return the runs, those that go on first, then the newest; while somebody else looks, the list of before.

        Raises:
            StorageError: the folder cannot be read.
        """
        last = self._listed
        if last is not None and not self._pace.due:
            return last
        if not self._lock.acquire(blocking=last is None):
            assert last is not None
            return last
        try:
            if self._listed is None or self._pace.due:
                with self._pace.work():
                    self._listed = tuple(sorted(self._look(), key=lambda run: (not run.alive, -run.until, run.id)))
            return self._listed
        except StorageError:
            self._listed = None  # an old list would hide it
            raise
        finally:
            self._lock.release()

    def _folders(self) -> Iterator[tuple[str, Path]]:
        """Yield the run folders; links that lead out of the folder are left out."""
        if self.single:
            yield self.single, self.root
            return
        home = self.root.resolve()
        try:
            with os.scandir(self.root) as entries:
                for entry in entries:
                    path = Path(entry.path)
                    if _is_run(path) and (not entry.is_symlink() or path.resolve().is_relative_to(home)):
                        yield _as_text(entry.name), path
        except OSError as error:
            raise StorageError(f"{self.root}: cannot be read: {error.strerror or error}") from error

    def _look(self) -> list[Listed]:
        folders = sorted(self._folders(), key=lambda one: -_written(one[1]))[:MOST]
        known, still, again = self._known, dict[str, Path](), self._again.due
        self._known = {}
        for id_, folder in folders:
            before, stamp = known.get(id_), tuple(stamps_of(folder))
            if before is None or before.stamp != stamp or before.listed.alive:
                before = _read(id_, folder, stamp, before)
            elif again and not before.has_ended:
                still[id_] = folder
            self._known[id_] = before
        if still:
            with self._again.work():
                for id_, folder in still.items():
                    self._known[id_] = _read(id_, folder, tuple(stamps_of(folder)), self._known[id_])
        return [one.listed for one in self._known.values()]


def _as_text(name: str) -> str:
    """Return the name of a file as an address has it: bytes that are no UTF-8 are replaced."""
    return os.fsencode(name).decode("utf-8", "replace")


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("journal.db", "run.json"))


def _written(folder: Path) -> float:
    return max((stamp[0] for stamp in stamps_of(folder)), default=0) / 1e9


def stamps_of(folder: Path) -> list[tuple[int, int]]:
    """Return when the journal of a run was written, in ns, and its size."""
    stamps = []
    for name in (*(f"journal.db{suffix}" for suffix in _SUFFIXES), "run.json"):
        try:
            status = (folder / name).stat()
        except OSError:
            continue
        if status.st_size:  # SQLite makes an empty log beside a journal that is read
            stamps.append((status.st_mtime_ns, status.st_size))
    return stamps


def _read(id_: str, folder: Path, stamp: tuple[object, ...], before: _Known | None) -> _Known:
    """Return a run as it is now."""
    try:
        state, rows = (
            read_run(folder)
            if before is None or before.state is None or before.rows is None
            else read_run(folder, before.state, before.rows)
        )
        known = _Known(stamp, _listed(id_, folder, state), state, rows)
    except LabError as error:
        return _Known(stamp, _unread(id_, folder, str(error)))
    return _Known(stamp, known.listed) if known.has_ended else known


def _listed(id_: str, folder: Path, state: RunState) -> Listed:
    alive, excluded = who(folder, state), left_out(state)
    dies = [die for die in state.subjects if die.name not in excluded]
    hard = [die.last.hard if die.last is not None and die.state is State.DONE else 0 for die in dies]
    return Listed(
        id_,
        name=str(state.meta.get("name", folder.name)),
        title=str(state.meta.get("title", "")),
        body=str(state.meta.get("body", "")),
        text=event_text.outcome(state, bool(alive), bench_text(folder, state, alive)),
        alive=alive,
        exit_code=state.exit_code,
        done=sum(die.state in FINAL for die in dies),
        good=sum(map(is_good, hard)),
        measured=sum(map(is_measured, hard)),
        total=len(dies),
        since=state.since,
        until=state.until,
    )


def _unread(id_: str, folder: Path, problem: str) -> Listed:
    at = _written(folder)
    return Listed(id_, folder.name, "", "", "", "", None, 0, 0, 0, 0, at, at, problem)
