"""Garbage that a process of this suite is not to look for."""

import atexit
import gc


def leave_at_exit() -> None:
    """Let no collection look at what is there now, and none at the end of the process at what is there then.

    What imports make lives as long as the process. Python looks for garbage in it again and again, and three times
    while it ends: in a worker that takes 0.1 s of processor time, a fifth of what it takes to start. For processes of
    our own only.
    """
    gc.freeze()
    atexit.register(gc.freeze)
