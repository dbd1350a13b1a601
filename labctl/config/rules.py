"""What a campaign file says of many dies: their order, bins, new tries, and when to stop."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from labctl.core.procedure import Model
from labctl.core.units import Ratio, Second, parse_quantity

FIGURES = {"r_p": "ohm", "r_ap": "ohm", "v_switch": "V", "v_switch_p": "V", "v_switch_ap": "V", "contact": "ohm"}
"""Units of the figures of a die (`labctl.analysis.figures`); those that are not here are plain numbers."""
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
        """Return what `text` says; ValueError if it says none.

        >>> Bound.parse("r_p > 5 kohm")
        Bound(figure='r_p', sign='>', value=5000.0)
        """
        found = _BOUND.fullmatch(text)
        if found is None:
            raise ValueError(f"'{text}' is no comparison; expected one such as 'fidelity < 98 %'")
        figure, sign, value = found.groups()
        return cls(figure, sign, parse_quantity(value, FIGURES.get(figure, "")))

    def holds(self, figures: Mapping[str, float]) -> bool:
        """Return whether it is true; of a figure that is not a number it is, of one that is not there it is not.

        >>> Bound.parse("tmr < 40 %").holds({"tmr": float("nan")}), Bound.parse("tmr < 40 %").holds({})
        (True, False)
        """
        if self.figure not in figures:
            return False
        found = figures[self.figure]
        match self.sign:
            case "<":
                return not found >= self.value
            case "<=":
                return not found > self.value
            case ">":
                return not found <= self.value
        return not found < self.value


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
    """One rule: dies of which it is true go to its bin. The first rule that is true counts."""

    bin: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$", description="soft bin: a short word")
    hard: int = Field(ge=1, le=32767, description="hard bin; 1 is good")
    when: Condition = Field(description="comparisons of figures joined by 'and': fidelity < 98 % and good > 90 %")


def bin_of(rules: Sequence[BinRule], figures: Mapping[str, float]) -> Assigned:
    """Return the bin of a finished die that came to `figures`.

    >>> bin_of([BinRule(bin="low-fidelity", hard=2, when="fidelity < 98 %")], {"fidelity": 0.97})
    Assigned(name='low-fidelity', hard=2, rule='fidelity < 98 %: it is 0.97')
    """
    for rule in rules:
        if holds(rule.when, figures):
            names = dict.fromkeys(Bound.parse(part).figure for part in rule.when.split(" and "))
            said = ", ".join(f"{figures[name]:.4g}" for name in names)
            return Assigned(rule.bin, rule.hard, f"{rule.when}: it is {said}")
    return Assigned(GOOD, HARD[GOOD], "no rule of another bin is true")


class Order(StrEnum):
    """In which order dies are measured."""

    MAP = "map"
    CENTRE_OUT = "centre-out"
    SHUFFLED = "shuffled"


class Visit(StrEnum):
    """What is done to a golden die each time."""

    READ = "read"
    SURVEY = "survey"


_KNOWN = {
    Visit.READ: ("r_p", "r_ap", "tmr", "contact"),
    Visit.SURVEY: ("v_switch", "v_switch_p", "v_switch_ap", "good"),
}
"""Figures that each kind of visit comes to; those of a read are known from a survey as well."""


class Golden(Model):
    """A die that is measured again and again, to see whether the bench drifts; the campaign leaves it as it is."""

    die: str = Field(min_length=1, description="name of the die; it is visited only, and counts in no yield")
    every: int = Field(gt=0, description="it is measured first, after so many dies each, and at the end")
    drift: dict[str, Ratio] = Field(
        min_length=1, description="largest relative change of a figure against the first visit: {r_p: 3 %}"
    )
    measure: Visit = Field(
        default=Visit.READ,
        description="read: every cell as it is, without a pulse; survey: the campaign's survey, which pulses each cell",
    )

    @field_validator("drift")
    @classmethod
    def _positive(cls, value: dict[str, float]) -> dict[str, float]:
        for name, limit in value.items():
            if not limit > 0:
                raise ValueError(f"the drift of {name} is limited to {limit}; expected more than 0")
        return value

    @model_validator(mode="after")
    def _measured(self) -> Self:
        for name in self.drift:
            if name in _KNOWN[Visit.SURVEY] and self.measure is Visit.READ:
                raise ValueError(f"{name} is not known from reading alone; say 'measure: survey', which pulses cells")
            if not any(name in known for known in _KNOWN.values()):
                names = ", ".join(n for known in _KNOWN.values() for n in known)
                raise ValueError(f"a visit of a golden die has no figure '{name}'; it has {names}")
        return self


class Yield(Model):
    """A bound on the yield."""

    below: Ratio = Field(gt=0, le=1, description="stop when the share of good dies is below this")
    after: int = Field(gt=0, description="once so many dies are done")


class StopRules(Model):
    """When a run stops by itself; no other die is begun, the exit code is 3."""

    contact_failures: int | None = Field(default=3, gt=0, description="so many dies without contact, one after another")
    same_exception: int | None = Field(default=2, gt=1, description="so many dies in a row with the same error")
    low_yield: Yield | None = Field(default=None, description="the yield is too low: {below: 50 %, after: 6}")
    pretest: Ratio = Field(default=0.5, ge=0, le=1, description="less than this share of the pre-tested dies is good")
    golden_drift: bool = Field(default=False, description="the golden die has drifted; if false, that is only said")


class Budgets(Model):
    """What a run may use up. Touches per pad stand in the bench file, pulses per cell under 'limits'."""

    time: Second | None = Field(default=None, gt=0, description="no die is begun that would not end in time, e.g. 14 h")


class Batch(Model):
    """What is said of many dies."""

    order: Order = Field(default=Order.MAP, description="map: as the wafer map lists them; shuffled: by the seed")
    tries: int = Field(default=0, ge=0, le=9, description="new tries of a die on which something went wrong")
    pretest: int | None = Field(default=None, gt=0, description="so many dies first, spread over the wafer")
    golden: Golden | None = None
    stop: StopRules = StopRules()
    budgets: Budgets = Budgets()
    reconnects: int = Field(default=4, ge=0, le=100, description="new connections to a bench that went away, per run")
