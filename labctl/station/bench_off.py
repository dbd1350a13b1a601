"""Switch a bench off, also while a run holds it: set the latch, make it safe at once, and again when the run has ended.

Nothing delays or prevents the first attempt to make it safe: a latch that cannot be written and locks that cannot be
read are reported afterwards. A bench counts as off when that was verified after the process that drove it had ended.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from instruments.board_bench import AnyBench
from instruments.drivers import Connect
from instruments.emergency import make_safe
from labctl.core.errors import BenchError, LabError
from labctl.core.exit_codes import ExitCode
from labctl.core.units import Second
from labctl.storage.bench_locks import holders, unusable
from labctl.storage.latch import Latch, set_latch
from labctl.storage.locks import Holder

PATIENCE: Second = 60.0
"""How long a run that holds the bench may take to end."""
PROGRESS: Second = 5.0
"""Time between two messages of progress."""
POLL: Second = 0.1


@dataclass(frozen=True)
class Off:
    """The result of switching a bench off.

    Args:
        safe: every output was verified off, after the process that drove the bench had ended.
        text: what was verified and what was not, per instrument.
        latch: the latch that was set; None if it could not be written, or the bench is a twin; `unlatched` says why.
        held: the holders of the bench.
        gone: no process talks to the instruments any more.
    """

    safe: bool
    text: str
    latch: Latch | None = None
    unlatched: str = ""
    held: tuple[Holder, ...] = ()
    gone: bool = True

    @property
    def exit_code(self) -> int:
        """6 if outputs may be on or may be switched on, 5 if they are off without a latch that keeps them off, else 0.

        A folder of locks that cannot be used is 5: no latch can be set in it, and no lock held.
        """
        if not (self.safe and self.gone):
            return ExitCode.NOT_OFF
        return ExitCode.STORAGE if self.unlatched else ExitCode.GOOD


def switch_off(
    bench: AnyBench,
    say: Callable[[str], None],
    reason: str = "",
    *,
    connect: Connect | None = None,
    patience: Second = PATIENCE,
    clock: Callable[[], float] = time.monotonic,
    wait: Callable[[Second], None] = time.sleep,
) -> Off:
    """Switch a real bench off, end the run that holds it, and verify that it is off after the run has ended.

    Args:
        say: called with messages for the operator.
        reason: why; shown to all who are refused the bench.
        connect: connects to an instrument; None is VISA.
        patience: how long the run may take to end, s on `clock`.
        wait: lets a time pass on `clock`, s.
    """
    latch, unlatched = None, ""
    try:
        latch = set_latch(bench, reason)
    except Exception as error:  # of any kind: what follows is more urgent
        unlatched = str(error) or type(error).__name__
    held, unknown = _held(bench)
    no_locks = unusable() if unlatched else ""  # without a folder for locks nobody holds one
    unknown = no_locks or unknown
    safe, text = _made_safe(bench, connect)
    if not held and not unknown:
        return Off(safe, text, latch, unlatched)
    say(text)
    for holder in held:
        say(f"held by {holder}; it is asked to end")
    gone = _wait_until_gone(bench, say, patience, clock, wait)
    safe, text = _made_safe(bench, connect)
    if unknown:
        text, gone = f"{text}; who holds the bench cannot be told: {unknown}", gone and bool(no_locks)
    elif not gone:
        text = f"{text}; NOT GONE after {patience:.0f} s, and may switch outputs on: {_named(bench)}"
    return Off(safe, text, latch, unlatched, held, gone)


def _held(bench: AnyBench) -> tuple[tuple[Holder, ...], str]:
    """Return the runs that hold a bench, or else the workers, and why the holders are not known, "" if they are."""
    try:
        return tuple(holders(bench) or holders(bench, part="worker")), ""
    except Exception as error:
        return (), str(error) or type(error).__name__


def _made_safe(bench: AnyBench, connect: Connect | None) -> tuple[bool, str]:
    """Make a bench safe; return whether that was verified, and the state of each instrument."""
    try:
        return True, make_safe(bench, connect=connect).text
    except Exception as error:  # of any kind: what follows must follow
        return False, str(error) if isinstance(error, LabError) else f"the bench is NOT verified safe: {error!r}"


def _wait_until_gone(
    bench: AnyBench,
    say: Callable[[str], None],
    patience: Second,
    clock: Callable[[], float],
    wait: Callable[[Second], None],
) -> bool:
    """Return whether no process talks to the instruments any more; False after `patience` s."""
    start = reported = clock()
    while _drivers(bench):
        now = clock()
        if now - start >= patience:
            return False
        if now - reported >= PROGRESS:
            reported = now
            say(f"waiting for it to end: {now - start:.0f} s of at most {patience:.0f} s")
        wait(POLL)
    return True


def _drivers(bench: AnyBench) -> list[Holder]:
    """Return the holders that talk to the instruments; none if the locks cannot be read."""
    try:
        return holders(bench, part="worker")
    except BenchError:
        return []


def _named(bench: AnyBench) -> str:
    return "; ".join(map(str, _drivers(bench)))
