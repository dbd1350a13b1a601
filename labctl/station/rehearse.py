"""Rehearse a campaign, die by die, before it does anything."""

import math
from typing import Any


def rehearsed(prepared: Any) -> tuple[Any, list[Any]]:
    """Return a campaign and the plans of its dies; what the limits or the bench would refuse is refused here."""
    from labctl.execution import plan

    plans: list[plan.DiePlan] = []
    alike: dict[Any, plan.DiePlan] = {}
    for s in prepared.subjects:
        if s.alike not in alike:
            procedures = prepared.procedures_for(s)
            alike[s.alike] = plan.rehearse(s.name, prepared.predictor(s), prepared.campaign.limits, procedures)
        plans.append(plan.DiePlan(s.name, alike[s.alike].stages))
    return prepared, [*plans, *visits(prepared)]


def visits(prepared: Any) -> list[Any]:
    """Return the plans of the visits of the reference die; dies that are tried again may lead to more visits."""
    from labctl.execution import plan

    if (die := prepared.golden) is None:
        return []
    limits, every = prepared.campaign.limits, prepared.campaign.batch.golden.every
    visit = plan.rehearse(die.name, prepared.predictor(die), limits, prepared.visit)
    number = 1 + math.ceil(len(prepared.subjects) / every)
    return [plan.DiePlan(f"{die.name}@{k + 1}", visit.stages) for k in range(number)]
