"""Bins of dies: comparisons of figures, and the rules that assign a bin."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

from labctl.core.model import Model
from labctl.core.units import parse_quantity

FIGURES = {"r_p": "ohm", "r_ap": "ohm", "v_switch": "V", "v_switch_p": "V", "v_switch_ap": "V", "contact": "ohm"}
"""Units of the figures of a die (`labctl.analysis.record_figures`); all others are plain numbers."""
GOOD = "good"
HARD = {GOOD: 1, "low-fidelity": 2, "low-accuracy": 3, "contact": 5, "limit": 6, "error": 7, "stopped": 8}
"""Hard bins of the soft bins that no rule of a campaign file gives."""
_BOUND = re.compile(r"\s*([a-z][a-z0-9_]*)\s*(<=|>=|<|>)\s*(\S.*?)\s*")


@dataclass(frozen=True)
class Bound:
    """One comparison, such as ``fidelity < 98 %``."""

    figure: str
    sign: str
    value: float

    @classmethod
    def parse(cls, text: str) -> "Bound":
        """Return the comparison in `text`; ValueError if it is none.

        >>> Bound.parse("r_p > 5 kohm")
        Bound(figure='r_p', sign='>', value=5000.0)
        """
        match = _BOUND.fullmatch(text)
        if match is None:
            raise ValueError(f"'{text}' is no comparison; expected one such as 'fidelity < 98 %'")
        figure, sign, value = match.groups()
        return cls(figure, sign, parse_quantity(value, FIGURES.get(figure, "")))

    def holds(self, figures: Mapping[str, float]) -> bool:
        """Return whether it is true; with a NaN it is true, without the figure it is false.

        >>> Bound.parse("tmr < 40 %").holds({"tmr": float("nan")}), Bound.parse("tmr < 40 %").holds({})
        (True, False)
        """
        if self.figure not in figures:
            return False
        measured = figures[self.figure]
        match self.sign:
            case "<":
                return not measured >= self.value
            case "<=":
                return not measured > self.value
            case ">":
                return not measured <= self.value
        return not measured < self.value


def _bounds(text: str) -> str:
    for part in text.split(" and "):
        Bound.parse(part)
    return text


Condition = Annotated[str, AfterValidator(_bounds)]
"""Comparisons of figures joined by "and": ``r_p > 5 kohm and tmr < 40 %``."""


def holds(condition: str, figures: Mapping[str, float]) -> bool:
    """Return whether every comparison of a `Condition` is true of `figures`."""
    return all(Bound.parse(part).holds(figures) for part in condition.split(" and "))


@dataclass(frozen=True)
class Assigned:
    """The bin of a die: its name, the hard bin, and the rule that gave it."""

    name: str
    hard: int
    rule: str


class BinRule(Model):
    """One rule: a die for which it is true goes to its bin. The first rule that is true counts."""

    bin: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$", description="soft bin: a short word")
    hard: int = Field(ge=1, le=32767, description="hard bin; 1 is good")
    when: Condition = Field(description="comparisons of figures joined by 'and': fidelity < 98 % and good > 90 %")


def bin_of(rules: Sequence[BinRule], figures: Mapping[str, float]) -> Assigned:
    """Return the bin of a finished die with the given figures.

    >>> bin_of([BinRule(bin="low-fidelity", hard=2, when="fidelity < 98 %")], {"fidelity": 0.97})
    Assigned(name='low-fidelity', hard=2, rule='fidelity < 98 %: it is 0.97')
    """
    for rule in rules:
        if holds(rule.when, figures):
            names = dict.fromkeys(Bound.parse(part).figure for part in rule.when.split(" and "))
            values = ", ".join(f"{figures[name]:.4g}" for name in names)
            return Assigned(rule.bin, rule.hard, f"{rule.when}: it is {values}")
    return Assigned(GOOD, HARD[GOOD], "no rule of another bin is true")
