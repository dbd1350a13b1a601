"""Executors of dies: this process, worker processes of this computer, or any `concurrent.futures.Executor`.

An executor is given jobs and returns results in the order in which they end; messages of its workers come through one
function. The dies here are simulated: a bench has an executor of its own, in `labctl.batch.watchdog`. One module of
more than 300 lines, because the three executors and the worker share the way in which a job is run and ends.
"""

import multiprocessing
import os
import queue as queues
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import Any, Protocol

from labctl.batch.requests import GoFile
from labctl.batch.resume import read
from labctl.core import garbage
from labctl.core.body import Body
from labctl.core.errors import LabError
from labctl.core.exit_codes import ExitCode
from labctl.core.planned_fault import PlannedFault
from labctl.core.procedure import Procedure
from labctl.execution.die_job import DieResult, Job, Notify, run_die
from labctl.execution.stop import Stop
from labctl.station.simulated import Simulated
from labctl.storage.manifest import run_meta
from labctl.terminal.signals import born_deaf, ignore_all
from sim_backend.faults.dies import MADE

ORPHANED = "the parent process is gone"
GONE = "the cluster is gone: its scheduler does not answer any more"


@dataclass(frozen=True)
class Lost:
    """A die whose worker died or lost its bench.

    Args:
        code: GOOD if the worker died; an exit code if the bench cannot be reached or was not left safe.
        logged: the run's journal has it already.
        gone: no worker is left for another die.
    """

    die: str
    reason: str
    code: int = ExitCode.GOOD
    logged: bool = False
    gone: bool = False


class DieExecutor(Protocol):
    """Carries out jobs on dies."""

    @property
    def width(self) -> int:
        """Number of dies at once."""
        ...

    def begin(self, job: Job) -> None:
        """Begin a die."""
        ...

    def wait(self, seconds: float) -> list[DieResult | Lost]:
        """Return the results of dies that have ended, after `seconds` at the latest.

        Of a die that is measured and is being sealed beside the next one, the result without the digest of its file
        comes before, as a message "measured".
        """
        ...

    def hurry(self) -> None:
        """End a die under way at once if something is energised; harmless a second time."""
        ...

    def keep_watch(self) -> None:
        """Do what cannot wait while the run waits for its journal, and nothing that writes into it."""
        ...

    def close(self) -> None:
        """End the workers."""
        ...


@cache
def stages_of(run: Path) -> tuple[Procedure, ...]:
    """Return the stages of a run for a worker, compiled from the files kept in its folder; read once per process.

    They are no argument of a worker: a process that dies while it starts would block its parent for ever.

    Raises:
        BenchError: a file kept in the run folder has changed.
    """
    return read(run, run_meta(run)).stages


def run_or_fail(
    job: Job,
    procedures: Sequence[Procedure],
    notify: Notify,
    stop: Stop,
    body: Body | None = None,
    run: Callable[..., DieResult] = run_die,
) -> DieResult:
    """Run one die; an error of this suite becomes its result.

    Args:
        run: `run_die`, or `measure_die` where somebody else seals.
    """

    def tell(fault: PlannedFault, detail: str) -> None:
        notify(job.die, "fault", (fault, detail))

    for fault in job.faults:
        if fault.kind in MADE:  # the die has been made so
            tell(fault, "")
    try:
        return run(job, procedures, notify, stop, body or Simulated(job.faults, tell))
    except LabError as error:
        return DieResult(job.die, "error", stop.ending(error), [])


def run_in_worker(run: Path, job: Job, notify: Notify, stop: Stop) -> DieResult:
    """Run one die with the stages that the folder of its run has; an error of this suite becomes its result."""
    try:
        return run_or_fail(job, stages_of(run), notify, stop)
    except LabError as error:
        return DieResult(job.die, "error", stop.ending(error), [])


class InProcess:
    """Carries out dies one after the other in this process."""

    width = 1

    def __init__(self, procedures: Sequence[Procedure], go_file: GoFile, notify: Notify) -> None:
        self._procedures, self._go_file, self._notify = procedures, go_file, notify
        self._stop = Stop()
        self._ended: list[DieResult | Lost] = []

    def begin(self, job: Job) -> None:
        """Run a die to its end."""
        stop = Stop(lambda: self._go_file.reason(job.die))
        self._ended.append(run_or_fail(job, self._procedures, self._notify, stop))

    def wait(self, seconds: float) -> list[DieResult | Lost]:
        """Return the results of dies that have ended."""
        ended, self._ended = self._ended, []
        return ended

    def hurry(self) -> None:
        """Do nothing: nothing is energised."""

    def keep_watch(self) -> None:
        """Do nothing: nothing is energised."""

    def close(self) -> None:
        """Do nothing: there are no workers."""


class Cluster(Protocol):
    """Workers that jobs are sent to and that send messages."""

    @property
    def width(self) -> int:
        """Number of dies at once; it may change, and be 0 for a time."""
        ...

    def open(self) -> tuple[Executor, Callable[[Job], DieResult]]:
        """Return an executor and the function that it applies to a job."""
        ...

    def messages(self, seconds: float) -> Iterator[tuple[str, str, Any]]:
        """Yield messages of workers, for at most `seconds` until the first; end when woken."""
        ...

    def wake(self) -> None:
        """End the waiting of `messages`; may be called by any thread."""
        ...

    def close(self, executor: Executor, broken: bool) -> None:
        """Shut an executor down."""
        ...


class _Gone(Exception):
    """No worker is left."""


def _error_of(future: Future[DieResult]) -> BaseException | None:
    """Return why there is no result; a future that is cancelled was cancelled by the cluster."""
    return _Gone(GONE) if future.cancelled() else future.exception()


class PoolExecutor:
    """Carries out many dies at once on a cluster; a broken executor is replaced, one that cancels jobs is gone."""

    def __init__(self, cluster: Cluster, notify: Notify) -> None:
        self._cluster, self._notify = cluster, notify
        self._opened: tuple[Executor, Callable[[Job], DieResult]] | None = None
        self._futures: dict[Future[DieResult], str] = {}

    @property
    def width(self) -> int:
        """Number of dies at once."""
        return self._cluster.width

    def begin(self, job: Job) -> None:
        """Give a die to a worker."""
        if self._opened is None:
            self._opened = self._cluster.open()
        executor, work = self._opened
        try:
            future = executor.submit(work, job)
        except BrokenExecutor as error:
            future = Future()
            future.set_exception(error)
        except Exception as error:  # submitting runs none of the work, so the executor does not answer
            future = Future()
            future.set_exception(_Gone(f"{GONE} ({error})"))
        self._futures[future] = job.die
        future.add_done_callback(lambda done: self._cluster.wake())

    def wait(self, seconds: float) -> list[DieResult | Lost]:
        """Return the results of dies that have ended, and pass the messages of workers on."""
        for message in self._cluster.messages(0.0 if any(f.done() for f in self._futures) else seconds):
            self._notify(*message)
        errors = {future: _error_of(future) for future in self._futures if future.done()}
        gone = next((error for error in errors.values() if isinstance(error, _Gone)), None)
        ended: list[DieResult | Lost] = []
        for future, error in errors.items():
            die = self._futures.pop(future)
            if error is None:
                ended.append(future.result())
            elif not isinstance(error, _Gone):
                ended.append(Lost(die, f"its worker died: {str(error) or type(error).__name__}"))
            else:
                ended.append(Lost(die, str(error), ExitCode.STOPPED, gone=True))
        if gone is not None or any(isinstance(error, BrokenExecutor) for error in errors.values()):
            beside = Lost("", "a worker beside it died")
            if gone is not None:
                beside = Lost("", str(gone), ExitCode.STOPPED, gone=True)
            ended += [replace(beside, die=die) for die in self._futures.values()]
            self._futures.clear()
            self._end(broken=True)
        return ended

    def hurry(self) -> None:
        """Do nothing: nothing is energised."""

    def keep_watch(self) -> None:
        """Do nothing: nothing is energised."""

    def close(self) -> None:
        """Let the workers end."""
        self._end(broken=False)

    def _end(self, broken: bool) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            self._cluster.close(opened[0], broken)


class Processes:
    """Worker processes of this computer, spawned and not forked; one BLAS thread each."""

    def __init__(self, width: int, run: Path, go_file: GoFile) -> None:
        self.width, self._run, self._go_file = width, run, go_file
        self._queue: Any = None
        self._children: list[Any] = []

    def open(self) -> tuple[Executor, Callable[[Job], DieResult]]:
        """Start the processes."""
        context = multiprocessing.get_context("spawn")
        before = multiprocessing.active_children()
        with born_deaf():
            self._queue = context.Queue()
            # a worker that is killed may hold the queue's lock for ever; nothing of ours in it is worth waiting for
            self._queue.cancel_join_thread()
            arguments = self._queue, self._run, self._go_file
            executor = ProcessPoolExecutor(self.width, context, init_worker, arguments)
            for _ in range(self.width):
                executor.submit(int)  # while no process is idle, each job starts one: all are to start here
        self._children = [child for child in multiprocessing.active_children() if child not in before]
        return executor, run_die_in_worker

    def messages(self, seconds: float) -> Iterator[tuple[str, str, Any]]:
        """Yield the messages of workers."""
        end = time.monotonic() + seconds
        while self._queue is not None:
            try:
                message = self._queue.get(timeout=max(0.0, end - time.monotonic()))
            except queues.Empty:
                return
            end = 0.0
            if message is not None:
                yield message

    def wake(self) -> None:
        """End the waiting of `messages`."""
        if self._queue is not None:
            self._queue.put(None)

    def close(self, executor: Executor, broken: bool) -> None:
        """Let the processes end; those left of a broken pool are killed, because they ignore signals."""
        if broken:
            for child in self._children:
                child.kill()
        executor.shutdown(wait=True, cancel_futures=True)
        self._queue = None


class _Worker:
    """The state of a worker process: its message queue and go-file. It does not outlive its parent."""

    def __init__(self, queue: Any, run: Path, go_file: GoFile) -> None:
        self.queue, self._run, self._go_file = queue, run, go_file
        # a run that ends because of an error takes no messages any more; a worker that waits until they are taken hangs
        queue.cancel_join_thread()
        self._parent = multiprocessing.parent_process()
        self._busy = threading.Lock()
        ignore_all()
        threading.Thread(target=self._exit_with_parent, daemon=True).start()

    def _orphaned(self) -> bool:
        return self._parent is not None and not self._parent.is_alive()

    def _exit_with_parent(self) -> None:
        """Exit when the parent is gone, after the die under way, if any, is sealed."""
        if self._parent is not None:
            wait_for([self._parent.sentinel])
            with self._busy:
                os._exit(4)

    def reason(self, die: str) -> str | None:
        """Return why a die has to end, None if it goes on."""
        return ORPHANED if self._orphaned() else self._go_file.reason(die)

    def notify(self, *message: Any) -> None:
        """Send a message to the parent, if there is one."""
        if not self._orphaned():
            self.queue.put(message)

    def run(self, job: Job) -> DieResult:
        """Run one die."""
        with self._busy:
            return run_in_worker(self._run, job, self.notify, Stop(lambda: self.reason(job.die)))


_worker: _Worker | None = None


def init_worker(queue: Any, run: Path, go_file: GoFile) -> None:
    """Set up a worker process: messages go to `queue`, it works while `go_file` is there, and it ignores signals.

    A closing terminal and ^C signal every process of the group; only the parent acts on them, so that every die ends
    at a safe point and is sealed.
    """
    global _worker
    garbage.leave_at_exit()
    _worker = _Worker(queue, run, go_file)


def run_die_in_worker(job: Job) -> DieResult:
    """Run `job` in a worker process; it ends at the next safe point when asked to or when the parent is gone."""
    assert _worker is not None, "init_worker sets a worker up"
    return _worker.run(job)
