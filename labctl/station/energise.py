"""Outputs on for the checks of the first day: what holds the bench meanwhile, and what ends it safe."""

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from instruments.bench import Bench
from instruments.board_bench import AnyBench
from instruments.drivers import Connect
from instruments.energised_checks import energised
from instruments.first_day import Finding
from instruments.manual_prober import Ask
from instruments.open_bench import OpenBench, open_bench
from instruments.open_end import require_open_ends
from labctl.core.bias import Nominal
from labctl.core.errors import BenchError, InstrumentError, LabError, LeftUnverified
from labctl.core.exit_codes import ExitCode
from labctl.core.units import Second
from labctl.station.bench_guard import BenchGuard
from labctl.storage.bench_locks import bench_lock
from labctl.storage.latch import permit, refuse_latched
from labctl.terminal.signals import asked_to_stop

UNREAD = (1e-4, 5e-5)
"""Conductances of cells, S, that choose the ranges of a die: there is none, and no cell is read."""


def require_sources(bench: AnyBench) -> Bench:
    """Return a bench with sources; BenchError for one with a board, whose outputs end on its own chip."""
    if not isinstance(bench, Bench):
        raise BenchError(
            f"--energise: bench '{bench.name}' has a board, whose outputs have no open end; expected sources"
        )
    return bench


class Stopped(LabError):
    """The operator has ended the checks; every output is off, verified."""

    exit_code = ExitCode.OPERATOR


@contextmanager
def held(bench: Bench, file: Path, what: str, say: Callable[[str], None]) -> Iterator[None]:
    """Hold a real bench for outputs that go on: its latch released, its locks, and a guard, while the block lasts.

    The guard makes the bench safe if this process is killed; nothing but its own end tells of that, since a check has
    no run folder.

    Args:
        file: the bench file.
        what: the command, shown to all who are refused the bench meanwhile.
        say: called with a text for the operator when the guard has died.

    Raises:
        BenchError: the latch is set, or another process holds an instrument.
    """
    refuse_latched(bench, file)
    with ExitStack() as stack:
        stack.enter_context(bench_lock(bench, what))
        stack.enter_context(bench_lock(bench, what, part="worker", patience=5.0))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="labctl-check-")))
        copy = folder / "bench.yaml"
        copy.write_bytes(file.read_bytes())
        stack.enter_context(BenchGuard(folder / "no-run", copy, say))
        yield


def energise(
    bench: Bench,
    *,
    connect: Connect | None,
    clock: Callable[[], Second],
    wait: Callable[[Second], None],
    ask: Ask,
    real: bool,
) -> list[Finding]:
    """Carry out the checks that need an output; return their findings. The bench ends at 0 V and off, verified.

    The first ^C, or a TERM as of `labctl off`, ends it before the next call of a source; later ones change nothing.

    Args:
        connect: makes the transports; None is VISA.
        clock: of the instruments, s.
        wait: lets a time pass on it, s.
        ask: answers whether the needles that a person moves are in contact.
        real: whether the latch of the bench is read before each call.

    Raises:
        BenchError: an output is on, a relay is closed, or the needles are in contact; nothing was changed.
        InstrumentError: an instrument does not answer.
        LeftUnverified: the bench is not verified off; go there.
        Stopped: the operator has ended it; the bench is off.
    """
    stopping = threading.Event()

    def stop() -> None:
        if stopping.is_set():
            raise Stopped("stopped by the operator; every output is off at 0 V")

    nominal = Nominal.alike(*UNREAD, len(bench.wiring.kernels))
    allowed = permit(bench) if real else lambda: None
    with asked_to_stop(stopping.set):
        opened = open_bench(bench, nominal, connect=connect, ask=ask, wait=wait, permit=allowed)
        try:
            require_open_ends(opened)
        except BaseException:
            with suppress(InstrumentError):
                opened.close()  # left as it was met, and not made safe: nothing is changed
            raise
        with _left_safe(opened):
            return energised(opened, clock=clock, stop=stop)


@contextmanager
def _left_safe(opened: OpenBench) -> Iterator[None]:
    """Leave a bench safe after the block; LeftUnverified if that cannot be verified."""
    try:
        yield
    finally:
        try:
            opened.__exit__(None, None, None)
        except LabError as unsafe:
            raise LeftUnverified(f"the bench is left as it is, and was not verified safe: {unsafe}") from unsafe
