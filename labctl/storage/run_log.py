"""The run's own journal, ``RUN/journal.db``: one durable row per decision and observation of the run.

Only the process that carries out the run writes it. Of dies it holds names, states and reasons; measurements are in
the journals of the dies. All readers (the watch screen, the report, export, resume) fold the rows into a `RunState`,
and none keeps a state of its own.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from labctl.core.die_state import ACTIVE, EDGES, FINAL, State
from labctl.core.errors import StorageError
from labctl.core.events import (
    Alarm,
    DieMoved,
    DiesInDoubt,
    Level,
    Pruned,
    Resumed,
    RunEnded,
    RunEvent,
    SealedAgain,
    StageBegun,
    VisitBegun,
)
from labctl.core.exit_codes import ExitCode
from labctl.storage.event_rows import RunRow, event_rows
from labctl.storage.held import Holding
from labctl.storage.journal import Journal
from labctl.storage.manifest import require_run
from labctl.storage.no_run import is_run, no_run


def folder_of(die: str, try_no: int = 1) -> str:
    """Return the name under ``RUN/dies`` of the folder and the sealed file of one try of a die.

    No die's name holds a tilde, so no two tries share a name.

    >>> folder_of("D17"), folder_of("D17", 2)
    ('D17', 'D17~2')
    """
    return die if try_no == 1 else f"{die}~{try_no}"


def newest_of(folders: Iterable[str]) -> dict[str, str]:
    """Return, by die, the folder of its newest try, of those in `folders`.

    >>> newest_of(["D2", "D17~2", "D17", "D17~10"])
    {'D17': 'D17~10', 'D2': 'D2'}
    """
    newest: dict[str, tuple[int, str]] = {}
    for folder in folders:
        die, _, number = folder.partition("~")
        if not number or number.isdecimal():
            newest[die] = max(newest.get(die, (0, "")), (int(number or 1), folder))
    return {die: folder for die, (_, folder) in sorted(newest.items())}


@dataclass(frozen=True)
class Try:
    """One try of one die.

    Args:
        since: UTC in s since 1970 of its first row.
        until: UTC in s since 1970 of its last row, for people.
        seconds: working time in s, by a clock that is never set, without interruptions.
        stage: the procedure it is in, or ended in.
        bin: soft bin, named after the rule that gave it; `hard` its hard bin, 1 for good.
        rule: why that bin, in operator words.
        figures: figures of merit by name: fidelity, accuracy, ...
    """

    number: int
    state: State
    since: float
    until: float
    seconds: float = 0.0
    stage: str = ""
    reason: str = ""
    bin: str = ""
    hard: int = 0
    rule: str = ""
    exit_code: int = ExitCode.GOOD
    sha256: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class DieState:
    """One die of a run.

    Args:
        at: (column, row) on the prober's map, where the wafer map draws it.
        tries: in order; empty while it is PENDING for the first time.
        golden: True for a visit of the reference die, which counts in no yield.
        suspect: why its figures are in doubt, "" if they are not.
    """

    name: str
    at: tuple[int, int]
    tries: tuple[Try, ...] = ()
    state: State = State.PENDING
    reason: str = ""
    golden: bool = False
    suspect: str = ""

    @property
    def last(self) -> Try | None:
        """Its newest try."""
        return self.tries[-1] if self.tries else None

    @property
    def bin(self) -> str:
        """Soft bin of its newest try, "" while it has none."""
        return self.last.bin if self.last else ""

    @property
    def folder(self) -> str:
        """Name under ``RUN/dies`` of the folder of its newest try."""
        return folder_of(self.name, self.last.number if self.last else 1)


@dataclass(frozen=True)
class RunState:
    """The state of a run, folded from its rows.

    Args:
        meta: of the run's journal; ``run.json`` says the same.
        dies: by name, in the order of the campaign; visits of a reference die after them.
        events: every row that is no state of a die, in order.
        since: UTC in s since 1970 of the first row; `until` of the newest.
        resumes: how often it was resumed.
        outcome: "success", "abort" or "fail" once it ended, "" before.
    """

    meta: Mapping[str, Any]
    dies: Mapping[str, DieState]
    events: tuple[RunRow, ...] = ()
    since: float = 0.0
    until: float = 0.0
    resumes: int = 0
    outcome: str = ""
    exit_code: int | None = None
    reason: str = ""
    seq: int = 0

    @property
    def subjects(self) -> tuple[DieState, ...]:
        """The dies of the campaign: all but visits of a reference die."""
        return tuple(d for d in self.dies.values() if not d.golden)

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Names of the dies on which a resume has work to do."""
        done = FINAL | {State.ERROR}  # a visit that failed is left so: the next one is another
        return tuple(d.name for d in self.dies.values() if d.state not in (done if d.golden else FINAL))


def fold(state: RunState, rows: Iterable[RunRow]) -> RunState:
    """Return `state` after the rows in `rows`, which come after it. Rows of unknown kinds are kept as events."""
    dies, events = dict(state.dies), list(state.events)
    changes: dict[str, Any] = {}
    for row in rows:
        event = row.event
        changes["seq"] = row.seq
        if not isinstance(event, Pruned):  # what was done to the folder later is no part of the run's course
            changes["until"] = row.stamp.utc
        changes.setdefault("since", state.since or row.stamp.utc)
        match event:
            case DieMoved():
                dies[event.die] = _moved(dies[event.die], event, row.stamp.utc)
                continue
            case StageBegun():
                die = dies[event.die]
                *before, last = die.tries
                dies[die.name] = replace(die, tries=(*before, replace(last, stage=event.stage, until=row.stamp.utc)))
                continue
            case VisitBegun():
                dies[event.die] = DieState(event.die, event.at, golden=True)
            case SealedAgain():
                die = dies[event.die]
                tries = (replace(t, sha256=event.sha256) if t.number == event.try_no else t for t in die.tries)
                dies[die.name] = replace(die, tries=tuple(tries))
            case DiesInDoubt():
                for name in event.dies:
                    dies[name] = replace(dies[name], suspect=event.text)
            case Resumed():
                changes |= {"resumes": changes.get("resumes", state.resumes) + 1}
                changes |= {"outcome": "", "exit_code": None, "reason": ""}
            case RunEnded():
                changes |= {"outcome": event.outcome, "exit_code": event.exit_code, "reason": event.reason}
        events.append(row)
    return replace(state, dies=dies, events=tuple(events), **changes)


def as_if(state: RunState, event: DieMoved) -> RunState:
    """Return the state of a run as it will be once a die has moved; nothing is written."""
    return replace(state, dies={**state.dies, event.die: _moved(state.dies[event.die], event, state.until)})


def _moved(die: DieState, event: DieMoved, utc: float) -> DieState:
    to, reason = event.state, event.reason
    if to is State.PENDING:
        return replace(die, state=to, reason=reason)
    tries = list(die.tries)
    if not tries or tries[-1].number != event.try_no:
        if to is State.SKIPPED:
            return replace(die, state=to, reason=reason)
        tries.append(Try(event.try_no, to, utc, utc))
    last = tries[-1]
    judged = {name: getattr(event, name) for name in ("bin", "hard", "rule", "sha256", "exit_code")}
    known = {name: value for name, value in judged.items() if value is not None}
    if to in ACTIVE:  # it is worked on, so it is sealed anew
        known.setdefault("sha256", "")
    figures = {**last.figures, **event.figures}
    seconds = last.seconds + event.seconds
    tries[-1] = replace(last, state=to, until=utc, reason=reason, seconds=seconds, figures=figures, **known)
    return replace(die, state=to, reason=reason, tries=tuple(tries))


class Runlog:
    """The run's own journal, for the one process that writes it; every method is durable when it returns.

    Leaving a ``with`` block closes it, also where a row could not be written; a run that has not ended can go on.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.state = fold(_start(journal.meta), event_rows(RunEvent, journal.events()))
        self.on_row: Callable[[RunEvent], None] = lambda event: None
        """Called with every event once its row is durable."""
        self.on_write_error: Callable[[StorageError], bool] = lambda error: False
        """Called when a row cannot be written; if it returns True, the row is written once more."""
        self._held: list[str] = []

    @classmethod
    def create(cls, folder: Path, meta: Mapping[str, Any]) -> "Runlog":
        """Start the journal of a run.

        Args:
            meta: holds at least `dies`, a list of {"name", "at": [column, row]}, in the order of the campaign.

        Raises:
            StorageError: there is one already, or it cannot be written.
        """
        return cls._read(Journal.create(folder, meta))

    @classmethod
    def open(cls, folder: Path, *, holding: Holding | None = None) -> "Runlog":
        """Open the journal of a run that ended, was stopped or was killed, to go on. Raises StorageError.

        Args:
            holding: what happens while another program holds it.
        """
        return cls._read(Journal.open(folder, readonly=False, holding=holding))

    @classmethod
    def _read(cls, journal: Journal) -> "Runlog":
        with journal.abandoned_on_error():
            return cls(journal)

    def __enter__(self) -> "Runlog":
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.abandon()

    def while_held(self, say: Callable[[str], None], look: Callable[[], bool]) -> None:
        """Set what happens while another program holds the journal; what was said is written when it has let go.

        Args:
            say, look: as of `Holding`.
        """

        def keep(text: str) -> None:
            self._held.append(text)
            say(text)

        self._journal.holding = Holding(keep, look)

    def write(self, event: RunEvent) -> None:
        """Write one row."""
        seq = self._journal.event(event)
        try:
            self._journal.commit()
        except StorageError as error:
            if not self.on_write_error(error):
                raise
            self._journal.commit()
        self.state = fold(self.state, event_rows(RunEvent, self._journal.events(after=seq - 1)))
        self.on_row(event)
        held, self._held = self._held, []
        for text in held:
            self.write(Alarm(text=text, level=Level.WARNING))

    def set_state(self, die: str, to: State, try_no: int, reason: str = "", **more: Any) -> None:
        """Write that a die goes to the state `to`; ValueError if its state does not lead there.

        Args:
            more: other fields of `DieMoved`.
        """
        was = self.state.dies[die].state
        self.move(DieMoved(die=die, state=to, was=was, try_no=try_no, reason=reason, **more))

    def move(self, event: DieMoved) -> None:
        """Write that a die goes to another state; ValueError if its state does not lead there."""
        if event.state not in EDGES[event.was]:
            raise ValueError(f"die {event.die} cannot go from '{event.was}' to '{event.state}'")
        self.write(event)

    def finish(self) -> None:
        """Leave one file without a write-ahead log, which opens in any folder, and close."""
        try:
            self._journal.finish()
        finally:
            self._journal.close()


def _start(meta: Mapping[str, Any]) -> RunState:
    return RunState(meta, {d["name"]: DieState(d["name"], tuple(d["at"])) for d in meta["dies"]})


def read_state(folder: Path, before: RunState | None = None) -> RunState:
    """Return the state of the run in `folder`: running, finished or killed; reading disturbs nothing.

    Args:
        before: result of an earlier call; only rows after it are read.

    Raises:
        StorageError: there is no run there, or its journal is damaged.
    """
    if not is_run(folder):
        raise no_run(folder)
    with Journal.open(folder) as journal:
        if before is None:
            journal.verify_rows()  # a row whose kind is damaged is found by no query, and a run without it looks whole
            require_run(journal.meta, folder)
        start = _start(journal.meta) if before is None else before
        return fold(start, event_rows(RunEvent, journal.events(after=start.seq)))


def recorded_digests(run: Path) -> dict[str, str]:
    """Return the sha256 of the sealed files of a run, as its journal has them, by folder; {} if it has no journal.

    Raises:
        StorageError: the journal is damaged.
    """
    if not (run / "journal.db").is_file():
        return {}
    dies = read_state(run).dies.values()
    return {folder_of(die.name, one.number): one.sha256 for die in dies for one in die.tries if one.sha256}
