"""Operator words: what happened in a run, how it ended, and what to type next."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from labctl.core.die_state import ACTIVE, State
from labctl.core.events import (
    Alarm,
    BenchOpened,
    ClockJumped,
    DieMoved,
    DiesInDoubt,
    FaultInjected,
    GuardActed,
    GuardFate,
    Level,
    MadeSafe,
    Pruned,
    Requested,
    RequestKind,
    Resumed,
    RuleBroken,
    RunEnded,
    RunEvent,
    SealedAgain,
    StageBegun,
    UnknownEvent,
    VisitBegun,
    VisitJudged,
    WatchdogActed,
    WorkerFate,
)
from labctl.core.exit_codes import ExitCode, headline
from labctl.core.figure import Figures, Shown
from labctl.report.rule_words import rule_in_words
from labctl.report.run_folder import left_out
from labctl.station.guard_text import guard_text
from labctl.storage.run_log import RunState
from labctl.terminal.progress import counted, duration, quantity

RUNNING = "still running"
BROKEN_OFF = "broken off: killed, or the power went; nothing that was acknowledged is lost"


class Redo(NamedTuple):
    """Something that is left to do: why, and the command to paste."""

    why: str
    command: str


_ENDS: Mapping[int, Level] = {
    ExitCode.GOOD: Level.NOTE,
    ExitCode.OTHER_BIN: Level.NOTE,
    ExitCode.STOPPED: Level.WARNING,
    ExitCode.OPERATOR: Level.DECISION,
}
"""How much the end of a run matters, by its exit code; an alarm with any other."""
_LEVELS: Mapping[State, Level] = {
    **dict.fromkeys((State.CONTACT_FAIL, State.LIMIT_STOP, State.ERROR, State.INTERRUPTED), Level.WARNING),
    **dict.fromkeys((State.SKIPPED, State.RETOUCH), Level.DECISION),
}
"""How much a new state of a die matters; other states are the die's course."""
_REQUESTS: Mapping[RequestKind, str] = {
    RequestKind.STOP: "asked to stop at the next safe point",
    RequestKind.SKIP: "asked to skip the die",
    RequestKind.OFF: "switched the bench off",
}
_FATES: Mapping[WorkerFate, str] = {
    WorkerFate.DIED: "the process that owns the instruments died",
    WorkerFate.HUNG: "the process that owns the instruments did not answer in time and was ended",
    WorkerFate.SAFE: "the bench was made safe: outputs at 0 V and off, relays open, read back",
    WorkerFate.UNSAFE: "THE BENCH COULD NOT BE VERIFIED SAFE: go there",
}


def outcome(state: RunState, alive: bool, bench: str = "") -> str:
    """Return how the run ended and why, or that it did not.

    Args:
        bench: what became of the bench of a run that was broken off.
    """
    if state.exit_code is not None:
        return _ended(state.exit_code, state.reason)
    return RUNNING if alive else f"{BROKEN_OFF}; {bench}" if bench else BROKEN_OFF


def _ended(code: int, reason: str) -> str:
    """Return what an exit code means, and the reason; only the reason if that says the same and more.

    >>> _ended(4, "stopped by the operator: ana"), _ended(5, "the disk is full")
    ('stopped by the operator: ana', 'stopped because data could not be written or read: the disk is full')
    """
    meaning = headline(code)
    first = reason.splitlines()[0] if reason else ""
    return first if first.startswith(meaning) else f"{meaning}: {first}" if first else meaning


def event(event: RunEvent | UnknownEvent, declared: Figures) -> tuple[Level, str, str]:
    """Return of an event of a run how much it matters, the die it is about ("" for none), and what happened.

    Args:
        declared: figures of the run.

    >>> event(Requested(what=RequestKind.SKIP, die="D3", by="ana", reason="scratched"), Figures(()))
    (<Level.DECISION: 'decision'>, 'D3', 'ana asked to skip the die: scratched')
    """
    match event:
        case DieMoved():
            return _LEVELS.get(event.state, Level.DIE), event.die, _move(event, declared)
        case StageBegun():
            return Level.DIE, event.die, f"procedure {event.stage}"
        case Alarm():
            return event.level, event.die, event.text
        case Requested():
            level = Level.WARNING if event.what is RequestKind.OFF else Level.DECISION
            return level, event.die, f"{event.by or 'somebody'} {_REQUESTS[event.what]}{_because(event.reason)}"
        case RuleBroken():
            return Level.ALARM, "", f"stop rule '{event.rule}': {event.text}"
        case VisitBegun():
            return Level.DECISION, event.die, "the golden die is visited"
        case VisitJudged():
            return Level.NOTE if event.ok else Level.WARNING, event.die, event.text
        case SealedAgain():
            return Level.NOTE, event.die, "its sealed file was damaged or gone, and was made again from its journal"
        case Pruned():
            by = f" by {event.by}" if event.by else ""
            files = f"{counted(len(event.dies), 'journal')} dropped, {quantity(event.bytes, 'B')}"
            return Level.DECISION, "", f"pruned{by}: {files}; the sealed files are all there is"
        case DiesInDoubt(dies=dies):
            return Level.WARNING, dies[0] if len(dies) == 1 else "", f"in doubt: {', '.join(dies)}; {event.text}"
        case FaultInjected():
            at = f" at {event.instrument}" if event.instrument else ""
            details = f": {event.text}" if event.text else ""
            return Level.DECISION, event.die, f"injected fault {event.number}: {event.what}{at}{details}"
        case MadeSafe():
            return Level.WARNING if event.met else Level.NOTE, "", event.text
        case GuardActed():
            return Level.WARNING if event.what is GuardFate.SAFE else Level.ALARM, "", guard_text(event)
        case WatchdogActed():
            return Level.NOTE if event.what is WorkerFate.SAFE else Level.ALARM, event.die, _watchdog(event)
        case ClockJumped():
            return Level.WARNING, "", event.text
        case Resumed():
            return Level.DECISION, "", _resumed(event)
        case RunEnded():
            level = _ENDS.get(event.exit_code, Level.ALARM)
            return level, "", f"run {_ended(event.exit_code, event.reason)}"
        case BenchOpened():
            return Level.NOTE, "", f"bench: {event.text}"
    body = event.body if isinstance(event.body, Mapping) else {}
    message = ", ".join(f"{k} {v}" for k, v in body.items() if isinstance(v, str | int | float))
    return Level.NOTE, str(body.get("die", "")), f"{event.kind}{': ' if message else ''}{message}"


def warned(state: RunState, declared: Figures) -> str:
    """Return the last warning or alarm of a run and how many there are, "" without any; ends of dies are none here."""
    parts = [event(row.event, declared) for row in state.events if not isinstance(row.event, RunEnded)]
    texts = [f"{die}: {text}" if die else text for level, die, text in parts if level in (Level.WARNING, Level.ALARM)]
    if not texts:
        return ""
    many = f", the last of {len(texts)}; all stand in the report" if len(texts) > 1 else ""
    return f"Warning{many}: {texts[-1].splitlines()[0]}"


def _because(reason: str) -> str:
    return f": {reason.splitlines()[0]}" if reason else ""


def _move(event: DieMoved, declared: Figures) -> str:
    again = f", try {event.try_no}" if event.try_no > 1 else ""
    bin_ = f", bin {event.bin}" if event.bin and event.bin != event.state else ""
    why = f" ({rule_in_words(event.rule, declared)})" if event.rule and not event.reason else ""
    shown = declared.chosen(event.figures, Shown.HEADLINE, Shown.TABLE)
    figures = [f"{f.title} {f.text(event.figures[f.key])}" for f in shown]
    measured = f"; {', '.join(figures)}" if figures else ""
    return f"{event.state}{again}{bin_}{why}{_because(event.reason)}{measured}"


def _watchdog(event: WatchdogActed) -> str:
    of_bench = event.what in (WorkerFate.SAFE, WorkerFate.UNSAFE)
    after = f" ({duration(event.seconds)} later)" if event.seconds is not None and of_bench else ""
    text = f": {event.text}" if event.text else ""
    return f"{_FATES[event.what]}{after}{text}"


def _resumed(event: Resumed) -> str:
    about = f", of it only {', '.join(event.only)}" if event.only else ""
    despite = f"; accepted although changed: {'; '.join(event.accepted)}" if event.accepted else ""
    return f"the run is taken up again{about}{_because(event.reason)}{despite}"


def redo(state: RunState, alive: bool, run: str, argv: Sequence[str]) -> list[Redo]:
    """Return what is left to do, the most useful first; nothing while the run goes on.

    Args:
        run: path of the run folder.
        argv: what the run was started with.
    """
    if alive:
        return []
    steps: list[Redo] = []
    excluded = left_out(state)
    open_dies = [d for d in state.dies.values() if d.name in state.unfinished]
    broken = [d.name for d in open_dies if d.tries]
    fresh = [d.name for d in open_dies if not d.tries]
    if broken and fresh:
        message = f"go on with all: {counted(len(broken), 'die')} not finished, {counted(len(fresh), 'die')} not begun"
        steps.append(Redo(message, _command("resume", run)))
    elif fresh:
        steps.append(Redo(f"go on: {counted(len(fresh), 'die')} not begun", _command("resume", run)))
    if broken:
        message = f"go on with these only: {_why(state, broken)}"
        steps.append(Redo(message, _command("resume", run, "--only", ",".join(broken))))
    bins = {
        "contact": "no contact; clean needles and pads, then measure again in a new run",
        "limit": "stopped by a limit; look at the die first, then measure again in a new run",
    }
    for name, why in bins.items():
        if dies := [d for d in state.subjects if d.state in (State.CONTACT_FAIL, State.LIMIT_STOP) and d.bin == name]:
            # a retest of a retest is of the whole wafer, whose other dies may have this bin since an earlier run
            names = [d.name for d in dies] if state.meta.get("retest") else []
            steps.append(Redo(f"{counted(len(dies), 'die')}: {why}", new_run(argv, retest=run, bins=name, only=names)))
    again = {
        "skipped; measure in a new run": [
            d.name for d in state.subjects if d.state is State.SKIPPED and d.name not in excluded
        ],
        "measured, but in doubt; measure again in a new run": [
            d.name for d in state.subjects if d.suspect and d.state is State.DONE
        ],
    }
    steps += [
        Redo(f"{counted(len(names), 'die')}: {why}", new_run(argv, only=names)) for why, names in again.items() if names
    ]
    return steps


def _why(state: RunState, names: Iterable[str]) -> str:
    """Return in what states the dies are, most frequent first."""
    states = [state.dies[n].state for n in names]
    kinds = ["broken off" if s in ACTIVE else s.value for s in states]
    return ", ".join(f"{kinds.count(k)} {k}" for k in sorted(set(kinds), key=lambda k: (-kinds.count(k), k)))


def _command(*parts: str) -> str:
    return shlex.join(["labctl", *parts])


def new_run(argv: Sequence[str], *, only: Sequence[str] = (), retest: str = "", bins: str = "") -> str:
    """Return the command that started a run, for some of its dies and into a new folder.

    Args:
        only: names of the dies; with `retest` none are all that are in `bins`.
        retest: folder of the run whose dies in `bins` are measured again.

    >>> new_run(["/venv/bin/labctl", "run", "a.yaml", "--out", "runs/a", "--seed=7"], only=["D1", "D2"])
    'labctl run a.yaml --seed=7 --only D1,D2'
    """
    kept, skip = [], False
    for word in list(argv)[1:]:
        if skip:
            skip = False
        elif word in _OF_ONE_RUN:
            skip = True
        elif not word.startswith(tuple(f"{option}=" for option in _OF_ONE_RUN)):
            kept.append(word)
    chosen = ["--retest", retest, "--bins", bins] if retest else []
    return _command(*kept, *chosen, *(["--only", ",".join(only)] if only else []))


_OF_ONE_RUN = ("--out", "--only", "--retest", "--bins")
"""Options that another run does not have from the one before it."""
