"""A procedure is a decision over a die, as data: validated parameters and a `run` that yields records.

It holds no file, no clock, no logger and no `try`. A cell that will not switch is a record, not an exception.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Self

from labctl.core.die import Die
from labctl.core.figure import Figure
from labctl.core.inputs import Input, input_type
from labctl.core.model import Model
from labctl.core.picture import Picture
from labctl.core.record import History, Record


class Procedure(Model, ABC):
    """Settings and inputs of one protocol and its `run` on a die; `name` is its key in a campaign file.

    `figures` are the figures of merit that its tables give, in the order in which they are shown; `pictures` is what of
    its tables is drawn. Both go with the run: terminal, rules, maps, reports and exports read them there.
    """

    name: ClassVar[str]
    figures: ClassVar[tuple[Figure, ...]] = ()
    pictures: ClassVar[tuple[Picture, ...]] = ()

    @property
    def glances(self) -> bool:
        """Whether it takes readings that nobody writes down; only simulated dies allow that."""
        return False

    @classmethod
    def inputs(cls) -> dict[str, type[Input]]:
        """Return its fields that hold inputs, which a stage names as files; all other fields are settings."""
        kinds = {name: input_type(field.annotation) for name, field in cls.model_fields.items()}
        return {name: kind for name, kind in kinds.items() if kind is not None}

    def for_die(self, name: str) -> Self:
        """Return the procedure as the die `name` gets it. Raises BenchError if an input has nothing for that die."""
        values = {field: getattr(self, field) for field in self.inputs()}
        own = {field: value.for_die(name) for field, value in values.items() if value is not None}
        changed = {field: value for field, value in own.items() if value is not values[field]}
        return self.model_copy(update=changed) if changed else self

    def settings_data(self) -> dict[str, Any]:
        """Return its settings as plain data in SI units, for the record."""
        return self.model_dump(mode="json", exclude=set(self.inputs()))

    @abstractmethod
    def run(self, die: Die, history: History) -> Iterator[Record]:
        """Act on `die`, knowing `history`, and yield records; the caller journals each before asking for the next."""

    def rehearsal(self) -> tuple["Procedure", int]:
        """Return a short piece of this procedure and how many such pieces make the whole, to predict time and data."""
        return self, 1
