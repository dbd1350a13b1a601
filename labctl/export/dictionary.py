"""The dictionary of what is published: every column with unit and meaning, as the record classes declare them.

What a protocol of another distribution stores has its unit and axes from the file, and its meaning from its class where
that is installed.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum, IntFlag
from typing import Any, NamedTuple

from labctl.core.figure import Figures
from labctl.core.record import Record, codes_of, meanings_of
from labctl.storage.tables import Table
from protocols.records import TABLES

FLAGS = {
    "COMPLIANCE": "a source was at its current limit, so the voltage is not the one asked for",
    "OVERRANGE": "the current is beyond what the meter can say",
    "INVALID": "the instrument gave no valid reading",
    "UNKNOWN": "it is not known what came of it: the run was interrupted between intent and result",
}
"""Meaning of the bits of `Flag`, for readers of files."""
USUAL = {
    "kernel": "kernel of the cell",
    "row": "row of the cell",
    "col": "column of the cell",
    "target": "True is P",
    "state": "conductance above the cut: P",
    "width": "width of the pulse",
    "v_read": "cell voltage of the read",
    "conductance": "current / v_read",
    "flag": "bits of `Flag`, of the read",
}
"""Meaning of fields that are called alike in many tables, where a class does not say more."""
_COMMON = {
    "seq": "number of the record among everything noted about the die, from 1",
    "stage": "stage that it came from",
    "utc": "when it was noted, since 1970-01-01T00:00:00Z",
}
_SHAPE = re.compile(r"^\([^)]*,[^)]*\)(?:, )?")
"""The shape of an array, with which the line of a field begins."""


class Word(NamedTuple):
    """One line of the dictionary: `axes` behind the rows, and `codes` of what holds codes."""

    table: str
    column: str
    axes: str
    type: str
    unit: str
    meaning: str
    codes: str


def words_of(tables: Sequence[Table]) -> Iterator[Word]:
    """Yield every column of tables, as they are stored; "1" is the unit of a number that has none."""
    classes: Mapping[str, type[Record]] = {kind.table: kind for kind in TABLES}
    for table in tables:
        kind = classes.get(table.name)
        meanings = {**USUAL, **({} if kind is None else meanings_of(kind)), **_COMMON}
        enumerations = {} if kind is None else codes_of(kind)
        for name, values in table.items():
            text = values.dtype.kind in "SU"
            axes = ", ".join(table.axes.get(name, ())) or " x ".join(str(n) for n in values.shape[1:])
            yield Word(
                table.name,
                name,
                axes,
                "text" if text else str(values.dtype),
                "" if text else table.units.get(name) or "1",
                _SHAPE.sub("", meanings.get(name, "")) if kind is not None or name in _COMMON else "",
                _codes(table.codes.get(name, {}), enumerations.get(name)),
            )


def figure_words(figures: Figures, names: Sequence[str], where: str) -> Iterator[Word]:
    """Yield the figures of merit among the columns of `where`, with their definitions."""
    for name in names:
        figure = figures[name]
        note = f": {figure.note}" if figure.note else ""
        yield Word(where, name, "", "float64", figure.unit or "1", f"{figure.title}{note}", "")


def _codes(codes: Mapping[str, int], kind: type[IntEnum | IntFlag] | None) -> str:
    meanings: Mapping[str, Any] = {} if kind is None else {**FLAGS, **meanings_of(kind)}
    rows = ((word, code, meanings.get(word.upper(), "")) for word, code in codes.items())
    return "; ".join(f"{code} {word}" + (f": {meaning}" if meaning else "") for word, code, meaning in rows)
