"""Switch a bench off beside the run that holds it, again and again, and see who wins.

    python benchmarks/off_wins.py              5 times
    python benchmarks/off_wins.py 20           20 times
    python benchmarks/off_wins.py --clock real instruments that take as long as they would

Two small dies are surveyed over sockets, on instruments that are served apart as a real bench is. At a random moment
`labctl off` is typed beside the run. Another connection asks the sources all the time whether an output is on: how long
after the command that ends, and whether one goes on again while the run ends and in the seconds after it. With the
virtual clock the times are those of programs and sockets and not of ramps and relays.
"""

import argparse
import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
ROWS, COLS, DIES = 5, 4, 2
PATIENCE = 10.0
"""Longest wait for an answer, s."""
AFTER = 2.0
"""How long the outputs are asked for when both commands have ended, s."""
SOURCES = ("smu1", "smu2")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("times", type=int, nargs="?", default=5, help="how often [default: 5]")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--clock", choices=["virtual", "real"], default="virtual", help="of the instruments")
    given = parser.parse_args()
    dice = random.Random(given.seed)
    rounds = []
    for number in range(given.times):
        with tempfile.TemporaryDirectory(prefix="off-") as folder:
            rounds.append(one(Path(folder), dice.uniform(0.0, 4.0), given.clock))
        print(f"{number + 1}: {rounds[-1]}", flush=True)
    print(summary(rounds))


@dataclass(frozen=True)
class Round:
    """One `labctl off` beside a run.

    Args:
        again: readings of an output that was on after `labctl off` had ended.
        seconds: from the command until no output was on any more; `ended`: until the command ended.
        run_code, off_code: exit codes.
        hot: relays that moved under voltage, as the twin counted them.
    """

    again: int
    seconds: float
    ended: float
    run_code: int
    off_code: int
    hot: int

    def __str__(self) -> str:
        codes = f"off ends with {self.off_code} after {self.ended:.1f} s, the run with {self.run_code}"
        again = f"{self.again} readings of an output on afterwards, {self.hot} hot switches"
        return f"off after {self.seconds:.2f} s; {codes}; {again}"


def summary(rounds: list[Round]) -> str:
    """Return all rounds in one line."""
    again = sum(r.again > 0 for r in rounds)
    codes = sorted({(r.off_code, r.run_code) for r in rounds})
    off, ended = max(r.seconds for r in rounds), max(r.ended for r in rounds)
    return (
        f"{len(rounds)} times off beside a run: energised again {again} times; outputs off after at most {off:.2f} s, "
        f"the command ended after at most {ended:.1f} s; {sum(r.hot for r in rounds)} hot switches; "
        f"exit codes (off, run): {', '.join(map(str, codes))}"
    )


def one(place: Path, delay: float, clock: str = "virtual") -> Round:
    """Switch off `delay` s after the first output of a run went on, and return what came of it."""
    with ExitStack() as stack:
        bench = stack.enter_context(served(place, "--clock", clock))
        run = labctl("run", campaign(place), "--bench", bench.path, "--out", place / "run")
        stack.callback(run.wait)
        watching = stack.enter_context(bench.watched())
        wait_until(lambda: watching.on > 0 or run.poll() is not None)
        if run.poll() is not None:
            raise SystemExit(f"the run ended with {run.returncode} before an output was on; see OFF_LOG")
        time.sleep(delay)
        begun = time.monotonic()
        off_code = labctl("off", bench.path, "--reason", "a benchmark").wait()
        ended = time.monotonic()
        watching.count_from(ended)
        run_code = run.wait()
        time.sleep(AFTER)
    hot = int(re.findall(r"(\d+) hot switches", " ".join(bench.ledger.split()))[0])
    return Round(watching.again, max(0.0, watching.last - begun), ended - begun, run_code, off_code, hot)


# the bench


@dataclass
class Bench:
    """A bench file whose instruments are served on sockets of this computer."""

    path: Path
    ports: dict[str, int]
    ledger: str = ""
    """What was done to the dies, once the twin has ended."""

    def on(self) -> list[str]:
        """Return the outputs that are on."""
        with ExitStack() as stack:
            wires = [(name, stack.enter_context(Wire(self.ports[name]))) for name in SOURCES]
            return [f"{name}.{channel}" for name, wire in wires for channel in wire.on()]

    def closed(self) -> bool:
        """Return whether a relay is closed."""
        with Wire(self.ports["matrix"]) as wire:
            return wire.ask('print(channel.getclose("allslots"))') != "nil"

    @contextmanager
    def watched(self) -> Iterator["Watching"]:
        """Ask for the outputs all the time while the block lasts."""
        watching, stopped = Watching(), threading.Event()

        def ask() -> None:
            with ExitStack() as stack:
                wires = [stack.enter_context(Wire(self.ports[name])) for name in SOURCES]
                while not stopped.wait(0.02):
                    watching.note(any(wire.on() for wire in wires), time.monotonic())

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            yield watching
        finally:
            stopped.set()
            asking.join()


@dataclass
class Watching:
    """Readings of the outputs: how many met one on, when the last did, and how many since `count_from`."""

    on: int = 0
    last: float = 0.0
    again: int = 0
    _from: float = field(default=float("inf"))

    def note(self, on: bool, now: float) -> None:
        """Count one reading."""
        if on:
            self.on, self.last = self.on + 1, now
            self.again += now >= self._from

    def count_from(self, now: float) -> None:
        """Count in `again` what is on from now on."""
        self._from = now


class Wire:
    """A connection to one instrument beside that of the run."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._lines = self._socket.makefile("r", encoding="ascii")

    def ask(self, text: str) -> str:
        """Return the line that answers `text`."""
        self._socket.sendall(f"{text}\n".encode())
        return self._lines.readline().strip()

    def on(self) -> list[str]:
        """Return the channels of a source whose output is on."""
        numbers = self.ask("print(smua.source.output,smub.source.output)").split()
        return [channel for channel, number in zip(("smua", "smub"), numbers, strict=True) if float(number)]

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *error: object) -> None:
        self._lines.close()
        self._socket.close()


@contextmanager
def served(place: Path, *options: str) -> Iterator[Bench]:
    """Serve the instruments of a bench with two small kernels, and yield it; its locks are in `place`."""
    before = os.environ.get("LABCTL_LOCKS")
    os.environ["LABCTL_LOCKS"] = str(place / "locks")
    text = (EXAMPLES / "bench-two-arrays.yaml").read_text(encoding="utf-8")
    text = re.sub(r"rows: \[(\w).*\]", lambda m: f"rows: [{', '.join(f'{m[1]}{i}' for i in range(ROWS))}]", text)
    text = re.sub(r"cols: \[(\w).*\]", lambda m: f"cols: [{', '.join(f'{m[1]}{i}' for i in range(COLS))}]", text)
    text = re.sub(r"structures: .*", f"structures: [[a0, b0], [c{ROWS - 1}, d{COLS - 1}]]", text)
    path = place / "bench.yaml"
    path.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "labctl", "twin", path, "--dies", str(DIES), "--die", die(place), *options]
    twin = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    bench = Bench(path, {})
    try:
        assert twin.stdout is not None
        lines = [json.loads(twin.stdout.readline()) for _ in range(4)]
        for resource, line in zip(re.findall(r"resource: (\S+)", text), lines, strict=True):
            text = text.replace(resource, line["resource"])
        path.write_text(text, encoding="utf-8")
        bench.ports |= {line["name"]: int(line["resource"].split("::")[2]) for line in lines}
        yield bench
    finally:
        twin.terminate()
        _, bench.ledger = twin.communicate()
        if before is None:
            del os.environ["LABCTL_LOCKS"]
        else:
            os.environ["LABCTL_LOCKS"] = before


def die(place: Path) -> Path:
    """Write the file of a die that fits the bench; return its path."""
    text = (EXAMPLES / "dies" / "ideal-15x15.yaml").read_text(encoding="utf-8")
    path = place / "die.yaml"
    path.write_text(text.replace("n_rows: 15", f"n_rows: {ROWS}").replace("n_cols: 15", f"n_cols: {COLS}"))
    return path


def campaign(place: Path) -> Path:
    """Write a campaign that surveys the dies; return its path."""
    dies = "".join(f"  - {{name: D{k}, file: die.yaml, at: [{k}, 0]}}\n" for k in range(DIES))
    path = place / "campaign.yaml"
    path.write_text(
        f"name: small\nseed: 3\ndies:\n{dies}"
        "limits: {v_towards_p: 700 mV, v_towards_ap: 700 mV, width: 10 ms, compliance: 10 mA, v_count: 350 mV,\n"
        "         pulses_per_cell: 1000}\n"
        "stages: [survey: {}]\n"
    )
    return path


def labctl(*args: object) -> "subprocess.Popen[bytes]":
    """Start a command; what it says to people goes to the file that OFF_LOG names, if it does."""
    command = [sys.executable, "-m", "labctl", *map(str, args)]
    with open(os.environ.get("OFF_LOG", os.devnull), "ab") as log:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True)


def wait_until(is_so: Callable[[], bool]) -> None:
    """Return when `is_so` returns True."""
    while not is_so():
        time.sleep(0.02)


if __name__ == "__main__":
    main()
