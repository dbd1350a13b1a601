"""``labctl watch RUN``: a live screen on a terminal, a plain line every now and then elsewhere."""

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from labctl.core.texts import visible
from labctl.report.live_screen import line, screen
from labctl.report.live_state import Now, Watcher

REFRESH = 1.0
"""Time between two snapshots of a run on a terminal, s."""
LINES = 30.0
"""Time between plain lines, s."""


def watch(folder: Path, console: Console, *, once: bool = False, as_json: bool = False) -> Now:
    """Show a run until it ends, nobody carries it out any more, or ^C; return where it stood then.

    Args:
        once: show one snapshot.
        as_json: print one snapshot as one line of JSON.

    Raises:
        StorageError: there is no run in `folder`, or its journal is damaged.
    """
    watcher = Watcher(folder)
    now = watcher.snapshot()
    if as_json:
        print(json.dumps(_as_json(now), allow_nan=False))
        return now
    with _until_interrupted() as stopped:
        if not console.is_terminal:
            print(visible(line(now)), flush=True)
            while now.alive and not once and not stopped.wait(LINES):
                now = watcher.snapshot()
                print(visible(line(now)), flush=True)
            return now
        if now.alive and not once:
            with Live(console=console, screen=True, auto_refresh=False) as live:
                while now.alive:
                    live.update(screen(now, console.width, console.height), refresh=True)
                    if stopped.wait(REFRESH):
                        break
                    now = watcher.snapshot()
    # what stays on the terminal when the screen is gone
    console.print(screen(now, console.width, console.height))
    return now


def _as_json(now: Now) -> dict[str, Any]:
    """Return a moment of a run as plain data; the number of a try is called "attempt" there."""
    plain = {"good": now.good, "measured": now.measured, **asdict(now)}
    plain["under_way"] = [{**die, "attempt": die.pop("try_no")} for die in plain["under_way"]]
    return plain


@contextmanager
def _until_interrupted() -> Iterator[threading.Event]:
    """Yield an event that ^C sets while the block lasts: it ends the watching and never the run."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    before = signal.signal(signal.SIGINT, lambda *_: stopped.set())
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)
