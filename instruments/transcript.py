"""A conversation as a text file: recorded live, replayed as a test.

One message per line, ``>`` what was sent, ``<`` what came back, ``#`` a remark; a message of several lines goes on
with ``|``. Backslash escapes keep tabs and line ends readable. A replay fails on anything that was not in the
conversation, and on anything in it that was not said.
"""

import codecs
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from instruments.transport import LineTransport
from labctl.core.errors import InstrumentError, LinkTimeoutError
from labctl.core.transport import Transport, Wait
from labctl.core.units import Second

Pair = tuple[str, str]
"""Direction, ">" or "<", and the text without its last line end."""


class TranscriptError(AssertionError):
    """A replayed conversation went another way than the recorded one."""


def escape(text: str) -> str:
    r"""Return `text` on one line that does not end with a blank.

    >>> escape("1\t2 ")
    '1\\t2\\x20'
    """
    found = text.encode("unicode_escape").decode("ascii")
    return found[:-1] + "\\x20" if found.endswith(" ") else found


def unescape(text: str) -> str:
    r"""Undo `escape`.

    >>> unescape("1\\t2") == "1\t2"
    True
    """
    return codecs.decode(text, "unicode_escape")


def parse(text: str) -> list[Pair]:
    r"""Return the messages of a transcript in order; ValueError with the line number if it is not one.

    >>> parse("# a remark\n> a\n| b\n< 1")
    [('>', 'a\nb'), ('<', '1')]
    """
    pairs: list[Pair] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        mark, body = line[0], unescape(line[2:])
        if mark == "|" and pairs and line[1:2] in ("", " "):
            pairs[-1] = (pairs[-1][0], pairs[-1][1] + "\n" + body)
        elif mark in "<>" and line[1:2] in ("", " "):
            pairs.append((mark, body))
        else:
            raise ValueError(f"line {number} of the transcript is '{line}'; expected >, <, | or # and a space")
    return pairs


def render(pairs: Iterable[Pair]) -> str:
    """Return messages as the text of a transcript; the inverse of `parse`."""
    return "".join(
        f"{mark if k == 0 else '|'} {escape(line)}".rstrip() + "\n"
        for mark, text in pairs
        for k, line in enumerate(text.split("\n"))
    )


class Recorder:
    """A transport that writes down what passes through it.

    Args:
        transport: the live one.
        file: open text file; every message is flushed, so that a crash leaves all that was said.
        header: remark for the first line: which instrument, when, who.
    """

    def __init__(self, transport: Transport, file: IO[str], header: str = "") -> None:
        self._inner, self._file = transport, file
        if header:
            file.write(f"# {header}\n")

    @property
    def name(self) -> str:
        """Where the instrument is."""
        return self._inner.name

    def write(self, text: str) -> None:
        """Send and write down."""
        self._keep(">", text)
        self._inner.write(text)

    def query(self, text: str, *, wait: Wait = Wait.QUERY, extra: Second = 0.0) -> str:
        """Ask and write down both sides."""
        return self.converse(text, lambda line: True, wait=wait, extra=extra)[0]

    def converse(
        self, text: str, last: Callable[[str], bool], *, wait: Wait = Wait.QUERY, extra: Second = 0.0
    ) -> list[str]:
        """Ask and write down both sides."""
        self._keep(">", text)
        lines = self._inner.converse(text, last, wait=wait, extra=extra)
        for line in lines:
            self._keep("<", line)
        return lines

    def cut_in(self, text: str, ask: str, last: Callable[[str], bool]) -> list[str]:
        """Cut in and write down both sides."""
        self._file.write("# cut in\n")
        self._keep(">", f"{text}\n{ask}")
        lines = self._inner.cut_in(text, ask, last)
        for line in lines:
            self._keep("<", line)
        return lines

    def resync(self) -> None:
        """Resynchronise, with a remark."""
        self._file.write("# resynchronised\n")
        self._inner.resync()

    def close(self) -> None:
        """End the conversation; the file stays open, it is the caller's."""
        self._inner.close()

    def _keep(self, mark: str, text: str) -> None:
        self._file.write(render([(mark, text)]))
        self._file.flush()


class TranscriptReplay(LineTransport):
    """A transport that knows its conversation beforehand. As a context manager it fails on leftovers at the end.

    Args:
        pairs: the messages in order.

    Raises:
        TranscriptError: something else was sent, or something was not said or not read.
    """

    def __init__(self, pairs: Iterable[Pair], name: str = "transcript") -> None:
        super().__init__(name, probe=None)
        self._left = list(pairs)

    @classmethod
    def of(cls, path: Path) -> Self:
        """Return the replay of a transcript file."""
        return cls(parse(path.read_text(encoding="ascii")), path.name)

    def _send(self, data: bytes, deadline: float) -> None:
        text = data.decode("ascii").removesuffix(self._terminator)
        if not self._left:
            raise TranscriptError(f"{self._name}: nothing more was expected, got '{escape(text)}'")
        mark, expected = self._left[0]
        if mark != ">":
            raise TranscriptError(f"{self._name}: reply '{escape(expected)}' was not read before '{escape(text)}'")
        if text != expected:
            raise TranscriptError(f"{self._name}: expected '{escape(expected)}', got '{escape(text)}'")
        del self._left[0]

    def _receive(self, deadline: float) -> bytes:
        if not self._left or self._left[0][0] != "<":
            raise LinkTimeoutError(f"{self._name} has no reply here")
        return (self._left.pop(0)[1] + "\n").encode("ascii")

    def _reopen(self) -> None:
        raise InstrumentError(f"{self._name}: a transcript cannot be resynchronised")

    def _break_in(self) -> None:
        """Do nothing: what was sent on whichever connection is one conversation here."""

    def close(self) -> None:
        """End the conversation."""

    def finish(self) -> None:
        """Raise TranscriptError unless everything was said and read."""
        if self._left:
            mark, text = self._left[0]
            what = "never sent" if mark == ">" else "never read"
            raise TranscriptError(f"{self._name}: {len(self._left)} messages left; the first, {what}: '{escape(text)}'")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.finish()
