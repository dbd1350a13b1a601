"""Signals that ask a run to end: the first at its next safe point, a second ^C at once."""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

HEARD = b"stopping at the next safe point; what was measured is sealed\n"
_CLOSING = (2, 5, 6)
"""Events of a Windows console: it was closed, the user logs off, the computer shuts down."""
_asked: list[Callable[[], None]] = []
"""What to call when the console is closed."""
_registered: list[object] = []
"""The handler that Windows calls; it must not be collected."""


def signals() -> list[signal.Signals]:
    """Return the signals that ask a run to end, those of them that this system has.

    A terminal that closes sends HUP, and Ctrl+Break on Windows BREAK; a console that closes there is no signal alone.
    """
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


def console_event(event: int, wait: Callable[[], object] = lambda: threading.Event().wait()) -> bool:
    """Handle an event of a Windows console, in a thread of its own; return whether no other handler is to be called.

    Windows ends a process at once when the handler of a closed console returns, as that of BREAK does, and else some
    seconds later. So this one never returns while the process is there.
    """
    if event not in _CLOSING:
        return False
    for act in list(_asked):
        act()
    wait()
    return True


def _outlive_the_console() -> None:
    """Let Windows leave this process the seconds that it gives when the console is closed."""
    if sys.platform == "win32" and not _registered:
        _registered.append(ctypes.WINFUNCTYPE(ctypes.c_int, ctypes.c_uint)(console_event))
        ctypes.windll.kernel32.SetConsoleCtrlHandler(_registered[0], True)


def ignore_all() -> None:
    """Ignore ^C, TERM, HUP and BREAK for good, in a process whose parent decides when it ends."""
    for number in signals():
        signal.signal(number, signal.SIG_IGN)
    _outlive_the_console()


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
    _outlive_the_console()
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
    _outlive_the_console()
    _asked.append(closed := lambda: handler(signal.SIGTERM, None))
    try:
        yield
    finally:
        _asked.remove(closed)
        # later signals change nothing: what is left is to make the bench safe, to seal and to report
        for number, old in before.items():
            signal.signal(number, signal.SIG_IGN if seen else old)
