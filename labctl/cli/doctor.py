"""``labctl doctor``: check the installation."""

import json
from pathlib import Path

import typer

from labctl.cli.options import AsJson
from labctl.core.exit_codes import ExitCode
from labctl.terminal.progress import console


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(doctor)


def doctor(as_json: AsJson = False) -> None:
    """Examine this installation: names, versions, plug-ins, how fast and how durable this folder is."""
    from labctl.station.doctor import examine

    findings = examine(Path.cwd())
    screen = console(stderr=as_json)
    for f in findings:
        screen.print(f"{'ok  ' if f.ok else 'WRONG'} {f.check}: {f.text}", markup=False, highlight=False)
    if as_json:
        print(json.dumps([{"check": f.check, "ok": f.ok, "text": f.text} for f in findings]))
    raise typer.Exit(ExitCode.GOOD if all(f.ok for f in findings) else ExitCode.REFUSED)
