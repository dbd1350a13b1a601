"""A procedure is a decision over a die, as data: validated parameters and a `run` that yields what it learned.

It holds no file, no clock, no logger and no `try`. A cell that will not switch is a record, not an exception.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict

from labctl.core.die import Die
from labctl.core.units import Unit


@dataclass(frozen=True, eq=False, kw_only=True)
class Record:
    """One fact a run learned. One subclass is one table; one instance is one row, its arrays have the same shape in
    every row. With `columnar`, an instance is many rows: every field is an (n,) array and tables grow along it.

    Fields are numbers, bools, texts or numpy arrays; units stand in the annotations.
    """

    table: ClassVar[str]
    columnar: ClassVar[bool] = False


R = TypeVar("R", bound=Record)


def units_of(record: type[Record]) -> dict[str, str]:
    """Return the unit of every field of a record type, "" where it has none."""
    hints = get_type_hints(record, include_extras=True)
    found: dict[str, str] = {}
    for f in fields(record):
        metadata: Sequence[Any] = getattr(hints[f.name], "__metadata__", ())
        found[f.name] = next((m.symbol for m in metadata if isinstance(m, Unit)), "")
    return found


class History:
    """What has been learned about one die so far, in order."""

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


class Model(BaseModel):
    """Base of everything people write: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)


class Procedure(Model, ABC):
    """Parameters of one protocol and what it does with a die; `name` is what a campaign file calls it."""

    name: ClassVar[str]

    @classmethod
    def settings(cls) -> type[Model]:
        """Return the model of what a campaign file says of it; its other fields (solutions, samples) are given."""
        return cls

    def settings_said(self) -> dict[str, Any]:
        """Return those settings as plain data in SI units, for the record."""
        return self.model_dump(mode="json", include=set(self.settings().model_fields))

    @abstractmethod
    def run(self, die: Die, history: History) -> Iterator[Record]:
        """Act on `die`, knowing `history`, and yield records; the caller journals each before asking for the next."""

    def rehearsal(self) -> tuple["Procedure", int]:
        """Return a short piece of this procedure and how many such pieces make the whole, to predict time and data."""
        return self, 1
