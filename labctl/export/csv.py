"""A run as CSV: one row per die and try, and every table, for spreadsheets and scripts that read nothing else.

A unit stands in brackets behind the name of its column, and numbers are written with all their digits.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from labctl.core.errors import StorageError
from labctl.core.figure import Figures
from labctl.core.planned_fault import InjectedFaults
from labctl.storage.results import Run
from labctl.storage.run_log import RunState, Try
from labctl.storage.tables import Table

DIES = "dies.csv"


def _titled(name: str, unit: str) -> str:
    return f"{name} [{unit}]" if unit else name


def _when(utc: float) -> str:
    return datetime.fromtimestamp(utc, UTC).isoformat(timespec="milliseconds") if utc else ""


def die_rows(state: RunState) -> Iterator[list[Any]]:
    """Yield the header and then one row per die and try, dies that were skipped and visits of a golden die included.

    Rows of a run with injected faults say so in a column `rehearsal`.
    """
    declared, faults = Figures.of_run(state.meta), InjectedFaults.of(state.meta.get("faults"))
    rehearsal, label = ([], []) if faults is None else (["rehearsal"], [faults.text])
    figures = declared.in_order(name for die in state.dies.values() for one in die.tries for name in one.figures)
    wafers = {str(d["name"]): str(d.get("wafer", "")) for d in state.meta["dies"]}
    yield [
        *("die", "wafer", "x", "y", "golden", "suspect", "try", "state", "bin", "hard_bin", "rule", "reason", "stage"),
        *("since", "until", "seconds [s]", "exit_code", "sha256"),
        *rehearsal,
        *(_titled(name, declared[name].unit) for name in figures),
    ]
    for die in state.dies.values():
        about = [die.name, wafers.get(die.name, ""), *die.at, int(die.golden), die.suspect]
        tries: Sequence[Try | None] = die.tries or (None,)
        for one in tries:
            if one is None:
                yield [*about, "", die.state.value, "", "", "", die.reason, *[""] * 6, *label, *[""] * len(figures)]
                continue
            yield [
                *about,
                *(one.number, one.state.value, one.bin, one.hard or "", one.rule, one.reason, one.stage),
                *(_when(one.since), _when(one.until), one.seconds, one.exit_code, one.sha256),
                *label,
                *(one.figures.get(name, "") for name in figures),
            ]


def table_rows(table: Table) -> Iterator[list[Any]]:
    """Yield the header and the rows of a table's columns that have one value a row."""
    names = [name for name, column in table.columns.items() if column.ndim == 1]
    yield [_titled(name, table.units.get(name, "")) for name in names]
    columns = [table[name].tolist() for name in names]
    yield from (list(row) for row in zip(*columns, strict=True))


def array_rows(table: Table, names: Sequence[str]) -> Iterator[list[Any]]:
    """Yield the header and one row per element of array columns of one shape: `die` and `seq` say whose it is."""
    first = table[names[0]]
    shape = first.shape[1:]
    axes = table.axes.get(names[0]) or [f"axis{k}" for k in range(len(shape))]
    keys = [key for key in ("die", "seq") if key in table.columns]
    yield [*keys, *axes, *(_titled(name, table.units.get(name, "")) for name in names)]
    index = [grid.ravel().tolist() for grid in np.indices(shape)]
    for row in range(table.rows):
        whose = [table[key][row].item() for key in keys]
        values = [table[name][row].ravel().tolist() for name in names]
        yield from ([*whose, *at] for at in zip(*index, *values, strict=True))


class _Sheets:
    """Files in a folder, each with one header; rows of several dies go to the same one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.headers: dict[Path, list[Any]] = {}

    def add(self, name: str, rows: Iterator[list[Any]]) -> None:
        """Append rows, the first of which is the header; StorageError if it is another than that of the file."""
        path, header = self.folder / name, next(rows)
        known = self.headers.get(path)
        if known is not None and known != header:
            raise StorageError(f"{path}: not every die has the same columns; the run is damaged, or of two versions")
        with path.open("x" if known is None else "a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            if known is None:
                self.headers[path] = header
                writer.writerow(header)
            writer.writerows([_plain(value) for value in row] for row in rows)


def write_csv(state: RunState, run: Run, folder: Path) -> list[Path]:
    """Write ``dies.csv``, ``TABLE.csv`` and, for columns that hold arrays, ``TABLE.AXES.csv`` into a new folder.

    Tables are those of the newest try of each die. Columns of a table whose arrays have the same axes and shape share a
    file. One die at a time is in memory. Returns the files.

    Raises:
        FileExistsError: the folder is there and not empty.
        StorageError: the run is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty")
    sheets = _Sheets(folder)
    sheets.add(DIES, die_rows(state))
    tables = {die: run.die(die).tables for die in run.dies}
    for name in run.tables:
        labels: dict[tuple[Any, ...], str] = {}
        for die in (die for die in run.dies if name in tables[die]):
            table = run.table(name, die)
            sheets.add(f"{name}.csv", table_rows(table))
            for group, columns in _groups(table).items():
                if group not in labels:
                    label = re.sub(r"[^A-Za-z0-9_.-]", "_", ".".join(group[0]) or columns[0])
                    labels[group] = columns[0] if label in labels.values() else label
                sheets.add(f"{name}.{labels[group]}.csv", array_rows(table, columns))
    return list(sheets.headers)


def _groups(table: Table) -> dict[tuple[Any, ...], list[str]]:
    """Return the columns of a table that hold arrays by the axes and the shape of one array."""
    groups: dict[tuple[Any, ...], list[str]] = {}
    for column, values in table.columns.items():
        if values.ndim > 1 and values.size:
            groups.setdefault((tuple(table.axes.get(column, ())), values.shape[1:]), []).append(column)
    return groups


def _plain(value: Any) -> Any:
    """Return 1 and 0 for True and False, and every other value as it is."""
    return int(value) if isinstance(value, bool) else value
