"""The facts that a run learned: one record is one fact, one type of record is one table."""

import ast
import inspect
import itertools
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum, IntFlag
from typing import Any, ClassVar, TypeVar, get_type_hints

from labctl.core.names import file_name
from labctl.core.units import Unit


@dataclass(frozen=True, eq=False, kw_only=True)
class Record:
    """One fact a run learned. One subclass is one table; one instance is one row, its arrays have the same shape in
    every row. With `columnar`, an instance is many rows: every field is an (n,) array and tables grow along it.

    Fields are numbers, bools, texts or numpy arrays; units stand in the annotations, and the
    enumeration of a field of codes: `Annotated[int, Flag]`.
    """

    table: ClassVar[str]
    columnar: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        """Refuse a table that no file can be called by: exports and groups of sealed files are called by it."""
        if "table" in vars(cls):
            file_name(cls.table)


R = TypeVar("R", bound=Record)


def units_of(record: type[Record]) -> dict[str, str]:
    """Return the unit of every field of a record type, "" where it has none."""
    hints = get_type_hints(record, include_extras=True)
    units: dict[str, str] = {}
    for f in fields(record):
        metadata: Sequence[Any] = getattr(hints[f.name], "__metadata__", ())
        units[f.name] = next((m.symbol for m in metadata if isinstance(m, Unit)), "")
    return units


def codes_of(record: type[Record]) -> dict[str, type[IntEnum | IntFlag]]:
    """Return, by field, the enumeration whose codes or bits it holds, for the fields that hold any."""
    hints = get_type_hints(record, include_extras=True)
    codes: dict[str, type[IntEnum | IntFlag]] = {}
    for f in fields(record):
        for kind in getattr(hints[f.name], "__metadata__", ()):
            if isinstance(kind, type) and issubclass(kind, IntEnum | IntFlag):
                codes[f.name] = kind
    return codes


def meanings_of(kind: type) -> dict[str, str]:
    """Return the line of text under each field of a record type, or member of an enumeration; {} without its source."""
    try:
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return {}
    texts = {}
    for node, below in itertools.pairwise(getattr(tree, "body", ())):
        name = (
            node.target
            if isinstance(node, ast.AnnAssign)
            else node.targets[0]
            if isinstance(node, ast.Assign)
            else None
        )
        if isinstance(name, ast.Name) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            texts[name.id] = " ".join(str(below.value.value).split())
    return texts


class History:
    """The records of one die so far, in order."""

    def __init__(self, records: Sequence[Record] = ()) -> None:
        self._records = list(records)

    def add(self, record: Record) -> None:
        """Append a record."""
        self._records.append(record)

    def all(self, kind: type[R]) -> list[R]:
        """Return every record of a kind, in order."""
        return [r for r in self._records if isinstance(r, kind)]

    def latest(self, kind: type[R]) -> R | None:
        """Return the newest record of a kind, None if there is none."""
        return next((r for r in reversed(self._records) if isinstance(r, kind)), None)
