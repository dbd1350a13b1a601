"""The commands at the bench: check, read, pulse, map, switch off, and a twin for other people's programs.

Every command that energises works as `labctl run` does: rehearsed first, behind the limits of the bench file, and
journalled. `check` and `off` need no die; `check` changes nothing, `off` makes the bench safe in every case.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from labctl.cli.bench_options import BenchFile, connector, read_bench
from labctl.cli.by_hand import map_, pulse, read
from labctl.cli.findings import show_findings
from labctl.cli.options import AsJson, Sim, one_line
from labctl.cli.recording import Record, Through, recording, transcript
from labctl.cli.twin import twin
from labctl.core.errors import BenchError, InstrumentError, LabError
from labctl.core.exit_codes import ExitCode
from labctl.terminal.progress import console
from labctl.terminal.signals import outliving_the_terminal


def register(app: typer.Typer) -> None:
    """Add the commands of the bench to the command line."""
    for command in (check, read, pulse, map_, off, twin, transcript):
        app.command(command.__name__.rstrip("_"), rich_help_panel="At the bench")(command)


def check(
    bench: BenchFile,
    pin: Annotated[
        bool, typer.Option("--pin", help="write the serial numbers that answer into the bench file, where none is yet")
    ] = False,
    first_day: Annotated[
        bool, typer.Option("--first-day", help="check what is assumed of these instruments, as far as queries tell")
    ] = False,
    settings: Annotated[
        bool, typer.Option("--settings", help="with --first-day: also checks that set something; nothing moves")
    ] = False,
    energise: Annotated[
        bool,
        typer.Option("--energise", help="with --first-day: also checks with outputs on, needles up; asks before"),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="with --energise: do not ask")] = False,
    record: Record = None,
    sim: Sim = None,
    as_json: AsJson = False,
) -> None:
    """Ask every instrument who it is and what it does: outputs, limits, interlocks, relays, needles. Changes nothing.

    The bench file is checked first: addresses, wiring, limits. Only --settings and --energise do more. Exit code 3 if
    something needs a person, or if an assumption does not hold.
    """
    from instruments.check_bench import check_bench, wired_text
    from instruments.first_day import Verdict
    from instruments.first_day import first_day as findings_of
    from instruments.visa import SUCH_AS, misspelt_resource
    from labctl.core.transport import THROUGH
    from labctl.station import energise as station
    from labctl.storage.bench_locks import bench_lock
    from labctl.storage.latch import latch_of

    if settings and not first_day:
        raise BenchError("--settings without --first-day: a plain check sets nothing")
    if energise and not first_day:
        raise BenchError("--energise without --first-day: a plain check switches no output on")
    if yes and not energise:
        raise BenchError("--yes without --energise: nothing else asks")

    loaded, real = read_bench(bench), sim is None
    if pin and not real:
        raise BenchError(f"--pin --sim {sim}: the serial numbers of a twin are none; expected the bench file alone")
    if energise:
        _confirm_outputs(loaded, yes)
    latch = latch_of(loaded) if real else None
    warn = partial(console(stderr=True).print, markup=False)
    asked = {"first_day": first_day, "settings": settings, "energise": energise}
    with ExitStack() as held:
        if energise and real:
            held.enter_context(station.held(loaded, bench, "labctl check --energise", warn))
        elif settings and real:
            held.enter_context(bench_lock(loaded, "labctl check --settings"))
        at = held.enter_context(connector(loaded, sim, needles_up=energise))
        through = held.enter_context(
            recording(record, "check", bench, simulated=not real, clock=at.clock, options=asked)
        )
        connect = through(at.connect)
        reports = check_bench(at.bench, connect=connect)
        findings = []
        if first_day:
            findings = findings_of(at.bench, clock=at.clock, connect=connect, settings=settings, energise=energise)
        if energise:
            ask = typer.confirm if real and not yes else lambda text: False
            energised = station.energise(at.bench, connect=connect, clock=at.clock, wait=at.wait, ask=ask, real=real)
            findings = [*energised, *findings]
    screen = console(stderr=as_json)
    screen.print(f"{loaded.name}: {wired_text(loaded)}", markup=False)
    for report in reports:
        identity = report.identity or "does not answer"
        screen.print(f"{report.name} ({report.driver}, {report.resource or 'no wire'}): {identity}", markup=False)
        if report.reached:
            screen.print(f"    reached by {report.reached}", markup=False)
        for line in report.state:
            screen.print(f"    {line}", markup=False)
        for line in report.wrong:
            screen.print(f"    LOOK: {line}", markup=False)
        for part in report.resource.split(THROUGH) if report.resource and not real else ():
            if why := misspelt_resource(part):
                screen.print(f"    warning: no VISA address ({why}); expected one such as {SUCH_AS}", markup=False)
    if pin:
        from labctl.station.pin import pin_serials

        for line in pin_serials(bench, loaded, {report.name: report.identity for report in reports}):
            screen.print(line, markup=False)
    if latch is not None:
        screen.print(f"LOOK: {latch}; released by: labctl off --release {bench}", markup=False)
    if first_day:
        show_findings(findings, screen)
    wrong = any(report.wrong for report in reports) or any(one.verdict is Verdict.FAILS for one in findings)
    code = ExitCode.STOPPED if latch is not None or wrong else ExitCode.GOOD
    if as_json:
        outcome = {"bench": loaded.name, "exit": code, "latch": _as_json(latch)}
        assumed = {"assumptions": [asdict(one) for one in findings]} if first_day else {}
        print(json.dumps({**outcome, "instruments": [asdict(report) for report in reports], **assumed}))
    raise typer.Exit(code)


def off(
    bench: BenchFile,
    reason: Annotated[
        str,
        typer.Option("--reason", metavar="TEXT", help="why; shown to all who are refused the bench", callback=one_line),
    ] = "",
    release: Annotated[
        bool, typer.Option("--release", help="let outputs go on again: take away what an earlier 'off' has set")
    ] = False,
    record: Record = None,
    sim: Sim = None,
    as_json: AsJson = False,
) -> None:
    """Switch the bench off: every output to 0 V and off, then every relay open, each read back. The needles stay.

    The run that holds the bench ends with exit code 4, and no output goes on before 'labctl off --release BENCH'.
    Exit code 6 if something is not verified off, or the run does not end: go to the bench.
    """
    loaded = read_bench(bench, to_make_safe=True)
    if release:
        if record is not None:
            raise BenchError(f"--record {record} --release: no instrument is asked; expected one of the two")
        _release(loaded, sim, as_json)
    screen = console(stderr=True)

    def say(text: str) -> None:
        screen.print(f"{loaded.name}: {text}", markup=False, highlight=False)

    if sim is not None:
        _off_twin(loaded, sim, as_json, _recorded_if_it_can_be(record, bench, say, simulated=True))
    from labctl.station.bench_off import switch_off

    with outliving_the_terminal(), _recorded_if_it_can_be(record, bench, say, simulated=False) as through:
        result = switch_off(loaded, say, reason, connect=through(None))
    say(result.text)
    if result.latch is not None:
        say(f"switched off until: labctl off --release {bench}")
    else:
        say(f"NOTHING KEEPS IT OFF, a run that is started now would switch outputs on: {result.unlatched}")
    if as_json:
        held = [asdict(holder) for holder in result.held]
        safe = result.safe and result.gone
        outcome = {"bench": loaded.name, "safe": safe, "text": result.text, "exit": result.exit_code}
        print(json.dumps({**outcome, "latch": _as_json(result.latch), "unlatched": result.unlatched, "held": held}))
    raise typer.Exit(result.exit_code)


def _confirm_outputs(bench: Any, yes: bool) -> None:
    """Say which outputs will go on and how far, and ask whether they may; BenchError unless that is answered by yes."""
    from instruments.energised_checks import plan_text
    from labctl.station.energise import require_sources

    text = plan_text(require_sources(bench))
    console(stderr=True).print(f"{bench.name}: {text}", markup=False)
    if yes:
        return
    if not sys.stdin.isatty():
        raise BenchError("--energise asks before an output goes on, and there is no terminal; expected --yes")
    if not typer.confirm("Are the needles up, or is no die under them, and may outputs go on?", err=True):
        raise BenchError("--energise: not confirmed; no output went on")


@contextmanager
def _recorded_if_it_can_be(
    path: Path | None, bench: Path, say: Callable[[str], None], *, simulated: bool
) -> Iterator[Through]:
    """Yield what records; a file that cannot be recorded in is said, and keeps nothing from being switched off."""
    with ExitStack() as stack:
        try:
            through = stack.enter_context(recording(path, "off", bench, simulated=simulated))
        except LabError as error:
            say(f"not recorded: {error}")
            through = _as_it_is
        yield through
        try:
            stack.close()
        except LabError as error:
            say(f"not recorded to the end: {error}")


def _as_it_is(connect: Any) -> Any:
    return connect


def _off_twin(bench: Any, sim: str, as_json: bool, recorder: AbstractContextManager[Through]) -> NoReturn:
    """Make the twin of a bench safe and leave; a twin has no latch."""
    from instruments.emergency import make_safe

    code = ExitCode.GOOD
    with connector(bench, sim) as at, recorder as through:
        try:
            text = make_safe(at.bench, connect=through(at.connect)).text
        except InstrumentError as error:
            code, text = ExitCode.NOT_OFF, str(error)
    console(stderr=True).print(f"{bench.name}: {text}", markup=False)
    if as_json:
        safe = code is ExitCode.GOOD
        print(json.dumps({"bench": bench.name, "safe": safe, "text": text, "exit": code, "latch": None}))
    raise typer.Exit(code)


def _release(bench: Any, sim: str | None, as_json: bool) -> NoReturn:
    """Remove the latch of a bench, say who had set it, and leave; no instrument is touched."""
    from labctl.storage.latch import release_latch

    if sim is not None:
        raise BenchError(f"--release --sim {sim}: a twin is never switched off; expected the bench file alone")
    released = release_latch(bench)
    text = "; ".join(f"released, it was {latch}" for latch in released) or "it was not switched off; nothing is changed"
    console(stderr=True).print(f"{bench.name}: {text}", markup=False, highlight=False)
    if as_json:
        latches = [_as_json(latch) for latch in released]
        print(json.dumps({"bench": bench.name, "released": latches, "exit": ExitCode.GOOD}))
    raise typer.Exit(ExitCode.GOOD)


def _as_json(latch: Any) -> dict[str, Any] | None:
    """Return a latch as `--json` carries it: who, host, pid, when in s UTC since 1970, why; None if there is none."""
    return None if latch is None else asdict(latch)
