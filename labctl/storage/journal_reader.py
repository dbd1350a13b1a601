"""Read the journal of a die: live, finished, or left behind by a process that was killed.

Reading never changes the journal, holds no transaction longer than one query (a long one keeps the log
from being trimmed), and compares every digest on the way: damage is an error and never a number.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labctl.core.errors import StorageError
from labctl.storage.arrays import Array, Stored, decode, digest_of, load_array, storage
from labctl.storage.tables import Columns, Table, concatenate, narrow
from labctl.storage.vouching import journal_way_back

_CHUNK = 500
_CACHED = 1 << 25
"""Bytes of arrays kept in memory once they were read and compared."""


class Stamp(NamedTuple):
    """Time of a row: UTC in s since 1970, and a clock that is never set, in s."""

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
    """One operation on the die; `result` and `end` are None if the journal ends before its result."""

    seq: int
    stage: str
    kind: str
    intent: Any
    result: Any
    start: Stamp
    end: Stamp | None


class Row(NamedTuple):
    """One row of the log, as it is stored."""

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
        """Digest that is stored with the row, to notice damage."""
        return hashlib.blake2b(json.dumps(self).encode(), digest_size=8).hexdigest()


COLUMNS = (*Row._fields, "digest")
EMPTY = (
    "found no row in it, expected the first one at least: its writer was ended before it wrote the first row, or a "
    "copy of it broke off"
)
"""What is said of such a journal: nothing was begun, and nothing is lost."""


class JournalReader:
    """The reading half of `labctl.storage.journal.Journal`: yields committed rows."""

    folder: Path
    path: Path
    _db: sqlite3.Connection
    _cache: dict[str, Array]
    _cached = 0
    _described: dict[str, tuple[np.dtype[Any], tuple[int, ...]]]

    # reading: committed rows, in short transactions, digests compared

    def _rows_where(self, condition: str, *values: object, after: int = 0) -> Iterator[Row]:
        query = f"SELECT {', '.join(COLUMNS)} FROM log WHERE {condition} AND seq > ? ORDER BY seq LIMIT {_CHUNK}"
        while True:
            with storage(self.path, "read the journal"):
                rows = self._db.execute(query, (*values, after)).fetchall()
            for columns in rows:
                yield self._checked(columns)
            if len(rows) < _CHUNK:
                return
            after = rows[-1][0]

    def _checked(self, columns: tuple[Any, ...]) -> Row:
        row = Row(*columns[:-1])
        # a bit in the header of a row makes its texts bytes, of which there is no digest
        if any(isinstance(value, bytes) for value in columns) or row.digest != columns[-1]:
            raise StorageError(f"{self.path}: row {row.seq} is damaged; {journal_way_back(self.path)}")
        return row

    def _body(self, row: Row, load: bool) -> Any:
        def get(reference: dict[str, Any]) -> object:
            stored = Stored(reference["$array"], tuple(reference["shape"]), reference.get("index", ""))
            return self.load(stored) if load else stored

        return decode(row.body, get)

    def _entries(self, what: str, kind: str | None = None, *, after: int = 0, load: bool = True) -> Iterator[Entry]:
        condition, values = ("what = ?", (what,)) if kind is None else ("what = ? AND kind = ?", (what, kind))
        for row in self._rows_where(condition, *values, after=after):
            yield Entry(row.seq, row.stage, row.kind, self._body(row, load), Stamp(row.utc, row.monotonic))

    def stored(self, digest: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
        """Return dtype and shape of a stored array."""
        if digest not in self._described:
            self._described[digest] = self._description(digest, *self._array_row(digest, "dtype, shape"))
        return self._described[digest]

    def array(self, digest: str) -> Array:
        """Return a stored array, read-only. Raises StorageError if it is not what was stored."""
        if digest in self._cache:
            return self._cache[digest]
        *description, data = self._array_row(digest, "dtype, shape, data")
        dtype, shape = self._described[digest] = self._description(digest, *description)
        try:
            array = load_array(self.folder / "arrays", digest) if data is None else _from_bytes(data, dtype, shape)
        except ValueError as error:
            raise StorageError(f"{self.path}: the array {digest} is damaged ({error})") from error
        if digest_of(array) != digest:
            raise StorageError(f"{self.path}: the array {digest} is damaged; {journal_way_back(self.path)}")
        array.flags.writeable = False
        self._cache[digest] = array
        self._cached += array.nbytes
        while self._cached > _CACHED and len(self._cache) > 1:
            self._cached -= self._cache.pop(next(iter(self._cache))).nbytes
        return array

    def _array_row(self, digest: str, columns: str) -> tuple[Any, ...]:
        with storage(self.path, "read the journal"):
            row = self._db.execute(f"SELECT {columns} FROM arrays WHERE digest = ?", (digest,)).fetchone()
        if row is None:
            raise StorageError(f"{self.path} has lost the array {digest}; {journal_way_back(self.path)}")
        return tuple(row)

    def _description(self, digest: str, dtype: str, shape: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
        try:
            return np.dtype(dtype), tuple(json.loads(shape))
        except (TypeError, ValueError) as error:
            raise StorageError(f"{self.path}: the description of the array {digest} is damaged") from error

    def load(self, stored: Stored) -> Array:
        """Return the array that a row names, read-only. Raises StorageError if it is not what was stored."""
        array = self.array(stored.digest)
        if stored.index:
            try:
                array = array[self.array(stored.index)]
            except IndexError as error:
                raise StorageError(f"{self.path}: the array {stored.index} does not belong to its rows") from error
        return np.broadcast_to(array, stored.shape)

    @property
    def meta(self) -> dict[str, Any]:
        """The meta that `create` was given."""
        entry = next(self._entries("meta"), None)
        if entry is None:
            raise StorageError(f"{self.path}: {EMPTY}")
        return entry.body  # type: ignore[no-any-return]

    @property
    def created(self) -> Stamp:
        """When the journal was started."""
        return next(self._entries("meta")).stamp

    @property
    def last(self) -> Entry:
        """The last committed row, without its body. Raises StorageError if there is none yet."""
        with storage(self.path, "read the journal"):
            columns = self._db.execute(f"SELECT {', '.join(COLUMNS)} FROM log ORDER BY seq DESC LIMIT 1").fetchone()
        if columns is None:
            raise StorageError(f"{self.path}: the journal has no row yet; it is being made, or its process was killed")
        row = self._checked(columns)
        return Entry(row.seq, row.stage, row.kind or row.what, None, Stamp(row.utc, row.monotonic))

    @property
    def finished(self) -> bool:
        """Whether `finish` was called and nothing was appended since."""
        with storage(self.path, "read the journal"):
            row = self._db.execute("SELECT what FROM log ORDER BY seq DESC LIMIT 1").fetchone()
        return row is not None and row[0] == "finish"

    def events(self, kind: str | None = None, *, after: int = 0, load: bool = True) -> Iterator[Entry]:
        """Yield the events with a number above `after`, of one kind or of all."""
        return self._entries("event", kind, after=after, load=load)

    def intents(self, *, after: int = 0) -> Iterator[tuple[Row, Row | None]]:
        """Yield the rows of the operations with a number above `after`, each with that of its result, if it has one."""
        intent, result = (", ".join(f"{side}.{name}" for name in COLUMNS) for side in "ir")
        query = (
            f"SELECT {intent}, {result} FROM log i LEFT JOIN log r ON r.answers = i.seq"
            f" WHERE i.what = 'intent' AND i.seq > ? ORDER BY i.seq LIMIT {_CHUNK}"
        )
        n = len(COLUMNS)
        while True:
            with storage(self.path, "read the journal"):
                rows = self._db.execute(query, (after,)).fetchall()
            for columns in rows:
                yield self._checked(columns[:n]), None if columns[n] is None else self._checked(columns[n:])
            if len(rows) < _CHUNK:
                return
            after = rows[-1][0]

    def rows(self, what: str, *, after: int = 0) -> Iterator[Row]:
        """Yield the rows of one sort ("event", "record", ...) with a number above `after`."""
        return self._rows_where("what = ?", what, after=after)

    def body(self, row: Row, *, load: bool = True) -> Any:
        """Return the body of a row; with ``load=False`` each array is a `Stored` instead."""
        return self._body(row, load)

    def operations(self, *, after: int = 0, load: bool = True) -> Iterator[Operation]:
        """Yield the operations with a number above `after`, in the order of their intents.

        Arrays are read-only; with ``load=False`` each is a `Stored` instead.
        """
        for row, end in self.intents(after=after):
            yield Operation(
                row.seq,
                row.stage,
                row.kind,
                self._body(row, load),
                None if end is None else self._body(end, load),
                Stamp(row.utc, row.monotonic),
                None if end is None else Stamp(end.utc, end.monotonic),
            )

    @property
    def tables(self) -> dict[str, Columns]:
        """Columns of each table, by name."""
        return {entry.kind: self._definition(entry)[0] for entry in self._entries("table")}

    def records(self, table: str, *, after: int = 0) -> Iterator[Entry]:
        """Yield the records of `table` with a number above `after`; bodies are dicts of the fields."""
        return self._entries("record", table, after=after)

    def table(self, name: str) -> Table:
        """Return all records of a kind as columns. Raises KeyError if there are none."""
        columns = self.tables[name]
        entries = list(self.records(name))
        lengths = [len(next(iter(e.body.values()))) if columns.columnar else 1 for e in entries]
        arrays: dict[str, Array] = {
            "seq": np.repeat(np.array([e.seq for e in entries], np.int64), lengths),
            "stage": np.repeat(np.array([e.stage for e in entries], np.str_), lengths),
            "utc": np.repeat(np.array([e.stamp.utc for e in entries], np.float64), lengths),
        }
        for field in columns.units:
            values = [e.body[field] for e in entries]
            arrays[field] = concatenate(values) if columns.columnar else np.array(values)
        units = {"seq": "", "stage": "", "utc": "s", **columns.units}
        arrays = {field: narrow(array) for field, array in arrays.items()}
        return Table(name, arrays, units, columns.columnar, columns.axes, columns.codes)

    def digests(self) -> frozenset[str]:
        """Return the digests of all arrays that the journal keeps."""
        with storage(self.path, "read the journal"):
            return frozenset(d for (d,) in self._db.execute("SELECT digest FROM arrays"))

    def image(self) -> Array:
        """Return the database as the bytes of one file, without a write-ahead log."""
        with storage(self.path, "read the journal"):
            return np.frombuffer(self._db.serialize(), np.uint8)

    def verify(self) -> None:
        """Compare every digest and the database's own structure. Raises StorageError at the first damage."""
        with storage(self.path, "verify the journal"):
            (verdict,) = self._db.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != "ok":
            raise StorageError(f"{self.path} is damaged ({verdict}); {journal_way_back(self.path)}")
        self.verify_rows()
        for digest in sorted(self.digests()):
            self.array(digest)

    def verify_rows(self) -> None:
        """Compare every row with its digest: one whose kind is damaged is found by no query. Raises StorageError."""
        for expected, row in enumerate(self._rows_where("1"), start=1):
            if row.seq != expected:
                raise StorageError(f"{self.path}: row {expected} is missing; {journal_way_back(self.path)}")

    @staticmethod
    def _definition(entry: Entry) -> tuple[Columns, dict[str, tuple[int, ...]]]:
        body = dict(entry.body)
        shapes = {k: tuple(v) for k, v in body.pop("shapes").items()}
        return Columns(**body), shapes


def _from_bytes(data: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    array: Array = np.frombuffer(data, np.uint8).view(dtype) if data else np.empty(0, dtype)
    return array.reshape(shape)
