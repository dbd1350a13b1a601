"""Carry out a campaign: the order of dies, what follows from their results, and the end of the run.

The scheduler runs in the parent process. It touches no die: workers do, and a worker that dies does not end it. It logs
every transition of every die's state before it acts on it. Its whole state is in the run's journal, so a run that was
stopped or killed is resumed by starting the scheduler on it again. One module of more than 300 lines, because every
decision reads and writes the same queue and the same dies under way.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from labctl.batch.decisions import Rules, cause
from labctl.batch.executors import DieExecutor, Lost
from labctl.batch.exit_status import Ending
from labctl.batch.housekeeping import Housekeeping
from labctl.batch.reference_die import ReferenceVisits, under_way
from labctl.batch.requests import STOPPED, GoFile, Request, take
from labctl.core.die_state import ACTIVE, FINAL, State
from labctl.core.errors import StorageError
from labctl.core.events import (
    Alarm,
    DieMoved,
    FaultInjected,
    Level,
    Requested,
    RequestKind,
    RuleBroken,
    StageBegun,
    WatchdogActed,
    WorkerFate,
)
from labctl.core.exit_codes import ExitCode
from labctl.execution.die_job import DieResult, Job, Notify
from labctl.storage.latch import Latch
from labctl.storage.run_log import DieState, Runlog, RunState, as_if

POLL = 0.1
"""How long the scheduler waits for workers before it polls, s."""
REQUESTS = 0.5
"""Time between two polls for requests, s."""
BACK_OFF = 1.0
"""Wait before the first new connection to a lost bench, s; it grows fourfold from one to the next."""
LOSSES = 2
"""Deaths of workers under one die after which the die counts as the cause."""


@dataclass
class _ActiveDie:
    """A die that is being worked on."""

    try_no: int
    since: float
    stage: str = ""
    measured: DieResult | None = None
    """Its result while it is being sealed and its bench is free for the next die."""
    until: float | None = None
    """When it was measured."""


class Scheduler:
    """Carries out the dies of a run.

    Args:
        log: the run's journal; its dies that are not final are left to do.
        jobs: the job of every die of this session.
        executor: makes the executor, given the function that takes its messages.
        show: called with every message, for the screen.
        first: the state in which the work on a die begins: MOVING if needles move.
        housekeeping: checks the disk before a die is begun, and the computer at every poll.
        visits: of the reference die, if there is one.
        latch: returns the latch of the bench while it is set, None while it is not.
    """

    def __init__(
        self,
        log: Runlog,
        jobs: Mapping[str, Job],
        rules: Rules,
        go_file: GoFile,
        executor: Callable[[Notify], DieExecutor],
        show: Notify = lambda die, what, detail: None,
        first: State = State.RUNNING,
        housekeeping: Housekeeping | None = None,
        visits: ReferenceVisits | None = None,
        latch: Callable[[], Latch | None] = lambda: None,
    ) -> None:
        self.log, self._jobs, self._rules, self._go_file, self._show = log, dict(jobs), rules, go_file, show
        self._executor, self._first, self._visits = executor(self.take_message), first, visits
        self._housekeeping = housekeeping
        self._latch, self._switched_off = latch, False
        self._run = visits.folder if visits is not None else next(iter(jobs.values())).folder
        self._active: dict[str, _ActiveDie] = {}
        self._lost: Counter[str] = Counter()
        self._reconnects, self._not_before = 0, 0.0
        self._skipping: dict[str, Request] = {}
        self._without_workers = self._stopped_full = False
        self._polled, self._started = 0.0, time.monotonic()
        self.ending: Ending | None = None
        self._queue = [name for name in rules.order(log.state) if name in jobs]
        for name in self._queue:
            self._take_up(log.state.dies[name])
        if visits is not None and (visit := under_way(log.state)) is not None:
            self._take_up(visit)
            if visit.state in FINAL:
                self._judge(visit.name)

    def _take_up(self, die: DieState) -> None:
        """Log the state of a die that an earlier session was working on, or that is tried again."""
        if die.state in ACTIVE and die.last is not None:
            self.log.set_state(die.name, State.INTERRUPTED, die.last.number, "the run was broken off")
        elif die.state is State.ERROR and die.last is not None:
            self.log.set_state(die.name, State.PENDING, die.last.number + 1, "tried again by resume")

    def run(self) -> Ending:
        """Work until there is nothing left to do or a reason to end; return why it ended."""
        try:
            while True:
                self._poll()
                self._end_if_full()
                self._begin_dies()
                if not self._active and (not self._queue or self.ending is not None):
                    break
                if not self._active:
                    time.sleep(POLL)  # until a lost bench is connected again
                for result in self._executor.wait(POLL):
                    self._die_ended(result)
        finally:
            self._go_file.stop()
            self._executor.close()
        return Ending.of(self.log.state, self.ending)

    # requests

    def stop(self) -> None:
        """End at the next safe point; may be called by a signal handler."""
        self._go_file.stop()
        self.ending = self.ending or Ending(ExitCode.OPERATOR, STOPPED)

    def hurry(self) -> None:
        """End at once."""
        self._executor.hurry()

    def keep_watch(self) -> None:
        """Do what cannot wait while the run waits for its journal."""
        self._executor.keep_watch()

    def _poll(self) -> None:
        """Check the computer and the latch, and take the requests of other terminals."""
        if time.monotonic() - self._polled < REQUESTS:
            return
        self._polled = time.monotonic()
        if self._housekeeping is not None:
            self._housekeeping.check()
        self._check_latch()
        for request in take(self._run, self._go_file.session):
            self._take_request(request)

    def _check_latch(self) -> None:
        """End at once when the bench was switched off; a die under way is interrupted and not failed by that."""
        latch = None if self._switched_off else self._latch()
        if latch is None:
            return
        self._switched_off = True
        self.log.write(Requested(what=RequestKind.OFF, by=latch.by, reason=latch.reason))
        self._go_file.stop()
        if self.ending is None or self.ending.code == ExitCode.OPERATOR:
            self.ending = Ending(ExitCode.OPERATOR, str(latch))
        self._end(Ending(ExitCode.OPERATOR, str(latch)))
        self._executor.hurry()

    def _take_request(self, request: Request) -> None:
        self.log.write(Requested(what=request.what, die=request.die, by=request.by, reason=request.reason))
        if request.what is RequestKind.STOP:
            self.stop()
            if not self._switched_off:
                ending = self.ending or Ending(ExitCode.OPERATOR, STOPPED)
                self.ending = replace(ending, text=f"{STOPPED}: {request.by}")
        elif request.what is RequestKind.SKIP and request.die in self._active:
            self._skipping[request.die] = request
            self._go_file.skip(request.die)
        elif request.what is RequestKind.SKIP and request.die in self.log.state.unfinished:
            self._queue = [name for name in self._queue if name != request.die]
            self._skip(request.die, request)

    def _skip(self, name: str, request: Request) -> None:
        die = self.log.state.dies[name]
        reason = f"skipped by {request.by}" + (f": {request.reason}" if request.reason else "")
        self.log.set_state(name, State.SKIPPED, die.last.number if die.last else 1, reason)

    # beginning a die

    def _begin_dies(self) -> None:
        """Begin as many dies as the executor takes; say once when it has no worker that takes any."""
        width = self._executor.width
        if not width and not self._without_workers and self.ending is None:
            self.log.write(Alarm(text="there is no worker any more; the dies wait for one", level=Level.WARNING))
        self._without_workers = not width
        while self.ending is None and self._takes_another(width) and (name := self._next()) is not None:
            if time.monotonic() < self._not_before:
                return
            if (self._lost[name] or any(self._lost[n] for n in self._active)) and self._active:
                return  # a die under which a worker died runs alone, so that it cannot interrupt others
            reason = self._rules.too_late(self._foreseen(), time.monotonic() - self._started)
            if reason is not None and name in self._queue:
                self._end(Ending(ExitCode.STOPPED, reason))
                return
            if not self._space_for(name):
                return
            if name in self._queue:
                self._queue.remove(name)
            if self._visits is not None and self._visits.announce(self.log, name):
                self._jobs[name] = self._visits.job(name)
            self._begin(self.log.state.dies[name])

    def _takes_another(self, width: int) -> bool:
        """Return whether a die may begin beside those under way.

        Beside one that is being sealed and has nothing to wait for: no stop rule is broken by what was measured of it,
        and no visit of a reference die is to judge it.
        """
        if len(self._active) < width:
            return True
        sealing = [name for name, active in self._active.items() if active.measured is not None]
        if len(self._active) > width or not sealing or self._visits is not None:
            return False
        foreseen = self._foreseen()
        return not any(self._rules.would_break(foreseen, foreseen.dies[name]) for name in sealing)

    def _foreseen(self) -> RunState:
        """Return the state of the run as it is once the dies that are being sealed are."""
        state = self.log.state
        for active in self._active.values():
            if active.measured is not None:
                state = as_if(state, self._move_of(active.measured, active))
        return state

    def _move_of(self, result: DieResult, active: _ActiveDie) -> DieMoved:
        """Return the row of a die that ended."""
        die = self.log.state.dies[result.die]
        return DieMoved(
            die=die.name,
            state=result.state,
            was=die.state,
            try_no=active.try_no,
            reason=result.outcome.reason,
            seconds=(active.until or time.monotonic()) - active.since,
            exit_code=result.outcome.exit_code,
            sha256=result.sealed,
            figures=dict(result.figures),
            **({} if die.golden else self._rules.bin(result.state, result.figures)),
        )

    def _next(self) -> str | None:
        """Return the next die; None if there is none, or it has to wait for dies under way."""
        if self._visits is not None:
            return self._visits.next(self.log.state, self._queue, self._active)
        return self._queue[0] if self._queue else None

    def _end_if_full(self) -> None:
        """End the run on a disk that was full, and its dies at their safe points: the ballast is used up."""
        if self._housekeeping is None or not self._housekeeping.full or self._stopped_full:
            return
        self._stopped_full = True
        if self.ending is None:
            self._end(Ending(ExitCode.STORAGE, self._housekeeping.full))
        self._go_file.stop(full=True)

    def _space_for(self, name: str) -> bool:
        """Return whether the disk takes one more die beside those under way; end the run if it never does.

        A die that is being sealed has its journal on the disk already, and what its file takes is known when it is
        sealed: a disk that may not take both is asked again then.
        """
        try:
            if self._housekeeping is not None:
                self._housekeeping.enough([*self._active, name])
        except StorageError as error:
            if all(active.measured is None for active in self._active.values()):
                self._end(Ending(error.exit_code, str(error)))
            return False
        return True

    def _begin(self, die: DieState) -> None:
        try_no = 1 if die.last is None else die.last.number + (die.state is State.PENDING)
        job = self._jobs[die.name]
        struck = {row.event.number for row in self.log.state.events if isinstance(row.event, FaultInjected)}
        job = replace(job, try_no=try_no, faults=tuple(f for f in job.faults if f.number not in struck))
        self._active[die.name] = _ActiveDie(try_no, time.monotonic())
        # before the worker does anything: the run's journal has to know of the die's journal
        self.log.set_state(die.name, self._first, try_no)
        self._executor.begin(job)

    # messages and results of workers

    def take_message(self, die: str, what: str, detail: Any) -> None:
        """Take a message of a worker; one that comes after its die has ended is ignored."""
        if what == "fault":
            fault, text = detail
            self.log.write(
                FaultInjected(number=fault.number, what=fault.kind, die=die, instrument=fault.instrument, text=text)
            )
        elif die in self._active:
            active, state = self._active[die], self.log.state.dies[die].state
            if what == "state":
                to = State(detail)
                if state is State.SEALING and to in ACTIVE - {state}:
                    self.log.set_state(
                        die, State.INTERRUPTED, active.try_no, "its worker died, and another one goes on"
                    )
                if to is not state:
                    self.log.set_state(die, to, active.try_no)
            elif what == "stage" and detail != "approach" and detail != active.stage:
                active.stage = detail
                self.log.write(StageBegun(die=die, stage=detail, try_no=active.try_no))
            elif what == "measured":
                active.measured, active.until, self._reconnects = detail, time.monotonic(), 0
            elif what == "alarm":
                self.log.write(Alarm(die=die, text=str(detail)))
            elif what == "warning":
                self.log.write(Alarm(die=die, text=str(detail), level=Level.NOTE))
        if what not in ("done", "measured"):  # shown once, when its bin is known
            self._show(die, what, detail)
        self._poll()

    def _die_ended(self, result: DieResult | Lost) -> None:
        self._check_latch()  # before the result is judged
        active = self._active.pop(result.die)
        if isinstance(result, Lost):
            self._die_lost(result, active, time.monotonic() - active.since)
            return
        state = result.state
        if active.measured is None:
            self._reconnects = 0
        if state is State.DONE and self.log.state.dies[result.die].state is not State.SEALING:
            self.log.set_state(result.die, State.SEALING, active.try_no)  # its last messages are still on their way
        self.log.move(self._move_of(result, active))
        self._show(result.die, "done", result.bin)
        self._judge(result.die, again=result.again)

    def _die_lost(self, lost: Lost, active: _ActiveDie, seconds: float) -> None:
        if not lost.code and not lost.logged:
            self.log.write(WatchdogActed(what=WorkerFate.DIED, die=lost.die, text=lost.reason, seconds=seconds))
        if lost.code or self._switched_off:
            code = ExitCode.OPERATOR if self._switched_off else ExitCode.STOPPED
            if lost.code in (ExitCode.OPERATOR, ExitCode.NOT_OFF):
                code = ExitCode(lost.code)
            self.log.set_state(lost.die, State.INTERRUPTED, active.try_no, lost.reason, seconds=seconds, exit_code=code)
            if lost.gone:
                self._end(Ending(ExitCode.STOPPED, lost.reason))
            elif lost.die in self._skipping or code in (ExitCode.OPERATOR, ExitCode.NOT_OFF):
                self._judge(lost.die)
            else:
                self._reconnect(lost)
            return
        self._lost[lost.die] += 1
        if self._lost[lost.die] < LOSSES:
            self.log.set_state(lost.die, State.INTERRUPTED, active.try_no, lost.reason, seconds=seconds)
            self._queue.insert(0, lost.die)
        else:
            reason = f"{lost.reason}, for the {ordinal(self._lost[lost.die])} time"
            self.log.set_state(lost.die, State.ERROR, active.try_no, reason, seconds=seconds, exit_code=ExitCode.BUG)
            self._judge(lost.die)

    def _reconnect(self, lost: Lost) -> None:
        """Connect the bench again after a wait, and let the die go on; end the run after the last reconnect."""
        self._reconnects += 1
        if self._reconnects > self._rules.batch.reconnects:
            self._end(Ending(ExitCode.STOPPED, f"the bench is gone: {lost.reason}"))
            return
        wait = BACK_OFF * 4.0 ** (self._reconnects - 1)
        text = f"{lost.reason}; connecting anew in {wait:.0f} s, for the {ordinal(self._reconnects)} time"
        self.log.write(Alarm(die=lost.die, text=text, level=Level.WARNING))
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
            self.log.write(RuleBroken(rule=rule, text=text))
            self._end(Ending(ExitCode.STOPPED, text))
        if die.state is State.ERROR and self.ending is None and (again or self._rules.tries_again(die)):
            number = die.last.number + 1 if die.last else 1
            self.log.set_state(name, State.PENDING, number, f"tried again after: {cause(die.reason)}")
            self._queue.insert(0 if again else len(self._queue), name)

    def _interrupted(self, die: DieState) -> None:
        code, keeping = die.last.exit_code if die.last else ExitCode.OPERATOR, self._housekeeping
        if code == ExitCode.STORAGE and not die.golden and keeping is not None and keeping.works():
            text = f"what this die measured cannot be stored, while the disk takes the others: {die.reason}"
            self.log.write(Alarm(die=die.name, text=text))
            return
        if code == ExitCode.BUG:
            self.log.write(Alarm(die=die.name, text=f"measured and not sealed, which resume does: {cause(die.reason)}"))
        if code in (ExitCode.OPERATOR, ExitCode.STORAGE, ExitCode.NOT_OFF):
            self._end(Ending(code, die.reason))
        if code == ExitCode.STORAGE and keeping is not None:
            keeping.relieve(StorageError(die.reason))

    def _end(self, ending: Ending) -> None:
        """Begin no other die."""
        if self.ending is None or ending.graver(self.ending):
            self.ending = ending


def ordinal(number: int) -> str:
    """Return a number with the ending of its ordinal.

    >>> [ordinal(number) for number in (1, 2, 3, 4, 11, 12, 13, 21, 22, 23, 101, 111)]
    ['1st', '2nd', '3rd', '4th', '11th', '12th', '13th', '21st', '22nd', '23rd', '101st', '111th']
    """
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
