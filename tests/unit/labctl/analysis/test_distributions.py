"""Distributions by nominal diameter, and the lines that they are compared with."""

from collections import Counter

import numpy as np
import pytest

from labctl.analysis.distributions import Comparison, LineKind, distributions, of_figure
from labctl.analysis.measurements import Counts, fine_counts
from labctl.analysis.thresholds import series_of, thresholds
from labctl.config.pass_range import PassRange
from labctl.core.defects import Defect
from labctl.core.figure import Figure, Figures
from protocols.survey import NominalCells, Survey
from sim_backend.description import DieDescription

R_P = Figure("r_p", "R_P", "", unit="ohm", shown_unit="kΩ", factor=1e-3, digits=2, by_size=True)
TMR = Figure("tmr", "TMR", "", shown_unit="%", factor=100.0, digits=1, by_size=True)


def counts(**sizes: float) -> Counts:
    """Six cells of each size, whose P has this conductance, and 9 pulses to P."""
    total = Counts()
    for name, g_p in sizes.items():
        size = f"{name[1:]} nm"
        fine = fine_counts(np.full(6, g_p))
        total.add(Counts({size: fine}, {size: fine_counts(np.full(6, g_p / 2))}, {size: Counter({1000: 6})},
                         {size: Counter({4200: 9})}))  # fmt: skip
    return total


def test_each_nominal_diameter_has_histograms_of_its_own() -> None:
    drawn = {d.key: d for d in distributions(counts(d100=1e-3, d60=4e-4))}
    assert list(drawn) == [
        "conductance[60 nm]", "tmr[60 nm]", "v_switch[60 nm]", "conductance[100 nm]", "tmr[100 nm]", "v_switch[100 nm]"
    ]  # fmt: skip
    assert drawn["tmr[60 nm]"].title == "TMR of good cells, 60 nm"
    assert [d.key for d in distributions(counts(d60=4e-4))] == ["conductance", "tmr", "v_switch"]
    assert list(distributions(Counts())) == []


def test_counts_of_dies_add_up_by_size_and_leave_the_terms_as_they_were() -> None:
    first, second = counts(d60=4e-4), counts(d60=5e-4, d100=1e-3)
    first.add(second)
    assert (first.g_p["60 nm"].sum(), first.g_p["100 nm"].sum(), second.g_p["60 nm"].sum()) == (12, 6, 6)
    assert (first.tmr["60 nm"], second.tmr["60 nm"]) == (Counter({1000: 12}), Counter({1000: 6}))


def test_the_limits_of_a_size_are_lines_in_the_unit_of_its_axis() -> None:
    limits = {"r_p[60 nm]": PassRange(2000.0, 4000.0), "tmr": PassRange(low=0.8, low_passes=False)}
    nominal = {"60 nm": {"g_p": 4e-4, "g_ap": 2e-4, "tmr": 1.1}}
    drawn = {
        d.key: d for d in distributions(counts(d60=4e-4, d100=1e-3), Comparison(limits, Figures([R_P, TMR]), nominal))
    }
    lines = drawn["conductance[60 nm]"].lines
    assert [(line.kind, line.text) for line in lines] == [
        (LineKind.LIMIT, "R_P, 60 nm ≥ 2.00 kΩ"), (LineKind.LIMIT, "R_P, 60 nm ≤ 4.00 kΩ"),
        (LineKind.NOMINAL, "P by the die file"), (LineKind.NOMINAL, "AP by the die file"),
    ]  # fmt: skip
    assert [line.value for line in lines] == pytest.approx([500.0, 250.0, 400.0, 200.0])
    assert drawn["conductance[100 nm]"].lines == ()
    assert [(line.value, line.text) for line in drawn["tmr[100 nm]"].lines] == [(80.0, "TMR > 80.0 %")]


def test_a_figure_over_dies_has_every_die_and_its_limits() -> None:
    drawn = of_figure(R_P, [2000.0, 2100.0, 2500.0, float("nan")], PassRange(low=1500.0))
    assert drawn is not None
    (bars,) = drawn.bars
    assert (sum(bars.counts), drawn.beyond) == (3, 1)
    assert bars.edges[0] <= 2.0
    assert bars.edges[-1] >= 2.5
    assert [line.value for line in drawn.lines] == [1.5]
    assert of_figure(R_P, [float("nan")], PassRange(low=1.0)) is None
    alone = of_figure(R_P, [2000.0, 2000.0], PassRange())
    assert alone is not None
    assert sum(alone.bars[0].counts) == 2


def test_a_limit_of_a_resistance_that_no_conductance_has_is_no_line() -> None:
    for nothing in (0.0, -1e3, 5e-324):
        limits = {"r_p": PassRange(nothing, 4000.0)}
        (chart, *_) = distributions(counts(d60=4e-4), Comparison(limits, Figures([R_P])))
        assert [line.text for line in chart.lines] == ["R_P ≤ 4.00 kΩ"]


def test_the_thresholds_of_the_survey_are_lines_with_names() -> None:
    settings = {"short_above": 4.0, "open_below": 0.1, "tmr_stuck": 0.1, "tmr_low": 0.5}
    nominal = {"60 nm": {"g_p": 4e-4, "g_ap": 2e-4, "tmr": 1.0}}
    of_cells = {"60 nm": thresholds(settings, nominal["60 nm"], 0.0)}
    drawn = {d.key: d for d in distributions(counts(d60=4e-4), Comparison(nominal=nominal, thresholds=of_cells))}
    lines = {line.text: line.value for d in drawn.values() for line in d.lines if line.kind is LineKind.CELL}
    assert lines == pytest.approx(
        {"open < 20 µS": 20, "if stuck: AP | P 282.8 µS": 282.84, "short > 1600 µS": 1600,
         "low TMR < 50 %": 50, "stuck < 10 %": 10}, rel=1e-4,
    )  # fmt: skip
    # as the survey reads the cell, with what is in series with it
    assert thresholds(settings, nominal["60 nm"], 500.0)["short"] == pytest.approx(4 * 4e-4 / 1.2)
    assert thresholds(settings, nominal["60 nm"], None) == {}


def test_thresholds_are_those_by_which_the_survey_judges() -> None:
    """A cell just beyond a line is called what the line says, one just before it is good."""
    description = DieDescription.model_validate(
        {"name": "d", "geometry": {"n_rows": 2, "n_cols": 3}, "junction": {"diameter": 8e-8}}
    )
    survey = Survey(short_above=3.0, open_below=0.2, tmr_stuck=0.2, tmr_low=0.6)
    kernel = np.zeros(1, np.int64)
    nominal = description.nominal
    values = {"g_p": nominal.g_p(0), "g_ap": nominal.g_ap(0), "tmr": nominal.tmr(0)}
    at = thresholds(survey.settings_data(), values, series_of(description.model_dump(mode="json")))
    of_kernel = NominalCells(nominal.g_ap(kernel), nominal.cut(kernel), nominal.tmr(kernel))

    def called(g_p: float, g_ap: float) -> Defect:
        no = np.zeros(1, np.bool_)
        _, defect = survey.classify(np.array([g_p]), np.array([g_ap]), no, no, no, of_kernel)
        return Defect(int(defect[0]))

    g_ap = values["g_ap"]
    for share, weak, idle in ((0.999, Defect.LOW_TMR, Defect.STUCK_AP), (1.001, Defect.GOOD, Defect.LOW_TMR)):
        assert called(g_ap * (1 + at["low_tmr"] * share), g_ap) is weak
        assert called(g_ap * (1 + at["idle"] * share), g_ap) is idle
    assert called(at["open"] * 0.999, at["open"] * 0.3) is Defect.OPEN
    assert called(at["open"] * 1.001, at["open"] * 0.3) is Defect.GOOD
    assert called(at["stuck"] * 1.001, at["stuck"] * 1.001) is Defect.STUCK_P
    assert called(at["stuck"] * 0.999, at["stuck"] * 0.999) is Defect.STUCK_AP
    assert at["short"] == 3.0 * values["g_p"]
