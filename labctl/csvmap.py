"""Wafer maps as CSV: a table of places with a heading, or a grid of marks; a text that is neither is refused.

A log, an export of another program or a drawing can look like a grid to whoever takes any text for a bin. A grid is
therefore only what could be nothing else: cells with separators between them, all of them marks or bin codes, places
without a die among them (or dies without bins only), and not two numbers at the head of every row.
"""

import csv
import io
import re

from labctl.core.errors import BenchError
from labctl.core.names import file_name
from labctl.wafermap import MapReading, Place, WaferMap, from_corner, whole, whole_number

NO_DIE = frozenset({"", ".", "-", "_"})
"""Cells of a grid that are no die."""
_DIE = frozenset({"x", "X", "*", "#"})
_BIN = re.compile(r"[0-9]{1,3}|[0-9A-Fa-f]{2}|[A-Za-z]")
_NUMBER = re.compile(r"[+-]?[0-9]+")
_NO = frozenset({"", "0", "no", "n", "false", "-"})
_YES = frozenset({"1", "yes", "y", "true", "x"})
_COLUMNS = {
    "x": ("x", "xcoord", "xcoordinate", "xpos", "diex", "xdie", "col", "column"),
    "y": ("y", "ycoord", "ycoordinate", "ypos", "diey", "ydie", "row"),
    "bin": ("bin", "bincode", "binnumber", "binnum", "binno", "hbin", "hardbin", "hwbin", "sbin", "softbin", "swbin"),
    "name": ("name", "diename", "dieid"),
    "exclude": ("exclude",),
}
_HEADINGS = {heading: column for column, headings in _COLUMNS.items() for heading in headings}
_MARKS = "empty, ., - or _ for no die, X, * or # for a die, or a bin of up to 3 digits, 2 hexadecimal ones or a letter"
_KINDS = f"a heading with x and y (or X_COORD and Y_COORD, DieX and DieY, col and row), or a grid of marks: {_MARKS}"
_SHOWN = 60
"""Characters of a line that a message shows."""

Line = tuple[int, list[str]]
"""Number of a line and its cells."""


def parse_csv(text: str, reading: MapReading | None = None, where: str = "map") -> WaferMap:
    """Return the map in a CSV text: a table with columns x and y (bin, name, exclude), or a grid of marks.

    In a grid every cell is a place: empty, ".", "-" or "_" is no die, "X", "*" or "#" one without a bin, and up to
    three digits, two hexadecimal digits or a letter are its bin.

    >>> [p.name for p in parse_csv(".,X\\nX,X").places]
    ['x1y0', 'x0y1', 'x1y1']
    >>> parse_csv("X_COORD,Y_COORD,HBIN\\n4,2,1\\n5,2,7").places[1]
    Place(x=5, y=2, name='x5y2', bin='7', excluded='')

    Raises:
        BenchError: with `where` and the line.
    """
    reading = reading or MapReading()
    _require_plain(text, where)
    delimiter = max(",;\t", key=text.count)
    rows = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    try:
        lines = [(rows.line_num, [cell.strip() for cell in row]) for row in rows]
    except csv.Error as error:
        raise BenchError(f"{where}:{rows.line_num}: {error}; expected {_KINDS}") from error
    while lines and not any(lines[-1][1]):
        lines.pop()
    filled = [(number, row) for number, row in lines if any(row)]
    if not filled:
        raise BenchError(f"{where}:1: the map is empty; expected columns x and y, or a grid of marks")
    columns = [_column(cell) for cell in filled[0][1]]
    if {"x", "y"} <= set(columns):
        return whole(from_corner(_table(filled, columns, where), reading.origin), where)
    _require_grid(filled, delimiter, where)
    return whole(from_corner(_grid(lines, where), reading.origin), where)


def _require_plain(text: str, where: str) -> None:
    """Refuse characters that no CSV has: what follows is some other file."""
    for number, line in enumerate(text.split("\n"), start=1):
        if odd := next((c for c in line if not (c.isprintable() or c in "\t\r")), None):
            raise BenchError(f"{where}:{number}: found the character U+{ord(odd):04X}, expected a text file")


def _column(cell: str) -> str:
    """Return which column a heading names, "" for one that is not known; case, blanks, points, - and _ do not matter.

    >>> _column("X_COORD"), _column("Die Y"), _column("HARD-BIN"), _column("colour")
    ('x', 'y', 'bin', '')
    """
    return _HEADINGS.get(re.sub(r"[\s_.-]", "", cell).lower(), "")


def _table(filled: list[Line], columns: list[str], where: str) -> list[Place]:
    first, headings = filled[0]
    for cell, column in zip(headings, columns, strict=True):
        if not column:
            raise BenchError(f"{where}:{first}: found a column '{cell}', expected x, y, bin, name or exclude")
        if columns.count(column) > 1:
            both = ", ".join(f"'{h}'" for h, c in zip(headings, columns, strict=True) if c == column)
            raise BenchError(f"{where}:{first}: found two columns for {column} ({both}), expected one")
    places = []
    for line, row in filled[1:]:
        if len(row) != len(columns):
            raise BenchError(f"{where}:{line}: found {len(row)} cells, expected {len(columns)} as in line {first}")
        cells = dict(zip(columns, row, strict=True))
        x, y = (whole_number(cells[axis], axis, f"{where}:{line}") for axis in "xy")
        exclude = cells.get("exclude", "")
        why = "" if exclude.lower() in _NO else "excluded by the map"
        if why and exclude.lower() not in _YES:
            why += f": {exclude}"
        places.append(Place(x, y, _name(cells.get("name", ""), f"{where}:{line}"), cells.get("bin", ""), why))
    return places


def _name(text: str, where: str) -> str:
    """Return the name of a die, "" if it has none; BenchError if no file can be called so."""
    try:
        return text and file_name(text)
    except ValueError as error:
        raise BenchError(f"{where}: name: {error}") from error


def _require_grid(filled: list[Line], delimiter: str, where: str) -> None:
    """Refuse what is not positively a grid of marks."""
    first, head = filled[0]
    shown = delimiter.join(head)[:_SHOWN]
    if any(column for cell, column in zip(head, map(_column, head), strict=True) if len(cell) > 1):
        raise BenchError(f"{where}:{first}: found the heading '{shown}', expected one with x and y")
    for line, row in filled:
        for cell in row:
            if cell not in NO_DIE | _DIE and not _BIN.fullmatch(cell):
                what = f"'{shown}'" if line == first else f"'{cell[:_SHOWN]}'"
                raise BenchError(f"{where}:{line}: found {what}, expected {_KINDS}")
    if all(len(row) < 2 for _, row in filled):
        raise BenchError(
            f"{where}:{first}: found '{shown}' and no line with a separator, expected {_KINDS}; a drawing without "
            "separators stands under 'map' in the wafer file"
        )
    if all(len(row) > 1 and all(map(_NUMBER.fullmatch, row[:2])) for _, row in filled):
        raise BenchError(
            f"{where}:{first}: found two numbers at the head of every line; expected the names x and y above them, or "
            "a grid with a place without a die among the first two of some line"
        )
    columns = [{row[k] for _, row in filled if k < len(row)} for k in range(max(len(row) for _, row in filled))]
    marks = set[str]().union(*(column for column in columns if column != {""}))
    if not marks & NO_DIE and not marks <= _DIE:
        raise BenchError(f"{where}:{first}: found bin codes and no place without a die ('.'), expected {_KINDS}")


def _grid(lines: list[Line], where: str) -> list[Place]:
    width = max(len(row) for _, row in lines)
    for line, row in lines:
        if row and len(row) != width:
            raise BenchError(
                f"{where}:{line}: found {len(row)} cells, expected {width} as in the longest row of the grid"
            )
    return [
        Place(x, y, "", "" if mark in _DIE else mark)
        for y, (_, row) in enumerate(lines)
        for x, mark in enumerate(row)
        if mark not in NO_DIE
    ]
