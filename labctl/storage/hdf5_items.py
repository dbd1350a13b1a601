"""Items of every file of a run: groups, datasets and links, and those of values, tables and plots.

Independent of HDF5: `hdf5_layout` lists the items of a sealed die, `hdf5_writer` writes them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import quote

import numpy as np

from labctl.core.figure import Figures
from labctl.storage.arrays import Array, Stored, encode
from labctl.storage.tables import Table, axes_of

EPOCH = {"start": "1970-01-01T00:00:00Z"}
"""Attributes of a column of times in s since 1970, UTC."""
LABELS = "DIMENSION_LABELS"
"""Attribute with the name of every axis of a dataset, where HDF5 itself looks for them."""


@dataclass(frozen=True)
class Group:
    """A group and its attributes."""

    path: str
    attrs: Mapping[str, Any]


@dataclass(frozen=True)
class StoredArray:
    """A dataset: `parts` yields it anew each time, cut along its first axis. Text has dtype ``str``.

    Args:
        scales: path of the dimension scale of every axis; empty if it has none.
    """

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    unit: str
    parts: Callable[[], Iterable[Array]]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    scales: tuple[str, ...] = ()

    @property
    def units(self) -> str:
        """The attribute `units`: "1" for a number without a unit, "" for text."""
        return self.unit or ("" if self.dtype.kind in "SU" else "1")


@dataclass(frozen=True)
class Link:
    """Another name for `target`, of this file or of `file` beside it."""

    path: str
    target: str
    file: str = ""


Item = Group | StoredArray | Link


def dataset(path: str, value: object, unit: str = "", **attrs: Any) -> StoredArray:
    """Return a dataset of a value held in memory."""
    array = np.asarray(value)
    return StoredArray(path, array.shape, array.dtype, unit, lambda: [array], attrs)


def iso(utc: float) -> str:
    """Return s since 1970 as ISO 8601 text in UTC.

    >>> iso(0.5)
    '1970-01-01T00:00:00.500000+00:00'
    """
    return datetime.fromtimestamp(utc, UTC).isoformat(timespec="microseconds")


@cache
def key(text: str) -> str:
    """Return `text` as a name in a file; all but letters, digits, ``_`` and ``-`` becomes ``%XX``.

    >>> key("a/b.c d")
    'a%2Fb%2Ec%20d'
    """
    return quote(text, safe="").replace(".", "%2E").replace("~", "%7E") or "%"


def file_key(name: str) -> str:
    """Return the path of an input file as the name of a dataset."""
    return quote(name, safe=" .+()")


def values(path: str, body: Mapping[str, Any]) -> Iterator[Item]:
    """Yield one scalar dataset per key; all but numbers and texts are JSON, marked by the attribute `json`.

    The attribute `keys` of the group keeps their order."""
    yield Group(path, {"NX_class": "NXcollection", "keys": [key(name) for name in body]})
    for name, value in body.items():
        plain = isinstance(value, str) and "\0" not in value and value == value.encode(errors="replace").decode()
        if plain or isinstance(value, float | bool) or (isinstance(value, int) and abs(value) < 2**63):
            yield dataset(f"{path}/{key(name)}", value, json=False)
        else:
            yield dataset(f"{path}/{key(name)}", encode(value, _listed), json=True)


def _listed(array: Array | Stored, path: tuple[str, ...]) -> Any:
    return array.tolist() if isinstance(array, np.ndarray) else {"$array": array.digest}


def table_items(path: str, table: Table) -> Iterator[Item]:
    """Yield a table: one dataset per column, with the names of its axes and of its codes where it has any.

    Every axis has a dimension scale, positions from 0, so that readers know which axes of a table are the same.
    """
    yield Group(path, {"NX_class": "NXcollection", "columnar": table.columnar, "columns": list(table)})
    axes = axes_of(table)
    lengths = {axis: n for name in table for axis, n in zip(axes[name], table[name].shape, strict=True)}
    for axis, n in lengths.items():
        yield dataset(f"{path}/{axis}", np.arange(n), long_name=axis)
    for name, column in table.items():
        attrs: dict[str, Any] = dict(EPOCH) if name == "utc" else {}
        if name in table.axes:
            attrs[LABELS] = ["record", *table.axes[name]]
        if column.dtype.kind in "biuf":
            attrs["long_name"] = f"{name}, {table.units[name] or '1'}"
        if name in table.codes:
            attrs["codes"] = ", ".join(f"{code} {word}" for word, code in table.codes[name].items())
        scales = tuple(f"{path}/{axis}" for axis in axes[name])
        yield replace(dataset(f"{path}/{name}", column, table.units[name], **attrs), scales=scales)


def plots(entry: str, table: Table) -> Iterator[Item]:
    """Yield the plots of a table, as NXdata: 2-D fields over their axes, fidelity and accuracy of solutions.

    All of a plot is links into the table, dimension scales included: without them in the group of a field, readers of
    netCDF find no dimensions.
    """
    if table.columnar:
        return
    scales = axes_of(table)
    for name, column in table.items():
        if column.ndim == 3 and column.dtype.kind in "biuf":
            axes = scales[name]
        elif column.ndim == 1 and name.startswith(("fidelity", "accuracy")) and column.dtype.kind == "f":
            once = "solution" in table and len(np.unique(table["solution"])) == table.rows
            axes = ("solution",) if once else ("record",)
        else:
            continue
        path = f"{entry}/{table.name}_{name}"
        yield Group(path, {"NX_class": "NXdata", "signal": name, "axes": list(axes)})
        for link in dict.fromkeys((name, *axes, *scales[name])):
            yield Link(f"{path}/{link}", f"{entry}/records/{table.name}/{link}")


def die_plot(path: str, figures: Mapping[str, Mapping[str, float]], declared: Figures) -> Iterator[Item]:
    """Yield the plot of figures over dies, fidelity and accuracy first; nothing if no die has a figure.

    Args:
        figures: of every die, by name, in the order of the campaign.
    """
    names = declared.in_order(name for of_die in figures.values() for name in of_die)
    if not names:
        return
    shown = [name for name in ("fidelity", "accuracy_test") if name in names] or names[:1]
    axes: dict[str, Any] = {"signal": shown[0], "axes": ["die"], "title": "figures of the dies"}
    axes |= {"auxiliary_signals": shown[1:]} if shown[1:] else {}
    yield Group(path, {"NX_class": "NXdata", **axes})
    yield dataset(f"{path}/die", np.arange(1, len(figures) + 1), long_name="die, in the order of the campaign")
    yield dataset(f"{path}/name", np.array(list(figures), np.str_))
    for name in names:
        unit, title = declared[name].unit, declared[name].title
        values = np.array([of_die.get(name, np.nan) for of_die in figures.values()])
        yield dataset(f"{path}/{key(name)}", values, "" if unit == "1" else unit, long_name=f"{title}, {unit or '1'}")


def default_plot(items: Iterable[Item]) -> str:
    """Return the name of the default plot: conductances, else a fidelity, else any."""
    groups = [i for i in items if isinstance(i, Group) and i.attrs["NX_class"] == "NXdata"]
    names = [g.path.rsplit("/", 1)[1] for g in groups]
    ranked = sorted(names, key=lambda name: ("_g_p" not in name, "fidelity" not in name, "accuracy" not in name))
    return ranked[0] if ranked else ""
