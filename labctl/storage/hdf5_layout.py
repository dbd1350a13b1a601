"""The layout of a sealed file, declared once: the writer makes the file from it, the check compares with it.

A layout is a list of groups and datasets, independent of HDF5, made of the journal and the run folder.
Arrays of operations differ in shape from one operation to the next and repeat, so each kind of array is one
flat list of the distinct ones with an index, and those that the journal keeps as distinct rows stay so;
``docs/hdf5-layout.md`` describes every path.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from labctl.core.events import Approached, DieEvent
from labctl.core.texts import visible
from labctl.storage.arrays import Array, Stored, encode, storage
from labctl.storage.event_rows import event_rows
from labctl.storage.hdf5_items import (
    EPOCH,
    Group,
    Item,
    Link,
    StoredArray,
    dataset,
    default_plot,
    file_key,
    iso,
    key,
    plots,
    table_items,
    values,
)
from labctl.storage.journal import Journal
from labctl.storage.manifest import known_meta
from labctl.storage.vouching import FORMAT

UNITS = {
    "row": "V",
    "col": "V",
    "gate": "V",
    "compliance": "A",
    "aperture": "s",
    "width": "s",
    "current": "A",
    "voltage": "V",
    "cut": "S",
    "v_read": "V",
    "ladder": "V",
}
"""Units of values in bodies, by name: the fields of `labctl.core.die`; other names have none."""

_BUFFER = 1 << 24


@dataclass
class _Uses:
    """The arrays of one name: numbers of the distinct blocks by digest, and those of each row."""

    dtype: np.dtype[Any]
    values: dict[str, int] = field(default_factory=dict)
    selections: dict[str, int] = field(default_factory=dict)
    rows: dict[int, tuple[int, int, tuple[int, ...]]] = field(default_factory=dict)

    def add(self, row: int, array: Stored) -> None:
        value = self.values.setdefault(array.digest, len(self.values))
        selections = self.selections
        selection = selections.setdefault(array.index, len(selections)) if array.index else -1
        self.rows[row] = value, selection, array.shape


class _Bodies:
    """Bodies of many rows, taken apart into text, numbers and arrays."""

    def __init__(self, journal: Journal, rows: int) -> None:
        self._journal, self._rows = journal, rows
        self._arrays: dict[str, _Uses] = {}
        self._numbers: dict[str, Array] = {}

    def add(self, row: int, prefix: str, body: Any, *, numbers: bool) -> str:
        """Add the body of one row, and return its text, which refers to arrays by name."""

        def put(array: Array | Stored, path: tuple[str, ...]) -> dict[str, Any]:
            assert isinstance(array, Stored)
            dtype, _ = self._journal.stored(array.digest)
            name = ".".join((prefix, *map(key, path)))
            if name in self._arrays and self._arrays[name].dtype != dtype:
                name = f"{name}@{dtype.str.lstrip('<>|=')}"
            self._arrays.setdefault(name, _Uses(dtype)).add(row, array)
            return {"$array": name}

        if numbers:
            for path, value in _numbers(body, (prefix,)):
                self._numbers.setdefault(".".join(path), np.full(self._rows, np.nan))[row] = value
        return encode(body, put)

    def items(self, path: str) -> Iterator[Item]:
        for part, content in (("numbers", self._numbers), ("arrays", self._arrays)):
            if content:
                yield Group(f"{path}/{part}", {"NX_class": "NXcollection"})
        for name, column in self._numbers.items():
            yield dataset(f"{path}/numbers/{name}", column, UNITS.get(name.rsplit(".", 1)[1], ""))
        for name, uses in self._arrays.items():
            yield from self._array_items(f"{path}/arrays/{name}", uses)

    def _array_items(self, path: str, uses: _Uses) -> Iterator[Item]:
        unit = UNITS.get(path.rsplit(".", 1)[-1].split("@")[0], "")
        index, selected = np.full(self._rows, -1), np.full(self._rows, -1)
        for row, (value, selection, _) in uses.rows.items():
            index[row], selected[row] = value, selection
        yield Group(path, {"NX_class": "NXcollection", "dtype": uses.dtype.str})
        yield from self._blocks(path, "values", "", list(uses.values), uses.dtype, unit)
        yield dataset(f"{path}/index", index)
        yield dataset(f"{path}/shape", _shapes({row: shape for row, (_, _, shape) in uses.rows.items()}, self._rows))
        if uses.selections:
            digests = list(uses.selections)
            dtype = np.result_type(*(self._journal.stored(digest)[0] for digest in digests))
            yield from self._blocks(path, "selection", "selection_", digests, dtype, "")
            yield dataset(f"{path}/selection_index", selected)

    def _blocks(
        self, path: str, name: str, prefix: str, digests: list[str], dtype: np.dtype[Any], unit: str
    ) -> Iterator[Item]:
        """Yield a flat list of arrays, the start of each, and their shapes."""
        shapes = [self._journal.stored(digest)[1] for digest in digests]
        sizes = [math.prod(shape) for shape in shapes]

        def parts() -> Iterator[Array]:
            waiting: list[Array] = []
            size = 0
            for digest in digests:
                waiting.append(self._journal.array(digest).ravel())
                size += waiting[-1].nbytes
                if size >= _BUFFER:
                    yield np.concatenate(waiting, dtype=dtype)
                    waiting, size = [], 0
            if waiting:
                yield np.concatenate(waiting, dtype=dtype)

        yield StoredArray(f"{path}/{name}", (sum(sizes),), dtype, unit, parts)
        yield dataset(f"{path}/{prefix}start", np.cumsum([0, *sizes[:-1]], dtype=np.int64))
        yield dataset(f"{path}/{prefix or 'stored_'}shape", _shapes(dict(enumerate(shapes)), len(shapes)))


def _shapes(shapes: Mapping[int, tuple[int, ...]], rows: int) -> Array:
    """Return shapes as a table; those with fewer axes are filled up with -1."""
    table = np.full((rows, max((1, *map(len, shapes.values())))), -1)
    for row, shape in shapes.items():
        table[row, : len(shape)] = shape
    return table


def _numbers(body: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], float]]:
    if isinstance(body, dict):
        for name, value in body.items():
            yield from _numbers(value, (*path, key(name)))
    elif isinstance(body, float) or (isinstance(body, int) and abs(body) < 2**63):
        yield path, float(body)


def _texts(texts: list[str]) -> Array:
    return np.array(texts, np.str_) if texts else np.zeros(0, "U1")


def _patterns(intent: Any) -> int:
    """Return the number of patterns of an operation: the length of the first bias in its intent, or 0."""
    if isinstance(intent, dict):
        if isinstance(row := intent.get("row"), Stored):
            return row.shape[0] if row.shape else 0
        return next((n for n in map(_patterns, intent.values()) if n), 0)
    return 0


def operation_items(journal: Journal) -> Iterator[Item]:
    """Yield every operation of a journal, and its number of patterns over time."""
    path = "/entry/operations"
    operations = list(journal.operations(load=False))
    bodies, text = (
        _Bodies(journal, len(operations)),
        {"intent": [""] * len(operations), "result": [""] * len(operations)},
    )
    for row, op in enumerate(operations):
        text["intent"][row] = bodies.add(row, "intent", op.intent, numbers=True)
        if op.end is not None:
            text["result"][row] = bodies.add(row, "result", op.result, numbers=True)
    start = np.array([op.start for op in operations]).reshape(-1, 2)
    end = np.array([op.end or (np.nan, np.nan) for op in operations]).reshape(-1, 2)
    patterns = np.array([_patterns(op.intent) for op in operations], np.int64)
    yield Group(path, {"NX_class": "NXcollection"})
    yield dataset(f"{path}/seq", np.array([op.seq for op in operations], np.int64))
    yield dataset(f"{path}/stage", _texts([op.stage for op in operations]))
    yield dataset(f"{path}/kind", _texts([op.kind for op in operations]))
    yield dataset(f"{path}/patterns", patterns)
    for name, times in (("start", start), ("end", end)):
        yield dataset(f"{path}/{name}_utc", times[:, 0], "s", **EPOCH)
        yield dataset(f"{path}/{name}_monotonic", times[:, 1], "s")
        body = "intent" if name == "start" else "result"
        yield dataset(f"{path}/{body}", _texts(text[body]))
    yield from bodies.items(path)
    plot = "/entry/operations_patterns"
    yield Group(plot, {"NX_class": "NXdata", "signal": "patterns", "axes": ["time"]})
    yield Link(f"{plot}/patterns", f"{path}/patterns")
    yield dataset(f"{plot}/time", start[:, 1] - journal.created.monotonic, "s")


def event_items(journal: Journal) -> Iterator[Item]:
    """Yield every event of a journal."""
    path = "/entry/events"
    events = list(journal.events(load=False))
    bodies = _Bodies(journal, len(events))
    text = [bodies.add(row, "body", event.body, numbers=False) for row, event in enumerate(events)]
    yield Group(path, {"NX_class": "NXcollection"})
    yield dataset(f"{path}/seq", np.array([e.seq for e in events], np.int64))
    yield dataset(f"{path}/stage", _texts([e.stage for e in events]))
    yield dataset(f"{path}/kind", _texts([e.kind for e in events]))
    yield dataset(f"{path}/utc", np.array([e.stamp.utc for e in events], np.float64), "s", **EPOCH)
    yield dataset(f"{path}/monotonic", np.array([e.stamp.monotonic for e in events], np.float64), "s")
    yield dataset(f"{path}/body", _texts(text))
    yield from bodies.items(path)


def _text(value: Any) -> str:
    """Return a text that HDF5 holds, "" of nothing."""
    return "" if value is None else visible(str(value))


LARGE = 256 << 10
"""Bytes beyond which an input file, such as a data set, is not repeated in every die: the run folder has it, and
``run.json`` its digest."""


def provenance_items(run: Path, journal: Journal) -> Iterator[Item]:
    """Yield the provenance: ``run.json``, the meta of the journal, and all input files that are not large, verbatim.

    Operator, computer and time zone of the run, and instruments and calibrations at the last approach to the die, stand
    by themselves as well, where people and other programs look for them.
    """
    path, meta = "/entry/provenance", known_meta(run)
    yield Group(path, {"NX_class": "NXcollection"})
    yield from values(f"{path}/run", meta)
    for name, of in (("operator", "operator"), ("computer", "host"), ("time_zone", "time_zone")):
        yield dataset(f"{path}/{name}", _text(meta.get(of)))
    yield dataset(f"{path}/utc_offset", float(meta.get("utc_offset") or 0.0), "s")
    approached = [row.event for row in event_rows(DieEvent, journal.events()) if isinstance(row.event, Approached)]
    notes = approached[-1].notes if approached else {}
    for name, of in (("instruments", "identities"), ("calibration", "calibrations")):
        if told := {str(key): _text(text) for key, text in dict(notes.get(of) or {}).items()}:
            yield from values(f"{path}/{name}", told)
    yield Group("/entry/user", {"NX_class": "NXuser"})
    yield dataset("/entry/user/name", _text(meta.get("operator")))
    yield from values(f"{path}/die", journal.meta)
    yield Group(f"{path}/files", {"NX_class": "NXcollection"})
    folder = run / "files"
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        with storage(file, "read an input file"):
            data = file.read_bytes() if file.stat().st_size <= LARGE else None
        if data is None:
            continue
        name = f"{path}/files/{file_key(file.relative_to(folder).as_posix())}"
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            text = "\0"
        yield dataset(name, np.frombuffer(data, np.uint8) if "\0" in text else text)


def die_items(run: Path, die: str, journal: Journal) -> list[Item]:
    """Return all items of the file of a die; the journal must stay open while they are used."""
    title = f"{known_meta(run).get('title') or run.resolve().name}: {die}"
    tables = [journal.table(name) for name in journal.tables]
    items: list[Item] = [
        dataset("/entry/title", title),
        dataset("/entry/start_time", iso(journal.created.utc)),
        dataset("/entry/end_time", iso(journal.last.stamp.utc)),
        *provenance_items(run, journal),
        Group("/entry/records", {"NX_class": "NXcollection"}),
        *(item for table in tables for item in table_items(f"/entry/records/{table.name}", table)),
        *event_items(journal),
        *(item for table in tables for item in plots("/entry", table)),
        *operation_items(journal),
    ]
    return [
        Group("/", {"NX_class": "NXroot", "default": "entry", "creator": "mtj-labctl", "format": FORMAT, "die": die}),
        Group("/entry", {"NX_class": "NXentry", "default": default_plot(items)}),
        *items,
    ]
