"""The commands at the bench: check, read, pulse, map, switch off, and a twin for other people's programs.

Every command that energises works as `labctl run` does: rehearsed first, behind the limits of the bench file, and
journalled. `check` and `off` need no die; `check` changes nothing, `off` makes the bench safe in every case.
"""

import json
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from labctl.cli.bench_options import BenchFile, connector, read_bench
from labctl.cli.by_hand import map_, pulse, read
from labctl.cli.findings import show_findings
from labctl.cli.options import AsJson, Sim, one_line
from labctl.cli.recording import recording, transcript
from labctl.cli.twin import twin
from labctl.core.errors import BenchError, InstrumentError
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
    record: Annotated[
        Path | None,
        typer.Option("--record", metavar="FILE", help="new file for every message that is sent and received"),
    ] = None,
    sim: Sim = None,
    as_json: AsJson = False,
) -> None:
    """Ask every instrument who it is and what it does: outputs, limits, interlocks, relays, needles. Changes nothing.

    The bench file is checked first: addresses, wiring, limits. Exit code 3 if something needs a person, or if an
    assumption does not hold.
    """
    from instruments.check_bench import check_bench, wired_text
    from instruments.first_day import Verdict
    from instruments.first_day import first_day as findings_of
    from labctl.storage.latch import latch_of
    from labctl.storage.locks import bench_lock

    if settings and not first_day:
        raise BenchError("--settings without --first-day: a plain check sets nothing")

    loaded = read_bench(bench)
    if pin and sim is not None:
        raise BenchError(f"--pin --sim {sim}: the serial numbers of a twin are none; expected the bench file alone")
    latch = latch_of(loaded) if sim is None else None
    asked = {"first_day": first_day, "settings": settings}
    what = "labctl check --settings"
    with (
        bench_lock(loaded, what) if settings and sim is None else nullcontext(),
        connector(loaded, sim) as (connected, direct, clock),
        recording(record, bench, direct, clock, simulated=sim is not None, **asked) as connect,
    ):
        reports = check_bench(connected, connect=connect)
        findings = findings_of(connected, clock=clock, connect=connect, settings=settings) if first_day else []
    screen = console(stderr=as_json)
    screen.print(f"{loaded.name}: {wired_text(loaded)}", markup=False)
    for report in reports:
        identity = report.identity or "does not answer"
        screen.print(f"{report.name} ({report.driver}, {report.resource or 'no wire'}): {identity}", markup=False)
        for line in report.state:
            screen.print(f"    {line}", markup=False)
        for line in report.wrong:
            screen.print(f"    LOOK: {line}", markup=False)
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
    sim: Sim = None,
    as_json: AsJson = False,
) -> None:
    """Switch the bench off: every output to 0 V and off, then every relay open, each read back. The needles stay.

    The run that holds the bench ends with exit code 4, and no output goes on before 'labctl off --release BENCH'.
    Exit code 6 if something is not verified off, or the run does not end: go to the bench.
    """
    loaded = read_bench(bench, to_make_safe=True)
    if release:
        _release(loaded, sim, as_json)
    if sim is not None:
        _off_twin(loaded, sim, as_json)
    from labctl.station.bench_off import switch_off

    screen = console(stderr=True)

    def say(text: str) -> None:
        screen.print(f"{loaded.name}: {text}", markup=False, highlight=False)

    with outliving_the_terminal():
        result = switch_off(loaded, say, reason)
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


def _off_twin(bench: Any, sim: str, as_json: bool) -> NoReturn:
    """Make the twin of a bench safe and leave; a twin has no latch."""
    from instruments.emergency import make_safe

    code = ExitCode.GOOD
    with connector(bench, sim) as (connected, connect, _):
        try:
            text = make_safe(connected, connect=connect).text
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
