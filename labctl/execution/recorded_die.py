"""A die whose every operation is in the journal before it is done and again after it.

An operation is cut into chunks of about a second of bench time, or of what the die says. A chunk's intent is durable
before anything is energised, and its result before the next chunk begins; between chunks is the safe point at which a
run can be asked to stop. The part that the journal has already is replayed first (`labctl.execution.replay`).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import overload

import numpy as np

from labctl.core import meanwhile
from labctl.core.body import nothing
from labctl.core.die import DieWrapper, unknown_operation
from labctl.core.errors import BenchError, ContactError, ContactLost
from labctl.core.limits import Limited
from labctl.core.operations import Attempts, Glance, Operation, Pulse, Reading, Sense, WritePlan
from labctl.core.outcome import Stopped
from labctl.core.rebuild import Rebuild
from labctl.core.units import Second
from labctl.execution.contact_watch import VOID, ContactWatch
from labctl.execution.replay import PROGRAM, Mismatch, RecordedOperation, Replay, answer_to
from labctl.execution.stop import Stop

CHUNK: Second = 1.0
"""Bench time of one chunk, s, where the die says no other: the longest wait of a request to stop for its safe point."""
GLANCED: Second = 10.0
"""Bench time of one chunk of a read that nobody writes down, s, which only a simulated die has, and computes."""
SLOWER, GRACE = 3.0, 30.0
"""A chunk that takes longer than `SLOWER` times its predicted time plus `GRACE` s hangs."""
AGAIN = 5
"""What is left of a chunk that broke off is carried out so often again; then its cells stay as they are."""
THINKING: Second = 600.0
"""Longest time between two chunks, s: a procedure computes, or a journal is replayed."""


def chunk_of(n: int, time: Second, longest: Second | None = None) -> int:
    """Return how many of n patterns of `time` s together make a chunk of about `longest` s.

    >>> chunk_of(7, 2.5), chunk_of(3, 60.0), chunk_of(0, 0.0), chunk_of(7, 2.5, 2.0)
    (3, 1, 1, 4)
    """
    return max(1, math.ceil(n / max(1, math.ceil(time / (longest or CHUNK)))))


def cells_of(n: int, time: Second) -> int:
    """Return how many of n cells of a write plan, expected to take `time` s, one script gets: about `CHUNK` s of them.

    >>> cells_of(225, 6.3), cells_of(10, 3.0), cells_of(3, 0.1)
    (38, 4, 3)
    """
    return max(1, math.ceil(n / max(1, round(time / CHUNK))))


class RecordedDie(DieWrapper[Limited]):
    """A die whose every operation is in the journal before it is done and again after it.

    Args:
        replay: the part that the journal has already.
        stop: checked at every safe point.
        tick: called with the number of patterns at every safe point, for progress.
        lease: called with the longest time until its next call, s; after that the run counts as hung.
        contact: takes every reading.
    """

    def __init__(
        self,
        die: Limited,
        replay: Replay,
        stage: str,
        stop: Stop | None = None,
        tick: Callable[[int], None] = lambda patterns: None,
        lease: Callable[[Second], None] = lambda seconds: None,
        contact: ContactWatch | None = None,
    ) -> None:
        super().__init__(die)
        self._contact = contact or ContactWatch(die)
        self._replay, self._journal, self._stage = replay, replay.journal, stage
        self._stop, self._tick, self._lease = stop or Stop(), tick, lease

    @overload
    def perform(self, operation: Sense | Pulse) -> Reading: ...
    @overload
    def perform(self, operation: WritePlan) -> Attempts: ...
    def perform(self, operation: Operation) -> Reading | Attempts:
        """Read or pulse n patterns chunk by chunk; judge a plan once, then carry it out in journalled pulses.

        A plan that is carried out inside an instrument is journalled as it is, a chunk of its cells at a time. A glance
        is not journalled: when the journal is replayed it is taken again.
        """
        match operation:
            case Glance():
                return Reading.join(self._glances(operation))
            case Sense():
                return Reading.join(self._chunks("sense", operation))
            case Pulse():
                return Reading.join(self._chunks("pulse", operation))
            case WritePlan():
                inside = self.scripts is not None or self._replay.has_plan
                return self._plans(operation) if inside else self._program(operation)
        raise unknown_operation(self, operation)

    def _plans(self, plan: WritePlan) -> Attempts:
        """Carry out a plan inside the instrument, chunk by chunk."""
        n, start, size = len(plan), 0, 0
        parts: list[Attempts] = []
        while start < n or not parts:
            recorded = self._replay.next()
            if recorded is None:
                if self.scripts is None:
                    raise Mismatch(
                        "the journal has write plans that were carried out inside an instrument; expected a bench that "
                        "does so, and a procedure that asks for no more of them once the journal has ended well"
                    )
                size = size or cells_of(n, self.scripts.expected(plan))
            patterns = size if recorded is None else recorded.patterns
            size = max(size, patterns, 1)
            piece = plan if patterns >= n else plan.take(slice(start, start + patterns))
            start += max(1, len(piece))
            parts.append(self._finished(piece, recorded))
        return Attempts.join(parts)

    def _finished(self, plan: WritePlan, recorded: RecordedOperation | None) -> Attempts:
        """Carry out a chunk of a plan, and again what a script that broke off has left of it, within the budgets."""
        attempts = self._judged(plan, recorded)
        left = np.flatnonzero(attempts.unfinished(plan))
        for _ in range(AGAIN):
            if not len(left):
                break
            rest = replace(plan.take(left), budget=(plan.budget - attempts.given)[left])
            more = self._judged(rest, self._replay.next())
            attempts = attempts.followed_by(left, more)
            left = left[more.unfinished(rest)]
        return attempts

    def _judged(self, plan: WritePlan, recorded: RecordedOperation | None) -> Attempts:
        """Carry out a chunk of a plan, or recall it; then read the cells whose attempts were lost."""
        self._safe_point()
        if recorded is not None:
            self._lease(THINKING)
            attempts = self._replay.again_plan(recorded, self._stage, plan, self._die)
            if recorded.result is not None:
                self._contact.recall(recorded.result.seq, *last_reads(plan, attempts))
        else:
            attempts = self._act_plan(plan)
        lost = np.flatnonzero(attempts.lost)
        if len(lost):  # what a script did that broke off, a read decides
            reading = Reading.join(self._chunks("sense", plan.verify.take(lost)))
            attempts = attempts.judged(plan, lost, reading)
        self._tick(len(plan))
        return attempts

    def _act_plan(self, plan: WritePlan) -> Attempts:
        """Carry out a chunk of a plan; if it breaks off, what is known of it is its result.

        An attempt of which nothing is known counts as made, and is UNKNOWN.
        """
        self._contact.resume()
        time = self._die.check(plan)
        wait = self._replay.begin()
        number = self._journal.intend(self._stage, PROGRAM, plan)
        self._journal.commit()
        self._lease(SLOWER * time + GRACE)
        scripts = self.scripts
        if scripts is not None:  # what it knows of the plan before is no result of this one
            scripts.expect(plan)
        wait()
        try:
            attempts = self._die.perform(plan)
        except BaseException as error:
            rescued = None if scripts is None else scripts.rescued
            self._journal.result(number, Attempts.at_most(plan) if rescued is None else rescued)
            if isinstance(error, ContactError) and not isinstance(error, ContactLost):
                raise ContactLost(f"void: {error}; {VOID}") from error
            raise
        self._lease(THINKING)
        self._journal.result(number, attempts)
        self._contact.look(*last_reads(plan, attempts))
        return attempts

    def _chunks(self, kind: str, operation: Sense | Pulse) -> Iterator[Reading]:
        """Yield the readings of the chunks of an operation: first those of the journal, cut as then, then others."""
        n, start, size = len(operation), 0, 0
        time: Second | None = None
        following: list[Sense | Pulse] = []
        """The next chunk, if it was prepared."""

        def prepare() -> None:
            if start < n:
                chunk = operation.take(slice(start, start + size))
                self._journal.prepare(chunk)
                following.append(chunk)

        while start < n or not size:
            recorded = self._replay.next()
            if recorded is None and time is None:
                time = self._die.check(operation)
                size = size or chunk_of(n, time, self.chunk)
            patterns = size if recorded is None else recorded.patterns
            whole, size = patterns >= n, max(size, patterns, 1)
            prepared = following.pop() if following and recorded is None and not whole else None
            piece = prepared or (operation if whole else operation.take(slice(start, start + patterns)))
            following.clear()
            start += max(1, len(piece))
            self._safe_point()
            if recorded is not None:
                yield self._again(recorded, kind, piece)
            else:
                assert time is not None
                yield self._act(kind, piece, time * len(piece) / max(1, n), prepare)
            self._tick(len(piece))

    def _glances(self, glance: Glance) -> Iterator[Reading]:
        """Yield the readings of the chunks of a read that nobody writes down; BenchError unless simulated."""
        if self._replay.rebuild is not Rebuild.BITS:
            raise BenchError(
                f"stage '{self._stage}' asks for a read that is not written down, and this die does not give the same "
                "reading again; expected 'keep: all', the default"
            )
        time, n = self._die.check(glance), len(glance)
        size = chunk_of(n, time, GLANCED)
        for start in range(0, max(n, 1), size):
            piece = glance if size >= n else glance.take(slice(start, start + size))
            self._safe_point()
            self._replay.begin()()
            self._lease(SLOWER * time * len(piece) / max(1, n) + GRACE)
            reading = self._die.perform(piece)
            self._lease(THINKING)
            yield reading
            self._tick(len(piece))

    def _again(self, recorded: RecordedOperation, kind: str, piece: Sense | Pulse) -> Reading:
        """Answer a chunk from the journal."""
        self._lease(THINKING)
        reading = self._replay.again(recorded, self._stage, kind, piece, self._die, self._answer)
        if recorded.taken is not None:
            self._contact.recall(recorded.taken, read_of(piece), reading)
        return reading

    def _safe_point(self) -> None:
        reason = self._stop.reason()
        if reason:
            raise Stopped(reason)

    def _act(self, kind: str, piece: Sense | Pulse, time: Second, prepare: Callable[[], None]) -> Reading:
        """Carry out a chunk; `prepare` what comes next while an instrument is busy with it."""
        self._contact.resume()
        wait = self._replay.begin()
        return self._do(self._journal.intend(self._stage, kind, piece), piece, time, prepare, wait)

    def _answer(self, seq: int, sense: Sense) -> Reading:
        """Take the read that answers operation `seq`, whose result was lost."""
        self._contact.resume()
        time = self._die.check(sense)
        number = self._journal.intend(self._stage, "sense", answer_to(seq, sense))
        return self._do(number, sense, time)

    def _do(
        self,
        sequence: int,
        operation: Sense | Pulse,
        time: Second,
        prepare: Callable[[], None] = nothing,
        wait: Callable[[], None] = nothing,
    ) -> Reading:
        self._journal.commit()
        wait()
        self._lease(SLOWER * time + GRACE)
        meanwhile.later(prepare)
        try:
            reading = self._die.perform(operation)
        except ContactLost:
            raise
        except ContactError as error:  # the die was approached, and so was touched before
            raise ContactLost(f"void: {error}; {VOID}") from error
        finally:
            meanwhile.forget()
        self._lease(THINKING)
        self._journal.result(sequence, reading)
        self._contact.look(read_of(operation), reading)
        return reading


def last_reads(plan: WritePlan, attempts: Attempts) -> tuple[Sense, Reading]:
    """Return the last verify read of each cell of a plan that was read, and what it gave."""
    last = np.full(len(plan), -1)
    last[attempts.cell] = np.arange(len(attempts.cell))
    cells = np.flatnonzero(last >= 0)
    at = last[cells]
    reading = Reading(attempts.current[at, None], attempts.flag[at, None], attempts.pulse_flag[at])
    return plan.verify.take(cells), reading


def read_of(operation: Sense | Pulse) -> Sense | None:
    """Return the read of an operation; None of a pulse without one."""
    return operation.verify if isinstance(operation, Pulse) else operation
