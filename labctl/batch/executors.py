"""Who carries out dies: this process, worker processes of this computer, or anything that is an `Executor`.

A crew is given jobs and gives back results, in whatever order they end; what its workers have to say on the way comes
through one function. Dies are simulated here: a bench has a crew of its own, in `labctl.batch.watchdog`.
"""

import multiprocessing
import os
import pickle
import queue as queues
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import Any, Protocol

from labctl.batch.requests import GoFile
from labctl.core.body import Body
from labctl.core.errors import LabError
from labctl.core.procedure import Procedure
from labctl.execution.die_job import DieResult, Job, Notify, run_die
from labctl.execution.stop import Stop
from labctl.station.simulated import Simulated
from labctl.terminal.signals import born_deaf, signals

ORPHANED = "the parent process is gone"
GONE = "the cluster is gone: its scheduler does not answer any more"


@dataclass(frozen=True)
class Lost:
    """A die whose worker died or lost its bench.

    Args:
        code: 0 if the worker died; the exit code that says it, if the bench cannot be reached or was not left safe.
        told: the run's journal says it already.
        gone: there is nobody left who could work on another die.
    """

    die: str
    reason: str
    code: int = 0
    told: bool = False
    gone: bool = False


class Crew(Protocol):
    """Carries out dies."""

    @property
    def width(self) -> int:
        """How many dies at once."""
        ...

    def begin(self, job: Job) -> None:
        """Take up a die."""
        ...

    def wait(self, seconds: float) -> list[DieResult | Lost]:
        """Return what has ended, after `seconds` at the latest."""
        ...

    def hurry(self) -> None:
        """End what is under way at once, where something is energised; harmless a second time."""
        ...

    def close(self) -> None:
        """Have nothing going on any more."""
        ...


def hand_over(folder: Path, procedures: Sequence[Procedure]) -> Path:
    """Put the stages into a file that workers read.

    By a file and not as an argument: a process that dies while it starts would leave its parent writing for ever, and
    the workers of a cluster read what all dies share once and not with every die.
    """
    path = folder / "stages.pickle"
    path.write_bytes(pickle.dumps(tuple(procedures)))
    return path


def attempt(
    job: Job, procedures: Sequence[Procedure], notify: Notify, stop: Stop, body: Body | None = None
) -> DieResult:
    """Run one die; a failure of ours is the die's, and told."""
    try:
        return run_die(job, procedures, notify, stop, body or Simulated())
    except LabError as error:
        return DieResult(job.die, "error", stop.ending(error), [])


class Here:
    """Dies one after the other in this process."""

    width = 1

    def __init__(self, procedures: Sequence[Procedure], going: GoFile, tell: Notify, body: Body | None = None) -> None:
        self._procedures, self._going, self._tell, self._body = procedures, going, tell, body
        self._stop = Stop()
        self._ended: list[DieResult | Lost] = []

    def begin(self, job: Job) -> None:
        """Run a die to its end."""
        stop = Stop(lambda: self._going.reason(job.die))
        self._ended.append(attempt(job, self._procedures, self._tell, stop))

    def wait(self, seconds: float) -> list[DieResult | Lost]:
        """Return what has ended."""
        ended, self._ended = self._ended, []
        return ended

    def hurry(self) -> None:
        """Do nothing: nothing is energised."""

    def close(self) -> None:
        """Do nothing: nothing goes on."""


class Cluster(Protocol):
    """Where jobs go and messages come from."""

    width: int

    def open(self) -> tuple[Executor, Callable[[Job], DieResult]]:
        """Return an executor and what it is to do with a job."""
        ...

    def messages(self, seconds: float) -> Iterator[tuple[str, str, Any]]:
        """Yield what workers have said, those that come within `seconds` included; end when woken."""
        ...

    def wake(self) -> None:
        """Have `messages` end its waiting; may be called by any thread."""
        ...

    def close(self, executor: Executor, broken: bool) -> None:
        """Be done with an executor."""
        ...


class _Gone(Exception):
    """Nobody is left who could work on a die."""


def _error_of(future: Future[DieResult]) -> BaseException | None:
    """Return why there is no result; a future that nobody here cancelled was the cluster's."""
    return _Gone(GONE) if future.cancelled() else future.exception()


class Pool:
    """Many dies at once, on an executor; one that breaks is replaced, one that cancels what it was given is gone."""

    def __init__(self, cluster: Cluster, tell: Notify) -> None:
        self._cluster, self._tell = cluster, tell
        self._made: tuple[Executor, Callable[[Job], DieResult]] | None = None
        self._hand: dict[Future[DieResult], str] = {}

    @property
    def width(self) -> int:
        """How many dies at once."""
        return self._cluster.width

    def begin(self, job: Job) -> None:
        """Hand a die to a worker."""
        if self._made is None:
            self._made = self._cluster.open()
        executor, work = self._made
        try:
            future = executor.submit(work, job)
        except BrokenExecutor as error:
            future = Future()
            future.set_exception(error)
        except Exception as error:  # the work is not begun by this, so it is the executor that does not answer
            future = Future()
            future.set_exception(_Gone(f"{GONE} ({error})"))
        self._hand[future] = job.die
        future.add_done_callback(lambda done: self._cluster.wake())

    def wait(self, seconds: float) -> list[DieResult | Lost]:
        """Return what has ended, and tell what workers say."""
        for message in self._cluster.messages(0.0 if any(f.done() for f in self._hand) else seconds):
            self._tell(*message)
        errors = {future: _error_of(future) for future in self._hand if future.done()}
        gone = next((error for error in errors.values() if isinstance(error, _Gone)), None)
        ended: list[DieResult | Lost] = []
        for future, error in errors.items():
            die = self._hand.pop(future)
            if error is None:
                ended.append(future.result())
            elif not isinstance(error, _Gone):
                ended.append(Lost(die, f"its worker died: {str(error) or type(error).__name__}"))
            else:
                ended.append(Lost(die, str(error), 3, gone=True))
        if gone is not None or any(isinstance(error, BrokenExecutor) for error in errors.values()):
            beside = Lost("", "a worker beside it died") if gone is None else Lost("", str(gone), 3, gone=True)
            ended += [replace(beside, die=die) for die in self._hand.values()]
            self._hand.clear()
            self._end(broken=True)
        return ended

    def hurry(self) -> None:
        """Do nothing: nothing is energised."""

    def close(self) -> None:
        """Let workers end."""
        self._end(broken=False)

    def _end(self, broken: bool) -> None:
        made, self._made = self._made, None
        if made is not None:
            self._cluster.close(made[0], broken)


class Processes:
    """Worker processes of this computer, started anew and not forked; one BLAS thread each."""

    def __init__(self, width: int, procedures: Sequence[Procedure], going: GoFile) -> None:
        self.width = width
        self._going, self._stages = going, hand_over(going.path.parent, procedures)
        self._queue: Any = None
        self._children: list[Any] = []

    def open(self) -> tuple[Executor, Callable[[Job], DieResult]]:
        """Start the processes."""
        context = multiprocessing.get_context("spawn")
        before = multiprocessing.active_children()
        with born_deaf():
            self._queue = context.Queue()
            given = self._queue, self._going, self._stages
            executor = ProcessPoolExecutor(self.width, context, enter_worker, given)
            for _ in range(self.width):
                executor.submit(int)  # as long as nobody is idle, each job starts a process: all are to be born here
        self._children = [child for child in multiprocessing.active_children() if child not in before]
        return executor, run_die_in_worker

    def messages(self, seconds: float) -> Iterator[tuple[str, str, Any]]:
        """Yield what has been said."""
        end = time.monotonic() + seconds
        while self._queue is not None:
            try:
                found = self._queue.get(timeout=max(0.0, end - time.monotonic()))
            except queues.Empty:
                return
            end = 0.0
            if found is not None:
                yield found

    def wake(self) -> None:
        """Have `messages` end its waiting."""
        if self._queue is not None:
            self._queue.put(None)

    def close(self, executor: Executor, broken: bool) -> None:
        """Let the processes end; of a broken pool, whatever is left of them is killed: they are deaf to signals."""
        if broken:
            for child in self._children:
                child.kill()
        executor.shutdown(wait=True, cancel_futures=True)
        self._queue = None


class _Worker:
    """What a worker process knows: where messages go, who may stop it, and that it must not outlive its parent."""

    def __init__(self, queue: Any, going: GoFile, stages: Path) -> None:
        self.queue, self._going = queue, going
        self._procedures: tuple[Procedure, ...] = pickle.loads(stages.read_bytes())
        self._parent = multiprocessing.parent_process()
        self._busy = threading.Lock()
        for number in signals():
            signal.signal(number, signal.SIG_IGN)
        threading.Thread(target=self._mourn, daemon=True).start()

    def _orphaned(self) -> bool:
        return self._parent is not None and not self._parent.is_alive()

    def _mourn(self) -> None:
        """Leave when the parent is gone and the die in hand, if any, is sealed."""
        if self._parent is not None:
            wait_for([self._parent.sentinel])
            with self._busy:
                os._exit(4)

    def reason(self, die: str) -> str | None:
        """Return why a die has to end, if it has to."""
        return ORPHANED if self._orphaned() else self._going.reason(die)

    def notify(self, *message: Any) -> None:
        """Tell the parent, if there is one."""
        if not self._orphaned():
            self.queue.put(message)

    def run(self, job: Job) -> DieResult:
        """Run one die."""
        with self._busy:
            return attempt(job, self._procedures, self.notify, Stop(lambda: self.reason(job.die)))


_worker: _Worker | None = None


def enter_worker(queue: Any, going: GoFile, stages: Path) -> None:
    """Set up a worker process: messages go to `queue`, `going` lets it go on; signals are the parent's.

    A terminal that closes and ^C reach every process of the group; only the parent acts on them, so that every die ends
    at its safe point and is sealed.
    """
    global _worker
    _worker = _Worker(queue, going, stages)


def run_die_in_worker(job: Job) -> DieResult:
    """Run `job` in a worker process; ends at the next safe point when asked to or when the parent is gone."""
    assert _worker is not None, "enter_worker sets a worker up"
    return _worker.run(job)
