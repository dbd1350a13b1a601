"""Seal dies and index runs in a separate process, which owns nothing but the file it writes.

A full disk can crash the HDF5 library, and a crash must not end the process that holds a bench. One such process
serves many dies, because starting Python takes as long as sealing one. Orders come by its standard input; when that
closes, because its owner closed it or was killed, it finishes its order and ends. Killed itself, it leaves a ``.part``
at most, which the next sealing sets aside. It holds the arrays of a die, so a computer out of memory ends it first: the
order is carried out once more by a new process, unless the disk is what it may have died of.
"""

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

from labctl.core.errors import StorageError

_TAIL = 400
"""Last bytes of the standard error of a process that go into a message."""
_SPARE = 16 << 20
"""Free bytes, beside those of a die's journal, without which a full disk may be what ended a process."""


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
        """Let the process end, and return how it ended, for the operator."""
        with suppress(OSError):  # it is gone already
            self.orders.close()
        code = self.process.wait()
        self.answers.close()
        with self.errors as file:
            file.seek(0)
            text = file.read().decode("utf-8", "replace")
        return how_it_ended(code, text)


def how_it_ended(code: int, errors: str) -> str:
    """Return how a process ended, for the operator, by its exit code and what it wrote to its standard error.

    >>> how_it_ended(-9, ""), how_it_ended(1, "Error: no such thing")
    ('was killed by SIGKILL', 'ended with exit code 1 (Error: no such thing)')
    """
    last = "the disk is full: free some space" if "No space left" in errors else errors.strip()[-_TAIL:]
    try:
        how = f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        how = f"ended with exit code {code}"
    return f"{how} ({last})" if last else how


class Sealer:
    """A process that seals; started by the first order, anew by the first one after it died.

    Threads may share it; their orders are carried out one after the other. Close it, or use it as a context. It ends by
    itself when the process that made it does.
    """

    def __init__(self) -> None:
        self._child: _Child | None = None
        self._lock = threading.Lock()
        self._killed: _Child | None = None
        """The process that was killed on purpose, whose order is not carried out once more."""
        self._turn = threading.Lock()
        self._order_now: tuple[str, ...] = ()
        """What the process has been ordered, () between two orders."""

    def kill(self, run: Path, die: str) -> None:
        """Kill the process if it seals this die, from any thread: that is an error to who ordered it.

        A process that has gone on to the next order is left to it.
        """
        with self._turn:
            child = self._child
            if child is not None and self._order_now == ("seal", str(run), die):
                self._killed = child
                child.process.kill()

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
            try:
                order = [command, os.path.abspath(run), *more]
            except OSError as error:
                raise StorageError(f"{run}: the folder that this path begins in is gone: {error}") from error
            self._begin_turn(command, str(run), *more)
            try:
                answer = self._request(order)
                hung = answer is None and self._killed is not None and self._killed is self._child
                if answer is None and (first := self._end()) and not hung and _has_space(run, more):
                    answer = self._request(order)
                    if answer is None and (second := self._end()):
                        first += f", a new one {second}"
            finally:
                self._begin_turn()
        if answer is None:
            what = f"seals {more[0]}" if more else "writes the run's file"
            answer = {"error": f"{run}: the process that {what} {first}"}
        if "error" in answer:
            raise StorageError(f"{answer['error']}; the journals have everything")
        return answer

    def _begin_turn(self, *order: str) -> None:
        """Say what the process is ordered from now on; nothing between two orders."""
        with self._turn:
            self._order_now = order

    def _request(self, order: list[str]) -> dict[str, Any] | None:
        """Return the answer to an order, None if the process is gone; it is started unless it is there."""
        try:
            if self._child is None:
                self._child = _Child.start()
            return self._child.request(order)
        except (OSError, ValueError):
            return None
        except BaseException:
            # interrupted: the order is finished first, and no caller gets the answer to another order
            self._end()
            raise

    def _end(self) -> str:
        child, self._child = self._child, None
        return "could not be started" if child is None else child.end()


def _has_space(run: Path, dies: Sequence[str]) -> bool:
    """Return whether the disk takes the sealed files of `dies`: then no full disk has ended their process."""
    with suppress(OSError):
        journals = sum(f.stat().st_size for die in dies for f in (run / "dies" / die).rglob("*"))
        return shutil.disk_usage(run).free > 2 * journals + _SPARE
    return False


_sealer = Sealer()
atexit.register(_sealer.close)


def seal_in_subprocess(run: Path, die: str) -> str:
    """Call `hdf5_writer.seal` in the one sealing process of this process. Raises StorageError."""
    return _sealer.seal(run, die)


def kill_sealing(run: Path, die: str) -> None:
    """Kill the one sealing process of this process if it seals this die, which does not come to an end."""
    _sealer.kill(run, die)


def write_run_file_in_subprocess(run: Path) -> Path:
    """Call `hdf5_writer.write_run_file` in the one sealing process of this process. Raises StorageError."""
    return _sealer.write_run_file(run)
