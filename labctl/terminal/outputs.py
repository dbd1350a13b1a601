"""Standard output and error that never end a command: what cannot be written is dropped.

A reader that has enough (``labctl show RUN | head -1``) and an output that is closed are no errors. A disk that is full
is one, and is told at the end, when what the command was there for has been done.
"""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


class SturdyOutput:
    """A text file whose writing never fails.

    Attributes:
        error: why its output is dropped; None while it is written, and if nobody reads it any more.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        """Write `text`, or drop it."""
        with self._dropping():
            try:
                self._file.write(text)
            except UnicodeEncodeError:  # a letter that this output does not have, or half a character
                encoding = self._file.encoding or "ascii"
                self._file.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        """Write what is buffered, or drop it."""
        with self._dropping():
            self._file.flush()

    @contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno != errno.EPIPE:
                self.error = self.error or error
            # what is left in the buffer, and all that follows, goes nowhere
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._file.fileno())
                os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def sturdy_outputs() -> Iterator[SturdyOutput]:
    """Let standard output and error never fail while the block lasts; yield the output.

    Closed ones are opened again, to nowhere: the next file opened would take their place and get what is printed.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    before = sys.stdout, sys.stderr
    output = SturdyOutput(sys.stdout or os.fdopen(os.dup(1), "w", encoding="utf-8"))
    untyped: Any = sys
    untyped.stdout = output
    untyped.stderr = SturdyOutput(sys.stderr or os.fdopen(os.dup(2), "w", encoding="utf-8"))
    try:
        yield output
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        if None not in before:
            sys.stdout, sys.stderr = before
