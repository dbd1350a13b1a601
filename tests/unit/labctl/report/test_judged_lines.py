"""Yield, limits and what failed in lines of text: the same numbers as on the page."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from labctl.core.die_state import State
from labctl.report.judged_lines import lines, lines_of
from labctl.storage.run_log import DieState, RunState, Try, read_state
from tests.declared import FIGURES

RULES = [{"bin": "weak", "hard": 4, "when": "tmr < 90 %"}]
PLACES = [[x, y] for x in range(4) for y in range(4)]


def die(at: tuple[int, int], tmr: float | None) -> DieState:
    if tmr is None:
        one = Try(1, State.CONTACT_FAIL, 0.0, 1.0, bin="contact", hard=5)
        return DieState(f"x{at[0]}y{at[1]}", at, (one,), State.CONTACT_FAIL, f"pads r{at[0]}: no contact")
    weak = tmr < 0.9
    rule = f"tmr < 90 %: it is {tmr}" if weak else "within all limits"
    one = Try(1, State.DONE, 0.0, 1.0, bin="weak" if weak else "good", hard=4 if weak else 1, rule=rule,
              figures={"tmr": tmr})  # fmt: skip
    return DieState(f"x{at[0]}y{at[1]}", at, (one,), State.DONE)


def run(dies: list[DieState]) -> RunState:
    meta = {"bins": RULES, "figures": [FIGURES["tmr"].plain()], "name": "night", "wafer_map": {"places": PLACES}}
    return RunState({**meta, "dies": [{"name": d.name} for d in dies]}, {d.name: d for d in dies})


def test_what_rules_made_of_a_wafer() -> None:
    state = run([die((1, 1), 1.0), die((0, 0), 0.8), die((2, 2), 1.1), die((3, 3), None), die((3, 0), None)])
    assert list(lines(state)) == [
        "Yield: 2 of 5 dies that have a bin are good (40.0 %, 95 %: 12 to 77 %); centre 2 of 2, edge 0 of 3",
        "TMR, at least 90.0 %: 1 of 3 dies beyond, mean 96.7 %, Cpk 0.15 (-0.26 to 0.55)",
        "Failed: 2 contact (pads r…: no contact), 1 weak (TMR < 90.0 %)",
    ]


def test_nothing_is_said_where_nothing_judges(night: Callable[[str], Path], tmp_path: Path) -> None:
    one = replace(die((1, 1), 1.0).tries[0], bin="measured", hard=99)
    state = replace(run([replace(die((1, 1), 1.0), tries=(one,))]))
    assert list(lines(replace(state, meta={**state.meta, "bins": []}))) == []
    assert list(lines_of(tmp_path)) == []
    assert list(lines(read_state(night("start")))) == []
