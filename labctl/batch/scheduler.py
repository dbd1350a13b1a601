"""Carry out a campaign: which die when, what becomes of it, and when it is enough.

The engine runs in the parent process. It touches no die: workers do, and die with theirs, while the engine goes on
and writes down every edge of every die's state before it acts on it. What it needs to know is in the run's journal
alone, so a run that was stopped or killed is taken up by starting the engine on it again.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from labctl.batch.decisions import Rules, cause
from labctl.batch.executors import Crew, Lost
from labctl.batch.exit_status import Ending
from labctl.batch.reference_die import ReferenceVisits, under_way
from labctl.batch.requests import STOPPED, GoFile, Request, take
from labctl.batch.session_guard import Guard
from labctl.core.die_state import ACTIVE, FINAL, State
from labctl.core.errors import StorageError
from labctl.execution.die_job import DieResult, Job, Notify
from labctl.storage.latch import Latch
from labctl.storage.run_log import DieState, Runlog

POLL = 0.1
"""How long the engine waits for workers before it looks for requests, s."""
LOOK = 0.5
"""Time between two looks for requests, s."""
BACK_OFF = 1.0
"""Wait before the first new connection to a bench that went away, s; it grows fourfold from one to the next."""
LOSSES = 2
"""So often a worker may die under a die before the die counts as the cause."""


@dataclass
class _Hand:
    """A die that is being worked on."""

    attempt: int
    since: float = field(default_factory=time.monotonic)
    stage: str = ""


class Scheduler:
    """Carries out the dies of a run.

    Args:
        log: the run's journal; the dies in it that are not final are what there is to do.
        jobs: what every die needs that is to be worked on now.
        crew: makes the crew, given the function that takes its messages.
        show: told of everything, for the screen.
        first: the state in which the work on a die begins: where needles move, MOVING.
        guard: asked for space before a die is begun, and looked at as time passes.
        visits: of the golden die, if there is one.
        latch: returns the latch of the bench while it is set, None while it is not.
    """

    def __init__(
        self,
        log: Runlog,
        jobs: Mapping[str, Job],
        rules: Rules,
        going: GoFile,
        crew: Callable[[Notify], Crew],
        show: Notify = lambda die, what, detail: None,
        first: State = State.RUNNING,
        guard: Guard | None = None,
        visits: ReferenceVisits | None = None,
        latch: Callable[[], Latch | None] = lambda: None,
    ) -> None:
        self.log, self._jobs, self._rules, self._going, self._show = log, dict(jobs), rules, going, show
        self._crew, self._first, self._guard, self._visits = crew(self.tell), first, guard, visits
        self._latch, self._switched_off = latch, False
        self._run = visits.folder if visits is not None else next(iter(jobs.values())).folder
        self._hand: dict[str, _Hand] = {}
        self._lost: Counter[str] = Counter()
        self._reconnects, self._not_before = 0, 0.0
        self._skipping: dict[str, Request] = {}
        self._looked, self._started = 0.0, time.monotonic()
        self.ending: Ending | None = None
        self._queue = [name for name in rules.order(log.state) if name in jobs]
        for name in self._queue:
            self._take_up(log.state.dies[name])
        if visits is not None and (visit := under_way(log.state)) is not None:
            self._take_up(visit)
            if visit.state in FINAL:
                self._judge(visit.name)

    def _take_up(self, die: DieState) -> None:
        """Write what became of a die on which an earlier session was working."""
        if die.state in ACTIVE and die.last is not None:
            self.log.move(die.name, State.INTERRUPTED, die.last.number, "the run was broken off")
        elif die.state is State.ERROR and die.last is not None:
            self.log.move(die.name, State.PENDING, die.last.number + 1, "tried again by resume")

    def run(self) -> Ending:
        """Work until there is nothing left to do or a reason to end; return why it ended."""
        try:
            while True:
                self._look()
                self._full()
                self._feed()
                if not self._hand and (not self._queue or self.ending is not None):
                    break
                if not self._hand:
                    time.sleep(POLL)  # until a bench that went away is tried again
                for ended in self._crew.wait(POLL):
                    self._ended(ended)
        finally:
            self._going.stop()
            self._crew.close()
        return Ending.of(self.log.state, self.ending)

    # what is asked from outside

    def stop(self) -> None:
        """End at the next safe point; may be called by a signal handler."""
        self._going.stop()
        self.ending = self.ending or Ending(4, STOPPED)

    def hurry(self) -> None:
        """End at once."""
        self._crew.hurry()

    def _look(self) -> None:
        """Take the requests of other terminals, and notice what happened to the computer."""
        if time.monotonic() - self._looked < LOOK:
            return
        self._looked = time.monotonic()
        if self._guard is not None:
            self._guard.look()
        self._look_at_latch()
        for request in take(self._run, self._going.session):
            self._do(request)

    def _look_at_latch(self) -> None:
        """End at once when somebody has switched the bench off; what that did to a die in hand is not its fault."""
        latch = None if self._switched_off else self._latch()
        if latch is None:
            return
        self._switched_off = True
        self.log.say("asked", what="off", die="", by=latch.by, reason=latch.reason)
        self._going.stop()
        if self.ending is None or self.ending.code == 4:
            self.ending = Ending(4, str(latch))
        self._end(Ending(4, str(latch)))
        self._crew.hurry()

    def _do(self, request: Request) -> None:
        said = {"what": request.what, "die": request.die, "by": request.by, "reason": request.reason}
        self.log.say("asked", **said)
        if request.what == "stop":
            self.stop()
            if not self._switched_off:
                self.ending = replace(self.ending or Ending(4, STOPPED), text=f"{STOPPED}: {request.by}")
        elif request.what == "skip" and request.die in self._hand:
            self._skipping[request.die] = request
            self._going.skip(request.die)
        elif request.what == "skip" and request.die in self.log.state.unfinished:
            self._queue = [name for name in self._queue if name != request.die]
            self._skip(request.die, request)

    def _skip(self, name: str, request: Request) -> None:
        die = self.log.state.dies[name]
        reason = f"skipped by {request.by}" + (f": {request.reason}" if request.reason else "")
        self.log.move(name, State.SKIPPED, die.last.number if die.last else 1, reason)

    # beginning a die

    def _feed(self) -> None:
        """Begin as many dies as the crew takes."""
        while self.ending is None and len(self._hand) < self._crew.width and (name := self._next()) is not None:
            if time.monotonic() < self._not_before:
                return
            if (self._lost[name] or any(self._lost[n] for n in self._hand)) and self._hand:
                return  # a die under which a worker died is worked on alone, or it would take others with it
            reason = self._rules.too_late(self.log.state, time.monotonic() - self._started)
            if reason is not None and name in self._queue:
                self._end(Ending(3, reason))
                return
            if not self._space_for(name):
                return
            if name in self._queue:
                self._queue.remove(name)
            if self._visits is not None and self._visits.announce(self.log, name):
                self._jobs[name] = self._visits.job(name)
            self._begin(self.log.state.dies[name])

    def _next(self) -> str | None:
        """Return the die that comes next; None if there is none, or it has to wait for those in hand."""
        if self._visits is not None:
            return self._visits.next(self.log.state, self._queue, self._hand)
        return self._queue[0] if self._queue else None

    def _full(self) -> None:
        """Bring everything to an end on a disk that was full: the ballast is freed, and there is no more of it."""
        if self._guard is not None and self._guard.full and self.ending is None:
            self._end(Ending(StorageError.exit_code, self._guard.full))
            self._going.stop(full=True)

    def _space_for(self, name: str) -> bool:
        """Return whether the disk takes one more die beside those in hand; end if not."""
        try:
            if self._guard is not None:
                self._guard.enough([*self._hand, name])
        except StorageError as error:
            self._end(Ending(error.exit_code, str(error)))
            return False
        return True

    def _begin(self, die: DieState) -> None:
        attempt = 1 if die.last is None else die.last.number + (die.state is State.PENDING)
        job = replace(self._jobs[die.name], try_no=attempt)
        self._hand[die.name] = _Hand(attempt)
        # before the worker does anything, or what it leaves would be a journal that nobody knows of
        self.log.move(die.name, self._first, attempt)
        self._crew.begin(job)

    # what workers say

    def tell(self, die: str, what: str, detail: Any) -> None:
        """Take a message of a worker; one that comes when its die has ended says nothing new."""
        if die in self._hand:
            hand, state = self._hand[die], self.log.state.dies[die].state
            if what == "state":
                to = State(detail)
                if state is State.SEALING and to in ACTIVE - {state}:
                    self.log.move(die, State.INTERRUPTED, hand.attempt, "its worker died, and another one goes on")
                if to is not state:
                    self.log.move(die, to, hand.attempt)
            elif what == "stage" and detail != "approach" and detail != hand.stage:
                hand.stage = detail
                self.log.say("step", die=die, stage=detail, **{"try": hand.attempt})
            elif what == "alarm":
                self.log.say("alarm", die=die, text=str(detail), level="alarm")
        if what != "done":  # that is said once, when its bin is known
            self._show(die, what, detail)
        self._look()

    def _ended(self, ended: DieResult | Lost) -> None:
        self._look_at_latch()  # before it is judged what a die met
        hand = self._hand.pop(ended.die)
        seconds = time.monotonic() - hand.since
        if isinstance(ended, Lost):
            self._was_lost(ended, hand, seconds)
            return
        state, outcome = ended.state, ended.outcome
        self._reconnects = 0
        if state is State.DONE and self.log.state.dies[ended.die].state is not State.SEALING:
            self.log.move(ended.die, State.SEALING, hand.attempt)  # what was told of it is still on its way
        self.log.move(
            ended.die,
            state,
            hand.attempt,
            outcome.reason,
            seconds=seconds,
            exit_code=outcome.exit_code,
            sha256=ended.sealed,
            figures=dict(ended.figures),
            **({} if self.log.state.dies[ended.die].golden else self._rules.bin(state, ended.figures)),
        )
        self._show(ended.die, "done", ended.bin)
        self._judge(ended.die, again=ended.again)

    def _was_lost(self, lost: Lost, hand: _Hand, seconds: float) -> None:
        if not lost.code and not lost.told:
            self.log.say("watchdog", what="died", die=lost.die, text=lost.reason, seconds=seconds)
        if lost.code or self._switched_off:
            code = lost.code if lost.code in (4, 6) else 4 if self._switched_off else 3
            self.log.move(lost.die, State.INTERRUPTED, hand.attempt, lost.reason, seconds=seconds, exit_code=code)
            if lost.gone:
                self._end(Ending(3, lost.reason))
            elif lost.die in self._skipping or code in (4, 6):
                self._judge(lost.die)
            else:
                self._reconnect(lost)
            return
        self._lost[lost.die] += 1
        if self._lost[lost.die] < LOSSES:
            self.log.move(lost.die, State.INTERRUPTED, hand.attempt, lost.reason, seconds=seconds)
            self._queue.insert(0, lost.die)
        else:
            reason = f"{lost.reason}, for the {self._lost[lost.die]}nd time"
            self.log.move(lost.die, State.ERROR, hand.attempt, reason, seconds=seconds, exit_code=70)
            self._judge(lost.die)

    def _reconnect(self, lost: Lost) -> None:
        """Have the bench connected anew after a while, and the die go on; end if that was tried often enough."""
        self._reconnects += 1
        if self._reconnects > self._rules.batch.reconnects:
            self._end(Ending(3, f"the bench is gone: {lost.reason}"))
            return
        wait = BACK_OFF * 4.0 ** (self._reconnects - 1)
        text = f"{lost.reason}; connecting anew in {wait:.0f} s, for the {self._reconnects}. time"
        self.log.say("alarm", die=lost.die, text=text, level="warning")
        self._not_before = time.monotonic() + wait
        self._queue.insert(0, lost.die)

    def _judge(self, name: str, again: bool = False) -> None:
        """Decide what follows from the end of a die: a new try, the end of the run, or the next die."""
        die = self.log.state.dies[name]
        if die.state is State.INTERRUPTED and name in self._skipping:
            self._skip(name, self._skipping.pop(name))
        elif die.state is State.INTERRUPTED:
            self._interrupted(die)
        if die.golden and self._visits is not None:
            broken = self._visits.judge(self.log, name, again or self._rules.tries_again(die))
        else:
            broken = self._rules.broken(self.log.state, die)
        if broken is not None and self.ending is None:
            rule, text = broken
            self.log.say("rule", rule=rule, text=text)
            self._end(Ending(3, text))
        if die.state is State.ERROR and self.ending is None and (again or self._rules.tries_again(die)):
            number = die.last.number + 1 if die.last else 1
            self.log.move(name, State.PENDING, number, f"tried again after: {cause(die.reason)}")
            self._queue.insert(0 if again else len(self._queue), name)

    def _interrupted(self, die: DieState) -> None:
        code = die.last.exit_code if die.last else 4
        if code == 5 and not die.golden and self._guard is not None and self._guard.works():
            text = f"what this die measured cannot be stored, while the disk takes the others: {die.reason}"
            self.log.say("alarm", die=die.name, text=text, level="alarm")
            return
        if code in (4, 5, 6):
            self._end(Ending(code, die.reason))
        if code == 5 and self._guard is not None:
            self._guard.relieve(StorageError(die.reason))

    def _end(self, ending: Ending) -> None:
        """Begin no other die."""
        if self.ending is None or ending.graver(self.ending):
            self.ending = ending
