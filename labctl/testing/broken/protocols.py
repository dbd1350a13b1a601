"""Broken protocols, one for each check."""

from collections.abc import Iterator
from itertools import count
from typing import Any, ClassVar

from labctl.core.errors import LimitError
from labctl.testing import bodies
from labctl.testing.broken.around import Around, Break


class _Protocol(Around):
    """A protocol whose run is that of the one inside, but for what a subclass breaks."""

    def run(self, die: Any, history: Any) -> Iterator[Any]:
        """Yield the records of the one inside."""
        yield from self._inner.run(die, history)

    def rehearsal(self) -> Any:
        """Return that of the one inside."""
        return self._inner.rehearsal()


def _of_class(good: Any, **members: Any) -> Any:
    """Return the procedure `good` of a subclass that has `members`."""
    return type("Broken", (type(good),), members).model_validate(dict(good))  # type: ignore[attr-defined]


def _secret_settings(good: Any) -> Any:
    numbers = count(1)
    return _of_class(good, settings_data=lambda self: {**good.settings_data(), "number": next(numbers)})


class _YieldsTexts(_Protocol):
    def run(self, die: Any, history: Any) -> Iterator[Any]:
        """Yield texts."""
        for record in self._inner.run(die, history):
            yield repr(record)


class _Moody(_Protocol):
    _runs: ClassVar[list[int]] = [0]

    def run(self, die: Any, history: Any) -> Iterator[Any]:
        """Read once more in every second run."""
        self._runs[0] += 1
        for record in self._inner.run(die, history):
            if self._runs[0] % 2:
                subject = bodies.BodyUnderTest(lambda polarity: die)
                die.sense(subject.read(die, *subject.cells(die)))
            yield record


class _GoesOn(_Protocol):
    def run(self, die: Any, history: Any) -> Iterator[Any]:
        """Go on after an operation was refused."""
        try:
            yield from self._inner.run(die, history)
        except LimitError:
            return


class _EmptyRehearsal(_Protocol):
    def rehearsal(self) -> Any:
        """Return a piece that does nothing."""
        return self._inner.rehearsal()[0], 0


def _remembers(good: Any) -> Any:
    def run(self: Any, die: Any, history: Any) -> Iterator[Any]:
        self.__dict__["last_die"] = die
        yield from good.run(die, history)

    return _of_class(good, run=run)


class _TwoFigures(_Protocol):
    @property
    def figures(self) -> Any:
        """Tell its first figure twice."""
        return (*self._inner.figures, *self._inner.figures[:1])


BROKEN_PROTOCOLS: dict[str, Break] = {
    "settings_are_data": _secret_settings,
    "it_yields_records_of_named_tables": _YieldsTexts,
    "equal_dies_give_equal_runs": _Moody,
    "a_refused_operation_ends_it": _GoesOn,
    "it_can_be_rehearsed": _EmptyRehearsal,
    "it_keeps_nothing": _remembers,
    "figures_are_made_of_its_tables": _TwoFigures,
}
