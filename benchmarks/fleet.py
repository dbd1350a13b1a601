"""Enter many runs into a fleet and ask it, beside DuckDB and pandas on the same file.

    python benchmarks/fleet.py                 200 runs of 36 dies
    python benchmarks/fleet.py --small         5 runs of 4 dies; the tests run this
    python benchmarks/fleet.py --json          the figures as one line

The runs have journals as real ones and nothing else, since nothing else is read. A question is `tmr < 90 % and after
2020-01-01`: in this process with the file read anew each time, as a command with its start, and of the other programs
with the same file read anew. All have to count the same rows.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pandas

from labctl.core.die_state import State
from labctl.core.events import RunEnded
from labctl.fleet import store
from labctl.fleet.conditions import rows_where
from labctl.fleet.rows import rows_of
from labctl.storage.manifest import FORMAT
from labctl.storage.run_log import Runlog
from protocols.figures import SURVEY_FIGURES

WORDS = "tmr < 90 % and after 2020-01-01"
TIMES = 7


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--dies", type=int, default=36)
    parser.add_argument("--small", action="store_true", help="5 runs of 4 dies")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    runs, dies = (5, 4) if given.small else (given.runs, given.dies)
    with tempfile.TemporaryDirectory(prefix="fleet-") as folder:
        figures = measured(Path(folder), runs, dies)
    if given.json:
        print(json.dumps(figures))
    else:
        print(text(figures))
    return int(len(set(figures["counts"].values())) != 1)


def measured(place: Path, runs: int, dies: int) -> dict:
    """Return times in s, the size in bytes, and how many rows each program counts."""
    dice = np.random.default_rng(0)
    folders = [made(place / f"run-{k:03d}", k, dies, dice) for k in range(runs)]
    path, begun = place / "fleet.parquet", time.perf_counter()
    store.add(path, [rows_of(folder) for folder in folders])
    rebuilt = time.perf_counter() - begun
    command = [sys.executable, "-m", "labctl", "fleet", "query", WORDS, "--fleet", str(path), "--json"]

    def ours() -> int:
        return int(rows_where(store.read(path), WORDS).sum())

    def as_command() -> int:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return len(json.loads(done.stdout)["rows"])

    def of_pandas() -> int:
        frame = pandas.read_parquet(path)
        return int(((frame["tmr"] < 0.9) & (frame["finished"] >= "2020-01-01")).sum())

    def of_duckdb() -> int:
        query = f"SELECT count(*) FROM '{path}' WHERE tmr < 0.9 AND finished >= '2020-01-01'"
        return int(duckdb.sql(query).fetchall()[0][0])

    programs = {"query": ours, "command": as_command, "pandas": of_pandas, "duckdb": of_duckdb}
    timed = {name: repeated(program) for name, program in programs.items()}
    return {
        "runs": runs,
        "rows": runs * dies,
        "bytes": path.stat().st_size,
        "rebuild": rebuilt,
        "seconds": {name: seconds for name, (seconds, _) in timed.items()},
        "counts": {name: count for name, (_, count) in timed.items()},
    }


def made(folder: Path, number: int, dies: int, dice: np.random.Generator) -> Path:
    """Make a run of surveyed dies, whose figures scatter; return its folder."""
    folder.mkdir()
    names = [f"W{number:03d}-x{k % 6}y{k // 6}" for k in range(dies)]
    meta = {
        "format": FORMAT,
        "name": "survey",
        "utc": number,
        "dies": [{"name": name, "at": [k % 6, k // 6], "wafer": f"W{number:03d}"} for k, name in enumerate(names)],
        "figures": [figure.plain() for figure in SURVEY_FIGURES],
    }
    log = Runlog.create(folder, meta)
    for name in names:
        values = {figure.key: float(dice.normal(1.0, 0.1)) for figure in SURVEY_FIGURES}
        log.set_state(name, State.RUNNING, 1)
        log.set_state(name, State.SEALING, 1)
        log.set_state(name, State.DONE, 1, figures=values, bin="good", hard=1)
    log.write(RunEnded(outcome="success", exit_code=0))
    log.finish()
    return folder


def repeated(program: Callable[[], int]) -> tuple[float, int]:
    """Return the median time of some calls after a first one, and what they return."""
    count, times = program(), []
    for _ in range(TIMES):
        begun = time.perf_counter()
        program()
        times.append(time.perf_counter() - begun)
    return statistics.median(times), count


def text(figures: dict) -> str:
    """Return the figures in words."""
    seconds = figures["seconds"]
    return (
        f"{figures['runs']} runs, {figures['rows']:,} rows, {figures['bytes'] / 1e6:.2f} MB: entered in "
        f"{figures['rebuild']:.2f} s ({figures['rebuild'] / figures['runs'] * 1e3:.1f} ms a run); a question takes "
        f"{seconds['query'] * 1e3:.1f} ms, as a command {seconds['command']:.2f} s; pandas takes "
        f"{seconds['pandas'] / seconds['query']:.2f} times as long, DuckDB {seconds['duckdb'] / seconds['query']:.2f}; "
        f"rows counted: {', '.join(f'{name} {count}' for name, count in figures['counts'].items())}"
    )


if __name__ == "__main__":
    sys.exit(main())
