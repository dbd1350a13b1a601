"""Everything the morning report says, as one plain structure made from the run folder alone.

`gather` works on a run that goes on, was killed, or ended: the run's own journal says where its dies stand, sealed
files and journals of dies what was measured.
"""

import math
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from labctl.analysis.distributions import Comparison, Distribution, Line, distributions, limit_lines
from labctl.analysis.figures import SECONDS
from labctl.analysis.measurements import Counts, Measured, measure
from labctl.analysis.thresholds import settings_of, thresholds
from labctl.analysis.zones import Zone, zone_of
from labctl.config.bins import is_good, is_measured, tally
from labctl.config.pass_range import PassRange, limits_of
from labctl.core.die_state import ACTIVE, State
from labctl.core.events import VisitJudged
from labctl.core.figure import Figure, Figures
from labctl.core.picture import Declared, pictures_of_run
from labctl.core.retest import Retest
from labctl.report import event_text
from labctl.report.bench_state import bench_text
from labctl.report.formulas import formulas_of
from labctl.report.rehearsal import rehearsal, rehearsal_text
from labctl.report.rule_words import rule_in_words
from labctl.report.run_folder import left_out, predicted, read_run, sizes_of, who, worked
from labctl.storage.event_rows import RunRow
from labctl.storage.identity import Identity
from labctl.storage.results import DieData
from labctl.storage.run_log import DieState, RunState, Try, folder_of

_LONG = 120.0
"""Time of a die from which it is in minutes, s."""
_ELSEWHERE = ("dies", "estimate", "figures", "pictures", "faults")
"""Keys of ``run.json`` that are not repeated as provenance."""


@dataclass(frozen=True)
class DieFacts:
    """One die, or one visit of the golden die.

    Args:
        state: its state; of a die that was being worked on when the run broke off, "broken off"; of one that the
            campaign leaves out, "left out".
        bytes: on disk, all tries together.
        figures: by name, SI units; what is not known is left out.
        measured: what its newest try measured.
        file: of its newest try, relative to the run folder; "" if there is none.
        zone: of the wafer; None on a map without zones.
        because: its rule in words.
    """

    name: str
    at: tuple[int, int]
    golden: bool
    state: str
    reason: str
    bin: str
    hard: int
    rule: str
    suspect: str
    tries: tuple[Try, ...]
    figures: Mapping[str, float]
    measured: Measured
    bytes: int
    file: str
    zone: Zone | None = None
    because: str = ""

    @property
    def void(self) -> bool:
        """Whether what its newest try measured may be no measurement."""
        return self.measured.void

    @property
    def good(self) -> bool:
        """Whether it is in a hard bin 1."""
        return self.state == State.DONE and is_good(self.hard)

    @property
    def is_measured(self) -> bool:
        """Whether it was measured and nothing judges it."""
        return self.state == State.DONE and is_measured(self.hard)


class TrendPoint(NamedTuple):
    """A figure of a die, in SI units, when it was finished, UTC in s; `golden`: of a visit of the golden die."""

    utc: float
    value: float
    die: str
    golden: bool


@dataclass(frozen=True)
class Series:
    """A figure against time; shown as its value times `factor`, in `unit`; `lines` are its limits, in that unit."""

    key: str
    title: str
    unit: str
    factor: float
    points: tuple[TrendPoint, ...]
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True)
class ReportEvent:
    """One row of the run's journal in operator words; `level` is a `labctl.core.events.Level`."""

    seq: int
    utc: float
    level: str
    die: str
    text: str


@dataclass(frozen=True)
class Facts:
    """A run.

    Args:
        alive: somebody is carrying it out now, in words; "" if nobody is.
        text: how it ended, in words.
        seconds: time that it was carried out, interruptions left out; `predicted` as {"seconds", "bytes"}.
        figures: declarations of the figures that a die of the run has, in order.
        pictures: those that the run declares, for the page.
        accuracies: the different terms under which accuracies of dies were reached, in words.
        wafer: which it was on, for the page.
        comparison: what distributions are compared with: limits and nominal values.
        retest: the earlier run whose dies it measured again, None of a run that is no retest.
        faults: injected to rehearse a night, as plain data, None of a run without; `rehearsal` says so in words.
    """

    path: str
    name: str
    title: str
    body: str
    outcome: str
    exit_code: int | None
    text: str
    reason: str
    alive: str
    since: float
    until: float
    seconds: float
    bytes: int
    predicted: Mapping[str, float]
    resumes: int
    dies: tuple[DieFacts, ...]
    golden: tuple[DieFacts, ...]
    series: tuple[Series, ...]
    distributions: tuple[Distribution, ...]
    events: tuple[ReportEvent, ...]
    redo: tuple[event_text.Redo, ...]
    provenance: Mapping[str, Any]
    identities: Mapping[str, str]
    calibrations: Mapping[str, str]
    figures: tuple[Figure, ...] = ()
    pictures: tuple[Declared, ...] = ()
    accuracies: tuple[str, ...] = ()
    comparison: Comparison = field(default_factory=Comparison)
    faults: Mapping[str, Any] | None = None
    rehearsal: str = ""
    wafer: Identity | None = None
    retest: Retest | None = None
    made: float = field(default_factory=time.time)

    @property
    def valid(self) -> tuple[DieFacts, ...]:
        """The dies whose newest try is not void: only of these anything measured counts."""
        return tuple(die for die in self.dies if not die.void)

    @property
    def good(self) -> int:
        """Number of good dies."""
        return sum(d.good for d in self.dies)

    @property
    def without_verdict(self) -> int:
        """Number of dies that were measured and that nothing judges."""
        return sum(d.is_measured for d in self.dies)

    @property
    def limits(self) -> Mapping[str, PassRange]:
        """Limits of figures by name, to which the rules for bins amount."""
        return self.comparison.limits

    @property
    def tally(self) -> str:
        """How many dies are good, or measured and not judged, in words."""
        return tally(self.good, self.without_verdict, self.meant, self.limits)

    @property
    def meant(self) -> int:
        """Number of dies that the campaign does not leave out."""
        return sum(d.state != "left out" for d in self.dies)

    @property
    def bins(self) -> dict[str, int]:
        """Dies by soft bin, or by state where they have none; good ones first, then the most frequent."""
        kinds = [d.bin or d.state for d in self.dies]
        best = {d.bin for d in self.dies if d.good}
        return {k: kinds.count(k) for k in sorted(set(kinds), key=lambda k: (k not in best, -kinds.count(k), k))}


def gather(folder: Path) -> Facts:
    """Return the facts of the run in `folder`; nothing is written.

    Raises:
        StorageError: there is no run there, or its journal is damaged.
    """
    state, rows = read_run(folder)
    formulas = formulas_of(state.meta)
    return facts_of(folder, state, rows, sizes_of(folder), lambda data, die: measure(data, formulas))


Measure = Callable[[DieData, DieState], tuple[Measured, Counts]]
"""Gives what was measured in the newest try of a die."""


def facts_of(
    folder: Path, state: RunState, rows: Sequence[RunRow], sizes: Mapping[str, int], measure_die: Measure
) -> Facts:
    """Return the facts of a run that was read.

    Args:
        state, rows: as `read_run` returns them.
        sizes: as `sizes_of` returns them.
        measure_die: called for every die of which there are data.
    """
    meta = state.meta
    alive = who(folder, state)
    excluded = left_out(state)
    total = Counts()
    dies: list[DieFacts] = []
    declared = Figures.of_run(meta)
    limits = limits_of(list(meta.get("bins") or ()))
    places = Identity.of(state).places
    for die in state.dies.values():
        facts, counts = _die(folder, die, sizes, _stands(die, bool(alive), excluded), measure_die)
        facts = replace(facts, zone=zone_of(die.at, places), because=rule_in_words(facts.rule, declared))
        dies.append(facts)
        if not die.golden:
            total.add(counts)
    declared = _in_seconds(declared, dies)
    subjects = tuple(d for d in dies if not d.golden)
    nominal = nominal_of(subjects)
    comparison = Comparison(limits, declared, nominal, _thresholds(meta, subjects, nominal))
    identities = {k: v for d in dies for k, v in d.measured.identities.items()}
    argv = [str(a) for a in meta.get("argv", ())]
    return Facts(
        path=str(folder),
        name=str(meta.get("name", folder.name)),
        title=str(meta.get("title", "")),
        body=str(meta.get("body", "")),
        outcome=state.outcome,
        exit_code=state.exit_code,
        text=event_text.outcome(state, bool(alive), bench_text(folder, state, alive)),
        reason=state.reason,
        alive=alive,
        since=state.since,
        until=state.until,
        seconds=worked(rows),
        bytes=sum(sizes.values()),
        predicted=predicted(meta),
        resumes=state.resumes,
        dies=subjects,
        golden=tuple(d for d in dies if d.golden),
        series=tuple(_series(dies, rows, declared, limits)),
        distributions=tuple(distributions(total, comparison)),
        events=tuple(ReportEvent(row.seq, row.stamp.utc, *event_text.event(row.event, declared)) for row in rows),
        redo=tuple(event_text.redo(state, bool(alive), str(folder), argv)),
        provenance={k: v for k, v in meta.items() if k not in _ELSEWHERE},
        identities=identities,
        calibrations={k: v for d in dies for k, v in d.measured.calibrations.items()},
        pictures=pictures_of_run(meta),
        comparison=comparison,
        accuracies=tuple(dict.fromkeys(text for d in subjects if not d.void for text in d.measured.terms)),
        faults=rehearsal(state),
        rehearsal=rehearsal_text(state),
        wafer=Identity.of(state),
        retest=Retest.of(meta.get("retest")),
        figures=tuple(declared[name] for name in declared.in_order(n for d in dies for n in d.figures)),
    )


def _in_seconds(declared: Figures, dies: Sequence[DieFacts]) -> Figures:
    """Return the figures with the time of a die in s instead of min, if none of the dies took two minutes."""
    if max((d.figures.get(SECONDS.key, 0.0) for d in dies), default=0.0) >= _LONG:
        return declared
    short = replace(declared[SECONDS.key], shown_unit="s", factor=1.0, digits=1)
    return Figures(short if key == SECONDS.key else declared[key] for key in declared)


def nominal_of(dies: Sequence[DieFacts]) -> dict[str, Mapping[str, float]]:
    """Return what the die files say of junctions of each diameter; nothing of one of which they differ."""
    nominal: dict[str, Mapping[str, float]] = {}
    for die in dies:
        for size, values in die.measured.nominal.items():
            nominal[size] = values if nominal.setdefault(size, values) == values else {}
    return nominal


def _thresholds(
    meta: Mapping[str, Any], dies: Sequence[DieFacts], nominal: Mapping[str, Mapping[str, float]]
) -> dict[str, Mapping[str, float]]:
    """Return the thresholds of the run's survey by nominal diameter; none where dies differ in what is in series."""
    series = {d.measured.series for d in dies if d.measured.series is not None}
    settings = settings_of(meta.get("stages") or ())
    if len(series) != 1:
        return {}
    return {size: thresholds(settings, values, *series) for size, values in nominal.items()}


def _stands(die: DieState, alive: bool, excluded: Container[str]) -> str:
    if die.name in excluded:
        return "left out"
    return "broken off" if die.state in ACTIVE and not alive else die.state.value


def _die(
    folder: Path, die: DieState, sizes: Mapping[str, int], stands: str, measure_die: Measure
) -> tuple[DieFacts, Counts]:
    measured, counts, file, last = Measured(), Counts(), "", die.last
    data = DieData.of_run(folder, die.name, die.folder, last.sha256 if last else "")
    there = data.sealed or (data.path / "journal.db").is_file()
    if there or data.sha256:  # what was sealed and is gone is said
        measured, counts = measure_die(data, die)
    if there:
        file = f"dies/{data.path.name}" if data.sealed else f"dies/{data.path.name}/journal.db"
    # a try that was broken off has not been timed by whoever carried it out; its stages tell how far it came
    seconds = math.fsum(t.seconds for t in die.tries)
    seconds += math.fsum(s.seconds for s in measured.stages) if last and not last.seconds else 0.0
    figures = {**measured.figures, **({SECONDS.key: seconds} if seconds else {})}
    return (
        DieFacts(
            name=die.name,
            at=die.at,
            golden=die.golden,
            state=stands,
            reason=die.reason,
            bin=die.bin,
            hard=last.hard if last else 0,
            rule=last.rule if last else "",
            suspect=die.suspect,
            tries=die.tries,
            figures=figures,
            measured=measured,
            bytes=sum(sizes.get(folder_of(die.name, t.number), 0) for t in die.tries),
            file=file,
        ),
        counts,
    )


def _series(
    dies: Sequence[DieFacts], rows: Sequence[RunRow], declared: Figures, limits: Mapping[str, PassRange]
) -> Iterator[Series]:
    """Yield the figures that there are of at least two dies, in the order in which dies were finished."""
    order = sorted((d for d in dies if d.tries), key=lambda d: d.tries[-1].until)
    golden = {d.name for d in dies if d.golden}
    for name in declared.in_order(name for d in order for name in d.figures):
        figure = declared[name]
        known = [d for d in order if math.isfinite(d.figures.get(name, math.nan))]
        trend = [TrendPoint(d.tries[-1].until, d.figures[name], d.name, d.golden) for d in known]
        if figure.in_trend and len(trend) > 1:
            lines = tuple(limit_lines(figure, limits[name])) if name in limits else ()
            yield Series(name, figure.title, figure.shown_unit, figure.factor, tuple(trend), lines)
    drift: dict[str, list[TrendPoint]] = {}
    for row in rows:
        if isinstance(row.event, VisitJudged):
            for name, value in row.event.drift.items():
                if not math.isfinite(value):
                    continue
                drift.setdefault(name, []).append(TrendPoint(row.stamp.utc, value, row.event.die, True))
    for name, points in drift.items():
        if len(points) > 1 and golden:
            yield Series(f"drift of {name}", f"golden die: drift of {declared[name].title}", "%", 100.0, tuple(points))
