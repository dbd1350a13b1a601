"""Bins of dies: comparisons of figures, and the rules that assign a bin."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from labctl.core.figure import Figures, split_name
from labctl.core.model import Model
from labctl.core.units import parse_quantity, quantity

GOOD, MEASURED = "good", "measured"
HARD = {
    GOOD: 1, "low-fidelity": 2, "low-accuracy": 3, "high-drop": 4, "contact": 5, "limit": 6, "error": 7,
    "interrupted": 8, MEASURED: 99,
}  # fmt: skip
"""Hard bins of the soft bins that no rule of a campaign file gives. MEASURED: finished, and judged by nothing."""
NOT_BY_RULES = ("contact", "limit", "error", "interrupted")
"""Soft bins that say how the work on a die ended."""
NO_LIMITS = "no acceptance limits were set"
WITHIN = "within all limits"
NOT_JUDGED = "no figure of an acceptance limit was measured"
_OTHER_JOIN = re.compile(r"\s(?:or|not|OR|NOT|AND)\s|[|&;]+")
_BOUND = re.compile(r"\s*([a-z][a-z0-9_]*(?:\[[^\[\]]+\])?)\s*(<=|>=|<|>)\s*([^<>=\s].*?)\s*")


@dataclass(frozen=True)
class Bound:
    """One comparison, such as ``fidelity < 98 %`` or ``r_p[60 nm] > 5 kohm``; the value is in SI units.

    Args:
        written: the value as it was written.
    """

    figure: str
    sign: str
    value: float
    written: str = field(default="", compare=False, repr=False)

    @classmethod
    def parse(cls, text: str) -> "Bound":
        """Return the comparison in `text`; ValueError if it is none.

        >>> Bound.parse("r_p > 5 kohm")
        Bound(figure='r_p', sign='>', value=5000.0)
        """
        match = _BOUND.fullmatch(text)
        if match is None:
            raise ValueError(f"'{text}' is no comparison; expected <, <=, > or >= as in 'fidelity < 98 %'")
        figure, sign, value = match.groups()
        return cls(figure, sign, quantity(value), value)

    def check(self, declared: Figures, names: Collection[str]) -> None:
        """Compare with the figures that a campaign gives.

        Args:
            declared: the figures.
            names: of them, with their groups on the dies of the campaign.

        Raises:
            ValueError: there is no such figure, or the value has another unit, or none where the figure is shown in
                percent or points.
        """
        if self.figure not in names:
            raise ValueError(no_figure(self.figure, names))
        figure = declared[self.figure]
        parse_quantity(self.written, figure.unit)
        if figure.in_percent and not self.written.endswith("%"):
            number = self.value if abs(self.value) > 1 else 100 * self.value
            raise ValueError(
                f"'{self.written}' has no unit, and {figure.title} is shown in {figure.shown_unit}; expected such as "
                f"'{number:g} %'"
            )

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


def no_figure(name: str, names: Collection[str]) -> str:
    """Return the message for the name of a figure that is none of `names`.

    >>> no_figure("rp", ["r_p", "tmr"])
    "there is no figure 'rp'; did you mean 'r_p'? The stages of this campaign give r_p, tmr"
    """
    groups = [other for other in names if split_name(other)[0] == split_name(name)[0]]
    near = get_close_matches(name, names, 1, 0.6) or get_close_matches(name.replace(" ", "_").lower(), names, 1, 0.6)
    hint = "; expected one that a stage gives."
    if groups or near:
        hint = f"; did you mean {' or '.join(repr(n) for n in groups or near)}?"
    kernels = " The kernels of the dies differ in diameter." if groups and split_name(name)[1] == "" else ""
    return f"there is no figure '{name}'{hint}{kernels} The stages of this campaign give {', '.join(names) or 'none'}"


def _bounds(text: str) -> str:
    if other := _OTHER_JOIN.search(text):
        raise ValueError(
            f"'{text}' has '{other[0].strip()}' in it; comparisons are joined by 'and', and what is joined by 'or' is "
            "a rule of its own with the same bin"
        )
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

    bin: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$",
        description="soft bin: a short word",
        json_schema_extra={"x-form": "up to 32 small letters, digits, '_' and '-'"},
    )
    hard: int = Field(ge=1, le=32767, description="hard bin; 1 is good, 99 is of dies that nothing judges")
    when: Condition = Field(description="comparisons of figures joined by 'and': fidelity < 98 % and good > 90 %")

    @model_validator(mode="after")
    def _is_a_judgement(self) -> Self:
        if self.bin in NOT_BY_RULES:
            raise ValueError(
                f"bin '{self.bin}' is of dies whose work ended so, and --bins takes them by this name; expected "
                "another one, such as 'high-r'"
            )
        if self.bin == MEASURED or self.hard == HARD[MEASURED]:
            raise ValueError(
                f"bin '{self.bin}', hard {self.hard}: '{MEASURED}' and hard bin {HARD[MEASURED]} are of dies that no "
                "rule judges; expected another"
            )
        return self


def is_good(hard: int) -> bool:
    """Return whether a hard bin is the good one."""
    return hard == HARD[GOOD]


def is_measured(hard: int) -> bool:
    """Return whether a hard bin is that of dies that were measured and that nothing judges."""
    return hard == HARD[MEASURED]


def passes(hard: int) -> bool:
    """Return whether nothing is wrong with a die of a hard bin: it is good, or measured and judged by nothing."""
    return is_good(hard) or is_measured(hard)


def unjudged(rules: Collection[object]) -> str:
    """Return why dies are measured and nothing judges them.

    Args:
        rules: for bins, of the campaign.
    """
    return NOT_JUDGED if rules else NO_LIMITS


def tally(good: int, measured: int, number: int, rules: Collection[object] = ()) -> str:
    """Return in words how many of `number` dies are good, or measured where nothing judges them.

    Args:
        rules: see `unjudged`.

    >>> tally(3, 0, 4), tally(0, 4, 4)
    ('3 of 4 dies are good', '4 of 4 dies are measured; no acceptance limits were set')
    >>> tally(2, 1, 4)
    '2 of 4 dies are good, 1 is measured and judged by nothing'
    """
    if measured and not good:
        return f"{measured} of {number} dies are measured; {unjudged(rules)}"
    rest = f", {measured} {'is' if measured == 1 else 'are'} measured and judged by nothing" if measured else ""
    return f"{good} of {number} dies are good{rest}"


def bin_of(rules: Sequence[BinRule], figures: Mapping[str, float], declared: Figures | None = None) -> Assigned:
    """Return the bin of a finished die with the given figures.

    Args:
        declared: figures of the campaign; values in the rule that gave the bin are written with their units.

    Without rules, or if none of the figures that they compare was measured, a die is "measured": nothing judges it.

    >>> bin_of([BinRule(bin="low-fidelity", hard=2, when="fidelity < 98 %")], {"fidelity": 0.97})
    Assigned(name='low-fidelity', hard=2, rule='fidelity < 98 %: it is 0.97')
    >>> bin_of([], {"fidelity": 0.97})
    Assigned(name='measured', hard=99, rule='no acceptance limits were set')
    """
    for rule in rules:
        if holds(rule.when, figures):
            names = dict.fromkeys(Bound.parse(part).figure for part in rule.when.split(" and "))
            known = declared or Figures(())
            values = ", ".join(known[name].text(figures[name]) for name in names)
            return Assigned(rule.bin, rule.hard, f"{rule.when}: it is {values}")
    if any(Bound.parse(part).figure in figures for rule in rules for part in rule.when.split(" and ")):
        return Assigned(GOOD, HARD[GOOD], WITHIN)
    return Assigned(MEASURED, HARD[MEASURED], unjudged(rules))
