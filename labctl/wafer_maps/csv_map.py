"""Wafer maps as CSV: a table of places with a heading, or a grid of marks; a text that is neither is refused.

A log, an export of another program or a drawing can look like a grid if any text is taken for a bin. A text is
therefore a grid only if it can be nothing else. Its cells have one alphabet:

* one mark of a die (X, * or #), or
* bins of one kind: digits, as many in every cell (1 to 3), or two hexadecimal digits, or single letters;

beside empty cells and one mark of no die (., - or _). Marks of a die are a grid in any arrangement. Bins could be the
columns of a table, so they also have the shape of a wafer and are no list:

* places without a die touch the rim: the dies of every row, and those of every column, are without a gap;
* the left and the right column of dies, and the upper or the lower end at both its corners, have places without a die:
  the columns of a table go through;
* no row or column of three or more counts up or down by one;
* the first row and the first column are no labels: codes that are all different and stand nowhere else.
"""

import csv
import io
import re
from collections.abc import Sequence
from itertools import pairwise

from labctl.core.errors import BenchError
from labctl.core.names import file_name
from labctl.wafer_maps.model import MapReading, Place, WaferMap, from_corner, whole, whole_number

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
_SAFE = "write it as a table, a die per line under the heading x,y,bin, or as a grid of X for a die and . for no die"
"""Advice for a grid of bins that is refused because it could be something else."""
_ALPHABETS = {
    "a digit": re.compile(r"[0-9]"),
    "two digits": re.compile(r"[0-9]{2}"),
    "three digits": re.compile(r"[0-9]{3}"),
    "two hexadecimal digits": re.compile(r"[0-9A-Fa-f]{2}"),
    "a letter other than X": re.compile(r"[A-WYZa-wyz]"),
}
"""Kinds of bins; those of one grid are all of one kind."""
_SHOWN = 60
"""Characters of a line that a message shows."""

Line = tuple[int, list[str]]
"""Number of a line and its cells."""


def parse_csv(text: str, reading: MapReading | None = None, where: str = "map") -> WaferMap:
    """Return the map in a CSV text: a table with columns x and y (bin, name, exclude), or a grid of marks.

    In a grid every cell is a place: empty, ".", "-" or "_" is no die, "X", "*" or "#" one without a bin, and up to
    three digits, two hexadecimal digits or a letter are its bin. The conditions are at the head of this module.

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
    _require_cells(filled, delimiter, where)
    rows_of_cells = _rectangle(lines, where)
    _require_grid(rows_of_cells, where)
    return whole(from_corner(_grid(rows_of_cells), reading.origin), where)


def _require_plain(text: str, where: str) -> None:
    """Refuse characters that no CSV has: the text is another file."""
    for number, line in enumerate(text.split("\n"), start=1):
        if odd := next((c for c in line if not (c.isprintable() or c in "\t\r")), None):
            raise BenchError(f"{where}:{number}: found the character U+{ord(odd):04X}, expected a text file")


def _column(cell: str) -> str:
    """Return the column that a heading names, "" if unknown; case, blanks, points, - and _ do not matter.

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
    """Return the name of a die, "" if it has none; BenchError if it cannot be the name of a file."""
    try:
        return text and file_name(text)
    except ValueError as error:
        raise BenchError(f"{where}: name: {error}") from error


def _require_cells(filled: list[Line], delimiter: str, where: str) -> None:
    """Refuse lines that are not made of cells of a grid."""
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
            "a grid of bins with places without a die around them"
        )


def _rectangle(lines: list[Line], where: str) -> list[Line]:
    """Return the lines with as many cells in each; one that is empty is a row without a die."""
    width = max(len(row) for _, row in lines)
    for line, row in lines:
        if row and len(row) != width:
            raise BenchError(
                f"{where}:{line}: found {len(row)} cells, expected {width} as in the longest row of the grid"
            )
    return [(line, row or [""] * width) for line, row in lines]


def _require_grid(lines: list[Line], where: str) -> None:
    """Refuse cells that could be something else than a grid: of more than one alphabet, or bins without a wafer."""
    first: dict[str, int] = {}
    for line, row in lines:
        for cell in row:
            first.setdefault(cell, line)
    none = [cell for cell in first if cell in NO_DIE - {""}]
    dies = [cell for cell in first if cell not in NO_DIE]
    for cells, expected in (
        (none, "one mark for no die in the whole grid"),
        (dies, f"one mark for all dies, or as bin of every die {', or '.join(_ALPHABETS)}"),
    ):
        odd = next((k for k in range(1, len(cells)) if not _is_one_kind(cells[: k + 1])), None)
        if odd is not None:
            raise BenchError(
                f"{where}:{first[cells[odd]]}: found '{cells[odd]}' in a grid with '{cells[0]}', expected {expected}; "
                f"{_SAFE}"
            )
    if not _DIE.issuperset(dies):
        _require_wafer(lines, where)


def _is_one_kind(cells: list[str]) -> bool:
    return len(set(cells)) == 1 or any(all(map(kind.fullmatch, cells)) for kind in _ALPHABETS.values())


def _require_wafer(lines: list[Line], where: str) -> None:
    """Refuse bins that do not have the shape of a wafer, or that count or label as the columns of a list do."""
    filled = [k for k, (_, row) in enumerate(lines) if not NO_DIE.issuperset(row)]
    lines = lines[filled[0] : filled[-1] + 1]
    columns = list(zip(*(row for _, row in lines), strict=True))
    filled = [k for k, column in enumerate(columns) if not NO_DIE.issuperset(column)]
    rows = [row[filled[0] : filled[-1] + 1] for _, row in lines]
    columns = columns[filled[0] : filled[-1] + 1]
    named = [(f"{where}:{line}: found a row", row) for (line, _), row in zip(lines, rows, strict=True)]
    named += [(f"{where}: found column {k}", list(c)) for k, c in enumerate(columns, start=filled[0] + 1)]
    bins = [mark for row in rows for mark in row if mark not in NO_DIE]

    def has_gap(row: Sequence[str]) -> bool:
        return row[0] in NO_DIE or row[-1] in NO_DIE

    if not any(mark in NO_DIE for row in rows for mark in row):
        raise BenchError(
            f"{where}:{lines[0][0]}: found bin codes and no place without a die, expected a wafer; {_SAFE}"
        )
    for subject, cells in named:
        dies = [k for k, mark in enumerate(cells) if mark not in NO_DIE]
        if not dies or dies[-1] - dies[0] >= len(dies):
            raise BenchError(
                f"{subject} with a place without a die between bins, expected a wafer, around which they lie; {_SAFE}"
            )
        codes = [cells[k] for k in dies]
        if len(codes) > 2 and _counts(codes):
            raise BenchError(
                f"{subject} that counts from {codes[0]} to {codes[-1]} as a list does, expected bins; {_SAFE}"
            )
    for subject, cells in (named[0], named[len(rows)]):
        codes = [mark for mark in cells if mark not in NO_DIE]
        if len(codes) > 1 and all(bins.count(code) == 1 for code in codes):
            raise BenchError(
                f"{subject} of codes that stand nowhere else ('{codes[0]}') as labels do, expected bins; {_SAFE}"
            )
    ends = [row[0] in NO_DIE and row[-1] in NO_DIE for row in (rows[0], rows[-1])]
    if not any(ends) or not (has_gap(columns[0]) and has_gap(columns[-1])):
        raise BenchError(
            f"{where}:{lines[0][0]}: found bin codes in a shape that a table could have, expected a wafer: no die at "
            f"both corners of its upper or lower end; {_SAFE}"
        )


def _counts(codes: Sequence[str]) -> bool:
    """Return whether every code is one more, or every code one less, than the one before."""
    if all(map(str.isdecimal, codes)):
        values = [int(code) for code in codes]
    else:
        values = [int(code, 16) if len(code) > 1 else ord(code) for code in codes]
    return {after - before for before, after in pairwise(values)} in ({1}, {-1})


def _grid(lines: list[Line]) -> list[Place]:
    return [
        Place(x, y, "", "" if mark in _DIE else mark)
        for y, (_, row) in enumerate(lines)
        for x, mark in enumerate(row)
        if mark not in NO_DIE
    ]
