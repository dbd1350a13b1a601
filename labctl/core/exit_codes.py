"""Exit codes of the command line, and which of several counts."""

from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """What the command line returns to a script; ``docs/exit-codes.md`` says what to do then."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> "ExitCode":
        """Return the code `value` with its `meaning`."""
        code = int.__new__(cls, value)
        code._value_, code.meaning = value, meaning
        return code

    GOOD = 0, "all good"
    OTHER_BIN = 1, "finished, but at least one die is in a bin other than `good`"
    REFUSED = (
        2,
        "refused before the start: files, limits, plan, output folder, a bench that is switched off or in use; "
        "no folder was made, nothing energised",
    )
    STOPPED = 3, "stopped by a limit while running, by an instrument, or by an interlock"
    OPERATOR = 4, "stopped by the operator, or the bench was switched off (`labctl off`)"
    STORAGE = 5, "storage: data could not be written or read; outputs were made safe first"
    NOT_OFF = 6, "outputs could not be verified off, or what drives them did not end"
    BUG = 70, "a bug of ours"


GRAVITY = (
    ExitCode.NOT_OFF,
    ExitCode.BUG,
    ExitCode.STORAGE,
    ExitCode.STOPPED,
    ExitCode.OPERATOR,
    ExitCode.OTHER_BIN,
    ExitCode.GOOD,
)
"""Exit codes of runs that began, the gravest first."""


def gravest(codes: Iterable[int]) -> ExitCode:
    """Return the gravest of `codes`; GOOD if there is none.

    >>> int(gravest({0, 1, 4})), int(gravest({3, 6})), int(gravest({}))
    (4, 6, 0)
    """
    present = set(codes)
    return next(code for code in GRAVITY if code in present or code is ExitCode.GOOD)
