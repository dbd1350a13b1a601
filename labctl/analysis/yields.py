"""Yields and what failed: dies by bin and by zone of the wafer, and paretos.

A yield is a share of the dies that have a bin. Dies that were left out, skipped or not reached have none and count in
no yield; one whose data could not be taken has bin `contact`, `limit` or `error` and counts as not good.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from labctl.analysis.zones import Zone, by_zone
from labctl.config.bins import is_good
from labctl.core.units import Ratio
from protocols.statistics import binomial_interval


class Judged(NamedTuple):
    """A die that has a bin; `reason` why it is in that bin, in words that are the same for all dies of one cause."""

    bin: str
    hard: int
    zone: Zone | None = None
    reason: str = ""


@dataclass(frozen=True)
class BinYield:
    """The dies of one bin.

    Args:
        dies: number, of all dies that have a bin the ratio `share`, with its 95 % interval (Wilson).
        zones: number in each zone; empty on a map without zones.
    """

    bin: str
    hard: int
    dies: int
    share: Ratio
    interval: tuple[Ratio, Ratio]
    zones: Mapping[Zone, int] = field(default_factory=dict)


def yields(dies: Sequence[Judged]) -> list[BinYield]:
    """Return the bins of some dies, good ones first, then those with most dies."""
    groups: dict[tuple[str, int], list[Judged]] = {}
    for die in dies:
        groups.setdefault((die.bin, die.hard), []).append(die)
    rows = []
    for (name, hard), group in groups.items():
        low, high = (float(v) for v in binomial_interval(len(group), len(dies)))
        zones = {zone: sum(die.zone is zone for die in group) for zone in zone_sizes(dies)}
        rows.append(BinYield(name, hard, len(group), len(group) / len(dies), (low, high), zones))
    return sorted(rows, key=lambda row: (not is_good(row.hard), -row.dies, row.bin))


def zone_sizes(dies: Sequence[Judged]) -> dict[Zone, int]:
    """Return the number of dies with a bin in each zone; empty on a map without zones."""
    return by_zone([die.zone for die in dies])


@dataclass(frozen=True)
class Cause:
    """One cause of a pareto: its number, and of all failures the share and the share up to and with this one.

    Args:
        inside: what it is made of, most frequent first.
    """

    name: str
    number: int
    share: Ratio
    cumulative: Ratio
    inside: tuple[tuple[str, int], ...] = ()


def pareto(failures: Iterable[tuple[str, str]]) -> list[Cause]:
    """Return the causes of failures, each given as (cause, reason inside it), the most frequent first.

    >>> [(c.name, c.number, c.cumulative, c.inside) for c in pareto([("weak", "a"), ("open", ""), ("weak", "b")])][0]
    ('weak', 2, 0.6666666666666666, (('a', 1), ('b', 1)))
    """
    inside: dict[str, Counter[str]] = {}
    for cause, reason in failures:
        inside.setdefault(cause, Counter())[reason] += 1
    total = sum(reasons.total() for reasons in inside.values())
    causes, so_far = [], 0
    for name, reasons in sorted(inside.items(), key=lambda item: (-item[1].total(), item[0])):
        number = reasons.total()
        so_far += number
        ordered = sorted(((r, n) for r, n in reasons.items() if r), key=lambda one: (-one[1], one[0]))
        causes.append(Cause(name, number, number / total, so_far / total, tuple(ordered)))
    return causes


def pareto_of_counts(counts: Mapping[str, int]) -> list[Cause]:
    """Return the causes of failures that were counted, the most frequent first; those that never happened are left out.

    >>> [cause.name for cause in pareto_of_counts({"short": 2, "open": 5, "stuck P": 0})]
    ['open', 'short']
    """
    known = sorted(((name, n) for name, n in counts.items() if n), key=lambda one: (-one[1], one[0]))
    total, so_far, causes = sum(n for _, n in known), 0, []
    for name, number in known:
        so_far += number
        causes.append(Cause(name, number, number / total, so_far / total))
    return causes
