"""Carry out jobs, one process or several, and turn signals into safe points.

The first ^C (and TERM and HUP) asks every die to end at its next safe point. On a bench, a second ^C interrupts what is
under way; outputs go off at once, through the run loop's clean-up, which nothing interrupts.
"""

import multiprocessing
import os
import pickle
import queue as queues
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

from labctl.bodies import Body
from labctl.core.errors import LabError
from labctl.core.procedure import Procedure
from labctl.overnight.pool import enter_worker, run_die_in_worker
from labctl.run import Outcome, Status, Stop
from labctl.worker import DieResult, Job, Notify, run_die

GRAVITY = (6, 70, 5, 3, 4, 1, 0)
"""Exit codes, the gravest first."""


@contextmanager
def asked_to_stop(on_stop: Callable[[], None], stop: Stop | None = None) -> Iterator[None]:
    """Call `on_stop` at the first ^C, TERM or HUP. A second ^C interrupts, where `stop` says that this is caught."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        first = not seen
        seen.append(number)
        if first:
            on_stop()
            # not print: the main thread may be in the middle of one
            os.write(2, b"stopping at the next safe point; what was measured is sealed\n")
        elif number == signal.SIGINT and stop is not None and stop.interruptible:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, handler) for number in _signals()}
    try:
        yield
    finally:
        # once heard, later ones change nothing: what is left is to make the bench safe, to seal and to report
        for number, old in before.items():
            signal.signal(number, signal.SIG_IGN if seen else old)


def execute(
    jobs: Sequence[Job], procedures: Sequence[Procedure], workers: int, notify: Notify, body: Body | None = None
) -> list[DieResult]:
    """Run every job; results in the order of the jobs. A die's failure is its own.

    Args:
        procedures: the stages, shared by all dies; a worker process gets them once.
        body: a bench, which has one die at a time; None for simulated dies.
    """
    if workers <= 1 or len(jobs) == 1 or body is not None:
        return _here(jobs, procedures, notify, body)
    return _in_processes(jobs, procedures, min(workers, len(jobs)), notify)


def _here(jobs: Sequence[Job], procedures: Sequence[Procedure], notify: Notify, body: Body | None) -> list[DieResult]:
    stopping = threading.Event()
    results = []

    stop = Stop(lambda: "stopped by the operator" if stopping.is_set() else None)
    with asked_to_stop(stopping.set, stop):
        for job in jobs:
            if stopping.is_set():
                break
            try:
                results.append(run_die(job, procedures, notify, stop, body))
            except LabError as error:
                results.append(DieResult(job.die, "error", Outcome(Status.FAIL, str(error), error.exit_code), []))
    return results


def _in_processes(
    jobs: Sequence[Job], procedures: Sequence[Procedure], workers: int, notify: Notify
) -> list[DieResult]:
    context = multiprocessing.get_context("spawn")
    with TemporaryDirectory(prefix="labctl-", ignore_cleanup_errors=True) as scratch:
        # by a file and not as an argument: a process that dies while it starts would leave its parent writing for ever
        stages = Path(scratch, "stages.pickle")
        stages.write_bytes(pickle.dumps(tuple(procedures)))
        with _born_deaf():
            queue, stopping = context.Queue(), context.Event()
            pool = ProcessPoolExecutor(workers, context, enter_worker, (queue, stopping, stages))
            futures = [pool.submit(run_die_in_worker, job) for job in jobs]
        with asked_to_stop(stopping.set), pool:
            while not all(f.done() for f in futures):
                _drain(queue, notify, 0.2)
            _drain(queue, notify, 0.0)
            return [_result(job, future) for job, future in zip(jobs, futures, strict=True)]


@contextmanager
def _born_deaf() -> Iterator[None]:
    """Let processes started in the block ignore ^C, TERM and HUP from their first moment.

    A signal to the group would otherwise kill a worker that has not yet come to ignore it, or the helper process of
    the standard library that tracks shared resources. Whoever presses ^C in these milliseconds has to press again.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _signals()}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _signals() -> list[signal.Signals]:
    """Return the signals that ask a run to end, those of them that this system has."""
    return [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def _drain(queue: Any, notify: Notify, wait: float) -> None:
    try:
        while True:
            notify(*queue.get(timeout=wait) if wait else queue.get_nowait())
    except queues.Empty:
        return


def _result(job: Job, future: "Future[DieResult]") -> DieResult:
    error = future.exception()
    if error is None:
        return future.result()
    return DieResult(job.die, "error", Outcome(Status.FAIL, f"the worker died: {error!r}", LabError.exit_code), [])


def verdict(results: Sequence[DieResult], expected: int) -> tuple[Status, int]:
    """Return the outcome and exit code of the whole run."""
    codes = {r.outcome.exit_code for r in results}
    if len(results) < expected:
        codes.add(4)
    if any(r.outcome.exit_code == 0 and r.bin != "good" for r in results):
        codes.add(1)
    code = next(c for c in GRAVITY if c in codes or c == 0)
    status = Status.SUCCESS if code in (0, 1) else Status.ABORT if code in (3, 4) else Status.FAIL
    return status, code
