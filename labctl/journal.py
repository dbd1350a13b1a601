"""The journal of one die: everything done to it and learned from it, safe as soon as `commit` returns.

SQLite in WAL mode with `synchronous=FULL` is one of the two structures that survive a power cut at any write; HDF5 is
not one of them, so the journal is the truth until a die is sealed. Rows wait in memory until `commit` writes them in
one transaction: only `commit` can fail, a commit that failed can be tried again, and readers are never in the way.
"""

import hashlib
import json
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Self, get_type_hints

import numpy as np

from labctl.arrays import (
    Array,
    Stored,
    check_array,
    check_text,
    compact,
    decode,
    digest_of,
    encode,
    load_array,
    save_array,
    storage,
    sync_folder,
)
from labctl.core.errors import StorageError
from labctl.core.procedure import Record, units_of

FORMAT = 1
INLINE = 1 << 16
"""Bytes up to which an array is a blob in the database; larger ones are files in ``arrays/``."""
RESERVED = ("seq", "stage", "utc", "die")
"""Columns that every table has of its own."""

_CHUNK = 500
_SCHEMA = f"""
PRAGMA user_version={FORMAT};
CREATE TABLE log (seq INTEGER PRIMARY KEY, what TEXT NOT NULL, answers INTEGER, stage TEXT NOT NULL,
    kind TEXT NOT NULL, utc REAL NOT NULL, monotonic REAL NOT NULL, body TEXT NOT NULL, digest TEXT NOT NULL);
CREATE UNIQUE INDEX answer ON log (answers) WHERE answers IS NOT NULL;
CREATE TABLE arrays (digest TEXT PRIMARY KEY, dtype TEXT NOT NULL, shape TEXT NOT NULL, data BLOB);
"""


class Stamp(NamedTuple):
    """When something was noted: UTC in s since 1970, and a clock that is never set, in s."""

    utc: float
    monotonic: float


class Entry(NamedTuple):
    """One event or record; `kind` is the kind of event or the name of the table."""

    seq: int
    stage: str
    kind: str
    body: Any
    stamp: Stamp


class Operation(NamedTuple):
    """One thing done to the die; `result` and `end` are None if the journal ends before they were noted."""

    seq: int
    stage: str
    kind: str
    intent: Any
    result: Any
    start: Stamp
    end: Stamp | None


@dataclass(frozen=True, eq=False)
class Table(Mapping[str, Array]):
    """The records of one kind as columns: a mapping from field to (rows, ...) array, with `seq`, `stage` and `utc`.

    Args:
        units: unit of every column, "" where it has none.
        columnar: one record was many rows.
    """

    name: str
    columns: dict[str, Array]
    units: dict[str, str]
    columnar: bool = False

    def __getitem__(self, column: str) -> Array:
        return self.columns[column]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.columns["seq"])

    def to_pandas(self) -> Any:
        """Return a DataFrame, units in ``attrs["units"]``; cells of array columns are arrays."""
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("pandas is not installed; pip install 'mtj-labctl[pandas]'") from error
        frame = pd.DataFrame({k: v if v.ndim == 1 else list(v) for k, v in self.columns.items()})
        frame.attrs["units"] = dict(self.units)
        return frame

    @classmethod
    def join(cls, tables: Iterable["Table"]) -> "Table":
        """Return the rows of tables of one name, one after the other; ValueError if their columns differ."""
        found = list(tables)
        first = found[0]
        if any(set(t) != set(first) for t in found):
            raise ValueError(f"the table '{first.name}' does not have the same columns on every die")
        columns = {k: _concatenate([t[k] for t in found]) for k in first}
        return cls(first.name, columns, first.units, first.columnar)


def _concatenate(parts: list[Array]) -> Array:
    """Return `parts` as one array; empty ones do not change its dtype."""
    return np.concatenate([p for p in parts if len(p)] or parts[:1])


class _Row(NamedTuple):
    seq: int
    what: str
    answers: int | None
    stage: str
    kind: str
    utc: float
    monotonic: float
    body: str

    @property
    def digest(self) -> str:
        return hashlib.blake2b(json.dumps(self).encode(), digest_size=8).hexdigest()


_COLUMNS = (*_Row._fields, "digest")


@dataclass(frozen=True)
class Columns:
    """What a table holds: unit and kind ("float", "int", "bool", "str" or "array") of every field."""

    columnar: bool
    units: dict[str, str]
    kinds: dict[str, str]


@cache
def _columns_of(record: type[Record]) -> Columns:
    hints = get_type_hints(record)
    kinds = {f.name: getattr(hints[f.name], "__name__", "array") for f in fields(record)}
    kinds = {
        name: kind if kind in ("float", "int", "bool", "str") else "array" for name, kind in kinds.items()
    }
    if taken := [name for name in kinds if name in RESERVED]:
        raise TypeError(f"a record has no field '{taken[0]}': every table has a column of that name")
    return Columns(record.columnar, units_of(record), kinds)


class Journal:
    """The journal of one die in a folder: ``journal.db``, and ``arrays/`` for what is larger than 64 KiB.

    One writer at a time (the run's lock sees to that), any number of readers at any time. `event`, `intend`, `result`
    and `record` note a row and return its number; rows are on the disk when `commit` has returned. Leaving a ``with``
    block commits and closes.
    """

    def __init__(
        self, folder: Path, db: sqlite3.Connection, utc: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        self.folder, self.path = folder, folder / "journal.db"
        self._db, self._utc, self._monotonic = db, utc, monotonic
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        self._rows: list[_Row] = []
        self._arrays: dict[str, Array] = {}
        self._known: set[str] = set()
        self._cache: dict[str, Array] = {}
        self._seq = 0
        self._open: set[int] = set()
        self._tables: dict[str, tuple[Columns, dict[str, tuple[int, ...]]]] = {}

    @classmethod
    def create(
        cls,
        folder: Path,
        meta: Mapping[str, Any],
        *,
        utc: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> Self:
        """Start the journal of a die in `folder`, with what is known of the die and the run in `meta`.

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
            journal._db.executescript(_SCHEMA)
        journal._prepare()
        journal._note("meta", "", "", dict(meta))
        journal.commit()
        return journal

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        readonly: bool = True,
        utc: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> Self:
        """Open the journal in `folder`: live, finished, or left behind by a process that was killed.

        To read it changes nothing that was written, and works in a folder that cannot be written. With
        ``readonly=False`` the journal goes on after its last committed row. Raises StorageError.
        """
        path = folder / "journal.db"
        if not path.is_file():
            raise StorageError(f"there is no journal at {path}")
        with storage(path, "open the journal"):
            if not readonly:
                journal = cls(folder, _connect(path, "rw"), utc, monotonic)
                journal._check_format()
                journal._prepare()
                journal._resume()
                return journal
            db = _connect(path, "ro")
            try:
                db.execute("SELECT max(seq) FROM log").fetchall()
                journal = cls(folder, db, utc, monotonic)
            except sqlite3.OperationalError as error:
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
            journal._check_format()
        return journal

    def _check_format(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version != FORMAT:
            self.close()
            raise StorageError(
                f"{self.path} is a journal of format {version}; this labctl reads format {FORMAT}"
            )

    def _prepare(self) -> None:
        with storage(self.path, "prepare the journal"):
            mode = self._db.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            if mode != "wal":
                raise StorageError(
                    f"{self.path}: no write-ahead log on this file system; keep runs on a local disk"
                )
            self._db.executescript(
                "PRAGMA synchronous=FULL; PRAGMA fullfsync=ON; PRAGMA checkpoint_fullfsync=ON;"
            )

    def _resume(self) -> None:
        rows = self._db.execute("SELECT max(seq) FROM log").fetchone()
        self._seq = rows[0] or 0
        self._known = {d for (d,) in self._db.execute("SELECT digest FROM arrays")}
        self._open = {op.seq for op in self.operations(load=False) if op.end is None}
        for entry in self._entries("table"):
            columns, shapes = self._definition(entry)
            self._tables[entry.kind] = (columns, shapes)

    @staticmethod
    def _definition(entry: Entry) -> tuple[Columns, dict[str, tuple[int, ...]]]:
        body = dict(entry.body)
        shapes = {k: tuple(v) for k, v in body.pop("shapes").items()}
        return Columns(**body), shapes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Commit what waits, and close; harmless a second time."""
        try:
            self.commit()
        finally:
            self._db.close()
            if self._copy is not None:
                self._copy.cleanup()

    # writing

    def _note(self, what: str, stage: str, kind: str, body: object, answers: int | None = None) -> int:
        text = encode(body, self._put)
        stamp = float(self._utc()), float(self._monotonic())
        self._seq += 1
        self._rows.append(_Row(self._seq, what, answers, stage, kind, *stamp, text))
        return self._seq

    def _put(self, array: Array | Stored, path: tuple[str, ...]) -> dict[str, Any]:
        if isinstance(array, Stored):
            return {"$array": array.digest, "shape": array.shape}
        check_array(array, ".".join(path))
        base = compact(array)
        digest = digest_of(base)
        if digest not in self._known and digest not in self._arrays:
            self._arrays[digest] = np.array(base, order="C", copy=True)
        return {"$array": digest, "shape": array.shape}

    def event(self, kind: str, body: object = None, *, stage: str = "") -> int:
        """Note that something happened, and return its number."""
        return self._note("event", stage, kind, body)

    def intend(self, stage: str, kind: str, body: object) -> int:
        """Note what is about to be done to the die, and return its number; commit before doing it."""
        seq = self._note("intent", stage, kind, body)
        self._open.add(seq)
        return seq

    def result(self, seq: int, body: object) -> int:
        """Note what came of intent `seq`. Raises ValueError if it has a result already or is none."""
        if seq not in self._open:
            raise ValueError(f"{seq} is not the number of an intent without a result")
        number = self._note("result", "", "", body, answers=seq)
        self._open.remove(seq)
        return number

    def record(self, stage: str, record: Record) -> int:
        """Note one record. Raises TypeError if a field is none that a table can hold, or its shape changes."""
        kind, columns = record.table, _columns_of(type(record))
        body = {
            name: _field(f"{kind}.{name}", getattr(record, name), how) for name, how in columns.kinds.items()
        }
        shapes = {name: value.shape for name, value in body.items() if isinstance(value, np.ndarray)}
        if columns.columnar:
            if (
                len(shapes) < len(body)
                or any(len(s) != 1 for s in shapes.values())
                or len(set(shapes.values())) != 1
            ):
                raise TypeError(
                    f"every field of the columnar record '{kind}' is an (n,) array; found {shapes}"
                )
            shapes = {}
        if kind not in self._tables:
            self._note("table", stage, kind, {**asdict(columns), "shapes": shapes})
            self._tables[kind] = columns, shapes
        known, first = self._tables[kind]
        if known != columns:
            raise TypeError(f"records of table '{kind}' have the fields {known.units}, not {columns.units}")
        if shapes != first:
            raise TypeError(
                f"arrays of table '{kind}' have one shape in every row: {first} so far, now {shapes}"
            )
        return self._note("record", stage, kind, body)

    def commit(self) -> None:
        """Return when everything noted so far is on the disk. Raises StorageError; it can then be tried again."""
        if not self._rows:
            return
        large = {d for d, array in self._arrays.items() if array.nbytes > INLINE}
        for digest in large:
            save_array(self.folder / "arrays", digest, self._arrays[digest])
        arrays = (
            (d, a.dtype.str, json.dumps(a.shape), None if d in large else a.tobytes())
            for d, a in self._arrays.items()
        )
        with storage(self.path, "commit"):
            try:
                self._db.execute("BEGIN IMMEDIATE")
                self._db.executemany("INSERT INTO arrays VALUES (?, ?, ?, ?)", arrays)
                self._db.executemany(
                    f"INSERT INTO log VALUES ({', '.join('?' * len(_COLUMNS))})",
                    [(*r, r.digest) for r in self._rows],
                )
                self._db.execute("COMMIT")
            except sqlite3.Error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        self._known.update(self._arrays)
        self._rows, self._arrays = [], {}

    def finish(self) -> None:
        """Note the end, commit, and leave one file without a write-ahead log, which opens in any folder.

        If a reader holds the journal open for more than 5 s the log stays beside it; nothing is missing then either.
        """
        self._note("finish", "", "", None)
        self.commit()
        try:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._db.execute("PRAGMA journal_mode=DELETE")
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                with storage(self.path, "finish the journal"):
                    raise
        with storage(self.path, "finish the journal"):
            sync_folder(self.folder)

    # reading: what has been committed, in short transactions, digests compared

    def _rows_where(self, condition: str, *values: object, after: int = 0) -> Iterator[_Row]:
        query = (
            f"SELECT {', '.join(_COLUMNS)} FROM log WHERE {condition} AND seq > ? ORDER BY seq LIMIT {_CHUNK}"
        )
        while True:
            with storage(self.path, "read the journal"):
                found = self._db.execute(query, (*values, after)).fetchall()
            for columns in found:
                yield self._checked(columns)
            if len(found) < _CHUNK:
                return
            after = found[-1][0]

    def _checked(self, columns: tuple[Any, ...]) -> _Row:
        row = _Row(*columns[:-1])
        if row.digest != columns[-1]:
            raise StorageError(
                f"{self.path}: row {row.seq} is damaged; leave the file as it is and work on a copy"
            )
        return row

    def _body(self, row: _Row, load: bool) -> Any:
        def get(found: dict[str, Any]) -> object:
            stored = Stored(found["$array"], tuple(found["shape"]))
            return np.broadcast_to(self.array(stored.digest), stored.shape) if load else stored

        return decode(row.body, get)

    def _entries(
        self, what: str, kind: str | None = None, *, after: int = 0, load: bool = True
    ) -> Iterator[Entry]:
        condition, values = ("what = ?", (what,)) if kind is None else ("what = ? AND kind = ?", (what, kind))
        for row in self._rows_where(condition, *values, after=after):
            yield Entry(row.seq, row.stage, row.kind, self._body(row, load), Stamp(row.utc, row.monotonic))

    def stored(self, digest: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
        """Return dtype and shape of a stored array."""
        with storage(self.path, "read the journal"):
            row = self._db.execute("SELECT dtype, shape FROM arrays WHERE digest = ?", (digest,)).fetchone()
        if row is None:
            raise StorageError(
                f"{self.path} has lost the array {digest}; leave the file as it is and work on a copy"
            )
        try:
            return np.dtype(row[0]), tuple(json.loads(row[1]))
        except (TypeError, ValueError) as error:
            raise StorageError(f"{self.path}: the description of the array {digest} is damaged") from error

    def array(self, digest: str) -> Array:
        """Return a stored array, read-only. Raises StorageError if it is not what was stored."""
        if digest in self._cache:
            return self._cache[digest]
        dtype, shape = self.stored(digest)
        with storage(self.path, "read the journal"):
            (data,) = self._db.execute("SELECT data FROM arrays WHERE digest = ?", (digest,)).fetchone()
        try:
            array = (
                load_array(self.folder / "arrays", digest)
                if data is None
                else _from_bytes(data, dtype, shape)
            )
        except ValueError as error:
            raise StorageError(f"{self.path}: the array {digest} is damaged ({error})") from error
        if digest_of(array) != digest:
            raise StorageError(
                f"{self.path}: the array {digest} is damaged; leave the run as it is and work on a copy"
            )
        array.flags.writeable = False
        if len(self._cache) >= 32:
            self._cache.pop(next(iter(self._cache)))
        self._cache[digest] = array
        return array

    @property
    def meta(self) -> dict[str, Any]:
        """What `create` was given."""
        return next(self._entries("meta")).body  # type: ignore[no-any-return]

    @property
    def created(self) -> Stamp:
        """When the journal was started."""
        return next(self._entries("meta")).stamp

    @property
    def last(self) -> Entry:
        """The last committed row, without its body: where the run stands, and when it was there."""
        with storage(self.path, "read the journal"):
            found = self._db.execute(
                f"SELECT {', '.join(_COLUMNS)} FROM log ORDER BY seq DESC LIMIT 1"
            ).fetchone()
        row = self._checked(found)
        return Entry(row.seq, row.stage, row.kind or row.what, None, Stamp(row.utc, row.monotonic))

    @property
    def finished(self) -> bool:
        """Whether `finish` was called and nothing noted since."""
        with storage(self.path, "read the journal"):
            row = self._db.execute("SELECT what FROM log ORDER BY seq DESC LIMIT 1").fetchone()
        return row is not None and row[0] == "finish"

    def events(self, *, after: int = 0, load: bool = True) -> Iterator[Entry]:
        """Yield the events with a number above `after`."""
        return self._entries("event", after=after, load=load)

    def operations(self, *, after: int = 0, load: bool = True) -> Iterator[Operation]:
        """Yield the operations with a number above `after`, in the order of their intents.

        Arrays are read-only; with ``load=False`` each is a `Stored` instead.
        """
        intent, result = (", ".join(f"{side}.{name}" for name in _COLUMNS) for side in "ir")
        query = (
            f"SELECT {intent}, {result} FROM log i LEFT JOIN log r ON r.answers = i.seq"
            f" WHERE i.what = 'intent' AND i.seq > ? ORDER BY i.seq LIMIT {_CHUNK}"
        )
        n = len(_COLUMNS)
        while True:
            with storage(self.path, "read the journal"):
                found = self._db.execute(query, (after,)).fetchall()
            for columns in found:
                row = self._checked(columns[:n])
                end = None if columns[n] is None else self._checked(columns[n:])
                yield Operation(
                    row.seq,
                    row.stage,
                    row.kind,
                    self._body(row, load),
                    None if end is None else self._body(end, load),
                    Stamp(row.utc, row.monotonic),
                    None if end is None else Stamp(end.utc, end.monotonic),
                )
            if len(found) < _CHUNK:
                return
            after = found[-1][0]

    @property
    def tables(self) -> dict[str, Columns]:
        """What each table holds, by name."""
        return {entry.kind: self._definition(entry)[0] for entry in self._entries("table")}

    def records(self, table: str, *, after: int = 0) -> Iterator[Entry]:
        """Yield the records of `table` with a number above `after`; the body has the fields of the dataclass."""
        return self._entries("record", table, after=after)

    def table(self, name: str) -> Table:
        """Return all records of a kind as columns. Raises KeyError if there are none."""
        columns = self.tables[name]
        entries = list(self.records(name))
        lengths = [len(next(iter(e.body.values()))) if columns.columnar else 1 for e in entries]
        found: dict[str, Array] = {
            "seq": np.repeat(np.array([e.seq for e in entries], np.int64), lengths),
            "stage": np.repeat(np.array([e.stage for e in entries], np.str_), lengths),
            "utc": np.repeat(np.array([e.stamp.utc for e in entries], np.float64), lengths),
        }
        for field in columns.units:
            values = [e.body[field] for e in entries]
            found[field] = _concatenate(values) if columns.columnar else np.array(values)
        return Table(name, found, {"seq": "", "stage": "", "utc": "s", **columns.units}, columns.columnar)

    def verify(self) -> None:
        """Compare every digest and the database's own structure. Raises StorageError at the first damage."""
        with storage(self.path, "verify the journal"):
            (said,) = self._db.execute("PRAGMA integrity_check(1)").fetchone()
        if said != "ok":
            raise StorageError(f"{self.path} is damaged ({said}); leave it as it is and work on a copy")
        expected = 0
        for row in self._rows_where("1"):
            expected += 1
            if row.seq != expected:
                raise StorageError(
                    f"{self.path}: row {expected} is missing; leave it as it is and work on a copy"
                )
        with storage(self.path, "read the journal"):
            digests = [d for (d,) in self._db.execute("SELECT digest FROM arrays")]
        for digest in digests:
            self.array(digest)


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.resolve().as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=5
    )


def _from_bytes(data: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    array: Array = np.frombuffer(data, np.uint8).view(dtype) if data else np.empty(0, dtype)
    return array.reshape(shape)


def _field(name: str, value: object, kind: str) -> Any:
    """Return a field of a record as the kind it is declared to be; TypeError if it is none."""
    if kind == "array":
        array = np.asarray(value)
        if array.dtype.kind == "O":
            raise TypeError(f"{name} is {value!r:.80}; a record holds numbers, bools, texts and arrays")
        return array
    if kind == "str" and isinstance(value, str):
        check_text(value, name)
        return str(value)
    plain = value.item() if isinstance(value, np.generic | np.ndarray) and np.size(value) == 1 else value
    if kind == "bool" and isinstance(plain, bool):
        return plain
    if kind == "int" and isinstance(plain, int) and -(2**63) <= plain < 2**63:
        return int(plain)
    if kind == "float" and isinstance(plain, int | float):
        return float(plain)
    raise TypeError(f"{name} is {value!r:.80}; a {kind} was declared")
