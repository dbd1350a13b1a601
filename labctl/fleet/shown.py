"""A fleet as people and programs read it: a table, CSV, Parquet, JSON."""

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from labctl.analysis.zones import Zone
from labctl.config.bins import is_good, is_measured
from labctl.core.errors import BenchError, StorageError
from labctl.core.figure import Shown
from labctl.core.names import new_folder_of
from labctl.fleet.columns import COLUMNS
from labctl.fleet.store import Fleet, arrow, plain_list
from labctl.terminal.progress import Column, counted, print_table

USUAL = ("finished", "campaign", "die", "size", "bin")
"""Columns that are shown where none are asked for, before the figures."""
MOST = 40
"""Rows of a table on a screen; the rest is counted."""


def chosen(fleet: Fleet, asked: Sequence[str], compared: Sequence[str]) -> list[str]:
    """Return the columns to show: those asked for, or the usual ones, those that were compared, and the headline.

    Raises:
        BenchError: one that is asked for is not there.
    """
    there = fleet.table.column_names
    for name in asked:
        if name not in there:
            raise BenchError(f"--columns {name}: there is no such column; expected some of {', '.join(there)}")
    if asked:
        return list(asked)
    known = [name for name in fleet.figure_columns if fleet.table[name].null_count < fleet.table.num_rows]
    headline = [figure.key for figure in fleet.declared.chosen(known, Shown.HEADLINE)]
    columns = list(dict.fromkeys([*USUAL, *(name for name in compared if name in there), *headline]))
    return [name for name in columns if name != "size" or any(fleet.table["size"].to_pylist())]


def print_rows(screen: Console, fleet: Fleet, columns: Sequence[str]) -> None:
    """Print the newest rows as a table, and below it how many rows, dies, runs and bins there are."""
    newest = fleet.table.sort_by([("finished", "descending"), ("die", "ascending")]).slice(0, MOST)
    heads, texts = [], []
    for name in columns:
        figure = fleet.figure(name) if name in fleet.figure_columns else None
        title = name if figure is None else f"{figure.title}{f', {figure.shown_unit}' if figure.shown_unit else ''}"
        heads.append(Column(title, None if name in ("die", *columns[:1]) else 1, right=figure is not None))
        values = plain_list(newest[name])
        texts.append([_text(value) if figure is None else figure.text_number(value) for value in values])
    if newest.num_rows:
        print_table(screen, "", heads, list(zip(*texts, strict=True)))
    if fleet.table.num_rows > MOST:
        screen.print(f"the newest {MOST} of {fleet.table.num_rows:,}; --csv, --json and --parquet have all of them")
    screen.print(tally(fleet))


def tally(fleet: Fleet) -> str:
    """Return in words how many rows, dies and runs there are, and the dies by bin."""
    rows = fleet.table.select(["run_id", "die", "bin", "state", "golden", "hard", "zone"]).to_pylist()
    dies = {(row["run_id"], row["die"]): row["bin"] or row["state"] for row in rows if not row["golden"]}
    visits = len({(row["run_id"], row["die"]) for row in rows if row["golden"]})
    bins = ", ".join(f"{count:,} {name}" for name, count in Counter(dies.values()).most_common())
    text = f"{counted(len(rows), 'row')}: {counted(len(dies), 'die')} of {counted(len({r for r, _ in dies}), 'run')}"
    text += f" ({bins})" if bins else ""
    return text + _by_zone(rows) + (f", {counted(visits, 'visit')} of golden dies" if visits else "")


def _by_zone(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return how many of the dies that rules could judge are good in each zone of their wafers; "" without zones."""
    hard = {(row["run_id"], row["die"]): (row["hard"], row["zone"]) for row in rows if not row["golden"]}
    judged = [one for one in hard.values() if one[0] and one[1] and not is_measured(one[0])]
    zones = [
        f"{zone} {sum(is_good(h) for h, z in judged if z == zone)} of {sum(z == zone for _, z in judged)}"
        for zone in Zone
        if any(z == zone for _, z in judged)
    ]
    return f"; good in {', '.join(zones)}" if judged else ""


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value.astimezone():%Y-%m-%d %H:%M}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value is None else str(value)


def plain_rows(fleet: Fleet) -> list[dict[str, Any]]:
    """Return the rows as JSON has them: times as ISO texts in UTC, numbers that are none as null."""
    columns = {name: map(_plain, plain_list(fleet.table[name])) for name in fleet.table.column_names}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def write_csv(fleet: Fleet, path: Path) -> None:
    """Write the rows as CSV in a new file; figures in SI units."""
    with new_file(path).open("x", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fleet.table.column_names)
        writer.writeheader()
        writer.writerows(plain_rows(fleet))


def write_parquet(fleet: Fleet, path: Path) -> None:
    """Write the rows as Parquet in a new file, without the marks of a fleet; units are in the metadata of columns."""
    pa = arrow()
    fields = [
        field.with_metadata(
            {"meaning": COLUMNS[field.name][1]}
            if field.name in COLUMNS
            else {"meaning": fleet.figure(field.name).note, "unit": fleet.figure(field.name).unit or "1"}
        )
        for field in fleet.table.schema
    ]
    pa.parquet.write_table(fleet.table.cast(pa.schema(fields)), new_file(path), compression="zstd")


def new_file(path: Path) -> Path:
    """Return the path of a file that is to be made; raises if it is there, or cannot be made."""
    new_folder_of(path)
    if path.exists():
        raise BenchError(f"{path}: it exists; nothing is ever written over: name a new file")
    return path


def write(fleet: Fleet, csv_path: Path | None, parquet_path: Path | None) -> list[Path]:
    """Write the rows into the files that are named; return them.

    Raises:
        BenchError: one exists.
        StorageError: one cannot be written.
    """
    written = []
    for path in (csv_path, parquet_path):
        if path is not None:
            new_file(path)
    for path, writer in ((csv_path, write_csv), (parquet_path, write_parquet)):
        if path is not None:
            try:
                writer(fleet, path)
            except OSError as error:
                raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error
            written.append(path)
    return written


def as_json(fleet: Fleet) -> str:
    """Return the rows and the declarations of their figures as one line of JSON."""
    return json.dumps({"rows": plain_rows(fleet), "figures": {k: dict(v) for k, v in fleet.figures.items()}})
