"""Simulated dies on a `dask.distributed` cluster, whose workers see the run folder and have this suite installed.

Workers come and go: how many dies there are at once follows them. One that has another version of the suite or of its
libraries is not counted, and hands a die back that the scheduler gives it.
"""

import queue as queues
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

from labctl.batch.executors import run_in_worker
from labctl.batch.requests import GoFile
from labctl.core.errors import BenchError
from labctl.core.units import Second
from labctl.execution.die_job import DieResult, Job
from labctl.execution.stop import Stop
from labctl.station.doctor import versions
from labctl.station.run_folder import git_commit

EVERY = 0.5
"""Time between two progress messages of one die, in s: each goes through the cluster's scheduler."""
PATIENCE: Second = 10.0
"""How long a scheduler is waited for that does not answer."""
WORKERS: Second = 600.0
"""How long a scheduler is waited for that has no worker yet, as where a queue of a cluster starts them."""
LOOK: Second = 1.0
"""Time between two questions to the scheduler for its workers, and before a die that was handed back is given again."""


class Dask:
    """A Dask cluster that is connected.

    Args:
        address: of the scheduler, such as ``tcp://192.0.2.5:8786``.
        say: called with a text for the operator while a worker is waited for, and with what is wrong with one.

    Raises:
        BenchError: its scheduler does not answer, or has no worker, or one of another version.
    """

    def __init__(self, address: str, say: Callable[[str], None] = lambda text: None) -> None:
        try:
            import distributed
        except ImportError as error:
            raise BenchError("--executor dask needs the extra: pip install 'mtj-labctl[cluster]'") from error
        untyped: Any = distributed
        self._what, self._say = f"--executor dask={address}", say
        try:
            self._client = untyped.Client(address, timeout=PATIENCE, set_as_default=False)
        except (OSError, ValueError) as error:
            raise BenchError(f"{self._what}: no scheduler answers there: {error}") from error
        self._ours, self._other = software(), dict[str, str]()
        self._checked: set[str] = set()
        self._width, self._looked = 0, time.monotonic()
        try:
            self._await_workers()
        except BaseException:
            self._client.close()
            raise
        self._messages: queues.SimpleQueue[tuple[str, str, Any] | None] = queues.SimpleQueue()

    def _await_workers(self) -> None:
        """Wait for the first worker; raise BenchError if none comes, or if one of those there has another version."""
        begun = time.monotonic()
        while not (threads := self._threads()):
            if time.monotonic() - begun > WORKERS:
                raise BenchError(f"{self._what}: the scheduler has had no workers for {WORKERS:.0f} s")
            if time.monotonic() - begun < LOOK:
                self._say(f"{self._what}: the scheduler has no workers yet; waiting for one, until ^C")
            time.sleep(LOOK)
        self._width = self._of_this_version(threads)
        if self._other:
            raise BenchError("; ".join(self._other.values()))

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Ask the scheduler; BenchError if it does not answer.

        A client whose scheduler went away meanwhile raises what its half-closed state makes of the call: an
        AttributeError of what it has no more, or something else with another status.
        """
        try:
            yield
        except Exception as error:
            if isinstance(error, OSError | TimeoutError | AttributeError) or self._client.status != "running":
                raise BenchError(f"{self._what}: the scheduler does not answer: {error}") from error
            raise

    def _threads(self) -> dict[str, int]:
        """Return the number of threads of each worker; BenchError if the scheduler does not answer."""
        with self._asking():
            return dict(self._client.nthreads())

    def _of_this_version(self, threads: Mapping[str, int]) -> int:
        """Return the number of threads on workers of this version, and say once which worker has another."""
        if new := [worker for worker in threads if worker not in self._checked]:
            with self._asking():
                answers = self._client.run(software_of_worker, workers=new, on_error="return")
            for worker, theirs in answers.items():
                self._checked.add(worker)
                if differs := difference(self._ours, theirs):
                    self._other[worker] = f"{self._what}: the worker {worker} has {differs}: results would differ"
        return sum(count for worker, count in threads.items() if worker not in self._other)

    @property
    def width(self) -> int:
        """Number of dies at once: of the threads that workers of this version have now."""
        if time.monotonic() - self._looked >= LOOK:
            self._looked, known = time.monotonic(), set(self._other)
            try:
                self._width = self._of_this_version(self._threads())
            except BenchError:
                return self._width  # the futures under way tell whether it is gone
            for worker in self._other.keys() - known:
                self._say(f"{self._other[worker]}; it is not used")
        return self._width

    def work_on(self, run: Path, go_file: GoFile) -> None:
        """Take the run in a folder, which the workers see, for what is worked on from now on."""
        self._run, self._go_file = run, go_file
        self._topic = go_file.path.parent.name
        with self._asking():
            self._client.subscribe_topic(self._topic, lambda event: self._messages.put(tuple(event[1])))

    def disconnect(self) -> None:
        """Disconnect from the cluster, which stays; once more does nothing."""
        self._client.close()

    def open(self) -> tuple[Executor, Callable[[Job], DieResult]]:
        """Return the cluster's executor."""
        with self._asking():
            executor: Executor = self._client.get_executor(pure=False)
        return executor, partial(run_on_cluster, self._run, self._go_file, self._topic, self._ours)

    def messages(self, seconds: float) -> Iterator[tuple[str, str, Any]]:
        """Yield the messages of workers."""
        while True:
            try:
                message = self._messages.get(timeout=seconds) if seconds else self._messages.get_nowait()
            except queues.Empty:
                return
            seconds = 0.0
            if message is not None:
                yield message

    def wake(self) -> None:
        """End the waiting of `messages`."""
        self._messages.put(None)

    def close(self, executor: Executor, broken: bool) -> None:
        """Disconnect from the cluster, which stays; one that is broken does not answer and is not shut down."""
        if not broken:
            executor.shutdown(wait=True)
        self.disconnect()


def software() -> dict[str, str]:
    """Return what results depend on here: Python, this suite and its commit, and the libraries below it."""
    here = {name: version for name, version in versions().items() if name != "platform"}
    return here | {"commit": git_commit()}


@cache
def software_of_worker() -> dict[str, str]:
    """Return the software of this process, whose code was loaded once: what its files are later changes nothing."""
    return software()


def difference(ours: Mapping[str, str], theirs: Mapping[str, str] | BaseException) -> str:
    """Return in words what `theirs` has that `ours` has not; "" if they are the same.

    >>> difference({"numpy": "2.1.0", "h5py": "3.12"}, {"numpy": "2.2.0", "h5py": "3.12"})
    'numpy 2.2.0, not 2.1.0'
    """
    if isinstance(theirs, BaseException):
        return f"no mtj-labctl that answers ({type(theirs).__name__}: {theirs})"
    names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    return ", ".join(f"{name} {theirs.get(name) or 'none'}, not {ours.get(name) or 'none'}" for name in names)


def run_on_cluster(run: Path, go_file: GoFile, topic: str, ours: Mapping[str, str], job: Job) -> DieResult:
    """Run `job` on a worker of a cluster; it ends at the next safe point when asked to.

    Raises:
        Reschedule: this worker has another version than `ours`; the die is for another one.
    """
    from distributed import Reschedule, get_worker

    if software_of_worker() != ours and go_file.reason(job.die) is None:
        time.sleep(LOOK)
        raise Reschedule()
    worker, last, waiting = get_worker(), time.monotonic(), 0

    def notify(die: str, what: str, detail: Any) -> None:
        nonlocal last, waiting
        if what == "lease":
            return  # the cluster's scheduler notices by itself when a worker is gone
        if what == "patterns":
            waiting += detail
        # other messages come after the count of patterns before them, so that every pattern is counted in the end
        if waiting and (what != "patterns" or time.monotonic() - last >= EVERY):
            worker.log_event(topic, (die, "patterns", int(waiting)))
            last, waiting = time.monotonic(), 0
        if what != "patterns":
            worker.log_event(topic, (die, what, str(detail) if isinstance(detail, str) else detail))

    return run_in_worker(run, job, notify, Stop(lambda: go_file.reason(job.die)))
