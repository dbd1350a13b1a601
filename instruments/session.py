"""A recorded session: every message to and from the instruments of a bench, with its time, and what was done with them.

A file of JSON lines, so that a session that breaks off is whole up to there. The first line says how to do the same
again: the command, its options, and the files that it read. Each other line is one message. Only wires that carry lines
of text are recorded. A disk that is full ends the recording, and nothing else: what makes a bench safe goes through it.
"""

import io
import json
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from instruments.drivers import Connect
from instruments.entry import Entry
from instruments.transcript import Pair, Recorder, TranscriptError, TranscriptReplay
from labctl.core.driver import Wire
from labctl.core.errors import BenchError
from labctl.core.transport import Transport
from labctl.core.units import Second
from labctl.files import current

FORMAT = 2
"""Version of recorded sessions."""
COMMANDS = ("check", "off", "read", "pulse", "map")
"""Commands whose sessions can be carried out again."""
_LONGEST = 256 << 20
"""Bytes of a session."""

Exchange = tuple[str, str | None]
"""A message that was sent, and the lines that answered it, joined by line feeds; None if nothing did."""


@dataclass(frozen=True)
class Session:
    """A recorded session.

    Args:
        command: of `labctl`, such as "check".
        bench: text of the bench file.
        utc: when it began, ISO 8601.
        simulated: whether it was a twin.
        options: of the command, by what they mean to a replay.
        files: texts of the other files that the command read, by their role, such as "die".
        exchanges: of each instrument, in order.
    """

    command: str
    bench: str
    utc: str
    simulated: bool
    options: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    exchanges: dict[str, list[Exchange]] = field(default_factory=dict)


class SessionFile:
    """The file of a session while it is recorded, by several threads at once.

    Args:
        file: open text file; every line is flushed, so that a crash leaves a whole session up to there.
        clock: of the times of messages, s.

    Attributes:
        failure: why nothing more is recorded; "" while all is.
    """

    def __init__(self, file: IO[str], clock: Callable[[], Second]) -> None:
        self._file, self.clock, self._lock = file, clock, threading.Lock()
        self.failure = ""

    def begin(self, session: Session) -> None:
        """Write the first line, of a session without exchanges; OSError if that fails."""
        head = {"session": FORMAT, **asdict(session)}
        del head["exchanges"]
        self._file.write(json.dumps(head) + "\n")
        self._file.flush()

    def message(self, instrument: str, mark: str, text: str) -> None:
        """Write one message with its time; never raises."""
        with self._lock:
            if self.failure:
                return
            try:
                line = {"s": round(self.clock(), 6), "instrument": instrument, "mark": mark, "text": text}
                self._file.write(json.dumps(line) + "\n")
                self._file.flush()
            except (OSError, ValueError) as error:  # a file that is closed is a ValueError
                self.failure = str(getattr(error, "strerror", None) or error)


class _TimedRecorder(Recorder):
    """A transport that records its messages in the file of a session."""

    def __init__(self, transport: Transport, session: SessionFile, instrument: str) -> None:
        self._session, self._instrument = session, instrument
        super().__init__(transport, io.StringIO())

    def _remark(self, text: str) -> None:
        self._record("#", text)

    def _record(self, mark: str, text: str) -> None:
        self._session.message(self._instrument, mark, text)


def recorded(connect: Connect, session: SessionFile) -> Connect:
    """Return a `connect` whose wires of text are recorded."""

    def recording(name: str, entry: Entry) -> Any:
        wire = connect(name, entry)
        if entry.declaration.wire is not Wire.TEXT or not isinstance(wire, Transport):
            return wire
        return _TimedRecorder(wire, session, name)

    return recording


def read_session(path: Path) -> Session:
    """Return a recorded session; BenchError with the line if it is not one."""
    number = 1
    try:
        lines = current().read(path, _LONGEST).decode("utf-8").splitlines()
        head = json.loads(lines[0])
        version = head.pop("session")
        if version != FORMAT:
            raise BenchError(f"{path} is a session of version {version}; expected {FORMAT}")
        session = Session(**head)
        if session.command not in COMMANDS:
            raise BenchError(f"{path} is a session of '{session.command}'; expected one of {', '.join(COMMANDS)}")
        for line in lines[1:]:
            number += 1
            message = json.loads(line)
            exchanges, text = session.exchanges.setdefault(message["instrument"], []), message["text"]
            if message["mark"] == ">":
                exchanges.append((text, None))
            elif message["mark"] == "<":
                sent, replied = exchanges[-1]
                exchanges[-1] = (sent, text if replied is None else f"{replied}\n{text}")
    except OSError as error:
        raise BenchError(f"{path} cannot be read: {error.strerror or error}; expected a recorded session") from error
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise BenchError(
            f"{path}, line {number}: no recorded session; expected what a command with '--record FILE' has written"
        ) from error
    return session


def as_test(session: Session) -> str:
    """Return a recorded session as the text of a test module that replays it."""
    where = "a twin" if session.simulated else "a bench"
    lines = [
        f'"""Recorded by `labctl {session.command}` on {where}, {session.utc}; replayed against today\'s drivers."""',
        "",
        "# ruff: noqa: E501",
        "# fmt: off",
        "from labctl.testing import replay_session",
        "",
        f"BENCH = {session.bench!r}",
        f"FILES = {session.files!r}",
        f"OPTIONS = {session.options!r}",
        "",
        "EXCHANGES = {",
    ]
    for name, exchanges in session.exchanges.items():
        lines += [f"    {name!r}: [  # sent, replied", *(f"        {one!r}," for one in exchanges), "    ],"]
    asked = f"command={session.command!r}, options=OPTIONS, files=FILES, simulated={session.simulated}"
    lines += [
        "}",
        "",
        "",
        "def test_the_drivers_of_today_send_what_was_recorded(tmp_path):",
        f"    replay_session(BENCH, EXCHANGES, tmp_path, {asked})",
        "",
    ]
    return "\n".join(lines)


def messages(exchanges: Iterable[Exchange]) -> list[Pair]:
    """Return exchanges as the messages of a transcript.

    >>> messages([("abort", None), ("print(1)", "1")])
    [('>', 'abort'), ('>', 'print(1)'), ('<', '1')]
    """
    pairs: list[Pair] = []
    for sent, replied in exchanges:
        pairs.append((">", sent))
        pairs += [("<", line) for line in replied.split("\n")] if replied is not None else []
    return pairs


class SessionReplay(TranscriptReplay):
    """The replay of one instrument of a session: it spans all connections, and keeps the first difference.

    A check goes on after an error of a driver, so that one instrument hides no other; the difference is raised by
    `finish`.
    """

    def __init__(self, exchanges: Iterable[Exchange], name: str) -> None:
        super().__init__(messages(exchanges), name)
        self._difference: TranscriptError | None = None

    def _send(self, data: bytes, deadline: float) -> None:
        try:
            super()._send(data, deadline)
        except TranscriptError as error:
            self._difference = self._difference or error
            raise

    @property
    def remaining(self) -> int:
        """Messages that were not sent or not read yet."""
        return len(self._remaining)

    def _reopen(self) -> None:
        """Do nothing: what was sent to resynchronise is below what was recorded."""

    def finish(self) -> None:
        """Raise TranscriptError unless exactly the recorded messages were sent and read."""
        if self._difference is not None:
            raise self._difference
        super().finish()
