"""Status registers: a condition, transition filters, a latched event and its enable mask (IEEE 488.2, 11)."""

from collections.abc import Callable, Mapping


class Register:
    """One register set.

    Args:
        condition: present bits.
        children: registers below it, by name.
        constants: names of bits.
    """

    def __init__(
        self,
        condition: Callable[[], int],
        children: Mapping[str, "Register"] | None = None,
        constants: Mapping[str, int] | None = None,
    ) -> None:
        self._condition = condition
        self.children, self.constants = dict(children or {}), dict(constants or {})
        self.reset()
        self._last = 0
        self._event = 0

    def reset(self) -> None:
        """Set masks to their defaults, here and below."""
        self.enable, self.ptr, self.ntr = 0, 0x7FFF, 0
        self._event = 0
        for child in self.children.values():
            child.reset()

    def condition(self) -> int:
        """Return the present bits, and latch the changes."""
        now = self._condition()
        self._event |= (now & ~self._last & self.ptr) | (~now & self._last & self.ntr)
        self._last = now
        return now

    def latch(self, bits: int) -> None:
        """Set event bits that have no lasting condition."""
        self._event |= bits

    @property
    def summary(self) -> bool:
        """Whether an enabled event is latched."""
        self.condition()
        return bool(self._event & self.enable)

    def event(self) -> int:
        """Return the latched events and clear them."""
        self.condition()
        event, self._event = self._event, 0
        return event

    def clear(self) -> None:
        """Clear the latched events, here and below."""
        self._event = 0
        for child in self.children.values():
            child.clear()
