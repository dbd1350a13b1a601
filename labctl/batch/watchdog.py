"""Start and watch the worker process that owns a bench, and make the bench safe if the worker fails.

The worker leases time for every operation. A die that it has measured is sealed from here, while it works on the next
one. When the worker dies, or when it was ended because it exceeded a lease, this process
opens the bench itself, makes it safe, and only then logs what happened. It never touches a bench whose worker lives.
One module of more than 300 lines, because the worker's life, its messages and its death share one state.
"""

import multiprocessing
import os
import pickle
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from instruments.emergency import Safed, isolate, make_safe
from instruments.manual_prober import Ask, TypeIn
from labctl.batch.bench_process import HURRY, BenchOrder, own_bench
from labctl.batch.executors import Lost
from labctl.batch.requests import GoFile
from labctl.batch.sealing_queue import SealingQueue
from labctl.core.die_state import State
from labctl.core.errors import BenchError, InstrumentError, LabError, LeftUnverified, SwitchedOff
from labctl.core.events import RunEvent, WatchdogActed, WorkerFate
from labctl.core.exit_codes import ExitCode
from labctl.core.planned_fault import PlannedFault
from labctl.core.procedure import Procedure
from labctl.core.units import Second
from labctl.execution.die_job import DieResult, Job, Notify
from labctl.station.bench_setup import Station
from labctl.terminal.signals import born_deaf
from sim_backend.faults.listed import ListedFaults

OPENING: Second = 300.0
"""Longest time until a bench is open, with the map verified at its fiducials."""
BEGINNING: Second = 60.0
"""Longest time between an order and the first lease."""
LEAVING: Second = 60.0
"""Longest time until a bench is left."""
HURRYING: Second = 10.0
"""Longest time from a second ^C until the worker is ended."""
ERRORS: dict[int, type[LabError]] = {2: BenchError, 4: SwitchedOff, 6: LeftUnverified}


class BenchExecutor:
    """Carries out one die at a time on a bench, by a worker process that owns the bench.

    Args:
        what: the command line; shown to all who are refused the bench.
        lifeline: by which the guard of the bench knows that a worker lives; None without a guard.
        expected: required identities of the instruments, None for any; from the first opening on they must not change.
        monotonic: the clock of leases, in s.
    """

    width = 1

    def __init__(
        self,
        station: Station,
        procedures: Sequence[Procedure],
        go_file: GoFile,
        ask: Ask,
        type_in: TypeIn = lambda question: "",
        *,
        what: str = "labctl",
        lifeline: "Connection[Any, Any] | None" = None,
        expected: dict[str, str] | None = None,
        monotonic: Callable[[], Second] = time.monotonic,
    ) -> None:
        self._station, self._monotonic = station, monotonic
        self._operator: dict[str, Callable[[str], bool | str]] = {"ask": ask, "type_in": type_in}
        self.twin = station.twin() if station.sim == "tcp" else None
        served = None
        if self.twin is not None and self.twin.server is not None:
            served = {one.name: one.resource for one in self.twin.server.served}
        if station.sim != "bytes":
            import instruments.transports  # noqa: F401 - it takes a second, which is too long after a worker has died
        self._order = pickle.dumps(BenchOrder(station, tuple(procedures), go_file, served, what))
        self._struck: deque[tuple[PlannedFault, str]] = deque()
        """Faults that have been injected into the twin of this process, and are not told yet."""
        self._told: set[int] = set()
        if self.twin is not None and isinstance(self.twin.faults, ListedFaults):
            self.twin.faults.tell = lambda fault, detail: self._struck.append((fault, detail))
        self.notify: Notify = lambda die, what, detail: None
        self.say: Callable[[RunEvent], None] = lambda event: None
        """Writes a row into the run's journal."""
        self.ledger: tuple[Any, float] | None = None
        self.identities: dict[str, str] = {}
        self.old_errors: dict[str, tuple[str, ...]] = {}
        self._expected, self._lifeline = expected, lifeline
        self._context = multiprocessing.get_context("spawn")
        self._process: Any = None
        self._line: Connection[Any, Any] | None = None
        self._ordering: threading.Thread | None = None
        self._deadline = float("inf")
        self._job: Job | None = None
        self._results = SealingQueue(monotonic)
        self._begun: set[str] = set()
        self._is_open = False
        self._failed: LabError | None = None
        self._waiting: deque[tuple[Any, ...]] = deque()
        """Messages that came while the run waited for its journal."""
        self._dead: tuple[WorkerFate, Safed | str, Second] | None = None
        """What became of a worker meanwhile, what the bench was left in, and how long that took."""

    # the worker's life

    def open(self) -> None:
        """Start a worker, unless there is one, and wait until its bench is open.

        Raises:
            LabError: the bench cannot be opened, or was not left safe; the worker has ended then.
        """
        if self._process is not None:
            return
        self._is_open, self._failed = False, None
        self._waiting.clear()
        self._dead = None
        with born_deaf():
            self._line, theirs = self._context.Pipe()
            self._process = self._context.Process(target=own_bench, args=(theirs, self._lifeline), name="bench")
            self._process.start()
        theirs.close()
        # an order is larger than a pipe, and a worker that dies or hangs while it starts does not read it
        self._ordering = threading.Thread(target=_send, args=(self._line, self._order), daemon=True)
        self._ordering.start()
        self._lease(OPENING)
        while not self._is_open and self._process is not None:
            self._listen(1.0)
        if self._process is None:
            failed: LabError | None = self._failed
            raise failed or InstrumentError("the process that owns the bench died before it was open")
        others = [name for name, who in (self._expected or {}).items() if self.identities.get(name) != who]
        if others:
            self.close()
            name = others[0]
            raise BenchError(
                f"{name} says it is '{self.identities.get(name, '')}', and the run was begun with "
                f"'{(self._expected or {})[name]}'; if that is what you want, say --accept-changes"
            )
        self._expected = self.identities

    def close(self) -> None:
        """Let the worker leave the bench safe and end; make the bench safe here if it does not.

        Raises:
            LeftUnverified: outputs may be live.
        """
        self._job = None
        if self._process is not None and self._line is not None:
            with suppress(OSError):
                self._line.send(None)
            self._lease(LEAVING)
            while self._process is not None:
                self._listen(1.0)
        failed, self._failed = self._failed, None
        if failed is not None and failed.exit_code == ExitCode.NOT_OFF:
            raise failed

    def close_twin(self) -> None:
        """Stop the twin, if this process serves it."""
        self._tell_struck()
        if self.twin is not None:
            self.ledger = self.twin.ledger, self.twin.world.now
            self.twin.close()

    # the executor

    def reporting_to(self, notify: Notify) -> "BenchExecutor":
        """Pass the messages of the worker to `notify`, and return the executor."""
        self.notify = notify
        return self

    def begin(self, job: Job) -> None:
        """Send a die to the worker."""
        try:
            self.open()
        except LabError as error:
            self._failed = None
            self._results.add(Lost(job.die, str(error), error.exit_code))
            return
        assert self._line is not None
        # a die of a new twin is as it was made; a twin served by this process outlives the worker
        anew = self._station.sim is not None and (self.twin is None or job.name not in self._begun)
        self._begun.add(job.name)
        self._job = job
        if self.twin is not None and isinstance(self.twin.faults, ListedFaults):
            self._tell_struck()
            self.twin.faults.expect(fault for fault in job.faults if fault.number not in self._told)
        self._lease(BEGINNING)
        with suppress(OSError):  # the death of the worker is noticed next
            self._line.send((job, anew))

    def wait(self, seconds: float) -> list[DieResult | Lost]:
        """Return the results of dies that have ended; take messages of the worker, and notice its silence."""
        self._tell_struck()
        end = time.monotonic() + seconds
        while not (ended := self._results.take()) and (left := end - time.monotonic()) > 0:
            if self._process is not None:
                self._listen(left)
            elif not self._results.wait(left):
                break
        return ended

    def hurry(self) -> None:
        """Let the worker interrupt its die; a worker that does not end soon is killed."""
        if self._process is None or self._job is None:
            return
        self._deadline = min(self._deadline, self._monotonic() + (0.0 if HURRY is None else HURRYING))
        if HURRY is not None:
            with suppress(OSError):
                os.kill(self._process.pid, HURRY)

    def keep_watch(self) -> None:
        """Take leases, and make a bench safe whose worker is dead or hangs, while the run waits for its journal."""
        if self._process is None or self._line is None or self._dead is not None:
            return
        with suppress(EOFError, OSError):
            while self._line.poll():
                message = self._line.recv()
                self._waiting.append(message)
                if message[0] != "notify":  # it waits for an answer or the next die
                    self._deadline = float("inf")
                elif message[2] == "lease":
                    self._lease(message[3])
        fate = WorkerFate.DIED if not self._process.is_alive() else WorkerFate.HUNG
        if fate is WorkerFate.HUNG and self._monotonic() < self._deadline:
            return
        if fate is WorkerFate.DIED and self._waiting and self._waiting[-1][0] in ("left", "failed"):
            return
        start = self._monotonic()
        self._process.kill()
        self._process.join()
        self._dead = fate, self._make_safe(), self._monotonic() - start

    # messages

    def _lease(self, seconds: Second) -> None:
        self._deadline = self._monotonic() + seconds

    def _listen(self, seconds: float) -> None:
        """Receive one message, or notice that the worker is dead or hangs."""
        assert self._line is not None
        if self._waiting:
            with suppress(OSError):  # the death of a worker that waits for an answer is noticed next
                self._receive(self._waiting.popleft())
            return
        if self._dead is not None:
            self._worker_died(self._dead[0], "the process that owns the bench ended")
            return
        left = self._deadline - self._monotonic()
        ready = wait([self._line, self._process.sentinel], max(0.0, min(seconds, left)))
        if self._line in ready:
            try:
                self._receive(self._line.recv())
            except (EOFError, OSError):
                self._worker_died(WorkerFate.DIED, "the process that owns the bench died")
        elif ready:
            self._worker_died(WorkerFate.DIED, "the process that owns the bench died")
        elif self._monotonic() >= self._deadline:
            self._process.kill()
            self._worker_died(WorkerFate.HUNG, "the process that owns the bench did not answer in time and was ended")

    def _tell_struck(self) -> None:
        """Tell which faults have been injected into the twin of this process."""
        while self._struck:
            fault, detail = self._struck.popleft()
            self._told.add(fault.number)
            self.notify(fault.die, "fault", (fault, detail))

    def _receive(self, message: tuple[Any, ...]) -> None:
        self._tell_struck()
        what, *arguments = message
        match what:
            case "call":
                assert self._line is not None
                self._line.send(self._answer(arguments[0], arguments[1]))
            case "notify":
                die, kind, detail = arguments
                if kind == "lease":
                    self._lease(detail)
                else:
                    self.notify(die, kind, detail)
            case "open":
                self._is_open, self.identities, self.old_errors = True, *arguments
                self._deadline = float("inf")
            case "result":
                self._result(arguments[0])
            case "ledger":
                self.ledger = arguments[0], arguments[1]
            case "failed":
                text, code = arguments
                self._failed = ERRORS.get(code, InstrumentError)(text)
                self._release_worker()
                if code == ExitCode.NOT_OFF:
                    self._failed = self._make_safe_after(text)
            case "left":
                self._release_worker()

    def _answer(self, what: str, arguments: tuple[Any, ...]) -> Any:
        """Carry out a call of the worker, and return its result."""
        if what in self._operator:
            self._deadline = float("inf")
            answer = self._operator[what](*arguments)
            self._lease(OPENING)
            return answer
        return getattr(self.twin, what)(*arguments)

    def _result(self, result: DieResult) -> None:
        job, self._job, self._deadline = self._job, None, float("inf")
        if result.unsealed and job is not None:
            # first what the run's journal has to know
            self.notify(result.die, "state", State.SEALING)
            self.notify(result.die, "measured", result)
            self._results.seal(job, result)
            return
        lost = result.state is State.INTERRUPTED and result.outcome.exit_code in (ExitCode.STOPPED, ExitCode.NOT_OFF)
        if not lost:
            self._results.add(result)
            return
        # the link is lost or outputs are not verified off: the worker leaves as well as it can, then a new one starts
        try:
            self.close()
        except LabError as error:
            self._results.add(Lost(result.die, str(error), ExitCode.NOT_OFF))
            return
        self._results.add(Lost(result.die, result.outcome.reason, ExitCode.STOPPED))

    # after the worker

    def _release_worker(self) -> None:
        """Wait for a worker that is about to end, or kill it, and release it."""
        process, self._process = self._process, None
        process.join(LEAVING)
        if process.is_alive():
            process.kill()
            process.join()
        if self._ordering is not None:
            self._ordering.join()
        if self._line is not None:
            self._line.close()
        process.close()

    def _worker_died(self, fate: WorkerFate, text: str) -> None:
        """Make the bench of a dead worker safe, then log it."""
        start = self._monotonic()
        self._process.join()
        if self._dead is not None:
            (fate, safed, took), self._dead = self._dead, None
        else:
            safed = self._make_safe()
            took = self._monotonic() - start
        job, self._job = self._job, None
        code = self._process.exitcode
        self._release_worker()
        die = "" if job is None else job.die
        self.say(WatchdogActed(what=fate, die=die, text=f"{text} (exit code {code})", seconds=took))
        self._say_safe(safed, die, took)
        if isinstance(safed, str):
            self._failed = LeftUnverified(safed)
        if job is not None:
            reason, exit_code = (safed, ExitCode.NOT_OFF) if isinstance(safed, str) else (text, ExitCode.GOOD)
            self._results.add(Lost(job.die, reason, exit_code, logged=True))

    def _make_safe_after(self, text: str) -> LabError | None:
        """Make safe here what the worker could not leave safe; return the error that remains, None if none."""
        start = self._monotonic()
        safed = self._make_safe()
        self._say_safe(safed, "", self._monotonic() - start, f"after: {text}; ")
        return LeftUnverified(safed) if isinstance(safed, str) else None

    def _say_safe(self, safed: Safed | str, die: str, seconds: Second, before: str = "") -> None:
        """Log what was verified off, or what may be live."""
        if isinstance(safed, str):
            fate, text = WorkerFate.UNSAFE, safed
        else:
            fate, text = WorkerFate.SAFE, before + safed.text
        self.say(WatchdogActed(what=fate, die=die, text=text, seconds=seconds))

    def _make_safe(self) -> Safed | str:
        """Make the bench safe; return what was verified, or as text what may be live."""
        if self._station.sim == "bytes":
            return Safed({"the twin": "ended with its worker"})
        connect = None if self.twin is None else self.twin.connect
        try:
            return make_safe(self._station.bench, connect=connect)
        except LabError as error:
            isolated = isolate(self._station.bench, connect=connect)
            return f"{error}; {isolated}" if isolated else str(error)


def _send(line: "Connection[Any, Any]", order: bytes) -> None:
    """Send a pickled order; the death of its receiver is noticed elsewhere."""
    with suppress(OSError):
        line.send_bytes(order)
