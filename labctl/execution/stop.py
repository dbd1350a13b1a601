"""Whether a run is asked to end, and whether it may be interrupted at once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from labctl.core.errors import (
    ContactError,
    InstrumentError,
    SwitchedOff,
)
from labctl.core.outcome import Outcome, Stopped, ending


class Stop:
    """Whether a run is asked to end, and whether it may be interrupted at once.

    Args:
        reason: asked at every safe point; the run ends there when it returns one.
        off: returns why nothing may be energised any more, None while it may; asked at safe points and after errors.
    """

    def __init__(
        self, reason: Callable[[], str | None] = lambda: None, off: Callable[[], str | None] = lambda: None
    ) -> None:
        self._reason, self.off = reason, off
        self.interruptible = False
        """True while a procedure runs; then, and only then, an interrupt is caught and the clean-up follows."""

    def reason(self) -> str | None:
        """Return why the run has to end at this safe point, None to go on."""
        return self.off() or self._reason()

    def ending(self, error: BaseException) -> Outcome:
        """Return how an exception ends the work on a die.

        What a die meets on a bench that somebody is switching off under it is no fault of the die: relays that open,
        a link that is taken over, needles that go up.
        """
        if isinstance(error, KeyboardInterrupt | Stopped | InstrumentError | ContactError):
            off = self.off()
            if off is not None:
                return ending(SwitchedOff(off))
        return ending(error)

    @contextmanager
    def may_interrupt(self) -> Iterator[None]:
        """Say that an interrupt is caught while the block lasts."""
        self.interruptible = True
        try:
            yield
        finally:
            self.interruptible = False
