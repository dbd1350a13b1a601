"""The guard of a bench, a process of its own: it makes the bench safe when every process of a run is gone.

Its standard input is a pipe whose other ends are held by the processes of the run, and by no others. While one of them
lives the pipe is silent, and nothing is opened; an orderly end is written into it; when the last one is gone, however
it ended, the pipe ends. Then the guard takes the locks of the bench, so that whoever starts meanwhile is refused by
name, makes it safe, and writes into the run's journal what it met. Whoever holds the bench already is left alone.

A worker whose run is gone ends at its next safe point and leaves the bench safe. One that does not, because a driver
hangs, has nobody any more who ends it when its time is over: the guard does, after a time longer than any operation.

Everything is loaded before, because nothing may be slow or missing when it is needed: the bench file is the copy in the
run folder, and a name that is not resolved costs a second at most.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from instruments.bench_file import read_bench
from instruments.board_bench import AnyBench
from instruments.drivers import Connect
from instruments.emergency import isolate, make_safe
from labctl.core.errors import BenchError, LabError, StorageError
from labctl.core.events import GuardActed, GuardFate
from labctl.core.units import Second
from labctl.station.guard_text import title
from labctl.storage.bench_locks import bench_lock, holders, reached, unusable
from labctl.storage.held import Holding
from labctl.storage.locks import Holder, hold
from labctl.storage.manifest import run_meta
from labctl.storage.run_log import Runlog
from labctl.terminal.signals import ignore_all

END = b"end"
"""Written into the pipe when a run has left its bench in order."""
PATIENCE: Second = 60.0
"""How long somebody else may hold the bench before it is left to them; one who met an output on lets go at once."""
ORPHANED: Second = 600.0
"""How long a worker may outlive its run: it finishes its operation, an approach at most, and leaves the bench."""
LOOK: Second = 20.0
"""Time between two looks for such a worker."""
POLL: Second = 0.1
"""Time between two tries to take the locks."""
AGAIN: Second = 1.0
"""Time between two tries to write the record."""
TRIES = 30
"""Tries to write the record; a reader may hold the journal, or the disk may be full."""


class Orphan:
    """Ends the worker of a bench that outlives its run for too long.

    Args:
        clock: in s.
        kill: ends a process.
    """

    def __init__(
        self,
        bench: AnyBench,
        *,
        clock: Callable[[], Second] = time.monotonic,
        kill: Callable[[int], None] = lambda pid: os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM)),
    ) -> None:
        self._bench, self._clock, self._kill = bench, clock, kill
        self._pid, self._since = 0, 0.0
        self.ended = ""
        """Which worker was ended, as text; "" if none was."""

    def look(self) -> None:
        """Look at the locks; end a worker that was there without a run for `ORPHANED` s."""
        pid = self._orphan()
        if not pid or pid != self._pid:
            self._pid, self._since = pid, self._clock()
        elif self._clock() - self._since >= ORPHANED:
            self.ended = (
                f"process {pid} worked on the bench {ORPHANED / 60:.0f} min after its run was gone, and was ended"
            )
            with suppress(OSError):
                self._kill(pid)

    def _orphan(self) -> int:
        """Return the process that works on the bench of a run that is gone, 0 if there is none or it is not known."""
        try:
            if holders(self._bench):
                return 0
            workers = holders(self._bench, part="worker")
        except BenchError:
            return 0
        return workers[0].pid if len(workers) == 1 and workers[0].host == socket.gethostname() else 0

    def watch(self) -> None:
        """Look again and again, in a thread that ends with the process."""

        def looking() -> None:
            while True:
                time.sleep(LOOK)
                self.look()

        threading.Thread(target=looking, daemon=True, name="orphan").start()


def guard(
    folder: Path,
    bench: AnyBench,
    *,
    before: str = "",
    connect: Connect | None = None,
    clock: Callable[[], Second] = time.monotonic,
    wait: Callable[[Second], None] = time.sleep,
) -> GuardActed:
    """Make the bench of a run safe whose processes are all gone, and record it; return the record.

    Args:
        folder: of the run.
        before: what the guard has done before, as text.
        connect: connects to an instrument; None is VISA.
        wait: lets a time pass on `clock`, s.
    """
    begun = clock()
    with ExitStack() as locks:
        other = _lock(locks, bench, title(folder), clock, wait)
        if other is None:
            what, text, met = _made_safe(bench, connect)
        else:
            what, text, met = GuardFate.LEFT, f"it is in use by {other}", {}
        text = f"{before}; {text}" if before else text
        acted = GuardActed(what=what, text=text, met=met, seconds=clock() - begun, pid=os.getpid())
        record(folder, acted, wait)  # before anybody may take the bench, and with it the run
    return acted


def _lock(
    locks: ExitStack, bench: AnyBench, what: str, clock: Callable[[], Second], wait: Callable[[Second], None]
) -> Holder | None:
    """Hold the bench as a run and as its worker until `locks` is closed; return who has it all the time instead.

    Where locks cannot be used nobody can begin a run, and the bench is made safe without them.
    """
    end = clock() + PATIENCE
    while True:
        held = ExitStack()
        try:
            held.enter_context(bench_lock(bench, what, patience=0.0))
            held.enter_context(bench_lock(bench, what, part="worker", patience=0.0))
        except BenchError:
            held.close()
        else:
            locks.push(held)
            return None
        others: list[Holder] = []
        with suppress(BenchError):
            others = holders(bench) or holders(bench, part="worker")
        if clock() >= end or unusable():
            return others[0] if others else None
        wait(POLL)


def _made_safe(bench: AnyBench, connect: Connect | None) -> tuple[GuardFate, str, dict[str, str]]:
    """Make a bench safe at which nobody is; return whether that was verified, how, and what was on before."""
    try:
        safed = make_safe(bench, connect=connect)
    except Exception as error:  # of any kind: what follows must follow
        text = str(error) if isinstance(error, LabError) else f"the bench is NOT verified safe: {error!r}"
        isolated = isolate(bench, connect=connect)
        return GuardFate.UNSAFE, f"{text}; {isolated}" if isolated else text, {}
    return GuardFate.SAFE, safed.text, dict(safed.met)


def record(folder: Path, acted: GuardActed, wait: Callable[[Second], None] = time.sleep) -> bool:
    """Write what a guard did into the journal of its run; return whether it is on the disk.

    What was done by hand gets a journal of the run by that. A session that has taken the run up writes the journal
    itself, with what it met.
    """
    for tried in range(TRIES):
        if tried:
            wait(AGAIN)
        with suppress(StorageError):
            try:
                with hold(folder, title(folder)):
                    _write(folder, acted)
            except BenchError:  # the run has been taken up, or its folder is gone
                return False
            return True
    return False


def _write(folder: Path, acted: GuardActed) -> None:
    there = (folder / "journal.db").is_file()
    # the bench is held meanwhile: another program that holds the journal is not waited for as long as by a run
    briefly = Holding(look=lambda: True)
    log = Runlog.open(folder, holding=briefly) if there else Runlog.create(folder, run_meta(folder))
    try:
        if acted not in (row.event for row in log.state.events):  # an earlier try may have come so far
            log.write(acted)
    finally:
        log.finish()


def preload(bench: AnyBench) -> None:
    """Load what making a bench safe needs, and look up its hosts; nothing is opened."""
    for entry in bench.instruments.values():
        if entry.address is not None:
            import instruments.transports  # noqa: F401 - what is between, a controller or a serial line
            from instruments.visa import preload_backend

            with suppress(BenchError):  # said by the driver of the run
                preload_backend(entry.address.backend)
    reached(bench)


def is_told_to_end(fd: int) -> bool:
    """Wait for the end of the pipe `fd`; return whether the run has left its bench in order."""
    return os.read(fd, len(END)) == END


def watch_over(folder: Path, file: Path) -> GuardActed | None:
    """Wait for the end of the pipe at the standard input; return what was done, None after an orderly end.

    Args:
        folder: of the run.
        file: the bench file.
    """
    ignore_all()
    bench = read_bench(file, to_make_safe=True).value
    preload(bench)
    orphan = Orphan(bench)
    orphan.watch()
    if is_told_to_end(sys.stdin.fileno()):
        return None
    return guard(folder, bench, before=orphan.ended)


if __name__ == "__main__":
    watch_over(Path(sys.argv[1]), Path(sys.argv[2]))
