"""Yield, limits and what failed in lines of text: the same numbers as on the page."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from labctl.analysis.distributions import Comparison
from labctl.config.pass_range import limits_of
from labctl.core.die_state import State
from labctl.report.judged_lines import lines, lines_of
from labctl.report.judged_parts import judgement_of
from labctl.report.judgement import capabilities, values_of
from labctl.report.report_data import gather
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


def test_the_page_and_these_lines_take_the_same_dies_for_a_limit(night: Callable[[str], Path]) -> None:
    ended = [die((1, 1), 1.0), die((0, 0), 0.8), die((2, 2), 1.1)]
    cut = replace(die((3, 3), 0.1).tries[0], state=State.INTERRUPTED, bin="", hard=0, rule="")
    state = run([*ended, DieState("x3y3", (3, 3), (cut,), State.INTERRUPTED)])
    facts = gather(night("kill"))
    shown = [replace(facts.dies[0], name=one.name, bin=one.bin, figures=one.tries[0].figures) for one in state.subjects]
    facts = replace(facts, dies=tuple(shown), figures=(FIGURES["tmr"],), comparison=Comparison(limits_of(RULES)))
    (of_page,) = capabilities(facts)
    assert of_page.interval is not None
    assert of_page.dies == 3
    (line,) = (line for line in lines(state) if line.startswith("TMR, "))
    assert line == "TMR, at least 90.0 %: 1 of 3 dies beyond, mean 96.7 %, Cpk 0.15 (-0.26 to 0.55)"
    assert line.endswith(f"Cpk {of_page.cpk:.2f} ({of_page.interval[0]:.2f} to {of_page.interval[1]:.2f})")
    (chart,) = judgement_of(facts, {}).charts
    assert chart[1] == f"Cpk {of_page.cpk:.2f}"
    assert values_of(shown, "tmr") == [1.0, 0.8, 1.1]
