"""What a campaign will do, die by die, before it does anything."""

import math
from typing import Any


def rehearsed(prepared: Any) -> tuple[Any, list[Any]]:
    """Return a campaign and what it will do; what limits or the bench would refuse is refused here."""
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
    """Return what the visits of the golden die will do; dies that are tried again may lead to more of them."""
    from labctl.execution import plan

    if (die := prepared.golden) is None:
        return []
    limits, every = prepared.campaign.limits, prepared.campaign.batch.golden.every
    one = plan.rehearse(die.name, prepared.predictor(die), limits, prepared.visit)
    number = 1 + math.ceil(len(prepared.subjects) / every)
    return [plan.DiePlan(f"{die.name}@{k + 1}", one.stages) for k in range(number)]
