"""Carry out jobs one after the other in this process, for procedures by hand."""

import threading
from collections.abc import Callable, Sequence

from labctl.config.bins import GOOD, MEASURED
from labctl.core.body import Body
from labctl.core.errors import LabError
from labctl.core.exit_codes import ExitCode, Status, gravest
from labctl.core.procedure import Procedure
from labctl.execution.die_job import DieResult, Job, Notify, run_die
from labctl.execution.stop import Stop
from labctl.station.simulated import Simulated
from labctl.terminal.signals import asked_to_stop


def execute(
    jobs: Sequence[Job],
    procedures: Sequence[Procedure],
    notify: Notify,
    body: Body | None = None,
    off: Callable[[], str | None] = lambda: None,
) -> list[DieResult]:
    """Run every job, one after the other; return the results in their order. A die that fails ends no other.

    Args:
        body: a bench; None for simulated dies.
        off: returns why nothing may be energised any more, None while that is allowed.
    """
    stopping = threading.Event()
    results = []
    stop = Stop(lambda: "stopped by the operator" if stopping.is_set() else None, off)

    def hurry() -> None:
        if stop.interruptible:
            raise KeyboardInterrupt

    with asked_to_stop(stopping.set, hurry):
        for job in jobs:
            if stopping.is_set():
                break
            try:
                results.append(run_die(job, procedures, notify, stop, body or Simulated()))
            except LabError as error:
                results.append(DieResult(job.die, "error", stop.ending(error), []))
    return results


def verdict(results: Sequence[DieResult], expected: int) -> tuple[Status, int]:
    """Return the outcome and exit code of the whole run."""
    codes = {r.outcome.exit_code for r in results}
    if len(results) < expected:
        codes.add(ExitCode.OPERATOR)
    if any(r.outcome.exit_code == ExitCode.GOOD and r.bin not in (GOOD, MEASURED) for r in results):
        codes.add(ExitCode.OTHER_BIN)
    code = gravest(codes)
    return code.status, code
