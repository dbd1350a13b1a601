"""Work on one die from its journal's first row to its sealed file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labctl.bodies import Body, Simulated, Subject
from labctl.campaign import Accept, bin_of
from labctl.core.errors import ContactError, LabError
from labctl.core.procedure import History, Procedure
from labctl.sealing import seal_in_subprocess
from labctl.journal import Journal
from labctl.limits import Limited, Limits
from labctl.run import Outcome, Status, Stop, run
from protocols.records import Inference, Write

Notify = Callable[[str, str, Any], None]
"""Called with (die, what, detail) at every safe point and at the end of every stage."""


@dataclass(frozen=True)
class Job:
    """What one die needs beside the stages, which all dies share; picklable.

    Args:
        own: fields of the stages that differ on this die.
    """

    folder: Path
    subject: Subject
    limits: Limits
    accept: Accept
    meta: dict[str, Any] = field(default_factory=dict)
    own: Mapping[str, Any] = field(default_factory=dict)

    @property
    def die(self) -> str:
        """Name of the die."""
        return self.subject.name


@dataclass(frozen=True)
class DieResult:
    """How one die ended: its bin, why, and its solutions as `--json` prints them."""

    die: str
    bin: str
    outcome: Outcome
    solutions: list[dict[str, Any]]
    sealed: str = ""


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
        "place": list(subject.at),
        "description": subject.description.model_dump(mode="json"),
    }


def run_die(
    job: Job, procedures: Sequence[Procedure], notify: Notify, stop: Stop, body: Body | None = None
) -> DieResult:
    """Run all stages on the die that `body` gives, seal it, and say how it ended.

    Args:
        body: None for the simulated die.

    Raises:
        StorageError: the journal cannot be made.
    """
    body = body or Simulated()
    history = History()
    journal = Journal.create(job.folder / "dies" / job.die, _meta(job))
    try:
        outcome = _stages(job, for_die(procedures, job.own), body, journal, history, notify, stop)
        solutions = _solutions(history)
        found = bin_of(
            job.accept,
            [s["fidelity"] for s in solutions],
            [s["accuracy"]["tuned"]["train"] for s in solutions],
        )
        if outcome.status is not Status.SUCCESS:
            found = outcome.bin or {Status.ABORT: "stopped", Status.FAIL: "error"}[outcome.status]
        journal.event("die_ended", {"bin": found, "outcome": outcome.status.value, "reason": outcome.reason})
        journal.finish()
    finally:
        journal.close()
    notify(job.die, "stage", "sealing")
    digest = seal_in_subprocess(job.folder, job.die)
    notify(job.die, "done", found)
    return DieResult(job.die, found, outcome, solutions, digest)


def _stages(
    job: Job,
    procedures: Sequence[Procedure],
    body: Body,
    journal: Journal,
    history: History,
    notify: Notify,
    stop: Stop,
) -> Outcome:
    """Approach the die, run its stages up to the first that does not succeed, and leave it."""
    outcome = Outcome(Status.SUCCESS)
    try:
        notify(job.die, "stage", "approach")
        die, truth, noted = body.approach(job.subject)
        journal.event("approached", noted)
        journal.commit()
        limited = Limited(die, job.limits)
        for procedure in procedures:
            notify(job.die, "stage", procedure.name)
            outcome = run(
                procedure,
                limited,
                journal,
                history,
                stop=stop,
                tick=lambda patterns: notify(job.die, "patterns", patterns),
                truth=truth,
            )
            if outcome.status is not Status.SUCCESS:
                break
    except ContactError as error:
        outcome = Outcome(Status.FAIL, str(error), 1, "contact")
    except KeyboardInterrupt:
        outcome = Outcome(Status.ABORT, "interrupted by the operator", 4)
    except LabError as error:
        outcome = Outcome(Status.FAIL, str(error), error.exit_code)
    try:
        body.leave()
    except LabError as error:
        reason = f"outputs may be live: {error}" + (f" (after: {outcome.reason})" if outcome.reason else "")
        outcome = Outcome(Status.FAIL, reason, 6)
    return outcome
