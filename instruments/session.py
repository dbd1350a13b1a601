"""A recorded session: every message to and from the instruments of a bench, with its time, and what was done with them.

A file of JSON lines, so that a session that breaks off is whole up to there. The first line says how to do the same
again: the bench file as it was, and what was asked for. Each other line is one message. Only wires that carry lines of
text are recorded.
"""

import json
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

FORMAT = 1
"""Version of recorded sessions."""
_LONGEST = 256 << 20
"""Bytes of a session."""

Exchange = tuple[str, str | None]
"""A message that was sent, and the lines that answered it, joined by line feeds; None if nothing did."""


@dataclass(frozen=True)
class Session:
    """A recorded session.

    Args:
        bench: text of the bench file.
        utc: when it began, ISO 8601.
        first_day: whether the assumptions were checked.
        settings: whether those were checked too that set something.
        simulated: whether it was a twin.
        exchanges: of each instrument, in order.
    """

    bench: str
    utc: str
    first_day: bool
    settings: bool
    simulated: bool
    exchanges: dict[str, list[Exchange]] = field(default_factory=dict)


class _TimedRecorder(Recorder):
    """A transport that records its messages with name and time, s."""

    def __init__(self, transport: Transport, file: IO[str], instrument: str, clock: Callable[[], Second]) -> None:
        super().__init__(transport, file)
        self._instrument, self._clock = instrument, clock

    def _remark(self, text: str) -> None:
        self._record("#", text)

    def _record(self, mark: str, text: str) -> None:
        line = {"s": round(self._clock(), 6), "instrument": self._instrument, "mark": mark, "text": text}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()


def begin(file: IO[str], session: Session) -> None:
    """Write the first line of a session without exchanges."""
    head = {"session": FORMAT, **asdict(session)}
    del head["exchanges"]
    file.write(json.dumps(head) + "\n")
    file.flush()


def recorded(connect: Connect, file: IO[str], clock: Callable[[], Second]) -> Connect:
    """Return a `connect` whose wires of text are recorded in `file`, with times of `clock`, s."""

    def recording(name: str, entry: Entry) -> Any:
        wire = connect(name, entry)
        if entry.declaration.wire is not Wire.TEXT or not isinstance(wire, Transport):
            return wire
        return _TimedRecorder(wire, file, name, clock)

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
            f"{path}, line {number}: no recorded session; expected what 'labctl check BENCH --record FILE' has written"
        ) from error
    return session


def as_test(session: Session) -> str:
    """Return a recorded session as the text of a test module that replays it."""
    command = " ".join(["labctl check", *["--first-day"] * session.first_day, *["--settings"] * session.settings])
    where = "a twin" if session.simulated else "a bench"
    lines = [
        f'"""Recorded by `{command}` on {where}, {session.utc}; replayed against today\'s drivers."""',
        "",
        "# ruff: noqa: E501",
        "# fmt: off",
        "from labctl.testing import replay_session",
        "",
        f"BENCH = {session.bench!r}",
        "",
        "EXCHANGES = {",
    ]
    for name, exchanges in session.exchanges.items():
        lines += [f"    {name!r}: [  # sent, replied", *(f"        {one!r}," for one in exchanges), "    ],"]
    asked = f"assumptions={session.first_day}, settings={session.settings}, simulated={session.simulated}"
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

    def _reopen(self) -> None:
        """Do nothing: what was sent to resynchronise is below what was recorded."""

    def finish(self) -> None:
        """Raise TranscriptError unless exactly the recorded messages were sent and read."""
        if self._difference is not None:
            raise self._difference
        super().finish()
