"""A wafer map as a CSV table: a heading that is known, and a die in each line."""

import re

from labctl.core.errors import BenchError
from labctl.core.names import file_name
from labctl.wafer_maps.csv_grid import Line
from labctl.wafer_maps.model import Place, named, whole_number

_COLUMNS = {
    "x": ("x", "xcoord", "xcoordinate", "xpos", "diex", "xdie", "col", "column"),
    "y": ("y", "ycoord", "ycoordinate", "ypos", "diey", "ydie", "row"),
    "bin": ("bin", "bincode", "binnumber", "binnum", "binno", "hbin", "hardbin", "hwbin", "sbin", "softbin", "swbin"),
    "name": ("name", "diename", "dieid"),
    "exclude": ("exclude",),
    "wafer": ("wafer", "waferid", "substrateid"),
    "lot": ("lot", "lotid"),
}
_HEADINGS = {heading: column for column, headings in _COLUMNS.items() for heading in headings}
_NO = frozenset({"", "0", "no", "n", "false", "-"})
_YES = frozenset({"1", "yes", "y", "true", "x"})
_WHOLE = re.compile(r"([+-]?[0-9]{1,6})\.0{1,6}")


def column_of(cell: str) -> str:
    """Return the column that a heading names, "" if unknown; case, blanks, points, - and _ do not matter.

    >>> column_of("X_COORD"), column_of("Die Y"), column_of("HARD-BIN"), column_of("colour")
    ('x', 'y', 'bin', '')
    """
    return _HEADINGS.get(re.sub(r"[\s_.-]", "", cell).lower(), "")


def read_table(lines: list[Line], where: str) -> tuple[list[Place], str, str]:
    """Return the places of a table, its wafer and its lot; "" for what it does not name.

    Lines that begin with # are remarks, and columns without a heading and without a cell are none.

    Args:
        lines: the heading, then a die each.

    Raises:
        BenchError: with `where` and the line.
    """
    lines = [(number, row) for number, row in lines if not row[0].startswith("#")]
    (first, headings), rest = lines[0], lines[1:]
    width = len(headings)
    while width and not headings[width - 1] and all(len(row) >= width and not row[width - 1] for _, row in rest):
        width -= 1
    rest = [(number, row[:width] + row[len(headings) :]) for number, row in rest]
    headings = headings[:width]
    columns = [column_of(cell) for cell in headings]
    for cell, column in zip(headings, columns, strict=True):
        if not column:
            known = ", ".join(c for c in _COLUMNS if c != "lot")
            raise BenchError(
                f"{where}:{first}: found a column '{cell[:60]}', expected {known} or lot; delete it, or its heading"
            )
        if columns.count(column) > 1:
            both = ", ".join(f"'{h}'" for h, c in zip(headings, columns, strict=True) if c == column)[:200]
            raise BenchError(f"{where}:{first}: found two columns for {column} ({both}), expected one")
    at = {column: k for k, column in enumerate(columns)}
    places: list[Place] = []
    numbers: dict[str, int] = {}
    for line, row in rest:
        if len(row) != len(columns):
            raise BenchError(f"{where}:{line}: found {len(row)} cells, expected {len(columns)} as in line {first}")
        for axis in "xy":
            text = row[at[axis]]
            if text not in numbers:
                numbers[text] = whole_number(_WHOLE.sub(r"\1", text), axis, f"{where}:{line}")
        x, y = numbers[row[at["x"]]], numbers[row[at["y"]]]
        name = _name(row[at["name"]], f"{where}:{line}") if "name" in at else ""
        why = _why(row[at["exclude"]]) if "exclude" in at else ""
        places.append(Place(x, y, name or named(x, y), row[at["bin"]] if "bin" in at else "", why))
    wafer, lot = (_one(what, rest, at.get(what), where) for what in ("wafer", "lot"))
    return places, wafer, lot


def _one(what: str, rest: list[Line], column: int | None, where: str) -> str:
    """Return what all lines say in a column, "" without one; BenchError if they differ."""
    if column is None or not rest:
        return ""
    before, first = rest[0][0], rest[0][1][column]
    for line, row in rest:
        if row[column] != first:
            raise BenchError(
                f"{where}:{line}: found the {what} '{row[column]}', expected '{first}' as in line {before}: a map is "
                "of one wafer"
            )
    return first


def _why(exclude: str) -> str:
    """Return why a die is left out, "" if it is not."""
    if exclude.lower() in _NO:
        return ""
    return "excluded by the map" + ("" if exclude.lower() in _YES else f": {exclude}")


def _name(text: str, where: str) -> str:
    """Return the name of a die, "" if it has none; BenchError if it cannot be the name of a file."""
    try:
        return text and file_name(text)
    except ValueError as error:
        raise BenchError(f"{where}: name: {error}") from error
