"""What rules made of the dies of a run: causes in words, every rule that is true, and nothing where nothing judges."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from labctl.analysis.distributions import Comparison
from labctl.config.pass_range import PassRange, limits_of
from labctl.report import judgement, page_parts
from labctl.report.judged_parts import judgement_of
from labctl.report.report_data import DieFacts, Facts, gather
from labctl.report.report_json import as_json
from tests.declared import FIGURES

Night = Callable[[str], Path]
RULES = [
    {"bin": "leaky", "hard": 4, "when": "r_p < 2.45 kohm"},
    {"bin": "weak", "hard": 9, "when": "fidelity < 98 %"},
    {"bin": "good", "hard": 1, "when": "fidelity > 99.5 %"},
]


def judged(facts: Facts, *dies: DieFacts) -> Facts:
    rules = {**facts.provenance, "bins": RULES}
    return replace(facts, dies=dies, comparison=Comparison(limits_of(RULES), FIGURES), provenance=rules)


def test_a_die_counts_for_its_bin_once_and_for_every_rule_that_is_true(night: Night) -> None:
    facts = gather(night("kill"))
    a = facts.dies[0]
    leaky = replace(a, name="L", bin="leaky", hard=4, rule="r_p < 2.45 kohm: it is 2400",
                    figures={"r_p": 2400.0, "fidelity": 0.9})  # fmt: skip
    weak = replace(a, name="W", bin="weak", hard=9, rule="fidelity < 98 %: it is 0.9", figures={"fidelity": 0.9})
    lost = replace(a, name="C", bin="contact", hard=5, rule="", reason="pads r0 to c3: 12.5 ohm\nmore", figures={})
    facts = judged(facts, a, leaky, weak, replace(lost, name="D", reason="pads r1 to c3: 9 ohm"), lost)
    assert [(c.name, c.number, c.inside) for c in judgement.failed_bins(facts)] == [
        ("contact", 2, (("pads r… to c…: … ohm", 2),)),
        ("leaky", 1, (("R_P < 2.45 kΩ", 1),)),
        ("weak", 1, (("write fidelity < 98.00 %", 1),)),
    ]
    assert [(c.name, c.number) for c in judgement.failed_rules(facts)] == [
        ("weak: write fidelity < 98.00 %", 3), ("leaky: R_P < 2.45 kΩ", 1)
    ]  # fmt: skip
    assert judgement.outside(leaky, "r_p", facts)
    assert not judgement.outside(weak, "r_p", facts)
    (r_p, fidelity) = judgement.capabilities(facts)
    assert (r_p.figure, r_p.dies, r_p.below, fidelity.below) == ("r_p", 2, 1, 3)
    shown = judgement_of(facts, {})
    assert [table.title for table in shown.tables][:3] == ["Yield", "Limits", "What failed"]
    assert len(shown.charts) == 2


def test_a_run_that_nothing_judges_has_no_yield(night: Night) -> None:
    facts = gather(night("kill"))
    measured = replace(facts.dies[0], bin="measured", hard=99, rule="no acceptance limits were set")
    facts = replace(facts, dies=(measured,))
    assert not judgement.is_judged(facts)
    assert judgement.failed_bins(facts) == []
    assert [table.title for table in judgement_of(facts, {}).tables] == ["Defects of cells"]


def test_every_limit_of_a_figure_over_dies_is_drawn_however_far_away(night: Night) -> None:
    a = gather(night("kill")).dies[0]
    dies = [replace(a, name=str(k), figures={"r_p": 2500.0 + k}) for k in range(3)]
    (chart,) = judgement_of(judged(gather(night("kill")), *dies), {}).charts
    assert chart[2].count('class="line line-limit"') == 1
    assert ">R_P ≥ 2.45 kΩ</text>" in chart[2]
    assert ">0.5</text>" not in chart[2]  # there is no half die


def test_a_void_last_try_counts_in_no_network_no_defect_and_no_spread(night: Night) -> None:
    facts = gather(night("end"))
    whole = next(die for die in facts.dies if any(one["accuracy_test"] is not None for one in die.measured.networks))
    bad = tuple({**one, "accuracy_test": 0.1} for one in whole.measured.networks)
    lost = replace(whole, name="V", bin="error", hard=7, state="error", figures={},
                   measured=replace(whole.measured, networks=bad, void=True))  # fmt: skip
    alone, beside = replace(facts, dies=(whole,)), replace(facts, dies=(whole, lost))
    assert page_parts.networks(beside) == page_parts.networks(alone)
    assert json.loads(as_json(beside))["networks"] == json.loads(as_json(alone))["networks"]
    assert judgement.defects_of_cells(beside) == judgement.defects_of_cells(alone)
    assert list(page_parts.spreads(beside)) == list(page_parts.spreads(alone))
    assert not list(page_parts.spreads(replace(facts, dies=(lost,))))


def test_a_die_that_an_earlier_good_rule_lets_through_is_beyond_no_limit(night: Night) -> None:
    rules = [{"bin": "prime", "hard": 1, "when": "tmr > 100 %"}, {"bin": "hot", "hard": 9, "when": "tmr > 120 %"},
             {"bin": "weak", "hard": 4, "when": "tmr < 60 %"}]  # fmt: skip
    facts = gather(night("kill"))
    hot = replace(facts.dies[0], name="H", bin="prime", hard=1, figures={"tmr": 1.3})
    weak = replace(facts.dies[0], name="W", bin="weak", hard=4, figures={"tmr": 0.5})
    facts = replace(facts, dies=(hot, weak), comparison=Comparison(limits_of(rules), FIGURES),
                    provenance={**facts.provenance, "bins": rules})  # fmt: skip
    assert facts.limits == {"tmr": PassRange(low=0.6)}
    assert not judgement.outside(hot, "tmr", facts)
    assert judgement.outside(weak, "tmr", facts)
    assert [(c.name, c.number) for c in judgement.failed_rules(facts)] == [("weak: TMR < 60.0 %", 1)]


@pytest.mark.parametrize(
    ("good", "limited"),
    [
        ("tmr > 100 %", False),
        ("fidelity > 99 %", False),  # says nothing of the figure, so it lets any value of it through
        ("tmr > 100 % and tmr < 130 % and fidelity > 99 %", False),
        ("tmr > 100 % and tmr <= 120 %", True),
        ("tmr < 60 %", True),
    ],
)
def test_a_good_rule_before_takes_a_limit_away_if_both_can_be_true(good: str, limited: bool) -> None:
    bad = {"bin": "hot", "hard": 9, "when": "tmr > 120 %"}
    before = {"bin": "prime", "hard": 1, "when": good}
    assert ("tmr" in limits_of([before, bad])) is limited
    assert "tmr" in limits_of([bad, before])


def test_codes_of_relays_in_a_row_are_one_cause() -> None:
    reason = "matrix: closed should be 1A01, 1H02, 1H03 and 22 more; missing 2B09, too many 2B08. Look at its cards"
    assert judgement.cause_of("D55", 7, "", reason, {}) == (
        "matrix: closed should be …; missing …, too many …. Look at its cards"
    )
