"""Send the events of a run to its receivers, never in the way of the run.

A message must never cost a measurement. Messages go to a thread per receiver through a bounded queue; a receiver that
is slow, hangs or is gone is tried again after growing waits, and given up in the end. Messages that are given up are
reported in the thread that sends them, so that they can be written to the journal there. Apprise delivers and tenacity
tries again; queue, thread and reports are ours, because neither promises that a run goes on and hears of failures.
"""

import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from labctl.batch.receivers import DeliveryError, Message, Receiver
from labctl.config.notify import Occasion
from labctl.core.units import Second

TRIES = 12
BACK_OFF: Second = 2.0
LONGEST: Second = 300.0
"""The wait after a failed try doubles from `BACK_OFF` up to this; 12 tries take about half an hour."""
QUEUE = 200
"""Messages that wait for one receiver; the oldest beyond it are given up."""
Report = Callable[[str, str], None]
"""Called with (event, text for the operator) when a message is given up."""


class Notifier:
    """Sends the events of one run to its receivers; every method but `close` returns at once.

    Args:
        on: events that are sent.
        about: entries of every message: `run` (name) and `folder`.
        report: called from within `send`, `report_given_up` and `close`, never from another thread.
        tries: number of tries of a message.
        back_off: the wait after the first failed try, s.
    """

    def __init__(
        self,
        receivers: Sequence[Receiver],
        on: Sequence[Occasion],
        about: Mapping[str, Any],
        report: Report = lambda event, text: None,
        *,
        tries: int = TRIES,
        back_off: Second = BACK_OFF,
    ) -> None:
        self._on, self._about, self._report = on, dict(about), report
        self._given_up: deque[str] = deque()
        self._senders = [_Sender(receiver, self._given_up.append, tries, back_off) for receiver in receivers]

    def send(self, event: Occasion, text: str, *, die: str = "", exit_code: int | None = None, **more: Any) -> None:
        """Send an event, if the campaign asks for its kind.

        Args:
            more: other entries of the message; anything that JSON can hold.
        """
        if event in self._on:
            message = compose(event, text, self._about, die=die, exit_code=exit_code, **more)
            for sender in self._senders:
                sender.put(message)
        self.report_given_up()

    def report_given_up(self) -> None:
        """Report the messages that were given up since the last call."""
        while self._given_up:
            self._report("notify", self._given_up.popleft())

    @property
    def delivered(self) -> int:
        """Number of messages delivered, counted per receiver."""
        return sum(sender.delivered for sender in self._senders)

    @property
    def failed(self) -> int:
        """Number of messages given up, counted per receiver."""
        return sum(sender.failed for sender in self._senders)

    def close(self, patience: Second = 20.0) -> int:
        """Wait at most `patience` s for queued messages; report and return the number that was not delivered."""
        end = time.monotonic() + patience
        for sender in self._senders:
            sender.close(end)
        for sender in self._senders:
            sender.join(max(0.0, end - time.monotonic()))
            sender.abandon()
        self.report_given_up()
        return self.failed


def compose(
    event: str, text: str, about: Mapping[str, Any], *, die: str = "", exit_code: int | None = None, **more: Any
) -> Message:
    """Return the message of an event: its text with run and die before it, and all that is known of it."""
    subject = ", ".join(part for part in (str(about.get("run", "")), die) if part)
    return {
        "event": event,
        "text": f"{subject}: {text}" if subject else text,
        **about,
        "die": die,
        "exit_code": exit_code,
        "host": socket.gethostname(),
        "utc": datetime.now(UTC).isoformat(timespec="seconds"),
        **more,
    }


def try_out(receivers: Sequence[Receiver], about: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Send a test message to each receiver, once; yield its name and why it was not delivered, "" if it was."""
    message = compose("test", "this is a test; nothing has happened", about)
    for receiver in receivers:
        try:
            receiver.deliver(message)
        except DeliveryError as error:
            yield receiver.name, str(error)
        else:
            yield receiver.name, ""


class _Sender(threading.Thread):
    """One receiver: its queue, and the thread that empties it in order."""

    def __init__(self, receiver: Receiver, give_up: Callable[[str], None], tries: int, back_off: Second) -> None:
        super().__init__(name=receiver.name, daemon=True)
        self._deliver, self._give_up, self._tries, self._back_off = receiver.deliver, give_up, tries, back_off
        self.delivered = self.failed = 0
        self._queue: deque[Message] = deque()
        self._current: Message | None = None
        self._trouble = ""
        self._end: float | None = None
        self._change = threading.Condition()
        self.start()

    def put(self, message: Message) -> None:
        """Queue a message; the oldest is given up if too many wait."""
        with self._change:
            if len(self._queue) >= QUEUE:
                self._lost(self._queue.popleft(), f"more than {QUEUE} messages were waiting")
            self._queue.append(message)
            self._change.notify_all()

    def close(self, end: float) -> None:
        """Let the thread end when the queue is empty, or at `end` by the monotonic clock."""
        with self._change:
            self._end = end
            self._change.notify_all()

    def abandon(self) -> None:
        """Give up the messages that have not been delivered."""
        with self._change:
            left = [self._current, *self._queue] if self._current else [*self._queue]
            why = self._run_ended()
            self._current = None
            self._queue.clear()
            for message in left:
                self._lost(message, why)

    def run(self) -> None:
        """Deliver until closed."""
        while True:
            with self._change:
                self._change.wait_for(lambda: self._queue or self._end is not None)
                if not self._queue:
                    return
                self._current = message = self._queue.popleft()
            why = self._try(message)
            with self._change:
                if self._current is None:  # abandoned meanwhile, and counted
                    return
                self._current = None
                if why:
                    self._lost(message, why)
                else:
                    self.delivered += 1

    def _try(self, message: Message) -> str:
        """Deliver `message`, with several tries; return "" or why it was given up."""
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

        retrying = Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, DeliveryError) and error.again),
            stop=stop_after_attempt(self._tries),
            wait=wait_exponential(multiplier=self._back_off, max=LONGEST),
            sleep=self._rest,
            reraise=True,
        )
        try:
            for attempt in retrying:
                with attempt:
                    self._try_once(message, attempt.retry_state.attempt_number)
        except _OutOfTimeError:
            return self._run_ended()
        except Exception:  # of any kind: the run goes on, and so do later messages
            return self._trouble
        else:
            self._trouble = ""
        return self._trouble

    def _try_once(self, message: Message, number: int) -> None:
        try:
            self._deliver(message)
        except Exception as error:
            why = str(error) if isinstance(error, DeliveryError) else repr(error)
            self._trouble = f"{why} (try {number})"
            raise

    def _rest(self, wait: Second) -> None:
        """Wait before another try. The end of the run shortens the wait; without time for a try, _OutOfTimeError."""
        with self._change:
            if self._end is None:
                self._change.wait_for(lambda: self._end is not None, wait)
            else:
                self._change.wait(min(wait, self._back_off))
            if self._end is not None and time.monotonic() >= self._end:
                raise _OutOfTimeError

    def _run_ended(self) -> str:
        """Return why a message is given up at the end of the run, whoever gives it up first."""
        return f"the run has ended{self._trouble and '; so far '}{self._trouble}"

    def _lost(self, message: Message, why: str) -> None:
        self.failed += 1
        self._give_up(f"{self.name}: the message '{message['event']}' was not delivered: {why}")


class _OutOfTimeError(Exception):
    """The run has ended, and there is no time for another try."""
