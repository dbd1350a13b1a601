"""Kill a run again and again, and see what it costs: nothing that was acknowledged, and no output that stays on.

    python benchmarks/kills.py                 36 simulated dies, the whole run killed (SIGKILL) at random moments
    python benchmarks/kills.py --bench         12 dies on the emulated bench over TCP, the process that owns it killed
    python benchmarks/kills.py --cluster       36 simulated dies on two cluster workers, the one that has a die killed
    python benchmarks/kills.py --small         one kill of 2 dies, or with --bench of 3 small ones; the tests run these

A run is killed, taken up with `labctl resume`, killed again, until it was killed as often as asked for and has ended.
Just before each kill the last committed row of every journal is noted; just after it every journal is verified digest
by digest, and must have that row; every file that was sealed must open and have the digest that the run's journal says.
In the end all dies must have come to the bins and figures of a run that was left alone. On the bench the parent process
lives on and makes the instruments safe; how long that took after the death of their owner is what it wrote down. On
the cluster the run lives on too, and all tables must be equal to the bit to those of a run of one process that was left
alone. Exit codes: 0 nothing was lost, 1 something was.
"""

import argparse
import contextlib
import hashlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import soak

from labctl import open_run
from labctl.core.die_state import ACTIVE, State
from labctl.core.errors import StorageError
from labctl.core.events import WatchdogActed, WorkerFate
from labctl.networks import solutions
from labctl.storage.hdf5_reader import SealedDie
from labctl.storage.journal import Journal
from labctl.storage.locks import holder
from labctl.storage.run_log import read_state

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SMALL = ("W01-x1y1", "W01-x2y1")
"""Dies of which a few are enough."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, help="how often [default: 30, on the bench 10]")
    parser.add_argument("--bench", action="store_true", help="kill the owner of the emulated bench instead")
    parser.add_argument("--cluster", action="store_true", help="kill workers of a Dask cluster instead")
    parser.add_argument("--small", action="store_true", help="few dies and kills")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    given = parser.parse_args()
    often = 1 if given.small else (10 if given.bench else 30)
    kills, dice = given.kills or often, random.Random(given.seed)
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        place = Path(folder)
        if given.bench and given.small:
            return kill_owner(soak.small(place), place / "bench.yaml", place / "run", kills, dice, 0.3)
        campaign = written(place, 1 if given.small else 2)
        if given.bench:
            return kill_owner(campaign, EXAMPLES / "bench-two-arrays.yaml", place / "run", kills, dice, 2.0)
        few = ("--set", f"wafer.only=[{', '.join(SMALL)}]") if given.small else ()
        if given.cluster:
            return kill_workers(place / "night-36.yaml", place, kills, dice, few)
        return kill_all(place / "night-36.yaml", place, kills, dice, few, 0.3 if given.small else 3.0)


def written(place: Path, n: int) -> Path:
    """Write a campaign of 36 passive dies, or 12 of them on the bench, of `n` solutions each; return its path."""
    shipped = solutions.load(EXAMPLES / "wine-solutions.npz")
    solutions.save(place / "few.npz", shipped.take(np.arange(n)))
    text = (EXAMPLES / "overnight-bench.yaml").read_text(encoding="utf-8")
    for name in ("wafers/wafer-12.yaml", "wafers/wafer-36.yaml", "dies/passive-15x15.yaml"):
        text = text.replace(name, str(EXAMPLES / name))
    path = place / "night.yaml"
    path.write_text(text.replace("wine-solutions.npz", "few.npz"), encoding="utf-8")
    (place / "night-36.yaml").write_text(
        path.read_text(encoding="utf-8").replace("wafer-12.yaml", "wafer-36.yaml"), encoding="utf-8"
    )
    return path


def labctl(*args: object) -> "subprocess.Popen[bytes]":
    """Start a command; what it says to people goes to the file that KILLS_LOG names, if it does."""
    command = [sys.executable, "-m", "labctl", *map(str, args)]
    with open(os.environ.get("KILLS_LOG", os.devnull), "ab") as log:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True)


def committed(run: Path) -> dict[Path, int]:
    """Return the number of the last row on the disk in every journal of a run."""
    rows = {}
    for path in (run / "journal.db", *run.glob("dies/*/journal.db")):
        with contextlib.suppress(sqlite3.Error):  # it is just being made
            db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)
            with contextlib.closing(db):
                rows[path] = db.execute("SELECT ifnull(max(seq), 0) FROM log").fetchone()[0]
    return rows


def examine(run: Path, before: dict[Path, int]) -> tuple[int, int]:
    """Return how many acknowledged rows are lost and how many sealed files do not open; journals must be whole."""
    lost, after = 0, committed(run)
    for path, last in before.items():
        with Journal.open(path.parent) as journal:
            journal.verify()
        lost += max(0, last - after[path])
    broken = 0
    for die in read_state(run).dies.values():
        for attempt in die.tries:
            path = run / "dies" / f"{die.folder}.h5"
            if attempt.sha256 and attempt is die.last and attempt.state is State.DONE:
                broken += hashlib.sha256(path.read_bytes()).hexdigest() != attempt.sha256
                with SealedDie(path) as sealed:
                    broken += not sealed.tables
    return lost, broken


def kill_all(campaign: Path, place: Path, kills: int, dice: random.Random, few: Sequence[str], latest: float) -> int:
    """Kill a whole run, again and again, up to `latest` s after a die is under way; return the exit code."""
    run = place / "run"
    done = lost = broken = 0
    process = labctl("run", campaign, "--out", run, *few)
    while True:
        wait_for_work(run, process)
        time.sleep(dice.uniform(0.0, latest))
        if process.poll() is not None or done == kills:
            break
        before = committed(run)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(0.2)
        counts = examine(run, before)
        done, lost, broken = done + 1, lost + counts[0], broken + counts[1]
        ended = sum(d.state is State.DONE for d in read_state(run).subjects)
        print(f"kill {done}: {ended} dies done, {lost} rows lost, {broken} sealed files broken", flush=True)
        process = labctl("resume", run)
    process.wait()
    labctl("run", campaign, "--out", place / "alone", *few).wait()
    same, dies = compare(run, place / "alone")
    print(
        f"{done} kills of a run of {dies} dies: {lost} acknowledged rows lost, {broken} sealed files broken; ", end=""
    )
    print(f"exit {process.returncode}; {same} of {dies} dies have the bins and figures of a run left alone")
    return int(lost > 0 or broken > 0 or same < dies or process.returncode not in (0, 1))


def wait_for_work(run: Path, process: "subprocess.Popen[bytes]") -> None:
    """Return when a die is under way, or the run has ended."""
    while process.poll() is None and not in_states(run, ACTIVE):
        time.sleep(0.02)


def in_states(run: Path, states: Collection[State]) -> dict[str, str]:
    """Return the folders of the dies that are in one of `states` by name; none of a run that cannot be read yet."""
    with contextlib.suppress(StorageError, sqlite3.Error):
        return {die.name: die.folder for die in read_state(run).dies.values() if die.state in states}
    return {}


def compare(run: Path, other: Path) -> tuple[int, int]:
    """Return how many dies came to the same in both runs, and how many there are."""
    a, b = read_state(run), read_state(other)
    same = 0
    for mine, theirs in zip(a.subjects, b.subjects, strict=True):
        x, y = mine.last, theirs.last
        same += x is not None and y is not None and (x.bin, dict(x.figures)) == (y.bin, dict(y.figures))
    return same, len(a.subjects)


def kill_owner(campaign: Path, bench: Path, run: Path, kills: int, dice: random.Random, latest: float) -> int:
    """Kill the process that owns the bench, again and again, up to `latest` s into a die; return the exit code."""
    ways = ("--bench", bench, "--sim", "tcp", "--set", f"batch.reconnects={kills + 2}")
    process = labctl("run", campaign, "--out", run, *ways)
    done = lost = 0
    tried: set[str] = set()
    while process.poll() is None and done < kills:
        time.sleep(0.05)
        active = list(in_states(run, {State.RUNNING}))
        owner = owners(process.pid)
        if not active or active[0] in tried or not owner:
            continue
        time.sleep(dice.uniform(0.0, latest))
        tried.add(active[0])
        before = committed(run)
        with contextlib.suppress(ProcessLookupError):
            os.kill(owner[0], signal.SIGKILL)
            done += 1
        time.sleep(1.0)
        after = committed(run)
        lost += sum(max(0, last - after[path]) for path, last in before.items())
        print(f"kill {done} (die {active[0]}): {lost} rows lost", flush=True)
    process.wait()
    state = read_state(run)
    watched = [row.event for row in state.events if isinstance(row.event, WatchdogActed)]
    safe = [event.seconds or 0.0 for event in watched if event.what is WorkerFate.SAFE]
    unsafe = sum(event.what is WorkerFate.UNSAFE for event in watched)
    print(f"{done} kills of the owner of the bench: {lost} acknowledged rows lost; {len(safe)} times safe, ", end="")
    print(
        f"at the latest {max(safe, default=float('nan')):.3f} s after its death was seen, {unsafe} times not; ", end=""
    )
    print(
        f"exit {process.returncode}; {sum(d.bin == 'good' for d in state.subjects)} of {len(state.subjects)} dies good"
    )
    return int(lost > 0 or unsafe > 0 or done < kills or process.returncode not in (0, 1))


def kill_workers(campaign: Path, place: Path, kills: int, dice: random.Random, few: Sequence[str]) -> int:
    """Kill workers of a cluster while they have a die, each die at most once; return the exit code.

    A worker that was killed is started anew by hand: a nanny of Dask may give up where much is killed.
    """
    from distributed import LocalCluster

    labctl("run", campaign, "--out", place / "alone", "--workers", "1", *few).wait()
    rows = {path.parent.name: number for path, number in committed(place / "alone").items()}
    run, done, lost, killed = place / "run", 0, 0, set[str]()
    with (
        LocalCluster(n_workers=0, dashboard_address=":0", scheduler_port=0) as cluster,
        Workers(cluster.scheduler_address, 2) as workers,
    ):
        process = labctl("run", campaign, "--out", run, "--executor", f"dask={cluster.scheduler_address}", *few)
        while process.poll() is None and done < kills:
            workers.replace()
            time.sleep(0.02)
            active = in_states(run, {State.RUNNING})
            for name in active.keys() - killed:
                # a row, not a time: on a machine with other work a die takes longer than it took alone, or ends before
                folder, row = run / "dies" / active[name], dice.uniform(0.0, 0.5) * rows[name]
                while process.poll() is None and committed(run).get(folder / "journal.db", 0) < row:
                    workers.replace()
                    time.sleep(0.02)
                before, owner = committed(run), holder(folder)
                if owner is None or owner.pid == os.getpid():
                    continue
                with contextlib.suppress(ProcessLookupError):
                    os.kill(owner.pid, signal.SIGKILL)
                    killed.add(name)
                    done += 1
                    time.sleep(0.2)
                    after = committed(run)
                    lost += sum(max(0, last - after[path]) for path, last in before.items())
                    print(f"kill {done} (die {name}): {lost} rows lost", flush=True)
                break
        while process.poll() is None:
            workers.replace()
            time.sleep(0.2)
    equal, dies = equal_to_the_bit(run, place / "alone")
    print(f"{done} kills of cluster workers: {lost} acknowledged rows lost; exit {process.returncode}; ", end="")
    print(f"{equal} of {dies} dies equal to the bit to those of a run left alone")
    return int(lost > 0 or equal < dies or done < kills or process.returncode not in (0, 1))


class Workers:
    """`number` workers of the cluster at `address`, each a process."""

    def __init__(self, address: str, number: int) -> None:
        ways = ("--no-nanny", "--nthreads", "1", "--no-dashboard", "--death-timeout", "60")
        self._command = [sys.executable, "-m", "distributed.cli.dask_worker", address, *ways]
        self._processes = [self._start() for _ in range(number)]

    def _start(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def replace(self) -> None:
        """Start a worker for each that has ended."""
        self._processes = [self._start() if one.poll() is not None else one for one in self._processes]

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()


def equal_to_the_bit(run: Path, other: Path) -> tuple[int, int]:
    """Return how many dies have the same tables in both runs but for times and numbers of rows, and how many there are.

    A die that is in one run only counts as different.
    """
    one, two = open_run(run), open_run(other)
    dies, different = {*one.dies, *two.dies}, {*one.dies} ^ {*two.dies}
    for table in {*one.tables, *two.tables}:
        a, b = one.table(table), two.table(table)
        for name in dies - different:
            mine, theirs = a["die"] == name, b["die"] == name
            columns = [column for column in a if column not in ("utc", "seq")]
            if not all(np.array_equal(a[c][mine], b[c][theirs], equal_nan=a[c].dtype.kind == "f") for c in columns):
                different.add(name)
    return len(dies - different), len(dies)


def owners(parent: int) -> list[int]:
    """Return the processes that a run has spawned to own its bench."""
    listed = subprocess.run(["ps", "-ww", "-o", "pid=,args=", "--ppid", str(parent)], capture_output=True, text=True)
    return [int(line.split()[0]) for line in listed.stdout.splitlines() if "spawn_main" in line]


if __name__ == "__main__":
    sys.exit(main())
