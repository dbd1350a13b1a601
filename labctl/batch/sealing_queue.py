"""Results of dies in the order in which their work ended, while some of the dies are still being sealed.

Sealing is done by a process of its own (`labctl.storage.sealing`); a thread waits for it and touches nothing else, so
that the run goes on meanwhile. The result of a die comes out when it and all before it are there: rules that count dies
in a row see them in their order.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from labctl.batch.executors import Lost
from labctl.core.errors import StorageError
from labctl.core.units import Second
from labctl.execution.die_job import SEALING, DieResult, Job, not_sealed, seal_die
from labctl.storage.sealing import kill_sealing


@dataclass(eq=False)
class _Entry:
    """A result, and whether it is whole; one that is not becomes so in another thread.

    Args:
        job: of a die that is to be sealed.
        deadline: until when it is to be whole, None while one before it is not: they are sealed one after the other.
    """

    result: DieResult | Lost
    job: Job | None = None
    deadline: Second | None = None
    whole: threading.Event = field(default_factory=threading.Event)


class SealingQueue:
    """Results of dies, in order.

    Args:
        monotonic: the clock of deadlines, in s.
    """

    def __init__(self, monotonic: Callable[[], Second]) -> None:
        self._monotonic = monotonic
        self._entries: deque[_Entry] = deque()

    def add(self, result: DieResult | Lost) -> None:
        """Take a result that is whole."""
        entry = _Entry(result)
        entry.whole.set()
        self._entries.append(entry)

    def seal(self, job: Job, result: DieResult) -> None:
        """Seal a die that was measured, and take its result then."""
        entry = _Entry(result, job)
        self._entries.append(entry)
        self._give_up()
        threading.Thread(target=_seal, args=(entry, job, result), daemon=True).start()

    def take(self) -> list[DieResult | Lost]:
        """Return the results that are whole, up to the first one that is not."""
        self._give_up()
        ended = []
        while self._entries and self._entries[0].whole.is_set():
            ended.append(self._entries.popleft().result)
        return ended

    def wait(self, seconds: float) -> bool:
        """Wait for the next result for at most `seconds`; return whether there is one to wait for."""
        if not self._entries:
            return False
        self._entries[0].whole.wait(seconds)
        return True

    def _give_up(self) -> None:
        """End sealing that does not come to an end: the journal of the die has everything.

        The time of a die begins when those before it are whole, since they hold the process that seals.
        """
        entry = next((entry for entry in self._entries if not entry.whole.is_set()), None)
        if entry is None or entry.job is None or isinstance(entry.result, Lost):
            return
        if entry.deadline is None:
            entry.deadline = self._monotonic() + SEALING
        if self._monotonic() < entry.deadline:
            return
        die = entry.result.die
        error = StorageError(f"die {die} was not sealed within {SEALING:.0f} s; its journal has everything")
        entry.result = _failed(entry.result, error)
        entry.whole.set()
        kill_sealing(entry.job.folder, entry.job.name)
        self._give_up()  # the time of the next one begins


def _failed(result: DieResult, error: Exception) -> DieResult:
    return replace(result, outcome=not_sealed(result.outcome, error), unsealed=False)


def _seal(entry: _Entry, job: Job, result: DieResult) -> None:
    """Seal a die, in a thread."""
    try:
        sealed = seal_die(job, result, lambda *message: None)
    except Exception as error:
        sealed = _failed(result, error)
    if not entry.whole.is_set():
        entry.result = sealed
        entry.whole.set()
