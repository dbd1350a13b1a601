"""When every process of a run is gone, its guard is the only one who can send a message."""

import json
import sys

import pytest

from labctl.batch import notifying_guard
from labctl.batch.notifying_guard import command_of, send
from labctl.config.notify import Notify
from labctl.core.events import GuardActed, GuardFate

ACTED = GuardActed(what=GuardFate.SAFE, text="smu1: outputs verified off", met={"smu1.smua": "on at 0.1 V"})


@pytest.fixture
def hook(tmp_path):
    """Return whom to notify, and what reads the messages."""
    program, path = tmp_path / "hook.py", tmp_path / "messages"
    program.write_text(f"import sys\nopen({str(path)!r}, 'a').write(sys.stdin.read())\n")

    def messages():
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    return Notify(command=(sys.executable, str(program)), timeout=90.0), messages


def test_people_are_told_what_the_guard_met(hook, tmp_path):
    notify, messages = hook
    assert send(ACTED, "W12", tmp_path, notify) == 0
    (message,) = messages()
    assert (message["event"], message["folder"]) == ("alarm", str(tmp_path))
    assert message["text"].startswith("W12: every process of the run was gone; bench made safe by its guard")
    assert "smu1.smua was on at 0.1 V" in message["text"]


def test_whoever_wants_no_alarms_gets_none(hook, tmp_path):
    notify, messages = hook
    assert send(ACTED, "W12", tmp_path, notify.model_copy(update={"on": ("end",)})) == 0
    assert messages() == []


def test_receivers_that_are_gone_end_nothing(tmp_path):
    assert send(ACTED, "W12", tmp_path, Notify(command=(str(tmp_path / "gone"),))) == 1


def test_the_guard_of_a_run_is_handed_its_notifications(hook, tmp_path, monkeypatch):
    notify, messages = hook
    command = command_of("W12", notify)
    assert command[1:3] == ("-m", "labctl.batch.notifying_guard")
    assert command_of("W12", None)[1:] == ("-m", "labctl.station.guard_process")
    watched = []
    monkeypatch.setattr(notifying_guard, "watch_over", lambda *paths: watched.append(paths) or ACTED)
    monkeypatch.setattr(sys, "argv", [*command[2:], str(tmp_path), str(tmp_path / "bench.yaml")])
    notifying_guard.main()
    assert watched == [(tmp_path, tmp_path / "bench.yaml")]
    assert len(messages()) == 1
    monkeypatch.setattr(notifying_guard, "watch_over", lambda *paths: None)
    notifying_guard.main()
    assert len(messages()) == 1, "an orderly end is no alarm"
