"""Figures of merit of one die by name, for its bin, the wafer maps and the stop rules.

SI units; ratios from 0 to 1. Figures that were not measured are absent.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from labctl.core.defects import DEFECTS, Defect
from labctl.core.record import History
from labctl.core.units import FloatArray
from protocols.by_hand import KernelMap
from protocols.records import Attempt, Inference, KernelSurvey, Write


def figures_of(history: History, approach: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of a die.

    `fidelity`, `accuracy_train`, `accuracy_test` (tuned) are means over its solutions; `good` is the share of surveyed
    cells that are good, `defects` the number of all others, and each kind of defect counts under its own name
    (`short`, `stuck_p`, ...); `r_p`, `r_ap` (ohm) and `tmr` are those of the good cells, the mean of their middle half,
    or without a survey those of the cells that were in either state when all were read; `v_switch`, `v_switch_p` and
    `v_switch_ap` (V) means over the pulses after which a cell was verified, all, to P and to AP; `contact` (ohm) the
    median of the contact structures and `touches` the touches, from the approach of the die. The report of a run shows
    the same figures.

    Args:
        approach: see `labctl.core.body.ReadyDie`.
    """
    return {**_networks(history), **_read(history), **_cells(history), **_pulses(history), **_contact(approach)}


def _networks(history: History) -> dict[str, float]:
    inferred = history.all(Inference)
    values = {
        "fidelity": [r.fidelity for r in history.all(Write)],
        "accuracy_train": [r.accuracy_tuned_train for r in inferred],
        "accuracy_test": [r.accuracy_tuned_test for r in inferred],
    }
    return {name: float(np.mean(ratios)) for name, ratios in values.items() if ratios}


def _read(history: History) -> dict[str, float]:
    newest = {read.kernel: read for read in history.all(KernelMap)}
    if not newest:
        return {}
    g, flag, state = (
        np.concatenate([getattr(read, name).ravel() for read in newest.values()])
        for name in ("conductance", "flag", "state")
    )
    usable = (flag == 0) & (g > 0)
    sides = {"r_p": g[usable & state], "r_ap": g[usable & ~state]}
    figures = {name: 1 / _middle(side) for name, side in sides.items() if side.size}
    return figures | ({"tmr": figures["r_ap"] / figures["r_p"] - 1} if len(figures) == 2 else {})


def _cells(history: History) -> dict[str, float]:
    newest = {survey.kernel: survey for survey in history.all(KernelSurvey)}
    if not newest:
        return {}
    defect, g_p, g_ap, tmr = (
        np.concatenate([getattr(survey, name).ravel() for survey in newest.values()])
        for name in ("defect", "g_p", "g_ap", "tmr")
    )
    good = defect == Defect.GOOD
    figures = {"good": float(good.mean()), "defects": float((~good).sum())}
    figures |= {kind.key: float((defect == kind).sum()) for kind in DEFECTS}
    if good.any():
        figures |= {"r_p": 1 / _middle(g_p[good]), "r_ap": 1 / _middle(g_ap[good]), "tmr": _middle(tmr[good])}
    return figures


def _middle(values: FloatArray) -> float:
    """Return the mean of all from the first to the third quartile: as robust as the median, and not as coarse."""
    low, high = np.percentile(values, (25, 75))
    return float(values[(values >= low) & (values <= high)].mean())


def _pulses(history: History) -> dict[str, float]:
    attempts = history.all(Attempt)
    if not attempts:
        return {}
    verified, target, voltage = (
        np.concatenate([getattr(a, name) for a in attempts]) for name in ("verified", "target", "voltage")
    )
    chosen = {"v_switch": verified, "v_switch_p": verified & target, "v_switch_ap": verified & ~target}
    return {name: float(np.mean(voltage[which])) for name, which in chosen.items() if which.any()}


def _contact(approach: Mapping[str, Any]) -> dict[str, float]:
    figures = {"touches": float(approach["touches"])} if "touches" in approach else {}
    if resistance := approach.get("contact_resistance"):
        figures["contact"] = float(np.median(list(resistance.values())))
    return figures
