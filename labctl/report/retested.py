"""What a run came to that measured dies of an earlier run again: the yield of the first pass and the final one.

Both are good dies of all dies that the first run was meant to measure. The final bin of a die is that of the newest run
that gave it one.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labctl.config.bins import is_good
from labctl.core.retest import GivenBin, Retest
from labctl.report.report_data import Facts
from labctl.storage.run_log import RunState, read_state


@dataclass(frozen=True)
class PassYield:
    """Good dies of all dies."""

    good: int
    dies: int

    @classmethod
    def of(cls, bins: Mapping[str, GivenBin]) -> "PassYield":
        """Return it by the bin of every die."""
        return cls(sum(is_good(given.hard) for given in bins.values()), len(bins))

    @property
    def share(self) -> float:
        """From 0 to 1; NaN of no die."""
        return self.good / self.dies if self.dies else math.nan

    @property
    def text(self) -> str:
        """It in words.

        >>> PassYield(30, 36).text
        '30 of 36 dies (83.3 %)'
        """
        return f"{self.good} of {self.dies} dies ({100 * self.share:.1f} %)"


def first_pass(retest: Retest) -> PassYield:
    """Return the yield after the first pass over the wafer, whichever run that was."""
    return PassYield.of(retest.first)


def final(retest: Retest, now: Mapping[str, GivenBin]) -> PassYield:
    """Return the yield after this run.

    Args:
        now: the dies of this run that have a bin.
    """
    return PassYield.of(retest.after(now))


def bins_of(facts: Facts) -> dict[str, GivenBin]:
    """Return the dies of a run that have a bin."""
    return {d.name: GivenBin(d.bin, d.hard) for d in facts.dies if d.bin}


def retest_text(retest: Retest | None, now: Mapping[str, GivenBin]) -> str:
    """Return what a retest came to, in words; "" of a run that is none.

    >>> before = {"D1": GivenBin("weak", 4), "D2": GivenBin("good", 1), "D3": GivenBin("weak", 4)}
    >>> print(retest_text(Retest("runs/a", "4f", ("weak",), before, before), {"D1": GivenBin("good", 1)}))
    retest of runs/a, bin weak: 1 good now; first-pass yield 1 of 3 dies (33.3 %), final yield 2 of 3 dies (66.7 %)
    """
    if retest is None:
        return ""
    now_good = [name for name, given in now.items() if is_good(given.hard)]
    recovered = sum(not is_good(retest.before[name].hard) for name in now_good if name in retest.before)
    before, after = first_pass(retest), final(retest, now)
    return f"{retest.text}: {recovered} good now; first-pass yield {before.text}, final yield {after.text}"


def of_facts(facts: Facts) -> str:
    """Return `retest_text` of a run."""
    return retest_text(facts.retest, bins_of(facts))


def of_state(state: RunState) -> str:
    """Return `retest_text` of a run."""
    dies = [die for die in state.subjects if die.last is not None and die.bin]
    now = {die.name: GivenBin(die.bin, die.last.hard) for die in dies if die.last is not None}
    return retest_text(Retest.of(state.meta.get("retest")), now)


def of_path(path: Path, meta: Mapping[str, Any]) -> str:
    """Return `retest_text` of the run in the folder `path`; of a file of it, which run it retests.

    Args:
        meta: of the run.
    """
    if (path / "journal.db").is_file():
        return of_state(read_state(path))
    retest = Retest.of(meta.get("retest"))
    return "" if retest is None else retest.text
