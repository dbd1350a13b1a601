"""Pictures of a die: which columns of its tables are drawn, and how; declared by procedures as data.

A declaration is stored with the run, so a picture can be drawn wherever the run is read.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class CellMap:
    """An array over the cells of a kernel, drawn as a map: one per row of `table`, which has a column `kernel`.

    Args:
        column: (rows, n_rows, n_cols); or (rows,), in a table with the columns `kernel`, `row` and `col`, where the
            newest row of a cell counts.
        title: what is drawn.
        unit: in which it is drawn; `factor` converts the SI value.
        marks: column of the same shape with codes; cells whose code is not 0 are marked and do not set the scale.
    """

    table: str
    column: str
    title: str
    unit: str = ""
    factor: float = 1.0
    marks: str = ""


@dataclass(frozen=True)
class Curves:
    """One column of a table against another, as points joined in the order of the rows.

    Args:
        x, y: columns, (rows,) or arrays of one shape, of which each row is then a curve.
        x_title, y_title: labels of the axes with the unit; `x_factor` and `y_factor` convert the SI values.
        by: columns; rows with the same values in them are one curve. Without it, all rows are.
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


Picture = CellMap | Curves
_KINDS: Mapping[str, type[CellMap] | type[Curves]] = {"cell_map": CellMap, "curves": Curves}


def plain(picture: Picture) -> dict[str, Any]:
    """Return a declaration as JSON has it."""
    kind = next(name for name, cls in _KINDS.items() if isinstance(picture, cls))
    return {"kind": kind, **asdict(picture)}


def pictures_of_run(meta: Mapping[str, Any]) -> tuple[Picture, ...]:
    """Return the pictures that a run declares in its meta; those of kinds of later versions are left out."""
    declared: list[Picture] = []
    for entry in meta.get("pictures", ()):
        values: dict[str, Any] = {**entry, **({"by": tuple(entry["by"])} if "by" in entry else {})}
        del values["kind"]
        if (kind := _KINDS.get(entry["kind"])) is not None:
            declared.append(kind(**values))
    return tuple(declared)
