"""Count what a bench spends its time on, on emulated instruments with their documented timing.

Run ``python benchmarks/bench.py`` (about a minute; ``--quick`` leaves the TCP run out; ``--small`` is the size that the
tests run: one network on 3 x 4 cells, few queries; ``--json`` for machines). It tells round trips and route changes per
programmed cell and per read-out, ours by the host and inside the sources, with the matrix on TSP-Link and without, and
of a straightforward PyMeasure script that does the same job on the same emulators; bench hours from the virtual clock,
and what they go to; TCP against in process.

A round trip is a message that is answered: the host waits for it. A route change is a change of the set of closed
relays. Both scripts write the same cells with the same V/2 pulses and read them with the same aperture.
"""

# ruff: noqa: E402  (the number of threads must be set before numpy is imported)
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import sys
import tempfile
import time
import warnings
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import soak

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from instruments.bench import Bench
from instruments.open_bench import open_bench
from labctl import files
from labctl.core.operations import Sense
from labctl.execution import die_job
from labctl.execution.recorded_die import cells_of
from labctl.execution.stop import Stop
from labctl.networks import solutions
from labctl.station import composition, run_folder
from labctl.station.jobs import jobs_of
from labctl.station.twin import Twin
from protocols.bias import row_bias
from protocols.settings import WriteSettings
from sim_backend.description import DieDescription
from sim_backend.die import SimDie

BENCH = ROOT / "examples" / "bench-two-arrays.yaml"
IDEAL = ROOT / "examples" / "dies" / "ideal-15x15.yaml"
WIDTH, V_WRITE, V_READ, APERTURE = 1e-3, 0.45, 0.1, 1e-3
CELLS = [(0, row, col) for row in range(3) for col in range(4)]
ROWS, COLS = 13, 12  # the first layer of Wine: 13 inputs, 6 outputs as pairs of columns
SOLUTIONS = 2
ALL_SOLUTIONS, DIES = 24, 36


class Count:
    """Messages, round trips and route changes of the instruments of a twin."""

    def __init__(self, twin: Twin) -> None:
        self.messages = self.round_trips = self.routes = 0
        self._twin = twin
        for instrument in twin.instruments.values():
            self._watch(instrument)

    def _watch(self, instrument: object) -> None:
        obey = instrument.execute

        def execute(message: str) -> str:
            before = self._twin.world.closed
            reply = obey(message)
            self.messages += 1
            self.round_trips += bool(reply)
            self.routes += self._twin.world.closed != before
            return reply

        instrument.execute = execute

    @contextmanager
    def of(self, into: dict[str, float], items: int):
        """Put what happens in the block, per item, into a dict."""
        now = (self.messages, self.round_trips, self.routes, self._twin.world.now)
        relays = self._twin.ledger.relay_operations
        yield
        counts = (self.messages, self.round_trips, self.routes, self._twin.world.now)
        for name, after, before in zip(("messages", "round_trips", "routes", "seconds"), counts, now, strict=True):
            into[name] = (after - before) / items
        into["relay_operations"] = (self._twin.ledger.relay_operations - relays) / items


def twin_of(sockets: bool, programming: str = "host", linked: bool = False) -> tuple[Bench, SimDie, Twin]:
    """Return a bench, an ideal die, and the twin with the needles down.

    Args:
        programming: what writes cells.
        linked: the matrix is on TSP-Link.
    """
    bench = files.read(BENCH, Bench).value.model_copy(update={"programming": programming})
    if linked:
        entries = dict(bench.instruments)
        for node, name in enumerate(("smu1", "smu2", "matrix"), 1):
            options = entries[name].options.model_copy(update={"tsplink": node})
            entries[name] = entries[name].model_copy(update={"options": options})
        bench = bench.with_entries(entries)
    die = SimDie(files.read(IDEAL, DieDescription).value, seed=1, name="die")
    return bench, die, Twin(bench, {(0, 0, 0): die}, sockets=sockets, in_contact=True)


def inside(*, linked: bool) -> dict[str, dict[str, float]]:
    """Return the cost per programmed cell of an array that scripts inside the sources write, chunk by chunk."""
    bench, load, twin = twin_of(sockets=False, programming="instrument", linked=linked)
    cost: dict[str, dict[str, float]] = {"cell": {}}
    with open_bench(bench, load.nominal, connect=twin.connect, wait=twin.wait) as opened:
        die = opened.turn_to(load.nominal)
        shape = die.geometry.shape
        at = tuple(index[0].ravel() for index in np.indices(shape))
        n = len(at[0])
        settings = WriteSettings(v_start=V_WRITE, v_max=V_WRITE, width=WIDTH, v_read=V_READ, aperture=APERTURE)
        plan = settings.plan(die.geometry, at, np.ones(n, bool), np.full(n, load.nominal.cut(0)), np.full(n, 10))
        die.program(plan.take(slice(1)))  # outputs on and functions defined once, not per cell
        assert die.scripts is not None
        size = cells_of(n, die.scripts.expected(plan))
        count = Count(twin)
        with count.of(cost["cell"], n):
            attempts = [die.program(plan.take(slice(k, k + size))) for k in range(0, n, size)]
        assert all(part.verified.all() for part in attempts)
        assert load.truth()["state"][0].all()
    if linked:
        del cost["cell"]["routes"]  # they change within one message
    cost["chunk"] = {"cells": size}
    return cost | {"safety": safety(twin)}


def ours() -> dict[str, dict[str, float]]:
    """Return the cost per programmed cell and per read-out of a layer, of this suite."""
    bench, load, twin = twin_of(sockets=False)
    cost: dict[str, dict[str, float]] = {"cell": {}, "read-out": {}}
    with open_bench(bench, load.nominal, connect=twin.connect, wait=twin.wait) as opened:
        die = opened.turn_to(load.nominal)
        at = tuple(np.array(index) for index in zip(*CELLS, strict=True))
        settings = WriteSettings(v_start=V_WRITE, v_max=V_WRITE, width=WIDTH, v_read=V_READ, aperture=APERTURE)
        n = len(CELLS)
        plan = settings.plan(die.geometry, at, np.ones(n, bool), np.full(n, load.nominal.cut(0)), np.full(n, 10))
        rows = np.tile(np.arange(ROWS), 2)
        bias = row_bias(die.geometry, np.zeros(2 * ROWS, int), rows, np.repeat([V_READ, -V_READ], ROWS))
        die.sense(Sense(bias.take(slice(1)), np.arange(1), APERTURE))  # outputs go on once, not per cell
        count = Count(twin)
        with count.of(cost["cell"], n):
            attempts = die.program(plan)
        assert attempts.verified.all()
        assert load.truth()["state"][at].all()
        with count.of(cost["read-out"], 1):
            current = die.sense(Sense(bias, np.arange(COLS), APERTURE)).current
    cost["check"] = {"current": float(np.abs(current[:ROWS] - current[ROWS:]).sum())}
    return cost | {"safety": safety(twin)}


def safety(twin: Twin) -> dict[str, float]:
    """Return what the world counted."""
    ledger = twin.ledger
    return {"hot_switches": ledger.hot_switches, "peak_cell_voltage": ledger.peak_cell_voltage}


def pymeasure_script() -> dict[str, dict[str, float]] | None:
    """Return the same of a script as one writes it with PyMeasure's drivers; None if PyMeasure is not installed."""
    try:
        from pymeasure.instruments import Instrument
        from pymeasure.instruments.keithley import Keithley2600
    except ImportError:
        return None
    bench, load, twin = twin_of(sockets=True)
    assert twin.server is not None
    options = {"visa_library": "@py", "read_termination": "\n", "write_termination": "\n", "timeout": 5000}
    kernel, connections = bench.wiring.kernels[0], bench.connections
    try:
        smu = Keithley2600(twin.server.resource("smu1"), **options)
        matrix = Instrument(twin.server.resource("matrix"), "707B", includeSCPI=False, **options)
        a, b = smu.ChA, smu.ChB
        for channel in (a, b):
            channel.apply_voltage(voltage_range=1, compliance_current=5e-3)
            channel.measure_current(nplc=APERTURE * 60, current=1e-3, auto_range=False)
            channel.source_voltage = 0
            channel.source_output = "ON"

        def route(row: int, col: int) -> None:
            """The row on channel a, the column on channel b, all other lines on ground."""
            lines = {kernel.rows[row]: 0, kernel.cols[col]: 1}
            pads = [*kernel.rows, *kernel.cols]
            relays = [connections.relay(pad, lines.get(pad, connections.ground)) for pad in pads]
            closed = [crosspoint for _, crosspoint in filter(None, relays)]
            matrix.write("channel.open('allslots')")
            matrix.ask("*OPC?")
            matrix.write(f"channel.close('{','.join(closed)}')")
            matrix.ask("*OPC?")
            twin.wait(bench.settling.relays)

        def read(volts: float) -> float:
            a.source_voltage = volts
            twin.wait(bench.settling.source)
            current = -b.current
            a.source_voltage = 0
            return current

        cost: dict[str, dict[str, float]] = {"cell": {}, "read-out": {}}
        count = Count(twin)
        with count.of(cost["cell"], len(CELLS)):
            for _, row, col in CELLS:
                route(row, col)
                b.source_voltage = -V_WRITE / 2
                a.source_voltage = V_WRITE / 2
                twin.wait(WIDTH)
                a.source_voltage = 0
                b.source_voltage = 0
                assert read(V_READ) / V_READ > load.nominal.cut(0)
        total = 0.0
        with count.of(cost["read-out"], 1):
            for row in range(ROWS):
                for col in range(COLS):
                    route(row, col)
                    total += abs(read(V_READ) - read(-V_READ))
        for channel in (a, b):
            channel.source_voltage = 0
            channel.source_output = "OFF"
        smu.adapter.close()
        matrix.adapter.close()
    finally:
        twin.close()
    return cost | {"check": {"current": total}, "safety": safety(twin)}


WHERE = {
    "_message": "bus messages",
    "_move": "relays moving",
    "wait": "waits after relays and levels",
    "delay": "holds and ramps inside the instrument",
    "write": "source settling",
    "observe": "integration",
    "convert": "overhead of readings",
    "switch": "outputs on and off",
    "_go": "prober",
    "_step_to": "prober",
}
"""Who lets time pass in the emulators, and what it is."""


@dataclass(frozen=True)
class Work:
    """A campaign on a bench, with changes as on the command line, and the one of its dies that is worked on."""

    campaign: Path
    bench: Path
    die: str
    changes: dict[str, str]


def example(place: Path) -> Work:
    """Return the shipped example with `SOLUTIONS` of its networks, which are written into a folder."""
    few = place / "few.npz"
    solutions.save(few, solutions.load(ROOT / "examples" / "wine-solutions.npz").take(np.arange(SOLUTIONS)))
    return Work(ROOT / "examples" / "wine-passive.yaml", BENCH, "D80", {"solutions": str(few)})


def small(place: Path) -> Work:
    """Return one network on 3 x 4 cells, whose files are written into a folder."""
    return Work(soak.small(place), place / "bench.yaml", "D0", {})


def night(sim: str, folder: Path, work: Work) -> dict[str, object]:
    """Run one die on the twin; return times, wall and virtual."""
    spec = composition.read(work.campaign, work.changes, None, work.bench, sim)
    meta = run_folder.make_folder(folder, spec, [])
    at: list[tuple[str, float]] = []
    spent: Counter[str] = Counter()
    seal, die_job.seal_in_subprocess = die_job.seal_in_subprocess, lambda folder, die: ""
    try:
        assert spec.station is not None
        with spec.station.opened(lambda text: True, spec.station.twin()) as body:
            world = body.twin.world
            advance = world.advance

            def watched(seconds: float) -> None:
                spent[WHERE.get(sys._getframe(1).f_code.co_name, "other")] += seconds
                advance(seconds)

            world.advance = watched
            begin = time.perf_counter()
            (job,) = (one for one in jobs_of(spec, folder, meta) if one.die == work.die)

            def notify(die: str, what: str, detail: object) -> None:
                if what == "stage":
                    at.append((str(detail), world.now))

            result = die_job.run_die(job, spec.stages, notify, Stop(), body)
            wall = time.perf_counter() - begin
            ledger = body.twin.ledger
            assert result.outcome.exit_code == 0, result.outcome.reason
            run = {
                "wall": wall,
                "virtual": world.now,
                "messages": ledger.messages,
                "messages_per_second": ledger.messages / wall,
                "spent": dict(spent),
                "stages": {name: after - now for (name, now), (_, after) in pairwise([*at, ("end", world.now)])},
                "hot_switches": ledger.hot_switches,
                "peak_cell_voltage": ledger.peak_cell_voltage,
            }
    finally:
        die_job.seal_in_subprocess = seal
    return run


def queries(times: int) -> dict[str, float]:
    """Return simple queries and readings per second, through the drivers' wire, in process and over TCP."""
    rates = {}
    for name, sockets in (("bytes", False), ("tcp", True)):
        bench, _, twin = twin_of(sockets)
        try:
            wire = twin.connect("smu1", bench.instruments["smu1"])
            for what, text, n in (
                ("query", "print(smua.source.levelv)", times),
                ("reading", "print(smua.measure.i())", times // 4),
            ):
                wire.query(text)
                begin = time.perf_counter()
                for _ in range(n):
                    wire.query(text)
                rates[f"{what}, {name}"] = n / (time.perf_counter() - begin)
            wire.close()
        finally:
            twin.close()
    return rates


def hours(run: dict[str, object], n: int) -> dict[str, float]:
    """Return predicted bench hours of one array and of `DIES` dies of two, each with `ALL_SOLUTIONS`; `run` had `n`."""
    stages = run["stages"]
    fixed = sum(seconds for name, seconds in stages.items() if name != "network")
    die = fixed + stages["network"] / n * ALL_SOLUTIONS
    return {"one array": die / 2 / 3600, "one die": die / 3600, f"{DIES} dies": DIES * die / 3600}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="leave the TCP run out")
    parser.add_argument("--small", action="store_true", help="one network on 3 x 4 cells, in process, and few queries")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    theirs, mine, runs = pymeasure_script(), ours(), {}
    scripts = {"TSP-Link": inside(linked=True), "apart": inside(linked=False)}
    if theirs is not None:
        assert np.isclose(mine["check"]["current"], theirs["check"]["current"], rtol=1e-3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        work = small(folder) if given.small else example(folder)
        for sim in ("bytes",) if given.quick or given.small else ("bytes", "tcp"):
            runs[sim] = night(sim, folder / sim, work)
    result = {
        "cost": {"ours": mine, "inside": scripts, "pymeasure": theirs},
        "hours": hours(runs["bytes"], 1 if given.small else SOLUTIONS),
        "runs": runs,
        "queries_per_second": queries(200 if given.small else 2000),
    }
    if given.json:
        print(json.dumps(result))
        return
    print(f"{'':38}{'host':>12}{'PyMeasure':>12}" + "".join(f"{name:>12}" for name in scripts))
    for item, what in (("cell", "programmed cell"), ("read-out", f"read-out, {ROWS} rows +-, {COLS} columns")):
        for measure in ("round_trips", "messages", "routes", "relay_operations", "seconds"):
            other = f"{theirs[item][measure]:12.2f}" if theirs else f"{'-':>12}"
            within = "".join(
                f"{value:12.4f}" if (value := one.get(item, {}).get(measure)) else f"{'-':>12}"
                for one in scripts.values()
            )
            start = f"{what if measure == 'round_trips' else '':30.30} {measure[:7]:7}"
            print(f"{start}{mine[item][measure]:12.2f}{other}{within}")
    print()
    for item, value in result["hours"].items():
        print(f"predicted bench time, {item}, {ALL_SOLUTIONS} solutions: {value:.2f} h")
    spent = runs["bytes"]["spent"]
    for what, seconds in sorted(spent.items(), key=lambda pair: -pair[1]):
        print(f"    {what:40} {seconds / sum(spent.values()):6.1%}")
    print()
    for sim, run in runs.items():
        print(
            f"{sim}: {run['wall']:.1f} s for {run['virtual']:.0f} s of bench time, {run['messages']} messages, "
            f"{run['messages_per_second']:.0f} a second, {run['hot_switches']} hot switches, "
            f"peak {run['peak_cell_voltage']:.3g} V"
        )
    print("; ".join(f"{what}: {n:.0f} /s" for what, n in result["queries_per_second"].items()))


if __name__ == "__main__":
    main()
