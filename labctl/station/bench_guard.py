"""The guard of a bench, seen from the run: started before the bench is opened, watched, started anew when it dies.

`labctl.station.guard_process` is the guard itself. It hears of the end of the run by a pipe, which ends when its last
writing end does. The run holds one, and so does the worker of a batch (`lifeline`); whatever else they start inherits
none. The run keeps the reading end too, so that a guard that dies has a successor on the same pipe.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from labctl.core.errors import LabError
from labctl.core.units import Second
from labctl.station.guard_process import END

STARTS = 5
"""Guards of one session; one that dies as often is not started any more."""
LEAVING: Second = 1.0
"""How long a guard that is told to end may take before it is killed; it may still be loading."""
_TAIL = 400
"""Last bytes of the standard error of a guard that go into a message."""
_writers: set[int] = set()
"""The writing ends in this process."""


def _close_in_fork() -> None:
    """Close the writing ends that a forked child inherits; a forgotten one would keep the guard from acting."""
    for fd in _writers:
        with suppress(OSError):
            os.close(fd)
    _writers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_fork)


class BenchGuard:
    """The guard of one session on a real bench.

    A block that ends in order, or with an error of this suite after which the bench was left, ends the guard. After any
    other exception it acts when the process has ended.

    Args:
        folder: of the run; it exists.
        file: the copy of the bench file in it.
        say: called with a text for the operator when a guard has died.
        command: starts a guard; folder and file are added.

    Attributes:
        lifeline: a writing end of the pipe, to be handed to the worker when it is spawned.
    """

    def __init__(
        self,
        folder: Path,
        file: Path,
        say: Callable[[str], None],
        *,
        command: tuple[str, ...] = (sys.executable, "-m", "labctl.station.guard_process"),
    ) -> None:
        self._command = (*command, str(folder.absolute()), str(file.absolute()))
        self._say, self._starts = say, 0
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None

    def __enter__(self) -> Self:
        self._reader, self._writer = os.pipe()
        self.lifeline = _connection(self._writer)
        _writers.update({self._writer, self.lifeline.fileno()})
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or issubclass(kind, LabError):
            self._end()

    @property
    def pid(self) -> int:
        """Process id of the guard, 0 if there is none."""
        return 0 if self._process is None else self._process.pid

    def check(self) -> None:
        """Start another guard if this one has died, and say so; takes microseconds."""
        if self._process is None or self._process.poll() is None:
            return
        died = f"the guard of the bench (process {self._process.pid}) died with exit code {self._process.returncode}"
        tail = self._tail()
        self._process = None
        if self._starts < STARTS:
            self._start()
            if self._process is not None:
                self._say(f"{died}{tail}; another one is started")
                return
        self._say(
            f"{died}{tail}; none is started any more: if the processes of this run are killed together, nothing "
            "makes the bench safe"
        )

    def _start(self) -> None:
        self._starts += 1
        # the same code as here, wherever it was imported from
        paths = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONIOENCODING": "utf-8"}
        try:
            # a file and no pipe: it outlives whoever would read one
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115
            self._process = subprocess.Popen(
                self._command,
                stdin=self._reader,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                env=environment,
                # out of reach of ^C, of TERM to the group, and of a terminal that closes
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
                | getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as error:
            self._tail()
            self._say(f"a guard of the bench cannot be started: {error.strerror or error}")

    def _tail(self) -> str:
        """Return the last line that the guard wrote before it died, and close its file."""
        errors, self._errors = self._errors, None
        if errors is None:
            return ""
        with errors as file:
            file.seek(0)
            text = file.read().decode("utf-8", "replace").strip()[-_TAIL:]
        return f" ({text.splitlines()[-1]})" if text else ""

    def _end(self) -> None:
        """End the guard: the bench is left as it has to be, or was said not to be."""
        with suppress(OSError):
            os.write(self._writer, END)
        if self._process is not None:
            try:
                self._process.wait(LEAVING)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._tail()
        self._close_pipe()

    def _close_pipe(self) -> None:
        """Close all ends of the pipe in this process, as its end does."""
        _writers.difference_update({self._writer, self.lifeline.fileno()})
        self.lifeline.close()
        os.close(self._writer)
        os.close(self._reader)


def keep_lifeline(lifeline: "Connection[Any, Any] | None") -> None:
    """Keep the writing end that this process was handed to itself; it lasts as long as the process."""
    if lifeline is None:
        return
    if sys.platform != "win32":
        os.set_inheritable(lifeline.fileno(), False)
    _writers.add(lifeline.fileno())
    _kept.append(lifeline)


_kept: list["Connection[Any, Any]"] = []


def _connection(fd: int) -> "Connection[Any, Any]":
    """Return another descriptor of the writing end `fd`, which a process that is spawned can be handed."""
    if sys.platform == "win32":  # not tried on Windows
        import msvcrt
        from multiprocessing.connection import PipeConnection
        from multiprocessing.reduction import duplicate

        return PipeConnection(duplicate(msvcrt.get_osfhandle(fd)), readable=False)
    return Connection(os.dup(fd), readable=False)
