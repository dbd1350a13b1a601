"""Work that is done while an instrument is busy, when its host would do nothing but wait for the answer.

It is only ever preparation: something is computed that touches nothing outside and is kept for whoever needs it next,
who makes it if it is not there. So it may be left undone, and an error in it is nobody's: the same error comes where
the thing itself is needed.
"""

import threading
from collections.abc import Callable
from contextlib import suppress

Work = Callable[[], None]


class _Waiting(threading.local):
    def __init__(self) -> None:
        self.work: list[Work] = []


_waiting = _Waiting()


def later(work: Work) -> None:
    """Have work done by this thread when it next waits for an instrument that works for long.

    >>> done = []
    >>> later(lambda: done.append(1 / 0)); later(lambda: done.append("events"))
    >>> do_it(); done
    ['events']
    """
    _waiting.work.append(work)


def forget() -> None:
    """Leave undone what has not been done."""
    _waiting.work = []


def do_it() -> None:
    """Do it now, once: the message to the instrument is out. Errors are dropped."""
    work, _waiting.work = _waiting.work, []
    for one in work:
        with suppress(Exception):
            one()
