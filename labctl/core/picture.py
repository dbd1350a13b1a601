"""Pictures of a die: which columns of its tables are drawn, and how; declared by procedures as data.

A declaration is stored with the run, so a picture can be drawn wherever the run is read.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from labctl.core import declaration
from labctl.core.errors import StorageError


@dataclass(frozen=True)
class CellMap:
    """An array over the cells of a kernel, drawn as a map: one per row of `table`, which has a column `kernel`.

    Args:
        column: (rows, n_rows, n_cols); or (rows,), in a table with the columns `kernel`, `row` and `col`, where the
            newest row of a cell counts.
        title: what is drawn.
        unit: in which it is drawn; `factor` converts the SI value.
        marks: column of the same shape with codes; cells whose code is not 0 are marked and do not set the scale.

    Raises:
        ValueError: a value is not of the type that is declared.
    """

    table: str
    column: str
    title: str
    unit: str = ""
    factor: float = 1.0
    marks: str = ""

    def __post_init__(self) -> None:
        _declare(self, names=("table", "column"), texts=("title", "unit", "marks"), factors=("factor",))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it draws."""
        return ("kernel", self.column, *([self.marks] if self.marks else []))


@dataclass(frozen=True)
class Curves:
    """One column of a table against another, as points joined in the order of the rows.

    Args:
        x, y: columns, (rows,) or arrays of one shape, of which each row is then a curve.
        x_title, y_title: labels of the axes with the unit; `x_factor` and `y_factor` convert the SI values.
        by: columns; rows with the same values in them are one curve. Without it, all rows are.

    Raises:
        ValueError: a value is not of the type that is declared.
    """

    table: str
    x: str
    y: str
    title: str
    x_title: str
    y_title: str
    x_factor: float = 1.0
    y_factor: float = 1.0
    by: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        texts = ("title", "x_title", "y_title")
        _declare(self, names=("table", "x", "y"), texts=texts, factors=("x_factor", "y_factor"))
        if type(self.by) not in (tuple, list):
            raise ValueError(f"by of the picture '{self.title}' is {declaration.kind_of(self.by)}; expected a tuple")
        by = tuple(declaration.text(f"by of the picture '{self.title}'", name, empty=False) for name in self.by)
        object.__setattr__(self, "by", by)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it draws."""
        return (self.x, self.y, *self.by)


MOST_LINES = 65_536
"""Rows, and columns, of a map that is made of rows of cells."""
MOST_CELLS = 1 << 24
MOST_KERNELS = 256
"""Maps of one picture."""
Picture = CellMap | Curves
_KINDS: Mapping[str, type[CellMap] | type[Curves]] = {"cell_map": CellMap, "curves": Curves}


def _declare(picture: Any, names: tuple[str, ...], texts: tuple[str, ...], factors: tuple[str, ...]) -> None:
    """Put the values of a declaration in the types that are declared; ValueError if one is of another."""
    title = declaration.text("the title of a picture", picture.title)
    for name in (*names, *texts):
        value = declaration.text(f"{name} of the picture '{title}'", getattr(picture, name), empty=name in texts)
        object.__setattr__(picture, name, value)
    for name in factors:
        object.__setattr__(
            picture, name, declaration.number(f"{name} of the picture '{title}'", getattr(picture, name))
        )


@dataclass(frozen=True)
class Declared:
    """A picture that a run declares.

    Args:
        protocol: name of the protocol that declares it, "" if the run does not say.
    """

    picture: Picture
    protocol: str = ""


def plain(picture: Picture) -> dict[str, Any]:
    """Return a declaration as JSON has it."""
    kind = next(name for name, cls in _KINDS.items() if isinstance(picture, cls))
    return {"kind": kind, **asdict(picture)}


def pictures_of_run(meta: Mapping[str, Any]) -> tuple[Declared, ...]:
    """Return the pictures that a run declares in its meta; those of kinds of later versions are left out.

    Raises:
        StorageError: what stands there is no declaration.
    """
    declared: list[Declared] = []
    try:
        for entry in meta.get("pictures", ()):
            if (kind := _KINDS.get(entry["kind"])) is not None:
                known = {f.name for f in fields(kind)}
                picture = kind(**{name: value for name, value in entry.items() if name in known})
                declared.append(Declared(picture, str(entry.get("protocol", ""))))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StorageError(f"a picture that this run declares cannot be read: {error}") from error
    return tuple(declared)


def require_fit(picture: Picture, table: Mapping[str, npt.NDArray[Any]]) -> None:
    """Refuse a picture that cannot be drawn from a table whose columns are arrays of (rows, ...).

    Raises:
        ValueError: a column is not there, or is of another type or shape than the picture is of.
    """
    if missing := [name for name in picture.columns if name not in table]:
        raise ValueError(f"the table '{picture.table}' has no column '{missing[0]}'; it has {', '.join(table)}")
    if isinstance(picture, CellMap):
        _require_cells(picture, table)
        return
    for name in (picture.x, picture.y):
        _require(table, name, "biuf", "real numbers")
    x, y = table[picture.x], table[picture.y]
    if x.shape != y.shape:
        raise ValueError(f"{picture.x} has the shape {x.shape} and {picture.y} {y.shape}; expected one shape")
    for name in picture.by:
        if table[name].ndim != 1:
            raise ValueError(f"{name} has the shape {table[name].shape}; expected one value a row")


def _require_cells(picture: CellMap, table: Mapping[str, npt.NDArray[Any]]) -> None:
    values = table[picture.column]
    _require(table, picture.column, "biuf", "real numbers")
    _require(table, "kernel", "iu", "whole numbers", 1)
    if (kernels := np.unique(table["kernel"]).size) > MOST_KERNELS:
        raise ValueError(f"kernel has {kernels:,} values; expected {MOST_KERNELS} at most, a map for each")
    if values.ndim not in (1, 3):
        raise ValueError(
            f"{picture.column} has the shape {values.shape}; expected (rows, n_rows, n_cols), or one value a row "
            "beside the columns row and col"
        )
    if picture.marks:
        _require(table, picture.marks, "biu", "codes")
        if table[picture.marks].shape != values.shape:
            raise ValueError(
                f"{picture.marks} has the shape {table[picture.marks].shape}; expected {values.shape}, that of "
                f"{picture.column}"
            )
    if values.ndim == 1:
        for name in ("row", "col"):
            if name not in table:
                raise ValueError(f"{picture.column} has one value a row and there is no column {name}; expected one")
            _require(table, name, "iu", "whole numbers", 1)
            if values.size and not 0 <= int(table[name].min()) <= int(table[name].max()) < MOST_LINES:
                raise ValueError(f"{name} has numbers beyond 0 to {MOST_LINES - 1:,}; expected those of a kernel")
        if values.size and (int(table["row"].max()) + 1) * (int(table["col"].max()) + 1) > MOST_CELLS:
            raise ValueError(f"row and col are those of more than {MOST_CELLS:,} cells; expected those of a kernel")


def _require(table: Mapping[str, npt.NDArray[Any]], name: str, kinds: str, what: str, ndim: int | None = None) -> None:
    array = table[name]
    if array.dtype.kind not in kinds or ndim not in (None, array.ndim):
        shape = "" if ndim in (None, array.ndim) else f" with the shape {array.shape}"
        raise ValueError(f"{name} is {array.dtype}{shape}; expected {what}{', one a row' if ndim == 1 else ''}")
