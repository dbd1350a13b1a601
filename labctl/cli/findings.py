"""The table of the first day: what is assumed, what the instruments say, and what is left to a person."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from labctl.terminal.progress import Column, print_table

if TYPE_CHECKING:
    from instruments.first_day import Finding

_COLUMNS = ("instrument", "assumed", "expected", "the instrument says", "verdict")


def show_findings(findings: Sequence["Finding"], screen: Console) -> None:
    """Print the findings, a row each, and below how many there are of each verdict."""
    rows = [
        tuple(
            escape(text)
            for text in (one.instrument or "bench", one.statement, one.expected, one.reply or "-", _verdict(one))
        )
        for one in findings
    ]
    print_table(screen, "", [Column(heading, right=False) for heading in _COLUMNS], rows)
    numbers = Counter(one.verdict for one in findings)
    counts = ", ".join(f"{number} {verdict}" for verdict, number in numbers.items())
    where = "steps are those of docs/first-day-at-the-bench.md, from 8 on of docs/first-day-at-the-board.md"
    screen.print(f"{where}; {counts}", markup=False)


def _verdict(finding: "Finding") -> str:
    """Return the verdict, and the step and tools of what is left to a person."""
    from instruments.first_day import Verdict

    if finding.verdict is Verdict.HOLDS:
        return str(finding.verdict)
    tools = f", {finding.tools}" if finding.tools else ""
    return f"{finding.verdict}: step {finding.step}{tools}"
