"""Worker processes: what one knows, and that it must not outlive its parent."""

import multiprocessing
import os
import pickle
import signal
import threading
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from labctl.core.errors import LabError
from labctl.core.procedure import Procedure
from labctl.run import Outcome, Status, Stop
from labctl.worker import DieResult, Job, run_die


class _Worker:
    """What a worker process knows: where messages go, who may stop it, and that it must not outlive its parent."""

    def __init__(self, queue: Any, asked: Any, stages: Path) -> None:
        self.queue, self._asked = queue, asked
        self._procedures: tuple[Procedure, ...] = pickle.loads(stages.read_bytes())
        self._parent = multiprocessing.parent_process()
        self._busy = threading.Lock()
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_IGN)
        threading.Thread(target=self._mourn, daemon=True).start()

    def _orphaned(self) -> bool:
        return self._parent is not None and not self._parent.is_alive()

    def _mourn(self) -> None:
        """Leave when the parent is gone and the die in hand, if any, is sealed."""
        if self._parent is not None:
            wait([self._parent.sentinel])
            with self._busy:
                os._exit(4)

    def reason(self) -> str | None:
        """Return why the run has to end, if it has to."""
        if self._asked.is_set():
            return "stopped by the operator"
        return "the parent process is gone" if self._orphaned() else None

    def notify(self, *message: Any) -> None:
        """Tell the parent, if there is one."""
        if not self._orphaned():
            self.queue.put(message)

    def run(self, job: Job) -> DieResult:
        """Run one die."""
        with self._busy:
            try:
                return run_die(job, self._procedures, self.notify, Stop(self.reason))
            except LabError as error:
                return DieResult(job.die, "error", Outcome(Status.FAIL, str(error), error.exit_code), [])


_worker: _Worker | None = None


def enter_worker(queue: Any, asked: Any, stages: Path) -> None:
    """Set up a worker process: messages go to `queue`, `asked` is the shared request to end; signals are the parent's.

    A terminal that closes and ^C reach every process of the group; only the parent acts on them, so that every die ends
    at its safe point and is sealed.
    """
    global _worker
    _worker = _Worker(queue, asked, stages)


def run_die_in_worker(job: Job) -> DieResult:
    """Run `job` in a worker process; ends at the next safe point when asked to or when the parent is gone."""
    assert _worker is not None, "enter_worker sets a worker up"
    return _worker.run(job)
