"""The command that serves emulated instruments to other people's programs."""

import json
import signal
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from labctl.cli.bench_options import BenchFile, TwinSeed, die_of_twin, read_bench
from labctl.core.errors import BenchError
from labctl.terminal.progress import console


def twin(
    bench: BenchFile,
    die: Annotated[
        Path | None, typer.Option("--die", metavar="FILE", help="die file (default: an ideal die that fits the wiring)")
    ] = None,
    dies: Annotated[int, typer.Option("--dies", metavar="N", min=1, help="dies side by side in row 0 of the map")] = 1,
    clock: Annotated[
        str, typer.Option("--clock", metavar="virtual|real", help="virtual: no waiting; real: as long as a bench takes")
    ] = "virtual",
    needles: Annotated[str, typer.Option("--needles", metavar="up|down", help="where they stand at first")] = "up",
    seed: TwinSeed = 0,
) -> None:
    """Serve emulated instruments on 127.0.0.1, wired as the bench file says, until ^C.

    Prints one line of JSON per instrument: name, model, resource (as the bench file reaches it), and its address by
    each way: socket, hislip, vxi11 and the port of its portmapper, serial, gateway. Any program that speaks to the
    real instruments can speak to these.
    """
    from labctl.station.twin import Twin
    from sim_backend.emulators.clock import RealClock

    for option, value, allowed in (("clock", clock, ("virtual", "real")), ("needles", needles, ("up", "down"))):
        if value not in allowed:
            raise BenchError(f"--{option} {value}: expected {' or '.join(allowed)}")
    loaded = read_bench(bench)
    places = {(k, 0, 0): die_of_twin(loaded, die, seed, f"die{k}") for k in range(dies)}
    down, real_clock = needles == "down", RealClock() if clock == "real" else None
    twin = Twin(loaded, places, sockets=True, seed=seed, in_contact=down, clock=real_clock, every_way=True)
    try:
        assert twin.server is not None
        for instrument in twin.server.served:
            print(json.dumps(asdict(instrument)), flush=True)
        _until_stopped()
    finally:
        twin.close()
    _print_ledger(twin, console(stderr=True))


def _until_stopped() -> None:
    """Wait for ^C, TERM, HUP or BREAK."""
    from labctl.terminal.signals import signals

    stopped = threading.Event()
    before = {number: signal.signal(number, lambda *_: stopped.set()) for number in signals()}
    try:
        while not stopped.wait(0.2):
            pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print_ledger(twin: Any, screen: Console) -> None:
    """Print what the emulated instruments did to the dies of a twin."""
    ledger = twin.ledger
    screen.print(
        f"twin: {ledger.messages:,} messages, {ledger.relay_operations:,} relay operations, peak cell voltage "
        f"{ledger.peak_cell_voltage:.4g} V, {ledger.hot_switches} hot switches, "
        f"{ledger.moves_in_contact} moves in contact",
        markup=False,
    )
