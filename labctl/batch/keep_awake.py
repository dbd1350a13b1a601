"""Keep the computer awake during a run, and detect that it slept or that its clock was set."""

import ctypes
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from labctl.core.units import Second

Clock = Callable[[], float]
"""Returns a time in s."""

_WHAT = ("sleep:idle:handle-lid-switch", "sleep:idle")
"""Locks asked of logind, the strongest first: not every session may inhibit the lid switch."""
_HELD = "echo held; exec cat >/dev/null"
"""Runs while the lock is held, says so, and ends with its standard input: when this process ends in any way."""
_PATIENCE: Second = 5.0


@contextmanager
def awake(reason: str) -> Iterator[str]:
    """Ask the system not to sleep while the block lasts; yield the means it granted, "" if none. Never raises.

    It prevents neither sleep that a person orders nor an empty battery.

    Args:
        reason: shown by the system as what keeps it awake.
    """
    if sys.platform == "win32":
        # 0x80000000 ES_CONTINUOUS, 0x1 ES_SYSTEM_REQUIRED; it ends with the thread that asked
        granted = ctypes.windll.kernel32.SetThreadExecutionState(0x80000001)
        try:
            yield "SetThreadExecutionState" if granted else ""
        finally:
            ctypes.windll.kernel32.SetThreadExecutionState(0x80000000)
        return
    helper = _caffeinate() if sys.platform == "darwin" else _systemd_inhibit(reason)
    try:
        yield "" if helper is None else "caffeinate" if sys.platform == "darwin" else "systemd-inhibit"
    finally:
        if helper is not None:
            _end(helper)


def _systemd_inhibit(reason: str) -> "subprocess.Popen[bytes] | None":
    """Return the running command that holds logind's lock, None if the lock is not granted."""
    command = shutil.which("systemd-inhibit")
    for what in _WHAT if command else ():
        arguments = [command, f"--what={what}", "--who=labctl", f"--why={reason}", "--mode=block", "sh", "-c", _HELD]
        helper = _start(arguments)
        if helper is None:
            return None
        assert helper.stdout is not None
        if select.select([helper.stdout], [], [], _PATIENCE)[0] and helper.stdout.readline() == b"held\n":
            return helper
        _end(helper)
    return None


def _caffeinate() -> "subprocess.Popen[bytes] | None":
    """Return the running command that keeps a Mac awake for as long as this process lives, None if there is none."""
    command = shutil.which("caffeinate")
    return _start([command, "-ims", "-w", str(os.getpid())]) if command else None


def _start(arguments: list[str | None]) -> "subprocess.Popen[bytes] | None":
    try:
        # in a session of its own: ^C does not reach it, and no agent asks for a password on our terminal
        return subprocess.Popen(
            [argument for argument in arguments if argument is not None],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return None


def _end(helper: "subprocess.Popen[bytes]") -> None:
    for pipe in (helper.stdin, helper.stdout):
        if pipe is not None:
            pipe.close()
    if sys.platform == "darwin":
        helper.terminate()
    try:
        helper.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        helper.kill()
        helper.wait()


@dataclass(frozen=True)
class Jump:
    """Sleep or a clock step between two checks.

    Args:
        gap: time that the computer slept, s.
        step: by how much the calendar clock was set forward (back, if negative), s.
        text: the same, for the operator.
    """

    gap: Second
    step: Second
    text: str


def _uptime() -> float:
    """Return the time that the computer has been awake since a fixed moment, s."""
    if sys.platform == "win32":
        ticks = ctypes.c_ulonglong()
        ctypes.windll.kernel32.QueryUnbiasedInterruptTime(ctypes.byref(ticks))
        return ticks.value * 1e-7
    if sys.platform == "darwin":
        return time.clock_gettime(time.CLOCK_UPTIME_RAW)
    return time.monotonic()


def _since_boot() -> Clock | None:
    """Return a clock that is never set and runs while the computer sleeps, None if this system has none."""
    if sys.platform == "win32":
        return time.monotonic
    number = getattr(time, "CLOCK_MONOTONIC" if sys.platform == "darwin" else "CLOCK_BOOTTIME", None)
    return None if number is None else lambda: time.clock_gettime(number)


class Clocks:
    """Compares the clocks of this computer from one check to the next.

    Args:
        utc: the calendar clock.
        uptime: runs only while the computer is awake, and is never set.
        since_boot: always runs, and is never set; None if there is none.
    """

    def __init__(
        self, *, utc: Clock = time.time, uptime: Clock = _uptime, since_boot: Clock | None = _since_boot()
    ) -> None:
        self._utc, self._uptime, self._since_boot = utc, uptime, since_boot
        self._last = self._read()

    def check(self) -> Jump | None:
        """Return sleep or a clock step since the last check, None if the clocks agree to a second or so.

        Takes microseconds. Time servers speed a clock up or slow it down by less than 0.1 %, which is no step.
        """
        before, now = self._last, self._read()
        self._last = now
        utc, uptime, since_boot = (b - a for a, b in zip(before, now, strict=True))
        slept, step = since_boot - uptime, utc - since_boot
        least = 1.0 + 1e-3 * abs(since_boot)
        gap, step = slept if slept > least else 0.0, step if abs(step) > least else 0.0
        if self._since_boot is None and step > 0:
            # without a third clock the two cannot be told apart; sleep is the graver of them
            return Jump(step, 0.0, f"the computer slept for {_text(step)}, or its clock was set forward by that much")
        events = [f"the computer slept for {_text(gap)}"] if gap else []
        if step:
            events.append(f"the clock was set {'forward' if step > 0 else 'back'} by {_text(abs(step))}")
        return Jump(gap, step, " and ".join(events)) if events else None

    def _read(self) -> tuple[float, float, float]:
        """Return all clocks as of one moment; sleep may come between any two readings."""
        anchor = self._since_boot or self._uptime
        for _ in range(10):
            start = anchor()
            utc, uptime, end = self._utc(), self._uptime(), anchor()
            if end - start < 0.1:
                break
        return utc, uptime, end


def _text(seconds: Second) -> str:
    from labctl.terminal.progress import duration

    return duration(seconds)
