"""The commands by hand: read, pulse, map. Rehearsed first, behind the limits of the bench file, and journalled."""

import json
import shlex
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from labctl.cli.bench_options import (
    Aperture,
    BenchOption,
    CellOption,
    Compliance,
    DieOption,
    OutOption,
    TwinSeed,
    VGate,
    VRead,
    check_sim,
)
from labctl.cli.options import AsJson, Sim, command_line, plainly
from labctl.cli.recording import Record, recording
from labctl.core.errors import BenchError
from labctl.core.exit_codes import ExitCode
from labctl.terminal.progress import console

READ = {"v_read": "100 mV", "aperture": "1 ms", "compliance": "5 mA"}
"""Settings of a read, where the command line does not say others."""


def read(
    bench: BenchOption,
    die: DieOption,
    cell: CellOption,
    v_read: VRead = READ["v_read"],
    v_gate: VGate = None,
    aperture: Aperture = READ["aperture"],
    compliance: Compliance = READ["compliance"],
    record: Record = None,
    sim: Sim = None,
    out: OutOption = None,
    seed: TwinSeed = 0,
    as_json: AsJson = False,
) -> None:
    """Read one cell of the die under the needles.

    Example: labctl read --bench examples/bench-two-arrays.yaml --die examples/dies/passive-15x15.yaml --cell 0,3,4
    --sim bytes
    """
    from protocols.by_hand import ReadCell

    parameters = {**_cell(cell), "v_read": v_read, **_gate(v_gate), "aperture": aperture, "compliance": compliance}
    _by_hand("read", ReadCell, parameters, bench, die, record, sim, out, seed, as_json)


def pulse(
    bench: BenchOption,
    die: DieOption,
    cell: CellOption,
    to: Annotated[str, typer.Option("--to", metavar="P|AP", help="the state to write")],
    voltage: Annotated[str, typer.Option("--voltage", metavar="QUANTITY", help="magnitude at the cell, e.g. '450 mV'")],
    width: Annotated[str, typer.Option("--width", metavar="QUANTITY", help="pulse width")] = "1 ms",
    scheme: Annotated[str, typer.Option("--scheme", metavar="half|third|grounded")] = "half",
    v_read: VRead = READ["v_read"],
    v_gate: VGate = None,
    aperture: Aperture = READ["aperture"],
    compliance: Compliance = READ["compliance"],
    record: Record = None,
    sim: Sim = None,
    out: OutOption = None,
    seed: TwinSeed = 0,
    as_json: AsJson = False,
) -> None:
    """Give one cell one pulse and read it on the same route. A cell that does not switch is a result, not an error.

    Example: labctl pulse --bench examples/bench-two-arrays.yaml --die examples/dies/passive-15x15.yaml --cell 0,3,4
    --to P --voltage '450 mV' --sim bytes
    """
    from protocols.by_hand import PulseCell

    if to.upper() not in ("P", "AP"):
        raise BenchError(f"--to {to}: expected P or AP")
    parameters = {
        **_cell(cell), "to_p": to.upper() == "P", "voltage": voltage, "width": width, "scheme": scheme,
        "v_read": v_read, **_gate(v_gate), "aperture": aperture, "compliance": compliance,
    }  # fmt: skip
    _by_hand("pulse", PulseCell, parameters, bench, die, record, sim, out, seed, as_json)


def map_(
    bench: BenchOption,
    die: DieOption,
    kernel: Annotated[
        int | None, typer.Option("--kernel", metavar="K", min=0, help="one kernel (default: all)")
    ] = None,
    v_read: VRead = READ["v_read"],
    v_gate: VGate = None,
    aperture: Aperture = READ["aperture"],
    compliance: Compliance = READ["compliance"],
    record: Record = None,
    sim: Sim = None,
    out: OutOption = None,
    seed: TwinSeed = 0,
    as_json: AsJson = False,
) -> None:
    """Read every cell and print the conductance map."""
    from protocols.by_hand import MapCells

    parameters = {
        "kernel": kernel, "v_read": v_read, **_gate(v_gate), "aperture": aperture, "compliance": compliance,
    }  # fmt: skip
    _by_hand("map", MapCells, parameters, bench, die, record, sim, out, seed, as_json)


def _gate(v_gate: str | None) -> dict[str, str]:
    """Return the gate voltage, if one is given."""
    return {} if v_gate is None else {"v_gate": v_gate}


def _cell(text: str) -> dict[str, int]:
    """Return kernel, row and column of ``K,R,C``.

    >>> _cell("1,3,14")
    {'kernel': 1, 'row': 3, 'col': 14}
    """
    try:
        kernel, row, col = (int(part) for part in text.split(","))
    except ValueError as error:
        raise BenchError(f"--cell {text}: expected kernel,row,column such as 0,3,4") from error
    return {"kernel": kernel, "row": row, "col": col}


def _procedure(kind: Any, parameters: dict[str, Any]) -> Any:
    """Return the procedure with the parameters of the command line; BenchError names the option that is wrong."""
    from pydantic import ValidationError

    try:
        return kind.model_validate(parameters)
    except ValidationError as error:
        raise BenchError("; ".join(_option(e, parameters) for e in error.errors())) from error


def _option(error: Any, parameters: dict[str, Any]) -> str:
    """Return an error of pydantic about a parameter as one about its option."""
    key = ".".join(map(str, error["loc"]))
    text = plainly(error["msg"].removeprefix("Value error, "))
    value = f" {parameters[key]}" if key in parameters and text.startswith("expected ") else ""
    return f"--{key.replace('_', '-')}{value}: {text}"


def _typed(parameters: dict[str, Any]) -> str:
    """Return the options that parameters were given by.

    >>> _typed({"kernel": 0, "row": 3, "col": 4, "to_p": False, "v_read": "100 mV"})
    "--cell 0,3,4 --v-read '100 mV' --to AP"
    """
    options = {key: value for key, value in parameters.items() if key not in ("row", "col", "to_p")}
    if "row" in parameters:
        options = {"cell": f"{options.pop('kernel')},{parameters['row']},{parameters['col']}", **options}
    if "to_p" in parameters:
        options["to"] = "P" if parameters["to_p"] else "AP"
    named = {key.replace("_", "-"): value for key, value in options.items() if value is not None}
    return " ".join(f"--{key} {shlex.quote(str(value))}" for key, value in named.items())


def _by_hand(
    command: str,
    kind: Any,
    parameters: dict[str, Any],
    bench: Path,
    die: Path,
    record: Path | None,
    sim: str | None,
    out: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Rehearse, carry out and show one procedure by hand; leave with its exit code."""
    from labctl.report import by_hand
    from labctl.station import hand_session

    check_sim(sim)
    action = _procedure(kind, parameters)
    spec = hand_session.prepare(bench, die, action, sim, seed, _typed(parameters))
    warn = partial(console(stderr=True).print, markup=False)
    if record is not None:
        hand_session.require_text(spec)
    options, files = {"parameters": parameters, "seed": seed}, {"die": die}
    with recording(record, command, bench, simulated=sim is not None, options=options, files=files) as through:
        folder, outcome = hand_session.carry_out(
            spec, action, out, command_line(), typer.confirm, warn, through=through
        )
    status, code = outcome.status, outcome.exit_code
    screen = console(stderr=as_json)
    rows = [] if outcome.void else by_hand.rows(folder)
    for row in rows:
        by_hand.show(row, screen)
    if outcome.reason:
        screen.print(f"{status.value}: {outcome.reason}", markup=False)
    outputs = "NOT verified off" if code == ExitCode.NOT_OFF else "off"
    screen.print(f"outputs {outputs}; recorded in {folder}", markup=False)
    if as_json:
        print(json.dumps({"outcome": status.value, "exit": code, "path": str(folder), "rows": rows}))
    raise typer.Exit(code)
