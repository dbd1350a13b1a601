"""What the rules for bins made of the dies of a run: figures beside their limits, yields by bin and zone, paretos."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from labctl.analysis.capability import Capability, capability
from labctl.analysis.yields import BinYield, Cause, Judged, pareto, pareto_of_counts, yields
from labctl.config.bins import holds, is_good, passes
from labctl.report.report_data import DieFacts, Facts
from labctl.report.rule_words import in_words

_NUMBERS = re.compile(r"\b\d+[A-Z]\d+\b|\d+(?:[.,:]\d+)*")
"""Numbers, and names of relays, such as 2B09."""
_LISTS = re.compile(r"…(?:, …)+(?: and … more)?")


def capabilities(facts: Facts) -> Iterator[Capability]:
    """Yield the figures of the dies that have limits, in the order in which figures are shown."""
    for figure in facts.figures:
        values = values_of(facts.dies, figure.key)
        if figure.key in facts.limits and values:
            yield capability(figure.key, values, facts.limits[figure.key])


class Ended(Protocol):
    """A die, or its newest try, as far as its bin and its figures go."""

    @property
    def bin(self) -> str:
        """Soft bin, "" while there is none."""

    @property
    def figures(self) -> Mapping[str, float]:
        """Figures by name, in SI units."""


def values_of(dies: Iterable[Ended], figure: str) -> list[float]:
    """Return a figure of the dies that have a bin, those alone: what is worked on or broken off may still change."""
    return [die.figures[figure] for die in dies if die.bin and figure in die.figures]


def rules_of(facts: Facts) -> list[Mapping[str, Any]]:
    """Return the rules for bins of a run, as it stores them."""
    return list(facts.provenance.get("bins") or ())


def judged(facts: Facts) -> list[Judged]:
    """Return the dies that have a bin; of a run that nothing judges there are none but those that were not measured."""
    whens = {str(rule["when"]): in_words(str(rule["when"]), facts.comparison.declared) for rule in rules_of(facts)}
    return [
        Judged(d.bin, d.hard, d.zone, cause_of(d.name, d.hard, d.rule, d.reason, whens))
        for d in facts.dies
        if d.bin and d.hard
    ]


def cause_of(name: str, hard: int, rule: str, reason: str, whens: Mapping[str, str]) -> str:
    """Return why a die is not good in words that are the same for all dies of one cause; "" of one that passes.

    Args:
        name, hard, rule, reason: of the die: its name, its hard bin, the rule that gave it, and why it ended as it did.
        whens: conditions of the rules for bins, and each in words.
    """
    if passes(hard):
        return ""
    for when, words in whens.items():
        if rule.startswith(f"{when}: "):
            return words
    text = reason.splitlines()[0] if reason else rule
    same = _NUMBERS.sub("…", text.replace(name, "…"))
    return _LISTS.sub("…", same)[:160]


def bin_yields(facts: Facts) -> list[BinYield]:
    """Return the dies by bin and zone."""
    return yields(judged(facts))


def failed_bins(facts: Facts) -> list[Cause]:
    """Return the bins of the dies that did not pass, with the reasons inside each, as a pareto."""
    return pareto((die.bin, die.reason) for die in judged(facts) if not passes(die.hard))


def failed_rules(facts: Facts) -> list[Cause]:
    """Return for every rule of a bad bin how many dies it is true of, whichever bin they are in, as a pareto.

    A die that misses several limits counts for each: its bin says only the first. A rule after one of a good bin that
    is true of a die says nothing of it.
    """
    counts: Counter[str] = Counter()
    left = [d for d in facts.dies if d.bin]
    for rule in rules_of(facts):
        when = str(rule["when"])
        if is_good(int(rule["hard"])):
            left = [d for d in left if not holds(when, d.figures)]
        else:
            true_of = sum(holds(when, d.figures) for d in left)
            counts[f"{rule['bin']}: {in_words(when, facts.comparison.declared)}"] += true_of
    return pareto_of_counts(counts)


def defects_of_cells(facts: Facts) -> list[Cause]:
    """Return the surveyed cells that are not good, by kind of defect, as a pareto."""
    counts: Counter[str] = Counter()
    for die in facts.valid:
        counts.update(die.measured.defects)
    return pareto_of_counts(counts)


def is_judged(facts: Facts) -> bool:
    """Return whether there is a yield: a die has a bin that says good or bad."""
    return any(d.hard and not d.is_measured for d in facts.dies)


def outside(die: DieFacts, key: str, facts: Facts) -> bool:
    """Return whether a figure of a die is beyond its limits, or NaN where there are some."""
    if key not in facts.limits or key not in die.figures:
        return False
    value = die.figures[key]
    return not math.isfinite(value) or not facts.limits[key].passes(value)
