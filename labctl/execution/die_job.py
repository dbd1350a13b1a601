"""Work on one die from its journal's first row to its sealed file, or on from where an earlier run left it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from labctl.analysis.record_figures import figures_of
from labctl.config.bins import BinRule, bin_of
from labctl.core.body import Body, ReadyDie
from labctl.core.die_state import State
from labctl.core.errors import LabError, StorageError
from labctl.core.limits import Limited, Limits
from labctl.core.names import inside
from labctl.core.outcome import Outcome, Status, ending, unsafe
from labctl.core.procedure import Procedure
from labctl.core.rebuild import Rebuild
from labctl.core.record import History
from labctl.core.site import Site
from labctl.core.units import IntArray, Second
from labctl.execution.recorded_die import THINKING
from labctl.execution.remembered_die import JournalDie
from labctl.execution.replay import Replay
from labctl.execution.run_loop import run
from labctl.execution.stop import Stop
from labctl.storage import stress_ledger
from labctl.storage.arrays import leftovers, quarantine, storage
from labctl.storage.journal import Journal
from labctl.storage.locks import hold
from labctl.storage.run_log import folder_of
from labctl.storage.sealing import seal_in_subprocess
from protocols.records import Inference, Write

Notify = Callable[[str, str, Any], None]
"""Called with (die, what, detail) as a die goes on:

- "state", a `State`: where it stands now
- "lease", s: how long it may be until the next message; after that it hangs
- "stage", name: of the procedure that begins, or "approach" or "sealing"
- "patterns", n: so many patterns more are done, or answered from the journal
- "alarm", text: somebody should know
- "done", bin
"""
SEALING: Second = 1800.0
"""Longest time, in s, that a die takes to be sealed."""
LEAVING: Second = 120.0
"""Longest time, in s, until outputs are verified off and needles up."""
ORPHANED: Second = 60.0
"""How long a die is waited for that a worker of a killed run is still bringing to its end, s."""


@dataclass(frozen=True)
class Job:
    """What one die needs beside the stages, which all dies share; picklable.

    Args:
        bins: the first rule that is true of the die gives its bin.
        own: fields of the stages that differ on this die.
        ledger: where the stress of real dies is kept; None for simulated ones.
        attempt: number of the try; every try has files of its own.
        stages: what is done instead of what is done to all dies: the visit of a golden die.

    Raises:
        BenchError: files of a die of this name would lie outside of ``RUN/dies``.
    """

    folder: Path
    subject: Site
    limits: Limits
    bins: tuple[BinRule, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)
    own: Mapping[str, Any] = field(default_factory=dict)
    attempt: int = 1
    ledger: Path | None = None
    stages: tuple[Procedure, ...] | None = None

    def __post_init__(self) -> None:
        inside(self.folder / "dies", self.name)

    @property
    def die(self) -> str:
        """Name of the die."""
        return self.subject.name

    @property
    def name(self) -> str:
        """What the folder and the file of this try are called under ``RUN/dies``."""
        return folder_of(self.die, self.attempt)

    @property
    def place(self) -> Path:
        """Folder of this try, in ``RUN/dies``."""
        return inside(self.folder / "dies", self.name)


@dataclass(frozen=True)
class DieResult:
    """How one die ended: its bin, why, and its solutions as `--json` prints them.

    Args:
        sealed: sha256 of its file, "" if there is none.
        figures: see `labctl.analysis.record_figures`.
        again: nothing was done to the die and nothing can be: it needs a new try, now.
    """

    die: str
    bin: str
    outcome: Outcome
    solutions: list[dict[str, Any]]
    sealed: str = ""
    attempt: int = 1
    figures: Mapping[str, float] = field(default_factory=dict)
    again: bool = False

    @property
    def state(self) -> State:
        """Where it leaves the die."""
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


def for_die(procedures: Sequence[Procedure], own: Mapping[str, Any]) -> tuple[Procedure, ...]:
    """Return the stages of one die: those of all, with its `own` fields where a stage has them."""
    return tuple(
        p.model_copy(update={k: v for k, v in own.items() if k in type(p).model_fields}) if own else p
        for p in procedures
    )


def _meta(job: Job) -> dict[str, Any]:
    """Return what the journal is started with: the run, the die, and its description with all defaults."""
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
    """Run all stages on the die that `body` gives, seal it, and say how it ended.

    If this try has a journal it goes on: what it tells is gone through again (`replay`) and the die is touched
    where it ends. That is looked up here, with the die's lock held: a cluster hands the job of a worker that died to
    another one as it was. If the journal is damaged nothing is done, and the result asks for a new try. A die that
    cannot be sealed is INTERRUPTED: its journal has everything, and to resume is to seal it.

    Args:
        body: gives the die.

    Raises:
        StorageError: the journal cannot be made or written.
        BenchError: another process is still at work on this die.
    """
    folder = job.place
    with storage(folder, "make the folder of a die"):
        folder.mkdir(parents=True, exist_ok=True)
    notify(job.die, "lease", THINKING)
    with hold(folder, f"work on die {job.name}", patience=ORPHANED):
        return _run_held(job, procedures, notify, stop, body)


def _run_held(job: Job, procedures: Sequence[Procedure], notify: Notify, stop: Stop, body: Body) -> DieResult:
    own = for_die(procedures if job.stages is None else job.stages, job.own)
    history, folder = History(), job.place
    resumed = (folder / "journal.db").exists()
    try:
        if resumed:
            journal = _taken_up(job, len(own))
            replay = Replay.of(journal, body.rebuild)
        else:
            journal = Journal.create(folder, _meta(job))
            replay = Replay(journal, body.rebuild)
    except StorageError as error:
        if not resumed:
            raise
        reason = f"the journal of this try cannot go on, so the die needs a new one: {error}"
        notify(job.die, "alarm", reason)
        outcome = replace(ending(error), state=State.ERROR, reason=reason)
        return DieResult(job.die, "error", outcome, [], attempt=job.attempt, again=True)
    try:
        work = _DieWork(job, own, replay, history, notify, stop, resumed)
        outcome, noted = work.remember() if replay.stages == len(own) else work.carry_out(body)
        figures = figures_of(history, noted)
        found = bin_of(job.bins, figures).name
        if outcome.status is not Status.SUCCESS:
            found = outcome.bin or {Status.ABORT: "stopped", Status.FAIL: "error"}[outcome.status]
        if not journal.readonly:
            said = {"bin": found, "outcome": outcome.status.value, "reason": outcome.reason}
            journal.event("die_ended", {**said, "state": outcome.state.value, "trace": outcome.trace})
            journal.finish()
            work.account()
    finally:
        journal.close()
    notify(job.die, "state", State.SEALING)
    notify(job.die, "lease", SEALING)
    digest = ""
    try:
        digest = seal_in_subprocess(job.folder, job.name)
    except StorageError as error:
        unsealed = ending(error)
        outcome = (
            unsealed if outcome.status is Status.SUCCESS else replace(outcome, reason=f"{outcome.reason}; {error}")
        )
    notify(job.die, "done", found)
    return DieResult(job.die, found, outcome, _solutions(history), digest, job.attempt, figures)


def _taken_up(job: Job, stages: int) -> Journal:
    """Return the journal of an earlier run; what that left beside it is moved to ``RUN/quarantine``.

    It is open for reading alone if it has a good end after so many `stages`. Raises StorageError if it is damaged.
    """
    folder = job.place
    with Journal.open(folder) as found:
        found.verify()
        if next(found.rows("meta"), None) is None:
            raise StorageError(f"{found.path} was never begun")
        kept = found.digests()
        ended = [event.body["outcome"] for event in found.events() if event.kind == "die_ended"]
        whole = found.finished and ended[-1:] == [Status.SUCCESS] and Replay.of(found).stages == stages
    for path in leftovers(folder / "arrays", kept):
        quarantine(job.folder, path)
    return Journal.open(folder, readonly=whole)


@dataclass(frozen=True)
class _DieWork:
    """The stages of one die, to be carried out or gone through again; `resumed` if the journal was there before."""

    job: Job
    procedures: Sequence[Procedure]
    replay: Replay
    history: History
    notify: Notify
    stop: Stop
    resumed: bool

    def tell(self, what: str, detail: Any) -> None:
        """Tell whoever watches this die."""
        self.notify(self.job.die, what, detail)

    def account(self) -> None:
        """Bring the stress ledger up to date; if it is not to be had now, the journal has it all for later."""
        try:
            stress_ledger.account(self.job.ledger, self.replay.journal, self.job.folder.name)
        except LabError as error:
            self.tell(
                "alarm", f"the stress ledger is behind, and is brought up when this die is next worked on: {error}"
            )

    def remember(self) -> tuple[Outcome, dict[str, Any]]:
        """Go through a journal that has all stages; no die is needed for that."""
        noted: dict[str, Any] = next(
            (e.body for e in reversed(list(self.replay.journal.events())) if e.kind == "approached"), {}
        )
        self.replay.rebuild = Rebuild.NOTHING
        description = self.job.subject.description
        return self._stages(ReadyDie(JournalDie(description.shape, description.nominal))), noted

    def carry_out(self, body: Body) -> tuple[Outcome, dict[str, Any]]:
        """Approach the die, run its stages up to the first that does not succeed, and leave it."""
        job, journal = self.job, self.replay.journal
        noted: dict[str, Any] = {}
        try:
            if self.resumed:
                self._set_aside()
                journal.event("resumed", {"after": journal.last.seq, "pending": self.replay.pending})
            self.tell("stage", "approach")
            self.tell("lease", body.patience)
            found = body.approach(job.subject, lambda state: self.tell("state", state))
            noted = found.noted
            journal.event("approached", noted)
            journal.commit()
            self.replay.mark = found.mark
            self.tell("state", State.RUNNING)
            before, gone = stress_ledger.begin(job.ledger, journal, job.folder.name)
            if gone:
                self.tell("alarm", f"nobody knows what {', '.join(gone)} did to this die: the journal is gone")
            outcome = self._stages(found, before)
        except (KeyboardInterrupt, Exception) as error:
            outcome = self.stop.ending(error)
        self.tell("lease", LEAVING)
        try:
            body.leave()
        except Exception as error:
            outcome = unsafe(error, outcome)
        return outcome, noted

    def _set_aside(self) -> None:
        """Move the sealed file of a die that goes on to quarantine: it says that it is complete, and is not."""
        sealed = self.job.place.with_name(f"{self.job.name}.h5")
        if sealed.exists():
            quarantine(self.job.folder, sealed)

    def _stages(self, found: ReadyDie, before: IntArray | None = None) -> Outcome:
        job, journal, outcome = self.job, self.replay.journal, Outcome(Status.SUCCESS)
        limited = Limited(found.die, job.limits, before)
        for procedure in self.procedures:
            self.tell("stage", procedure.name)
            self.tell("lease", THINKING)
            outcome = run(
                procedure,
                limited,
                journal,
                self.history,
                stop=self.stop,
                tick=lambda patterns: self.tell("patterns", patterns),
                lease=lambda seconds: self.tell("lease", seconds),
                truth=found.truth,
                replay=self.replay,
            )
            self.account()
            if outcome.status is not Status.SUCCESS:
                break
        return outcome
