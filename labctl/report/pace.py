"""How often work may be done that looks at a run: a share of the processor, so that nobody who looks is in the way."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from labctl.core.units import Second

_inside = threading.local()
"""Cost of what has a pace of its own within the work under way, s."""


class Pace:
    """Lets a piece of work be done again once the time since it was done last is long enough for what it cost.

    What within it has a pace of its own does not count.

    Args:
        share: of one processor, that the work may take in the long run.
        least: shortest time from one end of the work to its next start, s.
        clock, cost: a clock that is never set, and processor time of this thread, s.
    """

    def __init__(
        self,
        share: float,
        least: Second = 0.0,
        clock: Callable[[], float] = time.monotonic,
        cost: Callable[[], float] = time.thread_time,
    ) -> None:
        self._share, self._least, self._clock, self._cost = share, least, clock, cost
        self._next = -float("inf")

    @property
    def due(self) -> bool:
        """Whether the work may be done now."""
        return self._clock() >= self._next

    @contextmanager
    def work(self) -> Iterator[None]:
        """Do the work in the block, whose cost is measured also if it fails."""
        before, outside = self._cost(), getattr(_inside, "cost", 0.0)
        _inside.cost = 0.0
        try:
            yield
        finally:
            spent = self._cost() - before
            self._next = self._clock() + max(self._least, (spent - _inside.cost) / self._share)
            _inside.cost = outside + spent
