"""The Parquet file of a fleet: written whole and swapped in, so that a reader sees the old one or the new one.

It is never the master: run folders are, and it is made from them again at any time. Its schema has a version and the
declarations of the figures in its metadata; pandas, DuckDB and Spark read it as any other Parquet file.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from labctl.core.errors import BenchError, NotThereError, StorageError
from labctl.core.figure import Figure, Figures
from labctl.core.known_files import what_is
from labctl.fleet.columns import COLUMNS, NUMBER, TEXT, TIME, WHOLE, YES, figure_of

if TYPE_CHECKING:
    from labctl.fleet.rows import RunRows

VERSION = 3
"""Of the columns; a file of another version is refused, and made anew from the run folders."""
PATIENCE = 60.0
"""How long another program is waited for that adds to the file, s."""
_HEAD = 1 << 16
_VERSION, _FIGURES = b"labctl.fleet", b"labctl.figures"


def arrow() -> Any:
    """Return pyarrow; BenchError if it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise BenchError("labctl fleet needs the extra: pip install 'mtj-labctl[fleet]'") from error
    return pyarrow


@dataclass(frozen=True)
class Fleet:
    """The rows of many runs.

    Args:
        table: a pyarrow.Table: the columns of `labctl.fleet.columns.COLUMNS`, then one per figure.
        figures: declarations of the figures by key, as plain data.
    """

    table: Any
    figures: Mapping[str, Mapping[str, Any]]

    @property
    def declared(self) -> Figures:
        """The declarations of the figures."""
        return Figures.of_run({"figures": list(self.figures.values())})

    @property
    def figure_columns(self) -> list[str]:
        """The columns that are figures."""
        return [name for name in self.table.column_names if name not in COLUMNS]

    def figure(self, column: str) -> Figure:
        """Return the declaration of the figure of a column."""
        return self.declared[figure_of(column)]

    def only(self, keep: Any) -> "Fleet":
        """Return the rows for which the bool array `keep` (n,) is true."""
        pa, rows = arrow(), np.flatnonzero(keep)
        indices = pa.Array.from_buffers(pa.int64(), len(rows), [None, pa.py_buffer(rows.astype(np.int64))])
        return Fleet(self.table.take(indices), self.figures)


def plain_array(column: Any) -> npt.NDArray[Any]:
    """Return the (n,) values of a column of numbers, times or yes and no; NaN, NaT or False where there is none.

    Whole numbers some of which are not there are floats.

    By its bytes: pyarrow itself goes by way of pandas, whose import takes longer than any question.
    """
    array = column.combine_chunks() if hasattr(column, "combine_chunks") else column
    n, begin, (valid, data) = len(array), array.offset, array.buffers()
    kind = str(array.type)

    def bits(buffer: Any) -> npt.NDArray[np.bool_]:
        return np.unpackbits(np.frombuffer(buffer, np.uint8), bitorder="little")[begin : begin + n].view(np.bool_)

    if kind == "bool":
        values = bits(data).copy()
    else:
        dtype = "datetime64[ms]" if kind.startswith("timestamp[ms") else {"double": "f8"}.get(kind, kind)
        values = np.frombuffer(data, dtype)[begin : begin + n].copy()
    if valid is None or not array.null_count:
        return values
    values = values.astype(float) if values.dtype.kind == "i" else values
    values[~bits(valid)] = {"f": np.nan, "M": np.datetime64("NaT")}.get(values.dtype.kind, False)
    return values


def plain_list(column: Any) -> list[Any]:
    """Return the values of a column as `to_pylist` does, times in UTC; see `plain_array`."""
    if not str(column.type).startswith("timestamp[ms"):
        return list(column.to_pylist())
    times = plain_array(column)
    return [None if np.isnat(t) else t.astype(datetime).replace(tzinfo=UTC) for t in times]


def _types() -> dict[str, Any]:
    pa = arrow()
    return {
        TEXT: pa.string(), WHOLE: pa.int64(), NUMBER: pa.float64(), YES: pa.bool_(), TIME: pa.timestamp("ms", tz="UTC")
    }  # fmt: skip


def fleet_of(runs: "Iterable[RunRows]") -> Fleet:
    """Return the rows of runs as one table; a run that is there twice counts once, the later one."""
    pa, types = arrow(), _types()
    runs = {run.run_id: run for run in runs}.values()
    rows = [row for run in runs for row in run.rows]
    figures = {key: plain for run in runs for key, plain in run.figures.items()}
    names = [*COLUMNS, *dict.fromkeys(name for row in rows for name in row if name not in COLUMNS)]
    arrays = [
        pa.array([row.get(name) for row in rows], types[COLUMNS[name][0] if name in COLUMNS else NUMBER])
        for name in names
    ]
    return Fleet(pa.table(arrays, names=names), figures)


def read(path: Path) -> Fleet:
    """Return the fleet of a file.

    Raises:
        BenchError: it is a file of another kind.
        StorageError: it is not there (`NotThereError`), damaged, or of another version.
    """
    pa = arrow()
    if path.exists() and not path.is_file():
        raise BenchError(f"{path}: found {'a folder' if path.is_dir() else 'no regular file'}, expected a fleet")
    if not path.is_file():
        raise NotThereError(
            f"{path}: no such file; 'labctl fleet add RUN ... --fleet {path}' makes it from run folders"
        )
    try:
        with pa.parquet.ParquetFile(path, memory_map=False) as file:
            table = file.read()
        about = table.schema.metadata or {}
        version, figures = about.get(_VERSION), json.loads(about.get(_FIGURES, b"{}"))
    except (OSError, ValueError, pa.ArrowException) as error:
        _refuse_other(path)
        raise StorageError(f"{path}: cannot be read as Parquet: {error}; make it anew from the run folders") from error
    if version != str(VERSION).encode():
        has = f"is of version {version.decode(errors='replace')}" if version else "has none of our marks"
        raise StorageError(f"{path}: it {has}; expected a fleet of version {VERSION}; make it anew from run folders")
    return Fleet(table, figures)


def _refuse_other(path: Path) -> None:
    """Raise BenchError for a file that is positively something else than Parquet."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    kind = "an empty file" if not head else "" if head.startswith(b"PAR1") else what_is(head)
    if kind:
        raise BenchError(f"{path}: found {kind}, expected a fleet, as 'labctl fleet add' writes it")


def add(path: Path, runs: "Iterable[RunRows]", *, anew: bool = False) -> Fleet:
    """Write the rows of runs into a file, in place of earlier rows of the same runs; return what it has then.

    Args:
        anew: leave out what the file had.

    Raises:
        BenchError: the file is of another kind, which is not written over.
        StorageError: the file cannot be read or written, or another program holds it for too long.
    """
    from filelock import FileLock, Timeout  # it imports asyncio, and a question needs neither

    pa = arrow()
    try:
        if path.exists():
            _refuse_other(path)  # before a lock is left beside a file that is none of ours
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=PATIENCE):
            fleet = fleet_of(runs)
            if path.exists():
                _refuse_other(path)
                fleet = fleet if anew else _joined(read(path), fleet)
            about = {_VERSION: str(VERSION).encode(), _FIGURES: json.dumps(dict(fleet.figures)).encode()}
            part = path.with_name(f"{path.name}.part")
            with part.open("wb") as file:
                pa.parquet.write_table(fleet.table.replace_schema_metadata(about), file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
    except Timeout as error:
        raise StorageError(f"{path}: another program has held it for {PATIENCE:.0f} s; try again") from error
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error
    return fleet


def _joined(old: Fleet, new: Fleet) -> Fleet:
    """Return the rows of both, of a run that is in both those of `new`."""
    pa = arrow()
    import pyarrow.compute as compute

    replaced = compute.is_in(old.table["run_id"], value_set=new.table["run_id"].unique())
    kept = old.table.filter(compute.invert(replaced))
    table = pa.concat_tables([kept, new.table], promote_options="default")
    names = [*COLUMNS, *(name for name in table.column_names if name not in COLUMNS)]
    return Fleet(table.select(names), {**old.figures, **new.figures})
