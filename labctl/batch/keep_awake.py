"""Keep the computer awake during a run, and detect that it slept or that its clock was set.

Wakepy keeps it awake where there is a desktop, and on macOS and Windows. Two things are ours, because wakepy lacks
them: logind's lock, which also holds the lid and needs no desktop, and the comparison of clocks, which says that it
slept.
"""

import ctypes
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from labctl.core.units import Second
from labctl.terminal.progress import duration
from labctl.terminal.signals import born_deaf

Clock = Callable[[], float]
"""Returns a time in s."""

_WHAT = ("sleep:idle:handle-lid-switch", "sleep:idle")
"""Locks asked of logind, the strongest first: not every session may inhibit the lid switch."""
_PATIENCE: Second = 5.0


@contextmanager
def awake(reason: str) -> Iterator[str]:
    """Ask the system not to sleep while the block lasts; yield the means it granted, "" if none. Never raises.

    It prevents neither sleep that a person orders nor an empty battery.

    Args:
        reason: shown by the system as what keeps it awake.
    """
    held = ExitStack()
    try:
        means = [means for means in (_by_logind(reason, held), _by_wakepy(held)) if means]
        yield " and ".join(means)
    finally:
        with suppress(Exception):
            held.close()


def _by_wakepy(held: ExitStack) -> str:
    """Keep awake until `held` is closed, and return the means; "" if wakepy has none."""
    from wakepy import keep

    with suppress(Exception), born_deaf():  # ^C must not reach the program that holds it on macOS
        mode = held.enter_context(keep.running(on_fail="pass"))
        if mode.result.real_success and mode.method is not None:
            return mode.method.name
    return ""


def _by_logind(reason: str, held: ExitStack) -> str:
    """Hold logind's lock until `held` is closed or this process ends in any way; return "" if it is not granted."""
    if sys.platform != "linux":
        return ""
    from jeepney import DBusAddress, MessageType, new_method_call
    from jeepney.io.blocking import open_dbus_connection

    login = "org.freedesktop.login1"
    manager = DBusAddress("/org/freedesktop/login1", bus_name=login, interface=f"{login}.Manager")
    with suppress(Exception), open_dbus_connection("SYSTEM", enable_fds=True) as bus:
        for what in _WHAT:
            ask = new_method_call(manager, "Inhibit", "ssss", (what, "labctl", reason, "block"))
            reply = bus.send_and_get_reply(ask, timeout=_PATIENCE)
            if reply.header.message_type is MessageType.method_return:
                lock = reply.body[0].to_raw_fd()
                held.callback(os.close, lock)
                os.set_inheritable(lock, False)
                return "logind"
    return ""


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
            return Jump(
                step, 0.0, f"the computer slept for {duration(step)}, or its clock was set forward by that much"
            )
        events = [f"the computer slept for {duration(gap)}"] if gap else []
        if step:
            events.append(f"the clock was set {'forward' if step > 0 else 'back'} by {duration(abs(step))}")
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
