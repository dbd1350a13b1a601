"""``report.json``: the facts of a run as data, described in ``docs/report-json.md``."""

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from labctl.analysis.distributions import Comparison
from labctl.analysis.networks import over_dies
from labctl.core.retest import Retest
from labctl.report.judgement import (
    bin_yields,
    capabilities,
    defects_of_cells,
    failed_bins,
    failed_rules,
    is_judged,
)
from labctl.report.report_data import Facts
from labctl.report.retested import bins_of, final, first_pass
from labctl.storage.vouching import sealed_json

FORMAT = 1


def as_json(facts: Facts) -> str:
    """Return the facts as the text of ``report.json``, with its digest; numbers that are none are null."""
    declared = {figure.key: figure.plain() for figure in facts.figures}
    counts = {"good": facts.good, "measured": facts.without_verdict, "meant": facts.meant, "bins": facts.bins}
    made_of = {
        "limits": {name: {"low": limits.low, "high": limits.high} for name, limits in facts.limits.items()},
        "capabilities": [{**asdict(one), "cpk": one.cpk} for one in capabilities(facts)],
        "yields": [asdict(one) for one in bin_yields(facts)] if is_judged(facts) else [],
        "retest": None if facts.retest is None else retest_as_data(facts, facts.retest),
        "failures": {
            "bins": [asdict(cause) for cause in failed_bins(facts)],
            "rules": [asdict(cause) for cause in failed_rules(facts)],
            "cells": [asdict(cause) for cause in defects_of_cells(facts)],
        },
        "networks": [
            {**asdict(one), "drop": one.drop} for one in over_dies((d.name, d.measured.networks) for d in facts.valid)
        ],
    }
    plain = _plain({"format": FORMAT, **counts, **asdict(_without(facts)), "figures": declared, **made_of})
    for key in ("pictures", "wafer", "comparison"):
        del plain[key]
    for die in (*plain["dies"], *plain["golden"]):
        del die["measured"]["figures"]  # they are among those of the die
        del die["because"]  # the rule is there as the campaign has it
    return sealed_json(plain)


def retest_as_data(facts: Facts, retest: Retest) -> dict[str, Any]:
    """Return a retest as JSON has it."""
    now = bins_of(facts)
    dies = [
        {"die": name, "before": retest.before[name].name, "now": now[name].name} for name in retest.dies if name in now
    ]
    return {
        "run": retest.run,
        "run_id": retest.run_id,
        "bins": list(retest.bins),
        "rehearsal": retest.rehearsal,
        "first_pass": asdict(first_pass(retest)),
        "final": asdict(final(retest, now)),
        "dies": dies,
    }


def _without(facts: Facts) -> Facts:
    """Return facts without what is written in another form, or not at all."""
    return replace(facts, figures=(), pictures=(), wafer=None, retest=None, comparison=Comparison())


def _plain(value: Any) -> Any:
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
