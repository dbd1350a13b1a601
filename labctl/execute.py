"""Carry out jobs without a night around them: what is done by hand, and what a comparison is made of."""

import threading
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from labctl.bodies import Body
from labctl.core.errors import LabError
from labctl.core.procedure import Procedure
from labctl.overnight.asked import Going
from labctl.overnight.ending import gravest
from labctl.overnight.pool import Lost, Pool, Processes
from labctl.run import Outcome, Status, Stop, ending
from labctl.signals import asked_to_stop
from labctl.worker import DieResult, Job, Notify, run_die

__all__ = ["asked_to_stop", "execute", "verdict"]


def execute(
    jobs: Sequence[Job], procedures: Sequence[Procedure], workers: int, notify: Notify, body: Body | None = None
) -> list[DieResult]:
    """Run every job; results in the order of the jobs. A die's failure is its own.

    Args:
        body: a bench, which has one die at a time; None for simulated dies.
    """
    if workers > 1 and len(jobs) > 1 and body is None:
        return _in_processes(jobs, procedures, min(workers, len(jobs)), notify)
    stopping = threading.Event()
    results = []
    stop = Stop(lambda: "stopped by the operator" if stopping.is_set() else None)

    def hurry() -> None:
        if stop.interruptible:
            raise KeyboardInterrupt

    with asked_to_stop(stopping.set, hurry):
        for job in jobs:
            if stopping.is_set():
                break
            try:
                results.append(run_die(job, procedures, notify, stop, body))
            except LabError as error:
                results.append(DieResult(job.die, "error", ending(error), []))
    return results


def _in_processes(
    jobs: Sequence[Job], procedures: Sequence[Procedure], workers: int, notify: Notify
) -> list[DieResult]:
    found: dict[str, DieResult] = {}
    with TemporaryDirectory(prefix="labctl-", ignore_cleanup_errors=True) as scratch:
        going = Going(Path(scratch))
        going.path.touch()
        pool, waiting, hand = Pool(Processes(workers, procedures, going), notify), list(jobs), 0
        with asked_to_stop(going.stop):
            try:
                while hand or (waiting and going.path.exists()):
                    while waiting and hand < workers and going.path.exists():
                        pool.begin(waiting.pop(0))
                        hand += 1
                    for ended in pool.wait(0.1):
                        hand -= 1
                        if isinstance(ended, Lost):
                            outcome = Outcome(Status.FAIL, ended.reason, LabError.exit_code)
                            ended = DieResult(ended.die, "error", outcome, [])
                        found[ended.die] = ended
            finally:
                pool.close()
    return [found[job.die] for job in jobs if job.die in found]


def verdict(results: Sequence[DieResult], expected: int) -> tuple[Status, int]:
    """Return the outcome and exit code of the whole run."""
    codes = {r.outcome.exit_code for r in results}
    if len(results) < expected:
        codes.add(4)
    if any(r.outcome.exit_code == 0 and r.bin != "good" for r in results):
        codes.add(1)
    code = gravest(codes)
    status = Status.SUCCESS if code in (0, 1) else Status.ABORT if code in (3, 4) else Status.FAIL
    return status, code
