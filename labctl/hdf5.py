"""Seal a finished die in one HDF5 file, check it, and read it back.

The only module that knows HDF5. A file is written once, in bulk, under another name; compared with the
journal after it was closed; and only then given its name. It runs in a process of its own, because a full
disk can crash the library: ``python -m labctl.hdf5 seal RUN DIE``. Files keep to what HDF5 1.10 can read.
"""

import hashlib
import json
import math
import os
import subprocess
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote

import h5py
import numpy as np

from labctl.arrays import Array, decode, storage, sync, sync_folder
from labctl.core.errors import LabError, StorageError
from labctl.journal import Journal
from labctl.journal_reader import Entry, Operation, Stamp
from labctl.layout import (
    Dataset,
    Group,
    Item,
    Link,
    dataset,
    default_plot,
    die_items,
    plots,
    run_meta,
    table_items,
)
from labctl.tables import Table

_BIG = 1 << 16
"""Bytes from which an array is compressed, if that makes it smaller: noise only takes time."""
_LEVEL = 1
"""Of gzip, after the shuffle filter: level 4 takes a tenth longer for all of a sealing and saves 1.5 %."""
_SAMPLES, _SAMPLE = 16, 1 << 12
"""Places at which an array is tried, and bytes at each."""
_LIBVER = ("earliest", "v110")


def seal(run: Path, die: str) -> str:
    """Seal a die whose journal is finished, and return the sha256 of ``RUN/dies/DIE.h5``.

    A file that was sealed before and says what the journal says is left alone; any other file in the way, and
    the leftovers of a sealing that was cut off, are moved to ``RUN/quarantine``. Raises StorageError.
    """
    final = run / "dies" / f"{die}.h5"
    with Journal.open(run / "dies" / die) as journal:
        if not journal.finished:
            raise StorageError(f"the journal of die {die} is not finished; it is sealed when its run has ended")
        journal.verify()
        items = die_items(run, die, journal)
        if final.exists():
            try:
                check(final, items)
                return _sha256(final)
            except StorageError:
                quarantine(run, final)
        _replace(run, final, items)
    return _sha256(final)


def seal_in_subprocess(run: Path, die: str) -> str:
    """Do what `seal` does, in a process of its own. Raises StorageError, also if that process dies."""
    return str(_in_subprocess("seal", run, die)["sha256"])


def write_run_file_in_subprocess(run: Path) -> Path:
    """Do what `write_run_file` does, in a process of its own. Raises StorageError, also if that process dies."""
    return Path(_in_subprocess("index", run)["path"])


def _in_subprocess(command: str, run: Path, *more: str) -> dict[str, Any]:
    # the same code as here, wherever it was imported from
    paths = [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-m", "labctl.hdf5", command, str(run), *more],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=env,
        # out of reach of ^C and of a terminal that closes: what has been measured is sealed whatever ends the run
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )
    try:
        said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        full = "No space left" in done.stderr
        last = "the disk is full: free some space" if full else done.stderr.strip()[-400:]
        said = {"error": f"{run}: the process to {command} {' '.join(more)} ended with {done.returncode} ({last})"}
    if done.returncode or "error" in said:
        raise StorageError(f"{said.get('error')}; the journals have everything")
    return said


def write_run_file(run: Path) -> Path:
    """Write ``RUN/run.h5`` anew: a link to every sealed die, and their tables of plain numbers side by side.

    Raises StorageError.
    """
    names = sorted(path.stem for path in (run / "dies").glob("*.h5"))
    found: dict[str, list[Table]] = {}
    for name in names:
        with SealedDie(run / "dies" / f"{name}.h5") as die:
            for table in (die.table(t) for t in die.tables):
                if not table.columnar:
                    found.setdefault(table.name, []).append(_plain(table, name))
    tables = [Table.join(parts) for parts in found.values()]
    items: list[Item] = [
        dataset("/summary/title", str(run_meta(run).get("title") or run.resolve().name)),
        Group("/summary/records", {"NX_class": "NXcollection"}),
        *(item for table in tables for item in table_items(f"/summary/records/{table.name}", table)),
        *(item for table in tables for item in plots("/summary", table)),
    ]
    shown = default_plot(items)
    root = {
        "NX_class": "NXroot",
        "creator": "mtj-labctl",
        "default": "summary" if shown or not names else names[0],
    }
    links = [Link(f"/{name}", "/entry", f"dies/{name}.h5") for name in names]
    summary = {"NX_class": "NXentry", **({"default": shown} if shown else {})}
    _replace(run, run / "run.h5", [Group("/", root), Group("/summary", summary), *items, *links])
    return run / "run.h5"


def _plain(table: Table, die: str) -> Table:
    columns = {"die": np.full(table.rows, die), **{k: v for k, v in table.items() if v.ndim == 1}}
    return Table(table.name, columns, {"die": "", **table.units})


def quarantine(run: Path, path: Path) -> Path:
    """Move `path` to ``RUN/quarantine`` under a free name, and return where it is now."""
    folder = run / "quarantine"
    with storage(path, "move a leftover to quarantine"):
        folder.mkdir(exist_ok=True)
        number, target = 0, folder / path.name
        while target.exists():
            number += 1
            target = folder / f"{path.name}.{number}"
        os.rename(path, target)
        sync_folder(folder)
    return target


def _replace(run: Path, final: Path, items: Iterable[Item]) -> None:
    """Write `items` beside `final`, check them, and give them its name."""
    part, items = final.with_name(f"{final.name}.part"), list(items)
    if part.exists():
        quarantine(run, part)
    write(part, items)
    check(part, items)
    with storage(part, "finish the file"):
        with part.open("r+b") as file:
            sync(file.fileno())
        os.replace(part, final)
        sync_folder(final.parent)


def _sha256(path: Path) -> str:
    with storage(path, "read the file"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(path: Path, items: Iterable[Item]) -> None:
    """Write a new file; its root says ``complete`` when nothing is missing. Raises StorageError."""
    with storage(path, "write HDF5"), h5py.File(path, "x", libver=_LIBVER) as file:
        for item in items:
            match item:
                case Group():
                    file.require_group(item.path).attrs.update(item.attrs)
                case Dataset():
                    _create(file, item)
                case Link(file=""):
                    file[item.path] = file[item.target]
                    file[item.target].attrs["target"] = item.target
                case Link():
                    file[item.path] = h5py.ExternalLink(item.file, item.target)
        file.flush()
        file.attrs["complete"] = True


def _create(file: h5py.File, item: Dataset) -> None:
    text, big = item.dtype.kind == "U", _size(item) >= _BIG
    packed = {}
    if big and (item.dtype.kind in "SU" or _shrinks(next(iter(item.parts())))):
        packed = {"chunks": True, "compression": "gzip", "compression_opts": _LEVEL, "shuffle": True}
    # variable text is not compressed and costs 40 bytes for each one, which a column as long as a night feels
    dtype = h5py.string_dtype(length=_length(item) if big else None) if text else item.dtype
    made = file.create_dataset(item.path, item.shape, dtype, **packed)
    made.attrs.update({**item.attrs, "units": item.units})
    row = 0
    for part in item.parts():
        data = part if not text else _fixed(part, made.dtype) if big else part.astype(object)
        if not item.shape:
            made[()] = data[()]
        elif len(part):
            made[row : row + len(part)] = data
            row += len(part)


def _size(item: Dataset) -> int:
    """Return the size in bytes; 0 for a scalar, which is never cut in chunks."""
    return math.prod(item.shape) * item.dtype.itemsize if item.shape else 0


def _shrinks(part: Array) -> bool:
    """Return whether gzip after the shuffle filter makes samples of an array a quarter smaller."""
    size = part.dtype.itemsize
    raw = np.ascontiguousarray(part).reshape(-1).view(np.uint8).reshape(-1, size)
    blocks = raw[: len(raw) // _SAMPLES * _SAMPLES].reshape(_SAMPLES, -1, size)[:, : _SAMPLE // size]
    tried = [np.ascontiguousarray(block.T).tobytes() for block in blocks]
    return sum(len(zlib.compress(block, _LEVEL)) for block in tried) < 0.75 * sum(map(len, tried))


def _length(item: Dataset) -> int:
    """Return the bytes of the longest text, at least 1."""
    return max((_utf8(part).dtype.itemsize for part in item.parts()), default=1)


def _utf8(texts: Array) -> Array:
    """Return texts as bytes of one length."""
    try:
        return texts.astype(np.bytes_)
    except UnicodeEncodeError:
        return np.char.encode(texts, "utf-8")


def _fixed(texts: Array, dtype: np.dtype[Any]) -> Array:
    return _utf8(texts).astype(dtype)


def check(path: Path, items: Iterable[Item]) -> None:
    """Compare a closed file with what it should hold, to the last bit; StorageError if they differ."""
    with storage(path, "read HDF5"), h5py.File(path, "r") as file:
        if not file.attrs.get("complete", False):
            raise StorageError(f"{path} is not complete; the journal has everything, seal the die again")
        expected = set()
        for item in items:
            if not isinstance(item, Group):
                expected.add(item.path)
            if isinstance(item, Dataset) and not _same(file.get(item.path), item):
                raise StorageError(f"{path}: {item.path} is not what the journal says; seal the die again")
        if odd := set(_leaves(file)) ^ expected:
            raise StorageError(f"{path}: {min(odd)} is missing or should not be there; seal the die again")


def _leaves(group: h5py.Group, path: str = "") -> Iterator[str]:
    """Yield the paths of the datasets and external links in a group."""
    links = group.id.links
    for name in group:
        external = links.get_info(name.encode()).type == h5py.h5l.TYPE_EXTERNAL
        if not external and h5py.h5o.get_info(group.id, name.encode()).type == h5py.h5o.TYPE_GROUP:
            yield from _leaves(group[name], f"{path}/{name}")
        else:
            yield f"{path}/{name}"


def _same(found: Any, item: Dataset) -> bool:
    if not isinstance(found, h5py.Dataset) or found.shape != item.shape or found.attrs.get("units") != item.units:
        return False
    row, fixed = 0, item.dtype.kind == "U" and found.dtype.kind == "S"
    for part in item.parts():
        where = slice(row, row + len(part)) if item.shape else ()
        data = np.asarray(found[where]) if fixed else _load(found, where)
        row += len(part) if item.shape else 0
        if fixed:
            same = np.array_equal(data, _utf8(part))
        elif item.dtype.kind == "U":
            same = np.array_equal(data, part)
        else:
            same = data.dtype == part.dtype and data.tobytes() == part.tobytes()
        if not same:
            return False
    return row == (item.shape[0] if item.shape else 0)


def _load(found: h5py.Dataset, where: Any = ()) -> Array:
    kind = h5py.check_string_dtype(found.dtype)
    if kind is None or kind.encoding == "ascii":
        return np.asarray(found[where])
    text = np.asarray(found.asstr()[where])
    return text.astype(np.str_) if text.size else np.zeros(text.shape, "U1")


class SealedDie:
    """A sealed file, open for reading. Raises StorageError if it is none, or not complete."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with storage(path, "open HDF5"):
            self._file = h5py.File(path, "r")
        if not self._file.attrs.get("complete", False) or "entry/operations" not in self._file:
            self._file.close()
            raise StorageError(f"{path} is not a sealed die; the journal beside it has what was recorded")
        self._entry = self._file["entry"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; harmless a second time."""
        self._file.close()

    @property
    def meta(self) -> dict[str, Any]:
        """What the journal was started with."""
        return self._values("provenance/die")

    @property
    def run_meta(self) -> dict[str, Any]:
        """What ``run.json`` said."""
        return self._values("provenance/run")

    def _values(self, path: str) -> dict[str, Any]:
        found = {}
        for name, value in self._entry[path].items():
            plain = _load(value).item()
            found["" if name == "%" else unquote(name)] = json.loads(plain) if value.attrs["json"] else plain
        return found

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables."""
        return tuple(self._entry["records"])

    def table(self, name: str) -> Table:
        """Return a table. Raises KeyError if there is none of that name."""
        group = self._entry["records"][name]
        units = {field: column.attrs["units"] for field, column in group.items()}
        return Table(
            name,
            {field: _load(column) for field, column in group.items()},
            {field: "" if unit == "1" else unit for field, unit in units.items()},
            bool(group.attrs["columnar"]),
        )

    def events(self) -> Iterator[Entry]:
        """Yield the events, as the journal would."""
        group = self._entry["events"]
        body = _Arrays(group)
        names = ("seq", "stage", "kind", "utc", "monotonic", "body")
        columns = zip(*(_load(group[name]).tolist() for name in names), strict=True)
        for row, (seq, stage, kind, utc, monotonic, text) in enumerate(columns):
            yield Entry(seq, stage, kind, body.decode(row, text), Stamp(utc, monotonic))

    def operations(self) -> Iterator[Operation]:
        """Yield the operations, as the journal would."""
        group = self._entry["operations"]
        body = _Arrays(group)
        names = ("seq", "stage", "kind", "intent", "result")
        columns = zip(*(_load(group[name]).tolist() for name in names), strict=True)
        start, end = (
            [Stamp(*times) for times in zip(*(_load(group[f"{w}_{c}"]).tolist() for c in Stamp._fields), strict=True)]
            for w in ("start", "end")
        )
        for row, (seq, stage, kind, intent, result) in enumerate(columns):
            done = body.decode(row, result) if result else None
            yield Operation(seq, stage, kind, body.decode(row, intent), done, start[row], end[row] if result else None)


class _Arrays:
    """The arrays that the bodies of a group name."""

    def __init__(self, group: h5py.Group) -> None:
        self._group = group
        self._open: dict[str, tuple[Any, ...]] = {}

    def decode(self, row: int, text: str) -> Any:
        return decode(text, lambda found: self._array(row, found["$array"]))

    def _array(self, row: int, name: str) -> Array:
        if name not in self._open:
            g = self._group["arrays"][name]
            values = g["values"] if g["values"].nbytes > 1 << 28 else _load(g["values"])
            whole = values, *(_load(g[c]) for c in ("start", "stored_shape", "index"))
            chosen = [_load(g[f"selection{c}"]) for c in ("", "_start", "_shape", "_index")] if "selection" in g else []
            self._open[name] = np.dtype(g.attrs["dtype"]), _load(g["shape"]), whole, chosen
        dtype, shape, whole, chosen = self._open[name]
        array = _block(whole, row).astype(dtype, copy=False)
        if chosen and chosen[-1][row] >= 0:
            array = array[_block(chosen, row)]
        return np.broadcast_to(array, [n for n in shape[row].tolist() if n >= 0])


def _block(stored: Sequence[Any], row: int) -> Array:
    """Return the one that `row` has of arrays that stand one after the other: values, starts, shapes, index of rows."""
    values, start, shape, index = stored
    first, base = int(start[index[row]]), [n for n in shape[index[row]].tolist() if n >= 0]
    return np.asarray(values[first : first + math.prod(base)]).reshape(base)


def main(arguments: list[str]) -> int:
    """Carry out ``seal RUN DIE`` or ``index RUN``, print one line of JSON, and return the exit code."""
    try:
        match arguments:
            case ["seal", run, die]:
                said, code = {"die": die, "sha256": seal(Path(run), die)}, 0
            case ["index", run]:
                said, code = {"path": str(write_run_file(Path(run)))}, 0
            case _:
                raise LabError(f"cannot do {arguments}; expected seal RUN DIE, or index RUN")
    except LabError as error:
        said, code = {"error": str(error)}, error.exit_code
    print(json.dumps(said))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
