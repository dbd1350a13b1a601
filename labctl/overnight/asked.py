"""What a run is asked to do while it goes on: requests as files in ``RUN/asked``, and the file that lets it go on.

Files reach everybody who sees the run folder: another terminal, another computer, the workers of a cluster. Whoever
carries out the run takes each request once and says in the run's journal who asked. The workers go on as long as
one file is there; it is taken away to stop them, which works on a full disk too.
"""

import contextlib
import getpass
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from labctl.arrays import storage
from labctl.core.errors import StorageError
from labctl.core.names import inside

FOLDER = "asked"
_TAKEN = ".taken"
STOPPED, SKIPPED, FULL = "stopped by the operator", "skipped by the operator", "stopped because the disk is full"


@dataclass(frozen=True)
class Request:
    """One request to a run that goes on.

    Args:
        what: "stop" or "skip".
        die: which die, "" for the run.
        by: who asked, as user@host.
    """

    what: str
    die: str = ""
    by: str = ""
    reason: str = ""


def whoami() -> str:
    """Return user and host, for the record."""
    try:
        user = getpass.getuser()
    except (ImportError, KeyError, OSError):  # a user without a name, as in a container
        user = "somebody"
    return f"{user}@{socket.gethostname()}"


def ask(run: Path, request: Request) -> Path:
    """Leave a request for whoever carries out `run`, and return its file. Raises StorageError."""
    if not (run / "journal.db").is_file():
        raise StorageError(f"{run}: there is no run here; expected a run folder with a journal.db")
    path = run / FOLDER / f"{time.time_ns():020d}-{request.what}-{uuid.uuid4().hex[:6]}.json"
    with storage(path, "ask"):
        path.parent.mkdir(exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(request)), encoding="utf-8")
        part.replace(path)
    return path


def take(run: Path) -> Iterator[Request]:
    """Yield the requests that nobody has taken yet, in the order in which they were made."""
    folder = run / FOLDER
    if not folder.is_dir():
        return
    for path in sorted(folder.glob("*.json")):
        try:
            request = Request(**json.loads(path.read_text(encoding="utf-8")))
            path.rename(path.with_name(path.name + _TAKEN))
        except (OSError, ValueError, TypeError):
            # not ours to mend; it is looked at again, and says nothing until it can be read
            continue
        yield request


class Going:
    """The file that lets the workers of one session of a run go on.

    Args:
        folder: the session's own; see `session`.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "going"

    def reason(self, die: str) -> str | None:
        """Return why whoever works on `die` has to end at this safe point, None to go on."""
        if not os.path.exists(self.path):
            return FULL if os.path.exists(self._full) else STOPPED
        return SKIPPED if os.path.exists(self._skip(die)) else None

    def _skip(self, die: str) -> Path:
        return inside(self.path.parent, f"skip {die}")

    def skip(self, die: str) -> None:
        """Ask whoever works on `die` to end at the next safe point. Raises StorageError."""
        with storage(self.path, "ask to skip a die"):
            self._skip(die).touch()

    def stop(self, *, full: bool = False) -> None:
        """Ask every worker to end at its next safe point; harmless a second time. May be called by a signal handler.

        Args:
            full: because the disk is full; another name for a file takes no space.
        """
        with contextlib.suppress(FileNotFoundError):
            if full:
                self.path.replace(self._full)
            else:
                os.unlink(self.path)

    @property
    def _full(self) -> Path:
        return self.path.with_name("full")


def session(run: Path) -> Going:
    """Start a session of `run`, and end whatever an earlier one has left going.

    Raises:
        StorageError: the folder cannot be written.
    """
    with storage(run, "start a session"):
        for left in run.glob("session-*"):
            close(Going(left))
        folder = run / f"session-{uuid.uuid4().hex[:8]}"
        folder.mkdir()
        (folder / "going").touch()
    return Going(folder)


def close(going: Going) -> None:
    """Take a session's folder away: it holds nothing but what workers were handed."""
    going.stop()
    for file in going.path.parent.glob("*"):
        file.unlink(missing_ok=True)
    if going.path.parent.is_dir():
        going.path.parent.rmdir()
