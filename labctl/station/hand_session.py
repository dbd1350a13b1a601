"""Work by hand on the die under the needles: an action is rehearsed, then carried out in a session.

The limits are those of the bench file, because there is no campaign file.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from instruments.bench_file import read_bench
from instruments.board_bench import AnyBench, BoardBench
from instruments.drivers import Connect
from instruments.manual_prober import Ask
from labctl import files
from labctl.core.body import Body
from labctl.core.driver import Wire
from labctl.core.errors import BenchError
from labctl.core.limits import Limits
from labctl.core.outcome import Outcome
from labctl.core.procedure import Procedure
from labctl.core.site import Site
from labctl.core.units import Volt
from labctl.execution import plan
from labctl.execution.session import Session
from labctl.execution.stop import Stop
from labctl.station import bench_setup, run_folder
from labctl.station.bench_guard import BenchGuard
from labctl.station.bench_setup import Through, as_it_is
from labctl.station.declared_figures import described
from labctl.station.doctor import require_own_names
from labctl.station.jobs import jobs_of
from labctl.station.rehearse import predictor
from labctl.station.run_spec import RunKind, RunSpec, command_of
from labctl.station.simulated import Simulated
from labctl.storage.bench_locks import bench_lock
from labctl.storage.latch import refuse_latched, switched_off
from labctl.storage.locks import hold
from labctl.storage.private import rights_of
from labctl.storage.sealing import write_run_file_in_subprocess
from labctl.terminal.signals import asked_to_stop
from sim_backend.description import DieDescription

DIE = "die"
"""Name of the die under the needles, which nobody names by hand."""
V_COUNT: Volt = 0.35
"""A pulse counts for every cell that sees more than this; project default, as in the example campaign."""
PULSES_PER_CELL = 100
"""Pulses that one command may give to one cell."""


def bench_limits(bench: AnyBench) -> Limits:
    """Return the limits of a bench file as those of a run."""
    own = bench.limits
    return Limits(
        v_towards_p=own.v_towards_p,
        v_towards_ap=own.v_towards_ap,
        width=own.width,
        compliance=own.compliance,
        v_gate=own.v_gate,
        v_count=V_COUNT,
        pulses_per_cell=PULSES_PER_CELL,
    )


def prepare(bench: Path, die: Path, action: Procedure, sim: str | None, seed: int, asked: str = "") -> RunSpec:
    """Read the files and rehearse `action`, before anything is energised; return the session as a run of one die.

    Args:
        asked: what the operator typed of it, for messages.

    Raises:
        BenchError: a file is wrong, or the bench cannot carry out the action.
        LimitError: the action exceeds the bench's limits.
    """
    require_own_names()
    with files.through(files.Door()) as door:
        loaded_bench, loaded_die = read_bench(bench), files.read(die, DieDescription)
    roles = {"bench": files.absolute(bench, files.here()), "die": files.absolute(die, files.here())}
    spec = RunSpec(
        RunKind.BY_HAND,
        action.name,
        seed,
        bench_limits(loaded_bench.value),
        (Site(DIE, loaded_die.value, seed),),
        (),
        roles,
        dict(door.kept),
        bench=loaded_bench.value,
        sim=sim,
        declared=described([action]),
    )
    # there is no stage and no name of a die that anybody has given
    within = f"{asked}, within the limits of {bench}".removeprefix(", ")
    plan.rehearse(DIE, predictor(spec, spec.subjects[0]), spec.limits, [action], places=[lambda _: within])
    return replace(spec, title=f"by hand on {spec.body}")


def require_text(spec: RunSpec) -> None:
    """Raise BenchError unless all that is said to the instruments can be recorded: lines of text over a wire."""
    bench = spec.bench
    assert bench is not None, "work by hand names a bench"
    wordless = [name for name, entry in bench.instruments.items() if entry.declaration.wire in (Wire.BINARY, Wire.NONE)]
    if isinstance(bench, BoardBench) and not spec.real:
        wordless = list(bench.instruments)
    if wordless:
        raise BenchError(f"--record: {', '.join(wordless)}: not told by lines of text over a wire; expected those only")


@contextmanager
def opened(
    spec: RunSpec,
    folder: Path | None,
    argv: Sequence[str],
    ask: Ask,
    say: Callable[[str], None] = lambda text: None,
    *,
    through: Through = as_it_is,
) -> Iterator[Session]:
    """Yield a session on the die of `spec`, not yet begun, while the block lasts; the run folder is finished after it.

    Args:
        say: called with a text for the operator: the guard of the bench has died.
        through: makes the function that connects to an instrument another one, which records.

    Raises:
        BenchError: the bench is held, is switched off, or has an output on; no folder was made.
        StorageError: the folder cannot be made.
        LabError: the bench cannot be opened.
    """
    folder = folder or Path("runs") / f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}-{spec.name.replace('_', '-')}"
    run_folder.refuse_existing(folder)
    real, bench = spec.real, spec.bench
    with ExitStack() as at_last, ExitStack() as stack:
        given: AbstractContextManager[Body] = nullcontext(Simulated())
        if bench is not None:
            stack.enter_context(_held(spec, bench, argv) if real else nullcontext())
            given = bench_setup.on_bench(
                bench, list(spec.subjects), spec.sim, ask=ask if real else None, by_hand=True, through=through
            )
        until_left = stack.enter_context(ExitStack())
        body = stack.enter_context(given)
        (job,) = jobs_of(spec, folder, run_folder.make_folder(folder, spec, argv))
        at_last.callback(write_run_file_in_subprocess, folder)  # however the block ends
        until_left.enter_context(hold(folder, _what(argv)))
        guard = BenchGuard(folder, run_folder.bench_copy(folder), say) if real else None
        until_left.enter_context(guard or nullcontext())
        stopping = threading.Event()
        off = (lambda: None) if real is None else partial(switched_off, real)

        def reason() -> str | None:
            if guard is not None:
                guard.check()
            return "stopped by the operator" if stopping.is_set() else None

        stop = Stop(reason, off)

        def hurry() -> None:
            if stop.interruptible:
                raise KeyboardInterrupt

        with rights_of(folder), asked_to_stop(stopping.set, hurry):
            yield Session(job, body, stop)


def carry_out(
    spec: RunSpec,
    action: Procedure,
    folder: Path | None,
    argv: Sequence[str],
    ask: Ask,
    say: Callable[[str], None] = lambda text: None,
    *,
    through: Through = as_it_is,
) -> tuple[Path, Outcome]:
    """Carry the action out in a session; return the folder of the run, and how the session ended.

    Args:
        say: called with a text for the operator: the guard of the bench has died, or no contact structure conducts.
        through: makes the function that connects to an instrument another one, which records.

    Raises:
        BenchError: the bench is held, is switched off, or has an output on; no folder was made.
        StorageError: the folder cannot be made.
        LabError: the bench cannot be opened.
    """
    with opened(spec, folder, argv, ask, say, through=through) as session:
        _act(session, action, say)
    assert session.outcome is not None, "it has ended"
    return session.job.folder, session.outcome


def replay(spec: RunSpec, action: Procedure, folder: Path, connect: Connect) -> None:
    """Carry the action out on instruments that are recorded replies, in a new folder; it is judged by the replies.

    Raises:
        LabError: the bench cannot be opened, as it could not be when it was recorded, or by other drivers.
    """
    assert spec.bench is not None, "work by hand names a bench"
    subject = spec.subjects[0]
    with bench_setup.on_replies(spec.bench, subject, connect, simulated=not spec.real) as body:
        (job,) = jobs_of(spec, folder, run_folder.make_folder(folder, spec, ["labctl"]))
        _act(Session(job, body), action, lambda text: None)


def _act(session: Session, action: Procedure, say: Callable[[str], None]) -> None:
    """Carry the action out in a session; what ends it early is in its outcome, and raised if it has none."""
    try:
        with session:
            if open_structures := session.notes.get("no_contact"):
                say(f"{open_structures}. What is read is no proof that the needles touch")
            for record in action.run(session.die, session.history):
                session.record(record)
    except (KeyboardInterrupt, Exception):
        if session.outcome is None:
            raise


@contextmanager
def _held(spec: RunSpec, bench: AnyBench, argv: Sequence[str]) -> Iterator[None]:
    """Hold the locks of a bench, of its run and of its worker, while the block lasts.

    Raises:
        BenchError: its latch is set, or another process holds one of its instruments.
    """
    refuse_latched(bench, spec.roles["bench"])
    with bench_lock(bench, _what(argv)), bench_lock(bench, _what(argv), part="worker", patience=5.0):
        yield


def _what(argv: Sequence[str]) -> str:
    """Return the command line, shown to all who are refused the bench meanwhile."""
    return command_of(argv)
