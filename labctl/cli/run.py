"""The commands of runs: run a campaign, resume a run, ask a run to stop or to skip a die."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from labctl.cli.options import (
    AcceptPlace,
    AsJson,
    BenchPath,
    Bins,
    CampaignPath,
    Executor,
    Faults,
    Only,
    Reason,
    RetestRun,
    RunFolder,
    Seed,
    Set,
    Sim,
    Workers,
    command_line,
    default_workers,
    names,
)
from labctl.cli.plan import prepare, print_faults, print_retest, print_warnings
from labctl.core.errors import BenchError
from labctl.station.rehearse import rehearsed
from labctl.terminal.progress import console, quantity


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(run)
    for command in (resume, stop, skip):
        app.command(command.__name__, rich_help_panel="Overnight")(command)


def run(
    campaign: CampaignPath,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="new folder of the run (default: runs/TIME-NAME)")
    ] = None,
    seed: Seed = None,
    set_: Set = None,
    as_json: AsJson = False,
    workers: Workers = None,
    plot: Annotated[bool, typer.Option("--plot", help="also draw the pictures of 'show --plot'")] = False,
    bench: BenchPath = None,
    sim: Sim = None,
    only: Only = None,
    pretest: Annotated[
        int | None, typer.Option("--pretest", metavar="N", min=1, help="N dies first, spread over the wafer")
    ] = None,
    executor: Executor = "",
    accept_place: AcceptPlace = False,
    faults: Faults = None,
    retest: RetestRun = None,
    bins: Bins = None,
) -> None:
    """Run a campaign on simulated dies, or with --bench on a bench: plan, carry out, seal in HDF5, print the figures.

    Example: labctl run examples/wine-passive.yaml --out runs/first --seed 7

    Measure again what failed: labctl run overnight.yaml --retest runs/night --bins contact,weak

    Rehearse a night: labctl run overnight.yaml --bench bench.yaml --sim bytes --faults typical --seed 7
    """
    from labctl.batch import session
    from labctl.execution.plan import total
    from labctl.station import run_folder
    from labctl.terminal.progress import counted, duration

    start, screen = time.monotonic(), console(stderr=True)
    again, chosen = names(bins, "--bins"), names(only)
    spec, plans = prepare(
        campaign, set_, seed, bench, sim, only=chosen, pretest=pretest, faults=faults, retest=retest, bins=again
    )
    folder = out or run_folder.default_folder(spec)
    run_folder.refuse_existing(folder, [site.name for site in spec.subjects])
    whole = total(plans)
    screen.print(
        f"{spec.name}: {counted(len(spec.subjects), 'die')}, {whole.reads:,} reads and "
        f"{whole.pulses:,} pulses, predicted bench time {duration(whole.time)}, about {quantity(whole.bytes, 'B')} "
        f"on disk, into {folder}",
        highlight=False,
    )
    print_faults(spec, screen)
    print_retest(spec, screen)
    warnings = print_warnings(spec, plans, screen)
    with _options(plans, workers, executor, screen, accept_place) as options:
        ending, state = session.start(folder, spec, plans, command_line(), options)
    _conclude(folder, ending, state, start, plot, as_json, warnings)


def resume(
    run: RunFolder,
    only: Only = None,
    reason: Reason = "",
    accept: Annotated[
        bool, typer.Option("--accept-changes", help="go on although files, code or libraries have changed since")
    ] = False,
    as_json: AsJson = False,
    workers: Workers = None,
    executor: Executor = "",
    accept_place: AcceptPlace = False,
) -> None:
    """Go on with a run that was stopped, broken off or killed: in the middle of a die, and with the dies left over.

    It goes on with the files it was started with, which its folder has kept.
    """
    from labctl.batch import resume as resuming
    from labctl.batch import session
    from labctl.report.bench_state import bench_text_of
    from labctl.terminal.progress import counted

    start, screen, chosen = time.monotonic(), console(stderr=True), names(only)
    state = resuming.state_of(run)
    if resuming.only_files_missing(state) and not chosen:
        _finish_files(run, state, start, as_json)
    left = resuming.to_do(state, run, chosen)
    spec = resuming.read(run, state.meta)
    changes = resuming.changes(state.meta, spec)
    if changes and not accept:
        raise BenchError(
            f"since {run} was started, {'; '.join(changes)}. It would go on as it was started; if that is what you "
            "want, say --accept-changes"
        )
    spec, plans = rehearsed(spec)
    print_faults(spec, screen)
    plans = [p for p in plans if p.die in left or "@" in p.die]
    screen.print(f"{run} goes on: {counted(len(left), 'die')} left to do", markup=False, highlight=False)
    if bench := bench_text_of(run):
        screen.print(f"{bench}; before the run goes on it is made safe again", markup=False, highlight=False)
    with _options(plans, workers, executor, screen, accept_place, accept) as options:
        ending, state = session.resume(
            run, spec, plans, command_line(), options, only=chosen, reason=reason, accepted=changes
        )
    _conclude(run, ending, state, start, False, as_json)


def _finish_files(run: Path, state: Any, start: float, as_json: bool) -> None:
    """Write run file and report of a run that was killed after its end, and leave; return if there is nothing to write.

    No die and no bench is touched.
    """
    from labctl.batch.exit_status import Ending
    from labctl.report.run_folder import is_reported
    from labctl.storage.locks import hold
    from labctl.storage.private import rights_of
    from labctl.storage.sealing import write_run_file_in_subprocess

    indexed = (run / "run.h5").is_file()
    if indexed and is_reported(run, state):
        return
    console(stderr=True).print(f"{run} has ended; its files are finished", markup=False, highlight=False)
    with hold(run, f"labctl resume {run}"), rights_of(run):
        if not indexed:
            write_run_file_in_subprocess(run)
        _conclude(run, Ending(state.exit_code, state.reason), state, start, False, as_json)


def stop(run: RunFolder, reason: Reason = "") -> None:
    """Ask a run that goes on to end at its next safe point; what was measured is sealed, and it can be resumed.

    One on which nobody works is refused, and nothing is left for the next resume.
    """
    from labctl.batch.requests import Answer, Request, ask_and_wait, whoami
    from labctl.core.events import RequestKind

    _refuse_by_hand(run)
    answer = ask_and_wait(run, Request(RequestKind.STOP, by=whoami(), reason=reason))
    if answer is Answer.BUSY:
        raise BenchError(f"{run} {_BUSY}")
    if answer is Answer.NOBODY:
        raise BenchError(f"nobody works on {run}, so there is nothing to stop: {_how_it_ended(run)}")
    if answer is Answer.ENDED:
        _print(f"{run} has ended before it was stopped: {_how_it_ended(run)}")
    else:
        _print(f"{run} is asked to stop{_LATER if answer is Answer.WAITING else ''}; see: labctl watch {run}")


def skip(
    run: RunFolder,
    die: Annotated[str, typer.Argument(metavar="DIE", help="name of the die")],
    reason: Reason = "",
) -> None:
    """Ask a run that goes on to leave a die out, or to leave it at its next safe point.

    One on which nobody works is refused, and nothing is left for the next resume.
    """
    from labctl.batch.requests import Answer, Request, ask_and_wait, whoami
    from labctl.core.die_state import FINAL
    from labctl.core.events import RequestKind
    from labctl.storage.run_log import read_state

    _refuse_by_hand(run)
    dies = read_state(run).dies
    if die not in dies:
        raise BenchError(f"{run} has no die {die}; it has {', '.join(dies)}")
    if dies[die].state in FINAL:
        raise BenchError(f"die {die} is final in {run}: {dies[die].state}")
    answer = ask_and_wait(run, Request(RequestKind.SKIP, die, whoami(), reason))
    if answer is Answer.BUSY:
        raise BenchError(f"{run} {_BUSY}")
    if answer in (Answer.NOBODY, Answer.ENDED):
        raise BenchError(f"nobody works on {run}, so no die is skipped: {_how_it_ended(run)}")
    _print(f"{run} is asked to skip {die}{_LATER if answer is Answer.WAITING else ''}; see: labctl watch {run}")


_BUSY = "is just being started or brought to its end, and takes no requests; ask again in a moment"
_LATER = ", and takes that up at its next safe point"


def _print(text: str) -> None:
    console(stderr=True).print(text, markup=False, highlight=False)


def _refuse_by_hand(run: Path) -> None:
    """Raise BenchError if a run was made by hand: it takes no requests, and is begun again and not resumed."""
    from labctl.batch.resume import repeating
    from labctl.report.bench_state import bench_text_of
    from labctl.storage.manifest import run_meta

    if command := repeating(run_meta(run)):
        bench = bench_text_of(run)
        raise BenchError(
            f"{run} was made by hand and takes no requests: ^C in its own terminal ends it; "
            f"{bench}{bench and '; '}if it was broken off, give the command again: {command}"
        )


def _how_it_ended(run: Path) -> str:
    """Return how a run ended that nobody works on, for the operator."""
    from labctl.report.bench_state import bench_text_of
    from labctl.storage.run_log import read_state

    state = read_state(run)
    if state.exit_code is None:
        bench = bench_text_of(run)
        return f"it was broken off{bench and '; '}{bench}; labctl resume {run} goes on with it"
    reason = f": {state.reason}" if state.reason else ""
    return f"it ended with {state.outcome} and exit code {state.exit_code}{reason}"


@contextmanager
def _options(
    plans: Sequence[Any],
    workers: int | None,
    executor: str,
    screen: Console,
    accept_place: bool,
    accept_changes: bool = False,
) -> Iterator[Any]:
    """Yield the options of a session, with its progress on the screen."""
    from labctl.batch.session import RunOptions
    from labctl.terminal.progress import Display

    with Display({p.die: p.patterns for p in plans if "@" not in p.die}) as display:
        yield RunOptions(
            workers or default_workers(sum(p.patterns for p in plans)),
            executor,
            display.notify,
            display.say,
            _ask,
            _type_in,
            lambda ledger, now: _print_ledger(ledger, now, screen),
            accept_place,
            accept_changes,
        )


def _conclude(
    folder: Path,
    ending: Any,
    state: Any,
    start: float,
    plot: bool,
    as_json: bool,
    warnings: Sequence[Mapping[str, str]] = (),
) -> NoReturn:
    """Print how a session ended and the figures of the dies, and leave with its exit code.

    Args:
        warnings: what the run was warned of before it began, for JSON.
    """
    from labctl.report import pictures, summary
    from labctl.report.drawings import Drawings
    from labctl.report.subprocess_call import report_apart
    from labctl.terminal.progress import duration

    screen = console(stderr=True)
    with ThreadPoolExecutor(1) as aside:
        page = aside.submit(report_apart, folder)
        for die in state.dies.values():
            if die.reason:
                screen.print(f"{die.name}: {die.state}: {die.reason}", markup=False, highlight=False)
        summary.show(folder, console(stderr=as_json))
        if plot:
            for picture in pictures.plot(folder, drawings := Drawings()):
                screen.print(f"drawn: {picture}", highlight=False)
            for failure in drawings.failures:
                screen.print(failure, highlight=False, markup=False)
        missing = page.result()
    reason = f": {ending.text}" if ending.text else ""
    took = duration(time.monotonic() - start)
    more = f"labctl resume {folder}" if state.unfinished else f"labctl show {folder}"
    screen.print(f"{ending.status.value} in {took}{reason}; {more}", highlight=False, markup=False)
    where = f"there is no report: {missing}" if missing else f"report: {folder / 'report.html'}"
    screen.print(where, highlight=False, markup=False)
    if as_json:
        print(json.dumps({**summary.summary(folder, ending.status.value, ending.code), "warnings": list(warnings)}))
    raise typer.Exit(ending.code)


def _ask(question: str) -> bool:
    """Put a question to the operator at the bench."""
    return typer.confirm(question)


def _type_in(question: str) -> str:
    """Have the operator at the bench type or scan something."""
    answer: str = typer.prompt(question, default="", show_default=False)
    return answer


def _print_ledger(ledger: Any, now: float, screen: Console) -> None:
    """Print what the emulated instruments did to the dies."""
    from labctl.terminal.progress import duration

    screen.print(
        f"twin: {duration(now)} on its clock, {ledger.messages:,} messages, {ledger.relay_operations:,} "
        f"relay operations, peak cell voltage {quantity(ledger.peak_cell_voltage, 'V')}, {ledger.hot_switches} hot "
        f"switches, {ledger.moves_in_contact} moves in contact, {ledger.fights} source fights"
    )
