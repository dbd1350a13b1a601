"""Figures of merit and pictures of the protocols, each defined here only.

Ratios run from 0 to 1. A solution, or a kernel, that was measured more than once counts with its newest rows.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from labctl.core.cell_state import CellState
from labctl.core.defects import Defect
from labctl.core.figure import Better, Columns, Figure, Formula, Shown, Tables, middle_half, newest
from labctl.core.picture import CellMap
from labctl.core.units import BoolArray, FloatArray
from protocols.die_information import LEVELS, Way
from protocols.records import TRIAL

# networks


def _of_networks(table: str, column: str) -> Formula:
    """Return the formula of a mean over the networks of a die."""

    def formula(tables: Tables) -> float | None:
        values = tables[table][column][newest(tables[table], "solution")]
        return float(values.mean()) if values.size else None

    return formula


def _blind_fidelity(tables: Tables) -> float | None:
    """Return the mean over the networks that were written in open loop, None if none was."""
    values = tables["write"]["fidelity_blind"][newest(tables["write"], "solution")]
    return float(np.nanmean(values)) if np.isfinite(values).any() else None


def _of_accuracies(way: Way, column: str) -> Formula:
    """Return the formula of a mean over the networks of a die, of one way to classify; None if it was not asked for."""

    def formula(tables: Tables) -> float | None:
        accuracy = tables["accuracy"]
        rows = newest(accuracy, "solution", "way")
        values = accuracy[column][rows][accuracy["way"][rows] == way.value]
        return float(values.mean()) if values.size else None

    return formula


def _wer(to_p: bool) -> Formula:
    """Return the formula of the write error rate of first pulses in one direction."""

    def formula(tables: Tables) -> float | None:
        wer = tables["wer"]
        rows = newest(wer, "kernel", "target", "first", "voltage")
        rows = rows[(wer["target"][rows] == to_p) & wer["first"][rows]]
        return float(wer["failures"][rows].sum() / wer["pulses"][rows].sum()) if rows.size else None

    return formula


def _worst(table: str, column: str) -> Formula:
    """Return the formula of the worst network of several; absent where there is one, as the mean is the same then."""

    def formula(tables: Tables) -> float | None:
        values = tables[table][column][newest(tables[table], "solution")]
        return float(values.min()) if values.size > 1 else None

    return formula


def _ratio(key: str, title: str, note: str, formula: Formula, number: int, digits: int = 1, **more: Any) -> Figure:
    """Return a figure that is shown in percent, of which more is better."""
    given = {"better": Better.HIGH, "on_map": False, **more}
    return Figure(key, title, note, formula, "", "%", 100.0, digits, number, **given)


_MEAN = "; mean over networks"
_TRAINED = "training samples, "
_SOFTWARE = "the same network in software, network scale tuned there"

NETWORK_FIGURES = (
    _ratio("fidelity", "write fidelity",
           "placed cells that read back as written, an open one never / placed cells" + _MEAN,
           _of_networks("write", "fidelity"), 100, 2, shown=Shown.HEADLINE, on_map=True, in_trend=True),
    _ratio("fidelity_blind", "blind fidelity", "placed cells that read back as written, an open one never, after one "
           "pulse on every cell and nothing else (open loop) / placed cells" + _MEAN, _blind_fidelity, 102, 2),
    _ratio("accuracy_test", "accuracy", "test samples, network scale tuned" + _MEAN,
           _of_networks("inference", "accuracy_tuned_test"), 111, shown=Shown.HEADLINE, on_map=True, in_trend=True),
    _ratio("software_test", "software", f"test samples, {_SOFTWARE}{_MEAN}; compare with accuracy",
           _of_networks("inference", "float_tuned_test"), 113, shown=Shown.HEADLINE, on_map=True, in_trend=True),
    Figure("accuracy_drop", "drop", "test samples: software less accuracy, in percentage points" + _MEAN,
           _of_accuracies(Way.TUNED, "drop_test"), "", "points", 100.0, 1, 119, Shown.HEADLINE, Better.LOW,
           in_trend=True),
    _ratio("fidelity_worst", "worst fidelity", "write fidelity of the worst of several networks",
           _worst("write", "fidelity"), 101, 2),
    _ratio("accuracy_worst", "worst accuracy", "test samples, network scale tuned; the worst of several networks",
           _worst("inference", "accuracy_tuned_test"), 112),
    _ratio("accuracy_untuned_test", "untuned accuracy", "test samples, network scale 1, without any label" + _MEAN,
           _of_accuracies(Way.UNTUNED, "accuracy_test"), 116, shown=Shown.DETAIL),
    _ratio("accuracy_calibrated", "calibrated accuracy", "test samples, gain and offset of every neuron calibrated on "
           "unlabelled samples, network scale 1" + _MEAN, _of_accuracies(Way.CALIBRATED, "accuracy_test"), 117),
    _ratio("accuracy_subtracted", "accuracy without bad cells", "test samples, weights with a bad cell computed "
           "digitally, which is not analog inference, network scale 1" + _MEAN,
           _of_accuracies(Way.SUBTRACTED, "accuracy_test"), 118, shown=Shown.DETAIL),
    _ratio("accuracy_train", "training accuracy", _TRAINED + "network scale tuned on them" + _MEAN,
           _of_networks("inference", "accuracy_tuned_train"), 110, shown=Shown.DETAIL),
    _ratio("accuracy_untuned", "untuned training accuracy", _TRAINED + "network scale 1" + _MEAN,
           _of_networks("inference", "accuracy_untuned_train"), 114, shown=Shown.DETAIL),
    _ratio("software_train", "software, training", _TRAINED + _SOFTWARE + _MEAN + "; compare with training accuracy",
           _of_networks("inference", "float_tuned_train"), 115, shown=Shown.DETAIL),
    Figure("information", "die information", f"the most that was known of the die for the accuracy: {LEVELS}",
           _of_accuracies(Way.TUNED, "information"), digits=0, number=121, shown=Shown.DETAIL, on_map=False),
    Figure("labels", "labels", "samples with labels read on the die for the accuracy",
           _of_accuracies(Way.TUNED, "labelled"), digits=0, number=122, shown=Shown.DETAIL, on_map=False),
    Figure("networks", "networks", "solutions that were written",
           lambda tables: float(len(newest(tables["write"], "solution"))), digits=0, number=120, shown=Shown.DETAIL,
           on_map=False),
)  # fmt: skip
"""Of a stage that writes networks."""

# cells


def _good(survey: Columns) -> tuple[BoolArray, Mapping[str, FloatArray]]:
    """Return which cells of the newest survey of each kernel are good, and the columns of these surveys."""
    rows = newest(survey, "kernel")
    return survey["defect"][rows] == Defect.GOOD, {name: survey[name][rows] for name in ("g_p", "g_ap", "tmr")}


def _read(tables: Tables, state: CellState) -> float | None:
    """Return the conductance, S, of cells that read P, or AP, where all were read without a survey."""
    read = tables["kernel_map"]
    rows = newest(read, "kernel")
    g, states = (read[name][rows] for name in ("conductance", "state"))
    return middle_half(g[(g > 0) & (states == state)])


def _resistance(column: str, state: CellState) -> Formula:
    def formula(tables: Tables) -> float | None:
        if "survey" in tables:
            good, columns = _good(tables["survey"])
            conductance = middle_half(columns[column][good])
        else:
            conductance = _read(tables, state)
        return 1 / conductance if conductance else None

    return formula


_r_p, _r_ap = _resistance("g_p", CellState.P), _resistance("g_ap", CellState.AP)


def _tmr(tables: Tables) -> float | None:
    if "survey" in tables:
        good, columns = _good(tables["survey"])
        return middle_half(columns["tmr"][good])
    r_p, r_ap = _r_p(tables), _r_ap(tables)
    return r_ap / r_p - 1 if r_p and r_ap else None


def _share_good(tables: Tables) -> float | None:
    good, _ = _good(tables["survey"])
    return float(good.mean()) if good.size else None


def _cells_with(defect: Defect) -> Formula:
    def formula(tables: Tables) -> float:
        survey = tables["survey"]
        return float((survey["defect"][newest(survey, "kernel")] == defect).sum())

    return formula


def _defects(tables: Tables) -> float:
    return float((~_good(tables["survey"])[0]).sum())


_MIDDLE = "of the good cells as they read in the array, wires included: mean of the middle half"
_READ = "; without a survey, of the cells that read {}"

RESISTANCES = (
    Figure("r_p", "R_P", _MIDDLE + _READ.format("P"), _r_p, "ohm", "kΩ", 1e-3, 2, 300, Shown.HEADLINE,
           in_trend=True, by_size=True),
    Figure("r_ap", "R_AP", _MIDDLE + _READ.format("AP"), _r_ap, "ohm", "kΩ", 1e-3, 2, 301,
           on_map=False, by_size=True),
    Figure("tmr", "TMR", "of the good cells as they read in the array: mean of the middle half; without a survey, "
           "from R_P and R_AP", _tmr, "", "%", 100.0, 1, 302, Shown.HEADLINE, Better.HIGH,
           in_trend=True, by_size=True),
)  # fmt: skip
"""Of every stage that reads whole kernels."""


def _switching(chosen: Callable[[Columns], BoolArray]) -> Formula:
    """Return the formula of a mean voltage; a median would be the same rung of the ladder on every die."""

    def formula(tables: Tables) -> float | None:
        attempt = tables["attempt"]
        voltage = attempt["voltage"][attempt["verified"] & (attempt["round"] != TRIAL) & chosen(attempt)]
        return float(voltage.mean()) if voltage.size else None

    return formula


_VERIFIED = "mean voltage of the pulses after which the cell was verified"
_WER = "first pulses in a solution that left their cell wrong / those that could have switched it, towards {}; "
_WER += "cells that never switched that way and were given up are left out"
SWITCHING = (
    Figure("v_switch", "switching voltage", _VERIFIED, _switching(lambda attempt: attempt["verified"]),
           "V", "mV", 1e3, 1, 400, in_trend=True, by_size=True),
    Figure("v_switch_p", "switching voltage to P", f"{_VERIFIED}, towards P",
           _switching(lambda attempt: attempt["target"]), "V", "mV", 1e3, 1, 401, Shown.DETAIL, on_map=False,
           by_size=True),
    Figure("v_switch_ap", "switching voltage to AP", f"{_VERIFIED}, towards AP",
           _switching(lambda attempt: ~attempt["target"]), "V", "mV", 1e3, 1, 402, Shown.DETAIL, on_map=False,
           by_size=True),
)  # fmt: skip
"""Of every stage that writes by write-verify."""

ERROR_RATES = (
    _ratio("wer_p", "write error rate to P", _WER.format("P"), _wer(True), 410, 3, better=Better.LOW, by_size=True,
           shown=Shown.DETAIL),
    _ratio("wer_ap", "write error rate to AP", _WER.format("AP"), _wer(False), 411, 3, better=Better.LOW,
           by_size=True, shown=Shown.DETAIL),
)  # fmt: skip
"""Of every stage that writes networks."""


def _trial_wer(to_p: bool) -> Formula:
    """Return the formula of the write error rate of trials at their lowest voltage in one direction."""

    def formula(tables: Tables) -> float | None:
        attempt = tables["attempt"]
        rows = (attempt["round"] == TRIAL) & (attempt["target"] == to_p) & attempt["trial"]
        rows &= (attempt["flag"] == 0) & (attempt["pulse_flag"] == 0)
        if not rows.any():
            return None
        voltage = attempt["voltage"]
        rows &= voltage <= voltage[rows].min() * (1 + 1e-9)
        return float(1 - attempt["verified"][rows].mean())

    return formula


_TRIALS = "pulses of the lowest voltage of the trials that left their cell wrong / those that could have switched it, "
_TRIALS += "towards {}"
TRIALS = (
    _ratio("trial_wer_p", "write error rate of trials to P", _TRIALS.format("P"), _trial_wer(True), 412, 3,
           better=Better.LOW, on_map=True, by_size=True),
    _ratio("trial_wer_ap", "write error rate of trials to AP", _TRIALS.format("AP"), _trial_wer(False), 413, 3,
           better=Better.LOW, on_map=True, by_size=True),
)  # fmt: skip
"""Of trials; of a ladder the lowest voltage, since rates at higher ones are often too small to be counted."""


_NUMBERS = {
    Defect.SHORT: 210,
    Defect.OPEN: 211,
    Defect.STUCK_P: 212,
    Defect.STUCK_AP: 213,
    Defect.LOW_TMR: 214,
    Defect.UNREADABLE: 215,
    Defect.NOT_REACHED: 216,
}
DEFECTS = (
    _ratio("good", "good cells", "surveyed cells that are good / surveyed cells", _share_good, 200),
    Figure("defects", "defects", "cells that a survey calls anything but good", _defects, digits=0, number=201,
           better=Better.LOW),
    *(
        Figure(kind.key, f"cells: {kind.title}", f"surveyed cells that are called {kind.title}",
               _cells_with(kind), digits=0, number=number, shown=Shown.DETAIL, better=Better.LOW, on_map=False)
        for kind, number in _NUMBERS.items()
    ),
)  # fmt: skip
"""Of a survey."""

SURVEY_FIGURES = (*RESISTANCES, *SWITCHING, *DEFECTS)

SURVEY_PICTURES = (CellMap("survey", "g_p", "G_P as surveyed", "uS", 1e6, marks="defect"),)
READ_PICTURES = (CellMap("kernel_map", "conductance", "conductance as read", "uS", 1e6, marks="flag"),)
