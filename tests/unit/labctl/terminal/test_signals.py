"""Signals that end a run: the first asks, a second ^C hurries, and those of a closed terminal or console are heard."""

import os
import signal

import pytest

from labctl.terminal.signals import asked_to_stop, born_deaf, console_event, outliving_the_terminal, signals

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="signals of POSIX are sent to this process")


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch) -> int:
    """Let this system have the BREAK of a Windows console, under the number of another signal."""
    monkeypatch.setattr(signal, "SIGBREAK", signal.SIGUSR1, raising=False)
    return signal.SIGUSR1


def test_what_ends_a_run_is_what_the_system_has(monkeypatch: pytest.MonkeyPatch, console: int) -> None:
    assert signals() == [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, console]
    monkeypatch.delattr(signal, "SIGHUP")
    assert signals() == [signal.SIGINT, signal.SIGTERM, console]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"])
def test_the_first_signal_asks_and_a_second_interrupt_hurries(name: str, console: int) -> None:
    calls: list[str] = []
    before = {number: signal.getsignal(number) for number in signals()}
    with asked_to_stop(lambda: calls.append("stop"), lambda: calls.append("hurry")):
        os.kill(os.getpid(), getattr(signal, name))
        os.kill(os.getpid(), signal.SIGTERM)
        assert calls == ["stop"]
        os.kill(os.getpid(), signal.SIGINT)
        assert calls == ["stop", "hurry"]
    assert signal.getsignal(console) is signal.SIG_IGN
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_closed_terminal_or_console_does_not_end_what_has_to_end_properly(console: int) -> None:
    before = {number: signal.getsignal(number) for number in signals()}
    with outliving_the_terminal():
        for number in (signal.SIGHUP, signal.SIGTERM, console):
            os.kill(os.getpid(), number)
        assert signal.getsignal(signal.SIGINT) is before[signal.SIGINT]
    with born_deaf():
        for number in signals():
            os.kill(os.getpid(), number)
    assert {number: signal.getsignal(number) for number in signals()} == before


def test_a_console_that_closes_asks_once_and_is_not_answered_before_the_process_has_ended() -> None:
    calls: list[str] = []
    before = {number: signal.getsignal(number) for number in signals()}
    with asked_to_stop(lambda: calls.append("stop"), lambda: calls.append("hurry")):
        assert not console_event(0, lambda: calls.append("waits"))  # ^C and Ctrl+Break are signals
        assert not console_event(1, lambda: calls.append("waits"))
        assert calls == []
        assert console_event(2, lambda: calls.append("waits"))
        os.kill(os.getpid(), signal.SIGTERM)
        assert calls == ["stop", "waits"]
    assert console_event(6, lambda: calls.append("waits"))
    assert calls == ["stop", "waits", "waits"]
    for number, handler in before.items():
        signal.signal(number, handler)
