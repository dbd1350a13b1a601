"""A die on a board: nothing moves, the board is told which die it has, and left with every line off."""

from functools import partial
from types import TracebackType
from typing import Any, Self

from instruments.open_board import OpenBoard
from labctl.core.body import ReadyDie, Say, _quiet
from labctl.core.errors import LabError, LeftUnverified
from labctl.core.rebuild import Rebuild
from labctl.core.site import Site
from labctl.core.units import Second
from labctl.station.bench_session import AnyTwin
from labctl.station.simulated import VISIT

PATIENCE: Second = 300.0
"""Longest time in which a board takes another die."""


class OnBoard:
    """A board or its twin; leaving the context makes it safe.

    Args:
        twin: None for the real board.
    """

    def __init__(self, opened: OpenBoard, twin: AnyTwin | None) -> None:
        self.opened, self.twin = opened, twin
        self.anew = twin is not None
        """Whether the next die is as it was made, as the die of a new twin is."""

    @property
    def rebuild(self) -> Rebuild:
        """A real die keeps its cells; the cells of a new twin are made anew."""
        return Rebuild.STATES if self.anew else Rebuild.NOTHING

    @property
    def patience(self) -> Second:
        """Longest time of an approach, s."""
        return PATIENCE

    def approach(self, subject: Site, say: Say = _quiet) -> ReadyDie:
        """Return the die of the board as `subject`; BenchError if it is of another shape."""
        description = subject.description
        self.opened.bench.fits(description.shape)
        die = self.opened.turn_to(description.nominal, description.polarity)
        opened = self.opened
        record: dict[str, Any] = {"identities": dict(opened.identities), "calibrations": dict(opened.calibrations)}
        if self.twin is None:
            return ReadyDie(die, record)
        twin, spot, first = self.twin, subject.spot, subject.visit << VISIT
        return ReadyDie(die, record, partial(twin.truth, spot), lambda number: twin.seek(spot, first + number))

    def leave(self) -> None:
        """Switch every line off, verified."""
        self.opened.off()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.opened.__exit__(kind, error, trace)
        except LabError as unsafe:
            raise LeftUnverified(f"the board is left as it is, and was not verified safe: {unsafe}") from unsafe
        finally:
            if self.twin is not None:
                self.twin.close()
