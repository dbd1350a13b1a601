"""Signals that ask a run to end: the first at its next safe point, a second ^C at once."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

HEARD = b"stopping at the next safe point; what was measured is sealed\n"


def signals() -> list[signal.Signals]:
    """Return the signals that ask a run to end, those of them that this system has.

    A terminal that closes sends HUP; a console of Windows sends BREAK, and ends the process some seconds later.
    """
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


@contextmanager
def born_deaf() -> Iterator[None]:
    """Let processes started in the block ignore ^C, TERM, HUP and BREAK from their first moment.

    A signal to the group would otherwise kill a worker that has not yet come to ignore it, or the helper process of
    the standard library that tracks shared resources. A ^C in these milliseconds is lost and has to be repeated.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in signals()}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def outliving_the_terminal() -> Iterator[None]:
    """Ignore TERM, HUP and BREAK while the block lasts, for work that has to end properly when a terminal is closed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in signals() if number != signal.SIGINT}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def asked_to_stop(on_stop: Callable[[], None], on_hurry: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Call `on_stop` at the first ^C, TERM, HUP or BREAK, and `on_hurry` at a second ^C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        first = not seen
        seen.append(number)
        if first:
            on_stop()
            # not print: the main thread may be in the middle of one
            os.write(2, HEARD)
        elif number == signal.SIGINT:
            on_hurry()

    before = {number: signal.signal(number, handler) for number in signals()}
    try:
        yield
    finally:
        # later signals change nothing: what is left is to make the bench safe, to seal and to report
        for number, old in before.items():
            signal.signal(number, signal.SIG_IGN if seen else old)
