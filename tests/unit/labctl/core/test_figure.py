"""Figures of merit as they are declared: names, groups, order, and how they travel with a run."""

import json

import numpy as np
import pytest

from labctl.core.figure import Better, Figure, Figures, Shown, middle_half, newest, sizes

R_P = Figure("r_p", "R_P", "of good cells", len, "ohm", "kΩ", 1e-3, 2, 300, Shown.HEADLINE, by_size=True)
RATE = Figure("rate", "switching rate", "of all pulses", len, "1/s", better=Better.LOW)


def test_a_declaration_is_the_same_after_it_was_stored_but_for_its_formula() -> None:
    read = Figure.read(json.loads(json.dumps(R_P.plain())))
    assert read == R_P
    assert read.formula is None
    later = Figure.read({**R_P.plain(), "of a later version": 7})
    assert later == R_P


def test_a_key_is_a_name_that_a_rule_can_have() -> None:
    for key in ("R_P", "r p", "", "1st", "r_p[60 nm", "größe"):
        with pytest.raises(ValueError, match="is no key of a figure"):
            Figure(key, "x", "")


def test_groups_have_the_declaration_of_their_figure_under_their_own_name() -> None:
    figures = Figures([R_P, RATE])
    group = figures["r_p[60 nm]"]
    assert (group.key, group.title, group.unit, group.number) == ("r_p[60 nm]", "R_P, 60 nm", "ohm", 0)
    assert "r_p[60 nm]" in figures
    assert "x[60 nm]" not in figures
    names = ["other", "rate", "r_p[100 nm]", "r_p[60 nm]", "rate"]
    assert figures.in_order(names) == ["r_p[100 nm]", "r_p[60 nm]", "rate", "other"]
    assert [f.key for f in figures.chosen(names, Shown.HEADLINE)] == ["r_p[100 nm]", "r_p[60 nm]"]


def test_a_name_that_nobody_declared_is_shown_as_it_is() -> None:
    figures = Figures(())
    assert figures["old_figure"].text(1234.5678) == "1235"
    assert figures["old_figure"].title == "old figure"
    assert figures["old_figure[60 nm]"].title == "old figure, 60 nm"
    assert not figures["old_figure"].on_map


def test_two_declarations_of_one_key_are_refused_and_one_declaration_twice_is_one() -> None:
    assert list(Figures([R_P, RATE, R_P])) == ["r_p", "rate"]
    with pytest.raises(ValueError, match="'r_p' is declared twice, as 'of good cells' and 'other'"):
        Figures([R_P, Figure("r_p", "R_P", "other", len)])
    with pytest.raises(ValueError, match="declared twice"):
        Figures([R_P, Figure.read(R_P.plain())])


def test_figures_are_shown_with_their_digits() -> None:
    assert R_P.text(2388.0) == "2.39 kΩ"
    assert RATE.text(0.000123456) == "0.0001235 1/s"
    assert R_P.text(float("nan")) == R_P.text(None) == "–"


def test_kernels_of_one_nominal_size_are_one_group() -> None:
    assert sizes([]) == sizes([80e-9] * 3) == {}
    assert sizes([100e-9, 60e-9, 100e-9]) == {"100 nm": (0, 2), "60 nm": (1,)}


def test_the_newest_row_of_each_solution_counts() -> None:
    table = {"solution": np.array([4, 2, 4, 9]), "kernel": np.array([0, 0, 1, 0])}
    assert newest(table, "solution").tolist() == [1, 2, 3]
    assert newest(table, "solution", "kernel").tolist() == [0, 1, 2, 3]
    assert newest({"solution": np.array([], int)}, "solution").tolist() == []


def test_the_mean_of_the_middle_half_ignores_what_is_no_number() -> None:
    assert middle_half(np.array([np.nan, 1.0, 2.0, 3.0, np.inf, 4.0, 900.0])) == 3.0
    assert middle_half(np.array([np.nan])) is None
    assert middle_half(np.array([4.0, np.nan])) == 4.0
    assert middle_half(np.array([1.0, np.nan, 4.0])) == 2.5
    assert middle_half(np.array([1.0, 2.0, 9.0])) == 2.0
