"""Records as tables: the kinds of fields, and the columns that many records make."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from html import escape
from typing import Any, get_type_hints

import numpy as np

from labctl.storage.arrays import Array, check_text

_HEAD = 10
"""Rows that a notebook shows of a table."""
RESERVED = ("seq", "stage", "utc", "die")
"""Columns that every table has of its own."""


@dataclass(frozen=True, eq=False)
class Table(Mapping[str, Array]):
    """The records of one kind as columns: a mapping from field to (rows, ...) array.

    Besides the fields it has `seq`, `stage` and `utc` of each row.

    Args:
        units: unit of every column, "" where it has none.
        columnar: one record makes many rows.
        axes: names of the axes of one record's array, for the columns that declare them.
        codes: numbers by name, for the columns that hold codes.
    """

    name: str
    columns: dict[str, Array]
    units: dict[str, str]
    columnar: bool = False
    axes: dict[str, list[str]] = field(default_factory=dict)
    codes: dict[str, dict[str, int]] = field(default_factory=dict)

    def __getitem__(self, column: str) -> Array:
        try:
            return self.columns[column]
        except KeyError:
            raise KeyError(
                f"the table '{self.name}' has no column '{column}'; it has {', '.join(self.columns)}"
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.columns["seq"])

    def to_pandas(self) -> Any:
        """Return a DataFrame, units in ``attrs["units"]``; cells of array columns are arrays."""
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("pandas is not installed; pip install 'mtj-labctl[pandas]'") from error
        frame = pd.DataFrame({k: v if v.ndim == 1 else list(v) for k, v in self.columns.items()})
        frame.attrs["units"] = dict(self.units)
        return frame

    def to_xarray(self) -> Any:
        """Return a Dataset: dimension `record`, and those of array columns by their names; units as attributes.

        Dimensions are called as in the sealed file: of two lengths under one name the later has its length behind it.
        """
        try:
            import xarray as xr
        except ImportError as error:
            raise ImportError("xarray is not installed; pip install 'mtj-labctl[xarray]'") from error
        columns, axes = {}, axes_of(self)
        for name, values in self.columns.items():
            attributes = {"units": self.units[name]} if self.units.get(name) else {}
            columns[name] = (list(axes[name]), values, attributes)
        return xr.Dataset(columns, attrs={"table": self.name})

    def _repr_html_(self) -> str:
        """Return the head of the table, for notebooks."""
        heads = "".join(f"<th>{escape(_with_unit(name, self.units.get(name, '')))}</th>" for name in self.columns)
        lines = (
            "".join(f"<td>{escape(_shown(values[row]))}</td>" for values in self.columns.values())
            for row in range(min(self.rows, _HEAD))
        )
        first = f", the first {_HEAD} shown" if self.rows > _HEAD else ""
        rest = f"<p>{escape(self.name)}: {_count(self.rows, 'row')}{first}</p>"
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        return f"{rest}<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"

    def __repr__(self) -> str:
        names = ", ".join(_with_unit(name, self.units.get(name, "")) for name in self.columns)
        return f"<table '{self.name}' of {_count(self.rows, 'row')}: {names}>"

    @classmethod
    def join(cls, tables: Iterable["Table"]) -> "Table":
        """Return the rows of tables of one name, one after the other; ValueError if columns or shapes differ."""
        parts = list(tables)
        first = parts[0]
        if any(set(t) != set(first) for t in parts):
            raise ValueError(f"the table '{first.name}' does not have the same columns on every die")
        for name in first:
            shapes = {t[name].shape[1:]: None for t in parts if t.rows}
            if len(shapes) > 1:
                told = " and ".join(" x ".join(map(str, shape)) for shape in shapes)
                raise ValueError(
                    f"'{name}' of the table '{first.name}' is {told} on different dies; expected one shape: ask for "
                    f"the dies one by one, run.table('{first.name}', die)"
                )
        columns = {k: concatenate([t[k] for t in parts]) for k in first}
        return cls(first.name, columns, first.units, first.columnar, first.axes, first.codes)


def axes_of(table: Table) -> dict[str, tuple[str, ...]]:
    """Return the names of the axes of every column, rows first; axes of one name have one length.

    An axis without a name, or of another length than an earlier one of its name, is called after its length; none is
    called as a column is.
    """
    lengths: dict[str, int] = {"record": table.rows}
    named: dict[str, tuple[str, ...]] = {}
    for column, values in table.items():
        declared = table.axes.get(column) or ["axis"] * (values.ndim - 1)
        axes = ["record"]
        for axis, n in zip(declared, values.shape[1:], strict=True):
            name = f"{axis}_axis" if axis in table else axis
            if axis == "axis" or lengths.get(name, n) != n:
                name = f"{name}_{n}"
            lengths[name] = n
            axes.append(name)
        named[column] = tuple(axes)
    return named


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _with_unit(name: str, unit: str) -> str:
    return f"{name} [{unit}]" if unit else name


def _shown(value: Any) -> str:
    """Return a value of a cell as a notebook shows it; of an array its shape."""
    if isinstance(value, np.ndarray) and value.ndim:
        return " x ".join(map(str, value.shape))
    return f"{value:.6g}" if isinstance(value, float | np.floating) else str(value)


def concatenate(parts: list[Array]) -> Array:
    """Return `parts` as one array; empty ones do not change its dtype."""
    return np.concatenate([p for p in parts if len(p)] or parts[:1])


def narrow(array: Array) -> Array:
    """Return texts in the narrowest type that holds them, any other array as it is.

    >>> narrow(np.array(["a", "bc"], "U7")).dtype.str[1:], narrow(np.zeros(0, "U7")).dtype.str[1:]
    ('U2', 'U1')
    """
    if array.dtype.kind != "U":
        return array
    return array.astype(f"U{max(1, int(np.char.str_len(array).max(initial=0)))}", copy=False)


@dataclass(frozen=True)
class Columns:
    """The columns of a table: unit and kind ("float", "int", "bool", "str" or "array") of every field; `axes` and
    `codes` as in `Table`, of the fields that have any."""

    columnar: bool
    units: dict[str, str]
    kinds: dict[str, str]
    axes: dict[str, list[str]] = field(default_factory=dict)
    codes: dict[str, dict[str, int]] = field(default_factory=dict)


@cache
def columns_of(record: Any) -> Columns:
    """Return the columns of the table of a record type.

    Axes are those that the type declares (`axes`, by field); units and codes stand in the annotations of its fields.

    Raises:
        TypeError: a field has a name that every table has, or axes are declared of no field.
    """
    # imported here: a process that seals never needs it, and would wait for the import
    from labctl.core.record import codes_of, units_of

    hints = get_type_hints(record)
    kinds = {f.name: getattr(hints[f.name], "__name__", "array") for f in fields(record)}
    kinds = {name: kind if kind in ("float", "int", "bool", "str") else "array" for name, kind in kinds.items()}
    if taken := [name for name in kinds if name in RESERVED]:
        raise TypeError(f"a record has no field '{taken[0]}': every table has a column of that name")
    axes = {name: list(names) for name, names in getattr(record, "axes", {}).items()}
    if unknown := sorted(set(axes) - set(kinds)):
        raise TypeError(f"{record.__name__} declares axes of '{unknown[0]}', which is no field of it")
    codes = {
        name: {str(member.name).lower(): int(member) for member in kind} for name, kind in codes_of(record).items()
    }
    return Columns(record.columnar, units_of(record), kinds, axes, codes)


def field_of(name: str, value: object, kind: str) -> Any:
    """Return a field of a record as its declared kind; TypeError if it is of another."""
    if kind == "array":
        array = np.asarray(value)
        if array.dtype.kind == "O":
            raise TypeError(f"{name} is {value!r:.80}; a record holds numbers, bools, texts and arrays")
        return array
    if kind == "str" and isinstance(value, str):
        check_text(value, name)
        return str(value)
    plain = value.item() if isinstance(value, np.generic | np.ndarray) and np.size(value) == 1 else value
    if kind == "bool" and isinstance(plain, bool):
        return plain
    if kind == "int" and isinstance(plain, int) and -(2**63) <= plain < 2**63:
        return int(plain)
    if kind == "float" and isinstance(plain, int | float):
        return float(plain)
    raise TypeError(f"{name} is {value!r:.80}; a {kind} was declared")
