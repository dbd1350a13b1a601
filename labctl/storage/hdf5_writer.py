"""Seal a finished die in one HDF5 file and check it.

A file is written once, in bulk, under another name; compared with the journal after it was closed; and only then given
its name. During a run this happens in a process of its own (`sealing`), because a full disk can crash the
library; by hand it is ``python -m labctl.storage.hdf5_writer seal RUN DIE``. Files keep to what HDF5 1.10 can read.
"""

import json
import math
import os
import sys
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from labctl.core.errors import BenchError, LabError, StorageError
from labctl.core.exit_codes import ExitCode
from labctl.core.figure import Figures
from labctl.core.names import inside
from labctl.core.units import Second
from labctl.storage.arrays import Array, quarantine, raw, storage, sync_folder
from labctl.storage.hdf5_items import (
    Group,
    Item,
    Link,
    StoredArray,
    dataset,
    default_plot,
    die_plot,
    plots,
    table_items,
)
from labctl.storage.hdf5_layout import die_items
from labctl.storage.hdf5_reader import SealedDie, load
from labctl.storage.journal import Journal
from labctl.storage.locks import hold
from labctl.storage.manifest import known_meta
from labctl.storage.private import rights_of
from labctl.storage.run_log import newest_of, read_state, recorded_digests
from labctl.storage.tables import Table
from labctl.storage.vouching import FORMAT, put_seal, vouch

_BIG = 1 << 16
"""Bytes from which an array has checksums, and is compressed if that makes it smaller: noise only costs time."""
_LEVEL = 1
"""Of gzip, after the shuffle filter: level 4 makes sealing a tenth slower and saves 1.5 %."""
_SAMPLES, _SAMPLE = 16, 1 << 12
"""Number of samples on which compression of an array is tried, and bytes of each."""
_PATIENCE: Second = 120.0
"""How long one process waits for another one that seals the same die."""
_LIBVER = ("earliest", "v110")


def seal(run: Path, die: str) -> str:
    """Seal a die whose journal is finished, and return the sha256 of ``RUN/dies/DIE.h5``.

    A file that was sealed before and equals the journal is left alone; any other file of that name, and the
    leftovers of a sealing that was cut off, are moved to ``RUN/quarantine``. Raises StorageError, and BenchError
    for a die whose file would lie outside of the run.
    """
    final, folder = inside(run / "dies", f"{die}.h5"), inside(run / "dies", die)
    if not folder.is_dir():
        Journal.open(folder, of=die).close()  # says what is not there
    # a worker that was killed leaves a process that finishes its order, while the next session seals the same die
    with (
        _alone(folder),
        Journal.open(folder, of=die) as journal,
    ):
        if not journal.finished:
            raise StorageError(f"the journal of die {die} is not finished; it is sealed when its run has ended")
        journal.verify()
        items = die_items(run, die, journal)
        if final.exists():
            try:
                digest = vouch(final)
                check(final, items)
                return digest
            except StorageError:
                quarantine(run, final)
        _replace(run, final, items)
    return vouch(final)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let nobody else seal the die of a journal's folder while the block lasts. Raises StorageError."""
    with ExitStack() as held:
        try:
            held.enter_context(hold(folder, "seal", part="sealing", patience=_PATIENCE))
        except BenchError as error:
            raise StorageError(f"{folder.name} cannot be sealed: {error}") from error
        yield


def write_run_file(run: Path) -> Path:
    """Write ``RUN/run.h5`` anew: a link to every die's newest sealed try, and their plain numbers side by side.

    It holds a copy of the run's journal too, which is the way back if that is damaged. Raises StorageError.
    """
    newest = newest_of(path.stem for path in (run / "dies").glob("*.h5"))
    names, digests = list(newest), recorded_digests(run)
    plain_tables: dict[str, list[Table]] = {}
    for name, file in newest.items():
        with SealedDie(run / "dies" / f"{file}.h5", digests.get(file, ""), file) as die:
            for table in die.tables:
                if not die.columnar(table):
                    plain_tables.setdefault(table, []).append(_plain(die.table(table), name))
    tables = [Table.join(parts) for parts in plain_tables.values()]
    items: list[Item] = [
        dataset("/summary/title", str(known_meta(run).get("title") or run.resolve().name)),
        Group("/summary/records", {"NX_class": "NXcollection"}),
        *(item for table in tables for item in table_items(f"/summary/records/{table.name}", table)),
        *(item for table in tables for item in plots("/summary", table)),
    ]
    dies: list[Item] = []
    if (run / "journal.db").is_file():
        with Journal.open(run) as journal:
            items.append(dataset("/summary/journal", journal.image()))
        state = read_state(run)
        figures = {die.name: dict(die.last.figures) for die in state.subjects if die.last and die.last.figures}
        dies = list(die_plot("/summary/dies", figures, Figures.of_run(state.meta)))
        items += dies
    shown = "dies" if dies else default_plot(items)
    root = {
        "NX_class": "NXroot",
        "creator": "mtj-labctl",
        "format": FORMAT,
        "default": "summary" if shown or not names else names[0],
    }
    links = [Link(f"/{name}", "/entry", f"dies/{file}.h5") for name, file in newest.items()]
    summary = {"NX_class": "NXentry", **({"default": shown} if shown else {})}
    _replace(run, run / "run.h5", [Group("/", root), Group("/summary", summary), *items, *links])
    return run / "run.h5"


def _plain(table: Table, die: str) -> Table:
    columns = {"die": np.full(table.rows, die), **{k: v for k, v in table.items() if v.ndim == 1}}
    return Table(table.name, columns, {"die": "", **table.units})


def _replace(run: Path, final: Path, items: Iterable[Item]) -> None:
    """Write `items` to a file beside `final`, check it, and rename it to `final`."""
    part, items = final.with_name(f"{final.name}.part"), list(items)
    if part.exists():
        quarantine(run, part)
    write(part, items)
    put_seal(part)
    check(part, items)
    with storage(part, "finish the file"):
        os.replace(part, final)
        sync_folder(final.parent)


def write(path: Path, items: Collection[Item]) -> None:
    """Write a new file; its root has ``complete`` when nothing is missing. Raises StorageError."""
    with storage(path, "write HDF5"), h5py.File(path, "x", libver=_LIBVER) as file:
        for item in items:
            match item:
                case Group():
                    file.require_group(item.path).attrs.update(item.attrs)
                case StoredArray():
                    _create(file, item)
                case Link(file=""):
                    file[item.path] = file[item.target]
                    file[item.target].attrs["target"] = item.target
                case Link():
                    file[item.path] = h5py.ExternalLink(item.file, item.target)
        for item in items:
            if isinstance(item, StoredArray):
                _attach(file, item)
        file.flush()
        file.attrs["complete"] = True


def _attach(file: h5py.File, item: StoredArray) -> None:
    """Give every axis of a dataset its scale."""
    for axis, path in enumerate(item.scales):
        if not h5py.h5ds.is_scale(file[path].id):
            file[path].make_scale(path.rsplit("/", 1)[1])
        file[item.path].dims[axis].attach_scale(file[path])


def _create(file: h5py.File, item: StoredArray) -> None:
    text, big = item.dtype.kind == "U", _size(item) >= _BIG
    packed: dict[str, Any] = {}
    if big:
        packed = {"chunks": True, "fletcher32": True}
    if big and (item.dtype.kind in "SU" or _shrinks(next(iter(item.parts())))):
        packed |= {"compression": "gzip", "compression_opts": _LEVEL, "shuffle": True}
    # text of variable length is not compressed and costs 40 bytes each, too much for a column as long as a night
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


def _length(item: StoredArray) -> int:
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
    """Compare a closed file with its items, to the last bit; StorageError if they differ."""
    with storage(path, "read HDF5"), h5py.File(path, "r") as file:
        if not file.attrs.get("complete", False):
            raise StorageError(f"{path} is not complete; the journal has everything, seal the die again")
        expected = set()
        for item in items:
            if isinstance(item, Group):
                if not _has(file.get(item.path), item.attrs):
                    raise StorageError(f"{path}: {item.path} is not what the journal says; seal the die again")
                continue
            expected.add(item.path)
            if isinstance(item, StoredArray) and not _same(file.get(item.path), item):
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


def _has(stored: Any, attrs: Mapping[str, Any]) -> bool:
    """Return whether a group or dataset has these attributes."""
    return stored is not None and all(
        name in stored.attrs and np.array_equal(stored.attrs[name], value) for name, value in attrs.items()
    )


def _same(stored: Any, item: StoredArray) -> bool:
    if not isinstance(stored, h5py.Dataset) or stored.shape != item.shape:
        return False
    if not _has(stored, {**item.attrs, "units": item.units}):
        return False
    file = stored.file
    if any(
        path not in file or list(stored.dims[axis].values()) != [file[path]] for axis, path in enumerate(item.scales)
    ):
        return False  # compared as objects: links give a scale more than one name
    row, fixed = 0, item.dtype.kind == "U" and stored.dtype.kind == "S"
    for part in item.parts():
        where = slice(row, row + len(part)) if item.shape else ()
        data = np.asarray(stored[where]) if fixed else load(stored, where)
        row += len(part) if item.shape else 0
        if fixed:
            same = np.array_equal(data, _utf8(part))
        elif item.dtype.kind == "U":
            same = np.array_equal(data, part)
        else:
            same = data.dtype == part.dtype and np.array_equal(raw(data), raw(part))
        if not same:
            return False
    return row == (item.shape[0] if item.shape else 0)


def main(arguments: list[str]) -> int:
    """Carry out ``seal RUN DIE`` or ``index RUN``, print one line of JSON, and return the exit code.

    With ``serve`` do so for every line of standard input, a list in JSON such as ["seal", RUN, DIE].
    """
    if arguments == ["serve"]:
        return _serve()
    answer, code = _carry_out(arguments)
    print(json.dumps(answer))
    return code


def _carry_out(arguments: list[str]) -> tuple[dict[str, str], int]:
    try:
        match arguments:
            case ["seal", run, die]:
                with rights_of(Path(run)):
                    return {"die": die, "sha256": seal(Path(run), die)}, ExitCode.GOOD
            case ["index", run]:
                with rights_of(Path(run)):
                    return {"path": str(write_run_file(Path(run)))}, ExitCode.GOOD
        raise LabError(f"cannot do {arguments}; expected seal RUN DIE, or index RUN")
    except LabError as error:
        return {"error": str(error)}, error.exit_code


def _serve() -> int:
    # the pipe is for answers alone; output of libraries goes to standard error
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        for line in sys.stdin:
            answer, _ = _carry_out(json.loads(line))
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
    return ExitCode.GOOD


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
