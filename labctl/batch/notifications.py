"""Notify people of the events of a run by a command, a webhook, or both.

A message must never cost a measurement. Messages go to a thread per receiver through a bounded queue; a receiver that
is slow, hangs or is gone is tried again after growing waits, and given up in the end. Messages that are given up are
reported in the thread that sends them, so that they can be written to the journal there. One module of more than 300
lines, because the queue, its thread and the two kinds of delivery are tested and changed together.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from labctl.config.notify import Notify, Occasion
from labctl.core.units import Second

TRIES = 12
BACK_OFF: Second = 2.0
LONGEST: Second = 300.0
"""The wait after a failed try doubles from `BACK_OFF` up to this; 12 tries take about half an hour."""
QUEUE = 200
"""Messages that wait for one receiver; the oldest beyond it are given up."""
TEXT = 4000
"""Characters of a text in an environment variable; systems limit the size of environments."""
_PASSING = {408, 425, 429}
"""HTTP answers below 500 after which trying again makes sense (RFC 9110, RFC 8470, RFC 6585)."""
Message = dict[str, Any]
Report = Callable[[str, str], None]
"""Called with (event, text for the operator) when a message is given up."""


class Notifier:
    """Sends the events of one run to the receivers of its campaign; every method but `close` returns at once.

    Args:
        notify: receivers and events; None sends nothing.
        about: entries of every message: `run` (name) and `folder`.
        report: called from within `send`, `report_given_up` and `close`, never from another thread.
        tries: number of tries of a message.
        back_off: the wait after the first failed try, s.
    """

    def __init__(
        self,
        notify: Notify | None,
        about: Mapping[str, Any],
        report: Report = lambda event, text: None,
        *,
        tries: int = TRIES,
        back_off: Second = BACK_OFF,
    ) -> None:
        self._on = notify.on if notify else ()
        self._about, self._report = dict(about), report
        self._given_up: deque[str] = deque()
        self._receivers: list[_Receiver] = []
        if notify is not None:
            deliveries: list[tuple[str, Deliver]] = []
            if notify.command is not None:
                deliveries.append((f"command {notify.command[0]}", _command(notify.command, notify.timeout)))
            if notify.webhook is not None:
                # not the whole address: what follows the host is often a secret
                deliveries.append(
                    (f"webhook at {urlsplit(notify.webhook).hostname}", _webhook(notify.webhook, notify.timeout))
                )
            self._receivers = [_Receiver(n, d, self._given_up.append, tries, back_off) for n, d in deliveries]

    def send(self, event: Occasion, text: str, *, die: str = "", exit_code: int | None = None, **more: Any) -> None:
        """Send an event, if the campaign asks for its kind.

        Args:
            more: other entries of the message; anything that JSON can hold.
        """
        if event in self._on:
            about = ", ".join(part for part in (str(self._about.get("run", "")), die) if part)
            message: Message = {
                "event": event,
                "text": f"{about}: {text}" if about else text,
                **self._about,
                "die": die,
                "exit_code": exit_code,
                "host": socket.gethostname(),
                "utc": datetime.now(UTC).isoformat(timespec="seconds"),
                **more,
            }
            for receiver in self._receivers:
                receiver.put(message)
        self.report_given_up()

    def report_given_up(self) -> None:
        """Report the messages that were given up since the last call."""
        while self._given_up:
            self._report("notify", self._given_up.popleft())

    @property
    def delivered(self) -> int:
        """Number of messages delivered, counted per receiver."""
        return sum(r.delivered for r in self._receivers)

    @property
    def failed(self) -> int:
        """Number of messages given up, counted per receiver."""
        return sum(r.failed for r in self._receivers)

    def close(self, patience: Second = 20.0) -> int:
        """Wait at most `patience` s for queued messages; report and return the number that was not delivered."""
        end = time.monotonic() + patience
        for receiver in self._receivers:
            receiver.close(end)
        for receiver in self._receivers:
            receiver.join(max(0.0, end - time.monotonic()))
            receiver.abandon()
        self.report_given_up()
        return self.failed


class _Failed(Exception):
    """A try failed: why, and whether another try could succeed."""

    def __init__(self, why: str, *, again: bool = True) -> None:
        super().__init__(why)
        self.again = again


Deliver = Callable[[Message], None]
"""Delivers a message or raises `_Failed`; does not take much longer than its timeout."""


class _Receiver(threading.Thread):
    """One receiver: its queue, and the thread that empties it in order."""

    def __init__(
        self, name: str, deliver: Deliver, give_up: Callable[[str], None], tries: int, back_off: Second
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.deliver, self.give_up, self.tries, self.back_off = deliver, give_up, tries, back_off
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
            why = f"the run has ended{self._trouble and '; so far '}{self._trouble}"
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
        wait = self.back_off
        for number in range(1, self.tries + 1):
            try:
                self.deliver(message)
                self._trouble = ""
                return ""
            except _Failed as error:
                why, again = str(error), error.again
            except Exception as error:  # of any kind: the run goes on, and so do later messages
                why, again = repr(error), False
            self._trouble = f"{why} (try {number})"
            if not again or number == self.tries or not self._rest(wait):
                break
            wait = min(2 * wait, LONGEST)
        return self._trouble

    def _rest(self, wait: Second) -> bool:
        """Wait before another try; return False if there is no time for one. The end of the run shortens the wait."""
        with self._change:
            if self._end is None:
                self._change.wait_for(lambda: self._end is not None, wait)
            else:
                self._change.wait(min(wait, self.back_off))
            return self._end is None or time.monotonic() < self._end

    def _lost(self, message: Message, why: str) -> None:
        self.failed += 1
        self.give_up(f"{self.name}: the message '{message['event']}' was not delivered: {why}")


def _command(command: tuple[str, ...], timeout: Second) -> Deliver:
    """Return the function that passes a message to a command."""

    def deliver(message: Message) -> None:
        variables = {"LABCTL_EVENT": message["event"], "LABCTL_TEXT": message["text"].replace("\0", "")[:TEXT]}
        # to a file: a process that the command started and left behind could keep a pipe open for ever
        with tempfile.TemporaryFile() as errors:
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    env={**os.environ, **variables},
                    start_new_session=True,
                )
            except OSError as error:
                raise _Failed(f"it cannot be started: {error.strerror or error}", again=False) from error
            with process:
                try:
                    process.communicate(json.dumps(message).encode() + b"\n", timeout=timeout)
                except subprocess.TimeoutExpired:
                    _kill(process)
                    raise _Failed(f"it did not end within {timeout:g} s") from None
            if process.returncode:
                errors.seek(0)
                lines = errors.read(1 << 16).decode(errors="replace").strip().splitlines()
                raise _Failed(f"exit code {process.returncode}{lines and ': '}{lines[-1] if lines else ''}")

    return deliver


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill a command and, where it has a session of its own, the processes it started."""
    if sys.platform == "win32":
        process.kill()
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _webhook(address: str, timeout: Second) -> Deliver:
    """Return the function that posts a message to an address."""

    def deliver(message: Message) -> None:
        # imported here: they take longer than all the rest of this module
        import urllib.error
        import urllib.request
        from http.client import HTTPException

        class NotElsewhere(urllib.request.HTTPRedirectHandler):
            """Refuses redirects: a redirected POST arrives without its body."""

            def redirect_request(self, *_: Any) -> None:
                return None

        request = urllib.request.Request(
            address,
            data=json.dumps(message).encode(),
            headers={"Content-Type": "application/json", "User-Agent": "mtj-labctl"},
            method="POST",
        )
        try:
            urllib.request.build_opener(NotElsewhere).open(request, timeout=timeout).close()
        except urllib.error.HTTPError as error:
            with error:
                again = error.code >= 500 or error.code in _PASSING
                raise _Failed(f"it answered {error.code} {error.reason}", again=again) from None
        except urllib.error.URLError as error:
            raise _Failed(f"it cannot be reached: {error.reason}") from None
        except (OSError, HTTPException) as error:
            raise _Failed(f"it does not answer: {str(error) or type(error).__name__}") from None

    return deliver
