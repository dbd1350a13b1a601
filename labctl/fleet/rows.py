"""The rows of a run: one per die and kernel group, from the journal of the run alone; no file of a die is opened."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from labctl.analysis.zones import zone_of
from labctl.core.figure import Figures, split_name
from labctl.fleet.columns import column_of
from labctl.storage.identity import Identity, run_id_of
from labctl.storage.manifest import checked
from labctl.storage.run_log import DieState, RunState, read_state


@dataclass(frozen=True)
class RunRows:
    """The rows of one run.

    Args:
        run_id: of the run.
        rows: by column name; a figure that a die does not have is left out.
        figures: declarations of the figures by key, as plain data.
    """

    run_id: str
    rows: tuple[dict[str, Any], ...]
    figures: Mapping[str, Mapping[str, Any]]


def rows_of(run: Path) -> RunRows:
    """Return the rows of a run, finished, running or killed.

    Raises:
        StorageError: there is no run there, it is of another format, or its journal is damaged.
    """
    state = read_state(run)
    meta = checked(state.meta, run / "journal.db")
    run_id = run_id_of(meta)
    of_run = _of_run(run, run_id, meta, state)
    places = Identity.of(state).places
    rows = tuple(row for die in state.dies.values() for row in _of_die(die, of_run, str(zone_of(die.at, places) or "")))
    return RunRows(run_id, rows, {figure.key: figure.plain() for figure in Figures.of_run(meta).values()})


def _of_run(run: Path, run_id: str, meta: Mapping[str, Any], state: RunState) -> dict[str, Any]:
    identity = Identity.of(state)
    return {
        "run": str(run.absolute()),
        "run_id": run_id,
        "campaign": str(meta.get("name", "")),
        "started": datetime.fromtimestamp(state.since, UTC),
        "lot": identity.lot,
        "wafer": identity.wafer,
        "notch": identity.notch,
        "retest": str((meta.get("retest") or {}).get("run_id", "")),
        "body": str(meta.get("body", "")),
        "faults": bool(meta.get("faults")),
        "operator": str(meta.get("operator", "")),
        "seed": meta.get("seed"),
        "version": str(dict(meta.get("versions") or {}).get("mtj-labctl", "")),
        "commit": str(meta.get("git_commit", "")),
    }


def _of_die(die: DieState, of_run: Mapping[str, Any], zone: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a die: one, or where sizes differ one per size, each with the figures of the whole die."""
    last = die.last
    row = {
        **of_run,
        "die": die.name,
        "x": die.at[0],
        "y": die.at[1],
        "zone": zone,
        "golden": die.golden,
        "size": "",
        "state": die.state.value,
        "reason": die.reason,
        "bin": die.bin,
        "hard": last.hard if last else 0,
        "suspect": die.suspect,
        "tries": len(die.tries),
        "finished": datetime.fromtimestamp(last.until, UTC) if last else of_run["started"],
        "sha256": last.sha256 if last else "",
    }
    by_size: dict[str, dict[str, float]] = {}
    for name, value in (last.figures if last else {}).items():
        key, size = split_name(name)
        by_size.setdefault(size, {})[column_of(key)] = value
    whole = by_size.pop("", {})
    for size, figures in by_size.items() or [("", {})]:
        yield {**row, **whole, **figures, "size": size}
