"""The page from elsewhere beside a run: how late is it, and what does it cost?

    python benchmarks/live_page.py             12 dies of 36 simulated chips of 20,000 junctions
    python benchmarks/live_page.py --dies 36   all of them
    python benchmarks/live_page.py --small     three dies of a small passive array; the tests run so many
    python benchmarks/live_page.py --json      the figures as one line of JSON

A run is started, and `labctl serve` beside it, each a process of its own. This process asks for news as a browser does,
0.9 s after each answer, and notes when the map has first shown each die in its bin. Against the time of the row in the
run's journal that says so, this is how late the mark is, drawing in the browser apart. Processor time is that of the
server between its first answer and the end of the run, and that of the run with all of its processes, to which the
system adds them up. Exit code 0: no mark was later than 2 s, and the server took less than 1 % of the run's processor
time; 1 otherwise; with --small it is always 0, because starting is most of such a run.
"""

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import psutil

from labctl.core.die_state import FINAL
from labctl.core.events import DieMoved, RunEvent
from labctl.storage.event_rows import event_rows
from labctl.storage.journal import Journal

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
EVERY = 0.9
"""Between an answer and the next question, s; as labctl/serve/serve.js."""
PATIENCE = 120.0
"""So long after the end of the run the page is asked for dies that it has not shown, s; it looks at a run less often
where a look takes long."""
LATE, SHARE = 2.0, 0.01
SMALL = ["--only", "W02-x1y0,W02-x2y0,W02-x1y1", "--set", "wafer.change={geometry: {n_rows: 4, n_cols: 3}}"]


def chips(dies: int) -> list[str]:
    """Return the words of a run of so many chips of the example."""
    wafer = (EXAMPLES / "wafers" / "wafer-36.yaml").read_text(encoding="utf-8")
    rows = [line[4:] for line in wafer.splitlines() if re.fullmatch(r"  - [.X]+", line)]
    there = [f"W01-x{x}y{y}" for y, row in enumerate(rows) for x, mark in enumerate(row) if mark == "X"]
    return [str(EXAMPLES / "overnight-36-dies.yaml"), "--only", ",".join(there[:dies])]


def ask(url: str) -> dict[str, object]:
    """Return news of the page."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        return dict(json.loads(answer.read()))


def watched(words: list[str], home: Path) -> dict[str, float]:
    """Return the figures of one run with a page beside it."""
    folder = home / "runs"
    folder.mkdir()
    python = [sys.executable, "-m", "labctl"]
    server = subprocess.Popen([*python, "serve", str(folder), "--port", "0"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    url = server.stdout.readline().split()[-1]
    run = subprocess.Popen(
        [*python, "run", *words, "--out", str(folder / "run")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not (folder / "run" / "journal.db").is_file():
        time.sleep(0.05)
    shown: dict[str, float] = {}
    seconds, usage, begun = list[float](), None, 0.0
    page, tags = psutil.Process(server.pid), ""
    done, ended = dict[str, float](), 0.0
    while usage is None or (done.keys() - shown.keys() and time.perf_counter() - ended < PATIENCE):
        started = time.perf_counter()
        news = ask(f"{url}runs/run/news?{tags}")
        seconds.append(time.perf_counter() - started)
        parts = news["parts"]
        assert isinstance(parts, dict)
        begun = begun or sum(page.cpu_times()[:2])
        if "maps" in parts:
            first = parts["maps"][1].partition('class="panel"')[2].partition('class="panel"')[0]
            for die, kind in re.findall(r'data-say="([^:"]+): ([\w-]+)', first):
                if kind not in ("pending", "moving", "contact", "running", "sealing"):
                    shown.setdefault(die, time.time())
        kept = {name: part[0] for name, part in parts.items()}
        known = {**dict(pair.split("=") for pair in tags.split("&") if pair), **kept}
        tags = "&".join(f"{name}={tag}" for name, tag in known.items())
        if usage is None:
            pid, status, rusage = os.wait4(run.pid, os.WNOHANG)
            if pid:
                usage, run.returncode = rusage, os.waitstatus_to_exitcode(status)
                spent = sum(page.cpu_times()[:2]) - begun
                memory = page.memory_info().rss
                ended = time.perf_counter()
                with Journal.open(folder / "run") as journal:
                    rows = [(row.event, row.stamp.utc) for row in event_rows(RunEvent, journal.events())]
                done = {event.die: utc for event, utc in rows if isinstance(event, DieMoved) and event.state in FINAL}
        time.sleep(EVERY)
    server.send_signal(signal.SIGINT)
    assert server.wait(30) == 0, "the page does not end at ^C"
    late = [shown[die] - at for die, at in done.items() if die in shown]
    assert len(late) == len(done) > 0, f"{set(done) - set(shown)} were never shown"
    theirs = usage.ru_utime + usage.ru_stime
    return {
        "dies": len(done),
        "run, s": rows[-1][1] - rows[0][1],
        "mark, median, s": statistics.median(late),
        "mark, latest, s": max(late),
        "answer, median, ms": statistics.median(seconds) * 1e3,
        "run, processor s": theirs,
        "page, processor s": spent,
        "page, of the run, %": 100 * spent / theirs,
        "page, start, processor s": begun,
        "page, memory, MB": memory / 1e6,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dies", type=int, default=12)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    words = [str(EXAMPLES / "survey-wafer.yaml"), *SMALL] if options.small else chips(options.dies)
    with tempfile.TemporaryDirectory() as home:
        figures = watched(words, Path(home))
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:28} {value:10.2f}")
    kept = figures["mark, latest, s"] < LATE and figures["page, of the run, %"] < 100 * SHARE
    return 0 if kept or options.small else 1


if __name__ == "__main__":
    sys.exit(main())
