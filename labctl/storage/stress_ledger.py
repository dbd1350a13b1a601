"""The stress ledger: pulses, peak voltages and touches of cells and pads over a die's life, across runs.

One SQLite file per lab, safe as soon as a call returns. The voltages of cells come from the journals of the dies,
which have every pulse before it is given: each journal has one share in the ledger, with the number of its last row
that is accounted. So a stage counts once, however often it is accounted, and a killed run counts as far as it came; a
pulse that was intended and has no result counts as given. Touches are counted one by one, each before the needles go
down. One module, because every method reads or writes the same three tables.

Real and simulated dies never share a ledger: pulses on a simulated die do not wear the real one of that name.
"""

import json
import sqlite3
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from labctl.core.errors import BenchError, StorageError
from labctl.core.known_files import what_is
from labctl.core.units import IntArray
from labctl.storage.arrays import storage
from labctl.storage.journal import Journal
from labctl.storage.journal_reader import JournalReader
from labctl.storage.no_run import require_run_with_dies
from labctl.storage.private import rights_of
from labctl.storage.stress import DieInfo, Stress, journal_identity, stress_of_journal

FORMAT = 1
NAME = "stress.db"
"""Default name of the ledger, beside the bench file."""
VARIABLE = "LABCTL_LEDGER"
"""Environment variable with the path of the lab's ledger."""
_HEAD = 1 << 16
_SCHEMA = f"""
PRAGMA user_version={FORMAT};
CREATE TABLE world (real INTEGER NOT NULL);
CREATE TABLE dies (id INTEGER PRIMARY KEY, wafer TEXT NOT NULL, name TEXT NOT NULL, shape TEXT NOT NULL,
    UNIQUE (wafer, name));
CREATE TABLE shares (journal TEXT PRIMARY KEY, die INTEGER NOT NULL REFERENCES dies, run TEXT NOT NULL,
    folder TEXT NOT NULL, finished INTEGER NOT NULL, upto INTEGER NOT NULL, utc REAL NOT NULL,
    counts BLOB NOT NULL, positive BLOB NOT NULL, negative BLOB NOT NULL);
CREATE TABLE touches (id INTEGER PRIMARY KEY, wafer TEXT NOT NULL, name TEXT NOT NULL, pads TEXT NOT NULL,
    utc REAL NOT NULL);
CREATE INDEX touched ON touches (wafer, name, pads);
"""


@dataclass(frozen=True)
class Share:
    """The stress of one try of a die, with its run and when it was last accounted (UTC in s since 1970)."""

    run: str
    utc: float
    stress: Stress


class StressLedger:
    """A ledger file. Any number of processes may have it open; each call is one transaction."""

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.path, self._db = path, db

    @classmethod
    def open(cls, path: Path, *, real: bool = True) -> Self:
        """Open the ledger at `path`; a missing one is created.

        Args:
            real: whether its dies are real, not simulated.

        Raises:
            BenchError: it is the ledger of the other sort of dies, or a file of another kind.
            StorageError: it is damaged, of a later format, or cannot be written.
        """
        _refuse_other(path)
        with storage(path, "open the stress ledger"):
            path.parent.mkdir(parents=True, exist_ok=True)
            with rights_of(path.parent):  # of a lab, and not of the run that happens to make it
                path.touch()
            db = sqlite3.connect(path, isolation_level=None, timeout=10)
        try:
            with storage(path, "open the stress ledger"):
                (mode,) = db.execute("PRAGMA journal_mode=WAL").fetchone()
                if mode != "wal":
                    raise StorageError(
                        f"{path}: no write-ahead log on this file system; keep the ledger on a local disk"
                    )
                db.executescript("PRAGMA synchronous=FULL; PRAGMA fullfsync=ON; PRAGMA checkpoint_fullfsync=ON;")
                ledger = cls(path, db)
                with ledger._transaction():
                    if not db.execute("SELECT 1 FROM sqlite_master").fetchone():
                        for statement in _SCHEMA.strip().rstrip(";").split(";\n"):
                            db.execute(statement)
                        db.execute("INSERT INTO world VALUES (?)", (real,))
                version = db.execute("PRAGMA user_version").fetchone()[0]
                if version != FORMAT:
                    raise StorageError(f"{path} is no stress ledger of format {FORMAT}, but of format {version}")
                (holds_real,) = db.execute("SELECT real FROM world").fetchone()
        except BaseException:
            db.close()
            raise
        if bool(holds_real) is not real:
            db.close()
            kinds = ("simulated", "real")
            raise BenchError(
                f"{path} is the stress ledger of {kinds[holds_real]} dies; {kinds[real]} ones need their own"
            )
        return ledger

    def life(self, wafer: str, die: str, *, without: str = "") -> Stress | None:
        """Return the stress of the cells of a die over its life, None if the ledger has nothing of it.

        Args:
            without: `journal_identity` of a journal whose share is left out, because the caller counts it.
        """
        total: Stress | None = None
        for journal, share in self._shares(wafer, die):
            if journal != without:
                total = share.stress if total is None else total + share.stress
        return total

    def settle(self, wafer: str, die: str) -> list[str]:
        """Account for the unfinished journals of a die; return the runs whose journals are gone.

        Raises:
            StorageError: a journal is damaged, or the ledger cannot be written.
        """
        query = (
            "SELECT run, folder FROM shares JOIN dies ON die = id WHERE wafer = ? AND name = ? AND NOT finished"
            " ORDER BY utc"
        )
        gone = []
        for run, folder in self._read(query, wafer, die):
            if not (Path(folder) / "journal.db").is_file():
                gone.append(run)
                continue
            with Journal.open(Path(folder)) as journal:
                self.account(journal, run)
        return gone

    def history(self, wafer: str, die: str) -> list[Share]:
        """Return the share of each try of a die, in the order in which they were accounted last."""
        return sorted((share for _, share in self._shares(wafer, die)), key=lambda s: s.utc)

    def dies(self) -> list[tuple[str, str]]:
        """Return (wafer, name) of every die in the ledger."""
        query = "SELECT wafer, name FROM dies UNION SELECT wafer, name FROM touches ORDER BY wafer, name"
        return [(wafer, name) for wafer, name in self._read(query)]

    def _shares(self, wafer: str, die: str) -> Iterator[tuple[str, Share]]:
        query = (
            "SELECT journal, run, utc, shape, counts, positive, negative FROM shares JOIN dies ON die = id"
            " WHERE wafer = ? AND name = ?"
        )
        for journal, run, utc, shape, *blobs in self._read(query, wafer, die):
            yield journal, Share(run, utc, _unpacked(self.path, tuple(json.loads(shape)), blobs))

    def touches(self, wafer: str, die: str, pads: str = "") -> int:
        """Return how often needles went down on a group of pads of a die."""
        query = "SELECT count(*) FROM touches WHERE wafer = ? AND name = ? AND pads = ?"
        return int(self._read(query, wafer, die, pads)[0][0])

    def touches_by_pads(self, wafer: str, die: str) -> dict[str, int]:
        """Return how often needles went down on each group of pads of a die."""
        query = "SELECT pads, count(*) FROM touches WHERE wafer = ? AND name = ? GROUP BY pads ORDER BY pads"
        return {pads: int(count) for pads, count in self._read(query, wafer, die)}

    def touch(self, wafer: str, die: str, pads: str = "") -> int:
        """Count a touch that is about to happen, and return the count including it."""
        with storage(self.path, "count a touch"), self._transaction():
            self._db.execute("INSERT INTO touches VALUES (NULL, ?, ?, ?, ?)", (wafer, die, pads, time.time()))
        return self.touches(wafer, die, pads)

    def account(self, journal: JournalReader, run: str = "") -> Stress:
        """Bring the share of a die's journal up to its last committed row, and return the share.

        Does nothing when it is up to date. Called when a journal has begun, it enters the die, so that `settle`
        finds the journal if it is broken off. The meta of the journal names the die, its shape, whether it is real,
        and the voltage from which pulses count.

        Args:
            run: name of the run, for people.

        Raises:
            BenchError: the die is of the other sort, or the ledger has another shape under its name.
            StorageError: journal or ledger cannot be read or written.
        """
        meta, key = journal.meta, journal_identity(journal)
        info = DieInfo.of(meta)
        (real,) = self._read("SELECT real FROM world")[0]
        if info.real is not bool(real):
            raise BenchError(
                f"{journal.path}: die {info.name} is {'real' if info.real else 'simulated'}, "
                f"and {self.path} is the ledger of {'real' if real else 'simulated'} dies"
            )
        known = self._read("SELECT shape FROM dies WHERE wafer = ? AND name = ?", info.wafer, info.name)
        if known and tuple(json.loads(known[0][0])) != info.shape:
            raise BenchError(
                f"die {info.name} has {_cells(info.shape)} cells, and the one of that name in {self.path} has "
                f"{_cells(tuple(json.loads(known[0][0])))}; it is another die, or its file is wrong"
            )
        while True:
            before = self._read("SELECT upto, counts, positive, negative FROM shares WHERE journal = ?", key)
            upto = before[0][0] if before else 0
            share = _unpacked(self.path, info.shape, before[0][1:]) if before else Stress.none(info.shape)
            last, finished = journal.last.seq, journal.finished
            share += stress_of_journal(journal, info, upto, last)
            source = (run, str(journal.folder.resolve()), finished, last)
            if self._put(info, key, upto if before else None, source, share):
                return share

    def _put(
        self, info: "DieInfo", key: str, before: int | None, source: tuple[str, str, bool, int], share: Stress
    ) -> bool:
        """Write a share that went on from row `before`; False if another process has gone on from there meanwhile.

        Args:
            source: run, folder, whether the journal is finished, and its last row.
        """
        packed = [
            zlib.compress(np.ascontiguousarray(a).tobytes(), 1) for a in (share.counts, share.positive, share.negative)
        ]
        with storage(self.path, "account for a die"), self._transaction():
            now = self._db.execute("SELECT upto FROM shares WHERE journal = ?", (key,)).fetchone()
            if (now[0] if now else None) != before:
                return False
            if before is not None and before >= source[-1]:
                return True
            shape = json.dumps(info.shape)
            self._db.execute("INSERT OR IGNORE INTO dies VALUES (NULL, ?, ?, ?)", (info.wafer, info.name, shape))
            (die,) = self._db.execute(
                "SELECT id FROM dies WHERE wafer = ? AND name = ?", (info.wafer, info.name)
            ).fetchone()
            row = (key, die, *source, time.time(), *packed)
            self._db.execute("INSERT OR REPLACE INTO shares VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        return True

    def account_run(self, run: Path) -> dict[str, Stress]:
        """Account for every journal of a run, finished, killed or under way; return the shares by folder name.

        Raises:
            BenchError: as `account`.
            StorageError: there is no run, or something cannot be read or written.
        """
        shares = {}
        for folder in require_run_with_dies(run):
            with Journal.open(folder) as journal:
                shares[folder.name] = self.account(journal, run.resolve().name)
        return shares

    def _read(self, query: str, *values: object) -> list[Any]:
        with storage(self.path, "read the stress ledger"):
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing, and alone."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def close(self) -> None:
        """Close; harmless a second time."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def begin(path: Path | None, journal: JournalReader, run: str) -> tuple[IntArray | None, list[str]]:
    """Enter the die of a journal in the ledger, before anything is done to it.

    Returns:
        The (kernels, n_rows, n_cols) pulses that its cells had before this journal, None if there is no ledger; and
        the broken-off runs whose journals are gone, so that their pulses are unknown.
    """
    if path is None:
        return None, []
    with StressLedger.open(path) as ledger:
        ledger.account(journal, run)
        info = DieInfo.of(journal.meta)
        gone = ledger.settle(info.wafer, info.name)
        life = ledger.life(info.wafer, info.name, without=journal_identity(journal))
        return (Stress.none(info.shape) if life is None else life).counts, gone


def account(path: Path | None, journal: JournalReader, run: str) -> None:
    """Bring the share of a journal up to date, if there is a ledger."""
    if path is not None:
        with StressLedger.open(path) as ledger:
            ledger.account(journal, run)


def ledger_path(bench: Path, configured: str | Path | None, environment: Mapping[str, str]) -> Path:
    """Return the path of the ledger of a lab: named by the environment, by the bench file, or beside that.

    >>> ledger_path(Path("lab/bench.yaml"), None, {}).as_posix()
    'lab/stress.db'
    >>> ledger_path(Path("lab/bench.yaml"), "../wear.db", {}).as_posix()
    'lab/../wear.db'
    """
    if named := environment.get(VARIABLE):
        return Path(named).expanduser()
    own = Path(configured or NAME)
    with suppress(RuntimeError):  # no such user: the text is then a name like any other
        own = own.expanduser()
    return bench.parent / own


def _unpacked(path: Path, shape: tuple[int, ...], blobs: list[bytes]) -> Stress:
    """Return a share as it was stored."""
    try:
        counts, positive, negative = (zlib.decompress(blob) for blob in blobs)
        return Stress(
            np.frombuffer(counts, np.int64).reshape(shape),
            np.frombuffer(positive, np.float32).reshape(shape),
            np.frombuffer(negative, np.float32).reshape(shape),
        )
    except (ValueError, zlib.error) as error:
        raise StorageError(
            f"{path}: a share is damaged ({error}); leave the file as it is and work on a copy"
        ) from error


def _cells(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _refuse_other(path: Path) -> None:
    """Raise BenchError for a folder, or a file that is positively something else; what is damaged is said by SQLite."""
    kind = "a folder" if path.is_dir() else "no regular file" if path.exists() and not path.is_file() else ""
    if path.is_file():
        with storage(path, "open the stress ledger"), path.open("rb") as file:
            kind = what_is(file.read(_HEAD))
    if kind and "SQLite" not in kind:
        raise BenchError(f"{path} is {kind}; expected a stress ledger, such as stress.db beside the bench file")
