"""Requests to a run that goes on, as files in ``RUN/requests``, and the file whose presence lets its workers go on.

Files work for everyone who sees the run folder: another terminal, another computer, the workers of a cluster. The
session takes each request once and logs who made it. A request is for the session that is under way when it is made,
so one that comes too late stops no later session. The workers go on as long as the go-file exists; removing it stops
them, which works on a full disk too.
"""

import contextlib
import getpass
import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from labctl.core.errors import BenchError
from labctl.core.events import RequestKind
from labctl.core.names import inside
from labctl.core.units import Second
from labctl.storage.arrays import storage
from labctl.storage.locks import holder
from labctl.storage.no_run import is_run, no_run
from labctl.storage.private import rights_of

FOLDER = "requests"
PATIENCE: Second = 5.0
"""How long a command waits for the run to take its request, s."""
STOPPED, SKIPPED, FULL = "stopped by the operator", "skipped by the operator", "stopped because the disk is full"


@dataclass(frozen=True)
class Request:
    """One request to a run that goes on.

    Args:
        what: STOP or SKIP.
        die: which die, "" for the run.
        by: who made it, as user@host.
        session: session of the run that it is for; no other takes it.
    """

    what: RequestKind
    die: str = ""
    by: str = ""
    reason: str = ""
    session: str = ""


def whoami() -> str:
    """Return user@host."""
    try:
        user = getpass.getuser()
    except (ImportError, KeyError, OSError):  # a user without a name, as in a container
        user = "somebody"
    return f"{user}@{socket.gethostname()}"


def ask(run: Path, request: Request) -> Path:
    """Leave a request for the session that carries out `run`, and return its file.

    Raises:
        BenchError: there is no session.
        StorageError: there is no run (`NotThereError`), or its folder cannot be written.
    """
    if not is_run(run):
        raise no_run(run)
    session_name = _session_of(run)
    if not session_name:
        raise BenchError(f"nobody carries out {run}; expected a run that goes on")
    return _leave(run, replace(request, session=session_name))


class Answer(StrEnum):
    """The result of a request."""

    TAKEN = "taken"
    WAITING = "waiting"
    """The run goes on and has not taken the request yet."""
    ENDED = "ended"
    """The run has ended since without taking the request."""
    BUSY = "busy"
    """The run is just being started or ended, and takes no requests."""
    NOBODY = "nobody"
    """No process carries the run out."""


def ask_and_wait(
    run: Path,
    request: Request,
    *,
    clock: Callable[[], Second] = time.monotonic,
    sleep: Callable[[Second], None] = time.sleep,
) -> Answer:
    """Make a request to the session of `run`, wait up to `PATIENCE` s, and return the result of the request.

    A request that is not taken is withdrawn unless the run goes on. If the lock of a run on another computer cannot be
    seen from here, its session is asked all the same.

    Raises:
        StorageError: there is no run (`NotThereError`), or its folder cannot be written.
    """
    if not is_run(run):
        raise no_run(run)
    end, went_on = clock() + PATIENCE, False
    path: Path | None = None
    while True:
        held, session_name = _is_held(run), _session_of(run)
        went_on |= held
        if path is None and session_name:
            path = _leave(run, replace(request, session=session_name))
        if path is not None and _taken(path).exists():
            return Answer.TAKEN
        if path is not None and not path.exists():
            path = None  # it was for a session that was killed, and a new one has begun
        if (not held and not session_name) or clock() >= end:
            break
        sleep(0.05)
    if held:
        return Answer.WAITING if path is not None else Answer.BUSY
    with storage(run, "withdraw a request"):
        if path is not None:
            path.unlink(missing_ok=True)
    if path is not None and _taken(path).exists():
        return Answer.TAKEN
    return Answer.ENDED if went_on else Answer.NOBODY


def _leave(run: Path, request: Request) -> Path:
    path = run / FOLDER / f"{time.time_ns():020d}-{request.what}-{uuid.uuid4().hex[:6]}.json"
    with storage(path, "ask"), rights_of(run):
        path.parent.mkdir(exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(request)), encoding="utf-8")
        part.replace(path)
    return path


def _taken(path: Path) -> Path:
    return path.with_name(path.name + ".taken")


def _is_held(run: Path) -> bool:
    """Return whether a process is seen to hold `run`."""
    try:
        return holder(run) is not None
    except BenchError:  # locks cannot be seen on this file system
        return False


def _session_of(run: Path) -> str:
    """Return the name of the session of `run`, under way or killed; "" if there is none."""
    return next((folder.name for folder in sorted(run.glob("session-*"))), "")


def take(run: Path, session_name: str) -> Iterator[Request]:
    """Yield the requests to this session that it has not taken yet, in the order in which they were made.

    A request to an earlier session came too late for it and is set aside.
    """
    folder = run / FOLDER
    if not folder.is_dir():
        return
    for path in sorted(folder.glob("*.json")):
        try:
            request = Request(**json.loads(path.read_text(encoding="utf-8")))
            request = replace(request, what=RequestKind(request.what))
            mine = request.session == session_name
            path.rename(_taken(path) if mine else path.with_name(path.name + ".late"))
        except (OSError, ValueError, TypeError):
            # it may become readable; it is tried again at the next call
            continue
        if mine:
            yield request


class GoFile:
    """The file that lets the workers of one session of a run go on.

    Args:
        folder: the session's own; see `session`.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "going"

    def reason(self, die: str) -> str | None:
        """Return why work on `die` has to end at this safe point, None to go on."""
        if not os.path.exists(self.path):
            return FULL if os.path.exists(self._full) else STOPPED
        return SKIPPED if os.path.exists(self._skip(die)) else None

    def _skip(self, die: str) -> Path:
        return inside(self.path.parent, f"skip {die}")

    def skip(self, die: str) -> None:
        """Ask the worker of `die` to end at the next safe point. Raises StorageError."""
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
    def session(self) -> str:
        """Name of the session."""
        return self.path.parent.name

    @property
    def _full(self) -> Path:
        return self.path.with_name("full")


def session(run: Path) -> GoFile:
    """Start a session of `run`, and end what earlier sessions have left.

    Raises:
        StorageError: the folder cannot be written.
    """
    with storage(run, "start a session"):
        for left in run.glob("session-*"):
            close(GoFile(left))
        folder = run / f"session-{uuid.uuid4().hex[:8]}"
        folder.mkdir()
        (folder / "going").touch()
    return GoFile(folder)


def close(go_file: GoFile) -> None:
    """Remove a session's folder, which holds only files for its workers."""
    go_file.stop()
    for file in go_file.path.parent.glob("*"):
        file.unlink(missing_ok=True)
    if go_file.path.parent.is_dir():
        go_file.path.parent.rmdir()
