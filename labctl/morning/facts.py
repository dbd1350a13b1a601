"""Everything the morning report says, as one plain structure made from the run folder alone.

`gather` works on a run that goes on, was killed, or ended: the run's own journal says where its dies stand, sealed
files and journals of dies what was measured. ``docs/report-json.md`` describes what `as_json` makes of it.
"""

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from labctl.core.errors import BenchError, StorageError
from labctl.journal import Journal
from labctl.journal_reader import Entry
from labctl.layout import run_meta
from labctl.morning import words
from labctl.morning.distributions import Distribution, distributions
from labctl.morning.measured import Counts, Measured, measure
from labctl.morning.quantities import BY_KEY
from labctl.overnight.locks import holder
from labctl.overnight.states import ACTIVE, DieState, RunState, State, Try, folder_of, read_state
from labctl.results import DieData

FORMAT = 1
"""Of ``report.json``."""
SILENT = 120.0
"""A run whose lock cannot be asked counts as alive if its journal grew within so many s."""
_SERIES = ("r_p", "tmr", "contact", "v_switch", "fidelity", "accuracy_test")


@dataclass(frozen=True)
class DieFacts:
    """One die, or one visit of the golden die.

    Args:
        state: its state; of a die that was being worked on when the run broke off, "broken off".
        bytes: on disk, all tries together.
        figures: by the keys of `labctl.morning.quantities`, SI units; what is not known is left out.
        measured: what its newest try measured.
        file: of its newest try, relative to the run folder; "" if there is none.
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

    @property
    def good(self) -> bool:
        """Whether it is in a hard bin 1."""
        return self.state == State.DONE and self.hard == 1


@dataclass(frozen=True)
class Series:
    """A figure against time: points are (UTC in s, SI value, name of the die, whether it is the golden one)."""

    key: str
    title: str
    unit: str
    factor: float
    points: tuple[tuple[float, float, str, bool], ...]


@dataclass(frozen=True)
class Event:
    """One row of the run's journal in operator words; `level` is one of `words.LEVELS`."""

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
        said: how it ended, in words.
        seconds: time that it was carried out, interruptions left out; `predicted` as {"seconds", "bytes"}.
        redo: (why, command).
    """

    path: str
    name: str
    title: str
    body: str
    outcome: str
    exit_code: int | None
    said: str
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
    events: tuple[Event, ...]
    redo: tuple[tuple[str, str], ...]
    provenance: Mapping[str, Any]
    identities: Mapping[str, str]
    made: float = field(default_factory=time.time)

    @property
    def good(self) -> int:
        """Number of good dies."""
        return sum(d.good for d in self.dies)

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
    state, entries = read_run(folder)
    meta = {**state.meta, **_run_meta(folder)}
    alive = who(folder, state)
    sizes = sizes_of(folder)
    total = Counts.none()
    dies: list[DieFacts] = []
    for die in state.dies.values():
        found, counts = _die(folder, die, sizes, bool(alive))
        dies.append(found)
        if not die.golden:
            total.add(counts)
    subjects = tuple(d for d in dies if not d.golden)
    identities = {k: v for d in dies for k, v in d.measured.identities.items()}
    argv = [str(a) for a in meta.get("argv", ())]
    return Facts(
        path=str(folder),
        name=str(meta.get("name", folder.name)),
        title=str(meta.get("title", "")),
        body=str(meta.get("body", "")),
        outcome=state.outcome,
        exit_code=state.exit_code,
        said=words.outcome(state, bool(alive)),
        reason=state.reason,
        alive=alive,
        since=state.since,
        until=state.until,
        seconds=worked(entries),
        bytes=sum(sizes.values()),
        predicted=predicted(meta),
        resumes=state.resumes,
        dies=subjects,
        golden=tuple(d for d in dies if d.golden),
        series=tuple(_series(dies, entries)),
        distributions=tuple(distributions(total)),
        events=tuple(Event(e.seq, e.stamp.utc, *words.event(e)) for e in entries),
        redo=tuple(words.redo(state, bool(alive), str(folder), argv)),
        provenance={k: v for k, v in meta.items() if k not in ("dies", "estimate")},
        identities=identities,
    )


def read_run(
    folder: Path, before: RunState | None = None, entries: Sequence[Entry] = ()
) -> tuple[RunState, list[Entry]]:
    """Return where a run stands, and the rows of its journal that say so.

    Args:
        before, entries: what an earlier call returned; only what is new is read.

    Raises:
        StorageError: there is no run there, or its journal is damaged.
    """
    state = read_state(folder, before)
    after = entries[-1].seq if entries else 0
    with Journal.open(folder) as journal:
        if not state.seq:  # it has been started, and nothing has happened
            state = replace(state, since=journal.created.utc, until=journal.created.utc)
        return state, [*entries, *(e for e in journal.events(after=after) if e.seq <= state.seq)]


def who(folder: Path, state: RunState) -> str:
    """Return who carries the run out at this moment, "" if it ended or nobody does."""
    if state.exit_code is not None:
        return ""
    try:
        found = holder(folder)
    except BenchError:  # a file system without locks, or a share: all there is to go by is when it last wrote
        return "somebody" if time.time() - state.until < SILENT else ""
    return "" if found is None else str(found)


def worked(entries: Sequence[Entry]) -> float:
    """Return how long a run was carried out, s: from its first row to its last, without the time it lay still."""
    total, start, last = 0.0, None, 0.0
    for entry in entries:
        if entry.kind == "resumed" or start is None:
            total += 0.0 if start is None else max(0.0, last - start)
            start = entry.stamp.monotonic
        last = entry.stamp.monotonic
    return total + (0.0 if start is None else max(0.0, last - start))


def predicted(meta: Mapping[str, Any]) -> dict[str, float]:
    """Return what the plan foretold of the whole run: "seconds" of bench time and "bytes" on disk; empty if unknown."""
    found = meta.get("estimate")
    return {k: float(found[k]) for k in ("seconds", "bytes") if k in found} if isinstance(found, Mapping) else {}


def _run_meta(folder: Path) -> dict[str, Any]:
    try:
        return run_meta(folder)
    except StorageError:  # the run's own journal says the same
        return {}


def _die(folder: Path, die: DieState, sizes: Mapping[str, int], alive: bool) -> tuple[DieFacts, Counts]:
    found, counts = Measured(), Counts.none()
    file = ""
    sealed = folder / "dies" / f"{die.folder}.h5"
    live = folder / "dies" / die.folder
    if sealed.is_file():
        found, counts, file = *measure(DieData(die.folder, sealed, True)), f"dies/{sealed.name}"
    elif (live / "journal.db").is_file():
        found, counts, file = *measure(DieData(die.folder, live, False)), f"dies/{live.name}/journal.db"
    last = die.last
    seconds = math.fsum(t.seconds for t in die.tries) or math.fsum(t.until - t.since for t in die.tries)
    figures = {**found.figures, **({"seconds": seconds} if die.tries else {})}
    broken = die.state in ACTIVE and not alive
    return (
        DieFacts(
            name=die.name,
            at=die.at,
            golden=die.golden,
            state="broken off" if broken else die.state.value,
            reason=die.reason,
            bin=die.bin,
            hard=last.hard if last else 0,
            rule=last.rule if last else "",
            suspect=die.suspect,
            tries=die.tries,
            figures=figures,
            measured=found,
            bytes=sum(sizes.get(folder_of(die.name, t.number), 0) for t in die.tries),
            file=file,
        ),
        counts,
    )


def sizes_of(folder: Path) -> dict[str, int]:
    """Return the bytes of a run on disk: by try of a die, and under "" of everything else."""
    sizes: dict[str, int] = {}
    home = folder / "dies"
    for path in folder.rglob("*"):
        try:
            n = path.stat().st_size if path.is_file() else 0
        except OSError:  # it went away meanwhile
            continue
        first = path.relative_to(home).parts[0].removesuffix(".h5") if home in path.parents else ""
        sizes[first] = sizes.get(first, 0) + n
    return sizes


def _series(dies: Sequence[DieFacts], entries: Sequence[Entry]) -> Iterator[Series]:
    """Yield the figures that there are of at least two dies, in the order in which dies were finished."""
    order = sorted((d for d in dies if d.tries), key=lambda d: d.tries[-1].until)
    golden = {d.name for d in dies if d.golden}
    for key in _SERIES:
        found = [(d.tries[-1].until, d.figures[key], d.name, d.golden) for d in order if key in d.figures]
        if len(found) > 1:
            quantity = BY_KEY[key]
            yield Series(key, quantity.title, quantity.unit, quantity.factor, tuple(found))
    drift: dict[str, list[tuple[float, float, str, bool]]] = {}
    for entry in entries:
        if entry.kind == "golden":
            for name, value in entry.body.get("drift", {}).items():
                drift.setdefault(str(name), []).append((entry.stamp.utc, float(value), str(entry.body["die"]), True))
    for name, points in drift.items():
        if len(points) > 1 and golden:
            yield Series(f"drift of {name}", f"golden die: drift of {name}", "%", 100.0, tuple(points))


def as_json(facts: Facts) -> str:
    """Return the facts as the text of ``report.json``; numbers that are none are null."""
    plain = _plain({"format": FORMAT, "good": facts.good, "bins": facts.bins, **asdict(facts)})
    return json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
