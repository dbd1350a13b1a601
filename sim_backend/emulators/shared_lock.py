"""A lock whose holder can let in those who wait, so that one long script does not stop all instruments of a world."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from labctl.core.units import Second

TURN: Second = 0.5e-3
"""How long a holder stays out that lets others in."""


class SharedLock:
    """A re-entrant lock; its holder can let others in where the world is in order, if it has entered once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = threading.Lock()
        self._waiting = 0
        self._holder, self._depth = 0, 0

    def __enter__(self) -> None:
        if self._holder == threading.get_ident():
            self._depth += 1
            return
        if not self._lock.acquire(blocking=False):
            with self._count:
                self._waiting += 1
            try:
                self._lock.acquire()
            finally:
                with self._count:
                    self._waiting -= 1
        self._holder, self._depth = threading.get_ident(), 1

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if not self._depth:
            self._holder = 0
            self._lock.release()

    @contextmanager
    def released(self) -> Iterator[None]:
        """Let others in while the block lasts, if the thread holds the lock and has entered once."""
        once = self._holder == threading.get_ident() and self._depth == 1
        if once:
            self.__exit__(None, None, None)
        try:
            yield
        finally:
            if once:
                self.__enter__()

    @property
    def awaited(self) -> bool:
        """Whether others wait for it."""
        return self._waiting > 0

    def let_others_in(self) -> None:
        """Let others in who wait; returns at once if nobody does."""
        if self._waiting:
            with self.released():
                time.sleep(TURN)
