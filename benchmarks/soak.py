"""Night after night in one process: does the engine keep what it should let go?

    python benchmarks/soak.py                        200 nights of three simulated dies of 3 x 4 cells
    python benchmarks/soak.py --bench                on the twin of a bench: the engine starts a process for each night
    python benchmarks/soak.py --overnight            5 nights of examples/overnight-bench.yaml, two networks, twin
    python benchmarks/soak.py --overnight --dies 4   of four of its dies, with as many faults
    python benchmarks/soak.py --nights 1             fewer of them; the tests run so many

Every night is a run with the faults of a plausible one, each with its own seed (`labctl run --faults typical`), and it
is taken up again once if something was left to do. After each the private memory of this process, its handles
and its threads are measured, and the memory of the process that seals, which goes on from night to night. Over the
nights after the first 20 straight lines are fitted to the memory. Exit codes: 0 the 95 % intervals of their slopes end
below 20 kB a night, and at the end there are no more handles and threads than before; 1 it is otherwise, or a night
ended in no documented state. Of fewer than 10 nights after the first 20 no slope is told.
"""

import argparse
import gc
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from scipy import stats

from labctl.batch import resume, session
from labctl.batch.exit_status import Ending
from labctl.core.die_state import FINAL, State
from labctl.core.exit_codes import ExitCode
from labctl.networks import solutions
from labctl.report.rehearsal import happened
from labctl.station import composition
from labctl.station.injected_faults import drawn
from labctl.station.rehearse import rehearsed
from labctl.storage.run_log import RunState

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SETTLED = 20
"""Nights after which memory is expected to grow no more."""
ENOUGH = 10
"""Nights after those, from which on a slope is told."""
MOST = 20.0
"""Slope that is still none, kB a night."""
DIES = 3
CENTRE_OUT = ("x1y1", "x2y1", "x1y2", "x2y2", "x1y0", "x2y0", "x0y1", "x3y1", "x0y2", "x3y2", "x1y3", "x2y3")
"""Dies of the wafer of examples/overnight-bench.yaml, from the centre outwards."""
CODES = {ExitCode.GOOD, ExitCode.OTHER_BIN, ExitCode.STOPPED, ExitCode.NOT_OFF}
"""Exit codes of a night on whose instruments and dies faults have happened."""
ENDS = {*FINAL, State.ERROR, State.INTERRUPTED, State.PENDING}
"""States of dies after a night: those that were not begun are pending."""
DIE = """\
name: small
geometry: {kind: passive, n_rows: 3, n_cols: 4}
junction: {diameter: 80 nm}
"""
CAMPAIGN = """\
name: small-nights
dies:
{dies}
limits:
  {{v_towards_p: 700 mV, v_towards_ap: 700 mV, width: 10 ms, compliance: 10 mA, v_count: 350 mV, pulses_per_cell: 200}}
stages:
  - survey: {{v_start: 360 mV, v_max: 600 mV, v_step: 60 mV, budget: 14, aperture: 1 ms, compliance: 500 uA}}
  - network:
      solutions: networks.npz
      data: samples.npz
      placement: [{{kernel: 0, row: 0, col: 0}}]
      write_verify: {{v_start: 360 mV, v_max: 600 mV, v_step: 60 mV, budget: 14, aperture: 1 ms, compliance: 500 uA}}
      inference: {{scales: 3}}
batch: {{tries: 1}}
accept: {{fidelity: 90 %}}
"""
BENCH = """\
name: small bench
instruments:
  smu1: {driver: keithley2600b, resource: "TCPIP::192.0.2.1::5025::SOCKET"}
  smu2: {driver: keithley2600b, resource: "TCPIP::192.0.2.2::5025::SOCKET"}
  matrix: {driver: keithley707b, resource: "TCPIP::192.0.2.3::5025::SOCKET"}
  prober: {driver: mpi_sentio, resource: "TCPIP::192.0.2.4::35555::SOCKET", overtravel_ceiling: 50 um}
wiring:
  channels: {smu1.smua: A, smu1.smub: B, smu2.smua: C, smu2.smub: D}
  ground: H
  pads: {r0: 1-01, r1: 1-02, r2: 1-03, c0: 1-04, c1: 1-05, c2: 1-06, c3: 1-07}
  kernels: [{rows: [r0, r1, r2], cols: [c0, c1, c2, c3]}]
limits: {v_towards_p: 0.7 V, v_towards_ap: 0.7 V, width: 10 ms, compliance: 10 mA, ramp_rate: 1000 V/s}
contact: {structures: [[r0, c0]], retouches: 1, touches_per_die: 3}
"""


@dataclass(frozen=True)
class Night:
    """One night, and what the process has after it.

    Args:
        memory: that only this process has, kB; `sealing` that only its children have.
        handles: open files and sockets, or handles of Windows.
        faults: (drawn, happened).
    """

    memory: float
    sealing: float
    handles: int
    threads: int
    faults: tuple[int, int]
    code: int
    ends: dict[str, str]


def small(place: Path) -> Path:
    """Write the campaign of three small dies and its bench; return its path."""
    dice = np.random.default_rng(3)
    x = dice.uniform(-1, 1, (9, 3))
    y = (x @ [1.0, -0.5, 0.3] > 0).astype(np.int64)
    np.savez(place / "samples.npz", x_train=x[:6], y_train=y[:6], x_test=x[6:], y_test=y[6:])
    devices = (dice.random((1, 3, 4)) < 0.5).astype(np.uint8)
    solutions.save(
        place / "networks.npz", solutions.Solutions(np.arange(1), (devices,), (dice.normal(0, 0.3, (1, 2)),))
    )
    (place / "die.yaml").write_text(DIE, encoding="utf-8")
    (place / "bench.yaml").write_text(BENCH, encoding="utf-8")
    dies = "\n".join(f"  - {{name: D{k}, file: die.yaml, at: [{k}, 0]}}" for k in range(DIES))
    (place / "nights.yaml").write_text(CAMPAIGN.format(dies=dies), encoding="utf-8")
    return place / "nights.yaml"


def overnight(place: Path, dies: int) -> Path:
    """Write examples/overnight-bench.yaml with two of its networks, for the first `dies`; return its path."""
    shipped = solutions.load(EXAMPLES / "wine-solutions.npz")
    solutions.save(place / "networks.npz", shipped.take(np.arange(2)))
    text = (EXAMPLES / "overnight-bench.yaml").read_text(encoding="utf-8")
    for name in ("wafers/wafer-12.yaml", "dies/passive-15x15.yaml"):
        text = text.replace(name, str(EXAMPLES / name))
    text = text.replace("wafer:\n", f"wafer:\n  only: [{', '.join(f'W02-{die}' for die in CENTRE_OUT[:dies])}]\n")
    path = place / "nights.yaml"
    path.write_text(text.replace("wine-solutions.npz", "networks.npz"), encoding="utf-8")
    shutil.copy(EXAMPLES / "bench-two-arrays.yaml", place / "bench.yaml")
    return path


def carry_out(campaign: Path, sim: str | None, seed: int, folder: Path) -> tuple[Ending, RunState]:
    """Carry out one night, and take it up again once if something is left to do."""
    bench = campaign.with_name("bench.yaml") if sim else None
    options, argv = session.RunOptions(workers=1), ["labctl", "run", str(campaign)]
    spec, plans = rehearsed(composition.read(campaign, seed=seed, bench=bench, sim=sim))
    ending, state = session.start(folder, drawn(spec, plans), plans, argv, options)
    if not state.unfinished:
        return ending, state
    again, plans = rehearsed(resume.read(folder, state.meta))
    return session.resume(folder, again, plans, argv, options)


def nights(campaign: Path, sim: str | None, number: int, place: Path) -> list[Night]:
    """Carry out `number` nights and print a line for each."""
    process, done = psutil.Process(), []
    for seed in range(number):
        start, folder = time.monotonic(), place / "run"
        ending, state = carry_out(campaign, sim, seed, folder)
        faults = len(state.meta["faults"]["list"]), len(happened(state))
        shutil.rmtree(folder)
        gc.collect()
        memory, sealing = private(process), sum(map(private, process.children(recursive=True)))
        handles = process.num_handles() if sys.platform == "win32" else process.num_fds()
        ends = {die.name: die.state.value for die in state.dies.values()}
        done.append(Night(memory, sealing, handles, process.num_threads(), faults, ending.code, ends))
        print(
            f"night {seed + 1}: {memory:.0f} kB, sealing {sealing:.0f} kB, {handles} handles, "
            f"{done[-1].threads} threads; {faults[1]} of {faults[0]} faults, exit {ending.code}, "
            f"{', '.join(ends.values())}; {time.monotonic() - start:.1f} s",
            flush=True,
        )
    return done


def private(process: psutil.Process) -> float:
    """Return the memory that one process has written to and shares with no other, kB; 0 of one that has just ended.

    On Linux its USS has the pages of libraries too, while no other process uses them: that goes up and down by some
    10 MB with what else runs on the computer.
    """
    try:
        if sys.platform == "linux":
            return sum(one.private_dirty for one in process.memory_maps(grouped=True)) / 1e3
        return float(process.memory_full_info().uss) / 1e3
    except psutil.NoSuchProcess:
        return 0.0


def slope(memory: list[float]) -> tuple[float, float]:
    """Return the slope of a straight line through `memory`, in kB a night, and half of its 95 % interval."""
    fit = stats.linregress(np.arange(len(memory)), memory)
    return float(fit.slope), float(stats.t.ppf(0.975, len(memory) - 2) * fit.stderr)


def is_flat(counts: list[int]) -> bool:
    """Return whether there are no more in the second half than in the first."""
    half = len(counts) // 2
    return max(counts[half:]) <= max(counts[:half])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nights", type=int, help="how many [default: 200; with --overnight 5]")
    parser.add_argument("--bench", action="store_true", help="on the twin of a bench, over bytes")
    parser.add_argument("--overnight", action="store_true", help="12 dies of two 15 x 15 arrays, on the twin")
    parser.add_argument("--dies", type=int, default=len(CENTRE_OUT), help="of --overnight [default: all]")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        place = Path(folder)
        campaign = overnight(place, given.dies) if given.overnight else small(place)
        sim = "bytes" if given.bench or given.overnight else None
        done = nights(campaign, sim, given.nights or (5 if given.overnight else 200), place)
    return judge(done)


def judge(done: list[Night]) -> int:
    """Print what came of the nights; return the exit code."""
    odd = [night for night in done if night.code not in CODES or not set(night.ends.values()) <= ENDS]
    planned, struck = (sum(night.faults[k] for night in done) for k in (0, 1))
    print(f"{len(done)} nights, {struck} of {planned} faults happened, {len(odd)} nights in no documented state")
    settled = done[SETTLED:]
    if len(settled) < ENOUGH:
        print(f"no slope: it is told from {SETTLED + ENOUGH} nights on")
        return int(bool(odd))
    slopes = {
        "private memory": slope([night.memory for night in settled]),
        "that of the sealing process": slope([night.sealing for night in settled]),
    }
    flat = {name: is_flat([getattr(night, name) for night in settled]) for name in ("handles", "threads")}
    for name, (kilobytes, half) in slopes.items():
        low, high = kilobytes - half, kilobytes + half
        print(f"{name} after night {SETTLED}: {kilobytes:+.1f} kB a night, 95 % from {low:+.1f} to {high:+.1f}")
    print(", ".join(f"{name} {'flat' if it else 'GROW'}" for name, it in flat.items()))
    grows = any(kilobytes + half > MOST for kilobytes, half in slopes.values())
    return int(bool(odd) or grows or not all(flat.values()))


if __name__ == "__main__":
    sys.exit(main())
