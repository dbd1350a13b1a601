"""The process that owns the instruments: it works on one die at a time, and its parent watches it.

It calls its parent for everything that is not an instrument: the operator's answers and, if the parent serves the twin,
the true state of a die. When its parent is gone it ends between two operations and leaves the bench safe.
"""

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any

from instruments.entry import Entry
from labctl.batch.executors import ORPHANED, run_or_fail
from labctl.batch.requests import GoFile
from labctl.core.errors import InstrumentError, LabError
from labctl.core.planned_fault import PlannedFault
from labctl.core.procedure import Procedure
from labctl.core.site import Spot
from labctl.core.transport import Transport
from labctl.execution.die_job import measure_die
from labctl.execution.stop import Stop
from labctl.station.bench_guard import keep_lifeline
from labctl.station.bench_session import AnyTwin
from labctl.station.bench_setup import Station
from labctl.station.twin import Twin
from labctl.station.twin_links import loopback
from labctl.storage.bench_locks import bench_lock
from labctl.storage.latch import switched_off
from labctl.terminal.signals import ignore_all
from sim_backend.faults.listed import ListedFaults

HURRY = getattr(signal, "SIGUSR1", None)
"""Signal that asks the worker to end at once; None where a system has no such signal."""
Call = Callable[..., Any]


@dataclass(frozen=True)
class BenchOrder:
    """The arguments of the worker, and the first thing that its parent sends it.

    Args:
        served: VISA address of each instrument of a twin that the parent serves, None if there is none.
        what: the command line of the run; shown to all who are refused the bench.
    """

    station: Station
    procedures: tuple[Procedure, ...]
    go_file: GoFile
    served: dict[str, str] | None
    what: str


class _Served:
    """A twin that the parent serves.

    Args:
        call: calls a function of the parent, and returns its result.
        begin_call: calls one and returns what waits for its end.
    """

    def __init__(self, resources: dict[str, str], call: Call, begin_call: Callable[..., Callable[[], None]]) -> None:
        self._resources, self._call, self._begin_call = resources, call, begin_call

    def connect(self, name: str, entry: Entry) -> Transport:
        """Return the transport of one instrument."""
        return loopback(self._resources[name], name, entry, self.wait)

    def wait(self, seconds: float) -> None:
        """Let a time pass on the twin's clock, s."""
        self._call("wait", seconds)

    def truth(self, spot: Spot) -> dict[str, Any]:
        """Return the true state of the die at a spot."""
        truth: dict[str, Any] = self._call("truth", spot)
        return truth

    def seek(self, spot: Spot, operation: int) -> None:
        """Set the random streams to the number of an operation."""
        self._call("seek", spot, operation)

    def seek_ahead(self, spot: Spot, operation: int) -> Callable[[], None]:
        """Do the same; return what waits until it is done."""
        return self._begin_call("seek", spot, operation)

    def insert(self, spot: Spot) -> str:
        """Put the die of a spot onto the board; return what stands on it."""
        return str(self._call("insert", spot))

    def close(self) -> None:
        """Do nothing: the parent closes the twin."""


class _Owner:
    """The worker's side of the conversation with its parent."""

    def __init__(self, line: "Connection[Any, Any]", order: BenchOrder) -> None:
        self._line, self._order = line, order
        self._parent = multiprocessing.parent_process()
        self._stop = Stop()
        self._struck: deque[tuple[PlannedFault, str]] = deque()
        """Injected faults that have happened, in any thread, and have not been sent."""
        self._owed = 0
        """Answers of the parent that have not been taken."""
        self._busy = self._put_off = False
        """Whether a message is under way, and whether an interruption waits for its end."""

    def say(self, *message: Any) -> None:
        """Send a message to the parent; a parent that is gone is noticed at the next safe point."""
        try:
            self._settle()
            while self._struck:
                fault, detail = self._struck.popleft()
                self._send(("notify", fault.die, "fault", (fault, detail)))
            self._send(message)
        except (OSError, EOFError):
            return

    def call(self, what: str, *arguments: Any) -> Any:
        """Call a function of the parent; InstrumentError if the parent is gone."""
        self.begin_call(what, *arguments)
        return self._settled()

    def begin_call(self, what: str, *arguments: Any) -> Callable[[], None]:
        """Call a function of the parent; return what waits for its end. InstrumentError if the parent is gone."""
        self._settled()
        try:
            self._send(("call", what, arguments), answers=1)
        except OSError as error:
            raise InstrumentError(f"{ORPHANED}: nobody answers") from error
        return self._settled

    def _send(self, message: tuple[Any, ...], answers: int = 0) -> None:
        """Send a message whole, and count the answers that it will have."""
        with self._whole():
            self._line.send(message)
            self._owed += answers

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Put an interruption off while the block lasts: a message is sent or taken, and its answer is counted."""
        self._busy, self._put_off = True, False
        try:
            yield
        finally:
            self._busy = False
            if self._put_off and self._stop.interruptible:
                self._put_off = False
                raise KeyboardInterrupt

    def _settled(self) -> Any:
        """Take the answers of the parent and return the last one; InstrumentError if the parent is gone."""
        try:
            return self._settle()
        except (OSError, EOFError) as error:
            raise InstrumentError(f"{ORPHANED}: nobody answers") from error

    def _settle(self) -> Any:
        """Take the answers that nobody has taken, such as that of a call that was interrupted; return the last one."""
        answer = None
        while self._owed:
            self._line.poll(None)  # an interruption may end the wait, and the answer is taken later
            with self._whole():
                answer = self._line.recv()
                self._owed -= 1
        return answer

    def hurry(self, number: int, frame: FrameType | None) -> None:
        """Interrupt the die, where the interruption is caught."""
        if self._stop.interruptible:
            self._put_off = self._busy
            if not self._busy:
                raise KeyboardInterrupt

    def _reason(self, die: str) -> str | None:
        if self._parent is not None and not self._parent.is_alive():
            return ORPHANED
        return self._order.go_file.reason(die)

    def _off(self) -> str | None:
        """Return the latch as text if the bench is switched off; a twin has no latch."""
        station = self._order.station
        return switched_off(station.bench) if station.sim is None else None

    def work(self) -> None:
        """Open the bench, work on the dies that are ordered, and leave it safe."""
        order, twin = self._order, self._twin()
        bench = order.station.bench
        locked = nullcontext() if twin is not None else bench_lock(bench, order.what, part="worker", patience=5.0)
        with locked, order.station.opened(self._confirm, twin, self._type_in, self._lease) as body:
            self.say("open", dict(body.opened.identities), dict(body.opened.old_errors))
            while (next_die := self._next()) is not None:
                job, body.anew = next_die
                if isinstance(twin, Twin) and isinstance(twin.faults, ListedFaults):
                    twin.faults.expect(job.faults)
                self._stop = Stop(partial(self._reason, job.die), self._off)
                self.say("result", run_or_fail(job, order.procedures, self._notify, self._stop, body, measure_die))
        if isinstance(twin, Twin):
            self.say("ledger", twin.ledger, twin.world.now)

    def _lease(self, seconds: float) -> None:
        self.say("notify", "", "lease", seconds)

    def _confirm(self, question: str) -> bool:
        return bool(self.call("ask", question))

    def _type_in(self, question: str) -> str:
        return str(self.call("type_in", question))

    def _twin(self) -> AnyTwin | None:
        served = self._order.served
        if served is not None:
            return _Served(served, self.call, self.begin_call)
        twin = self._order.station.twin()
        if twin is not None and isinstance(twin.faults, ListedFaults):
            twin.faults.tell = lambda fault, detail: self._struck.append((fault, detail))
        return twin

    def _next(self) -> Any:
        try:
            self._settle()
            return self._line.recv()
        except (OSError, EOFError):
            return None

    def _notify(self, die: str, what: str, detail: Any) -> None:
        self.say("notify", die, what, detail)


def own_bench(line: "Connection[Any, Any]", lifeline: "Connection[Any, Any] | None" = None) -> None:
    """Run as the process that owns a bench.

    Args:
        line: leads to the parent, whose `BenchOrder` comes first.
        lifeline: by which the guard of the bench knows that this process lives; None without a guard.
    """
    keep_lifeline(lifeline)
    ignore_all()
    try:
        owner = _Owner(line, line.recv())
    except (OSError, EOFError):  # the parent is gone already
        return
    if HURRY is not None:
        signal.signal(HURRY, owner.hurry)
    try:
        owner.work()
        owner.say("left")
    except LabError as error:
        owner.say("failed", str(error), error.exit_code)
