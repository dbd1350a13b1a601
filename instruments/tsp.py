"""The dialect of Keithley's script-speaking instruments: numbers, the error queue, settings and scripts.

Dialect from the public 2600B and 707B reference manuals. Every setting goes out in one message with a query of
the error queue, so that a refused setting is known at once and a message never waits for the next. An entry of the
queue has no time; so the instrument counts the queue before it carries a message out, and what stood there then, from
the panel or from another program, is told as a warning and blamed on no command. Numbers go out as
``%.9e``: a fixed-point format would turn a limit below a microampere into zero.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from instruments.identity import fields_of
from instruments.transport import CHECK, brief, unexpected
from labctl.core.errors import BenchError, InstrumentError, LinkTimeoutError
from labctl.core.transport import Transport, Wait
from labctl.core.units import Second

MOST_ERRORS = 32
"""More than this many queued errors are not read one by one."""

LONGEST_CHUNK = 1000
"""Characters; longer messages go as a script of several lines. [?] No limit is documented for the raw socket."""


@dataclass(frozen=True)
class Queue:
    """In which words an instrument keeps its errors.

    Args:
        count: expression for the entries of its queue.
        following: expression for the next entry: its code, text and severity, with all digits whatever number format is
            set.
        clear: statement that empties it.
        unasked: attributes that have it send lines unasked unless they are 0.
    """

    count: str = "errorqueue.count"
    following: str = r'string.format("%d\t%s\t%d",errorqueue.next())'
    clear: str = "errorqueue.clear()"
    unasked: tuple[str, str] = ("localnode.prompts", "localnode.showerrors")

    @property
    def counted(self) -> str:
        """Begins what is sent, and counts the entries that are not of it; in the same line: it costs no message."""
        return f"mtj_e={self.count} "

    @property
    def quiet(self) -> str:
        """Ends lines that the instrument sends unasked."""
        return " ".join(f"{name}=0" for name in self.unasked)


ERROR_QUEUE = Queue()
COUNTED = ERROR_QUEUE.counted
"""What begins a message to an instrument with an error queue."""

_COUNT_BEFORE = "print(mtj_e or 0) mtj_e=nil"
"""Asks for that count, once: what is not understood at all counts nothing, and every entry is its own then."""

PROMPT = re.compile(r"^(?:TSP[>?]|>>>>)")

QUEUE_OVERFLOW = -350
"""Last entry of a queue that is full: what came behind it is lost."""

RECOVERABLE = 20
"""[?] Least severity of an error in the queue, of 10 informational, 20 recoverable, 30 serious, 40 fatal; below it is a
warning."""

OVERFLOW = 9e37
"""Readings this large are not numbers but 'overflow'."""


def number(value: float) -> str:
    """Return a number as it goes over the wire.

    >>> number(2.5e-7)
    '2.500000000e-07'
    """
    return f"{value:.9e}"


def parse_numbers(text: str) -> list[float]:
    r"""Return the tab or comma separated numbers of a reply; true and false count as 1 and 0.

    >>> parse_numbers("1.00000e-03\tfalse\t2")
    [0.001, 0.0, 2.0]
    """
    named = {"true": 1.0, "false": 0.0}
    fields = [part.strip() for part in re.split(r"[\t,]", text)]
    try:
        return [named[part] if part in named else float(part) for part in fields]
    except ValueError as error:
        raise InstrumentError(f"the reply '{text}' is not a list of numbers") from error


def old_errors_text(errors: Sequence[str]) -> list[str]:
    """Return old errors of a queue as a line of a diagnosis; no line if there are none.

    >>> old_errors_text(["1115 Parameter error"])
    ['1 error of before was in its queue, which is empty now: 1115 Parameter error']
    """
    if not errors:
        return []
    errors_were = "error of before was" if len(errors) == 1 else "errors of before were"
    return [f"{len(errors)} {errors_were} in its queue, which is empty now: {'; '.join(errors)}"]


class Refused(InstrumentError):
    """The instrument is there and has put an error into its queue."""


@dataclass(frozen=True)
class QueuedError:
    """An entry of the error queue: code, message, severity."""

    code: int
    text: str
    severity: float

    @property
    def warns(self) -> bool:
        """Whether it is a warning; what tells no severity that can be understood is an error."""
        return self.severity < RECOVERABLE

    def __str__(self) -> str:
        return f"{self.code or ''} {self.text}".strip()


@dataclass(frozen=True)
class Identity:
    """Model such as ``2602B``, and the whole identity line."""

    model: str
    line: str


def parse_identity(line: str, expected: Sequence[str]) -> Identity:
    """Return the identity in `line`, the answer to ``*IDN?``; BenchError unless it is one of the models `expected`.

    Firmware spells maker and model in several ways (`instruments.identity`); the model is compared as a whole word, in
    any case: a 2601B-PULSE is no 2601B.

    >>> parse_identity("Keithley Instruments, Inc., Model 2602B, 1234567, 3.3.5", ["2602B"]).model
    '2602B'
    >>> parse_identity("KEITHLEY INSTRUMENTS,MODEL 2602b,1234567,3.3.5", ["2602B"]).model
    '2602B'
    >>> parse_identity("connection: close", ["2602B"])
    Traceback (most recent call last):
    labctl.core.errors.BenchError: 'connection: close' answers, and the bench file says 2602B; that is no identity: ...
    """
    for model in expected:
        if fields_of(line, model).model.upper() == model.upper():
            return Identity(model, line)
    stranger = "" if line.count(",") >= 2 else "; that is no identity: a proxy or another program may listen there"
    raise BenchError(f"'{line}' answers, and the bench file says {' or '.join(expected)}{stranger}")


class Tsp:
    """Commands and queries in this dialect.

    Args:
        transport: to the instrument.
        name: of the instrument in the bench file, for messages.
        queue: its words for errors; those of an error queue if left out.
    """

    def __init__(self, transport: Transport, name: str, queue: Queue | None = None) -> None:
        queue = queue or ERROR_QUEUE
        self.transport, self.name, self._queue = transport, name, queue
        self._count, self._following = f"print({queue.count})", f"print({queue.following})"
        self._warned: dict[str, bool] = {}  # by the text, whether it was told
        self._marks = 0

    @property
    def next_mark(self) -> str:
        """Mark of the next script, by which its answer and its progress are known for its own."""
        return f"done-{self._marks + 1}"

    def _mark(self) -> int:
        """Return another number."""
        self._marks += 1
        return self._marks

    def cut_in(self, lines: Sequence[str], values: str) -> list[str]:
        """Abort, send `lines` as the first bytes of a fresh connection; return the printed `values`.

        Lines that come unasked end behind them.

        Args:
            values: Lua expressions; none may print a tab.

        Raises:
            InstrumentError: it cannot be reached, or does not answer.
        """
        mark = f"safe-{self._mark()}"
        ask = f'print("{mark}",{values})'
        reply = self.transport.cut_in(
            "\n".join(["abort", *lines, self._queue.quiet]), ask, lambda line: line.startswith(mark)
        )
        return reply[-1].strip().split("\t")[1:]

    def identity(self, expected: Sequence[str]) -> Identity:
        """Return the identity.

        Raises:
            BenchError: its model is none of `expected`, or prompts or error messages come unasked.
            LinkTimeoutError: it does not answer.
        """
        try:
            lines = self.transport.converse("*IDN?", lambda line: bool(PROMPT.sub("", line).strip()))
        except LinkTimeoutError as error:
            raise LinkTimeoutError(
                f"{error}. If a script runs or is being loaded there, 'labctl off' ends it"
            ) from error
        try:
            identity = parse_identity(PROMPT.sub("", lines[-1]), expected)
        except BenchError as error:
            raise BenchError(f"{self.name}: {error}; check its address in the bench file") from error
        self._refuse_chatter()
        return identity

    def _refuse_chatter(self) -> None:
        """Raise BenchError if the instrument sends prompts or error messages unasked, behind which replies are lost."""
        mark = f"unasked-{self._mark()}"
        names = self._queue.unasked
        ask = f'print("{mark}",string.format("%d,%d",{",".join(names)}))'
        line = self.transport.converse(ask, lambda line: mark in line)[-1]
        values = zip(names, self.parsed(line.partition("\t")[2], ask, len(names)), strict=True)
        on = " and ".join(f"{name} is {value:.0f}" for name, value in values if value)
        if on:
            raise BenchError(
                f"{self.name}: {on}, as other programs leave it: the instrument sends lines unasked. "
                "'labctl off' sets it to 0"
            )

    def text(self, expression: str) -> str:
        """Return the text that the instrument prints for `expression`."""
        return self.transport.query(f"print({expression})").strip()

    def numbers(self, expression: str, count: int) -> list[float]:
        """Return the `count` numbers of `expression`, with all their digits whatever number format is set."""
        digits = ",".join(["%.9e"] * count)
        return self.parsed(self.text(f'string.format("{digits}",{expression})'), expression, count)

    def parsed(self, reply: str, command: str, count: int | None = 1) -> list[float]:
        """Return the numbers that answer a command; InstrumentError if they are none, or not `count`, None for any."""
        try:
            numbers = parse_numbers(reply)
        except InstrumentError as error:
            raise unexpected(self.name, command, reply, "numbers") from error
        if count is not None and len(numbers) != count:
            raise unexpected(self.name, command, reply, f"{count} numbers")
        return numbers

    def set(self, text: str, *, wait: Wait = Wait.SETTING) -> None:
        """Send a setting and read the error queue; Refused, with the instrument's message, if it was not accepted."""
        waiting = self.transport.query(f"{self._queue.counted}{text}\n{self._count}", wait=wait)
        if reason := self.failure(waiting):
            raise Refused(f"{self.name} refused '{brief(text)}': {reason}; {CHECK}")

    def failure(self, waiting: str) -> str:
        """Return what is wrong if the error queue counts `waiting` entries behind a command that counted before.

        Errors that stood there before the command are told as warnings; "" if no other is an error.
        """
        if self.parsed(waiting, self._count) == [0.0]:
            return ""
        before = self.parsed(self.transport.query(_COUNT_BEFORE), _COUNT_BEFORE)[0]
        entries = self._entries()
        full = any(entry.code == QUEUE_OVERFLOW for entry in entries)
        if full or not 0 <= before <= len(entries):  # no number, none of this queue, or errors were lost
            before = 0
        for entry in entries[: int(before)]:
            if not entry.warns:
                self._warned.setdefault(f"{entry}, of before a command: from its panel, or another program", False)
        errors = [str(entry) for entry in entries[int(before) :] if not entry.warns]
        return "; ".join(errors) or ("" if entries else f"its error queue counts {waiting.strip()} and is empty")

    def warnings(self) -> list[str]:
        """Return the warnings that were in the error queue since the last call, each text once in a session."""
        new = [text for text, told in self._warned.items() if not told]
        self._warned |= dict.fromkeys(new, True)
        return new

    def errors(self) -> list[str]:
        """Read the error queue empty and return the messages of its errors."""
        return [str(entry) for entry in self._entries() if not entry.warns]

    def old_errors(self) -> tuple[str, ...]:
        """Read the error queue empty before the first command and return what was in it, warnings too."""
        entries = self._entries()
        for entry in entries:
            self._warned.pop(str(entry), None)
        return tuple(f"{entry} (a warning)" if entry.warns else str(entry) for entry in entries)

    def _entries(self) -> list[QueuedError]:
        """Read the error queue empty and return what was in it; an entry that tells no severity is an error."""
        entries: list[QueuedError] = []
        for _ in range(MOST_ERRORS):
            fields = self.transport.query(self._following).split("\t")
            code = self.parsed(fields[0], self._following)[0]
            if not math.isfinite(code):
                raise unexpected(self.name, self._following, fields[0], "the number of an error")
            code = int(code)
            if code == 0:
                return entries
            severity = self.parsed(fields[2], self._following)[0] if len(fields) > 2 else RECOVERABLE
            entry = QueuedError(code, fields[1].strip() if len(fields) > 1 else "", severity)
            if entry.warns:
                self._warned.setdefault(str(entry), False)
            entries.append(entry)
        self.transport.query(f"{self._queue.clear}\n{self._count}")
        return [*entries, QueuedError(0, "and more", RECOVERABLE)]

    def script(self, lines: Sequence[str], *, wait: Wait = Wait.SETTING, extra: Second = 0.0) -> list[str]:
        """Run `lines` in one round trip and return the texts that they appended to the table `mtj_r`.

        Short scripts go as one message, which saves the framing of a script. The answer is a single line, queried
        behind them with the number of this script in it: a script that aborts or is lost is known at once and not by a
        timeout, and a message never has a second response, which some transports cannot read.

        Raises:
            Refused: the script was refused, aborted or left an error in the queue.
            InstrumentError: the script did not run.
        """
        mark = self.next_mark
        self._mark()
        start = f'{self._queue.counted}mtj_r={{"{mark}"}}'
        body = " ".join([start, *lines])
        if len(body) > LONGEST_CHUNK:
            body = "\n".join(["loadandrunscript", *_packed([start, *lines]), "endscript"])
        ask = f'print({self._queue.count},table.concat(mtj_r or {{}},";"))'
        waiting, _, results = self.transport.query(f"{body}\n{ask}", wait=wait, extra=extra).partition("\t")
        if reason := self.failure(waiting):
            raise Refused(f"{self.name}: a script failed: {reason}; {CHECK}")
        first, *texts = results.split(";")
        if first != mark:
            raise InstrumentError(f"{self.name}: script '{mark}' did not run; the last that did is '{first}'; {CHECK}")
        return texts


def _packed(lines: Sequence[str]) -> list[str]:
    """Return statements joined into as few lines as `LONGEST_CHUNK` allows; each line is one message.

    >>> [len(line) for line in _packed(["a" * 400, "b" * 400, "c" * 400])]
    [801, 400]
    """
    packed: list[str] = []
    for line in lines:
        if packed and len(packed[-1]) + 1 + len(line) <= LONGEST_CHUNK:
            packed[-1] += f" {line}"
        else:
            packed.append(line)
    return packed
