"""``labctl stress``: pulses, voltages and touches of dies over their lives, from the lab's ledger."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from labctl.cli.options import LedgerPath, PrintJson
from labctl.core.errors import BenchError


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(rich_help_panel="At the bench")(stress)


def stress(
    die: Annotated[
        str | None, typer.Argument(metavar="[DIE]", help="name of a die; all in the ledger if left out")
    ] = None,
    bench: Annotated[Path | None, typer.Option("--bench", metavar="FILE", help="bench whose ledger it is")] = None,
    ledger: LedgerPath = None,
    account: Annotated[
        Path | None, typer.Option("--account", metavar="RUN", help="first enter what a run did, however it ended")
    ] = None,
    as_json: PrintJson = False,
) -> None:
    """Show pulses, peak voltages and touches that dies have had over their lives.

    The ledger is the one that LABCTL_LEDGER names, that the bench file names, or stress.db beside the bench file.
    Example: labctl stress W01-x3y0 --bench MY-BENCH.yaml
    """
    from labctl.storage.no_run import require_run_with_dies
    from labctl.storage.stress_ledger import VARIABLE, StressLedger, ledger_path

    if ledger is None and bench is not None:
        from instruments.bench_file import read_bench

        ledger = ledger_path(bench, read_bench(bench).value.ledger, os.environ)
    elif ledger is None and os.environ.get(VARIABLE):
        ledger = Path(os.environ[VARIABLE])
    if ledger is None:
        raise BenchError(f"whose ledger? name --bench FILE or --ledger FILE, or set {VARIABLE}")
    if not ledger.exists() and account is None:
        raise BenchError(f"{ledger}: there is no stress ledger yet; the first run on real dies makes it")
    if account is not None:
        require_run_with_dies(account)
    with StressLedger.open(ledger) as opened:
        if account is not None:
            opened.account_run(account)
        known = [(wafer, name) for wafer, name in opened.dies() if die in (None, name)]
        if die is not None and not known:
            raise BenchError(f"{ledger} has nothing of a die {die}; it has {len(opened.dies())} others")
        dies = [_summary(opened, wafer, name) for wafer, name in known]
    if as_json:
        print(json.dumps({"ledger": str(ledger), "dies": dies}))
        return
    _show(ledger, dies, runs=die is not None)


def _summary(ledger: Any, wafer: str, name: str) -> dict[str, Any]:
    """Return the stress of a die over its life and per run, as plain numbers in SI units."""
    life, history = ledger.life(wafer, name), ledger.history(wafer, name)
    runs = [{"run": share.run, "utc": share.utc, **_numbers(share.stress)} for share in history]
    return {
        "die": name,
        "wafer": wafer,
        "touches": ledger.touches_by_pads(wafer, name),
        "runs": runs,
        **_numbers(life),
    }


def _numbers(stress: Any) -> dict[str, Any]:
    if stress is None:
        return {"pulses": 0, "most": 0, "at": None, "positive": 0.0, "negative": 0.0}
    import numpy as np

    most = int(stress.counts.max())
    at = [int(k) for k in np.unravel_index(int(stress.counts.argmax()), stress.counts.shape)]
    return {
        "pulses": int(stress.counts.sum()),
        "most": most,
        "at": at if most else None,
        "positive": float(stress.positive.max()),
        "negative": float(stress.negative.max()),
    }


def _show(ledger: Path, dies: list[dict[str, Any]], *, runs: bool) -> None:
    from datetime import datetime

    from rich.table import Table

    from labctl.terminal.progress import console

    table = Table("die", title=f"{ledger}", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for title in ("pulses on a cell, most", "kernel, row, column", "highest +V", "highest -V", "touches"):
        table.add_column(title, justify="right")

    def row(name: str, stress: dict[str, Any], touches: str) -> None:
        at = "-" if stress["at"] is None else ", ".join(map(str, stress["at"]))
        positive, negative = f"{stress['positive']:.3f}", f"{stress['negative']:.3f}"
        table.add_row(name, f"{stress['most']:,}", at, positive, negative, touches)

    for die in dies:
        touches = ", ".join(f"{n} ({pads})" if pads else str(n) for pads, n in die["touches"].items())
        row(die["die"], die, touches or "0")
        for run in die["runs"] if runs else ():
            when = datetime.fromtimestamp(run["utc"]).astimezone()
            row(f"  {run['run']}, until {when:%Y-%m-%d %H:%M}", run, "")
    console().print(table)
