"""From which conductance and TMR on a survey calls a cell a short, open, stuck or weak, in numbers.

A survey compares every cell with what its kernel is nominally, as the die file says and as it is read, the resistance
in series included (`protocols.survey.Survey.classify`).
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import sqrt
from typing import Any

from labctl.core.bias import Kind
from labctl.core.defects import Defect
from labctl.core.units import Ohm
from sim_backend.description import DieDescription

SURVEY = "survey"
"""Name of the protocol."""


def series_of(description: Mapping[str, Any]) -> Ohm | None:
    """Return the resistance in series with each junction of a die while it is read, ohm; None if it is not known.

    Args:
        description: of the die, as its file and the run's journal keep it.
    """
    if (description.get("geometry") or {}).get("kind") == Kind.PASSIVE:
        return 0.0
    return _series(json.dumps(description, sort_keys=True, default=str))


@lru_cache(maxsize=8)
def _series(description: str) -> Ohm | None:
    try:
        return float(DieDescription.model_validate(json.loads(description)).series)
    except ValueError:  # of another version
        return None


def settings_of(stages: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the settings of the last survey among the stages of a run; {} without one.

    Args:
        stages: as the run's meta has them, with `procedure` and `settings`.
    """
    surveys = [stage.get("settings") or {} for stage in stages if stage.get("procedure") == SURVEY]
    return surveys[-1] if surveys else {}


def thresholds(settings: Mapping[str, Any], nominal: Mapping[str, float], series: Ohm | None) -> dict[str, float]:
    """Return the thresholds of a survey for cells of one nominal diameter.

    Args:
        settings: of the survey, by name; thresholds whose setting is not there are absent.
        nominal: g_p and g_ap in S without anything in series, and tmr.
        series: ohm; None: not known, and nothing is returned.

    Returns:
        By name: "short" and "open", a cell above or below is one, S; "stuck", which divides cells stuck in P from those
        stuck in AP, S; "idle", below which a cell has not switched, and "low_tmr", below which it is weak, ratios.

    >>> one = {"short_above": 4.0, "open_below": 0.1, "tmr_stuck": 0.1, "tmr_low": 0.5}
    >>> thresholds(one, {"g_p": 4e-4, "g_ap": 1e-4, "tmr": 3.0}, 0.0)
    {'short': 0.0016, 'open': 1e-05, 'stuck': 0.0002, 'idle': 0.30000000000000004, 'low_tmr': 1.5}
    """
    if series is None or not {"g_p", "g_ap"} <= set(nominal):
        return {}
    g_p, g_ap = (nominal[name] / (1 + nominal[name] * series) for name in ("g_p", "g_ap"))
    tmr = g_p / g_ap - 1
    values = {
        "short": ("short_above", g_p),
        "open": ("open_below", g_ap),
        "stuck": ("tmr_stuck", sqrt(g_p * g_ap)),
        "idle": ("tmr_stuck", tmr),
        "low_tmr": ("tmr_low", tmr),
    }
    known = {name: (settings[key], value) for name, (key, value) in values.items() if settings.get(key) is not None}
    return {name: value if name == "stuck" else share * value for name, (share, value) in known.items()}


WORDS: Mapping[str, str] = {
    "short": f"{Defect.SHORT.title} >",
    "open": f"{Defect.OPEN.title} <",
    "stuck": "if stuck: AP | P",
    "idle": "stuck <",
    "low_tmr": f"{Defect.LOW_TMR.title} <",
}
"""What a threshold is called in a chart, before its value."""
