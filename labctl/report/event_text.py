"""Operator words: what happened in a run, how it ended, and what to type next."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from labctl.core.die_state import ACTIVE, State
from labctl.core.exit_codes import ExitCode, headline
from labctl.core.figure import Figures, Shown
from labctl.report.run_folder import left_out
from labctl.storage.journal_reader import Entry
from labctl.storage.run_log import RunState
from labctl.terminal.progress import counted, duration

RUNNING = "still running"
BROKEN_OFF = "broken off: killed, or the power went; nothing that was acknowledged is lost"


class Redo(NamedTuple):
    """Something that is left to do: why, and the command to paste."""

    why: str
    command: str


LEVELS = ("die", "note", "decision", "warning", "alarm")
"""How much an event matters, the least first."""
_ENDS: Mapping[int, str] = {
    ExitCode.GOOD: "note",
    ExitCode.OTHER_BIN: "note",
    ExitCode.STOPPED: "warning",
    ExitCode.OPERATOR: "decision",
}
"""How much the end of a run matters, by its exit code; an alarm with any other."""


def outcome(state: RunState, alive: bool) -> str:
    """Return how the run ended and why, or that it did not."""
    if state.exit_code is not None:
        return _ended(state.exit_code, state.reason)
    return RUNNING if alive else BROKEN_OFF


def _ended(code: int, reason: str) -> str:
    """Return what an exit code means, and the reason; only the reason if that says the same and more.

    >>> _ended(4, "stopped by the operator: ana"), _ended(5, "the disk is full")
    ('stopped by the operator: ana', 'stopped because data could not be written or read: the disk is full')
    """
    meaning = headline(code)
    first = reason.splitlines()[0] if reason else ""
    return first if first.startswith(meaning) else f"{meaning}: {first}" if first else meaning


def event(entry: Entry, declared: Figures) -> tuple[str, str, str]:
    """Return of one row of a run's journal how much it matters, the die it is about ("" for none), and what it says.

    Args:
        declared: figures of the run.

    >>> from labctl.storage.journal_reader import Stamp
    >>> body = {"what": "skip", "die": "D3", "by": "ana", "reason": "scratched"}
    >>> event(Entry(7, "", "asked", body, Stamp(0.0, 0.0)), Figures(()))
    ('decision', 'D3', 'ana asked to skip the die: scratched')
    """
    body = entry.body if isinstance(entry.body, Mapping) else {}
    die = str(body.get("die", ""))
    text = str(body.get("text") or "")
    match entry.kind:
        case "state":
            return _state(body), die, _move(body, declared)
        case "step":
            return "die", die, f"procedure {body.get('stage', '')}"
        case "alarm":
            level = str(body.get("level", "alarm"))
            return level if level in LEVELS else "alarm", die, text
        case "asked":
            if body.get("what") == "off":
                return "warning", die, f"{body.get('by') or 'somebody'} switched the bench off{_because(body)}"
            what = "skip the die" if body.get("what") == "skip" else "stop at the next safe point"
            return "decision", die, f"{body.get('by') or 'somebody'} asked to {what}{_because(body)}"
        case "rule":
            return "alarm", die, f"stop rule '{body.get('rule', '')}': {text}"
        case "visit":
            return "decision", die, "the golden die is visited"
        case "golden":
            return ("note" if body.get("ok", True) else "warning"), die, text or _golden(body)
        case "suspect":
            dies = [str(d) for d in body.get("dies", ())]
            return "warning", dies[0] if len(dies) == 1 else "", f"in doubt: {', '.join(dies)}; {text}"
        case "safed":
            return ("warning" if body.get("met") else "note"), die, text
        case "watchdog":
            return _watchdog(body)
        case "clock":
            return "warning", die, text or f"the clock jumped by {float(body.get('step', 0)):+.1f} s"
        case "resumed":
            return "decision", die, _resumed(body)
        case "ended":
            code = int(body.get("exit", ExitCode.BUG))
            level = _ENDS.get(code, "alarm")
            return level, die, f"run {_ended(code, str(body.get('reason') or ''))}"
    message = text or ", ".join(f"{k} {v}" for k, v in body.items() if isinstance(v, str | int | float))
    return "note", die, f"{entry.kind}{': ' if message else ''}{message}"


def _because(body: Mapping[str, Any]) -> str:
    reason = str(body.get("reason") or "")
    return f": {reason.splitlines()[0]}" if reason else ""


def _state(body: Mapping[str, Any]) -> str:
    state = str(body.get("state"))
    if state in (State.CONTACT_FAIL, State.LIMIT_STOP, State.ERROR, State.INTERRUPTED):
        return "warning"
    return "decision" if state in (State.SKIPPED, State.RETOUCH) else "die"


def _move(body: Mapping[str, Any], declared: Figures) -> str:
    number = int(body.get("try", 1))
    again = f", try {number}" if number > 1 else ""
    bin_ = f", bin {body['bin']}" if body.get("bin") not in (None, "", body.get("state")) else ""
    why = f" ({body['rule']})" if body.get("rule") and not body.get("reason") else ""
    values = body.get("figures", {})
    figures = [f"{f.title} {f.text(values[f.key])}" for f in declared.chosen(values, Shown.HEADLINE, Shown.TABLE)]
    measured = f"; {', '.join(figures)}" if figures else ""
    return f"{body.get('state', '')}{again}{bin_}{why}{_because(body)}{measured}"


def _golden(body: Mapping[str, Any]) -> str:
    drift = ", ".join(f"{name} {float(value):+.2%}" for name, value in body.get("drift", {}).items())
    return f"golden die {'as before' if body.get('ok', True) else 'has drifted'}{': ' if drift else ''}{drift}"


def _watchdog(body: Mapping[str, Any]) -> tuple[str, str, str]:
    what = str(body.get("what", ""))
    message = {
        "died": "the process that owns the instruments died",
        "hung": "the process that owns the instruments did not answer in time and was ended",
        "safe": "the bench was made safe: outputs at 0 V and off, relays open, read back",
        "unsafe": "THE BENCH COULD NOT BE VERIFIED SAFE: go there",
    }.get(what, what)
    seconds = body.get("seconds")
    after = f" ({duration(float(seconds))} later)" if seconds is not None and what in ("safe", "unsafe") else ""
    text = f": {body['text']}" if body.get("text") else ""
    return ("note" if what == "safe" else "alarm"), str(body.get("die", "")), f"{message}{after}{text}"


def _resumed(body: Mapping[str, Any]) -> str:
    only = [str(d) for d in body.get("only") or ()]
    accepted = [str(a) for a in body.get("accepted") or ()]
    about = f", of it only {', '.join(only)}" if only else ""
    despite = f"; accepted although changed: {'; '.join(accepted)}" if accepted else ""
    return f"the run is taken up again{about}{_because(body)}{despite}"


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
    again = {
        "no contact; clean needles and pads, then measure again in a new run": [
            d.name for d in state.subjects if d.state is State.CONTACT_FAIL
        ],
        "stopped by a limit; look at the die first, then measure again in a new run": [
            d.name for d in state.subjects if d.state is State.LIMIT_STOP
        ],
        "skipped; measure in a new run": [
            d.name for d in state.subjects if d.state is State.SKIPPED and d.name not in excluded
        ],
        "measured, but in doubt; measure again in a new run": [
            d.name for d in state.subjects if d.suspect and d.state is State.DONE
        ],
    }
    steps += [
        Redo(f"{counted(len(names), 'die')}: {why}", new_run(argv, names)) for why, names in again.items() if names
    ]
    return steps


def _why(state: RunState, names: Iterable[str]) -> str:
    """Return in what states the dies are, most frequent first."""
    states = [state.dies[n].state for n in names]
    kinds = ["broken off" if s in ACTIVE else s.value for s in states]
    return ", ".join(f"{kinds.count(k)} {k}" for k in sorted(set(kinds), key=lambda k: (-kinds.count(k), k)))


def _command(*parts: str) -> str:
    return shlex.join(["labctl", *parts])


def new_run(argv: Sequence[str], only: Sequence[str]) -> str:
    """Return the command that started a run, for some of its dies and into a new folder.

    >>> new_run(["/venv/bin/labctl", "run", "a.yaml", "--out", "runs/a", "--seed=7"], ["D1", "D2"])
    'labctl run a.yaml --seed=7 --only D1,D2'
    """
    kept, skip = [], False
    for word in list(argv)[1:]:
        if skip:
            skip = False
        elif word in ("--out", "--only"):
            skip = True
        elif not word.startswith(("--out=", "--only=")):
            kept.append(word)
    return _command(*kept, "--only", ",".join(only))
