"""Visits of the reference die: one die is measured again and again, so that drift of the bench is seen at once.

A visit is a job like that of any die, under the name DIE@k, with the stages of a visit. Visits are barriers: a visit
begins when no die is under way, and the dies between two visits do not depend on the number of workers. The dies
between visits and the visit of reference follow from the run's journal, so a run that was killed goes on with the visit
that was next.

A die is trusted if the visits before and after it were good. A visit that was not good therefore puts in doubt the dies
since the visit before, and the dies up to the next visit, good or not.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from labctl.config.reference_die import Golden
from labctl.config.rules import Batch
from labctl.core.die_state import FINAL, State
from labctl.core.events import Alarm, DiesInDoubt, Level, Resumed, VisitBegun, VisitJudged
from labctl.core.figure import Figures
from labctl.execution.die_job import Job
from labctl.storage.run_log import DieState, Runlog, RunState, folder_of

RULE = "golden_drift"
_DOUBTED = (State.DONE, State.LIMIT_STOP)
"""States in which a die has figures that can be doubted, and is not tried again."""


class ReferenceVisits:
    """The visits of one run, by its journal.

    Args:
        golden: section of the campaign file.
        job: of the reference die, with the stages of a visit.
        stop: the run ends when the die has drifted.
    """

    def __init__(self, golden: Golden, job: Job, stop: bool = False) -> None:
        self._golden, self._job, self._stop = golden, job, stop

    @classmethod
    def of(cls, batch: Batch, job: Job | None) -> "ReferenceVisits | None":
        """Return the visits of a campaign, None if it has no reference die."""
        return None if batch.golden is None or job is None else cls(batch.golden, job, batch.stop.golden_drift)

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        return self._job.folder

    # the next die

    def next(self, state: RunState, queue: Sequence[str], active: Collection[str]) -> str | None:
        """Return the next die of `queue` or the next visit; None if it waits for `active` dies, or nothing is left.

        Dies that are tried again wait for the next visit: which die fails first depends on the number of workers.
        """
        if (visit := under_way(state)) is not None:
            return None if active else visit.name
        since = _since(state)
        dies = [state.dies[name] for name in queue if not state.dies[name].golden]
        if _measured(state):
            tried = {die for die, _ in since}
            if begun := [d for d in dies if d.state is State.INTERRUPTED]:
                return begun[0].name
            if len(since) < self._golden.every and (fresh := [d for d in dies if d.name not in tried]):
                new, order = [d.name for d in fresh if not d.tries], list(state.dies)
                return new[0] if new else min((d.name for d in fresh), key=order.index)
        return None if active or not due(state, queue) else f"{self._job.die}@{len(_visits(state)) + 1}"

    def job(self, name: str) -> Job:
        """Return the job of a visit."""
        return replace(self._job, subject=replace(self._job.subject, name=name))

    def announce(self, log: Runlog, name: str) -> bool:
        """Log the begin of a visit, with the tries of dies that it covers; return whether `name` is a visit."""
        if name not in log.state.dies:
            covered = [folder_of(die, number) for die, number in _since(log.state)]
            log.write(VisitBegun(die=name, at=self._job.subject.at, dies=tuple(covered)))
        return log.state.dies[name].golden

    # the result of a visit

    def judge(self, log: Runlog, name: str, again: bool = False) -> tuple[str, str] | None:
        """Log the result of a visit and the dies it puts in doubt; return the name and message of a broken stop rule.

        None if the run goes on. A visit that goes on later has no result yet.

        Args:
            again: the visit is tried again if it is in ERROR.
        """
        visit = log.state.dies[name]
        if not (visit.state in FINAL or (visit.state is State.ERROR and not again)):
            return None
        before = _results(log.state)
        complete = (v.values for v in before if all(n in v.values for n in self._golden.drift))
        reference: Mapping[str, float] = next(complete, {})
        values = self._values(visit)
        drift = {n: values[n] / reference[n] - 1 for n in values if n in reference}
        missing = [n for n in self._golden.drift if n not in values]
        beyond = [n for n, change in drift.items() if abs(change) > self._golden.drift[n]]
        ok = not missing and not beyond
        text = self._text(visit, values, drift, missing, beyond, Figures.of_run(log.state.meta))
        if not ok:
            log.write(Alarm(die=name, text=text, level=Level.WARNING))
        if not ok or (before and not before[-1].ok):
            _doubt(log, text if not ok else before[-1].text)
        # the last row: if the process dies before it, all rows are written again and none is missing
        log.write(VisitJudged(die=name, values=values, drift=drift, ok=ok, text=text))
        return (RULE, text) if not ok and self._stop else None

    def _values(self, visit: DieState) -> dict[str, float]:
        if visit.state is not State.DONE or visit.last is None:
            return {}
        figures = visit.last.figures
        return {n: figures[n] for n in self._golden.drift if n in figures and figures[n] and math.isfinite(figures[n])}

    def _text(
        self,
        visit: DieState,
        values: Mapping[str, float],
        drift: Mapping[str, float],
        missing: Sequence[str],
        beyond: Sequence[str],
        declared: Figures,
    ) -> str:
        """Return the result of a visit, for the operator."""
        if visit.state is not State.DONE:
            why = visit.reason.strip().partition("\n")[0]
            return f"the golden die could not be measured ({visit.state}{why and ': '}{why}): nobody knows of a drift"
        if missing:
            titles = ", ".join(declared[n].title for n in missing)
            return f"the golden die was measured without coming to {titles}: nobody knows of a drift"
        if beyond:
            allowed = self._golden.drift
            changes = [
                f"{declared[n].title} {100 * drift[n]:+.2f} % ({100 * allowed[n]:.3g} % allowed)" for n in beyond
            ]
            return f"the golden die has drifted since the first visit: {', '.join(changes)}"
        if not drift:
            first = [f"{declared[n].title} {declared[n].text(value)}" for n, value in values.items()]
            return f"the golden die, to compare later visits with: {', '.join(first)}"
        changes = [f"{declared[n].title} {100 * change:+.2f} %" for n, change in drift.items()]
        return f"the golden die is as before: {', '.join(changes)}"


def _doubt(log: Runlog, text: str) -> None:
    """Put the dies between the last two visits in doubt."""
    covered = {folder.partition("~")[0] for folder in _visits(log.state)[-1].dies}
    names = [d.name for d in log.state.subjects if d.name in covered and d.state in _DOUBTED]
    if names:
        log.write(DiesInDoubt(dies=tuple(names), text=text))


def under_way(state: RunState) -> DieState | None:
    """Return the visit that was begun and has no result yet, None if there is none."""
    visits = _visits(state)
    return None if len(visits) == len(_results(state)) else state.dies[visits[-1].die]


def due(state: RunState, left: Sequence[str] = ()) -> bool:
    """Return whether a visit is to be made or continued before any of the dies that are `left`.

    Without a reference die none is due, as long as no die is left.
    """
    if left and not _measured(state):
        return True
    return bool(_visits(state)) and (under_way(state) is not None or bool(_since(state)))


def _measured(state: RunState) -> bool:
    """Return whether dies may be measured: there was a visit, and if it was not good, no resume since."""
    rows = [row for row in state.events if isinstance(row.event, VisitJudged | Resumed)]
    judged = [row.event for row in rows if isinstance(row.event, VisitJudged)]
    return bool(judged) and (judged[-1].ok or isinstance(rows[-1].event, VisitJudged))


def _visits(state: RunState) -> list[VisitBegun]:
    return [row.event for row in state.events if isinstance(row.event, VisitBegun)]


def _results(state: RunState) -> list[VisitJudged]:
    return [row.event for row in state.events if isinstance(row.event, VisitJudged)]


def _since(state: RunState) -> list[tuple[str, int]]:
    """Return the tries, as die and number, that no visit covers yet; one that goes on later is left out."""
    seen = {folder for visit in _visits(state) for folder in visit.dies}
    return [
        (die.name, t.number)
        for die in state.subjects
        for t in die.tries
        if folder_of(die.name, t.number) not in seen and t.state is not State.INTERRUPTED
    ]
