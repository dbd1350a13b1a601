"""Exit codes of the command line, and which of several is said."""

from collections.abc import Iterable

GRAVITY = (6, 70, 5, 3, 4, 1, 0)
"""Exit codes, the gravest first."""


def gravest(codes: Iterable[int]) -> int:
    """Return the exit code that says the gravest of what happened; 0 of nothing.

    >>> gravest({0, 1, 4}), gravest({3, 6})
    (4, 6)
    """
    found = set(codes)
    return next(c for c in GRAVITY if c in found or c == 0)
