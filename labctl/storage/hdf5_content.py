"""Write items into an HDF5 file, and compare a closed file with them, to the last bit.

A sealed die is some 500 small datasets. h5py's low-level interface writes and compares them in less than half of the
processor time of the other one, which looks every name up from the root and makes every type several times.
"""

import math
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5ds, h5g, h5o, h5p, h5s, h5t

from labctl.core.errors import StorageError
from labctl.storage.arrays import Array, raw, storage
from labctl.storage.hdf5_items import Group, Item, Link, StoredArray

_BIG = 1 << 16
"""Bytes from which an array has checksums, and is compressed if that makes it smaller: noise only costs time."""
_LEVEL = 1
"""Of gzip, after the shuffle filter: level 4 makes sealing a tenth slower and saves 1.5 %."""
_SAMPLES, _SAMPLE = 16, 1 << 12
"""Number of samples on which compression of an array is tried, and bytes of each."""
_LIBVER = ("earliest", "v110")
_TEXT = h5py.string_dtype()


def write(path: Path, items: Collection[Item]) -> None:
    """Write a new file; its root has ``complete`` when nothing is missing. Raises StorageError."""
    with storage(path, "write HDF5"), h5py.File(path, "x", libver=_LIBVER) as file:
        content = _Content(file)
        for item in items:
            match item:
                case Group():
                    _describe(content.group(item.path), item.attrs)
                case StoredArray():
                    content.put(item)
                case Link():
                    content.link(item)
        for item in items:
            if isinstance(item, StoredArray):
                _attach(file, item)
        file.flush()
        file.attrs["complete"] = True


class _Content:
    """What is written into a file; every group is made once, and stays open."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self._groups: dict[str, Any] = {"": h5g.open(file.id, b"/")}
        self._small = h5p.create(h5p.DATASET_CREATE)
        self._small.set_obj_track_times(False)
        self._beyond_ascii = h5p.create(h5p.LINK_CREATE)
        self._beyond_ascii.set_char_encoding(h5t.CSET_UTF8)

    def group(self, path: str) -> Any:
        """Return the group at a path, with all that it is in."""
        path = path.rstrip("/")
        if path not in self._groups:
            parent, name, naming = self._place(path)
            self._groups[path] = h5g.create(parent, name, naming)
        return self._groups[path]

    def _place(self, path: str) -> tuple[Any, bytes, Any]:
        """Return the group of an object, its name in there, and how that is made: marked if it is not ASCII."""
        parent, _, name = path.rpartition("/")
        return self.group(parent), name.encode(), None if name.isascii() else self._beyond_ascii

    def put(self, item: StoredArray) -> None:
        """Write a dataset and its attributes."""
        if _size(item) < _BIG:
            parent, name, naming = self._place(item.path)
            stored_type = h5t.py_create(_TEXT if item.dtype.kind == "U" else item.dtype, logical=True)
            made = h5d.create(parent, name, stored_type, h5s.create_simple(item.shape), self._small, naming)
        else:
            self.group(item.path.rpartition("/")[0])
            made = self._file.create_dataset(item.path, item.shape, **_packed(item)).id
        _describe(made, {**item.attrs, "units": item.units})
        dtype = made.dtype
        for memory, place, part in _parts(item, made):
            made.write(memory, place, np.asarray(_fixed(part, dtype), dtype, order="C"))

    def link(self, item: Link) -> None:
        """Give an object of this file, or of another one, one more name."""
        if item.file:
            self._file[item.path] = h5py.ExternalLink(item.file, item.target)
            return
        target = h5o.open(self._file.id, item.target.encode())
        h5o.link(target, *self._place(item.path))
        _describe(target, {"target": item.target})


def _describe(stored: Any, attrs: Mapping[str, Any]) -> None:
    """Give a group or a dataset its attributes."""
    for key, value in attrs.items():
        name, array = key.encode(), _attribute(value)
        if h5a.exists(stored, name):
            h5a.delete(stored, name)
        space = h5s.create_simple(array.shape)
        h5a.create(stored, name, h5t.py_create(array.dtype, logical=True), space).write(array)


def _attribute(value: Any) -> Array:
    """Return the value of an attribute as it is stored."""
    array = np.asarray(value)
    return array.astype(_TEXT) if array.dtype.kind == "U" else array


def _attach(file: h5py.File, item: StoredArray) -> None:
    """Give every axis of a dataset its scale."""
    stored = h5o.open(file.id, item.path.encode()) if item.scales else None
    for axis, path in enumerate(item.scales):
        scale = h5o.open(file.id, path.encode())
        if not h5ds.is_scale(scale):
            h5ds.set_scale(scale, path.rpartition("/")[2].encode())
        h5ds.attach_scale(stored, scale, axis)


def _packed(item: StoredArray) -> dict[str, Any]:
    """Return how a big array is stored."""
    packed: dict[str, Any] = {"dtype": item.dtype, "chunks": True, "fletcher32": True}
    if item.dtype.kind == "U":
        # text of variable length is not compressed and costs 40 bytes each, too much for a column as long as a night
        packed["dtype"] = h5py.string_dtype(length=max(_utf8(part).dtype.itemsize for part in item.parts()))
    if item.dtype.kind in "SU" or _shrinks(next(iter(item.parts()))):
        packed |= {"compression": "gzip", "compression_opts": _LEVEL, "shuffle": True}
    return packed


def _size(item: StoredArray) -> int:
    """Return the size in bytes; 0 for a scalar, which is never cut in chunks."""
    return math.prod(item.shape) * item.dtype.itemsize if item.shape else 0


def _shrinks(part: Array) -> bool:
    """Return whether gzip after the shuffle filter makes samples of an array a quarter smaller."""
    size = part.dtype.itemsize
    items = raw(part).reshape(-1, size)
    blocks = items[: len(items) // _SAMPLES * _SAMPLES].reshape(_SAMPLES, -1, size)[:, : _SAMPLE // size]
    tried = [np.ascontiguousarray(block.T).tobytes() for block in blocks]
    return sum(len(zlib.compress(block, _LEVEL)) for block in tried) < 0.75 * sum(map(len, tried))


def _utf8(texts: Array) -> Array:
    """Return (n,) texts as bytes of one length."""
    codes = np.ascontiguousarray(texts).view(np.uint32)
    if codes.max(initial=0) < 128:  # a hundred times as fast as numpy's own conversion
        return codes.astype(np.uint8).view(f"S{texts.dtype.itemsize // codes.itemsize}").reshape(texts.shape)
    return np.char.encode(texts, "utf-8")


def _fixed(part: Array, dtype: np.dtype[Any]) -> Array:
    """Return a part, its texts as bytes if the dataset has those of one length."""
    return _utf8(part) if part.dtype.kind == "U" and dtype.kind == "S" else part


def _parts(item: StoredArray, stored: Any) -> Iterator[tuple[Any, Any, Array]]:
    """Yield the parts of an array, each with its place in memory and in the dataset."""
    row = 0
    for part in item.parts():
        if part.shape == item.shape:
            yield h5s.ALL, h5s.ALL, part
        elif part.size:
            place = stored.get_space()
            place.select_hyperslab((row, *[0] * (part.ndim - 1)), part.shape)
            yield h5s.create_simple(part.shape), place, part
        row += len(part) if part.ndim else 1
    if item.shape and row != item.shape[0]:
        raise StorageError(f"{item.path} has {row} rows in the journal, expected {item.shape[0]}")


def check(path: Path, items: Collection[Item]) -> None:
    """Compare a closed file with its items, to the last bit; StorageError if they differ."""
    with storage(path, "read HDF5"), h5py.File(path, "r") as file:
        if not file.attrs.get("complete", False):
            raise StorageError(f"{path} is not complete; the journal has everything, seal the die again")
        for item in items:
            if not isinstance(item, Link) and not _same(file, item):
                raise StorageError(f"{path}: {item.path} is not what the journal says; seal the die again")
        if odd := _links(file) ^ set(_with_groups(item.path for item in items)):
            raise StorageError(f"{path}: {min(odd)} is missing or should not be there; seal the die again")


def _with_groups(paths: Iterable[str]) -> Iterator[str]:
    """Yield the paths and those of all groups that they are in, without the root."""
    for path in paths:
        while path.strip("/"):
            yield path
            path = path.rpartition("/")[0]


def _links(file: h5py.File) -> set[str]:
    """Return the paths of all groups, datasets and links in a file."""
    names: list[bytes] = []
    file.id.links.visit(names.append)
    return {f"/{name.decode()}" for name in names}


def _same(file: h5py.File, item: Group | StoredArray) -> bool:
    """Return whether a file has a group or a dataset as it should be."""
    try:
        stored = h5o.open(file.id, item.path.encode())
    except KeyError:
        return False
    if isinstance(item, Group):
        return isinstance(stored, h5g.GroupID) and _has(stored, item.attrs)
    if not isinstance(stored, h5d.DatasetID) or stored.shape != item.shape:
        return False
    if not _has(stored, {**item.attrs, "units": item.units}):
        return False
    # compared as objects: links give a scale more than one name
    if any(_scales(stored, axis) != [h5o.open(file.id, path.encode())] for axis, path in enumerate(item.scales)):
        return False
    dtype = stored.dtype
    for memory, place, part in _parts(item, stored):
        data = np.empty(part.shape, dtype)
        stored.read(memory, place, data)
        if not _equal(data, _fixed(part, dtype)):
            return False
    return True


def _scales(stored: Any, axis: int) -> list[Any]:
    """Return the scales of an axis of a dataset."""
    scales: list[Any] = []
    if h5ds.get_num_scales(stored, axis):
        h5ds.iterate(stored, axis, scales.append, 0)
    return scales


def _has(stored: Any, attrs: Mapping[str, Any]) -> bool:
    """Return whether a group or dataset has these attributes."""
    for key, value in attrs.items():
        name, expected = key.encode(), _attribute(value)
        if not h5a.exists(stored, name):
            return False
        attribute = h5a.open(stored, name)
        if attribute.shape != expected.shape or attribute.dtype != expected.dtype:
            return False
        data = np.empty(expected.shape, expected.dtype)
        attribute.read(data)
        if not _equal(data, expected):
            return False
    return True


def _equal(data: Array, expected: Array) -> bool:
    """Return whether what was read is what was written; text of variable length is read as bytes."""
    if data.dtype.kind == "O":
        return data.ravel().tolist() == [text.encode() for text in expected.ravel().tolist()]
    return data.dtype == expected.dtype and np.array_equal(raw(data), raw(expected))
