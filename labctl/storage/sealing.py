"""Seal dies and index runs in a separate process, which owns nothing but the file it writes.

A full disk can crash the HDF5 library, and a crash must not end the process that holds a bench. One such process
serves many dies, because starting Python takes as long as sealing one. Orders come by its standard input; when that
closes, because its owner closed it or was killed, it finishes its order and ends. Killed itself, it leaves a ``.part``
at most, which the next sealing sets aside; the next order starts a new process.
"""

import atexit
import json
import os
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

from labctl.core.errors import StorageError

_TAIL = 400
"""Last bytes of the standard error of a process that go into a message."""


@dataclass(frozen=True)
class _Child:
    """A process that seals, the ends of its pipes, and the file of its standard error."""

    process: subprocess.Popen[str]
    orders: IO[str]
    answers: IO[str]
    errors: IO[bytes]

    @classmethod
    def start(cls) -> Self:
        # the same code as here, wherever it was imported from
        paths = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONIOENCODING": "utf-8"}
        # a file and no pipe, which would block a process that writes much
        errors = tempfile.TemporaryFile()  # noqa: SIM115
        process = subprocess.Popen(
            [sys.executable, "-m", "labctl.storage.hdf5_writer", "serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
            env=env,
            # out of reach of ^C and of a terminal that closes: what has been measured is sealed whatever ends the run
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        return cls(process, cast(IO[str], process.stdin), cast(IO[str], process.stdout), errors)

    def request(self, order: list[str]) -> dict[str, Any]:
        """Return the answer. Raises OSError or ValueError if the process is gone."""
        self.orders.write(json.dumps(order) + "\n")
        self.orders.flush()
        answer: dict[str, Any] = json.loads(self.answers.readline())
        return answer

    def end(self) -> str:
        """Let the process end, and return its exit code and the end of its standard error."""
        with suppress(OSError):  # it is gone already
            self.orders.close()
        code = self.process.wait()
        self.answers.close()
        with self.errors as file:
            file.seek(0)
            text = file.read().decode("utf-8", "replace")
        last = "the disk is full: free some space" if "No space left" in text else text.strip()[-_TAIL:]
        return f"{code} ({last})"


class Sealer:
    """A process that seals; started by the first order, anew by the first one after it died.

    Threads may share it; their orders are carried out one after the other. Close it, or use it as a context. It ends by
    itself when the process that made it does.
    """

    def __init__(self) -> None:
        self._child: _Child | None = None
        self._lock = threading.Lock()

    def seal(self, run: Path, die: str) -> str:
        """Call `labctl.storage.hdf5_writer.seal` there; return the sha256 of the file. Raises StorageError."""
        return str(self._order("seal", run, die)["sha256"])

    def write_run_file(self, run: Path) -> Path:
        """Call `labctl.storage.hdf5_writer.write_run_file` there. Raises StorageError."""
        return Path(self._order("index", run)["path"])

    def close(self) -> None:
        """End the process when it has finished its order; harmless a second time."""
        with self._lock:
            self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _order(self, command: str, run: Path, *more: str) -> dict[str, Any]:
        with self._lock:
            if self._child is not None and self._child.process.poll() is not None:
                self._end()
            if self._child is None:
                self._child = _Child.start()
            try:
                answer = self._child.request([command, os.path.abspath(run), *more])
            except (OSError, ValueError):
                answer = {"error": f"{run}: the process to {command} {' '.join(more)} ended with {self._end()}"}
            except BaseException:
                # interrupted: the order is finished first, and no caller gets the answer to another order
                self._end()
                raise
        if "error" in answer:
            raise StorageError(f"{answer['error']}; the journals have everything")
        return answer

    def _end(self) -> str:
        child, self._child = self._child, None
        return "" if child is None else child.end()


_sealer = Sealer()
atexit.register(_sealer.close)


def seal_in_subprocess(run: Path, die: str) -> str:
    """Call `hdf5_writer.seal` in the one sealing process of this process. Raises StorageError."""
    return _sealer.seal(run, die)


def write_run_file_in_subprocess(run: Path) -> Path:
    """Call `hdf5_writer.write_run_file` in the one sealing process of this process. Raises StorageError."""
    return _sealer.write_run_file(run)
