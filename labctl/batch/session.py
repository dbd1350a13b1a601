"""One session of a run, from the folder to the exit code: journal, executor, signals, scheduler, and the last rows.

One module of about 300 lines, because starting and resuming a run share every step but the first.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instruments.board_bench import AnyBench
from instruments.drivers import reaches_several
from instruments.emergency import make_safe
from instruments.manual_prober import Ask, TypeIn
from labctl.batch import requests
from labctl.batch.decisions import Rules
from labctl.batch.executors import DieExecutor, InProcess, PoolExecutor, Processes
from labctl.batch.exit_status import Ending
from labctl.batch.housekeeping import Housekeeping
from labctl.batch.notifying_guard import command_of
from labctl.batch.reference_die import ReferenceVisits, due
from labctl.batch.requests import GoFile
from labctl.batch.resume import to_do
from labctl.batch.scheduler import Scheduler
from labctl.batch.watchdog import BenchExecutor
from labctl.core.die_state import State
from labctl.core.errors import BenchError, InstrumentError, LabError, LeftUnverified, StorageError
from labctl.core.events import Alarm, BenchOpened, MadeSafe, Resumed, RunEnded
from labctl.core.figure import Figures
from labctl.core.procedure import Procedure
from labctl.core.units import Second
from labctl.execution.die_job import Job, Notify
from labctl.execution.plan import DiePlan, total
from labctl.station.bench_guard import BenchGuard
from labctl.station.bench_setup import Station
from labctl.station.jobs import jobs_of, visit_job
from labctl.station.run_folder import bench_copy, make_folder
from labctl.station.run_spec import RunSpec
from labctl.storage.bench_locks import bench_lock
from labctl.storage.latch import latch_of
from labctl.storage.manifest import run_meta
from labctl.storage.private import rights_of
from labctl.storage.run_log import Runlog, RunState
from labctl.storage.sealing import write_run_file_in_subprocess
from labctl.terminal.signals import asked_to_stop

if TYPE_CHECKING:
    from labctl.batch.dask_executor import Dask

WORKER_LEAVES: Second = 60.0
"""Longest time until the worker of a killed session has left its bench."""


@dataclass(frozen=True)
class RunOptions:
    """Options of a session that do not belong to its campaign.

    Args:
        workers: processes for simulated dies.
        executor: "dask=ADDRESS" for a cluster, "" for processes of this computer.
        show: called with every message, for the screen.
        say: called with a text for the operator.
        ask: puts a question to the operator at the bench.
        type_in: has the operator type or scan something.
        ledger: called with what the emulated instruments did to the dies, and the time on their clock, s.
        accept_place: a network file system or a synchronised folder is accepted for the run.
        accept_changes: other instruments than those the run was started on are accepted.
    """

    workers: int
    executor: str = ""
    show: Notify = lambda die, what, detail: None
    say: Callable[[str], None] = lambda text: None
    ask: Ask = lambda question: False
    type_in: TypeIn = lambda question: ""
    ledger: Callable[[Any, float], None] = lambda ledger, now: None
    accept_place: bool = False
    accept_changes: bool = False


def estimate(plans: Sequence[DiePlan]) -> dict[str, Any]:
    """Return the prediction of the plan, as the run's journal holds it: bench time in s, and bytes."""
    whole = total(plans)
    dies = {p.die: {"seconds": sum(s.time for s in p.stages), "bytes": sum(s.bytes for s in p.stages)} for p in plans}
    return {"seconds": whole.time, "bytes": whole.bytes, "dies": dies}


def rules_of(spec: RunSpec, plans: Sequence[DiePlan]) -> Rules:
    """Return the rules of a campaign; the plan predicts the time of dies on a bench, not of simulated dies."""
    seconds = {p.die: sum(s.time for s in p.stages) for p in plans}
    predicted = {} if spec.bench is None else seconds
    return Rules(spec.batch, spec.bins, spec.seed, predicted, Figures.of_run(spec.declared))


def meta_of(manifest: Mapping[str, Any], spec: RunSpec, plans: Sequence[DiePlan]) -> dict[str, Any]:
    """Return the first entry of the run's journal: the contents of ``run.json``, the order, and the estimate.

    For a real bench it holds the addresses of the instruments by name, which identify its latch.
    """
    real = spec.real
    resources = {} if real is None else {n: e.resource for n, e in real.instruments.items()}
    more = {"order": spec.batch.order.value, "estimate": estimate(plans)}
    return {**manifest, **more, "instruments": {name: resource for name, resource in resources.items() if resource}}


def start(
    folder: Path, spec: RunSpec, plans: Sequence[DiePlan], argv: Sequence[str], options: RunOptions
) -> tuple[Ending, RunState]:
    """Make a run folder and carry out a campaign in it; return how it ended and the state of the run.

    Raises:
        BenchError: the folder cannot be made or is no place for a run, the bench is held by another run, or there is
            no cluster at the address.
        StorageError: the disk is full, or fails.
    """
    _refuse_executor(options.executor, spec)
    folder = folder.absolute() if options.executor else folder  # for workers with another working directory
    housekeeping = housekeeping_of(folder, spec, plans, argv, options)
    with housekeeping.locked(spec.real, spec.roles.get("bench", "BENCH")), _connected(options) as cluster:
        manifest = make_folder(folder, spec, argv)
        with rights_of(folder), housekeeping.session(), Runlog.create(folder, meta_of(manifest, spec, plans)) as log:
            for left_out in spec.skipped:
                log.set_state(left_out.name, State.SKIPPED, 1, left_out.excluded)
            jobs = {job.die: job for job in jobs_of(spec, folder, manifest)}
            return carry_out(log, folder, jobs, spec, rules_of(spec, plans), options, housekeeping, cluster)


def housekeeping_of(
    folder: Path, spec: RunSpec, plans: Sequence[DiePlan], argv: Sequence[str], options: RunOptions
) -> Housekeeping:
    """Return the housekeeping of a session; BenchError if the folder is no place for it."""
    sizes = {p.die: sum(s.bytes for s in p.stages) for p in plans}
    name = spec.name if spec.faults is None else f"{spec.name} (a rehearsal with injected faults)"
    try:
        return Housekeeping(folder, name, what(argv), sizes, notify=spec.notify, accept_place=options.accept_place)
    except BenchError as error:
        if not str(error).startswith("notify: ") or not spec.loaded:
            raise
        raise BenchError(f"{spec.loaded[0].where('notify')}: {error}") from error


def what(argv: Sequence[str]) -> str:
    """Return the command line, shown to all who are refused the bench or the folder.

    >>> what(["/usr/bin/labctl", "run", "overnight.yaml"])
    'labctl run overnight.yaml'
    """
    return " ".join(["labctl", *argv[1:]])


def resume(
    folder: Path,
    spec: RunSpec,
    plans: Sequence[DiePlan],
    argv: Sequence[str],
    options: RunOptions,
    *,
    only: Sequence[str] | None = None,
    reason: str = "",
    accepted: Sequence[str] = (),
) -> tuple[Ending, RunState]:
    """Resume a run, with the dies of `only` if given; return how it ended and the state of the run.

    Args:
        reason: why, for the record.
        accepted: changes that the operator accepted, as text.

    Raises:
        BenchError: nothing is left to do, there is no such die, or another process carries out this run.
        StorageError: the journal cannot be written.
    """
    _refuse_executor(options.executor, spec)
    folder = folder.absolute() if options.executor else folder  # for workers with another working directory
    housekeeping = housekeeping_of(folder, spec, plans, argv, options)
    alone = housekeeping.locked(spec.real, spec.roles.get("bench", "BENCH"))
    connected = _connected(options)
    with rights_of(folder), alone, connected as cluster, housekeeping.session(), Runlog.open(folder) as log:
        names = to_do(log.state, folder, only)
        pid = os.getpid()
        argv, only, accepted = tuple(argv), tuple(only or ()), tuple(accepted)
        log.write(Resumed(argv=argv, pid=pid, reason=reason, only=only, accepted=accepted))
        jobs = {job.die: job for job in jobs_of(spec, folder, run_meta(folder)) if job.die in names}
        return carry_out(log, folder, jobs, spec, rules_of(spec, plans), options, housekeeping, cluster, again=True)


def carry_out(
    log: Runlog,
    folder: Path,
    jobs: Mapping[str, Job],
    spec: RunSpec,
    rules: Rules,
    options: RunOptions,
    housekeeping: Housekeeping,
    cluster: "Dask | None" = None,
    *,
    again: bool = False,
) -> tuple[Ending, RunState]:
    """Work on the dies of `jobs` until nothing is left to do; return how it ended and the state of the run.

    Args:
        cluster: what works on the dies in place of processes of this computer.
        again: the run was begun earlier and may have left a real bench in any state; it is made safe first.
    """
    real = spec.real
    begun, go_file = time.monotonic(), requests.session(folder)
    visits = ReferenceVisits.of(rules.batch, visit_job(spec, folder, run_meta(folder)))
    housekeeping.watch(log)
    watching: list[Callable[[], None]] = []
    ends = threading.Event()

    def look() -> bool:
        for keep_watch in watching:
            keep_watch()
        return ends.is_set()

    log.while_held(options.say, look)
    try:
        with _guarded(spec, folder, log, housekeeping) as lifeline:
            if again and real is not None:
                options.say(_make_safe_first(real, housekeeping.what, log))
            if again and not jobs and not due(log.state):  # it was broken off behind its last die
                ending = Ending.of(log.state, None)
            else:
                with _executor(
                    folder, spec, go_file, options, len(jobs), log, housekeeping.what, lifeline, cluster
                ) as executor:
                    latch = partial(latch_of, real) if real is not None else lambda: None
                    first = _first(spec.bench)
                    scheduler = Scheduler(
                        log, jobs, rules, go_file, executor, options.show, first, housekeeping, visits, latch
                    )
                    watching.append(scheduler.keep_watch)

                    def stop() -> None:
                        ends.set()
                        scheduler.stop()

                    with asked_to_stop(stop, scheduler.hurry):
                        ending = scheduler.run()
    except LabError as error:
        ends.set()
        # the bench does not answer, the wafer does not fit the map, the bench was not left safe, or the disk is full
        housekeeping.ballast.release()
        error.begun = True
        with suppress(StorageError):
            ending = Ending(error.ends_with, str(error))
            log.write(RunEnded(outcome=ending.status, exit_code=ending.code, reason=ending.text))
            housekeeping.close()
            log.finish()
        raise
    finally:
        requests.close(go_file)
    housekeeping.ballast.release()
    seconds, size = time.monotonic() - begun, size_of(folder)
    ended = RunEnded(outcome=ending.status, exit_code=ending.code, reason=ending.text, seconds=seconds, bytes=size)
    log.write(ended)
    housekeeping.close()
    log.finish()
    write_run_file_in_subprocess(folder)
    return ending, log.state


@contextmanager
def _guarded(
    spec: RunSpec, folder: Path, log: Runlog, housekeeping: Housekeeping
) -> Iterator["Connection[Any, Any] | None"]:
    """Guard a real bench while the block lasts; yield what its worker holds, None if there is no real bench."""
    if spec.real is None:
        yield None
        return

    def alarm(text: str) -> None:
        log.write(Alarm(text=text))

    with BenchGuard(folder, bench_copy(folder), alarm, command=command_of(spec.name, spec.notify)) as bench_guard:
        housekeeping.bench_guard = bench_guard
        yield bench_guard.lifeline


def _make_safe_first(bench: AnyBench, what: str, log: Runlog) -> str:
    """Make a bench safe that an earlier session may have left in any state; log and return the state it was in.

    Raises:
        LeftUnverified: it cannot be verified safe.
        BenchError: a worker of the earlier session still holds the bench.
    """
    try:
        with bench_lock(bench, what, part="worker", patience=WORKER_LEAVES):
            safed = make_safe(bench)
    except InstrumentError as error:
        raise LeftUnverified(f"the bench cannot be verified safe, so the run does not go on: {error}") from error
    met = ", ".join(f"{name} {state}" for name, state in safed.met.items())
    text = f"the bench was met with {met}; {safed.text}" if met else f"the bench was met at rest; {safed.text}"
    log.write(MadeSafe(met=dict(safed.met), text=text))
    return text


def _first(bench: AnyBench | None) -> State:
    """Return the state in which the work on a die begins."""
    if bench is None:
        return State.RUNNING
    return State.MOVING if reaches_several(bench) else State.CONTACT_CHECK


def _refuse_executor(executor: str, spec: RunSpec) -> None:
    """Raise BenchError if `executor`, as `RunOptions` has it, cannot work on the dies of `spec`."""
    kind, _, address = executor.partition("=")
    if executor and (kind != "dask" or not address):
        raise BenchError(f"--executor {executor}: expected dask=ADDRESS, such as dask=tcp://192.0.2.5:8786")
    if executor and spec.bench is not None:
        raise BenchError(f"--executor {executor}: a bench is worked on by the computer that it is connected to")


@contextmanager
def _connected(options: RunOptions) -> Iterator["Dask | None"]:
    """Yield the cluster of a session while the block lasts; None without one.

    Raises:
        BenchError: its scheduler does not answer, or has no worker, or one of another version.
    """
    if not options.executor:
        yield None
        return
    from labctl.batch.dask_executor import Dask

    cluster = Dask(options.executor.partition("=")[2], options.say)
    try:
        yield cluster
    finally:
        cluster.disconnect()


@contextmanager
def _executor(
    folder: Path,
    spec: RunSpec,
    go_file: GoFile,
    options: RunOptions,
    dies: int,
    log: Runlog,
    what: str,
    lifeline: "Connection[Any, Any] | None",
    cluster: "Dask | None",
) -> Iterator[Callable[[Notify], DieExecutor]]:
    """Yield the function that makes the executor, given the function that takes its messages."""
    procedures = spec.stages
    if cluster is not None:
        cluster.work_on(folder, go_file)
        yield lambda notify: PoolExecutor(cluster, notify)
        return
    workers = min(options.workers, dies)
    station = spec.station
    if station is not None:
        with _bench(station, procedures, go_file, options, log, what, lifeline) as bench:
            yield bench.reporting_to
    elif workers <= 1:
        yield lambda notify: InProcess(procedures, go_file, notify)
    else:
        yield lambda notify: PoolExecutor(Processes(workers, folder, go_file), notify)


@contextmanager
def _bench(
    station: Station,
    procedures: Sequence[Procedure],
    go_file: GoFile,
    options: RunOptions,
    log: Runlog,
    what: str,
    lifeline: "Connection[Any, Any] | None",
) -> Iterator[BenchExecutor]:
    """Yield the executor of a bench that is open, and leave the bench safe.

    Raises:
        BenchError: the instruments are not those of the run.
    """
    opened = [row.event for row in log.state.events if isinstance(row.event, BenchOpened)]
    before = dict(opened[-1].identities) if opened else None
    expected = None if options.accept_changes else before
    executor = BenchExecutor(
        station, procedures, go_file, options.ask, options.type_in, what=what, lifeline=lifeline, expected=expected
    )
    executor.say = log.write
    try:
        executor.open()
        if executor.identities != before or executor.old_errors:
            text = "; ".join(f"{name}: {identity}" for name, identity in executor.identities.items())
            old = executor.old_errors
            text += "".join(f"; {name} had old errors in its queue: {', '.join(old[name])}" for name in old)
            log.write(BenchOpened(identities=executor.identities, text=text, old_errors=old))
        yield executor
    finally:
        try:
            executor.close()
        finally:
            executor.close_twin()
            if executor.ledger is not None:
                options.ledger(*executor.ledger)


def size_of(folder: Path) -> int:
    """Return the bytes of the files of a run."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
