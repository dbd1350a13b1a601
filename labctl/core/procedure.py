"""A procedure is a decision over a die, as data: validated parameters and a `run` that yields records.

It holds no file, no clock, no logger and no `try`. A cell that will not switch is a record, not an exception.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

from labctl.core.die import Die
from labctl.core.model import Model
from labctl.core.record import History, Record


class Procedure(Model, ABC):
    """Parameters of one protocol and its `run` on a die; `name` is its key in a campaign file."""

    name: ClassVar[str]

    @classmethod
    def settings(cls) -> type[Model]:
        """Return the model of its keys in a campaign file; its other fields (solutions, samples) are handed in."""
        return cls

    def settings_data(self) -> dict[str, Any]:
        """Return those settings as plain data in SI units, for the record."""
        return self.model_dump(mode="json", include=set(self.settings().model_fields))

    @abstractmethod
    def run(self, die: Die, history: History) -> Iterator[Record]:
        """Act on `die`, knowing `history`, and yield records; the caller journals each before asking for the next."""

    def rehearsal(self) -> tuple["Procedure", int]:
        """Return a short piece of this procedure and how many such pieces make the whole, to predict time and data."""
        return self, 1
