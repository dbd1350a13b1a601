"""The message exchange of an emulated instrument on a bus with END: GPIB, VXI-11, and a serial line, which has none.

A program message goes into the input queue and is executed beside the bus, so that a device clear reaches an instrument
that does something else; a response waits in the output queue until it is read. Source: IEEE 488.2, chapter 6.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from labctl.core.units import Second
from sim_backend.emulators.link import MAX_MESSAGE, ConnectionDropped, Instrument

MAV = 16
"""Bit of the status byte: a message is available."""
MOST_WAITING = 1 << 20
"""Bytes of responses that nobody reads; beyond them the next message waits."""
_POLL: Second = 0.05
_LAST: Second = 0.5
"""How long the end of a conversation waits for its last message."""


@dataclass
class _Response:
    """What is left of a response message."""

    data: bytes


class MessageExchange:
    """One conversation with an instrument; closed after use.

    Args:
        instrument: executes the messages.
        interrupts: a message that comes before the response to the one before it was read is an error. It is none where
            responses are sent without being asked for.
    """

    def __init__(self, instrument: Instrument, *, interrupts: bool = True) -> None:
        self.instrument, self._interrupts = instrument, interrupts
        self._session = instrument.session()
        self._input: deque[tuple[bytes, bool]] = deque()
        self._output: deque[_Response] = deque()
        self._changed = threading.Condition()
        self._busy = self._closed = self._aborted = False
        self._clears = 0
        """Device clears so far: what was begun before one answers nothing after it."""
        self.dropped = False
        """The instrument has ended the conversation, by a fault."""
        self._worker = threading.Thread(target=self._work, daemon=True)
        self._worker.start()

    def put(self, data: bytes, end: bool, seconds: Second = math.inf) -> None:
        """Add a piece of a program message, which is lost if the input queue stays full.

        Args:
            end: END came with its last byte.
            seconds: how long room is waited for.
        """
        until = time.monotonic() + seconds
        with self._changed:
            unread = self._interrupts and bool(self._output) and not (self._busy or self._input)
        if unread:
            self._interrupted()
        with self._changed:
            while sum(len(waiting) for waiting, _ in self._input) > MAX_MESSAGE and not self._closed:
                if (left := until - time.monotonic()) <= 0:
                    return
                self._changed.wait(min(left, _POLL))
            self._input.append((data, end))
            self._changed.notify_all()

    def take(self, most: int, seconds: Second, *, stop: int | None = None, asked: bool = True) -> tuple[bytes, bool]:
        """Return up to `most` bytes of the oldest response, and whether END came with the last of them.

        Args:
            seconds: how long a response is waited for; no bytes and False without one.
            stop: value of a byte behind which to stop.
            asked: whether the instrument was addressed to talk; if it has nothing to say, that is an error of its.
        """
        end = time.monotonic() + seconds
        with self._changed:
            self._aborted = False
            while not self._output and not self._aborted and not self._closed and not self.dropped:
                if asked and not (self._input or self._busy):
                    asked = False
                    self._unterminated()
                    continue
                left = end - time.monotonic()
                if left <= 0:
                    return b"", False
                self._changed.wait(min(left, _POLL))
            if not self._output:
                return b"", False
            response = self._output[0]
            size = min(most, len(response.data))
            if stop is not None and (at := response.data.find(stop, 0, size)) >= 0:
                size = at + 1
            piece, response.data = response.data[:size], response.data[size:]
            if not response.data:
                self._output.popleft()
            self._changed.notify_all()
            return piece, not response.data

    def _unterminated(self) -> None:
        """Tell the instrument that it has nothing to say; the queues are free meanwhile."""
        self._changed.release()
        try:
            with self.instrument.world.lock:
                self.instrument.unterminated()
        finally:
            self._changed.acquire()

    @property
    def aborted(self) -> bool:
        """Whether the last read was ended by `abort`."""
        return self._aborted

    def abort(self) -> None:
        """End a read that waits."""
        with self._changed:
            self._aborted = True
            self._changed.notify_all()

    def clear(self) -> None:
        """Drop both queues and end what is executed, as a device clear does; levels and outputs stay."""
        with self._changed:
            self._clears += 1
            self._input.clear()
            self._output.clear()
            self._changed.notify_all()
        self.instrument.interrupt()
        self._session.clear()
        with self._changed:
            self._output.clear()

    @property
    def status_byte(self) -> int:
        """The status byte with MAV."""
        with self.instrument.world.lock:
            byte = self.instrument.status_byte
        with self._changed:
            return byte | (MAV if self._output else 0)

    def close(self) -> None:
        """End the conversation, and wait a moment for what is executed, which goes on to its end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._worker.join(_LAST)

    def _work(self) -> None:
        try:
            while True:
                with self._changed:
                    while not self._closed and (not self._input or self._waiting > MOST_WAITING):
                        self._changed.wait(_POLL)
                    if self._closed:
                        return
                    data, end = self._input.popleft()
                    self._busy, clears = True, self._clears
                    unread = self._interrupts and bool(self._output)
                try:
                    if unread:
                        self._interrupted()
                    self._execute(data, end, clears)
                except ConnectionDropped:
                    self.dropped = True
                finally:
                    with self._changed:
                        self._busy = False
                        self._changed.notify_all()
        finally:
            self._session.close()

    @property
    def _waiting(self) -> int:
        return sum(len(response.data) for response in self._output)

    def _interrupted(self) -> None:
        """A message came before the response to the one before it was read: 488.2 drops that response."""
        with self.instrument.world.lock:
            drops = self.instrument.interrupted()
        if drops:
            with self._changed:
                self._output.clear()

    def _execute(self, data: bytes, end: bool, clears: int) -> None:
        replies: Iterator[bytes] = iter(self._session.replies(data))
        if end:
            replies = chain(replies, self._finished())
        for reply in replies:
            with self._changed:
                if self._clears != clears or self._closed:
                    return
                self._output += [_Response(message) for message in messages(reply)]
                self._changed.notify_all()

    def _finished(self) -> Iterator[bytes]:
        yield self._session.finish()


def messages(reply: bytes) -> list[bytes]:
    """Return the response messages of a reply: its lines, or a binary block, which is one.

    >>> messages(b"1\\n2\\n"), messages(b"#12\\n\\n\\n"), messages(b"")
    ([b'1\\n', b'2\\n'], [b'#12\\n\\n\\n'], [])
    """
    if reply[:1] == b"#" and reply[1:2].isdigit():
        return [reply]
    *lines, rest = reply.split(b"\n")
    return [line + b"\n" for line in lines] + ([rest] if rest else [])
