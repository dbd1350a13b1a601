"""Write plans of a Daffodil board as messages that it carries out by itself: how many, and how long they take.

A message has cells of one kernel. The board ends by itself what lasts longer than its lease, so a message that uses up
every budget takes half of it at most.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from labctl.core.errors import BenchError
from labctl.core.operations import Attempts, WritePlan
from labctl.core.units import FloatArray, IntArray, Second

PATTERNS = 8000
"""Most patterns of writes in one message."""


class Predicts(Protocol):
    """A board that refuses what its lines, converters or clock cannot do; BenchError."""

    def check(self, operation: WritePlan) -> Second:
        """Return the predicted time of a plan, s."""
        ...

    def seconds_of_cells(self, plan: WritePlan, pulses: IntArray) -> FloatArray:
        """Return the predicted time of each cell of a plan that gets as many pulses, (N,) s."""
        ...


class Scripts:
    """How a board carries out write plans by itself, `labctl.core.die.PlanScripts`.

    Args:
        message: round trip of a message, s.
        lease: silence that the board stands, s.
    """

    def __init__(self, board: Predicts, message: Second, lease: Second) -> None:
        self._board, self._message, self._lease = board, message, lease
        self.rescued: Attempts | None = None
        """What is known of the last plan, without an attempt if it ended before a message; None: nothing is known."""

    def expect(self, plan: WritePlan) -> None:
        """Take note that `plan` comes next: until it is begun, `rescued` is without an attempt of it."""
        self.rescued = Attempts.none_of(plan)

    def expected(self, plan: WritePlan, given: IntArray | None = None) -> Second:
        """Return the predicted time of `plan` if every cell verifies at its first pulse, or gets `given` (N,), s."""
        seconds = self._board.seconds_of_cells(plan, np.minimum(plan.most, 1) if given is None else given)
        return self._message * self._count(plan) + float(seconds.sum())

    def longest(self, plan: WritePlan) -> Second:
        """Return the predicted time of `plan` if every budget is used up, by the board or by the host loop, s."""
        seconds = self._board.seconds_of_cells(plan, plan.most)
        return self._message * max(len(plan.ladder), self._count(plan)) + float(seconds.sum())

    def require_fit(self, plan: WritePlan) -> None:
        """Raise BenchError for a plan that the board cannot carry out, or one with a cell longer than a message."""
        self._board.check(plan)
        longest = float(self._board.seconds_of_cells(plan, plan.most).max(initial=0.0))
        if plan.v_read > 0.0 and longest > self._lease / 2:
            raise BenchError(
                f"a cell takes up to {longest:.3g} s, and half a lease of {self._lease:.3g} s is what the board "
                "carries out by itself; a shorter ladder or a longer lease would do, or 'programming: host'"
            )

    def _count(self, plan: WritePlan) -> int:
        return sum(1 for _ in self.messages(plan))

    def messages(self, plan: WritePlan) -> Iterator[IntArray]:
        """Yield the cells (k,) of each message."""
        seconds = self._board.seconds_of_cells(plan, plan.most)
        longest, rungs = self._lease / 2, len(np.unique(plan.ladder))
        for kernel in dict.fromkeys(plan.write.kernel.tolist()):
            cells = np.flatnonzero(plan.write.kernel == kernel)
            parts = np.cumsum(seconds[cells])
            begin = 0
            while begin < len(cells):
                before = 0.0 if begin == 0 else float(parts[begin - 1])
                end = int(np.searchsorted(parts, before + longest, side="right"))
                end = min(max(end, begin + 1), begin + max(1, PATTERNS // rungs))
                yield cells[begin:end]
                begin = min(end, len(cells))
