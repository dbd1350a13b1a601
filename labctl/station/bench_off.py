"""Switch a bench off, whoever holds it: latch first, then safe at once, then safe and verified once nobody drives it.

Being safe waits for nobody and fails for nobody's sake: a latch that cannot be written and a holder that cannot be
told are said afterwards. A bench counts as off when it was verified after the process that talked to it was gone.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from instruments.bench import Bench
from instruments.drivers import Connect
from instruments.emergency import make_safe
from labctl.core.errors import BenchError, LabError, StorageError
from labctl.core.units import Second
from labctl.storage.latch import Latch, set_latch
from labctl.storage.locks import Holder, holders, unusable

PATIENCE: Second = 60.0
"""How long a run that holds the bench may take to end."""
PROGRESS: Second = 5.0
"""Time between two words of progress."""
POLL: Second = 0.1


@dataclass(frozen=True)
class Off:
    """What became of switching a bench off.

    Args:
        safe: every output was verified off, after whoever drove the bench was gone.
        text: what was verified and what was not, per instrument.
        latch: that was set, None if it could not be written, or the bench is a twin; `unlatched` says why.
        held: who held the bench.
        gone: nobody talks to the instruments any more.
    """

    safe: bool
    text: str
    latch: Latch | None = None
    unlatched: str = ""
    held: tuple[Holder, ...] = ()
    gone: bool = True

    @property
    def exit_code(self) -> int:
        """6 if outputs may be on or somebody may switch them on, 5 if they are off and no latch keeps them so, else 0.

        A folder of locks that cannot be used is 5: no latch can be set in it, and no lock held.
        """
        if not (self.safe and self.gone):
            return 6
        return StorageError.exit_code if self.unlatched else 0


def switch_off(
    bench: Bench,
    say: Callable[[str], None],
    reason: str = "",
    *,
    connect: Connect | None = None,
    patience: Second = PATIENCE,
    clock: Callable[[], float] = time.monotonic,
    wait: Callable[[Second], None] = time.sleep,
) -> Off:
    """Switch a real bench off, end the run that holds it, and verify that it is off when that is gone.

    Args:
        say: told in operator words what is going on.
        reason: why, for whoever is refused the bench.
        connect: makes the wires; None is VISA.
        patience: how long the run may take to end, s on `clock`.
        wait: lets a time pass on `clock`, s.
    """
    latch, unlatched = None, ""
    try:
        latch = set_latch(bench, reason)
    except Exception as error:  # whatever it is: nothing is more urgent than what follows
        unlatched = str(error) or type(error).__name__
    held, unknown = _held(bench)
    nowhere = unusable() if unlatched else ""  # without a folder there is no lock, and nobody who holds one
    unknown = nowhere or unknown
    safe, text = _made_safe(bench, connect)
    if not held and not unknown:
        return Off(safe, text, latch, unlatched)
    say(text)
    for holder in held:
        say(f"held by {holder}; it is asked to end")
    gone = _wait_until_gone(bench, say, patience, clock, wait)
    safe, text = _made_safe(bench, connect)
    if unknown:
        text, gone = f"{text}; who holds the bench cannot be told: {unknown}", gone and bool(nowhere)
    elif not gone:
        text = f"{text}; NOT GONE after {patience:.0f} s, and may switch outputs on: {_named(bench)}"
    return Off(safe, text, latch, unlatched, held, gone)


def _held(bench: Bench) -> tuple[tuple[Holder, ...], str]:
    """Return who holds a bench, by the runs and not by their workers where both hold it, and why that is not known."""
    try:
        return tuple(holders(bench) or holders(bench, part="worker")), ""
    except Exception as error:
        return (), str(error) or type(error).__name__


def _made_safe(bench: Bench, connect: Connect | None) -> tuple[bool, str]:
    """Make a bench safe; return whether that is verified, and what is, per instrument."""
    try:
        return True, make_safe(bench, connect=connect).text
    except Exception as error:  # whatever it is: what follows has to follow
        return False, str(error) if isinstance(error, LabError) else f"the bench is NOT verified safe: {error!r}"


def _wait_until_gone(
    bench: Bench,
    say: Callable[[str], None],
    patience: Second,
    clock: Callable[[], float],
    wait: Callable[[Second], None],
) -> bool:
    """Return whether nobody talks to the instruments any more; False after `patience` s."""
    start = spoken = clock()
    while _drivers(bench):
        now = clock()
        if now - start >= patience:
            return False
        if now - spoken >= PROGRESS:
            spoken = now
            say(f"waiting for it to end: {now - start:.0f} s of at most {patience:.0f} s")
        wait(POLL)
    return True


def _drivers(bench: Bench) -> list[Holder]:
    """Return who talks to the instruments; nobody, if that cannot be read."""
    try:
        return holders(bench, part="worker")
    except BenchError:
        return []


def _named(bench: Bench) -> str:
    return "; ".join(map(str, _drivers(bench)))
