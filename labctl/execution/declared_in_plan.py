"""What protocols of other distributions declare, compared with what their rehearsal gave.

A figure whose table is misspelt is absent on every die, and one whose formula fails is NaN on every die: both would be
learned after the night. A plan has the records of a nominal die, so it can say so before.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields

import numpy as np

from labctl.core import plugins
from labctl.core.figure import Columns, Figure
from labctl.core.plugins import PROTOCOLS, line_of
from labctl.core.procedure import Procedure
from labctl.core.record import History, Record
from protocols.records import TABLES

_OURS = frozenset(kind.table for kind in TABLES)


class _MissingError(KeyError):
    """A formula asks for a table that was not rehearsed."""


class _Rehearsed(Mapping[str, Columns]):
    """The tables of a rehearsal, those of this suite included where a record of theirs was yielded."""

    def __init__(self, tables: Mapping[str, Columns]) -> None:
        self._tables = tables

    def __getitem__(self, name: str) -> Columns:
        if name not in self._tables:
            raise _MissingError(name)
        return self._tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)


def doubts(procedures: Sequence[Procedure], history: History) -> list[tuple[int, str]]:
    """Return what would be missing from every die, as (number of the stage, words).

    Only protocols of other distributions are looked at; tables of this suite that they name are taken to come, and a
    formula is not tried on a rehearsal that was shortened.

    Args:
        history: the records of all stages of one rehearsal.
    """
    others = {plugin.name for plugin in plugins.registered(PROTOCOLS) if plugin.foreign}
    if others.isdisjoint(procedure.name for procedure in procedures):
        return []
    return [
        (number, text)
        for number, procedure in enumerate(procedures)
        if procedure.name in others
        for text in doubts_of(procedure, history)
    ]


def doubts_of(procedure: Procedure, history: History) -> list[str]:
    """Return in words what of the figures and pictures of one protocol would be missing.

    Args:
        history: see `doubts`.
    """
    tables = _tables(history)
    known = ", ".join(f"'{name}'" for name in tables if name not in _OURS) or "no table of another protocol"
    short = procedure.rehearsal()[1] != 1
    words = [
        f"the picture '{picture.title}' is of the table '{picture.table}', of which no stage yields a record, and will "
        f"not be drawn; the stages yield {known}"
        for picture in procedure.pictures
        if picture.table not in tables and picture.table not in _OURS
    ]
    figures = (_doubt(figure, _Rehearsed(tables), known, short) for figure in procedure.figures)
    return [*words, *filter(None, figures)]


def _doubt(figure: Figure, tables: _Rehearsed, known: str, short: bool) -> str:
    """Return what is wrong with one figure, "" if nothing is known to be."""
    if figure.formula is None:
        return f"the figure '{figure.key}' has no formula, and will be absent"
    try:
        with np.errstate(all="ignore"):
            value = figure.formula(tables)
            if value is not None:
                float(value)
    except _MissingError as error:
        name = error.args[0]
        if name in _OURS:
            return ""
        return (
            f"the figure '{figure.key}' reads the table '{name}', of which no stage yields a record, and will be "
            f"absent; the stages yield {known}"
        )
    except (Exception, SystemExit) as error:  # somebody else's code
        line = line_of(error, getattr(figure.formula, "__module__", None) or "")
        what = f"{type(error).__name__}: {error}{line}"
        return "" if short else f"the figure '{figure.key}' fails on what was rehearsed, and will be NaN: {what}"
    return ""


def _tables(history: History) -> dict[str, Columns]:
    """Return the records of each type as a table; one whose rows have different shapes is left out."""
    records: dict[type[Record], list[Record]] = {}
    for record in history.all(Record):
        records.setdefault(type(record), []).append(record)
    tables: dict[str, Columns] = {}
    for kind, rows in records.items():
        join = np.concatenate if kind.columnar else np.stack
        try:
            tables[kind.table] = {f.name: join([np.asarray(getattr(r, f.name)) for r in rows]) for f in fields(kind)}
        except ValueError:
            continue
    return tables
