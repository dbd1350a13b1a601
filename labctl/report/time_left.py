"""When a run ends, from what its dies took so far, and how much work a die usually is."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from labctl.core.die_state import State
from labctl.core.errors import StorageError
from labctl.core.events import Resumed
from labctl.storage.event_rows import RunRow
from labctl.storage.journal import Journal
from labctl.storage.run_log import RunState


class UsualRows:
    """How many rows the journal of a die of the run in `folder` has when it is done; each is counted once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows: dict[str, int] = {}

    def of(self, state: RunState) -> float:
        """Return the median over the dies that are done; 0 if there is none."""
        for die in state.dies.values():
            if die.state is State.DONE and die.folder not in self._rows:
                try:
                    with Journal.open(self._folder / "dies" / die.folder) as journal:
                        self._rows[die.folder] = journal.last.seq
                except StorageError:  # sealed, and its journal taken elsewhere
                    self._rows[die.folder] = 0
        counts = [n for n in self._rows.values() if n]
        return statistics.median(counts) if counts else 0.0


def time_left(
    state: RunState, rows: Sequence[RunRow], shares: Mapping[str, float]
) -> tuple[float, float, float] | None:
    """Return the soonest, likely and latest time to the end, s, from what dies took so far, or from the plan.

    The range is two standard deviations of the sum of what is left, and of the mean it is reckoned from.

    Args:
        shares: of the dies under way, how much of the work is done, from 0 to 1.
    """
    resumes = [row.event for row in rows if isinstance(row.event, Resumed)]
    only = resumes[-1].only if resumes else ()
    names = [n for n in state.unfinished if not state.dies[n].golden and (not only or n in only)]
    if not names:
        return None
    plan: dict[str, Any] = state.meta.get("estimate", {}).get("dies", {})
    foreseen = {n: float(plan[n]["seconds"]) for n in plan if plan[n].get("seconds")}
    took = {d.name: sum(t.seconds for t in d.tries) for d in state.subjects if d.state is State.DONE}
    ratios = [seconds / foreseen.get(n, 1.0) for n, seconds in took.items() if seconds > 0]
    if not ratios and (not foreseen or str(state.meta.get("body")).startswith("simulated")):
        return None
    ratio = statistics.fmean(ratios) if ratios else 1.0
    # a bench measures one die at a time, and may be sealing the one before
    on_bench = not str(state.meta.get("body", "simulated")).startswith("simulated")
    at_once = 1 if on_bench else max(1, len(shares))
    rest = sum(foreseen.get(n, 1.0) * ratio * (1 - shares.get(n, 0.0)) for n in names) / at_once
    spread = statistics.stdev(ratios) / ratio if len(ratios) > 1 else 0.25
    relative = max(0.03, 2 * spread * (1 / len(names) + 1 / max(1, len(ratios))) ** 0.5)
    return rest * max(0.0, 1 - relative), rest, rest * (1 + relative)
