"""Wait while another program holds a journal, a viewer of databases for instance, and say so.

Rows wait in memory meanwhile and nothing is lost, so a run that has hours of measuring behind it waits for minutes
before it ends because of somebody who looks at its files.
"""

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from labctl.core.errors import StorageError
from labctl.core.units import Second
from labctl.storage.filesystem import no_locks

PATIENCE: Second = 600.0
"""Longest wait for another program to let go of a journal."""
ENDING: Second = 10.0
"""The same when the run is asked to end."""
SAID_AFTER: Second = 5.0
"""Wait after which the operator is told."""


def is_held(error: sqlite3.Error) -> bool:
    """Return whether an error means that another program holds the file."""
    return getattr(error, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


@dataclass
class Holding:
    """What happens while another program holds a journal.

    Args:
        say: called with a text for the operator, once when the wait has lasted `SAID_AFTER` and once when it has ended.
        look: called again and again; returns whether the run is asked to end.
    """

    say: Callable[[str], None] = lambda text: None
    look: Callable[[], bool] = lambda: False
    _spent: bool = False
    """The patience has passed once, and the file was not free since."""

    def wait(self, action: Callable[[], object], path: Path, monotonic: Callable[[], Second]) -> None:
        """Do `action` on the database at `path`, again while another program holds it.

        An action waits by itself for some time, by SQLite's own timeout.

        Raises:
            StorageError: nothing can be locked on this file system, which SQLite cannot tell from a file that is held.
            sqlite3.Error: of the action; that the file is held, when `PATIENCE` or `ENDING` has passed.
        """
        begin: Second | None = None
        announced = tried = False
        while True:
            try:
                action()
                break
            except sqlite3.OperationalError as error:
                if not is_held(error):
                    raise
                now = monotonic()
                begin = now if begin is None else begin
                waited, ends = now - begin, self.look() or self._spent
                if waited >= (ENDING if ends else PATIENCE):
                    self._spent = True
                    raise
                if not tried:
                    tried = True
                    if reason := no_locks(path.parent):
                        raise StorageError(f"{path}: {reason}") from error
                if not announced and waited >= SAID_AFTER:
                    since = time.strftime("%H:%M:%S", time.localtime(time.time() - waited))
                    self.say(
                        f"{path}: another program holds it since {since}; close it there. Nothing is lost, and the run "
                        f"waits for it for {PATIENCE / 60:.0f} min"
                    )
                    announced = True
        self._spent = False
        if announced and begin is not None:
            self.say(f"{path}: the other program let go of it after {monotonic() - begin:.0f} s")
