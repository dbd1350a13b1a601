"""Terms of accuracies in words, each once, with the dies they are of where dies differ."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from labctl.analysis.accuracy_terms import periphery, terms_of, texts
from protocols.die_information import AccuracyTerms, DieInformation, Way


def table(*rows: AccuracyTerms) -> dict[str, Any]:
    names = ("way", "per_die", "trained_with", "remapped", "labelled", "unlabelled", "second_gate")
    return {name: np.array([getattr(row, name) for row in rows]) for name in names}


BASE = AccuracyTerms(Way.UNTUNED, False, DieInformation.NONE, False, 0, 0)
TUNED = AccuracyTerms(Way.TUNED, True, DieInformation.RETRAINING, False, 1000, 0)
HELPED = AccuracyTerms(Way.SUBTRACTED, False, DieInformation.POPULATION, True, 0, 0)


def test_terms_are_read_back_once_each() -> None:
    assert terms_of(table(BASE, TUNED, BASE, HELPED)) == [BASE, TUNED, HELPED]
    less = replace(BASE, second_gate=True)
    assert terms_of(table(BASE, less)) == [BASE, less]
    assert less.text.endswith("digital help: a share of a second gate off every column")


def test_a_run_from_before_there_was_a_second_gate_has_none() -> None:
    old = table(BASE, TUNED)
    del old["second_gate"]
    assert terms_of(old) == [BASE, TUNED]


@pytest.mark.parametrize(
    ("terms", "level"),
    [
        (BASE, DieInformation.NONE),
        (AccuracyTerms(Way.UNTUNED, False, DieInformation.POPULATION, False, 0, 0), DieInformation.POPULATION),
        (AccuracyTerms(Way.CALIBRATED, False, DieInformation.POPULATION, False, 0, 9), DieInformation.UNLABELLED),
        (AccuracyTerms(Way.TUNED, False, DieInformation.POPULATION, False, 9, 0), DieInformation.LABELLED),
        (AccuracyTerms(Way.CALIBRATED, False, DieInformation.NONE, True, 0, 9), DieInformation.DEFECT_MAP),
        (HELPED, DieInformation.DEFECT_MAP),
        (TUNED, DieInformation.RETRAINING),
    ],
)
def test_the_level_is_the_most_that_was_known(terms: AccuracyTerms, level: DieInformation) -> None:
    assert terms.information is level


def test_digital_weights_are_not_analog_inference() -> None:
    assert not HELPED.analog
    assert "not analog inference" in HELPED.text
    assert BASE.analog


def test_terms_of_some_dies_have_their_names() -> None:
    passive = {"geometry": {"kind": "passive"}, "simulation": {"noise": {"gain": 0.01}}}
    dies = [(name, table(BASE, *([TUNED] if name == "B" else [])), passive) for name in "ABC"]
    untuned, tuned = texts(dies)
    assert untuned == (
        "untuned: one set of weights, die information 0 (none), no labels, digital help: none; "
        "periphery: meters with 1 % of gain error"
    )
    assert tuned.startswith("tuned: weights of its own for each die, die information 5 (retraining), 1,000 labels")
    assert tuned.endswith("(B)")


@pytest.mark.parametrize(
    ("spread", "gain", "text"),
    [
        (0.0, 0.0, "ideal (threshold spread 0 mV, column gain 0 %)"),
        (0.0, 0.01, "threshold spread 0 mV, column gain 1 %"),
        (0.02, 0.03, "bench-like (threshold spread 20 mV, column gain 3 %)"),
    ],
)
def test_periphery_of_a_chip(spread: float, gain: float, text: str) -> None:
    simulation = {"transistor": {"v_threshold_spread": spread}, "board": {"gain": gain}}
    assert periphery({"geometry": {"kind": "1T1R"}, "simulation": simulation}) == text
