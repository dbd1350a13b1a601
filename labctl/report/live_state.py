"""Where a run stands at this moment: what the watch screen shows, as data.

Asked again and again from another terminal, so every look is a few short reads: new rows of the run's journal, and of
the journals of the dies under way. Nothing of the run is changed, and nobody is kept waiting.
"""

import math
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from labctl.analysis.figures import DieTables, compute
from labctl.batch.resume import repeating
from labctl.config.bins import is_good, is_measured, passes
from labctl.core.die_state import ACTIVE, FINAL, State
from labctl.core.errors import StorageError
from labctl.core.events import Approached, DieEvent, Level
from labctl.core.figure import Figures, Shown
from labctl.report import event_text
from labctl.report.bench_state import bench_text
from labctl.report.formulas import formulas_of
from labctl.report.pace import Pace
from labctl.report.rule_words import rule_in_words
from labctl.report.run_folder import left_out, predicted, read_run, sizes_of, who, worked
from labctl.report.time_left import UsualRows, time_left
from labctl.storage.event_rows import event_rows
from labctl.storage.journal import Journal
from labctl.storage.latch import Addresses, Latch, latch_of
from labctl.storage.run_log import DieState, RunState

SIZES = 10.0
"""The files of a run are counted again after so many s, or later if counting them would take more than `SHARE`."""
SHARE = 0.0005
"""Of one processor, that counting files, or computing the figures of dies under way, may take."""
_ALARMS = 30
AlarmText = tuple[float, str, str, str]
"""UTC in s, level, die ("" for none), and what happened."""


@dataclass(frozen=True)
class UnderWay:
    """A die that is being worked on.

    Args:
        seconds: since its try began.
        share: how much of its work is done, from 0 to 1; None if nothing is known to compare it with.
        figures: what it has come to so far, in words.
        committed: UTC in s of the last row of its journal.
    """

    die: str
    state: str
    stage: str
    try_no: int
    seconds: float
    share: float | None
    figures: tuple[str, ...]
    committed: float

    @property
    def doing(self) -> str:
        """What is being done with it: its stage, or its state where it has no stage yet or none any more."""
        return self.state if self.state == State.SEALING else self.stage or self.state


@dataclass(frozen=True)
class Mark:
    """A die on the map: what is written there, and what it stands for."""

    die: str
    at: tuple[int, int]
    kind: str
    good: bool
    measured: bool
    suspect: bool


@dataclass(frozen=True)
class Now:
    """A run at one moment.

    Args:
        alive: who carries it out, "" if nobody does.
        elapsed: time that it has been carried out, s.
        left: (soonest, likely, latest) time to its end, s; None if it is not known, or nothing is left.
        done: dies that are finished; `total` of the campaign.
        kinds: number of dies by bin, or by state.
        last: the die that was finished last, in words.
        free, used: bytes on disk; `estimate` of the whole run, 0 if unknown.
        committed: UTC in s of the last row written anywhere in the run.
        command: what to type to go on, if the run was broken off.
        bench: what became of the bench of a run that was broken off; "" of any other.
        latch: who has switched off the bench that the run needs, and why; "" if nobody has.
    """

    path: str
    name: str
    title: str
    body: str
    outcome: str
    exit_code: int | None
    text: str
    alive: str
    elapsed: float
    left: tuple[float, float, float] | None
    done: int
    good: int
    measured: int
    total: int
    kinds: Mapping[str, int]
    marks: tuple[Mark, ...]
    under_way: tuple[UnderWay, ...]
    last: str
    warnings: int
    alarms: tuple[AlarmText, ...]
    free: int
    used: int
    estimate: float
    committed: float
    command: str
    bench: str = ""
    latch: str = ""
    utc: float = field(default_factory=time.time)


class Watcher:
    """Takes snapshots of one run. Raises StorageError if there is none in `folder`.

    Attributes:
        state, rows: of the run's journal, as of the last snapshot.
        sizes: bytes on disk, as `sizes_of` returns them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.state, self.rows = read_run(folder)
        self.sizes, self._sizing = dict[str, int](), Pace(SHARE, SIZES)
        self._alarms, self._told = list[AlarmText](), 0
        self._usual = UsualRows(folder)
        formulas = formulas_of(self.state.meta)
        self._declared = Figures.of_run(self.state.meta)
        self._formulas = Figures(one for one in formulas.values() if one.shown is Shown.HEADLINE)
        self._figures: dict[str, _Figures] = {}
        self._computing = Pace(SHARE)

    def snapshot(self) -> Now:
        """Return where the run stands now. Raises StorageError if its journal cannot be read."""
        self.state, self.rows = read_run(self._folder, self.state, self.rows)
        state = self.state
        if self._sizing.due:
            with self._sizing.work():
                self.sizes = sizes_of(self._folder)
        alive = who(self._folder, state)
        self._figures = {die: known for die, known in self._figures.items() if state.dies[die].state in ACTIVE}
        under_way = tuple(self._under_way(d) for d in state.dies.values() if d.state in ACTIVE) if alive else ()
        committed = max([state.until, *(u.committed for u in under_way)])
        excluded = left_out(state)
        finished = [d for d in state.subjects if d.state in FINAL and d.name not in excluded]
        alarms = self._alarms_until_now()
        latch = self._latch()
        if latch is not None:
            alarms.append(
                (
                    latch.utc,
                    Level.ALARM,
                    "",
                    f"the bench is {latch}; nothing on it is energised before 'labctl off --release BENCH'",
                )
            )
        bench = bench_text(self._folder, state, alive)
        marks = tuple(_mark(d, bool(alive), d.name in excluded) for d in state.subjects)
        kinds = [m.kind for m in marks]
        meta, broken = state.meta, not alive and state.exit_code is None
        again = repeating(meta) or f"labctl resume {self._folder}"
        return Now(
            path=str(self._folder),
            name=str(meta.get("name", self._folder.name)),
            title=str(meta.get("title", "")),
            body=str(meta.get("body", "")),
            outcome=state.outcome,
            exit_code=state.exit_code,
            text=event_text.outcome(state, bool(alive), bench),
            alive=alive,
            elapsed=worked(self.rows) + (max(0.0, time.time() - state.until) if alive else 0.0),
            left=time_left(state, self.rows, {u.die: u.share or 0.0 for u in under_way}) if alive else None,
            done=len(finished),
            good=sum(m.good for m in marks),
            measured=sum(m.measured for m in marks),
            total=len(state.subjects) - len(excluded),
            kinds={k: kinds.count(k) for k in sorted(set(kinds), key=lambda k: (-kinds.count(k), k))},
            marks=marks,
            under_way=under_way,
            last=_last(state, self._declared),
            warnings=len(alarms),
            alarms=tuple(alarms[-_ALARMS:]),
            free=shutil.disk_usage(self._folder).free,
            used=sum(self.sizes.values()),
            estimate=predicted(meta).get("bytes", 0.0),
            committed=committed,
            command=again if broken or (state.exit_code and state.unfinished) else "",
            bench=bench,
            latch="" if latch is None else str(latch),
        )

    def _alarms_until_now(self) -> list[AlarmText]:
        """Return all warnings and alarms of the run; rows that are new are put into words."""
        new, self._told = self.rows[self._told :], len(self.rows)
        for row in new:
            level, die, text = event_text.event(row.event, self._declared)
            if level in (Level.WARNING, Level.ALARM):
                self._alarms.append((row.stamp.utc, level, die, text))
        return self._alarms.copy()

    def _latch(self) -> Latch | None:
        """Return the latch of the bench that the run still needs, None if it is not set or the dies are simulated."""
        state, addresses = self.state, self.state.meta.get("instruments")
        if not addresses or (state.exit_code is not None and not state.unfinished):
            return None
        return latch_of(Addresses(str(state.meta.get("body", "")), addresses))

    def _under_way(self, die: DieState) -> UnderWay:
        assert die.last is not None, "a die that is worked on is in a try"
        folder = self._folder / "dies" / die.folder
        rows, committed, figures = 0, die.last.until, self._figures.get(die.name)
        if figures is None or figures.folder != die.folder:
            figures = self._figures[die.name] = _Figures(die.folder, self._formulas)
        try:
            with Journal.open(folder) as journal:
                rows, committed = journal.last.seq, journal.last.stamp.utc
                if self._computing.due and figures.computed == min(f.computed for f in self._figures.values()):
                    with self._computing.work():
                        figures.read(journal)
        except StorageError:  # not begun yet
            pass
        usual = self._usual.of(self.state)
        return UnderWay(
            die=die.name,
            state=die.state.value,
            stage=die.last.stage,
            try_no=die.last.number,
            seconds=max(0.0, time.time() - die.last.since),
            share=min(rows / usual, 1.0) if usual else None,
            figures=tuple(figures.texts()),
            committed=committed,
        )


class _Figures:
    """The figures of a die that is worked on, computed again when there are new records.

    Attributes:
        computed: when that was asked for last, by a clock that is never set, s.
    """

    def __init__(self, folder: str, formulas: Figures) -> None:
        self.folder, self._formulas = folder, formulas
        self.computed, self._records = -math.inf, 0
        self._texts: list[str] = []

    def read(self, journal: Journal) -> None:
        """Compute them from what is in the journal now."""
        self.computed = time.monotonic()
        if next(journal.rows("record", after=self._records), None) is None:
            return
        self._records = journal.last.seq
        rows = event_rows(DieEvent, journal.events())
        notes = [row.event.notes for row in rows if isinstance(row.event, Approached)]
        values = compute(self._formulas, DieTables(journal), notes[-1] if notes else {}, journal.meta)
        self._texts = [f"{f.title} {f.text(values[f.key])}" for f in self._formulas.chosen(values, Shown.HEADLINE)]

    def texts(self) -> list[str]:
        """Return the headline figures in words."""
        return self._texts


def _mark(die: DieState, alive: bool, excluded: bool) -> Mark:
    kind = die.bin if die.bin and die.state in FINAL else die.state.value
    if excluded:
        kind = "left out"
    if die.state in ACTIVE:
        kind = "now" if alive else "broken off"
    hard = die.last.hard if die.last is not None and die.state is State.DONE else 0
    return Mark(die.name, die.at, kind, is_good(hard), is_measured(hard), bool(die.suspect))


def _last(state: RunState, declared: Figures) -> str:
    """Return in words the die that was finished last."""
    ended = [d for d in state.dies.values() if d.last is not None and d.state in FINAL]
    if not ended:
        return ""
    die = max(ended, key=lambda d: d.last.until if d.last else 0.0)
    assert die.last is not None
    values = die.last.figures
    figures = [f"{f.title} {f.text(values[f.key])}" for f in declared.chosen(values, Shown.HEADLINE)]
    rule = rule_in_words(die.last.rule, declared)
    why = "" if passes(die.last.hard) else die.reason.splitlines()[0] if die.reason else rule
    return ", ".join(filter(None, [f"{die.name} {die.bin or die.state.value}", *figures, why]))
