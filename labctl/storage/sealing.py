"""Have dies sealed and runs indexed by a process of its own, which owns nothing but the file it writes.

A full disk can crash the HDF5 library, and a crash must not take along whoever holds a bench. One such process serves
many dies, because to start Python takes as long as to seal one. It lives by its standard input: orders come in there,
and when that closes, because its owner closed it or was killed, it finishes the order in hand and ends. Killed itself,
it leaves a ``.part`` at most, which the next sealing sets aside; the next order starts a new one.
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
"""Bytes of what a process said last that go into a message."""


@dataclass(frozen=True)
class _Child:
    """A process that seals, and the ends of its pipes; `said` is its standard error."""

    process: subprocess.Popen[str]
    orders: IO[str]
    answers: IO[str]
    said: IO[bytes]

    @classmethod
    def start(cls) -> Self:
        # the same code as here, wherever it was imported from
        paths = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONIOENCODING": "utf-8"}
        # a file and no pipe, which would stop a process that has much to say
        said = tempfile.TemporaryFile()  # noqa: SIM115
        process = subprocess.Popen(
            [sys.executable, "-m", "labctl.storage.hdf5_writer", "serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            encoding="utf-8",
            env=env,
            # out of reach of ^C and of a terminal that closes: what has been measured is sealed whatever ends the run
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        return cls(process, cast(IO[str], process.stdin), cast(IO[str], process.stdout), said)

    def ask(self, order: list[str]) -> dict[str, Any]:
        """Return the answer. Raises OSError or ValueError if the process is gone."""
        self.orders.write(json.dumps(order) + "\n")
        self.orders.flush()
        found: dict[str, Any] = json.loads(self.answers.readline())
        return found

    def end(self) -> str:
        """Let the process end, and return how it ended and what it said last."""
        with suppress(OSError):  # it is gone already
            self.orders.close()
        code = self.process.wait()
        self.answers.close()
        with self.said as file:
            file.seek(0)
            text = file.read().decode("utf-8", "replace")
        last = "the disk is full: free some space" if "No space left" in text else text.strip()[-_TAIL:]
        return f"{code} ({last})"


class Sealer:
    """A process that seals; started by the first order, anew by the first one after it died.

    Threads may share it; their orders wait for each other. Close it, or use it as a context. It ends by itself when the
    process that made it does.
    """

    def __init__(self) -> None:
        self._child: _Child | None = None
        self._lock = threading.Lock()

    def seal(self, run: Path, die: str) -> str:
        """Do what `labctl.storage.hdf5_writer.seal` does; return the sha256 of the file. Raises StorageError."""
        return str(self._order("seal", run, die)["sha256"])

    def write_run_file(self, run: Path) -> Path:
        """Do what `labctl.storage.hdf5_writer.write_run_file` does. Raises StorageError."""
        return Path(self._order("index", run)["path"])

    def close(self) -> None:
        """End the process when it has finished what it does; harmless a second time."""
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
                said = self._child.ask([command, os.path.abspath(run), *more])
            except (OSError, ValueError):
                said = {"error": f"{run}: the process to {command} {' '.join(more)} ended with {self._end()}"}
            except BaseException:
                # interrupted: what was ordered is finished first, and nobody gets the answer to another order
                self._end()
                raise
        if "error" in said:
            raise StorageError(f"{said['error']}; the journals have everything")
        return said

    def _end(self) -> str:
        child, self._child = self._child, None
        return "" if child is None else child.end()


_sealer = Sealer()
atexit.register(_sealer.close)


def seal_in_subprocess(run: Path, die: str) -> str:
    """Do what `hdf5_writer.seal` does, in the one sealing process of this process. Raises StorageError."""
    return _sealer.seal(run, die)


def write_run_file_in_subprocess(run: Path) -> Path:
    """Do what `hdf5_writer.write_run_file` does, in the one sealing process of this process. Raises StorageError."""
    return _sealer.write_run_file(run)
