"""The data of the pictures that a run declares: maps over the cells of a kernel, and curves."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

import numpy as np

from labctl.core.defects import DEFECTS
from labctl.core.picture import CellMap, Curves, require_fit
from labctl.core.units import FloatArray
from labctl.storage.arrays import Array
from labctl.storage.tables import Table

_CODES = 100
"""Most codes of a map that are marked."""
_MARKERS = "h*<>p8"
"""Of codes that are no defects, in pictures, as matplotlib names them."""


@dataclass(frozen=True)
class Mark:
    """How the cells with one code are marked: a title, a letter in a map of characters, and a marker in a picture."""

    code: int
    title: str
    letter: str
    marker: str


@dataclass(frozen=True, eq=False)
class KernelPicture:
    """One map: `values` (n_rows, n_cols) in the unit of the picture, NaN of cells without one, and the marked cells.

    Args:
        codes: (n_rows, n_cols), 0 of a cell that is not marked.
        marks: of the codes that occur, in their order.
    """

    kernel: int
    values: FloatArray
    codes: Array
    marks: tuple[Mark, ...]


def kernel_pictures(table: Table, picture: CellMap) -> Iterator[KernelPicture]:
    """Yield the maps of a picture, by kernel; ValueError if the table has not the columns for it."""
    require_fit(picture, table)
    names = table.codes.get(picture.marks, {})
    for kernel in np.unique(table["kernel"]).tolist():
        rows = np.flatnonzero(table["kernel"] == kernel)
        values = _map(table, picture.column, rows, np.nan)
        codes = _map(table, picture.marks, rows, 0) if picture.marks else np.zeros(values.shape, np.int64)
        codes = codes.astype(np.int64)
        present = [code for code in np.unique(codes).tolist() if code]
        if len(present) > _CODES:
            raise ValueError(f"{picture.marks} has {len(present):,} different codes; expected {_CODES} at most")
        drawn = values.astype(np.float64) * picture.factor
        yield KernelPicture(kernel, drawn, codes, marks_of({code: _name(code, names) for code in present}))


def _map(table: Table, column: str, rows: Array, empty: float) -> Array:
    """Return the newest array of a kernel, or one made of its cells."""
    values = table[column]
    if values.ndim == 3:
        newest: Array = values[rows[-1]]
        return newest
    at = table["row"][rows], table["col"][rows]
    made: Array = np.full((int(at[0].max()) + 1, int(at[1].max()) + 1), empty)
    made[at] = values[rows]  # of cells that are there twice, the last row stays
    return made


def _name(code: int, names: Mapping[str, int]) -> str:
    exact = next((name for name, value in names.items() if value == code), None)
    bits = [name for name, value in names.items() if value & code]
    return exact or " and ".join(bits) or f"code {code}"


def marks_of(names: Mapping[int, str]) -> tuple[Mark, ...]:
    """Return the marks of codes by name: those of defects, of others a letter that no other has.

    >>> [mark.letter for mark in marks_of({1: "short", 4: "stuck_ap", 9: "sheared"})]
    ['S', 'A', 'H']
    """
    defects = {kind.key: kind for kind in DEFECTS}
    taken = {defects[name].letter for name in names.values() if name in defects}
    marks = []
    for code, name in names.items():
        if (kind := defects.get(name)) is not None:
            marks.append(Mark(code, kind.title, kind.letter, kind.marker))
            continue
        letter = next((c for c in name.upper() + ascii_uppercase if c.isalpha() and c not in taken), "?")
        taken.add(letter)
        marks.append(Mark(code, name.replace("_", " "), letter, _MARKERS[code % len(_MARKERS)]))
    return tuple(marks)


def curves(table: Table, picture: Curves) -> Iterator[tuple[str, FloatArray, FloatArray]]:
    """Yield label, x and y of every curve of a picture; ValueError if the table has not the columns for it."""
    require_fit(picture, table)
    keys = list(zip(*(table[name].tolist() for name in picture.by), strict=True)) or [()] * table.rows
    rows_of: dict[tuple[Any, ...], list[int]] = {}
    for row, key in enumerate(keys):
        rows_of.setdefault(key, []).append(row)
    for key, rows in rows_of.items():
        x, y = table[picture.x][rows], table[picture.y][rows]
        named = zip(picture.by, key, strict=True)
        label = ", ".join(f"{name} {_value(value, table.units.get(name, ''))}" for name, value in named)
        yield label, x.ravel() * picture.x_factor, y.ravel() * picture.y_factor


def _value(value: Any, unit: str) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return f"{text} {unit}".rstrip()
