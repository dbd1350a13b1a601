"""One session of a run, from the folder to the exit code: journal, crew, signals, engine, and what is left to say."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from instruments.bench import Bench
from instruments.drivers import has_prober
from instruments.emergency import make_safe
from instruments.manual_prober import Ask
from labctl.batch import requests
from labctl.batch.decisions import Rules
from labctl.batch.executors import Crew, Here, Pool, Processes
from labctl.batch.exit_status import Ending
from labctl.batch.reference_die import ReferenceVisits
from labctl.batch.requests import GoFile
from labctl.batch.resume import to_do
from labctl.batch.scheduler import Scheduler
from labctl.batch.session_guard import Guard
from labctl.batch.watchdog import BenchCrew
from labctl.core.die_state import State
from labctl.core.errors import BenchError, InstrumentError, LabError, LeftUnverified, StorageError
from labctl.core.procedure import Procedure
from labctl.core.units import Second
from labctl.execution.die_job import Job, Notify
from labctl.execution.plan import DiePlan, total
from labctl.station.bench_setup import Station
from labctl.station.composition import Prepared
from labctl.station.run_folder import make_folder
from labctl.storage.hdf5_layout import run_meta
from labctl.storage.latch import latch_of
from labctl.storage.locks import bench_lock
from labctl.storage.run_log import Runlog, RunState
from labctl.storage.sealing import write_run_file_in_subprocess
from labctl.terminal.signals import asked_to_stop

WORKER_LEAVES: Second = 60.0
"""Longest time until a worker of an earlier session, whose parent was killed, has left its bench."""


@dataclass(frozen=True)
class RunOptions:
    """How a session is carried out, whatever it carries out.

    Args:
        workers: processes for simulated dies.
        executor: "dask=ADDRESS" for a cluster, "" for processes of this computer.
        show: told of everything, for the screen.
        ask: puts a question to the operator at the bench.
        ledger: told what the emulated instruments did to the dies, and the time on their clock, s.
        accept_place: a network file system or a synchronised folder is fine for the run.
        accept_changes: other instruments than those the run was started on are fine.
    """

    workers: int
    executor: str = ""
    show: Notify = lambda die, what, detail: None
    ask: Ask = lambda question: False
    ledger: Callable[[Any, float], None] = lambda ledger, now: None
    accept_place: bool = False
    accept_changes: bool = False


def estimate(plans: Sequence[DiePlan]) -> dict[str, Any]:
    """Return what the plan foretells, as the run's journal says it: bench time in s, and bytes."""
    whole = total(plans)
    dies = {p.die: {"seconds": sum(s.time for s in p.stages), "bytes": sum(s.bytes for s in p.stages)} for p in plans}
    return {"seconds": whole.time, "bytes": whole.bytes, "dies": dies}


def rules_of(prepared: Prepared, plans: Sequence[DiePlan]) -> Rules:
    """Return the rules of a campaign; the plan foretells the time of dies on a bench, not of simulated ones."""
    campaign = prepared.campaign
    seconds = {p.die: sum(s.time for s in p.stages) for p in plans}
    return Rules(campaign.batch, campaign.bin_rules, campaign.seed, {} if prepared.bench is None else seconds)


def meta_of(said: Mapping[str, Any], prepared: Prepared, plans: Sequence[DiePlan]) -> dict[str, Any]:
    """Return what the run's journal is started with: what ``run.json`` says, where the dies are, and the estimate.

    Of a real bench, it holds the addresses of the instruments by name, by which its latch is known.
    """
    meant = (*prepared.subjects, *prepared.skipped)
    dies = [{"name": s.name, "at": list(s.at), "wafer": s.wafer} for s in meant]
    campaign = prepared.campaign
    rules = [rule.model_dump(mode="json") for rule in campaign.bin_rules]
    order = campaign.batch.order.value
    real = _real(prepared)
    reached = {} if real is None else {n: getattr(e, "resource", "") for n, e in real.instruments.items()}
    more = {"dies": dies, "bins": rules, "order": order, "estimate": estimate(plans)}
    return {**said, **more, "instruments": {name: resource for name, resource in reached.items() if resource}}


def start(
    folder: Path, prepared: Prepared, plans: Sequence[DiePlan], argv: Sequence[str], ways: RunOptions
) -> tuple[Ending, RunState]:
    """Make a run folder and carry out a campaign in it; return how that ended and where the dies stand.

    Raises:
        BenchError: the folder cannot be made or is no place for a run, somebody else has the bench, or there is no
            cluster where one was named.
        StorageError: the disk is full, or fails.
    """
    folder = folder.absolute() if ways.executor else folder  # for workers that stand elsewhere
    guard = guard_of(folder, prepared, plans, argv, ways)
    with guard.locked(_real(prepared), prepared.bench_file or "BENCH"):
        said = make_folder(folder, prepared, argv)
        with guard.session():
            log = Runlog.create(folder, meta_of(said, prepared, plans))
            for left_out in prepared.skipped:
                log.set_state(left_out.name, State.SKIPPED, 1, left_out.excluded)
            jobs = {job.die: job for job in prepared.jobs(folder, said)}
            return carry_out(log, folder, jobs, prepared, rules_of(prepared, plans), ways, guard)


def guard_of(
    folder: Path, prepared: Prepared, plans: Sequence[DiePlan], argv: Sequence[str], ways: RunOptions
) -> Guard:
    """Return what stands around a session; BenchError if the folder is no place for it."""
    campaign, sizes = prepared.campaign, {p.die: sum(s.bytes for s in p.stages) for p in plans}
    return Guard(folder, campaign.name, what(argv), sizes, notify=campaign.notify, accept_place=ways.accept_place)


def what(argv: Sequence[str]) -> str:
    """Return what is being run, for whoever is refused.

    >>> what(["/usr/bin/labctl", "run", "overnight.yaml"])
    'labctl run overnight.yaml'
    """
    return " ".join(["labctl", *argv[1:]])


def resume(
    folder: Path,
    prepared: Prepared,
    plans: Sequence[DiePlan],
    argv: Sequence[str],
    ways: RunOptions,
    *,
    only: Sequence[str] | None = None,
    reason: str = "",
    accepted: Sequence[str] = (),
) -> tuple[Ending, RunState]:
    """Go on with a run, with the dies of `only` if given; return how that ended and where the dies stand.

    Args:
        reason: why, for the record.
        accepted: what has changed and was accepted, in operator words.

    Raises:
        BenchError: there is nothing to do, no such die, or somebody else carries out this run.
        StorageError: the journal cannot be written.
    """
    folder = folder.absolute() if ways.executor else folder  # for workers that stand elsewhere
    guard = guard_of(folder, prepared, plans, argv, ways)
    with guard.locked(_real(prepared), prepared.bench_file or "BENCH"), guard.session():
        log = Runlog.open(folder)
        names = to_do(log.state, folder, only)
        pid = os.getpid()
        log.write("resumed", argv=list(argv), pid=pid, reason=reason, only=list(only or ()), accepted=list(accepted))
        jobs = {job.die: job for job in prepared.jobs(folder, run_meta(folder)) if job.die in names}
        return carry_out(log, folder, jobs, prepared, rules_of(prepared, plans), ways, guard, again=True)


def _real(prepared: Prepared) -> Bench | None:
    """Return the bench if it is a real one, None for its twin and for simulated dies."""
    return prepared.bench if prepared.sim is None else None


def carry_out(
    log: Runlog,
    folder: Path,
    jobs: Mapping[str, Job],
    prepared: Prepared,
    rules: Rules,
    ways: RunOptions,
    guard: Guard,
    *,
    again: bool = False,
) -> tuple[Ending, RunState]:
    """Work on the dies of `jobs` until there is nothing left to do; return how it ended and where the dies stand.

    Args:
        again: the run was begun earlier, and may have left a real bench in any state; that is made safe first.
    """
    real = _real(prepared)
    begun, going = time.monotonic(), requests.session(folder)
    visits = ReferenceVisits.of(rules.batch, prepared.visit_job(folder, run_meta(folder)))
    guard.watch(log)
    try:
        if again and real is not None:
            _make_safe_first(real, guard.what, log)
        with _crew(prepared, going, ways, len(jobs), log, guard.what) as crew:
            latch = partial(latch_of, real) if real is not None else lambda: None
            engine = Scheduler(log, jobs, rules, going, crew, ways.show, _first(prepared.bench), guard, visits, latch)
            with asked_to_stop(engine.stop, engine.hurry):
                ending = engine.run()
    except LabError as error:
        # the bench does not answer, its wafer is not as the map says, it could not be left safe, or the disk is full
        guard.ballast.release()
        with suppress(StorageError):
            ended = Ending(error.exit_code, str(error))
            log.write("ended", outcome=ended.status.value, exit=ended.code, reason=ended.text)
            guard.close()
            log.finish()
        raise
    finally:
        requests.close(going)
    guard.ballast.release()
    took = {"seconds": time.monotonic() - begun, "bytes": size_of(folder)}
    log.write("ended", outcome=ending.status.value, exit=ending.code, reason=ending.text, **took)
    guard.close()
    log.finish()
    write_run_file_in_subprocess(folder)
    return ending, log.state


def _make_safe_first(bench: Bench, what: str, log: Runlog) -> None:
    """Make a bench safe that an earlier session may have left in any state, and write what it was met in.

    Raises:
        LeftUnverified: it cannot be verified safe.
        BenchError: a worker of the earlier session is still at work.
    """
    try:
        with bench_lock(bench, what, part="worker", patience=WORKER_LEAVES):
            safed = make_safe(bench)
    except InstrumentError as error:
        raise LeftUnverified(f"the bench cannot be verified safe, so the run does not go on: {error}") from error
    met = ", ".join(f"{name} {state}" for name, state in safed.met.items())
    text = f"the bench was met with {met}; {safed.text}" if met else f"the bench was met at rest; {safed.text}"
    log.write("safed", met=dict(safed.met), text=text)


def _first(bench: Bench | None) -> State:
    """Return the state in which the work on a die begins."""
    return State.MOVING if bench is not None and has_prober(bench) else State.RUNNING


@contextmanager
def _crew(
    prepared: Prepared, going: GoFile, ways: RunOptions, dies: int, log: Runlog, what: str
) -> Iterator[Callable[[Notify], Crew]]:
    """Yield what makes the crew, given the function that takes its messages."""
    kind, _, address = ways.executor.partition("=")
    procedures = prepared.procedures
    if kind:
        if kind != "dask" or not address:
            raise BenchError(f"--executor {ways.executor}: expected dask=ADDRESS, such as dask=tcp://192.0.2.5:8786")
        if prepared.bench is not None:
            raise BenchError(
                f"--executor {ways.executor}: a bench is worked on by the computer that it is connected to"
            )
        from labctl.batch.dask_executor import Dask

        cluster = Dask(address, procedures, going)
        yield lambda tell: Pool(cluster, tell)
        return
    workers = min(ways.workers, dies)
    station = prepared.station
    if station is not None:
        with _bench(station, procedures, going, ways, log, what) as bench:
            yield bench.heard_by
    elif workers <= 1:
        yield lambda tell: Here(procedures, going, tell)
    else:
        yield lambda tell: Pool(Processes(workers, procedures, going), tell)


@contextmanager
def _bench(
    station: Station, procedures: Sequence[Procedure], going: GoFile, ways: RunOptions, log: Runlog, what: str
) -> Iterator[BenchCrew]:
    """Yield the crew of a bench that is open, and leave it safe.

    Raises:
        BenchError: the instruments are others than those of the run.
    """
    before = next((e.body["identities"] for e in reversed(log.state.events) if e.kind == "bench"), None)
    expected = None if ways.accept_changes else before
    crew = BenchCrew(station, procedures, going, ways.ask, what=what, expected=expected)
    crew.say = log.write
    try:
        crew.open()
        if crew.identities != before:
            said = "; ".join(f"{name}: {identity}" for name, identity in crew.identities.items())
            log.write("bench", identities=crew.identities, text=said)
        yield crew
    finally:
        try:
            crew.close()
        finally:
            crew.shut()
            if crew.ledger is not None:
                ways.ledger(*crew.ledger)


def size_of(folder: Path) -> int:
    """Return the bytes of the files of a run."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
