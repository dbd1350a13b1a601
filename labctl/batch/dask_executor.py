"""Simulated dies on a `dask.distributed` cluster, whose workers see the run folder and have this suite installed."""

import queue as queues
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any

from labctl.batch.executors import run_in_worker
from labctl.batch.requests import GoFile
from labctl.core.errors import BenchError
from labctl.core.units import Second
from labctl.execution.die_job import DieResult, Job
from labctl.execution.stop import Stop

EVERY = 0.5
"""Time between two progress messages of one die, in s: each goes through the cluster's scheduler."""


PATIENCE: Second = 10.0
"""How long a scheduler is waited for that does not answer."""


class Dask:
    """A Dask cluster that is connected; raises BenchError if its scheduler does not answer or has no worker.

    Args:
        address: of the scheduler, such as ``tcp://192.0.2.5:8786``.
    """

    def __init__(self, address: str) -> None:
        try:
            import distributed
        except ImportError as error:
            raise BenchError("--executor dask needs the extra: pip install 'mtj-labctl[cluster]'") from error
        untyped: Any = distributed
        try:
            self._client = untyped.Client(address, timeout=PATIENCE, set_as_default=False)
        except (OSError, ValueError) as error:
            raise BenchError(f"--executor dask={address}: no scheduler answers there: {error}") from error
        self.width = sum(self._client.nthreads().values())
        if not self.width:
            self._client.close()
            raise BenchError(f"--executor dask={address}: the scheduler has no workers")
        self._messages: queues.SimpleQueue[tuple[str, str, Any] | None] = queues.SimpleQueue()

    def work_on(self, run: Path, go_file: GoFile) -> None:
        """Take the run in a folder, which the workers see, for what is worked on from now on."""
        self._run, self._go_file = run, go_file
        self._topic = go_file.path.parent.name
        self._client.subscribe_topic(self._topic, lambda event: self._messages.put(tuple(event[1])))

    def disconnect(self) -> None:
        """Disconnect from the cluster, which stays; once more does nothing."""
        self._client.close()

    def open(self) -> tuple[Executor, Callable[[Job], DieResult]]:
        """Return the cluster's executor."""
        executor: Executor = self._client.get_executor(pure=False)
        return executor, partial(run_on_cluster, self._run, self._go_file, self._topic)

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


def run_on_cluster(run: Path, go_file: GoFile, topic: str, job: Job) -> DieResult:
    """Run `job` on a worker of a cluster; it ends at the next safe point when asked to."""
    from distributed import get_worker

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
