"""What a run folder tells at first sight: its journal, who is at work in it, for how long, and how large it is."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from labctl.batch.preflight import BALLAST
from labctl.core.die_state import State
from labctl.core.errors import BenchError
from labctl.core.events import Pruned, Requested, Resumed, RunEvent, SealedAgain
from labctl.station.guard_text import title
from labctl.storage.event_rows import RunRow, event_rows
from labctl.storage.journal import Journal
from labctl.storage.locks import NAME, holder
from labctl.storage.run_log import RunState, read_state

SILENT = 120.0
"""A run that cannot be asked who locks it counts as alive if one of its journals grew within so many s."""
SOMEBODY = "somebody"
"""Who carries out such a run."""


def read_run(
    folder: Path, before: RunState | None = None, rows: Sequence[RunRow] = ()
) -> tuple[RunState, list[RunRow]]:
    """Return where a run stands, and the rows of its journal that say so.

    Args:
        before, rows: what an earlier call returned; only what is new is read.

    Raises:
        StorageError: there is no run there, or its journal is damaged.
    """
    state = read_state(folder, before)
    after = rows[-1].seq if rows else 0
    with Journal.open(folder) as journal:
        if not state.seq:  # it has been started, and nothing has happened
            state = replace(state, since=journal.created.utc, until=journal.created.utc)
        new = event_rows(RunEvent, journal.events(after=after))
        return state, [*rows, *(row for row in new if row.seq <= state.seq)]


def is_reported(folder: Path, state: RunState) -> bool:
    """Return whether the report of a run is there and is about how it ended."""
    try:
        facts = json.loads((folder / "report.json").read_bytes())
        ended = facts["exit_code"], facts["until"]
    except (OSError, ValueError, TypeError, KeyError):
        return False
    return ended == (state.exit_code, state.until) and (folder / "report.html").is_file()


def who(folder: Path, state: RunState) -> str:
    """Return who carries the run out at this moment, "" if it ended or nobody does; its guard only leaves a record."""
    if state.exit_code is not None:
        return ""
    try:
        if (folder / NAME).is_file():
            owner = holder(folder)
            return "" if owner is None or owner.what == title(folder.absolute()) else str(owner)
    except BenchError:  # a file system without locks
        pass
    # all there is to go by is when somebody last wrote
    newest = max([state.until, *(_written(path) for path in folder.glob("dies/*/journal.db*"))])
    return SOMEBODY if time.time() - newest < SILENT else ""


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # it went away meanwhile
        return 0.0


def left_out(state: RunState) -> frozenset[str]:
    """Return the names of the dies that the campaign leaves out: skipped, and nobody asked for that while it ran."""
    skipped = {row.event.die for row in state.events if isinstance(row.event, Requested)}
    return frozenset(
        d.name for d in state.subjects if d.state is State.SKIPPED and not d.tries and d.name not in skipped
    )


def worked(rows: Sequence[RunRow]) -> float:
    """Return how long a run was carried out, s: from its first row to its last, without the time it lay still."""
    total, start, last = 0.0, None, 0.0
    for row in rows:
        if isinstance(row.event, Pruned | SealedAgain):  # done to the folder, perhaps years later
            continue
        if isinstance(row.event, Resumed) or start is None:
            total += 0.0 if start is None else max(0.0, last - start)
            start = row.stamp.monotonic
        last = row.stamp.monotonic
    return total + (0.0 if start is None else max(0.0, last - start))


def predicted(meta: Mapping[str, Any]) -> dict[str, float]:
    """Return what the plan foretold of the whole run: "seconds" of bench time and "bytes" on disk; empty if unknown."""
    estimate = meta.get("estimate")
    return (
        {k: float(estimate[k]) for k in ("seconds", "bytes") if k in estimate} if isinstance(estimate, Mapping) else {}
    )


def sizes_of(folder: Path) -> dict[str, int]:
    """Return the bytes of a run on disk, ballast aside: by try of a die, and under "" of everything else."""
    sizes: dict[str, int] = {}
    home = folder / "dies"
    for path in folder.rglob("*"):
        if path == folder / BALLAST:
            continue
        try:
            n = path.stat().st_size if path.is_file() else 0
        except OSError:  # it went away meanwhile
            continue
        first = path.relative_to(home).parts[0].removesuffix(".h5") if home in path.parents else ""
        sizes[first] = sizes.get(first, 0) + n
    return sizes
