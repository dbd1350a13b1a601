"""Rows of a run's journal in operator words."""

from types import SimpleNamespace

import pytest

from labctl.core.die_state import State
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
from labctl.core.exit_codes import Status
from labctl.report.event_text import event, new_run, redo, warned
from labctl.storage.run_log import DieState, RunState, Try
from tests.declared import FIGURES

TEXTS = [
    (DieMoved(die="D1", state=State.MOVING), (Level.DIE, "D1", "moving")),
    (
        DieMoved(die="D1", state=State.DONE, try_no=2, bin="good", rule="fine", figures={"fidelity": 0.98}),
        (Level.DIE, "D1", "done, try 2, bin good (fine); write fidelity 98.00 %"),
    ),
    (
        DieMoved(die="D1", state=State.ERROR, reason="boom\nTraceback", bin="error"),
        (Level.WARNING, "D1", "error: boom"),
    ),
    (DieMoved(die="D1", state=State.SKIPPED, reason="scratch"), (Level.DECISION, "D1", "skipped: scratch")),
    (StageBegun(die="D1", stage="survey"), (Level.DIE, "D1", "procedure survey")),
    (Alarm(text="hot", level=Level.WARNING, die="D1"), (Level.WARNING, "D1", "hot")),
    (Alarm(text="hot"), (Level.ALARM, "", "hot")),
    (
        Requested(what=RequestKind.STOP, by="ana"),
        (Level.DECISION, "", "ana asked to stop at the next safe point"),
    ),
    (Requested(what=RequestKind.SKIP, die="D3"), (Level.DECISION, "D3", "somebody asked to skip the die")),
    (
        Requested(what=RequestKind.OFF, by="ana@lab3", reason="needles"),
        (Level.WARNING, "", "ana@lab3 switched the bench off: needles"),
    ),
    (MadeSafe(met={"smu1.smua": "on at 0.1 V"}, text="met with it"), (Level.WARNING, "", "met with it")),
    (
        FaultInjected(number=3, what="busy", die="D1", instrument="smu1", text="at 'print(1)'"),
        (Level.DECISION, "D1", "injected fault 3: busy at smu1: at 'print(1)'"),
    ),
    (FaultInjected(number=4, what="dead die", die="D2"), (Level.DECISION, "D2", "injected fault 4: dead die")),
    (MadeSafe(text="met at rest"), (Level.NOTE, "", "met at rest")),
    (BenchOpened(identities={"smu": "2602B"}, text="smu: 2602B"), (Level.NOTE, "", "bench: smu: 2602B")),
    (
        GuardActed(what=GuardFate.SAFE, seconds=0.3, met={"smu1.smua": "on at 0.1 V"}, text="smu1: off"),
        (
            Level.WARNING,
            "",
            "every process of the run was gone; bench made safe by its guard 300 ms later: smu1.smua was on at 0.1 V; "
            "smu1: off",
        ),
    ),
    (
        GuardActed(what=GuardFate.UNSAFE, text="smu1 is silent"),
        (
            Level.ALARM,
            "",
            "every process of the run was gone; ITS GUARD COULD NOT VERIFY THE BENCH SAFE: go there: smu1 is silent",
        ),
    ),
    (
        GuardActed(what=GuardFate.LEFT, text="it is in use by bob"),
        (
            Level.ALARM,
            "",
            "every process of the run was gone; its guard left the bench alone: it is in use by bob",
        ),
    ),
    (RuleBroken(rule="contact", text="3 in a row"), (Level.ALARM, "", "stop rule 'contact': 3 in a row")),
    (VisitBegun(die="G@1", at=(3, 4)), (Level.DECISION, "G@1", "the golden die is visited")),
    (VisitJudged(die="G@1", ok=False, text="has drifted"), (Level.WARNING, "G@1", "has drifted")),
    (VisitJudged(die="G@1", ok=True, text="as before"), (Level.NOTE, "G@1", "as before")),
    (DiesInDoubt(dies=("D1",), text="why"), (Level.WARNING, "D1", "in doubt: D1; why")),
    (DiesInDoubt(dies=("D1", "D2"), text="why"), (Level.WARNING, "", "in doubt: D1, D2; why")),
    (
        WatchdogActed(what=WorkerFate.SAFE, seconds=0.25),
        (Level.NOTE, "", "the bench was made safe: outputs at 0 V and off, relays open, read back (250 ms later)"),
    ),
    (
        WatchdogActed(what=WorkerFate.UNSAFE, die="D1", text="smu1"),
        (Level.ALARM, "D1", "THE BENCH COULD NOT BE VERIFIED SAFE: go there: smu1"),
    ),
    (
        WatchdogActed(what=WorkerFate.DIED, seconds=3.0),
        (Level.ALARM, "", "the process that owns the instruments died"),
    ),
    (
        WatchdogActed(what=WorkerFate.HUNG),
        (Level.ALARM, "", "the process that owns the instruments did not answer in time and was ended"),
    ),
    (ClockJumped(step=-3600.0, text="an hour back"), (Level.WARNING, "", "an hour back")),
    (
        Resumed(only=("D1",), accepted=("file a changed",), reason="power"),
        (
            Level.DECISION,
            "",
            "the run is taken up again, of it only D1: power; accepted although changed: file a changed",
        ),
    ),
    (RunEnded(exit_code=0, outcome=Status.SUCCESS), (Level.NOTE, "", "run finished; no die is bad")),
    (
        RunEnded(exit_code=6, outcome=Status.FAIL, reason="SMU 1"),
        (Level.ALARM, "", "run OUTPUTS COULD NOT BE VERIFIED OFF: go to the bench: SMU 1"),
    ),
    (
        SealedAgain(die="D1", sha256="ab"),
        (Level.NOTE, "D1", "its sealed file was damaged or gone, and was made again from its journal"),
    ),
    (
        Pruned(dies=("D1", "D2~2"), bytes=2048, by="ana@lab3"),
        (
            Level.DECISION,
            "",
            "pruned by ana@lab3: 2 journals dropped, 2.048 kB; the sealed files are all there is",
        ),
    ),
    (UnknownEvent("weather", {"temperature": 21.5}), (Level.NOTE, "", "weather: temperature 21.5")),
    (UnknownEvent("weather"), (Level.NOTE, "", "weather")),
]


@pytest.mark.parametrize(("row", "text"), TEXTS, ids=lambda value: getattr(value, "kind", ""))
def test_every_event_has_a_text(row: RunEvent | UnknownEvent, text: tuple[Level, str, str]) -> None:
    assert event(row, FIGURES) == text


def test_no_event_is_without_a_test() -> None:
    assert {type(row) for row, _ in TEXTS} == {UnknownEvent, *RunEvent.kinds.values()}
    assert {row.what for row, _ in TEXTS if isinstance(row, WatchdogActed)} == set(WorkerFate)
    assert {row.what for row, _ in TEXTS if isinstance(row, Requested)} == set(RequestKind)
    assert {row.what for row, _ in TEXTS if isinstance(row, GuardActed)} == set(GuardFate)


def test_a_command_is_quoted_and_names_no_old_folder() -> None:
    argv = ["/a/labctl", "run", "my file.yaml", "--out=x", "--only", "D9", "--seed", "7"]
    assert new_run(argv, only=["D1"]) == "labctl run 'my file.yaml' --seed 7 --only D1"


def test_a_retest_of_a_retest_is_suggested_for_the_dies_that_are_counted() -> None:
    lost = Try(1, State.CONTACT_FAIL, 0.0, 1.0, bin="contact", hard=5)
    fine = Try(1, State.DONE, 0.0, 1.0, bin="good", hard=1)
    dies = {
        "D1": DieState("D1", (0, 0), (lost,), State.CONTACT_FAIL),
        "D2": DieState("D2", (1, 0), (fine,), State.DONE),
    }
    meta = {"dies": [{"name": name} for name in dies]}
    argv = ["labctl", "run", "c.yaml", "--retest", "w1", "--bins=weak", "--only", "D1,D2", "--out", "w2"]
    (step,) = redo(RunState({**meta, "retest": {"run": "w1"}}, dies), False, "w2", argv)
    assert step.why.startswith("1 die: no contact")
    assert step.command == "labctl run c.yaml --retest w2 --bins contact --only D1"
    (step,) = redo(RunState(meta, dies), False, "w1", ["labctl", "run", "c.yaml"])
    assert step.command == "labctl run c.yaml --retest w1 --bins contact"


def test_the_last_warning_is_told_and_how_many_there_are() -> None:
    events = Alarm(text="hot"), Alarm(text="stuck\nat 3", die="D1"), Requested(what=RequestKind.STOP, by="ana")
    rows = [SimpleNamespace(event=e) for e in events]
    assert warned(RunState({}, {}), FIGURES) == ""
    assert warned(RunState({}, {}, tuple(rows[:1])), FIGURES) == "Warning: hot"  # type: ignore[arg-type]
    text = warned(RunState({}, {}, tuple(rows)), FIGURES)  # type: ignore[arg-type]
    assert text == "Warning, the last of 2; all stand in the report: D1: stuck"
