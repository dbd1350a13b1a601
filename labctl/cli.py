"""The command line: the composition root, and the words in which the suite talks to an operator."""

import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from pydantic import BaseModel
from rich.console import Console

from labctl import cli_bench
from labctl.core.errors import LabError
from labctl.export import cli as export_cli
from labctl.morning import cli as cli_morning
from labctl.progress import console
from labctl.reproduce import cli as cli_reproduce

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="""Run write-verify and inference on magnetic tunnel junction dies.

    Start with [bold]labctl plan CAMPAIGN[/bold] to see what a campaign would do, then [bold]labctl run CAMPAIGN[/bold],
    then [bold]labctl show RUN[/bold]. Without a bench file everything happens on a simulated die.
    """,
    epilog="Exit codes: 0 all good, 1 finished with failed dies, 2 refused before the start, 3 stopped by a limit, "
    "4 stopped by the operator, 5 storage, 6 outputs not verified off, 70 a bug of ours.",
)

OUTCOMES = {2: "refused", 3: "abort", 4: "abort", 5: "fail", 6: "fail", 70: "fail"}
"""What an exit code means, where a run did not come to its end."""


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(version("mtj-labctl"))
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version and leave")
    ] = False,
) -> None:
    pass


Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="change a value of the campaign file, e.g. stages.0.survey.v_read='80 mV'",
    ),
]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="end with one line of JSON on standard output; all else is on standard error"),
]
Seed = Annotated[
    int | None, typer.Option(metavar="N", min=0, help="seed of the simulated world [default: the campaign's]")
]
BenchPath = Annotated[
    Path | None, typer.Option("--bench", metavar="FILE", help="bench file: the real bench, unless --sim is given too")
]
Sim = Annotated[
    str | None,
    typer.Option("--sim", metavar="bytes|tcp", help="the twin of the bench: in this process, or on sockets"),
]
CampaignPath = Annotated[Path, typer.Argument(metavar="CAMPAIGN", help="campaign file (YAML)")]


def _overrides(pairs: list[str] | None) -> dict[str, str]:
    from labctl.core.errors import BenchError

    found = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise BenchError(f"--set {pair}: expected key=value")
        found[key.strip()] = value
    return found


def _quantity(value: float, unit: str) -> str:
    for factor, prefix in (
        (1e12, "T"),
        (1e9, "G"),
        (1e6, "M"),
        (1e3, "k"),
        (1, ""),
        (1e-3, "m"),
        (1e-6, "u"),
        (1e-9, "n"),
    ):
        if abs(value) >= factor * 0.9999:
            return f"{value / factor:.4g} {prefix}{unit}"
    return f"{value:.4g} {unit}"


def _prepare(
    campaign: Path, overrides: list[str] | None, seed: int | None, bench: Path | None, sim: str | None
) -> tuple[Any, list[Any]]:
    """Read and rehearse a campaign; whatever is refused here is refused before the start."""
    from labctl import compose, plan
    from labctl.core.errors import BenchError
    from labctl.doctor import require_own_names

    require_own_names()
    if sim is not None and (bench is None or sim not in ("bytes", "tcp")):
        raise BenchError(f"--sim {sim}: expected bytes or tcp, together with --bench FILE")
    prepared = compose.read(campaign, _overrides(overrides), seed, bench, sim)
    plans: list[plan.DiePlan] = []
    alike: dict[Any, plan.DiePlan] = {}
    for s in prepared.subjects:
        if s.alike not in alike:
            procedures = prepared.procedures_for(s)
            alike[s.alike] = plan.rehearse(s.name, prepared.predictor(s), prepared.campaign.limits, procedures)
        plans.append(plan.DiePlan(s.name, alike[s.alike].stages))
    return prepared, plans


_PLAN = ("die", "stage", "operations", "reads", "pulses", "highest", "levels", "bench time", "disk")
MANY = 8
"""More dies than these are planned in one line per stage."""


def _plan_table(prepared: Any, plans: list[Any], screen: Console) -> None:
    from labctl.plan import by_stage, total
    from labctl.progress import Column, counted, duration, print_table

    limits = prepared.campaign.limits
    lowest = min(limits.v_towards_p, limits.v_towards_ap)
    whole = total(plans)
    said = [(p.die, s) for p in plans for s in p.stages]
    if len(plans) > MANY:
        said = [(counted(len(plans), "die"), s) for s in by_stage(plans)]
    rows = [
        (
            die,
            s.stage,
            f"{s.operations:,}",
            f"{s.reads:,}",
            f"{s.pulses:,}",
            _quantity(s.v_highest, "V"),
            str(s.levels),
            duration(s.time),
            _quantity(s.bytes, "B"),
        )
        for die, s in [*said, ("all", whole)]
    ]
    worth = {"operations": 0, "levels": 1, "reads": 2, "pulses": 3}
    columns = [Column(name, worth.get(name), right=name not in ("die", "stage")) for name in _PLAN]
    title = f"{prepared.campaign.name}: {counted(len(plans), 'die')}, {prepared.body}"
    print_table(screen, title, columns, rows, last=True)
    screen.print(
        f"limits: {_quantity(limits.v_towards_p, 'V')} towards P, {_quantity(limits.v_towards_ap, 'V')} towards AP, "
        f"{_quantity(limits.width, 's')} pulses, {_quantity(limits.compliance, 'A')} compliance, "
        f"{limits.pulses_per_cell:,} pulses per cell above {_quantity(limits.v_count, 'V')}; "
        f"the plan stays {_quantity(lowest - whole.v_highest, 'V')} below the lower voltage limit"
    )


@app.command()
def plan(
    campaign: CampaignPath,
    set_: Set = None,
    seed: Seed = None,
    as_json: AsJson = False,
    bench: BenchPath = None,
    sim: Sim = None,
) -> None:
    """Say what a campaign would do: stages, operations, limits, levels, time, disk. Nothing is energised or written."""
    from labctl.plan import total

    prepared, plans = _prepare(campaign, set_, seed, bench, sim)
    _plan_table(prepared, plans, console(stderr=as_json))
    if as_json:
        stages = [{"die": p.die, **vars(s)} for p in plans for s in p.stages]
        print(json.dumps({"campaign": prepared.campaign.name, "stages": stages, "total": vars(total(plans))}))


@app.command()
def run(
    campaign: CampaignPath,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="new folder of the run [default: runs/TIME-NAME]")
    ] = None,
    seed: Seed = None,
    set_: Set = None,
    as_json: AsJson = False,
    workers: Annotated[int | None, typer.Option(metavar="N", min=1, help="processes [default: one per core]")] = None,
    plot: Annotated[bool, typer.Option("--plot", help="also draw the pictures of 'show --plot'")] = False,
    bench: BenchPath = None,
    sim: Sim = None,
) -> None:
    """Run a campaign on simulated dies, or with --bench on a bench: plan, carry out, seal in HDF5, print the figures.

    Example: labctl run examples/wine-passive.yaml --out runs/first --seed 7
    """
    from labctl import compose, report
    from labctl.execute import execute, verdict
    from labctl.plan import total
    from labctl.progress import Display, counted, duration
    from labctl.sealing import write_run_file_in_subprocess

    start = time.monotonic()
    screen = console(stderr=True)
    prepared, plans = _prepare(campaign, set_, seed, bench, sim)
    folder = out or compose.default_folder(prepared.campaign)
    compose.refuse_existing(folder)
    whole = total(plans)
    screen.print(
        f"{prepared.campaign.name}: {counted(len(plans), 'die')}, {whole.reads:,} reads and {whole.pulses:,} pulses, "
        f"predicted bench time {duration(whole.time)}, about {_quantity(whole.bytes, 'B')} on disk, into {folder}",
        highlight=False,
    )
    meta = compose.make_folder(folder, prepared, sys.argv)
    jobs = prepared.jobs(folder, meta)
    patterns = {p.die: p.patterns for p in plans}
    with prepared.on_bench(_ask) as body, Display(patterns) as display:
        results = execute(jobs, prepared.procedures, workers or os.cpu_count() or 1, display.notify, body)
        if body is not None and body.twin is not None:
            _say_ledger(body.twin, screen)
    write_run_file_in_subprocess(folder)
    status, code = verdict(results, len(jobs))
    for result in results:
        if result.outcome.reason:
            screen.print(
                f"{result.die}: {result.outcome.status}: {result.outcome.reason}",
                markup=False,
                highlight=False,
            )
    report.show(folder, console(stderr=as_json))
    if plot:
        for picture in report.plot(folder):
            screen.print(f"drawn: {picture}", highlight=False)
    screen.print(f"{status.value} in {duration(time.monotonic() - start)}; labctl show {folder}", highlight=False)
    if as_json:
        print(json.dumps(report.summary(folder, status.value, code)))
    raise typer.Exit(code)


@app.command()
def show(
    path: Annotated[Path, typer.Argument(metavar="RUN", help="run folder, its run.h5, or the sealed file of one die")],
    die: Annotated[
        str | None, typer.Option("--die", metavar="NAME", help="die whose maps are shown [default: the first]")
    ] = None,
    plot: Annotated[bool, typer.Option("--plot", help="draw PNG pictures into RUN/plots")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a run, finished, running or killed: figures, conductance map and current scatter."""
    from labctl import report

    report.show(path, console(stderr=as_json), maps=True, die=die)
    if plot:
        for picture in report.plot(path):
            console(stderr=as_json).print(f"drawn: {picture}", highlight=False)
    if as_json:
        print(json.dumps(report.summary(path)))


@app.command()
def train(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="training file (YAML), such as examples/train-*.yaml")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="new solution file (npz)")],
    set_: Set = None,
    as_json: AsJson = False,
) -> None:
    """Train networks for dies: without defects, for one die's own, or over their statistics. Needs mtj-labctl[train].

    A training that was stopped goes on from its checkpoint when it is started again in the same way.
    """
    from labctl.execute import asked_to_stop
    from labctl.progress import duration, left
    from labctl.train import Progress
    from labctl.train import train as do_train

    screen, asked, said = console(stderr=True), threading.Event(), [0.0]

    def show_progress(now: Progress) -> None:
        if time.monotonic() - said[0] >= 2 or now.epoch == now.epochs:
            said[0] = time.monotonic()
            rest = "" if now.seconds_left is None or now.epoch == now.epochs else f", {left(now.seconds_left)} left"
            screen.print(f"epoch {now.epoch} of {now.epochs}: accuracy {now.accuracy:.1%}{rest}")

    with asked_to_stop(asked.set):
        found = do_train(config, out, overrides=_overrides(set_), progress=show_progress, stop=asked.is_set)
    screen.print(
        f"{found.networks} {found.method.value} networks into {found.path} in {duration(found.seconds)}; in software "
        f"{found.accuracy_train.mean():.1%} of the training and {found.accuracy_test.mean():.1%} of the test samples"
    )
    if found.accuracy_dies.size:
        screen.print(
            f"on the surveyed cells, without wires and noise: {found.accuracy_dies.mean():.1%} of the test samples"
        )
    if as_json:
        train_accuracy, test_accuracy = found.accuracy_train.tolist(), found.accuracy_test.tolist()
        said_json = {
            "path": str(found.path),
            "method": found.method.value,
            "train": train_accuracy,
            "test": test_accuracy,
        }
        print(json.dumps(said_json))


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Examine this installation: names, versions, protocols, how fast and how durable this folder is."""
    from labctl.doctor import examine

    findings = examine(Path.cwd())
    screen = console(stderr=as_json)
    for f in findings:
        screen.print(f"{'ok  ' if f.ok else 'WRONG'} {f.check}: {f.found}", markup=False, highlight=False)
    if as_json:
        print(json.dumps([vars(f) for f in findings]))
    raise typer.Exit(0 if all(f.ok for f in findings) else 2)


@app.command()
def schema(
    which: Annotated[
        str, typer.Argument(metavar="campaign|die|wafer|bench|training", help="which kind of file")
    ] = "campaign",
) -> None:
    """Print the JSON schema of a file, for the editor: completion, units and ranges while typing."""
    from instruments.bench import Bench
    from labctl import compose, files
    from labctl.core.errors import BenchError
    from labctl.train import Training
    from labctl.wafers import WaferFile
    from sim_backend.description import DieDescription

    models: dict[str, type[BaseModel]] = {
        "campaign": compose.campaign_model(),
        "die": DieDescription,
        "wafer": WaferFile,
        "bench": Bench,
        "training": Training,
    }
    if which not in models:
        raise BenchError(f"there is no schema of '{which}'; expected one of {', '.join(models)}")
    print(json.dumps(files.schema(models[which]), indent=1))


def _ask(question: str) -> bool:
    """Put a question to the operator at the bench."""
    return typer.confirm(question)


def _say_ledger(twin: Any, screen: Console) -> None:
    """Say what the emulated instruments did to the dies."""
    from labctl.progress import duration

    ledger = twin.ledger
    screen.print(
        f"twin: {duration(twin.world.now)} on its clock, {ledger.messages:,} messages, {ledger.relay_operations:,} "
        f"relay operations, peak cell voltage {_quantity(ledger.peak_cell_voltage, 'V')}, {ledger.hot_switches} hot "
        f"switches, {ledger.moves_in_contact} moves in contact, {ledger.fights} source fights"
    )


class _Interrupted(BaseException):
    """^C outside of a run."""


def _interrupt(number: int, frame: Any) -> NoReturn:
    raise _Interrupted


def _fail(code: int, message: str) -> NoReturn:
    """Leave with `code`, one message for the operator, and with --json one line that says the same."""
    print(f"labctl: {message}", file=sys.stderr)
    if "--json" in sys.argv:
        print(json.dumps({"outcome": OUTCOMES[code], "exit": code, "path": None, "dies": [], "reason": message}))
    sys.exit(code)


def main() -> None:
    """Run the command line; every error leaves with its documented exit code and one message for the operator."""
    # the matrices here are small: a second BLAS thread costs more than it gives, and it has to be said before numpy
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    signal.signal(signal.SIGINT, _interrupt)
    try:
        app()
    except LabError as error:
        code = 2 if error.exit_code == 3 else error.exit_code
        _fail(code, f"refused: {error}" if code == 2 else str(error))
    except _Interrupted:
        _fail(4, "interrupted")
    except Exception:
        traceback.print_exc()
        _fail(70, "this is a bug of ours; please report it with the lines above")


cli_bench.register(app)
export_cli.register(app)
cli_reproduce.register(app)
cli_morning.register(app)
