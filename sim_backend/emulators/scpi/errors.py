"""Errors of SCPI instruments by their standard numbers, and the queue that keeps them.

Numbers and texts: SCPI-1999, volume 2, chapter 21.8 (:SYSTem:ERRor?). What class of event sets which bit of the
standard event register: IEEE 488.2, 11.5.1.1.
"""

from collections import deque

TEXTS = {
    -100: "Command error",
    -101: "Invalid character",
    -102: "Syntax error",
    -103: "Invalid separator",
    -104: "Data type error",
    -105: "GET not allowed",
    -108: "Parameter not allowed",
    -109: "Missing parameter",
    -111: "Header separator error",
    -112: "Program mnemonic too long",
    -113: "Undefined header",
    -114: "Header suffix out of range",
    -120: "Numeric data error",
    -121: "Invalid character in number",
    -123: "Exponent too large",
    -124: "Too many digits",
    -128: "Numeric data not allowed",
    -131: "Invalid suffix",
    -134: "Suffix too long",
    -138: "Suffix not allowed",
    -141: "Invalid character data",
    -144: "Character data too long",
    -148: "Character data not allowed",
    -151: "Invalid string data",
    -158: "String data not allowed",
    -161: "Invalid block data",
    -168: "Block data not allowed",
    -171: "Invalid expression",
    -178: "Expression data not allowed",
    -200: "Execution error",
    -211: "Trigger ignored",
    -213: "Init ignored",
    -220: "Parameter error",
    -221: "Settings conflict",
    -222: "Parameter data out of range",
    -223: "Too much data",
    -224: "Illegal parameter value",
    -230: "Data corrupt or stale",
    -300: "Device-specific error",
    -350: "Queue overflow",
    -400: "Query error",
    -410: "Query INTERRUPTED",
    -420: "Query UNTERMINATED",
    -430: "Query DEADLOCKED",
    -440: "Query UNTERMINATED after indefinite response",
}
"""Text of each standard number."""

QYE, DDE, EXE, CME = 4, 8, 16, 32
"""Bits of the standard event register: query, device-specific, execution and command error."""


class ScpiError(Exception):
    """A message or a part of one is refused.

    Args:
        code: negative as in the standard, or a positive one of the instrument's maker.
        text: of the maker's own; of the standard numbers it is known.
    """

    def __init__(self, code: int, text: str = "") -> None:
        self.code, self.text = code, text or TEXTS[code]
        super().__init__(f"{code} {self.text}")

    @property
    def ends_message(self) -> bool:
        """Whether what follows in the message is not understood any more: a command error."""
        return -200 < self.code <= -100

    @property
    def event(self) -> int:
        """Bit of the standard event register that it sets.

        >>> ScpiError(-113).event, ScpiError(-222).event, ScpiError(803, "Not permitted with OUTPUT off").event
        (32, 16, 16)
        """
        if -200 < self.code <= -100:
            return CME
        if -400 < self.code <= -300:
            return DDE
        if -500 < self.code <= -400:
            return QYE
        return EXE


class ErrorQueue:
    """First in, first out; where there is no place left, the last entry becomes -350.

    Args:
        size: entries that it holds.

    >>> queue = ErrorQueue(2)
    >>> for code in (-113, -222, -101): queue.add(ScpiError(code))
    >>> queue.next(), queue.next(), queue.next()
    ('-113,"Undefined header"', '-350,"Queue overflow"', '0,"No error"')
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._entries: deque[ScpiError] = deque()

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, error: ScpiError) -> None:
        """Append an error."""
        if len(self._entries) < self.size:
            self._entries.append(error)
        else:
            self._entries[-1] = ScpiError(-350)

    def next(self) -> str:
        """Take the oldest entry and return it as `:SYSTem:ERRor?` answers."""
        if not self._entries:
            return '0,"No error"'
        error = self._entries.popleft()
        return f'{error.code},"{error.text}"'

    def clear(self) -> None:
        """Forget all entries."""
        self._entries.clear()
