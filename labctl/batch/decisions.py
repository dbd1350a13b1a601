"""Decisions about dies and about the run: the order of dies, their bins, new tries, and when the run ends.

Every rule is a function of the run's journal and of the campaign file, so that a decision can be derived from them
again afterwards.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from random import Random
from typing import Any

from labctl.config.bins import HARD, BinRule, bin_of, is_good, is_measured, passes, tally
from labctl.config.rules import Batch, DieOrder
from labctl.core.die_state import FINAL, State
from labctl.core.figure import Figures
from labctl.storage.run_log import DieState, RunState


def ordered(dies: Sequence[DieState], order: DieOrder, seed: int) -> list[str]:
    """Return the names of `dies` in the order in which they are measured.

    >>> dies = [DieState(f"D{k}", (k, 0)) for k in range(5)]
    >>> ordered(dies, DieOrder.CENTRE_OUT, 0)
    ['D2', 'D1', 'D3', 'D0', 'D4']
    """
    if order is DieOrder.SHUFFLED:
        names = [d.name for d in dies]
        Random(seed).shuffle(names)
        return names
    if order is DieOrder.CENTRE_OUT and dies:
        x, y = (sum(low_high) / 2 for low_high in (_span(d.at[axis] for d in dies) for axis in (0, 1)))
        return [d.name for d in sorted(dies, key=lambda d: math.hypot(d.at[0] - x, d.at[1] - y))]
    return [d.name for d in dies]


def _span(values: Any) -> tuple[int, int]:
    numbers = list(values)
    return min(numbers), max(numbers)


def spread(dies: Sequence[DieState], number: int) -> list[str]:
    """Return the names of `number` dies spread over the map: each is the die farthest from those before it.

    >>> spread([DieState(f"D{k}", (k, 0)) for k in range(5)], 3)
    ['D2', 'D0', 'D4']
    """
    left = list(dies)
    names = ordered(left, DieOrder.CENTRE_OUT, 0)
    chosen: list[DieState] = [next(d for d in left if d.name == names[0])] if left else []
    while len(chosen) < min(number, len(dies)):
        rest = [d for d in left if d not in chosen]
        chosen.append(max(rest, key=lambda d: min(math.dist(d.at, c.at) for c in chosen)))
    return [d.name for d in chosen[:number]]


@dataclass
class Rules:
    """The rules of one session of a run.

    Args:
        batch: section of the campaign file.
        seed: of a shuffled order.
        declared: figures of the campaign, by which values are written.
        predicted: time of each die by the plan, s; empty for simulated dies, whose time the plan does not predict.
    """

    batch: Batch
    bins: Sequence[BinRule] = ()
    seed: int = 0
    predicted: Mapping[str, float] = field(default_factory=dict)
    declared: Figures = field(default_factory=lambda: Figures(()))
    _ended: list[DieState] = field(default_factory=list)
    """Dies that ended in this session, in order: counts of dies in a row start again when a run is resumed."""

    def order(self, state: RunState) -> list[str]:
        """Return the dies that are not final, in the order of measurement, those of the pre-test first."""
        dies = [d for d in state.subjects if d.state is not State.SKIPPED]
        first = spread(dies, self.batch.pretest or 0)
        names = first + [n for n in ordered(dies, self.batch.order, self.seed) if n not in first]
        return [n for n in names if state.dies[n].state not in FINAL]

    def bin(self, state: State, figures: Mapping[str, float]) -> dict[str, Any]:
        """Return the bin of a die that ended in `state`, as a row of the journal; empty if it goes on later."""
        match state:
            case State.DONE:
                result = bin_of(self.bins, figures, self.declared)
                return {"bin": result.name, "hard": result.hard, "rule": result.rule}
            case State.CONTACT_FAIL | State.LIMIT_STOP | State.ERROR:
                name = {State.CONTACT_FAIL: "contact", State.LIMIT_STOP: "limit"}.get(state, "error")
                return {"bin": name, "hard": HARD[name], "rule": f"it ended in the state '{state}'"}
        return {}

    def tries_again(self, die: DieState) -> bool:
        """Return whether a die in ERROR gets a new try."""
        return len(die.tries) <= self.batch.tries

    def too_late(self, state: RunState, used: float) -> str | None:
        """Return why no other die is begun, `used` s after the start of the run; None if the next one ends in time."""
        budget = self.batch.budgets.time
        if budget is None:
            return None
        left, needed = budget - used, self._seconds(state)
        if left >= needed:
            return None
        return f"a die takes about {needed:.0f} s and {max(left, 0.0):.0f} s are left of the {budget:.0f} s that it may"

    def _seconds(self, state: RunState) -> float:
        """Return the time of a die: the mean of those before it, or the plan's while there are none, s."""
        times = [d.last.seconds for d in state.subjects if d.state is State.DONE and d.last is not None]
        if times:
            return sum(times) / len(times)
        return max(self.predicted.values(), default=0.0)

    def broken(self, state: RunState, die: DieState) -> tuple[str, str] | None:
        """Count an ended `die`, and return the name and the message of the stop rule that it breaks; None if none.

        A die that goes on later has not ended.
        """
        if die.golden or die.state in (State.INTERRUPTED, State.SKIPPED):
            return None
        self._ended.append(die)
        return self._broken_by(state, die, self._ended)

    def would_break(self, state: RunState, die: DieState) -> bool:
        """Return whether a stop rule would be broken if `die` had ended as `state` has it; it is not counted."""
        return self._broken_by(state, die, [*self._ended, die]) is not None

    def _broken_by(self, state: RunState, die: DieState, ended_here: Sequence[DieState]) -> tuple[str, str] | None:
        rules = self.batch.stop
        no_contact = _in_a_row(ended_here, lambda d: d.state is State.CONTACT_FAIL)
        if rules.contact_failures is not None and len(no_contact) >= rules.contact_failures:
            names = ", ".join(d.name for d in no_contact)
            return "contact_failures", f"{len(no_contact)} dies in a row have no contact ({names}): look at the needles"
        same = {
            d.name
            for d in _in_a_row(ended_here, lambda d: d.state is State.ERROR and cause(d.reason) == cause(die.reason))
        }
        if rules.same_exception is not None and len(same) >= rules.same_exception:
            return "same_exception", f"{len(same)} dies in a row ended with the same error: {cause(die.reason)}"
        first = [state.dies[n] for n in spread(state.subjects, self.batch.pretest or 0)]
        tested = die in first and all(d.state in FINAL for d in first)
        if tested and sum(map(_passes, first)) < rules.pretest * len(first):
            return "pretest", f"of the pre-test less than {rules.pretest:.0%}: {_tally(first, self.bins)}"
        if rules.low_yield is not None:
            ended = [d for d in state.subjects if d.state in FINAL and d.state is not State.SKIPPED]
            if len(ended) >= rules.low_yield.after and sum(map(_passes, ended)) < rules.low_yield.below * len(ended):
                return "low_yield", f"less than {rules.low_yield.below:.0%}: {_tally(ended, self.bins)}"
        return None


def _passes(die: DieState) -> bool:
    return die.last is not None and passes(die.last.hard)


def _tally(dies: Sequence[DieState], rules: Sequence[BinRule]) -> str:
    hard = [die.last.hard for die in dies if die.last is not None]
    return tally(sum(map(is_good, hard)), sum(map(is_measured, hard)), len(dies), rules)


def cause(reason: str) -> str:
    """Return the first line of the reason of a failure, by which errors are compared."""
    return reason.strip().partition("\n")[0]


def _in_a_row(dies: Sequence[DieState], condition: Callable[[DieState], bool]) -> list[DieState]:
    """Return the longest end of `dies` of which all fulfil the condition."""
    return list(takewhile(condition, reversed(dies)))[::-1]
