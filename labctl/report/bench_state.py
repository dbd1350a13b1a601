"""What became of the bench of a run that was broken off: made safe by its guard, or perhaps still live."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labctl.core.errors import BenchError, StorageError
from labctl.core.events import DieEnded, GuardActed, GuardFate, Resumed
from labctl.files import absolute
from labctl.report.run_folder import who
from labctl.station.guard_text import met_text, title
from labctl.storage.bench_locks import holders
from labctl.storage.journal import Journal
from labctl.storage.latch import latch_of
from labctl.storage.manifest import run_meta
from labctl.storage.run_log import RunState, read_state

if TYPE_CHECKING:
    from instruments.board_bench import AnyBench

LIVE = "OUTPUTS MAY BE ON"
NOBODY = (
    "no guard has made the bench safe; it was killed too, or computer or container went down, which it does not cover"
)


def bench_text(folder: Path, state: RunState, alive: str) -> str:
    """Return what became of the real bench of a run that was broken off; "" of any other run.

    Args:
        alive: who carries the run out, "" if nobody does.
    """
    if alive or state.exit_code is not None or not state.meta.get("real"):
        return ""
    acted, utc = None, 0.0
    for row in state.events:
        if isinstance(row.event, GuardActed | Resumed):
            acted, utc = (row.event if isinstance(row.event, GuardActed) else None), row.stamp.utc
    if acted is not None and acted.what is GuardFate.SAFE:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(utc))
        return f"bench made safe by its guard at {at}: {met_text(acted)}"
    copy = folder / "files" / str(state.meta["roles"]["bench"])
    bench = _bench(copy)
    if acted is None and bench is not None and (busy := _at_work(folder, bench)):
        return busy
    live = f"{LIVE}: labctl off {_bench_file(copy, state.meta)}"
    if acted is None:
        why = NOBODY
    elif acted.what is GuardFate.UNSAFE:
        why = f"its guard could not verify it safe: {acted.text}"
    else:
        why = f"its guard left the bench alone: {acted.text}"
    latch = None if bench is None else latch_of(bench)
    since = f"; since then {latch}" if latch is not None and latch.utc > state.until else ""
    return f"{live}; {why}{since}"


def bench_text_of(folder: Path) -> str:
    """Return what became of the real bench of the run in `folder`, also of work by hand, that was broken off.

    "" if it ended or goes on, if its dies are simulated, and of anything that is not the folder of a run.

    Raises:
        StorageError: the run is damaged.
    """
    if not (folder / "run.json").is_file():
        return ""
    meta = run_meta(folder)
    if not meta.get("real"):
        return ""
    if (folder / "journal.db").is_file():
        state = read_state(folder)
    elif all(_has_ended(folder, str(die["name"])) for die in meta["dies"]):
        return ""
    else:
        state = RunState(meta, {})
    return bench_text(folder, state, who(folder, state))


def _has_ended(folder: Path, die: str) -> bool:
    """Return whether the work by hand on a die came to its end, sealed or not."""
    if (folder / "dies" / f"{die}.h5").is_file():
        return True
    try:
        with Journal.open(folder / "dies" / die) as journal:
            return any(entry.kind == DieEnded.kind for entry in journal.events())
    except StorageError:  # not begun
        return False


def _bench(copy: Path) -> "AnyBench | None":
    """Return the bench of a run by the copy of its file, None if that cannot be read."""
    from instruments.bench_file import read_bench  # imported here: the report of simulated dies has no use for it

    try:
        return read_bench(copy, to_make_safe=True).value
    except BenchError:
        return None


def _at_work(folder: Path, bench: "AnyBench") -> str:
    """Return which process of the run still deals with its bench, "" if none is seen."""
    try:
        guards = [one for one in holders(bench) if one.what == title(folder.absolute())]
        workers = [] if guards else holders(bench, part="worker")
    except BenchError:
        return ""
    if guards:
        return f"its guard makes the bench safe at this moment (process {guards[0].pid})"
    return f"a process still works on the bench: {workers[0]}" if workers else ""


def _bench_file(copy: Path, meta: Mapping[str, Any]) -> Path:
    """Return the bench file of a run, or its copy where that is gone."""
    original = absolute(meta["files"][copy.name]["path"], Path(meta["cwd"]))
    return original if original.is_file() else copy
