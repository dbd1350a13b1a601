"""How many dies a figure is of: fabricated, contacted, surveyed, included; and the rules by which dies are left out.

The rules are bins of the campaign, so that they are recorded and hashed with the run before a die is measured; a run
with other rules is another run.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from labctl.core.errors import BenchError
from labctl.report.run_folder import read_run
from labctl.storage.results import open_run

EXCLUDED = "excluded"
"""Soft bin of dies that a rule leaves out."""
_HARD = 9
_NO_CONTACT = "contact"


def rules(conditions: Sequence[str]) -> dict[str, str]:
    """Return the overrides of a campaign by which dies are left out, and by nothing else.

    Args:
        conditions: comparisons of figures such as "defects > 1000", any of which leaves a die out.
    """
    bins = [{"bin": EXCLUDED, "hard": _HARD, "when": condition} for condition in conditions]
    return {"accept": "{}", "bins": json.dumps(bins)}


@dataclass(frozen=True)
class Denominators:
    """Dies of a run.

    Args:
        fabricated: dies of the campaign.
        contacted: of these, the ones whose contact was good enough to measure.
        surveyed: of these, the ones that have a survey.
        included: names of those that classified and that no rule leaves out.
        rules: conditions that leave a die out; `digest` their sha256, as the campaign has them.
    """

    fabricated: int
    contacted: int
    surveyed: int
    included: tuple[str, ...]
    rules: tuple[str, ...]
    digest: str

    @classmethod
    def joined(cls, several: Mapping[str, Self]) -> Self:
        """Return the dies of several wafers together, by the rules of the first; names are WAFER/DIE.

        Args:
            several: by wafer.
        """
        first, *_ = dies = list(several.values())
        return cls(
            sum(one.fabricated for one in dies),
            sum(one.contacted for one in dies),
            sum(one.surveyed for one in dies),
            tuple(f"{wafer}/{name}" for wafer, one in several.items() for name in one.included),
            first.rules,
            first.digest,
        )

    @property
    def text(self) -> str:
        """The numbers in words.

        >>> Denominators(36, 35, 35, ("A", "B"), (), "ab12").text
        '36 fabricated, 35 contacted, 35 surveyed, 2 included (no rule leaves a die out, sha256 ab12)'
        """
        by = " or ".join(self.rules) + " leaves a die out" if self.rules else "no rule leaves a die out"
        numbers = f"{self.fabricated} fabricated, {self.contacted} contacted, {self.surveyed} surveyed"
        return f"{numbers}, {len(self.included)} included ({by}, sha256 {self.digest[:12]})"


def denominators(folder: Path) -> Denominators:
    """Return the denominators of the run in `folder`.

    Raises:
        BenchError: no die is included, so that there is nothing to compare.
    """
    run, (state, _) = open_run(folder), read_run(folder)
    bins: list[Mapping[str, str]] = [b for b in run.meta.get("bins", ()) if b["bin"] == EXCLUDED]
    begun = [name for name in run.planned if name in run.dies]
    contacted = [name for name in begun if state.dies[name].bin != _NO_CONTACT]
    tables = {name: run.die(name).tables for name in contacted}
    dies = Denominators(
        fabricated=len(run.planned),
        contacted=len(contacted),
        surveyed=sum("survey" in names for names in tables.values()),
        included=tuple(n for n in contacted if "accuracy" in tables[n] and state.dies[n].bin != EXCLUDED),
        rules=tuple(str(b["when"]) for b in bins),
        digest=hashlib.sha256(json.dumps(bins, sort_keys=True).encode()).hexdigest(),
    )
    if not dies.included:
        hint = "; expected an --exclude that leaves some, with another --out" if bins else ""
        raise BenchError(f"{folder}: no die is left to compare: {dies.text}{hint}")
    return dies
