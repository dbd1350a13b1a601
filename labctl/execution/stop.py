"""Requests to end a run, and when it may be interrupted at once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from labctl.core.errors import (
    ContactError,
    InstrumentError,
    SwitchedOff,
)
from labctl.core.outcome import Outcome, Stopped, ending


class Stop:
    """Requests to end a run, and whether it may be interrupted at once.

    Args:
        reason: called at every safe point; the run ends there when it returns a reason.
        off: returns why nothing may be energised any more, None while it may; called at safe points and after errors.
    """

    def __init__(
        self, reason: Callable[[], str | None] = lambda: None, off: Callable[[], str | None] = lambda: None
    ) -> None:
        self._reason, self.off = reason, off
        self.interruptible = False
        """True while a procedure runs; then, and only then, an interrupt is caught and the clean-up follows."""

    def reason(self) -> str | None:
        """Return the reason to end the run at this safe point, None to go on."""
        return self.off() or self._reason()

    def ending(self, error: BaseException) -> Outcome:
        """Return how an exception ends the work on a die.

        Errors on a bench that is being switched off are no fault of the die: relays open, a link is taken over, needles
        go up.
        """
        if isinstance(error, KeyboardInterrupt | Stopped | InstrumentError | ContactError):
            off = self.off()
            if off is not None:
                return ending(SwitchedOff(off))
        return ending(error)

    @contextmanager
    def may_interrupt(self) -> Iterator[None]:
        """Allow interrupts while the block lasts."""
        self.interruptible = True
        try:
            yield
        finally:
            self.interruptible = False
