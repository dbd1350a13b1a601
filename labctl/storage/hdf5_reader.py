"""Read sealed dies: the same events, operations and tables that their journals had."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote

import h5py
import numpy as np
from h5py import h5a, h5d, h5s, h5t

from labctl.core.errors import StorageError
from labctl.storage.arrays import Array, decode, storage
from labctl.storage.hdf5_items import LABELS, Group, Item, dataset, file_key
from labctl.storage.journal_reader import Entry, Operation, Stamp
from labctl.storage.tables import Table, narrow
from labctl.storage.vouching import FORMAT, refuse_unrecorded, vouch, way_back

_TEXT = h5py.string_dtype()
A_DIE = "the sealed file of the die"


def load(stored: h5py.Dataset, where: Any = ()) -> Array:
    """Return the part `where` of a dataset, text as a numpy array of `str_`."""
    kind = h5py.check_string_dtype(stored.dtype)
    if kind is None or kind.encoding == "ascii":
        return np.asarray(stored[where])
    if kind.length is not None:
        # decoding text by text takes too long in a column as long as a night
        fixed = np.asarray(stored[where])
        try:
            return fixed.astype(np.str_)
        except UnicodeDecodeError:
            return np.asarray(np.char.decode(fixed, "utf-8"))
    text = np.asarray(stored.asstr()[where])
    return text.astype(np.str_) if text.size else np.zeros(text.shape, "U1")


def _column(stored: h5d.DatasetID) -> Array:
    """Return a whole column, as `load` does; numbers by calls of the library itself, at a third of the time."""
    dtype, shape = stored.dtype, stored.shape
    if dtype.kind not in "biuf" or shape is None:
        return load(h5py.Dataset(stored))
    array = np.empty(shape, dtype)
    stored.read(h5s.ALL, h5s.ALL, array)
    return array


def _has(stored: h5d.DatasetID, name: str) -> bool:
    """Return whether a dataset has an attribute."""
    return bool(h5a.exists(stored, name.encode()))


def _texts_of(stored: h5d.DatasetID, name: str) -> list[str]:
    """Return the texts of an attribute. Raises KeyError if there is none of that name."""
    attribute = h5a.open(stored, name.encode())
    texts = np.empty(attribute.shape, attribute.dtype)
    attribute.read(texts)
    return [text.decode() if isinstance(text, bytes) else str(text) for text in texts.ravel().tolist()]


def _text_of(stored: h5d.DatasetID, name: str) -> str:
    """Return the one text of an attribute. Raises KeyError if there is none of that name."""
    attribute = h5a.open(stored, name.encode())
    kind = attribute.get_type()
    if not isinstance(kind, h5t.TypeStringID) or not kind.is_variable_str():
        return _texts_of(stored, name)[0]
    text = np.empty((), _TEXT)
    attribute.read(text)
    return text.item().decode() if isinstance(text.item(), bytes) else str(text.item())


def load_attribute(value: Any) -> Any:
    """Return an attribute, text as `str`."""
    return value.decode() if isinstance(value, bytes) else value


class SealedDie:
    """A sealed file, open for reading.

    Args:
        recorded: its sha256 as the run's journal has it; "" if that is not known.
        name: of the try of a die that it has to hold, as `folder_of` writes it; "" for any.

    Raises:
        StorageError: it is none, is not as it was sealed, holds another die, or is of another format.
    """

    def __init__(self, path: Path, recorded: str = "", name: str = "") -> None:
        self.path = path
        digest = vouch(path)
        with storage(path, "open HDF5"):
            self._file = h5py.File(path, "r")
        try:
            self._refuse_other(name)
            refuse_unrecorded(path, digest, recorded)
        except StorageError:
            self.close()
            raise
        self._entry = self._file["entry"]

    def _refuse_other(self, name: str) -> None:
        """Raise StorageError unless this is a sealed die, of the format that is read here, and of the try `name`."""
        attributes = self._file.attrs
        if not attributes.get("complete", False) or "entry/operations" not in self._file:
            raise StorageError(f"{self.path} is not a sealed die; {way_back(self.path)}")
        if (version := attributes.get("format")) != FORMAT:
            raise StorageError(
                f"{self.path} is a sealed file of format {version}, and this labctl reads {FORMAT}; "
                f"{way_back(self.path)}"
            )
        if name and attributes["die"] != name:
            raise StorageError(
                f"{self.path} is the file of die {attributes['die']}, not of {name}: it was renamed, or copied over "
                f"that; {way_back(self.path)}"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; harmless a second time."""
        self._file.close()

    @property
    def meta(self) -> dict[str, Any]:
        """The meta that the journal was started with."""
        return self._values("provenance/die")

    @property
    def run_meta(self) -> dict[str, Any]:
        """Content of ``run.json``."""
        return self._values("provenance/run")

    def noted(self, what: str) -> dict[str, str]:
        """Return what instruments said at the last approach by name: "instruments" or "calibration"; {} if nothing."""
        return self._values(f"provenance/{what}") if f"provenance/{what}" in self._entry else {}

    def input_file(self, name: str) -> bytes | None:
        """Return the bytes of an input file of the run, None if it has no copy of that."""
        stored = self._entry["provenance/files"].get(file_key(name))
        if stored is None:
            return None
        return bytes(stored[()]) if h5py.check_string_dtype(stored.dtype) else np.asarray(stored).tobytes()

    def _values(self, path: str) -> dict[str, Any]:
        content, group = {}, self._entry[path]
        for name in map(str, group.attrs["keys"]):
            value = group[name]
            plain = load(value).item()
            content["" if name == "%" else unquote(name)] = json.loads(plain) if value.attrs["json"] else plain
        return content

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables."""
        return tuple(self._entry["records"])

    def columnar(self, name: str) -> bool:
        """Return whether a table is one of long columns. Raises KeyError if there is none of that name."""
        return bool(self._entry["records"][name].attrs["columnar"])

    def table(self, name: str) -> Table:
        """Return a table. Raises KeyError if there is none of that name."""
        group = self._entry["records"][name]
        columns = {str(field): h5d.open(group.id, str(field).encode()) for field in group.attrs["columns"]}
        units = {field: _text_of(column, "units") for field, column in columns.items()}
        return Table(
            name,
            {field: narrow(_column(column)) for field, column in columns.items()},
            {field: "" if unit == "1" else unit for field, unit in units.items()},
            bool(group.attrs["columnar"]),
            axes={f: _texts_of(column, LABELS)[1:] for f, column in columns.items() if _has(column, LABELS)},
            codes={f: _codes(_text_of(column, "codes")) for f, column in columns.items() if _has(column, "codes")},
        )

    def operation_items(self) -> Iterator[Item]:
        """Yield the operations as items of another file, with the names that they have in this one."""

        def walk(group: h5py.Group, path: str) -> Iterator[Item]:
            yield Group(path, {name: load_attribute(value) for name, value in group.attrs.items()})
            for name, stored in group.items():
                if isinstance(stored, h5py.Group):
                    yield from walk(stored, f"{path}/{name}")
                else:
                    attrs = {key: load_attribute(value) for key, value in stored.attrs.items()}
                    yield dataset(f"{path}/{name}", load(stored), attrs.pop("units", ""), **attrs)

        return walk(self._entry["operations"], "/entry/operations")

    def events(self) -> Iterator[Entry]:
        """Yield the events, as the journal yields them."""
        group = self._entry["events"]
        body = _Arrays(group)
        names = ("seq", "stage", "kind", "utc", "monotonic", "body")
        columns = zip(*(load(group[name]).tolist() for name in names), strict=True)
        for row, (seq, stage, kind, utc, monotonic, text) in enumerate(columns):
            yield Entry(seq, stage, kind, body.decode(row, text), Stamp(utc, monotonic))

    def operations(self) -> Iterator[Operation]:
        """Yield the operations, as the journal yields them."""
        group = self._entry["operations"]
        body = _Arrays(group)
        names = ("seq", "stage", "kind", "intent", "result")
        columns = zip(*(load(group[name]).tolist() for name in names), strict=True)
        start, end = (
            [Stamp(*times) for times in zip(*(load(group[f"{w}_{c}"]).tolist() for c in Stamp._fields), strict=True)]
            for w in ("start", "end")
        )
        for row, (seq, stage, kind, intent, result) in enumerate(columns):
            done = body.decode(row, result) if result else None
            yield Operation(seq, stage, kind, body.decode(row, intent), done, start[row], end[row] if result else None)


def sealed_as(path: Path) -> str:
    """Return what a file with a seal is: that of a die, or the summary of a run. Raises StorageError if damaged."""
    vouch(path)
    with storage(path, "open HDF5"), h5py.File(path, "r") as file:
        if "entry/operations" in file:
            return f"{A_DIE} {file.attrs.get('die', '')}, which 'labctl show' opens"
        if "summary" in file:
            return "the summary of a run (run.h5), without its dies, to which it links"
        return "an HDF5 file of labctl, and neither a die nor a run"


def has_journal(path: Path) -> bool:
    """Return whether a ``run.h5`` has a copy of the run's journal. Raises StorageError if it is damaged."""
    vouch(path)
    with storage(path, "open HDF5"), h5py.File(path, "r") as file:
        return "summary/journal" in file


def journal_of_run_file(path: Path) -> bytes:
    """Return the copy of the run's journal in a ``run.h5``. Raises StorageError if it has none, or is damaged."""
    vouch(path)
    with storage(path, "open HDF5"), h5py.File(path, "r") as file:
        if "summary/journal" not in file:
            raise StorageError(f"{path} has no copy of the run's journal")
        return np.asarray(file["summary/journal"]).tobytes()


def _codes(text: str) -> dict[str, int]:
    """Return the codes of a column by name.

    >>> _codes("0 good, 1 short")
    {'good': 0, 'short': 1}
    """
    pairs = (entry.partition(" ") for entry in text.split(", "))
    return {word: int(code) for code, _, word in pairs}


class _Arrays:
    """The arrays to which the bodies of a group refer."""

    def __init__(self, group: h5py.Group) -> None:
        self._group = group
        self._open: dict[str, tuple[Any, ...]] = {}

    def decode(self, row: int, text: str) -> Any:
        return decode(text, lambda reference: self._array(row, reference["$array"]))

    def _array(self, row: int, name: str) -> Array:
        if name not in self._open:
            g = self._group["arrays"][name]
            values = g["values"] if g["values"].nbytes > 1 << 28 else load(g["values"])
            whole = values, *(load(g[c]) for c in ("start", "stored_shape", "index"))
            chosen = [load(g[f"selection{c}"]) for c in ("", "_start", "_shape", "_index")] if "selection" in g else []
            self._open[name] = np.dtype(g.attrs["dtype"]), load(g["shape"]), whole, chosen
        dtype, shape, whole, chosen = self._open[name]
        array = _block(whole, row).astype(dtype, copy=False)
        if chosen and chosen[-1][row] >= 0:
            array = array[_block(chosen, row)]
        return np.broadcast_to(array, [n for n in shape[row].tolist() if n >= 0])


def _block(stored: Sequence[Any], row: int) -> Array:
    """Return the array of `row` from a flat list of arrays: values, starts, shapes, index of rows."""
    values, start, shape, index = stored
    first, base = int(start[index[row]]), [n for n in shape[index[row]].tolist() if n >= 0]
    return np.asarray(values[first : first + math.prod(base)]).reshape(base)
