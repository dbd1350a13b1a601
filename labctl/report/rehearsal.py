"""What is said of a run that was rehearsed with injected faults: that it is no measurement, and what has happened."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labctl.core.events import FaultInjected
from labctl.core.planned_fault import InjectedFaults, PlannedFault
from labctl.storage.run_log import RunState, read_state

_BEGIN = "REHEARSAL, AND NO MEASUREMENT"


def happened(state: RunState) -> dict[int, FaultInjected]:
    """Return the injected faults that have happened, by number."""
    return {row.event.number: row.event for row in state.events if isinstance(row.event, FaultInjected)}


def rehearsal(state: RunState) -> dict[str, Any] | None:
    """Return the faults of a rehearsed night as plain data, None of a run without: `list`, each with `happened`."""
    faults = InjectedFaults.of(state.meta.get("faults"))
    if faults is None:
        return None
    struck = happened(state)
    each = [{**fault.plain(), "happened": fault.number in struck} for fault in faults.faults]
    return {**faults.plain(), "list": each, "happened": len(struck)}


def rehearsal_of(folder: Path) -> dict[str, Any] | None:
    """Return `rehearsal` of the run in `folder`; None of what is no run."""
    return rehearsal(read_state(folder)) if (folder / "journal.db").is_file() else None


def rehearsal_text_of(path: Path, meta: Mapping[str, Any]) -> str:
    """Return `rehearsal_text` of the run in the folder `path`; of a file of it, that it is no measurement.

    Args:
        meta: of the run.
    """
    if (path / "journal.db").is_file():
        return rehearsal_text(read_state(path))
    faults = InjectedFaults.of(meta.get("faults"))
    return "" if faults is None else f"{_BEGIN}: {faults.text}"


def rehearsal_text(state: RunState) -> str:
    """Return that a run is no measurement and which faults have happened and which have not, "" of a run without."""
    faults = InjectedFaults.of(state.meta.get("faults"))
    if faults is None:
        return ""
    struck = happened(state)
    begin = f"{_BEGIN}: {faults.text}"
    if not faults.faults:
        return f"{begin}, none drawn"
    left = [fault for fault in faults.faults if fault.number not in struck]
    done = [fault for fault in faults.faults if fault.number in struck]
    text = f"{begin}, {len(done)} of {len(faults.faults)} have happened"
    text += f": {_listed(done)}" if done else ""
    return text + (f"; not: {_listed(left)}" if left else "")


def _listed(faults: list[PlannedFault]) -> str:
    return "; ".join(f"{fault.kind} ({fault.place})" for fault in faults)
