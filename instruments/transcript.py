"""A transcript of messages as a text file: recorded live, replayed as a test.

One message per line, ``>`` sent, ``<`` received, ``#`` a remark; a message of several lines continues with ``|``.
Backslash escapes keep tabs and line ends readable. A replay fails on a message that is not in the transcript, and on
a message of the transcript that was not sent or not read.
"""

import codecs
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from instruments.transport import LineTransport, Urgent
from labctl.core.errors import InstrumentError, LinkTimeoutError
from labctl.core.transport import Transport, Wait
from labctl.core.units import Second

Pair = tuple[str, str]
"""Direction, ">" or "<", and the text without its last line end."""


class TranscriptError(AssertionError):
    """A replay differs from its transcript."""


def escape(text: str) -> str:
    r"""Return `text` on one line that does not end with a blank.

    >>> escape("1\t2 ")
    '1\\t2\\x20'
    """
    escaped = text.encode("unicode_escape").decode("ascii")
    return escaped[:-1] + "\\x20" if escaped.endswith(" ") else escaped


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
    """A transport that records its messages.

    Args:
        transport: the live one.
        file: open text file; every message is flushed, so that a crash leaves a complete transcript.
        header: remark for the first line: which instrument, when, who.
    """

    def __init__(self, transport: Transport, file: IO[str], header: str = "") -> None:
        self._inner, self._file = transport, file
        if header:
            self._remark(header)

    @property
    def name(self) -> str:
        """Address of the instrument."""
        return self._inner.name

    def write(self, text: str) -> None:
        """Send and record."""
        self._record(">", text)
        self._inner.write(text)

    def query(self, text: str, *, wait: Wait = Wait.QUERY, extra: Second = 0.0) -> str:
        """Query and record both sides."""
        return self.converse(text, lambda line: True, wait=wait, extra=extra)[0]

    def converse(
        self, text: str, last: Callable[[str], bool], *, wait: Wait = Wait.QUERY, extra: Second = 0.0
    ) -> list[str]:
        """Query and record both sides."""
        self._record(">", text)
        lines = self._inner.converse(text, last, wait=wait, extra=extra)
        for line in lines:
            self._record("<", line)
        return lines

    def cut_in(self, text: str, ask: str, last: Callable[[str], bool]) -> list[str]:
        """Cut in and record both sides."""
        self._remark("cut in")
        self._record(">", f"{text}\n{ask}")
        lines = self._inner.cut_in(text, ask, last)
        for line in lines:
            self._record("<", line)
        return lines

    def ask_nothing_first(self) -> None:
        """From now on connect afresh without the probe, if the transport has one."""
        if isinstance(self._inner, Urgent):
            self._inner.ask_nothing_first()

    def let_pass(self, seconds: Second) -> None:
        """Let a time pass."""
        self._inner.let_pass(seconds)

    def resync(self) -> None:
        """Resynchronise, with a remark."""
        self._remark("resynchronised")
        self._inner.resync()

    def close(self) -> None:
        """Close the connection; the file stays open, it belongs to the caller."""
        self._inner.close()

    def _remark(self, text: str) -> None:
        self._file.write(f"# {text}\n")

    def _record(self, mark: str, text: str) -> None:
        self._file.write(render([(mark, text)]))
        self._file.flush()


class TranscriptReplay(LineTransport):
    """A transport that replays a transcript. As a context manager it fails on leftovers at the end.

    Args:
        pairs: the messages in order.

    Raises:
        TranscriptError: another message was sent, or a message was not sent or not read.
    """

    def __init__(self, pairs: Iterable[Pair], name: str = "transcript") -> None:
        super().__init__(name, probe=None)
        self._remaining = list(pairs)

    @classmethod
    def of(cls, path: Path) -> Self:
        """Return the replay of a transcript file."""
        return cls(parse(path.read_text(encoding="ascii")), path.name)

    def _send(self, data: bytes, deadline: float) -> None:
        text = data.decode("ascii").removesuffix(self._terminator)
        if not self._remaining:
            raise TranscriptError(f"{self._name}: nothing more was expected, got '{escape(text)}'")
        mark, expected = self._remaining[0]
        if mark != ">":
            raise TranscriptError(f"{self._name}: reply '{escape(expected)}' was not read before '{escape(text)}'")
        if text != expected:
            raise TranscriptError(f"{self._name}: expected '{escape(expected)}', got '{escape(text)}'")
        del self._remaining[0]

    def _receive(self, deadline: float) -> bytes:
        if not self._remaining or self._remaining[0][0] != "<":
            raise LinkTimeoutError(f"{self._name} has no reply here")
        return (self._remaining.pop(0)[1] + "\n").encode("ascii")

    def _reopen(self) -> None:
        raise InstrumentError(f"{self._name}: a transcript cannot be resynchronised")

    def _break_in(self) -> None:
        """Do nothing: a transcript spans all connections."""

    def close(self) -> None:
        """Close the connection."""

    def finish(self) -> None:
        """Raise TranscriptError unless every message was sent and read."""
        if self._remaining:
            mark, text = self._remaining[0]
            fault = "never sent" if mark == ">" else "never read"
            raise TranscriptError(
                f"{self._name}: {len(self._remaining)} messages left; the first, {fault}: '{escape(text)}'"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.finish()
