"""The journal of one die: everything done to it and learned from it, safe as soon as `commit` returns.

SQLite in WAL mode with `synchronous=FULL` is one of the two structures that survive a power cut at any write;
HDF5 is not, so the journal is the truth until a die is sealed. Rows wait in memory until `commit` writes them
in one transaction: only `commit` can fail, one that failed can be tried again, readers are never in the way.
One module, because creating, resuming, appending and committing share one state: the rows that wait.
"""

import json
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from labctl.core.errors import StorageError
from labctl.core.events import Event, UnknownEvent
from labctl.storage.arrays import (
    Array,
    Stored,
    check_array,
    digest_of,
    encode,
    save_arrays,
    storage,
    sync_folder,
)
from labctl.storage.deduplicate import parts_of
from labctl.storage.held import Holding, is_held
from labctl.storage.journal_reader import COLUMNS, EMPTY, JournalReader, Row
from labctl.storage.tables import Columns, columns_of, field_of

if TYPE_CHECKING:  # a process that seals has no use for procedures, whose import takes as long as that of numpy
    from labctl.core.record import Record

FORMAT = 3
"""Number of the schema and of the events' fields; a journal of another one is refused."""
INLINE = 1 << 16
"""Bytes up to which an array is a blob in the database; larger ones are files in ``arrays/``."""
LOOK = 100
"""Time between two looks at whether another program still holds a journal, ms."""
LEAVE = 5000
"""Longest wait for readers before a finished journal becomes one file, ms."""
_SCHEMA = f"""
BEGIN;
PRAGMA user_version={FORMAT};
CREATE TABLE log (seq INTEGER PRIMARY KEY, what TEXT NOT NULL, answers INTEGER, stage TEXT NOT NULL,
    kind TEXT NOT NULL, utc REAL NOT NULL, monotonic REAL NOT NULL, body TEXT NOT NULL, digest TEXT NOT NULL);
CREATE UNIQUE INDEX answer ON log (answers) WHERE answers IS NOT NULL;
CREATE TABLE arrays (digest TEXT PRIMARY KEY, dtype TEXT NOT NULL, shape TEXT NOT NULL, data BLOB);
COMMIT;
"""


Parts = tuple[tuple[Array, str], ...]
"""What is stored for an array, one part or rows and index, each with its digest."""


class Journal(JournalReader):
    """The journal of one die in a folder: ``journal.db``, and ``arrays/`` for what is larger than 64 KiB.

    One writer at a time (the run's lock sees to that), any number of readers at any time. `event`, `intend`,
    `result` and `record` append a row and return its number; rows are on the disk when `commit` has returned.
    Leaving a ``with`` block commits and closes.
    """

    def __init__(
        self, folder: Path, db: sqlite3.Connection, utc: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        self.folder, self.path, self.readonly = folder, folder / "journal.db", False
        self._db, self._utc, self._monotonic = db, utc, monotonic
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        self._rows: list[Row] = []
        self._arrays: dict[str, Array] = {}
        self._known: set[str] = set()
        self._cache: dict[str, Array] = {}
        self._prepared: dict[int, tuple[Array, Parts]] = {}
        """Arrays whose parts are known already, by their `id`."""
        self._described: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
        self._seq = 0
        self._open: set[int] = set()
        self._tables: dict[str, tuple[Columns, dict[str, tuple[int, ...]]]] = {}
        self.holding = Holding()
        """What happens while another program holds this journal."""

    @classmethod
    def create(
        cls,
        folder: Path,
        meta: Mapping[str, Any],
        *,
        utc: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> Self:
        """Start the journal of a die in `folder`; `meta` describes the die and the run.

        Raises StorageError if there is one already, or if it cannot be written.
        """
        path = folder / "journal.db"
        with storage(path, "start a journal"):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                path.open("xb").close()
            except FileExistsError as error:
                raise StorageError(f"{path} exists already; a journal is never written over") from error
            sync_folder(folder)
            sync_folder(folder.parent)
            journal = cls(folder, _connect(path, "rw"), utc, monotonic)
        with journal.abandoned_on_error():
            with storage(path, "start a journal"):
                journal._db.executescript(_SCHEMA)
            journal._prepare()
            journal._append("meta", "", "", dict(meta))
            journal.commit()
        return journal

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        readonly: bool = True,
        of: str = "",
        holding: Holding | None = None,
        utc: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> Self:
        """Open the journal in `folder`: live, finished, or left behind by a process that was killed.

        Reading changes nothing that was written, and works in a folder that cannot be written. With
        ``readonly=False`` the journal goes on after its last committed row. Raises StorageError.

        Args:
            of: try of a die whose journal it has to be, as `folder_of` writes it; "" for any.
            holding: what happens while another program holds it.
        """
        path = folder / "journal.db"
        if not path.is_file():
            raise StorageError(f"there is no journal at {path}")
        with storage(path, "open the journal"):
            if not readonly:
                journal = cls(folder, _connect(path, "rw"), utc, monotonic)
                journal.holding = holding or journal.holding
                with journal.abandoned_on_error():
                    journal._check_format()
                    journal._check_die(of)
                    journal._prepare()
                    journal._resume()
                return journal
            db = _connect(path, "ro")
            try:
                if not db.execute("SELECT 1 FROM sqlite_master").fetchall():
                    raise StorageError(f"{path}: {EMPTY}")
                db.execute("SELECT max(seq) FROM log").fetchall()
                journal = cls(folder, db, utc, monotonic)
            except StorageError:
                db.close()
                raise
            except sqlite3.Error as error:
                db.close()
                if not error.sqlite_errorname.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")):
                    raise
                # SQLite cannot read a write-ahead log in a folder that it cannot write: read a copy of both
                copy = tempfile.TemporaryDirectory(prefix="labctl-", ignore_cleanup_errors=True)
                for file in folder.glob("journal.db*"):
                    if not file.name.endswith("-shm"):
                        shutil.copyfile(file, Path(copy.name, file.name))
                journal = cls(folder, _connect(Path(copy.name, "journal.db"), "rw"), utc, monotonic)
                journal._copy = copy
            journal.readonly = True
            with journal.abandoned_on_error():
                journal._check_format()
                journal._check_die(of)
        return journal

    def _check_format(self) -> None:
        if not self._db.execute("SELECT 1 FROM sqlite_master").fetchall():
            raise StorageError(f"{self.path}: {EMPTY}")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version != FORMAT:
            raise StorageError(
                f"{self.path} is a journal of format {version}, and this labctl reads {FORMAT}; open it with the "
                "version that wrote it, which run.json names"
            )

    def _check_die(self, of: str) -> None:
        """Raise StorageError if this is the journal of another die than that of which `of` is a try."""
        row = next(self.rows("meta"), None) if of else None
        meta = {} if row is None else self.body(row)
        if "dies" in meta:
            raise StorageError(
                f"{self.path} is the journal of a run, not of {of}: it was copied over the other; take the right one "
                "from a backup"
            )
        named = meta.get("die")
        if named not in (None, of.partition("~")[0]):
            raise StorageError(
                f"{self.path} is the journal of die {named}, not of {of}: its folder was renamed, or copied over the "
                "other; take the right one from a backup"
            )

    def _prepare(self) -> None:
        with storage(self.path, "prepare the journal"):
            self._db.execute(f"PRAGMA busy_timeout={LOOK}")
            self._patiently("PRAGMA journal_mode=WAL")
            if self._db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                raise StorageError(f"{self.path}: no write-ahead log on this file system; keep runs on a local disk")
            self._db.executescript("PRAGMA synchronous=FULL; PRAGMA fullfsync=ON; PRAGMA checkpoint_fullfsync=ON;")

    def _patiently(self, statement: str) -> None:
        """Execute a statement, and wait while another program holds the journal."""
        self.holding.wait(lambda: self._db.execute(statement), self.path, self._monotonic)

    def _resume(self) -> None:
        rows = self._db.execute("SELECT max(seq) FROM log").fetchone()
        self._seq = rows[0] or 0
        self._known = {d for (d,) in self._db.execute("SELECT digest FROM arrays")}
        self._open = {op.seq for op in self.operations(load=False) if op.end is None}
        for entry in self._entries("table"):
            columns, shapes = self._definition(entry)
            self._tables[entry.kind] = (columns, shapes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Commit the rows that wait, unless it is open read-only, and close; harmless a second time."""
        try:
            if not self.readonly:
                self.commit()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close without the rows that wait, because they cannot be written; harmless a second time."""
        self._db.close()
        if self._copy is not None:
            self._copy.cleanup()

    @contextmanager
    def abandoned_on_error(self) -> Iterator[None]:
        """Leave no open file behind when the block fails."""
        try:
            yield
        except BaseException:
            self.abandon()
            raise

    # writing

    def _append(self, what: str, stage: str, kind: str, body: object, answers: int | None = None) -> int:
        text = encode(body, self._put)
        stamp = float(self._utc()), float(self._monotonic())
        self._seq += 1
        self._rows.append(Row(self._seq, what, answers, stage, kind, *stamp, text))
        return self._seq

    def _put(self, array: Array | Stored, path: tuple[str, ...]) -> dict[str, Any]:
        known = self._prepared.pop(id(array), None)
        return _named(array, path, self._keep, None if known is None else known[1])

    def prepare(self, body: object) -> None:
        """Do beforehand what takes time of a row with the arrays of `body`, of which none may change until then.

        Nothing is stored by that, and the row is the same without it.
        """
        prepared: dict[int, tuple[Array, Parts]] = {}

        def put(array: Array | Stored, path: tuple[str, ...]) -> dict[str, Any]:
            if not isinstance(array, Stored):
                prepared[id(array)] = array, _parts(array, path)
            return {}

        encode(body, put)
        self._prepared = prepared

    def _keep(self, array: Array, digest: str) -> str:
        if digest not in self._known and digest not in self._arrays:
            self._arrays[digest] = np.array(array, order="C", copy=True)
        return digest

    def event(self, event: Event | UnknownEvent, *, stage: str = "") -> int:
        """Append an event, and return its number."""
        return self._append("event", stage, event.kind, event.body)

    def intend(self, stage: str, kind: str, body: object) -> int:
        """Append the intent of an operation, and return its number; commit before operating the die."""
        seq = self._append("intent", stage, kind, body)
        self._open.add(seq)
        return seq

    def result(self, seq: int, body: object) -> int:
        """Append the result of intent `seq`. Raises ValueError if it has a result already or is no intent."""
        if seq not in self._open:
            raise ValueError(f"{seq} is not the number of an intent without a result")
        number = self._append("result", "", "", body, answers=seq)
        self._open.remove(seq)
        return number

    @staticmethod
    def text(body: object) -> str:
        """Return the text that a row stores for `body`; equal texts mean bodies equal to the bit."""
        return encode(body, lambda array, path: _named(array, path, lambda part, digest: digest))

    @staticmethod
    def body_of(record: "Record") -> dict[str, Any]:
        """Return the body of the row of `record`. Raises TypeError if no table can hold a field."""
        kinds = columns_of(cast(Any, type(record))).kinds
        return {k: field_of(f"{record.table}.{k}", getattr(record, k), v) for k, v in kinds.items()}

    def record(self, stage: str, record: "Record") -> int:
        """Append one record. Raises TypeError if no table can hold a field, or its shape changes."""
        kind, columns, body = record.table, columns_of(cast(Any, type(record))), self.body_of(record)
        shapes = {name: value.shape for name, value in body.items() if isinstance(value, np.ndarray)}
        if columns.columnar:
            if len(shapes) < len(body) or any(len(s) != 1 for s in shapes.values()) or len(set(shapes.values())) != 1:
                raise TypeError(f"every field of the columnar record '{kind}' is an (n,) array; not {shapes}")
            shapes = {}
        if odd := [name for name, axes in columns.axes.items() if len(axes) != np.ndim(body[name])]:
            message = f"{kind}.{odd[0]} has the axes {columns.axes[odd[0]]} and an array of {np.ndim(body[odd[0]])}"
            raise TypeError(message)
        if kind not in self._tables:
            self._append("table", stage, kind, {**asdict(columns), "shapes": shapes})
            self._tables[kind] = columns, shapes
        declared, first = self._tables[kind]
        if declared != columns:
            raise TypeError(f"records of table '{kind}' have the fields {declared.units}, not {columns.units}")
        if shapes != first:
            raise TypeError(f"arrays of table '{kind}' have one shape in every row: {first} so far, now {shapes}")
        return self._append("record", stage, kind, body)

    def commit(self) -> None:
        """Return when every appended row is on the disk; wait while another program holds the journal (`holding`).

        Raises StorageError; it can then be tried again.
        """
        if not self._rows:
            return
        large = {d for d, array in self._arrays.items() if array.nbytes > INLINE}
        save_arrays(self.folder / "arrays", {digest: self._arrays[digest] for digest in large})
        arrays = (
            (d, a.dtype.str, json.dumps(a.shape), None if d in large else a.tobytes()) for d, a in self._arrays.items()
        )
        with storage(self.path, "commit"):
            try:
                self._patiently("BEGIN IMMEDIATE")
                # an earlier try may have been interrupted when its rows were on the disk already
                committed = self._db.execute("SELECT ifnull(max(seq), 0) FROM log").fetchone()[0]
                self._db.executemany("INSERT OR IGNORE INTO arrays VALUES (?, ?, ?, ?)", arrays)
                self._db.executemany(
                    f"INSERT INTO log VALUES ({', '.join('?' * len(COLUMNS))})",
                    [(*r, r.digest) for r in self._rows if r.seq > committed],
                )
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        self._known.update(self._arrays)
        self._rows, self._arrays = [], {}

    def finish(self) -> None:
        """Append the end, commit, and leave one file without a write-ahead log, which opens in any folder.

        If a reader holds the journal open for more than 5 s, the log stays beside it and nothing is missing.
        """
        self._append("finish", "", "", None)
        self.commit()
        try:
            self._db.execute(f"PRAGMA busy_timeout={LEAVE}")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._db.execute("PRAGMA journal_mode=DELETE")
        except sqlite3.OperationalError as error:
            if not is_held(error):
                with storage(self.path, "finish the journal"):
                    raise
        with storage(self.path, "finish the journal"):
            sync_folder(self.folder)


def _parts(array: Array, path: tuple[str, ...]) -> Parts:
    """Return the arrays that are stored for one, with their digests; see `parts_of`."""
    check_array(array, ".".join(path))
    return tuple((part, digest_of(part)) for part in parts_of(array) if part is not None)


def _named(
    array: Array | Stored, path: tuple[str, ...], keep: Callable[[Array, str], str], parts: Parts | None = None
) -> dict[str, Any]:
    """Return the JSON object that names an array in a row.

    Args:
        keep: takes an array to store and its digest, and returns the digest.
        parts: of the array, if they are known.
    """
    if isinstance(array, Stored):
        index = {"index": array.index} if array.index else {}
        return {"$array": array.digest, **index, "shape": array.shape}
    whole, *rows = _parts(array, path) if parts is None else parts
    index = {"index": keep(*rows[0])} if rows else {}
    return {"$array": keep(*whole), **index, "shape": array.shape}


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=5)
