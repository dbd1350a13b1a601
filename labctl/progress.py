"""Tell the person in front of the screen how far it is: a live display on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

EVERY = 5.0
"""Time between plain lines, in s, when the output is not a terminal; a run of a night would use 30 s."""


def duration(seconds: float) -> str:
    """Return a time as people say it.

    >>> duration(0.0123), duration(75), duration(3 * 3600 + 120)
    ('12 ms', '1 min 15 s', '3 h 2 min')
    """
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def console(*, stderr: bool = False) -> Console:
    """Return a console for tables: as wide as the terminal, wide enough for every table where there is none."""
    found = Console(stderr=stderr, highlight=False)
    return found if found.is_terminal else Console(stderr=stderr, highlight=False, width=130)


class Display:
    """Progress over dies, fed with (die, what, detail) messages; writes to standard error, so that --json stays clean.

    Args:
        patterns: predicted patterns of each die.
    """

    def __init__(self, patterns: Mapping[str, int], *, quiet: bool = False, every: float = EVERY) -> None:
        self._total = dict(patterns)
        self._done = dict.fromkeys(patterns, 0)
        self._stage = dict.fromkeys(patterns, "waiting")
        self._console = Console(stderr=True)
        self._live = self._console.is_terminal and not quiet
        self._quiet, self._every = quiet, every
        self._start = self._last = time.monotonic()
        self._bars = Progress(
            TextColumn("{task.description:12}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[stage]:10}"),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._tasks = {
            die: self._bars.add_task(die, total=total, stage="waiting") for die, total in self._total.items()
        }

    def __enter__(self) -> Self:
        if self._live:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._bars.stop()

    def notify(self, die: str, what: str, detail: Any) -> None:
        """Take one message."""
        match what:
            case "patterns":
                self._done[die] = min(self._done[die] + int(detail), self._total[die])
            case "stage":
                self._stage[die] = str(detail)
            case "done":
                self._stage[die], self._done[die] = str(detail), self._total[die]
        if self._live:
            self._bars.update(self._tasks[die], completed=self._done[die], stage=self._stage[die])
        elif not self._quiet and time.monotonic() - self._last >= self._every:
            self._line()

    def _line(self) -> None:
        self._last = time.monotonic()
        elapsed, done, total = self._last - self._start, sum(self._done.values()), sum(self._total.values())
        left = f", about {duration(elapsed * (total - done) / done)} left" if done else ""
        at = ", ".join(f"{die} {self._stage[die]}" for die in self._total if self._stage[die] != "waiting")
        print(f"{duration(elapsed)}: {done / max(total, 1):.0%}{left}; {at}", file=sys.stderr, flush=True)
