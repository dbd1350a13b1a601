"""The limits that the rules for bins amount to: between which values a figure passes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labctl.config.bins import Bound, is_good


@dataclass(frozen=True)
class PassRange:
    """Between which values a figure passes, infinite where there is no limit, and whether the limits themselves do."""

    low: float = -math.inf
    high: float = math.inf
    low_passes: bool = True
    high_passes: bool = True

    def passes(self, value: float) -> bool:
        """Return whether a value passes."""
        above = value > self.low or (value == self.low and self.low_passes)
        return above and (value < self.high or (value == self.high and self.high_passes))


def limits_of(rules: Sequence[Mapping[str, Any]]) -> dict[str, PassRange]:
    """Return the limits that a campaign's rules for bins amount to.

    A rule of a bad bin with one comparison is a limit, the tightest counts; rules that join several are none.

    >>> limits_of([{"bin": "leaky", "hard": 4, "when": "r_p < 1 kohm"}])["r_p"]
    PassRange(low=1000.0, high=inf, low_passes=True, high_passes=True)
    """
    limits: dict[str, PassRange] = {}
    for rule in rules:
        if is_good(rule["hard"]) or " and " in rule["when"]:
            continue
        bound = Bound.parse(rule["when"])
        now = limits.get(bound.figure, PassRange())
        # the rule says what is bad, so what equals a bound of "<" or ">" passes
        passes = "=" not in bound.sign
        if bound.sign.startswith("<"):
            if (bound.value, not passes) > (now.low, not now.low_passes):
                now = PassRange(bound.value, now.high, passes, now.high_passes)
        elif (-bound.value, not passes) > (-now.high, not now.high_passes):
            now = PassRange(now.low, bound.value, now.low_passes, passes)
        limits[bound.figure] = now
    return limits
