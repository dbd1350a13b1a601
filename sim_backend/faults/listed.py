"""Faults of a list, which happen to a die and to the instruments that work on it, each once."""

import threading
from collections import Counter
from collections.abc import Iterable

from labctl.core.planned_fault import ON_THE_WAY, PlannedFault
from sim_backend.faults import boards as boards  # registers its kinds
from sim_backend.faults.dies import Tell
from sim_backend.faults.kinds import Injection, Link


class ListedFaults:
    """The faults of the die that is worked on, injected into the messages of its instruments.

    Args:
        tell: called in the thread in which a fault has happened.
    """

    def __init__(self, tell: Tell = lambda fault, detail: None) -> None:
        self.tell = tell
        self._lock = threading.Lock()
        self._left: dict[int, tuple[PlannedFault, Injection]] = {}
        self._passed: Counter[int] = Counter()
        self._chances: Counter[int] = Counter()
        self._operation = ON_THE_WAY

    def expect(self, faults: Iterable[PlannedFault]) -> None:
        """Begin with another die; those left of the die before do not happen any more."""
        with self._lock:
            self._left = {f.number: (f, Injection(f.kind, f.seed)) for f in faults if f.instrument}
            self._passed.clear()
            self._chances.clear()
            self._operation = ON_THE_WAY

    def reach(self, operation: int) -> None:
        """Note that an operation of the die begins."""
        with self._lock:
            self._operation = operation

    def send(self, link: Link, data: bytes) -> None:
        """Let a message pass, or let the fault that is due happen to it."""
        due = self._due(link.name)
        if due is None:
            link.deliver(data)
            return
        fault, injection = due
        with link.instrument.lock, link.world.lock:
            if fault.number not in self._left:  # another connection was faster
                link.deliver(data)
                return
            try:
                injection.strike(link, data)
            finally:
                if injection.happened:
                    with self._lock:
                        self._left.pop(fault.number, None)
                    message = data.decode("latin-1").partition("\n")[0][:60].strip()
                    self.tell(fault, f"{injection.detail}{injection.detail and ', '}at '{message}'")

    def call(self, name: str, call: str) -> str | None:
        """Return the kind of the fault that happens to a call of a library, told as happened; None for none."""
        due = self._due(name)
        if due is None:
            return None
        fault, _ = due
        with self._lock:
            self._left.pop(fault.number)
        self.tell(fault, f"at a call of {call}")
        return fault.kind

    def refuses(self, name: str) -> bool:
        """Return False: no instrument of a plausible night is dead for good."""
        return False

    def _due(self, instrument: str) -> tuple[PlannedFault, Injection] | None:
        """Return the fault that is to happen now; of several, the one that has had the fewest chances."""
        with self._lock:
            due = [
                (fault, injection)
                for fault, injection in self._left.values()
                if fault.instrument == instrument and fault.operation <= self._operation
            ]
            self._passed.update(fault.number for fault, _ in due)
            ready = [one for one in due if self._passed[one[0].number] > one[0].after]
            if not ready:
                return None
            chosen = min(ready, key=lambda one: self._chances[one[0].number])
            self._chances[chosen[0].number] += 1
            return chosen
