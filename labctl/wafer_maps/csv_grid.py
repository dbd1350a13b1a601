"""A wafer map as a CSV grid of marks; a text that could be something else is refused.

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

import re
from collections.abc import Sequence
from itertools import pairwise

from labctl.core.errors import BenchError
from labctl.wafer_maps.model import Place

NO_DIE = frozenset({"", ".", "-", "_"})
"""Cells of a grid that are no die."""
_DIE = frozenset({"x", "X", "*", "#"})
_BIN = re.compile(r"[0-9]{1,3}|[0-9A-Fa-f]{2}|[A-Za-z]")
_DRAWN = re.compile(r"[xX*#._-]+")
_NUMBER = re.compile(r"[+-]?[0-9]+")
_MARKS = "empty, ., - or _ for no die, X, * or # for a die, or a bin of up to 3 digits, 2 hexadecimal ones or a letter"
KINDS = f"a heading with x and y (or X_COORD and Y_COORD, DieX and DieY, col and row), or a grid of marks: {_MARKS}"
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
SHOWN = 60
"""Characters of a line that a message shows."""

Line = tuple[int, list[str]]
"""Number of a line and its cells."""


def read_grid(lines: list[Line], delimiter: str, heading_known: bool, where: str) -> list[Place]:
    """Return the places of a grid, from its upper left corner.

    Args:
        heading_known: whether the first line has a heading of a table among its cells.

    Raises:
        BenchError: with `where` and the line, for lines that are no grid or could be a table.
    """
    _require_cells([(n, row) for n, row in lines if any(row)], delimiter, heading_known, where)
    cells = _rectangle(lines, where)
    _require_grid(cells, where)
    return [
        Place(x, y, "", "" if mark in _DIE else mark)
        for y, (_, row) in enumerate(cells)
        for x, mark in enumerate(row)
        if mark not in NO_DIE
    ]


def _require_cells(filled: list[Line], delimiter: str, heading_known: bool, where: str) -> None:
    """Refuse lines that are not made of cells of a grid."""
    first, head = filled[0]
    shown = delimiter.join(head)[:SHOWN]
    if heading_known:
        raise BenchError(f"{where}:{first}: found the heading '{shown}', expected one with x and y")
    if len(filled) > 1 and all(len(row) == 1 and len(row[0]) > 1 and _DRAWN.fullmatch(row[0]) for _, row in filled):
        raise BenchError(
            f"{where}:{first}: found '{shown}', a drawing without separators, expected one between the marks; a "
            "drawing without them stands under 'map' in the wafer file"
        )
    for line, row in filled:
        for cell in row:
            if cell not in NO_DIE | _DIE and not _BIN.fullmatch(cell):
                what = f"'{shown}'" if line == first else f"'{cell[:SHOWN]}'"
                raise BenchError(f"{where}:{line}: found {what}, expected {KINDS}")
    if all(len(row) < 2 for _, row in filled):
        raise BenchError(
            f"{where}:{first}: found '{shown}' and no line with a separator, expected {KINDS}; a drawing without "
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
