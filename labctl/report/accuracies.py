"""The terms under which the accuracies of a run were reached, in words."""

from collections.abc import Iterator, Sequence

from labctl.analysis.accuracy_terms import texts
from labctl.storage.results import Run


def accuracy_texts(run: Run, names: Sequence[str]) -> Iterator[str]:
    """Yield the different terms of the accuracies of the dies `names`; nothing of dies that have none yet."""
    dies = [run.die(name) for name in names if name in run.dies]
    yield from texts(
        (die.name, die.table("accuracy"), die.meta.get("description") or {}) for die in dies if "accuracy" in die.tables
    )
