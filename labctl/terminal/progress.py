"""Show the progress of a run: a live display on a terminal, plain lines elsewhere."""

import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any, Self

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.segment import Segment
from rich.table import Table as Grid

from labctl.core.texts import visible

EVERY = 5.0
"""Time between plain lines, in s, when the output is not a terminal; a run of a night would use 30 s."""


def duration(seconds: float) -> str:
    """Return a duration as text.

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


def left(seconds: float) -> str:
    """Return a remaining time as text, no finer than it can be predicted.

    >>> left(0.03), left(4.2), left(75)
    ('less than 1 s', 'about 4 s', 'about 1 min 15 s')
    """
    return (
        "less than 1 s" if seconds < 1 else f"about {seconds:.0f} s" if seconds < 60 else f"about {duration(seconds)}"
    )


def quantity(value: float, unit: str) -> str:
    """Return a value with its unit and an SI prefix.

    >>> quantity(0.45, "V"), quantity(2.5e9, "B")
    ('450 mV', '2.5 GB')
    """
    for factor, prefix in (
        (1e12, "T"),
        (1e9, "G"),
        (1e6, "M"),
        (1e3, "k"),
        (1, ""),
        (1e-3, "m"),
        (1e-6, "u"),
        (1e-9, "n"),
    ):
        if abs(value) >= factor * 0.9999:
            return f"{value / factor:.4g} {prefix}{unit}"
    return f"{value:.4g} {unit}"


def counted(n: int, noun: str) -> str:
    """Return a count with its noun.

    >>> counted(1, "die"), counted(1200, "die")
    ('1 die', '1,200 dies')
    """
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


class _Trimmed:
    """A text stream without the blanks that tables leave at the ends of lines."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, text: str) -> int:
        self._file.write(re.sub(r"[ \t]+(?=\n)", "", text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _Screen(Console):
    """A console that breaks no sentence: a terminal wraps it itself, and in a file a search finds it whole."""

    def print(self, *objects: Any, soft_wrap: bool | None = None, **options: Any) -> None:
        if soft_wrap is None:
            soft_wrap = all(isinstance(one, str) for one in objects)
        super().print(*objects, soft_wrap=soft_wrap, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Yield what is shown; what a terminal would obey is written out, whoever wrote it."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


def console(*, stderr: bool = False) -> Console:
    """Return a console: for tables as wide as the terminal, or wide enough for every one without; it wraps no text."""
    plain = _Screen(stderr=stderr, highlight=False)
    if plain.is_terminal:
        return plain
    file: Any = _Trimmed(sys.stderr if stderr else sys.stdout)
    return _Screen(file=file, highlight=False, width=130)


@dataclass(frozen=True)
class Column:
    """A column of a printed table: numbers stand right, names left; of two, the one with less `worth` goes first.

    Args:
        worth: from 0 on; None for a column that is never left out.
    """

    heading: str
    worth: int | None = None
    right: bool = True


def print_table(
    console: Console, title: str, columns: Sequence[Column], rows: Sequence[Sequence[str]], *, last: bool = False
) -> list[str]:
    """Print a table without its least worthy columns, as many as it takes to fit; return the headings left out.

    No value is ever cut: if what must stay is still too wide, names run over several lines.

    Args:
        last: the last row is a sum, and stands below a line.
    """
    shown = list(range(len(columns)))
    while True:
        grid = Grid(title=title, title_justify="left", box=SIMPLE_HEAD)
        for k in shown:
            c = columns[k]
            grid.add_column(c.heading, justify="right" if c.right else "left", no_wrap=c.right, overflow="fold")
        for n, row in enumerate(rows):
            grid.add_row(*(visible(row[k]) for k in shown), end_section=last and n == len(rows) - 2)
        wide = console.measure(grid, options=console.options.update_width(100_000)).maximum
        droppable = [k for k in shown if columns[k].worth is not None]
        if wide <= console.width or not droppable:
            break
        shown.remove(min(droppable, key=lambda k: columns[k].worth or 0))
    console.print(grid)
    return [c.heading for k, c in enumerate(columns) if k not in shown]


class Display:
    """Progress over dies, fed with (die, what, detail) messages; writes to standard error, so that --json stays clean.

    Args:
        patterns: predicted patterns of each die.
    """

    def __init__(self, patterns: Mapping[str, int], *, quiet: bool = False, every: float = EVERY) -> None:
        self._total = dict(patterns)
        self._done = dict.fromkeys(patterns, 0)
        self._stage = dict.fromkeys(patterns, "")
        self._bins: dict[str, str] = {}
        self._console = _Screen(stderr=True)
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
        self._all = self._bars.add_task("all", total=sum(self._total.values()), stage="", visible=len(patterns) > 1)
        # a bar for each die under way: 36 waiting ones would fill the screen
        self._tasks = {
            die: self._bars.add_task(die, total=total, stage="", visible=False) for die, total in self._total.items()
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

    def say(self, text: str) -> None:
        """Print a text for the operator."""
        self._console.print(text, markup=False, highlight=False)

    def notify(self, die: str, what: str, detail: Any) -> None:
        """Take one message; visits of a reference die do not count here."""
        if die not in self._total:
            return
        match what:
            case "patterns":
                self._done[die] = min(self._done[die] + int(detail), self._total[die])
            case "stage":
                if self._bins.pop(die, None) is not None:  # a new try
                    self._done[die] = 0
                self._stage[die] = str(detail)
            case "done":
                self._stage[die], self._done[die] = "", self._total[die]
                self._bins[die] = str(detail)
            case "fault" if not self._quiet:
                self.say(f"injected fault {detail[0].number}: {detail[0].kind}, {detail[0].place}")
        if self._live:
            stage = self._stage[die]
            self._bars.update(self._tasks[die], completed=self._done[die], stage=stage, visible=bool(stage))
            self._bars.update(self._all, completed=sum(self._done.values()), stage=self._finished())
        elif not self._quiet and time.monotonic() - self._last >= self._every:
            self._line()

    def _line(self) -> None:
        self._last = time.monotonic()
        elapsed, done, total = self._last - self._start, sum(self._done.values()), sum(self._total.values())
        rest = f", {left(elapsed * (total - done) / done)} left" if 0 < done < total else ""
        now = [f"{die} {stage}" for die, stage in self._stage.items() if stage]
        state = "; ".join(filter(None, [self._finished(), ", ".join(now)]))
        share = min(done / max(total, 1), 0.99 if now else 1.0)  # a die may need more pulses than were predicted
        print(f"{duration(elapsed)}: {share:.0%}{rest}; {state}", file=sys.stderr, flush=True)

    def _finished(self) -> str:
        """Return how many dies are done, and their bins.

        >>> display = Display({"D1": 5, "D2": 5}, quiet=True); display.notify("D1", "done", "good"); display._finished()
        '1 of 2 dies done: 1 good'
        """
        done = len(self._bins)
        if not done:
            return ""
        bins = ", ".join(f"{n} {name}" for name, n in Counter(self._bins.values()).most_common())
        return f"{done} of {counted(len(self._total), 'die')} done: {bins}"
