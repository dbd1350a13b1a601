"""Work on one die from its journal's first row to its sealed file, or on from where an earlier run left it.

Longer than other modules because approach, stages, resume and sealing of a die share one journal, one lock and one
order of clean-up."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from labctl.analysis import figures
from labctl.config.bins import HARD, BinRule, bin_of
from labctl.core.body import Body, Marking, ReadyDie
from labctl.core.die_state import State
from labctl.core.errors import LabError, StorageError
from labctl.core.events import Approached, DieEnded, DieEvent, DieResumed, InstrumentWarned
from labctl.core.exit_codes import Status
from labctl.core.limits import Limited, Limits
from labctl.core.names import inside
from labctl.core.outcome import Outcome, ending, unsafe
from labctl.core.planned_fault import PlannedFault
from labctl.core.procedure import Procedure
from labctl.core.rebuild import Rebuild
from labctl.core.record import History
from labctl.core.site import Site
from labctl.core.units import IntArray, Second
from labctl.execution.contact_watch import ContactWatch
from labctl.execution.journal_die import JournalDie
from labctl.execution.recorded_die import THINKING
from labctl.execution.replay import Replay
from labctl.execution.run_loop import run
from labctl.execution.stop import Stop
from labctl.storage import stress_ledger
from labctl.storage.arrays import leftovers, quarantine, storage
from labctl.storage.event_rows import event_rows
from labctl.storage.held import Holding
from labctl.storage.journal import Journal
from labctl.storage.locks import hold
from labctl.storage.run_log import folder_of
from labctl.storage.sealing import seal_in_subprocess
from protocols.records import Inference, Write

Notify = Callable[[str, str, Any], None]
"""Called with (die, kind, detail) as the work on a die goes on:

- "state", a `State`: the new state
- "lease", s: longest time until the next message; after that the die hangs
- "stage", name: of the procedure that begins, or "approach" or "sealing"
- "patterns", n: patterns done since, or answered from the journal
- "alarm", text: for the operator
- "warning", text: of an instrument, which ends nothing
- "fault", (`PlannedFault`, text): an injected fault has happened; the text has details
- "done", bin
"""
SEALING: Second = 1800.0
"""Longest time to seal a die, s."""
_BINS = {State.LIMIT_STOP: "limit", State.INTERRUPTED: "interrupted"}
"""Bins of dies that were not finished, where the outcome names none; all others are in error."""
LEAVING: Second = 120.0
"""Longest time until outputs are verified off and needles up, s."""
ORPHANED: Second = 60.0
"""Longest wait for a die that a worker of a killed run still holds, s."""


@dataclass(frozen=True)
class Job:
    """Everything about one die except the stages that all dies share; picklable.

    Args:
        bins: the first rule that is true of the die gives its bin.
        ledger: file of the stress of real dies; None for simulated ones.
        try_no: number of the try, from 1; every try has files of its own.
        stages: of this die alone, in place of those of all dies: the visit of a reference die.
        faults: injected into simulated instruments and dies, which have not happened yet.

    Raises:
        BenchError: files of a die of this name would lie outside of ``RUN/dies``.
    """

    folder: Path
    subject: Site
    limits: Limits
    bins: tuple[BinRule, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)
    try_no: int = 1
    ledger: Path | None = None
    stages: tuple[Procedure, ...] | None = None
    faults: tuple[PlannedFault, ...] = ()

    def __post_init__(self) -> None:
        inside(self.folder / "dies", self.name)

    @property
    def die(self) -> str:
        """Name of the die."""
        return self.subject.name

    @property
    def name(self) -> str:
        """Name of the folder and the file of this try under ``RUN/dies``."""
        return folder_of(self.die, self.try_no)

    @property
    def place(self) -> Path:
        """Folder of this try, in ``RUN/dies``."""
        return inside(self.folder / "dies", self.name)


@dataclass(frozen=True)
class DieResult:
    """How the work on one die ended: its bin, the reason, and its solutions as `--json` prints them.

    Args:
        sealed: sha256 of its file, "" if there is none.
        figures: those that its stages declare, by name, in SI units.
        again: nothing was done to the die and its journal cannot go on: it needs a new try.
        unsealed: its journal is finished, and it is to be sealed by `seal_die`.
    """

    die: str
    bin: str
    outcome: Outcome
    solutions: list[dict[str, Any]]
    sealed: str = ""
    try_no: int = 1
    figures: Mapping[str, float] = field(default_factory=dict)
    again: bool = False
    unsealed: bool = False

    @property
    def state(self) -> State:
        """State in which the die is left."""
        return self.outcome.state


def _solutions(history: History) -> list[dict[str, Any]]:
    fidelity = {r.solution: r.fidelity for r in history.all(Write)}
    return [
        {
            "index": int(r.solution),
            "fidelity": float(fidelity[r.solution]),
            "accuracy": {
                tuning: {part: float(getattr(r, f"accuracy_{tuning}_{part}")) for part in ("train", "test")}
                for tuning in ("untuned", "tuned")
            },
        }
        for r in history.all(Inference)
    ]


def meta_of(job: Job) -> dict[str, Any]:
    """Return the meta of a new journal: the run, the die, and its description with all defaults."""
    subject = job.subject
    return {
        **job.meta,
        "die": subject.name,
        "serial": subject.serial,
        "place": list(subject.at),
        "wafer": subject.wafer,
        "limits": job.limits.model_dump(mode="json"),
        "description": subject.description.model_dump(mode="json"),
    }


def run_die(job: Job, procedures: Sequence[Procedure], notify: Notify, stop: Stop, body: Body) -> DieResult:
    """Run all stages on the die that `body` gives, seal it, and return how it ended.

    If this try has a journal, it is replayed (`replay`) and the die is touched where it ends. Whether there is one is
    checked here, with the die's lock held: a cluster hands the job of a worker that died unchanged to another one. If
    the journal is damaged nothing is done, and the result asks for a new try. A die that cannot be sealed is
    INTERRUPTED: its journal has everything, and to resume is to seal it.

    Args:
        body: gives the die.

    Raises:
        StorageError: the journal cannot be made or written.
        BenchError: another process is still at work on this die.
    """
    with _held(job, notify):
        return seal_die(job, _run_held(job, procedures, notify, stop, body), notify)


def measure_die(job: Job, procedures: Sequence[Procedure], notify: Notify, stop: Stop, body: Body) -> DieResult:
    """Run all stages on a die as `run_die`; one that ended in success is left for another process to seal."""
    with _held(job, notify):
        result = _run_held(job, procedures, notify, stop, body)
        return result if result.outcome.status is Status.SUCCESS else seal_die(job, result, notify)


@contextmanager
def _held(job: Job, notify: Notify) -> Iterator[None]:
    """Hold the folder of a die, which is made, while the block lasts."""
    folder = job.place
    with storage(folder, "make the folder of a die"):
        folder.mkdir(parents=True, exist_ok=True)
    notify(job.die, "lease", THINKING)
    with hold(folder, f"work on die {job.name}", patience=ORPHANED):
        yield


def seal_die(job: Job, result: DieResult, notify: Notify) -> DieResult:
    """Seal a die if its result says that it is unsealed; return the result with the digest of its file.

    No error is raised: a die that cannot be sealed for whatever reason has been measured, and its journal is whole.
    """
    if not result.unsealed:
        return result
    notify(job.die, "state", State.SEALING)
    notify(job.die, "lease", SEALING)
    digest, outcome = "", result.outcome
    try:
        digest = seal_in_subprocess(job.folder, job.name)
    except Exception as error:
        outcome = not_sealed(outcome, error)
    notify(job.die, "done", result.bin)
    return replace(result, outcome=outcome, sealed=digest, unsealed=False)


def not_sealed(outcome: Outcome, error: Exception) -> Outcome:
    """Return the outcome of a die that could not be sealed: INTERRUPTED if nothing else was wrong.

    So it is after a bug as well, whose code the outcome has: a new try would pulse a die that is measured already, and
    to go on with this one is to seal it.
    """
    if outcome.status is Status.SUCCESS:
        return replace(ending(error), state=State.INTERRUPTED)
    return replace(outcome, reason=f"{outcome.reason}; {error}")


def _run_held(job: Job, procedures: Sequence[Procedure], notify: Notify, stop: Stop, body: Body) -> DieResult:
    own = tuple(p.for_die(job.die) for p in procedures) if job.stages is None else job.stages
    history, folder = History(), job.place

    def is_asked_to_end() -> bool:
        notify(job.die, "lease", THINKING)
        return stop.reason() is not None

    holding = Holding(lambda text: notify(job.die, "alarm", text), is_asked_to_end)
    resumed = (folder / "journal.db").exists()
    try:
        if resumed:
            journal = _open_journal(job, len(own), holding)
            with journal.abandoned_on_error():
                replay = Replay.of(journal, body.rebuild)
        else:
            journal = Journal.create(folder, meta_of(job))
            journal.holding = holding
            replay = Replay(journal, body.rebuild)
    except StorageError as error:
        if not resumed:
            raise
        reason = f"the journal of this try cannot go on, so the die needs a new one: {error}"
        notify(job.die, "alarm", reason)
        outcome = replace(ending(error), state=State.ERROR, reason=reason)
        return DieResult(job.die, "error", outcome, [], try_no=job.try_no, again=True)
    try:
        work = _DieWork(job, own, replay, history, notify, stop, resumed)
        notes: dict[str, Any] = {}
        glances = any(p.glances for p in own)
        if journal.readonly and glances:  # it has ended well, and there is nothing to compare it with
            outcome = Outcome(Status.SUCCESS)
        elif replay.stages == len(own) and not glances:
            outcome, notes = work.replay_all()
        else:
            outcome, notes = work.carry_out(body)
        values = {} if outcome.void else _figures(job, own, journal, notes, notify)
        assigned = bin_of(job.bins, values)
        bin_name, hard = assigned.name, assigned.hard
        if outcome.status is not Status.SUCCESS:
            bin_name = outcome.bin or _BINS.get(outcome.state, "error")
            hard = HARD.get(bin_name, HARD["error"])
        if not journal.readonly:
            if outcome.state is not State.INTERRUPTED:
                work.mark(body, hard)
            ended = DieEnded(
                bin=bin_name,
                outcome=outcome.status,
                state=outcome.state,
                reason=outcome.reason,
                trace=outcome.trace,
                figures=values,
            )
            journal.event(ended)
            journal.finish()
            work.update_ledger()
    finally:
        journal.close()
    solutions = _solutions(history)
    return DieResult(job.die, bin_name, outcome, solutions, "", job.try_no, values, unsealed=True)


def _figures(
    job: Job, stages: Sequence[Procedure], journal: Journal, approach: Mapping[str, Any], notify: Notify
) -> dict[str, float]:
    """Return the figures of a die whose stages ended: as stored, or computed now from its tables."""
    if journal.readonly and (stored := figures.stored(list(event_rows(DieEvent, journal.events())))) is not None:
        return stored
    journal.commit()
    tables = figures.DieTables(journal)
    return figures.compute(
        figures.declared(stages), tables, approach, journal.meta, lambda text: notify(job.die, "alarm", text)
    )


def _open_journal(job: Job, stages: int, holding: Holding) -> Journal:
    """Return the journal of an earlier run, read-only if it ended in success after this number of `stages`.

    Files that it does not name are moved to ``RUN/quarantine``. Raises StorageError if it is damaged.
    """
    folder = job.place
    with Journal.open(folder, of=job.name) as journal:
        journal.verify()
        if next(journal.rows("meta"), None) is None:
            raise StorageError(f"{journal.path} was never begun")
        kept = journal.digests()
        rows = event_rows(DieEvent, journal.events())
        ended = [row.event.outcome for row in rows if isinstance(row.event, DieEnded)]
        whole = journal.finished and ended[-1:] == [Status.SUCCESS] and Replay.of(journal).stages == stages
    for path in leftovers(folder / "arrays", kept):
        quarantine(job.folder, path)
    return Journal.open(folder, readonly=whole, holding=holding)


@dataclass(frozen=True)
class _DieWork:
    """The stages of one die, to be carried out or replayed; `resumed` if the journal was there before."""

    job: Job
    procedures: Sequence[Procedure]
    replay: Replay
    history: History
    notify: Notify
    stop: Stop
    resumed: bool

    def report(self, what: str, detail: Any) -> None:
        """Call `notify` for this die."""
        self.notify(self.job.die, what, detail)

    def update_ledger(self) -> None:
        """Bring the stress ledger up to date; if it cannot be written now, the journal has everything for later."""
        try:
            stress_ledger.account(self.job.ledger, self.replay.journal, self.job.folder.name)
        except LabError as error:
            self.report(
                "alarm", f"the stress ledger is behind, and is brought up when this die is next worked on: {error}"
            )

    def mark(self, body: Body, hard: int) -> None:
        """Show the bin of the die where its body does; that it is not shown is an alarm, and no fault of the die."""
        if not isinstance(body, Marking) or self.job.stages is not None:
            return
        self.report("lease", LEAVING)
        try:
            body.mark(self.job.subject, hard)
        except LabError as error:
            text = f"the bin of this die is not on the prober's map: {error}"
            self.replay.journal.event(InstrumentWarned(text=text))
            self.report("alarm", text)

    def replay_all(self) -> tuple[Outcome, dict[str, Any]]:
        """Replay a journal that has all stages; no die is needed."""
        approaches = [
            row.event for row in event_rows(DieEvent, self.replay.journal.events()) if isinstance(row.event, Approached)
        ]
        notes = dict(approaches[-1].notes) if approaches else {}
        self.replay.rebuild = Rebuild.NOTHING
        description = self.job.subject.description
        return self._run_stages(ReadyDie(JournalDie(description.shape, description.nominal))), notes

    def carry_out(self, body: Body) -> tuple[Outcome, dict[str, Any]]:
        """Approach the die, run its stages up to the first that does not succeed, and leave it."""
        job, journal = self.job, self.replay.journal
        notes: dict[str, Any] = {}
        try:
            if self.resumed:
                self._quarantine_sealed()
                journal.event(DieResumed(after=journal.last.seq, pending=self.replay.pending))
            self.report("stage", "approach")
            self.report("lease", body.patience)
            ready = body.approach(job.subject, lambda state: self.report("state", state))
            notes = ready.notes
            journal.event(Approached(notes=notes))
            journal.commit()
            self.replay.seek, self.replay.seek_ahead = ready.seek, ready.seek_ahead
            self.report("state", State.RUNNING)
            before, missing = stress_ledger.begin(job.ledger, journal, job.folder.name)
            if missing:
                self.report("alarm", f"nobody knows what {', '.join(missing)} did to this die: the journal is gone")
            outcome = self._run_stages(ready, before)
        except (KeyboardInterrupt, Exception) as error:
            outcome = self.stop.ending(error)
        self.report("lease", LEAVING)
        try:
            body.leave()
        except Exception as error:
            outcome = unsafe(error, outcome)
        return outcome, notes

    def _quarantine_sealed(self) -> None:
        """Move the sealed file of a die that goes on to quarantine: it claims to be complete and is not."""
        sealed = self.job.place.with_name(f"{self.job.name}.h5")
        if sealed.exists():
            quarantine(self.job.folder, sealed)

    def _run_stages(self, ready: ReadyDie, before: IntArray | None = None) -> Outcome:
        job, journal, outcome = self.job, self.replay.journal, Outcome(Status.SUCCESS)
        limited = Limited(ready.die, job.limits, before)
        contact = ContactWatch(limited, ready.prove, self.replay.proved)
        for procedure in self.procedures:
            self.report("stage", procedure.name)
            self.report("lease", THINKING)
            outcome = run(
                procedure,
                limited,
                journal,
                self.history,
                stop=self.stop,
                tick=lambda patterns: self.report("patterns", patterns),
                lease=lambda seconds: self.report("lease", seconds),
                truth=ready.truth,
                replay=self.replay,
                contact=contact,
            )
            for text in ready.warnings():
                journal.event(InstrumentWarned(text=text), stage=procedure.name)
                self.report("warning", text)
            self.update_ledger()
            if outcome.status is not Status.SUCCESS:
                break
        return outcome
