"""Kill all processes of a run at once, again and again: how long outputs stay on, and who says so afterwards.

    python benchmarks/killed_together.py              5 times
    python benchmarks/killed_together.py 30           30 times
    python benchmarks/killed_together.py --load 4     beside 4 processes that never rest
    python benchmarks/killed_together.py --by-hand    a map that is read by hand, which is one process; in real time
    python benchmarks/killed_together.py --clock real instruments that take as long as they would

Two small dies are surveyed over sockets, on instruments that are served apart as a real bench is. At a random moment
the run and the process that owns the bench are killed together (SIGKILL), as a computer without memory would. The
guard of the bench is left. Another connection asks the sources all the time whether an output is on. Then `watch`,
`show` and `report` are asked, and `resume` takes the run up: each has to say that the guard made the bench safe. Of
work by hand `show` says it. Exit codes: 0 every time outputs went off, stayed off, and everybody said so; 1 not.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from off_wins import Bench, campaign, labctl, served, wait_until

AFTER = 3.0
"""How long the outputs are asked for after the kill at least, s."""
SAFE = "made safe by its guard"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("times", type=int, nargs="?", default=5, help="how often [default: 5]")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--latest", type=float, default=4.0, help="latest moment after the first output went on, s")
    parser.add_argument("--load", type=int, default=0, metavar="N", help="processes that never rest beside it")
    parser.add_argument("--by-hand", action="store_true", help="a command by hand instead of a run")
    parser.add_argument("--clock", choices=["virtual", "real"], default="virtual", help="of the instruments")
    given = parser.parse_args()
    dice = random.Random(given.seed)
    rounds = []
    with busy(given.load):
        for number in range(given.times):
            with tempfile.TemporaryDirectory(prefix="killed-") as folder:
                rounds.append(one(Path(folder), dice.uniform(0.0, given.latest), given.clock, by_hand=given.by_hand))
            print(f"{number + 1}: {rounds[-1]}", flush=True)
    print(summary(rounds))
    return int(any(r.again or not r.said_by_all or r.code not in (0, None) for r in rounds))


@dataclass(frozen=True)
class Round:
    """One kill.

    Args:
        on: outputs that were on just before.
        seconds: from the kill until no output was on any more.
        again: whether an output was on later.
        says_it: commands that said that the guard made the bench safe; `asked` all that were asked.
        code: exit code of the run that was taken up; None by hand.
        words: what it said, where that was not 0.
    """

    on: Sequence[str]
    seconds: float
    again: bool
    says_it: tuple[str, ...]
    asked: tuple[str, ...]
    code: int | None
    words: str = ""

    @property
    def said_by_all(self) -> bool:
        """Whether every command said it."""
        return self.says_it == self.asked

    def __str__(self) -> str:
        went_on = "" if self.code is None else f"; resume ends with {self.code}{self.words and ': '}{self.words}"
        by = f"said by {', '.join(self.says_it) or 'nobody'}"
        return f"on were {', '.join(self.on) or 'none'}; off after {self.seconds:.2f} s; {by}{went_on}"


def summary(rounds: Sequence[Round]) -> str:
    """Return all rounds in one line."""
    seconds = sorted(r.seconds for r in rounds)
    return (
        f"{len(rounds)} times killed together: outputs off after {seconds[len(seconds) // 2]:.2f} s in the middle and "
        f"{seconds[-1]:.2f} s at most, on again {sum(r.again for r in rounds)} times; "
        f"said by all of {', '.join(rounds[0].asked)}: {sum(r.said_by_all for r in rounds)} of {len(rounds)}"
    )


def one(place: Path, delay: float, clock: str = "virtual", *, by_hand: bool = False) -> Round:
    """Kill a run `delay` s after its first output went on, and return what came of it."""
    clock, needles = ("real", ("--needles", "down")) if by_hand else (clock, ())
    with ExitStack() as stack:
        bench = stack.enter_context(served(place, "--clock", clock, *needles))
        run = begun(place, bench, by_hand)
        stack.callback(run.wait)
        watching = stack.enter_context(bench.watched())
        wait_until(lambda: watching.on > 0 or run.poll() is not None)
        time.sleep(delay)
        if run.poll() is not None:
            raise SystemExit(f"the run ended with {run.returncode} before it was killed; see OFF_LOG, or --latest")
        victims, on = [run.pid, *workers(run.pid)], bench.on()
        if not by_hand and len(victims) == 1:
            raise SystemExit("the run has no process that owns the bench")
        killed = time.monotonic()
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        run.wait()
        wait_until(lambda: time.monotonic() > killed + AFTER and not bench.on())
        seconds = max(0.0, watching.last - killed)
        watching.count_from(time.monotonic())
        says_it, asked = who_says_it(place / "run", by_hand)
        again, code, words = watching.again > 0, None, ""
        if not by_hand:
            words, code = taken_up(place / "run")
            says_it, asked = (*says_it, *(("resume",) if SAFE in words else ())), (*asked, "resume")
    return Round(on, seconds, again, says_it, asked, code, words if code else "")


def begun(place: Path, bench: Bench, by_hand: bool) -> "subprocess.Popen[bytes]":
    """Start a run of two small dies, or a map by hand that takes longer than anybody waits."""
    made = campaign(place)
    if not by_hand:
        return labctl("run", made, "--bench", bench.path, "--out", place / "run")
    slowly = ("--aperture", "400 ms")
    return labctl("map", "--bench", bench.path, "--die", place / "die.yaml", *slowly, "--out", place / "run")


def workers(parent: int) -> list[int]:
    """Return the processes that a run has spawned to own its bench."""
    listed = subprocess.run(["ps", "-ww", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
    rows = [line.split(maxsplit=2) for line in listed.stdout.splitlines()]
    return [int(pid) for pid, ppid, command in rows if ppid == str(parent) and "spawn_main" in command]


def who_says_it(run: Path, by_hand: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which commands say that the guard made the bench safe, and all that were asked."""
    commands = {"show": ["show", run]}
    if not by_hand:
        commands = {"watch": ["watch", run, "--once"], **commands, "report": ["report", run]}
    says_it = tuple(name for name, words in commands.items() if SAFE in spoken(*words)[0])
    page = run / "report.html"
    if not by_hand and SAFE not in page.read_text(encoding="utf-8"):
        says_it = tuple(name for name in says_it if name != "report")
    return says_it, tuple(commands)


def taken_up(run: Path) -> tuple[str, int]:
    """Let `resume` carry the run to its end; return what it said, and its exit code."""
    return spoken("resume", run)


def spoken(*words: object) -> tuple[str, int]:
    """Return what a command says, in one line, and its exit code."""
    command = [sys.executable, "-m", "labctl", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return " ".join((done.stdout + done.stderr).split()), done.returncode


@contextmanager
def busy(n: int) -> Iterator[None]:
    """Let `n` processes keep the processors busy while the block lasts."""
    never_rests = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(never_rests, start_new_session=True) for _ in range(n)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
