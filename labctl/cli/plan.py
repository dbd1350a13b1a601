"""``labctl plan``: print what a campaign would do, before it does anything."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from labctl.cli import options
from labctl.cli.options import AsJson, BenchPath, Bins, CampaignPath, Faults, Only, RetestRun, Seed, Set, Sim
from labctl.station.rehearse import rehearsed
from labctl.terminal.progress import console, quantity


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(plan)


def prepare(
    campaign: Path,
    overrides: list[str] | None,
    seed: int | None,
    bench: Path | None,
    sim: str | None,
    *,
    only: Sequence[str] | None = None,
    pretest: int | None = None,
    faults: str | None = None,
    retest: Path | None = None,
    bins: Sequence[str] | None = None,
) -> tuple[Any, list[Any]]:
    """Return a campaign, or some of its dies, with its rehearsed plans; everything refused is refused here.

    Args:
        retest: an earlier run whose dies are measured again, those in `bins`; its seed counts where none is given.
    """
    from labctl.core.errors import BenchError
    from labctl.station import composition
    from labctl.station.doctor import require_own_names

    require_own_names()
    if sim is not None and sim not in ("bytes", "tcp"):
        raise BenchError(f"--sim {sim}: expected bytes or tcp, together with --bench FILE")
    if sim is not None and bench is None:
        raise BenchError(
            f"--sim {sim} without --bench: the twin is that of a bench; expected --bench FILE too, or neither, for "
            "simulated dies"
        )
    if faults is not None:
        from labctl.station.injected_faults import drawn, refuse

        refuse(faults, bench is not None and sim is None)
    if bins is not None and retest is None:
        raise BenchError(f"--bins {','.join(bins)} without --retest: bins are those of an earlier run; expected both")
    changes = options.overrides(overrides) | ({} if pretest is None else {"batch.pretest": str(pretest)})
    if retest is None:
        spec = composition.read(campaign, changes, seed, bench, sim).some(only)
    else:
        from labctl.station.retest import retested, seed_of

        seed = seed_of(retest) if seed is None and "seed" not in changes else seed
        spec = retested(composition.read(campaign, changes, seed, bench, sim), retest, bins, only)
    spec, plans = rehearsed(spec)
    return (spec, plans) if faults is None else (drawn(spec, plans, faults), plans)


def print_faults(spec: Any, screen: Console, *, each: bool = False) -> None:
    """Print that a night is rehearsed with injected faults, if it is.

    Args:
        each: also what is to happen, when and to what.
    """
    if spec.faults is None:
        return
    from labctl.station.injected_faults import spared

    number = len(spec.faults.faults)
    some = f"{number} drawn" if number else "none drawn by this seed, another one draws others"
    more = "" if each or not number else "; 'labctl plan' with the same words lists them"
    text = f"a rehearsal, and no measurement: {spec.faults.text}, {some}{more}"
    if names := spared(spec.bench):
        text += f"; nothing is injected into {', '.join(names)}, which speaks no lines of text"
    screen.print(text, markup=False, highlight=False, soft_wrap=True)
    for fault in spec.faults.faults if each else ():
        line = f"  {fault.number}. {fault.kind}: {fault.place}, {fault.when}"
        screen.print(line, markup=False, highlight=False, soft_wrap=True)


def print_retest(spec: Any, screen: Console) -> None:
    """Print which dies of an earlier run are measured again, if it is a retest."""
    if spec.retest is not None:
        names = ", ".join(site.name for site in spec.subjects)
        screen.print(f"{spec.retest.text}: {names}", markup=False, highlight=False, soft_wrap=True)


def print_warnings(spec: Any, plans: list[Any], screen: Console) -> list[dict[str, str]]:
    """Print what a campaign is warned of, and return it for JSON."""
    from labctl.station.plan_warnings import warnings_of

    warnings = warnings_of(spec, plans)
    for warning in warnings:
        screen.print(f"warning: {warning}", markup=False, highlight=False)
    return [warning.plain() for warning in warnings]


COLUMNS = ("die", "stage", "operations", "reads", "pulses", "highest", "levels", "bench time", "disk")
MANY = 8
"""More dies than these are planned in one line per stage."""


def _plan_table(spec: Any, plans: list[Any], screen: Console) -> None:
    from labctl.execution.plan import by_stage, total
    from labctl.terminal.progress import Column, counted, duration, print_table

    limits = spec.limits
    lowest = min(limits.v_towards_p, limits.v_towards_ap)
    whole, number = total(plans), len(spec.subjects)
    dies, visited = plans[:number], plans[number:]
    stages = [(p.die, s) for p in dies for s in p.stages]
    if number > MANY:
        stages = [(counted(number, "die"), s) for s in by_stage(dies)]
    stages += [(counted(len(visited), "golden visit"), s) for s in by_stage(visited)]
    rows = [
        (
            die,
            s.stage,
            f"{s.operations:,}",
            f"{s.reads:,}",
            f"{s.pulses:,}",
            quantity(s.v_highest, "V"),
            str(s.levels),
            duration(s.time),
            quantity(s.bytes, "B"),
        )
        for die, s in [*stages, ("all", whole)]
    ]
    worth = {"operations": 0, "levels": 1, "reads": 2, "pulses": 3}
    columns = [Column(name, worth.get(name), right=name not in ("die", "stage")) for name in COLUMNS]
    title = f"{spec.name}: {counted(number, 'die')}, {spec.body}"
    print_table(screen, title, columns, rows, last=True)
    screen.print(
        f"limits: {quantity(limits.v_towards_p, 'V')} towards P, {quantity(limits.v_towards_ap, 'V')} towards AP, "
        f"{quantity(limits.width, 's')} pulses, {quantity(limits.compliance, 'A')} compliance, "
        f"{limits.pulses_per_cell:,} pulses per cell above {quantity(limits.v_count, 'V')}; "
        f"the plan stays {quantity(lowest - whole.v_highest, 'V')} below the lower voltage limit"
    )
    if whole.events:
        text = f"board: {whole.events:,} events, rests among them, and {quantity(whole.link, 'B')} on its link"
        screen.print(f"{text}; {whole.time / 3600:.1f} h")


def beside(spec: Any, dies: int) -> list[Any]:
    """Return what the prober of a run does beside the bench time, each with its text and what is counted of it, s."""
    if spec.bench is None:
        return []
    from instruments.before_a_die import beside_the_plan

    entries, loads = spec.bench.instruments.values(), spec.slot is not None
    return [part for e in entries for part in beside_the_plan(e.options, spec.temperature, loads, dies)]


def plan(
    campaign: CampaignPath,
    set_: Set = None,
    seed: Seed = None,
    as_json: AsJson = False,
    bench: BenchPath = None,
    sim: Sim = None,
    faults: Faults = None,
    only: Only = None,
    retest: RetestRun = None,
    bins: Bins = None,
) -> None:
    """Say what a campaign would do: stages, operations, limits, levels, time, disk. Nothing is energised or written."""
    from labctl.execution.plan import total
    from labctl.terminal.progress import duration

    chosen = options.names(only), options.names(bins, "--bins")
    spec, plans = prepare(
        campaign, set_, seed, bench, sim, faults=faults, only=chosen[0], retest=retest, bins=chosen[1]
    )
    screen = console(stderr=as_json)
    for line in spec.map_drawing:
        screen.print(line, markup=False, highlight=False)
    _plan_table(spec, plans, screen)
    for text in getattr(spec.bench, "pulse_texts", ()):  # of a bench of instruments; a board has its own pulses
        screen.print(text, markup=False, highlight=False, soft_wrap=True)
    if parts := beside(spec, len(plans)):
        seconds = sum(part.seconds for part in parts)
        both = f"; {duration(seconds)} are counted, {duration(seconds + total(plans).time)} with the bench time"
        text = f"beside the bench time: {'; '.join(part.text for part in parts)}{both if seconds else ''}"
        screen.print(text, markup=False, highlight=False, soft_wrap=True)
    print_faults(spec, screen, each=True)
    print_retest(spec, screen)
    warnings = print_warnings(spec, plans, screen)
    if as_json:
        stages = [{"die": p.die, **vars(s)} for p in plans for s in p.stages]
        answer = {"campaign": spec.name, "stages": stages, "total": vars(total(plans))}
        if spec.retest is not None:
            answer["retest"] = spec.retest.plain()
        if spec.faults is not None:
            answer["faults"] = spec.faults.plain()
        print(json.dumps({**answer, "beside": [vars(part) for part in parts], "warnings": warnings}))
