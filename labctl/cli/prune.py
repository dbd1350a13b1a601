"""``labctl prune``: drop the journals that verified sealed files make redundant."""

import json
from contextlib import nullcontext
from typing import Annotated

import typer

from labctl.cli.options import LedgerPath, RunFolder
from labctl.terminal.progress import console, counted, quantity


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(prune)


def prune(
    run: RunFolder,
    yes: Annotated[bool, typer.Option("--yes", help="do it; without, it is only said what would be done")] = False,
    ledger: LedgerPath = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="end with one line of JSON on standard output: what is dropped, and bytes")
    ] = False,
) -> None:
    """Drop the journals of a finished run whose sealed files hold the same. There is no way back from it.

    All files are verified, and each sealed file is compared with its journal; what no sealed file holds stays. Without
    --yes nothing is changed. The run is marked in run.json; all commands go on from the sealed files.
    """
    from labctl.batch.pruning import account, ledger_of, refuse_unverified
    from labctl.batch.requests import whoami
    from labctl.storage import pruning
    from labctl.storage.locks import hold

    screen = console(stderr=True)
    with screen.status("") as status:

        def progress(path: str, n: int, of: int) -> None:
            status.update(f"{n + 1} of {of}: {path}")

        pruning.require_recorded(run)
        refuse_unverified(run)
        with hold(run, f"labctl prune {run}") if yes else nullcontext():  # a dry run writes nothing, not even a lock
            plan = pruning.plan_pruning(run, progress)
            counted_in = ledger_of(run, ledger) if plan.redundant else None
            if yes and plan.redundant:
                account(run, counted_in)
                pruning.prune(plan, whoami(), progress)
    files = sum(len(one.files) for one in plan.redundant)
    what = f"{counted(len(plan.redundant), 'journal')} of sealed dies, {counted(files, 'file')}"
    if not plan.redundant:
        text = f"{run}: nothing to drop{'; it was pruned before' if plan.marked else ''}"
    elif yes:
        text = f"{run}: dropped {what}, {quantity(plan.bytes, 'B')}; it is marked as pruned in run.json"
    else:
        text = (
            f"{run} is whole; it would drop {what}, {quantity(plan.bytes, 'B')}: dies/NAME/journal.db and "
            "dies/NAME/arrays. Afterwards a sealed file that is damaged can be made again from nothing but a backup. "
            f"To do it: labctl prune {run} --yes"
        )
    if plan.kept:
        text += f"; kept, because no sealed file holds the same: {', '.join(plan.kept)}"
    screen.print(text, markup=False, highlight=False, soft_wrap=True)
    if as_json:
        done = {"pruned": yes and bool(plan.redundant), "dies": [one.name for one in plan.redundant]}
        print(json.dumps({"run": str(run), **done, "bytes": plan.bytes, "files": files, "kept": list(plan.kept)}))
