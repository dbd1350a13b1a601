"""Wafer maps as CSV: a table of places with a heading, or a grid of marks; a text that is neither is refused."""

import csv
import io
import re
from dataclasses import replace

from labctl.core.errors import BenchError
from labctl.wafer_maps.csv_grid import KINDS, Line, read_grid
from labctl.wafer_maps.csv_table import column_of, read_table
from labctl.wafer_maps.model import MAX_PLACES, MapReading, WaferMap, from_corner, whole

_SEPARATOR = re.compile(r"sep=([,;\t])", re.IGNORECASE)
"""A first line by which spreadsheets say their separator."""
_CELLS = 8 * MAX_PLACES
_LINES = 1000
"""Lines of a table that are no die: comments, blanks."""
"""Most cells of a file."""


def parse_csv(text: str, reading: MapReading | None = None, where: str = "map") -> WaferMap:
    """Return the map in a CSV text: a table with columns x and y (bin, name, exclude, wafer, lot), or a grid of marks.

    In a grid every cell is a place: empty, ".", "-" or "_" is no die, "X", "*" or "#" one without a bin, and up to
    three digits, two hexadecimal digits or a letter are its bin. `labctl.wafer_maps.csv_grid` has the conditions.

    >>> [p.name for p in parse_csv(".,X\\nX,X").places]
    ['x1y0', 'x0y1', 'x1y1']
    >>> parse_csv("X_COORD,Y_COORD,HBIN\\n4,2,1\\n5,2,7").places[1]
    Place(x=5, y=2, name='x5y2', bin='7', excluded='')

    Raises:
        BenchError: with `where` and the line.
    """
    reading = reading or MapReading()
    text = text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\x1a")
    _require_plain(text, where)
    lines, delimiter = _lines(text, where)
    filled = [(number, row) for number, row in lines if any(row)]
    if not filled:
        raise BenchError(f"{where}:1: the map is empty; expected columns x and y, or a grid of marks")
    head = next((k for k, (_, row) in enumerate(filled) if not row[0].startswith("#")), 0)
    columns = [column_of(cell) for cell in filled[head][1]]
    if {"x", "y"} <= set(columns):
        reading.only(("origin",), "a CSV table")
        places, wafer, lot = read_table(filled[head:], where)
        return replace(whole(from_corner(places, reading.origin), where), wafer=wafer, lot=lot, kind="CSV table")
    known = any(
        column
        for cell, column in zip(filled[0][1], map(column_of, filled[0][1]), strict=True)
        if sum(map(str.isalpha, cell)) > 1
    )
    places = read_grid(lines, delimiter, known, where)
    reading.only(("origin",), "a CSV grid")
    return replace(whole(from_corner(places, reading.origin), where), kind="CSV grid")


def _lines(text: str, where: str) -> tuple[list[Line], str]:
    """Return the lines of a text with their cells, and what separates these."""
    said = _SEPARATOR.fullmatch(text.partition("\n")[0].strip(" "))
    delimiter = said[1] if said else max(",;\t", key=text.count)
    longest = max(line.count(delimiter) for line in text.split("\n"))
    if max(longest, text.count("\n") - _LINES) > MAX_PLACES or text.count(delimiter) + text.count("\n") > _CELLS:
        raise BenchError(
            f"{where}: found more than {MAX_PLACES:,} lines or {_CELLS:,} cells, expected a map of "
            f"at most {MAX_PLACES:,} places"
        )
    rows = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    try:
        lines = [(rows.line_num, [cell.strip() for cell in row]) for row in rows]
    except csv.Error as error:
        raise BenchError(f"{where}:{rows.line_num}: {error}; expected {KINDS}") from error
    lines = lines[1:] if said else lines
    while lines and not any(lines[-1][1]):
        lines.pop()
    return lines, delimiter


def _require_plain(text: str, where: str) -> None:
    """Refuse characters that no CSV has: the text is another file."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.replace("\t", "").isprintable():
            odd = next(c for c in line if not (c.isprintable() or c == "\t"))
            raise BenchError(f"{where}:{number}: found the character U+{ord(odd):04X}, expected a text file")
