"""The command line at the bench: look, read, pulse, map, switch off, and a twin for other people's programs.

Everything that energises takes the way of `labctl run`: rehearsed first, behind the limits of the bench file, and
journalled. `check` and `off` need no die; `check` changes nothing, `off` makes safe whatever is the case.
"""

import json
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from labctl.core.errors import BenchError, InstrumentError
from labctl.terminal.progress import console
from labctl.terminal.signals import outliving_the_terminal

BenchFile = Annotated[Path, typer.Argument(metavar="BENCH", help="bench file")]
BenchOption = Annotated[
    Path, typer.Option("--bench", metavar="FILE", help="bench file: the real bench, unless --sim is given too")
]
DieOption = Annotated[
    Path, typer.Option("--die", metavar="FILE", help="die file; its nominal conductances choose ranges and the cut")
]
SimOption = Annotated[
    str | None,
    typer.Option("--sim", metavar="bytes|tcp", help="the twin of the bench: in this process, or on sockets"),
]
CellOption = Annotated[str, typer.Option("--cell", metavar="K,R,C", help="kernel, row and column, from 0")]
OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="new folder of the run [default: runs/TIME-hand-NAME]")
]
SeedOption = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="seed of the simulated die of a twin")]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="end with one line of JSON on standard output; all else is on standard error"),
]
READ = {"v_read": "100 mV", "aperture": "1 ms", "compliance": "5 mA"}
VRead = Annotated[str, typer.Option("--v-read", metavar="QUANTITY", help="cell voltage of a read")]
Aperture = Annotated[str, typer.Option("--aperture", metavar="QUANTITY", help="integration time of a reading")]
Compliance = Annotated[str, typer.Option("--compliance", metavar="QUANTITY", help="current limit of every line")]


def register(app: typer.Typer) -> None:
    """Add the commands of the bench to the command line."""
    for command in (check, read, pulse, map_, off, twin):
        app.command(command.__name__.rstrip("_"), rich_help_panel="At the bench")(command)


def check(bench: BenchFile, sim: SimOption = None, as_json: JsonOption = False) -> None:
    """Ask every instrument who it is and what it does: outputs, limits, interlocks, relays, needles. Changes nothing.

    The bench file is checked first: addresses, wiring, limits. Exit code 3 if something needs a person.
    """
    from instruments.look import look
    from labctl.storage.latch import latch_of

    found = _bench(bench)
    latch = latch_of(found) if sim is None else None
    with _wires(found, sim) as connect:
        seen = look(found, connect=connect)
    screen = console(stderr=as_json)
    wiring = found.wiring
    kernel = wiring.kernels[0]
    screen.print(
        f"{found.name}: {len(wiring.channels)} channels on rows {', '.join(wiring.channels.values())}"
        f"{f', ground on row {wiring.ground}' if wiring.ground else ', no ground row'}; {len(wiring.pads)} pads; "
        f"{len(wiring.kernels)} kernels of {len(kernel.rows)} x {len(kernel.cols)}; no conflict in the wiring",
        markup=False,
        soft_wrap=True,
    )
    for one in seen:
        said = one.identity or "does not answer"
        screen.print(f"{one.name} ({one.driver}, {one.resource or 'no wire'}): {said}", markup=False, soft_wrap=True)
        for line in one.state:
            screen.print(f"    {line}", markup=False, soft_wrap=True)
        for line in one.wrong:
            screen.print(f"    LOOK: {line}", markup=False, soft_wrap=True)
    if latch is not None:
        screen.print(f"LOOK: {latch}; released by: labctl off --release {bench}", markup=False, soft_wrap=True)
    code = 3 if latch is not None or any(one.wrong for one in seen) else 0
    if as_json:
        outcome = {"bench": found.name, "exit": code, "latch": _as_json(latch)}
        print(json.dumps({**outcome, "instruments": [asdict(one) for one in seen]}))
    raise typer.Exit(code)


def read(
    bench: BenchOption,
    die: DieOption,
    cell: CellOption,
    v_read: VRead = READ["v_read"],
    aperture: Aperture = READ["aperture"],
    compliance: Compliance = READ["compliance"],
    sim: SimOption = None,
    out: OutOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Read one cell of the die under the needles.

    Example: labctl read --bench examples/bench-two-arrays.yaml --die examples/dies/passive-15x15.yaml --cell 0,3,4
    --sim bytes
    """
    from protocols.by_hand import ReadCell

    given = {**_cell(cell), "v_read": v_read, "aperture": aperture, "compliance": compliance}
    _by_hand(ReadCell, given, bench, die, sim, out, seed, as_json)


def pulse(
    bench: BenchOption,
    die: DieOption,
    cell: CellOption,
    to: Annotated[str, typer.Option("--to", metavar="P|AP", help="the state to write")],
    voltage: Annotated[str, typer.Option("--voltage", metavar="QUANTITY", help="magnitude at the cell, e.g. '450 mV'")],
    width: Annotated[str, typer.Option("--width", metavar="QUANTITY", help="pulse width")] = "1 ms",
    scheme: Annotated[str, typer.Option("--scheme", metavar="half|third|grounded")] = "half",
    v_read: VRead = READ["v_read"],
    aperture: Aperture = READ["aperture"],
    compliance: Compliance = READ["compliance"],
    sim: SimOption = None,
    out: OutOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Give one cell one pulse and read it on the same route. A cell that does not switch is a result, not an error.

    Example: labctl pulse --bench examples/bench-two-arrays.yaml --die examples/dies/passive-15x15.yaml --cell 0,3,4
    --to P --voltage '450 mV' --sim bytes
    """
    from protocols.by_hand import PulseCell

    if to.upper() not in ("P", "AP"):
        raise BenchError(f"--to {to}: expected P or AP")
    given = {
        **_cell(cell), "to_p": to.upper() == "P", "voltage": voltage, "width": width, "scheme": scheme,
        "v_read": v_read, "aperture": aperture, "compliance": compliance,
    }  # fmt: skip
    _by_hand(PulseCell, given, bench, die, sim, out, seed, as_json)


def map_(
    bench: BenchOption,
    die: DieOption,
    kernel: Annotated[
        int | None, typer.Option("--kernel", metavar="K", min=0, help="one kernel [default: all]")
    ] = None,
    v_read: VRead = READ["v_read"],
    aperture: Aperture = READ["aperture"],
    compliance: Compliance = READ["compliance"],
    sim: SimOption = None,
    out: OutOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Read every cell and print the conductance map."""
    from protocols.by_hand import MapCells

    given = {"kernel": kernel, "v_read": v_read, "aperture": aperture, "compliance": compliance}
    _by_hand(MapCells, given, bench, die, sim, out, seed, as_json)


def off(
    bench: BenchFile,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="why, for whoever is refused the bench")] = "",
    release: Annotated[
        bool, typer.Option("--release", help="let outputs go on again: take away what an earlier 'off' has set")
    ] = False,
    sim: SimOption = None,
    as_json: JsonOption = False,
) -> None:
    """Switch the bench off: every output to 0 V and off, then every relay open, each read back. The needles stay.

    The run that holds the bench ends with exit code 4, and no output goes on before 'labctl off --release BENCH'.
    Exit code 6 if something is not verified off, or the run does not end: go to the bench.
    """
    loaded = _bench(bench)
    if release:
        _release(loaded, sim, as_json)
    if sim is not None:
        _off_twin(loaded, sim, as_json)
    from labctl.station.bench_off import switch_off

    screen = console(stderr=True)

    def say(text: str) -> None:
        screen.print(f"{loaded.name}: {text}", markup=False, highlight=False, soft_wrap=True)

    with outliving_the_terminal():
        done = switch_off(loaded, say, reason)
    say(done.text)
    if done.latch is not None:
        say(f"switched off until: labctl off --release {bench}")
    else:
        say(f"NOTHING KEEPS IT OFF, a run that is started now would switch outputs on: {done.unlatched}")
    if as_json:
        held = [asdict(holder) for holder in done.held]
        outcome = {"bench": loaded.name, "safe": done.safe and done.gone, "said": done.text, "exit": done.exit_code}
        print(json.dumps({**outcome, "latch": _as_json(done.latch), "unlatched": done.unlatched, "held": held}))
    raise typer.Exit(done.exit_code)


def _off_twin(bench: Any, sim: str, as_json: bool) -> NoReturn:
    """Make the twin of a bench safe, which has no latch, and leave."""
    from instruments.safing import make_safe

    code = 0
    with _wires(bench, sim) as connect:
        try:
            text = make_safe(bench, connect=connect).text
        except InstrumentError as error:
            code, text = 6, str(error)
    console(stderr=True).print(f"{bench.name}: {text}", markup=False, soft_wrap=True)
    if as_json:
        print(json.dumps({"bench": bench.name, "safe": code == 0, "said": text, "exit": code, "latch": None}))
    raise typer.Exit(code)


def _release(bench: Any, sim: str | None, as_json: bool) -> NoReturn:
    """Take the latch of a bench away, say who had set it, and leave; no instrument is touched."""
    from labctl.storage.latch import release_latch

    if sim is not None:
        raise BenchError(f"--release --sim {sim}: a twin is never switched off; expected the bench file alone")
    released = release_latch(bench)
    text = "; ".join(f"released, it was {latch}" for latch in released) or "it was not switched off; nothing is changed"
    console(stderr=True).print(f"{bench.name}: {text}", markup=False, highlight=False, soft_wrap=True)
    if as_json:
        print(json.dumps({"bench": bench.name, "released": [_as_json(latch) for latch in released], "exit": 0}))
    raise typer.Exit(0)


def _as_json(latch: Any) -> dict[str, Any] | None:
    """Return a latch as `--json` carries it: who, host, pid, when in s UTC since 1970, why; None if there is none."""
    return None if latch is None else asdict(latch)


def twin(
    bench: BenchFile,
    die: Annotated[
        Path | None, typer.Option("--die", metavar="FILE", help="die file [default: an ideal die that fits the wiring]")
    ] = None,
    dies: Annotated[int, typer.Option("--dies", metavar="N", min=1, help="dies side by side in row 0 of the map")] = 1,
    clock: Annotated[
        str, typer.Option("--clock", metavar="virtual|real", help="virtual: no waiting; real: as long as a bench takes")
    ] = "virtual",
    needles: Annotated[str, typer.Option("--needles", metavar="up|down", help="where they stand at first")] = "up",
    seed: SeedOption = 0,
) -> None:
    """Serve emulated instruments on 127.0.0.1, wired as the bench file says, until ^C.

    Prints one line of JSON per instrument: name, model, resource (raw socket) and hislip. Any program that speaks to
    the real instruments can speak to these.
    """
    from labctl.station.twin import Twin
    from sim_backend.emulators.clock import RealClock

    for option, value, allowed in (("clock", clock, ("virtual", "real")), ("needles", needles, ("up", "down"))):
        if value not in allowed:
            raise BenchError(f"--{option} {value}: expected {' or '.join(allowed)}")
    found = _bench(bench)
    places = {(k, 0, 0): _simulated(found, die, seed, f"die{k}") for k in range(dies)}
    down, passing = needles == "down", RealClock() if clock == "real" else None
    served = Twin(found, places, sockets=True, seed=seed, in_contact=down, clock=passing)
    try:
        assert served.server is not None
        for one in served.server.served:
            print(json.dumps(asdict(one)), flush=True)
        _until_stopped()
    finally:
        served.close()
    _say_ledger(served, console(stderr=True))


def _until_stopped() -> None:
    """Wait for ^C, TERM or HUP."""
    stopped = threading.Event()
    names = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, lambda *_: stopped.set()) for number in names}
    try:
        while not stopped.wait(0.2):
            pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _bench(path: Path) -> Any:
    """Return the bench of a file; BenchError tells all that is wrong with it."""
    from instruments.bench import Bench
    from labctl import files
    from labctl.station.doctor import require_own_names

    require_own_names()
    return files.read(path, Bench).value


def _simulated(bench: Any, path: Path | None, seed: int, name: str) -> Any:
    """Return a simulated die that fits the wiring: that of a die file, or an ideal one."""
    from labctl import files
    from sim_backend.description import DieDescription
    from sim_backend.die import SimDie

    shape = bench.geometry()
    if path is not None:
        description = files.read(path, DieDescription).value
    else:
        description = DieDescription.model_validate(
            {
                "name": name,
                "geometry": {
                    "kind": shape.kind, "kernels": shape.kernels, "n_rows": shape.n_rows, "n_cols": shape.n_cols,
                },
                "junction": {"diameter": 80e-9},
                "simulation": {"ideal": True},
            }
        )  # fmt: skip
    bench.wiring.fits(description.shape)
    return SimDie(description, seed=seed, name=name)


@contextmanager
def _wires(bench: Any, sim: str | None) -> Iterator[Any]:
    """Yield what connects to the instruments of a bench, or of its twin around an ideal die."""
    if sim is None:
        yield None
        return
    from labctl.station.twin import Twin

    if sim not in ("bytes", "tcp"):
        raise BenchError(f"--sim {sim}: expected bytes or tcp")
    made = Twin(bench, {(0, 0, 0): _simulated(bench, None, 0, "die0")}, sockets=sim == "tcp")
    try:
        yield made.connect
    finally:
        made.close()


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


def _procedure(kind: Any, given: dict[str, Any]) -> Any:
    """Return the procedure with the parameters of the command line; BenchError names the option that is wrong."""
    from pydantic import ValidationError

    try:
        return kind.model_validate(given)
    except ValidationError as error:
        said = "; ".join(
            f"--{'.'.join(map(str, e['loc'])).replace('_', '-')}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        )
        raise BenchError(said) from error


def _by_hand(
    kind: Any,
    given: dict[str, Any],
    bench: Path,
    die: Path,
    sim: str | None,
    out: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Rehearse, carry out and show one procedure by hand; leave with its exit code."""
    from labctl.report import by_hand
    from labctl.station import hand_session

    if sim not in (None, "bytes", "tcp"):
        raise BenchError(f"--sim {sim}: expected bytes or tcp")
    prepared = hand_session.prepare(bench, die, _procedure(kind, given), sim, seed)
    folder, result, status, code = hand_session.carry_out(prepared, out, sys.argv, typer.confirm)
    screen = console(stderr=as_json)
    rows = by_hand.rows(folder)
    for row in rows:
        by_hand.show(row, screen)
    if result.outcome.reason:
        screen.print(f"{status.value}: {result.outcome.reason}", markup=False, soft_wrap=True)
    screen.print(f"outputs {'off' if code != 6 else 'NOT verified off'}; recorded in {folder}", markup=False)
    if as_json:
        print(json.dumps({"outcome": status.value, "exit": code, "path": str(folder), "found": rows}))
    raise typer.Exit(code)


def _say_ledger(twin: Any, screen: Console) -> None:
    """Say what was done to the dies of a twin."""
    ledger = twin.ledger
    screen.print(
        f"twin: {ledger.messages:,} messages, {ledger.relay_operations:,} relay operations, peak cell voltage "
        f"{ledger.peak_cell_voltage:.4g} V, {ledger.hot_switches} hot switches, "
        f"{ledger.moves_in_contact} moves in contact",
        markup=False,
    )
