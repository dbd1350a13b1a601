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

    A rule of a bad bin with one comparison is a limit, the tightest counts; rules that join several are none. The first
    rule that is true counts for a die, so one of a good bin that comes before, and can be true of what the later one
    calls bad, leaves no limit.

    >>> limits_of([{"bin": "leaky", "hard": 4, "when": "r_p < 1 kohm"}])["r_p"]
    PassRange(low=1000.0, high=inf, low_passes=True, high_passes=True)
    """
    limits: dict[str, PassRange] = {}
    good: list[list[Bound]] = []
    for rule in rules:
        parts = [Bound.parse(part) for part in rule["when"].split(" and ")]
        if is_good(rule["hard"]):
            good.append(parts)
            continue
        if len(parts) > 1 or any(_together([*before, *parts], parts[0].figure) for before in good):
            continue
        (bound,) = parts
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


def _together(bounds: Sequence[Bound], figure: str) -> bool:
    """Return whether all comparisons of a figure can be true of one value.

    >>> _together([Bound.parse("tmr > 1"), Bound.parse("tmr < 2"), Bound.parse("r_p < 0")], "tmr")
    True
    >>> _together([Bound.parse("tmr >= 1"), Bound.parse("tmr < 1")], "tmr")
    False
    """
    of_it = [bound for bound in bounds if bound.figure == figure]
    low, low_strict = max(((b.value, "=" not in b.sign) for b in of_it if b.sign[0] == ">"), default=(-math.inf, True))
    high, high_loose = min(((b.value, "=" in b.sign) for b in of_it if b.sign[0] == "<"), default=(math.inf, False))
    return low < high or (low == high and not low_strict and high_loose)
